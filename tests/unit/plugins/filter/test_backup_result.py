# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.filter.backup_result import FilterModule, backup_result

BACKUP = {
    "set": "etc",
    "id": "20261121T201500Z-3fa9c1",
    "bytes": 5,
    "previous_bytes": None,
    "warnings": [],
    "host": "x",
}


def job(state: str = "succeeded", **more: t.Any) -> dict[str, t.Any]:
    """A job as async_wait returns it."""
    return {
        "name": "etc",
        "state": state,
        "msg": "why",
        "started_at": "2026-11-21T20:15:00.000Z",
        "ended_at": "2026-11-21T20:15:03.000Z",
        "result": {"backup": BACKUP},
        **more,
    }


def result(value: object, **more: t.Any) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", backup_result(value, **more))


def test_it_is_there_by_its_name() -> None:
    assert FilterModule().filters() == {"backup_result": backup_result}


def test_a_set_has_what_is_known_of_its_backup() -> None:
    found = result({"jobs": [job()]})
    assert (found["state"], found["msg"]) == ("ok", None)
    assert found["sets"] == [
        {
            "set": "etc",
            "state": "succeeded",
            "msg": None,
            "started_at": "2026-11-21T20:15:00.000Z",
            "ended_at": "2026-11-21T20:15:03.000Z",
            "id": "20261121T201500Z-3fa9c1",
            "bytes": 5,
            "warnings": [],
        }
    ]
    assert found["started_at"] == "2026-11-21T20:15:00.000Z"
    assert found["ended_at"] == "2026-11-21T20:15:03.000Z"


@pytest.mark.parametrize(
    ("jobs", "state"),
    [
        ([job()], "ok"),
        ([job(), job("failed")], "failed"),
        ([job("lost", result=None)], "failed"),
        ([job("running", result=None, ended_at=None), job("failed")], "running"),
        ([job("queued", result=None, started_at=None, ended_at=None)], "running"),
        ([job(result={"backup": {**BACKUP, "warnings": ["a file changed"]}})], "warning"),
    ],
)
def test_the_state_of_the_host_is_that_of_its_worst_set(jobs: list[dict[str, t.Any]], state: str) -> None:
    assert result({"jobs": jobs, "failed": state == "failed"})["state"] == state


def test_a_backup_that_was_made_is_told_though_something_failed_after_it() -> None:
    found = result({"jobs": [job("failed", msg="not copied")], "failed": True})
    assert found["sets"][0]["id"] == BACKUP["id"]
    assert found["sets"][0]["msg"] == "not copied"


def test_what_would_be_done_is_told() -> None:
    planned = job(msg="would back up /etc", result={"msg": "would back up /etc"})
    assert result({"jobs": [planned]})["sets"][0]["msg"] == "would back up /etc"


def test_a_set_that_has_no_job_was_not_started() -> None:
    found = result({"jobs": [job()]}, expected=["etc", "home"])
    assert found["state"] == "failed"
    assert {entry["set"]: entry["state"] for entry in found["sets"]} == {"etc": "succeeded", "home": "not_started"}


@pytest.mark.parametrize(
    ("registered", "state", "msg"),
    [
        ({"unreachable": True, "msg": "no route", "jobs": [job("not_started")]}, "unreachable", "no route"),
        ({"failed": True, "msg": "no such batch"}, "failed", "no such batch"),
        ({"failed": True, "msg": "no such batch", "jobs": []}, "failed", "no such batch"),
        ({}, "failed", "nothing is known of the reason"),
    ],
)
def test_a_host_without_sets_says_why(registered: dict[str, t.Any], state: str, msg: str) -> None:
    found = result(registered)
    assert (found["state"], found["msg"], found["sets"]) == (state, msg, [])


def test_what_became_of_old_backups_is_added() -> None:
    pruned = {
        "sets": [{"set": "etc", "kept": [], "deleted": ["a"], "skipped": None}],
        "freed_bytes": 7,
        "changed": True,
    }
    found = result(result({"jobs": [job()]}), retention=pruned)
    assert (found["state"], found["retention"], found["freed_bytes"]) == ("ok", pruned["sets"], 7)
    assert found["sets"][0]["set"] == "etc"


def test_a_host_on_which_old_backups_could_not_be_removed_has_failed() -> None:
    found = result(result({"jobs": [job()]}), retention={"failed": True, "msg": "disk broken"})
    assert (found["state"], found["msg"]) == ("failed", "old backups were not removed: disk broken")


def test_old_backups_can_be_removed_without_new_ones() -> None:
    found = result({}, retention={"sets": [], "freed_bytes": 0})
    assert (found["state"], found["sets"]) == ("ok", [])


@pytest.mark.parametrize("value", ["jobs", None, [job()], 7])
def test_what_no_task_registered_is_refused(value: object) -> None:
    with pytest.raises(AnsibleFilterError, match="is not what a task registered"):
        backup_result(value)
    with pytest.raises(AnsibleFilterError, match="is not what a task registered"):
        backup_result({}, retention=value if value is not None else 0)


@pytest.mark.parametrize("odd", [{"result": "text"}, {"result": {"backup": 7}}, {"result": None}])
def test_odd_results_of_hosts_do_no_harm(odd: dict[str, t.Any]) -> None:
    assert result({"jobs": [job(**odd), "no job"]})["sets"][0]["set"] == "etc"
