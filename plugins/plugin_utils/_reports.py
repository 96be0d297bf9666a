# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# From what the host reports of a job that has ended to its record.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils import _results
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import Record, set_result, with_state


def take_in(record: Record, report: dict[str, t.Any]) -> None:
    """Bring a record up to date with what the host reported of its job."""
    state = report["state"]
    if state not in _jobs.STATES or state in _jobs.OPEN_STATES:
        state = _jobs.UNREADABLE
    record["started_at"] = report.get("started_at")
    record["ended_at"] = report.get("ended_at")
    record["elapsed"] = report.get("elapsed")
    record["attempts"] = report.get("attempts", max(record["attempts"], int(report.get("text") is not None)))
    record["results_file"] = report.get("results_file") or record["results_file"]
    if report.get("text") is None:
        record["msg"] = report["reason"]
        with_state(record, state)
        return
    try:
        result = _results.decode(report["text"])
    except (ValueError, RecursionError, AttributeError):
        record["msg"] = "its result cannot be read"
        with_state(record, _jobs.UNREADABLE)
        return
    set_result(record, result, state)
    if record["elapsed"] is None and record["result"] is not None:
        # It had ended before anybody looked; but command and shell say themselves how long they took.
        record["elapsed"] = _results.duration(record["result"])
        if record["elapsed"] is not None and record["ended_at"]:
            record["started_at"] = _results.earlier(record["ended_at"], record["elapsed"])
