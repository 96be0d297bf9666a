# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Turns whatever a task registered into a flat list of job records, and names loop items.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import os.path
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs

Record = dict[str, t.Any]

# The keys that core adds to the result of a job when a task waits for it or loops over it.
_ADDED_BY_CORE = frozenset(
    ("ansible_job_id", "ansible_loop_var", "ansible_index_var", "attempts", "finished", "results_file", "started")
)
_NAME_KEYS = ("name", "label", "id", "key")
_RECORD_KEYS = frozenset(("ansible_job_id", "name", "item", "state", "started_at", "ended_at"))
# Keys beside jobs in what plugins of this collection return.
_OF_OURS = frozenset(("summary", "cancelled", "removed"))


class NotAJob(ValueError):
    """What was given as jobs holds something that no task with async registered; the message says where."""


def new_record(jid: str | None, state: str, **fields: t.Any) -> Record:
    """One job as every plugin of this collection returns it (DESIGN, section 2).

    :param jid: its id; None where the launch failed.
    :param state: one of _jobs.STATES.
    :param fields: any of name, item, changed, started_at and ended_at (ISO 8601 UTC strings), elapsed (seconds),
        attempts, results_file, msg, result.
    """
    record: Record = {
        "ansible_job_id": jid,
        "name": jid or "?",
        "item": None,
        "state": state,
        "started": True,
        "finished": True,
        "failed": False,
        "changed": False,
        "started_at": None,
        "ended_at": None,
        "elapsed": None,
        "attempts": 1 if jid else 0,
        "results_file": None,
        "msg": "",
        "result": None,
    }
    record.update(fields)
    return with_state(record, state)


def with_state(record: Record, state: str) -> Record:
    """Set the state of a record, and with it the three booleans that follow from it."""
    record["state"] = state
    record["finished"] = state not in _jobs.OPEN_STATES
    never = record["finished"] and not record["attempts"]
    record["started"] = state not in (_jobs.NOT_STARTED, _jobs.QUEUED) and not never
    record["failed"] = record["finished"] and state != _jobs.SUCCEEDED
    return record


def job_records(value: object, label: str | None = None, where: str = "jobs") -> list[Record]:
    """Flatten a registered variable, a list of them, or job ids, into records in the order given.

    Skipped loop items are left out. Items whose launch failed become records in state not_started. Jobs that are
    known to have ended (records of this collection, results that core has waited for) stay as they are; all others
    are records in state running, still to be looked at.

    :param value: what a task registered, a job id, or any nesting of lists of those.
    :param label: attribute path in a loop item that names the job.
    :param where: what to call the value in messages.
    :raises NotAJob: when something in it is no job.
    """
    return list(_walk(value, label, where))


def summary_of(records: t.Iterable[Record]) -> dict[str, int]:
    """How many jobs there are in all (total) and in each state; states without a job count 0."""
    summary = dict.fromkeys(("total", *_jobs.STATES), 0)
    for record in records:
        summary["total"] += 1
        summary[record["state"]] += 1
    return summary


def jobs_of(number: int) -> str:
    """So many jobs, in words."""
    return f"{number} job" if number == 1 else f"{number} jobs"


def item_name(item: object, label: str | None = None, where: str = "item") -> str | None:
    """The name of a loop item: what the label finds in it, a scalar itself, else its name, label, id or key.

    :raises NotAJob: when the item has not got what label asks for.
    """
    if label and isinstance(item, Mapping):
        found = look_up(item, label)
        if not _is_scalar(found):
            raise NotAJob(f"label is {label!r}, but {where} has no such attribute: {sorted(map(str, item))}")
        return str(found)
    if _is_scalar(item):
        return str(item)
    if isinstance(item, Mapping):
        for key in _NAME_KEYS:
            if _is_scalar(item.get(key)):
                return str(item[key])
    return None


def look_up(item: object, path: str) -> object:
    """The value at a path like meta.name in nested mappings, or None."""
    for part in path.split("."):
        if not isinstance(item, Mapping):
            return None
        item = item.get(part)
    return item


def _is_scalar(value: object) -> bool:
    return isinstance(value, (str, int, float)) and value != ""


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _walk(value: object, label: str | None, where: str) -> t.Iterator[Record]:
    if _is_list(value):
        for index, element in enumerate(t.cast("Sequence[object]", value)):
            yield from _walk(element, label, f"{where}[{index}]")
    elif isinstance(value, Mapping):
        yield from _walk_mapping(value, label, where)
    elif isinstance(value, str):
        if not _jobs.is_job_id(value):
            raise NotAJob(f"{where} is a str that is no job id: {shown(value)}")
        yield new_record(str(value), _jobs.RUNNING)
    elif isinstance(value, float):
        raise NotAJob(f"{where} is the number {value}: write a job id in quotes")
    else:
        raise NotAJob(f"{where} is {_kind(value)}, which no task with async registered")


def _walk_mapping(value: Mapping[str, t.Any], label: str | None, where: str) -> t.Iterator[Record]:
    if _RECORD_KEYS.issubset(value) and value["state"] in _jobs.STATES:
        yield _from_record(value, label, where)
    elif value.get("ansible_job_id") is not None:
        yield _from_launch(value, label, where)
    elif _is_list(value.get("results")):
        yield from _walk(value["results"], label, f"{where}.results")
    elif _is_list(value.get("jobs")) and not _OF_OURS.isdisjoint(value):
        yield from _walk(value["jobs"], label, f"{where}.jobs")
    elif value.get("skipped"):
        return
    elif value.get("failed") or value.get("unreachable"):
        item = _item_of(value)
        name = item_name(item, label, f"the item of {where}") or where
        reason = one_line(value.get("msg")) or "its launch failed"
        yield new_record(None, _jobs.NOT_STARTED, name=name, item=item, msg=reason, result=dict(value))
    else:
        raise NotAJob(f"{where} is a dict without an ansible_job_id: register a task that has async and poll: 0")


def _item_of(result: object) -> object:
    """The loop item that a result belongs to; None without a loop."""
    if not isinstance(result, Mapping):
        return None
    item = result.get(str(result.get("ansible_loop_var", "item")))
    # In a loop over launches, as async_status has it, what names the job is the item of the launch.
    if isinstance(item, Mapping) and "ansible_job_id" in item:
        return _item_of(item)
    return item


def _from_record(value: Mapping[str, t.Any], label: str | None, where: str) -> Record:
    jid = value["ansible_job_id"]
    if jid is not None and not _jobs.is_job_id(jid):
        raise NotAJob(f"{where} has the ansible_job_id {shown(jid)}, which is no job id")
    if jid is None and value["state"] != _jobs.NOT_STARTED:
        raise NotAJob(f"{where} has no ansible_job_id, but the state {value['state']}")
    # Where its result was left out, there is more to be known of it than stands here.
    state = value["state"] if "result" in value or jid is None else _jobs.RUNNING
    record = new_record(jid, state)
    known = record if state == value["state"] else ("name", "item")
    record.update((key, value[key]) for key in known if key in value)
    record["results_file"] = _results_file(value, jid)
    if label:
        record["name"] = item_name(value["item"], label, f"the item of {where}") or record["name"]
    return with_state(record, state)


def _from_launch(value: Mapping[str, t.Any], label: str | None, where: str) -> Record:
    jid = value["ansible_job_id"]
    if not _jobs.is_job_id(jid):
        raise NotAJob(f"{where} has the ansible_job_id {shown(jid)}, which is no job id")
    jid = str(jid)
    item = _item_of(value)
    record = new_record(
        jid,
        _jobs.RUNNING,
        name=item_name(item, label, f"the item of {where}") or jid,
        item=item,
        results_file=_results_file(value, jid),
    )
    if value.get("finished"):
        # Core has waited for this one and may have deleted its job file since.
        if value.get("msg") == "could not find job":
            record["msg"] = "there was no job file"
            return with_state(record, _jobs.MISSING)
        added = _ADDED_BY_CORE | {str(value.get("ansible_loop_var", "item"))}
        set_result(record, {key: val for key, val in value.items() if key not in added})
    return record


def set_result(record: Record, result: dict[str, t.Any], state: str | None = None) -> None:
    """Put a module's whole result into a record, with the state and the reason that follow from it."""
    said = result.get("result") if _jobs.is_verdict(result) else result
    record["result"] = said if isinstance(said, dict) else None
    record["changed"] = bool((record["result"] or {}).get("changed"))
    with_state(record, state or _jobs.state_of_result(result))
    record["msg"] = reason_of(result, record["state"])


def reason_of(result: Mapping[str, t.Any], state: str) -> str:
    """Why a job ended as it did, in one line taken from its result."""
    if state == _jobs.TIMED_OUT:
        return one_line(result.get("msg") if _jobs.is_verdict(result) else "its time limit (async) passed")
    message = result.get("msg")
    if state == _jobs.SUCCEEDED:
        return one_line(message)
    if isinstance(message, str) and message.startswith("Traceback") and "data" in result:
        # What async_wrapper writes when the module printed something that is no JSON, or nothing at all.
        printed = one_line(result["data"]) or "nothing"
        complaint = end_of(result.get("stderr"))
        return f"the module printed no result but {printed}" + (f" ({complaint})" if complaint else "")
    if not message or "non-zero return code" in str(message):
        # command and shell say no more than that: what went wrong stands at the end of their output.
        message = end_of(result.get("stderr")) or end_of(result.get("stdout")) or message
    # A module that raised an exception says nothing else.
    return one_line(message) or end_of(result.get("exception")) or "it gave no reason"


def end_of(output: object) -> str:
    """What a program printed last, where the reason of a failure mostly stands: one line or two."""
    lines = [line.rstrip() for line in str(output or "").splitlines() if line.strip()][-2:]
    # The last line alone may only say that something went wrong (tar: "Exiting with failure status due to previous
    # errors"). An indented line before it is a part of something longer, like a traceback.
    return one_line("; ".join(lines) if lines and not lines[0][0].isspace() else "".join(lines[-1:]))


def one_line(value: object, width: int = 200) -> str:
    """The first line of a text that came from a host, short and safe to print on a terminal."""
    lines = [line for line in str("" if value is None else value).splitlines() if line.strip()]
    if not lines:
        return ""
    line = "".join(char if char.isprintable() else " " for char in lines[0]).strip()
    return line if len(line) <= width else line[: width - 3] + "..."


def shown(value: object) -> str:
    """A value as it may stand in a message: quoted, on one line, not too long."""
    text = repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= 80 else text[:77] + "..."


def _results_file(value: Mapping[str, t.Any], jid: str | None) -> str | None:
    """The path of the job file that a launch returned; None when it is not the file of this job."""
    path = value.get("results_file")
    if isinstance(path, str) and "\0" not in path and os.path.isabs(path) and os.path.basename(path) == jid:
        return str(path)
    return None


def _kind(value: object) -> str:
    if value is None:
        return "empty (null)"
    if isinstance(value, Mapping):
        return "a dict"
    if isinstance(value, int):
        return f"{'a boolean' if isinstance(value, bool) else 'a number'} ({value})"
    return f"a {type(value).__name__}"
