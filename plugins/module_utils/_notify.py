# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Sleep until a job file changes: by inotify, else by looking at the files from time to time.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import ctypes
import os
import select
import struct
import typing as t

# <sys/inotify.h>. A result is written under another name and renamed; the other events are for files that somebody
# writes in place, deletes or replaces.
_IN_CLOSE_WRITE = 0x00000008
_IN_MOVED_TO = 0x00000080
_IN_DELETE = 0x00000200
_IN_Q_OVERFLOW = 0x00004000
_IN_ONLYDIR = 0x01000000
_EVENT = struct.Struct("iIII")

# For how long to gather what happens, once something has happened.
GATHER = 0.01


class Notifier:
    """Tells which files changed in some directories since it was last asked; made before the first look at them."""

    def __init__(self, directories: t.Iterable[str]) -> None:
        self._directories = list(directories)
        self._fd = -1
        self._watched: dict[int, str] = {}
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._fd >= 0:
                self._watch(libc)
        except (AttributeError, OSError):
            self.close()  # not Linux, or forbidden: look at the files instead

    def _watch(self, libc: ctypes.CDLL) -> None:
        mask = _IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_DELETE | _IN_ONLYDIR
        for directory in self._directories:
            number = libc.inotify_add_watch(self._fd, os.fsencode(directory), ctypes.c_uint32(mask))
            if number < 0:
                # No such directory yet, or no watches left for this user: inotify cannot be relied on.
                self.close()
                return
            self._watched[number] = directory

    def wait(self, seconds: float, blind: float) -> set[tuple[str, str]] | None:
        """Sleep until something changes.

        :param seconds: for so long at most.
        :param blind: the same where inotify is not to be had, so that every file has to be looked at after it.
        :returns: the changed files as pairs of directory and name; None when every file has to be looked at.
        """
        seconds = max(0.0, seconds)
        if self._fd < 0:
            select.select((), (), (), min(seconds, blind))
            return None
        if not select.select((self._fd,), (), (), seconds)[0]:
            return set()
        # What follows at once is seen with it: thousands of files a minute must not cost as many looks.
        select.select((), (), (), min(GATHER, seconds))
        return self._read()

    def _read(self) -> set[tuple[str, str]] | None:
        changed: set[tuple[str, str]] = set()
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return changed
        offset = 0
        while offset < len(data):
            number, mask, dummy, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = data[offset : offset + length].rstrip(b"\0")
            offset += length
            if mask & _IN_Q_OVERFLOW or number not in self._watched:
                return None
            changed.add((self._watched[number], os.fsdecode(name)))
        return changed

    def close(self) -> None:
        """Go back to looking at the files."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def __del__(self) -> None:
        # A user may have no more than 128 of these at a time.
        self.close()
