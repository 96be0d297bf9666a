# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import threading
import types
import typing as t
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _attempt, _jobs, _pool, _processes, _zygote
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._order import Order
from ansible_collections.inflight.jobs.plugins.module_utils._pool import Limits, Pool

from ..conftest import NUMBER, Ground, exit_code, fork, says, shell_payload

NEVER = float("inf")
COLD = 0
WARM = 1


class Plan(t.NamedTuple):
    """What one attempt of a job does: it takes so long, prints a result or nothing, and ends with a status.

    tidies: how long it takes to end when it is asked to.
    """

    seconds: float = 1
    result: dict[str, t.Any] | None = {"changed": True}  # noqa: RUF012  # nobody changes it
    status: int = 0
    tidies: float = 0


OK = Plan()
FAILS = Plan(result={"failed": True, "msg": "no"})
HANGS = Plan(seconds=NEVER)

TO_END = {"reason": "cancelled by root", "signal_name": "TERM", "grace": 10.0}


class Process:
    """The process of one attempt."""

    def __init__(self, zygote: Zygote, index: int, plan: Plan, attempt: _attempt.Attempt) -> None:
        self.zygote = zygote
        self.index = index
        self.plan = plan
        self.attempt = attempt
        self.lives = True
        self.asked = False


class World:
    """A host on which time and processes follow a script. The pool is real, and so are the files of its jobs."""

    def __init__(self, path: Path, *jobs: Plan | list[Plan], payloads: Iterable[int] = ()) -> None:
        """
        :param jobs: what the attempts of each job do; the last one stands for all that follow.
        :param payloads: COLD or WARM for each job.
        """
        directory = _jobs.JobDirectory(str(path))
        folder = BatchFolder(directory.path, NUMBER)
        folder.make({"id": None, "grace": 0, "jobs": [{"jid": f"{NUMBER}.{index}"} for index in range(len(jobs))]})
        self.plans = [job if isinstance(job, list) else [job] for job in jobs]
        kinds = [*payloads] or [COLD] * len(jobs)
        self.batch = _zygote.Batch(
            directory,
            folder,
            [_zygote.Job(f"{NUMBER}.{index}", kind, "", {}) for index, kind in enumerate(kinds)],
            [_zygote.Payload("file", (b"",), "", warm) for warm in (False, True)],
        )
        for job in self.batch.jobs:
            directory.create_marker(job.jid)
        self.now = 1000.0
        self.load = 0.0  # how long a zygote takes to load its module
        self.script: list[tuple[float, int, Callable[[], object]]] = []
        self.numbers = itertools.count(2)
        self.zygotes: list[Zygote] = []
        self.processes: dict[int, Process] = {}
        self.started: list[tuple[float, int, int]] = []  # when, which job, number of the attempt
        self.asked: list[tuple[float, int]] = []  # when, which job
        self.most = 0
        self.left: list[BaseException] = []  # what goes wrong when a zygote is forked
        self.pool: Pool | None = None

    def at(self, moment: float, action: Callable[[], object]) -> None:
        """Have something done so many seconds after the start."""
        self._after(1000.0 + moment - self.now, action)

    def _after(self, seconds: float, action: Callable[[], object]) -> None:
        if seconds < NEVER:
            self.script.append((self.now + seconds, next(self.numbers), action))
            self.script.sort(key=lambda planned: planned[:2])

    def term(self) -> None:
        """Somebody sends SIGTERM to the supervisor."""
        assert self.pool is not None
        self.pool._on_term()

    def order(self, *indexes: int, **how: t.Any) -> None:
        """Leave an order for the supervisor to end these jobs."""
        jids = frozenset(self.batch.jobs[index].jid for index in indexes)
        self.batch.folder.leave_order(Order(jids, **{**TO_END, **how}).text())
        if self.pool is not None:
            self.pool._on_wake()

    def cancel(self) -> None:
        self.order(*range(len(self.batch.jobs)))

    def kill_zygote(self) -> None:
        """The first of the zygotes is killed, if there is one."""
        for zygote in self.zygotes[:1]:
            zygote.die()

    def kill_all(self) -> None:
        """The first of the zygotes is killed with all of its jobs."""
        self.kill_zygote()
        for process in self.processes.values():
            self.end(process, by_itself=False)

    def begin(self, zygote: Zygote, index: int, number: int, last: bool) -> None:
        """A zygote forks the process of an attempt."""
        plan = self.plans[index][min(number, len(self.plans[index])) - 1]
        job = self.batch.jobs[index]
        attempt = _attempt.Attempt(self.batch.directory, self.batch.folder, job.jid, number, last)
        process, pid = Process(zygote, index, plan, attempt), next(self.numbers)
        self.processes[pid] = process
        self.batch.directory.change_marker(job.jid, (pid, 1.0, "boot"))
        for name in ("out", "err"):
            Path(self.batch.folder.file(f"{job.jid}.{name}")).touch()
        self.started.append((self.now - 1000.0, index, number))
        self.most = max(self.most, sum(one.lives for one in self.processes.values()))
        zygote.say("started", index, str(pid))
        self._after(plan.seconds, lambda: self.end(process, by_itself=True))

    def end(self, process: Process, *, by_itself: bool) -> None:
        if not process.lives:
            return
        process.lives = False
        plan = process.plan
        if by_itself and plan.result is not None:
            path = self.batch.folder.file(f"{self.batch.jobs[process.index].jid}.out")
            Path(path).write_text(json.dumps(plan.result), encoding="utf-8")
        status = plan.status if by_itself else int(signal.SIGTERM)
        if by_itself or process.zygote.lives:
            process.zygote.say("ended", process.index, process.attempt.end(status))

    def select(self, waited_for: list[t.Any], dummy: object, dummy_too: object, seconds: float) -> tuple[list[t.Any]]:
        """Let time pass until a zygote has something to say."""
        until = self.now + seconds
        while not (ready := [one for one in waited_for if isinstance(one, Zygote) and one.has_news]):
            if not self.script or self.script[0][0] > until:
                assert until < 1000.0 + 3600.0, "the pool waits for something that never comes"
                self.now = until
                break
            self.now, dummy_number, action = self.script.pop(0)
            action()
            if self.pool is not None and (self.pool._told_to_end or self.pool._has_orders):
                break
        return (ready,)

    def run(self, order: list[int] | None = None, **limits: t.Any) -> World:
        """Run a pool to its end."""
        real_pipe, made = os.pipe, []

        def pipe() -> tuple[int, int]:
            made.append(real_pipe())
            return made[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_zygote, "Zygote", lambda batch, warm: Zygote(self, warm))
            patch.setattr(_processes, "Tree", lambda pid, dummy_jid, dummy_session: Tree(self, pid))
            patch.setattr(_processes, "Snapshot", lambda: None)
            patch.setattr(_processes, "is_alive", lambda said: said is not None and self.processes[said[0]].lives)
            patch.setattr(_pool, "select", types.SimpleNamespace(select=self.select))
            nothing = types.SimpleNamespace(
                signal=lambda *dummy: None, set_wakeup_fd=lambda *dummy, **more: None, SIGTERM=signal.SIGTERM
            )
            patch.setattr(_pool, "signal", nothing)
            patch.setattr(os, "pipe", pipe)
            lock = self.batch.folder.supervise()
            try:
                asked = Limits(**{**UNLIMITED._asdict(), **limits})
                self.pool = Pool(self.batch, order or list(range(len(self.plans))), asked, clock=lambda: self.now)
                self.pool.run()
            finally:
                for fd in (lock, *itertools.chain(*made)):
                    os.close(fd)
        return self

    @property
    def elapsed(self) -> float:
        return self.now - 1000.0

    @property
    def states(self) -> list[str]:
        return [self.batch.directory.read(job.jid).state for job in self.batch.jobs]

    def result(self, index: int) -> dict[str, t.Any]:
        found = self.batch.directory.read(self.batch.jobs[index].jid)
        assert found.text is not None, f"there is no result, the job is {found.state}"
        return t.cast("dict[str, t.Any]", json.loads(found.text))

    def attempts(self, index: int) -> int:
        return int(self.batch.folder.logged(self.batch.jobs[index].jid)["attempts"])

    @property
    def left_over(self) -> list[str]:
        return sorted(name for name in os.listdir(self.batch.folder.path) if name.startswith(NUMBER))


class Zygote:
    """What stands for a zygote and its socket."""

    def __init__(self, world: World, warm: int | None) -> None:
        if world.left:
            raise world.left.pop(0)
        self.world = world
        self.warm = warm
        self.pid = os.getpid()  # no child of ours: nobody can wait for it
        self.socket = self
        self.ready = False
        self.lives = True
        self.closed = False
        self.jobs: set[int] = set()
        self.orders: list[tuple[int, int, bool]] = []
        self.said: list[_zygote.Event] = []
        self.loaded = warm is None
        world.zygotes.append(self)
        if self.loaded:
            self.say("ready", 0, "-")
        else:
            world._after(world.load, self.finish_loading)

    def finish_loading(self) -> None:
        if self.lives:
            self.loaded = True
            self.say("ready", 0, "-")
            for order in self.orders:
                self.world.begin(self, *order)

    def die(self) -> None:
        self.lives = False

    def say(self, kind: str, index: int, value: str) -> None:
        if self.lives:
            self.said.append(_zygote.Event(kind, index, value))

    @property
    def has_news(self) -> bool:
        return bool(self.said) or not self.lives

    def start(self, index: int, number: int, last: bool) -> bool:
        if not self.lives:
            return False
        self.jobs.add(index)
        if self.loaded:
            self.world.begin(self, index, number, last)
        else:
            self.orders.append((index, number, last))
        return True

    def events(self) -> list[_zygote.Event] | None:
        if not self.said:
            return None
        events, self.said = self.said, []
        self.ready = True
        for event in events:
            if event.kind == "ended":
                self.jobs.discard(event.place)
        return [event for event in events if event.kind != "ready"]

    def close(self) -> None:
        self.closed = True


class Tree:
    """What stands for the processes of a job."""

    def __init__(self, world: World, pid: int) -> None:
        self.world = world
        self.process = world.processes[pid]

    def look(self, dummy_snapshot: object) -> bool:
        return self.process.lives

    def ask_to_end(self, dummy_signal: str) -> None:
        if not self.process.asked:
            self.process.asked = True
            self.world.asked.append((self.world.elapsed, self.process.index))
            self.world._after(self.process.plan.tidies, self.kill)

    def kill(self) -> None:
        self.world.end(self.process, by_itself=False)


UNLIMITED = Limits(
    window=2,
    timeout=0,
    grace=10,
    total_timeout=0,
    on_failure="continue",
    max_failures=1,
    retries=0,
    retry_delay=5,
    start_delay=0,
)


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    """Makes the world of a test."""
    (tmp_path / "jobs").mkdir(mode=0o700)

    def make(*jobs: Plan | list[Plan], **more: t.Any) -> World:
        return World(tmp_path / "jobs", *jobs, **more)

    return make


Make = Callable[..., World]


# The window


def test_as_soon_as_one_job_ends_the_next_one_starts(world: Make) -> None:
    run = world(Plan(3), Plan(1), Plan(1), Plan(1)).run(window=2)
    assert run.started == [(0, 0, 1), (0, 1, 1), (1, 2, 1), (2, 3, 1)]
    assert (run.states, run.elapsed, run.most) == (["succeeded"] * 4, 3, 2)
    assert run.left_over == []


def test_jobs_start_in_the_order_that_was_asked_for(world: Make) -> None:
    run = world(*[OK] * 4).run(order=[2, 0, 3, 1], window=1)
    assert [index for dummy, index, dummy_too in run.started] == [2, 0, 3, 1]


def test_jobs_that_are_not_in_the_order_are_left_alone(world: Make) -> None:
    """Those that succeeded in an earlier run of the batch."""
    run = world(OK, OK, OK).run(order=[1])
    assert run.states == ["queued", "succeeded", "queued"]


def test_a_batch_without_jobs_is_over_at_once(world: Make) -> None:
    assert world().run(order=[]).elapsed == 0


def test_all_jobs_start_at_once_where_the_window_is_large_enough(world: Make) -> None:
    run = world(*[OK] * 150).run(window=1000)
    assert (run.most, run.elapsed) == (150, 1)


def test_a_pause_between_two_starts_is_kept(world: Make) -> None:
    run = world(*[OK] * 3).run(window=3, start_delay=0.6)
    assert [round(moment, 3) for moment, dummy, dummy_too in run.started] == [0, 0.6, 1.2]


def test_each_warm_module_has_a_zygote_and_all_others_share_one(world: Make) -> None:
    run = world(OK, OK, OK, OK, payloads=[COLD, WARM, COLD, WARM]).run(window=4)
    assert [zygote.warm for zygote in run.zygotes] == [None, WARM]
    assert all(zygote.closed for zygote in run.zygotes)


# Failures


def test_a_failure_does_not_keep_the_others_from_running(world: Make) -> None:
    run = world(FAILS, OK, Plan(result=None, status=9), OK).run(window=1)
    assert run.states == ["failed", "succeeded", "lost", "succeeded"]


def test_drain_starts_nothing_any_more_and_lets_run_what_runs(world: Make) -> None:
    run = world(FAILS, Plan(5), OK, OK).run(window=2, on_failure="drain")
    assert run.states == ["failed", "succeeded", "cancelled", "cancelled"]
    assert run.result(2)["msg"] == "not started: another job of the batch failed"
    assert (run.attempts(2), run.elapsed) == (0, 5)


def test_cancel_ends_what_runs_as_well(world: Make) -> None:
    run = world(FAILS, HANGS, OK).run(window=2, on_failure="cancel")
    assert run.states == ["failed", "cancelled", "cancelled"]
    assert run.result(1)["msg"] == "another job of the batch failed"
    assert (run.attempts(1), run.asked) == (1, [(1, 1)])
    assert run.elapsed < 1 + 1
    assert run.left_over == []


@pytest.mark.parametrize("on_failure", ["drain", "cancel"])
@pytest.mark.parametrize(("max_failures", "started"), [(1, 1), (2, 2), (3, 4), (5, 5)])
def test_the_failure_with_the_number_that_was_given_counts(
    world: Make, on_failure: str, max_failures: int, started: int
) -> None:
    run = world(FAILS, FAILS, OK, FAILS, OK).run(window=1, on_failure=on_failure, max_failures=max_failures)
    assert len(run.started) == started


@pytest.mark.parametrize(
    ("plan", "state"), [(HANGS, "timed_out"), (Plan(result=None, status=9), "lost"), (Plan(result=None), "failed")]
)
def test_a_job_that_timed_out_or_left_no_result_is_a_failure(world: Make, plan: Plan, state: str) -> None:
    run = world(plan, OK).run(window=1, timeout=5, on_failure="drain")
    assert run.states == [state, "cancelled"]


# Attempts


def test_a_job_that_failed_is_started_again_and_others_run_meanwhile(world: Make) -> None:
    run = world([FAILS, OK], Plan(3)).run(window=1, retries=2, retry_delay=2)
    assert run.started == [(0, 0, 1), (1, 1, 1), (4, 0, 2)]
    assert (run.states, run.attempts(0), run.attempts(1)) == (["succeeded"] * 2, 2, 1)
    assert run.left_over == []


def test_the_pause_before_a_job_is_started_again_doubles(world: Make) -> None:
    run = world(FAILS).run(retries=3, retry_delay=2)
    assert [moment for moment, dummy, dummy_too in run.started] == [0, 1 + 2, 4 + 4, 9 + 8]
    assert (run.states, run.attempts(0)) == (["failed"], 4)


def test_without_a_pause_a_job_is_started_again_at_once(world: Make) -> None:
    run = world(FAILS, OK).run(window=1, retries=1, retry_delay=0)
    assert run.started == [(0, 0, 1), (1, 0, 2), (2, 1, 1)]


def test_a_job_may_be_tried_thousands_of_times(world: Make) -> None:
    pool = Pool(world(FAILS).batch, [], UNLIMITED._replace(retries=10_000, retry_delay=0), clock=lambda: 5.0)
    pool._running[0] = t.cast("t.Any", types.SimpleNamespace(number=5000, sentence=None))
    pool._ended(0, _attempt.AGAIN)
    assert pool._again == [(5.0, 0, 5001)]


def test_only_the_last_attempt_is_a_failure_of_the_batch(world: Make) -> None:
    run = world([FAILS, OK], OK, OK).run(window=1, retries=1, on_failure="drain")
    assert run.states == ["succeeded"] * 3


def test_a_job_that_waits_for_another_attempt_keeps_the_result_of_the_last_one_when_it_is_cancelled(
    world: Make,
) -> None:
    run = world([FAILS, OK], [Plan(3, result=None, status=9), OK], [HANGS, OK])
    run.at(20, run.cancel)
    run.run(window=3, retries=1, retry_delay=60, timeout=7)
    assert run.states == ["failed", "lost", "timed_out"]
    assert [run.result(index)["msg"] for index in range(3)] == [
        "no",
        "killed by signal 9 (SIGKILL)",
        "its timeout of 7 s passed",
    ]
    assert [run.attempts(index) for index in range(3)] == [1, 1, 1]


def test_a_job_that_fails_when_nothing_is_started_any_more_is_not_started_again(world: Make) -> None:
    run = world(FAILS, Plan(5, result={"failed": True, "msg": "late"})).run(
        window=2, retries=1, retry_delay=1, on_failure="drain"
    )
    assert run.states == ["failed", "failed"]
    assert run.result(1)["msg"] == "late"
    assert [(index, number) for dummy, index, number in run.started] == [(0, 1), (1, 1), (0, 2)]


# Limits


def test_a_job_that_takes_too_long_is_ended(world: Make) -> None:
    run = world(HANGS, Plan(4)).run(timeout=5)
    assert run.states == ["timed_out", "succeeded"]
    assert run.result(0)["msg"] == "its timeout of 5 s passed"
    assert run.asked == [(5, 0)]
    assert run.elapsed <= 5 + 2 * _pool.LOOK_EVERY


def test_every_job_has_its_time_from_its_own_start(world: Make) -> None:
    run = world(Plan(4), Plan(4), Plan(4)).run(window=1, timeout=5)
    assert run.states == ["succeeded"] * 3


def test_the_time_that_a_zygote_takes_to_load_its_module_is_not_the_time_of_a_job(world: Make) -> None:
    run = world(Plan(4), payloads=[WARM])
    run.load = 30
    assert run.run(timeout=5).states == ["succeeded"]


def test_every_attempt_has_its_own_time(world: Make) -> None:
    run = world([HANGS, Plan(4)]).run(timeout=5, retries=1, retry_delay=1)
    assert (run.states, run.attempts(0)) == (["succeeded"], 2)


def test_a_job_that_does_not_end_when_it_is_asked_to_is_ended_by_force(world: Make) -> None:
    run = world(HANGS._replace(tidies=NEVER)).run(timeout=5, grace=3)
    assert run.states == ["timed_out"]
    assert run.asked == [(5, 0)]
    assert 8 <= run.elapsed <= 8 + 2 * _pool.LOOK_EVERY


def test_a_job_may_take_its_grace_to_tidy_up(world: Make) -> None:
    run = world(HANGS._replace(tidies=2)).run(timeout=5, grace=3)
    assert run.states == ["timed_out"]
    assert 7 <= run.elapsed <= 7 + 2 * _pool.LOOK_EVERY


def test_a_job_that_is_being_ended_keeps_its_place_in_the_window(world: Make) -> None:
    run = world(HANGS._replace(tidies=2), OK).run(window=1, timeout=5, grace=3)
    assert run.most == 1
    assert run.started[1][0] >= 7


def test_after_the_total_timeout_nothing_is_started(world: Make) -> None:
    run = world(HANGS, Plan(4), Plan(4), OK).run(window=2, total_timeout=6)
    assert run.states == ["timed_out", "succeeded", "timed_out", "cancelled"]
    assert run.result(0)["msg"] == "the total_timeout of 6 s passed"
    assert run.result(3)["msg"] == "not started: the total_timeout of 6 s passed"
    assert [moment for moment, dummy, dummy_too in run.started] == [0, 0, 4]


def test_after_the_total_timeout_no_job_is_tried_again(world: Make) -> None:
    run = world([HANGS, OK], [FAILS, OK]).run(retries=5, retry_delay=60, total_timeout=6)
    assert run.states == ["timed_out", "failed"]
    assert (run.attempts(0), run.attempts(1), len(run.started)) == (1, 1, 2)


def test_a_job_that_ends_by_itself_just_before_it_is_told_to_keeps_its_result(world: Make) -> None:
    run = world(Plan(5), HANGS)
    # The news is on its way when the time is over.
    run.at(4.999, lambda: setattr(run, "now", 1005.5))
    run.run(timeout=5)
    assert run.states == ["succeeded", "timed_out"]
    assert run.result(0) == {"changed": True}
    assert run.left_over == []


def test_a_job_that_had_published_when_it_was_told_to_end_keeps_its_result(world: Make) -> None:
    run = world(Plan(9), Plan(5))
    real = _attempt.Attempt.stop

    def stop(attempt: _attempt.Attempt) -> None:
        process = next(one for one in run.processes.values() if one.attempt.jid == attempt.jid)
        process.plan = process.plan._replace(result={"changed": True, "late": True})
        run.end(process, by_itself=True)
        real(attempt)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_attempt.Attempt, "stop", stop)
        run.run(timeout=7)
    assert run.states == ["succeeded", "succeeded"]
    assert run.result(0) == {"changed": True, "late": True}
    assert run.left_over == []


# Told to end


def test_a_batch_that_is_cancelled_ends_all_of_its_jobs(world: Make) -> None:
    run = world(HANGS, Plan(1), OK, HANGS, [FAILS, OK])
    run.at(3, run.cancel)
    run.run(window=2, order=[4, 0, 1, 3, 2], retries=1, retry_delay=60)
    assert run.states == ["cancelled", "succeeded", "cancelled", "cancelled", "failed"]
    assert run.result(0)["msg"] == "cancelled by root"
    assert run.result(2)["msg"] == "not started: cancelled by root"
    assert run.elapsed <= 3 + 3 * _pool.LOOK_EVERY


def test_the_jobs_of_a_host_that_shuts_down_are_lost(world: Make) -> None:
    run = world(HANGS, Plan(1), OK, OK)
    run.at(2.5, run.term)
    run.run(window=1, order=[1, 0, 2, 3])
    assert run.states == ["lost", "succeeded", "lost", "lost"]
    assert "as when the host shuts down" in run.result(2)["msg"]


def test_a_batch_that_is_told_to_end_before_it_runs_starts_nothing(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world(OK, OK)
    run.cancel()
    monkeypatch.setattr(Pool, "obey", lambda pool: pool._on_wake())
    run.run()
    assert (run.states, run.started) == (["cancelled"] * 2, [])


def test_being_told_to_end_twice_is_the_same_as_once(world: Make) -> None:
    run = world(HANGS._replace(tidies=2))
    run.at(3, run.cancel)
    run.at(4, run.cancel)
    run.run()
    assert (run.states, len(run.asked)) == (["cancelled"], 1)


# Orders to end some of the jobs


def test_only_the_jobs_of_an_order_are_ended(world: Make) -> None:
    run = world(HANGS, Plan(9), OK, OK)
    run.at(3, lambda: run.order(0, 3))
    run.run(window=2)
    assert run.states == ["cancelled", "succeeded", "succeeded", "cancelled"]
    assert [index for dummy_moment, index, dummy_number in run.started] == [0, 1, 2]
    assert run.result(0)["msg"] == "cancelled by root"
    assert run.result(3)["msg"] == "not started: cancelled by root"


def test_a_job_that_waits_for_another_attempt_is_not_started_again(world: Make) -> None:
    run = world(FAILS, Plan(9))
    run.at(3, lambda: run.order(0))
    run.run(retries=3, retry_delay=5)
    assert run.states == ["failed", "succeeded"]  # what the attempt said is more than that there is no other
    assert run.attempts(0) == 1


def test_a_job_that_is_being_ended_at_its_timeout_is_not_started_again_after_an_order(world: Make) -> None:
    run = world(HANGS._replace(tidies=5))
    run.at(8, lambda: run.order(0))
    run.run(timeout=7, retries=3)
    assert (run.states, len(run.started)) == (["cancelled"], 1)


def test_a_second_order_may_grant_less_time(world: Make) -> None:
    run = world(HANGS._replace(tidies=NEVER))
    run.at(3, lambda: run.order(0, grace=100.0))
    run.at(4, lambda: run.order(0, grace=1.0))
    run.run()
    assert run.states == ["cancelled"]
    assert run.elapsed == pytest.approx(5, abs=0.5)


def test_jobs_that_are_cancelled_are_no_failures_of_the_batch(world: Make) -> None:
    run = world(HANGS, Plan(9), OK)
    run.at(3, lambda: run.order(0))
    run.run(on_failure="cancel")
    assert run.states == ["cancelled", "succeeded", "succeeded"]


def test_an_order_for_jobs_that_have_ended_or_are_not_there_changes_nothing(world: Make) -> None:
    run = world(OK, Plan(9))
    run.at(3, lambda: run.order(0))
    run.at(4, lambda: run.batch.folder.leave_order(Order(frozenset(["j1.77"]), **TO_END).text()))
    run.at(4, run.order)
    run.run()
    assert run.states == ["succeeded", "succeeded"]


# Zygotes that die


def test_a_module_whose_zygote_dies_while_it_loads_runs_in_processes_of_its_own(world: Make) -> None:
    run = world(OK, OK, OK, payloads=[WARM] * 3)
    run.load = 5
    run.at(1, run.kill_zygote)
    run.run(window=2)
    assert run.states == ["succeeded"] * 3
    assert [zygote.warm for zygote in run.zygotes] == [WARM, None]
    assert [run.attempts(index) for index in range(3)] == [1, 1, 1]
    assert sorted(index for dummy, index, dummy_too in run.started) == [0, 1, 2]


def test_a_job_that_was_told_to_end_while_its_zygote_died_is_not_started(world: Make) -> None:
    run = world(OK, payloads=[WARM])
    run.load = 50
    run.at(10, run.cancel)
    run.at(12, run.kill_zygote)
    run.run()
    assert (run.states, run.started) == (["cancelled"], [])


def test_a_job_whose_zygote_was_killed_is_waited_for(world: Make) -> None:
    run = world(Plan(5), OK, OK)
    run.at(0.5, run.kill_zygote)
    run.run(window=2)
    assert run.states == ["succeeded"] * 3
    assert run.most == 2
    assert len(run.zygotes) == 2


def test_a_job_that_was_killed_with_its_zygote_is_lost(world: Make) -> None:
    run = world(HANGS, OK)
    run.at(3, run.kill_all)
    run.run(window=2)
    assert run.states == ["lost", "succeeded"]
    assert run.result(0)["msg"] == "the process that started it was killed"


def test_a_job_that_was_killed_with_its_zygote_is_tried_again_if_it_may_be(world: Make) -> None:
    run = world([HANGS, OK])
    run.at(3, run.kill_all)
    run.run(retries=1)
    assert (run.states, run.attempts(0)) == (["succeeded"], 2)


def test_a_job_without_a_zygote_that_fails_is_tried_again_if_it_may_be(world: Make) -> None:
    run = world([Plan(5, result={"failed": True}), OK])
    run.at(3, run.kill_zygote)
    run.run(retries=1)
    assert (run.states, run.attempts(0)) == (["succeeded"], 2)


def test_a_job_without_a_zygote_has_its_limits_all_the_same(world: Make) -> None:
    run = world(HANGS, HANGS._replace(tidies=NEVER))
    run.at(1, run.kill_zygote)
    run.run(timeout=5, grace=2)
    assert run.states == ["timed_out", "timed_out"]
    assert 7 <= run.elapsed <= 7 + 2 * _pool.LOOK_EVERY


def test_a_job_without_a_zygote_that_ends_while_it_is_told_to_keeps_its_result(world: Make) -> None:
    run = world(Plan(5))
    run.at(1, run.kill_zygote)
    real = _attempt.Attempt.stop

    def stop(attempt: _attempt.Attempt) -> None:
        run.end(next(iter(run.processes.values())), by_itself=True)
        real(attempt)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_attempt.Attempt, "stop", stop)
        run.run(timeout=3)
    assert run.states == ["succeeded"]


def test_what_a_zygote_said_before_it_died_counts(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when its death shows by an order that it does not take: else a job that runs would be started again."""
    run = world(Plan(2), OK, payloads=[WARM] * 2)
    run.load = 60
    real = Pool._enforce

    def enforce(pool: Pool) -> None:
        real(pool)
        if run.elapsed == 0.5 and run.zygotes[0].lives:
            run.zygotes[0].finish_loading()
            run.kill_zygote()

    monkeypatch.setattr(Pool, "_enforce", enforce)
    run.run(window=2, start_delay=0.5)
    assert run.states == ["succeeded", "succeeded"]
    assert [(index, number) for dummy, index, number in run.started] == [(0, 1), (1, 1)]


def test_where_there_can_be_no_zygote_a_job_is_lost_and_says_why(world: Make) -> None:
    run = world(OK, OK)
    run.left = [OSError(11, "Resource temporarily unavailable")]
    run.run(window=1)
    assert run.states == ["lost", "succeeded"]
    assert run.result(0)["msg"] == "no process could be started for it: Resource temporarily unavailable"


def test_where_there_can_be_no_zygote_for_now_a_job_is_tried_again_if_it_may_be(world: Make) -> None:
    run = world(OK)
    run.left = [OSError(11, "Resource temporarily unavailable")]
    run.run(retries=1)
    assert run.states == ["succeeded"]


def test_a_full_disk_does_not_keep_the_batch_from_ending(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*dummy_arguments: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    run = world(HANGS, HANGS, OK)
    monkeypatch.setattr(_attempt.Attempt, "stop", full)
    monkeypatch.setattr(_attempt.Attempt, "settle", full)
    run.run(window=2, timeout=5, total_timeout=20)
    assert run.elapsed < 30


# Whatever happens


plans = st.builds(
    Plan,
    seconds=st.sampled_from([0, 0.05, 1, 2.5, 7, NEVER]),
    result=st.sampled_from([{"changed": True}, {"failed": True}, {"rc": 1}, None]),
    status=st.sampled_from([0, 256, 9]),
    tidies=st.sampled_from([0, 0.05, 4, NEVER]),
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_happens_every_job_ends_once_within_the_limits(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    jobs = data.draw(st.lists(st.lists(plans, min_size=1, max_size=2), min_size=1, max_size=6))
    kinds = data.draw(st.lists(st.sampled_from([COLD, WARM]), min_size=len(jobs), max_size=len(jobs)))
    limits = Limits(
        window=data.draw(st.integers(1, 4)),
        timeout=data.draw(st.sampled_from([0, 3])),
        grace=data.draw(st.sampled_from([0, 2])),
        total_timeout=60,
        on_failure=data.draw(st.sampled_from(["continue", "drain", "cancel"])),
        max_failures=data.draw(st.integers(1, 3)),
        retries=data.draw(st.integers(0, 2)),
        retry_delay=data.draw(st.sampled_from([0, 1.5])),
        start_delay=data.draw(st.sampled_from([0, 0.3])),
    )
    run = World(tmp_path_factory.mktemp("jobs"), *jobs, payloads=kinds)
    run.load = data.draw(st.sampled_from([0, 1.5]))
    for moment in data.draw(st.lists(st.sampled_from([0.01, 1, 2, 8]), max_size=2)):
        run.at(moment, run.kill_zygote)
    if data.draw(st.booleans()):
        run.at(5, run.cancel)
    run.run(**limits._asdict())

    assert run.most <= limits.window
    assert set(run.states) <= {"succeeded", "failed", "timed_out", "cancelled", "lost"}
    assert not any(process.lives for process in run.processes.values())
    assert run.left_over == []
    assert run.elapsed <= 60 + limits.grace + 4 * _pool.LOOK_EVERY
    assert all(moment <= 60 for moment, dummy, dummy_too in run.started)
    assert all(number <= limits.retries + 1 for dummy, dummy_too, number in run.started)
    assert len({(index, number) for dummy, index, number in run.started}) == len(run.started)
    for index, state in enumerate(run.states):
        last = max((number for dummy, job, number in run.started if job == index), default=0)
        assert run.attempts(index) >= last
        if state == "succeeded":
            assert run.result(index) == {"changed": True}


# With real processes


def really_run(ground: Ground, jobs: list[int], **limits: t.Any) -> list[str]:
    """Run a pool in a process of its own to its end; the states of the jobs."""

    def body() -> None:
        ground.prepare_fork()
        Pool(ground.batch, jobs, UNLIMITED._replace(**limits)).run()

    assert exit_code(fork(body)) == 0
    return [ground.look(index).state for index in jobs]


def test_a_real_batch(ground: Ground) -> None:
    ground.payload(shell_payload())
    jobs = [
        ground.job(says(changed=True)),
        ground.job('[ -e "$1.again" ] || { : >"$1.again"; exit 1; }; ' + says(changed=True)),
        ground.job("kill -9 $$"),
        ground.job(says(changed=True)),
    ]
    states = really_run(ground, jobs, retries=1, retry_delay=0)
    assert states == ["succeeded", "succeeded", "lost", "succeeded"]
    assert [ground.logged(index)["attempts"] for index in jobs] == [1, 2, 2, 1]


def test_a_real_job_that_does_not_end_when_it_is_asked_to_is_ended_by_force(ground: Ground, tmp_path: Path) -> None:
    ground.payload(shell_payload())
    os.mkfifo(tmp_path / "fifo")
    index = ground.job(f"trap '' TERM; read line <{tmp_path}/fifo")
    assert really_run(ground, [index], timeout=0.1, grace=0.1) == ["timed_out"]
    assert ground.result(index)["msg"] == "its timeout of 0.1 s passed"


def test_real_signals_end_a_batch(ground: Ground, tmp_path: Path) -> None:
    ground.payload(shell_payload())
    os.mkfifo(tmp_path / "fifo")
    jobs = [ground.job(f"echo >{tmp_path}/fifo; read line <{tmp_path}/fifo"), ground.job(says(changed=True))]

    def body() -> None:
        ground.prepare_fork()
        Pool(ground.batch, jobs, UNLIMITED._replace(window=1)).run()

    pid = fork(body)
    (tmp_path / "fifo").read_bytes()  # the first one runs
    ground.batch.folder.leave_order(Order(frozenset([ground.batch.jobs[jobs[0]].jid]), **TO_END).text())
    os.kill(pid, _processes.WAKE)
    assert exit_code(pid) == 0
    assert [ground.look(index).state for index in jobs] == ["cancelled", "succeeded"]


def test_many_jobs_at_once_do_not_stop_pool_and_zygote_from_hearing_each_other(ground: Ground) -> None:
    """A socket holds a few hundred messages; whoever waits until there is room for more hears nothing meanwhile."""
    ground.payload(shell_payload())
    many = 3000
    ground.batch.jobs.extend(_zygote.Job(f"{NUMBER}.{index}", 0, "", {}) for index in range(many))

    class Quick:
        """A zygote that is a thread, whose jobs end at once."""

        def __init__(self, *dummy: object) -> None:
            self.socket, self.other = socket.socketpair()
            self.pid, self.ready, self._buffer = os.getpid(), False, b""
            self.jobs: set[int] = set()
            threading.Thread(target=self.serve, daemon=True).start()

        start = _zygote.Zygote.start
        events = _zygote.Zygote.events

        def serve(self) -> None:
            pending = b""
            while data := self.other.recv(65536):
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    index = int(line.split()[0])
                    for said in (f"started {index} {os.getpid()}", f"ended {index} succeeded"):
                        self.other.sendall(f"{said}\n".encode())

        def close(self) -> None:
            self.socket.close()

    def body() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_zygote, "Zygote", Quick)
            Pool(ground.batch, list(range(many)), UNLIMITED._replace(window=many)).run()

    assert exit_code(fork(body)) == 0
