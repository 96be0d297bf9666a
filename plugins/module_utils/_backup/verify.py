# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Reads backups to prove that they can be restored.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import stat
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup import mariadb, postgresql, sqlite, tar
from ansible_collections.inflight.jobs.plugins.module_utils._backup.database import Damage
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import SUFFIXES, Record, decompression
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import CHUNK, Pipeline, Program

# For each check, the kinds of files that it is for.
_DATABASES = ("pg_dump", "globals", "sql", "sqlite")
KINDS: dict[str, tuple[str, ...] | None] = {
    "checksum": None,
    "list": (tar.KIND,),
    "read": None,
    "restore_sample": (tar.KIND,),
    "database_read": _DATABASES,
    "database_restore": _DATABASES,
}
CHECKS = tuple(KINDS)


class Damaged(BackupError):
    """A backup is not what it should be."""


class Verification:
    """The checks of one backup.

    done: those that there was something to look at for. warnings: what else was seen.
    """

    def __init__(self, folder: str, files: t.Sequence[Record], scratch: str, sample_files: int = 10) -> None:
        """
        :param folder: where the files are.
        :param files: what the manifest says of each.
        :param scratch: a folder that is made for what is restored, and removed.
        :param sample_files: how many files restore_sample looks at.
        """
        self._folder = folder
        self._files = files
        self._scratch = scratch
        self._sample_files = sample_files
        self.done: list[str] = []
        self.warnings: list[str] = []

    def run(self, checks: t.Sequence[str], database: Record | None = None) -> None:
        """
        :param database: how to reach the database that was dumped, for database_restore.
        :raises Damaged: at the first damage that is found; BackupError when it cannot be looked for.
        """
        for record in self._files:
            _expect_fields(record)
            self._expect_size(record)
        for check in CHECKS:
            kinds = KINDS[check]
            files = [record for record in self._files if kinds is None or record["kind"] in kinds]
            if check in checks and files:
                for record in files:
                    self._check(check, record, database)
                self.done.append(check)

    def _check(self, check: str, record: Record, database: Record | None) -> None:
        if check == "checksum":
            self._checksum(record)
        elif check == "list":
            self._list(record)
        elif check == "read":
            self._read(record)
        elif check == "restore_sample":
            self._restore_sample(record)
        else:
            self._read_database(record, database if check == "database_restore" else None)

    def _path(self, record: Record) -> str:
        return os.path.join(self._folder, record["name"])

    def _expect_size(self, record: Record) -> None:
        try:
            found = os.lstat(self._path(record))
        except OSError as ex:
            raise Damaged(f"{record['name']} cannot be read: {ex.strerror}") from ex
        if not stat.S_ISREG(found.st_mode) or found.st_size != record["bytes"]:
            raise Damaged(f"{record['name']} has {found.st_size} bytes, and had {record['bytes']} when it was written")

    def _checksum(self, record: Record) -> None:
        digest = hashlib.sha256()
        try:
            with open(self._path(record), "rb", buffering=0) as file:
                for chunk in iter(lambda: file.read(CHUNK), b""):
                    digest.update(chunk)
        except OSError as ex:
            raise Damaged(f"{record['name']} cannot be read: {ex.strerror}") from ex
        if digest.hexdigest() != record["sha256"]:
            raise Damaged(f"{record['name']} has the checksum {digest.hexdigest()}, and had {record['sha256']}")

    def _opened(self, record: Record, *programs: Program) -> Pipeline:
        chain = [*decompression(record["compression"]), *programs] or [Program(["cat"])]
        return Pipeline(chain, source=self._path(record))

    def _list(self, record: Record) -> None:
        with self._opened(record, tar.listing()) as pipeline:
            members = sum(chunk.count(b"\n") for chunk in pipeline.chunks())
        _expect_success(record, pipeline)
        if members != record["members"]:
            raise Damaged(f"{record['name']} lists {members} members, and {record['members']} were written")

    def _read(self, record: Record) -> None:
        with self._opened(record, *([tar.reading()] if record["kind"] == tar.KIND else [])) as pipeline:
            for dummy in pipeline.chunks():
                pass
        _expect_success(record, pipeline)

    def _restore_sample(self, record: Record) -> None:
        with self._opened(record, tar.detailed_listing()) as pipeline:
            names = tar.sample(tar.members(pipeline), self._sample_files)
        _expect_success(record, pipeline)
        shutil.rmtree(self._scratch, ignore_errors=True)
        os.mkdir(self._scratch, 0o700)
        try:
            restored = os.path.join(self._scratch, "restored")
            os.mkdir(restored)
            names_file = os.path.join(self._scratch, "names")
            with open(names_file, "wb") as file:
                file.write(b"".join(name + b"\0" for name in names))
            if names:
                with self._opened(record, tar.extracting(restored, names_file)) as pipeline:
                    for dummy in pipeline.chunks():
                        pass
                _expect_success(record, pipeline)
            same = sum(compare(os.path.join(os.fsencode(restored), name), b"/" + name) for name in names)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self.warnings += not_compared(same, len(names))

    def _read_database(self, record: Record, database: Record | None) -> None:
        readers: dict[str, t.Any] = {"sql": mariadb, "sqlite": sqlite}
        engine = readers.get(record["kind"], postgresql)
        shutil.rmtree(self._scratch, ignore_errors=True)
        os.mkdir(self._scratch, 0o700)
        try:
            if database is None:
                engine.read(self._path(record), record, self._scratch)
            else:
                engine.restore_into_scratch(self._path(record), record, self._scratch, database)
        except Damage as ex:
            raise Damaged(f"{record['name']}: {ex}") from ex
        except BackupError as ex:
            # A server that cannot be reached, or a program that is not there, says nothing of the dump.
            raise BackupError(f"{record['name']} cannot be checked: {ex}") from ex
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _expect_fields(record: Record) -> None:
    """A manifest has been on a disk for long, so that what it says may be anything."""
    members = record.get("members")
    good = (
        isinstance(record.get("kind"), str)
        and record.get("compression") in tuple(SUFFIXES)
        and isinstance(record.get("bytes"), int)
        and isinstance(record.get("sha256"), str)
        and (members is None or isinstance(members, int))
    )
    if not good:
        raise Damaged(f"the manifest is damaged: it does not say what {record.get('name')} is")


def _expect_success(record: Record, pipeline: Pipeline) -> None:
    # One that reads to the end of the archive only may leave the program before it with a closed pipe.
    failed = [end for end in reversed(pipeline.ends) if end.exit_code]
    if failed:
        raise Damaged(f"{record['name']} cannot be read to its end: {failed[0].reason()}")


def not_compared(same: int, number: int) -> list[str]:
    """What there is to warn of when so many of a sample could be compared."""
    if same == number:
        return []
    return [f"restore_sample: {number - same} of {number} files have changed since, so they were not compared"]


def compare(restored: bytes, source: bytes) -> bool:
    """Whether a file that was restored could be compared with its source, which has not changed since.

    :raises Damaged: when they differ.
    """
    try:
        new = os.lstat(restored)
    except OSError as ex:
        raise Damaged(f"{os.fsdecode(source)} was not restored: {ex.strerror}") from ex
    try:
        old = os.lstat(source)
        if (new.st_mode, new.st_mtime_ns) != (old.st_mode, old.st_mtime_ns):
            return False
        if stat.S_ISLNK(old.st_mode):
            same = os.readlink(restored) == os.readlink(source)
        else:
            filecmp.clear_cache()  # it takes a file for what it was, as long as its size and time are the same
            same = not stat.S_ISREG(old.st_mode) or filecmp.cmp(restored, source, shallow=False)
    except OSError:
        return False
    if not same:
        raise Damaged(f"{os.fsdecode(source)} is not what was restored, though its time and mode are")
    return True
