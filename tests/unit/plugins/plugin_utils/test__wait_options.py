# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
import typing as t

import pytest

from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption, WaitOptions

DEFAULTS = {
    "timeout": 0.0,
    "until": "all",
    "on_failure": "wait",
    "on_timeout": "leave",
    "on_interrupt": "leave",
    "hold": 30.0,
    "poll": 10.0,
    "unreachable_timeout": 300.0,
    "cleanup": False,
    "tail": 0,
}


def options(*, check_mode: bool = False, **given: t.Any) -> WaitOptions:
    return WaitOptions.from_arguments({**DEFAULTS, **given}, given=given, check_mode=check_mode)


def test_the_defaults_make_sense() -> None:
    assert options() == WaitOptions()


def test_all_options_arrive() -> None:
    given: dict[str, t.Any] = {
        "timeout": 60.0,
        "hold": 5.0,
        "poll": 2.0,
        "unreachable_timeout": 7.0,
        "cleanup": True,
        "until": 3,
        "tail": 7,
    }
    assert options(on_failure="stop", **given) == WaitOptions(stop=True, **given)


@pytest.mark.parametrize(("until", "meant"), [("all", "all"), ("any", "any"), (1, 1), ("3", 3), (10_000, 10_000)])
def test_until_is_all_or_any_or_a_number(until: object, meant: object) -> None:
    assert options(until=until).until == meant


@pytest.mark.parametrize(
    "until", [0, -1, "0", "-5", "some", "", "ALL", 1.5, "1.5", True, False, None, [], [1], {}, "9" * 9999]
)
def test_any_other_until_is_refused_by_its_value(until: object) -> None:
    with pytest.raises(BadOption, match=r"until is .*: it must be all, any, or a number of jobs, 1 or more"):
        options(until=until)


@pytest.mark.parametrize("name", ["timeout", "hold", "poll", "unreachable_timeout"])
@pytest.mark.parametrize("seconds", [-1.0, -0.001, math.nan, math.inf, -math.inf])
def test_seconds_that_are_none_are_refused_by_their_value(name: str, seconds: float) -> None:
    with pytest.raises(BadOption, match=f"{name} is {seconds:g}: it must be a number of seconds, 0 or more"):
        options(**t.cast("t.Any", {name: seconds}))


def test_a_hold_that_was_given_may_not_be_longer_than_the_timeout() -> None:
    with pytest.raises(BadOption, match="hold is 20 s, longer than the timeout of 10 s"):
        options(hold=20.0, timeout=10.0)
    assert options(hold=10.0, timeout=10.0).hold == 10
    assert options(hold=20.0, timeout=0.0).hold == 20


def test_the_default_hold_is_no_mistake_of_the_user() -> None:
    assert options(timeout=10.0).timeout == 10


CANCELS = ("on_failure", "on_timeout", "on_interrupt")


@pytest.mark.parametrize("name", CANCELS)
def test_jobs_may_be_ended(name: str) -> None:
    found = options(jobs=["j1.1"], **t.cast("t.Any", {name: "cancel"}))
    assert getattr(found, f"cancel_{name}") is True
    assert found.stop is (name == "on_failure")
    assert options(batch="nightly", **t.cast("t.Any", {name: "cancel"})) == found


@pytest.mark.parametrize("name", CANCELS)
def test_jobs_that_nobody_named_are_not_ended(name: str) -> None:
    with pytest.raises(BadOption, match=f"{name} is cancel, but nothing says which jobs are meant: give jobs or batch"):
        options(**t.cast("t.Any", {name: "cancel"}))


@pytest.mark.parametrize("name", CANCELS)
def test_check_mode_ends_nothing(name: str) -> None:
    found = options(jobs=["j1.1"], check_mode=True, **t.cast("t.Any", {name: "cancel"}))
    assert getattr(found, f"cancel_{name}") is False


@pytest.mark.parametrize("tail", [-1, 1001])
def test_a_tail_is_a_sensible_number_of_lines(tail: int) -> None:
    with pytest.raises(BadOption, match=rf"tail is {tail}: it must be a number of lines, 0 to 1000"):
        options(tail=tail)


def test_check_mode_deletes_nothing() -> None:
    assert options(cleanup=True).cleanup is True
    assert options(cleanup=True, check_mode=True).cleanup is False
