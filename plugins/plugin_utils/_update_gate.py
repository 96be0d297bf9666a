# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Whether a roll-out of updates goes on to the next hosts, by what became of those whose turn has come.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import shown
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_reading import FAILED, UNREACHABLE
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_text import NO_REASON, count, cut, listed
from ansible_collections.inflight.jobs.plugins.plugin_utils._update_report import HostReport, host_report

# So many hosts are named in the sentence that says why a roll-out stops, each with so much of its cause.
MAX_NAMED = 10
_LONGEST_CAUSE = 200


class GateError(Exception):
    """A limit or the results are not what they should be."""


def gate(results: object, percentage: object, number: object) -> dict[str, t.Any]:
    """Whether to go on, and which hosts speak against it.

    :param results: by host: its parallel_update_result, or None where it has none, of the hosts whose turn has come.
    :param percentage: how many of these may fail or be out of reach, in percent.
    :param number: how many of these may, or None if only the percentage counts.
    :raises GateError: when one of these is something else.
    """
    if not isinstance(results, Mapping):
        raise GateError(f"{shown(results)} is not a dict of hosts: give the parallel_update_result of each by its name")
    share, most = _percentage(percentage), _count(number)
    now = time.time()
    # Read as the report reads them, so that the two never disagree.
    hosts = {str(name): host_report(name, result, now) for name, result in results.items()}
    bad = [host for host in hosts.values() if host.state in (FAILED, UNREACHABLE)]
    limits = []
    if len(bad) * 100 > share * len(hosts):
        limits.append(f"parallel_update_max_fail_percentage is {share:g}")
    if most is not None and len(bad) > most:
        limits.append(f"parallel_update_max_fail_count is {most}")
    return {
        "open": not limits,
        "failed": [name for name, host in hosts.items() if host.state == FAILED],
        "unreachable": [name for name, host in hosts.items() if host.state == UNREACHABLE],
        "msg": _sentence(bad, len(hosts), limits) if limits else "",
    }


def _sentence(bad: Sequence[HostReport], hosts: int, limits: Sequence[str]) -> str:
    share = f"{100 * len(bad) / hosts:.1f}".removesuffix(".0")
    named = [_told(host) for host in bad[:MAX_NAMED]]
    were = "was" if len(bad) == 1 else "were"
    return (
        f"{len(bad)} of {count(hosts, 'host')} ({share} %) failed or {were} out of reach, "
        f"and {' and '.join(limits)}: {listed(named, len(bad))}"
    )


def _told(host: HostReport) -> str:
    words = "was out of reach" if host.state == UNREACHABLE else "failed"
    return f"{host.host} {words}: {cut(host.msg or NO_REASON, _LONGEST_CAUSE)}"


def _percentage(value: object) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        found = float(value)  # variables from the command line are texts
    except (ValueError, OverflowError):
        found = -1.0
    if 0 <= found <= 100:
        return found
    raise GateError(f"max_fail_percentage is {shown(value)}: give a number from 0 to 100")


def _count(value: object) -> int | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError
        found = int(value)
    except ValueError:
        found = -1
    if found >= 0:
        return found
    raise GateError(f"max_fail_count is {shown(value)}: give a whole number from 0 up, or null for no such limit")
