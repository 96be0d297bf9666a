# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.plugin_utils import _table
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import Record, new_record
from ansible_collections.inflight.jobs.plugins.plugin_utils._table import duration, size, table

NOON = 1795262400.0  # 2026-11-21T12:00:00Z


def record(name: str, state: str, **more: t.Any) -> Record:
    found = new_record("j1.1", state, name=name)
    found.update(more)
    return found


def shown(found: dict[str, t.Any], width: int = 79) -> list[str]:
    return [line.text for line in table(found, width, NOON)]


def test_a_table_of_two_hosts() -> None:
    running = record("dump users", "running", elapsed=723.4, cpu_seconds=71.0, memory_bytes=76_543_210, tail=["a", "b"])
    ended = record("dump orders", "failed", ended_at="2026-11-21T09:55:00.000Z", msg="disk full\nmore")
    assert shown({"web1": {"jobs": [ended, running]}, "web2": {"jobs": [record("x", "queued")]}}) == [
        "HOST JOB         STATE     AGE CPU MEM LAST LINE",
        "web1 dump users  running   12m  1m 73M b",
        "web1 dump orders failed  2h05m         disk full",
        "web2 x           queued",
        "3 jobs on 2 hosts: 1 failed, 1 running, 1 queued",
    ]


def test_hosts_without_an_answer_have_a_line_that_says_why() -> None:
    unreachable = {"unreachable": True, "msg": "Task failed: Connection refused"}
    failed = {"failed": True, "msg": "no Python here"}
    found = {"web1": unreachable, "web2": failed, "web3": None, "web4": {"jobs": []}}
    assert shown(found) == [
        "HOST JOB STATE       AGE CPU MEM LAST LINE",
        "web1     unreachable             Connection refused",
        "web2     failed                  no Python here",
        "web3     failed                  no answer",
        "0 jobs on 4 hosts; 1 host unreachable; 2 hosts failed",
    ]


def test_where_there_is_no_job_there_is_no_table() -> None:
    assert shown({"web1": {"jobs": []}}) == ["0 jobs on 1 host"]


def test_jobs_that_run_longest_come_first_then_those_that_wait_then_those_that_ended_last() -> None:
    jobs = [
        record("old", "succeeded", ended_at="2026-11-20T12:00:00.000Z"),
        record("unknown", "lost"),
        record("third", "queued", queue_place=3),
        record("young", "running", elapsed=5.0),
        record("new", "failed", ended_at="2026-11-21T11:59:00.000Z"),
        record("first", "queued", queue_place=1),
        record("long", "running", elapsed=500.0),
    ]
    names = [line.split()[1] for line in shown({"web1": {"jobs": jobs}})[1:-1]]
    assert names == ["long", "young", "first", "third", "new", "old", "unknown"]


def test_of_the_jobs_that_ended_the_last_are_shown() -> None:
    jobs = [record(f"job {minute}", "succeeded", ended_at=f"2026-11-21T11:{minute:02}:00.000Z") for minute in range(60)]
    lines = shown({"web1": {"jobs": [*jobs, record("runs", "running", elapsed=1.0)]}})
    assert len(lines) == 1 + 1 + 20 + 1 + 1
    assert lines[1].split()[1] == "runs"
    assert lines[2].startswith("web1 job 59 ")
    assert lines[-2] == "web1 40 more that ended"
    assert lines[-1] == "61 jobs on 1 host: 60 succeeded, 1 running"


def test_what_is_too_long_is_cut_and_every_column_stays_in_its_place() -> None:
    job = record("x" * 100, "running", elapsed=1.0, tail=["y" * 200])
    lines = shown({"database-primary.example.com": {"jobs": [job]}})
    assert max(map(len, lines)) == 79
    assert lines[1].startswith("database-prim.. xxxxxxxxxxxxxxxxx.. running 1.0s")
    assert lines[1].endswith("yyy..")


def test_wide_characters_take_two_columns() -> None:
    lines = shown({"web1": {"jobs": [record("\u6570\u636e", "queued"), record("e\u0301t\u00e9", "queued")]}})
    assert lines[1:3] == ["web1 \u6570\u636e queued", "web1 e\u0301t\u00e9  queued"]


def test_the_kind_of_a_line_tells_what_it_is_of() -> None:
    jobs = [record("a", "running"), record("b", "succeeded"), record("c", "lost")]
    lines = table({"web1": {"jobs": jobs}, "web2": {"unreachable": True}}, 79, NOON)
    assert [line.kind for line in lines] == ["head", "open", "good", "bad", "unreachable", "plain"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (3569, "59m"),
        (3571, "1h00m"),
        (86_399, "1d0h"),
        (180_000, "2d2h"),
        (1e7, "115d"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0.0K"), (10_240, "10K"), (1_023_000, "999K"), (1_030_000, "1.0M"), (76_543_210, "73M"), (2**40, "1.0T")],
)
def test_sizes_are_short(count: int, text: str) -> None:
    assert size(count) == text


TEXTS = st.text(max_size=120)


@given(
    hosts=st.lists(TEXTS, min_size=1, max_size=3, unique=True),
    said=st.tuples(TEXTS, TEXTS, TEXTS),
    moment=st.one_of(st.none(), TEXTS, st.integers()),
    width=st.integers(79, 200),
)
def test_whatever_hosts_tell_each_line_fits_and_can_be_printed(
    hosts: list[str], said: tuple[str, str, str], moment: object, width: int
) -> None:
    name, tail, msg = said
    jobs = [
        record(name, "running", elapsed=1e9, tail=[tail], cpu_seconds=1e9, memory_bytes=2**60),
        record(name, "failed", msg=msg, ended_at=moment),
    ]
    for line in shown({host: {"jobs": jobs} for host in hosts}, width):
        assert _table._width(line) <= width
        assert line.isprintable()
