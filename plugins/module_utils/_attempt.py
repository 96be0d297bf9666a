# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# One attempt of a job of a batch: its first steps in a process of its own, and what becomes of its output.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import typing as t

from ansible.module_utils import json_utils

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _jobs, _processes

# What a job became, where that is none of the states: it is to be tried again, or it was told to stop and whoever told
# it says what it became.
AGAIN = "again"
STOPPED = "stopped"

# So much of what a module printed goes into the result of one that printed no result.
_SHOWN_BYTES = 64 * 1024


class Attempt:
    """One attempt of one job. Made before the process of the job is forked, so that both sides know it."""

    def __init__(
        self, directory: _jobs.JobDirectory, folder: _batch_folder.BatchFolder, jid: str, number: int, last: bool
    ) -> None:
        """
        :param number: 1 for the first attempt.
        :param last: whether a failure is the end of the job.
        """
        self.jid = jid
        self._directory = directory
        self._folder = folder
        self._number = number
        self._last = last
        self._started = _processes.boot_clock()
        self._started_at = time.time()
        self._out = folder.file(f"{jid}.out")
        self._err = folder.file(f"{jid}.err")
        self._stop = folder.stop_file(jid)

    def begin(self) -> None:
        """The first steps of the job's own process: lead a session, say who runs the job, print to files."""
        os.setsid()
        self._directory.change_marker(self.jid, _processes.identity(os.getpid()))
        for fd, path in ((0, os.devnull), (1, self._out), (2, self._err)):
            flags = os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            if fd and self._number > 1:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)  # the attempt before may have left a process that still prints to it
            opened = os.open(path, flags, 0o600)
            os.dup2(opened, fd)
            os.close(opened)

    def stop(self) -> None:
        """From now on end leaves the job file alone: whoever calls this says by settle what the job became."""
        os.close(os.open(self._stop, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))

    def let_go(self) -> None:
        """Undo stop, for a job that had ended before it could be stopped."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._stop)

    def end(self, status: int) -> str:
        """Make the job file out of what was printed.

        :param status: the wait status of the process; 0 in the process itself.
        :return: a state, or AGAIN or STOPPED.
        :raises OSError: when the job file cannot be written.
        """
        if os.path.exists(self._stop):
            return STOPPED
        found = self._directory.read(self.jid)
        if found.text is not None:
            return found.state  # its process wrote the result, and was killed before it said so
        state, data = self._outcome(status)
        if state != _jobs.SUCCEEDED and not self._last and self._folder.supervisor() is not None:
            return self._again(state, data)
        # The log first: whoever sees the result finds there how long it took.
        self._log(state)
        self._publish(data)
        return state

    def settle(self, state: str, reason: str, *, noted: bool = True) -> str:
        """Say what the job became: this state, unless an attempt before had a result and nothing ran since.

        :param noted: whether to note when this attempt began and ended; not where it was made after the job had begun.
        :return: the state that the job has now, or AGAIN.
        :raises OSError: when the job file cannot be written.
        """
        stopped = os.path.exists(self._stop)
        data: bytes | None = _jobs.verdict(state, reason, self._said())
        if stopped:
            os.unlink(self._stop)
            found = self._directory.read(self.jid)
            if found.text is not None:
                return found.state  # it had ended by itself before it was told to
        elif state == _jobs.CANCELLED and os.path.exists(self._out):
            # Between two attempts: what the last one said is more than that there is no other.
            state, data = self._outcome(0)
            self._publish(data)
            return state
        if state in (_jobs.TIMED_OUT, _jobs.LOST) and not self._last:
            return self._again(state, data)
        if noted:
            self._log(state)
        self._publish(data)
        return state

    def lose(self, reason: str) -> None:
        """Say that the job is lost, without the space that a result needs.

        :raises OSError: when not even that can be written.
        """
        if self._directory.read(self.jid).state in _jobs.OPEN_STATES:
            self._directory.end_marker(self.jid, _jobs.verdict(_jobs.LOST, reason))

    def _said(self) -> dict[str, t.Any] | None:
        """What the module printed as its result before it was ended, if anything."""
        with contextlib.suppress(OSError):
            if os.path.getsize(self._out) <= _jobs.MAX_JOB_FILE_BYTES:
                with open(self._out, "rb") as file:
                    return _result_in(file.read())[0]
        return None

    def _again(self, state: str, data: bytes | None) -> str:
        self._log(state)
        if data is not None:
            # It is the result, if there is no other attempt; and a full disk must not keep the job from that.
            new = self._folder.file(f"{self.jid}.new")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with contextlib.suppress(OSError):
                with open(os.open(new, flags, 0o600), "wb") as file:
                    file.write(data)
                os.rename(new, self._out)
        self._directory.change_marker(self.jid, None)
        return AGAIN

    def _outcome(self, status: int) -> tuple[str, bytes | None]:
        """The state that the output tells, and what to write; None for the output as it is, too large to be read."""
        if os.path.getsize(self._out) > _jobs.MAX_JOB_FILE_BYTES:
            return _jobs.UNREADABLE, None
        with open(self._out, "rb") as file:
            text = file.read()
        result, clean = _result_in(text)
        if result is not None:
            return _jobs.state_of_result(result), text if clean else json.dumps(result).encode()
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            name = signal.Signals(number).name if number in list(signal.Signals) else "unknown"
            return _jobs.LOST, _jobs.verdict(_jobs.LOST, f"killed by signal {number} ({name})")
        return _jobs.FAILED, self._no_result(text, os.WEXITSTATUS(status))

    def _no_result(self, text: bytes, code: int) -> bytes:
        with open(self._err, "rb") as file:
            errors = file.read(_SHOWN_BYTES).decode("utf-8", "replace")
        reason = "the module printed no result" + ("" if not text.strip() else ", but something else")
        lines = errors.strip().splitlines()
        result = {
            "failed": True,
            "msg": reason + (f" ({lines[-1][:200]})" if lines else ""),
            "module_stdout": text[:_SHOWN_BYTES].decode("utf-8", "replace"),
            "module_stderr": errors,
            "rc": code,
        }
        return json.dumps(result).encode()

    def _publish(self, data: bytes | None) -> None:
        if data is None:
            self._directory.move_in(self.jid, self._out)
        else:
            self._write(data)
        told = (self._folder.output_file(self.jid), self._folder.status_file(self.jid))
        for path in (self._out, self._err, *told):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _write(self, data: bytes) -> None:
        # Also where it is the output as it is: what the module left in the background may print more to that.
        new = self._folder.file(f"{self.jid}.new")
        try:
            self._directory.write_result(self.jid, new, data)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            with open(self._out, "rb") as file:
                if file.read() != data:
                    raise
            self._directory.move_in(self.jid, self._out)  # there is no space for two of them

    def _log(self, state: str) -> None:
        elapsed = max(0.0, _processes.boot_clock() - self._started)
        with contextlib.suppress(OSError):  # a full disk must not keep the result back
            self._folder.log(
                self.jid,
                state=state,
                attempts=self._number,
                started_at=_jobs.iso(self._started_at) if self._number else None,
                ended_at=_jobs.iso(self._started_at + elapsed),
                elapsed=round(elapsed, 3) if self._number else None,
            )


def _result_in(text: bytes) -> tuple[dict[str, t.Any] | None, bool]:
    """The JSON object that a module printed, and whether it printed nothing else; None when it printed none."""
    try:
        result = json.loads(text.decode("utf-8"))  # as whoever reads the job file takes it
        return (result, True) if isinstance(result, dict) else (None, False)
    except (ValueError, RecursionError):
        pass
    try:
        # As core does it: some modules call programs that print, or print more than their result.
        found, warnings = json_utils._filter_non_json_lines(text.decode("utf-8", "surrogateescape"), True)
        result = json.loads(found)
    except (ValueError, RecursionError, AttributeError):  # the last where core has no such function any more
        return None, False
    if not isinstance(result, dict):
        return None, False
    if warnings and isinstance(result.setdefault("warnings", []), list):
        result["warnings"].extend(warnings)
    return result, False
