# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Whatever a task gives and whatever a host answers: there is one sentence that says what is wrong, or a result and a
# table that are safe to print.

from __future__ import annotations

import typing as t

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils._cancelling import result_of
from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import CheckFailed
from ansible_collections.inflight.jobs.plugins.plugin_utils._listing import MORE, message_of, records_of
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import NotAJob, Record
from ansible_collections.inflight.jobs.plugins.plugin_utils._selection import Selection
from ansible_collections.inflight.jobs.plugins.plugin_utils._table import table
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption

OPTIONS = ("jobs", "batch", "state", "name", "older_than", "newer_than")
NOON = 1795262400.0  # 2026-11-21T12:00:00Z
# Narrower than this, not even the heads of the columns and the widest numbers have space.
NARROWEST = 79

settled = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Texts that do harm on a terminal, in a path or in a message.
texts = st.text(max_size=12) | st.sampled_from(
    [
        *("", " ", "\n", "a\nb", "\x1b[31mred", "\x1b]0;title\x07", "a\rb", "\u202eright to left", "\ud800", "\0"),
        *(
            "\u4e16\u754c" * 60,
            "e\u0301" * 60,
            "\U0001f600" * 60,
            "\u200b" * 100,
            "x" * 5000,
            "{{ lookup('pipe', 'id') }}",
        ),
        *(
            "../../etc/passwd",
            "j1.1",
            "j1.1\n",
            "/srv/jobs/j1.1",
            "7d",
            "1h30m",
            "2026-11-21T11:55:00.000Z",
            "0001-01-01",
        ),
        *("9999-12-31T23:59:59.999Z", "nightly", "[z-a]", "*" * 200),
    ]
)
numbers = st.sampled_from(
    [0, 1, -1, 59.5, 10**30, 10**400, -(10**400), 0.1, 1e300, float("inf"), float("-inf"), float("nan"), 2**63, True]
)
scalars = st.none() | numbers | texts
KEYS = (
    "ansible_job_id",
    "results_file",
    "results",
    "jobs",
    "summary",
    "failed",
    "unreachable",
    "skipped",
    "msg",
    "item",
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | texts, inner, max_size=3),
    max_leaves=5,
)

# What a task gives

launches = st.fixed_dictionaries(
    {"ansible_job_id": st.sampled_from(["j1.1", "j2.2"]) | values},
    optional={
        "results_file": st.sampled_from(["/srv/jobs/j1.1", "relative/j1.1", "/srv/../j1.1"]) | values,
        "started": values,
        "finished": values,
        "failed": values,
        "msg": values,
        "rc": values,
        "item": values,
        "ansible_loop_var": values,
    },
)
records = st.fixed_dictionaries(
    {
        "ansible_job_id": st.sampled_from(["j1.1", "j2.2", None]) | values,
        "state": st.sampled_from(_jobs.STATES) | values,
        **dict.fromkeys(("name", "item", "started_at", "ended_at", "result"), values),
    },
    optional=dict.fromkeys(("results_file", "attempts", "msg", "elapsed", "changed"), values),
)
jobs = st.one_of(
    values,
    launches,
    records,
    st.lists(launches | records | values, max_size=3),
    st.lists(launches, max_size=3).map(lambda results: {"results": results}),
)


def check_sentence(said: Exception) -> None:
    assert str(said).isprintable(), "a message of one line, with nothing in it that does something to a terminal"
    assert str(said)


WITHOUT_AN_ID = dict.fromkeys(("ansible_job_id", "name", "item", "started_at", "ended_at", "result"))


@settings(settled, max_examples=1000)
@example({**dict.fromkeys(OPTIONS), "jobs": {**WITHOUT_AN_ID, "state": "succeeded"}}, {"jobs"})
@given(
    st.fixed_dictionaries(
        {
            "jobs": jobs,
            # Of these, the argument spec sees to it that they are texts, or none.
            "batch": st.none() | texts,
            "name": st.none() | texts,
            "state": st.none() | st.lists(st.sampled_from(_jobs.STATES), max_size=3),
            "older_than": values,
            "newer_than": values,
        }
    ),
    st.sets(st.sampled_from([*OPTIONS, "jid"])),
)
def test_options_that_make_no_sense_are_refused_in_one_line(arguments: dict[str, t.Any], given_: set[str]) -> None:
    if not given_ & {"jobs", "jid"}:
        arguments["jobs"] = None
    try:
        selection = Selection(arguments, given_)
        request = selection.request("~/.ansible_async")
        told = selection.not_started
    except (BadOption, NotAJob) as ex:
        check_sentence(ex)
        return
    assert all(_jobs.is_job_id(jid) for one in request["directories"] for jid in one["jobs"] or ())
    assert all("\0" not in one["path"] for one in request["directories"])
    assert all(record["state"] == "not_started" for record in told)


# What a host answers

LONG_BEFORE_OUR_TIME = '{"start": 1, "end": 2, "delta": "800000 days, 0:00:00"}'
TEXTS_OF_JOBS = (
    *("{}", '{"changed": true}', '{"failed": 1, "msg": "a\\u001b[31m\\nb"}', '{"rc": "x"}', '{"msg": ["\\ud800"]}'),
    *("", "[]", "null", "{", "[" * 100_000, '{"a": ' * 900 + "1" + "}" * 900, '{"failed": NaN, "msg": 1e400}'),
    '{"failed": true, "msg": null, "inflight_state": "lost", "result": {"changed": {}}}',
    '{"start": 1, "end": 2, "delta": "9999999999 days, 0:00:00"}',
    LONG_BEFORE_OUR_TIME,
    '{"start": 1, "end": 2, "delta": "0:00:9..9"}',
    '{"__ansible_type": "AnsibleTaggedObject", "stdout": 5, "warnings": [{}], "exception": {}}',
)
REPORT = {"jid": "j1.1", "state": "succeeded", "reason": "", "results_file": "/srv/j1.1", "name": "j1.1", "item": None}
reports = st.fixed_dictionaries(
    {
        "jid": st.sampled_from(["j1.1", "j1.1", "j2.2"]) | values,
        "state": st.sampled_from(_jobs.STATES) | values,
        "reason": values,
        "text": st.none() | st.sampled_from(TEXTS_OF_JOBS) | values,
        "results_file": st.sampled_from(["/srv/jobs/j1.1", "/srv/jobs/j2.2"]) | values,
        "name": values,
        "item": values,
    },
    optional={
        **dict.fromkeys(("started_at", "ended_at", "elapsed", "attempts", *MORE), values),
        "elapsed": numbers,
        "queue_place": numbers | values,
        "cpu_seconds": numbers | values,
        "memory_bytes": numbers | values,
        "tail": st.lists(texts, max_size=2) | values,
    },
)
# The same as an honest host tells it, whose jobs may say anything all the same.
moments = st.none() | st.sampled_from(
    ["2026-11-21T11:55:00.000Z", "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.000Z"]
)
seconds = st.floats(0, 1e9)
honest_reports = st.fixed_dictionaries(
    {
        "jid": st.sampled_from(["j1.1", "j2.2"]),
        "state": st.sampled_from(_jobs.STATES),
        "reason": texts,
        "text": st.none() | st.sampled_from(TEXTS_OF_JOBS),
        "results_file": st.sampled_from(["/srv/jobs/j1.1", "/srv/jobs/j2.2"]),
        "name": texts,
        "item": values,
    },
    optional={
        "started_at": moments,
        "ended_at": moments,
        "elapsed": seconds,
        "attempts": st.integers(0, 9),
        "batch": texts,
        "queue_place": st.integers(1, 10**6),
        "pid": st.integers(2, 2**22),
        "user": texts,
        "command": texts,
        "cpu_seconds": seconds,
        "memory_bytes": st.integers(0, 2**60),
        "children": st.integers(0, 10**6),
        "time_left": seconds,
        "tail": st.lists(texts, max_size=3),
    },
)
widths = st.integers(NARROWEST, 250)


def select(jids: list[str] | None) -> Selection:
    return Selection({**dict.fromkeys(OPTIONS), "jobs": jids}, {"jobs"} if jids is not None else ())


def check_table(found: dict[str, t.Any], width: int) -> None:
    for line in table(found, width, NOON):
        assert line.text.isprintable(), repr(line.text)
        assert columns(line.text) <= width


def columns(text: str) -> int:
    """How many columns a text takes at least: one for each character that is not combined with another."""
    return sum(not "\u0300" <= char <= "\u036f" for char in text)


def listed(answered: list[dict[str, t.Any]], jids: list[str] | None) -> list[Record]:
    found = records_of(answered, select(jids), results=True)
    assert message_of(found).isprintable()
    for record in found:
        assert _jobs.is_job_id(record["ansible_job_id"])
        assert record["state"] in _jobs.STATES
    return found


given_jids = st.none() | st.lists(st.sampled_from(["j1.1", "j2.2"]), max_size=2)


@settled
@example([{**REPORT, "ended_at": "2026-11-21T11:55:00.000Z", "text": LONG_BEFORE_OUR_TIME}], None, "host", NARROWEST)
@given(st.lists(honest_reports, max_size=3), given_jids, texts, widths)
def test_what_jobs_say_cannot_break_the_table(
    answered: list[dict[str, t.Any]], jids: list[str] | None, host: str, width: int
) -> None:
    check_table({host: {"jobs": listed(answered, jids)}}, width)


@settled
@given(st.lists(reports, max_size=2), given_jids, widths)
def test_a_host_that_answers_nonsense_about_jobs_is_told_from_one_that_answers(
    answered: list[dict[str, t.Any]], jids: list[str] | None, width: int
) -> None:
    try:
        found = listed(answered, jids)
    except CheckFailed as ex:
        check_sentence(ex)
        return
    check_table({"host": {"jobs": found}}, width)


@settled
@given(
    st.lists(honest_reports, max_size=2),
    st.integers(0, 10**6) | values,
    st.lists(st.tuples(st.sampled_from(["j1.1", "j2.2"]) | texts, texts), max_size=12) | values,
    st.booleans(),
    st.booleans(),
)
def test_a_host_that_answers_nonsense_about_what_was_cancelled_is_told_from_one_that_answers(
    answered: list[dict[str, t.Any]], cancelled: object, left: object, check_mode: bool, no_log: bool
) -> None:
    response = {"cancelled": cancelled, "left": left}
    try:
        result = result_of(listed(answered, None), response, check_mode, no_log)
    except CheckFailed as ex:
        check_sentence(ex)
        return
    assert result["msg"].isprintable()
    assert isinstance(result["changed"], bool)
    assert isinstance(result["failed"], bool)


@settled
@given(
    st.dictionaries(
        texts,
        st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "msg": values,
                "unreachable": values,
                "failed": values,
                "jobs": st.just([]) | texts,
            },
        ),
        max_size=3,
    ),
    widths,
)
def test_whatever_hosts_fail_with_has_its_line_in_the_table(found: dict[str, t.Any], width: int) -> None:
    check_table(found, width)
