# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which processes belong to a job, and whether they live.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import os
import time
import typing as t

# The command line of async_wrapper reads "... async_wrapper.py j<digits> <limit> ..." on every ansible-core.
_WRAPPER = "async_wrapper.py"

# Takes a command as a list; returns its exit code, standard output and standard error.
RunCommand = t.Callable[..., t.Tuple[int, str, str]]


class Process(t.NamedTuple):
    """One living process. started: moment of its start on the boot clock; None where /proc does not exist."""

    pid: int
    user: int
    started: float | None


def boot_clock() -> float:
    """Seconds on a clock that no change of the time of day moves, the one that /proc counts process starts on."""
    # CLOCK_BOOTTIME goes on through a suspend, as start times in /proc do; it exists on Linux alone.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


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
    try:
        # Not open(): this runs for every job every few seconds, and open() takes twice as long.
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 4096)
        finally:
            os.close(fd)
    except OSError:
        return None
    # The name of the program comes second, in parentheses, and may itself hold any character.
    fields = text.rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


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
