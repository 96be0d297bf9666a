# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils import _registered
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import (
    NotAJob,
    item_name,
    job_records,
    new_record,
)

Registered = dict[str, t.Any]

# How long an example takes says nothing on a busy machine.
fuzzed = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def launch(jid: str = "j1.1", **more: t.Any) -> Registered:
    """What core returns for a task with async and poll: 0."""
    return {
        "failed": False,
        "started": True,
        "finished": False,
        "ansible_job_id": jid,
        "results_file": f"/srv/me/.ansible_async/{jid}",
        "changed": True,
        **more,
    }


def loop(*items: t.Any, loop_var: str = "item") -> Registered:
    """What core registers for the same task with a loop."""
    results = [launch(f"j{n}.1", ansible_loop_var=loop_var, **{loop_var: item}) for n, item in enumerate(items, 1)]
    return {"results": results, "changed": True, "msg": "All items completed", "skipped": False}


def ids(value: object) -> list[str | None]:
    return [record["ansible_job_id"] for record in job_records(value)]


def names(value: object, label: str | None = None) -> list[str]:
    return [record["name"] for record in job_records(value, label)]


# What may be given


def test_one_launch_is_one_job() -> None:
    (record,) = job_records(launch())
    assert record == {
        "ansible_job_id": "j1.1",
        "name": "j1.1",
        "item": None,
        "state": "running",
        "started": True,
        "finished": False,
        "failed": False,
        "changed": False,
        "started_at": None,
        "ended_at": None,
        "elapsed": None,
        "attempts": 1,
        "results_file": "/srv/me/.ansible_async/j1.1",
        "msg": "",
        "result": None,
    }


def test_a_loop_is_one_job_for_each_item() -> None:
    records = job_records(loop("users", "orders"))
    assert [(record["ansible_job_id"], record["name"], record["item"]) for record in records] == [
        ("j1.1", "users", "users"),
        ("j2.1", "orders", "orders"),
    ]


def test_the_loop_variable_may_have_any_name() -> None:
    assert names(loop("users", "orders", loop_var="database")) == ["users", "orders"]


@pytest.mark.parametrize("value", ["j1.1", ["j1.1"], [[["j1.1"]]], ("j1.1",)])
def test_job_ids_may_be_given_alone_or_in_lists(value: object) -> None:
    assert ids(value) == ["j1.1"]


def test_several_registered_variables_are_flattened_in_the_order_given() -> None:
    value = [loop("a", "b"), launch("j7.1"), [["j8.1"], loop("c")], "j9.1"]
    assert ids(value) == ["j1.1", "j2.1", "j7.1", "j8.1", "j1.1", "j9.1"]


def test_what_this_collection_returned_can_be_given_again() -> None:
    records = [new_record("j1.1", "succeeded", name="users", elapsed=2.5), new_record("j2.1", "running", name="orders")]
    returned = {
        "jobs": records,
        "summary": _registered.summary_of(records),
        "failed": True,
        "msg": "no",
        "results": None,
    }
    assert job_records(returned) == records
    assert job_records(records[0]) == records[:1]
    assert job_records({**records[1], "ansible_loop_var": "item"}) == records[1:]


def test_a_loop_over_results_of_this_collection_is_flattened_as_well() -> None:
    inner = {"jobs": [new_record("j1.1", "lost")], "summary": {}, "ansible_loop_var": "host", "host": "web"}
    assert ids({"results": [inner, inner]}) == ["j1.1", "j1.1"]


@pytest.mark.parametrize("value", [[], (), {"results": []}, [[], [[]]], {"skipped": True, "changed": False}])
def test_nothing_is_no_jobs(value: object) -> None:
    assert job_records(value) == []


def test_skipped_items_are_left_out() -> None:
    registered = loop("a", "b")
    registered["results"][0] = {"skipped": True, "item": "a", "ansible_loop_var": "item", "skip_reason": "no"}
    assert names(registered) == ["b"]


@pytest.mark.parametrize("failure", [{"failed": True, "msg": "no such command"}, {"unreachable": True, "msg": "gone"}])
def test_a_launch_that_failed_is_a_job_that_was_not_started(failure: Registered) -> None:
    registered = loop("a", "b")
    registered["results"][0] = {**failure, "item": "a", "ansible_loop_var": "item"}
    first, second = job_records(registered)
    assert (first["ansible_job_id"], first["name"], first["state"]) == (None, "a", "not_started")
    assert (first["started"], first["finished"], first["failed"], first["msg"]) == (False, True, True, failure["msg"])
    assert first["result"]["msg"] == failure["msg"]
    assert second["state"] == "running"


def test_a_failed_launch_without_a_loop_is_named_by_its_place() -> None:
    (record,) = job_records([{"failed": True}])
    assert (record["name"], record["msg"]) == ("jobs[0]", "its launch failed")


def test_ten_thousand_ids_are_taken() -> None:
    assert len(job_records([f"j{number}.1" for number in range(10_000)])) == 10_000


# Jobs that core has waited for


def test_what_async_status_returned_of_a_running_job_is_a_job() -> None:
    assert [record["state"] for record in job_records(launch(stdout="", stderr=""))] == ["running"]


def test_what_async_status_returned_of_an_ended_job_has_ended() -> None:
    ended = launch(finished=True, rc=1, stderr="disk full\n", failed=True, msg="non-zero return code", attempts=3)
    (record,) = job_records({"results": [{**ended, "item": "a", "ansible_loop_var": "item"}]})
    assert (record["state"], record["name"], record["msg"]) == ("failed", "a", "disk full")
    assert record["result"] == {
        "rc": 1, "stderr": "disk full\n", "failed": True, "msg": "non-zero return code", "changed": True
    }  # fmt: skip


def test_finished_may_be_a_number_as_older_cores_wrote_it() -> None:
    assert job_records(launch(finished=1))[0]["state"] == "succeeded"
    assert job_records(launch(finished=0))[0]["state"] == "running"


def test_a_job_that_async_status_could_not_find_is_missing() -> None:
    ended = launch(finished=1, failed=True, msg="could not find job")
    assert [record["state"] for record in job_records(ended)] == ["missing"]


def test_a_loop_of_async_status_over_launches_is_named_by_the_items_of_the_launches() -> None:
    first = loop("users", "orders")["results"]
    status = {"results": [launch(one["ansible_job_id"], ansible_loop_var="job", job=one) for one in first]}
    assert names(status) == ["users", "orders"]
    assert [record["item"] for record in job_records(status)] == ["users", "orders"]


# Names


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ("users", "users"),
        (5, "5"),
        (2.5, "2.5"),
        (True, "True"),
        ({"name": "users", "id": 3}, "users"),
        ({"label": "users", "id": 3}, "users"),
        ({"id": 3, "key": "x"}, "3"),
        ({"key": "x", "value": {"name": "y"}}, "x"),
        ({"name": "", "key": "x"}, "x"),
        ({"name": {"first": "x"}, "key": "y"}, "y"),
        ({"path": "/x"}, None),
        (["a", "b"], None),
        ("", None),
        (None, None),
    ],
)
def test_a_job_is_named_by_its_loop_item(item: object, name: str | None) -> None:
    assert item_name(item) == name
    assert names(loop(item)) == [name or "j1.1"]


def test_a_label_is_a_path_in_the_loop_item() -> None:
    items = [{"meta": {"name": "users"}, "name": "x"}, {"meta": {"name": 5}}]
    assert names(loop(*items), "meta.name") == ["users", "5"]
    assert names(loop("users"), "meta.name") == ["users"]
    assert names("j1.1", "meta.name") == ["j1.1"]


@pytest.mark.parametrize("item", [{"meta": {}}, {"meta": "x"}, {"meta": {"name": ["a"]}}, {"meta": {"name": ""}}, {}])
def test_a_label_that_an_item_has_not_got_is_an_error_that_says_where(item: Registered) -> None:
    with pytest.raises(
        NotAJob, match=r"label is 'meta\.name', but the item of jobs\.results\[1\] has no such attribute"
    ):
        job_records(loop({"meta": {"name": "a"}}, item), "meta.name")


def test_a_label_names_returned_jobs_anew() -> None:
    record = new_record("j1.1", "succeeded", name="old", item={"meta": {"name": "new"}})
    assert names([record], "meta.name") == ["new"]
    assert names([record]) == ["old"]


# What may not be given


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nightly", "jobs is a str that is no job id: 'nightly'"),
        (["j1.1", "j2.1", "j3.1", "x"], r"jobs\[3\] is a str that is no job id: 'x'"),
        ("../../etc/passwd", r"'\.\./\.\./etc/passwd'"),
        ("j1.2/../x", "no job id"),
        ("j1.2\n", r"no job id: 'j1\.2\\n'"),
        ("j1.2\0", r"no job id: 'j1\.2\\x00'"),
        ("", "no job id: ''"),
        ("x" * 5000, r"no job id: 'x{70,80}\.\.\.$"),
        (None, r"jobs is empty \(null\)"),
        ([None], r"jobs\[0\] is empty \(null\)"),
        (5, "jobs is .*5"),
        (True, "jobs is .*True"),
        (1234.5, "jobs is the number 1234.5: write a job id in quotes"),
        (b"j1.1", "jobs is a bytes"),
        ({}, "jobs is a dict without an ansible_job_id: register a task that has async and poll: 0"),
        ({"changed": True, "stdout": "x"}, "without an ansible_job_id"),
        ({"results": ["j1.1", {"changed": True}]}, r"jobs\.results\[1\] is a dict without an ansible_job_id"),
        ({"results": [{"changed": True, "item": 1}]}, r"jobs\.results\[0\]"),
        ({"jobs": [{"x": 1}], "summary": {}}, r"jobs\.jobs\[0\]"),
        (launch("../../etc/passwd"), r"jobs has the ansible_job_id '\.\./\.\./etc/passwd', which is no job id"),
        ({"ansible_job_id": 1.5}, "jobs has the ansible_job_id 1.5, which is no job id"),
        ({"ansible_job_id": ["j1.1"]}, "which is no job id"),
        ([new_record("j1.1", "lost"), new_record("../x", "lost")], r"jobs\[1\] has the ansible_job_id '\.\./x'"),
    ],
)
def test_what_is_no_job_is_refused_and_the_message_says_where_it_stands(value: object, message: str) -> None:
    with pytest.raises(NotAJob, match=message):
        job_records(value)


def test_a_job_without_an_id_cannot_be_running() -> None:
    """Nobody could ever find out how it ended."""
    with pytest.raises(NotAJob):
        job_records([new_record(None, "running")])
    assert ids([new_record(None, "not_started")]) == [None]


# Where the job file is


@pytest.mark.parametrize(
    "path",
    [
        "relative/j1.1",
        "/srv/me/.ansible_async/j2.1",
        "/srv/me/.ansible_async/j1.1/",
        "/srv/me/j1.1/../x",
        "/etc/passwd",
        "/home/\0/j1.1",
        "",
        None,
        5,
        ["/srv/me/j1.1"],
    ],
)
def test_a_results_file_that_is_not_the_file_of_the_job_is_not_believed(path: object) -> None:
    assert job_records(launch(results_file=path))[0]["results_file"] is None
    assert job_records({**new_record("j1.1", "running"), "results_file": path})[0]["results_file"] is None


@fuzzed
@given(st.text(alphabet="./~j1\0\n", max_size=20) | st.text(max_size=20))
def test_a_results_file_always_ends_in_the_id_of_its_job(path: str) -> None:
    for value in (launch(results_file=path), launch(results_file=path + "/j1.1"), launch(results_file="/" + path)):
        found = job_records(value)[0]["results_file"]
        assert found is None or (found.startswith("/") and found.endswith("/j1.1"))


# Whatever is given

keys = st.sampled_from(
    ["ansible_job_id", "results", "jobs", "summary", "item", "ansible_loop_var", "finished", "failed", "skipped"]
) | st.sampled_from(["msg", "state", "name", "started_at", "ended_at", "result", "results_file", "x"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
fuzz = st.recursive(
    scalars | st.sampled_from(["j1.1", "j2.2", "item", *_jobs.STATES]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=12,
)
jids = st.builds("j{}.{}".format, st.integers(0, 10**12), st.integers(0, 10**6))
whole_records = st.builds(
    lambda record, more: {**record, **more}, st.just(new_record("j1.1", "lost")), st.dictionaries(keys, fuzz)
)


@fuzzed
@given(
    fuzz | whole_records | st.lists(whole_records, max_size=3), st.none() | st.sampled_from(["name", "a.b", ".", ""])
)
@example({"results": [{"ansible_loop_var": ["item"]}]}, None)
@example({"ansible_job_id": "j1.1", "finished": True, "ansible_loop_var": {}}, None)
@example({"results": [{"item": {"ansible_job_id": "j1.1", "ansible_loop_var": []}}]}, None)
def test_whatever_is_given_becomes_jobs_or_one_clear_error(value: object, label: str | None) -> None:
    error = ""
    records = []
    try:
        records = job_records(value, label)
    except NotAJob as ex:
        error = str(ex)
    assert "\n" not in error
    for record in records:
        assert set(record) == set(new_record(None, "lost"))
        assert record["state"] in _jobs.STATES
        assert record["ansible_job_id"] is None or _jobs.is_job_id(record["ansible_job_id"])
        assert record["ansible_job_id"] is not None or record["finished"]
        assert record["failed"] == (record["finished"] and record["state"] != "succeeded")
    assert _registered.summary_of(records)["total"] == len(records)


@fuzzed
@given(st.recursive(jids, lambda inner: st.lists(inner, max_size=4), max_leaves=12))
def test_lists_in_lists_keep_every_id_in_its_order(value: t.Any) -> None:
    def flat(one: t.Any) -> list[str]:
        return [one] if isinstance(one, str) else [jid for part in one for jid in flat(part)]

    assert ids(value) == flat(value)


# Records


@pytest.mark.parametrize("state", _jobs.STATES)
def test_the_three_booleans_follow_from_the_state(state: str) -> None:
    record = new_record("j1.1", state)
    assert record["started"] == (state not in ("queued", "not_started"))
    assert record["finished"] == (state not in ("queued", "running"))
    assert record["failed"] == (state not in ("queued", "running", "succeeded"))


def test_the_summary_counts_every_state() -> None:
    summary = _registered.summary_of(
        [new_record("j1.1", "lost"), new_record("j2.1", "lost"), new_record("j3.1", "running")]
    )
    assert {key: number for key, number in summary.items() if number} == {"total": 3, "lost": 2, "running": 1}
    assert set(summary) == {"total", *_jobs.STATES}


# Reasons


@pytest.mark.parametrize(
    ("result", "state", "reason"),
    [
        ({"msg": "disk full"}, "failed", "disk full"),
        ({"msg": "first\nsecond"}, "failed", "first"),
        ({"msg": "non-zero return code", "stderr": "no such file\n"}, "failed", "no such file"),
        (
            {"msg": "non-zero return code", "stderr": "x\ny: no such file\n\ny: failed"},
            "failed",
            "y: no such file; y: failed",
        ),
        ({"msg": "", "stderr": "Traceback:\n  File 1\n    x()\nOSError: full"}, "failed", "OSError: full"),
        ({"msg": "non-zero return code", "stderr": "", "stdout": "it broke\n\n"}, "failed", "it broke"),
        ({"msg": "non-zero return code", "stderr": "", "stdout": ""}, "failed", "non-zero return code"),
        ({"stderr": "last"}, "failed", "last"),
        ({}, "failed", "it gave no reason"),
        ({"msg": ["a", "b"]}, "failed", "['a', 'b']"),
        ({"msg": "Timeout exceeded"}, "timed_out", "its time limit (async) passed"),
        ({"msg": "all is well"}, "succeeded", "all is well"),
        ({"stderr": "a warning"}, "succeeded", ""),
        (
            {"msg": "Traceback (most recent call last):\n x", "data": "junk\n", "stderr": "  a\nValueError"},
            "failed",
            "the module printed no result but junk (ValueError)",
        ),
        (
            {"msg": "Traceback (most recent call last):", "data": ""},
            "failed",
            "the module printed no result but nothing",
        ),
    ],
)
def test_the_reason_is_what_a_person_would_look_for(result: Registered, state: str, reason: str) -> None:
    assert _registered.reason_of(result, state) == reason


@fuzzed
@given(st.dictionaries(st.sampled_from(["msg", "stderr", "stdout", "data", "rc"]), fuzz), st.sampled_from(_jobs.STATES))
def test_a_reason_is_always_one_line_that_is_safe_to_print(result: Registered, state: str) -> None:
    reason = _registered.reason_of(result, state)
    assert reason.isprintable()
    assert len(reason) < 500


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n\n  \n a \nb", "a"),
        ("\x1b[2J\x1b]0;owned\x07x", "[2J ]0;owned x"),
        ("a\u202eb\u200bc", "a b c"),
        ("x" * 300, "x" * 197 + "..."),
        (None, ""),
        ("\n", ""),
        (5, "5"),
    ],
)
def test_a_line_from_a_host_is_short_and_has_no_control_characters(text: object, line: str) -> None:
    assert _registered.one_line(text) == line


@fuzzed
@given(st.text())
def test_a_line_from_a_host_is_safe_whatever_it_holds(text: str) -> None:
    for line in (_registered.one_line(text), _registered.end_of(text)):
        assert line.isprintable()
        assert len(line) <= 200


def test_a_value_in_a_message_is_quoted_and_cut() -> None:
    assert _registered.shown("a\nb") == r"'a\nb'"
    assert len(_registered.shown("x" * 1000)) == 80


def test_a_part_of_the_results_of_a_loop_names_its_jobs_as_the_whole_does() -> None:
    results = [
        {"ansible_job_id": "j1.1", "ansible_loop_var": "db", "db": {"name": "users"}},
        {"failed": True, "msg": "no such user", "ansible_loop_var": "db", "db": "orders"},
    ]
    names = ["users", "orders"]
    assert [record["name"] for record in _registered.job_records({"results": results})] == names
    assert [record["name"] for record in _registered.job_records(results)] == names


@pytest.mark.parametrize("beside", [{"cancelled": 1}, {"removed": 1}, {"summary": {}}])
def test_what_plugins_return_without_results_names_jobs_of_which_more_is_to_be_known(beside: dict[str, t.Any]) -> None:
    told = new_record("j1.1", "succeeded", name="dump", item={"id": 7}, results_file="/srv/jobs/j1.1")
    del told["result"]
    expected = new_record("j1.1", "running", name="dump", item={"id": 7}, results_file="/srv/jobs/j1.1")
    assert job_records({"jobs": [told], **beside}) == [expected]
    assert job_records(told) == [expected]


def test_other_modules_have_jobs_too() -> None:
    with pytest.raises(NotAJob):
        job_records({"jobs": ["tidy up"], "envs": []})
