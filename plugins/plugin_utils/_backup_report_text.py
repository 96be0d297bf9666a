# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A report of backups for people: a table for the terminal, a short text for a notification, and Markdown.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Sequence

from ansible_collections.inflight.jobs.plugins.plugin_utils import _table
from ansible_collections.inflight.jobs.plugins.plugin_utils._backup_report import (
    FAILED,
    OK,
    UNREACHABLE,
    WARNING,
    HostReport,
    Report,
    Retention,
    SetReport,
    iso,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._table import Line, duration, size

MAX_TEXT = 2000  # characters of the text for a notification
# Of one host, so many sets are told of where all hosts are; the other ones are counted.
MAX_TROUBLES = 20
# Of one set, so many backups that were kept or deleted are named in Markdown.
MAX_NAMED = 30
# What is told of the warnings of a set together, and of why a host failed, in characters.
_LONGEST_CAUSE = 500
_LONGEST_REASON = 300

_NO_REASON = "it gave no reason"

# What has a meaning within a line of Markdown. An underscore within a word has none, and many names have one.
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")


class Trouble(t.NamedTuple):
    """Something that went wrong, or nearly. set: its name, or empty where it is about the host as a whole."""

    host: str
    set: str
    state: str
    cause: str

    @property
    def failed(self) -> bool:
        return self.state != WARNING


def troubles(report: Report) -> list[Trouble]:
    """Each host and each set that did not succeed, then each that has a warning."""
    found = [trouble for host in report.hosts for trouble in _troubles_of(host)]
    return sorted(found, key=lambda trouble: not trouble.failed)


def failed_hosts(report: Report, names: Iterable[str]) -> dict[str, str]:
    """For each host that failed or was out of reach, why: one sentence.

    :param names: what the hosts are called in the inventory, in the order of the report.
    """
    found = {}
    for name, host in zip(names, report.hosts, strict=True):
        if host.failed:
            causes = [
                f"{trouble.set}: {trouble.cause}" if trouble.set else trouble.cause
                for trouble in _troubles_of(host)
                if trouble.failed
            ]
            found[name] = _cut("; ".join(causes), _LONGEST_REASON)
    return found


def headline(report: Report) -> str:
    """How many hosts did not succeed: 2 of 4 hosts failed."""
    summary = report.summary
    total = summary["hosts"]
    if not total:
        return "no host was backed up: there are no results"
    parts = [
        f"{summary[f'hosts_{state}']} {words}"
        for state, words in ((FAILED, "failed"), (UNREACHABLE, "out of reach"), (WARNING, "with warnings"))
        if summary[f"hosts_{state}"]
    ]
    if not parts:
        return f"{_count(total, 'host')} succeeded"
    first, *others = parts
    number, words = first.split(" ", 1)
    return ", ".join([f"{number} of {_count(total, 'host')} {words}", *others])


def totals(report: Report) -> str:
    """What was saved, and how long that took."""
    summary = report.summary
    line = f"{summary['sets_ok']} of {_count(summary['sets'], 'set')} "
    if report.check_mode:
        return f"{line}would be saved"
    line += f"saved, {size(summary['bytes'])}"
    if summary["wall_seconds"] is not None:
        line += f" in {duration(summary['wall_seconds'])}"
    line += f" ({duration(summary['serial_seconds'])} one after the other)"
    return line + (f", {size(summary['freed_bytes'])} freed" if summary["freed_bytes"] else "")


def text(report: Report) -> str:
    """A short text for a notification. It names each host and set in trouble; causes are cut where there are many."""
    head = f"{report.title}: {headline(report)}\n{totals(report)}"
    found = troubles(report)
    lines: list[str] = []
    for width in (400, 200, 100, 50, 0):
        lines = [_told(trouble, width) for trouble in found]
        if len("\n".join([head, *lines])) <= MAX_TEXT:
            return "\n".join([head, *lines])
    shown = 0
    room = MAX_TEXT - len(head) - len(f"\nand {len(lines)} more")
    while room > len(lines[shown]):
        room -= 1 + len(lines[shown])
        shown += 1
    return _cut("\n".join([head, *lines[:shown], f"and {len(lines) - shown} more"]), MAX_TEXT)


def table(report: Report, width: int) -> list[Line]:
    """A line for each host and set in trouble, and one for the whole, which is two where one is too narrow for it.

    In check mode, a line for each set that would be backed up as well.

    :param width: how many columns a line may take; 40 are taken in any case.
    """
    width = max(width, 40)
    found = troubles(report)
    rows = [(one.host, one.set, one.state.replace("_", " "), one.cause) for one in found]
    kinds = [_kind_of(one) for one in found]
    if report.check_mode:
        planned = [(host.host, one.name, "to do", one.msg) for host in report.hosts for one in host.sets if one.saved]
        rows.extend(planned)
        kinds.extend(["plain"] * len(planned))
    whole = f"{headline(report)}; {totals(report)}"
    kind = {OK: "good", WARNING: WARNING}.get(report.state, "bad")
    last = [whole] if _width(whole) <= width else [headline(report), totals(report)]
    end = [Line(_fitted(line, width).rstrip(), kind) for line in last]
    if not rows:
        return end
    head = ("HOST", "SET", "STATE", "CAUSE")
    columns = list(zip(head, *rows, strict=True))
    most = (width // 5, width // 5, 12)
    widths = [min(limit, max(map(_width, column))) for limit, column in zip(most, columns[:3], strict=True)]
    widths.append(width - sum(widths) - len(widths))
    lines = [
        Line(" ".join(_fitted(cell, room) for cell, room in zip(row, widths, strict=True)).rstrip(), kind)
        for row, kind in zip((head, *rows), ("head", *kinds), strict=True)
    ]
    return [*lines, *end]


def markdown(report: Report) -> str:
    """The whole report for people, who read it as it is or made into a page."""
    found = troubles(report)
    blocks = [
        f"# {_escaped(report.title)}: {headline(report)}",
        f"{totals(report)}.",
        f"Written at {iso(report.written_at)}.",
        *_section("Failures", [trouble for trouble in found if trouble.failed]),
        *_section("Warnings", [trouble for trouble in found if not trouble.failed]),
        "## Hosts",
    ]
    for host in report.hosts:
        blocks.extend(_host_blocks(host))
    blocks.extend(("## Total", _totals_table(report)))
    return "\n\n".join(blocks) + "\n"


def _troubles_of(host: HostReport) -> list[Trouble]:
    """What went wrong on a host, at most MAX_TROUBLES and a line that counts the others of them."""
    bad = [Trouble(host.host, one.name, one.state, one.msg or _NO_REASON) for one in host.sets if not one.saved]
    warned = [
        Trouble(host.host, one.name, WARNING, _cut("; ".join(one.warnings), _LONGEST_CAUSE))
        for one in host.sets
        if one.warnings
    ]
    own = []
    if host.failed:
        explained = any(trouble.cause == host.msg for trouble in bad) if host.msg else bool(bad)
    else:
        explained = not host.msg and bool(warned)
    if host.state != OK and not explained:
        own.append(Trouble(host.host, "", host.state, host.msg or _NO_REASON))
    for more in (bad, warned):
        own.extend(more[:MAX_TROUBLES])
        if len(more) > MAX_TROUBLES:
            own.append(Trouble(host.host, "", more[0].state, f"{_count(len(more) - MAX_TROUBLES, 'more set')}"))
    return own


def _fitted(line: str, width: int) -> str:
    """A line in so many columns of a terminal."""
    taken = _width(line)
    if taken <= width:
        return line + " " * (width - taken)
    taken = 0
    for place, char in enumerate(line):
        taken += _width(char)
        if taken > width - 2:
            return _fitted(line[:place] + "..", width)
    return line


def _width(line: str) -> int:
    """How many columns of a terminal a line takes."""
    return len(line) if line.isascii() else _table._width(line)


def _kind_of(trouble: Trouble) -> str:
    return trouble.state if trouble.state in (WARNING, UNREACHABLE) else "bad"


def _told(trouble: Trouble, width: int) -> str:
    """A trouble in one line, with so many characters of its cause."""
    name = f"{_cut(trouble.host, 60)} ({_cut(trouble.set, 60)})" if trouble.set else _cut(trouble.host, 60)
    line = f"{name}: {trouble.state.replace('_', ' ')}"
    return f"{line}: {_cut(trouble.cause, width)}" if width else line


def _section(title: str, found: Sequence[Trouble]) -> list[str]:
    if not found:
        return []
    rows = [(one.host, one.set, one.state.replace("_", " "), one.cause) for one in found]
    return [f"## {title}", _markdown_table(("Host", "Set", "State", "Cause"), rows)]


def _host_blocks(host: HostReport) -> list[str]:
    blocks = [f"### {_escaped(host.host)}: {host.state}"]
    if host.msg:
        blocks.append(f"Reason: {_escaped(host.msg)}")
    if host.started_at is not None and host.ended_at is not None:
        taken = duration(host.ended_at - host.started_at)
        blocks.append(f"From {iso(host.started_at)} to {iso(host.ended_at)}, {taken}.")
    if host.sets:
        head = ("Set", "State", "Size", "Change", "Members", "Time", "Warnings", "Checks", "Backup")
        blocks.append(_markdown_table(head, [_set_cells(one) for one in host.sets], right=(2, 3, 4, 5, 6)))
    notes = [note for one in host.sets for note in _notes(one)]
    notes.extend(note for one in host.retention for note in _retention_notes(one))
    if host.freed_bytes:
        notes.append(f"Freed: {size(host.freed_bytes)}")
    if notes:
        blocks.append("\n".join(f"* {note}" for note in notes))
    return blocks


def _set_cells(one: SetReport) -> tuple[str, ...]:
    return (
        one.name,
        one.state.replace("_", " "),
        "" if one.bytes is None else size(one.bytes),
        _change(one),
        "" if one.members is None else str(one.members),
        "" if one.seconds is None else duration(one.seconds),
        str(len(one.warnings)),
        ", ".join(one.checks),
        one.id or "",
    )


def _change(one: SetReport) -> str:
    """The change of the size: +3 %. Beyond ten times as much, a factor."""
    change = one.change
    if change is None:
        return ""
    if change >= 999.5:
        return "100+ times" if change > 9850 else f"{change / 100 + 1:.0f} times"
    return f"{round(change):+d} %"


def _notes(one: SetReport) -> t.Iterator[str]:
    name = _escaped(one.name)
    if not one.saved:
        yield f"Set {name} is not saved: {_escaped(one.msg or _NO_REASON)}"
    for warning in one.warnings:
        yield f"Warning for set {name}: {_escaped(warning)}"
    if one.copied_to:
        yield f"Copy of set {name}: {_escaped(one.copied_to)}"


def _retention_notes(one: Retention) -> t.Iterator[str]:
    name = _escaped(one.name)
    if one.skipped:
        yield f"Nothing deleted of set {name}: {_escaped(one.skipped)}"
    if one.kept:
        kept = [f"{_escaped(kept.id)} ({_escaped(', '.join(kept.reasons))})" for kept in one.kept[:MAX_NAMED]]
        yield f"Kept of set {name}: {len(one.kept)}: {_listed(kept, len(one.kept))}"
    if one.deleted:
        deleted = [_escaped(number) for number in one.deleted[:MAX_NAMED]]
        yield f"Deleted of set {name}: {len(one.deleted)}: {_listed(deleted, len(one.deleted))}"


def _listed(named: Sequence[str], number: int) -> str:
    return ", ".join(named) + (f" and {number - len(named)} more" if number > len(named) else "")


def _totals_table(report: Report) -> str:
    summary = report.summary
    wall = summary["wall_seconds"]
    rows = [
        ("Hosts", str(summary["hosts"])),
        ("Hosts that succeeded", str(summary["hosts_ok"])),
        ("Hosts with warnings", str(summary["hosts_warning"])),
        ("Hosts that failed", str(summary["hosts_failed"])),
        ("Hosts out of reach", str(summary["hosts_unreachable"])),
        ("Sets", str(summary["sets"])),
        ("Sets saved", str(summary["sets_ok"])),
        ("Sets that failed", str(summary["sets_failed"])),
        ("Size of what was saved", f"{size(summary['bytes'])} ({summary['bytes']} bytes)"),
        ("Freed by retention", f"{size(summary['freed_bytes'])} ({summary['freed_bytes']} bytes)"),
        ("Time from the first start to the last end", "not known" if wall is None else f"{wall:.1f} seconds"),
        ("Time of all sets one after the other", f"{summary['serial_seconds']:.1f} seconds"),
    ]
    return _markdown_table(("What", "How much"), rows)


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table of unescaped cells whose columns stand below each other in the source too.

    :param right: the columns whose cells stand to the right.
    """
    cells = [head, *([_escaped(cell) for cell in row] for row in rows)]
    widths = [max(3, *(_width(cell) for cell in column)) for column in zip(*cells, strict=True)]
    widths[-1] = 3  # nothing stands behind the last one, and it may be long
    rule = [f"{'-' * (width - 1)}:" if place in right else "-" * width for place, width in enumerate(widths)]
    return "\n".join(_markdown_row(row, widths, right) for row in (cells[0], rule, *cells[1:]))


def _markdown_row(cells: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    padded = []
    for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        padding = " " * (width - _width(cell))
        padded.append(padding + cell if place in right else cell + padding)
    return f"| {' | '.join(padded)} |"


def _escaped(line: str) -> str:
    """A line of plain text as Markdown in which nothing of it has a meaning."""
    # Entities, as not every program that reads Markdown takes a backslash before these for what it is.
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda found: "\\" + found[0], line)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
