# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Deletes job files, and the folders of batches of which no job file is left.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _jobs


def delete(jobs: t.Iterable[tuple[str, str]]) -> None:
    """Delete job files, and the folders of batches of which no job file is left.

    :param jobs: path of the job directory, and job id.
    """
    directories: dict[str, _jobs.JobDirectory] = {}
    folders: dict[tuple[str, str], _batch_folder.BatchFolder] = {}
    for path, jid in jobs:
        # In a directory that is refused nothing is touched; its jobs were reported as unreadable.
        with contextlib.suppress(_jobs.JobDirectoryError):
            directory = directories.get(path) or directories.setdefault(path, _jobs.JobDirectory(path))
            if directory.delete(jid):
                folder = _batch_folder.BatchFolder.of_job(directory.path, jid)
                if folder is not None:
                    folders[path, folder.number] = folder
    for (path, dummy), folder in folders.items():
        with contextlib.suppress(_batch_folder.BatchError):
            if not is_needed(folder, directories[path]):
                folder.delete()


def is_needed(
    folder: _batch_folder.BatchFolder, directory: _jobs.JobDirectory, gone: t.Container[str] = frozenset()
) -> bool:
    """Whether a job file of this batch is left.

    :param gone: ids of jobs whose files count as deleted.
    :raises BatchError: when it cannot be known which jobs the batch has.
    """
    jids = (job["jid"] for job in folder.manifest()["jobs"])
    return any(jid not in gone and directory.signature(jid) for jid in jids)
