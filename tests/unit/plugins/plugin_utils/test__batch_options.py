# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils._pool import Limits
from ansible_collections.inflight.jobs.plugins.modules.async_batch import ARGUMENT_SPEC
from ansible_collections.inflight.jobs.plugins.plugin_utils._batch_options import BatchOptions
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption

DEFAULTS = {name: option.get("default") for name, option in ARGUMENT_SPEC.items()}


def options(**given: t.Any) -> BatchOptions:
    return BatchOptions.from_arguments({**DEFAULTS, **given}, given=given)


def problem(**given: t.Any) -> str:
    with pytest.raises(BadOption) as caught:
        options(**given)
    return str(caught.value)


def test_the_defaults_make_sense() -> None:
    found = options()
    assert (found.window, found.max_failures, found.retries, found.retry_delay, found.grace) == (None, 1, 0, 5, 10)
    assert (found.timeout, found.total_timeout, found.on_failure, found.id) == (0, 0, "continue", None)


def test_all_options_arrive() -> None:
    given: dict[str, t.Any] = {
        "timeout": 60.0,
        "grace": 1.5,
        "total_timeout": 600.0,
        "on_failure": "drain",
        "max_failures": 3,
        "retries": 2,
        "retry_delay": 0.5,
        "start_delay": 0.1,
        "nice": 19,
        "io_class": "idle",
        "id": "nightly",
        "on_existing": "replace",
        "rerun": "failed",
    }
    assert options(concurrency="50%", **given) == BatchOptions(window="50%", **given)


def test_the_limits_are_those_that_the_supervisor_knows() -> None:
    limits = options(concurrency=7, timeout=60.0).limits(10)
    assert set(limits) == set(Limits._fields)
    assert Limits(**limits).window == 7


@pytest.mark.parametrize("name", ["concurrency", "max_failures"])
@pytest.mark.parametrize(("value", "meant"), [(1, 1), ("3", 3), (10_000, 10_000), ("50%", "50%"), ("0.5%", "0.5%")])
def test_a_number_or_a_part_is_understood(name: str, value: t.Any, meant: t.Any) -> None:
    found = options(on_failure="drain", **{name: value})
    assert (found.window if name == "concurrency" else found.max_failures) == meant


@pytest.mark.parametrize("name", ["concurrency", "max_failures"])
@pytest.mark.parametrize(
    "value",
    [0, -1, "0", "-5", "many", "", 1.5, "1.5", True, False, [], [1], {}, "0%", "-5%", "%", "50 %", "1e2%", "9" * 9999],
)
def test_any_other_number_or_part_is_refused_by_its_value(name: str, value: t.Any) -> None:
    said = problem(on_failure="drain", **{name: value})
    assert said.startswith(f"{name} is ")
    assert said.endswith(": it must be a whole number, 1 or more, or a part as in '50%'")
    assert len(said) < 200


@pytest.mark.parametrize("name", ["timeout", "grace", "total_timeout", "retry_delay", "start_delay"])
@pytest.mark.parametrize("seconds", [-1.0, -0.001, math.nan, math.inf, -math.inf])
def test_seconds_that_are_none_are_refused_by_their_value(name: str, seconds: float) -> None:
    assert problem(**{name: seconds}) == f"{name} is {seconds:g}: it must be a number of seconds, 0 or more"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"retries": -1}, "retries is -1: it must be a whole number, 0 or more"),
        ({"nice": -21}, "nice is -21: it must be from -20 to 19"),
        ({"nice": 20}, "nice is 20: it must be from -20 to 19"),
        (
            {"max_failures": 3},
            "max_failures is given, but on_failure is continue: set it to drain or cancel",
        ),
        ({"on_existing": "fail"}, "on_existing is given, but no id: without one, no other run can be found"),
        ({"rerun": "all"}, "rerun is given, but no id: without one, no other run can be found"),
        (
            {"id": "../x"},
            (
                "id is '../x': it must be 1 to 100 letters, digits and characters of _.:@+- "
                "that begin with a letter, a digit or _"
            ),
        ),
        ({"loop_var": "my item"}, "loop_var is 'my item': it must be the name of a variable"),
        ({"loop_var": "class"}, "loop_var is 'class': it must be the name of a variable"),
        ({"loop_var": ""}, "loop_var is '': it must be the name of a variable"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(given: dict[str, t.Any], message: str) -> None:
    assert problem(**given) == message


@pytest.mark.parametrize(
    ("max_failures", "jobs", "number"),
    [(3, 10, 3), ("10%", 100, 10), ("10%", 5, 1), ("10%", 11, 2), ("100%", 7, 7), ("0.1%", 10, 1), ("50%", 0, 1)],
)
def test_a_part_of_the_jobs_is_the_failure_with_which_it_is_reached(
    max_failures: t.Any, jobs: int, number: int
) -> None:
    assert options(on_failure="drain", max_failures=max_failures).limits(jobs)["max_failures"] == number


@settings(deadline=None, max_examples=50)
@given(part=st.integers(1, 100), jobs=st.integers(1, 1000))
def test_a_part_of_the_jobs_can_always_be_reached(part: int, jobs: int) -> None:
    number = options(on_failure="drain", max_failures=f"{part}%").limits(jobs)["max_failures"]
    assert 1 <= number <= jobs
    assert number / jobs >= part / 100 - 1e-9
