# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the integration tests share: a place of its own for each test, runs of Ansible in it, and the processes of jobs.

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

from .fleet.system import eventually, parents

# No single run of Ansible in these tests takes anything like that, however busy the machine is.
RUN_LIMIT = 120.0

INVENTORY = """\
[local]
localhost
alpha
beta

[all:vars]
ansible_connection=local
ansible_python_interpreter={interpreter}
"""

Result = dict[str, t.Any]


def registered(launches: t.Mapping[str, Result]) -> Result:
    """What the loop that started these jobs registered."""
    return {"results": list(launches.values())}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run of Ansible ended.

    results: what every task returned, as pairs of (host, task name) and result. lines: the lines of stdout, each with
    the moment (seconds since the start of the run) at which it came.
    """

    rc: int
    stdout: str
    stderr: str
    results: list[tuple[str, str, Result]]
    lines: list[tuple[float, str]]

    @property
    def output(self) -> str:
        """All that was printed."""
        return self.stdout + self.stderr

    def result(self, task: str, host: str = "localhost") -> Result:
        """What the task of this name returned on this host."""
        found = [result for where, name, result in self.results if (where, name) == (host, task)]
        assert len(found) == 1, f"{task!r} ran {len(found)} times on {host}:\n{self.output}"
        return found[0]

    def result_of_wait(self, host: str = "localhost") -> Result:
        """What the one task that waits returned on this host."""
        return self.result("Wait for the jobs", host)


class Run:
    """One run of Ansible, in the background."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str], results: Path) -> None:
        self._results = results
        self._lines: list[tuple[float, str]] = []
        self._errors: list[str] = []
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        self._readers = [threading.Thread(target=self._read_stdout), threading.Thread(target=self._read_stderr)]
        for reader in self._readers:
            reader.start()

    def _read_stdout(self) -> None:
        for line in t.cast("t.IO[str]", self._process.stdout):
            self._lines.append((time.monotonic() - self._started, line))

    def _read_stderr(self) -> None:
        self._errors.extend(t.cast("t.IO[str]", self._process.stderr))

    @property
    def stdout(self) -> str:
        """What was printed so far."""
        return "".join(line for dummy, line in list(self._lines))

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def shows(self, text: str, seconds: float = 30) -> float:
        """Wait until the text is printed, and return how long ago (in seconds) the run was started by then."""

        def moment() -> float | None:
            assert text in self.stdout or self.is_running, f"{text!r} was never printed:\n{self.stdout}"
            return next((moment for moment, line in list(self._lines) if text in line), None)

        return t.cast(float, eventually(moment, seconds, f"{text!r} is printed"))

    def outcome(self) -> Outcome:
        """Wait for the end of the run. Whatever it was, Ansible must not have shown a bug of ours."""
        try:
            self._process.wait(RUN_LIMIT)
        finally:
            self.stop()
        results = []
        if self._results.exists():
            for line in self._results.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                results.append((entry["host"], entry["task"], entry["result"]))
        stdout, stderr = self.stdout, "".join(self._errors)
        output = stdout + stderr
        # Results hold tracebacks of modules, within a line; one of the plugin would begin a line.
        assert not re.search(r"^\W*Traceback \(most recent call last\)", output, re.MULTILINE), output
        deprecations = re.findall(r"\[DEPRECATION WARNING\](?:.|\n(?!\n))*", output)
        assert not [text for text in deprecations if "inflight" in text or "async_wait" in text], output
        assert "Unexpected failure" not in output, output
        return Outcome(self._process.returncode, stdout, stderr, results, list(self._lines))

    def send(self, number: int) -> None:
        """Send a signal to ansible-playbook itself."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the run with SIGKILL: all its processes, of which each worker leads a session of its own."""
        doomed = {self._process.pid}
        table = parents()
        while more := {pid for pid, parent in table.items() if parent in doomed} - doomed:
            doomed |= more
        kill(doomed)
        self._process.wait()

    def stop(self) -> None:
        """Make sure that nothing of the run is left; its background jobs are none of its own."""
        if self.is_running:
            self.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(10)


class Sandbox:
    """A home, a job directory and a working folder of its own for one test.

    folder: where everything is. jobs: the job directory on this machine. playbooks: the folder that playbooks are taken
    from.
    """

    def __init__(self, folder: Path, playbooks: Path, inventory: Path | None = None) -> None:
        """
        :param inventory: hosts other than this machine; their job directories are then as usual.
        """
        self.folder = folder
        self.jobs = folder / "jobs"
        self.playbooks = playbooks
        self._runs: list[Run] = []
        self._inventory = inventory or folder / "inventory"
        self._is_local = inventory is None
        if self._is_local:
            self._inventory.write_text(INVENTORY.format(interpreter=sys.executable), encoding="utf-8")
        (folder / "home").mkdir()

    def environment(self) -> dict[str, str]:
        """The environment of all runs: of the user's, only what finds programs and the collection."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environment.update(
            HOME=str(self.folder / "home"),
            ANSIBLE_HOME=str(self.folder / "home" / ".ansible"),
            ANSIBLE_COLLECTIONS_PATH=os.environ["ANSIBLE_COLLECTIONS_PATH"],
            ANSIBLE_INVENTORY=str(self._inventory),
            ANSIBLE_PIPELINING="true",
            ANSIBLE_NOCOLOR="true",
            # Ansible leaves it to Python when lines are written to a pipe; tests look at when they come.
            PYTHONUNBUFFERED="1",
            ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).parent / "callback"),
            ANSIBLE_CALLBACKS_ENABLED="task_results",
            ANSIBLE_LOAD_CALLBACK_PLUGINS="true",
            LC_ALL="C.UTF-8",
        )
        if self._is_local:
            environment["ANSIBLE_ASYNC_DIR"] = str(self.jobs)
        return environment

    def start(self, command: t.Sequence[str], **environment: str) -> Run:
        """Start a command of Ansible.

        :param command: the name of the command and its arguments.
        :param environment: what is different in the environment of this run.
        """
        results = self.folder / f"results-{len(self._runs)}.jsonl"
        program = str(Path(sys.executable).with_name(command[0]))
        everything = {**self.environment(), "TASK_RESULTS": str(results), **environment}
        run = Run([program, *command[1:]], self.folder, everything, results)
        self._runs.append(run)
        return run

    def start_playbook(
        self, playbook: str, *arguments: str, environment: t.Mapping[str, str] | None = None, **variables: t.Any
    ) -> Run:
        """Start a playbook.

        :param playbook: its name, without the suffix.
        :param arguments: more arguments for ansible-playbook.
        :param environment: what is different in the environment of this run.
        :param variables: extra variables.
        """
        path = self.playbooks / f"{playbook}.yml"
        command = ["ansible-playbook", str(path), "--extra-vars", json.dumps(variables), *arguments]
        return self.start(command, **(environment or {}))

    def run_playbook(
        self, playbook: str, *arguments: str, environment: t.Mapping[str, str] | None = None, **variables: t.Any
    ) -> Outcome:
        """The same, and wait for its end."""
        return self.start_playbook(playbook, *arguments, environment=environment, **variables).outcome()

    def start_jobs(self, jobs: t.Mapping[str, str], **variables: t.Any) -> dict[str, Result]:
        """Start shell commands as jobs, in a run of Ansible that ends at once; what their launches returned, by name.

        :param jobs: name -> command.
        """
        named = [{"name": name, "run": run} for name, run in jobs.items()]
        outcome = self.run_playbook("start", jobs=named, **variables)
        assert outcome.rc == 0, outcome.output
        launches = outcome.result("Start the jobs")["results"]
        return {launch["item"]["name"]: launch for launch in launches}

    def close(self) -> None:
        """End everything that the test has started and left running, jobs included."""
        for run in self._runs:
            run.stop()
        mark = f"ANSIBLE_ASYNC_DIR={self.jobs}".encode()
        for pid in _all_pids():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    os.kill(pid, signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class Family:
    """The living processes of a job: async_wrapper's watcher and its child, which runs the module, and all below."""

    watcher: int | None
    runner: int | None
    below: list[int]

    @property
    def all(self) -> list[int]:
        return [pid for pid in (self.watcher, self.runner, *self.below) if pid is not None]


def family(jid: str) -> Family:
    """The processes of the job with this id. The number behind the dot of the id is of no use for that."""
    parents = {}
    wrappers = []
    for pid in _all_pids():
        try:
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state, parent = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue  # has ended
        if state == "Z":
            continue
        parents[pid] = int(parent)
        if jid.split(".", maxsplit=1)[0].encode() in command_line:
            wrappers.append(pid)
    inner = [pid for pid in wrappers if parents[pid] in wrappers]
    outer = [pid for pid in wrappers if pid not in inner]
    if outer and not inner and not [pid for pid in parents if parents[pid] == outer[0] and pid in wrappers]:
        # One of the two is left: the runner is the one that has a child.
        has_child = outer[0] in parents.values()
        inner, outer = (outer, []) if has_child else ([], outer)
    below: list[int] = []
    ancestors = set(inner)
    while True:
        more = [pid for pid, parent in parents.items() if parent in ancestors and pid not in ancestors]
        if not more:
            break
        below.extend(more)
        ancestors.update(more)
    return Family(outer[0] if outer else None, inner[0] if inner else None, below)


def kill(pids: t.Iterable[int | None]) -> None:
    """Send SIGKILL to these processes."""
    for pid in pids:
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


@functools.cache
def interpreters() -> dict[str, str]:
    """The Pythons on this machine that a host may have, as version (like "3.9") and path."""
    tool = Path(__file__).parent / "tools" / "environments.py"
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    found = {}
    for path in _printed(sys.executable, str(tool), "pythons", sys.executable).split():
        found[_printed(path, "-c", code).strip()] = path
    return found


def _printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def can_be_used_by(user: str, interpreter: str) -> bool:
    """Whether root can become this user with su, and run this interpreter then."""
    if os.geteuid() != 0 or shutil.which("su") is None:
        return False
    command = ["su", "-s", "/bin/sh", user, "-c", f"{interpreter} -c 'import json'"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
