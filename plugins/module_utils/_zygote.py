# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A process that has loaded a module once and forks a run of it for each job; or that starts each run from nothing.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import ast
import atexit
import contextlib
import gc
import importlib
import importlib.util
import os
import select
import shlex
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
import traceback
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import (
    _attempt,
    _batch_folder,
    _jobs,
    _output,
    _processes,
)

# Read by the interpreter or the C library when a process starts: a job that sets one of them needs a new process.
_READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "DYLD_")

# How often, and after how many seconds each time, to try again where no process can be started.
FORK_TRIES = 50
FORK_PAUSE = 0.1

_ANSIBLE = ("ansible", "ansible_collections")
# The modules whose program is the job itself: what it prints is worth to be seen while it runs.
_COMMANDS = (".command", ".shell")
_MODULES = ("ansible.modules.", "ansible.legacy.", ".plugins.modules.")

# Runs the module of a job in this process; returns its wait status.
_Run = t.Callable[["Job"], int]


class Payload(t.NamedTuple):
    """A module as core has built it for the host; shared by all jobs that run it.

    kind: zip (an AnsiballZ wrapper in Python, cut in two where its arguments stand), file (a program that takes the
    path of a file with its arguments), or whole (a program with its arguments in it).
    code: the wrapper in two pieces, or the program in one.
    interpreter: what to run it with, words as in a command line; empty for a program that runs by itself.
    warm: whether it may run in the interpreter that runs us.
    """

    kind: str
    code: tuple[bytes, ...]
    interpreter: str
    warm: bool


class Job(t.NamedTuple):
    """A job as the zygote needs it.

    payload: the place of its payload. params: for a zip the JSON text of its arguments, for a file what to write into
    it. environment: variables to set.
    """

    jid: str
    payload: int
    params: str
    environment: dict[str, str]

    @property
    def needs_start(self) -> bool:
        """Whether its environment reaches only a process that is started with it."""
        return any(name.startswith(_READ_AT_START) for name in self.environment)


class Batch(t.NamedTuple):
    """What a batch consists of. Supervisor and zygotes know a job, and a payload, by its place in these lists."""

    directory: _jobs.JobDirectory
    folder: _batch_folder.BatchFolder
    jobs: list[Job]
    payloads: list[Payload]


class Event(t.NamedTuple):
    """What a zygote tells of the job at this place: kind is started (then value is its pid) or ended (then it is what
    Attempt.end returned). Or of itself: ready."""

    kind: str
    place: int
    value: str


class Zygote:
    """The supervisor's end of a zygote."""

    def __init__(self, batch: Batch, warm: int | None) -> None:
        """Fork it.

        :param warm: the place of the payload that it loads; None for one that loads none.
        :raises OSError: when there can be no more processes.
        """
        self.jobs: set[int] = set()
        self.ready = False
        self._buffer = b""
        self.socket, other = socket.socketpair()
        self.pid = _fork()
        if self.pid == 0:
            # Not the lock of the supervisor, and not its ends of other zygotes: they tell by closing that it has died.
            _processes.close_all_but({0, 1, 2, other.fileno(), *batch.directory.descriptors()})
            _in_child(lambda: _Server(other, batch, warm).run())
        other.close()

    def start(self, index: int, attempt: int, last: bool) -> bool:
        """Have a job started; False when the zygote has died."""
        try:
            self.socket.sendall(b"%d %d %d\n" % (index, attempt, last))
        except OSError:
            return False
        self.jobs.add(index)
        return True

    def events(self) -> list[Event] | None:
        """What it says, once its socket is readable; None when it has died."""
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            return None
        lines = (self._buffer + data).split(b"\n")
        self._buffer = lines.pop()
        events = []
        for line in lines:
            kind, index, value = line.decode().split()
            self.ready = True
            if kind != "ready":
                events.append(Event(kind, int(index), value))
            if kind == "ended":
                self.jobs.discard(int(index))
        return events

    def close(self) -> None:
        """Let it go: it leaves when its last job has ended."""
        self.socket.close()


class _Server:
    """The zygote's own end: reads orders, forks, waits for its children."""

    def __init__(self, orders: socket.socket, batch: Batch, warm: int | None) -> None:
        self._orders: socket.socket | None = orders
        self._directory, self._folder, self._jobs, self._payloads = batch
        self._warm = warm
        # Module utils may look at the environment when they are imported: then each job has to do that for itself.
        self._preloads = not any(job.environment for job in batch.jobs if job.payload == warm)
        self._running: dict[int, tuple[int, _attempt.Attempt]] = {}
        self._said: dict[int, str] = {}
        # Each job says here, as the last thing it does, what it became. Not by its exit code: that is the module's.
        self._reports, self._report = os.pipe()
        self._woken, self._wake = os.pipe()
        self._run: _Run | None = None
        self._loaded: set[str] = set()
        self._learned = False
        # Jobs that were forked before that, and so tell what they import.
        self._teachers: set[int] = set()

    def run(self) -> None:
        """Load the module if it is one that can be loaded, then serve."""
        for fd in (self._reports, self._woken, self._wake):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *dummy: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        # It serves until its last job has ended, also when the supervisor is told to go.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(_processes.WAKE, signal.SIG_IGN)
        if self._warm is not None:
            _run_up_to_module(self._payloads[self._warm], self._folder, self._preloads, self._serve_warm)
        self._run = None
        self._serve()

    def _serve_warm(self, run: _Run) -> None:
        if threading.active_count() > 1:
            return  # a fork would copy their locks, and not them
        self._run = run
        self._serve()

    def _serve(self) -> None:
        self._settle_down()
        self._tell("ready", 0, "-")
        pending = b""
        while self._orders is not None or self._running:
            waited_for: list[t.Any] = [self._woken, *([self._orders] if self._orders else [])]
            ready = select.select(waited_for, (), ())[0]
            if self._orders in ready and self._orders is not None:
                data = b""
                with contextlib.suppress(ConnectionError):  # the supervisor went before it heard all that we told it
                    data = self._orders.recv(65536)
                if not data:
                    self._orders.close()
                    self._orders = None
                lines = (pending + data).split(b"\n")
                pending = lines.pop()
                for line in lines:
                    index, number, last = map(int, line.split())
                    self._start(index, number, bool(last))
            self._reap()
        raise SystemExit(0)

    def _settle_down(self) -> None:
        self._loaded = set(sys.modules)
        gc.collect()
        gc.freeze()  # a collection in a child would copy every page that holds an object

    def _learn_from(self, jid: str) -> None:
        """Import what the first job imported while it ran: then no other has to."""
        path = self._folder.file(f"{jid}.imports")
        try:
            with open(path, encoding="utf-8") as file:
                names = file.read().split()
            os.unlink(path)
        except OSError:
            return  # it was killed
        if self._learned:
            return  # from one that ran beside it
        self._learned = True
        for name in names:
            # To look for one that is not here, but where the job had it from, is an error of its own.
            with contextlib.suppress(Exception, SystemExit):
                if (_is_of_ansible(name) and self._preloads) or _is_of_python(name):
                    importlib.import_module(name)
        self._settle_down()

    def _start(self, index: int, number: int, last: bool) -> None:
        job = self._jobs[index]
        attempt = _attempt.Attempt(self._directory, self._folder, job.jid, number, last)
        if self._run is not None and not self._learned:
            self._teachers.add(index)
        try:
            pid = _fork()
        except OSError as ex:
            outcome = _jobs.LOST
            with contextlib.suppress(OSError):
                outcome = attempt.settle(outcome, f"no process could be started for it: {ex.strerror}")
            self._tell("ended", index, outcome)
            return
        if pid == 0:
            _in_child(lambda: self._in_job(index, job, attempt))
        self._running[pid] = (index, attempt)
        self._tell("started", index, str(pid))

    def _tell(self, kind: str, index: int, value: str) -> None:
        if self._orders is not None:
            with contextlib.suppress(OSError):  # the supervisor has died: nobody wants to know
                self._orders.sendall(f"{kind} {index} {value}\n".encode())

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 65536)
        ended = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in self._running:
                ended.append((*self._running.pop(pid), status))
        # Only now: whoever has gone has reported before.
        self._read_reports()
        for index, attempt, status in ended:
            outcome = self._said.pop(index, None)
            if outcome is None:
                try:
                    outcome = attempt.end(status)
                except OSError as ex:
                    outcome = _jobs.LOST
                    with contextlib.suppress(OSError):  # the job file still names the process that is gone
                        attempt.lose(f"its result could not be written: {ex.strerror}")
            if index in self._teachers:
                self._teachers.discard(index)
                self._learn_from(self._jobs[index].jid)
            self._tell("ended", index, outcome)

    def _read_reports(self) -> None:
        with contextlib.suppress(BlockingIOError):
            # One line is written in one piece, and read in one piece as long as they fit.
            while True:
                for line in os.read(self._reports, 1 << 20).split(b"\n")[:-1]:
                    index, outcome = line.split()
                    self._said[int(index)] = outcome.decode()

    def _in_job(self, index: int, job: Job, attempt: _attempt.Attempt) -> None:
        """The whole life of the process of one job."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, _processes.WAKE):
            signal.signal(number, signal.SIG_DFL)
        if self._orders is not None:
            self._orders.close()
        for fd in (self._reports, self._woken, self._wake):
            os.close(fd)
        attempt.begin()
        pid = os.getpid()
        tags = {_processes.TAG: job.jid, _processes.STATUS: self._folder.status_file(job.jid)}
        os.environ.update(job.environment, **tags)
        if hasattr(time, "tzset"):
            time.tzset()
        tempfile.tempdir = None
        if self._run is None or job.needs_start:
            status = _run_as_process(self._payloads[job.payload], job, self._folder)
        else:
            status = self._run(job)
        if os.getpid() != pid:
            # Forked by the module, and left as programs do: its parent may ask for its exit code.
            raise SystemExit(os.WEXITSTATUS(status))
        if self._run is not None and not self._learned:
            _write_lines(self._folder.file(f"{job.jid}.imports"), set(sys.modules) - self._loaded)
        outcome = attempt.end(status)
        os.write(self._report, f"{index} {outcome}\n".encode())


def _fork() -> int:
    """Fork, and try again for a while where there are too many processes: some of them may be about to end.

    :raises OSError: when there are still too many.
    """
    for dummy in range(FORK_TRIES - 1):
        with contextlib.suppress(OSError):
            return os.fork()
        time.sleep(FORK_PAUSE)
    return os.fork()


def _in_child(body: t.Callable[[], None]) -> t.NoReturn:
    """Run the body in a process that was just forked, and leave without touching what belongs to its parent."""
    code = 1
    try:
        body()
        code = 0
    except SystemExit as ex:
        code = ex.code if isinstance(ex.code, int) else 1
    finally:
        os._exit(code)


def _run_up_to_module(
    payload: Payload, folder: _batch_folder.BatchFolder, preload: bool, serve: t.Callable[[_Run], None]
) -> None:
    """Run an AnsiballZ wrapper up to the point where it would run its module, and call serve there.

    preload: whether to import the module utils that the module will import.
    Returns when the wrapper turns out to be of another kind than we know; serve gets a function that runs the module.
    """
    # The one that the wrapper uses: it is loaded, because our own module was run by it.
    _loader: t.Any = sys.modules.get("ansible.module_utils._internal._ansiballz._loader")
    if _loader is None:
        return
    run_module = _loader.run_module
    known = set(sys.path)

    def hook(**keywords: t.Any) -> None:
        _loader.run_module = run_module
        _move_packages([path for path in sys.path if path not in known])
        _prepare_module(keywords["module_fqn"], preload)
        runs_programs = keywords["module_fqn"].endswith(_COMMANDS)

        def run(job: Job) -> int:
            if runs_programs:
                _output.keep(folder.output_file(job.jid))
            return _to_the_end(lambda: run_module(**dict(keywords, json_params=job.params.encode())))

        serve(run)

    _loader.run_module = hook
    tempfile.tempdir = folder.path
    sys.argv = [folder.file("AnsiballZ.py")]
    code = _with_params(payload, '{"ANSIBLE_MODULE_ARGS": {}}')
    try:
        exec(compile(code, "AnsiballZ.py", "exec"), {"__name__": "__main__"})
    except Exception:  # noqa: BLE001  # whatever it is, the jobs run as processes of their own then
        traceback.print_exc()
    finally:
        _loader.run_module = run_module
        tempfile.tempdir = None


def forget_own_archive() -> None:
    """Look for nothing any more in the archive that our own module was brought in: it is deleted when that ends."""
    archives = {os.path.dirname(path) for path in _packages()[_ANSIBLE[0]].__path__}
    sys.path[:] = [path for path in sys.path if path not in archives or os.path.isdir(path)]


def _packages() -> dict[str, t.Any]:
    return {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in _ANSIBLE and isinstance(getattr(module, "__path__", None), list)
    }


def _move_packages(archives: list[str]) -> None:
    """Let the packages of Ansible find what is not loaded yet in the archive of a payload.

    What is loaded came with our own module, from the same controller, and so is what the payload has.
    """
    for name, package in _packages().items():
        package.__path__[:] = [os.path.join(archive, *name.split(".")) for archive in archives]


def _prepare_module(module_name: str, preload: bool) -> None:
    """Compile the module, and import what it will import of Ansible's; not itself, which may run when imported."""
    with contextlib.suppress(Exception):
        loader: t.Any = importlib.util.find_spec(module_name).loader  # type: ignore[union-attr]
        source = loader.get_source(module_name)
        code, get_code = loader.get_code(module_name), loader.get_code
        loader.get_code = lambda name: code if name == module_name else get_code(name)
        filename, get_filename = loader.get_filename(module_name), loader.get_filename
        loader.get_filename = lambda name: filename if name == module_name else get_filename(name)
        for statement in ast.parse(source).body if preload else ():
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom) and not statement.level:
                names = [str(statement.module), *(f"{statement.module}.{alias.name}" for alias in statement.names)]
            else:
                continue
            for name in names:
                if _is_of_ansible(name):
                    with contextlib.suppress(Exception, SystemExit):
                        importlib.import_module(name)


def _is_of_ansible(name: str) -> bool:
    """Whether a module is a module util; a module of Ansible may run when it is imported."""
    return name.partition(".")[0] in _ANSIBLE and not any(place in f"{name}." for place in _MODULES)


def _is_of_python(name: str) -> bool:
    """Whether a module belongs to the standard library, so that importing it does nothing else."""
    # Going by the package that it is in: to find the module itself, the package would be imported.
    spec = importlib.util.find_spec(name.partition(".")[0])
    origin = spec.origin if spec is not None else None
    home = os.path.dirname(os.__file__)
    return origin in ("built-in", "frozen") or (
        origin is not None and origin.startswith(home + os.sep) and "-packages" not in origin
    )


def _write_lines(path: str, lines: t.Iterable[str]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(OSError), open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


def _to_the_end(run: t.Callable[[], None]) -> int:
    """Run a module in this process, with all that happens when an interpreter ends; returns its wait status."""
    code: t.Any = 1
    try:
        run()
    except SystemExit as ex:
        code = ex.code
        if code is None:
            code = 0
        elif not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            code = 1
    except BaseException:  # noqa: BLE001  # as at the top of any program
        traceback.print_exc()
    with contextlib.suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as an interpreter does at its end
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    return (int(code) & 0xFF) << 8


def _with_params(payload: Payload, params: str) -> bytes:
    return payload.code[0] + repr(params).encode() + payload.code[1]


def run_program(command: list[str]) -> int:
    """Run a program and return its wait status; the exit code is 127 when it cannot be run.

    :raises OSError: when there can be no more processes.
    """
    pid = _fork()
    if pid == 0:
        try:
            # Python ignores these, and whoever starts a program in any other way restores them.
            for name in ("SIGPIPE", "SIGXFSZ"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), signal.SIG_DFL)
            os.execvp(command[0], command)
        except OSError as ex:
            os.write(2, f"cannot run {command[0]}: {ex.strerror}\n".encode())
        finally:
            os._exit(127)
    return os.waitpid(pid, 0)[1]


def _run_as_process(payload: Payload, job: Job, folder: _batch_folder.BatchFolder) -> int:
    """Run a module in a process of its own; returns its wait status."""
    program = folder.file(f"{job.jid}.module")
    command = [*shlex.split(payload.interpreter), program]
    files = {program: _with_params(payload, job.params) if payload.kind == "zip" else payload.code[0]}
    if payload.kind == "file":
        files[folder.file(f"{job.jid}.args")] = job.params.encode()
        command.append(folder.file(f"{job.jid}.args"))
    try:
        for path, content in files.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(path, flags, stat.S_IRWXU), "wb") as file:
                file.write(content)
        return run_program(command)
    except OSError as ex:
        os.write(2, f"cannot run {command[0]}: {ex.strerror}\n".encode())
        return 127 << 8
    finally:
        for path in files:
            with contextlib.suppress(OSError):
                os.unlink(path)
