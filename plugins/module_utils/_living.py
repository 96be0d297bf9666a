# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A job as a look at the host finds it, and whether it lives.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _jobs, _processes


class Job:
    """One job of a request.

    directory: its job directory. places: where that stands in the request, which may name one directory in two ways.
    began: moment of its start on the boot clock and as an ISO 8601 string, once it was seen running. look: what the
    last look at its file found. folder: of the batch that it belongs to, if any.
    """

    def __init__(
        self,
        directory: _jobs.JobDirectory,
        place: int,
        jid: str,
        began: list[t.Any] | None,
        folder: _batch_folder.BatchFolder | None = None,
    ) -> None:
        self.directory = directory
        self.folder = folder
        self.gone = False
        self.places = [place]
        self.jid = jid
        self.began = began
        self.look = _jobs.JobFile(_jobs.RUNNING)
        self._signature: tuple[int, int, int] | None = (0, 0, 0)

    def read(self) -> None:
        """Look at the job file, unless it is still the one that was read before."""
        signature = self.directory.signature(self.jid)
        if self.look.settling or signature is None or signature != self._signature:
            self._signature = signature
            self.look = self.directory.read(self.jid)

    @property
    def has_result(self) -> bool:
        return self.look.text is not None

    def note_start(self, started: float | None) -> None:
        """Remember when a job that runs was started: when its process was, else when its job file was written.

        :param started: moment on the boot clock; None where that is not known.
        """
        if self.began is None and self.look.state != _jobs.QUEUED:
            now, wall = _processes.boot_clock(), time.time()
            if started is None:
                if self.look.modified is None:
                    return
                started = now - max(0.0, wall - self.look.modified)
            self.began = [started, _jobs.iso(wall - (now - started))]

    def logged(self) -> dict[str, t.Any]:
        """What the supervisor of its batch noted of its last attempt: started_at, ended_at, elapsed, attempts."""
        noted = self.folder.logged(self.jid) if self.folder else {}
        return {key: noted[key] for key in ("started_at", "ended_at", "elapsed", "attempts") if key in noted}

    def users(self) -> set[int]:
        """Whose processes can be this job's."""
        return {os.geteuid()}.union(user for user in (self.look.owner, self.directory.owner) if user is not None)


class Living:
    """Tells of jobs whether they live: by the process table, or by the supervisor of their batch."""

    def __init__(self, run_command: _processes.RunCommand) -> None:
        """
        :param run_command: AnsibleModule.run_command.
        """
        self._processes = _processes.JobProcesses(run_command)
        self._folders: dict[tuple[str, str], _batch_folder.BatchFolder | None] = {}

    def folder(self, directory: _jobs.JobDirectory, jid: str) -> _batch_folder.BatchFolder | None:
        """The folder of the batch that a job belongs to; None when it belongs to none."""
        key = (directory.path, _batch_folder.number_of(jid))
        if key not in self._folders:
            self._folders[key] = _batch_folder.BatchFolder.of_job(directory.path, jid)
        return self._folders[key]

    def among(self, jobs: dict[str, Job]) -> dict[str, _processes.Process | None]:
        """Those of the jobs that live, or wait for their turn; with the process that proves it, if one does."""
        # The folder may have been deleted; the job file says it as well.
        of_batches = {
            jid: job for jid, job in jobs.items() if (job.folder or job.look.process) and not job.look.settling
        }
        others = jobs.keys() - of_batches.keys()
        found: dict[str, _processes.Process | None] = {}
        found.update(self._processes.living(others, lambda jid: jobs[jid].users()))
        supervised: dict[_batch_folder.BatchFolder, bool] = {}
        for jid, job in of_batches.items():
            queued = job.look.state == _jobs.QUEUED
            if not queued and _processes.is_alive(job.look.process):
                pid, started, dummy_boot = t.cast("list[t.Any]", job.look.process)
                found[jid] = _processes.Process(pid, job.look.owner, started or None)
            elif job.folder and (queued or job.folder.is_stopped(jid)):
                if job.folder not in supervised:
                    supervised[job.folder] = job.folder.supervisor() is not None
                if supervised[job.folder]:
                    found[jid] = None
        return found

    def can_know(self, job: Job) -> bool:
        """Whether we would see a process of this job if there were one."""
        return self._processes.sees_all or job.look.owner == os.geteuid()
