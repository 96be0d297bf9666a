# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A table of the jobs of many hosts, for people at a terminal.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import datetime
import typing as t
import unicodedata
from collections.abc import Mapping, Sequence

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import Record, jobs_of, one_line, summary_of

# So many of the jobs of a host that have ended are shown; those that run or wait are all shown.
MAX_ENDED = 20

_HEAD = ("HOST", "JOB", "STATE", "AGE", "CPU", "MEM", "LAST LINE")
# The columns that are as wide as what is in them: state, age, CPU, memory.
_NUMBERS = (3, 4, 5)


class Line(t.NamedTuple):
    """One line of a table. kind: head, open (of a job that has not ended), good, bad, unreachable, or plain."""

    text: str
    kind: str


class _Row(t.NamedTuple):
    cells: tuple[str, ...]
    kind: str


def table(found: Mapping[str, t.Any], width: int, now: float) -> list[Line]:
    """The jobs of hosts as lines that are at most width wide, and a last line that counts them.

    :param found: by host, in the order to show them: what a task of this collection returned that returns jobs, or how
        it failed; None where it did not run.
    :param now: seconds of the epoch; the age of a job that has ended counts from then.
    """
    rows: list[_Row] = []
    records: list[Record] = []
    without = {"unreachable": 0, "failed": 0}
    for host, result in found.items():
        jobs = result.get("jobs") if isinstance(result, Mapping) else None
        if not isinstance(jobs, Sequence) or isinstance(jobs, str):
            row = _row_without_jobs(host, result)
            without[row.cells[2]] += 1
            rows.append(row)
            continue
        records.extend(jobs)
        shown, hidden = _chosen(jobs)
        rows.extend(_row(host, record, now) for record in shown)
        if hidden:
            rows.append(_Row((one_line(host), f"{hidden} more that ended", "", "", "", "", ""), "plain"))
    lines = _laid_out(rows, width) if rows else []
    return [*lines, Line(_summary(len(found), records, without), "plain")]


def _chosen(jobs: Sequence[Record]) -> tuple[list[Record], int]:
    """The jobs to show, those that run longest first, and how many are left out."""
    running = [record for record in jobs if record["state"] == _jobs.RUNNING]
    queued = [record for record in jobs if record["state"] == _jobs.QUEUED]
    ended = [record for record in jobs if record["state"] not in _jobs.OPEN_STATES]
    running.sort(key=lambda record: -(record["elapsed"] or 0))
    queued.sort(key=lambda record: record.get("queue_place") or 0)
    ended.sort(key=lambda record: record["ended_at"] or "", reverse=True)
    return [*running, *queued, *ended[:MAX_ENDED]], max(0, len(ended) - MAX_ENDED)


def _row(host: str, record: Record, now: float) -> _Row:
    state = record["state"]
    if state in _jobs.OPEN_STATES:
        kind, age = "open", record["elapsed"]
        last = (record.get("tail") or [""])[-1]
    else:
        kind = "good" if state == _jobs.SUCCEEDED else "bad"
        age = _since(record["ended_at"], now)
        last = record["msg"]
    cpu, memory = record.get("cpu_seconds"), record.get("memory_bytes")
    cells = (
        one_line(host),
        one_line(record["name"]),
        state.replace("_", " "),
        "" if age is None else duration(age),
        "" if cpu is None else duration(cpu),
        "" if memory is None else size(memory),
        one_line(last),
    )
    return _Row(cells, kind)


def _row_without_jobs(host: str, result: object) -> _Row:
    said = result if isinstance(result, Mapping) else {}
    unreachable = bool(said.get("unreachable"))
    state = "unreachable" if unreachable else "failed"
    # What core puts before the message of a plugin.
    last = one_line(said.get("msg")).removeprefix("Task failed: ").removeprefix("Action failed: ") or "no answer"
    return _Row((one_line(host), "", state, "", "", "", last), "unreachable" if unreachable else "bad")


def _laid_out(rows: list[_Row], width: int) -> list[Line]:
    # Each has a row or none: hosts and jobs may take a part of the line, the last column what is left of it.
    columns = list(zip(*(row.cells for row in rows), strict=True))
    widths = [max(map(_width, (title, *cells))) for title, cells in zip(_HEAD, columns, strict=True)]
    widths[0] = min(widths[0], width // 5)
    widths[1] = min(widths[1], width // 4)
    widths[-1] = max(len(_HEAD[-1]), width - sum(widths[:-1]) - len(widths) + 1)
    return [Line(_line(_HEAD, widths), "head"), *(Line(_line(row.cells, widths), row.kind) for row in rows)]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    fitted = [
        _fit(cell, width, place in _NUMBERS) for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return " ".join(fitted).rstrip()


def _fit(text: str, width: int, to_the_right: bool) -> str:
    if _width(text) > width:
        while _width(text) > width - 2:
            text = text[:-1]
        text += ".."
    padding = " " * (width - _width(text))
    return padding + text if to_the_right else text + padding


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _summary(hosts: int, records: list[Record], without: Mapping[str, int]) -> str:
    summary = summary_of(records)
    total = summary.pop("total")
    states = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in summary.items() if count)
    line = f"{jobs_of(total)} on {_hosts_of(hosts)}"
    line += f": {states}" if states else ""
    return line + "".join(f"; {_hosts_of(count)} {what}" for what, count in without.items() if count)


def _hosts_of(number: int) -> str:
    return f"{number} host" if number == 1 else f"{number} hosts"


def _since(moment: object, now: float) -> float | None:
    """Seconds since a moment that is told in ISO 8601; None for anything else."""
    try:
        then = datetime.datetime.fromisoformat(str(moment).replace("Z", "+00:00"))
        return max(0.0, now - then.timestamp())
    except (ValueError, OverflowError):
        return None


def duration(seconds: float) -> str:
    """Seconds in at most six characters: 0.4s, 42s, 12m, 3h07m, 2d4h."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 59.5:
        return f"{seconds:.0f}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if days < 100 else f"{days}d"


def size(count: float) -> str:
    """Bytes in at most four characters, in units of 1024: 512K, 73M, 1.2G."""
    for unit in "KMGTP":
        count /= 1024
        if count < 9.95:
            return f"{count:.1f}{unit}"
        if count < 999.5:
            return f"{count:.0f}{unit}"
    return f"{count:.0f}P"
