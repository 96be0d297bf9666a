# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The supervisor of a batch: keeps the window full, enforces limits, starts failed jobs again, and goes away.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import heapq
import os
import select
import signal
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import (
    _attempt,
    _jobs,
    _order,
    _processes,
    _zygote,
)

# How often to see whether processes that were told to end have ended, and whether a job lives whose zygote has died.
LOOK_EVERY = 0.1
# How many orders to start a job may be on their way. A socket holds a few hundred messages: if we waited until a zygote
# takes more orders, and it until we hear what became of those before, both would wait for ever.
ORDERS_AT_ONCE = 100
# In the place of a payload: of the zygote that starts what cannot be kept warm.
_COLD = -1


class Limits(t.NamedTuple):
    """What the batch was asked for; times in seconds, 0 for none.

    window: how many jobs run at once. on_failure: continue, drain or cancel, at the failure with this number.
    """

    window: int
    timeout: float
    grace: float
    total_timeout: float
    on_failure: str
    max_failures: int
    retries: int
    retry_delay: float
    start_delay: float


class _Running:
    """A job that runs: since when, until when it may, and what it becomes if it was told to end."""

    def __init__(self, attempt: _attempt.Attempt, number: int) -> None:
        self.attempt = attempt
        self.number = number
        self.due = float("inf")  # until it has started: its zygote may have to load the module first
        self.tree: _processes.Tree | None = None
        self.sentence: tuple[str, str] | None = None
        self.signal_name = "TERM"
        self.kill_at = float("inf")
        self.gone = False


class Pool:
    """Runs the jobs of one batch. Everything happens in one loop; what it waits for is told by the zygotes."""

    def __init__(
        self,
        batch: _zygote.Batch,
        order: list[int],
        limits: Limits,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param order: places of the jobs to run, in the order to start them.
        """
        self._batch = batch
        self._limits = limits
        self._clock = clock
        self._queue = order[::-1]
        self._again: list[tuple[float, int, int]] = []  # when, which job, number of the attempt
        self._running: dict[int, _Running] = {}
        self._zygotes: dict[int, _zygote.Zygote] = {}
        self._broken: set[int] = set()
        self._orphans: set[int] = set()
        # Jobs that a zygote was told to start, and has not yet said that it has.
        self._ordered: set[int] = set()
        self._failures = 0
        self._told_to_end = False
        self._has_orders = False
        self._drained = False
        self._not_before = 0.0
        self._total_due = clock() + limits.total_timeout if limits.total_timeout else float("inf")

    def obey(self) -> None:
        """From now on SIGTERM ends the batch, also before it runs; and orders are heeded."""
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(_processes.WAKE, self._on_wake)

    def run(self) -> None:
        """Return when every job has ended."""
        woken, wake = os.pipe()
        for fd in (woken, wake):
            os.set_blocking(fd, False)
        self.obey()
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._enforce()
        while self._queue or self._again or self._running:
            self._fill()
            if not (self._queue or self._again or self._running):
                break
            sockets = {zygote.socket: payload for payload, zygote in self._zygotes.items()}
            pause = max(0.0, self._next_moment() - self._clock())
            waited_for: list[t.Any] = [woken, *sockets]
            for one in select.select(waited_for, (), (), min(pause, 3600.0))[0]:
                if one == woken:
                    os.read(woken, 4096)
                else:
                    self._listen(sockets[one])
            self._enforce()
        for zygote in self._zygotes.values():
            zygote.close()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(zygote.pid, 0)

    def _on_term(self, *dummy: object) -> None:
        self._told_to_end = True

    def _on_wake(self, *dummy: object) -> None:
        self._has_orders = True

    def _fill(self) -> None:
        """Start jobs as long as there is room in the window, and any that may start."""
        while self._has_room():
            now = self._clock()
            if now < self._not_before:
                return
            if self._again and self._again[0][0] <= now:
                dummy_moment, index, number = heapq.heappop(self._again)
            elif self._queue:
                index, number = self._queue.pop(), 1
            else:
                return
            self._start(index, number)
            self._not_before = now + self._limits.start_delay

    def _has_room(self) -> bool:
        return len(self._running) < self._limits.window and len(self._ordered) < ORDERS_AT_ONCE

    def _start(self, index: int, number: int) -> None:
        last = number > self._limits.retries
        attempt = self._attempt_of(index, number, last)
        self._running[index] = _Running(attempt, number)
        place = self._place_of(index)
        try:
            if place not in self._zygotes:
                self._zygotes[place] = _zygote.Zygote(self._batch, None if place == _COLD else place)
        except OSError as ex:
            outcome = _jobs.LOST
            with contextlib.suppress(OSError):
                outcome = attempt.settle(outcome, f"no process could be started for it: {ex.strerror}")
            self._ended(index, outcome)
            return
        if self._zygotes[place].start(index, number, last):
            self._ordered.add(index)
        else:
            self._put_back(index)
            while place in self._zygotes:
                self._listen(place)  # what it said before it died

    def _attempt_of(self, index: int, number: int, last: bool) -> _attempt.Attempt:
        return _attempt.Attempt(self._batch.directory, self._batch.folder, self._batch.jobs[index].jid, number, last)

    def _place_of(self, index: int) -> int:
        """Which zygote starts a job: one for each module that can be kept warm, one for all others."""
        place = self._batch.jobs[index].payload
        return place if self._batch.payloads[place].warm and place not in self._broken else _COLD

    def _put_back(self, index: int) -> None:
        """Start a job later that could not be started."""
        running = self._running.pop(index)
        heapq.heappush(self._again, (self._clock(), index, running.number))

    def _listen(self, place: int) -> None:
        events = self._zygotes[place].events()
        if events is None:
            self._bury(place)
            return
        for event in events:
            running = self._running[event.place]
            self._ordered.discard(event.place)
            if event.kind == "started":
                running.tree = _processes.Tree(int(event.value), self._batch.jobs[event.place].jid, int(event.value))
                if self._limits.timeout:
                    running.due = self._clock() + self._limits.timeout
            elif running.sentence is None or event.value != _attempt.STOPPED:
                # One that was told to end may have ended by itself just before: its result stands.
                running.attempt.let_go()
                self._ended(event.place, event.value)
            else:
                running.gone = True

    def _bury(self, place: int) -> None:
        """A zygote has died: its jobs run on, but nobody waits for them."""
        zygote = self._zygotes.pop(place)
        zygote.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(zygote.pid, 0)
        self._ordered -= zygote.jobs
        if zygote.ready or place == _COLD:
            self._orphans.update(zygote.jobs)
            return
        # It died while it loaded its module, so it has forked nothing: the module runs in processes of its own then.
        self._broken.add(place)
        for index in zygote.jobs:
            if self._running[index].sentence is None:
                self._put_back(index)
            else:
                self._orphans.add(index)

    def _ended(self, index: int, outcome: str) -> None:
        running = self._running.pop(index)
        told = running.sentence or ("", "")
        if outcome == _attempt.AGAIN and (self._drained or told[0] == _jobs.CANCELLED):
            with contextlib.suppress(OSError):
                outcome = running.attempt.settle(_jobs.CANCELLED, told[1])
        if outcome == _attempt.AGAIN:
            delay = self._limits.retry_delay * 2 ** min(running.number - 1, 100)  # a float has no room for all powers
            heapq.heappush(self._again, (self._clock() + delay, index, running.number + 1))
        elif outcome not in (_jobs.SUCCEEDED, _jobs.CANCELLED):
            self._failures += 1
            if self._failures >= self._limits.max_failures:
                if self._limits.on_failure != "continue":
                    self._drain("another job of the batch failed")
                if self._limits.on_failure == "cancel":
                    self._end_all(_jobs.CANCELLED, "another job of the batch failed")

    def _drain(self, reason: str, state: str = _jobs.CANCELLED) -> None:
        """Start nothing any more; this is the state of what has never been started."""
        self._drained = True
        self._call_off(range(len(self._batch.jobs)), reason, state)

    def _call_off(self, indexes: t.Container[int], reason: str, state: str = _jobs.CANCELLED) -> None:
        """Do not start those of these jobs that wait; this is the state of what has never been started."""
        waiting = [(index, 0) for index in self._queue[::-1] if index in indexes]
        waiting.extend((index, number - 1) for dummy, index, number in self._again if index in indexes)
        self._queue = [index for index in self._queue if index not in indexes]
        self._again = [entry for entry in self._again if entry[1] not in indexes]
        heapq.heapify(self._again)
        for index, number in waiting:
            attempt = self._attempt_of(index, number, last=True)
            with contextlib.suppress(OSError):
                attempt.settle(_jobs.CANCELLED if number else state, f"not started: {reason}")

    def _heed(self, order: _order.Order) -> None:
        """End those jobs that somebody wants to be ended."""
        indexes = {index for index, job in enumerate(self._batch.jobs) if job.jid in order.jobs}
        self._call_off(indexes, order.reason)
        for index in indexes.intersection(self._running):
            running = self._running[index]
            if running.sentence is not None:
                running.sentence = (_jobs.CANCELLED, order.reason)  # or it would be tried again
            self._end(index, _jobs.CANCELLED, order.reason, order.signal_name, order.patience)

    def _end_all(self, state: str, reason: str) -> None:
        for index in list(self._running):
            self._end(index, state, reason)

    def _end(self, index: int, state: str, reason: str, signal_name: str = "TERM", grace: float | None = None) -> None:
        """Tell a job to end; what it becomes is written when its last process has gone."""
        running = self._running[index]
        grace = self._limits.grace if grace is None else grace
        running.kill_at = min(running.kill_at, self._clock() + grace)  # who comes later may have less patience
        if running.sentence is not None:
            return
        running.sentence = (state, reason)
        running.signal_name = signal_name
        with contextlib.suppress(OSError):
            running.attempt.stop()

    def _enforce(self) -> None:
        if self._has_orders:
            self._has_orders = False
            for found in self._batch.folder.take_orders():
                order = _order.order_of(found)
                if order is not None:
                    self._heed(order)
        now = self._clock()
        if self._told_to_end or now >= self._total_due:
            state, by = _jobs.TIMED_OUT, f"the total_timeout of {self._limits.total_timeout:g} s passed"
            if self._told_to_end:
                state, by = _jobs.LOST, "its supervisor was told to end, as when the host shuts down"
            self._drain(by, _jobs.LOST if state == _jobs.LOST else _jobs.CANCELLED)
            self._end_all(state, by)
            self._told_to_end = False
            self._total_due = float("inf")
        snapshot: _processes.Snapshot | None = None
        for index, running in list(self._running.items()):
            if running.sentence is None and now >= running.due:
                self._end(index, _jobs.TIMED_OUT, f"its timeout of {self._limits.timeout:g} s passed")
            if running.sentence is not None:
                snapshot = snapshot or _processes.Snapshot()
                self._carry_out(index, running, snapshot)
        for index in list(self._orphans):
            self._look_at_orphan(index)

    def _carry_out(self, index: int, running: _Running, snapshot: _processes.Snapshot) -> None:
        """See whether a job that was told to end is gone; end it by force when its grace is over."""
        if running.tree is None and index not in self._orphans:
            return  # its zygote has not told yet who it is
        alive = running.tree is not None and running.tree.look(snapshot)
        if running.tree is not None and alive:
            if self._clock() >= running.kill_at:
                running.tree.kill()
            else:
                running.tree.ask_to_end(running.signal_name)
        elif running.gone or index in self._orphans:
            self._orphans.discard(index)
            state, reason = running.sentence or (_jobs.LOST, "")
            with contextlib.suppress(OSError):
                state = running.attempt.settle(state, reason)
            self._ended(index, state)

    def _look_at_orphan(self, index: int) -> None:
        """See what became of a job whose zygote has died; if it wrote no result, nobody will."""
        running = self._running.get(index)
        if running is None or running.sentence is not None:
            return
        jid = self._batch.jobs[index].jid
        found = self._batch.directory.read(jid)
        if found.state == _jobs.RUNNING and _processes.is_alive(found.process):
            return
        # It may have ended between the two looks.
        found = self._batch.directory.read(jid)
        self._orphans.discard(index)
        state = found.state
        if state in _jobs.OPEN_STATES:
            state = _jobs.LOST
            with contextlib.suppress(OSError):
                state = running.attempt.settle(state, "the process that started it was killed")
        self._ended(index, state)

    def _next_moment(self) -> float:
        """When there is something to do even if nothing happens."""
        now = self._clock()
        moments = [self._total_due]
        room = self._has_room()
        if room and self._again:
            moments.append(max(self._again[0][0], self._not_before))
        if room and self._queue:
            moments.append(self._not_before)
        moments.extend(now + LOOK_EVERY if running.sentence else running.due for running in self._running.values())
        if self._orphans:
            moments.append(now + LOOK_EVERY)
        return min(moments)
