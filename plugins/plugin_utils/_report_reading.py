# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# From what hosts reported of a run to values that a report can show: texts, numbers, moments, lists, and what is wrong.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import datetime
import json
import re
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

VERSION = 1  # of the JSON files

OK, WARNING, NOT_TOUCHED, FAILED, UNREACHABLE = "ok", "warning", "not_touched", "failed", "unreachable"
# States of a host, the worst last. Not every kind of report has all of them.
HOST_STATES = (OK, WARNING, NOT_TOUCHED, FAILED, UNREACHABLE)
FAILED_STATES = (FAILED, UNREACHABLE)
RUNNING = "running"

# What a report takes of the lists of a host at most. Texts are cut, longer lists count as damage.
MAX_WARNINGS = 20
LONGEST_SENTENCE = 500
LONGEST_NAME = 100
# No text is looked at any further than so many times what is shown of it: what a host sends can be of any length.
_LOOKED_AT = 8
_MAX_NUMBER = 2**63

# Moments before this come from a machine without a clock, and those more than an hour ahead from one whose is wrong.
_EARLIEST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC).timestamp()
_AHEAD = 3600.0

# Where programs repeat their command line or an address, passwords have often been found in logs.
_IN_AN_ASSIGNMENT = re.compile(
    r"((?:passw(?:or)?d|passphrase|pwd|secret|token|key)\w{0,20}(?:[\"']?\s?=\s?|[\"']\s?:\s?))"
    r"(?:\"[^\"]*\"?|'[^']*'?|[^\s\"']\S*)",
    re.IGNORECASE,
)

NOT_ENDED = "it had not ended when this report was made"
_NO_RESULT = "it gave no result: it could not be reached, or the run ended before its turn"

Said = Mapping[t.Any, t.Any]


class Host(t.Protocol):
    """What came of one host. state: one of HOST_STATES."""

    @property
    def host(self) -> str: ...

    @property
    def state(self) -> str: ...

    def data(self) -> dict[str, t.Any]:
        """All of it, as the JSON file has it."""


Some = t.TypeVar("Some", bound=Host)


class Report(t.NamedTuple, t.Generic[Some]):
    """What came of a whole run.

    state: ok, warning or failed. written_at: seconds of the epoch. check_mode: whether nothing was done, and all was
    only looked at.
    """

    title: str
    written_at: float
    state: str
    hosts: list[Some]
    summary: dict[str, t.Any]
    check_mode: bool

    def data(self) -> dict[str, t.Any]:
        """All of it, as the JSON file has it."""
        return {
            "version": VERSION,
            "title": self.title,
            "written_at": iso(self.written_at),
            "state": self.state,
            "summary": self.summary,
            "hosts": [host.data() for host in self.hosts],
        }

    def json(self) -> str:
        return json.dumps(self.data(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


class Opening(t.NamedTuple):
    """What each result of a host begins with.

    state: one of HOST_STATES, or running. msg: why it is not ok, else empty. said: the result, empty if it is no dict.
    """

    host: str
    state: str
    msg: str
    started_at: float | None
    ended_at: float | None
    said: Said


def opening(host: object, result: object, states: Iterable[str], now: float, damage: list[str]) -> Opening:
    """Read what each result of a host begins with. What is not as it should be is added to damage.

    :param states: which of HOST_STATES a host can report; each can report running.
    """
    name = plain(str(host), LONGEST_NAME) or "?"
    if not result:
        return Opening(name, UNREACHABLE, _NO_RESULT, None, None, {})
    if not isinstance(result, Mapping):
        damage.append(f"what it reported is {kind(result)}, not a dict")
        return Opening(name, FAILED, "", None, None, {})
    state = plain(result.get("state"), 40)
    if state != RUNNING and state not in states:
        damage.append(f"the state it reported is {repr(state) if state else kind(result.get('state'))}")
        state = FAILED
    return Opening(name, state, plain(result.get("msg")), *moments(result, now), result)


def with_damage(state: str, msg: str, damage: Sequence[str]) -> tuple[str, str]:
    """The state of a host and why it has that, with what was wrong with its result."""
    if not damage:
        return state, msg
    return worst(FAILED, state), plain("; ".join(filter(None, (msg, *damage[:3]))))


def plain(value: object, width: int = LONGEST_SENTENCE) -> str:
    """A text that came from a host as one line that can be printed, no longer than width, without passwords.

    Anything that is neither a text nor a number becomes an empty text.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_NUMBER:
        value = f"{value:d}"
    if not isinstance(value, str):
        return ""
    line = value[: _LOOKED_AT * width]
    if not line.isprintable():
        line = "".join(char if char.isprintable() else " " for char in line)
    line = " ".join(line.split())
    if "://" in line:
        line = " ".join(_without_user(word) for word in line.split())
    if "=" in line or (":" in line and ("'" in line or '"' in line)):
        line = _IN_AN_ASSIGNMENT.sub(r"\1***", line)
    return line if len(line) <= width else line[: width - 3] + "..."


def _without_user(word: str) -> str:
    """A word with *** for the user and the password, if it is or has an address that tells them."""
    scheme, separator, rest = word.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}***{at}{host}" if user else word


def mappings(where: Said, key: str, most: int, damage: list[str], *, among: str = "") -> Iterator[Said]:
    """The dicts in the list at a key, which may be missing. What is not as it should be is added to damage.

    :param among: the key of the dict that the list is in, where that is not the result itself.
    """
    name = f"{among} {key}" if among else key
    for item in _listed(where, key, name, most, damage):
        if isinstance(item, Mapping):
            yield item
        else:
            damage.append(f"one of the {name} it reported is {kind(item)}, not a dict")


def texts(
    where: Said, key: str, most: int, damage: list[str], *, width: int = LONGEST_NAME, among: str = ""
) -> list[str]:
    """The texts in the list at a key, as mappings does it for dicts. Each is cut to a width."""
    name = f"{among} {key}" if among else key
    return [plain(item, width) or "?" for item in _listed(where, key, name, most, damage)]


def _listed(where: Said, key: str, name: str, most: int, damage: list[str]) -> Sequence[t.Any]:
    value = where.get(key)
    found = items(value)
    if value is not None and not found and not _is_list(value):
        damage.append(f"the {name} it reported are {kind(value)}, not a list")
    if len(found) > most:
        damage.append(f"it reported {len(found)} {name}; a report takes {most}")
    return found[:most]


def mapping(where: Said, key: str, damage: list[str]) -> Said:
    """The dict at a key, which may be missing. What is not as it should be is added to damage."""
    value = where.get(key)
    if value is None or isinstance(value, Mapping):
        return value or {}
    damage.append(f"the {key} it reported is {kind(value)}, not a dict")
    return {}


def warnings(where: Said) -> list[str]:
    """The warnings of a result or a part of one. Where there are many, the last line counts the other ones."""
    found = items(where.get("warnings"))
    said = [plain(warning) or "a warning without words" for warning in found[:MAX_WARNINGS]]
    if len(found) > MAX_WARNINGS:
        said.append(f"{len(found) - MAX_WARNINGS} more warnings")
    return said


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def items(value: object) -> Sequence[t.Any]:
    """What is in a list; nothing if it is none."""
    return t.cast("Sequence[t.Any]", value) if _is_list(value) else ()


def number(value: object) -> int | float | None:
    """A number that can be a size or a duration; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value <= _MAX_NUMBER else None  # which is not so for NaN and infinity either


def whole(value: object) -> int | None:
    """A number that can be a size, without what stands behind its point; None for anything else."""
    found = number(value)
    return None if found is None else int(found)


def seconds(value: object) -> float | None:
    """A number that can be a duration, to the millisecond; None for anything else."""
    found = number(value)
    return None if found is None else round(float(found), 3)


def moments(where: Said, now: float) -> tuple[float | None, float | None]:
    """When something began and ended, in seconds of the epoch, as far as that can be."""
    began, ended = (_moment(where.get(key), now) for key in ("started_at", "ended_at"))
    if began is not None and ended is not None and ended < began:
        return None, None
    return began, ended


def _moment(value: object, now: float) -> float | None:
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        found = moment.timestamp()
    except (ValueError, OverflowError):
        return None
    return found if _EARLIEST <= found <= now + _AHEAD else None


def iso(moment: float | None) -> str | None:
    """A moment in seconds of the epoch as ISO 8601 in UTC."""
    if moment is None:
        return None
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def wall_seconds(timed: Iterable[t.Any]) -> float | None:
    """From the first start to the last end of what has started_at and ended_at; None when none is known."""
    spans = [(one.started_at, one.ended_at) for one in timed]
    starts = [began for began, dummy in spans if began is not None]
    ends = [ended for dummy, ended in spans if ended is not None]
    return round(max(0.0, max(ends) - min(starts)), 3) if starts and ends else None


def kind(value: object) -> str:
    """What a value is, in words that do not repeat it."""
    if value is None:
        return "missing"
    if isinstance(value, (str, bytes)):
        return "a text"
    if isinstance(value, (bool, int, float)):
        return "a number"
    return "a dict" if isinstance(value, Mapping) else "a list" if _is_list(value) else "of another type"


def worst(*states: str) -> str:
    return max(states, key=HOST_STATES.index)


def counted(hosts: Sequence[Host], states: Iterable[str]) -> dict[str, int]:
    """How many hosts there are, and how many in each state: the beginning of a summary."""
    found = [host.state for host in hosts]
    return {"hosts": len(found), **{f"hosts_{state}": found.count(state) for state in states}}


def state_of_all(hosts: Sequence[Host]) -> str:
    """ok, warning or failed. A run without any host is no good one: nobody would notice that the group is empty."""
    found = worst(*(host.state for host in hosts)) if hosts else FAILED
    return {NOT_TOUCHED: WARNING, UNREACHABLE: FAILED}.get(found, found)
