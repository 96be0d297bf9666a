# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the tests of batches share: a job directory with the folder of a batch, processes that tests fork, modules that
# run what they are told, and a controller.

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import shlex
import signal
import sys
import traceback
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import ansible
import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.playbook.play_context import PlayContext
from ansible.plugins import loader as plugin_loader
from ansible.template import Templar
from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible.vars.manager import VariableManager

from ansible_collections.inflight.jobs.plugins.action import async_batch
from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory
from ansible_collections.inflight.jobs.plugins.module_utils._zygote import Batch, Job, Payload

# Long enough for the slowest machine: a test that waits for so long has failed.
FOREVER = 20

NUMBER = "j4711"

_PYTEST = os.getpid()


def _forget_exit_functions() -> None:
    """What pytest and core want done when they end is not to be done by a job that was forked from them."""
    if os.getppid() == _PYTEST:
        atexit._clear()


os.register_at_fork(after_in_child=_forget_exit_functions)


@pytest.fixture(scope="session", autouse=True)
def restic_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """restic remembers nothing in the home directory of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESTIC_CACHE_DIR", str(tmp_path_factory.mktemp("restic-cache")))
        yield


@pytest.fixture
def directory(tmp_path: Path) -> JobDirectory:
    """A job directory as it should be."""
    path = tmp_path / "jobs"
    path.mkdir(mode=0o700)
    return JobDirectory(str(path))


@pytest.fixture
def batch_folder(directory: JobDirectory) -> BatchFolder:
    """The folder of a batch that has three jobs."""
    return made_folder(directory)


def made_folder(directory: JobDirectory, number: str = NUMBER, jobs: int = 3, **manifest: t.Any) -> BatchFolder:
    found = BatchFolder(directory.path, number)
    listed = [{"jid": f"{number}.{index}", "key": f"key {index}", "name": None, "item": index} for index in range(jobs)]
    found.make({"id": None, "grace": 0, "jobs": listed, **manifest})
    return found


def fork(body: Callable[[], object]) -> int:
    """Run the body in a process of its own; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(FOREVER)
        body()
        code = 0
    except SystemExit as ex:
        code = int(ex.code or 0)
    except BaseException:  # noqa: BLE001  # nothing of pytest may run on here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def exit_code(pid: int) -> int:
    """Wait for a process that was forked; its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextlib.contextmanager
def living(before: Callable[[], object] = lambda: None) -> Iterator[int]:
    """A process that has done something and then lives to the end of the block; its pid."""
    started, start = os.pipe()
    end, ended = os.pipe()

    def body() -> None:
        os.close(ended)
        before()
        os.write(start, b"!")
        os.read(end, 1)

    pid = fork(body)
    os.close(start)
    os.close(end)
    try:
        assert os.read(started, 1) == b"!", "the process failed at once"
        yield pid
    finally:
        os.close(ended)
        os.close(started)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


@contextlib.contextmanager
def supervised(folder: BatchFolder) -> Iterator[int]:
    """A process that has the lock of a batch, as its supervisor has it; its pid."""
    with living(folder.supervise) as pid:
        yield pid


# Modules of which each job runs what stands in its arguments


def shell_payload() -> Payload:
    """A module that runs the shell commands that it is given."""
    return Payload("file", (b'. "$1"\n',), "/bin/sh", warm=False)


def python_payload(tmp_path: Path, before: str = "") -> Payload:
    """A module as core packs those in Python, that runs the Python code that it is given.

    :param before: code that the wrapper runs before it comes to its module.
    """
    folder = tmp_path / "archive"
    folder.mkdir()
    # What Ansible's modules share is in each archive.
    (folder / "ansible").symlink_to(os.path.dirname(ansible.__file__))
    (folder / "made.py").write_text(
        "import json\n"
        "from ansible.module_utils import basic\n"
        "exec(json.loads(basic._ANSIBLE_ARGS)['ANSIBLE_MODULE_ARGS'].get('code', ''))\n",
        encoding="utf-8",
    )
    start = f"import sys\nsys.path.insert(0, {str(folder)!r})\n{before}\n_loader.run_module(json_params="
    start = f"from ansible.module_utils._internal._ansiballz import _loader\n{start}"
    end = '.encode(), profile="legacy", module_fqn="made", modlib_path="x", extensions={})\n'
    return Payload("zip", (start.encode(), end.encode()), sys.executable, warm=True)


def python(code: str) -> str:
    """The arguments of a job that runs this code."""
    return json.dumps({"ANSIBLE_MODULE_ARGS": {"code": code}})


def says(**result: t.Any) -> str:
    """A shell command that prints a result."""
    return f"printf %s {shlex.quote(json.dumps(result))}"


class Ground:
    """A batch for which zygotes and pools can be made."""

    def __init__(self, directory: JobDirectory, folder: BatchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batch = Batch(directory, folder, [], [])
        self._monkeypatch = monkeypatch

    def prepare_fork(self) -> None:
        """Make this process one that a supervisor can be forked from.

        What pytest has in the place of sys.stdout holds a descriptor, and so may garbage, and a supervisor closes all.
        """
        for fd, name in ((1, "stdout"), (2, "stderr")):
            stream = open(fd, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115  # for the whole test
            self._monkeypatch.setattr(sys, name, stream)
        gc.collect()
        gc.freeze()  # a fork that looks for garbage again would take long, with all that pytest has loaded

    def payload(self, payload: Payload) -> int:
        self.batch.payloads.append(payload)
        return len(self.batch.payloads) - 1

    def job(self, params: str, payload: int = 0, **environment: str) -> int:
        """Add a job that waits for its turn; its place."""
        index = len(self.batch.jobs)
        jid = f"{NUMBER}.{index}"
        self.batch.jobs.append(Job(jid, payload, params, environment))
        self.batch.directory.create_marker(jid)
        return index

    def look(self, index: int) -> _jobs.JobFile:
        return self.batch.directory.read(f"{NUMBER}.{index}")

    def result(self, index: int) -> dict[str, t.Any]:
        found = self.look(index)
        assert found.text is not None, f"there is no result, the job is {found.state}"
        return t.cast("dict[str, t.Any]", json.loads(found.text))

    def logged(self, index: int) -> dict[str, t.Any]:
        return self.batch.folder.logged(f"{NUMBER}.{index}")


@pytest.fixture
def ground(directory: JobDirectory, batch_folder: BatchFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """A batch without jobs, whose supervisor is this process."""
    lock = batch_folder.supervise()
    yield Ground(directory, batch_folder, monkeypatch)
    os.close(lock)


# The controller


class Controller:
    """What an action plugin sees of a run of ansible-playbook, with this machine as its host."""

    def __init__(self) -> None:
        if AnsibleCollectionConfig.collection_finder is None:
            plugin_loader.init_plugin_loader([])
        self._path = Path()
        self.loader = DataLoader()
        inventory = InventoryManager(loader=self.loader, sources=["localhost,"])
        self._variable_manager = VariableManager(loader=self.loader, inventory=inventory)
        self._files = 0

    def go_to(self, path: Path) -> None:
        """The playbook is in this folder."""
        self._path = path
        self.loader.set_basedir(str(path))

    def yaml(self, text: str) -> t.Any:
        """What stands in a playbook, as core reads it."""
        self._files += 1
        path = self._path / f"{self._files}.yml"
        path.write_text(text, encoding="utf-8")
        return self.loader.load_from_file(str(path), trusted_as_template=True)

    def action(
        self,
        variables: dict[str, t.Any] | None = None,
        keywords: str = "{}",
        play: str = "{}",
        connection: t.Any = None,
    ) -> async_batch.ActionModule:
        """The action plugin async_batch for a task without arguments.

        :param keywords: of the task. play: what else the play has.
        """
        task = {"action": "ansible.builtin.ping", **self.yaml(keywords)}
        raw = {"hosts": "localhost", "gather_facts": False, "tasks": [task], **self.yaml(play)}
        made = Play.load(raw, variable_manager=self._variable_manager, loader=self.loader)
        ((found,),) = made.get_tasks()
        context = PlayContext(play=made)
        return async_batch.ActionModule(
            task=found,
            connection=connection or plugin_loader.connection_loader.get("ansible.builtin.local", context),
            play_context=context,
            loader=self.loader,
            templar=Templar(loader=self.loader, variables=variables or {}),
            shared_loader_obj=plugin_loader,
        )


@pytest.fixture(scope="session")
def one_controller() -> Controller:
    return Controller()


@pytest.fixture
def controller(one_controller: Controller, tmp_path: Path) -> Controller:
    one_controller.go_to(tmp_path)
    return one_controller
