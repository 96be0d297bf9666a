# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What tasks of the role parallel_backup registered on a host, as the result of that host.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

Result = dict[str, t.Any]

# What a set's entry has of the backup that was made.
_KEYS = (
    *("id", "path", "bytes", "previous_bytes", "shrunk", "members", "seconds", "verified", "checks", "warnings"),
    *("copied_to", "files"),
)


def of_jobs(registered: Mapping[str, t.Any], expected: Iterable[object] = ()) -> Result:
    """The result of a host.

    :param registered: what a task with async_batch or async_wait registered there, whatever became of it.
    :param expected: the names of the sets that are to be there.
    """
    jobs = registered.get("jobs")
    if registered.get("unreachable"):
        return _without_sets("unreachable", registered)
    if not isinstance(jobs, list) or (registered.get("failed") and not jobs):
        return _without_sets("failed", registered)
    sets = [_of_job(job) for job in jobs if isinstance(job, Mapping)]
    known = {found["set"] for found in sets}
    # In YAML a name may be a number; that of a job is text.
    sets += [_not_started(name) for name in map(str, expected) if name not in known]
    return {
        "state": _state_of(sets),
        "msg": None,
        "started_at": min((found["started_at"] for found in sets if found["started_at"]), default=None),
        "ended_at": max((found["ended_at"] for found in sets if found["ended_at"]), default=None),
        "sets": sets,
        "retention": [],
        "freed_bytes": 0,
    }


def with_retention(result: Mapping[str, t.Any], pruned: Mapping[str, t.Any]) -> Result:
    """The result of a host, with what became of its old backups.

    :param pruned: what a task with backup_prune registered there.
    """
    changed = {**(result or {"state": "ok", "msg": None, "started_at": None, "ended_at": None, "sets": []})}
    changed["retention"] = pruned.get("sets") or []
    changed["freed_bytes"] = pruned.get("freed_bytes") or 0
    if pruned.get("unreachable") or pruned.get("failed"):
        changed["state"] = "failed"
        changed["msg"] = f"old backups were not removed: {pruned.get('msg') or 'nothing is known of the reason'}"
    return changed


def _without_sets(state: str, registered: Mapping[str, t.Any]) -> Result:
    msg = str(registered.get("msg") or "nothing is known of the reason")
    return {
        "state": state,
        "msg": msg,
        "started_at": None,
        "ended_at": None,
        "sets": [],
        "retention": [],
        "freed_bytes": 0,
    }


def _of_job(job: Mapping[str, t.Any]) -> Result:
    result = job.get("result")
    backup = result.get("backup") if isinstance(result, Mapping) else None
    made = backup if isinstance(backup, Mapping) else {}
    good = job.get("state") == "succeeded"
    entry: Result = {
        "set": job.get("name"),
        "state": job.get("state"),
        "msg": None if good and made else job.get("msg"),
        "started_at": job.get("started_at"),
        "ended_at": job.get("ended_at"),
        "warnings": [],
    }
    entry.update({key: made[key] for key in _KEYS if made.get(key) is not None})
    return entry


def _not_started(name: str) -> Result:
    msg = "it was not started: other sets were, perhaps by an earlier run"
    return {"set": name, "state": "not_started", "msg": msg, "started_at": None, "ended_at": None, "warnings": []}


def _state_of(sets: list[Result]) -> str:
    states = {found["state"] for found in sets}
    if states & {"queued", "running"}:
        return "running"
    if states - {"succeeded"}:
        return "failed"
    return "warning" if any(found["warnings"] for found in sets) else "ok"
