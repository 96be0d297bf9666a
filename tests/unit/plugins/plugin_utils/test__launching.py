# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import dataclasses
import json
import typing as t
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.plugin_utils import _launching
from ansible_collections.inflight.jobs.plugins.plugin_utils._batch_tasks import BatchJob
from ansible_collections.inflight.jobs.plugins.plugin_utils._batches import BatchError, Run
from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import (
    CheckFailed,
    NoAnswer,
    NotStarted,
    OutOfReach,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._launching import BatchHost, order_text, start_order

from .test__batch_options import options

Message = dict[str, t.Any]


def job(name: str, place: int = 0, **more: t.Any) -> BatchJob:
    fields: dict[str, t.Any] = {
        "name": name,
        "item": name,
        "place": place,
        "key": f"key of {name}",
        "module": "ping",
        "arguments": {"data": name},
        "environment": {},
        "conditions": None,
    }
    return BatchJob(**{**fields, **more})


# The order to the host


class Payloads:
    """Modules that are their names."""

    def __init__(self) -> None:
        self.payloads: list[Message] = []

    def job(self, module: str, arguments: Message) -> tuple[int, str]:
        if module not in [payload["code"] for payload in self.payloads]:
            self.payloads.append({"kind": "zip", "code": module})
        return [payload["code"] for payload in self.payloads].index(module), json.dumps(arguments)


def read(text: str) -> Message:
    """What the host makes of an order."""
    return t.cast("Message", json.loads(zlib.decompress(base64.b64decode(text))))


def ordered(*jobs: BatchJob, no_log: bool = False, **given: t.Any) -> str:
    order = list(range(len(jobs)))[::-1]
    return order_text("j1", jobs, order, options(**given), t.cast("t.Any", Payloads()), no_log=no_log)


def test_the_host_can_read_the_order() -> None:
    message = read(ordered(job("a"), job("b", 1, module="command", environment={"X": "ä"}), concurrency="50%", nice=5))
    assert message["jobs"][1] == {
        "key": "key of b",
        "name": "b",
        "item": "b",
        "payload": 1,
        "params": '{"data": "b"}',
        "environment": {"X": "ä"},
    }
    assert [payload["code"] for payload in message["payloads"]] == ["ping", "command"]
    assert (message["number"], message["order"], message["limits"]["window"]) == ("j1", [1, 0], "50%")
    assert (message["id"], message["on_existing"], message["rerun"]) == (None, "attach", "all")
    assert (message["nice"], message["io_class"]) == (5, "none")


def test_an_order_is_one_line_of_plain_characters() -> None:
    assert ordered(job("ä\udcff\n")).isascii()
    assert "\n" not in ordered(*[job(f"{number}") for number in range(100)])


def test_a_module_travels_once_however_many_jobs_run_it() -> None:
    assert len(read(ordered(*[job(f"{number}") for number in range(100)]))["payloads"]) == 1


def test_the_limits_go_by_the_number_of_jobs() -> None:
    message = read(ordered(*[job(f"{number}") for number in range(20)], on_failure="drain", max_failures="10%"))
    assert message["limits"]["max_failures"] == 2


def test_under_no_log_no_names_and_items_stay_on_the_host() -> None:
    message = read(ordered(job("hunter2", arguments={}, key="0"), no_log=True))
    assert "hunter2" not in json.dumps(message)
    assert (message["jobs"][0]["name"], message["jobs"][0]["item"]) == (None, None)


@settings(deadline=None, max_examples=30)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_every_item_arrives_as_it_is(item: object) -> None:
    assert read(ordered(job("x", item=item)))["jobs"][0]["item"] == item


# The order to start in


def names(order: list[int]) -> str:
    return "".join("abc"[place] for place in order)


JOBS = [job("a", 0), job("b", 1), job("c", 2)]
ITEMS: list[t.Any] = [{"name": "a", "size": 5}, {"name": "b", "size": 50}, {"name": "c", "size": 7}]


@pytest.mark.parametrize(
    ("durations", "order"),
    [
        (None, "abc"),
        ({}, "abc"),
        ({"b": 5, "c": 9}, "cab"),
        ({"c": 60}, "abc"),
        ([1, 5, 3], "bca"),
        ([2, 2, 2], "abc"),
        ("size", "bca"),
    ],
)
def test_the_longest_job_starts_first_as_far_as_that_is_known(durations: object, order: str) -> None:
    # What is not known counts as the median of the others.
    assert names(start_order(JOBS, ITEMS, durations, [], "web1")) == order


def test_the_jobs_of_one_item_take_as_long_as_it_says() -> None:
    jobs = [job("a", 0), job("a2", 0), job("b", 1), job("b2", 1)]
    assert start_order(jobs, ["x", "y"], [1, 2], [], "web1") == [2, 3, 0, 1]


def test_without_durations_earlier_runs_tell() -> None:
    runs = [Run("web1", "a", 1), Run("web1", "c", 9), Run("web2", "b", 5), Run("web2", "a", 100)]
    assert names(start_order(JOBS, ITEMS, None, runs, "web1")) == "cba"
    assert names(start_order(JOBS, ITEMS, {"b": 5, "a": 1}, runs, "web1")) == "bca"


@pytest.mark.parametrize(
    ("durations", "items", "message"),
    [
        (5, ITEMS, "durations is 5"),
        ("weight", ITEMS, "durations is 'weight', but no item has that attribute"),
        ([1], ITEMS, "durations is a list of length 1, but there are 3 items"),
        ({"x": 1}, ITEMS, "durations has no entry for any item"),
        ([1, -1, 2], ITEMS, "durations of item 2 .* is -1"),
        ("size", None, "durations is 'size', but there are no items: give a dict"),
        ([1, 2, 3], None, "but there are no items: give a dict with the names of jobs"),
    ],
)
def test_durations_that_cannot_be_used_are_refused(durations: object, items: t.Any, message: str) -> None:
    with pytest.raises(BatchError, match=message):
        start_order(JOBS, items, durations, [], "web1")


def test_without_items_durations_go_by_the_names_of_the_jobs() -> None:
    assert names(start_order([dataclasses.replace(one, place=0) for one in JOBS], None, {"b": 2}, [], "x")) == "abc"
    assert names(start_order([dataclasses.replace(one, place=0) for one in JOBS], None, {"b": 2, "a": 1}, [], "x")) == (
        "bca"
    )


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_every_job_is_started_once(durations: list[int]) -> None:
    jobs = [job(str(place), place) for place in range(len(durations))]
    order = start_order(jobs, list(range(len(durations))), durations, [], "web1")
    assert sorted(order) == list(range(len(durations)))
    assert [durations[place] for place in order] == sorted(durations, reverse=True)


# The first question


class Answers:
    """A module on the host that answers by a script."""

    def __init__(self, *answers: Message | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Message] = []
        self.limits: list[float] = []
        self.resets = 0

    def ask(self, request: Message, limit: float) -> Message:
        self.asked.append(request)
        self.limits.append(limit)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def reset(self) -> None:
        self.resets += 1


ANSWER: Message = {"jobs": None, "ended": []}


def batch_host(starter: Answers, contact: Answers, names: dict[str, str] | None = None) -> BatchHost:
    return BatchHost(t.cast("t.Any", starter), t.cast("t.Any", contact), "x" * 100_000, names or {})


def test_the_order_goes_with_the_first_question_and_with_no_other() -> None:
    starter, contact = Answers(ANSWER), Answers(ANSWER, ANSWER)
    host = batch_host(starter, contact)
    assert not host.started
    assert host.ask({"hold": 5}, 35) == ANSWER
    assert host.started
    assert starter.asked == [{"hold": 5, "order": "x" * 100_000}]
    host.ask({"hold": 30}, 60)
    host.ask({"hold": 30}, 60)
    assert contact.asked == [{"hold": 30}, {"hold": 30}]
    assert contact.limits == [60, 60]


def test_a_large_order_may_take_its_time() -> None:
    starter = Answers(ANSWER)
    batch_host(starter, Answers()).ask({}, 35)
    assert starter.limits == [35 + 100_000 / _launching.SLOW_LINE]


def test_an_order_whose_answer_was_lost_is_sent_again() -> None:
    starter, contact = Answers(OutOfReach("gone"), OutOfReach("gone"), ANSWER), Answers(ANSWER)
    host = batch_host(starter, contact)
    for dummy in range(2):
        with pytest.raises(OutOfReach):
            host.ask({}, 35)
        assert not host.started
    host.ask({}, 35)
    assert [request["order"] for request in starter.asked] == ["x" * 100_000] * 3
    host.ask({}, 35)
    assert len(contact.asked) == 1


def test_a_host_that_refuses_the_order_has_not_started_the_batch() -> None:
    host = batch_host(Answers(CheckFailed("no Python")), Answers())
    with pytest.raises(NotStarted) as caught:
        host.ask({}, 35)
    assert caught.value.sentence == "The batch was not started: no Python"
    assert not host.started


def test_a_module_that_was_killed_before_it_answered_is_asked_once_more() -> None:
    """It may have passed the order on before."""
    starter = Answers(NoAnswer("killed"), ANSWER)
    host = batch_host(starter, Answers())
    host.ask({}, 35)
    assert (host.started, len(starter.asked)) == (True, 2)
    host = batch_host(Answers(NoAnswer("killed"), NoAnswer("killed")), Answers())
    with pytest.raises(NotStarted, match="killed"):
        host.ask({}, 35)


def test_jobs_of_another_run_are_known_by_their_keys_and_called_as_in_the_plan() -> None:
    """With no_log the host does not know their names."""
    jobs = [
        {"jid": "j9.0", "key": "k0", "name": None, "item": None},
        {"jid": "j9.1", "key": "k1", "name": "from the host", "item": 1},
        {"jid": "j9.2", "key": "k2", "name": None, "item": None},
    ]
    host = batch_host(Answers({"jobs": jobs, "ended": []}), Answers(), {"k0": "planned", "k1": "other"})
    answer = host.ask({}, 35)
    assert [job["name"] for job in answer["jobs"]] == ["planned", "from the host", None]
    assert host.keys == {"j9.0": "k0", "j9.1": "k1", "j9.2": "k2"}


def test_a_reset_is_one_of_the_connection() -> None:
    contact = Answers()
    batch_host(Answers(), contact).reset()
    assert contact.resets == 1
