# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The folder on a host that keeps what is known of an update until a report has it.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import UpdateError

# Gone after a reboot, as is all that an update changes for its own time.
PATH = "/run/inflight.jobs.update"

# What an update has begun with, and what came of it.
BEGUN, OUTCOME = "begun.json", "outcome.json"
# Is there once a report has the outcome.
REPORTED = "reported"

# What to do where a file cannot be written.
_ADVICE = {
    errno.ENOSPC: "make space there",
    errno.EDQUOT: "make space there",
    errno.EROFS: "have its filesystem mounted so that it can be written to",
}


@contextlib.contextmanager
def writing(path: str) -> t.Iterator[None]:
    """What is done in this block changes files there.

    :raises UpdateError: when that does not work.
    """
    try:
        yield
    except OSError as ex:
        raise UpdateError(f"cannot write to {path}: {_reason(ex)}") from ex


def _reason(ex: OSError) -> str:
    advice = _ADVICE.get(ex.errno or 0)
    return f"{ex.strerror}: {advice}" if advice else str(ex.strerror)


class Workspace:
    """A folder of root's that nobody else can enter. All that writes there may raise UpdateError."""

    def __init__(self, path: str = PATH) -> None:
        self.path = path

    def make(self) -> None:
        """Make it, unless it is there.

        :raises UpdateError: when it cannot be made, or is somebody else's.
        """
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.path, 0o700)
            found = os.lstat(self.path)
        except OSError as ex:
            raise UpdateError(f"cannot make the folder {self.path}: {_reason(ex)}") from ex
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise UpdateError(f"{self.path} belongs to somebody else, or others may write to it: remove it")

    def file(self, name: str) -> str:
        """The path of a file in it."""
        return os.path.join(self.path, name)

    def write(self, name: str, content: t.Mapping[str, t.Any]) -> None:
        """Write a file of JSON; whoever reads it sees it whole or not at all."""
        try:
            path = self.write_text(f"{name}.new", json.dumps(content))
            with writing(path):
                os.rename(path, self.file(name))
        except UpdateError:
            # A part of it would only take space.
            with contextlib.suppress(OSError):
                os.unlink(self.file(f"{name}.new"))
            raise

    def write_text(self, name: str, text: str) -> str:
        """Write a file; its path."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        path = self.file(name)
        with writing(path), open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def read(self, name: str) -> dict[str, t.Any] | None:
        """The content of a file of JSON; None when there is none, or it is damaged."""
        try:
            with open(self.file(name), encoding="utf-8") as file:
                content = json.load(file)
        except (OSError, ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return os.path.lexists(self.file(name))

    def delete(self, *names: str) -> None:
        """Delete files, as far as they are there."""
        for name in names:
            with writing(self.file(name)), contextlib.suppress(FileNotFoundError):
                os.unlink(self.file(name))
