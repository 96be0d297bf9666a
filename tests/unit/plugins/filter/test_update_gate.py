# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.filter.update_gate import FilterModule, update_gate

GOOD = {"state": "ok"}
BAD = {"state": "failed", "msg": "new faults: service nginx"}
FAR = {"state": "unreachable", "msg": "no route to host"}


def ten(*bad: object) -> dict[str, object]:
    """Ten hosts, of which the first ones have these results."""
    return {f"web{number + 1}": bad[number] if number < len(bad) else GOOD for number in range(10)}


def test_it_is_there_by_its_name() -> None:
    assert FilterModule().filters() == {"update_gate": update_gate}


def test_where_all_is_well_it_goes_on() -> None:
    assert update_gate(ten()) == {"open": True, "failed": [], "unreachable": [], "msg": ""}
    assert update_gate({})["open"]


def test_by_default_one_host_that_failed_or_is_out_of_reach_stops_it() -> None:
    for bad in (BAD, FAR, None, {}):
        assert not update_gate(ten(bad))["open"]


def test_why_it_stops_is_one_sentence_with_the_hosts_and_their_causes() -> None:
    assert update_gate(ten(BAD, FAR), max_fail_percentage=10) == {
        "open": False,
        "failed": ["web1"],
        "unreachable": ["web2"],
        "msg": "2 of 10 hosts (20 %) failed or were out of reach, and parallel_update_max_fail_percentage is 10: "
        "web1 failed: new faults: service nginx, web2 was out of reach: no route to host",
    }
    assert update_gate({"web1": {"state": "failed"}}, max_fail_percentage=99.5, max_fail_count=0)["msg"] == (
        "1 of 1 host (100 %) failed or was out of reach, and parallel_update_max_fail_percentage is 99.5 and "
        "parallel_update_max_fail_count is 0: web1 failed: it gave no reason"
    )
    assert "(33.3 %)" in update_gate({"a": None, "b": GOOD, "c": GOOD})["msg"]


@pytest.mark.parametrize(
    ("number", "percentage", "count", "open_"),
    [
        (1, 0, None, False),
        (1, 10, None, True),
        (1, 9.99, None, False),
        (5, 50, None, True),
        (6, 50, None, False),
        (10, 100, None, True),
        (2, 100, 2, True),
        (3, 100, 2, False),
        (1, 0, 5, False),
        (1, 100, 0, False),
        (0, 0, 0, True),
        (1, "10", "1", True),
        (2, "10", "1", False),
    ],
)
def test_as_many_as_allowed_may_fail_and_not_one_more(
    number: int, percentage: object, count: object, open_: bool
) -> None:
    found = update_gate(ten(*[BAD] * number), max_fail_percentage=percentage, max_fail_count=count)
    assert found["open"] == open_
    assert bool(found["msg"]) == (not open_)
    assert len(found["failed"]) == number


@pytest.mark.parametrize(
    "result",
    [
        {"state": "running"},
        {"state": "ok", "health": {"new_faults": ["service nginx"]}},
        {"state": "ok", "failed_packages": [{"name": "boom", "state": "half-configured"}]},
        {"state": "great"},
        {"msg": "x"},
        {"state": "ok", "packages": "openssl"},
        ["ok"],
        "ok",
    ],
)
def test_a_host_is_judged_as_the_report_judges_it(result: object) -> None:
    assert update_gate({"web1": result})["failed"] == ["web1"]


@pytest.mark.parametrize("state", ["ok", "warning", "not_touched"])
def test_a_host_that_has_not_failed_does_not_count(state: str) -> None:
    assert update_gate({"web1": {"state": state, "warnings": ["x"]}})["open"]


def test_many_hosts_and_what_they_say_do_not_make_the_sentence_a_long_one() -> None:
    results = {f"web{number}": {"state": "failed", "msg": "\x1b[31m\n" + "x" * 4000} for number in range(500)}
    found = update_gate(results)
    assert len(found["failed"]) == 500
    assert found["msg"].endswith(" and 490 more")
    assert len(found["msg"]) < 2500
    assert found["msg"].isprintable()


def test_hosts_are_called_what_the_inventory_calls_them() -> None:
    name = "web" * 50
    assert update_gate({name: BAD, 7: None}) | {"msg": ""} == {
        "open": False,
        "failed": [name],
        "unreachable": ["7"],
        "msg": "",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_fail_percentage": -1}, "max_fail_percentage is -1: give a number from 0 to 100"),
        ({"max_fail_percentage": 100.5}, "max_fail_percentage is 100.5: "),
        ({"max_fail_percentage": "half"}, "max_fail_percentage is 'half': "),
        ({"max_fail_percentage": "10%"}, "max_fail_percentage is '10%': "),
        ({"max_fail_percentage": None}, "max_fail_percentage is None: "),
        ({"max_fail_percentage": True}, "max_fail_percentage is True: "),
        ({"max_fail_percentage": math.nan}, "max_fail_percentage is nan: "),
        ({"max_fail_percentage": 10**400}, "max_fail_percentage is 1000"),
        ({"max_fail_count": -1}, "max_fail_count is -1: give a whole number from 0 up, or null for no such limit"),
        ({"max_fail_count": 1.5}, "max_fail_count is 1.5: "),
        ({"max_fail_count": "x"}, "max_fail_count is 'x': "),
        ({"max_fail_count": True}, "max_fail_count is True: "),
        ({"max_fail_count": []}, r"max_fail_count is \[\]: "),
    ],
)
def test_a_limit_that_is_none_is_one_clear_error(arguments: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"^{message}"):
        update_gate({"web1": GOOD}, **arguments)


@pytest.mark.parametrize("wrong", [None, ["web1"], "web1", 5])
def test_what_is_no_dict_of_hosts_is_one_clear_error(wrong: object) -> None:
    with pytest.raises(AnsibleFilterError, match="is not a dict of hosts: give the parallel_update_result of each"):
        update_gate(wrong)


@given(st.lists(st.sampled_from([GOOD, BAD, FAR, None]), max_size=30), st.integers(0, 100), st.integers(0, 30))
def test_it_is_open_exactly_where_no_limit_is_passed(results: list[object], percentage: int, count: int) -> None:
    found = update_gate(dict(enumerate(results)), percentage, count)
    bad = len([result for result in results if result is not GOOD])
    assert found["open"] == (bad * 100 <= percentage * len(results) and bad <= count)
    assert len(found["failed"]) + len(found["unreachable"]) == bad
