# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Programs of which each reads what the one before it writes, with the exit code of every one.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError

CHUNK = 256 * 1024
# Of what a program complains about, so much of the beginning and of the end is kept.
KEPT = 8 * 1024
# When a program has ended, another one that it started may still have its pipes: so many seconds are they waited for.
_LINGER = 5.0

# Programs of the administrator are not always on the PATH of a background job.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


class Program:
    """A program to run.

    argv: its name and arguments, with nothing secret in them. environment: variables beside those that are there.
    input: what it reads from its standard input, when it is the first one; nothing when left out.
    """

    def __init__(
        self,
        argv: t.Sequence[str],
        environment: t.Mapping[str, str] | None = None,
        input: bytes = b"",  # noqa: A002
    ) -> None:
        self.argv = [*argv]
        self.environment = dict(environment or {})
        self.input = input

    @property
    def name(self) -> str:
        """The name that messages call it by."""
        return os.path.basename(self.argv[0])


class End:
    """How a program ended.

    exit_code: minus the number of the signal that killed it. complaints: its standard error; of a long one the
    beginning and the end. lines: how many lines it wrote to the pipe that counts, None if it had none.
    """

    def __init__(self, program: Program, exit_code: int, complaints: str, lines: int | None = None) -> None:
        self.program = program
        self.exit_code = exit_code
        self.complaints = complaints
        self.lines = lines

    def reason(self) -> str:
        """Why it failed, in a sentence without a full stop."""
        how = f"was killed by signal {-self.exit_code}" if self.exit_code < 0 else f"ended with {self.exit_code}"
        said = " / ".join(self.complaints.strip().splitlines()[-3:])
        return f"{self.program.name} {how}" + (f": {said}" if said else "")

    def expect_success(self) -> None:
        """
        :raises BackupError: when the exit code is not 0.
        """
        if self.exit_code:
            raise BackupError(self.reason())


def find(name: str, package: str | None = None) -> str:
    """The path of a program.

    :param package: the package that it is in, as most distributions call it; the name of the program when left out.
    :raises BackupError: when it is not there.
    """
    path = shutil.which(name, path=_PATH)
    if path is None:
        raise BackupError(f"{name} is not on this host: install the package {package or name}")
    return path


def start(argv: t.Sequence[str], **options: t.Any) -> subprocess.Popen[bytes]:
    """Start a program; all programs are started here.

    :param options: as subprocess.Popen takes them.
    """
    # run_command of AnsibleModule would keep all that a program writes in memory, and has no pipe to the next one.
    return subprocess.Popen(argv, **options)  # pylint: disable=ansible-bad-function


class Complaints(threading.Thread):
    """Reads the standard error of a program to its end."""

    def __init__(self, pipe: t.IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._first = b""
        self._last = b""
        self.start()

    def run(self) -> None:
        for chunk in iter(lambda: self._pipe.read1(CHUNK), b""):  # type: ignore[attr-defined]
            room = KEPT - len(self._first)
            self._first += chunk[:room]
            self._last = (self._last + chunk[room:])[-KEPT:] if len(chunk) > room else self._last
        self._pipe.close()

    def text(self) -> str:
        """What it wrote. To be called when the program has ended."""
        self.join(_LINGER)
        return (self._first + self._last).decode("utf-8", "replace")


class LineCount(threading.Thread):
    """A pipe that counts the lines that are written to it.

    path: what a program opens to write to it.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._reader, self.writer = os.pipe()
        self.path = f"/dev/fd/{self.writer}"
        self._lines = 0
        self.start()

    def run(self) -> None:
        with open(self._reader, "rb", buffering=0) as pipe:
            for chunk in iter(lambda: pipe.read(CHUNK), b""):
                self._lines += chunk.count(b"\n")

    def lines(self) -> int:
        """How many lines there were. To be called when the programs have ended."""
        if self.writer >= 0:  # the number may be that of another file by now
            os.close(self.writer)
            self.writer = -1
        self.join()
        return self._lines


class Pipeline:
    """Runs programs, of which each reads what the one before it writes. To be used in a with statement.

    Leaving it early closes the pipes, by which all of the programs end.
    """

    def __init__(
        self, programs: t.Sequence[Program], source: str | None = None, counter: LineCount | None = None
    ) -> None:
        """
        :param source: a file that the first program reads.
        :param counter: given to all programs, so that one of them can write to it.
        """
        self._programs = programs
        self._source = source
        self._counter = counter
        self._running: list[subprocess.Popen[bytes]] = []
        self._complaints: list[Complaints] = []
        self._feeder: threading.Thread | None = None
        self._closed = False
        self.ends: list[End] = []

    def __enter__(self) -> Pipeline:
        first = self._programs[0]
        opened = None
        try:
            paths = [find(program.argv[0]) for program in self._programs]
            opened = open(self._source, "rb") if self._source else None
            given: t.Any = opened or (subprocess.PIPE if first.input else subprocess.DEVNULL)
            for path, program in zip(paths, self._programs):
                process = self._start(path, program, given)
                self._running.append(process)
                self._complaints.append(Complaints(t.cast("t.IO[bytes]", process.stderr)))
                if len(self._running) > 1:
                    given.close()  # else the program before would not notice that this one has ended
                given = process.stdout
        except BaseException:
            self.close()
            raise
        finally:
            if opened:
                opened.close()
        if first.input:
            self._feeder = threading.Thread(target=self._feed, args=(first.input,), daemon=True)
            self._feeder.start()
        return self

    def _start(self, path: str, program: Program, given: t.Any) -> subprocess.Popen[bytes]:
        try:
            return start(
                [path, *program.argv[1:]],
                env={**os.environ, "LC_ALL": "C", **program.environment},
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[self._counter.writer] if self._counter else [],
            )
        except OSError as ex:
            raise BackupError(f"{program.name} cannot be run: {ex.strerror}") from ex
        except ValueError as ex:
            raise BackupError(f"{program.name} cannot be run: there is a null byte in its arguments") from ex

    def _feed(self, text: bytes) -> None:
        with contextlib.suppress(BrokenPipeError), t.cast("t.IO[bytes]", self._running[0].stdin) as pipe:
            pipe.write(text)

    @property
    def _output(self) -> t.IO[bytes]:
        return t.cast("t.IO[bytes]", self._running[-1].stdout)

    def chunks(self) -> t.Iterator[bytes]:
        """What the last program writes, and then wait for all of them."""
        while True:
            chunk = os.read(self._output.fileno(), CHUNK)
            if not chunk:
                break
            yield chunk
        self.close()

    def close(self) -> None:
        """Close the pipes, and wait for all programs."""
        if self._closed:
            return
        if self._running and self._running[0].stdin and not self._feeder:
            self._running[0].stdin.close()  # else it would wait for what it was to read
        for process in self._running:
            with contextlib.suppress(OSError):
                t.cast("t.IO[bytes]", process.stdout).close()
        exit_codes = [process.wait() for process in self._running]
        lines = self._counter.lines() if self._counter else None
        if self._feeder:
            self._feeder.join(_LINGER)
        self.ends = [
            End(program, exit_code, complaints.text(), lines)
            for program, exit_code, complaints in zip(self._programs, exit_codes, self._complaints)
        ]
        self._closed = True

    def __exit__(self, *dummy: object) -> None:
        self.close()


def run(program: Program, source: str | None = None, limit: int = 16 * 1024 * 1024) -> str:
    """What a program writes to its standard output, as text.

    :param limit: the number of bytes after which it is too much.
    :raises BackupError: when it is not there, fails, or writes too much.
    """
    output = bytearray()
    with Pipeline([program], source) as pipeline:
        for chunk in pipeline.chunks():
            output += chunk
            if len(output) > limit:
                raise BackupError(f"{program.name} wrote more than {limit} bytes")
    pipeline.ends[0].expect_success()
    return output.decode("utf-8", "surrogateescape")
