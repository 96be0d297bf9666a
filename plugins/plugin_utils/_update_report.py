# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the hosts of a run reported of their updates, checked and added up. How it is shown: _update_report_text.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.inflight.jobs.plugins.plugin_utils import _report_reading as reading
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_reading import (
    FAILED,
    FAILED_STATES,
    HOST_STATES,
    NOT_ENDED,
    NOT_TOUCHED,
    OK,
    RUNNING,
    WARNING,
    Said,
    iso,
    mappings,
    plain,
    texts,
)

YES, NO, UNKNOWN = "yes", "no", "unknown"
# Phases. In the second one, the package manager works.
PREFLIGHT, UPDATE, REBOOT, VERIFY = "preflight", "update", "reboot", "verify"

# What a report takes of one host at most. Texts are cut, longer lists count as damage; of a log, the end is taken.
MAX_PACKAGES = 10_000
MAX_FILES = 1000
MAX_CHECKS = 1000
MAX_LOG_LINES = 200
_MAX_REASONS = 20
_MAX_PHASES = 10
_LONGEST_CHECK = 200
_LONGEST_PATH = 300

_STILL_RUNS = f"{NOT_ENDED}: the package manager was not stopped, and still runs on the host"
_FELL_OUT = "it fell out of the run before its update had ended: see what was printed"
_NOT_VERIFIED = "it was not verified: it fell out of the run before that, or the play leaves that out"
_TURN_NEVER_CAME = "the roll-out was stopped before its turn"


class Change(t.NamedTuple):
    """A package that is another one now. old: empty if it was newly installed. new: empty if it was removed."""

    name: str
    arch: str
    old: str
    new: str
    origin: str


class KeptBack(t.NamedTuple):
    """A package of which there is a newer version that was not installed."""

    name: str
    old: str
    new: str


class FailedPackage(t.NamedTuple):
    name: str
    state: str


class Kernel(t.NamedTuple):
    """The kernel that ran, and that runs now. Empty: not known."""

    before: str
    after: str


class Reboot(t.NamedTuple):
    """needed: yes, no, unknown, or empty if nobody has looked. msg: why the host was not rebooted, or empty."""

    needed: str
    reasons: list[str]
    done: bool
    seconds: float | None
    msg: str

    @property
    def open(self) -> bool:
        return self.needed == YES and not self.done


class Check(t.NamedTuple):
    name: str
    ok: bool
    msg: str


class Health(t.NamedTuple):
    """What checks found. new_faults: names of those that the update is to blame for. old_faults: that do not count."""

    before: list[Check]
    after: list[Check]
    new_faults: list[str]
    old_faults: list[str]


class Snapshot(t.NamedTuple):
    """kind: none, lvm, command, or empty if nothing is known. msg: what became of it, or empty."""

    kind: str
    msg: str


class HostReport(t.NamedTuple):
    """What came of one host.

    state: one of HOST_STATES. msg: why it is not ok, else empty. phase: where it failed, else empty. seconds: of each
    phase. planned: what would be changed, in check mode. held: what the administrator of the host holds. excluded: what
    the role was told to leave as it is. conffiles: new versions of configuration files, put beside changed ones.
    """

    host: str
    state: str
    msg: str
    phase: str
    started_at: float | None
    ended_at: float | None
    seconds: dict[str, float]
    manager: str
    changed: bool
    packages: list[Change]
    planned: list[Change]
    kept_back: list[KeptBack]
    held: list[str]
    excluded: list[str]
    failed_packages: list[FailedPackage]
    log_tail: list[str]
    conffiles: list[str]
    warnings: list[str]
    kernel: Kernel
    reboot: Reboot
    health: Health
    snapshot: Snapshot

    @property
    def taken(self) -> float | None:
        """How many seconds it took."""
        if self.seconds:
            return sum(self.seconds.values())
        return None if self.started_at is None or self.ended_at is None else self.ended_at - self.started_at

    def data(self) -> dict[str, t.Any]:
        return {
            **self._asdict(),
            "msg": self.msg or None,
            "phase": self.phase or None,
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "manager": self.manager or None,
            **{key: [_data(one) for one in getattr(self, key)] for key in ("packages", "planned", "kept_back")},
            "failed_packages": [_data(one) for one in self.failed_packages],
            "kernel": _data(self.kernel),
            "reboot": _data(self.reboot),
            "health": {
                **self.health._asdict(),
                **{key: [_data(check) for check in getattr(self.health, key)] for key in ("before", "after")},
            },
            "snapshot": _data(self.snapshot),
        }


Report = reading.Report[HostReport]


class Spread(t.NamedTuple):
    """The same change of a package on some hosts."""

    name: str
    old: str
    new: str
    hosts: list[str]


def report_of(results: Mapping[t.Any, t.Any], title: str, now: float, check_mode: bool = False) -> Report:
    """Read what the hosts reported. Whatever that is, no host is lost by it.

    What cannot be read makes a host a failed one, and numbers and moments that cannot be are not known.

    :param results: by host: the fact parallel_update_result, or None or {} where a host has none.
    :param now: seconds of the epoch.
    """
    hosts = [_ended(host_report(host, result, now), result, check_mode) for host, result in results.items()]
    return Report(plain(title), now, reading.state_of_all(hosts), hosts, _summary(hosts, check_mode), check_mode)


def host_report(host: object, result: object, now: float) -> HostReport:
    """Read what one host reported."""
    damage: list[str] = []
    name, state, msg, began, ended, said = reading.opening(host, result, HOST_STATES, now, damage)
    phase = plain(said.get("phase"), 30)
    if state == RUNNING:
        state = FAILED
        msg = "; ".join(filter(None, (msg, _STILL_RUNS if phase in ("", UPDATE) else NOT_ENDED)))
    packages = _changes(said, "packages", damage)
    found = HostReport(
        host=name,
        state=state,
        msg=msg or (_TURN_NEVER_CAME if state == NOT_TOUCHED else ""),
        phase=phase,
        started_at=began,
        ended_at=ended,
        seconds=_phases(reading.mapping(said, "seconds", damage)),
        manager=plain(said.get("manager"), 30),
        changed=said.get("changed") is True or bool(packages),
        packages=packages,
        planned=_changes(said, "planned", damage),
        kept_back=[
            KeptBack(_name(one), plain(one.get("old"), 100), plain(one.get("new"), 100))
            for one in mappings(said, "kept_back", MAX_PACKAGES, damage)
        ],
        held=texts(said, "held", MAX_PACKAGES, damage),
        excluded=texts(said, "excluded", MAX_PACKAGES, damage),
        failed_packages=[
            FailedPackage(_name(one), plain(one.get("state"), 60))
            for one in mappings(said, "failed_packages", MAX_PACKAGES, damage)
        ],
        log_tail=_log(said, damage),
        conffiles=texts(said, "conffiles", MAX_FILES, damage, width=_LONGEST_PATH),
        warnings=reading.warnings(said),
        kernel=_kernel(reading.mapping(said, "kernel", damage)),
        reboot=_reboot(reading.mapping(said, "reboot", damage), damage),
        health=_health(reading.mapping(said, "health", damage), damage),
        snapshot=_snapshot(reading.mapping(said, "snapshot", damage)),
    )
    return _judged(found, damage)


def _ended(host: HostReport, result: object, check_mode: bool) -> HostReport:
    """A host whose run is over. One that fell out of it on its way is not well, whatever it said last."""
    reached = result.get("reached") if isinstance(result, Mapping) else None
    if host.state in (OK, WARNING) and reached == PREFLIGHT:
        return host._replace(state=FAILED, phase=UPDATE, msg=_FELL_OUT)
    if host.state in (OK, WARNING) and reached in (UPDATE, REBOOT) and not check_mode:
        return host._replace(state=FAILED, phase=VERIFY, msg=_NOT_VERIFIED)
    return host


def spread(report: Report) -> list[Spread]:
    """Each change of a package, and the hosts that have it; in check mode, that would have it."""
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for host in report.hosts:
        for change in changes_of(host, report.check_mode):
            found.setdefault((change.name, change.old, change.new), {})[host.host] = None
    return [Spread(*change, list(hosts)) for change, hosts in sorted(found.items())]


def changes_of(host: HostReport, check_mode: bool) -> list[Change]:
    """What was changed on a host; in check mode, what would be."""
    return host.planned if check_mode else host.packages


def _judged(host: HostReport, damage: Sequence[str]) -> HostReport:
    """A host with the state that it has by all that it said: never a better one."""
    state, msg = host.state, host.msg
    faults = []
    if host.failed_packages:
        faults.append(f"packages are not whole: {_some([one.name for one in host.failed_packages])}")
    if host.health.new_faults:
        faults.append(f"new faults: {_some(host.health.new_faults)}")
    if faults:
        state = reading.worst(FAILED, state)
    elif host.warnings:
        state = reading.worst(WARNING, state)
    if state in FAILED_STATES and not msg and not damage:
        msg = "; ".join(faults)
    state, msg = reading.with_damage(state, msg, damage)
    return host._replace(state=state, msg=plain(msg))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _changes(said: Said, key: str, damage: list[str]) -> list[Change]:
    return [
        Change(
            name=_name(one),
            arch=plain(one.get("arch"), 30),
            old=plain(one.get("old"), 100),
            new=plain(one.get("new"), 100),
            origin=plain(one.get("origin"), 100),
        )
        for one in mappings(said, key, MAX_PACKAGES, damage)
    ]


def _name(one: Said) -> str:
    return plain(one.get("name"), reading.LONGEST_NAME) or "?"


def _phases(said: Said) -> dict[str, float]:
    taken = {plain(phase, 30): reading.seconds(seconds) for phase, seconds in list(said.items())[:_MAX_PHASES]}
    return {phase: seconds for phase, seconds in taken.items() if phase and seconds is not None}


def _log(said: Said, damage: list[str]) -> list[str]:
    value = said.get("log_tail")
    lines = reading.items(value)
    if value is not None and not lines:
        # Damage if it is no list at all.
        return texts(said, "log_tail", MAX_LOG_LINES, damage)
    shown = [line for line in map(plain, lines[-MAX_LOG_LINES:]) if line]
    left_out = len(lines) - MAX_LOG_LINES
    return [f"({left_out} lines before these are left out)", *shown] if left_out > 0 else shown


def _kernel(said: Said) -> Kernel:
    return Kernel(*(plain(said.get(key), reading.LONGEST_NAME) for key in ("before", "after")))


def _reboot(said: Said, damage: list[str]) -> Reboot:
    needed = said.get("needed")
    if isinstance(needed, bool):
        needed = YES if needed else NO  # what a YAML file makes of these words
    return Reboot(
        needed=needed if needed in (YES, NO, UNKNOWN) else "",
        reasons=texts(said, "reasons", _MAX_REASONS, damage, width=reading.LONGEST_SENTENCE, among="reboot"),
        done=said.get("done") is True,
        seconds=reading.seconds(said.get("seconds")),
        msg=plain(said.get("msg")),
    )


def _health(said: Said, damage: list[str]) -> Health:
    before, after = (
        [
            Check(plain(one.get("name"), _LONGEST_CHECK) or "?", one.get("ok") is True, plain(one.get("msg")))
            for one in mappings(said, key, MAX_CHECKS, damage, among="health")
        ]
        for key in ("before", "after")
    )
    new, old = (
        texts(said, key, MAX_CHECKS, damage, width=_LONGEST_CHECK, among="health")
        for key in ("new_faults", "old_faults")
    )
    return Health(before, after, new, old)


def _snapshot(said: Said) -> Snapshot:
    return Snapshot(plain(said.get("kind"), 30), plain(said.get("msg")))


def _summary(hosts: Sequence[HostReport], check_mode: bool) -> dict[str, t.Any]:
    changes = [changes_of(host, check_mode) for host in hosts]
    return {
        **reading.counted(hosts, HOST_STATES),
        "packages": sum(map(len, changes)),
        "hosts_changed": sum(host.changed or bool(changed) for host, changed in zip(hosts, changes, strict=True)),
        "hosts_rebooted": sum(host.reboot.done for host in hosts),
        "hosts_reboot_needed": sum(host.reboot.open for host in hosts),
        "kept_back": sum(len(host.kept_back) for host in hosts),
        "wall_seconds": reading.wall_seconds(hosts),
    }


def _data(one: t.Any) -> dict[str, t.Any]:
    """A named tuple as JSON has it, where what is not known is null."""
    return {key: None if value == "" else value for key, value in one._asdict().items()}
