# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Has jobs ended on a host, and tells people what became of them.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.module_utils._order import MAX_GRACE
from ansible_collections.inflight.jobs.plugins.plugin_utils import _listing
from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import CheckFailed, OutOfReach
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import Record, jobs_of, one_line, shown
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.plugins.connection import ConnectionBase

    from ansible_collections.inflight.jobs.plugins.plugin_utils._selection import Selection


class Host(t.Protocol):
    """What runs a module on a host: see _contact.Contact."""

    def ask(self, request: dict[str, t.Any], limit: float) -> dict[str, t.Any]: ...


# How many seconds jobs may take to end when a wait ends them.
GRACE = 10.0

# What chooses jobs; without any of these, all jobs of the host would be meant.
_CHOOSERS = ("jobs", "jid", "batch", "state", "name", "older_than", "newer_than")


def manner_of(arguments: Mapping[str, t.Any], given: t.Container[str]) -> dict[str, t.Any]:
    """How the jobs are to be ended, as the half on the host takes it.

    :param arguments: all options, by the argument spec.
    :param given: names of those that the task gave.
    :raises BadOption: when a value makes no sense, or nothing says which jobs are meant.
    """
    chosen = [name for name in _CHOOSERS if name in given and (name in ("jobs", "jid") or arguments[name] is not None)]
    if arguments["all"] and chosen:
        raise BadOption(f"all is true, and {chosen[0]} is given as well: give one of them")
    if not arguments["all"] and not chosen:
        raise BadOption(
            "nothing says which jobs to cancel: give jobs, batch, state, name, older_than or newer_than, or all: true"
        )
    grace = arguments["grace"]
    if not 0 <= grace <= MAX_GRACE:
        raise BadOption(f"grace is {grace:g}: it must be a number of seconds, 0 to {MAX_GRACE:g}")
    return {"signal": arguments["signal"], "grace": grace, "why": None}


def cancel(
    execute: t.Callable[..., dict[str, t.Any]],
    connection: ConnectionBase,
    request: dict[str, t.Any],
    selection: Selection,
    warn: t.Callable[[str], object],
) -> tuple[list[Record], dict[str, t.Any]]:
    """Have the module end jobs: their records, and all that it answered. As _listing.survey."""
    limit = _listing.LIMIT + 2 * request["grace"]
    return _listing.survey(execute, connection, request, selection, warn, limit=limit)


def end_jobs(host: Host, jobs: t.Iterable[tuple[str, str]], why: str) -> str:
    """Have jobs ended that somebody waits for: what went wrong, empty when nothing did.

    :param host: runs the module async_cancel.
    :param jobs: job directory and job id of each.
    :param why: what to say of it in their job files.
    """
    directories: dict[str, list[str]] = {}
    for path, jid in jobs:
        directories.setdefault(path, []).append(jid)
    request: dict[str, t.Any] = dict.fromkeys(("batch", "states", "name", "older_than", "newer_than"))
    request["directories"] = [{"path": path, "jobs": jids} for path, jids in directories.items()]
    request.update(signal="TERM", grace=GRACE, why=why)
    try:
        dummy_cancelled, left = _told(host.ask(request, _listing.LIMIT))
    except (OutOfReach, CheckFailed) as ex:
        return f"The jobs could not be cancelled: {ex}"
    reasons = "; ".join(one_line(reason) for reason in dict.fromkeys(reason for dummy, reason in left))
    return f"{len(left)} of the jobs could not be ended: {reasons}" if left else ""


def _told(response: Mapping[str, t.Any]) -> tuple[int, list[tuple[str, str]]]:
    """How many jobs a host says that it has cancelled; job id and reason of those that could not be ended.

    :raises CheckFailed: when it says something else.
    """
    cancelled, left = response.get("cancelled"), response.get("left")
    if isinstance(cancelled, int) and not isinstance(cancelled, bool) and isinstance(left, (list, tuple)):
        pairs = [pair for pair in left if isinstance(pair, (list, tuple)) and [*map(type, pair)] == [str, str]]
        if len(pairs) == len(left):
            return cancelled, [(pair[0], pair[1]) for pair in pairs]
    raise CheckFailed(f"the host told that {shown(cancelled)} jobs were cancelled, and not {shown(left)}")


def result_of(
    records: list[Record], response: Mapping[str, t.Any], check_mode: bool, no_log: bool = False
) -> dict[str, t.Any]:
    """What the task returns.

    :param records: of the jobs that were meant.
    :param response: what the half on the host answered.
    :param no_log: tell no names and no reasons in msg, which core shows of a failed task even then.
    :raises CheckFailed: when the host answered something that makes no sense.
    """
    cancelled, left = _told(response)
    return {
        "jobs": records,
        "cancelled": cancelled,
        "msg": message_of(records, response, check_mode, no_log),
        "changed": cancelled > 0,
        "failed": bool(left),
    }


def message_of(records: list[Record], response: Mapping[str, t.Any], check_mode: bool, no_log: bool) -> str:
    """What became of the jobs, in one sentence."""
    cancelled, left = _told(response)
    not_found = sum(record["state"] == _jobs.MISSING for record in records)
    not_started = sum(record["state"] == _jobs.NOT_STARTED for record in records)
    ended = sum(record["finished"] for record in records) - not_found - not_started - (0 if check_mode else cancelled)
    parts = []
    if cancelled:
        parts.append(f"{'would cancel' if check_mode else 'cancelled'} {jobs_of(cancelled)}")
    elif not left:
        parts.append("nothing to cancel")
    told = ((ended, "had ended"), (not_found, "not found"), (not_started, "had not been started"))
    parts.extend(f"{count} {what}" for count, what in told if count > 0)
    if left:
        names = {record["ansible_job_id"]: record["name"] for record in records}
        reasons = [f"{one_line(names.get(jid, jid))} ({one_line(why)})" for jid, why in left[:10]]
        reasons += [f"and {len(left) - 10} more"] if len(left) > 10 else []
        which = "no_log hides which" if no_log else ", ".join(reasons)
        parts.append(f"{jobs_of(len(left))} could not be ended: {which}")
    return ", ".join(parts)
