# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Commands of the user before and after a backup. Those after it run whatever happens to the process that makes it.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _processes
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import Complaints, start

_GOOD = b"good"
# So long may the commands go on, in seconds, after the process that makes the backup has been killed.
GRACE = 600.0
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Of what a command says, so many characters at most are told.
_TOLD = 1000


def run_commands(
    commands: t.Sequence[str], what: str, wait: t.Callable[[subprocess.Popen[bytes]], int] | None = None
) -> None:
    """Run commands of the shell, one after the other.

    :param what: the option that has them.
    :param wait: waits for the end of one in a session of its own, and returns its exit code.
    :raises BackupError: when one fails; those behind it are not run.
    """
    for command in commands:
        try:
            process = start(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=wait is not None,
            )
        except (OSError, ValueError) as ex:
            raise BackupError(f"a command of {what} cannot be run: {ex}") from ex
        # What it starts in the background may keep the pipe for long: its end is not waited for.
        output = Complaints(t.cast("t.IO[bytes]", process.stdout))
        try:
            exit_code = wait(process) if wait else process.wait()
        except BaseException:
            process.wait()  # the commands that run after it count on that
            raise
        if exit_code:
            said = " / ".join(output.text().strip().splitlines()[-3:])[-_TOLD:]
            raise BackupError(f"a command of {what} ended with {exit_code}" + (f": {said}" if said else ""))


class Guard:
    """A process that runs commands when this one has ended, by itself or not. To be used in a with statement.

    It notices the end by a pipe, which closes even if this process is killed.
    """

    def __init__(self, post: t.Sequence[str], fail: t.Sequence[str]) -> None:
        """
        :param post: run in any case.
        :param fail: run before them, unless good() was called.
        """
        self._post = post
        self._fail = fail
        self._good = False
        self._writer = self._answer = -1

    def good(self) -> None:
        """The backup was made."""
        self._good = True

    def __enter__(self) -> Guard:
        """
        :raises BackupError: when no process can be started.
        """
        if self._post or self._fail:
            reader, self._writer = os.pipe()
            self._answer, writer = os.pipe()
            # What ends this process may be sent to its whole group.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
            try:
                between = os.fork()
                if not between:
                    self._leave(reader, writer)
                os.close(reader)
                os.close(writer)
                if os.waitpid(between, 0)[1]:
                    raise BackupError("no process can be started that runs the commands after the backup")
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    def _leave(self, reader: int, writer: int) -> t.NoReturn:
        # A job that does not end in time is killed with all that descends from it, or carries its id: this does not.
        code = 1
        try:
            if not os.fork():
                self._watch(reader, writer)
            code = 0
        finally:
            os._exit(code)

    def _watch(self, reader: int, writer: int) -> t.NoReturn:
        try:
            # Unlike SIG_IGN, a handler is not handed on to the commands.
            for number in _ENDING:
                signal.signal(number, _go_on)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            os.setsid()
            os.environ.pop(_processes.TAG, None)
            os.close(self._writer)
            os.close(self._answer)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            told = b"".join(iter(lambda: os.read(reader, 64), b""))
            patience = _Patience(writer)
            reasons = [] if told == _GOOD else _tried(self._fail, "fail_commands", patience)
            reasons += _tried(self._post, "post_commands", patience)
            with contextlib.suppress(OSError), open(writer, "wb") as answer:
                answer.write(json.dumps(reasons).encode())
        finally:
            os._exit(0)

    def __exit__(self, dummy_type: object, ex: BaseException | None, dummy_trace: object) -> None:
        """
        :raises BackupError: when a command failed, with the reason why the backup failed, if it did.
        """
        if self._writer < 0:
            return
        if self._good:
            with contextlib.suppress(OSError):  # it was killed, which the answer tells
                os.write(self._writer, _GOOD)
        os.close(self._writer)
        with open(self._answer, "rb") as answer:
            told = answer.read()
        reasons = json.loads(told) if told else ["post_commands were ended before they were through"]
        if reasons and (ex is None or isinstance(ex, BackupError)):
            raise BackupError("; ".join([*([str(ex)] if ex else []), *reasons])) from ex


def _go_on(*dummy: object) -> None:
    """A signal that is to end the process that makes the backup: the commands after it run all the same."""


class _Patience:
    """Waits for commands as long as it takes, while the process that makes the backup does so as well.

    Once that has been killed, no limit of its job ends them, and they keep the locks of the backup.
    """

    def __init__(self, writer: int) -> None:
        """
        :param writer: of a pipe that this process reads.
        """
        self._poll = select.poll()
        self._poll.register(writer, 0)
        self._due = float("inf")

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """The exit code of a command, which is killed with its group when it takes too long.

        :param process: the leader of a session.
        """
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(1)
            if self._due == float("inf") and self._poll.poll(0):
                self._due = time.monotonic() + GRACE
            if time.monotonic() > self._due:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _tried(commands: t.Sequence[str], what: str, patience: _Patience) -> list[str]:
    """Run all commands, also behind one that fails; why those failed that did."""
    return [reason for reason in (_reason(command, what, patience) for command in commands) if reason]


def _reason(command: str, what: str, patience: _Patience) -> str | None:
    try:
        run_commands([command], what, patience.wait)
    except BackupError as ex:
        return str(ex)
    return None
