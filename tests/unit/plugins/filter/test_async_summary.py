# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.filter.async_summary import RETURN, FilterModule
from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils import _registered


def summary(value: object, label: str | None = None) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", FilterModule().filters()["async_summary"](value, label=label))


def record(number: int, state: str = _jobs.SUCCEEDED, **fields: object) -> _registered.Record:
    return _registered.new_record(f"j{number}.1", state, name=f"job{number}", **fields)


def second(number: int) -> str:
    return f"2026-01-01T00:00:{number:02}.500000Z"


def test_jobs_are_counted_for_every_state_zeros_too() -> None:
    found = summary([record(1), record(2), record(3, _jobs.LOST)])
    assert found["total"] == 3
    expected = {**dict.fromkeys(_jobs.STATES, 0), "succeeded": 2, "lost": 1}
    assert {state: found[state] for state in _jobs.STATES} == expected


def test_times_are_summed_up() -> None:
    found = summary(
        [
            record(1, started_at=second(0), ended_at=second(20), elapsed=20.0),
            record(2, started_at=second(10), ended_at=second(40), elapsed=30.0),
            record(3, _jobs.LOST, started_at=second(5)),
        ]
    )
    assert (found["wall"], found["serial"], found["speedup"]) == (40.0, 50.0, 1.25)


def test_the_five_slowest_are_listed_slowest_first_whatever_their_state() -> None:
    jobs = [record(number, elapsed=float(number)) for number in range(6)]
    jobs.append(record(6, _jobs.FAILED, elapsed=4.5))
    jobs.append(record(7, _jobs.LOST))
    found = summary(jobs)["slowest"]
    assert [job["name"] for job in found] == ["job5", "job6", "job4", "job3", "job2"]
    assert found[1] == {"name": "job6", "state": "failed", "elapsed": 4.5}


@pytest.mark.parametrize("value", [[], ["j1.2"]])
def test_what_is_not_known_is_null(value: object) -> None:
    found = summary(value)
    assert (found["wall"], found["serial"], found["speedup"], found["slowest"]) == (None, None, None, [])


def test_a_wall_time_of_zero_gives_no_speedup() -> None:
    found = summary(record(1, started_at=second(1), ended_at=second(1), elapsed=0.0))
    assert (found["wall"], found["serial"], found["speedup"]) == (0.0, 0.0, None)


def test_clocks_that_disagree_give_no_wall_time() -> None:
    assert summary([record(1, started_at=second(9)), record(2, ended_at=second(1))])["wall"] is None


@pytest.mark.parametrize("moment", ["yesterday", "", 5, None])
def test_a_moment_that_cannot_be_read_is_not_known(moment: object) -> None:
    assert summary(record(1, started_at=moment, ended_at=second(1)))["wall"] is None


def test_a_moment_without_a_zone_is_taken_as_utc() -> None:
    assert summary(record(1, started_at="2026-01-01T00:00:00", ended_at="2026-01-01T01:00:00+00:00"))["wall"] == 3600


@pytest.mark.parametrize("elapsed", [-1, float("nan"), "soon", True])
def test_a_length_that_is_no_number_of_seconds_is_not_known(elapsed: object) -> None:
    found = summary(record(1, elapsed=elapsed))
    assert (found["serial"], found["slowest"]) == (None, [])


def test_a_label_names_the_slowest() -> None:
    found = summary(record(1, item={"meta": {"name": "users"}}, elapsed=1.0), label="meta.name")
    assert found["slowest"][0]["name"] == "users"


def test_what_is_no_job_is_an_error_that_says_where_it_stood() -> None:
    with pytest.raises(AnsibleFilterError, match=r"^the value\[0\] is .* \(3\)") as caught:
        summary([3])
    assert caught.value.__cause__ is None


def test_the_documented_sample_has_the_keys_of_a_summary() -> None:
    assert set(yaml.safe_load(RETURN)["_value"]["sample"]) == set(summary([]))
