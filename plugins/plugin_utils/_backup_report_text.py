# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A report of backups for people: a table for the terminal, a short text for a notification, and Markdown.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import typing as t
from collections.abc import Iterable

from ansible_collections.inflight.jobs.plugins.plugin_utils import _report_text as words
from ansible_collections.inflight.jobs.plugins.plugin_utils._backup_report import (
    HostReport,
    Report,
    Retention,
    SetReport,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_reading import FAILED_STATES, OK, iso
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_text import (
    NO_REASON,
    Row,
    Told,
    Trouble,
    count,
    escaped,
    listed,
    spaced,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._table import Line, duration, size

# Of one host, so many sets are told of where all hosts are; the other ones are counted.
MAX_TROUBLES = 20
# Of one set, so many backups that were kept or deleted are named in Markdown.
MAX_NAMED = 30


def told(report: Report, names: Iterable[str]) -> Told:
    """A report in all its forms.

    :param names: what the hosts are called in the inventory, in the order of the report.
    """
    return words.told(
        report,
        names,
        troubles=[_troubles_of(host) for host in report.hosts],
        head=headline(report),
        totals=totals(report),
        lines=lambda width: table(report, width),
        markdown=lambda: markdown(report),
    )


def troubles(report: Report) -> list[Trouble]:
    """Each host and each set that did not succeed, then each that has a warning."""
    return words.worst_first(trouble for host in report.hosts for trouble in _troubles_of(host))


def headline(report: Report) -> str:
    """How many hosts did not succeed: 2 of 4 hosts failed."""
    return words.headline(report.summary, "no host was backed up")


def totals(report: Report) -> str:
    """What was saved, and how long that took."""
    summary = report.summary
    line = f"{summary['sets_ok']} of {count(summary['sets'], 'set')} "
    if report.check_mode:
        return f"{line}would be saved"
    line += f"saved, {size(summary['bytes'])}"
    if summary["wall_seconds"] is not None:
        line += f" in {duration(summary['wall_seconds'])}"
    line += f" ({duration(summary['serial_seconds'])} one after the other)"
    return line + (f", {size(summary['freed_bytes'])} freed" if summary["freed_bytes"] else "")


def table(report: Report, width: int) -> list[Line]:
    """A line for each host and set in trouble, and one for the whole, which is more where one is too narrow for it.

    In check mode, a line for each set that would be backed up as well.

    :param width: how many columns a line may take; 40 are taken in any case.
    """
    width = max(width, 40)
    rows = [Row((one.host, one.part, spaced(one.state), one.cause), one.kind) for one in troubles(report)]
    if report.check_mode:
        planned = [(host.host, one.name, "to do", one.msg) for host in report.hosts for one in host.sets if one.saved]
        rows.extend(Row(cells, "plain") for cells in planned)
    lines = words.laid_out(("HOST", "SET", "STATE", "CAUSE"), rows, (width // 5, width // 5, 12), width)
    return [*lines, *words.last_lines(report.state, headline(report), totals(report), width)]


def markdown(report: Report) -> str:
    """The whole report for people, who read it as it is or made into a page."""
    found = troubles(report)
    blocks = [
        f"# {escaped(report.title)}: {headline(report)}",
        f"{totals(report)}.",
        f"Written at {iso(report.written_at)}.",
        *words.section("Failures", [trouble for trouble in found if trouble.failed], "Set"),
        *words.section("Warnings", [trouble for trouble in found if not trouble.failed], "Set"),
        "## Hosts",
    ]
    for host in report.hosts:
        blocks.extend(_host_blocks(host))
    blocks.extend(("## Total", _totals_table(report)))
    return "\n\n".join(blocks) + "\n"


def _troubles_of(host: HostReport) -> list[Trouble]:
    """What went wrong on a host, at most MAX_TROUBLES and a line that counts the others of them."""
    bad = [Trouble(host.host, one.name, one.state, one.msg or NO_REASON) for one in host.sets if not one.saved]
    warned = [words.warned(host.host, one.name, one.warnings) for one in host.sets if one.warnings]
    own = []
    if host.state in FAILED_STATES:
        explained = any(trouble.cause == host.msg for trouble in bad) if host.msg else bool(bad)
    else:
        explained = not host.msg and bool(warned)
    if host.state != OK and not explained:
        own.append(Trouble(host.host, "", host.state, host.msg or NO_REASON))
    for more in (bad, warned):
        own.extend(more[:MAX_TROUBLES])
        if len(more) > MAX_TROUBLES:
            own.append(Trouble(host.host, "", more[0].state, f"{count(len(more) - MAX_TROUBLES, 'more set')}"))
    return own


def _host_blocks(host: HostReport) -> list[str]:
    blocks = words.host_opening(host, host.msg, host.started_at, host.ended_at)
    if host.sets:
        head = ("Set", "State", "Size", "Change", "Members", "Time", "Warnings", "Checks", "Backup")
        blocks.append(words.markdown_table(head, [_set_cells(one) for one in host.sets], right=(2, 3, 4, 5, 6)))
    notes = [note for one in host.sets for note in _notes(one)]
    notes.extend(note for one in host.retention for note in _retention_notes(one))
    if host.freed_bytes:
        notes.append(f"Freed: {size(host.freed_bytes)}")
    return [*blocks, *words.notes(notes)]


def _set_cells(one: SetReport) -> tuple[str, ...]:
    return (
        one.name,
        spaced(one.state),
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
    name = escaped(one.name)
    if not one.saved:
        yield f"Set {name} is not saved: {escaped(one.msg or NO_REASON)}"
    for warning in one.warnings:
        yield f"Warning for set {name}: {escaped(warning)}"
    if one.copied_to:
        yield f"Copy of set {name}: {escaped(one.copied_to)}"


def _retention_notes(one: Retention) -> t.Iterator[str]:
    name = escaped(one.name)
    if one.skipped:
        yield f"Nothing deleted of set {name}: {escaped(one.skipped)}"
    if one.kept:
        kept = [f"{escaped(kept.id)} ({escaped(', '.join(kept.reasons))})" for kept in one.kept[:MAX_NAMED]]
        yield f"Kept of set {name}: {len(one.kept)}: {listed(kept, len(one.kept))}"
    if one.deleted:
        deleted = [escaped(number) for number in one.deleted[:MAX_NAMED]]
        yield f"Deleted of set {name}: {len(one.deleted)}: {listed(deleted, len(one.deleted))}"


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
    return words.markdown_table(("What", "How much"), rows)
