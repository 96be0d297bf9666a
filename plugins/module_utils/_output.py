# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What is known of how far a running job is: what it says itself, or what its program prints. Keeps the end of that in a
# file, and reads the last lines of it.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from ansible.module_utils import basic

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _processes

# The last so many bytes are there to be read. The file may have twice as many.
KEPT_BYTES = 64 * 1024
MAX_LINE = 1000


class _Kept:
    """A file that keeps the end of what is written to it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None
        self._size = 0
        with contextlib.suppress(OSError):
            self._fd = self._create(path)

    def _create(self, path: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

    def write(self, data: bytes) -> None:
        """Append to the file. A full disk must not keep the job from running: nothing more is kept then."""
        if self._fd is None:
            return
        try:
            self._size += os.write(self._fd, data[-KEPT_BYTES:])
            if self._size >= 2 * KEPT_BYTES:
                self._cut()
        except OSError:
            os.close(self._fd)
            self._fd = None

    def _cut(self) -> None:
        """Go on in a new file with the end of this one; whoever reads it sees one of them, whole."""
        old, new = t.cast(int, self._fd), self._create(self._path + ".new")
        end = os.pread(old, KEPT_BYTES, self._size - KEPT_BYTES)
        self._fd = new
        os.close(old)
        self._size = os.write(new, end)
        os.rename(self._path + ".new", self._path)


class _Copied:
    """The end of a pipe that a program writes to; what is read from it is kept as well."""

    def __init__(self, pipe: t.Any, kept: _Kept) -> None:
        self._pipe = pipe
        self._kept = kept

    def read(self, size: int = -1) -> t.Any:
        chunk = self._pipe.read(size)
        if chunk:
            self._kept.write(chunk)
        return chunk

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._pipe, name)


def keep(path: str) -> None:
    """Keep the end of what the programs print that the module of this process runs by run_command.

    Nothing is kept of a task with no_log.

    :param path: a file that is made anew.
    """
    module_class: t.Any = basic.AnsibleModule
    run_command = module_class.run_command

    def run_and_keep(module: basic.AnsibleModule, *arguments: t.Any, **options: t.Any) -> t.Any:
        before = options.get("before_communicate_callback")

        def copy(process: t.Any) -> None:
            kept = _Kept(path)
            process.stdout = _Copied(process.stdout, kept)
            process.stderr = _Copied(process.stderr, kept)
            if before:
                before(process)

        if not module.no_log:
            options["before_communicate_callback"] = copy
        return run_command(module, *arguments, **options)

    module_class.run_command = run_and_keep


def say(text: str, path: str | None = None) -> None:
    """Say how far a job of a batch is, for whoever waits for it. Outside of a batch nobody hears it.

    :param text: one line; it takes the place of what was said before.
    :param path: the file of the job; that of the job that this process belongs to when left out.
    """
    path = path or os.environ.get(_processes.STATUS)
    if path:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError), open(os.open(path, flags, 0o600), "wb") as file:
            file.write(f"{text[:MAX_LINE]}\n".encode("utf-8", "replace"))


def last_lines(folder: _batch_folder.BatchFolder | None, jid: str, lines: int) -> list[str]:
    """The last lines of what a running job says of itself, or else of what its program has printed."""
    if folder is None or lines <= 0:
        return []
    return tail(folder.status_file(jid), lines) or tail(folder.output_file(jid), lines)


def tail(path: str, lines: int) -> list[str]:
    """The last lines of what was kept in a file, each at most MAX_LINE characters; none where nothing was kept.

    A line that was overwritten, as progress bars are, counts as several.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return []
        start = max(0, found.st_size - KEPT_BYTES)
        text = os.pread(fd, KEPT_BYTES, start).decode("utf-8", "replace")
    except OSError:
        return []
    finally:
        os.close(fd)
    whole = text.splitlines()[1 if start else 0 :]
    return [line[:MAX_LINE] for line in [line for line in whole if line.strip()][-lines:]] if lines > 0 else []
