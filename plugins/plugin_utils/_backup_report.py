# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the hosts of a run reported of their backups, checked and added up. How it is shown: _backup_report_text.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import datetime
import re
import typing as t
from collections.abc import Mapping, Sequence

VERSION = 1  # of the JSON file

OK, WARNING, FAILED, UNREACHABLE = "ok", "warning", "failed", "unreachable"
# States of a host, the worst last.
HOST_STATES = (OK, WARNING, FAILED, UNREACHABLE)
# The one state of a set that is good, and those in which nobody can tell yet.
SUCCEEDED, RUNNING, QUEUED = "succeeded", "running", "queued"

# What a report takes of one host at most. Texts are cut, longer lists count as damage.
MAX_SETS = 500
MAX_BACKUPS = 5000
MAX_WARNINGS = 20
_LONGEST_SENTENCE = 500
_LONGEST_NAME = 100
# No text is looked at any further than this: what a host sends can be of any length.
_LONGEST_LOOKED_AT = 4000
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

_NOT_ENDED = "it had not ended when this report was made"
_NO_RESULT = "it gave no result: it could not be reached, or the run ended before its turn"


class File(t.NamedTuple):
    """A file of a backup. bytes, sha256: None where they are not known."""

    name: str
    bytes: int | None
    sha256: str | None


class SetReport(t.NamedTuple):
    """What came of one backup set, or of the one attempt at it.

    state: as the host told it. msg: why it did not succeed; in check mode what would be done; else empty. path: its
    folder on the host. bytes, previous_bytes: of this backup and of the one before. copied_to: where else it is.
    started_at, ended_at: seconds of the epoch. None: not known.
    """

    name: str
    state: str
    msg: str
    id: str | None
    path: str | None
    bytes: int | None
    previous_bytes: int | None
    members: int | None
    seconds: float | None
    sha256: str | None
    files: list[File]
    checks: list[str]
    warnings: list[str]
    copied_to: str | None
    started_at: float | None
    ended_at: float | None

    @property
    def saved(self) -> bool:
        return self.state == SUCCEEDED

    @property
    def change(self) -> float | None:
        """How much larger than the backup before, in percent of that one."""
        if not self.saved or self.bytes is None or not self.previous_bytes:
            return None
        return 100 * (self.bytes - self.previous_bytes) / self.previous_bytes


class Kept(t.NamedTuple):
    """A backup that the retention has kept, and the rules that it was kept by."""

    id: str
    reasons: list[str]


class Retention(t.NamedTuple):
    """What the retention did with the backups of a set. skipped: why it did nothing, else empty."""

    name: str
    kept: list[Kept]
    deleted: list[str]
    skipped: str


class HostReport(t.NamedTuple):
    """What came of one host. state: one of HOST_STATES. msg: why it is not ok, else empty."""

    host: str
    state: str
    msg: str
    sets: list[SetReport]
    retention: list[Retention]
    freed_bytes: int
    started_at: float | None
    ended_at: float | None

    @property
    def failed(self) -> bool:
        return self.state in (FAILED, UNREACHABLE)


class Report(t.NamedTuple):
    """What came of a whole run.

    state: ok, warning or failed. written_at: seconds of the epoch. check_mode: whether nothing was backed up, but only
    looked at.
    """

    title: str
    written_at: float
    state: str
    hosts: list[HostReport]
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
            "hosts": [_host_data(host) for host in self.hosts],
        }


def report_of(results: Mapping[t.Any, t.Any], title: str, now: float, check_mode: bool = False) -> Report:
    """Read what the hosts reported. Whatever that is, no host is lost by it.

    What cannot be read makes a host a failed one, and numbers and moments that cannot be are not known.

    :param results: by host: the fact parallel_backup_result, or None or {} where a host has none.
    :param now: seconds of the epoch.
    """
    hosts = [_host(str(host), result, now) for host, result in results.items()]
    return Report(plain(title), now, _state_of_all(hosts), hosts, _summary(hosts), check_mode)


def plain(value: object, width: int = _LONGEST_SENTENCE) -> str:
    """A text that came from a host as one line that can be printed, no longer than width, without passwords.

    Anything that is neither a text nor a number becomes an empty text.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_NUMBER:
        value = f"{value:d}"
    if not isinstance(value, str):
        return ""
    line = value[:_LONGEST_LOOKED_AT]
    if not line.isprintable():
        line = "".join(char if char.isprintable() else " " for char in line)
    line = " ".join(line.split())
    if "://" in line:
        line = " ".join(_without_user(word) for word in line.split())
    if "=" in line or ":" in line:
        line = _IN_AN_ASSIGNMENT.sub(r"\1***", line)
    return line if len(line) <= width else line[: width - 3] + "..."


def _without_user(word: str) -> str:
    """A word with *** for the user and the password, if it is or has an address that tells them."""
    scheme, separator, rest = word.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}***{at}{host}" if user else word


def iso(moment: float | None) -> str | None:
    """A moment in seconds of the epoch as ISO 8601 in UTC."""
    if moment is None:
        return None
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _host(host: str, result: object, now: float) -> HostReport:
    name = plain(host, _LONGEST_NAME) or "?"
    if not result:
        return HostReport(name, UNREACHABLE, _NO_RESULT, [], [], 0, None, None)
    if not isinstance(result, Mapping):
        msg = f"what it reported is {_kind(result)}, not a dict"
        return HostReport(name, FAILED, msg, [], [], 0, None, None)
    damage: list[str] = []
    said, msg = result.get("state"), plain(result.get("msg"))
    state = plain(said, 40)
    if state == RUNNING:
        state, msg = FAILED, msg or _NOT_ENDED
    elif state not in HOST_STATES:
        damage.append(f"the state it reported is {repr(state) if state else _kind(said)}")
        state = FAILED
    sets = [_set(one, now, damage) for one in _mappings(result, "sets", MAX_SETS, damage)]
    retention = [_retention(one, damage) for one in _mappings(result, "retention", MAX_SETS, damage)]
    if damage:
        state = _worst(FAILED, state)
        msg = "; ".join(filter(None, (msg, *damage[:3])))
    elif not sets and not retention and state == OK:
        state, msg = WARNING, msg or "it has no backup sets"
    if not all(one.saved for one in sets):
        state = _worst(FAILED, state)
    elif any(one.warnings for one in sets):
        state = _worst(WARNING, state)
    freed = _number(result.get("freed_bytes"))
    began, ended = _moments(result, now)
    return HostReport(name, state, plain(msg), sets, retention, int(freed or 0), began, ended)


def _set(one: Mapping[t.Any, t.Any], now: float, damage: list[str]) -> SetReport:
    began, ended = _moments(one, now)
    warnings = _items(one.get("warnings"))
    said = [plain(warning) or "a warning without words" for warning in warnings[:MAX_WARNINGS]]
    if len(warnings) > MAX_WARNINGS:
        said.append(f"{len(warnings) - MAX_WARNINGS} more warnings")
    seconds = _number(one.get("seconds"))
    state = plain(one.get("state"), 30) or "unknown"
    return SetReport(
        name=plain(one.get("set"), _LONGEST_NAME) or "?",
        state=state,
        msg=plain(one.get("msg")) or (_NOT_ENDED if state in (RUNNING, QUEUED) else ""),
        id=plain(one.get("id"), _LONGEST_NAME) or None,
        path=plain(one.get("path")) or None,
        bytes=_whole(one.get("bytes")),
        previous_bytes=_whole(one.get("previous_bytes")),
        members=_whole(one.get("members")),
        seconds=None if seconds is None else round(float(seconds), 3),
        sha256=plain(one.get("sha256"), _LONGEST_NAME) or None,
        files=[
            File(
                plain(file.get("name"), 255) or "?",
                _whole(file.get("bytes")),
                plain(file.get("sha256"), _LONGEST_NAME) or None,
            )
            for file in _mappings(one, "files", MAX_BACKUPS, damage)
        ],
        checks=[plain(check, 40) for check in _items(one.get("checks"))[:MAX_WARNINGS]],
        warnings=said,
        copied_to=plain(one.get("copied_to")) or None,
        started_at=began,
        ended_at=ended,
    )


def _retention(one: Mapping[t.Any, t.Any], damage: list[str]) -> Retention:
    name = plain(one.get("set"), _LONGEST_NAME) or "?"
    kept = [
        Kept(plain(kept.get("id"), 60) or "?", [plain(why, 40) for why in _items(kept.get("reasons"))[:10]])
        for kept in _mappings(one, "kept", MAX_BACKUPS, damage)
    ]
    deleted = _items(one.get("deleted"))
    if len(deleted) > MAX_BACKUPS:
        damage.append(f"it reported {len(deleted)} deleted backups of a set; a report takes {MAX_BACKUPS}")
    ids = [plain(number, 60) or "?" for number in deleted[:MAX_BACKUPS]]
    return Retention(name, kept, ids, plain(one.get("skipped")))


def _mappings(
    where: Mapping[t.Any, t.Any], key: str, most: int, damage: list[str]
) -> t.Iterator[Mapping[t.Any, t.Any]]:
    """The dicts in the list at a key, which may be missing. What is not as it should be is added to damage."""
    value = where.get(key)
    items = _items(value)
    if value is not None and not items and not _is_list(value):
        damage.append(f"the {key} it reported are {_kind(value)}, not a list")
    if len(items) > most:
        damage.append(f"it reported {len(items)} {key}; a report takes {most}")
    for item in items[:most]:
        if isinstance(item, Mapping):
            yield item
        else:
            damage.append(f"one of the {key} it reported is {_kind(item)}, not a dict")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _items(value: object) -> Sequence[t.Any]:
    return t.cast("Sequence[t.Any]", value) if _is_list(value) else ()


def _number(value: object) -> int | float | None:
    """A number that can be a size or a duration; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value <= _MAX_NUMBER else None  # which is not so for NaN and infinity either


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _moments(where: Mapping[t.Any, t.Any], now: float) -> tuple[float | None, float | None]:
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
        seconds = moment.timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if _EARLIEST <= seconds <= now + _AHEAD else None


def _kind(value: object) -> str:
    """What a value is, in words that do not repeat it."""
    if value is None:
        return "missing"
    if isinstance(value, (str, bytes)):
        return "a text"
    if isinstance(value, (bool, int, float)):
        return "a number"
    return "a dict" if isinstance(value, Mapping) else "a list" if _is_list(value) else "of another type"


def _worst(*states: str) -> str:
    return max(states, key=HOST_STATES.index)


def _state_of_all(hosts: Sequence[HostReport]) -> str:
    # A run that has backed up nothing at all is no good one: nobody would notice that the group is empty.
    if not hosts or any(host.failed for host in hosts):
        return FAILED
    return _worst(*(host.state for host in hosts))


def _summary(hosts: Sequence[HostReport]) -> dict[str, t.Any]:
    sets = [one for host in hosts for one in host.sets]
    timed: list[HostReport | SetReport] = [*hosts, *sets]
    starts = [one.started_at for one in timed if one.started_at is not None]
    ends = [one.ended_at for one in timed if one.ended_at is not None]
    return {
        "hosts": len(hosts),
        **{f"hosts_{state}": sum(host.state == state for host in hosts) for state in HOST_STATES},
        "sets": len(sets),
        "sets_ok": sum(one.saved for one in sets),
        "sets_failed": sum(not one.saved for one in sets),
        "bytes": sum(one.bytes or 0 for one in sets if one.saved),
        "freed_bytes": sum(host.freed_bytes for host in hosts),
        "wall_seconds": round(max(0.0, max(ends) - min(starts)), 3) if starts and ends else None,
        "serial_seconds": round(sum(one.seconds or 0.0 for one in sets), 3),
    }


def _host_data(host: HostReport) -> dict[str, t.Any]:
    return {
        "host": host.host,
        "state": host.state,
        "msg": host.msg or None,
        "started_at": iso(host.started_at),
        "ended_at": iso(host.ended_at),
        "sets": [_set_data(one) for one in host.sets],
        "retention": [
            {
                "set": one.name,
                "kept": [kept._asdict() for kept in one.kept],
                "deleted": one.deleted,
                "skipped": one.skipped or None,
            }
            for one in host.retention
        ],
        "freed_bytes": host.freed_bytes,
    }


def _set_data(one: SetReport) -> dict[str, t.Any]:
    fields = one._asdict()
    change = one.change
    return {
        "set": fields.pop("name"),
        **fields,
        "msg": one.msg or None,
        "files": [file._asdict() for file in one.files],
        "change_percent": None if change is None else round(change, 1),
        "started_at": iso(one.started_at),
        "ended_at": iso(one.ended_at),
    }
