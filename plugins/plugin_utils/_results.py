# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# From the text of a job file to the result of the module, as a task that ran the module would have registered it.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import datetime
import json
import re
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs

try:
    # ansible-core 2.19 and newer write more than plain JSON into a job file. Without these, plain JSON is read.
    from ansible.module_utils.common.json import Direction, get_module_decoder

    DECODER: type[json.JSONDecoder] = get_module_decoder("legacy", Direction.MODULE_TO_CONTROLLER)
except (ImportError, AttributeError):  # pragma: no cover
    DECODER = json.JSONDecoder

_DELTA = re.compile(r"(?:(?P<days>[0-9]+) days?, )?(?P<hours>[0-9]+):(?P<minutes>[0-9]{2}):(?P<seconds>[0-9.]+)")


def decode(text: str) -> dict[str, t.Any]:
    """The result in the text of a job file, which is known to be a JSON object.

    One job file with something in it that core refuses (an unknown type, characters that are no UTF-8) must not take
    the other jobs down: then it is read as plain JSON, with the bad characters replaced.
    """
    result: t.Any
    try:
        result = json.loads(text, cls=DECODER)
    except Exception:  # noqa: BLE001  # core raises errors of many kinds here, AnsibleRuntimeError and TypeError among them
        result = json.loads(text, object_hook=_without_surrogates)
    if not isinstance(result, dict):  # an object that core takes for a value of a type of its own
        result = json.loads(text, object_hook=_without_surrogates)
    if isinstance(result, dict) and _jobs.is_verdict(result) and isinstance(result.get("result"), dict):
        result["result"] = _as_registered(result["result"])
    return _as_registered(result)


def _as_registered(result: dict[str, t.Any]) -> dict[str, t.Any]:
    """A result of a module with what core changes and adds before it is registered."""
    for key in ("warnings", "deprecations"):
        if isinstance(result.get(key), list):
            result[key] = [_plain(value) for value in result[key]]
    if "exception" in result:
        result["exception"] = _plain(result["exception"])
    for key in ("stdout", "stderr"):
        # Core adds these to what it registers, and playbooks rely on them.
        if isinstance(result.get(key), str):
            result.setdefault(key + "_lines", result[key].splitlines())
    return dict(result)


def duration(result: t.Mapping[str, t.Any]) -> float | None:
    """Seconds that the module itself says it took (command and shell do, as delta), else None."""
    if not {"start", "end", "delta"}.issubset(result):
        return None
    match = _DELTA.fullmatch(str(result["delta"]))
    if match is None:
        return None
    try:
        taken = datetime.timedelta(
            days=int(match["days"] or 0),
            hours=int(match["hours"]),
            minutes=int(match["minutes"]),
            seconds=float(match["seconds"]),
        )
        return round(taken.total_seconds(), 3)
    except (ValueError, OverflowError):
        return None


def earlier(moment: str, seconds: float) -> str | None:
    """The ISO 8601 UTC moment so many seconds before another one; None where no calendar has it."""
    try:
        there = datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")) - datetime.timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return None
    return there.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object) -> object:
    """The text of a warning or an error that core has wrapped in a type of its own."""
    event = getattr(value, "event", None)
    if event is None:
        return value
    if not hasattr(value, "version"):
        return str(event.msg)
    return {"msg": str(event.msg), "version": value.version, "date": getattr(value, "date", None)}


def _without_surrogates(pairs: dict[str, t.Any]) -> dict[str, t.Any]:
    return {_clean(key): _clean(value) for key, value in pairs.items()}


def _clean(value: t.Any) -> t.Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_clean(element) for element in value]
    return value
