# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Copies of SQLite databases that fit together also when somebody writes to them.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import os
import typing as t
import urllib.parse

from ansible_collections.inflight.jobs.plugins.module_utils._backup import database
from ansible_collections.inflight.jobs.plugins.module_utils._backup.database import Damage, Options, Rows
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Compression, Part, Record
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import Pipeline, Program

try:
    import sqlite3
except ImportError:
    HAS_SQLITE = False
else:
    HAS_SQLITE = True

KIND = "sqlite"

# Seconds to wait for a writer.
_BUSY = 60.0

# So many pages are copied at once. Between them the process can be told to end.
_PAGES = 4096


class SQLite:
    """A database in a file."""

    def __init__(self, options: Options, count_rows: bool = False) -> None:
        """
        :param count_rows: whether to count the rows of the tables as they are copied, for restore_into_scratch.
        :raises BackupError: when the options make no sense.
        """
        path = options.get("path")
        if not path or not os.path.isabs(path):
            raise BackupError(f"path is {path!r}: give the path of the database, which begins with a slash")
        if not HAS_SQLITE:
            raise BackupError(
                "the Python of this host has no sqlite3: use one that has it, as ansible_python_interpreter"
            )
        self._path = str(path)
        self._count_rows = count_rows

    def parts(self) -> list[Part]:
        """One.

        :raises BackupError: when the file is not there, or is no database.
        """
        if not os.path.isfile(self._path):
            raise BackupError(f"path is {self._path}: there is no such file")
        with _opened(self._path, "mode=ro") as source:
            source.execute("select count(*) from sqlite_master").fetchone()
        return [_Copy(self._path, self._count_rows)]


class _Copy(Part):
    """A copy of a database.

    It takes the space of the database for a moment, in the folder of the backup. While it is made, nobody can write to
    a database that is not in WAL mode.
    """

    def __init__(self, path: str, count_rows: bool) -> None:
        super().__init__(database.file_name(os.path.basename(path), ".sqlite"), KIND, Program(["cat"]))
        self._path = path
        self._count_rows = count_rows

    def write(self, folder: str, compression: Compression) -> tuple[Record, list[str]]:
        copy = os.path.join(folder, f".{self.name}")
        rows: Rows | None = None
        with _removed(copy):
            os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            with _opened(self._path, "mode=ro") as source:
                # What is read in it is what there was at one moment, and no writer has the copy begin again.
                source.execute("begin")
                source.execute("select count(*) from sqlite_master").fetchone()
                if self._count_rows:
                    rows = _rows(source)
                with _opened(copy, "mode=rw") as target:
                    # One that is not whole is thrown away.
                    target.execute("pragma journal_mode = off")
                    target.execute("pragma synchronous = off")
                    source.backup(target, pages=_PAGES)
            self.program = Program(["cat", copy])
            record, warnings = super().write(folder, compression)
        return {**record, "database": self._path, "rows": rows}, warnings


def read(path: str, record: Record, folder: str) -> None:
    """Read a copy to its end, and look whether it is sound.

    :param folder: for what is unpacked.
    :raises BackupError: when it is damaged.
    """
    with _unpacked(path, record, folder) as copy:
        _expect_sound(copy)


def restore_into_scratch(path: str, record: Record, folder: str, options: Options) -> None:
    """Look whether a copy is sound, and compare the rows.

    :param folder: for what is unpacked.
    :raises BackupError: when something differs.
    """
    del options
    with _unpacked(path, record, folder) as copy:
        _expect_sound(copy)
        if record.get("rows") is not None:
            with _opened(copy, "immutable=1") as found:
                database.compare(record["rows"], _rows(found), partly=False)


def _expect_sound(path: str) -> None:
    # Else a copy that is in WAL mode would get files beside it.
    try:
        with _opened(path, "immutable=1") as found:
            answer = str(found.execute("pragma integrity_check(1)").fetchone()[0])
    except BackupError as ex:
        # Of a copy that is not whole, SQLite may say that it is no database.
        raise Damage(str(ex)) from ex
    if answer != "ok":
        raise Damage(f"SQLite finds it damaged: {' / '.join(answer.splitlines())}")


@contextlib.contextmanager
def _unpacked(path: str, record: Record, folder: str) -> t.Iterator[str]:
    if record["compression"] == "none":
        yield path
        return
    copy = os.path.join(folder, "unpacked.sqlite")
    with _removed(copy):
        fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "wb") as file, Pipeline(database.programs(record), source=path) as pipeline:
            for chunk in pipeline.chunks():
                file.write(chunk)
        database.expect_success(pipeline)
        yield copy


@contextlib.contextmanager
def _removed(path: str) -> t.Iterator[None]:
    """Have a file removed at the end."""
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


@contextlib.contextmanager
def _opened(path: str, how: str) -> t.Iterator[sqlite3.Connection]:
    """
    :raises BackupError: when it cannot be opened, or when a statement in it fails.
    """
    try:
        # One slash at the beginning: with two the first name would be that of a host.
        address = f"file:/{urllib.parse.quote(os.fsencode(path).lstrip(b'/'))}?{how}"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_BUSY, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as ex:
        raise BackupError(f"SQLite cannot use {path}: {ex}") from ex


def _rows(connection: sqlite3.Connection) -> Rows:
    # Of a virtual table, the tables that it is made of are counted.
    names = connection.execute(
        "select name from sqlite_master where type = 'table' and substr(name, 1, 7) <> 'sqlite_' "
        "and sql not like 'create virtual%'"
    ).fetchall()
    quoted = ((name, name.replace('"', '""')) for (name,) in names)
    return {name: connection.execute(f'select count(*) from "{quote}"').fetchone()[0] for name, quote in quoted}
