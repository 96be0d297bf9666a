# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The lock of a whole host: backups have it together, an update has it alone.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
import typing as t

PATH = "/run/inflight.jobs.lock"

# What a holder is called, in the file and in the sentence for whoever waits for it.
_HOLDERS = {b"backup": "a backup of this host", b"update": "an update of this host"}

# Who gets one of these is not root, or this is a system without such a folder.
_NOT_FOR_US = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EROFS)

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class HostLockError(Exception):
    """Why the lock could not be had, in one sentence."""


def take(shared: bool, wait: float, path: str = PATH) -> int | None:
    """Take the lock, for as long as the returned descriptor, or a copy of it in a fork, is open.

    :param shared: whether others may have it at the same time, as backups do.
    :param wait: how long to wait for those that have it, in seconds.
    :returns: None for a user who cannot open the file: only root can.
    :raises HostLockError: when they have not ended by then.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as ex:
        if ex.errno in _NOT_FOR_US:
            return None
        raise HostLockError(f"the lock {path} cannot be opened: {ex.strerror}") from ex
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise HostLockError(f"the lock {path} is no regular file: remove it")
        _wait_for(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait, path)
        _sign(fd, b"backup" if shared else b"update")
    except BaseException as ex:
        os.close(fd)
        if isinstance(ex, OSError):
            raise HostLockError(f"the lock {path} cannot be taken: {ex.strerror}") from ex
        raise
    return fd


@contextlib.contextmanager
def held(shared: bool, wait: float, path: str = PATH) -> t.Iterator[int | None]:
    """The same, for the time of a block."""
    fd = take(shared, wait, path)
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def _wait_for(fd: int, kind: int, wait: float, path: str) -> None:
    end = time.monotonic() + wait
    pause = _FIRST_PAUSE
    while not _locked(fd, kind):
        left = end - time.monotonic()
        if left <= 0:
            # Nothing but words of ours gets into the sentence.
            holder = _HOLDERS.get(os.pread(fd, 16, 0), "another run")
            raise HostLockError(f"{holder} holds {path}")
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _locked(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as ex:
        if ex.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True


def _sign(fd: int, word: bytes) -> None:
    # A full disk does not matter: the lock is what counts, the word is for a sentence.
    with contextlib.suppress(OSError):
        # In this order the file is never empty while somebody reads it.
        os.pwrite(fd, word, 0)
        os.ftruncate(fd, len(word))
