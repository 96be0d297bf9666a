# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Ends jobs: has the supervisor of their batch do it where that lives, and does it here where nobody else would.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _attempt, _batch_folder, _jobs, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._living import Job, Living
from ansible_collections.inflight.jobs.plugins.module_utils._order import Order

# How much longer than its grace a job may take to be gone.
END_MARGIN = 15.0
LOOK_EVERY = 0.05
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
            if not alive or job.look.state not in _jobs.OPEN_STATES:
                return True  # by itself
            if job.folder is not None:
                self._attempt = _attempt.Attempt(job.directory, job.folder, job.jid, 1, last=True)
                self._attempt.stop()
            self._asked_at = time.time()
            self._kill_at = now + (0.0 if self._order.signal_name == "KILL" else self._order.grace)
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
            elif look.modified is not None and look.modified < self._asked_at:
                return
            else:
                said = json.loads(look.text)
            self.job.directory.overrule(self.job.jid, _jobs.verdict(_jobs.CANCELLED, self._order.reason, said))


class Ending:
    """Ends jobs of one host, all at the same time; once. The jobs must be those of our user."""

    def __init__(self, order: Order, living: Living, clock: t.Callable[[], float] = time.monotonic) -> None:
        """
        :param order: how to end them; which, run is told.
        """
        self._order = order
        self._living = living
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
        by_directory: dict[str, dict[str, Job]] = {}
        for job in jobs:
            if job.folder is None or self._lock(job.folder):
                job.look = job.directory.read(job.jid)
                by_directory.setdefault(job.directory.path, {})[job.jid] = job
            else:
                self._supervised.setdefault(job.folder, []).append(job)
        rows = _processes.Snapshot().rows if by_directory else {}
        for its_jobs in by_directory.values():
            for jid, process in self._living.among(its_jobs).items():
                if process is None:
                    continue
                session = _session_of(its_jobs[jid], process.pid, rows)
                if session is None:
                    self._unclear.append(its_jobs[jid])
                else:
                    tree = _processes.Tree(process.pid, jid, session)
                    self._targets.append(_Target(its_jobs[jid], tree, self._order))
                    self._grant_time()

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


def _session_of(job: Job, pid: int, rows: t.Mapping[int, _processes.Row]) -> int | None:
    """The number of the session that was made for a job, going by a process that may be its first one; None when it is
    none of its own, or has not made its session yet."""
    if pid not in rows or _processes.owner(pid) != job.look.owner:
        return None
    session = _processes.own_session(rows, pid)
    if job.look.process is not None:
        return session if session == pid else None
    # The leader of the session of async_wrapper has gone. Anybody may have its name among their arguments.
    return session if session != pid and _processes.is_wrapper(_processes.command_line(pid), job.jid) else None
