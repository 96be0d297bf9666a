# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# One look at all jobs of a wait, which stays on the host until there is news: the half of a wait that runs there.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import (
    _batch_folder,
    _jobs,
    _notify,
    _output,
    _processes,
    _removal,
)
from ansible_collections.inflight.jobs.plugins.module_utils._living import Job, Living

# How often to see whether the jobs live, and to look at files that changed in a way that inotify does not see (on a
# network file system).
LOOK_EVERY = 1.0
# How long the news that a job is lost may wait. Ten seconds after its death it has to be told; core's watcher, by which
# the job seems to live, may take five of them to notice.
LOST_LINGER = 1.0
# How often to look at the files where there is no inotify.
BLIND_LOOK_EVERY = 0.1
# No more than this part of a CPU goes into looking.
LOOK_SHARE = 0.005
# One check brings so many bytes of results at the most (and at least one result): the others follow with the next.
MAX_REPORT_BYTES = 8 * 1024 * 1024


class Check:
    """One look at all jobs of a request, with a hold: see DESIGN, section 4.

    The request has these keys: directories (a list of path, and jobs: job id -> began or null), find (whether to take
    all running jobs of the first directory instead), batch (the id of a batch there whose jobs to take instead, or
    null), ends (how many ends are asked for, at least 1), stop (whether one failure is enough), hold and linger
    (seconds), delete (a list of pairs of path and job id), boot and looked (from the response to the check before). It
    may have tail (how many of the lines that a running job said or printed last are to be told).
    """

    def __init__(self, request: dict[str, t.Any], run_command: _processes.RunCommand) -> None:
        self.request = request
        self.boot = _processes.boot_id()
        self.same_boot = request.get("boot") in (None, self.boot)
        self.looked = request.get("looked") if self.same_boot else None
        self.remarks: list[str] = []
        self.ended: list[dict[str, t.Any]] = []
        self.bytes = 0
        self.enough = False
        self.full = False
        self.vanished = False
        self._living = Living(run_command)
        self.pending: dict[tuple[str, str], Job] = {}
        # What people call the jobs that were found here, where that is known.
        self.names: dict[str, str] = {}

    def run(self) -> dict[str, t.Any]:
        """Do what the request asks for, and answer when there is news or the hold is over."""
        started = time.monotonic()
        _removal.delete(self.request.get("delete", ()))
        batch = self._find_batch()
        paths = self._open()
        # Watch first, look then: nothing that happens in between is missed.
        notifier = _notify.Notifier(paths)
        if self.request.get("find"):
            self._find()
        self._look(self.pending.values())
        self._settle()
        self._hold(notifier)
        return {
            "ended": self.ended,
            "running": [[place, job.jid, job.began] for job, place in self._open_jobs(queued=False)],
            "queued": [[place, job.jid] for job, place in self._open_jobs(queued=True)],
            "tails": [[place, job.jid, lines] for place, job, lines in self._tails()],
            "names": self.names,
            **batch,
            "more": self.full,
            "boot": self.boot,
            "looked": self.looked,
            "remarks": self.remarks,
            "took": time.monotonic() - started,
        }

    def _open_jobs(self, queued: bool) -> t.Iterator[tuple[Job, int]]:
        for job in self.pending.values():
            if (job.look.state == _jobs.QUEUED) is queued:
                for place in job.places:
                    yield job, place

    def _tails(self) -> t.Iterator[tuple[int, Job, list[str]]]:
        """What running jobs said or printed last, as far as that is wanted and kept."""
        wanted = self.request.get("tail", 0)
        for job, place in self._open_jobs(queued=False) if wanted else ():
            lines = _output.last_lines(job.folder, job.jid, wanted)
            if lines:
                yield place, job, lines

    def _find_batch(self) -> dict[str, t.Any]:
        """Where the batch that is asked for is, and its jobs, which are also put into the request."""
        if not self.request.get("batch"):
            return {}
        wanted = self.request["directories"][0]
        directory = _jobs.JobDirectory(wanted["path"])
        jobs = _batch_folder.find(directory.path, self.request["batch"]).manifest()["jobs"]
        wanted["jobs"] = {job["jid"]: None for job in jobs}
        return {"path": directory.path, "jobs": jobs}

    def _open(self) -> list[str]:
        """Open the directories; in one that cannot be used, every job is unreadable for that reason."""
        paths = []
        for place, wanted in enumerate(self.request["directories"]):
            try:
                directory = _jobs.JobDirectory(wanted["path"])
            except _jobs.JobDirectoryError as ex:
                if self.request.get("find"):
                    raise
                for jid in wanted["jobs"]:
                    self._report(place, jid, _jobs.UNREADABLE, reason=str(ex))
                continue
            paths.append(directory.path)
            self.remarks.extend(directory.warnings)
            for jid, began in wanted["jobs"].items():
                if not _jobs.is_job_id(jid):
                    raise ValueError(f"{jid!r} is no job id")
                folder = self._living.folder(directory, jid)
                job = Job(directory, place, jid, began if self.same_boot else None, folder)
                twin = self.pending.setdefault((directory.path, jid), job)
                if twin is not job:
                    twin.places.append(place)
        return paths

    def _find(self) -> None:
        """Take every job of the directory that runs, whoever started it; ones that are long dead are none of ours."""
        directory = _jobs.JobDirectory(self.request["directories"][0]["path"])
        folder_of = self._living.folder
        jobs = {jid: Job(directory, 0, jid, None, folder_of(directory, jid)) for jid in directory.running()}
        for job in jobs.values():
            job.read()
        living = self._living.among(jobs)
        for jid, job in jobs.items():
            if jid in living or job.has_result or not self._living.can_know(job):
                self.pending[directory.path, jid] = job
        for folder in {job.folder for job in self.pending.values() if job.folder is not None}:
            with contextlib.suppress(_batch_folder.BatchError):
                planned = folder.manifest()["jobs"]
                self.names.update((job["jid"], job["name"]) for job in planned if job["jid"] in jobs and job["name"])

    def _hold(self, notifier: _notify.Notifier) -> None:
        """Stay until what is asked for is there, the hold is over, or news has waited for long enough."""
        started = time.monotonic()
        until = started + self.request["hold"]
        look_at = started + LOOK_EVERY
        pause = BLIND_LOOK_EVERY
        while self.pending and not self.enough:
            now = time.monotonic()
            if self.ended:
                lost = any(report["state"] == _jobs.LOST for report in self.ended)
                until = min(until, now + self.request["linger"], now + (LOST_LINGER if lost else float("inf")))
            # Who has vanished is looked at once more before we go, also where nobody wants to wait.
            if now >= until and not self.vanished:
                return
            changed = notifier.wait((look_at if self.vanished else min(until, look_at)) - now, pause)
            now = time.monotonic()
            if changed is None or now >= look_at:
                self._look(self.pending.values())
                if now >= look_at:
                    self._settle()
                    cost = time.monotonic() - now
                    look_at = time.monotonic() + max(LOOK_EVERY, cost / LOOK_SHARE)
                pause = max(BLIND_LOOK_EVERY, (time.monotonic() - now) / LOOK_SHARE)
            else:
                self._look(self.pending[one] for one in changed if one in self.pending)

    def _look(self, jobs: t.Iterable[Job]) -> None:
        """Read these job files, and report those that hold a result."""
        for job in list(jobs):
            job.read()
            if job.has_result:
                self._end(job)
                if self.full:
                    return
        self.looked = _processes.boot_clock()

    def _settle(self) -> None:
        """Decide, for jobs without a result, whether they live."""
        self.vanished = False
        if not self.pending or self.full:
            return
        living = self._living.among({job.jid: job for job in self.pending.values()})
        for job in list(self.pending.values()):
            if job.jid in living:
                job.gone = False
                process = living[job.jid]
                job.note_start(process.started if process else None)
                continue
            if job.folder and not job.gone and job.folder.supervisor() is not None:
                job.gone = self.vanished = True  # what became of it may be about to be written: look once more
                continue
            # It may have ended, with its result written, between the look at its file and the look for its process.
            before = job.look.process
            job.look = job.directory.read(job.jid)
            if job.has_result or job.look.state not in _jobs.OPEN_STATES:
                self._end(job)
            elif job.look.process != before:
                continue  # it was started again meanwhile
            elif not job.look.settling and self._living.can_know(job):
                reason = "its supervisor died" if job.look.state == _jobs.QUEUED else "no process and no result"
                job.look = job.look._replace(state=_jobs.LOST, reason=reason)
                self._end(job)
            else:
                job.note_start(None)

    def _end(self, job: Job) -> None:
        """Take a job out of those that are waited for, and report how it ended."""
        self.pending.pop((job.directory.path, job.jid))
        reason = job.look.reason
        if not job.has_result and job.directory.is_full():
            reason += f"; the filesystem of {job.directory.path} is full"
        fields: dict[str, t.Any] = {
            "reason": reason,
            "text": job.look.text,
            "results_file": job.directory.file(job.jid),
        }
        if job.began is not None:
            fields["started_at"] = job.began[1]
        if job.look.text is not None and job.look.modified is not None:
            fields["ended_at"] = _jobs.iso(job.look.modified)
            if job.began is not None:
                # How long ago it ended is taken from the time of day, which can jump; so it is kept within what we
                # know: it was running when we last looked.
                now = _processes.boot_clock()
                ago = max(0.0, min(time.time() - job.look.modified, now - (self.looked or now)))
                fields["elapsed"] = round(max(0.0, now - ago - job.began[0]), 3)
        if job.folder is not None:
            # Its supervisor was there from beginning to end, and knows better.
            logged = job.logged()
            fields.update(logged)
            if not logged and job.look.process and job.look.process[0]:
                fields["attempts"] = 1
        for place in job.places:
            self._report(place, job.jid, job.look.state, **fields)

    def _report(self, place: int, jid: str, state: str, **fields: t.Any) -> None:
        self.ended.append(dict(fields, place=place, jid=jid, state=state))
        self.bytes += len(fields.get("text") or "")
        self.full = self.bytes >= MAX_REPORT_BYTES
        failure = self.request["stop"] and state != _jobs.SUCCEEDED
        self.enough = self.enough or self.full or failure or len(self.ended) >= self.request["ends"]
