# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What reports for people are made of: sentences, lines on a terminal, the text of a notification, Markdown.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import re
import textwrap
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from ansible_collections.inflight.jobs.plugins.plugin_utils import _table
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_reading import (
    FAILED,
    NOT_TOUCHED,
    OK,
    UNREACHABLE,
    WARNING,
    Host,
    Report,
    iso,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._table import Line, duration

MAX_TEXT = 2000  # characters of the text for a notification
# What is told of the warnings of a host or a part of it together, and of why a host failed, in characters.
_LONGEST_CAUSE = 500
_LONGEST_REASON = 300

NO_REASON = "it gave no reason"

_STATES_IN_WORDS = (
    (FAILED, "failed"),
    (UNREACHABLE, "out of reach"),
    (WARNING, "with warnings"),
    (NOT_TOUCHED, "not touched"),
)

# What has a meaning within a line of Markdown. An underscore within a word has none, and many names have one.
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")


class Told(t.NamedTuple):
    """A report in all its forms.

    msg: one sentence. lines: for a terminal of so many columns. failed_hosts: why, by host. text: for a notification.
    contents: by format, what makes what a file has.
    """

    state: str
    summary: dict[str, t.Any]
    msg: str
    lines: Callable[[int], list[Line]]
    failed_hosts: dict[str, str]
    text: str
    contents: Mapping[str, Callable[[], str]]


class Trouble(t.NamedTuple):
    """Something that went wrong, or nearly. part: what of the host it is about, or empty for the host as a whole."""

    host: str
    part: str
    state: str
    cause: str

    @property
    def failed(self) -> bool:
        return self.state != WARNING

    @property
    def kind(self) -> str:
        """Of its line in a table."""
        return self.state if self.state in (WARNING, UNREACHABLE) else "bad"


class Row(t.NamedTuple):
    """The cells of a line of a table. kind: as a Line has it."""

    cells: tuple[str, ...]
    kind: str


def worst_first(found: Iterable[Trouble]) -> list[Trouble]:
    """What went wrong, then what has a warning."""
    return sorted(found, key=lambda trouble: not trouble.failed)


def warned(host: str, part: str, warnings: Sequence[str]) -> Trouble:
    """The warnings of a host, or of a part of it."""
    return Trouble(host, part, WARNING, cut("; ".join(warnings), _LONGEST_CAUSE))


def told(
    report: Report[t.Any],
    names: Iterable[str],
    *,
    troubles: Sequence[Sequence[Trouble]],
    head: str,
    totals: str,
    more: str = "",
    lines: Callable[[int], list[Line]],
    markdown: Callable[[], str],
) -> Told:
    """A report in all its forms.

    :param names: what the hosts are called in the inventory, in the order of the report.
    :param troubles: of each host, in the same order.
    :param head: how many hosts did not succeed. totals: what was done. more: what a notification has beside these.
    """
    found = worst_first(trouble for of_host in troubles for trouble in of_host)
    return Told(
        state=report.state,
        summary=report.summary,
        msg=f"{head}; {totals}",
        lines=lines,
        failed_hosts=_failed_hosts(names, troubles),
        text=_notification("\n".join(filter(None, (f"{report.title}: {head}", totals, more))), found),
        contents={"json": report.json, "markdown": markdown},
    )


def _failed_hosts(names: Iterable[str], troubles: Iterable[Sequence[Trouble]]) -> dict[str, str]:
    """For each host that failed or was out of reach, why: one sentence."""
    found = {}
    for name, of_host in zip(names, troubles, strict=True):
        causes = [f"{one.part}: {one.cause}" if one.part else one.cause for one in of_host if one.failed]
        if causes:
            found[name] = cut("; ".join(causes), _LONGEST_REASON)
    return found


def headline(summary: Mapping[str, t.Any], nothing: str) -> str:
    """How many hosts did not succeed: 2 of 4 hosts failed.

    :param nothing: what did not happen if there is no host.
    """
    total = summary["hosts"]
    if not total:
        return f"{nothing}: there are no results"
    parts = [f"{number} {words}" for state, words in _STATES_IN_WORDS if (number := summary.get(f"hosts_{state}"))]
    if not parts:
        return f"{count(total, 'host')} succeeded"
    first, *others = parts
    number, words = first.split(" ", 1)
    return ", ".join([f"{number} of {count(total, 'host')} {words}", *others])


def _notification(head: str, found: Sequence[Trouble]) -> str:
    """A short text. It names each trouble; causes are cut where there are many."""
    lines: list[str] = []
    for width in (400, 200, 100, 50, 0):
        lines = [_told(trouble, width) for trouble in found]
        if len("\n".join([head, *lines])) <= MAX_TEXT:
            return "\n".join([head, *lines])
    shown = 0
    room = MAX_TEXT - len(head) - len(f"\nand {len(lines)} more")
    while shown < len(lines) and room > len(lines[shown]):
        room -= 1 + len(lines[shown])
        shown += 1
    return cut("\n".join([head, *lines[:shown], f"and {len(lines) - shown} more"]), MAX_TEXT)


def _told(trouble: Trouble, width: int) -> str:
    """A trouble in one line, with so many characters of its cause."""
    name = f"{cut(trouble.host, 60)} ({cut(trouble.part, 60)})" if trouble.part else cut(trouble.host, 60)
    line = f"{name}: {spaced(trouble.state)}"
    return f"{line}: {cut(trouble.cause, width)}" if width else line


# A terminal


def laid_out(
    head: Sequence[str], rows: Sequence[Row], most: Sequence[int], width: int, *, right: Sequence[int] = ()
) -> list[Line]:
    """A table whose last column takes what the others leave of so many columns; without rows nothing.

    :param most: how wide the others may be, each. right: those whose cells stand to the right.
    """
    if not rows:
        return []
    columns = list(zip(head, *(row.cells for row in rows), strict=True))
    widths = [min(limit, max(map(width_of, column))) for limit, column in zip(most, columns[:-1], strict=True)]
    widths.append(width - sum(widths) - len(widths))
    lines = []
    for row in (Row(tuple(head), "head"), *rows):
        cells = [
            fitted(cell, room, place in right) for place, (cell, room) in enumerate(zip(row.cells, widths, strict=True))
        ]
        lines.append(Line(" ".join(cells).rstrip(), row.kind))
    return lines


def last_lines(state: str, head: str, totals: str, width: int) -> list[Line]:
    """The end of a table: how the whole went, in one line, or in more where that is too narrow."""
    kind = {OK: "good", WARNING: WARNING}.get(state, "bad")
    whole = f"{head}; {totals}"
    lines = [whole] if len(whole) <= width else [*_wrapped(head, width), *_wrapped(totals, width)]
    return [Line(line, kind) for line in lines]


def _wrapped(line: str, width: int) -> list[str]:
    """A line in lines that are no longer, parted at its commas."""
    # A space that textwrap does not part at.
    kept = line.replace(" ", "\xa0").replace(",\xa0", ", ")
    return [part.replace("\xa0", " ") for part in textwrap.wrap(kept, width)]


def fitted(line: str, width: int, to_the_right: bool = False) -> str:
    """A line in so many columns of a terminal."""
    taken = width_of(line)
    if taken <= width:
        padding = " " * (width - taken)
        return padding + line if to_the_right else line + padding
    taken = 0
    for place, char in enumerate(line):
        taken += width_of(char)
        if taken > width - 2:
            return fitted(line[:place] + "..", width)
    return line


def width_of(line: str) -> int:
    """How many columns of a terminal a line takes."""
    return len(line) if line.isascii() else _table._width(line)


# Markdown


def section(title: str, found: Sequence[Trouble], part: str) -> list[str]:
    """A title and a table of what went wrong; nothing where nothing did.

    :param part: what a part of a host is called in this report.
    """
    if not found:
        return []
    rows = [(one.host, one.part, spaced(one.state), one.cause) for one in found]
    return [f"## {title}", markdown_table(("Host", part, "State", "Cause"), rows)]


def host_opening(host: Host, msg: str, began: float | None, ended: float | None) -> list[str]:
    """What is told of a host first: its state, the reason of it, and when that was."""
    blocks = [f"### {escaped(host.host)}: {spaced(host.state)}"]
    if msg:
        blocks.append(f"Reason: {escaped(msg)}")
    if began is not None and ended is not None:
        blocks.append(f"From {iso(began)} to {iso(ended)}, {duration(ended - began)}.")
    return blocks


def notes(lines: Iterable[str]) -> list[str]:
    """A list of lines that are escaped already; nothing where there are none."""
    found = [f"* {line}" for line in lines]
    return ["\n".join(found)] if found else []


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table of unescaped cells whose columns stand below each other in the source too.

    :param right: the columns whose cells stand to the right.
    """
    cells = [head, *([_escaped_cell(cell) for cell in row] for row in rows)]
    widths = [max(3, *(width_of(cell) for cell in column)) for column in zip(*cells, strict=True)]
    widths[-1] = 3  # nothing stands behind the last one, and it may be long
    rule = [f"{'-' * (width - 1)}:" if place in right else "-" * width for place, width in enumerate(widths)]
    return "\n".join(_markdown_row(row, widths, right) for row in (cells[0], rule, *cells[1:]))


def _markdown_row(cells: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    padded = []
    for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        padding = " " * (width - width_of(cell))
        padded.append(padding + cell if place in right else cell + padding)
    return f"| {' | '.join(padded)} |"


def _escaped_cell(cell: str) -> str:
    made = escaped(cell)
    # Alone it has no meaning, and many versions of packages have one.
    return made.replace("\\~", "~") if cell.count("~") == 1 else made


def fenced(lines: Sequence[str]) -> str:
    """Lines of plain text as a block of code that none of them can end."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *lines, fence])


def escaped(line: str) -> str:
    """A line of plain text as Markdown in which nothing of it has a meaning."""
    # Entities, as not every program that reads Markdown takes a backslash before these for what it is.
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda found: "\\" + found[0], line)


# Words


def listed(named: Sequence[str], number: int) -> str:
    """Some of so many names, and how many there are beside them."""
    return ", ".join(named) + (f" and {number - len(named)} more" if number > len(named) else "")


def spaced(state: str) -> str:
    """A state as a person writes it."""
    return state.replace("_", " ")


def cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."


def count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
