# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which jobs there are on the host, of all or of those that were asked for, and what is known of each: one look.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import fnmatch
import json
import pwd
import re
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _jobs, _output, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._living import Job, Living

# What of a result tells how the job ended, where the whole result is not wanted; and how much of each text.
_BRIEF_KEYS = frozenset(
    (
        "failed",
        "changed",
        "rc",
        "msg",
        "stderr",
        "stdout",
        "data",
        "exception",
        "start",
        "end",
        "delta",
        "inflight_state",
    )
)
_BRIEF_CHARACTERS = 400
# Whole results are sent up to so many bytes in all.
MAX_RESULT_BYTES = 8 * 1024 * 1024


class Found(t.NamedTuple):
    """A job that a survey found.

    state: with what the process table told. planned: what its batch was asked for (name, item), None for other jobs.
    process: the one that runs it, where it was seen.
    """

    job: Job
    state: str
    reason: str
    planned: dict[str, t.Any] | None
    process: _processes.Process | None

    @property
    def name(self) -> str:
        """What people call it."""
        return str((self.planned or {}).get("name") or self.job.jid)


class _Plan:
    """What a batch was asked for, by job."""

    def __init__(self, folder: _batch_folder.BatchFolder) -> None:
        try:
            manifest = folder.manifest()
        except _batch_folder.BatchError:
            manifest = {"jobs": []}
        self.id: str = manifest.get("id") or folder.number
        self.jobs: dict[str, dict[str, t.Any]] = {job["jid"]: job for job in manifest["jobs"]}
        self.timeout = 0.0
        self._order: list[str] = []
        with contextlib.suppress(TypeError, ValueError, OverflowError, IndexError):  # it is damaged
            self.timeout = float(manifest.get("timeout") or 0)
            self._order = [manifest["jobs"][index]["jid"] for index in manifest.get("order", ())]

    def queue(self, waiting: t.Container[str]) -> list[str]:
        """Those of the jobs that wait for their turn, the next one first."""
        return [jid for jid in self._order if jid in waiting]


class Survey:
    """One look at the jobs of a host.

    The request has these keys: directories (a list of path, and jobs: a list of ids, or null for all), batch (an id, or
    null), states (a list, or null), name (a shell pattern for names and ids, or null), older_than and newer_than
    (seconds since the job ended, or since it started where it has not ended; or null). It may have tail (how many of
    the lines that a running job printed last are to be told).
    """

    def __init__(self, request: dict[str, t.Any], run_command: _processes.RunCommand) -> None:
        """
        :param run_command: AnsibleModule.run_command.
        """
        self.remarks: list[str] = []
        self._request = request
        self._living = Living(run_command)
        self._plans: dict[_batch_folder.BatchFolder, _Plan] = {}
        self._table: dict[int, _processes.Row] | None = None
        self._queues: dict[_batch_folder.BatchFolder, list[str]] = {}

    def find(self, keep_text: t.Callable[[str], str]) -> list[Found]:
        """The jobs that the request selects, the one whose file was changed longest ago first.

        :param keep_text: what to keep in memory of the text of a result.
        :raises JobDirectoryError: when a job directory cannot be used.
        :raises BatchError: when there is no such batch.
        """
        found: list[Found] = []
        for place, wanted in enumerate(self._request["directories"]):
            directory = _jobs.JobDirectory(wanted["path"])
            self.remarks.extend(directory.warnings)
            still_open: dict[str, Job] = {}
            with_folder = _batch_folder.numbers(directory.path)
            for jid in self._ids(directory, wanted["jobs"]):
                of_batch = _batch_folder.number_of(jid) in with_folder
                job = Job(directory, place, jid, None, self._living.folder(directory, jid) if of_batch else None)
                job.look = directory.read(jid)
                if job.look.state in _jobs.OPEN_STATES:
                    still_open[jid] = job
                    continue
                self._take(self._found(job, job.look.state, job.look.reason, None), found, keep_text)
            for one in self._look_for(still_open):
                self._take(one, found, keep_text)
        # Those without a file (they were named) come last.
        found.sort(key=lambda one: (one.job.look.modified is None, one.job.look.modified or 0.0, one.job.jid))
        return found

    def _ids(self, directory: _jobs.JobDirectory, jids: list[str] | None) -> t.Iterable[str]:
        if self._request["batch"]:
            folder = _batch_folder.find(directory.path, self._request["batch"])
            planned = [job["jid"] for job in folder.manifest()["jobs"]]
            wanted = set(planned if jids is None else jids)
            return [jid for jid in planned if jid in wanted]
        return directory.ids() if jids is None else dict.fromkeys(jids)

    def _take(self, one: Found, found: list[Found], keep_text: t.Callable[[str], str]) -> None:
        """Add a job to those that were found, if it is meant."""
        if self._is_selected(one):
            look = one.job.look
            if look.text is not None:
                one.job.look = look._replace(text=keep_text(look.text))
            found.append(one)

    def _look_for(self, jobs: dict[str, Job]) -> t.Iterator[Found]:
        """Decide, for jobs without a result, whether they live."""
        living = self._living.among(jobs)
        for jid, job in jobs.items():
            if jid in living:
                yield self._found(job, job.look.state, "", living[jid])
                continue
            # It may have ended, with its result written, between the look at its file and the look for its process.
            before = job.look.process
            job.look = job.directory.read(jid)
            state, reason = job.look.state, job.look.reason
            supervised = job.folder is not None and job.folder.supervisor() is not None
            known = not job.look.settling and self._living.can_know(job) and job.look.process == before
            if state in _jobs.OPEN_STATES and known and not supervised:
                reason = "its supervisor died" if state == _jobs.QUEUED else "no process and no result"
                state = _jobs.LOST
            yield self._found(job, state, reason, None)

    def _found(self, job: Job, state: str, reason: str, process: _processes.Process | None) -> Found:
        plan = self.plan(job)
        return Found(job, state, reason, plan.jobs.get(job.jid) if plan else None, process)

    def plan(self, job: Job) -> _Plan | None:
        """What the batch of a job was asked for; None when it belongs to none."""
        if job.folder is None:
            return None
        if job.folder not in self._plans:
            self._plans[job.folder] = _Plan(job.folder)
        return self._plans[job.folder]

    def _is_selected(self, one: Found) -> bool:
        request = self._request
        if request["states"] is not None and one.state not in request["states"]:
            return False
        pattern = request["name"]
        if pattern is not None and not any(_matches(name, pattern) for name in (one.name, one.job.jid)):
            return False
        if request["older_than"] is None and request["newer_than"] is None:
            return True
        if one.job.look.modified is None:
            return False
        age = time.time() - one.job.look.modified
        return not (
            (request["older_than"] is not None and age < request["older_than"])
            or (request["newer_than"] is not None and age > request["newer_than"])
        )

    def report(self, one: Found) -> dict[str, t.Any]:
        """What is known of a job, in the keys that a check reports an end with, and more. What cannot be known is
        absent."""
        job = one.job
        fields: dict[str, t.Any] = {
            "place": job.places[0],
            "jid": job.jid,
            "state": one.state,
            "reason": one.reason,
            "text": job.look.text,
            "results_file": job.directory.file(job.jid),
            "name": one.name,
            "item": (one.planned or {}).get("item"),
        }
        plan = self.plan(job)
        if plan is not None:
            fields["batch"] = plan.id
        if one.state == _jobs.RUNNING:
            fields.update(self._running(one, plan))
        elif one.state == _jobs.QUEUED and plan is not None:
            fields.update(self._queued(job, plan))
        else:
            if job.look.text is not None and job.look.modified is not None:
                fields["ended_at"] = _jobs.iso(job.look.modified)
            fields.update(job.logged())
        return fields

    def _queued(self, job: Job, plan: _Plan) -> dict[str, t.Any]:
        folder = t.cast("_batch_folder.BatchFolder", job.folder)
        if folder not in self._queues:
            waiting = {jid for jid in plan.jobs if job.directory.read(jid).state == _jobs.QUEUED}
            self._queues[folder] = plan.queue(waiting)
        queue = self._queues[folder]
        return {"queue_place": queue.index(job.jid) + 1} if job.jid in queue else {}

    def _running(self, one: Found, plan: _Plan | None) -> dict[str, t.Any]:
        job, process = one.job, one.process
        job.note_start(process.started if process else None)
        fields: dict[str, t.Any] = {}
        if job.began is not None:
            fields["started_at"] = job.began[1]
            fields["elapsed"] = round(max(0.0, _processes.boot_clock() - job.began[0]), 3)
        if process is None:
            return fields
        owner = process.user if job.look.process is None else _processes.owner(process.pid)
        if owner != job.look.owner:
            return fields  # what stands in the job file is only as good as its owner: others are none of its processes
        fields["pid"] = process.pid
        fields["user"] = user_name(owner)
        arguments = _processes.command_line(process.pid)
        limit = plan.timeout if plan is not None else _processes.limit_of(arguments)
        if limit and "elapsed" in fields:
            fields["time_left"] = round(max(0.0, limit - fields["elapsed"]), 3)
        fields.update(self._usage(process.pid))
        wanted = self._request.get("tail", 0)
        lines = _output.last_lines(job.folder, job.jid, wanted)
        if lines:
            fields["tail"] = lines
        return fields

    def _usage(self, pid: int) -> dict[str, t.Any]:
        """What the processes of a job use, and the command line of its program."""
        if self._table is None:
            self._table = _processes.table()
        rows = self._table
        if pid not in rows:
            return {}
        session = _processes.own_session(rows, pid)
        members = _processes.family(rows, () if session is None else {session}, (pid,))
        usage: dict[str, t.Any] = {
            "cpu_seconds": round(sum(rows[one].cpu for one in members), 2),
            "memory_bytes": sum(rows[one].memory for one in members),
            "children": len(members) - 1,
        }
        for one in sorted(members - {pid}, key=lambda one: (rows[one].started, one)):
            arguments = _processes.command_line(one)
            if arguments and not _processes.is_ansibles(arguments):
                usage["command"] = " ".join(arguments)[:1000]
                break
        return usage


def brief(text: str) -> str:
    """What of the text of a job file, which holds a JSON object, tells how the job ended."""
    result = json.loads(text)
    said = {key: result[key] for key in _BRIEF_KEYS if key in result}
    if isinstance(result.get("result"), dict) and "inflight_state" in result:
        said["result"] = {"changed": bool(result["result"].get("changed"))}
    for key, value in said.items():
        if isinstance(value, str) and len(value) > 2 * _BRIEF_CHARACTERS:
            ends = key in ("stderr", "stdout", "exception")  # there the reason of a failure stands at the end
            said[key] = value[-_BRIEF_CHARACTERS:] if ends else value[:_BRIEF_CHARACTERS]
    return json.dumps(said)


def _matches(name: str, pattern: str) -> bool:
    """Whether a name matches a shell pattern."""
    try:
        return fnmatch.fnmatchcase(name, pattern)
    except re.error:  # before Python 3.11, for a range that ends before it begins: nothing is in it
        return False


def user_name(user: int | None) -> str | None:
    """The name of a user; the number where there is none."""
    if user is None:
        return None
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
