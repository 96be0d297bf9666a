# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.modules.async_wait import Check
from ansible_collections.inflight.jobs.plugins.plugin_utils import _waiting
from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import CheckFailed, NotStarted, OutOfReach, Refused
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import (
    Record,
    job_records,
    new_record,
    with_state,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption, WaitOptions
from ansible_collections.inflight.jobs.plugins.plugin_utils._waiting import Wait, result_of

Answer = dict[str, t.Any]
Step = Callable[[Answer], Answer]

ASYNC_DIR = "/srv/jobs"
BEGAN = [100.0, "2026-01-01T00:00:00.000Z"]


class Clock:
    """Time that passes only when somebody sleeps or a host takes its time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.pauses.append(seconds)
        self.now += seconds


class Host:
    """A host that answers by a script, one step for each time it is asked, and writes down what it was asked."""

    def __init__(self, clock: Clock, steps: Iterable[Step]) -> None:
        self.clock = clock
        self.steps = list(steps)
        self.requests: list[Answer] = []
        self.limits: list[float] = []
        self.resets = 0

    def ask(self, request: Answer, limit: float) -> Answer:
        assert self.steps, "the host was asked more often than expected"
        request = json.loads(json.dumps(request))
        self.requests.append(request)
        self.limits.append(limit)
        answer = self.steps.pop(0)(dict(request, clock=self.clock))
        return t.cast("Answer", json.loads(json.dumps(answer)))

    def reset(self) -> None:
        self.resets += 1

    @property
    def holds(self) -> list[float]:
        return [request["hold"] for request in self.requests]


class Watcher:
    """Writes down what it is told."""

    def __init__(self, owes_a_line: bool = False, follows: bool = True) -> None:
        self.told: list[tuple[str, t.Any]] = []
        self.owes_a_line = owes_a_line
        self.follows = follows

    def news(self, wait: Wait) -> bool:
        self.told.append(("news", sum(record["finished"] for record in wait.records)))
        return self.owes_a_line

    def ended(self, record: Record) -> None:
        self.told.append(("ended", record["name"]))

    def lost_contact(self, reason: str) -> None:
        self.told.append(("lost_contact", reason))

    def warn(self, text: str) -> None:
        self.told.append(("warn", text))

    def of(self, kind: str) -> list[t.Any]:
        return [value for told, value in self.told if told == kind]


def report(jid: str, state: str = "succeeded", place: int = 0, **more: t.Any) -> Answer:
    """What the host says of a job that has ended."""
    results = {
        "succeeded": {"changed": True},
        "failed": {"failed": True, "msg": "disk full", "rc": 1},
        "timed_out": {"failed": True, "msg": "Timeout exceeded", "child_pid": 1},
    }
    text = json.dumps(results[state]) if state in results else None
    return {"place": place, "jid": jid, "state": state, "text": text, "reason": "no process and no result", **more}


def up(*ended: str | Answer, after: float | None = None, found: Iterable[str] = (), **more: t.Any) -> Step:
    """The host answers after some seconds (after its hold, if not told): these jobs have ended, the others run.

    All of the time passes within the module, unless `took` is given.
    """

    def step(request: Answer) -> Answer:
        request["clock"].now += request["hold"] if after is None else after
        reports = [report(one) if isinstance(one, str) else one for one in ended]
        gone = {(one["place"], one["jid"]) for one in reports}
        still = [[place, jid] for place, directory in enumerate(request["directories"]) for jid in directory["jobs"]]
        still += [[0, jid] for jid in found]
        return {
            "ended": reports,
            "running": [[place, jid, BEGAN] for place, jid in still if (place, jid) not in gone],
            "more": False,
            "boot": "boot-1",
            "looked": 123.5,
            "took": request["hold"] if after is None else after,
            "remarks": [],
            **more,
        }

    return step


def down(reason: str = "no route to host", after: float = 0, kind: type[Exception] = OutOfReach) -> Step:
    """The host does not answer, and that takes some seconds."""

    def step(request: Answer) -> Answer:
        request["clock"].now += after
        raise kind(reason)

    return step


class Run:
    """One wait that was run by a script."""

    def __init__(
        self,
        jobs: object,
        *steps: Step,
        tidy: bool = False,
        owes_a_line: bool = False,
        follows: bool = True,
        cannot_end: str = "",
        **options: t.Any,
    ) -> None:
        self.told_to_end: list[tuple[list[tuple[str, str]], str]] = []

        def end_jobs(jobs: Iterable[tuple[str, str]], why: str) -> str:
            self.told_to_end.append((list(jobs), why))
            return cannot_end

        self.clock = Clock()
        self.host = Host(self.clock, steps)
        self.watcher = Watcher(owes_a_line, follows)
        records = None if jobs is None else job_records(jobs)
        self.wait = Wait(
            records,
            WaitOptions(**options),
            self.host,
            self.watcher,
            async_dir=ASYNC_DIR,
            end_jobs=end_jobs,
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        self.wait.run()
        if tidy:
            self.wait.clean_up()
        self.result = result_of(self.wait)
        assert not self.host.steps, "the host was asked less often than expected"

    @property
    def states(self) -> list[str]:
        return [job["state"] for job in self.result["jobs"]]


def launch(jid: str, directory: str = "/srv/me/.ansible_async", **more: t.Any) -> Answer:
    return {"ansible_job_id": jid, "results_file": f"{directory}/{jid}", "started": 1, "finished": 0, **more}


JOBS = ["j1.1", "j2.1", "j3.1"]


# The plain way


def test_one_check_is_enough_for_jobs_that_end_within_the_hold() -> None:
    run = Run(JOBS, up(*JOBS, after=12.5))
    assert run.states == ["succeeded"] * 3
    assert run.result["msg"] == "3 jobs succeeded"
    assert (run.result["finished"], run.result["failed"], run.result["changed"]) == (True, False, True)
    assert (run.result["checks"], run.result["reconnects"], run.result["elapsed"]) == (1, 0, 12.5)
    assert run.result["jobs"][0]["result"] == {"changed": True}
    assert run.clock.pauses == []


def test_jobs_that_run_on_are_held_for_again_without_a_pause() -> None:
    run = Run(JOBS, up(), up("j1.1", after=3), up("j2.1", "j3.1", after=20), hold=30)
    assert run.host.holds == [_waiting.FIRST_HOLD, 30, 30]
    assert run.clock.pauses == []
    assert run.result["checks"] == 3
    assert [list(request["directories"][0]["jobs"]) for request in run.host.requests] == [JOBS, JOBS, JOBS[1:]]


def test_the_first_check_comes_back_early_but_never_later_than_the_hold() -> None:
    assert Run(JOBS, up(*JOBS), hold=2).host.holds == [2]
    assert Run(JOBS, up(*JOBS), hold=30).host.holds == [_waiting.FIRST_HOLD]


@pytest.mark.parametrize(("follows", "linger"), [(True, _waiting.LINGER), (False, 30)])
def test_news_is_early_for_those_who_follow_it(follows: bool, linger: float) -> None:
    run = Run(JOBS, up(), up(*JOBS, after=1), hold=30, follows=follows)
    assert run.host.requests[1]["linger"] == linger


def test_no_jobs_are_a_success_without_asking_the_host() -> None:
    run = Run([])
    assert run.result["msg"] == "There were no jobs to wait for"
    assert (run.result["failed"], run.result["finished"], run.result["checks"]) == (False, True, 0)


def test_jobs_that_are_known_to_have_ended_are_not_asked_for() -> None:
    records = [new_record("j1.1", "failed", msg="disk full"), new_record("j2.1", "running")]
    run = Run(records, up("j2.1", after=1))
    assert list(run.host.requests[0]["directories"][0]["jobs"]) == ["j2.1"]
    assert run.states == ["failed", "succeeded"]
    assert run.result["msg"] == "1 of 2 jobs did not succeed: j1.1 failed: disk full"


def test_every_job_is_looked_for_where_its_launch_says() -> None:
    run = Run(
        [launch("j1.1", "/a"), launch("j2.1", "/b"), "j3.1"], up("j1.1", report("j2.1", place=1), after=1), up("j3.1")
    )
    assert [directory["path"] for directory in run.host.requests[0]["directories"]] == ["/a", "/b", ASYNC_DIR]
    assert [directory["path"] for directory in run.host.requests[1]["directories"]] == [ASYNC_DIR]


def test_what_the_host_wants_to_remember_is_told_again() -> None:
    run = Run(["j1.1"], up(), up("j1.1"))
    first, second = run.host.requests
    assert "boot" not in first
    assert first["directories"][0]["jobs"] == {"j1.1": None}
    assert (second["boot"], second["looked"]) == ("boot-1", 123.5)
    assert second["directories"][0]["jobs"] == {"j1.1": BEGAN}


def test_remarks_of_the_host_become_warnings() -> None:
    run = Run(["j1.1"], up("j1.1", remarks=["Everybody may write there."]))
    assert run.watcher.of("warn") == ["Everybody may write there."]


def test_the_watcher_hears_of_every_end_and_of_every_look() -> None:
    run = Run(JOBS, up("j2.1"), up("j1.1", "j3.1"))
    assert run.watcher.of("ended") == ["j2.1", "j1.1", "j3.1"]
    assert run.watcher.of("news") == [1, 3]


def test_a_host_is_given_its_hold_and_some_patience_before_it_counts_as_out_of_reach() -> None:
    run = Run(["j1.1"], up(), up(after=25), up("j1.1", after=3), hold=30, timeout=36)
    assert run.host.limits == [5 + _waiting.PATIENCE, 31 + _waiting.LAST_PATIENCE, 6 + _waiting.LAST_PATIENCE]
    assert run.host.holds == [5, 30, 6]


def test_more_is_asked_for_at_once() -> None:
    run = Run(JOBS, up("j1.1", more=True), up("j2.1", more=True), up("j3.1"), hold=0)
    assert run.clock.pauses == []
    assert run.result["elapsed"] == 0


# Deadline


def test_the_deadline_ends_the_wait_with_what_is_known() -> None:
    run = Run(JOBS, up("j1.1", after=4), up(), hold=30, timeout=10)
    assert run.host.holds == [5, 6]
    assert run.states == ["succeeded", "running", "running"]
    assert run.result["jobs"][0]["result"] == {"changed": True}
    assert (run.result["failed"], run.result["finished"], run.result["elapsed"]) == (True, False, 10)
    assert run.result["msg"] == "The timeout of 10 s passed. 2 of 3 jobs still running: j2.1, j3.1"
    assert "unreachable" not in run.result


def test_jobs_that_end_with_the_deadline_are_in_time() -> None:
    run = Run(JOBS, up(), up(*JOBS), timeout=10)
    assert (run.result["failed"], run.result["elapsed"]) == (False, 10)


def test_a_job_that_failed_is_told_of_together_with_the_deadline() -> None:
    run = Run(JOBS[:2], up(), up(report("j1.1", "failed")), timeout=10)
    assert run.result["msg"] == (
        "The timeout of 10 s passed. 1 of 2 jobs did not succeed: j1.1 failed (rc 1): disk full. "
        "1 of 2 jobs still running: j2.1"
    )


def test_without_a_timeout_the_wait_lasts_as_long_as_a_job_lives() -> None:
    run = Run(["j1.1"], *[up()] * 1000, up(report("j1.1", "lost")))
    assert (run.states, run.result["elapsed"]) == (["lost"], _waiting.FIRST_HOLD + 1000 * 30)


# until


def test_until_any_is_one_end() -> None:
    run = Run(JOBS, up("j2.1", after=3), until="any")
    assert run.host.requests[0]["ends"] == 1
    assert run.states == ["running", "succeeded", "running"]
    assert (run.result["finished"], run.result["failed"]) == (True, False)
    assert run.result["msg"] == "2 of 3 jobs still running: j1.1, j3.1"


def test_until_a_number_is_so_many_ends() -> None:
    run = Run(JOBS, up("j2.1", after=3), up("j1.1", after=3), until=2)
    assert [request["ends"] for request in run.host.requests] == [2, 1]
    assert run.result["finished"] is True


def test_until_counts_what_had_ended_before() -> None:
    run = Run([new_record("j1.1", "succeeded"), "j2.1"], until="any")
    assert (run.result["finished"], run.result["checks"]) == (True, 0)


def test_a_failure_is_an_end_and_fails_the_task() -> None:
    run = Run(JOBS, up(report("j1.1", "failed"), after=3), until="any")
    assert (run.result["finished"], run.result["failed"]) == (True, True)


def test_a_job_that_was_given_twice_counts_for_each_place() -> None:
    run = Run(["j1.1", "j1.1", "j2.1"], up("j1.1", after=3), until=2)
    # One job may be enough, so the host must not hold until a second one ends.
    assert run.host.requests[0]["ends"] == 1
    assert run.states == ["succeeded", "succeeded", "running"]
    assert run.result["finished"] is True


def test_a_job_that_was_given_once_may_not_be_enough_and_then_the_wait_goes_on() -> None:
    run = Run(["j1.1", "j1.1", "j2.1"], up("j2.1", after=3), up("j1.1", after=3), until=2)
    assert [request["ends"] for request in run.host.requests] == [1, 1]
    assert run.states == ["succeeded"] * 3


def test_the_same_id_is_asked_for_once_and_reported_in_every_place() -> None:
    run = Run(["j1.1", ["j1.1", "j2.1"], "j1.1"], up("j1.1", "j2.1"))
    assert run.host.requests[0]["directories"][0]["jobs"] == {"j1.1": None, "j2.1": None}
    assert run.host.requests[0]["ends"] == 2
    assert run.states == ["succeeded"] * 4
    assert run.result["summary"]["total"] == 4


@pytest.mark.parametrize("until", [4, 100])
def test_more_ends_than_there_are_jobs_are_refused_before_anything_is_asked(until: int) -> None:
    with pytest.raises(BadOption, match=f"until is {until}, but there are only 3 jobs"):
        Run(JOBS, until=until)


# stop


def test_stop_returns_at_the_first_failure_and_leaves_the_others() -> None:
    run = Run(JOBS, up("j1.1", after=3), up(report("j2.1", "failed"), after=3), stop=True)
    assert run.host.requests[0]["stop"] is True
    assert run.states == ["succeeded", "failed", "running"]
    assert (run.result["finished"], run.result["failed"]) == (False, True)
    assert run.result["msg"] == (
        "1 of 3 jobs did not succeed: j2.1 failed (rc 1): disk full. 1 of 3 jobs still running: j3.1"
    )


def test_without_stop_a_failure_does_not_end_the_wait() -> None:
    run = Run(JOBS, up(report("j1.1", "failed"), after=3), up("j2.1", "j3.1", after=3))
    assert run.states == ["failed", "succeeded", "succeeded"]


def test_stop_needs_no_look_at_the_host_when_a_launch_had_failed() -> None:
    records = [new_record(None, "not_started", name="users", msg="no such command"), new_record("j2.1", "running")]
    run = Run(records, stop=True)
    assert run.result["msg"] == (
        "1 of 2 jobs did not succeed: users not started: no such command. 1 of 2 jobs still running: j2.1"
    )


# hold: 0


def test_without_a_hold_the_pauses_grow_from_half_a_second_to_poll() -> None:
    run = Run(["j1.1"], *[up()] * 10, up("j1.1"), hold=0, poll=5)
    assert set(run.host.holds) == {0}
    assert run.clock.pauses[0] == 0.5
    assert run.clock.pauses == sorted(run.clock.pauses)
    assert run.clock.pauses[-1] == 5
    assert all(later <= earlier * 2 for earlier, later in zip(run.clock.pauses, run.clock.pauses[1:], strict=False))


def test_without_a_hold_the_host_is_looked_at_once_more_at_the_deadline_and_never_after_it() -> None:
    run = Run(["j1.1"], *[up()] * 4, hold=0, poll=10, timeout=2)
    assert run.clock.pauses == [0.5, 0.75, 0.75]
    assert run.result["elapsed"] == 2
    assert run.result["msg"].startswith("The timeout of 2 s passed.")


def test_a_poll_of_nothing_still_leaves_the_host_some_rest() -> None:
    run = Run(["j1.1"], *[up()] * 5, up("j1.1"), hold=0, poll=0)
    assert run.clock.pauses == [0.5] * 5


# Out of reach


def test_a_host_that_comes_back_is_one_reconnect_and_one_line() -> None:
    run = Run(JOBS, up("j1.1", after=5), down("no answer in 60 s", 60), down(), down(), up(after=0), up("j2.1", "j3.1"))
    assert run.states == ["succeeded"] * 3
    assert run.result["reconnects"] == 1
    assert run.result["checks"] == 6
    assert run.watcher.of("lost_contact") == ["no answer in 60 s"]
    assert run.host.resets == 3


def test_every_stretch_counts_for_itself() -> None:
    away = [down(after=200), up(after=0)]
    run = Run(["j1.1"], up(), *away, *away, up("j1.1"), unreachable_timeout=300)
    assert run.result["reconnects"] == 2
    assert len(run.watcher.of("lost_contact")) == 2
    assert run.result["failed"] is False


def test_tries_to_reach_a_host_are_glances_with_growing_pauses() -> None:
    run = Run(["j1.1"], up(), *[down()] * 8, up(), up("j1.1"), hold=30)
    assert run.host.holds == [5, 30, *[0] * 8, 30]
    assert run.host.requests[2]["linger"] == 0
    assert 0.4 <= run.clock.pauses[0] <= 0.6
    assert all(pause <= _waiting.RETRY_PAUSE * 1.2 for pause in run.clock.pauses)
    assert run.clock.pauses[-1] >= _waiting.RETRY_PAUSE * 0.8


def test_a_host_that_was_never_there_may_come_as_well() -> None:
    run = Run(["j1.1"], down(), down(), up("j1.1"))
    assert (run.states, run.result["reconnects"]) == (["succeeded"], 1)


def test_after_the_unreachable_timeout_the_task_ends_as_unreachable_with_what_is_known() -> None:
    run = Run(JOBS, up("j1.1"), down(after=40), down(after=40), down(after=40), unreachable_timeout=60)
    assert run.result["unreachable"] is True
    assert "failed" not in run.result
    assert run.states == ["succeeded", "running", "running"]
    assert run.result["msg"] == ("The host is out of reach: no route to host. 2 of 3 jobs still running: j2.1, j3.1")
    assert run.result["reconnects"] == 0


def test_with_an_unreachable_timeout_of_nothing_there_is_no_second_try() -> None:
    run = Run(["j1.1"], up(), down(), unreachable_timeout=0)
    assert run.result["unreachable"] is True
    assert run.clock.pauses == []


def test_a_deadline_while_the_host_is_out_of_reach_is_a_failure_and_not_unreachable() -> None:
    run = Run(JOBS, up("j1.1", after=5), down(after=10), down(after=10), timeout=20, unreachable_timeout=300)
    assert "unreachable" not in run.result
    assert run.result["failed"] is True
    assert run.states == ["succeeded", "running", "running"]
    assert run.result["msg"].startswith("The timeout of 20 s passed. The host is out of reach: no route to host")


@pytest.mark.parametrize(
    ("around", "patience"), [(0.5, _waiting.LEAST_PATIENCE), (5, 5 * _waiting.PATIENCE_FACTOR), (20, _waiting.PATIENCE)]
)
def test_a_host_that_answered_fast_is_given_up_sooner(around: float, patience: float) -> None:
    run = Run(["j1.1"], up(after=5 + around, took=5), up("j1.1"), hold=30)
    assert run.host.limits == [5 + _waiting.PATIENCE, 30 + patience]


def test_a_host_that_was_given_up_may_have_become_slow() -> None:
    run = Run(["j1.1"], up(), down(after=40), down(), up(after=20, took=0), up("j1.1"), hold=30)
    patience, least = _waiting.PATIENCE, _waiting.LEAST_PATIENCE
    assert run.host.limits == [5 + patience, 30 + least, patience, patience, 30 + patience]


def test_no_pause_between_two_tries_goes_beyond_the_deadline() -> None:
    run = Run(["j1.1"], *[down()] * 4, timeout=2, unreachable_timeout=300)
    assert run.result["elapsed"] == 2
    run = Run(["j1.1"], *[down()] * 4, unreachable_timeout=2)
    assert run.result["elapsed"] == 2


def test_at_the_deadline_a_silent_host_is_given_little_time_more() -> None:
    run = Run(["j1.1"], up(after=5), down(after=25), hold=30, timeout=20)
    assert run.host.limits[1] == 15 + _waiting.LAST_PATIENCE


def test_a_wrong_key_at_the_first_contact_fails_at_once() -> None:
    run = Run(JOBS, down("Permission denied (publickey)", kind=Refused))
    assert run.result["unreachable"] is True
    assert run.clock.pauses == []
    assert "Permission denied" in run.result["msg"]
    assert run.states == ["running"] * 3


def test_a_host_that_let_us_in_before_may_refuse_us_for_a_while() -> None:
    """While it boots, say, before the homes of its users are mounted."""
    run = Run(JOBS, up("j1.1"), down(kind=Refused), down(kind=Refused), up("j2.1", "j3.1"))
    assert (run.states, run.result["reconnects"]) == (["succeeded"] * 3, 1)


def test_a_check_that_fails_at_the_first_contact_is_reported_at_once() -> None:
    run = Run(JOBS, down("no Python on the host", kind=CheckFailed))
    assert (run.result["failed"], run.clock.pauses) == (True, [])
    assert "unreachable" not in run.result
    assert run.result["msg"].startswith("The jobs cannot be looked at on the host: no Python on the host")


def test_a_check_that_failed_later_is_tried_again() -> None:
    run = Run(JOBS, up("j1.1"), down("killed", kind=CheckFailed), up("j2.1", "j3.1"))
    assert run.states == ["succeeded"] * 3
    failures = [down("disk full", kind=CheckFailed), down("disk full", 400, kind=CheckFailed)]
    run = Run(JOBS, up("j1.1"), *failures)
    assert run.states == ["succeeded", "running", "running"]
    assert (run.result["failed"], "unreachable" in run.result) == (True, False)
    assert "disk full" in run.result["msg"]


# Jobs that nobody named


def test_all_running_jobs_are_found_and_waited_for() -> None:
    run = Run(None, up("j1.1", found=["j2.1"], after=5), up("j2.1"))
    first, second = run.host.requests
    assert (first["find"], first["directories"]) == (True, [{"path": ASYNC_DIR, "jobs": {}}])
    assert first["ends"] > 1_000_000
    assert (second["find"], second["directories"]) == (False, [{"path": ASYNC_DIR, "jobs": {"j2.1": BEGAN}}])
    assert sorted(job["ansible_job_id"] for job in run.result["jobs"]) == ["j1.1", "j2.1"]
    assert run.states == ["succeeded"] * 2
    assert run.watcher.of("ended") == ["j1.1", "j2.1"]


def test_a_host_where_nothing_runs_is_a_success() -> None:
    run = Run(None, up(after=0))
    assert (run.result["msg"], run.result["failed"]) == ("There were no jobs to wait for", False)
    assert (run.result["finished"], run.result["summary"]["total"]) == (True, 0)


def test_jobs_are_found_once_and_later_ones_are_not_waited_for() -> None:
    run = Run(None, up(found=["j1.1"]), up("j1.1", "j9.9", found=["j8.8"]))
    assert [job["ansible_job_id"] for job in run.result["jobs"]] == ["j1.1"]


def test_a_number_of_ends_is_compared_with_what_was_found() -> None:
    run = Run(None, up(found=["j1.1", "j2.1"], after=1), until=3)
    assert run.host.requests[0]["ends"] == 3
    assert run.result["msg"].startswith("until is 3, but there are only 2 jobs")
    assert (run.result["failed"], run.result["finished"]) == (True, False)
    run = Run(None, up("j1.1", found=["j2.1"], after=1), until="any")
    assert run.host.requests[0]["ends"] == 1
    assert (run.result["failed"], run.result["finished"]) == (False, True)


def test_a_host_that_is_out_of_reach_is_not_one_without_jobs() -> None:
    run = Run(None, down(), down(after=80), unreachable_timeout=60)
    assert run.result["unreachable"] is True
    assert run.result["finished"] is False


def test_a_glance_after_a_silence_still_finds_all_jobs() -> None:
    run = Run(None, down(), up(found=["j1.1"]), up("j1.1"))
    assert [request["find"] for request in run.host.requests] == [True, True, False]
    assert run.states == ["succeeded"]


# Tidying up


def deleted(run: Run) -> list[str]:
    return ["/".join(pair) for request in run.host.requests for pair in request["delete"]]


def test_only_files_of_jobs_that_ended_are_deleted_and_only_after_their_results_are_here() -> None:
    jobs = [launch("j1.1"), launch("j2.1"), launch("j3.1"), launch("j1.1")]
    run = Run(jobs, up("j1.1", report("j2.1", "lost"), after=1), up(after=1), tidy=True, cleanup=True, until=3)
    assert run.host.requests[0]["delete"] == []
    last = run.host.requests[-1]
    assert last["delete"] == [["/srv/me/.ansible_async", "j1.1"], ["/srv/me/.ansible_async", "j2.1"]]
    assert (last["directories"], last["hold"], last["find"]) == ([], 0, False)
    assert run.result["jobs"][0]["result"] == {"changed": True}


def test_a_bare_job_id_is_tidied_where_the_host_found_it() -> None:
    run = Run(["j1.1"], up(report("j1.1", results_file="/root/x/j1.1")), up(), tidy=True, cleanup=True)
    assert deleted(run) == ["/root/x/j1.1"]


def test_nothing_is_deleted_unless_asked_for() -> None:
    assert deleted(Run([launch("j1.1")], up("j1.1"), tidy=True)) == []


def test_where_nothing_ended_there_is_nothing_to_tidy() -> None:
    run = Run([launch("j1.1")], up(), tidy=True, cleanup=True, timeout=5)
    assert deleted(run) == []


@pytest.mark.parametrize("kind", [OutOfReach, Refused, CheckFailed])
def test_files_that_cannot_be_deleted_are_a_warning_and_the_results_stay(kind: type[Exception]) -> None:
    run = Run([launch("j1.1")], up("j1.1"), down("gone", 0, kind), down("gone", 400, kind), tidy=True, cleanup=True)
    assert run.states == ["succeeded"]
    assert run.result["failed"] is False
    (warning,) = run.watcher.of("warn")
    assert "not deleted" in warning
    assert "gone" in warning


def test_a_host_that_is_out_of_reach_is_not_waited_for_a_second_time_to_tidy_up() -> None:
    """unreachable_timeout is how long the host may be out of reach, and that was all of it."""
    run = Run(
        [launch("j1.1"), launch("j2.1")],
        up("j1.1", after=5),
        down(),
        down(after=60),
        tidy=True,
        cleanup=True,
        unreachable_timeout=60,
    )
    assert run.result["unreachable"] is True
    assert run.result["elapsed"] < 5 + 60 + 1


# What the host says


def test_the_record_holds_what_the_host_reported() -> None:
    times: Answer = {"started_at": "2026-01-01T00:00:00.000Z", "ended_at": "2026-01-01T00:00:02.500Z", "elapsed": 2.5}
    run = Run([launch("j1.1")], up(report("j1.1", "failed", results_file="/srv/me/.ansible_async/j1.1", **times)))
    assert run.result["jobs"] == [
        {
            "ansible_job_id": "j1.1",
            "name": "j1.1",
            "item": None,
            "state": "failed",
            "started": True,
            "finished": True,
            "failed": True,
            "changed": False,
            **times,
            "attempts": 1,
            "results_file": "/srv/me/.ansible_async/j1.1",
            "msg": "disk full",
            "result": {"failed": True, "msg": "disk full", "rc": 1},
        }
    ]


def test_how_long_a_command_took_is_taken_from_its_result_when_nobody_saw_it_run() -> None:
    result: Answer = {
        "start": "2026-01-01 00:00:00.0",
        "end": "2026-01-01 00:01:02.5",
        "delta": "0:01:02.500000",
        "rc": 0,
    }
    ended_at = "2026-01-01T00:01:02.600Z"
    run = Run(
        ["j1.1", "j2.1"], up(*[report(jid, text=json.dumps(result), ended_at=ended_at) for jid in ("j1.1", "j2.1")])
    )
    job = run.result["jobs"][0]
    assert (job["elapsed"], job["started_at"], job["ended_at"]) == (62.5, "2026-01-01T00:00:00.100Z", ended_at)


def test_a_result_with_keys_of_ours_is_not_mixed_with_the_record() -> None:
    result = {"state": "queued", "started": "yes", "finished": 0, "name": "x", "item": 3, "elapsed": -1, "jobs": []}
    run = Run(["j1.1"], up(report("j1.1", text=json.dumps(result))))
    job = run.result["jobs"][0]
    assert (job["state"], job["started"], job["finished"], job["name"]) == ("succeeded", True, True, "j1.1")
    assert job["result"] == result


def test_ended_jobs_without_a_result_say_why() -> None:
    reports = [report(jid, state) for jid, state in zip(JOBS, ("lost", "missing", "unreadable"), strict=True)]
    run = Run(JOBS, up(*reports))
    assert run.states == ["lost", "missing", "unreadable"]
    assert all(job["failed"] and job["result"] is None for job in run.result["jobs"])
    assert run.result["msg"].startswith(
        "3 of 3 jobs did not succeed: j1.1 lost: no process and no result; j2.1 missing"
    )


def test_a_time_limit_that_passed_is_told_in_plain_words() -> None:
    run = Run(JOBS[:1], up(report("j1.1", "timed_out")))
    assert run.result["msg"] == "1 of 1 job did not succeed: j1.1 timed out: its time limit (async) passed"


def test_a_long_list_of_failures_is_cut() -> None:
    jobs = [f"j{number}.1" for number in range(25)]
    message = Run(jobs, up(*[report(jid, "lost") for jid in jobs])).result["msg"]
    assert "j9.1 lost" in message
    assert "j10.1" not in message
    assert message.endswith("and 15 more")


def test_the_longest_running_jobs_come_first() -> None:
    began = {"j1.1": [30.0, "x"], "j2.1": [10.0, "x"], "j3.1": None}
    run = Run(JOBS, up(running=[[0, jid, began[jid]] for jid in JOBS]), timeout=5)
    assert [record["name"] for record in run.wait.still_open] == ["j2.1", "j1.1", "j3.1"]


def test_reports_of_jobs_that_nobody_asked_for_do_no_harm() -> None:
    strange = [report("j9.9"), report("../../etc/passwd"), report("", "lost"), report("j2.1")]
    run = Run(JOBS[:1], up(*strange, found=["j8.8", "../x"], after=1), up(*strange, "j1.1"), tidy=True, cleanup=False)
    assert [job["ansible_job_id"] for job in run.result["jobs"]] == ["j1.1"]
    assert run.states == ["succeeded"]
    for request in run.host.requests:
        assert list(request["directories"][0]["jobs"]) == ["j1.1"]


def test_a_found_job_with_an_id_that_is_none_is_not_taken_up() -> None:
    run = Run(None, up("../../etc/passwd", found=["../x", "j1.1/../y", "", "j1.1"], after=1), up("j1.1"))
    assert [job["ansible_job_id"] for job in run.result["jobs"]] == ["j1.1"]


def test_a_report_of_a_place_that_was_not_asked_for_does_no_harm() -> None:
    run = Run(JOBS[:1], up(report("j2.1", place=7), running=[[5, "j1.1", BEGAN]], after=1), up("j1.1"))
    assert run.states == ["succeeded"]


@pytest.mark.parametrize("state", ["exploded", "", "SUCCEEDED", None, 5, "lost\n"])
def test_a_state_that_does_not_exist_is_an_end_that_cannot_be_read(state: t.Any) -> None:
    run = Run(JOBS[:1], up({**report("j1.1", "lost"), "state": state}))
    assert run.states == ["unreadable"]
    assert run.result["failed"] is True


@pytest.mark.parametrize("state", ["running", "queued"])
def test_a_job_that_is_reported_as_ended_and_as_running_cannot_keep_the_wait_going_for_ever(state: str) -> None:
    run = Run(
        JOBS[:2], up({**report("j1.1", "lost"), "state": state}, after=1), up("j1.1", "j2.1", after=1), timeout=60
    )
    # Either it is taken for running, and asked for again, or it has ended.
    asked_again = "j1.1" in run.host.requests[1]["directories"][0]["jobs"]
    assert asked_again or run.states[0] == "unreadable"
    assert run.result["finished"] is True


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_a_text_that_is_no_result_makes_one_job_unreadable_and_keeps_the_others(text: str) -> None:
    run = Run(JOBS[:2], up(report("j1.1", text=text), "j2.1"))
    assert run.states == ["unreadable", "succeeded"]


def test_a_result_that_is_nested_beyond_all_measure_keeps_the_others() -> None:
    run = Run(JOBS[:2], up(report("j1.1", text='{"a":' * 100_000 + "1" + "}" * 100_000), "j2.1"))
    assert run.states == ["unreadable", "succeeded"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([*JOBS, "j9.9", "../x", ""]), st.sampled_from([*_jobs.STATES, "odd"]), st.booleans()),
        max_size=6,
    )
)
def test_whatever_a_host_reports_a_wait_ends_and_no_job_is_lost_sight_of(said: list[tuple[str, str, bool]]) -> None:
    clock, watcher = Clock(), Watcher()
    reports = [report(jid, state, text='{"rc": 0}' if with_text else None) for jid, state, with_text in said]
    host = Host(clock, [up(*reports), *[up()] * 1000])
    wait = Wait(
        job_records(JOBS), WaitOptions(timeout=60), host, watcher, async_dir=ASYNC_DIR, clock=clock, sleep=clock.sleep
    )
    wait.run()
    result = result_of(wait)
    assert [job["ansible_job_id"] for job in result["jobs"]] == JOBS
    assert wait.elapsed <= 60
    assert len(wait.still_open) == sum(not job["finished"] for job in result["jobs"])


# Together with the half on the host


class ThisMachine:
    """Runs the checks right here, by way of JSON as they travel."""

    def ask(self, request: Answer, limit: float) -> Answer:
        def no_command(command: list[str], **dummy_options: t.Any) -> t.NoReturn:
            raise FileNotFoundError(command[0])

        return t.cast("Answer", json.loads(json.dumps(Check(json.loads(json.dumps(request)), no_command).run())))

    def reset(self) -> None: ...


def test_both_halves_speak_the_same_language(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir(mode=0o700)
    (folder / "j1.1").write_text(json.dumps({"changed": True, "stdout": "a\nb"}), encoding="utf-8")
    (folder / "j2.1").write_text(json.dumps({"failed": True, "msg": "no"}), encoding="utf-8")
    marker = {"started": True, "finished": False, "ansible_job_id": "j3.1"}
    (folder / "j3.1").write_text(json.dumps(marker), encoding="utf-8")
    jobs = [launch(jid, str(folder)) for jid in ("j1.1", "j2.1", "j3.1", "j4.1", "j1.1")]
    options = WaitOptions(timeout=20, cleanup=True)
    wait = Wait(job_records(jobs), options, ThisMachine(), Watcher(), async_dir=str(tmp_path / "none"))
    wait.run()
    assert sorted(os.listdir(folder)) == ["j1.1", "j2.1", "j3.1"]
    wait.clean_up()
    result = result_of(wait)
    assert [job["state"] for job in result["jobs"]] == ["succeeded", "failed", "lost", "missing", "succeeded"]
    assert result["jobs"][0]["result"] == {"changed": True, "stdout": "a\nb", "stdout_lines": ["a", "b"]}
    assert (result["checks"], os.listdir(folder)) == (2, [])


def test_both_halves_find_and_tidy_a_bare_job_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ansible_async").mkdir(mode=0o700)
    (tmp_path / ".ansible_async" / "j1.1").write_text("{}", encoding="utf-8")
    options = WaitOptions(timeout=20, cleanup=True)
    wait = Wait(job_records("j1.1"), options, ThisMachine(), Watcher(), async_dir="~/.ansible_async")
    wait.run()
    wait.clean_up()
    assert result_of(wait)["jobs"][0]["results_file"] == str(tmp_path / ".ansible_async" / "j1.1")
    assert os.listdir(tmp_path / ".ansible_async") == []


def test_under_no_log_the_message_counts_but_names_nothing() -> None:
    records = [new_record("j1.1", "failed", name="secret-name", msg="secret reason"), new_record("j2.1", "succeeded")]
    wait = Wait(records, WaitOptions(), t.cast("t.Any", None), t.cast("t.Any", None), async_dir="/x")
    wait.run()
    assert result_of(wait, no_log=True)["msg"] == "1 of 2 jobs did not succeed: no_log hides which"
    assert "secret-name" in result_of(wait)["msg"]


def test_news_that_came_too_soon_to_be_shown_does_not_wait_for_a_long_hold() -> None:
    run = Run(["j1.1", "j2.1"], up("j1.1", after=1), up(), up("j2.1", after=0), owes_a_line=True)
    assert run.host.holds == [5, 5, 5]


def test_a_job_that_still_runs_at_the_end_says_since_when_and_how_long() -> None:
    run = Run(["j1.1", "j2.1"], up("j1.1", after=1), until="any")
    (running,) = [job for job in run.result["jobs"] if job["state"] == "running"]
    assert running["started_at"] == BEGAN[1]
    assert running["elapsed"] == 123.5 - BEGAN[0]


# Batches


class BatchRun(Run):
    """A wait for the jobs of a batch; a look at them, where nobody waits."""

    def __init__(
        self,
        jobs: list[str] | None,
        *steps: Step,
        judge: Callable[[Record], None] | None = None,
        look: bool = False,
        batch: str | None = None,
        **options: t.Any,
    ) -> None:
        self.clock = Clock()
        self.host = Host(self.clock, steps)
        self.watcher = Watcher()
        self.wait = Wait(
            None if jobs is None else [new_record(jid, "queued", name=f"job {jid}", attempts=0) for jid in jobs],
            WaitOptions(**options),
            self.host,
            self.watcher,
            async_dir="~/.ansible_async",
            batch=batch,
            judge=judge,
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        if look:
            self.wait.look()
        else:
            self.wait.run()
        self.result = result_of(self.wait)
        assert not self.host.steps, "the host was asked less often than expected"


def of_host(*jids: str) -> list[Answer]:
    """The jobs of a batch as the host tells them."""
    return [{"jid": jid, "key": f"key of {jid}", "name": f"name of {jid}", "item": jid} for jid in jids]


PATH = "/root/.ansible_async"


def test_only_the_host_knows_where_the_jobs_of_a_batch_are() -> None:
    run = BatchRun(JOBS, up("j1.1", after=1, path=PATH, jobs=None), up("j2.1", "j3.1", after=1))
    assert [request["directories"][0]["path"] for request in run.host.requests] == ["~/.ansible_async", PATH]
    assert list(run.host.requests[1]["directories"][0]["jobs"]) == ["j2.1", "j3.1"]
    assert [job["results_file"] for job in run.result["jobs"]] == [f"{PATH}/{jid}" for jid in JOBS]
    assert [job["name"] for job in run.result["jobs"]] == [f"job {jid}" for jid in JOBS]
    assert run.states == ["succeeded"] * 3


def test_the_jobs_of_another_run_take_the_place_of_the_planned_ones() -> None:
    run = BatchRun(JOBS, up("j9.1", after=1, path=PATH, jobs=of_host("j9.1", "j8.2")), up("j8.2", after=1))
    assert list(run.host.requests[1]["directories"][0]["jobs"]) == ["j8.2"]
    assert [(job["ansible_job_id"], job["name"], job["item"]) for job in run.result["jobs"]] == [
        ("j9.1", "name of j9.1", "j9.1"),
        ("j8.2", "name of j8.2", "j8.2"),
    ]
    assert (run.result["summary"]["succeeded"], run.result["summary"]["total"]) == (2, 2)


def test_a_job_without_a_name_is_called_by_its_id() -> None:
    nameless = [{"jid": "j9.1", "key": "k", "name": None, "item": None}]
    run = BatchRun(JOBS, up("j9.1", path=PATH, jobs=nameless))
    assert run.result["jobs"][0]["name"] == "j9.1"


@pytest.mark.parametrize("jid", ["../../etc/passwd", "j9", "", None, 5])
def test_a_job_id_of_the_host_that_is_none_ends_the_wait(jid: t.Any) -> None:
    run = BatchRun(JOBS, up(path=PATH, jobs=[*of_host("j9.1"), {"jid": jid, "key": "k", "name": "x", "item": None}]))
    assert run.result["failed"] is True
    assert "a job id that is none" in run.result["msg"]


def test_a_batch_is_found_by_its_id_once() -> None:
    run = BatchRun(
        None,
        up("j9.1", after=1, path=PATH, jobs=of_host("j9.1", "j9.2")),
        up("j9.2", after=1),
        batch="nightly",
    )
    assert [(request["batch"], request["find"]) for request in run.host.requests] == [("nightly", False), (None, False)]
    assert run.host.requests[0]["ends"] == 10**9
    assert run.states == ["succeeded"] * 2


def test_jobs_that_wait_for_their_turn_are_told_from_those_that_run() -> None:
    waits = [[0, "j2.1"], [0, "j3.1"]]
    run = BatchRun(JOBS, up(running=[[0, "j1.1", BEGAN]], queued=waits, path=PATH, jobs=None), timeout=5)
    assert run.states == ["running", "queued", "queued"]
    first, second, dummy = run.result["jobs"]
    assert (first["started"], first["started_at"], first["attempts"]) == (True, BEGAN[1], 1)
    assert (second["started"], second["started_at"], second["attempts"]) == (False, None, 0)
    assert (second["finished"], second["failed"]) == (False, False)


def test_a_job_that_is_to_be_tried_again_waits_for_its_turn_again() -> None:
    run = BatchRun(
        ["j1.1"],
        up(after=1, path=PATH, jobs=None),
        up(after=1, running=[], queued=[[0, "j1.1"]]),
        up(report("j1.1", attempts=2)),
    )
    assert run.states == ["succeeded"]
    assert run.result["jobs"][0]["attempts"] == 2


def test_queued_jobs_of_places_that_were_not_asked_for_do_no_harm() -> None:
    run = BatchRun(["j1.1"], up(after=1, queued=[[7, "j1.1"], [0, "../x"]], path=PATH, jobs=None), up("j1.1"))
    assert run.states == ["succeeded"]


def test_a_look_is_one_glance() -> None:
    run = BatchRun(JOBS, up("j1.1", after=0, path=PATH, jobs=None), look=True)
    assert run.host.holds == [0]
    assert run.states == ["succeeded", "running", "running"]
    assert (run.wait.problem, run.clock.pauses) == ("", [])


def test_a_look_that_fails_says_why() -> None:
    run = BatchRun(JOBS, down("no Python", kind=NotStarted), look=True)
    assert run.wait.problem == "The batch was not started: no Python"
    run = BatchRun(JOBS, down("no route"), look=True, unreachable_timeout=0)
    assert (run.wait.problem, run.wait.unreachable) == ("The host is out of reach: no route", True)


def test_a_batch_that_was_refused_is_not_asked_for_again() -> None:
    run = BatchRun(JOBS, down("no space", kind=NotStarted))
    assert (run.result["failed"], run.result["msg"].startswith("The batch was not started: no space")) == (True, True)


def test_a_job_is_judged_once_when_it_has_ended_and_before_anybody_is_told() -> None:
    judged: list[str] = []
    run: BatchRun

    def judge(record: Record) -> None:
        judged.append(record["name"])
        if record["ansible_job_id"] == "j2.1":
            with_state(record, "failed")
            record["msg"] = "too hot"

    run = BatchRun(
        JOBS, up("j2.1", after=1, path=PATH, jobs=None), up("j1.1", report("j3.1", "lost"), after=1), judge=judge
    )
    assert judged == ["job j2.1", "job j1.1", "job j3.1"]
    assert run.states == ["succeeded", "failed", "lost"]
    assert run.result["msg"].startswith("2 of 3 jobs did not succeed: job j2.1 failed: too hot; job j3.1 lost")


def test_a_job_that_fails_by_the_judge_stops_a_wait_that_stops_at_a_failure() -> None:
    run = BatchRun(
        JOBS,
        up("j1.1", after=1, path=PATH, jobs=None),
        judge=lambda record: t.cast("None", with_state(record, "failed")),
        stop=True,
    )
    assert run.states == ["failed", "running", "running"]


@pytest.mark.parametrize("state", ["timed_out", "cancelled", "lost"])
def test_what_the_host_says_of_a_job_that_was_ended_is_told_with_what_its_module_said(state: str) -> None:
    said = {"rc": -15, "stdout": "a\nb", "changed": True}
    text = _jobs.verdict(state, "its timeout of 5 s passed", said).decode()
    run = BatchRun(["j1.1", "j2.1"], up(report("j1.1", state, text=text), report("j2.1", state, text=text)))
    job = run.result["jobs"][0]
    assert (job["state"], job["msg"], job["failed"]) == (state, "its timeout of 5 s passed", True)
    assert job["result"] == {**said, "stdout_lines": ["a", "b"]}
    text = _jobs.verdict(state, "because").decode()
    job = BatchRun(["j1.1"], up(report("j1.1", state, text=text, attempts=0))).result["jobs"][0]
    assert (job["msg"], job["result"], job["attempts"], job["started"]) == ("because", None, 0, False)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["running", "queued"]), st.integers(0, 2), st.sampled_from([*JOBS, "j9.9", "../x"])),
        max_size=5,
    ),
    st.none() | st.lists(st.sampled_from(["j9.9", "j8.8", "j1.1"]), max_size=3, unique=True),
)
def test_whatever_a_host_says_of_a_batch_no_job_is_lost_sight_of(
    said: list[tuple[str, int, str]], others: list[str] | None
) -> None:
    listed: dict[str, list[t.Any]] = {"running": [], "queued": []}
    for state, place, jid in said:
        listed[state].append([place, jid, None][: 3 if state == "running" else 2])
    jobs = None if others is None else of_host(*others)
    clock = Clock()
    host = Host(clock, [up(path=PATH, jobs=jobs, **listed), *[up()] * 1000])
    wait = Wait(
        [new_record(jid, "queued", attempts=0) for jid in JOBS],
        WaitOptions(timeout=60),
        host,
        Watcher(),
        async_dir=ASYNC_DIR,
        clock=clock,
        sleep=clock.sleep,
    )
    wait.run()
    assert [record["ansible_job_id"] for record in wait.records] == (JOBS if others is None else others)
    assert all(record["state"] in ("running", "queued") for record in wait.records)
    assert wait.elapsed <= 60


# Ending what still runs


def cancelled(jid: str) -> Answer:
    text = json.dumps({"failed": True, "msg": "cancelled at noon by root", "inflight_state": "cancelled"})
    return report(jid, "cancelled", text=text)


def test_the_first_failure_may_end_the_other_jobs() -> None:
    steps = up(report("j2.1", "failed"), after=3), up(cancelled("j1.1"), cancelled("j3.1"), after=0)
    run = Run(JOBS, *steps, stop=True, cancel_on_failure=True)
    assert run.told_to_end == [([(ASYNC_DIR, "j1.1"), (ASYNC_DIR, "j3.1")], "another job of the wait did not succeed")]
    assert run.states == ["cancelled", "failed", "cancelled"]
    assert run.result["finished"] is True
    assert run.watcher.of("ended") == ["j2.1", "j1.1", "j3.1"]
    assert run.result["msg"].endswith("j3.1 cancelled: cancelled at noon by root")


def test_when_no_job_fails_none_is_ended() -> None:
    run = Run(JOBS, up("j1.1", after=3), stop=True, until="any", cancel_on_failure=True, cancel_on_timeout=True)
    assert run.told_to_end == []
    assert run.states == ["succeeded", "running", "running"]


def test_the_timeout_may_end_the_jobs_that_still_run() -> None:
    steps = up("j1.1", after=3), up(after=7), up("j2.1", cancelled("j3.1"), after=0)
    run = Run(JOBS, *steps, timeout=10, cancel_on_timeout=True)
    assert run.told_to_end == [([(ASYNC_DIR, "j2.1"), (ASYNC_DIR, "j3.1")], "the timeout of the wait passed")]
    assert run.states == ["succeeded", "succeeded", "cancelled"]
    assert run.result["msg"].startswith("The timeout of 10 s passed. 1 of 3 jobs did not succeed: j3.1 cancelled")
    assert run.result["failed"] is True


def test_jobs_that_cannot_be_ended_are_told() -> None:
    steps = up(after=10), up("j1.1", "j2.1", after=0)
    run = Run(JOBS, *steps, timeout=10, cancel_on_timeout=True, cannot_end="1 of the jobs could not be ended: no")
    assert run.states == ["succeeded", "succeeded", "running"]
    assert run.result["msg"] == (
        "The timeout of 10 s passed. 1 of the jobs could not be ended: no. 1 of 3 jobs still running: j3.1"
    )


def test_a_host_that_is_out_of_reach_at_the_timeout_is_not_asked_to_end_jobs() -> None:
    run = Run(JOBS, up("j1.1", after=3), down(after=10), timeout=10, cancel_on_timeout=True)
    assert run.told_to_end == []
    assert "The host is out of reach: no route to host" in run.result["msg"]


def test_an_interrupted_wait_ends_the_jobs_that_are_not_known_to_have_ended() -> None:
    run = Run(JOBS, up("j1.1", after=3), until="any", cancel_on_interrupt=True)
    assert run.wait.cancels_on_interrupt
    run.wait.interrupted()
    assert run.told_to_end == [([(ASYNC_DIR, "j2.1"), (ASYNC_DIR, "j3.1")], "the wait was interrupted")]


# What running jobs print


def test_what_running_jobs_print_last_is_in_their_records_as_long_as_they_run() -> None:
    tails = [[0, "j1.1", ["table 1"]], [0, "j2.1", ["a", "b"]]]
    run = Run(JOBS, up(after=5, tails=tails), up("j1.1", after=5, tails=tails[1:]), timeout=10, tail=2)
    assert [job.get("tail") for job in run.result["jobs"]] == [None, ["a", "b"], None]
    assert [request["tail"] for request in run.host.requests] == [2, 2]


@pytest.mark.parametrize(("follows", "holds"), [(True, [5, 5, 5]), (False, [5, 30, 30])])
def test_the_host_is_asked_often_where_somebody_watches_what_jobs_print(follows: bool, holds: list[float]) -> None:
    run = Run(JOBS, up(), up(), up(*JOBS), tail=1, follows=follows)
    assert run.host.holds == holds


def test_jobs_that_nobody_named_are_called_what_their_host_calls_them() -> None:
    names = {"j1.1": "dump users", "j2.1": ["no", "name"]}
    run = Run(None, up(after=1, found=["j1.1", "j2.1", "j3.1"], names=names), up("j1.1", "j2.1", "j3.1"))
    assert [job["name"] for job in run.result["jobs"]] == ["dump users", "j2.1", "j3.1"]
