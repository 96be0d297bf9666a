# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The process that an update leaves on the host while packages are installed, to put back afterwards what was changed.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _jobs, _output, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import UpdateError
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import BEGUN, OUTCOME, Workspace, writing

# How often to look how far the installation is, in seconds.
EVERY = 1.0
# A job whose module has said what came of it has waited for its package manager.
_OVER = (_jobs.SUCCEEDED, _jobs.FAILED)
# Held by the keeper as long as it lives.
LOCK = "lock"


class Batch(t.NamedTuple):
    """The batch that the update is. own: the id of the job that begins it. others: of those that install."""

    folder: _batch_folder.BatchFolder
    own: str
    others: list[str]

    @property
    def status_file(self) -> str:
        """Where the job that begins the update says how far it is."""
        return self.folder.status_file(self.own)

    def is_at_work(self) -> bool:
        """Whether there is anything in it that has not ended."""
        if self.folder.supervisor() is not None:
            return True
        # Without a supervisor, jobs run on.
        try:
            directory = _jobs.JobDirectory(self.folder.directory)
            looks = [directory.read(jid) for jid in self.others]
        except _jobs.JobDirectoryError:
            looks = []  # somebody put something else in its place: the processes still tell
        if any(look.state in _jobs.OPEN_STATES and _processes.is_alive(look.process) for look in looks):
            return True
        # And without the job, the package manager that it ran may. What is left of one with a result are daemons, which
        # scripts of packages have started, and which carry its id as long as they live.
        over = {jid for jid, look in zip(self.others, looks) if look.state in _OVER}
        snapshot = _processes.Snapshot()
        return any(snapshot.tagged(jid) for jid in self.others if jid not in over)


def batch_of(status_file: str | None) -> Batch:
    """The batch of the job that this process is.

    :param status_file: where it says how far it is.
    :raises UpdateError: when it is no job of a batch.
    """
    if not status_file:
        raise UpdateError(
            "update_begin can only be a task of inflight.jobs.async_batch, with the installation behind it"
        )
    path, name = os.path.split(status_file)
    directory = os.path.dirname(os.path.dirname(path))
    folder = _batch_folder.BatchFolder(directory, os.path.basename(path))
    own = name.rpartition(".")[0]
    try:
        jids = [job["jid"] for job in folder.manifest()["jobs"]]
    except _batch_folder.BatchError as ex:
        raise UpdateError(f"the batch of this job cannot be read: {ex}") from ex
    return Batch(folder, own, [jid for jid in jids if jid != own])


def leave(
    batch: Batch,
    host_lock: int | None,
    finish: t.Callable[[], object],
    progress: t.Callable[[], str],
    workspace: Workspace,
) -> None:
    """Leave the process.

    :param host_lock: a descriptor that it keeps open.
    :param finish: what it does when everything in the batch has ended.
    :param progress: how far the installation is, in a few words.
    :raises UpdateError: when there can be no such process.
    """
    lock = _own_lock(workspace)
    # What ends the module is not to unwind it in the keeper as well.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        is_keeper = os.fork() == 0
        if is_keeper:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except OSError as ex:
        os.close(lock)
        raise UpdateError(f"no process can be started that looks after the update: {ex.strerror}") from ex
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if not is_keeper:
        os.close(lock)
        return
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        # It is no part of the job that began the update: that one ends, and this one lives on.
        os.environ.pop(_processes.TAG, None)
        _processes.close_all_but({0, 1, 2, lock, *([] if host_lock is None else [host_lock])})
        _keep(batch, finish, progress)
    finally:
        os._exit(0)


def _own_lock(workspace: Workspace) -> int:
    path = workspace.file(LOCK)
    with writing(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def has_gone(workspace: Workspace, wait: float) -> bool:
    """Whether nothing of the update is at work any more, or not within so many seconds."""
    due = time.monotonic() + wait
    while _lives(workspace) or (not workspace.has(OUTCOME) and _is_at_work(workspace)):
        if time.monotonic() >= due:
            return False
        time.sleep(EVERY / 10)
    return True


def _lives(workspace: Workspace) -> bool:
    """Whether there is a keeper."""
    try:
        fd = os.open(workspace.file(LOCK), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _is_at_work(workspace: Workspace) -> bool:
    """Whether the package manager goes on, though whoever was to look after it was killed."""
    try:
        return batch_of((workspace.read(BEGUN) or {}).get("status_file")).is_at_work()
    except UpdateError:
        return False  # nobody knows of its batch any more


def _keep(batch: Batch, finish: t.Callable[[], object], progress: t.Callable[[], str]) -> None:
    shown = ""
    while batch.is_at_work():
        with contextlib.suppress(OSError):
            now = progress()
            if now != shown:
                shown = now
                for jid in batch.others:
                    _output.say(now, batch.folder.status_file(jid))
        time.sleep(EVERY / 4 if batch.folder.supervisor() is None else EVERY)
    finish()
