# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# From what a survey on the host found to the records that people see.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import math
import os.path
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import CheckFailed, Contact, Message, OutOfReach
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import (
    NotAJob,
    Record,
    jobs_of,
    new_record,
    one_line,
    shown,
    summary_of,
    with_state,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._reports import take_in
from ansible_collections.inflight.jobs.plugins.plugin_utils._selection import Selection
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.plugins.connection import ConnectionBase

# How many seconds the host may take to look through its job directory.
LIMIT = 300.0

# What a record of a survey has beyond the others, where it is known.
MORE = (
    "batch",
    "queue_place",
    "pid",
    "user",
    "command",
    "cpu_seconds",
    "memory_bytes",
    "children",
    "time_left",
    "tail",
)


_TEXT, _WHOLE, _NUMBER = (str, "text"), (int, "whole number"), ((int, float), "number")
_INFINITE = (math.inf, -math.inf)
# What a host may tell of a job, where it tells it.
_KINDS: dict[str, tuple[t.Any, str]] = {
    **dict.fromkeys(("text", "started_at", "ended_at", "batch", "user", "command"), _TEXT),
    **dict.fromkeys(("attempts", "queue_place", "pid", "memory_bytes", "children"), _WHOLE),
    **dict.fromkeys(("elapsed", "cpu_seconds", "time_left"), _NUMBER),
    "tail": (list, "list"),
}


@contextlib.contextmanager
def options_checked(no_log: bool) -> t.Iterator[None]:
    """Where options are read that the argument spec cannot check alone: the task fails when one is wrong.

    :param no_log: of the task. Core shows the message even then, and there are values in it.
    """
    try:
        yield
    except (BadOption, NotAJob) as ex:
        raise AnsibleActionFail("An option is wrong; no_log hides which" if no_log else str(ex)) from None


def survey(
    execute: t.Callable[..., Message],
    connection: ConnectionBase,
    request: Message,
    selection: Selection,
    warn: t.Callable[[str], object],
    *,
    results: bool = False,
    limit: float = LIMIT,
) -> tuple[list[Record], Message]:
    """Have the module look at the jobs on the host: their records, and all that it answered.

    :param execute: runs the module, as Contact takes it.
    :param warn: shows what there is to remark.
    :param results: whether records have their key result.
    :param limit: how many seconds the host may take.
    """
    try:
        response = Contact(execute, connection).ask(request, limit)
        records = records_of(response["jobs"], selection, results)
    except OutOfReach as ex:
        raise AnsibleConnectionFailure(str(ex)) from ex
    except CheckFailed as ex:
        raise AnsibleActionFail(ex.sentence) from ex
    for remark in response["remarks"]:
        warn(one_line(remark, width=400))
    return records, response


def records_of(reports: t.Iterable[dict[str, t.Any]], selection: Selection, results: bool) -> list[Record]:
    """The records of the jobs that were found, in the order of the jobs that the task named, else as they came.

    :param reports: what _survey.Survey.report returned for each.
    :param results: whether records have their key result.
    :raises CheckFailed: when the host told something that is no job.
    """
    given = selection.records or []
    # The host tells paths without detours.
    paths = [os.path.normpath(record["results_file"]) if record["results_file"] else None for record in given]
    named = {path or record["ansible_job_id"]: record for path, record in zip(paths, given, strict=True)}
    order: dict[str | None, int] = {}
    for number, (path, record) in enumerate(zip(paths, given, strict=True)):
        order.setdefault(path or record["ansible_job_id"], number)
    found: list[tuple[int, Record]] = []
    for report in reports:
        _check(report)
        jid, path = report["jid"], report["results_file"]
        key = path if path in named else jid
        found.append((order.get(key, 0), _record_of(report, named.get(key))))
    meant = selection.not_started
    found.extend((number, record) for number, record in enumerate(given) if any(record is one for one in meant))
    records = [record for dummy, record in sorted(found, key=lambda one: one[0])]
    return records if results else [{key: record[key] for key in record if key != "result"} for record in records]


def _check(report: t.Any) -> None:
    """
    :raises CheckFailed: when this is not what Survey.report says of a job.
    """
    jid = report.get("jid") if isinstance(report, dict) else report
    if not _jobs.is_job_id(jid):
        raise CheckFailed(f"the host told a job id that is none: {shown(jid)}")
    for key in ("reason", "results_file", "name"):
        if not isinstance(report.get(key), str):
            raise CheckFailed(f"the host told no {key} of the job {jid}, but {shown(report.get(key))}")
    for key, (kinds, kind) in _KINDS.items():
        value = report.get(key)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool) or value in _INFINITE):
            raise CheckFailed(f"the host told of the job {jid} that its {key} is {shown(value)}, which is no {kind}")
    if not all(isinstance(line, str) for line in report.get("tail") or ()):
        raise CheckFailed(f"the host told of the job {jid} that it printed {shown(report['tail'])}")


def _record_of(report: dict[str, t.Any], named: Record | None) -> Record:
    jid, state = report["jid"], report.get("state")
    if state not in _jobs.STATES:
        state = _jobs.UNREADABLE
    record = new_record(jid, _jobs.RUNNING, name=report["name"], item=report["item"])
    if named is not None and named["name"] != jid:
        record.update(name=named["name"], item=named["item"])
    if state in _jobs.OPEN_STATES:
        for key in ("started_at", "elapsed", "results_file"):
            record[key] = report.get(key)
        record["attempts"] = 0 if state == _jobs.QUEUED else 1
        with_state(record, state)
    else:
        take_in(record, {**report, "state": state})
    record.update((key, report[key]) for key in MORE if report.get(key) is not None)
    return record


def message_of(records: list[Record]) -> str:
    """How many jobs there are, and in which states, in one sentence."""
    summary = summary_of(records)
    total = summary.pop("total")
    states = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in summary.items() if count)
    return jobs_of(total) + (f": {states}" if states else "")
