# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _cancel, _ending, _jobs, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError
from ansible_collections.inflight.jobs.plugins.module_utils._cancel import Cancel
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory

from ..conftest import FOREVER, NUMBER, Ground, living, made_folder, says
from .test__ending import OTHER, RUNS, RUNS_ON, Pipes, Started, finish, goes_on, kill_supervisor, new_jid
from .test__launch import Host

Answer = dict[str, t.Any]

US = pwd.getpwuid(os.geteuid()).pw_name
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have processes of another user")


def no_command(command: list[str], **dummy_options: t.Any) -> t.NoReturn:
    raise FileNotFoundError(command[0])


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Who ends jobs cannot be woken any more; the tests that follow can. Nobody came by sudo."""
    monkeypatch.delenv("SUDO_USER", raising=False)
    before = signal.getsignal(_processes.WAKE)
    yield
    signal.signal(_processes.WAKE, before)


@pytest.fixture
def started(directory: JobDirectory) -> Iterator[Started]:
    started = Started(directory)
    yield started
    started.end()


@pytest.fixture
def pipes(tmp_path: Path) -> Pipes:
    return Pipes(tmp_path)


@pytest.fixture
def host(directory: JobDirectory, ground: Ground, started: Started) -> Iterator[Host]:
    """Where batches are launched for real."""
    host = Host(directory, ground)
    yield host
    for number in host.numbers:
        if host.folder(number).supervisor():
            kill_supervisor(host, number)


def cancel(directory: JobDirectory, *, only_look: bool = False, jobs: list[str] | None = None, **more: t.Any) -> Answer:
    """Run a cancel as the action asks for it; its answer, as it travels to the controller."""
    request: Answer = {
        "directories": [{"path": directory.path, "jobs": jobs}],
        **dict.fromkeys(("batch", "states", "name", "older_than", "newer_than", "why")),
        "signal": "TERM",
        "grace": FOREVER,
        **more,
    }
    answer: Answer = json.loads(json.dumps(Cancel(request, no_command, only_look).run()))
    return answer


def put(directory: JobDirectory, jid: str, content: object) -> None:
    """Write a job file that is old."""
    path = Path(directory.file(jid))
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    os.utime(path, (1_700_000_000, 1_700_000_000))


def text(directory: JobDirectory, jid: str) -> Answer:
    return t.cast("Answer", json.loads(Path(directory.file(jid)).read_bytes()))


def states(answer: Answer) -> dict[str, str]:
    return {report["jid"]: report["state"] for report in answer["jobs"]}


def content(directory: JobDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(directory.path).iterdir() if path.is_file()}


# What it does


def test_a_job_of_core_is_cancelled_and_says_when_and_by_whom(directory: JobDirectory, started: Started) -> None:
    jid = started.core(RUNS)
    answer = cancel(directory, jobs=[jid])
    assert started.living() == set()
    assert (answer["cancelled"], answer["left"], answer["remarks"]) == (1, [], [])
    (report,) = answer["jobs"]
    assert (report["jid"], report["state"], report["name"]) == (jid, "cancelled", jid)
    said = text(directory, jid)
    assert set(said) == {"failed", "msg", "inflight_state"}
    assert re.fullmatch(f"cancelled at {MOMENT} by {US}", said["msg"])
    assert said["inflight_state"] == "cancelled"
    assert json.loads(report["text"]) == said


def test_the_job_file_says_why_and_who_came_by_sudo(
    directory: JobDirectory, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    jid = started.core(RUNS)
    cancel(directory, why="its wait was over")
    assert re.fullmatch(
        rf"cancelled at {MOMENT} by {US} \(sudo by alice\): its wait was over", text(directory, jid)["msg"]
    )


@pytest.mark.parametrize("login", ["", "x\ny", "\x1b[31m", US])
def test_a_login_that_says_nothing_is_not_told(
    directory: JobDirectory, started: Started, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    monkeypatch.setenv("SUDO_USER", login)
    jid = started.core(RUNS)
    cancel(directory)
    assert re.fullmatch(f"cancelled at {MOMENT} by {US}", text(directory, jid)["msg"])


def test_all_jobs_that_have_not_ended_are_cancelled_where_none_are_named(host: Host, started: Started) -> None:
    put(host.directory, "j9.1", {"rc": 0})
    jid = started.core(RUNS)
    pipes = Pipes(Path(host.directory.path).parent)
    scripts = (goes_on(pipes.make("runs")), says(rc=0))
    host.launch("j1", *scripts, environment=started.environment, limits={"window": 1})
    pipes.hear("runs")
    answer = cancel(host.directory)
    assert states(answer) == {jid: "cancelled", "j1.0": "cancelled", "j1.1": "cancelled"}
    assert answer["cancelled"] == 3
    assert started.living() == set()
    assert text(host.directory, "j1.1")["msg"].startswith("not started: cancelled at ")


def test_only_the_jobs_that_are_meant_are_cancelled(host: Host, started: Started, pipes: Pipes) -> None:
    jid = started.core(RUNS)
    before = started.living()
    more, go = pipes.make("more"), pipes.make("go")
    scripts = (goes_on(pipes.make("runs")), finish(go), finish(more))
    host.launch("j1", *scripts, environment=started.environment, id="nightly")
    pipes.hear("runs")
    answer = cancel(host.directory, batch="nightly", name="job [02]")
    assert states(answer) == {"j1.0": "cancelled", "j1.2": "cancelled"}
    assert answer["cancelled"] == 2
    pipes.tell("go")
    host.wait("j1")
    assert host.states("j1") == ["cancelled", "succeeded", "cancelled"]
    assert started.living() == before
    assert host.directory.read(jid).state == "running"


def test_jobs_of_a_batch_without_a_supervisor_are_cancelled(host: Host, started: Started, pipes: Pipes) -> None:
    scripts = (goes_on(pipes.make("runs")), says(rc=0))
    host.launch("j1", *scripts, environment=started.environment, limits={"window": 1})
    pipes.hear("runs")
    kill_supervisor(host, "j1")
    answer = cancel(host.directory, jobs=["j1.0", "j1.1"])
    # What waited for its turn had been lost before.
    assert states(answer) == {"j1.0": "cancelled", "j1.1": "lost"}
    assert (answer["cancelled"], answer["left"]) == (1, [])
    assert started.living() == set()


def test_a_job_that_was_faster_keeps_its_result(
    directory: JobDirectory, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    jid = started.core(RUNS)
    real = _cancel.Cancel._end

    def end(self: Cancel, jobs: list[t.Any]) -> t.Any:
        put(directory, jid, {"rc": 0})
        return real(self, jobs)

    monkeypatch.setattr(Cancel, "_end", end)
    answer = cancel(directory, jobs=[jid])
    assert states(answer) == {jid: "succeeded"}
    assert (answer["cancelled"], answer["left"]) == (0, [])
    assert text(directory, jid) == {"rc": 0}


def test_a_job_that_cannot_be_ended_is_told_with_the_reason(
    directory: JobDirectory, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = started.core(RUNS_ON)
    spared = started.living()
    jid = started.core(RUNS)
    real = os.kill
    monkeypatch.setattr(_ending, "END_MARGIN", 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", lambda pid, number: None if pid in spared else real(pid, number))
        answer = cancel(directory, grace=0.2)
    assert states(answer) == {stays: "running", jid: "cancelled"}
    assert answer["cancelled"] == 1
    ((name, why),) = answer["left"]
    assert name == stays
    assert why.startswith("not gone in 0.7 s: process ")


# What it leaves alone


ENDED = {
    "j1.1": ({"rc": 0, "changed": True}, "succeeded"),
    "j1.2": ({"failed": True, "msg": "no"}, "failed"),
    "j1.3": ({"failed": True, "msg": "gone", "inflight_state": "lost"}, "lost"),
    "j1.4": ({"started": 1, "finished": 0, "ansible_job_id": "j1.4"}, "lost"),
    "j1.5": ("{", "unreadable"),
    "j1.6": ({"failed": True, "msg": "late", "inflight_state": "timed_out"}, "timed_out"),
    "j1.7": ({"failed": True, "msg": "ended", "inflight_state": "cancelled"}, "cancelled"),
}


def test_jobs_that_have_ended_are_told_and_left_alone(directory: JobDirectory) -> None:
    for jid, (said, dummy) in ENDED.items():
        put(directory, jid, said)
    before = content(directory)
    answer = cancel(directory, jobs=[*ENDED, "j1.8"])
    assert states(answer) == {**{jid: state for jid, (dummy, state) in ENDED.items()}, "j1.8": "missing"}
    assert (answer["cancelled"], answer["left"]) == (0, [])
    assert content(directory) == before


def test_jobs_that_have_ended_are_not_told_where_none_are_named(directory: JobDirectory) -> None:
    for jid, (said, dummy) in ENDED.items():
        put(directory, jid, said)
    assert cancel(directory) == {"jobs": [], "cancelled": 0, "left": [], "remarks": []}


def test_jobs_that_have_ended_are_left_alone_beside_one_that_is_cancelled(
    directory: JobDirectory, started: Started
) -> None:
    for jid, (said, dummy) in ENDED.items():
        put(directory, jid, said)
    before = content(directory)
    running = started.core(RUNS)
    answer = cancel(directory, jobs=[*ENDED, running])
    assert states(answer) == {**{jid: state for jid, (dummy, state) in ENDED.items()}, running: "cancelled"}
    assert answer["cancelled"] == 1
    after = content(directory)
    del after[running]
    assert after == before


def test_a_second_run_changes_nothing(directory: JobDirectory, started: Started) -> None:
    jid = started.core(RUNS)
    first = cancel(directory, jobs=[jid])
    before = content(directory), os.stat(directory.file(jid)).st_mtime_ns
    second = cancel(directory, jobs=[jid])
    assert second == {**first, "cancelled": 0}
    assert (content(directory), os.stat(directory.file(jid)).st_mtime_ns) == before


def test_who_only_looks_ends_nothing(host: Host, started: Started, pipes: Pipes) -> None:
    jid = started.core(RUNS)
    scripts = (goes_on(pipes.make("runs")), says(rc=0))
    host.launch("j1", *scripts, environment=started.environment, limits={"window": 1})
    pipes.hear("runs")
    before = started.living(), content(host.directory), host.folder("j1").files()
    answer = cancel(host.directory, only_look=True)
    assert states(answer) == {jid: "running", "j1.0": "running", "j1.1": "queued"}
    assert (answer["cancelled"], answer["left"]) == (3, [])
    assert (started.living(), content(host.directory), host.folder("j1").files()) == before


@pytest.mark.parametrize("only_look", [False, True])
def test_a_batch_that_is_not_there_is_a_remark(directory: JobDirectory, only_look: bool) -> None:
    answer = cancel(directory, batch="nightly", only_look=only_look)
    assert answer == {
        "jobs": [],
        "cancelled": 0,
        "left": [],
        "remarks": [f"there is no batch 'nightly' in the job directory {directory.path}: there is nothing to cancel."],
    }
    assert os.listdir(directory.path) == []


def test_a_batch_that_is_damaged_is_one_clear_error(directory: JobDirectory) -> None:
    folder = made_folder(directory)
    with _batch_folder.BatchId(directory.path, "nightly", keep=True) as batch_id:
        batch_id.set_latest(folder)
    Path(folder.file("batch.json")).write_text("{", encoding="utf-8")
    with pytest.raises(BatchError, match="damaged"):
        cancel(directory, batch="nightly")


def test_a_job_directory_that_is_not_there_has_nothing_to_cancel(tmp_path: Path) -> None:
    assert cancel(JobDirectory(str(tmp_path / "none")))["jobs"] == []
    assert os.listdir(tmp_path) == []


def test_no_job_is_what_only_looks_like_one(
    directory: JobDirectory, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ending, "END_MARGIN", 0.2)
    jid = new_jid()
    started.says_that_it_runs(jid)
    pid = started.look_alike(jid)
    answer = cancel(directory, grace=0)
    assert answer["left"] == [[jid, "which processes are its own cannot be told"]]
    assert answer["cancelled"] == 0
    assert started.living() == {pid}


# Other users


def given(directory: JobDirectory, user: int) -> JobDirectory:
    """The job directory, as one that belongs to another user."""
    os.chown(directory.path, user, -1)
    return JobDirectory(directory.path)


@needs_root
def test_root_cancels_a_job_of_another_user_with_the_rights_of_that_user(
    directory: JobDirectory, started: Started, tmp_path: Path
) -> None:
    directory = given(directory, OTHER)
    jid = started.core(RUNS, user=OTHER)
    assert started.living()
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    Path(directory.file(jid + _jobs.TEMPORARY)).symlink_to(secret)
    answer = cancel(directory, jobs=[jid])
    assert (answer["cancelled"], answer["left"]) == (1, [])
    assert started.living() == set()
    assert states(answer) == {jid: "cancelled"}
    assert os.listdir(directory.path) == [jid]
    found = os.stat(directory.file(jid))
    assert (found.st_uid, found.st_mode & 0o777) == (OTHER, 0o600)
    assert found.st_gid == pwd.getpwuid(OTHER).pw_gid
    assert secret.read_text(encoding="utf-8") == "secret"
    assert os.stat(secret).st_uid == 0


@needs_root
def test_the_job_file_of_another_user_says_that_root_cancelled_it(directory: JobDirectory, started: Started) -> None:
    directory = given(directory, OTHER)
    jid = started.core(RUNS, user=OTHER)
    cancel(directory, jobs=[jid])
    assert re.fullmatch(f"cancelled at {MOMENT} by {US}", text(directory, jid)["msg"])


@needs_root
def test_root_ends_no_process_of_root_for_a_job_file_of_another_user(
    directory: JobDirectory, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ending, "END_MARGIN", 0.2)
    directory = given(directory, OTHER)
    forged = started.core(RUNS)
    os.chown(directory.file(forged), OTHER, -1)
    made_folder(directory)
    with living(os.setsid) as stranger:
        jid = f"{NUMBER}.0"
        directory.create_marker(jid)
        directory.change_marker(jid, _processes.identity(stranger))
        os.chown(directory.file(jid), OTHER, -1)
        before = started.living()
        answer = cancel(directory, grace=0)
        assert stranger in _processes.table()
    assert started.living() == before
    assert states(answer) == {forged: "running", jid: "running"}
    assert answer["cancelled"] == 0
    assert jid in [name for name, dummy in answer["left"]]


@needs_root
def test_jobs_of_several_users_are_cancelled_at_the_same_time(directory: JobDirectory, started: Started) -> None:
    directory = given(directory, OTHER)
    jids = [started.core(RUNS, user=OTHER), started.core(RUNS), started.core(RUNS, user=OTHER)]
    answer = cancel(directory)
    assert states(answer) == dict.fromkeys(jids, "cancelled")
    assert answer["cancelled"] == 3
    assert [os.stat(directory.file(jid)).st_uid for jid in jids] == [OTHER, 0, OTHER]
    assert started.living() == set()


@needs_root
def test_a_job_of_a_user_without_an_account_is_told_with_the_reason(directory: JobDirectory, started: Started) -> None:
    user = next(user for user in range(54321, 64321) if user not in {one.pw_uid for one in pwd.getpwall()})
    directory = given(directory, user)
    jid = started.core(RUNS, user=user)
    before = started.living()
    answer = cancel(directory)
    assert answer["left"] == [[jid, f"there is no account for user id {user}"]]
    assert started.living() == before
    assert states(answer) == {jid: "running"}


@needs_root
def test_who_is_not_root_is_told_whose_job_it_is(
    directory: JobDirectory, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = given(directory, OTHER)
    jid = started.core(RUNS, user=OTHER)
    before = started.living()
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    answer = cancel(directory)
    name = pwd.getpwuid(OTHER).pw_name
    assert answer["left"] == [[jid, f"it belongs to user {name}: cancel it as that user (become_user)"]]
    assert started.living() == before


@needs_root
def test_a_failure_as_another_user_is_told_and_keeps_no_other_job_from_ending(
    directory: JobDirectory, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _ending.Ending.run

    def run(self: _ending.Ending, jobs: t.Any) -> t.Any:
        if os.geteuid() == OTHER:
            os._exit(9)
        return real(self, jobs)

    monkeypatch.setattr(_ending.Ending, "run", run)
    directory = given(directory, OTHER)
    theirs, ours = started.core(RUNS, user=OTHER), started.core(RUNS)
    answer = cancel(directory)
    assert states(answer) == {theirs: "running", ours: "cancelled"}
    assert answer["left"] == [[theirs, f"what was done as user {pwd.getpwuid(OTHER).pw_name} failed"]]
