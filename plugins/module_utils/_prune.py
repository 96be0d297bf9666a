# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which job files are removed, by age, number and size, and what of their batches goes with them.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _jobs, _processes, _removal
from ansible_collections.inflight.jobs.plugins.module_utils._living import Job, Living
from ansible_collections.inflight.jobs.plugins.module_utils._survey import Found, Survey, brief

# States in which a job has ended and may have a job file.
STATES = (_jobs.SUCCEEDED, _jobs.FAILED, _jobs.TIMED_OUT, _jobs.CANCELLED, _jobs.LOST, _jobs.UNREADABLE)

# The folder of a batch without job files is taken for a stray one when nothing has happened in it for so many seconds:
# that of a batch that is being started looks the same for a moment.
STRAY_AFTER = 3600.0


class Rules(t.NamedTuple):
    """What is to be removed of the jobs that were selected by anything but their age.

    older_than, newer_than: seconds since a job file was changed, or None. keep_last: how many of the newest stay.
    max_bytes: how many bytes those that stay may take, or None.
    """

    older_than: float | None
    newer_than: float | None
    keep_last: int
    max_bytes: float | None


class Candidate(t.NamedTuple):
    """A job that has ended and whose job file could be deleted.

    size: of its job file in bytes. modified: when that was changed, in seconds of the epoch.
    """

    size: int
    modified: float
    jid: str
    one: Found | None = None
    signature: tuple[int, int, int] | None = None


def choose(candidates: t.Iterable[Candidate], rules: Rules, now: float) -> list[Candidate]:
    """Those to remove, the oldest first."""
    oldest_first = sorted(candidates, key=lambda one: (one.modified, one.jid))
    not_kept = oldest_first[: max(0, len(oldest_first) - rules.keep_last)]
    chosen: list[Candidate] = []
    others: list[Candidate] = []
    for one in not_kept:
        age = max(0.0, now - one.modified)  # a clock that was put back makes nothing younger than new
        too_young = rules.older_than is not None and age < rules.older_than
        too_old = rules.newer_than is not None and age > rules.newer_than
        (others if too_young or too_old else chosen).append(one)
    if rules.max_bytes is not None:
        left = sum(one.size for one in oldest_first) - sum(one.size for one in chosen)
        for one in others:
            if left <= rules.max_bytes:
                break
            left -= one.size
            chosen.append(one)
    return sorted(chosen, key=lambda one: (one.modified, one.jid))


class Prune:
    """Removes job files of a host.

    The request has the keys of that of a survey, of which states must be given, and keep_last and max_bytes as in
    Rules.
    """

    def __init__(self, request: dict[str, t.Any], run_command: _processes.RunCommand, only_look: bool) -> None:
        """
        :param run_command: AnsibleModule.run_command.
        :param only_look: whether to remove nothing, and to tell what would be removed.
        """
        self._rules = Rules(*(request[field] for field in Rules._fields))
        self._survey = Survey(dict(request, older_than=None, newer_than=None), run_command)
        self._living = Living(run_command)
        self._only_look = only_look
        self._paths = [wanted["path"] for wanted in request["directories"]]
        # Folders without job files belong to no job that could be selected.
        named = any(wanted["jobs"] is not None for wanted in request["directories"])
        chosen = any(request[key] is not None for key in ("batch", "name", "newer_than"))
        self._strays = not named and not chosen

    def run(self) -> dict[str, t.Any]:
        """Do it, and tell what was removed: jobs (as Survey.report tells them), freed_bytes, changed, and remarks.

        :raises JobDirectoryError: when a job directory cannot be used.
        :raises BatchError: when a batch is damaged.
        """
        try:
            found = self._survey.find(brief)
        except _batch_folder.NoSuchBatch:
            found = []  # it may have been removed before
        chosen = choose(self._candidates(found), self._rules, time.time())
        # Before anything is removed: what the supervisor of a batch noted is in the folder of the batch.
        reports = [self._survey.report(t.cast("Found", one.one)) for one in chosen]
        freed = [self._remove(one) for one in chosen]
        removed = [one for one, size in zip(chosen, freed) if size is not None]
        if len(removed) < len(chosen):
            self._survey.remarks.append(
                f"{len(chosen) - len(removed)} job files could not be removed, or have changed."
            )
        freed_bytes = sum(size for size in freed if size is not None)
        changed = bool(removed)
        for directory in self._directories(found):
            jids = {one.jid for one in removed if _directory_of(one).path == directory.path}
            for folder, names, size in self._leftovers(directory, jids):
                freed_bytes += size
                changed = True
                if self._only_look:
                    continue
                if names is None:
                    folder.delete()
                for name in names or ():
                    folder.delete_file(name)
        return {
            "jobs": [report for report, size in zip(reports, freed) if size is not None],
            "freed_bytes": freed_bytes,
            "changed": changed,
            "remarks": self._survey.remarks,
        }

    def _candidates(self, found: list[Found]) -> list[Candidate]:
        """Those of the jobs whose job files may be deleted; each file once, also where it was found in two ways."""
        candidates: dict[tuple[int, int], Candidate] = {}
        doubtful = [one for one in found if one.state == _jobs.UNREADABLE]
        living = self._living_among(doubtful)
        for one in found:
            directory, jid = one.job.directory, one.job.jid
            file = directory.own(jid)
            if file is not None and one.state in STATES and one.job not in living:
                key = (file.st_dev, file.st_ino)
                signature = (file.st_ino, file.st_mtime_ns, file.st_size)
                candidates.setdefault(key, Candidate(file.st_size, file.st_mtime, jid, one, signature))
        return list(candidates.values())

    def _living_among(self, found: list[Found]) -> set[Job]:
        """Those of the jobs with unreadable files that may yet live, which a survey does not look for."""
        living = set()
        by_directory: dict[_jobs.JobDirectory, dict[str, Job]] = {}
        for one in found:
            by_directory.setdefault(one.job.directory, {})[one.job.jid] = one.job
        for jobs in by_directory.values():
            seen = self._living.among(jobs)
            for jid, job in jobs.items():
                if jid in seen or (job.folder is not None and job.folder.supervisor() is not None):
                    living.add(job)
        return living

    def _remove(self, one: Candidate) -> int | None:
        """Delete a job file; how many bytes that freed, or None where it is still there."""
        directory = _directory_of(one)
        temporary = directory.own(one.jid, _jobs.TEMPORARY)
        if not self._only_look:
            # One that has changed since it was looked at may be of a job that lives.
            if directory.signature(one.jid) != one.signature or not directory.delete(one.jid):
                return None
            if not directory.delete(one.jid, _jobs.TEMPORARY):
                temporary = None
        return one.size + (temporary.st_size if temporary is not None else 0)

    def _directories(self, found: list[Found]) -> list[_jobs.JobDirectory]:
        """The job directories, each once."""
        directories = {one.job.directory.path: one.job.directory for one in found}
        for path in self._paths if self._strays else ():
            directory = _jobs.JobDirectory(path)
            directories.setdefault(directory.path, directory)
        return list(directories.values())

    def _leftovers(
        self, directory: _jobs.JobDirectory, gone: set[str]
    ) -> t.Iterator[tuple[_batch_folder.BatchFolder, list[str] | None, int]]:
        """Folders of batches that are no longer needed, or names of files in them (None: all), and their sizes.

        :param gone: ids of the jobs whose files were deleted, or would be.
        """
        touched = {_batch_folder.number_of(jid) for jid in gone}
        left = {_batch_folder.number_of(jid) for jid in directory.ids() if jid not in gone}
        for number in sorted(_batch_folder.numbers(directory.path)):
            folder = _batch_folder.BatchFolder(directory.path, number)
            if number not in touched and (number in left or not self._is_stray(folder)):
                continue
            if not folder.exists() or folder.supervisor() is not None:
                continue
            if number in left or _is_needed(folder, directory, gone):
                files = folder.files(gone)
                if files:
                    yield folder, list(files), sum(files.values())
            else:
                yield folder, None, sum(folder.files().values())

    def _is_stray(self, folder: _batch_folder.BatchFolder) -> bool:
        changed_at = folder.changed_at()
        age = max(STRAY_AFTER, self._rules.older_than or 0.0)
        return self._strays and changed_at is not None and time.time() - changed_at >= age


def _directory_of(one: Candidate) -> _jobs.JobDirectory:
    return t.cast("Found", one.one).job.directory


def _is_needed(folder: _batch_folder.BatchFolder, directory: _jobs.JobDirectory, gone: t.Container[str]) -> bool:
    try:
        return _removal.is_needed(folder, directory, gone)
    except _batch_folder.BatchError:
        return False  # nobody can use it, and no job file bears its number
