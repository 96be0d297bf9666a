# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import signal
import typing as t
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _ending, _jobs, _launch
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError, BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory
from ansible_collections.inflight.jobs.plugins.module_utils._launch import Launcher

from ..conftest import Ground, exit_code, fork, says

Answer = dict[str, t.Any]

OK = says(changed=True)
FAILS = "exit 1"


def order(number: str, *scripts: str, environment: dict[str, str] | None = None, **more: t.Any) -> str:
    """What the controller sends: a batch whose jobs run shell commands; their scripts are their keys."""
    limits = {
        "window": 2,
        "timeout": 0,
        "grace": 0,
        "total_timeout": 0,
        "on_failure": "continue",
        "max_failures": 1,
        "retries": 0,
        "retry_delay": 0,
        "start_delay": 0,
    }
    message = {
        "number": number,
        "id": None,
        "on_existing": "attach",
        "rerun": "all",
        "nice": 0,
        "io_class": "none",
        "limits": {**limits, **more.pop("limits", {})},
        "order": list(range(len(scripts))),
        "payloads": [{"kind": "file", "code": ['. "$1"\n'], "interpreter": "/bin/sh", "warm": False}],
        "jobs": [
            {
                "key": script,
                "name": f"job {index}",
                "item": [index],
                "payload": 0,
                "params": script,
                "environment": environment or {},
            }
            for index, script in enumerate(scripts)
        ],
        **more,
    }
    return base64.b64encode(zlib.compress(json.dumps(message).encode())).decode()


class Host:
    """A job directory in which batches are launched for real."""

    def __init__(self, directory: JobDirectory, ground: Ground) -> None:
        self.directory = directory
        self.ground = ground
        self.numbers: list[str] = []

    def launch(self, number: str, *scripts: str, **more: t.Any) -> Answer:
        self.ground.prepare_fork()
        self.numbers.append(number)
        return Launcher().launch(order(number, *scripts, **more), self.directory.path)

    def folder(self, number: str) -> BatchFolder:
        return BatchFolder(self.directory.path, number)

    def wait(self, number: str) -> None:
        """Wait until the supervisor of a batch has gone."""
        with contextlib.suppress(FileNotFoundError), open(self.folder(number).file("lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)

    def run(self, number: str, *scripts: str, **more: t.Any) -> Answer:
        answer = self.launch(number, *scripts, **more)
        self.wait(number)
        return answer

    def states(self, number: str) -> list[str]:
        """The states of the jobs of a batch, going by their files."""
        return [self.directory.read(job["jid"]).state for job in self.folder(number).manifest()["jobs"]]

    def result(self, jid: str) -> Answer:
        found = self.directory.read(jid)
        assert found.text is not None, f"there is no result, the job is {found.state}"
        return t.cast("Answer", json.loads(found.text))


@pytest.fixture
def host(directory: JobDirectory, ground: Ground) -> Iterator[Host]:
    host = Host(directory, ground)
    yield host
    for number in host.numbers:
        supervisor = host.folder(number).supervisor()
        if supervisor and supervisor != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor, signal.SIGTERM)
            host.wait(number)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    """A pipe that jobs can wait for."""
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


def runs_until_it_is_ended(fifo: str) -> str:
    """A job that says by a pipe that it runs, and then does so for ever."""
    return f"echo >{fifo}; sleep 1000"


# Starting


def test_a_batch_is_launched_and_runs_by_itself(host: Host) -> None:
    answer = host.run("j1", OK, FAILS, OK)
    assert answer == {"number": "j1", "path": host.directory.path, "jobs": None}
    assert host.states("j1") == ["succeeded", "failed", "succeeded"]
    manifest = host.folder("j1").manifest()
    assert manifest["id"] is None
    assert manifest["jobs"][1] == {"jid": "j1.1", "key": FAILS, "name": "job 1", "item": [1]}


def test_all_jobs_have_a_job_file_as_soon_as_the_batch_is_launched(host: Host, fifo: str) -> None:
    host.launch("j1", runs_until_it_is_ended(fifo), OK, OK, limits={"window": 1})
    Path(fifo).read_bytes()
    assert host.states("j1") == ["running", "queued", "queued"]
    assert host.folder("j1").supervisor()


def test_the_supervisor_has_nothing_to_do_with_whoever_launched_it(host: Host, fifo: str) -> None:
    host.launch("j1", runs_until_it_is_ended(fifo))
    Path(fifo).read_bytes()
    supervisor = host.folder("j1").supervisor()
    assert supervisor
    assert os.getsid(supervisor) == supervisor
    held = [os.readlink(f"/proc/{supervisor}/fd/{fd}") for fd in range(3)]
    assert held == ["/dev/null", "/dev/null", host.folder("j1").file("supervisor.err")]


def test_an_order_that_comes_twice_starts_the_batch_once(host: Host) -> None:
    """Its first answer was lost with the connection."""
    host.run("j1", f"echo x >>{host.directory.path}/count; {OK}")
    answer = host.run("j1", f"echo x >>{host.directory.path}/count; {OK}")
    assert Path(host.directory.path, "count").read_text(encoding="utf-8") == "x\n"
    assert [job["jid"] for job in answer["jobs"]] == ["j1.0"]


def test_a_batch_runs_when_whoever_ordered_it_has_gone(host: Host, fifo: str) -> None:
    host.ground.prepare_fork()
    with Launcher()._socket as link:
        request = {"order": order("j1", f"echo >{fifo}; {OK}"), "path": host.directory.path}
        link.sendall(json.dumps(request).encode() + b"\n")
    Path(fifo).read_bytes()
    host.wait("j1")
    assert host.states("j1") == ["succeeded"]


def test_a_launcher_that_was_not_needed_leaves(ground: Ground) -> None:
    def body() -> None:
        ground.prepare_fork()
        launcher = Launcher()
        launcher._socket.close()
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0

    assert exit_code(fork(body)) == 0


def test_the_environment_of_a_job_arrives(host: Host) -> None:
    host.run("j1", 'echo "{\\"x\\": \\"$X\\"}"', environment={"X": "y"})
    assert host.result("j1.0") == {"x": "y"}


# When nothing can be started


def test_an_order_that_cannot_be_read_is_one_clear_error(host: Host) -> None:
    host.ground.prepare_fork()
    with pytest.raises(BatchError, match="the supervisor died while it started"):
        Launcher().launch("junk", host.directory.path)


def test_a_job_directory_that_cannot_be_used_is_one_clear_error(host: Host, tmp_path: Path) -> None:
    host.ground.prepare_fork()
    (tmp_path / "file").touch()
    with pytest.raises(BatchError, match=r"cannot make the job directory .*/file/jobs"):
        Launcher().launch(order("j1", OK), str(tmp_path / "file" / "jobs"))


def test_a_full_disk_is_one_clear_error(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*dummy_arguments: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JobDirectory, "create_marker", full)
    with pytest.raises(BatchError, match=r"the batch cannot be started: .*No space left on device"):
        host.launch("j1", OK)
    host.wait("j1")
    assert host.folder("j1").supervisor() is None


def test_an_id_that_is_none_is_one_clear_error(host: Host) -> None:
    with pytest.raises(BatchError, match="is no id of a batch"):
        host.launch("j1", OK, id="../x")


def test_a_folder_that_somebody_else_could_write_to_is_one_clear_error(host: Host) -> None:
    os.chmod(os.path.join(host.directory.path, _batch_folder.FOLDER), 0o777)
    with pytest.raises(BatchError, match="others may write to it: remove it"):
        host.launch("j1", OK)


# When a batch of that id lives


def test_a_second_run_attaches_to_a_batch_that_lives(host: Host, fifo: str) -> None:
    host.launch("j1", runs_until_it_is_ended(fifo), id="nightly")
    Path(fifo).read_bytes()
    answer = host.launch("j2", OK, OK, id="nightly")
    assert answer["number"] == "j1"
    assert [job["jid"] for job in answer["jobs"]] == ["j1.0"]
    assert not host.folder("j2").exists()


def test_a_second_run_may_fail_instead(host: Host, fifo: str) -> None:
    host.launch("j1", runs_until_it_is_ended(fifo), id="nightly")
    with pytest.raises(BatchError, match="the batch 'nightly' lives already on this host, and on_existing is fail"):
        host.launch("j2", OK, id="nightly", on_existing="fail")
    Path(fifo).read_bytes()
    assert host.states("j1") == ["running"]


def test_a_second_run_may_replace_the_batch(host: Host, fifo: str) -> None:
    host.launch("j1", runs_until_it_is_ended(fifo), OK, id="nightly", limits={"window": 1})
    Path(fifo).read_bytes()
    answer = host.run("j2", OK, id="nightly", on_existing="replace")
    assert (answer["number"], answer["jobs"]) == ("j2", None)
    assert host.states("j1") == ["cancelled", "cancelled"]
    assert host.states("j2") == ["succeeded"]
    assert _batch_folder.find(host.directory.path, "nightly").number == "j2"


def test_a_batch_with_a_grace_of_more_than_a_day_can_be_replaced_as_well(host: Host, fifo: str) -> None:
    host.launch("j1", runs_until_it_is_ended(fifo), id="nightly", limits={"window": 1, "grace": 1e6})
    Path(fifo).read_bytes()
    assert host.run("j2", OK, id="nightly", on_existing="replace")["number"] == "j2"
    assert host.states("j1") == ["cancelled"]


def killed_supervisor(host: Host, fifo: str) -> None:
    """A batch whose supervisor was killed while its first job ran."""
    host.launch("j1", runs_until_it_is_ended(fifo), OK, id="nightly", limits={"window": 1})
    Path(fifo).read_bytes()
    supervisor = host.folder("j1").supervisor()
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)
    host.wait("j1")


def test_a_batch_lives_as_long_as_a_job_of_it_does(host: Host, fifo: str) -> None:
    killed_supervisor(host, fifo)
    answer = host.launch("j2", OK, id="nightly")
    assert answer["number"] == "j1"
    assert host.run("j3", OK, id="nightly", on_existing="replace")["number"] == "j3"
    assert host.states("j1")[0] == "cancelled"
    assert host.result("j1.0")["msg"] == "another run replaced its batch"
    assert host.states("j3") == ["succeeded"]


def test_a_job_of_somebody_else_that_only_says_it_is_of_the_batch_is_left_alone(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.run("j1", OK, id="nightly")
    folder = host.folder("j1")
    (Path(host.directory.path) / "j1.0").write_bytes(_jobs.marker("j1.0", (os.getpid(), 0.0, "")))
    monkeypatch.setattr(_launch._processes, "is_alive", lambda said: True)
    monkeypatch.setattr(_launch._processes, "owner", lambda pid: os.geteuid() + 1)
    assert not _launch._has_left_behind(folder, host.directory)
    monkeypatch.setattr(_launch._processes, "owner", lambda pid: os.geteuid())
    assert _launch._has_left_behind(folder, host.directory)


def test_a_batch_that_cannot_be_ended_is_one_clear_error(
    host: Host, fifo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ending, "END_MARGIN", 0.01)
    monkeypatch.setattr(_launch._processes, "owner", lambda pid: None)
    host.launch("j1", runs_until_it_is_ended(fifo), id="nightly")
    Path(fifo).read_bytes()
    with pytest.raises(BatchError, match=r"the batch 'nightly' could not be ended in 0\.01 s"):
        host.launch("j2", OK, id="nightly", on_existing="replace")


# When a batch of that id has ended


@pytest.mark.parametrize("on_existing", ["attach", "fail", "replace"])
def test_a_batch_that_has_ended_is_started_anew(host: Host, on_existing: str) -> None:
    host.run("j1", OK, id="nightly")
    answer = host.run("j2", OK, id="nightly", on_existing=on_existing)
    assert (answer["number"], answer["jobs"]) == ("j2", None)
    assert host.states("j2") == ["succeeded"]


def test_only_the_jobs_that_did_not_succeed_are_started_again_when_that_is_asked_for(host: Host) -> None:
    once = f"[ -e {host.directory.path}/done ] || {{ : >{host.directory.path}/done; exit 1; }}; {OK}"
    host.run("j1", OK, once, FAILS, id="nightly")
    answer = host.run("j2", FAILS, OK, once, id="nightly", rerun="failed")
    assert [job["jid"] for job in answer["jobs"]] == ["j2.0", "j1.0", "j2.2"]
    assert [job["name"] for job in answer["jobs"]] == ["job 0", "job 1", "job 2"]
    assert host.states("j2") == ["failed", "succeeded", "succeeded"]
    third = host.run("j3", OK, once, FAILS, id="nightly", rerun="failed")
    assert [job["jid"] for job in third["jobs"]] == ["j1.0", "j2.2", "j3.2"]


def test_where_all_jobs_succeeded_nothing_is_started_again(host: Host) -> None:
    host.run("j1", OK, id="nightly")
    answer = host.run("j2", OK, id="nightly", rerun="failed")
    assert [job["jid"] for job in answer["jobs"]] == ["j1.0"]
    assert host.directory.read("j2.0").state == "missing"


def test_jobs_that_are_alike_are_counted_one_by_one(host: Host) -> None:
    host.run("j1", OK, id="nightly")
    answer = host.run("j2", OK, OK, id="nightly", rerun="failed")
    assert [job["jid"] for job in answer["jobs"]] == ["j1.0", "j2.1"]


def test_a_result_that_was_deleted_is_made_again(host: Host) -> None:
    host.run("j1", OK, OK, id="nightly")
    host.directory.delete("j1.1")
    host.run("j2", OK, OK, id="nightly", rerun="failed")
    assert [job["jid"] for job in host.folder("j2").manifest()["jobs"]] == ["j1.0", "j2.1"]


def test_a_damaged_batch_is_one_clear_error(host: Host) -> None:
    host.run("j1", OK, id="nightly")
    Path(host.folder("j1").file("batch.json")).write_text("{", encoding="utf-8")
    with pytest.raises(BatchError, match="damaged: give the batch another id"):
        host.launch("j2", OK, id="nightly")


# Options of the host


@pytest.mark.parametrize(
    ("wanted", "cpus", "window"),
    [(7, 4, 7), (None, 4, 4), ("50%", 4, 2), ("50%", 3, 1), ("1%", 4, 1), ("250%", 4, 10), ("12.5%", 16, 2)],
)
def test_the_window_is_a_number_or_a_part_of_the_cpus_that_we_may_use(
    monkeypatch: pytest.MonkeyPatch, wanted: t.Any, cpus: int, window: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)))
    assert _launch._window(wanted) == window


def test_where_the_system_does_not_tell_which_cpus_we_may_use_all_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert _launch._window(None) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert _launch._window(None) == 1


def test_the_priority_reaches_the_jobs(host: Host) -> None:
    host.run("j1", 'echo "{\\"nice\\": $(nice)}"', nice=3)
    assert host.result("j1.0") == {"nice": os.nice(0) + 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nice": -5}, "nice is -5: Operation not permitted; only root may raise the priority"),
        ({"io_class": "idle"}, "io_class is idle: ionice failed on this host"),
        ({"io_class": "best-effort"}, "io_class is best-effort: ionice failed on this host"),
    ],
)
def test_a_priority_that_cannot_be_had_is_one_clear_error(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: t.Any, message: str
) -> None:
    def forbidden(dummy: int) -> t.NoReturn:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "nice", forbidden)
    (tmp_path / "ionice").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (tmp_path / "ionice").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BatchError, match=message):
        host.launch("j1", OK, **options)
    assert not host.folder("j1").exists()


def test_the_class_of_the_priority_for_disks_is_set_by_its_number(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ionice").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\n', encoding="utf-8")
    (tmp_path / "ionice").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    host.run("j1", OK, io_class="idle")
    asked = (tmp_path / "asked").read_text(encoding="utf-8").split()
    assert asked[:3] == ["-c", "3", "-p"]
    assert asked[3] == Path(host.folder("j1").file("lock")).read_text(encoding="ascii")


def test_a_host_without_ionice_is_one_clear_error(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BatchError, match=r"the host has no ionice \(package util-linux\)"):
        host.launch("j1", OK, io_class="idle")
