# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import time
import typing as t
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup import database, mariadb
from ansible_collections.inflight.jobs.plugins.module_utils._backup.mariadb import MariaDB
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Compression, Part, Record
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError

from .database_servers import FOREVER, Server, awaited, expect_nowhere, held, mariadb_server

HOSTILE_DATABASE = "-a `b'\"c\\d\n/..é"
HOSTILE_TABLE = "t `'\"\\x\n\u2028 é;--"
GZIP = Compression("gzip")
PASSWORD = "s3cret-of-limited"


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with mariadb_server() as started:
        hostile = f"{quoted(HOSTILE_DATABASE)}.{quoted(HOSTILE_TABLE)}"
        # The routines are of the time when the database had another character set.
        started.say(
            f"""
create user limited@localhost identified by '{PASSWORD}';
create database plain; create table plain.things (a int) engine=InnoDB; insert into plain.things values (1), (2);
grant select, lock tables, show view, trigger, event on plain.* to limited@localhost;
create database {quoted(HOSTILE_DATABASE)};
create table {hostile} (a int primary key, b varbinary(100), c text) engine=InnoDB;
insert into {hostile} select seq, unhex(md5(seq)), concat('l\\n', seq) from plain.seq_1_to_5000;
create database shop character set latin1;
use shop;
create table bought (a int) engine=InnoDB; insert into bought values (1), (2), (3);
create table old (a int) engine=MyISAM; insert into old values (1);
create view seen as select a from bought;
create event hourly on schedule every 1 hour do insert into shop.bought values (99);
delimiter //
create trigger more before insert on bought for each row set new.a = new.a + 1//
create procedure nothing() begin select 1; end//
delimiter ;
alter database shop character set utf8mb4;
"""
        )
        yield started


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "my.cnf"
    path.write_text(f"[client]\nuser=limited\npassword={PASSWORD}\n")
    path.chmod(0o600)
    return path


def limited(server: Server, password_file: Path) -> dict[str, t.Any]:
    """How a user without many rights reaches the server."""
    return {"type": "mariadb", "socket": server.options["socket"], "credentials_file": str(password_file)}


def rested(server: Server, name: str) -> None:
    """Wait until the tables of a database count as ones that nobody changes."""
    engine = MariaDB(server.options)
    end = time.monotonic() + FOREVER
    while len(engine.at_rest(name)) < len(engine.rows(name)):
        assert time.monotonic() < end
        time.sleep(0.1)


def dumped(folder: Path, options: dict[str, t.Any], name: str, count_rows: bool = False) -> tuple[Path, Record]:
    """The file of a database in a backup."""
    part = MariaDB({**options, "names": [name]}, count_rows).parts()[0]
    record, dummy = part.write(str(folder), GZIP)
    return folder / record["name"], record


def databases(server: Server) -> list[str]:
    return server.say("show databases like 'inflight%'").split()


def test_all_databases_are_dumped(server: Server, tmp_path: Path) -> None:
    parts = MariaDB(server.options).parts()
    assert [(part.name, part.kind, part.compress) for part in parts] == [
        ("-a%20%60b%27%22c%5Cd%0A%2F..%C3%A9.sql", "sql", True),
        ("mysql.sql", "sql", True),
        ("plain.sql", "sql", True),
        ("shop.sql", "sql", True),
        ("shop+events.sql", "sql", True),
    ]
    warned = []
    for part in parts:
        record, warnings = part.write(str(tmp_path), GZIP)
        warned += warnings
        assert (tmp_path / record["name"]).stat().st_mode & 0o777 == 0o600
        mariadb.read(str(tmp_path / record["name"]), record, str(tmp_path))
    (warning,) = warned
    assert warning.startswith("1 table is not transactional in the database 'shop': ")


@pytest.mark.parametrize(
    ("name", "rows"),
    [(HOSTILE_DATABASE, {HOSTILE_TABLE: 5000}), ("shop", {"bought": 3, "old": 1}), ("mysql", None)],
)
def test_a_dump_has_every_row_and_can_be_restored(
    name: str, rows: dict[str, int] | None, server: Server, tmp_path: Path
) -> None:
    if rows:
        rested(server, name)
    path, record = dumped(tmp_path, server.options, name, count_rows=True)
    assert (record["database"], record["rows"]) == (name, rows)
    mariadb.restore_into_scratch(str(path), record, str(tmp_path), server.options)
    assert databases(server) == []


def test_a_restored_dump_leaves_the_database_alone_that_was_dumped(server: Server, tmp_path: Path) -> None:
    path, record = dumped(tmp_path, server.options, "shop")
    assert b"ALTER DATABASE `shop` CHARACTER SET latin1" in gzip.decompress(path.read_bytes())
    server.say("alter database shop character set latin2")
    try:
        mariadb.restore_into_scratch(str(path), record, str(tmp_path), server.options)
        assert "latin2" in server.say("show create database shop")
    finally:
        server.say("alter database shop character set utf8mb4")


def test_events_are_dumped_apart_so_that_a_check_starts_none(server: Server, tmp_path: Path) -> None:
    everything, events = MariaDB({**server.options, "names": ["shop"]}).parts()
    record, dummy = everything.write(str(tmp_path), Compression("none"))
    text = (tmp_path / record["name"]).read_text()
    assert "EVENT" not in text
    assert "PROCEDURE `nothing`" in text
    assert "trigger more" in text
    record, dummy = events.write(str(tmp_path), Compression("none"))
    text = (tmp_path / record["name"]).read_text()
    assert "EVENT `hourly`" in text
    assert "CREATE TABLE" not in text
    mariadb.restore_into_scratch(str(tmp_path / record["name"]), record, str(tmp_path), server.options)


def test_tables_that_change_meanwhile_are_not_compared(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested(server, "shop")
    write = Part.write

    def change_and_write(part: Part, folder: str, compression: Compression) -> tuple[Record, list[str]]:
        server.say("insert into shop.bought values (7)")
        return write(part, folder, compression)

    monkeypatch.setattr(Part, "write", change_and_write)
    try:
        path, record = dumped(tmp_path, server.options, "shop", count_rows=True)
    finally:
        server.say("delete from shop.bought where a = 8")
    assert record["rows"] == {"old": 1}
    mariadb.restore_into_scratch(str(path), record, str(tmp_path), server.options)


def test_a_row_too_few_is_found_and_the_scratch_database_is_gone(server: Server, tmp_path: Path) -> None:
    path, record = dumped(tmp_path, server.options, "shop")
    record["rows"] = {"bought": 4}
    with pytest.raises(
        database.Damage, match=r"^the table 'bought' had 4 rows, and has 3 after the dump was restored$"
    ):
        mariadb.restore_into_scratch(str(path), record, str(tmp_path), server.options)
    assert databases(server) == []


def test_a_dump_that_cannot_be_restored_is_found_and_its_content_stays_secret(server: Server, tmp_path: Path) -> None:
    path, record = dumped(tmp_path, server.options, "shop")
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content.replace(b"INSERT INTO `bought`", b"INSERT INTO `secret_name\nx` ")))
    with pytest.raises(database.Damage, match=r"^it cannot be restored: ERROR 1100 \(HY000\)") as raised:
        mariadb.restore_into_scratch(str(path), record, str(tmp_path), server.options)
    assert "INSERT" not in str(raised.value)
    assert databases(server) == []


def cut(content: bytes) -> bytes:
    return content[: len(content) * 6 // 10]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def cut_within(content: bytes) -> bytes:
    # What is left when the dump program is killed: the compressed file is whole.
    return gzip.compress(cut(gzip.decompress(content)))


@pytest.mark.parametrize("damage", [cut, flipped, cut_within])
def test_a_damaged_dump_is_found(damage: Callable[[bytes], bytes], server: Server, tmp_path: Path) -> None:
    path, record = dumped(tmp_path, server.options, HOSTILE_DATABASE)
    path.write_bytes(damage(path.read_bytes()))
    for check in (mariadb.read, lambda *given: mariadb.restore_into_scratch(*given, server.options)):
        with pytest.raises(database.Damage):
            check(str(path), record, str(tmp_path))
    assert databases(server) == []


def test_a_user_without_rights_does_what_it_may(server: Server, password_file: Path, tmp_path: Path) -> None:
    options = limited(server, password_file)
    rested(server, "plain")
    path, record = dumped(tmp_path, options, "plain", count_rows=True)
    assert record["rows"] == {"things": 2}
    with pytest.raises(BackupError, match=r"^MariaDB said no: ERROR 1044 .*Access denied") as raised:
        mariadb.restore_into_scratch(str(path), record, str(tmp_path), options)
    assert not isinstance(raised.value, database.Damage)


def test_events_that_the_user_may_not_see_are_not_lost_in_silence(server: Server, password_file: Path) -> None:
    server.say("revoke event on plain.* from limited@localhost")
    try:
        with pytest.raises(BackupError, match=r"^MariaDB said no: ERROR 1044 .*Access denied"):
            MariaDB({**limited(server, password_file), "names": ["plain"]}).parts()
    finally:
        server.say("grant event on plain.* to limited@localhost")


def test_the_password_is_in_no_argument(server: Server, password_file: Path) -> None:
    for part in MariaDB(limited(server, password_file), count_rows=True).parts():
        shown = [*part.program.argv, *part.program.environment.values()]
        assert not any(PASSWORD in text for text in shown)
        assert part.program.argv[1] == f"--defaults-extra-file={password_file}"


def test_a_dump_that_is_cut_off_is_a_failure_and_shows_no_password(
    server: Server, password_file: Path, tmp_path: Path
) -> None:
    part = MariaDB({**limited(server, password_file), "names": ["plain"]}).parts()[0]
    waiting = "select id from information_schema.processlist where user = 'limited' and state like 'Waiting%lock'"
    lock = "lock tables plain.things write; select 'held';\n"
    with ThreadPoolExecutor() as pool, held([*server.client, "--unbuffered"], server.user, lock):
        written = pool.submit(part.write, str(tmp_path), GZIP)
        number = awaited(lambda: server.say(waiting))
        expect_nowhere(PASSWORD)
        server.say(f"kill {number}")
        with pytest.raises(BackupError, match=r"^mariadb-dump ended with [23]: .*Lost connection|server has gone away"):
            written.result(FOREVER)


def test_a_wrong_password_is_told_before_anything_is_written(server: Server, password_file: Path) -> None:
    password_file.write_text("[client]\nuser=limited\npassword=wrong\n")
    with pytest.raises(BackupError) as raised:
        MariaDB(limited(server, password_file)).parts()
    expected = "ERROR 1045 (28000): Access denied for user 'limited'@'localhost' (using password: YES)"
    assert str(raised.value) == f"MariaDB said no: {expected}"


def test_a_database_that_is_not_there_is_told(server: Server) -> None:
    with pytest.raises(BackupError, match=r"^names has 'SHOP': the databases that this user can see are .*, 'shop'$"):
        MariaDB({**server.options, "names": ["plain", "SHOP"]}).parts()


def test_a_server_that_is_not_there_is_told(server: Server) -> None:
    with pytest.raises(BackupError, match=r"^MariaDB said no: ERROR 2002 .*/nowhere"):
        MariaDB({**server.options, "socket": "/nowhere"}).parts()


def test_a_password_file_that_others_can_read_is_refused(server: Server, password_file: Path) -> None:
    password_file.chmod(0o604)
    with pytest.raises(BackupError, match=r"which has the mode 0604: give it 0600, as it is a secret$"):
        MariaDB(limited(server, password_file))


def test_options_reach_the_dump_program(server: Server, tmp_path: Path) -> None:
    rested(server, "shop")
    options = {**server.options, "options": ["--ignore-table=shop.old"]}
    path, record = dumped(tmp_path, options, "shop", count_rows=True)
    # What the user left out is not taken for a loss.
    mariadb.restore_into_scratch(str(path), record, str(tmp_path), options)
    del record["partly"]
    with pytest.raises(database.Damage, match="the table 'old' had 1 rows, and is not there"):
        mariadb.restore_into_scratch(str(path), record, str(tmp_path), options)


@pytest.mark.parametrize("option", ["--password=x5x", "-px5x", "--pass=x5x", "--databases", "-A", "--compact", "shop"])
def test_options_that_the_backup_sets_are_refused(option: str, server: Server) -> None:
    with pytest.raises(BackupError, match=r"^options has ") as raised:
        MariaDB({**server.options, "options": [option]})
    assert "x5x" not in str(raised.value)


def test_the_name_of_the_database_is_changed_wherever_a_chunk_ends() -> None:
    text = b"x\nALTER DATABASE `a``b` CHARACTER SET u;\nALTER DATABASE `a``b` CHARACTER SET v;\nALTER DATABASE `c`;"
    expected = text.replace(b"a``b", b"new")
    for size in range(1, len(text) + 1):
        chunks = [text[start : start + size] for start in range(0, len(text), size)]
        assert b"".join(mariadb._renamed(chunks, "a`b", "new")) == expected
