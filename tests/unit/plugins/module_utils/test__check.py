# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import resource
import subprocess
import sys
import threading
import time
import types
import typing as t
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils import basic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import (
    _batch_folder,
    _check,
    _jobs,
    _living,
    _notify,
    _output,
    _processes,
)
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._check import Check
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory
from ansible_collections.inflight.jobs.plugins.modules import async_wait

from ..conftest import NUMBER, exit_code, fork, living, made_folder, supervised

Answer = dict[str, t.Any]
Action = Callable[[], object]

# No check of a test with real processes may take longer.
FOREVER = 20.0


def iso(moment: float) -> str:
    there = datetime.datetime.fromtimestamp(moment, datetime.UTC)
    return there.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def request(folder: Path | str, jobs: Iterable[str] = (), **more: t.Any) -> Answer:
    """A request as the action sends it: for these jobs, and without a hold."""
    wanted = dict.fromkeys(jobs)
    return {
        "directories": [{"path": str(folder), "jobs": wanted}],
        "find": False,
        "ends": max(1, len(wanted)),
        "stop": False,
        "hold": 0,
        "linger": 0,
        "delete": [],
        **more,
    }


def states(answer: Answer) -> dict[str, str]:
    return {report["jid"]: report["state"] for report in answer["ended"]}


def running(answer: Answer) -> list[str]:
    return [jid for _place, jid, _began in answer["running"]]


def put(folder: Path, jid: str, content: object, moment: float) -> None:
    """Write a job file as async_wrapper does, last changed at a moment of the epoch."""
    new = folder / f"{jid}.tmp"
    new.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    os.utime(new, (moment, moment))
    new.rename(folder / jid)


def marker(jid: str) -> Answer:
    return {"started": True, "finished": False, "ansible_job_id": jid}


class Host:
    """A host whose clocks and processes follow a script; its job directory is a real one.

    wall and booted: what its two clocks say at moment 0. processes: job id -> start on the boot clock of its process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 0.0
        self.wall = 1_800_000_000.0
        self.booted = 5_000.0
        self.boot = "boot-1"
        self.processes: dict[str, float] = {}
        self.sees_all = True
        self.has_inotify = True
        self.slowness = 0.0  # seconds that looking at one job takes
        self.script: list[tuple[float, Action]] = []
        self.slept: list[float] = []

    def time(self) -> float:
        return self.wall + self.now

    def boot_clock(self) -> float:
        return self.booted + self.now

    def at(self, moment: float, action: Action) -> None:
        self.script.append((moment, action))
        self.script.sort(key=lambda planned: planned[0])

    def start(self, jid: str) -> None:
        """A job begins: its process lives, and its job file says so."""
        self.processes[jid] = self.boot_clock()
        self.mark(jid)

    def mark(self, jid: str) -> None:
        """The job file says, once more, that the job runs."""
        put(self.folder, jid, marker(jid), self.time())

    def end(self, jid: str, **result: t.Any) -> None:
        """A job ends with a result."""
        put(self.folder, jid, result, self.time())
        self.processes.pop(jid, None)

    def kill(self, jid: str) -> None:
        self.processes.pop(jid)

    def sleep(self, seconds: float) -> set[tuple[str, str]]:
        """Sleep until something happens to a job file, as a Notifier does."""
        self.slept.append(max(0.0, seconds))
        until = self.now + max(0.0, seconds)
        while self.script and self.script[0][0] <= until:
            moment, action = self.script.pop(0)
            self.now = max(self.now, moment)
            before = self._files()
            action()
            changed = {(str(self.folder), name) for name in dict(before ^ self._files())}
            if changed:
                return changed
        self.now = until
        return set()

    def _files(self) -> set[tuple[str, int]]:
        return {(path.name, path.stat().st_ino) for path in self.folder.iterdir()}

    def check(self, jobs: Iterable[str] = (), **more: t.Any) -> Answer:
        answer: Answer = json.loads(json.dumps(Check(request(self.folder, jobs, **more), no_command).run()))
        return answer


def no_command(command: list[str], **dummy_options: t.Any) -> t.NoReturn:
    raise FileNotFoundError(command[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "jobs"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(folder)

    class Processes:
        def __init__(self, dummy_run_command: object) -> None:
            self.sees_all = host.sees_all

        def living(self, jobs: Iterable[str], users_of: Callable[[str], t.Container[int]]) -> dict[str, t.Any]:
            jobs = list(jobs)
            assert all(os.geteuid() in users_of(jid) for jid in jobs)
            user = os.geteuid()
            return {jid: _processes.Process(1, user, host.processes[jid]) for jid in jobs if jid in host.processes}

    class Notifier:
        def __init__(self, directories: Iterable[str]) -> None:
            self.directories = list(directories)

        def wait(self, seconds: float, blind: float) -> set[tuple[str, str]] | None:
            changed = host.sleep(seconds if host.has_inotify else min(seconds, blind))
            return changed if host.has_inotify else None

        def close(self) -> None: ...

    real_read = _jobs.JobDirectory.read

    def slow_read(directory: _jobs.JobDirectory, jid: str) -> _jobs.JobFile:
        host.now += host.slowness
        return real_read(directory, jid)

    clock = types.SimpleNamespace(time=host.time, monotonic=lambda: host.now)
    monkeypatch.setattr(_check, "time", clock)
    monkeypatch.setattr(_living, "time", clock)
    monkeypatch.setattr(_jobs, "time", clock)
    monkeypatch.setattr(_jobs.JobDirectory, "read", slow_read)
    monkeypatch.setattr(_processes, "JobProcesses", Processes)
    monkeypatch.setattr(_processes, "boot_clock", host.boot_clock)
    monkeypatch.setattr(_processes, "boot_id", lambda: host.boot)
    monkeypatch.setattr(_notify, "Notifier", Notifier)
    return host


# What one look finds


def test_jobs_that_have_ended_are_reported_at_once_with_their_whole_results(host: Host) -> None:
    host.start("j1.1")
    host.end("j1.1", changed=True, stdout="ä\n")
    host.end("j2.1", failed=True, msg="disk full")
    host.end("j3.1", msg="Timeout exceeded", failed=True, child_pid=7)
    answer = host.check(["j1.1", "j2.1", "j3.1"], hold=30)
    assert states(answer) == {"j1.1": "succeeded", "j2.1": "failed", "j3.1": "timed_out"}
    assert json.loads(answer["ended"][0]["text"]) == {"changed": True, "stdout": "ä\n"}
    assert answer["ended"][0]["results_file"] == str(host.folder / "j1.1")
    assert (answer["running"], answer["more"], host.slept) == ([], False, [])


def test_a_job_without_a_process_and_without_a_result_is_lost(host: Host) -> None:
    host.start("j1.1")
    host.kill("j1.1")
    (report,) = host.check(["j1.1"])["ended"]
    assert (report["state"], report["reason"], report["text"]) == ("lost", "no process and no result", None)
    assert "ended_at" not in report


def test_a_job_without_a_file_is_missing(host: Host) -> None:
    (report,) = host.check(["j1.1"])["ended"]
    assert report["state"] == "missing"
    assert str(host.folder / "j1.1") in report["reason"]


def test_a_job_whose_file_is_gone_runs_while_its_process_does(host: Host) -> None:
    """On a slow host the file may not be there yet; and the result is written all the same."""
    host.start("j1.1")
    (host.folder / "j1.1").unlink()
    assert running(host.check(["j1.1"])) == ["j1.1"]
    host.kill("j1.1")
    assert states(host.check(["j1.1"])) == {"j1.1": "missing"}


def test_a_job_that_ends_between_the_look_at_its_file_and_at_its_process_is_not_lost(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.start("j1.1")

    class Ending:
        sees_all = True

        def __init__(self, dummy_run_command: object) -> None: ...

        def living(self, jobs: Iterable[str], users_of: object) -> dict[str, t.Any]:
            host.end("j1.1", changed=True)
            return {}

    monkeypatch.setattr(_processes, "JobProcesses", Ending)
    assert states(host.check(["j1.1"])) == {"j1.1": "succeeded"}


def test_where_processes_are_hidden_a_job_of_somebody_else_is_not_called_lost(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.sees_all = False
    host.start("j1.1")
    host.kill("j1.1")
    assert states(host.check(["j1.1"])) == {"j1.1": "lost"}  # our own processes are never hidden from us
    real = _jobs.JobDirectory.read
    stranger = os.geteuid() + 1
    monkeypatch.setattr(_jobs.JobDirectory, "read", lambda self, jid: real(self, jid)._replace(owner=stranger))
    assert running(host.check(["j1.1"])) == ["j1.1"]


@pytest.mark.parametrize("content", ["", '{"changed": tr'])
def test_a_half_written_file_is_given_time_to_settle(host: Host, content: str) -> None:
    put(host.folder, "j1.1", content, host.time() - _jobs.SETTLED_AFTER + 1)
    assert running(host.check(["j1.1"])) == ["j1.1"]
    put(host.folder, "j1.1", content, host.time() - _jobs.SETTLED_AFTER - 1)
    assert states(host.check(["j1.1"])) == {"j1.1": "unreadable"}


def test_a_half_written_file_becomes_unreadable_during_a_hold(host: Host) -> None:
    put(host.folder, "j1.1", "{", host.time())
    assert states(host.check(["j1.1"], hold=30)) == {"j1.1": "unreadable"}
    assert _jobs.SETTLED_AFTER <= host.now <= _jobs.SETTLED_AFTER + _check.LOOK_EVERY


def test_a_half_written_file_that_gets_whole_is_a_result(host: Host) -> None:
    put(host.folder, "j1.1", '{"chan', host.time())
    host.at(3, lambda: host.end("j1.1", changed=True))
    assert states(host.check(["j1.1"], hold=30)) == {"j1.1": "succeeded"}
    assert host.now == 3


def test_the_same_directory_named_in_two_ways_reports_its_job_in_both_places(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(host.folder.parent))
    host.end("j1.1", changed=True)
    host.start("j2.1")
    twice = [{"path": path, "jobs": {"j1.1": None, "j2.1": None}} for path in ("~/jobs", str(host.folder))]
    answer = host.check(directories=twice, ends=4)
    assert [(report["place"], report["jid"]) for report in answer["ended"]] == [(0, "j1.1"), (1, "j1.1")]
    assert [(place, jid) for place, jid, _began in answer["running"]] == [(0, "j2.1"), (1, "j2.1")]


# Directories


def test_a_directory_that_cannot_be_used_does_not_take_the_others_down(host: Host, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "jobs").mkdir()
    (tmp_path / "open").chmod(0o777)
    host.end("j1.1", changed=True)
    both = [{"path": str(path), "jobs": {"j1.1": None}} for path in (tmp_path / "open" / "jobs", host.folder)]
    answer = host.check(directories=both, ends=2)
    assert [(report["place"], report["state"]) for report in answer["ended"]] == [(0, "unreadable"), (1, "succeeded")]
    assert "sticky" in answer["ended"][0]["reason"]


def test_a_directory_that_all_may_write_to_is_warned_of_and_used(host: Host) -> None:
    host.end("j1.1", changed=True)
    host.folder.chmod(0o777)
    answer = host.check(["j1.1"])
    assert states(answer) == {"j1.1": "succeeded"}
    (remark,) = answer["remarks"]
    assert "Set its mode to 0700" in remark


def test_without_a_directory_every_job_is_missing(host: Host, tmp_path: Path) -> None:
    answer = Check(request(tmp_path / "none", ["j1.1", "j2.1"]), no_command).run()
    assert states(answer) == {"j1.1": "missing", "j2.1": "missing"}


# Holding


def test_a_hold_ends_when_it_is_over_and_says_what_still_runs(host: Host) -> None:
    host.start("j1.1")
    answer = host.check(["j1.1"], hold=30, linger=5)
    assert (host.now, running(answer), answer["ended"], answer["more"]) == (30, ["j1.1"], [], False)


def test_no_hold_is_one_glance(host: Host) -> None:
    host.start("j1.1")
    assert running(host.check(["j1.1"])) == ["j1.1"]
    assert host.slept == []


def test_a_hold_ends_at_the_moment_of_the_last_end(host: Host) -> None:
    host.start("j1.1")
    host.start("j2.1")
    host.at(4.25, lambda: host.end("j2.1", changed=True))
    host.at(7.5, lambda: host.end("j1.1", rc=0))
    answer = host.check(["j1.1", "j2.1"], hold=30, linger=5)
    assert (host.now, states(answer)) == (7.5, {"j2.1": "succeeded", "j1.1": "succeeded"})


def test_ends_that_come_close_together_are_reported_together(host: Host) -> None:
    for number in range(10):
        host.start(f"j{number}.1")
    for number in range(9):
        host.at(3 + number, functools.partial(host.end, f"j{number}.1", rc=0))
    answer = host.check([f"j{number}.1" for number in range(10)], hold=30, linger=5)
    # The first at 3 seconds may wait for so long as linger says, and no longer for each that follows.
    assert host.now == 8
    assert list(states(answer)) == [f"j{number}.1" for number in range(6)]


def test_what_had_ended_before_lingers_as_well(host: Host) -> None:
    host.end("j1.1", rc=0)
    host.start("j2.1")
    host.check(["j1.1", "j2.1"], hold=30, linger=5)
    assert host.now == 5


def test_that_a_job_is_lost_is_told_sooner_than_that_one_has_ended(host: Host) -> None:
    host.start("j1.1")
    host.start("j2.1")
    host.at(2, lambda: host.kill("j1.1"))
    answer = host.check(["j1.1", "j2.1"], hold=30, linger=5)
    assert states(answer) == {"j1.1": "lost"}
    assert host.now <= 2 + _check.LOOK_EVERY + _check.LOST_LINGER


def test_news_does_not_make_a_hold_longer(host: Host) -> None:
    host.start("j1.1")
    host.start("j2.1")
    host.at(28, lambda: host.end("j1.1", rc=0))
    host.check(["j1.1", "j2.1"], hold=30, linger=5)
    assert host.now == 30


@pytest.mark.parametrize(("ends", "moment"), [(1, 2), (2, 4), (3, 6)])
def test_a_hold_ends_when_as_many_ended_as_were_asked_for(host: Host, ends: int, moment: float) -> None:
    for number in range(3):
        host.start(f"j{number}.1")
        host.at(2 + 2 * number, functools.partial(host.end, f"j{number}.1", rc=0))
    answer = host.check([f"j{number}.1" for number in range(3)], ends=ends, hold=30, linger=20)
    assert (host.now, len(answer["ended"])) == (moment, ends)


@pytest.mark.parametrize("result", [{"failed": True}, {"rc": 1}, "lost"])
def test_with_stop_one_failure_ends_a_hold(host: Host, result: t.Any) -> None:
    for number in range(3):
        host.start(f"j{number}.1")
    host.at(2, lambda: host.end("j0.1", rc=0))
    host.at(4, lambda: host.kill("j1.1") if result == "lost" else host.end("j1.1", **result))
    answer = host.check([f"j{number}.1" for number in range(3)], stop=True, hold=30, linger=20)
    assert 4 <= host.now <= 4 + _check.LOOK_EVERY
    assert states(answer)["j1.1"] in ("failed", "lost")
    assert running(answer) == ["j2.1"]


@pytest.mark.parametrize("has_inotify", [True, False])
def test_a_job_that_is_killed_is_known_as_lost_within_ten_seconds(host: Host, has_inotify: bool) -> None:
    host.has_inotify = has_inotify
    host.start("j1.1")
    host.at(12.5, lambda: host.kill("j1.1"))
    assert states(host.check(["j1.1"], hold=60, linger=5)) == {"j1.1": "lost"}
    assert host.now <= 12.5 + 10


def test_a_full_filesystem_is_told_as_the_reason(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jobs.JobDirectory, "is_full", lambda dummy: True)
    host.mark("j1.1")
    put(host.folder, "j2.1", "", host.time() - 60)
    host.start("j3.1")
    host.end("j3.1", rc=0)
    reasons = {report["jid"]: report["reason"] for report in host.check(["j1.1", "j2.1", "j3.1"])["ended"]}
    full = f"; the filesystem of {host.folder} is full"
    assert reasons == {
        "j1.1": f"no process and no result{full}",
        "j2.1": f"the job file {host.folder}/j2.1 is empty{full}",
        "j3.1": "",
    }


def test_a_file_that_changes_unseen_is_found_all_the_same(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network file system inotify does not tell what another machine wrote."""
    host.start("j1.1")
    monkeypatch.setattr(host, "_files", set)
    host.at(3.5, lambda: host.end("j1.1", rc=0))
    assert states(host.check(["j1.1"], hold=30)) == {"j1.1": "succeeded"}
    assert host.now <= 3.5 + _check.LOOK_EVERY


def test_without_inotify_an_end_is_seen_soon(host: Host) -> None:
    host.has_inotify = False
    host.start("j1.1")
    host.at(3.55, lambda: host.end("j1.1", rc=0))
    assert states(host.check(["j1.1"], hold=30)) == {"j1.1": "succeeded"}
    assert host.now <= 3.55 + _check.BLIND_LOOK_EVERY


@pytest.mark.parametrize("has_inotify", [True, False])
@pytest.mark.parametrize("slowness", [0.01, 0.3])
def test_looking_that_takes_long_does_not_confuse_a_hold(host: Host, has_inotify: bool, slowness: float) -> None:
    host.has_inotify = has_inotify
    host.slowness = slowness
    jobs = [f"j{number}.1" for number in range(20)]
    for number, jid in enumerate(jobs):
        host.start(jid)
        host.at(1.9 + 0.07 * number, functools.partial(host.mark, jid))
        host.at(40 + number, functools.partial(host.end, jid, rc=0))
    answer = host.check(jobs, hold=200, linger=100)
    assert set(states(answer).values()) == {"succeeded"}
    assert len(answer["ended"]) == 20


def test_looking_takes_a_small_part_of_the_time_however_long_it_takes(host: Host) -> None:
    host.has_inotify = False
    host.slowness = 0.02
    host.start("j1.1")
    # Every look at an unfinished file opens it again.
    put(host.folder, "j1.1", marker("j1.1"), host.time())
    host.check(["j1.1"], hold=60)
    assert sum(host.slept) >= 0.9 * 60


# Limits


def test_results_above_the_byte_limit_come_in_several_reports(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_check, "MAX_REPORT_BYTES", 1000)
    jobs = [f"j{number}.1" for number in range(10)]
    for jid in jobs:
        host.end(jid, stdout="x" * 400)
    reported: list[str] = []
    checks = 0
    more = True
    while more:
        answer = host.check([jid for jid in jobs if jid not in reported], hold=30, linger=5)
        more = answer["more"]
        sizes = [len(report["text"]) for report in answer["ended"]]
        assert sum(sizes[:-1]) < 1000
        assert set(states(answer).values()) == {"succeeded"}
        reported += states(answer)
        checks += 1
    assert (reported, checks) == (jobs, 4)
    assert host.now == 0  # nothing of this may wait


def test_a_result_above_the_byte_limit_is_reported_alone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_check, "MAX_REPORT_BYTES", 10)
    for number in range(2):
        host.end(f"j{number}.1", stdout="x" * 400)
    answer = host.check(["j0.1", "j1.1"], hold=30)
    assert (states(answer), running(answer), answer["more"]) == ({"j0.1": "succeeded"}, ["j1.1"], True)


# When it started and how long it took


def test_the_times_of_a_job_that_was_seen_running(host: Host) -> None:
    host.start("j1.1")
    host.at(12.5, lambda: host.end("j1.1", rc=0))
    (report,) = host.check(["j1.1"], hold=30)["ended"]
    assert report["started_at"] == iso(host.wall)
    assert report["ended_at"] == iso(host.wall + 12.5)
    assert report["elapsed"] == pytest.approx(12.5, abs=0.01)


def test_nobody_knows_when_a_job_started_that_had_ended_before_the_first_look(host: Host) -> None:
    host.end("j1.1", rc=0)
    (report,) = host.check(["j1.1"])["ended"]
    assert report["ended_at"] == iso(host.wall)
    assert "started_at" not in report
    assert "elapsed" not in report


def test_the_start_is_remembered_from_check_to_check(host: Host) -> None:
    host.start("j1.1")
    first = host.check(["j1.1"], hold=10)
    began = {jid: began for _place, jid, began in first["running"]}
    host.at(15, lambda: host.end("j1.1", rc=0))
    again = [{"path": str(host.folder), "jobs": began}]
    answer = host.check(directories=again, hold=10, boot=first["boot"], looked=first["looked"])
    (report,) = answer["ended"]
    assert report["started_at"] == iso(host.wall)
    assert report["elapsed"] == pytest.approx(15, abs=0.01)


def test_a_job_whose_process_is_hidden_began_when_its_file_was_written(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.sees_all = False
    put(host.folder, "j1.1", marker("j1.1"), host.time() - 60)
    real = _jobs.JobDirectory.read
    stranger = os.geteuid() + 1
    monkeypatch.setattr(_jobs.JobDirectory, "read", lambda self, jid: real(self, jid)._replace(owner=stranger))
    ((_place, _jid, began),) = host.check(["j1.1"])["running"]
    assert began == [pytest.approx(host.boot_clock() - 60), iso(host.time() - 60)]


@pytest.mark.parametrize("jump", [-7200, -5, 5, 7200])
@pytest.mark.parametrize("when", ["before the end", "after the end"])
def test_a_jump_of_the_time_of_day_does_not_change_how_long_a_job_took(host: Host, jump: float, when: str) -> None:
    def turn_the_clock() -> None:
        host.wall += jump

    host.start("j1.1")
    first = host.check(["j1.1"], hold=10)
    began = {jid: began for _place, jid, began in first["running"]}
    host.at(11 if when == "before the end" else 12.5, turn_the_clock)
    host.at(12, lambda: host.end("j1.1", rc=0))
    host.sleep(1)
    host.sleep(1)
    host.sleep(1)
    again = [{"path": str(host.folder), "jobs": began}]
    (report,) = host.check(directories=again, boot=first["boot"], looked=first["looked"])["ended"]
    # It ran when it was looked at last, 10 seconds after its start, and it had ended after 13: it took about that.
    assert 10 <= report["elapsed"] <= host.now


def test_after_a_reboot_the_job_is_lost_and_old_times_count_for_nothing(host: Host) -> None:
    host.start("j1.1")
    host.start("j2.1")
    first = host.check(["j1.1", "j2.1"], hold=10)
    began = {jid: began for _place, jid, began in first["running"]}
    host.end("j2.1", rc=0)
    host.processes.clear()
    host.boot, host.booted = "boot-2", -host.now + 20
    again = [{"path": str(host.folder), "jobs": began}]
    answer = host.check(directories=again, boot=first["boot"], looked=first["looked"])
    assert states(answer) == {"j1.1": "lost", "j2.1": "succeeded"}
    assert answer["boot"] == "boot-2"
    assert all("elapsed" not in report for report in answer["ended"])


# Finding and deleting


def test_find_takes_the_jobs_that_run_and_leaves_the_ones_that_ended_or_died_long_ago(host: Host) -> None:
    host.start("j1.1")
    host.end("j2.1", rc=0)
    host.start("j3.1")
    host.kill("j3.1")
    (host.folder / "notes").write_text("{}", encoding="utf-8")
    host.start("j4.1")
    host.at(3, lambda: host.end("j4.1", rc=0))
    answer = host.check(find=True, ends=10**9, hold=5, linger=5)
    assert states(answer) == {"j4.1": "succeeded"}
    assert running(answer) == ["j1.1"]


def test_find_reports_a_job_that_ends_while_it_is_found(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.start("j1.1")
    real = _jobs.JobDirectory.running

    def ending(directory: _jobs.JobDirectory) -> list[str]:
        found = real(directory)
        host.end("j1.1", rc=0)
        return found

    monkeypatch.setattr(_jobs.JobDirectory, "running", ending)
    assert states(host.check(find=True, ends=10**9)) == {"j1.1": "succeeded"}


def test_find_in_an_empty_or_absent_directory_finds_nothing(host: Host, tmp_path: Path) -> None:
    for path in (host.folder, tmp_path / "none"):
        answer = Check(request(path, find=True, hold=30, ends=10**9), no_command).run()
        assert (answer["ended"], answer["running"]) == ([], [])
    assert host.slept == []


def test_find_in_a_directory_that_cannot_be_used_is_an_error(host: Host) -> None:
    host.folder.parent.chmod(0o777)
    with pytest.raises(_jobs.JobDirectoryError, match="sticky"):
        host.check(find=True)


def test_delete_takes_the_named_job_files_and_nothing_else(host: Host, tmp_path: Path) -> None:
    for jid in ("j1.1", "j2.1", "j3.1"):
        host.end(jid, rc=0)
    secret = tmp_path / "secret"
    secret.touch()
    (host.folder / "j4.1").symlink_to(secret)
    (host.folder / "j5.1").mkdir()
    names = ["j1.1", "j3.1", "j4.1", "j5.1", "j6.1", "../secret", "", "."]
    answer = host.check(directories=[], delete=[[str(host.folder), name] for name in names])
    assert (answer["ended"], answer["running"]) == ([], [])
    assert sorted(path.name for path in host.folder.iterdir()) == ["j2.1", "j4.1", "j5.1"]
    assert secret.exists()


def test_a_directory_that_cannot_be_used_does_not_keep_the_others_from_being_tidied(host: Host, tmp_path: Path) -> None:
    """Its jobs are unreadable, and so ended: their files are to be deleted with the rest."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "jobs").mkdir()
    (tmp_path / "open").chmod(0o777)
    host.end("j1.1", rc=0)
    delete = [[str(tmp_path / "open" / "jobs"), "j1.1"], [str(host.folder), "j1.1"]]
    host.check(directories=[], delete=delete)
    assert not (host.folder / "j1.1").exists()


def test_ten_thousand_job_files_are_deleted_with_the_few_files_that_a_process_may_open(host: Host) -> None:
    jobs = [f"j{number}.1" for number in range(300)]
    for jid in jobs:
        (host.folder / jid).write_text("{}", encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 50, hard))
    try:
        host.check(directories=[], delete=[[str(host.folder), jid] for jid in jobs])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert list(host.folder.iterdir()) == []


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=50
)
@given(contents=st.lists(st.binary(max_size=40), max_size=5), age=st.sampled_from([0, 60]))
def test_whatever_the_job_files_hold_every_job_is_accounted_for(host: Host, contents: list[bytes], age: float) -> None:
    for number, content in enumerate(contents):
        path = host.folder / f"j{number}.1"
        path.write_bytes(content)
        os.utime(path, (host.time() - age, host.time() - age))
    jobs = [f"j{number}.1" for number in range(len(contents))]
    answer = host.check(jobs)
    assert sorted([*states(answer), *running(answer)]) == sorted(jobs)
    assert set(states(answer).values()) <= {"succeeded", "failed", "unreadable"}


# With real processes, real clocks and real inotify


# No other test that runs at the same time has processes with these ids.
REAL = f"j{os.getpid()}1.1"
DEAD = f"j{os.getpid()}2.1"


@pytest.fixture
def wrapper(folder: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that looks like async_wrapper to the job's process table; it ends with its standard input."""
    program = tmp_path / "async_wrapper.py"
    program.write_text("echo ready; read line\n", encoding="utf-8")
    with contextlib.ExitStack() as stack:

        def start(jid: str) -> subprocess.Popen[str]:
            command = ["/bin/sh", str(program), jid.partition(".")[0], "60", "module", "_"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            put(folder, jid, marker(jid), time.time())
            return process

        yield start


def test_a_real_job_is_reported_when_its_result_is_written(
    folder: Path, wrapper: Callable[..., subprocess.Popen[str]]
) -> None:
    wrapper(REAL)
    writer = threading.Timer(0.1, put, (folder, REAL, {"rc": 0, "stdout": "done"}, time.time() + 0.1))
    writer.start()
    started = time.monotonic()
    answer = Check(request(folder, [REAL], hold=FOREVER, linger=5), no_command).run()
    assert time.monotonic() - started < FOREVER / 2
    writer.join()
    (report,) = answer["ended"]
    assert (report["state"], json.loads(report["text"])["stdout"]) == ("succeeded", "done")
    assert 0 <= report["elapsed"] < FOREVER


def test_a_real_job_that_is_killed_is_lost(
    folder: Path, wrapper: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_check, "LOOK_EVERY", 0.05)
    process = wrapper(REAL)
    assert running(Check(request(folder, [REAL]), no_command).run()) == [REAL]
    process.kill()
    process.wait()
    assert states(Check(request(folder, [REAL], hold=FOREVER), no_command).run()) == {REAL: "lost"}


def test_real_jobs_are_found(folder: Path, wrapper: Callable[..., subprocess.Popen[str]]) -> None:
    wrapper(REAL)
    put(folder, DEAD, marker(DEAD), time.time())
    assert running(Check(request(folder, find=True, ends=10**9), no_command).run()) == [REAL]


# Jobs of batches


FIRST, SECOND = f"{NUMBER}.0", f"{NUMBER}.1"


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Where time is real, nobody wants to wait a second for the second look."""
    if "directory" in request.fixturenames:
        monkeypatch.setattr(_check, "LOOK_EVERY", 0.02)


def check(directory: JobDirectory, *jobs: str, **more: t.Any) -> Answer:
    wanted = request(directory.path, jobs, **more)
    return t.cast("Answer", json.loads(json.dumps(Check(wanted, no_command).run())))


def queued(answer: Answer) -> list[str]:
    return [jid for _place, jid in answer["queued"]]


def identity_of_the_dead() -> list[t.Any]:
    """What tells a process that has ended from every other one."""
    with living() as pid:
        return _processes.identity(pid)


def test_jobs_that_wait_for_their_turn_stay_open_as_long_as_their_supervisor_lives(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    directory.create_marker(FIRST)
    with supervised(batch_folder):
        answer = check(directory, FIRST, hold=0.1)
        assert (queued(answer), running(answer), answer["ended"]) == ([FIRST], [], [])
    (report,) = check(directory, FIRST)["ended"]
    assert (report["state"], report["reason"]) == ("lost", "its supervisor died")


def test_jobs_that_run_stay_open_whether_their_supervisor_lives_or_not(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    directory.create_marker(FIRST)
    with living() as pid:
        identity = _processes.identity(pid)
        directory.change_marker(FIRST, identity)
        ((_place, jid, began),) = check(directory, FIRST)["running"]
        assert (jid, began[0]) == (FIRST, identity[1])
        with supervised(batch_folder):
            assert running(check(directory, FIRST, hold=0.1)) == [FIRST]


def test_a_job_whose_process_and_supervisor_have_gone_is_lost_at_once(
    directory: JobDirectory, batch_folder: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_check, "LOOK_EVERY", 60)
    directory.create_marker(FIRST)
    directory.change_marker(FIRST, identity_of_the_dead())
    (report,) = check(directory, FIRST, hold=FOREVER)["ended"]
    assert (report["state"], report["reason"]) == ("lost", "no process and no result")


def test_a_job_whose_process_has_gone_is_given_time_until_the_second_look_if_it_is_supervised(
    directory: JobDirectory, batch_folder: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor is about to write what became of it."""
    directory.create_marker(FIRST)
    directory.change_marker(FIRST, identity_of_the_dead())
    directory.create_marker(SECOND)
    directory.change_marker(SECOND, identity_of_the_dead())
    looks = 0
    real = Check._settle

    def settle(one: Check) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            directory.write_result(SECOND, batch_folder.file("new"), _jobs.verdict(_jobs.TIMED_OUT, "late"))
        real(one)

    monkeypatch.setattr(Check, "_settle", settle)
    with supervised(batch_folder):
        answer = check(directory, FIRST, SECOND, hold=FOREVER)
    assert (states(answer), looks) == ({SECOND: "timed_out", FIRST: "lost"}, 2)


def test_also_a_glance_looks_a_second_time_before_it_calls_a_supervised_job_lost(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    directory.create_marker(FIRST)
    directory.change_marker(FIRST, identity_of_the_dead())
    with supervised(batch_folder):
        assert states(check(directory, FIRST, hold=0)) == {FIRST: "lost"}


def test_a_job_that_is_being_ended_stays_open_as_long_as_its_supervisor_lives(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    """Its first process may have gone while others still have their grace; then it is not lost but timed out."""
    directory.create_marker(FIRST)
    directory.change_marker(FIRST, identity_of_the_dead())
    Path(batch_folder.stop_file(FIRST)).touch()
    with supervised(batch_folder):
        assert running(check(directory, FIRST, hold=0.2)) == [FIRST]
    assert states(check(directory, FIRST)) == {FIRST: "lost"}


def test_a_job_that_is_started_again_between_two_looks_is_not_lost(
    directory: JobDirectory, batch_folder: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the look for its process comes just when the attempt has ended that its job file named."""
    directory.create_marker(FIRST)
    dead = [identity_of_the_dead() for dummy in range(2)]
    real = _processes.is_alive
    looks = 0

    def is_alive(identified: object) -> bool:
        nonlocal looks
        looks += 1
        if looks < 6:
            directory.change_marker(FIRST, dead[looks % 2])
        return real(identified)

    monkeypatch.setattr(_processes, "is_alive", is_alive)
    directory.change_marker(FIRST, dead[0])
    with supervised(batch_folder):
        assert states(check(directory, FIRST, hold=FOREVER)) == {FIRST: "lost"}
    assert looks >= 6


def test_an_old_process_with_a_new_pid_does_not_keep_a_job_open(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    pid, started, boot = _processes.identity(os.getpid())
    for jid, identity in ((FIRST, [pid, started - 5, boot]), (SECOND, [pid, started, "another boot"])):
        directory.create_marker(jid)
        directory.change_marker(jid, identity)
    assert states(check(directory, FIRST, SECOND)) == {FIRST: "lost", SECOND: "lost"}


def test_a_job_whose_batch_was_deleted_runs_as_long_as_its_process(directory: JobDirectory) -> None:
    directory.create_marker(FIRST)
    with living() as pid:
        directory.change_marker(FIRST, _processes.identity(pid))
        assert running(check(directory, FIRST)) == [FIRST]
    assert states(check(directory, FIRST)) == {FIRST: "lost"}


def test_times_and_attempts_are_those_that_were_logged(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    directory.create_marker(FIRST)
    directory.write_result(FIRST, batch_folder.file("new"), b'{"changed": true}')
    logged = {
        "attempts": 3,
        "started_at": "2026-01-01T00:00:00.000Z",
        "ended_at": "2026-01-01T00:00:02.500Z",
        "elapsed": 2.5,
    }
    batch_folder.log(FIRST, state="failed", attempts=2, started_at="x", ended_at="x", elapsed=1)
    batch_folder.log(FIRST, state="succeeded", **logged)
    (report,) = check(directory, FIRST)["ended"]
    assert {key: report[key] for key in logged} == logged
    assert report["text"] == '{"changed": true}'


def test_a_job_that_never_started_has_no_times(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    directory.create_marker(FIRST)
    directory.write_result(FIRST, batch_folder.file("new"), _jobs.verdict(_jobs.CANCELLED, "not started: cancelled"))
    batch_folder.log(FIRST, state="cancelled", attempts=0, started_at=None, ended_at="x", elapsed=None)
    (report,) = check(directory, FIRST)["ended"]
    assert (report["state"], report["attempts"], report["started_at"], report["elapsed"]) == (
        "cancelled",
        0,
        None,
        None,
    )


def test_the_jobs_of_a_batch_are_found_by_its_id(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    with _batch_folder.BatchId(directory.path, "nightly", keep=True) as batch_id:
        batch_id.set_latest(batch_folder)
    for jid in (FIRST, SECOND):
        directory.create_marker(jid)
    directory.write_result(SECOND, batch_folder.file("new"), b"{}")
    with supervised(batch_folder):
        answer = check(directory, batch="nightly", ends=10**9)
    assert answer["path"] == directory.path
    assert answer["jobs"] == batch_folder.manifest()["jobs"]
    assert states(answer) == {SECOND: "succeeded", f"{NUMBER}.2": "missing"}
    assert queued(answer) == [FIRST]


def test_a_batch_that_is_not_there_is_an_error(directory: JobDirectory) -> None:
    with pytest.raises(_batch_folder.BatchError, match="there is no batch 'nightly'"):
        check(directory, batch="nightly")


def test_find_takes_the_jobs_of_batches_that_run_or_wait_and_leaves_those_without_a_supervisor(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    made_folder(directory, "j5")
    for jid in (FIRST, SECOND, "j5.0", "j5.1"):
        directory.create_marker(jid)
    directory.change_marker("j5.1", _processes.identity(os.getpid()))
    directory.change_marker(SECOND, identity_of_the_dead())
    with supervised(batch_folder):
        answer = check(directory, find=True, ends=10**9)
    assert (queued(answer), running(answer), answer["ended"]) == ([FIRST], ["j5.1"], [])


def test_find_tells_what_the_jobs_of_batches_are_called(directory: JobDirectory) -> None:
    names = ("dump users", None, "dump orders")
    jobs = [{"jid": f"j5.{index}", "key": "k", "name": name, "item": None} for index, name in enumerate(names)]
    BatchFolder(directory.path, "j5").make({"jobs": jobs})
    for jid in ("j5.0", "j5.1"):
        directory.create_marker(jid)
        directory.change_marker(jid, _processes.identity(os.getpid()))
    assert check(directory, find=True, ends=10**9)["names"] == {"j5.0": "dump users"}


def test_the_folder_of_a_batch_is_deleted_with_the_last_of_its_job_files(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    other = made_folder(directory, "j5")
    jobs = [job["jid"] for job in batch_folder.manifest()["jobs"]]
    for jid in jobs:
        directory.create_marker(jid)
        directory.write_result(jid, batch_folder.file("new"), b"{}")
    for number, jid in enumerate(jobs):
        check(directory, directories=[], delete=[[directory.path, jid]])
        assert batch_folder.exists() is (number < 2)
    assert other.exists()


def test_a_damaged_batch_does_not_keep_its_job_files_from_being_deleted(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    directory.create_marker(FIRST)
    Path(batch_folder.file("batch.json")).write_text("{", encoding="utf-8")
    check(directory, directories=[], delete=[[directory.path, FIRST]])
    assert directory.read(FIRST).state == "missing"
    assert batch_folder.exists()


def test_a_real_job_of_a_batch_is_reported_when_its_result_is_written(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    directory.create_marker(FIRST)

    def body() -> None:
        directory.change_marker(FIRST, _processes.identity(os.getpid()))
        directory.write_result(FIRST, batch_folder.file("new"), b'{"changed": true}')

    with supervised(batch_folder):
        pid = fork(body)
        assert states(check(directory, FIRST, hold=FOREVER)) == {FIRST: "succeeded"}
        assert exit_code(pid) == 0


def test_what_running_jobs_say_of_themselves_is_told_where_it_is_wanted(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    for jid in (FIRST, SECOND):
        directory.create_marker(jid)
        _output.say(f"{jid} is half done", batch_folder.status_file(jid))
    with supervised(batch_folder), living() as pid:
        # The second one waits for its turn.
        directory.change_marker(FIRST, _processes.identity(pid))
        ((_place, jid, lines),) = check(directory, FIRST, SECOND, tail=1)["tails"]
        assert (jid, lines) == (FIRST, [f"{FIRST} is half done"])
        assert check(directory, FIRST)["tails"] == []
    directory.write_result(FIRST, batch_folder.file("new"), b"{}")
    assert check(directory, FIRST, tail=1)["tails"] == []


# As a module


def run_module(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: Answer) -> Answer:
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    monkeypatch.setattr(sys, "argv", ["async_wait"])
    with pytest.raises(SystemExit):
        async_wait.main()
    answer: Answer = json.loads(capfd.readouterr().out)
    return answer


def test_the_module_answers_a_request_with_one_json_object(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put(folder, "j1.1", {"changed": True, "stdout": "\udcff password=hunter2"}, 1_700_000_000)
    answer = run_module(monkeypatch, capfd, {"_request": json.dumps(request(folder, ["j1.1"]))})
    assert states(answer) == {"j1.1": "succeeded"}
    assert json.loads(answer["ended"][0]["text"])["stdout"] == "\udcff password=hunter2"
    assert answer["changed"] is False


def test_the_module_alone_says_how_it_is_meant_to_be_used(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = run_module(monkeypatch, capfd, {"jobs": ["j1.1"]})
    assert answer["failed"] is True
    assert "action plugin" in answer["msg"]


def test_the_module_fails_with_the_reason_where_no_job_can_be_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder.parent.chmod(0o777)
    answer = run_module(monkeypatch, capfd, {"_request": json.dumps(request(folder, find=True))})
    assert answer["failed"] is True
    assert "sticky" in answer["msg"]
