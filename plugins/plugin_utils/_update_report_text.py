# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A report of updates for people: a table for the terminal, a short text for a notification, and Markdown.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Sequence

from ansible_collections.inflight.jobs.plugins.plugin_utils import _report_text as words
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_reading import (
    FAILED_STATES,
    NOT_TOUCHED,
    OK,
    UNREACHABLE,
    WARNING,
    iso,
)
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
from ansible_collections.inflight.jobs.plugins.plugin_utils._table import Line, duration
from ansible_collections.inflight.jobs.plugins.plugin_utils._update_report import (
    NO,
    UNKNOWN,
    YES,
    Change,
    Check,
    Health,
    HostReport,
    Reboot,
    Report,
    Spread,
    changes_of,
    spread,
)

# So many hosts that need nobody are shown each; where there are more of them they are counted.
MAX_QUIET = 20
# So many packages are shown on a terminal that would change.
MAX_PLANNED = 50
# So many names are shown where they stand in one line; where they are hosts, fewer.
MAX_NAMED = 100
MAX_HOSTS = 10

_NO_SNAPSHOT = "none: a failed update cannot be rolled back by this role"


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
        more=_left_out(report),
        lines=lambda width: table(report, width),
        markdown=lambda: markdown(report),
    )


def troubles(report: Report) -> list[Trouble]:
    """Each host that did not succeed, then each that has a warning. Hosts that were not touched are none of them."""
    return words.worst_first(trouble for host in report.hosts for trouble in _troubles_of(host))


def headline(report: Report) -> str:
    """How many hosts did not succeed: 2 of 4 hosts failed."""
    return words.headline(report.summary, "no host was updated")


def totals(report: Report) -> str:
    """What was changed, and how long that took."""
    summary = report.summary
    would = "would change" if report.check_mode else "changed"
    packages, hosts = summary["packages"], summary["hosts_changed"]
    parts = [f"{count(packages, 'package')} {would} on {count(hosts, 'host')}" if packages else f"no package {would}"]
    if summary["hosts_rebooted"]:
        parts.append(f"{count(summary['hosts_rebooted'], 'host')} rebooted")
    if summary["hosts_reboot_needed"]:
        still = "" if report.check_mode else "still "
        need = "needs" if summary["hosts_reboot_needed"] == 1 else "need"
        parts.append(f"{count(summary['hosts_reboot_needed'], 'host')} {still}{need} a reboot")
    if summary["kept_back"]:
        parts.append(f"{summary['kept_back']} kept back")
    if summary["wall_seconds"] is not None:
        parts.append(f"in {duration(summary['wall_seconds'])}")
    return ", ".join(parts)


def table(report: Report, width: int) -> list[Line]:
    """A line for each host, those in trouble first, and one for the whole, which is more where one is too narrow.

    Hosts that need nobody are counted where there are many. In check mode, a table of what would be changed as well.

    :param width: how many columns a line may take; 60 are taken in any case.
    """
    width = max(width, 60)
    rows: list[Row] = []
    counted: list[Line] = []
    for states, kind in (((*FAILED_STATES, WARNING), ""), ((NOT_TOUCHED,), "plain"), ((OK,), "good")):
        hosts = [host for state in states for host in report.hosts if host.state == state]
        if kind and len(hosts) > MAX_QUIET:
            counted.append(Line(f"{len(hosts)} hosts: {spaced(states[0])}", kind))
        else:
            rows.extend(_row(host, report.check_mode) for host in hosts)
    head = ("HOST", "STATE", "PKGS", "REBOOT", "TIME", "CAUSE")
    lines = words.laid_out(head, rows, (width // 5, 11, 5, 7, 6), width, right=(2, 4))
    if not rows and len(counted) == 1:
        counted = []  # the last line says the same
    planned = _planned_lines(report, width) if report.check_mode else []
    return [*lines, *counted, *planned, *words.last_lines(report.state, headline(report), totals(report), width)]


def markdown(report: Report) -> str:
    """The whole report for people, who read it as it is or made into a page."""
    found = troubles(report)
    blocks = [
        f"# {escaped(report.title)}: {headline(report)}",
        f"{totals(report).capitalize()}.",
        f"Written at {iso(report.written_at)}.",
        *words.section("Failures", [trouble for trouble in found if trouble.failed], "Phase"),
        *words.section("Warnings", [trouble for trouble in found if not trouble.failed], "Phase"),
        "## Summary",
        _summary_table(report),
    ]
    changes = spread(report)
    if changes:
        title = "What would be changed where" if report.check_mode else "What was changed where"
        head = ("Package", "Old", "New", "Hosts", "Which")
        rows = [_spread_cells(one, len(report.hosts)) for one in changes]
        blocks.extend((f"## {title}", words.markdown_table(head, rows, right=(3,))))
    blocks.append("## Hosts")
    for host in report.hosts:
        blocks.extend(_host_blocks(host, report.check_mode))
    return "\n\n".join(blocks) + "\n"


def _troubles_of(host: HostReport) -> list[Trouble]:
    found = []
    warnings = host.warnings
    if host.state in FAILED_STATES:
        found.append(Trouble(host.host, host.phase, host.state, host.msg or NO_REASON))
    elif host.state == WARNING:
        own = [host.msg] if host.msg and host.msg not in warnings else []
        warnings = [*own, *warnings] or [NO_REASON]
    if warnings:
        found.append(words.warned(host.host, "" if found else host.phase, warnings))
    return found


def _left_out(report: Report) -> str:
    """Which hosts were not touched, in one line; empty where all were."""
    left = [words.cut(host.host, 60) for host in report.hosts if host.state == NOT_TOUCHED]
    return f"Not touched: {listed(left[:MAX_HOSTS], len(left))}" if left else ""


# The terminal


def _row(host: HostReport, check_mode: bool) -> Row:
    """The line of a host."""
    found = _troubles_of(host)
    kind, cause = "good", ""
    if found:
        kind = found[0].kind
        cause = f"{found[0].part}: {found[0].cause}" if found[0].part else found[0].cause
    elif host.state == NOT_TOUCHED:
        kind, cause = "plain", host.msg
    elif host.reboot.open and host.reboot.msg:
        cause = f"not rebooted: {host.reboot.msg}"
    changes = changes_of(host, check_mode)
    nothing = host.state in (NOT_TOUCHED, UNREACHABLE) and not changes
    cells = (
        host.host,
        spaced(host.state),
        "" if nothing else str(len(changes)),
        _reboot_cell(host.reboot),
        "" if host.taken is None else duration(host.taken),
        cause,
    )
    return Row(cells, kind)


def _reboot_cell(reboot: Reboot) -> str:
    return "done" if reboot.done else "needed" if reboot.needed == YES else reboot.needed


def _planned_lines(report: Report, width: int) -> list[Line]:
    """What would be changed on which hosts."""
    changes = spread(report)
    rows = [
        Row((one.name, *_versions(one.old, one.new), _which(one, len(report.hosts))), "plain")
        for one in changes[:MAX_PLANNED]
    ]
    lines = words.laid_out(("PACKAGE", "OLD", "NEW", "HOSTS"), rows, (width // 3, width // 4, width // 4), width)
    if len(changes) > MAX_PLANNED:
        lines.append(Line(f"and {count(len(changes) - MAX_PLANNED, 'more change')}", "plain"))
    return lines


# Markdown


def _summary_table(report: Report) -> str:
    summary = report.summary
    would = "that would change" if report.check_mode else "changed"
    wall = summary["wall_seconds"]
    rows = [
        ("Hosts", str(summary["hosts"])),
        ("Hosts that succeeded", str(summary["hosts_ok"])),
        ("Hosts with warnings", str(summary["hosts_warning"])),
        ("Hosts not touched", str(summary["hosts_not_touched"])),
        ("Hosts that failed", str(summary["hosts_failed"])),
        ("Hosts out of reach", str(summary["hosts_unreachable"])),
        (f"Packages {would}, on all hosts", str(summary["packages"])),
        ("Packages kept back, on all hosts", str(summary["kept_back"])),
        (f"Hosts {would}", str(summary["hosts_changed"])),
        ("Hosts rebooted", str(summary["hosts_rebooted"])),
        ("Hosts that still need a reboot", str(summary["hosts_reboot_needed"])),
        ("Time from the first start to the last end", "not known" if wall is None else f"{wall:.1f} seconds"),
    ]
    return words.markdown_table(("What", "How much"), rows)


def _spread_cells(one: Spread, hosts: int) -> tuple[str, ...]:
    return one.name, *_versions(one.old, one.new), str(len(one.hosts)), _which(one, hosts)


def _which(one: Spread, hosts: int) -> str:
    if len(one.hosts) == hosts and hosts > 1:
        return "all"
    return listed(one.hosts[:MAX_HOSTS], len(one.hosts))


def _versions(old: str, new: str) -> tuple[str, str]:
    return old or "newly installed", new or "removed"


def _host_blocks(host: HostReport, check_mode: bool) -> list[str]:
    reason = host.msg or (NO_REASON if host.state in FAILED_STATES else "")
    if reason and host.phase:
        reason = f"in phase {host.phase}: {reason}"
    blocks = words.host_opening(host, reason, host.started_at, host.ended_at)
    blocks.extend(words.notes(_notes(host)))
    if host.log_tail:
        blocks.extend(("The last lines of the log of the package manager:", words.fenced(host.log_tail)))
    changes = changes_of(host, check_mode)
    would = "would be" if check_mode else "was"
    if changes:
        by = f" by {escaped(host.manager)}" if host.manager else ""
        blocks.extend((f"What {would} changed{by} ({_kinds_of(changes)}):", _changes_table(changes)))
    elif host.state in (OK, WARNING):
        blocks.append(f"No package {would} changed.")
    rows = [(name, *map(_check_cell, found)) for name, found in _looks(host.health).items() if not _fine(found)]
    if rows:
        blocks.extend(("Checks that found a fault:", words.markdown_table(("Check", "Before", "After"), rows)))
    return blocks


def _notes(host: HostReport) -> t.Iterator[str]:
    for warning in host.warnings:
        yield f"Warning: {escaped(warning)}"
    if host.failed_packages:
        yield _named("Failed packages", [_with(one.name, one.state) for one in host.failed_packages])
    if host.health.new_faults:
        yield _named("New faults", host.health.new_faults)
    if host.health.old_faults:
        yield _named("Old faults, which do not count", host.health.old_faults)
    fine = [name for name, found in _looks(host.health).items() if _fine(found)]
    if fine:
        yield _named("Checks that found no fault", fine)
    if host.reboot.needed or host.reboot.done or host.reboot.msg:
        yield f"Reboot: {escaped(_reboot_words(host.reboot))}"
    if host.kernel.before or host.kernel.after:
        before, after = (escaped(release or "not known") for release in host.kernel)
        yield f"Kernel: {before}, as before" if before == after else f"Kernel: {before} -> {after}"
    if host.kept_back:
        kept = [_with(f"{one.name} {one.old}".strip(), one.new and f"{one.new} is there") for one in host.kept_back]
        yield _named("Kept back", kept)
    for title, names in (
        ("Held by the administrator of the host", host.held),
        ("Left as they are by the options of the role", host.excluded),
        ("New configuration files put beside changed ones", host.conffiles),
    ):
        if names:
            yield _named(title, names)
    if host.snapshot.kind == "none":
        yield f"Snapshot: {_NO_SNAPSHOT}" + (f" ({escaped(host.snapshot.msg)})" if host.snapshot.msg else "")
    elif host.snapshot.kind or host.snapshot.msg:
        yield f"Snapshot: {escaped(': '.join(filter(None, host.snapshot)))}"
    if host.seconds:
        taken = [f"{phase} {duration(seconds)}" for phase, seconds in host.seconds.items()]
        yield f"Time: {escaped(', '.join(taken))}"


def _reboot_words(reboot: Reboot) -> str:
    """Whether a reboot is needed, why, and what became of it."""
    need = {YES: "needed", NO: "not needed", UNKNOWN: "not known whether it is needed"}
    said = need.get(reboot.needed, "not looked whether it is needed")
    if reboot.reasons:
        said += f" ({'; '.join(reboot.reasons)})"
    if reboot.done:
        return f"{said}, done" + ("" if reboot.seconds is None else f" in {duration(reboot.seconds)}")
    if reboot.msg:
        return f"{said}, not done: {reboot.msg}"
    return said if reboot.needed == NO else f"{said}, not done"


def _named(title: str, names: Sequence[str]) -> str:
    """How many there are of something, and which."""
    return f"{title}: {len(names)}: {listed([escaped(name) for name in names[:MAX_NAMED]], len(names))}"


def _with(name: str, more: str) -> str:
    return f"{name} ({more})" if more else name


def _kinds_of(changes: Sequence[Change]) -> str:
    """How many packages were installed, removed, and replaced by another version."""
    new = sum(not one.old for one in changes)
    removed = sum(not one.new for one in changes)
    parts = ((len(changes) - new - removed, "updated"), (new, "newly installed"), (removed, "removed"))
    return ", ".join(f"{number} {what}" for number, what in parts if number)


def _changes_table(changes: Sequence[Change]) -> str:
    rows = [(one.name, one.arch, *_versions(one.old, one.new), one.origin or "not known") for one in sorted(changes)]
    return words.markdown_table(("Package", "Architecture", "Old", "New", "Origin"), rows)


def _looks(health: Health) -> dict[str, list[Check | None]]:
    """What each check found before and after."""
    before, after = ({check.name: check for check in checks} for checks in (health.before, health.after))
    return {name: [before.get(name), after.get(name)] for name in {**before, **after}}


def _fine(found: Sequence[Check | None]) -> bool:
    return all(check.ok for check in found if check)


def _check_cell(check: Check | None) -> str:
    if check is None:
        return "not made"
    state = "ok" if check.ok else "fault"
    return f"{state}: {check.msg}" if check.msg else state
