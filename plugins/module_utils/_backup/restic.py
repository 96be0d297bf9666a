# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A repository of restic, from 0.14 on, and what a run of restic on it ends with.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup.database import secret_file
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Record
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import End, Pipeline, Program

# For what only reads: no lock, as others may be at work, and no cache, as that may have what the repository has not.
READ_ONLY = ("--no-lock", "--no-cache")

# Since 0.17 some failures have an exit code of their own. Before that, all have 1.
_MISSING = 10
_LOCKED = 11
_MISSING_TEXT = ("Is there a repository at the following location", "repository does not exist")
_LOCKED_TEXT = "already locked"

# In seconds.
_PAUSE = 5.0
_LARGEST_LIST = 256 * 1024 * 1024

_VARIABLE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_PASSWORD = re.compile(r"://[^/@]*:[^/]*@")
# What is no reason: it was tried again, there is no cache, or a trace of the program.
_NO_REASON = re.compile(r"Load\(.*retrying after|unable to open cache|Warning: |\s*$")
_TRACE = "github.com/"
# How many lines of what restic complained about a message has.
_SHOWN = 3

_Answer = t.TypeVar("_Answer")


class NoRepositoryError(BackupError):
    """There is no repository at an address."""


class LockedError(BackupError):
    """Another restic is at work on a repository, and keeps this one out."""


class Repository:
    """A repository, and what is needed to get into it.

    record: what a manifest tells of it, which holds no secret. holds: the newest backup that is known to be in it.
    """

    def __init__(self, address: str, password_file: str, environment_file: str | None = None) -> None:
        """
        :param address: as restic names it: /folder, or sftp:user@server:/folder.
        :param environment_file: has variables for restic in lines of KEY=VALUE.
        :raises BackupError: when this cannot be an address.
        """
        if _PASSWORD.search(address):
            raise BackupError(
                "repository has a password in it: leave it out, and have environment_file set what restic reads it from"
            )
        if "\0" in address or not (address.startswith("/") or re.match(r"[a-z0-9]+:.", address)):
            raise BackupError(
                f"repository is {address!r}: give a path that begins with a slash, or an address of restic, "
                "such as sftp:user@server:/folder"
            )
        self.address = address
        self.record: Record = {
            "repository": address,
            "password_file": password_file,
            "environment_file": environment_file,
        }
        self.holds: str | None = None
        self._known: dict[str, str] | None = None

    @classmethod
    def of(cls, manifest: t.Mapping[str, t.Any]) -> Repository:
        """The one that a backup is in."""
        where = manifest["restic"]
        return cls(where["repository"], where["password_file"], where.get("environment_file"))

    @property
    def folder(self) -> str | None:
        """The folder that it is in; None when it is elsewhere."""
        path = self.address[len("local:") :] if self.address.startswith("local:") else self.address
        return os.path.realpath(path) if path.startswith("/") else None

    @property
    def place(self) -> str:
        """Where it is, however that is written."""
        return self.folder or self.address.rstrip("/")

    @property
    def environment(self) -> dict[str, str]:
        """What restic is told by variables, so that nobody sees it in the list of processes.

        :raises BackupError: when one of the files with a secret is not as it should be.
        """
        if self._known is None:
            path = self.record["environment_file"]
            self._known = {
                **(_variables(secret_file("environment_file", path)) if path else {}),
                "RESTIC_REPOSITORY": self.address,
                "RESTIC_PASSWORD_FILE": secret_file("password_file", self.record["password_file"]),
                # It takes only one of them.
                "RESTIC_REPOSITORY_FILE": "",
                "RESTIC_PASSWORD_COMMAND": "",
                # As often as this in a second it tells how far it is, and ends when nobody listens any more.
                "RESTIC_PROGRESS_FPS": "1",
                # For --time.
                "TZ": "UTC",
            }
        return self._known

    def opened(self, *arguments: str, given: bytes = b"", more: t.Mapping[str, str] | None = None) -> Pipeline:
        """A run of restic, whose output is to be read.

        :param given: what it reads.
        :param more: variables beside those of the repository.
        """
        return Pipeline([Program(["restic", *arguments], {**self.environment, **(more or {})}, given)])

    def run(self, *arguments: str, more: t.Mapping[str, str] | None = None) -> bytes:
        """What a run of restic writes.

        :raises BackupError: when it fails.
        """
        output = bytearray()
        with self.opened(*arguments, more=more) as pipeline:
            for chunk in pipeline.chunks():
                output += chunk
                if len(output) > _LARGEST_LIST:
                    raise BackupError(f"restic wrote more than {_LARGEST_LIST} bytes")
        self.expect_success(pipeline.ends[0])
        return bytes(output)

    def expect_success(self, end: End) -> None:
        """
        :raises BackupError: when restic failed.
        """
        if end.exit_code:
            raise self.error(end)

    def error(self, end: End) -> BackupError:
        """What says why restic failed."""
        if end.exit_code == _MISSING or any(text in end.complaints for text in _MISSING_TEXT):
            return NoRepositoryError(f"there is no repository at {self.address}")
        if end.exit_code == _LOCKED or _LOCKED_TEXT in end.complaints:
            return LockedError(f"another restic is at work on the repository {self.address}: wait for it")
        return BackupError(reason(end))

    def probe(self) -> None:
        """Look whether one can get into it. Changes nothing.

        :raises BackupError: when not.
        """
        self.run("cat", "config", *READ_ONLY)

    def identity(self) -> str:
        """What tells it from others, wherever they are.

        :raises BackupError: when that is not known.
        """
        try:
            return str(json.loads(self.run("cat", "config", *READ_ONLY))["id"])
        except (ValueError, TypeError, KeyError) as ex:
            raise BackupError(f"restic does not tell the id of the repository {self.address}") from ex

    def unlock(self) -> None:
        """Remove the locks of runs that were killed. Those of runs that live stay."""
        self.run("unlock")

    def prepare(self, init: bool, source: Repository | None = None) -> None:
        """Have it ready to be written to.

        :param init: whether to make it when there is none.
        :param source: the one that snapshots are to be copied from.
        :raises BackupError: when there is none, or one cannot get into it.
        """
        try:
            self.unlock()
        except NoRepositoryError as ex:
            self.expect_wanted(init, ex)
            # Data that is the same is stored once only when both cut it alike.
            alike = ["--copy-chunker-params"] if source else []
            try:
                self.run("init", *alike, more=source.as_source() if source else None)
            except BackupError:
                # Another host may have made it meanwhile.
                with contextlib.suppress(NoRepositoryError):
                    return self.unlock()
                raise

    def plan(self, init: bool) -> None:
        """Look whether it can be made ready. Changes nothing.

        :param init: as for prepare().
        :raises BackupError: when not.
        """
        try:
            self.probe()
        except NoRepositoryError as ex:
            self.expect_wanted(init, ex)

    def expect_wanted(self, init: bool, why: NoRepositoryError) -> None:
        """
        :raises BackupError: when it is not to be made.
        """
        if self.holds:
            # A new one in the place of one that is not mounted would look as if all were well.
            raise NoRepositoryError(
                f"{why}, and the backup {self.holds} is in it: see that it is mounted; if it is lost, begin a new one "
                "with restic init"
            ) from why
        if not init:
            raise NoRepositoryError(f"{why}: make it with restic init, or set init to true") from why

    def as_source(self) -> dict[str, str]:
        """The variables for a run of restic on another repository which copies from this one."""
        return {
            "RESTIC_FROM_REPOSITORY": self.address,
            "RESTIC_FROM_REPOSITORY_FILE": "",
            "RESTIC_FROM_PASSWORD_FILE": self.environment["RESTIC_PASSWORD_FILE"],
            "RESTIC_FROM_PASSWORD_COMMAND": "",
        }

    def snapshots(self, *options: str) -> list[Record]:
        """What restic tells of the snapshots that there are.

        :param options: --host and --tag, for some of them.
        :raises BackupError: when that is not known.
        """
        try:
            found = json.loads(self.run("snapshots", "--json", *options, *READ_ONLY)) or []
            return [one for one in found if isinstance(one["id"], str)]
        except (ValueError, TypeError, KeyError) as ex:
            raise BackupError(f"restic does not tell what snapshots there are in {self.address}") from ex

    def forget(self, snapshots: t.Sequence[str], prune: bool) -> None:
        """Remove snapshots.

        :param prune: whether to remove the data that only they had, too.
        :raises BackupError: when that fails; LockedError when another restic is at work.
        """
        if snapshots:
            self.unlock()
            self.run("forget", *(["--prune"] if prune else []), *snapshots)


def waiting(seconds: float, action: t.Callable[[], _Answer]) -> _Answer:
    """Do something as soon as no other restic is at work.

    :param seconds: how long to wait for that at most.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return action()
        except LockedError:
            left = end - time.monotonic()
            if left <= 0:
                raise
        time.sleep(min(_PAUSE, left))


def literal(path: str) -> str:
    """The pattern that stands for this path alone."""
    return re.sub(r"([\\*?\[])", r"\\\1", path)


def reason(end: End) -> str:
    """Why restic failed, in a sentence without a full stop."""
    said: list[str] = []
    for line in end.complaints.splitlines():
        if line.startswith(_TRACE):
            break
        text = _text(line)
        if not _NO_REASON.match(text):
            said.append(text.strip())
    told = End(end.program, end.exit_code, "\n".join(said[-_SHOWN:]))
    return told.reason()


def messages(text: str) -> t.Iterator[Record]:
    """Those lines that are messages for programs."""
    for line in text.splitlines():
        found = _message(line)
        if found:
            yield found


def _message(line: str) -> Record | None:
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(line: str) -> str:
    """What a line says to people."""
    found = _message(line)
    if found is None:
        return line
    return str(found.get("message") or error_text(found) or "")


def error_text(message: Record) -> str | None:
    """What a message says of an error; None when it does not, as with 0.14."""
    error = message.get("error")
    text = error.get("message") if isinstance(error, dict) else None
    return text if isinstance(text, str) and text else None


def _variables(path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                text = line.strip()
                if not text or text.startswith("#"):
                    continue
                match = _VARIABLE.fullmatch(text)
                if not match or "\0" in text:
                    # The line may be a secret.
                    raise BackupError(f"environment_file is {path}, whose line {number} is not KEY=VALUE: correct it")
                name, value = match.groups()
                quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
                found[name] = value[1:-1] if quoted else value
    except OSError as ex:
        raise BackupError(f"environment_file is {path}, which cannot be read: {ex.strerror}") from ex
    return found
