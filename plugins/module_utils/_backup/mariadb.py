# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Dumps of MariaDB and MySQL.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import re
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup import database
from ansible_collections.inflight.jobs.plugins.module_utils._backup.database import (
    Conversation,
    Damage,
    Options,
    Rows,
    Tool,
)
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Compression, Part, Record
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import End, Pipeline, find, run

KIND = "sql"

_PACKAGE = "mariadb-client"
_END = b"-- Dump completed"

# Databases that a server makes itself. The one that is called mysql holds the users.
_VIRTUAL = ("information_schema", "performance_schema", "sys")
_SYSTEM = "mysql"

# Of the dump program: what changes the kind of the dump or where it goes, and passwords.
_FORBIDDEN = (
    *(
        "--all-databases",
        "-A",
        "--comments",
        "--compact",
        "--databases",
        "-B",
        "--defaults-extra-file",
        "--events",
        "-E",
    ),
    *("--password", "-p", "--result-file", "-r", "--skip-comments", "--tab", "-T", "--xml", "-X"),
)

# Those whose rows a dump does not see as they were at one moment.
_NOT_TRANSACTIONAL = ("MyISAM", "Aria", "MEMORY", "CSV", "ARCHIVE", "MRG_MyISAM")

# The longest row that may be dumped or restored: the largest that there is.
_PACKET = "--max-allowed-packet=1G"

# Seconds after which a table that nobody changed counts as one at rest: the server tells whole seconds.
_REST = 2


class MariaDB:
    """The databases of a MariaDB or MySQL server."""

    def __init__(self, options: Options, count_rows: bool = False) -> None:
        """
        :param count_rows: whether to count the rows of tables, for restore_into_scratch, before and after the dump.
        :raises BackupError: when the options make no sense.
        """
        self._options = options
        self._count_rows = count_rows
        self._extra = database.dump_options(options, _FORBIDDEN)
        credentials = database.credentials_file(options)
        # It must be the first argument. Without it the files of the client are read, as the .my.cnf of the user.
        self._login = [f"--defaults-extra-file={credentials}"] if credentials else []
        for name in ("host", "port", "user", "socket"):
            if options.get(name):
                self._login.append(f"--{name}={options[name]}")

    def _client(self, *arguments: str, text: str = "") -> Tool:
        options = ["--batch", "--skip-column-names", "--default-character-set=utf8mb4", _PACKET]
        return Tool([_either("mariadb", "mysql"), *self._login, *options, *arguments], text=text)

    def ask(self, text: str) -> list[list[str]]:
        """The rows of the answer to some statements. What may hold anything must be asked for as hexadecimal digits.

        :raises BackupError: when the server cannot be reached, or refuses.
        """
        try:
            answer = run(self._client(text=text))
        except BackupError as ex:
            raise BackupError(f"MariaDB said no: {_plain(str(ex))}") from ex
        return [line.split("\t") for line in answer.split("\n") if line]

    def parts(self) -> list[Part]:
        """One for each database, and one more for those that have events.

        :raises BackupError: when the server cannot be reached or refuses, or a database is not there.
        """
        hidden = ", ".join(f"'{name}'" for name in _VIRTUAL)
        found = {
            _text(name): {"character_set": character_set, "collation": collation}
            for name, character_set, collation in self.ask(
                "select hex(schema_name), default_character_set_name, default_collation_name "
                f"from information_schema.schemata where lower(schema_name) not in ({hidden}) order by schema_name;"
            )
        }
        engines = ", ".join(f"'{engine}'" for engine in _NOT_TRANSACTIONAL)
        unsafe = {
            _text(name): int(tables)
            for name, tables in self.ask(
                "select hex(table_schema), count(*) from information_schema.tables "
                f"where engine in ({engines}) and table_type = 'BASE TABLE' group by table_schema;"
            )
        }
        program = _either("mariadb-dump", "mysqldump")
        common = [program, *self._login, "--single-transaction", "--quick", "--hex-blob", "--no-tablespaces"]
        common += ["--default-character-set=utf8mb4", _PACKET]
        if "MariaDB" not in run(Tool([program, "--version"])):
            # A dump that sets the identity of the server could not be restored on it.
            common.append("--set-gtid-purged=OFF")
        parts: list[Part] = []
        for name in database.chosen(self._options, list(found)):
            about = {"database": name, **found[name]}
            dump = Tool([*common, "--routines", "--triggers", *self._extra, "--", name])
            server = self if self._count_rows and name != _SYSTEM else None
            tables = 0 if name == _SYSTEM else unsafe.get(name, 0)
            parts.append(_Dump(name, dump, about, server=server, unsafe=tables, partly=bool(self._extra)))
            # Apart from the rest, so that restoring this for a check does not start a second set of them.
            if self.ask(f"set @q = concat('show events from ', {_quoted(name)}); prepare q from @q; execute q;"):
                only = ["--events", "--no-data", "--no-create-info", "--skip-triggers", "--", name]
                parts.append(_Events(name, Tool([*common, *only]), about))
        return parts

    def rows(self, name: str, only: t.Collection[str] | None = None) -> Rows:
        """How many rows the tables of a database have.

        :param only: the tables to count, when not all.
        """
        tables = [
            _text(table)
            for (table,) in self.ask(
                "select hex(table_name) from information_schema.tables "
                f"where {_is_schema(name)} and table_type = 'BASE TABLE';"
            )
        ]
        script = "".join(
            f"set @q = concat('select count(*) from ', {_quoted(name)}, '.', {_quoted(table)}); "
            "prepare q from @q; execute q;\n"
            for table in tables
            if only is None or table in only
        )
        counted = [table for table in tables if only is None or table in only]
        return {table: int(count) for table, (count,) in zip(counted, self.ask(script) if script else [])}

    def at_rest(self, name: str) -> dict[str, str]:
        """The tables of a database that nobody has changed for a while, and when somebody did."""
        return {
            _text(table): changed
            for table, changed in self.ask(
                # MySQL remembers for a day what it tells of tables.
                "/*!80000 set session information_schema_stats_expiry = 0 */;\n"
                "select hex(table_name), ifnull(update_time, '') from information_schema.tables "
                f"where {_is_schema(name)} and table_type = 'BASE TABLE' "
                f"and (update_time is null or update_time < now() - interval {_REST} second);"
            )
        }

    def restore_into_scratch(self, path: str, record: Record) -> None:
        """Restore a dump into a database that is made for it, and compare the rows. That database is always dropped.

        :raises Damage: when it cannot be restored, or something differs; BackupError when this cannot be done.
        """
        there = [_text(name) for (name,) in self.ask("select hex(schema_name) from information_schema.schemata;")]
        quiet = self._unreplicated()
        begin = f"{quiet};\n" if quiet else ""

        def drop(name: str) -> None:
            self.ask(f"{begin}drop database if exists {name};")

        def make(name: str) -> None:
            like = f"character set {_word(record['character_set'])} collate {_word(record['collation'])}"
            self.ask(f"{begin}create database {name} {like};")

        with database.scratch(there, make, drop) as name:
            # In binary mode the client takes nothing in a dump for a command to itself.
            client = self._client("--binary-mode", *([f"--init-command={quiet}"] if quiet else []), name)
            source = Pipeline(database.programs(record), source=path)
            with source as pipeline, Conversation(client, answers=False) as session:
                try:
                    for chunk in _renamed(pipeline.chunks(), str(record["database"]), name):
                        session.send(chunk)
                    session.end().expect_success()
                except BackupError as ex:
                    raise Damage(f"it cannot be restored: {_plain(str(ex))}") from ex
            database.expect_success(pipeline)
            if record.get("rows") is not None:
                database.compare(record["rows"], self.rows(name), bool(record.get("partly")))

    def _unreplicated(self) -> str:
        """The statement by which the replicas of this server are spared, where this user may say it."""
        statement = "set session sql_log_bin = 0"
        try:
            self.ask(f"{statement};")
        except BackupError:
            return ""
        return statement


class _Dump(Part):
    """A database, without its events."""

    def __init__(
        self, database_name: str, program: Tool, about: Record, *, server: MariaDB | None, unsafe: int, partly: bool
    ) -> None:
        """
        :param server: asked for the numbers of rows, when they are to be counted.
        :param unsafe: how many tables are not transactional.
        :param partly: whether the dump need not have all tables and rows.
        """
        super().__init__(database.file_name(database_name, ".sql"), KIND, program)
        self._database = database_name
        self._about = about
        self._server = server
        self._unsafe = unsafe
        self._partly = partly
        self._rows: Rows | None = None

    def write(self, folder: str, compression: Compression) -> tuple[Record, list[str]]:
        if self._server is None:
            return super().write(folder, compression)
        # No two connections can see the same moment, so that only tables count which nobody changes meanwhile.
        resting = self._server.at_rest(self._database)
        before = self._server.rows(self._database, resting)
        record, warnings = super().write(folder, compression)
        after = self._server.at_rest(self._database)
        record["rows"] = {table: rows for table, rows in before.items() if after.get(table) == resting[table]}
        return record, warnings

    def judge(self, end: End) -> list[str]:
        end.expect_success()
        if not self._unsafe:
            return []
        tables = "1 table is" if self._unsafe == 1 else f"{self._unsafe} tables are"
        where = f"{tables} not transactional in the database {self._database!r}"
        return [f"{where}: what changed there during the dump may not fit the rest, convert to InnoDB"]

    def more(self, end: End) -> Record:
        del end
        return {**self._about, "events": False, "rows": None, "partly": self._partly}


class _Events(Part):
    """The events of a database."""

    def __init__(self, database_name: str, program: Tool, about: Record) -> None:
        # No other database has a plus sign in the name of its file.
        super().__init__(database.file_name(database_name, "+events.sql"), KIND, program)
        self._about = about

    def more(self, end: End) -> Record:
        del end
        return {**self._about, "events": True}


def read(path: str, record: Record, folder: str) -> None:
    """Read a dump to its end.

    :raises BackupError: when it is damaged.
    """
    del folder
    database.expect_at_end(path, record, _END)


def restore_into_scratch(path: str, record: Record, folder: str, options: Options) -> None:
    """Restore a dump into a database that is made for it, and compare the rows; events are only read.

    :raises BackupError: when something differs, or this cannot be done.
    """
    read(path, record, folder)
    if not record.get("events"):
        MariaDB(options).restore_into_scratch(path, record)


def _either(name: str, old_name: str) -> str:
    """The path of the program, which MySQL and an old MariaDB have under another name."""
    try:
        return find(name, _PACKAGE)
    except BackupError:
        return find(old_name, _PACKAGE)


def _renamed(chunks: t.Iterable[bytes], old: str, new: str) -> t.Iterator[bytes]:
    """A dump, with another name in the statements that set the character set of its database.

    These are there for routines that were made with another one. They would change the database that was dumped.
    """
    quoted = old.replace("`", "``").encode("utf-8", "surrogateescape")
    wanted = b"\nALTER DATABASE `" + quoted + b"` CHARACTER SET "
    instead = b"\nALTER DATABASE `" + new.encode() + b"` CHARACTER SET "
    held = b""
    for chunk in chunks:
        held = (held + chunk).replace(wanted, instead)
        # The end may be the beginning of what is looked for.
        yield held[: max(0, len(held) - len(wanted) + 1)]
        held = held[max(0, len(held) - len(wanted) + 1) :]
    yield held


def _text(digits: str) -> str:
    return bytes.fromhex(digits).decode("utf-8", "surrogateescape")


def _literal(text: str) -> str:
    """A name in a statement, whatever is in it."""
    return f"convert(0x{text.encode('utf-8', 'surrogateescape').hex()} using utf8mb4)"


def _is_schema(name: str) -> str:
    """A condition on information_schema.tables, which takes names for the same that differ in their case alone."""
    return f"table_schema = {_literal(name)} and binary table_schema = binary {_literal(name)}"


def _quoted(name: str) -> str:
    """An expression that is the name between backquotes."""
    return f"concat('`', replace({_literal(name)}, '`', '``'), '`')"


def _word(text: object) -> str:
    """
    :raises BackupError: when it is not the name of a character set or of a collation.
    """
    if not re.fullmatch(r"\w+", str(text), re.ASCII):
        raise BackupError(f"{text!r} is no character set: the manifest is damaged")
    return str(text)


def _plain(reason: str) -> str:
    """What the server said, without the statement that it was said to: that may have anything from a table in it."""
    found = re.search(r"ERROR \d+ \(\w+\).*", reason, re.DOTALL)
    return " ".join((found.group() if found else reason).split())
