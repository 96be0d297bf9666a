# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What a person sees of a wait while it runs, and the log of the jobs that ended.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import Record, one_line
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.utils.display import Display

    from ansible_collections.inflight.jobs.plugins.plugin_utils._waiting import Wait

# No more than one progress line in so many seconds, and no longer than this many characters.
LINE_EVERY = 5.0
LINE_WIDTH = 80
# Of so many running jobs it is shown what they printed last.
MAX_PRINTING = 10


class JobLog:
    """A file on the controller that gets one JSON line for each job that ended; the job_log of the planner."""

    def __init__(self, path: str, host: str, anonymous: bool) -> None:
        """Open the file for appending, before anything is waited for.

        :param host: name of the host in the inventory.
        :param anonymous: leave name and item out (no_log).
        :raises OSError: when it cannot be written.
        """
        self._host = host
        self._anonymous = anonymous
        # Names and items of jobs may be nobody else's business.
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, record: Record) -> None:
        """Append the line of one job."""
        line = {key: record[key] for key in ("name", "item", "state", "started_at", "ended_at", "elapsed")}
        if self._anonymous:
            line["name"] = line["item"] = None
        text = json.dumps({"host": self._host, **line}, default=str) + "\n"
        # In one piece: other hosts of the play append to the same file at the same time.
        os.write(self._fd, text.encode())

    def __enter__(self) -> JobLog:
        return self

    def __exit__(self, *dummy_exception: object) -> None:
        os.close(self._fd)


def open_job_log(path: str, host: str, anonymous: bool, open_files: contextlib.ExitStack) -> JobLog:
    """Open a job log that is closed with open_files.

    :raises BadOption: when it cannot be written.
    """
    try:
        return open_files.enter_context(JobLog(path, host, anonymous))
    except OSError as ex:
        raise BadOption(f"job_log: cannot write to {path}: {ex.strerror}") from ex


class Progress:
    """Shows a wait on the terminal: one line when something changed, but not more often than every five seconds.

    What the verbosity levels show: 0 the progress lines, loss of contact, and warnings of the jobs' modules; 1 the end
    of every single job as well.
    """

    def __init__(
        self,
        display: Display,
        host: str,
        *,
        lines: bool = True,
        no_log: bool = False,
        job_log: JobLog | None = None,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param lines: whether to show progress lines.
        :param no_log: show nothing that could hold a secret: no progress, no names, no warnings of modules.
        """
        self._display = display
        self._host = host
        self._lines = lines and not no_log
        self._no_log = no_log
        self._job_log = job_log
        self._clock = clock
        self._shown: tuple[object, ...] | None = None
        self._shown_at = float("-inf")

    @property
    def follows(self) -> bool:
        """Whether anybody sees the news before the wait is over."""
        return self._lines or self._job_log is not None

    def news(self, wait: Wait) -> bool:
        """Show where the wait stands, if that is something new; True when it is, but too soon after the last line."""
        ended = sum(record["finished"] for record in wait.records)
        failed = sum(record["failed"] for record in wait.records)
        printing = self._printing(wait)
        standing = (len(wait.records), ended, failed, *printing)
        # A wait that was over at the first look needs no line: the result of the task says it all.
        if not self._lines or standing == self._shown or (wait.finished and self._shown is None):
            return False
        if self._clock() - self._shown_at < LINE_EVERY and not wait.finished:
            return True
        self._shown, self._shown_at = standing, self._clock()
        for line in (self._line(wait, len(wait.records), ended, failed), *printing):
            self._display.display(line)
        return False

    def _printing(self, wait: Wait) -> list[str]:
        """A line for each running job of which it is known what it printed last."""
        found = [record for record in wait.still_open if record.get("tail")]
        lines = [f"  {one_line(record['name'])}: {one_line(record['tail'][-1])}" for record in found]
        return [line if len(line) <= LINE_WIDTH else line[: LINE_WIDTH - 3] + "..." for line in lines[:MAX_PRINTING]]

    def _line(self, wait: Wait, total: int, ended: int, failed: int) -> str:
        line = f"{self._host}: {ended}/{total} ended, {failed} failed, {clock_time(wait.elapsed)}"
        names = [one_line(record["name"]) for record in wait.still_open if record["state"] == _jobs.RUNNING]
        shown = 0
        for name in names:
            more = f"{', ' if shown else '; running: '}{name}"
            rest = len(names) - shown - 1
            if len(line + more + (f", +{rest}" if rest else "")) > LINE_WIDTH:
                break
            line += more
            shown += 1
        if shown and shown < len(names):
            line += f", +{len(names) - shown}"
        return line

    def ended(self, record: Record) -> None:
        """Take note of a job that has ended."""
        if self._job_log:
            try:
                self._job_log.write(record)
            except OSError as ex:
                self._display.warning(f"cannot write to the job_log: {ex.strerror}")
                self._job_log = None
        if self._no_log:
            return
        self._display.v(f"{one_line(record['name'])}: {record['state']} {one_line(record['msg'])}", host=self._host)
        warnings = (record["result"] or {}).get("warnings")
        for warning in warnings if isinstance(warnings, list) else ():
            self._display.warning(one_line(warning))

    def lost_contact(self, reason: str) -> None:
        reason = "" if self._no_log else f" ({reason})"
        self._display.display(f"{self._host}: out of reach, trying again; jobs run on{reason}")

    def warn(self, text: str) -> None:
        self._display.warning(one_line(text, width=400))


def clock_time(seconds: float) -> str:
    """Seconds as people read them: 42 s, 3 min 05 s, 2 h 07 min."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
