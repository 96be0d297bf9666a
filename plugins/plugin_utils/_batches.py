# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The planner behind the filter and the lookup batch_async: cuts items into batches by size, count and weights.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import heapq
import itertools
import json
import math
import os.path
import re
import statistics
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils import _registered
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import shown

Item = t.TypeVar("Item")

# More digits than that are a mistake, and int() refuses very long strings with a message of its own.
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")
_NAMES_SHOWN = 5


class BatchError(ValueError):
    """No plan can be made from what was given; the message names the value and where it stood."""


class Run(t.NamedTuple):
    """One succeeded job of a job log: the host it ran on, its name, its length in seconds."""

    host: str
    name: str
    elapsed: float


def plan(
    items: Sequence[Item], *, size: object = None, count: object = None, weights: Sequence[float] | None = None
) -> list[list[Item]]:
    """Cut items into batches, none of them empty.

    Without weights the order is kept. With weights and a size, batches are taken to run one after the other, each as
    long as its longest item: items of like weight go together, heaviest first. With weights and a count, batches are
    taken to run side by side, each as long as its sum: longest processing time first, which ends within
    4/3 - 1/(3m) of the best plan for m batches (R. L. Graham, Bounds on Multiprocessing Timing Anomalies, SIAM
    Journal on Applied Mathematics 17, 1969).

    :param items: what to cut.
    :param size: at most so many items in a batch, a whole number from 1 up; or its digits as a string.
    :param count: at most so many batches, likewise; exactly one of size and count is given.
    :param weights: seconds (or any other unit, the same for all) of each item, as weights_of and weights_of_runs
        return them.
    :raises BatchError: when size or count is no such number, or when both or neither of them is given.
    """
    if size is not None and count is not None:
        raise BatchError(f"size is {shown(size)} and count is {shown(count)}: give one of them, not both")
    if size is not None:
        return _cut(items, _whole_number("size", size), weights)
    if count is None:
        raise BatchError("neither size nor count is given: give one of them")
    # More batches than items would only be empty ones.
    batches = min(_whole_number("count", count), len(items))
    return _even(items, batches) if weights is None else _longest_first(items, batches, weights)


def as_items(value: object, where: str = "items") -> list[t.Any]:
    """The items of any list, tuple or generator.

    :param where: what to call the value in messages.
    :raises BatchError: when value is a string, a dict, or nothing that can be walked through.
    """
    if isinstance(value, Mapping):
        raise BatchError(f"{where} is a dict, not a list: turn it into a list with ansible.builtin.dict2items")
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise BatchError(f"{where} is {_described(value)}, not a list")
    return list(value)


def weights_of(
    items: Sequence[object], weight: object, label: str | None = None, where: str = "weight"
) -> list[float] | None:
    """The weight of each item; an item without one counts as the median of those known.

    :param items: the items of the plan.
    :param weight: the name of an attribute of the items (with dots), a dict of item names and seconds, a list with one
        number for each item (null: not known), or None.
    :param label: attribute path in an item that names it, as in _registered.item_name.
    :param where: what to call the weight in messages.
    :return: None when there is nothing to go by (no weight, an empty dict): the order is to be kept.
    :raises BatchError: when weight is of another kind or fits no item, or holds what is no number from 0 up.
    """
    if weight is None:
        return None
    if isinstance(weight, str) and weight:
        found = [_registered.look_up(item, weight) for item in items]
        unknown = f"{where} is {shown(weight)}, but no item has that attribute"
        unknown += f": item 1 {_attributes(items[0])}" if items else ""
    elif isinstance(weight, Mapping):
        if not weight:
            return None
        entries = {str(name): seconds for name, seconds in weight.items()}
        names = _names(items, label)
        found = [None if name is None else entries.get(name) for name in names]
        unknown = f"{where} has no entry for any item: items are {_some(names)}; {where} has {_some(list(entries))}"
    elif isinstance(weight, Iterable) and not isinstance(weight, (str, bytes)):
        found = list(weight)
        if len(found) != len(items):
            raise BatchError(f"{where} is a list of length {len(found)}, but there are {len(items)} items")
        unknown = f"{where} is a list that holds no number"
    else:
        raise BatchError(
            f"{where} is {_described(weight)}: "
            "it must be the name of an attribute, a dict of item names and seconds, or a list of numbers"
        )
    weights = [_checked(items, index, value, where) for index, value in enumerate(found)]
    if items and not any(value is not None for value in weights):
        raise BatchError(unknown)
    return _with_median(weights)


def weights_of_runs(
    items: Sequence[object], runs: Sequence[Run], host: str | None, label: str | None = None
) -> list[float] | None:
    """The weight of each item in seconds, learned from earlier runs.

    It is the median of the runs of the same name on the same host, else on any host, else of all runs.

    :param items: the items of the plan.
    :param runs: what logged_runs found.
    :param host: inventory name of the host that the plan is for; None where there is none.
    :param label: attribute path in an item that names it, as in _registered.item_name.
    :return: None when there are no runs: the order is to be kept.
    :raises BatchError: when an item has not got what label asks for.
    """
    if not runs:
        return None
    here: dict[str, list[float]] = {}
    anywhere: dict[str, list[float]] = {}
    for run in runs:
        anywhere.setdefault(run.name, []).append(run.elapsed)
        if run.host == host:
            here.setdefault(run.name, []).append(run.elapsed)
    otherwise = [run.elapsed for run in runs]
    return [
        statistics.median((here.get(name) or anywhere.get(name) or otherwise) if name is not None else otherwise)
        for name in _names(items, label)
    ]


def logged_runs(path: str, warn: Callable[[str], object]) -> list[Run]:
    """Read the succeeded jobs of a job log: one JSON object a line, as async_wait writes it.

    :param path: the file; when there is none yet, there are no runs.
    :param warn: called with one sentence when the last line is broken, as it is when a writer was interrupted.
    :raises BatchError: when the file cannot be read, or when any other line is broken.
    """
    runs = []
    broken = ""
    try:
        # Opening a pipe would wait for its writer.
        if os.path.exists(path) and not os.path.isfile(path):
            kind = "a directory" if os.path.isdir(path) else "not a regular file"
            raise BatchError(f"the job log {path} is {kind}")
        with open(path, "rb") as log:
            for number, line in enumerate(log, start=1):
                if not line.strip():
                    continue
                if broken:
                    raise BatchError(broken)
                entry = _parsed(line)
                if entry is None:
                    broken = f"line {number} of the job log {path} is no JSON object: {shown(_text(line))}"
                elif (run := _run(entry)) is not None:
                    runs.append(run)
    except FileNotFoundError:
        return []
    except OSError as ex:
        raise BatchError(f"the job log {path} cannot be read: {ex.strerror}") from ex
    if broken:
        warn(f"{broken}. It is the last line and is left out.")
    return runs


def seconds_of(value: object) -> float | None:
    """A number from 0 up, or a string of one, as a float; None when value is anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if number >= 0 and math.isfinite(number) else None


def _cut(items: Sequence[Item], size: int, weights: Sequence[float] | None) -> list[list[Item]]:
    ordered = list(items) if weights is None else [items[index] for index in _falling(weights)]
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _even(items: Sequence[Item], batches: int) -> list[list[Item]]:
    bounds = [len(items) * index // batches for index in range(batches + 1)] if batches else []
    return [list(items[start:end]) for start, end in itertools.pairwise(bounds)]


def _longest_first(items: Sequence[Item], batches: int, weights: Sequence[float]) -> list[list[Item]]:
    planned: list[list[Item]] = [[] for dummy in range(batches)]
    # Among batches of the same load the shorter one comes first, so that items of weight 0 are spread as well.
    loads = [(0.0, 0, batch) for batch in range(batches)]
    for index in _falling(weights):
        load, length, batch = loads[0]
        planned[batch].append(items[index])
        heapq.heapreplace(loads, (load + weights[index], length + 1, batch))
    return planned


def _falling(weights: Sequence[float]) -> list[int]:
    return sorted(range(len(weights)), key=lambda index: -weights[index])


def _whole_number(option: str, value: object) -> int:
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BatchError(f"{option} is {shown(value)}: it must be a whole number, 1 or more")
    return value


def _checked(items: Sequence[object], index: int, value: object, where: str) -> float | None:
    if value is None:
        return None
    seconds = seconds_of(value)
    if seconds is None:
        name = _registered.item_name(items[index])
        which = f"item {index + 1}" + (f" ({shown(name)})" if name is not None else "")
        raise BatchError(f"{where} of {which} is {shown(value)}: it must be a number of seconds, 0 or more")
    return seconds


def _with_median(weights: Sequence[float | None]) -> list[float]:
    known = [weight for weight in weights if weight is not None]
    median = statistics.median(known) if known else 0.0
    return [median if weight is None else weight for weight in weights]


def _names(items: Sequence[object], label: str | None) -> list[str | None]:
    try:
        return [_registered.item_name(item, label, f"item {index}") for index, item in enumerate(items, start=1)]
    except _registered.NotAJob as ex:
        raise BatchError(str(ex)) from ex


def _parsed(line: bytes) -> Mapping[str, object] | None:
    try:
        entry = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _run(entry: Mapping[str, object]) -> Run | None:
    elapsed = seconds_of(entry.get("elapsed"))
    if elapsed is None or entry.get("state") != _jobs.SUCCEEDED:
        return None
    return Run(str(entry.get("host")), str(entry.get("name")), elapsed)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip()


def _described(value: object) -> str:
    return "empty (null)" if value is None else f"{shown(value)} ({_kind(value)})"


def _kind(value: object) -> str:
    # What a template hands over are subclasses of these with names of their own.
    for kind in (bool, int, float, str, bytes):
        if isinstance(value, kind):
            return kind.__name__
    return type(value).__name__


def _attributes(item: object) -> str:
    return f"has {_some(list(item))}" if isinstance(item, Mapping) else f"is {_described(item)}"


def _some(names: Sequence[object]) -> str:
    text = ", ".join("one without a name" if name is None else shown(name) for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{text} and {more} more" if more > 0 else text or "nothing"
