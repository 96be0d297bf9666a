# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which processes belong to a job, whether they live, and how to end them.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import os
import signal
import time
import typing as t

# The command line of async_wrapper reads "... async_wrapper.py j<digits> <limit> ..." on every ansible-core.
_WRAPPER = "async_wrapper.py"

# Tells every process of a job of a batch which job it is; children inherit it, wherever they go.
TAG = "INFLIGHT_JOB"
# Tells them the path of a file for a line that says how far the job is.
STATUS = "INFLIGHT_STATUS"
_MAX_ENVIRONMENT = 1024 * 1024

# How many seconds a module may take to end by itself once its program has been ended.
ALONE_FOR = 1.0

# What a job may be asked to end with.
SIGNALS = ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "KILL")
# Tells the supervisor of a batch that there is an order for it in its folder.
WAKE = signal.SIGUSR1

# Takes a command as a list; returns its exit code, standard output and standard error.
RunCommand = t.Callable[..., t.Tuple[int, str, str]]


class Process(t.NamedTuple):
    """One living process. user: id of its user, None where it was not asked for. started: moment of its start on the
    boot clock; None where /proc does not exist."""

    pid: int
    user: int | None
    started: float | None


def boot_clock() -> float:
    """Seconds on a clock that no change of the time of day moves, the one that /proc counts process starts on."""
    # CLOCK_BOOTTIME goes on through a suspend, as start times in /proc do; it exists on Linux alone.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def identity(pid: int) -> list[t.Any]:
    """What tells this process from every other one, for a job file: its pid, its start on the boot clock (0 where /proc
    does not exist), the boot."""
    return [pid, round(_start_of(pid) or 0.0, 2), boot_id()]


def is_alive(identified: object) -> bool:
    """Whether the very process lives that identity spoke of; False for anything that identity cannot have said."""
    if not isinstance(identified, list) or len(identified) != 3:
        return False
    pid, started, boot = identified
    if not isinstance(pid, int) or not isinstance(started, (int, float)) or not 1 < pid < 2**31:
        return False
    if str(boot).strip() != boot_id():
        return False
    if started:
        return round(_start_of(pid) or 0.0, 2) == float(started)
    # Without /proc there is nothing but the pid to go by.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def owner(pid: int) -> int | None:
    """The user id of a process; None when it has ended, or where /proc does not exist."""
    try:
        return _user_of(pid)
    except OSError:
        return None


def boot_id() -> str:
    """Something that is another one after a reboot; empty where the system does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class JobProcesses:
    """The processes of jobs, remembered from look to look: a job is proved alive by one process that still lives."""

    def __init__(self, run_command: RunCommand) -> None:
        """
        :param run_command: AnsibleModule.run_command; used where there is no /proc.
        """
        self._known: dict[str, Process] = {}
        self._run_command = run_command
        self._has_proc = os.path.exists("/proc/self/stat")
        self.sees_all = _proc_shows_all() if self._has_proc else "1" in self._ps("-ax", "-o", "pid=").split()

    def living(self, jobs: t.Iterable[str], users_of: t.Callable[[str], t.Container[int]]) -> dict[str, Process]:
        """Those of the jobs that have a living process, with the oldest of those processes that was found.

        :param jobs: job ids.
        :param users_of: tells for a job id the ids of the users whose processes count as the job's. Anybody can start a
            process that looks like async_wrapper; one that belongs to somebody else must not keep a wait going.
        """
        found = {}
        # The number behind the dot is the pid of a process that is gone before the job begins: it says nothing.
        searched: dict[str, list[str]] = {}
        for jid in jobs:
            known = self._known.get(jid)
            if known is not None and _lives(known):
                found[jid] = known
            else:
                searched.setdefault(jid.split(".")[0], []).append(jid)
        if searched:
            for process, arguments in self._table():
                for jid in searched.get(_job_of(arguments), ()):
                    if process.user in users_of(jid):
                        found[jid] = min(found.get(jid, process), process, key=lambda one: one.started or 0.0)
        self._known = dict(found)
        return found

    def _table(self) -> t.Iterator[tuple[Process, list[str]]]:
        return _proc_table() if self._has_proc else self._ps_table()

    def _ps_table(self) -> t.Iterator[tuple[Process, list[str]]]:
        for line in self._ps("-axww", "-o", "pid=,uid=,stat=,args=").splitlines():
            fields = line.split()
            if len(fields) > 3 and _WRAPPER in line and not fields[2].startswith("Z"):
                yield Process(int(fields[0]), int(fields[1]), None), fields[3:]

    def _ps(self, *arguments: str) -> str:
        """What ps prints; nothing where there is no ps."""
        try:
            return self._run_command(["ps", *arguments], handle_exceptions=False)[1]
        except OSError:
            return ""


def _job_of(arguments: list[str]) -> str:
    """The first part of the job id in the arguments of async_wrapper: the argument behind the name of the program."""
    # No other argument: the time limit could look like the id of an old job.
    for program, argument in zip(arguments, arguments[1:]):
        if program.endswith(_WRAPPER):
            return argument
    return ""


def is_wrapper(arguments: list[str], jid: str) -> bool:
    """Whether these are the arguments of the async_wrapper of a job, and not of something that only names it."""
    # Interpreter, program, first part of the id, limit, module; an interpreter may have options of its own.
    for place, argument in enumerate(arguments[:4]):
        if os.path.basename(argument) == _WRAPPER:
            return _job_of(arguments) == jid.split(".", maxsplit=1)[0] and limit_of(arguments[place:]) is not None
    return False


def limit_of(arguments: list[str]) -> float | None:
    """The time limit in the arguments of async_wrapper, in seconds: the one behind the job id."""
    for program, dummy_jid, limit in zip(arguments, arguments[1:], arguments[2:]):
        if program.endswith(_WRAPPER):
            return float(limit) if limit.isdigit() and len(limit) < 12 else None
    return None


def is_ansibles(arguments: list[str]) -> bool:
    """Whether a process was started by Ansible for itself, and is not the program that a job runs."""
    return any(argument.endswith(_WRAPPER) or "AnsiballZ_" in argument for argument in arguments[:3])


def _proc_table() -> t.Iterator[tuple[Process, list[str]]]:
    """Every visible living process that runs async_wrapper, with its arguments."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                command_line = file.read(4096)
            if _WRAPPER.encode() in command_line:
                pid = int(name)
                started = _start_of(pid)
                if started is not None:
                    yield Process(pid, _user_of(pid), started), command_line.decode("ascii", "replace").split("\0")
        except OSError:
            continue  # ended while we looked


def _start_of(pid: int) -> float | None:
    """When a process started, on the boot clock; None when it has ended, as a zombie has."""
    fields = _stat_of(pid)
    return _started(fields) if fields else None


def _started(fields: list[bytes]) -> float:
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _stat_of(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat behind the name of the program; none when the process has ended, as a zombie has."""
    try:
        # Not open(): this runs for every job every few seconds, and open() takes twice as long.
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 4096)
        finally:
            os.close(fd)
    except OSError:
        return []
    # The name of the program comes second, in parentheses, and may itself hold any character.
    fields = text.rpartition(b")")[2].split()
    return [] if fields[0] in (b"Z", b"X") else fields


def _user_of(pid: int) -> int:
    """The effective user id of a process; the owner of its folder in /proc is root where it must not be dumped."""
    with open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"Uid:"):
                return int(line.split()[2])
    raise OSError("no user id")


def _lives(process: Process) -> bool:
    """Whether this very process lives, and not another one that was given its pid."""
    return process.started is not None and _start_of(process.pid) == process.started


def _proc_shows_all() -> bool:
    """Whether /proc shows the processes of all users to us (it does not when mounted with hidepid)."""
    try:
        with open("/proc/1/cmdline", "rb") as file:
            file.read(1)
    except OSError:
        return False
    return True


class Snapshot:
    """The process table at one moment; one is enough for all jobs that are looked at.

    rows: every visible living process, by its pid; empty where /proc does not exist.
    """

    def __init__(self) -> None:
        self.rows = table()
        self._tagged: dict[bytes, set[int]] | None = None

    def tagged(self, jid: str) -> set[int]:
        """Processes that carry the id of a job; anybody can do that, so only those that belong to us."""
        if self._tagged is None:
            self._tagged = {}
            for pid in self.rows:
                tag = _tag_of(pid)
                if tag is not None and owner(pid) == os.geteuid():
                    self._tagged.setdefault(tag, set()).add(pid)
        return self._tagged.get(jid.encode(), set())


class Tree:
    """The processes of one job: the session that was made for it, those of ours that have its id in their environment
    (a daemon of a batch has left the session and its parents), and all descendants of these.

    Who was seen once is remembered with the moment of its start, so that no signal goes to a stranger with its pid.
    """

    def __init__(self, first: int, jid: str, session: int | None) -> None:
        """
        :param first: pid of the job's first process, which we know to be the job's, or to have gone.
        :param jid: the id of the job.
        :param session: the number of the session that was made for it; None when nobody is left in it.
        """
        self._first = first
        self._jid = jid
        self._sessions = frozenset() if session is None else frozenset((session,))
        self._known: dict[int, float] = {}
        self._stage = 0
        self._programs_until = float("-inf")

    def look(self, snapshot: Snapshot) -> bool:
        """See who belongs to the job now; False when nobody of it lives."""
        self._known = {pid: started for pid, started in self._known.items() if _start_of(pid) == started}
        rows = snapshot.rows
        if not rows:
            return _group_lives(self._first)
        members = family(rows, self._sessions, self._known.keys() | snapshot.tagged(self._jid))
        self._known = {pid: rows[pid].started for pid in members if pid in rows and pid != os.getpid()}
        return bool(self._known)

    def ask_to_end(self, signal_name: str = "TERM") -> None:
        """Send a signal to those that the last look saw, but to those that Ansible started for itself only when they
        are alone; call this after every look.

        The process that runs the module reads what its program prints: without it, a shell that prints while it tidies
        up would die of that. Once the program is gone, it needs a moment to say what its result is. Those that came
        later are not asked: they may be a part of the tidying.
        """
        programs = {pid for pid in self._known if pid != self._first and not is_ansibles(command_line(pid))}
        now = time.monotonic()
        if programs:
            self._programs_until = now
        elif now - self._programs_until < ALONE_FOR:
            return
        stage = 1 if programs else 2
        if stage > self._stage:
            self._stage = stage
            self._send(signal.Signals[f"SIG{signal_name}"], programs or self._known)
            self._send(signal.SIGCONT, self._known)  # a process that is stopped sees a signal only when it goes on

    def kill(self) -> None:
        """End everybody that the last look saw by force."""
        self._send(signal.SIGKILL, self._known)

    def living(self) -> str:
        """Those that the last look saw, as words for people: pids, and what the kernel says they do."""
        states = {pid: _stat_of(pid)[:1] for pid in sorted(self._known)}
        return ", ".join(f"{pid} (state {state[0].decode()})" for pid, state in states.items() if state)

    def _send(self, signal_number: int, pids: t.Iterable[int]) -> None:
        if not os.path.exists("/proc/self/stat"):
            _signal(os.killpg, self._first, signal_number)
        # Parents first: a shell whose program is ended before it would go on with the next one.
        for pid in sorted(pids, key=lambda pid: (self._known[pid], pid)):
            if _start_of(pid) == self._known[pid]:
                _signal(os.kill, pid, signal_number)


def wrappers(rows: t.Iterable[int]) -> dict[str, list[int]]:
    """Which of these processes look like an async_wrapper, by the first part of the job id; anybody can."""
    found: dict[str, list[int]] = {}
    for pid in rows:
        number = _job_of(command_line(pid))
        if number:
            found.setdefault(number, []).append(pid)
    return found


def has_open(pid: int, path: str) -> bool:
    """Whether a process has a file open; True as well where there is no /proc to tell."""
    if not os.path.exists("/proc/self/fd"):
        return True
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.path.samefile(f"/proc/{pid}/fd/{name}", path):
                    return True
    return False


def wake(pid: int) -> None:
    """Tell a supervisor, which the caller knows to be one of ours, that there is an order for it."""
    _signal(os.kill, pid, WAKE)


def do_not_wake() -> None:
    """From now on this process is no supervisor that heeds orders, though it may hold the lock of one."""
    signal.signal(WAKE, signal.SIG_IGN)


def close_all_but(descriptors: t.Container[int]) -> None:
    """Close what a fork has inherited, without the objects that hold it taking notice."""
    for name in os.listdir("/dev/fd"):
        if int(name) not in descriptors:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _signal(send: t.Callable[[int, int], None], pid: int, signal_number: int) -> None:
    # It may be gone, or have become somebody else (sudo), and then it is not ours to end.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        send(pid, signal_number)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Row(t.NamedTuple):
    """One line of the process table: pid of the parent, number of the session, start on the boot clock, CPU time in
    seconds with that of children that have ended, resident memory in bytes."""

    parent: int
    session: int
    started: float
    cpu: float
    memory: int


def table() -> dict[int, Row]:
    """Every visible living process, by its pid; empty where /proc does not exist."""
    found = {}
    second, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    names = os.listdir("/proc") if os.path.exists("/proc/self/stat") else ()
    for name in names:
        if name.isdigit():
            fields = _stat_of(int(name))
            if fields:
                cpu = sum(map(int, fields[11:15])) / second
                memory = int(fields[21]) * page
                found[int(name)] = Row(int(fields[1]), int(fields[3]), _started(fields), cpu, memory)
    return found


def own_session(processes: t.Mapping[int, Row], pid: int) -> int | None:
    """The number of the session that a process is in, if that was made for it; None when others were there before.

    A job of a batch leads its session. The leader of that of async_wrapper goes as soon as it has forked the first
    process of the job. A job that has only just been started is still in the session of whoever started it.
    """
    session = processes[pid].session
    if session == pid:
        return session
    # The number is 0 where the leader is outside of our container.
    if session == 0 or session in processes:
        return None
    others = (row for row in processes.values() if row.session == session)
    return session if all(row.started >= processes[pid].started for row in others) else None


def family(processes: t.Mapping[int, Row], sessions: t.Container[int], known: t.Iterable[int] = ()) -> set[int]:
    """The pids of all processes that are in these sessions, or known, and of all that descend from those."""
    # The kernel gives the number of a session to nobody else as long as anybody is in it.
    members = {pid for pid, row in processes.items() if row.session in sessions}.union(known)
    more = members
    while more:
        more = {pid for pid, row in processes.items() if row.parent in members} - members
        members = members | more
    return members


def _tag_of(pid: int) -> bytes | None:
    """The id of the job that a process was started by; None when there is none, or the process is none of ours."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read(_MAX_ENVIRONMENT)
    except OSError:
        return None
    name = TAG.encode() + b"="
    for variable in environment.split(b"\0") if name in environment else ():
        if variable.startswith(name):
            return variable[len(name) :]
    return None


def command_line(pid: int) -> list[str]:
    """The program of a process and its arguments; empty when it has ended, or where /proc does not exist."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            text = file.read(65536).decode("utf-8", "replace")
    except OSError:
        return []
    # A process that has ended, and was not collected, has nothing there.
    return text.rstrip("\0").split("\0") if text else []
