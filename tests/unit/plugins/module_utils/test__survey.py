# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import subprocess
import sys
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils import basic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _jobs, _processes, _survey
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError, BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory, JobDirectoryError
from ansible_collections.inflight.jobs.plugins.module_utils._survey import Survey, brief
from ansible_collections.inflight.jobs.plugins.modules import async_info
from ansible_collections.inflight.jobs.plugins.plugin_utils import _registered

from ..conftest import NUMBER, living, made_folder, supervised

Request = dict[str, t.Any]
Report = dict[str, t.Any]

FIRST, SECOND, THIRD = (f"{NUMBER}.{place}" for place in range(3))
# What is told of a job only when its processes are seen.
OF_PROCESSES = {"pid", "user", "command", "cpu_seconds", "memory_bytes", "children", "time_left"}

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")


def no_command(command: list[str], **dummy_options: t.Any) -> t.NoReturn:
    raise FileNotFoundError(command[0])


def request(*paths: Path | str, jobs: list[str] | None = None, **more: t.Any) -> Request:
    """A request as the action sends it: for all jobs of these directories."""
    directories = [{"path": str(path), "jobs": jobs} for path in paths]
    filters = dict.fromkeys(("batch", "states", "name", "older_than", "newer_than"))
    return {"directories": directories, **filters, "results": False, **more}


def look(asked: Request, keep_text: Callable[[str], str] = brief) -> list[Report]:
    """What a survey reports, as it travels to the controller."""
    survey = Survey(asked, no_command)
    reports: list[Report] = json.loads(json.dumps([survey.report(one) for one in survey.find(keep_text)]))
    return reports


def surveyed(directory: JobDirectory, **more: t.Any) -> dict[str, Report]:
    """What a survey reports of one job directory, by job."""
    return {report["jid"]: report for report in look(request(directory.path, **more))}


def states(directory: JobDirectory, **more: t.Any) -> dict[str, str]:
    return {jid: report["state"] for jid, report in surveyed(directory, **more).items()}


def put(directory: JobDirectory, jid: str, content: object, age: float = 100) -> None:
    """Write a job file that was last changed so many seconds ago."""
    path = Path(directory.file(jid))
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    moment = time.time() - age
    os.utime(path, (moment, moment))


def cores_marker(jid: str) -> dict[str, t.Any]:
    return {"started": 1, "finished": 0, "ansible_job_id": jid}


def run_as(directory: JobDirectory, jid: str, pid: int) -> None:
    """Let a job file say that this process runs the job."""
    if not os.path.exists(directory.file(jid)):
        directory.create_marker(jid)
    directory.change_marker(jid, _processes.identity(pid))


def name_batch(folder: BatchFolder, name: str) -> None:
    with _batch_folder.BatchId(folder.directory, name, keep=True) as batch_id:
        batch_id.set_latest(folder)


@contextlib.contextmanager
def wrapper(tmp_path: Path, jid: str, limit: str) -> Iterator[int]:
    """A process that looks like the watcher of a job, and has a program below it; its pid."""
    program = tmp_path / "async_wrapper.py"
    command = ["/bin/sh", str(program), jid.split(".", maxsplit=1)[0], limit, "/x/AnsiballZ_command.py", "_"]
    # A program in the background is given /dev/null to read: so it is given the pipe by another number.
    program.write_text("exec 3<&0; sh -c 'echo ready; read line <&3; exit' one two & wait\n", encoding="utf-8")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
        # Leaving closes its standard input, and so ends both.


# States


def test_an_empty_directory_and_one_that_is_not_there_have_no_jobs(directory: JobDirectory) -> None:
    assert look(request(directory.path, directory.file("nowhere"))) == []


@pytest.mark.parametrize(
    ("content", "state"),
    [
        ({"changed": True, "rc": 0}, "succeeded"),
        ({"failed": True, "msg": "no"}, "failed"),
        ({"rc": 3}, "failed"),
        ({"failed": 1, "child_pid": 5, "msg": "Timeout exceeded"}, "timed_out"),
        ({"failed": True, "msg": "late", "inflight_state": "timed_out"}, "timed_out"),
        ({"failed": True, "msg": "ended", "inflight_state": "cancelled"}, "cancelled"),
        ({"failed": True, "msg": "gone", "inflight_state": "lost"}, "lost"),
        ("", "unreadable"),
        ("{", "unreadable"),
        ("[]", "unreadable"),
        (cores_marker("j1.1"), "lost"),
    ],
)
def test_the_state_is_what_the_job_file_and_the_process_table_tell(
    directory: JobDirectory, content: object, state: str
) -> None:
    put(directory, "j1.1", content)
    (report,) = look(request(directory.path))
    assert report["state"] == state
    assert report["results_file"] == directory.file("j1.1")
    assert report["name"] == "j1.1"
    assert report["item"] is None
    assert not OF_PROCESSES & report.keys()
    assert "batch" not in report


def test_a_file_that_is_being_written_runs(directory: JobDirectory) -> None:
    put(directory, "j1.1", "", age=0)
    assert states(directory) == {"j1.1": "running"}


def test_a_job_that_was_named_and_has_no_file_is_missing_and_comes_last(directory: JobDirectory) -> None:
    put(directory, "j2.2", {})
    reports = look(request(directory.path, jobs=["j1.1", "j2.2"]))
    assert [(report["jid"], report["state"]) for report in reports] == [("j2.2", "succeeded"), ("j1.1", "missing")]
    assert "there is no job file" in reports[1]["reason"]


def test_without_a_job_directory_the_jobs_that_were_named_are_missing(tmp_path: Path) -> None:
    (report,) = look(request(tmp_path / "nowhere", jobs=["j1.1"]))
    assert (report["state"], report["text"]) == ("missing", None)


def test_the_job_whose_file_was_changed_longest_ago_comes_first(directory: JobDirectory) -> None:
    for jid, age in (("j1.1", 50), ("j2.2", 300), ("j3.3", 10)):
        put(directory, jid, {}, age)
    assert [report["jid"] for report in look(request(directory.path))] == ["j2.2", "j1.1", "j3.3"]


def test_a_job_that_ended_says_when(directory: JobDirectory) -> None:
    put(directory, "j1.1", {"failed": True, "msg": "no"})
    os.utime(directory.file("j1.1"), (1_700_000_000, 1_700_000_000))
    (report,) = look(request(directory.path))
    assert report["ended_at"] == "2023-11-14T22:13:20.000Z"
    assert "started_at" not in report


def test_a_job_file_from_another_age_of_the_world_hides_no_other(
    directory: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems keep times that no calendar has."""
    put(directory, "j1.1", {})
    put(directory, "j2.2", {})
    put(directory, "j3.3", "", age=0)
    real = JobDirectory.read
    odd = {"j1.1": 1e15, "j2.2": -1e15}

    def read(self: JobDirectory, jid: str) -> _jobs.JobFile:
        found = real(self, jid)
        return found._replace(modified=odd.get(jid, found.modified))

    monkeypatch.setattr(JobDirectory, "read", read)
    assert states(directory) == {"j1.1": "succeeded", "j2.2": "succeeded", "j3.3": "running"}
    assert surveyed(directory)["j1.1"]["ended_at"].startswith("9999-12-31T")


def test_nothing_but_job_files_counts_and_no_link_is_followed(directory: JobDirectory, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"msg": "hunter2"}', encoding="utf-8")
    Path(directory.file("j1.1")).symlink_to(secret)
    Path(directory.file("j2.2")).mkdir()
    os.mkfifo(directory.file("j3.3"))
    for name in ("j4.4.tmp", "j5", "x", ".j6.6", "j7.7\n"):
        Path(directory.file(name)).write_text("{}", encoding="utf-8")
    found = surveyed(directory)
    assert {jid: report["state"] for jid, report in found.items()} == dict.fromkeys(
        ("j1.1", "j2.2", "j3.3"), "unreadable"
    )
    assert "symbolic link" in found["j1.1"]["reason"]
    assert "hunter2" not in json.dumps(found)


def test_a_survey_changes_nothing_inside_or_outside_of_the_directory(
    directory: JobDirectory, batch_folder: BatchFolder, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_text("{}", encoding="utf-8")
    Path(directory.file("j1.1")).symlink_to(tmp_path / "outside")
    name_batch(batch_folder, "nightly")
    directory.create_marker(FIRST)
    put(directory, SECOND, {"rc": 1})
    put(directory, "j2.2", cores_marker("j2.2"))

    def picture() -> dict[str, tuple[int, ...]]:
        found = {str(path): path.lstat() for path in tmp_path.rglob("*")}
        return {path: (stat.st_ino, stat.st_mode, stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}

    before = picture()
    look(request(directory.path, name="*"))
    look(request(directory.path, batch="nightly"))
    with pytest.raises(BatchError):
        look(request(directory.path, batch="weekly"))
    assert picture() == before


def test_a_folder_of_batches_that_is_a_link_is_not_used(directory: JobDirectory, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / NUMBER).mkdir(parents=True)
    (elsewhere / NUMBER / "batch.json").write_text(
        json.dumps({"id": "forged", "jobs": [{"jid": FIRST, "key": "", "name": "forged", "item": None}]}), "utf-8"
    )
    Path(directory.file(".inflight")).symlink_to(elsewhere)
    put(directory, FIRST, {})
    (report,) = look(request(directory.path))
    assert report["name"] == FIRST
    assert "batch" not in report


def test_a_directory_that_cannot_be_used_is_an_error(directory: JobDirectory) -> None:
    put(directory, "j1.1", {})
    with pytest.raises(JobDirectoryError, match="cannot open the job directory"):
        look(request(directory.file("j1.1")))


def test_what_is_wrong_with_a_directory_is_remarked(directory: JobDirectory) -> None:
    Path(directory.path).chmod(0o777)
    survey = Survey(request(directory.path), no_command)
    assert survey.find(brief) == []
    (remark,) = survey.remarks
    assert "Every local user may write to the job directory" in remark


def test_jobs_of_several_directories_are_told_apart(directory: JobDirectory, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    put(directory, "j1.1", {"rc": 0}, age=10)
    put(JobDirectory(str(other)), "j1.1", {"rc": 1}, age=20)
    reports = look(request(directory.path, other))
    assert [(report["place"], report["state"]) for report in reports] == [(1, "failed"), (0, "succeeded")]


def test_a_job_that_ends_between_the_two_looks_is_not_lost(
    directory: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(directory, "j1.1", cores_marker("j1.1"))
    kept = []

    def living(self: object, jobs: t.Any, users_of: object) -> dict[str, t.Any]:
        put(directory, "j1.1", {"changed": True}, age=0)
        return {}

    def keep(text: str) -> str:
        kept.append(text)
        return "{}"

    monkeypatch.setattr(_processes.JobProcesses, "living", living)
    (report,) = look(request(directory.path), keep)
    assert (report["state"], report["text"], kept) == ("succeeded", "{}", ['{"changed": true}'])


def test_where_processes_of_others_cannot_be_seen_nothing_is_called_lost(
    directory: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(directory, "j1.1", cores_marker("j1.1"), age=60)
    monkeypatch.setattr(_survey.Living, "can_know", lambda self, job: False)
    (report,) = look(request(directory.path))
    assert report["state"] == "running"
    assert 59 < report["elapsed"] < 80
    assert not OF_PROCESSES & report.keys()


# Jobs that core started


@needs_proc
def test_a_job_of_core_tells_its_processes(directory: JobDirectory, tmp_path: Path) -> None:
    jid = f"j{os.getpid()}001.77"
    put(directory, jid, cores_marker(jid))
    before = time.time()
    with wrapper(tmp_path, jid, "3600") as pid:
        (report,) = look(request(directory.path))
    assert (report["state"], report["pid"]) == ("running", pid)
    assert report["user"] == _survey.user_name(os.geteuid())
    assert report["children"] == 1
    assert report["command"] == "sh -c echo ready; read line <&3; exit one two"
    assert report["memory_bytes"] > 0
    assert report["cpu_seconds"] >= 0
    # Since the start of its process, not of its job file, which is older.
    assert 0 <= report["elapsed"] < 60
    assert report["time_left"] == pytest.approx(3600 - report["elapsed"], abs=0.01)
    assert report["started_at"] >= _jobs.iso(before - 2)
    assert report["text"] is None
    assert surveyed(directory)[jid]["state"] == "lost"


@needs_proc
def test_a_limit_that_has_passed_leaves_no_time(directory: JobDirectory, tmp_path: Path) -> None:
    jid = f"j{os.getpid()}002.77"
    put(directory, jid, cores_marker(jid))
    with wrapper(tmp_path, jid, "1") as pid:
        start = _processes._start_of(pid)
        assert start is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_processes, "boot_clock", lambda: start + 5)
            (report,) = look(request(directory.path))
    assert (report["elapsed"], report["time_left"]) == (5, 0)


# Jobs of a batch


def test_jobs_of_a_batch_have_its_names(directory: JobDirectory) -> None:
    jobs = [
        {"jid": FIRST, "key": "a", "name": "dump users", "item": {"db": "users"}},
        {"jid": SECOND, "key": "b", "name": None, "item": None},
    ]
    folder = BatchFolder(directory.path, NUMBER)
    folder.make({"id": "nightly", "jobs": jobs})
    put(directory, FIRST, {})
    put(directory, SECOND, {})
    put(directory, "j9.0", {})
    found = surveyed(directory)
    assert [(found[jid]["name"], found[jid]["item"], found[jid].get("batch")) for jid in (FIRST, SECOND, "j9.0")] == [
        ("dump users", {"db": "users"}, "nightly"),
        (SECOND, None, "nightly"),
        ("j9.0", None, None),
    ]


def test_a_batch_without_an_id_is_told_by_its_number(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    put(directory, FIRST, {})
    assert surveyed(directory)[FIRST]["batch"] == NUMBER


@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"jobs": 5}', '{"jobs": [{}]}', None])
def test_a_damaged_batch_does_not_hide_its_jobs(
    directory: JobDirectory, batch_folder: BatchFolder, manifest: str | None
) -> None:
    path = Path(batch_folder.file("batch.json"))
    path.unlink()
    if manifest is not None:
        path.write_text(manifest, encoding="utf-8")
    directory.create_marker(FIRST)
    put(directory, SECOND, {})
    with supervised(batch_folder):
        found = surveyed(directory)
    assert {jid: report["state"] for jid, report in found.items()} == {FIRST: "queued", SECOND: "succeeded"}
    assert found[FIRST]["batch"] == NUMBER
    assert "queue_place" not in found[FIRST]


def test_jobs_wait_for_their_turn_as_long_as_their_supervisor_lives(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    directory.create_marker(FIRST)
    with supervised(batch_folder):
        report = surveyed(directory)[FIRST]
        assert report["state"] == "queued"
        assert not report.keys() & (OF_PROCESSES | {"started_at", "elapsed", "ended_at"})
    report = surveyed(directory)[FIRST]
    assert (report["state"], report["reason"]) == ("lost", "its supervisor died")


def test_the_place_in_the_queue_goes_by_the_order_of_the_manifest(directory: JobDirectory) -> None:
    """The batch may start long jobs first; those that have had their turn are in nobody's way."""
    folder = made_folder(directory, jobs=4, order=[3, 1, 0, 2])
    for place in (0, 2, 3):
        directory.create_marker(f"{NUMBER}.{place}")
    put(directory, SECOND, {})
    with supervised(folder):
        whole = surveyed(directory)
        some = surveyed(directory, jobs=[THIRD])
    assert {jid: report.get("queue_place") for jid, report in whole.items()} == {
        f"{NUMBER}.3": 1,
        FIRST: 2,
        THIRD: 3,
        SECOND: None,
    }
    assert some[THIRD]["queue_place"] == 3


def test_a_batch_that_keeps_no_order_tells_no_places(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    directory.create_marker(FIRST)
    with supervised(batch_folder):
        assert "queue_place" not in surveyed(directory)[FIRST]


@needs_proc
def test_a_job_of_a_batch_tells_its_process_and_its_time(directory: JobDirectory) -> None:
    made_folder(directory, timeout=100)
    with living(os.setsid) as pid:
        run_as(directory, FIRST, pid)
        report = surveyed(directory)[FIRST]
    assert (report["state"], report["pid"], report["children"]) == ("running", pid, 0)
    assert report["user"] == _survey.user_name(os.geteuid())
    assert report["time_left"] == pytest.approx(100 - report["elapsed"], abs=0.01)
    assert "command" not in report
    report = surveyed(directory)[FIRST]
    assert (report["state"], report["reason"]) == ("lost", "no process and no result")
    assert not OF_PROCESSES & report.keys()


@needs_proc
def test_without_a_limit_there_is_no_time_left(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    with living(os.setsid) as pid:
        run_as(directory, FIRST, pid)
        report = surveyed(directory)[FIRST]
    assert "time_left" not in report
    assert "elapsed" in report


@needs_proc
def test_the_last_lines_that_a_running_job_printed_are_told_where_they_are_wanted(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    Path(batch_folder.output_file(FIRST)).write_text("one\ntwo\nthree\n", encoding="utf-8")
    with living(os.setsid) as pid:
        run_as(directory, FIRST, pid)
        assert surveyed(directory, tail=2)[FIRST]["tail"] == ["two", "three"]
        assert "tail" not in surveyed(directory)[FIRST]
        Path(batch_folder.status_file(FIRST)).write_text("what it says itself\n", encoding="utf-8")
        assert surveyed(directory, tail=2)[FIRST]["tail"] == ["what it says itself"]
    put(directory, FIRST, {"changed": True})
    assert "tail" not in surveyed(directory, tail=2)[FIRST]


@needs_proc
def test_processes_of_the_session_of_somebody_else_are_none_of_the_job(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    """It was forked a moment ago, and has not made a session of its own yet."""
    with living() as other, living() as pid:
        assert os.getsid(pid) == os.getsid(other) != pid
        run_as(directory, FIRST, pid)
        report = surveyed(directory)[FIRST]
    assert (report["pid"], report["children"]) == (pid, 0)


def test_a_job_that_is_being_ended_runs_as_long_as_its_supervisor_lives(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    with living() as pid:
        run_as(directory, FIRST, pid)
    Path(batch_folder.stop_file(FIRST)).touch()
    with supervised(batch_folder):
        report = surveyed(directory)[FIRST]
    assert report["state"] == "running"
    assert not OF_PROCESSES & report.keys()
    assert states(directory) == {FIRST: "lost"}


def test_a_job_whose_process_has_gone_is_not_lost_while_its_supervisor_lives(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    with living() as pid:
        run_as(directory, FIRST, pid)
    with supervised(batch_folder):
        assert states(directory) == {FIRST: "running"}


@pytest.mark.parametrize("with_batch", [True, False])
def test_a_job_file_that_names_a_process_with_a_reused_pid_tells_nothing_of_it(
    directory: JobDirectory, with_batch: bool
) -> None:
    if with_batch:
        made_folder(directory)
    pid, started, boot = _processes.identity(os.getpid())
    for jid, identity in ((FIRST, [pid, started - 5, boot]), (SECOND, [pid, started, "another boot"])):
        directory.create_marker(jid)
        directory.change_marker(jid, identity)
    found = surveyed(directory)
    assert {jid: report["state"] for jid, report in found.items()} == {FIRST: "lost", SECOND: "lost"}
    assert not OF_PROCESSES & {key for report in found.values() for key in report}


@needs_proc
@pytest.mark.parametrize("with_batch", [True, False])
def test_a_job_file_that_names_a_process_of_another_user_tells_nothing_of_it(
    directory: JobDirectory, with_batch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who owns the job directory can write into a job file what he likes."""
    if with_batch:
        made_folder(directory, timeout=100)
    monkeypatch.setattr(_processes, "owner", lambda pid: os.geteuid() + 1)
    with living(os.setsid) as pid:
        run_as(directory, FIRST, pid)
        report = surveyed(directory)[FIRST]
    assert report["jid"] == FIRST
    assert not OF_PROCESSES & report.keys()


@needs_proc
def test_a_job_whose_batch_was_deleted_still_tells_its_process(directory: JobDirectory) -> None:
    with living(os.setsid) as pid:
        run_as(directory, FIRST, pid)
        report = surveyed(directory)[FIRST]
    assert (report["state"], report["pid"]) == ("running", pid)
    assert "batch" not in report


def test_times_and_attempts_are_those_that_the_supervisor_noted(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    noted = {"attempts": 3, "started_at": "2026-01-01T00:00:00.000Z", "ended_at": "x", "elapsed": 2.5}
    batch_folder.log(FIRST, state="succeeded", **noted)
    put(directory, FIRST, {"changed": True})
    report = surveyed(directory)[FIRST]
    assert {key: report[key] for key in noted} == noted


# Which jobs


@pytest.fixture
def several(directory: JobDirectory) -> JobDirectory:
    """A directory with the jobs of a batch, one in each state, and others."""
    jobs = [{"jid": f"{NUMBER}.{n}", "key": "", "name": f"dump {n}", "item": n} for n in range(2)]
    folder = BatchFolder(directory.path, NUMBER)
    folder.make({"id": "nightly", "jobs": jobs})
    name_batch(folder, "nightly")
    put(directory, FIRST, {"rc": 0}, age=1000)
    put(directory, SECOND, {"rc": 1}, age=3000)
    put(directory, "j1.1", {}, age=5000)
    put(directory, "j2.2", cores_marker("j2.2"), age=7000)
    return directory


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, {"j2.2", "j1.1", SECOND, FIRST}),
        ({"states": ["failed"]}, {SECOND}),
        ({"states": ["succeeded", "lost"]}, {FIRST, "j1.1", "j2.2"}),
        ({"states": ["not_started", "running"]}, set()),
        ({"name": "dump *"}, {FIRST, SECOND}),
        ({"name": "dump 1"}, {SECOND}),
        ({"name": "dump"}, set()),
        ({"name": "Dump *"}, set()),
        ({"name": f"{NUMBER}.*"}, {FIRST, SECOND}),
        ({"name": "j[12].?"}, {"j1.1", "j2.2"}),
        ({"older_than": 2000}, {SECOND, "j1.1", "j2.2"}),
        ({"newer_than": 4000}, {FIRST, SECOND}),
        ({"older_than": 2000, "newer_than": 4000}, {SECOND}),
        ({"older_than": 0}, {"j2.2", "j1.1", SECOND, FIRST}),
        ({"newer_than": 0}, set()),
        ({"batch": "nightly"}, {FIRST, SECOND}),
        ({"batch": "nightly", "states": ["failed"], "name": "dump *", "older_than": 2000}, {SECOND}),
        ({"batch": "nightly", "jobs": ["j1.1", SECOND]}, {SECOND}),
        ({"jobs": ["j1.1", "j3.3"]}, {"j1.1", "j3.3"}),
        ({"jobs": ["j1.1", "j3.3"], "older_than": 0}, {"j1.1"}),
        ({"jobs": ["j1.1", "j3.3"], "states": ["missing"]}, {"j3.3"}),
        ({"jobs": []}, set()),
    ],
)
def test_a_job_has_to_meet_all_filters(several: JobDirectory, filters: Request, found: set[str]) -> None:
    assert set(surveyed(several, **filters)) == found


def test_jobs_of_a_batch_that_have_no_file_any_more_are_missing(directory: JobDirectory) -> None:
    folder = made_folder(directory)
    name_batch(folder, "nightly")
    put(directory, FIRST, {})
    assert states(directory, batch="nightly") == {FIRST: "succeeded", SECOND: "missing", THIRD: "missing"}


def test_a_batch_that_is_not_there_is_an_error(directory: JobDirectory) -> None:
    with pytest.raises(BatchError, match="there is no batch 'nightly'"):
        look(request(directory.path, batch="nightly"))


def test_the_age_of_a_job_that_runs_is_that_of_its_start(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    with living(os.setsid) as pid:
        run_as(directory, FIRST, pid)
        assert states(directory, newer_than=60) == {FIRST: "running"}
        assert states(directory, older_than=60) == {}


@pytest.mark.parametrize("pattern", ["[z-a]", "[", "[]", "[!", "\\", "(", "**", "[[:alpha:]]", "[--a]"])
def test_an_odd_pattern_is_no_error(several: JobDirectory, pattern: str) -> None:
    surveyed(several, name=pattern)


def test_a_pattern_that_an_old_python_cannot_read_matches_nothing(
    several: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 3.11, a range that ends before it begins is an error of re."""
    monkeypatch.setattr(fnmatch, "translate", lambda pattern: pattern)
    fnmatch._compile_pattern.cache_clear()  # type: ignore[attr-defined]
    with pytest.raises(re.error):
        fnmatch.fnmatchcase("x", "[z-a]")
    assert surveyed(several, name="[z-a]") == {}


def test_a_long_list_of_jobs_of_a_large_batch_is_found_soon(directory: JobDirectory) -> None:
    folder = made_folder(directory, jobs=20_000)
    name_batch(folder, "nightly")
    asked = request(directory.path, jobs=[f"{NUMBER}.{place}" for place in range(20_000)], batch="nightly")
    survey = Survey(asked, no_command)
    began = time.process_time()
    assert len(list(survey._ids(directory, asked["directories"][0]["jobs"]))) == 20_000
    assert time.process_time() - began < 3


# What is kept of a result


@pytest.mark.parametrize(
    "result",
    [
        {"failed": True, "msg": "no space", "extra": "x" * 5000},
        {"rc": 3, "stdout": "x" * 5000 + "\nlast words", "stdout_lines": ["x"] * 5000},
        {"rc": 3, "msg": "non-zero return code", "stderr": "y" * 5000 + "\nit broke", "stdout": ""},
        {"failed": True, "exception": "Traceback\n" * 500 + "ValueError: bad"},
        {"failed": True, "msg": "Traceback (most recent call last)", "data": "printed " * 500, "stderr": "e"},
        {"failed": 1, "child_pid": 5, "msg": "Timeout exceeded"},
        {"failed": True, "msg": "ended", "inflight_state": "cancelled", "result": {"changed": True, "x": "y" * 5000}},
        {"changed": True, "msg": ["a", "list"]},
        {"failed": True, "msg": "m" * 5000},
        {"changed": False, "start": "2026-01-01 00:00:00", "end": "2026-01-01 00:00:01", "delta": "0:00:01"},
    ],
)
def test_what_is_kept_of_a_result_tells_the_same_end(result: dict[str, t.Any]) -> None:
    def end(result: dict[str, t.Any]) -> tuple[t.Any, ...]:
        record = _registered.new_record("j1.1", "running")
        _registered.set_result(record, result)
        return record["state"], record["changed"], record["msg"]

    kept = brief(json.dumps(result))
    assert len(kept) < 2000
    if "child_pid" not in result:  # its state is told by the host
        assert end(json.loads(kept)) == end(result)


def test_the_text_of_a_result_is_what_the_caller_keeps(directory: JobDirectory) -> None:
    put(directory, "j1.1", {"changed": True, "payload": "x" * 1000})
    (whole,) = look(request(directory.path), str)
    (short,) = look(request(directory.path), brief)
    assert json.loads(whole["text"]) == {"changed": True, "payload": "x" * 1000}
    assert json.loads(short["text"]) == {"changed": True}


@pytest.mark.parametrize("depth", range(700, 1000, 7))
def test_a_result_that_is_nested_as_deeply_as_can_be_read_does_no_harm(directory: JobDirectory, depth: int) -> None:
    put(directory, "j1.1", '{"msg": ' + "[" * depth + "]" * depth + "}")
    put(directory, "j2.2", json.dumps({**cores_marker("j2.2"), "process": 0})[:-2] + "[" * depth + "]" * depth + "}")
    found = states(directory)
    assert found["j1.1"] in ("succeeded", "unreadable")
    assert found["j2.2"] in ("lost", "unreadable")


# Whatever stands there

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
keys = st.sampled_from(
    [
        *("started", "finished", "ansible_job_id", "process", "failed", "changed", "msg", "rc", "stderr", "stdout"),
        *("data", "exception", "start", "end", "delta", "inflight_state", "result", "child_pid"),
    ]
)
verdicts = st.builds(
    lambda state, more: {"failed": True, "msg": "m", "inflight_state": state, **more},
    st.sampled_from(_jobs.STATES) | values,
    st.dictionaries(st.just("result"), values),
)
settled = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@settled
@given(st.dictionaries(keys, values).map(json.dumps) | verdicts.map(json.dumps))
def test_what_is_kept_of_any_result_can_be_read(text: str) -> None:
    kept = json.loads(brief(text))
    whole = json.loads(text)
    assert kept.keys() <= whole.keys()
    if "failed" in whole:
        assert bool(kept["failed"]) == bool(whole["failed"])


# As a module


def run_module(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: Request) -> Request:
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    monkeypatch.setattr(sys, "argv", ["async_info"])
    with pytest.raises(SystemExit):
        async_info.main()
    answer: Request = json.loads(capfd.readouterr().out)
    return answer


def asked_for(directory: JobDirectory, **more: t.Any) -> Request:
    return {"_request": json.dumps(request(directory.path, **more))}


def test_the_module_answers_with_one_json_object(
    directory: JobDirectory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put(directory, "j1.1", {"changed": True, "stdout": "\udcff password=hunter2", "more": 1})
    answer = run_module(monkeypatch, capfd, asked_for(directory))
    (job,) = answer["jobs"]
    assert json.loads(job["text"]) == {"changed": True, "stdout": "\udcff password=hunter2"}
    assert (answer["changed"], answer["remarks"]) == (False, [])
    assert answer["took"] >= 0
    (job,) = run_module(monkeypatch, capfd, asked_for(directory, results=True))["jobs"]
    assert json.loads(job["text"])["more"] == 1


def test_the_module_leaves_out_results_beyond_its_limit_and_says_so_once(
    directory: JobDirectory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(async_info, "MAX_RESULT_BYTES", 100)
    for number in range(4):
        put(directory, f"j{number}.1", {"changed": True, "more": "x" * 30})
    answer = run_module(monkeypatch, capfd, asked_for(directory, results=True))
    whole = [job for job in answer["jobs"] if "more" in json.loads(job["text"])]
    assert len(whole) == 1
    (remark,) = answer["remarks"]
    assert "100 bytes" in remark


def test_the_module_alone_says_how_it_is_meant_to_be_used(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = run_module(monkeypatch, capfd, {"state": ["running"]})
    assert answer["failed"] is True
    assert "action plugin" in answer["msg"]


def test_the_module_fails_with_the_reason_where_there_is_no_such_batch(
    directory: JobDirectory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = run_module(monkeypatch, capfd, asked_for(directory, batch="weekly"))
    assert answer["failed"] is True
    assert answer["msg"] == f"there is no batch 'weekly' in the job directory {directory.path}"
