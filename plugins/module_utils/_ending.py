# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Ends jobs: has the supervisor of their batch do it where that lives, and does it here where nobody else would.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _attempt, _batch_folder, _jobs, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._living import Job
from ansible_collections.inflight.jobs.plugins.module_utils._order import Order

# How much longer than its grace a job may take to be gone.
END_MARGIN = 15.0
LOOK_EVERY = 0.05
# CLOCK_REALTIME_COARSE of Linux, for which Python has no name.
_COARSE_CLOCK = 5
# A supervisor that is only just starting may miss the first signal.
WAKE_EVERY = 1.0


class _Target:
    """A job that has no supervisor, and its processes."""

    def __init__(self, job: Job, tree: _processes.Tree, order: Order) -> None:
        self.job = job
        self.tree = tree
        self._order = order
        self._attempt: _attempt.Attempt | None = None
        self._asked_at = 0.0
        self._kill_at: float | None = None

    def step(self, snapshot: _processes.Snapshot, now: float) -> bool:
        """Take the next step; True when the job has ended."""
        alive = self.tree.look(snapshot)
        job = self.job
        if self._kill_at is None:
            job.look = job.directory.read(job.jid)
            # A supervisor that died may have told it to end before us.
            stopped = job.folder is not None and job.folder.is_stopped(job.jid)
            if job.look.state not in _jobs.OPEN_STATES or not (alive or stopped):
                return True  # by itself
            if job.folder is not None:
                self._attempt = _attempt.Attempt(job.directory, job.folder, job.jid, 1, last=True)
                self._attempt.stop()
            self._asked_at = _file_clock()
            self._kill_at = now + self._order.patience
        if not alive:
            self._settle()
            return True
        if now >= self._kill_at:
            self.tree.kill()
        else:
            self.tree.ask_to_end(self._order.signal_name)
        return False

    def _settle(self) -> None:
        """Say in its job file that it was cancelled, unless it had ended by itself before."""
        with contextlib.suppress(OSError):
            if self._attempt is not None:
                self._attempt.settle(_jobs.CANCELLED, self._order.reason, noted=False)
                return
            look = self.job.directory.read(self.job.jid)
            if look.text is None:
                said = None
            elif look.modified is not None and look.modified <= self._asked_at:
                return
            else:
                said = json.loads(look.text)
            self.job.directory.overrule(self.job.jid, _jobs.verdict(_jobs.CANCELLED, self._order.reason, said))


class Ending:
    """Ends jobs of one host, all at the same time; once. The jobs must be those of our user."""

    def __init__(self, order: Order, clock: t.Callable[[], float] = time.monotonic) -> None:
        """
        :param order: how to end them; which, run is told.
        """
        self._order = order
        self._clock = clock
        self._targets: list[_Target] = []
        self._supervised: dict[_batch_folder.BatchFolder, list[Job]] = {}
        # Names of the files of orders that we left.
        self._left: dict[_batch_folder.BatchFolder, str] = {}
        self._locks: dict[_batch_folder.BatchFolder, int] = {}
        # Jobs whose process we have not yet seen to be one of theirs.
        self._unclear: list[Job] = []
        self._until = 0.0

    def run(self, jobs: t.Iterable[Job]) -> dict[Job, str]:
        """Return when the jobs have ended: those that could not be ended, and why.

        :param jobs: read before, and found to run or to wait for their turn.
        """
        # As long as this process holds the lock of a batch, others take it for its supervisor.
        _processes.do_not_wake()
        try:
            return self._run(jobs)
        finally:
            for folder, name in self._left.items():
                folder.delete_file(name)
            for lock in self._locks.values():
                os.close(lock)

    def _run(self, jobs: t.Iterable[Job]) -> dict[Job, str]:
        self._grant_time()
        unsupervised = []
        for job in jobs:
            if job.folder is not None and job.folder.supervisor() is not None:
                self._supervised.setdefault(job.folder, []).append(job)
            else:
                unsupervised.append(job)
        for folder, its_jobs in self._supervised.items():
            order = self._order._replace(jobs=frozenset(job.jid for job in its_jobs))
            with contextlib.suppress(OSError):  # a full disk; the supervisor goes on then, and that is what we say
                self._left[folder] = folder.leave_order(order.text())
                folder.wake_supervisor()
        wake_at = self._clock() + WAKE_EVERY
        self._adopt(unsupervised)
        while self._targets or self._supervised or self._unclear:
            now = self._clock()
            if now > self._until:
                return self._not_ended()
            if now >= wake_at:
                wake_at = now + WAKE_EVERY
                for folder, name in self._left.items():
                    if os.path.lexists(folder.file(name)):
                        folder.wake_supervisor()
            snapshot = _processes.Snapshot()
            self._targets = [target for target in self._targets if not target.step(snapshot, now)]
            unclear, self._unclear = self._unclear, []
            self._adopt([*self._bereaved(), *unclear])
            time.sleep(LOOK_EVERY)
        return {}

    def _grant_time(self) -> None:
        self._until = self._clock() + self._order.grace + END_MARGIN

    def _bereaved(self) -> list[Job]:
        """Those of the supervised jobs that have not ended, and whose supervisor has died."""
        found = []
        for folder, jobs in list(self._supervised.items()):
            supervisor = folder.supervisor()
            # Only now: it writes what became of its jobs before it goes.
            still_open = [job for job in jobs if job.directory.read(job.jid).state in _jobs.OPEN_STATES]
            self._supervised[folder] = still_open
            if supervisor is None or not still_open:
                found.extend(still_open)
                del self._supervised[folder]
        return found

    def _adopt(self, jobs: list[Job]) -> None:
        """Take jobs that have no supervisor upon ourselves. There is nothing to do for those that do not live."""
        if not jobs:
            return
        snapshot = _processes.Snapshot()
        wrappers: dict[str, list[int]] | None = None
        for job in jobs:
            if job.folder is not None and not self._lock(job.folder):
                self._supervised.setdefault(job.folder, []).append(job)
                continue
            job.look = job.directory.read(job.jid)
            if job.look.state == _jobs.QUEUED and job.folder is not None:
                attempt = _attempt.Attempt(job.directory, job.folder, job.jid, 0, last=True)
                with contextlib.suppress(OSError):
                    attempt.settle(_jobs.CANCELLED, f"not started: {self._order.reason}")
            elif job.look.process is not None:
                self._aim(job, _tree_of_batch(job, snapshot), _processes.is_alive(job.look.process))
            elif job.look.state == _jobs.RUNNING:
                wrappers = _processes.wrappers(snapshot.rows) if wrappers is None else wrappers
                candidates = wrappers.get(_batch_folder.number_of(job.jid), [])
                candidates = [pid for pid in candidates if _processes.owner(pid) == job.look.owner]
                self._aim(job, _tree_of_wrapper(job, candidates, snapshot), bool(candidates))

    def _aim(self, job: Job, tree: _processes.Tree | None, may_live: bool) -> None:
        """Take it upon ourselves to end a job, if we know its processes.

        :param may_live: whether there is a process that may be the job's.
        """
        if tree is not None:
            self._targets.append(_Target(job, tree, self._order))
            self._grant_time()
        elif may_live:
            self._unclear.append(job)  # it may not have made its session yet

    def _lock(self, folder: _batch_folder.BatchFolder) -> bool:
        """Become the one who says what becomes of the jobs of a batch; False when somebody else is."""
        if folder not in self._locks:
            try:
                self._locks[folder] = folder.supervise(wait=False)
            except OSError:
                return False
        return True

    def _not_ended(self) -> dict[Job, str]:
        passed = f"in {self._order.grace + END_MARGIN:g} s"
        found = {job: f"its supervisor did not end it {passed}" for jobs in self._supervised.values() for job in jobs}
        found.update((job, "which processes are its own cannot be told") for job in self._unclear)
        found.update((one.job, f"not gone {passed}: process {one.tree.living()}") for one in self._targets)
        return found


def _tree_of_batch(job: Job, snapshot: _processes.Snapshot) -> _processes.Tree | None:
    """The processes of a job of a batch; None when none of them can be told to be its own."""
    pid = t.cast("list[t.Any]", job.look.process)[0]
    rows = snapshot.rows
    if pid in rows and _processes.is_alive(job.look.process):
        its_own = _processes.owner(pid) == job.look.owner and rows[pid].session == pid
        return _processes.Tree(pid, job.jid, pid) if its_own else None
    # Its first process has gone. Whoever carries its id proves whose the session is that was made for it.
    tagged = snapshot.tagged(job.jid)
    session = pid if any(rows[one].session == pid for one in tagged) else None
    is_stopped = job.folder is not None and job.folder.is_stopped(job.jid)
    return _processes.Tree(pid, job.jid, session) if tagged or is_stopped else None


def _tree_of_wrapper(job: Job, candidates: list[int], snapshot: _processes.Snapshot) -> _processes.Tree | None:
    """The processes of a job that async_wrapper runs; None when none of them can be told to be its own.

    :param candidates: processes that look like its async_wrapper; anybody may have that among their arguments.
    """
    for pid in sorted(candidates, key=lambda pid: snapshot.rows[pid].started):
        session = _processes.own_session(snapshot.rows, pid)
        # The leader of the session of async_wrapper has gone.
        if session is not None and session != pid and _processes.is_wrapper(_processes.command_line(pid), job.jid):
            return _processes.Tree(pid, job.jid, session)
    return None


def _file_clock() -> float:
    """Now, in seconds of the epoch, by the clock that the times of files are taken from: a few milliseconds late."""
    return time.clock_gettime(_COARSE_CLOCK) if sys.platform.startswith("linux") else time.time()
