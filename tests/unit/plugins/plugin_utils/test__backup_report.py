# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import time
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.plugin_utils import _backup_report
from ansible_collections.inflight.jobs.plugins.plugin_utils._backup_report import Report, report_of
from ansible_collections.inflight.jobs.plugins.plugin_utils._backup_report_text import (
    MAX_TROUBLES,
    markdown,
    table,
    told,
    troubles,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_text import MAX_TEXT

from .reports import (
    ATOMS,
    NOW,
    SAID_WITH_A_PASSWORD,
    WRONG_NUMBERS,
    anything,
    everything,
    expect_a_whole_report,
    failed_hosts,
    results_of,
    text,
)

Data = dict[str, t.Any]


def backup_set(name: str = "etc", state: str = "succeeded", **more: t.Any) -> Data:
    """What the role found for one set."""
    return {
        "set": name,
        "state": state,
        "msg": None if state == "succeeded" else "disk full",
        "id": "20261121T110000Z-3fa9c1" if state == "succeeded" else None,
        "path": "/var/backups/etc/20261121T110000Z-3fa9c1" if state == "succeeded" else None,
        "bytes": 1024**2 if state == "succeeded" else None,
        "previous_bytes": 1024**2,
        "members": 77,
        "seconds": 30.0,
        "sha256": "ab" * 32,
        "files": [{"name": "files.tar.zst", "bytes": 1024**2, "sha256": "ab" * 32}],
        "checks": ["checksum", "list"],
        "warnings": [],
        "copied_to": None,
        "started_at": "2026-11-21T11:00:00Z",
        "ended_at": "2026-11-21T11:00:30Z",
        **more,
    }


def host(*sets: Data, state: str = "ok", **more: t.Any) -> Data:
    """What the role found for one host."""
    return {
        "state": state,
        "msg": None,
        "started_at": "2026-11-21T11:00:00Z",
        "ended_at": "2026-11-21T11:01:00Z",
        "sets": list(sets) or [backup_set()],
        "retention": [],
        "freed_bytes": 0,
        **more,
    }


def made(results: dict[t.Any, t.Any]) -> Report:
    return report_of(results, "Backup report", NOW)


def one_of(result: object) -> _backup_report.HostReport:
    """How a host is reported."""
    return made({"web1": result}).hosts[0]


def shown(results: dict[t.Any, t.Any], width: int = 80) -> list[str]:
    return [line.text for line in table(made(results), width)]


MIXED: dict[str, t.Any] = {
    "web1": host(),
    "web2": host(backup_set(warnings=["3 files changed", "no xattrs"])),
    "web3": host(backup_set(), backup_set("data", "timed_out", msg="it took longer than 4 h")),
    "web4": None,
    "web5": {"state": "failed", "msg": "another backup of this host runs"},
}


# What a run came to


def test_a_good_run() -> None:
    report = made({"web1": host(freed_bytes=10), "web2": host(backup_set(), backup_set("data", bytes=24))})
    assert report.state == "ok"
    assert report.summary == {
        "hosts": 2,
        "hosts_ok": 2,
        "hosts_warning": 0,
        "hosts_failed": 0,
        "hosts_unreachable": 0,
        "sets": 3,
        "sets_ok": 3,
        "sets_failed": 0,
        "bytes": 2 * 1024**2 + 24,
        "freed_bytes": 10,
        "wall_seconds": 60.0,
        "serial_seconds": 90.0,
    }
    assert failed_hosts(told, report, ["web1", "web2"]) == {}
    assert [(line.text, line.kind) for line in table(report, 100)] == [
        ("2 hosts succeeded; 3 of 3 sets saved, 2.0M in 1m (2m one after the other), 0.0K freed", "good")
    ]


def test_every_cause_is_named_and_the_worst_comes_first() -> None:
    assert shown(MIXED) == [
        "HOST SET  STATE       CAUSE",
        "web3 data timed out   it took longer than 4 h",
        "web4      unreachable it gave no result: it could not be reached, or the run e..",
        "web5      failed      another backup of this host runs",
        "web2 etc  warning     3 files changed; no xattrs",
        "2 of 5 hosts failed, 1 out of reach, 1 with warnings",
        "3 of 4 sets saved, 3.0M in 1m (2m one after the other)",
    ]
    kinds = [line.kind for line in table(made(MIXED), 80)]
    assert kinds == ["head", "bad", "unreachable", "bad", "warning", "bad", "bad"]
    assert made(MIXED).state == "failed"
    assert failed_hosts(told, made(MIXED), MIXED) == {
        "web3": "data: it took longer than 4 h",
        "web4": "it gave no result: it could not be reached, or the run ended before its turn",
        "web5": "another backup of this host runs",
    }


def test_the_time_of_the_run_goes_from_the_first_start_to_the_last_end() -> None:
    early = host(started_at="2026-11-21T10:59:00Z", ended_at="2026-11-21T11:00:30+00:00")
    late = host(backup_set(ended_at="2026-11-21T11:09:00Z"))
    assert made({"web1": early, "web2": late}).summary["wall_seconds"] == 600.0
    assert made({"web1": None}).summary["wall_seconds"] is None


@pytest.mark.parametrize("wrong", ["1970-01-01T00:00:07Z", "2027-01-01T00:00:00Z", "soon", "9999-99-99", 5, "x" * 999])
def test_a_clock_that_is_wrong_does_not_count(wrong: object) -> None:
    results = {"web1": host(), "web2": host(backup_set(started_at=wrong), started_at=wrong)}
    assert made(results).summary["wall_seconds"] == 60.0


def test_a_run_without_any_host_is_no_good_run() -> None:
    assert made({}).state == "failed"
    assert "no host was backed up" in text(told, made({}))


def test_the_state_of_a_host_is_never_better_than_that_of_its_sets() -> None:
    assert one_of(host(backup_set(state="lost"))).state == "failed"
    assert one_of(host(backup_set(state="running"), state="warning")).state == "failed"
    assert one_of(host(backup_set(warnings=["x"]))).state == "warning"
    assert one_of(host(backup_set(state="lost"), state="unreachable")).state == "unreachable"
    assert one_of(host(state="failed", msg="post command failed")).state == "failed"


def test_what_has_not_ended_is_not_saved() -> None:
    report = made({"web1": host(backup_set(), backup_set("data", "running", msg=None), state="running")})
    assert failed_hosts(told, report, ["web1"]) == {"web1": "data: it had not ended when this report was made"}
    assert troubles(report) == [("web1", "data", "running", "it had not ended when this report was made")]


def test_in_check_mode_it_is_told_what_would_be_done() -> None:
    planned = backup_set(msg="would back up /etc", id=None, bytes=None)
    lines = table(report_of({"web1": host(planned)}, "Backup report", NOW, check_mode=True), 80)
    assert [line.text for line in lines] == [
        "HOST SET STATE CAUSE",
        "web1 etc to do would back up /etc",
        "1 host succeeded; 1 of 1 set would be saved",
    ]


def test_a_host_of_which_only_old_backups_were_removed_is_a_good_one() -> None:
    retention = [{"set": "etc", "kept": [], "deleted": ["b1"], "skipped": None}]
    assert one_of({"state": "ok", "sets": [], "retention": retention}).state == "ok"


def test_a_host_that_backed_up_nothing_has_a_warning() -> None:
    nothing = one_of({"state": "ok", "sets": []})
    assert (nothing.state, nothing.msg) == ("warning", "it has no backup sets")


def test_the_change_of_the_size_is_in_percent_of_the_last() -> None:
    sizes = [(103, 100), (50, 100), (100, 100), (9_999, 10_000), (5_000, 100), (10**9, 1), (5, 0), (5, None), (0, 5)]
    sets = [backup_set(bytes=now, previous_bytes=before) for now, before in sizes]
    rows = [line for line in markdown(made({"web1": host(*sets)})).splitlines() if line.startswith("| etc")]
    changes = [row.split("|")[4].strip() for row in rows]
    assert changes == ["+3 %", "-50 %", "+0 %", "+0 %", "50 times", "100+ times", "", "", "-100 %"]
    told = made({"web1": host(*sets)}).data()["hosts"][0]["sets"]
    assert [one["change_percent"] for one in told][:3] == [3.0, -50.0, 0.0]


def test_a_host_without_a_result_was_out_of_reach() -> None:
    for nothing in (None, {}, ""):
        assert one_of(nothing).state == "unreachable"


# Files


def test_the_json_file_has_everything() -> None:
    retention = [{"set": "etc", "kept": [{"id": "b2", "reasons": ["last"]}], "deleted": ["b1"], "skipped": None}]
    data = made({"web1": host(retention=retention, freed_bytes=5), "web2": None}).data()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert list(data) == ["version", "title", "written_at", "state", "summary", "hosts"]
    assert (data["version"], data["written_at"]) == (1, "2026-11-21T12:00:00Z")
    assert data["hosts"][0] == {
        "host": "web1",
        **host({**backup_set(), "change_percent": 0.0}),
        "retention": retention,
    } | {"freed_bytes": 5}
    assert [one["host"] for one in data["hosts"]] == ["web1", "web2"]


def test_markdown_starts_with_the_outcome_and_goes_on_with_failures() -> None:
    retention = [
        {"set": "etc", "kept": [{"id": "b3", "reasons": ["last", "daily"]}], "deleted": ["b1", "b2"], "skipped": None},
        {"set": "data", "kept": [], "deleted": [], "skipped": "the newest backup is damaged"},
    ]
    page = markdown(made({**MIXED, "web6": host(backup_set(copied_to="nas:/srv"), retention=retention)}))
    lines = page.splitlines()
    assert lines[0] == "# Backup report: 2 of 6 hosts failed, 1 out of reach, 1 with warnings"
    titles = [line for line in lines if line.startswith("#")][1:]
    assert titles == [
        "## Failures",
        "## Warnings",
        "## Hosts",
        "### web1: ok",
        "### web2: warning",
        "### web3: failed",
        "### web4: unreachable",
        "### web5: failed",
        "### web6: ok",
        "## Total",
    ]
    for expected in (
        "| web3 | data | timed out   | it took longer than 4 h |",
        "| web2 | etc | warning | 3 files changed; no xattrs |",
        "| etc | succeeded | 1.0M |   +0 % |      77 |  30s |        2 | checksum, list | 20261121T110000Z-3fa9c1 |",
        "* Warning for set etc: no xattrs",
        "* Set data is not saved: it took longer than 4 h",
        "* Copy of set etc: nas:/srv",
        "* Kept of set etc: 1: b3 (last, daily)",
        "* Deleted of set etc: 2: b1, b2",
        "* Nothing deleted of set data: the newest backup is damaged",
        "| Time from the first start to the last end | 60.0 seconds |",
        "| Time of all sets one after the other      | 150.0 seconds |",
    ):
        assert expected in lines


# What is too much


def test_many_sets_of_a_host_are_counted_and_none_is_lost() -> None:
    sets = [backup_set(f"set{number}", "failed") for number in range(100)]
    report = made({"web1": host(*sets), "web2": host(backup_set("last", "failed"))})
    found = troubles(report)
    assert len(found) == MAX_TROUBLES + 2
    assert (found[-2].cause, found[-1].part) == ("80 more sets", "last")
    assert report.summary["sets_failed"] == 101
    assert len(report.data()["hosts"][0]["sets"]) == 100


def test_a_notification_names_all_in_trouble_before_it_gives_their_causes_in_full() -> None:
    def of(hosts: int) -> str:
        return text(told, made({f"web{number}": {"state": "failed", "msg": "x" * 400} for number in range(hosts)}))

    assert "x" * 400 in of(2)
    for hosts in (10, 20, 60):
        assert len(of(hosts)) <= MAX_TEXT
        assert all(f"\nweb{number}: failed" in of(hosts) for number in range(hosts))
    last = of(1000).splitlines()[-1]
    named = len(re.findall("^web", of(1000), re.MULTILINE))
    assert last == f"and {1000 - named} more"
    assert len(of(1000)) <= MAX_TEXT


def test_what_no_report_takes_makes_a_host_a_failed_one() -> None:
    too_many: list[Data] = [
        host(*[backup_set()] * 600),
        host(retention=[{"set": "etc", "kept": [{"id": "b", "reasons": []}] * 6000}]),
        host(retention=[{"set": "etc", "deleted": ["b"] * 6000}]),
    ]
    for result in too_many:
        found = one_of(result)
        assert found.state == "failed"
        assert "a report takes" in found.msg


def test_many_warnings_are_counted() -> None:
    warned = one_of(host(backup_set(warnings=["changed"] * 1000))).sets[0].warnings
    assert warned[-1] == "980 more warnings"


def test_the_warnings_of_a_set_are_cut_where_they_stand_together() -> None:
    assert len(troubles(made({"web1": host(backup_set(warnings=["x" * 400] * 20))}))[0].cause) == 500


def test_hostile_texts_of_any_length_cost_little_time() -> None:
    for unit in ("key", "password=", "://", "a@", "\x1b[31m", "'", "password: '", "://a@"):
        results = {"web1": host(*[backup_set(warnings=[unit * 100_000] * 20)] * 20)}
        began = time.process_time()
        markdown(made(results))
        assert time.process_time() - began < 5


# What hosts say that they should not


@pytest.mark.parametrize(
    ("result", "msg"),
    [
        ([1], "what it reported is a list, not a dict"),
        ("ok", "what it reported is a text, not a dict"),
        ({"msg": "x"}, "the state it reported is missing"),
        ({"state": "great", "sets": [backup_set()]}, "the state it reported is 'great'"),
        ({"state": ["ok"], "sets": [backup_set()]}, "the state it reported is a list"),
        ({"state": "ok", "sets": "etc"}, "the sets it reported are a text, not a list"),
        ({"state": "ok", "sets": [1]}, "one of the sets it reported is a number, not a dict"),
        (host(retention={"set": "etc"}), "the retention it reported are a dict, not a list"),
        (host(retention=[{"set": "etc", "kept": ["b1"]}]), "one of the kept it reported is a text, not a dict"),
    ],
)
def test_a_damaged_result_is_a_failure_that_says_what_is_wrong(result: object, msg: str) -> None:
    assert one_of(result).state == "failed"
    assert msg in one_of(result).msg


@pytest.mark.parametrize("wrong", WRONG_NUMBERS)
def test_what_is_no_number_is_not_known(wrong: object) -> None:
    found = one_of(host(backup_set(bytes=wrong, previous_bytes=wrong, seconds=wrong, members=wrong), freed_bytes=wrong))
    numbers = found.sets[0]
    assert (numbers.bytes, numbers.previous_bytes, numbers.seconds, numbers.members) == (None, None, None, None)
    assert (found.state, found.freed_bytes) == ("ok", 0)


@pytest.mark.parametrize("said", SAID_WITH_A_PASSWORD)
def test_passwords_in_messages_are_hidden(said: str) -> None:
    report = made({"web1": host(backup_set(state="failed", msg=said, copied_to=said), state="failed", msg=said)})
    assert "hunter2" not in everything(told, report)
    assert "***" in text(told, report)


@pytest.mark.parametrize(
    ("said", "source"),
    [
        ("a|b `c` *d*", r"a\|b \`c\` \*d\*"),
        ("<script>&lt;", "&lt;script&gt;&amp;lt;"),
        ("[x](http://y)", r"\[x\](http://y)"),
        ("my_set _em_ __x", r"my_set \_em\_ \_\_x"),
        ("back\\|slash", r"back\\\|slash"),
    ],
)
def test_nothing_that_a_host_says_has_a_meaning_in_markdown(said: str, source: str) -> None:
    page = markdown(made({"web1": host(backup_set(state="failed", msg=said))}))
    assert f"| failed | {source} |" in page
    assert f"* Set etc is not saved: {source}\n" in page


KEYS = [*host(), *backup_set(), "kept", "reasons", "deleted", "skipped"]
ANYTHING = anything(KEYS)
SETS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(backup_set(), ANYTHING)), max_size=3)
# All that a line of Markdown can be: empty, a title, a row of a table that ends where it should, a note, a time.
A_LINE = re.compile(
    r"|#{1,3} .*|\|( ([^|\\]|\\.)* \|)+|\* .*|Reason: .*"
    r"|From .* to .*\.|Written at .*\.|[0-9]+ of [0-9]+ sets? saved, .*"
)


@settings(deadline=None, max_examples=150)
@given(
    results=results_of(ANYTHING, {**dict.fromkeys(host(), ANYTHING), "state": ATOMS, "sets": SETS}),
    title=st.text(max_size=30),
    width=st.integers(40, 80),
)
def test_whatever_hosts_say_there_is_a_report_with_all_of_them(
    results: dict[t.Any, t.Any], title: str, width: int
) -> None:
    report = report_of(results, title, NOW)
    expect_a_whole_report(told(report, map(str, results)), results, width, A_LINE)
