# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import CheckFailed
from ansible_collections.inflight.jobs.plugins.plugin_utils._listing import MORE, message_of, records_of
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import Record, new_record
from ansible_collections.inflight.jobs.plugins.plugin_utils._selection import Selection

Report = dict[str, t.Any]

OPTIONS = ("jobs", "batch", "state", "name", "older_than", "newer_than")
FAILED_LAUNCH = {"failed": True, "msg": "no space", "item": "b", "ansible_loop_var": "item"}


def select(**given: t.Any) -> Selection:
    return Selection({**dict.fromkeys(OPTIONS), **given}, given)


def report(jid: str, state: str = "succeeded", result: object = None, path: str = "/srv/jobs", **more: t.Any) -> Report:
    """What a survey reports of a job."""
    text = json.dumps({"changed": True} if result is None else result)
    return {
        "place": 0,
        "jid": jid,
        "state": state,
        "reason": "",
        "text": None if state in ("queued", "running", "lost", "missing", "unreadable") else text,
        "results_file": f"{path}/{jid}",
        "name": jid,
        "item": None,
        **more,
    }


def launch(jid: str, path: str = "/srv/jobs", **more: t.Any) -> Report:
    return {"ansible_job_id": jid, "results_file": f"{path}/{jid}", "started": True, "finished": False, **more}


def listed(reports: list[Report], results: bool = True, **given: t.Any) -> list[Record]:
    return records_of(reports, select(**given), results)


def ids(records: list[Record]) -> list[str | None]:
    return [record["ansible_job_id"] for record in records]


def test_jobs_come_in_the_order_in_which_they_were_named() -> None:
    reports = [report("j3.3"), report("j1.1"), report("j2.2")]
    assert ids(listed(reports, jobs=["j1.1", "j2.2", "j3.3"])) == ["j1.1", "j2.2", "j3.3"]
    assert ids(listed(reports, jobs=[launch("j2.2"), "j3.3", launch("j1.1")])) == ["j2.2", "j3.3", "j1.1"]


def test_jobs_that_nobody_named_come_as_the_host_told_them() -> None:
    assert ids(listed([report("j3.3"), report("j1.1"), report("j2.2")])) == ["j3.3", "j1.1", "j2.2"]


def test_a_job_keeps_the_name_and_the_item_of_its_launch() -> None:
    jobs = {"results": [launch("j1.1", item="dump", ansible_loop_var="item")]}
    (record,) = listed([report("j1.1", name="other", item=5)], jobs=jobs)
    assert (record["name"], record["item"]) == ("dump", "dump")


def test_a_job_that_was_named_by_its_id_has_the_name_that_its_batch_gave_it() -> None:
    (record,) = listed([report("j1.1", name="dump users", item={"db": 1})], jobs="j1.1")
    assert (record["name"], record["item"]) == ("dump users", {"db": 1})


def test_jobs_of_one_id_in_two_directories_are_told_apart() -> None:
    jobs = {
        "results": [
            launch("j1.1", "/a", item="first", ansible_loop_var="item"),
            launch("j1.1", "/b", item="second", ansible_loop_var="item"),
        ]
    }
    records = listed([report("j1.1", path="/b"), report("j1.1", path="/a")], jobs=jobs)
    assert [(record["name"], record["results_file"]) for record in records] == [
        ("first", "/a/j1.1"),
        ("second", "/b/j1.1"),
    ]


def test_a_job_directory_may_be_written_in_another_way_than_the_host_does() -> None:
    jobs = {
        "results": [
            launch("j2.2", "/srv/./jobs", item="second", ansible_loop_var="item"),
            launch("j1.1", "/srv/x/../jobs", item="first", ansible_loop_var="item"),
        ]
    }
    records = listed([report("j1.1"), report("j2.2")], jobs=jobs)
    assert [record["name"] for record in records] == ["second", "first"]


def test_jobs_whose_launch_failed_stand_where_the_task_named_them() -> None:
    launches = [launch("j1.1"), FAILED_LAUNCH, launch("j2.1")]
    records = listed([report("j2.1"), report("j1.1")], jobs={"results": launches})
    assert [(record["name"], record["state"]) for record in records] == [
        ("j1.1", "succeeded"),
        ("b", "not_started"),
        ("j2.1", "succeeded"),
    ]
    assert records[1]["msg"] == "no space"


def test_without_results_no_record_has_the_key() -> None:
    jobs = {"results": [FAILED_LAUNCH, launch("j1.1")]}
    whole, short = (listed([report("j1.1")], results, jobs=jobs) for results in (True, False))
    assert [record["result"] for record in whole] == [FAILED_LAUNCH, {"changed": True}]
    assert [set(one) - set(other) for one, other in zip(whole, short, strict=True)] == [{"result"}, {"result"}]
    assert short[1]["changed"] is True


def test_a_record_has_the_keys_that_all_records_have_and_those_that_are_known() -> None:
    (record,) = listed([report("j1.1")])
    assert list(record) == list(new_record("j1.1", "succeeded"))
    more: dict[str, t.Any] = {**dict.fromkeys(MORE, 5), "batch": "nightly", "user": "me", "command": "x", "tail": ["y"]}
    (record,) = listed([report("j1.1", "running", **more, batch_size=3)])
    assert list(record) == [*new_record("j1.1", "running"), *MORE]
    (record,) = listed([report("j1.1", "running", **dict.fromkeys(MORE))])
    assert list(record) == list(new_record("j1.1", "running"))


def test_a_job_that_runs() -> None:
    began = {"started_at": "2026-01-01T00:00:00.000Z", "elapsed": 5.5}
    (record,) = listed([report("j1.1", "running", pid=7, **began)])
    assert record == {**new_record("j1.1", "running", results_file="/srv/jobs/j1.1", **began), "pid": 7}
    assert (record["started"], record["finished"], record["failed"], record["attempts"]) == (True, False, False, 1)


def test_a_job_that_waits_for_its_turn() -> None:
    (record,) = listed([report("j1.1", "queued", queue_place=3)])
    assert (record["started"], record["finished"], record["failed"], record["attempts"]) == (False, False, False, 0)
    assert (record["queue_place"], record["started_at"], record["elapsed"]) == (3, None, None)


def test_a_job_that_failed() -> None:
    result = {"failed": True, "msg": "no space"}
    (record,) = listed([report("j1.1", "failed", result, ended_at="2026-01-01T00:00:00.000Z")])
    assert (record["state"], record["failed"], record["msg"]) == ("failed", True, "no space")
    assert (record["ended_at"], record["started_at"], record["result"]) == ("2026-01-01T00:00:00.000Z", None, result)


def test_a_job_that_left_no_result_says_why() -> None:
    (record,) = listed([report("j1.1", "lost", reason="no process and no result")])
    assert (record["state"], record["failed"], record["msg"]) == ("lost", True, "no process and no result")
    assert (record["result"], record["ended_at"]) == (None, None)


@pytest.mark.parametrize("text", ["", "[]", "{", "5", "null", "[" * 100_000])
def test_a_result_that_cannot_be_read_hides_no_other_job(text: str) -> None:
    first, second = listed([report("j1.1", text=text), report("j2.2")])
    assert (first["state"], first["msg"], second["state"]) == ("unreadable", "its result cannot be read", "succeeded")


@pytest.mark.parametrize("jid", ["../x", "", None, 5, "j1.1\n", "hello"])
def test_a_host_that_tells_of_what_is_no_job_is_not_believed(jid: t.Any) -> None:
    with pytest.raises(CheckFailed, match="the host told a job id that is none"):
        listed([{**report("j1.1"), "jid": jid}])


@pytest.mark.parametrize("state", ["well", "", None])
def test_a_state_that_does_not_exist_is_unreadable(state: t.Any) -> None:
    (record,) = listed([{**report("j1.1", "lost"), "state": state}])
    assert (record["state"], record["failed"]) == ("unreadable", True)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([], "0 jobs"),
        (["running"], "1 job: 1 running"),
        (["running", "succeeded", "succeeded"], "3 jobs: 2 succeeded, 1 running"),
        (["timed_out", "not_started"], "2 jobs: 1 timed out, 1 not started"),
    ],
)
def test_the_message_counts_the_jobs(states: list[str], message: str) -> None:
    assert message_of([new_record("j1.1", state) for state in states]) == message
