# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Dumps of PostgreSQL: made with pg_dump, read and restored with pg_restore.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import json
import os
import pwd
import re
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup import database
from ansible_collections.inflight.jobs.plugins.module_utils._backup.database import Conversation, Options, Rows, Tool
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Compression, Part, Record
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import End, find, run

KIND = "pg_dump"
GLOBALS = "globals"

_PACKAGE = "postgresql-client"
_GLOBALS_END = b"-- PostgreSQL database cluster dump complete"

# Seconds to wait for a server that does not answer.
_CONNECT_TIMEOUT = 30

# Of pg_dump: --dbname, --file, --format, --jobs, --snapshot, --no-password and --password.
_FORBIDDEN = ("--dbname", "-d", "--file", "-f", "--format", "-F", "--jobs", "-j", "--snapshot", "--password", "-W")

# What pg_dump sets as well: a policy that hides rows must be an error.
_SETTINGS = "set row_security = off;\nset statement_timeout = 0;\n"

# What is asked of a server. A role that may not read the passwords can make a backup without them.
_LOOK = """
select json_build_object(
    'databases', (select json_agg(datname order by datname) from pg_database where datallowconn and not datistemplate),
    'version', current_setting('server_version_num')::int,
    'superuser', (select rolsuper from pg_roles where rolname = current_user),
    'passwords', has_table_privilege('pg_catalog.pg_authid', 'select'));
"""

# A query for each table whose rows are in a dump: none of extensions, which make their tables themselves.
_COUNT = """
select format('select json_build_array(%L, count(*)) from only %s', name, name)
from (
    select format('%I.%I', n.nspname, c.relname) as name
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relpersistence <> 't'
        and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and not exists (
            select from pg_catalog.pg_depend d
            where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
) as tables \\gexec
"""


class _Server:
    """What _LOOK finds out, and over which database."""

    def __init__(self, entry: str, found: Record) -> None:
        self.entry = entry
        self.databases: list[str] = found["databases"] or []
        self.version: int = found["version"]
        self.is_superuser = bool(found["superuser"])
        self.may_read_passwords = bool(found["passwords"])


class PostgreSQL:
    """The databases of a PostgreSQL server.

    Without a credentials_file, root reaches a server over its socket as the system user that has the name of the
    database user: postgres, when none is given.
    """

    def __init__(self, options: Options, count_rows: bool = False) -> None:
        """
        :param count_rows: whether to count the rows of the tables as they are dumped, for restore_into_scratch. The
            dump then waits until they are counted.
        :raises BackupError: when the options make no sense.
        """
        self._options = options
        self._count_rows = count_rows
        self._extra = database.dump_options(options, _FORBIDDEN)
        credentials = database.credentials_file(options)
        host = options.get("host") or options.get("socket")
        self._environment = {"PGCONNECT_TIMEOUT": str(_CONNECT_TIMEOUT), "PGAPPNAME": "inflight_backup"}
        self._prefix: list[str] = []
        user = options.get("user")
        if credentials:
            self._environment["PGPASSFILE"] = credentials
        elif os.geteuid() == 0 and (not host or host.startswith("/")):
            user = user or "postgres"
            self._become(user)
        given = {"PGHOST": host, "PGPORT": options.get("port"), "PGUSER": user}
        self._environment.update({key: str(value) for key, value in given.items() if value})

    def _become(self, user: str) -> None:
        """Have the programs run as a system user, where there is one of this name."""
        try:
            found = pwd.getpwnam(user)
        except KeyError:
            return
        # That user may not be in the folder of root, which some of the programs complain about.
        enter = ["/bin/sh", "-c", 'cd / && exec "$@"', "sh"]
        self._prefix = [
            find("setpriv", "util-linux"),
            f"--reuid={found.pw_uid}",
            f"--regid={found.pw_gid}",
            "--clear-groups",
            *enter,
        ]
        self._environment["HOME"] = found.pw_dir

    def _tool(self, argv: t.Sequence[str], name: str, text: str = "", **environment: str) -> Tool:
        """A program that reaches this server.

        :param name: of the database. As a variable it is never taken for anything else than a name.
        """
        argv = [find(argv[0], _PACKAGE), *argv[1:], "--no-password"]
        return Tool(argv, {**self._environment, **environment, "PGDATABASE": name}, text, self._prefix)

    def _psql(self, name: str, text: str = "") -> Tool:
        options = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]
        return self._tool(["psql", *options], name, text, PGCLIENTENCODING="UTF8")

    def _ask(self, name: str, text: str) -> list[str]:
        """
        :returns: the lines of the answer.
        """
        try:
            answer = run(self._psql(name, _SETTINGS + text))
        except BackupError as ex:
            raise BackupError(f"PostgreSQL said no: {_plain(str(ex))}") from ex
        # A name may have characters that splitlines takes for the end of a line.
        return answer.rstrip("\n").split("\n") if answer else []

    def _look(self) -> _Server:
        """
        :raises BackupError: when the server cannot be reached, or refuses.
        """
        names = self._options.get("names") or ()
        entry = names[0] if names else "postgres"
        try:
            answer = self._ask(entry, _LOOK)
        except BackupError as ex:
            if names or "does not exist" not in str(ex):
                raise
            entry = "template1"
            answer = self._ask(entry, _LOOK)
        return _Server(entry, json.loads("".join(answer)))

    def parts(self) -> list[Part]:
        """One with what belongs to no database, as roles, and one for each database.

        :raises BackupError: when the server cannot be reached or refuses, or a database is not there.
        """
        server = self._look()
        names = database.chosen(self._options, server.databases)
        globals_only = ["pg_dumpall", "--globals-only"]
        if not server.may_read_passwords:
            globals_only.append("--no-role-passwords")
        first = _Globals(self._tool(globals_only, server.entry), server.may_read_passwords)
        return [first, *(self._part(name) for name in names)]

    def _part(self, name: str) -> Part:
        dump = self._tool(["pg_dump", "--format=custom", *self._extra], name)
        return _Dump(name, dump, self._psql(name) if self._count_rows else None, partly=bool(self._extra))

    def restore_into_scratch(self, path: str, record: Record) -> None:
        """Restore a dump into a database that is made for it, and compare the rows. That database is always dropped.

        As with every restore, what the constraints of tables call runs with the rights of the user that restores.
        :raises Damage: when it cannot be restored, or something differs; BackupError when this cannot be done.
        """
        server = self._look()
        # The database that a new one is made from must not be in use.
        entry = "postgres" if "postgres" in server.databases else server.entry
        force = " with (force)" if server.version >= 130000 else ""

        def drop(name: str) -> None:
            self._ask(entry, f'drop database if exists "{name}"{force};')

        def make(name: str) -> None:
            self._ask(entry, _create(name, str(record["database"])))

        options = ["--exit-on-error", "--no-publications", "--no-subscriptions"]
        if not server.is_superuser:
            options += ["--no-owner", "--no-privileges", "--no-comments"]
        # A superuser keeps the owners, so that what indexes and views call runs with their rights alone.
        with database.scratch(server.databases, make, drop) as name:
            restore = self._tool(["pg_restore", *options, f"--dbname={name}"], name)
            database.read_through(path, record, restore)
            if record.get("rows") is not None:
                after = _rows(self._ask(name, _COUNT))
                database.compare(record["rows"], after, bool(record.get("partly")))


class _Globals(Part):
    """Roles, with their passwords where that is allowed, and tablespaces."""

    def __init__(self, program: Tool, has_passwords: bool) -> None:
        super().__init__("globals.sql", GLOBALS, program)
        self._has_passwords = has_passwords

    def judge(self, end: End) -> list[str]:
        _expect_success(end)
        if self._has_passwords:
            return []
        return ["globals.sql has no passwords of roles, as this user may not read them: use a superuser"]


class _Dump(Part):
    """A database."""

    def __init__(self, database_name: str, program: Tool, counting: Tool | None, partly: bool) -> None:
        """
        :param counting: a psql, when the rows are to be counted.
        :param partly: whether the dump need not have all tables and rows.
        """
        # It compresses what it writes.
        super().__init__(database.file_name(database_name, ".dump"), KIND, program, compress=False)
        self._database = database_name
        self._dump = program
        self._counting = counting
        self._partly = partly
        self._rows: Rows | None = None

    def write(self, folder: str, compression: Compression) -> tuple[Record, list[str]]:
        if self._counting is None:
            return super().write(folder, compression)
        # The dump sees what this transaction sees, so the rows that are counted in it are those that are dumped.
        with Conversation(self._counting, answers=True) as session:
            session.send(
                _SETTINGS.encode() + b"begin isolation level repeatable read read only;\nselect pg_export_snapshot();\n"
            )
            snapshot = session.line()
            session.send(_COUNT.encode() + b"\\echo end\n")
            self._rows = _rows(iter(session.line, "end"))
            # Whoever wants to change a table waits for this transaction, and the dump would wait for him.
            self.program = self._dump.told(f"--snapshot={snapshot}").told("--lock-wait-timeout=60s")
            return super().write(folder, compression)

    def judge(self, end: End) -> list[str]:
        _expect_success(end)
        return []

    def more(self, end: End) -> Record:
        del end
        return {"database": self._database, "rows": self._rows, "partly": self._partly}


def read(path: str, record: Record, folder: str) -> None:
    """Read a file that was made by a part to its end.

    :raises BackupError: when it is damaged.
    """
    del folder
    if record["kind"] == GLOBALS:
        database.expect_at_end(path, record, _GLOBALS_END)
        return
    # Not --list: that reads the table of contents alone.
    reader = Tool([find("pg_restore", _PACKAGE), "--file=/dev/null"])
    database.read_through(path, record, reader)


def restore_into_scratch(path: str, record: Record, folder: str, options: Options) -> None:
    """Restore a dump into a database that is made for it, and compare the rows; globals are only read.

    :raises BackupError: when something differs, or this cannot be done.
    """
    if record["kind"] == GLOBALS:
        read(path, record, folder)
    else:
        PostgreSQL(options).restore_into_scratch(path, record)


def _expect_success(end: End) -> None:
    if end.exit_code:
        raise BackupError(database.reason(end))


def _rows(lines: t.Iterable[str]) -> Rows:
    return {name: int(rows) for name, rows in map(json.loads, lines)}


def _create(name: str, source: str) -> str:
    """The statements that make a database like another one, which need not be there any more."""
    like = "'" + source.replace("'", "''") + "'"
    return f"""
set standard_conforming_strings = on;
select format('create database {name} template template0 encoding %L lc_collate %L lc_ctype %L',
    pg_encoding_to_char(encoding), datcollate, datctype)
from (
    select 1 as place, encoding, datcollate, datctype from pg_database where datname = {like}
    union all select 2, encoding, datcollate, datctype from pg_database where datname = 'template0'
    order by place limit 1
) as model \\gexec
revoke all on database {name} from public;
"""


def _plain(reason: str) -> str:
    """What the server said, without what psql puts before it."""
    said = re.sub(r"^psql ended with \d+: |psql(:<stdin>:\d+)?: (error: )?", "", reason)
    return " ".join(said.split())
