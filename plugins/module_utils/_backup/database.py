# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the dumps of all kinds of databases have in common.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import re
import stat
import subprocess
import tempfile
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Record, decompression
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import End, Pipeline, Program, find, start

# What is dumped, as the module's argument spec has it: type, names, host, port, user, credentials_file, socket, options
# and path. What is not there counts as not given.
Options = t.Mapping[str, t.Any]

# How many rows each table has.
Rows = t.Dict[str, int]

# The last line of a dump is looked for in so many bytes at its end.
_TAIL = 1024

# The longest name of a file is 255 bytes, with all suffixes.
_LONGEST_NAME = 200

# Scratch databases older than this are left from a check that was killed.
_SCRATCH_MAX_AGE = 86400
_SCRATCH = re.compile(r"inflight_verify_([0-9a-f]{8})")


class Damage(BackupError):
    """A file of a backup is not what it should be. Any other BackupError says that this could not be found out."""


class Tool(Program):
    """A program of a database, which messages call by its own name whatever it is started by."""

    def __init__(
        self,
        argv: t.Sequence[str],
        environment: t.Mapping[str, str] | None = None,
        text: str = "",
        prefix: t.Sequence[str] = (),
    ) -> None:
        """
        :param text: what it reads.
        :param prefix: the command that starts it.
        """
        super().__init__([*prefix, *argv], environment, text.encode("utf-8", "surrogateescape"))
        self._tool = os.path.basename(argv[0])

    @property
    def name(self) -> str:
        return self._tool

    def told(self, argument: str) -> Tool:
        """The same with one more argument."""
        other = copy.copy(self)
        other.argv = [*self.argv, argument]
        return other


class Conversation:
    """A program that lives as long as it is talked to. To be used in a with statement.

    Leaving it closes its pipes, by which it ends.
    """

    _process: subprocess.Popen[bytes]
    _complaints: t.IO[bytes]

    def __init__(self, program: Program, answers: bool) -> None:
        """
        :param answers: whether what it writes is read.
        """
        self._program = program
        self._answers = answers

    def __enter__(self) -> Conversation:
        # A file and no pipe: nobody reads it while it is talked to.
        self._complaints = tempfile.TemporaryFile()
        try:
            self._process = start(
                [find(self._program.argv[0]), *self._program.argv[1:]],
                env={**os.environ, "LC_ALL": "C", **self._program.environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self._answers else subprocess.DEVNULL,
                stderr=self._complaints,
            )
        except BaseException:
            self._complaints.close()
            raise
        return self

    def send(self, text: bytes) -> None:
        """
        :raises BackupError: when it has ended.
        """
        pipe = t.cast("t.IO[bytes]", self._process.stdin)
        try:
            pipe.write(text)
            pipe.flush()
        except BrokenPipeError:
            raise BackupError(reason(self.end())) from None

    def line(self) -> str:
        """The next line that it writes.

        :raises BackupError: when there is none, as it has ended.
        """
        line = t.cast("t.IO[bytes]", self._process.stdout).readline()
        if not line.endswith(b"\n"):
            raise BackupError(reason(self.end()))
        return line[:-1].decode("utf-8", "surrogateescape")

    def end(self) -> End:
        """Close its pipes, and see how it ended."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        exit_code = self._process.wait()
        self._complaints.seek(0)
        return End(self._program, exit_code, self._complaints.read(_TAIL * 8).decode("utf-8", "replace"))

    def __exit__(self, *dummy: object) -> None:
        self.end()
        self._complaints.close()


def file_name(database: str, suffix: str) -> str:
    """A name for the file of a database that is safe whatever the database is called, and different for each."""
    encoded = database.encode("utf-8", "surrogateescape")
    name = re.sub(rb"[^A-Za-z0-9_.-]", lambda found: b"%%%02X" % found.group()[0], encoded).decode()
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 33]}~{hashlib.sha256(encoded).hexdigest()[:32]}"
    return name + suffix


def credentials_file(options: Options) -> str | None:
    """The path of the file that the password is in.

    :raises BackupError: when it cannot be read, or others can read it.
    """
    path: str | None = options.get("credentials_file")
    return secret_file("credentials_file", path) if path else None


def secret_file(what: str, path: str) -> str:
    """The absolute path of a file with a secret.

    :param what: the option that names it.
    :raises BackupError: when it cannot be read, or others can read it.
    """
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
    except OSError as ex:
        raise BackupError(f"{what} is {path}, which cannot be read: {ex.strerror}") from ex
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise BackupError(f"{what} is {path}, which has the mode {mode:04o}: give it 0600, as it is a secret")
    return os.path.abspath(path)


def dump_options(options: Options, forbidden: t.Collection[str]) -> list[str]:
    """What the user wants the dump program to be told.

    :param forbidden: options that change where the dump goes or what it is, or that hold a secret: --long or -s.
    :raises BackupError: when one of those is among them, or something that is no option.
    """
    given = [str(option) for option in options.get("options") or ()]
    for option in given:
        long = option.startswith("--")
        # What follows may be a secret.
        name = option.split("=", 1)[0] if long else option[:2]
        # The programs take an abbreviation of a long option, and a value right behind a short one.
        bad = any(other.startswith(name) if long else other == name for other in forbidden)
        if not name.startswith("-") or name in ("-", "--"):
            raise BackupError(f"options has {option!r}: each must be an option of the dump program, as --name=value")
        if bad:
            raise BackupError(f"options has {name!r}, which the backup has to set itself: leave it out")
    return given


def chosen(options: Options, there: t.Sequence[str]) -> list[str]:
    """The names of the databases to dump.

    :param there: those that the server has.
    :raises BackupError: when one of those that were asked for is not among them.
    """
    names = list(dict.fromkeys(options.get("names") or ()))
    for name in names:
        if name not in there:
            known = ", ".join(map(repr, sorted(there)[:10])) or "none"
            raise BackupError(f"names has {name!r}: the databases that this user can see are {known}")
    return names or [name for name in there if not _SCRATCH.fullmatch(name)]


def programs(record: Record, *readers: Program) -> list[Program]:
    """The programs that read a file of a backup."""
    return [*decompression(record["compression"]), *readers] or [Program(["cat"])]


def read_through(path: str, record: Record, *readers: Program) -> None:
    """Have programs read a file of a backup to its end.

    :raises Damage: when one of them fails.
    """
    with Pipeline(programs(record, *readers), source=path) as pipeline:
        for dummy in pipeline.chunks():
            pass
    expect_success(pipeline)


def expect_success(pipeline: Pipeline) -> None:
    """
    :raises Damage: when one of its programs failed.
    """
    for end in reversed(pipeline.ends):
        if end.exit_code:
            raise Damage(reason(end))


def reason(end: End) -> str:
    """Why a program failed, in a sentence without a full stop.

    Those of PostgreSQL tell it first, and then the statement, which may have a password in it.
    """
    lines = end.complaints.splitlines()
    first = next((number for number, line in enumerate(lines) if "error: " in line), None)
    if first is None or end.exit_code < 0:
        return end.reason()
    said: list[str] = []
    for line in lines[first : first + 3]:
        if "Command was:" in line or "Query was:" in line:
            break
        said.append(line)
    text = " ".join(" ".join(said).split())
    return f"{end.program.name} ended with {end.exit_code}: {text.split('error: ', 1)[1]}"


def expect_at_end(path: str, record: Record, mark: bytes) -> None:
    """Read a dump that is text to its end.

    :param mark: the beginning of the line that a whole dump ends with. Others may follow.
    :raises Damage: when it is not there, or the dump cannot be read.
    """
    tail = b""
    with Pipeline(programs(record), source=path) as pipeline:
        for chunk in pipeline.chunks():
            tail = (tail + chunk)[-_TAIL:]
    expect_success(pipeline)
    if b"\n" + mark not in tail:
        raise Damage(f"the dump is not whole: it does not end with {mark.decode()!r}")


def compare(before: Rows, after: Rows, partly: bool) -> None:
    """
    :param before: the rows that were in the tables when they were dumped.
    :param after: those that there are when the dump was restored.
    :param partly: whether the dump need not have all tables and rows, as it was made with options of the user.
    :raises Damage: when there is a difference.
    """
    for table, rows in sorted(before.items()):
        restored = after.get(table)
        if restored != rows and not (partly and not restored):
            got = "is not there" if restored is None else f"has {restored}"
            raise Damage(f"the table {table!r} had {rows} rows, and {got} after the dump was restored")


@contextlib.contextmanager
def scratch(there: t.Iterable[str], make: t.Callable[[str], None], drop: t.Callable[[str], None]) -> t.Iterator[str]:
    """The name of a database that is made for a check, and dropped whatever happens.

    Those that a killed check has left are dropped as well.
    :param there: the databases that the server has.
    :raises BackupError: when it cannot be made; or dropped, when nothing else went wrong.
    """
    for old in _abandoned(there):
        with contextlib.suppress(BackupError):
            drop(old)
    # It tells when it was made. Another check may have begun in the same second.
    now = int(time.time())
    names = (f"inflight_verify_{moment:08x}" for moment in range(now, now + 10))
    name = next((name for name in names if _made(name, make)), None)
    if name is None:
        raise BackupError("no scratch database can be made: there are those of ten other checks")
    try:
        yield name
    except BaseException:
        with contextlib.suppress(BackupError):
            drop(name)
        raise
    drop(name)


def _made(name: str, make: t.Callable[[str], None]) -> bool:
    """Whether it was not there before."""
    try:
        make(name)
    except BackupError as ex:
        if not re.search(r"\bexists\b", str(ex)):
            raise
        return False
    return True


def _abandoned(there: t.Iterable[str]) -> list[str]:
    found = ((name, _SCRATCH.fullmatch(name)) for name in there)
    return [name for name, match in found if match and time.time() - int(match.group(1), 16) > _SCRATCH_MAX_AGE]
