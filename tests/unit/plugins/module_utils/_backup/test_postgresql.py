# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup import database, postgresql
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Compression, Part, Record
from ansible_collections.inflight.jobs.plugins.module_utils._backup.postgresql import PostgreSQL
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError

from .database_servers import FOREVER, IS_ROOT, Server, awaited, expect_nowhere, held, postgresql_server

HOSTILE_DATABASE = "-a b=c 'q\"x\\y\n\u2028ü/.."
HOSTILE_TABLE = "t \"'\n\u2028 é;--"
GZIP = Compression("gzip")
PASSWORD = "s3cret-of-limited"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgresql_server() as started:
        started.say(f"""
create role limited login createdb password '{PASSWORD}';
create database {quoted(HOSTILE_DATABASE)};
create database "postgresql://h/x";
create database shop;
\\c shop
create schema "s.1";
create table "s.1".{quoted(HOSTILE_TABLE)} (a int primary key, b text);
insert into "s.1".{quoted(HOSTILE_TABLE)} select g, md5(g::text) from generate_series(1, 20000) g;
create table parent (a int); create table child () inherits (parent);
insert into parent values (1); insert into child values (2), (3);
create table sliced (a int) partition by range (a); create table slice partition of sliced for values from (0) to (9);
insert into sliced values (4);
create table changing (a int); insert into changing select generate_series(1, 10);
create materialized view seen as select * from child;
create database plain owner limited;
\\c plain
set role limited;
create schema own; create table own.things (a int); insert into own.things values (1), (2);
""")
        yield started


@pytest.fixture
def password_file(server: Server, tmp_path: Path) -> Path:
    path = tmp_path / "pgpass"
    path.write_text(f"*:*:*:limited:{PASSWORD}\n")
    path.chmod(0o600)
    return path


def limited(server: Server, password_file: Path, **more: t.Any) -> dict[str, t.Any]:
    """How the role that is no superuser reaches the server."""
    return {**server.options, "user": "limited", "credentials_file": str(password_file), "names": ["plain"], **more}


def dumped(folder: Path, options: dict[str, t.Any], name: str, count_rows: bool = False) -> tuple[Path, Record]:
    """The file of a database in a backup."""
    parts = PostgreSQL({**options, "names": [name]}, count_rows).parts()
    record, warnings = parts[1].write(str(folder), GZIP)
    assert warnings == []
    return folder / record["name"], record


def databases(server: Server) -> list[str]:
    return server.say("select datname from pg_database where datname like 'inflight%'").split()


def test_all_databases_and_the_roles_are_dumped(server: Server, tmp_path: Path) -> None:
    parts = PostgreSQL(server.options).parts()
    assert [(part.name, part.kind, part.compress) for part in parts] == [
        ("globals.sql", "globals", True),
        ("-a%20b%3Dc%20%27q%22x%5Cy%0A%E2%80%A8%C3%BC%2F...dump", "pg_dump", False),
        ("plain.dump", "pg_dump", False),
        ("postgres.dump", "pg_dump", False),
        ("postgresql%3A%2F%2Fh%2Fx.dump", "pg_dump", False),
        ("shop.dump", "pg_dump", False),
    ]
    for part in parts:
        record, warnings = part.write(str(tmp_path), GZIP)
        assert warnings == []
        assert (tmp_path / record["name"]).stat().st_mode & 0o777 == 0o600
        postgresql.read(str(tmp_path / record["name"]), record, str(tmp_path))


@pytest.mark.parametrize("name", [HOSTILE_DATABASE, "postgresql://h/x", "shop", "postgres"])
def test_a_dump_has_every_row_and_can_be_restored(name: str, server: Server, tmp_path: Path) -> None:
    path, record = dumped(tmp_path, server.options, name, count_rows=True)
    assert record["database"] == name
    assert record["rows"] == (
        {
            f'"s.1".{quoted(HOSTILE_TABLE)}': 20000,
            "public.parent": 1,
            "public.child": 2,
            "public.slice": 1,
            "public.changing": 10,
        }
        if name == "shop"
        else {}
    )
    postgresql.restore_into_scratch(str(path), record, str(tmp_path), server.options)
    assert databases(server) == []


def test_rows_that_are_added_while_it_dumps_do_no_harm(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Part.write

    def change_and_write(part: Part, folder: str, compression: Compression) -> tuple[Record, list[str]]:
        # The rows are counted now, and the dump has not begun.
        server.say("insert into changing values (11), (12)", "--dbname=shop")
        return write(part, folder, compression)

    monkeypatch.setattr(Part, "write", change_and_write)
    try:
        path, record = dumped(tmp_path, server.options, "shop", count_rows=True)
    finally:
        server.say("delete from changing where a > 10", "--dbname=shop")
    assert record["rows"]["public.changing"] == 10
    postgresql.restore_into_scratch(str(path), record, str(tmp_path), server.options)


def test_a_row_too_few_is_found_and_the_scratch_database_is_gone(server: Server, tmp_path: Path) -> None:
    path, record = dumped(tmp_path, server.options, "shop", count_rows=True)
    record["rows"]["public.child"] = 3
    expected = "the table 'public.child' had 3 rows, and has 2 after the dump was restored"
    with pytest.raises(database.Damage, match=f"^{expected}$"):
        postgresql.restore_into_scratch(str(path), record, str(tmp_path), server.options)
    record["rows"] = {"public.lost": 1}
    with pytest.raises(database.Damage, match="is not there after"):
        postgresql.restore_into_scratch(str(path), record, str(tmp_path), server.options)
    assert databases(server) == []


def cut(content: bytes) -> bytes:
    return content[: len(content) * 6 // 10]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped])
def test_a_damaged_dump_is_found(damage: Callable[[bytes], bytes], server: Server, tmp_path: Path) -> None:
    path, record = dumped(tmp_path, server.options, "shop")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(database.Damage, match="pg_restore ended with 1"):
        postgresql.read(str(path), record, str(tmp_path))
    with pytest.raises(database.Damage, match="pg_restore ended with 1"):
        postgresql.restore_into_scratch(str(path), record, str(tmp_path), server.options)
    assert databases(server) == []


@pytest.mark.parametrize("method", ["gzip", "none"])
def test_roles_keep_their_passwords_and_a_cut_is_found(method: str, server: Server, tmp_path: Path) -> None:
    part = PostgreSQL(server.options).parts()[0]
    record, warnings = part.write(str(tmp_path), Compression(method))
    assert warnings == []
    path = tmp_path / record["name"]
    if method == "none":
        assert "ALTER ROLE limited" in path.read_text()
        assert "PASSWORD 'SCRAM-SHA-256$" in path.read_text()
    postgresql.read(str(path), record, str(tmp_path))
    path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(database.Damage):
        postgresql.read(str(path), record, str(tmp_path))


def test_a_dump_that_cannot_be_restored_is_found_and_its_statements_stay_secret(server: Server, tmp_path: Path) -> None:
    if not server.say("select 1 from pg_available_extensions where name = 'postgres_fdw'"):
        pytest.skip("needs postgres_fdw of the package postgresql-contrib")
    server.say("create database remote")
    server.say(
        "create extension postgres_fdw; create server s foreign data wrapper postgres_fdw; create role gone superuser;"
        "create user mapping for gone server s options (password 'pw-of-mapping')",
        "--dbname=remote",
    )
    try:
        path, record = dumped(tmp_path, server.options, "remote")
        server.say("drop owned by gone; drop role gone", "--dbname=remote")
        with pytest.raises(database.Damage, match=r'^pg_restore ended with 1: .*role "gone" does not exist') as raised:
            postgresql.restore_into_scratch(str(path), record, str(tmp_path), server.options)
        assert "pw-of-mapping" not in str(raised.value)
    finally:
        server.say("drop database remote")
    assert databases(server) == []


def test_a_role_without_rights_does_what_it_may(server: Server, password_file: Path, tmp_path: Path) -> None:
    options = limited(server, password_file)
    first, second = PostgreSQL(options, count_rows=True).parts()
    record, warnings = first.write(str(tmp_path), Compression("none"))
    assert warnings == ["globals.sql has no passwords of roles, as this user may not read them: use a superuser"]
    assert "SCRAM" not in (tmp_path / record["name"]).read_text()
    record, warnings = second.write(str(tmp_path), GZIP)
    assert record["rows"] == {"own.things": 2}
    postgresql.restore_into_scratch(str(tmp_path / record["name"]), record, str(tmp_path), options)
    assert databases(server) == []


def test_the_password_is_in_no_argument(server: Server, password_file: Path) -> None:
    for part in PostgreSQL(limited(server, password_file), count_rows=True).parts():
        shown = [*part.program.argv, *part.program.environment.values()]
        assert not any(PASSWORD in text for text in shown)
        assert part.program.environment["PGPASSFILE"] == str(password_file)


def test_a_dump_that_is_cut_off_is_a_failure_and_shows_no_password(
    server: Server, password_file: Path, tmp_path: Path
) -> None:
    part = PostgreSQL(limited(server, password_file)).parts()[1]
    waiting = "select pid from pg_stat_activity where usename = 'limited' and wait_event_type = 'Lock'"
    lock = "begin; lock table own.things; select 'held';\n"
    with ThreadPoolExecutor() as pool, held([*server.client, "--dbname=plain"], server.user, lock):
        written = pool.submit(part.write, str(tmp_path), GZIP)
        pid = awaited(lambda: server.say(waiting))
        expect_nowhere(PASSWORD)
        server.say(f"select pg_terminate_backend({pid})")
        with pytest.raises(BackupError, match=r"^pg_dump ended with 1: query failed: FATAL: +terminating connection"):
            written.result(FOREVER)


def test_a_wrong_password_is_told_before_anything_is_written(server: Server, password_file: Path) -> None:
    password_file.write_text("*:*:*:limited:wrong\n")
    with pytest.raises(BackupError) as raised:
        PostgreSQL(limited(server, password_file)).parts()
    assert str(raised.value).startswith("PostgreSQL said no: ")
    assert 'password authentication failed for user "limited"' in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_database_that_is_not_there_is_told(server: Server) -> None:
    with pytest.raises(BackupError, match=r'PostgreSQL said no: .*database "nothing" does not exist'):
        PostgreSQL({**server.options, "names": ["nothing"]}).parts()
    with pytest.raises(
        BackupError, match=r"names has 'template1': the databases that this user can see are .*, 'shop'$"
    ):
        PostgreSQL({**server.options, "names": ["shop", "template1"]}).parts()


def test_a_server_that_is_not_there_is_told(server: Server) -> None:
    with pytest.raises(BackupError, match=r"PostgreSQL said no: .*No such file or directory"):
        PostgreSQL({**server.options, "host": "/nowhere"}).parts()


def test_a_password_file_that_others_can_read_is_refused(server: Server, password_file: Path) -> None:
    password_file.chmod(0o640)
    with pytest.raises(BackupError, match=r"which has the mode 0640: give it 0600, as it is a secret$"):
        PostgreSQL(limited(server, password_file))
    with pytest.raises(BackupError, match=r"which cannot be read: No such file or directory$"):
        PostgreSQL(limited(server, password_file.with_name("other")))


def test_options_reach_pg_dump(server: Server, tmp_path: Path) -> None:
    options = {**server.options, "options": ["--exclude-table-data=public.child", "-Tchanging"]}
    path, record = dumped(tmp_path, options, "shop", count_rows=True)
    # What the user left out is not taken for a loss.
    postgresql.restore_into_scratch(str(path), record, str(tmp_path), options)
    del record["partly"]
    with pytest.raises(database.Damage):
        postgresql.restore_into_scratch(str(path), record, str(tmp_path), options)


@pytest.mark.parametrize("option", ["--file=/etc/x", "--fi=/x", "-fx", "-Fp", "--dbname=postgresql://u:p@h/d", "shop"])
def test_options_that_the_backup_sets_are_refused(option: str, server: Server) -> None:
    with pytest.raises(BackupError, match=r"^options has ") as raised:
        PostgreSQL({**server.options, "options": [option]})
    assert "u:p" not in str(raised.value)


def test_what_a_killed_check_has_left_is_dropped(server: Server, tmp_path: Path) -> None:
    server.say("create database inflight_verify_00000001")
    server.say("create database inflight_verify_fffffff0")  # of a check that goes on
    try:
        names = [part.name for part in PostgreSQL(server.options).parts()]
        assert not any(name.startswith("inflight") for name in names)
        path, record = dumped(tmp_path, server.options, "plain")
        postgresql.restore_into_scratch(str(path), record, str(tmp_path), server.options)
        assert databases(server) == ["inflight_verify_fffffff0"]
    finally:
        server.say("drop database inflight_verify_fffffff0")


def test_checks_that_begin_in_the_same_second_do_not_meet() -> None:
    there: list[str] = []

    def make(name: str) -> None:
        if name in there:
            raise BackupError(f'database "{name}" already exists')
        there.append(name)

    with database.scratch([], make, there.remove) as one, database.scratch([], make, there.remove) as other:
        assert there == [one, other]
    assert there == []


def test_a_scratch_database_that_cannot_be_made_is_told_at_once() -> None:
    asked = []

    def make(name: str) -> None:
        asked.append(name)
        raise BackupError("permission denied: no such role exist")

    with pytest.raises(BackupError, match=r"^permission denied"), database.scratch([], make, asked.remove):
        pass
    assert len(asked) == 1


@pytest.mark.skipif(not IS_ROOT, reason="needs root, who becomes another user")
def test_root_becomes_the_user_of_the_database(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # The server lets the system user postgres in alone.
    options = {key: value for key, value in server.options.items() if key != "user"}
    assert PostgreSQL(options).parts()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BackupError, match="PostgreSQL said no: "):
        PostgreSQL(options).parts()
