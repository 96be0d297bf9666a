# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup import database, sqlite
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Compression, Record
from ansible_collections.inflight.jobs.plugins.module_utils._backup.sqlite import SQLite
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError

HOSTILE_TABLE = "t \"'`\n\u2028 é;--"
METHODS = ["gzip", "none", "zstd"]


@pytest.fixture(params=["wal", "delete"])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A program that has a database open and has changed it."""
    (tmp_path / "source").mkdir()
    with contextlib.closing(sqlite3.connect(path_of(tmp_path), isolation_level=None)) as connection:
        connection.execute(f"pragma journal_mode = {request.param}")
        connection.execute('create table "{}" (a integer primary key, b)'.format(HOSTILE_TABLE.replace('"', '""')))
        connection.execute("create table plain (a)")
        connection.execute("create virtual table found using fts5(a)")
        connection.execute("begin")
        connection.executemany("insert into plain values (?)", [(number,) for number in range(5000)])
        connection.execute("commit")
        yield connection


def path_of(folder: Path) -> Path:
    return folder / "source" / "-a?b#c%41 é\n.db"


def copied(folder: Path, method: str = "gzip", count_rows: bool = True) -> tuple[Path, Record]:
    """The file of the database in a backup."""
    if method == "zstd" and not shutil.which("zstd"):
        pytest.skip("needs zstd of the package zstd")
    target = folder / "backup"
    target.mkdir(exist_ok=True)
    (part,) = SQLite({"path": str(path_of(folder))}, count_rows).parts()
    record, warnings = part.write(str(target), Compression(method))
    assert warnings == []
    # Nothing else is left.
    assert [path.name for path in target.iterdir()] == [record["name"]]
    return target / record["name"], record


@pytest.mark.parametrize("method", METHODS)
def test_a_copy_has_what_was_committed(method: str, writer: sqlite3.Connection, tmp_path: Path) -> None:
    writer.execute("begin")
    writer.execute("insert into plain values (1)")
    path, record = copied(tmp_path, method)
    assert record["name"] == "-a%3Fb%23c%2541%20%C3%A9%0A.db.sqlite" + {"gzip": ".gz", "zstd": ".zst"}.get(method, "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert record["rows"][HOSTILE_TABLE] == 0
    assert record["rows"]["plain"] == 5000
    assert "found" not in record["rows"]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    sqlite.read(str(path), record, str(scratch))
    sqlite.restore_into_scratch(str(path), record, str(scratch), {})
    assert list(scratch.iterdir()) == []
    assert list(path.parent.iterdir()) == [path]
    writer.execute("commit")


def test_rows_are_counted_only_when_that_is_wanted(writer: sqlite3.Connection, tmp_path: Path) -> None:
    path, record = copied(tmp_path, count_rows=False)
    assert record["rows"] is None
    sqlite.restore_into_scratch(str(path), record, str(tmp_path), {})


def test_a_row_too_few_is_found(writer: sqlite3.Connection, tmp_path: Path) -> None:
    path, record = copied(tmp_path)
    record["rows"]["plain"] += 1
    with pytest.raises(database.Damage, match=r"^the table 'plain' had 5001 rows, and has 5000 after"):
        sqlite.restore_into_scratch(str(path), record, str(tmp_path), {})


def cut(content: bytes) -> bytes:
    return content[: len(content) * 6 // 10]


def flipped(content: bytes) -> bytes:
    # Where a page says what cells it has: of what is not compressed, other damages are seen by the checksum alone.
    middle = len(content) // 2 // 4096 * 4096 + 3
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("damage", [cut, flipped])
def test_a_damaged_copy_is_found(
    damage: Callable[[bytes], bytes], method: str, writer: sqlite3.Connection, tmp_path: Path
) -> None:
    path, record = copied(tmp_path, method)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BackupError):
        sqlite.read(str(path), record, str(tmp_path))
    with pytest.raises(BackupError):
        sqlite.restore_into_scratch(str(path), record, str(tmp_path), {})


def test_the_database_is_only_read(writer: sqlite3.Connection, tmp_path: Path) -> None:
    before = path_of(tmp_path).read_bytes()
    copied(tmp_path)
    assert path_of(tmp_path).read_bytes() == before


def test_a_file_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(BackupError, match=f"^path is {path}: there is no such file$"):
        SQLite({"path": str(path)}).parts()
    assert not path.exists()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("no database" * 100)
    with pytest.raises(BackupError, match=f"^SQLite cannot use {path}: file is not a database$"):
        SQLite({"path": str(path)}).parts()


@pytest.mark.parametrize("path", [None, "", "relative.db"])
def test_a_path_must_be_absolute(path: t.Any) -> None:
    with pytest.raises(BackupError, match=r"^path is .*: give the path of the database, which begins with a slash$"):
        SQLite({"path": path})


def test_names_of_files_are_safe_and_different() -> None:
    names = ["a", "A", ".", "..", ".a", "%2Ea", "a/b", "a b", "a+events", "a%2Bevents", "é" * 64, "é" * 63 + "e", ""]
    files = [database.file_name(name, ".sql") for name in names]
    assert len(set(files)) == len(names)
    for file in files:
        assert len(file) < 220
        assert not file.startswith("..")
        assert "/" not in file
