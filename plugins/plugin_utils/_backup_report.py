# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the hosts of a run reported of their backups, checked and added up. How it is shown: _backup_report_text.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.inflight.jobs.plugins.plugin_utils import _report_reading as reading
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_reading import (
    FAILED,
    LONGEST_NAME,
    MAX_WARNINGS,
    NOT_ENDED,
    OK,
    RUNNING,
    UNREACHABLE,
    WARNING,
    Said,
    iso,
    plain,
)

# States of a host, the worst last.
HOST_STATES = (OK, WARNING, FAILED, UNREACHABLE)
# The one state of a set that is good, and beside running the one in which nobody can tell yet.
SUCCEEDED, QUEUED = "succeeded", "queued"

# What a report takes of one host at most. Texts are cut, longer lists count as damage.
MAX_SETS = 500
MAX_BACKUPS = 5000


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

    def data(self) -> dict[str, t.Any]:
        return {
            "host": self.host,
            "state": self.state,
            "msg": self.msg or None,
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "sets": [_set_data(one) for one in self.sets],
            "retention": [
                {
                    "set": one.name,
                    "kept": [kept._asdict() for kept in one.kept],
                    "deleted": one.deleted,
                    "skipped": one.skipped or None,
                }
                for one in self.retention
            ],
            "freed_bytes": self.freed_bytes,
        }


Report = reading.Report[HostReport]


def report_of(results: Mapping[t.Any, t.Any], title: str, now: float, check_mode: bool = False) -> Report:
    """Read what the hosts reported. Whatever that is, no host is lost by it.

    What cannot be read makes a host a failed one, and numbers and moments that cannot be are not known.

    :param results: by host: the fact parallel_backup_result, or None or {} where a host has none.
    :param now: seconds of the epoch.
    """
    hosts = [_host(host, result, now) for host, result in results.items()]
    return Report(plain(title), now, reading.state_of_all(hosts), hosts, _summary(hosts), check_mode)


def _host(host: object, result: object, now: float) -> HostReport:
    damage: list[str] = []
    name, state, msg, began, ended, said = reading.opening(host, result, HOST_STATES, now, damage)
    if state == RUNNING:
        state, msg = FAILED, msg or NOT_ENDED
    sets = [_set(one, now, damage) for one in reading.mappings(said, "sets", MAX_SETS, damage)]
    retention = [_retention(one, damage) for one in reading.mappings(said, "retention", MAX_SETS, damage)]
    if not damage and not sets and not retention and state == OK:
        state, msg = WARNING, msg or "it has no backup sets"
    state, msg = reading.with_damage(state, msg, damage)
    if not all(one.saved for one in sets):
        state = reading.worst(FAILED, state)
    elif any(one.warnings for one in sets):
        state = reading.worst(WARNING, state)
    freed = reading.whole(said.get("freed_bytes")) or 0
    return HostReport(name, state, msg, sets, retention, freed, began, ended)


def _set(one: Said, now: float, damage: list[str]) -> SetReport:
    began, ended = reading.moments(one, now)
    state = plain(one.get("state"), 30) or "unknown"
    return SetReport(
        name=plain(one.get("set"), LONGEST_NAME) or "?",
        state=state,
        msg=plain(one.get("msg")) or (NOT_ENDED if state in (RUNNING, QUEUED) else ""),
        id=plain(one.get("id"), LONGEST_NAME) or None,
        path=plain(one.get("path")) or None,
        bytes=reading.whole(one.get("bytes")),
        previous_bytes=reading.whole(one.get("previous_bytes")),
        members=reading.whole(one.get("members")),
        seconds=reading.seconds(one.get("seconds")),
        sha256=plain(one.get("sha256"), LONGEST_NAME) or None,
        files=[
            File(
                plain(file.get("name"), 255) or "?",
                reading.whole(file.get("bytes")),
                plain(file.get("sha256"), LONGEST_NAME) or None,
            )
            for file in reading.mappings(one, "files", MAX_BACKUPS, damage)
        ],
        checks=[plain(check, 40) for check in reading.items(one.get("checks"))[:MAX_WARNINGS]],
        warnings=reading.warnings(one),
        copied_to=plain(one.get("copied_to")) or None,
        started_at=began,
        ended_at=ended,
    )


def _retention(one: Said, damage: list[str]) -> Retention:
    name = plain(one.get("set"), LONGEST_NAME) or "?"
    kept = [
        Kept(plain(kept.get("id"), 60) or "?", [plain(why, 40) for why in reading.items(kept.get("reasons"))[:10]])
        for kept in reading.mappings(one, "kept", MAX_BACKUPS, damage)
    ]
    deleted = reading.texts(one, "deleted", MAX_BACKUPS, damage, width=60)
    return Retention(name, kept, deleted, plain(one.get("skipped")))


def _summary(hosts: Sequence[HostReport]) -> dict[str, t.Any]:
    sets = [one for host in hosts for one in host.sets]
    return {
        **reading.counted(hosts, HOST_STATES),
        "sets": len(sets),
        "sets_ok": sum(one.saved for one in sets),
        "sets_failed": sum(not one.saved for one in sets),
        "bytes": sum(one.bytes or 0 for one in sets if one.saved),
        "freed_bytes": sum(host.freed_bytes for host in hosts),
        "wall_seconds": reading.wall_seconds([*hosts, *sets]),
        "serial_seconds": round(sum(one.seconds or 0.0 for one in sets), 3),
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
