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

from ansible_collections.inflight.jobs.plugins.plugin_utils import _update_report
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_text import MAX_TEXT
from ansible_collections.inflight.jobs.plugins.plugin_utils._update_report import Report, report_of, spread
from ansible_collections.inflight.jobs.plugins.plugin_utils._update_report_text import (
    MAX_PLANNED,
    MAX_QUIET,
    markdown,
    table,
    told,
    troubles,
)

from .reports import (
    ATOMS,
    NOW,
    SAID_WITH_A_PASSWORD,
    WRONG_NUMBERS,
    anything,
    everything,
    expect_a_whole_report,
    failed_hosts,
    outside_of_code,
    results_of,
    text,
)

Data = dict[str, t.Any]

FELL_OUT = "it fell out of the run before its update had ended: see what was printed"
NOT_VERIFIED = "it was not verified: it fell out of the run before that, or the play leaves that out"


def package(name: str = "openssl", old: str | None = "1.0", new: str | None = "2.0", **more: t.Any) -> Data:
    """A package that the role found changed."""
    return {"name": name, "arch": "amd64", "old": old, "new": new, "origin": "Debian:12.9/stable", **more}


def reboot(needed: str | None = "no", done: bool = False, **more: t.Any) -> Data:
    return {"needed": needed, "reasons": [], "done": done, "seconds": 25.0 if done else None, "msg": None, **more}


def check(name: str = "service nginx", ok: bool = True, msg: str = "active") -> Data:
    return {"name": name, "ok": ok, "msg": msg}


def health(**more: t.Any) -> Data:
    return {"before": [], "after": [], "new_faults": [], "old_faults": [], **more}


def host(**more: t.Any) -> Data:
    """What the role found for one host."""
    return {
        "state": "ok",
        "msg": None,
        "phase": None,
        "started_at": "2026-11-21T11:00:00Z",
        "ended_at": "2026-11-21T11:01:00Z",
        "seconds": {"preflight": 1.25, "update": 31.0},
        "manager": "apt",
        "changed": True,
        "packages": [package()],
        "planned": [],
        "kept_back": [],
        "held": [],
        "excluded": [],
        "failed_packages": [],
        "log_tail": [],
        "conffiles": [],
        "warnings": [],
        "kernel": {"before": "6.1.0-26-amd64", "after": "6.1.0-26-amd64"},
        "reboot": reboot(),
        "health": health(),
        "snapshot": {"kind": "none", "msg": None},
        **more,
    }


def not_touched(msg: str | None = None) -> Data:
    return {"state": "not_touched", "msg": msg}


def made(results: dict[t.Any, t.Any], check_mode: bool = False) -> Report:
    return report_of(results, "Update report", NOW, check_mode)


def one_of(result: object) -> _update_report.HostReport:
    """How a host is reported."""
    return made({"web1": result}).hosts[0]


def shown(results: dict[t.Any, t.Any], check_mode: bool = False, width: int = 80) -> list[str]:
    return [line.text for line in table(made(results, check_mode), width)]


def page_of(result: object, check_mode: bool = False) -> list[str]:
    """The lines of Markdown about a host."""
    lines = markdown(made({"web1": result}, check_mode)).splitlines()
    return lines[lines.index("## Hosts") :]


BROKEN = host(
    state="failed",
    phase="update",
    msg="apt-get ended with 100",
    failed_packages=[{"name": "boom", "state": "half-configured"}],
    reboot=reboot("yes", msg="the update failed"),
)
MIXED: dict[str, t.Any] = {
    "web1": host(packages=[package(), package("new", None)], reboot=reboot("yes", True)),
    "web2": host(warnings=["bar is kept back"], kept_back=[{"name": "bar", "old": "1", "new": "2"}]),
    "web3": BROKEN,
    "web4": None,
    "web5": not_touched(),
    "web6": host(changed=False, packages=[], reboot=reboot("yes", msg="it is never to be rebooted")),
}


# What a run came to


def test_a_good_run() -> None:
    report = made({"web1": host(), "web2": host(changed=False, packages=[])})
    assert report.state == "ok"
    assert report.summary == {
        "hosts": 2,
        "hosts_ok": 2,
        "hosts_warning": 0,
        "hosts_not_touched": 0,
        "hosts_failed": 0,
        "hosts_unreachable": 0,
        "packages": 1,
        "hosts_changed": 1,
        "hosts_rebooted": 0,
        "hosts_reboot_needed": 0,
        "kept_back": 0,
        "wall_seconds": 60.0,
    }
    assert failed_hosts(told, report, ["web1", "web2"]) == {}
    assert [(line.text, line.kind) for line in table(report, 80)] == [
        ("HOST STATE PKGS REBOOT TIME CAUSE", "head"),
        ("web1 ok       1 no      32s", "good"),
        ("web2 ok       0 no      32s", "good"),
        ("2 hosts succeeded; 1 package changed on 1 host, in 1m", "good"),
    ]


def test_every_host_has_a_line_and_the_worst_come_first() -> None:
    assert shown(MIXED) == [
        "HOST STATE       PKGS REBOOT TIME CAUSE",
        "web3 failed         1 needed  32s update: apt-get ended with 100",
        "web4 unreachable                  it gave no result: it could not be reached, ..",
        "web2 warning        1 no      32s bar is kept back",
        "web5 not touched                  the roll-out was stopped before its turn",
        "web1 ok             2 done    32s",
        "web6 ok             0 needed  32s not rebooted: it is never to be rebooted",
        "1 of 6 hosts failed, 1 out of reach, 1 with warnings, 1 not touched",
        "4 packages changed on 3 hosts, 1 host rebooted, 2 hosts still need a reboot,",
        "1 kept back, in 1m",
    ]
    kinds = [line.kind for line in table(made(MIXED), 80)]
    assert kinds == ["head", "bad", "unreachable", "warning", "plain", "good", "good", "bad", "bad", "bad"]
    assert failed_hosts(told, made(MIXED), MIXED) == {
        "web3": "update: apt-get ended with 100",
        "web4": "it gave no result: it could not be reached, or the run ended before its turn",
    }


def test_what_is_told_to_people_names_all_hosts_that_need_somebody() -> None:
    assert text(told, made(MIXED)).splitlines() == [
        "Update report: 1 of 6 hosts failed, 1 out of reach, 1 with warnings, 1 not touched",
        "4 packages changed on 3 hosts, 1 host rebooted, 2 hosts still need a reboot, 1 kept back, in 1m",
        "Not touched: web5",
        "web3 (update): failed: apt-get ended with 100",
        "web4: unreachable: it gave no result: it could not be reached, or the run ended before its turn",
        "web2: warning: bar is kept back",
    ]


def test_the_summary_counts_what_was_done_and_what_is_left_to_do() -> None:
    summary = made(MIXED).summary
    assert {key: summary[key] for key in ("packages", "hosts_changed", "hosts_rebooted", "hosts_reboot_needed")} == {
        "packages": 4,
        "hosts_changed": 3,
        "hosts_rebooted": 1,
        "hosts_reboot_needed": 2,
    }
    assert summary["kept_back"] == 1


def test_many_hosts_that_need_nobody_are_counted_and_those_in_trouble_are_all_there() -> None:
    fine = {f"web{number}": host() for number in range(MAX_QUIET + 1)}
    rest = {f"app{number}": not_touched() for number in range(MAX_QUIET + 1)}
    bad = {f"db{number}": host(state="failed", msg="x") for number in range(MAX_QUIET + 1)}
    assert len(shown({**fine, "last": BROKEN})) == 1 + 1 + 1 + 2
    lines = shown({**fine, **rest, **bad})
    assert [line for line in lines if line.startswith("db")] == lines[1:22]
    assert lines[22:24] == ["21 hosts: not touched", "21 hosts: ok"]
    assert shown(fine)[0].startswith("21 hosts succeeded")
    assert sum(line.startswith("web") for line in shown(dict(list(fine.items())[1:]))) == MAX_QUIET


def test_hosts_that_were_not_touched_have_not_failed_but_the_run_is_no_good_one() -> None:
    assert made({"web1": host(), "web2": not_touched()}).state == "warning"
    assert made({"web1": BROKEN, "web2": not_touched()}).state == "failed"
    assert made({"web1": not_touched()}).state == "warning"
    report = made({f"web{number}": not_touched() for number in range(100)})
    assert text(told, report).endswith(
        "\nNot touched: web0, web1, web2, web3, web4, web5, web6, web7, web8, web9 and 90 more"
    )
    assert failed_hosts(told, report, [host.host for host in report.hosts]) == {}
    assert troubles(report) == []


def test_an_update_that_still_runs_is_a_failure_that_says_so() -> None:
    for phase, words in (
        (None, "it had not ended when this report was made: the package manager was not stopped, and still runs on"),
        ("update", "it had not ended when this report was made: the package manager was not stopped, and still runs"),
        ("reboot", "it had not ended when this report was made"),
    ):
        found = one_of({"state": "running", "phase": phase})
        assert found.state == "failed"
        assert found.msg.startswith(words)
    assert one_of({"state": "running", "msg": "7200 s passed"}).msg.startswith("7200 s passed; it had not ended when")
    assert "package manager" not in one_of({"state": "running", "phase": "verify"}).msg


def test_a_run_without_any_host_is_no_good_run() -> None:
    assert made({}).state == "failed"
    assert "no host was updated" in text(told, made({}))


def test_a_host_without_a_result_was_out_of_reach() -> None:
    for nothing in (None, {}, ""):
        assert one_of(nothing).state == "unreachable"


@pytest.mark.parametrize(
    ("said", "state", "msg"),
    [
        ({"health": health(new_faults=["service nginx"])}, "failed", "new faults: service nginx"),
        (
            {"failed_packages": [{"name": name} for name in "abcdefg"]},
            "failed",
            "packages are not whole: a, b, c, d, e and 2 more",
        ),
        ({"health": health(old_faults=["service nginx"])}, "ok", ""),
        ({"warnings": ["x"]}, "warning", ""),
        ({"warnings": ["x"], "state": "unreachable", "msg": "no route"}, "unreachable", "no route"),
        ({"health": health(new_faults=["a"]), "state": "unreachable", "msg": "no route"}, "unreachable", "no route"),
        ({"reboot": reboot("yes")}, "ok", ""),
    ],
)
def test_the_state_of_a_host_is_never_better_than_what_it_says(said: Data, state: str, msg: str) -> None:
    assert (one_of(host(**said)).state, one_of(host(**said)).msg) == (state, msg)


@pytest.mark.parametrize(
    ("said", "state", "msg"),
    [
        ({"reached": "preflight"}, "failed", FELL_OUT),
        ({"reached": "update"}, "failed", NOT_VERIFIED),
        ({"reached": "reboot", "state": "warning", "msg": "look at this"}, "failed", NOT_VERIFIED),
        ({"reached": "verify"}, "ok", ""),
        ({"reached": "preflight", "state": "failed", "msg": "the disk is full"}, "failed", "the disk is full"),
        ({"reached": "stop", "state": "warning", "msg": "it was stopped"}, "warning", "it was stopped"),
        ({"reached": ["update"]}, "ok", ""),
    ],
)
def test_a_host_that_fell_out_of_the_run_is_not_well(said: Data, state: str, msg: str) -> None:
    (host,) = made({"web1": {"state": "ok", **said}}).hosts
    assert (host.state, host.msg) == (state, msg)


def test_in_check_mode_nothing_is_verified() -> None:
    hosts = made({"a": {"state": "ok", "reached": "update"}, "b": {"state": "ok", "reached": "preflight"}}, True).hosts
    assert [host.state for host in hosts] == ["ok", "failed"]


def test_the_time_of_a_host_is_that_of_its_phases_and_if_none_is_known_that_from_start_to_end() -> None:
    assert one_of(host()).taken == 32.25
    assert one_of(host(seconds={})).taken == 60.0
    assert one_of(None).taken is None


@pytest.mark.parametrize("wrong", ["1970-01-01T00:00:07Z", "2027-01-01T00:00:00Z", "soon", 5])
def test_a_clock_that_is_wrong_does_not_count(wrong: object) -> None:
    assert made({"web1": host(), "web2": host(started_at=wrong)}).summary["wall_seconds"] == 60.0


def test_what_yaml_makes_of_yes_and_no_is_taken_for_what_was_meant() -> None:
    for said, needed in ((True, "yes"), (False, "no"), ("unknown", "unknown"), ("perhaps", ""), (None, ""), ([], "")):
        assert one_of(host(reboot={"needed": said})).reboot.needed == needed


# Check mode


PLANNED = host(packages=[], planned=[package(), package("new", None)], changed=True)


def test_in_check_mode_it_is_told_what_would_be_done() -> None:
    assert shown({"web1": PLANNED, "web2": host(packages=[], planned=[package()])}, check_mode=True) == [
        "HOST STATE PKGS REBOOT TIME CAUSE",
        "web1 ok       2 no      32s",
        "web2 ok       1 no      32s",
        "PACKAGE OLD             NEW HOSTS",
        "new     newly installed 2.0 web1",
        "openssl 1.0             2.0 all",
        "2 hosts succeeded; 3 packages would change on 2 hosts, in 1m",
    ]
    assert "openssl 1.0             2.0 web1" in shown({"web1": PLANNED}, check_mode=True)
    report = made({"web1": PLANNED}, check_mode=True)
    assert (report.summary["packages"], report.summary["hosts_changed"]) == (2, 1)
    assert "## What would be changed where" in markdown(report).splitlines()
    assert "What would be changed by apt (1 updated, 1 newly installed):" in page_of(PLANNED, check_mode=True)


def test_in_check_mode_a_terminal_has_the_first_of_many_changes() -> None:
    many = host(packages=[], planned=[package(f"p{number:03}") for number in range(MAX_PLANNED + 2)])
    lines = shown({"web1": many}, check_mode=True)
    assert sum(line.startswith("p") for line in lines) == MAX_PLANNED
    assert lines[-2] == "and 2 more changes"


def test_nothing_to_do_is_said() -> None:
    nothing = host(packages=[], changed=False)
    assert shown({"web1": nothing})[-1] == "1 host succeeded; no package changed, in 1m"
    assert shown({"web1": nothing}, check_mode=True)[-1] == "1 host succeeded; no package would change, in 1m"
    assert page_of(nothing)[-1] == "No package was changed."
    assert page_of(nothing, check_mode=True)[-1] == "No package would be changed."


# Which package went where


def test_the_same_change_on_many_hosts_is_one_line() -> None:
    results = {f"web{number}": host(packages=[package(arch="amd64"), package(arch="i386")]) for number in range(12)}
    results["web0"]["packages"] = [package(old="0.9"), package("gone", "1", None)]
    found = spread(made(results))
    assert [(one.name, one.old, one.new, len(one.hosts)) for one in found] == [
        ("gone", "1", "", 1),
        ("openssl", "0.9", "2.0", 1),
        ("openssl", "1.0", "2.0", 11),
    ]
    lines = markdown(made(results)).splitlines()
    assert lines[lines.index("## What was changed where") + 2 :][:5] == [
        "| Package | Old | New     | Hosts | Which |",
        "| ------- | --- | ------- | ----: | --- |",
        "| gone    | 1   | removed |     1 | web0 |",
        "| openssl | 0.9 | 2.0     |     1 | web0 |",
        "| openssl | 1.0 | 2.0     |    11 | web1, web2, web3, web4, web5, web6, web7, web8, web9, web10 and 1 more |",
    ]
    del results["web0"]
    assert "| openssl | 1.0 | 2.0 |    11 | all |" in markdown(made(results)).splitlines()


# Files


def test_the_json_file_has_everything_that_the_host_said() -> None:
    whole = host(
        state="failed",
        msg="m",
        phase="verify",
        packages=[package(), package("new", None, origin=None), package("gone", new=None)],
        planned=[package()],
        kept_back=[{"name": "bar", "old": "1.0", "new": "1.1"}],
        held=["baz"],
        excluded=["qux"],
        failed_packages=[{"name": "boom", "state": "half-configured"}],
        log_tail=["dpkg: error"],
        conffiles=["/etc/foo.conf.dpkg-dist"],
        warnings=["w"],
        reboot=reboot("yes", True, reasons=["a newer kernel is installed"]),
        health=health(before=[check()], after=[check(ok=False)], new_faults=["service nginx"], old_faults=["unit x"]),
        snapshot={"kind": "lvm", "msg": "removed"},
    )
    data = made({"web1": whole, "web2": None}).data()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert list(data) == ["version", "title", "written_at", "state", "summary", "hosts"]
    assert data["hosts"][0] == {"host": "web1", **whole}
    assert data["hosts"][1]["host"] == "web2"
    assert data["hosts"][1].keys() == data["hosts"][0].keys()
    assert data["hosts"][1]["kernel"] == {"before": None, "after": None}


def test_markdown_starts_with_the_outcome_and_goes_on_with_failures_and_numbers() -> None:
    lines = markdown(made(MIXED)).splitlines()
    assert lines[0] == "# Update report: 1 of 6 hosts failed, 1 out of reach, 1 with warnings, 1 not touched"
    assert [line for line in lines if line.startswith("#")][1:] == [
        "## Failures",
        "## Warnings",
        "## Summary",
        "## What was changed where",
        "## Hosts",
        "### web1: ok",
        "### web2: warning",
        "### web3: failed",
        "### web4: unreachable",
        "### web5: not touched",
        "### web6: ok",
    ]
    for expected in (
        "| web3 | update | failed      | apt-get ended with 100 |",
        "| web2 |       | warning | bar is kept back |",
        "| Packages changed, on all hosts            | 4   |",
        "| Packages kept back, on all hosts          | 1   |",
        "| Hosts rebooted                            | 1   |",
        "| Hosts that still need a reboot            | 2   |",
        "| Hosts out of reach                        | 1   |",
        "| Time from the first start to the last end | 60.0 seconds |",
    ):
        assert expected in lines


def test_markdown_has_all_of_a_host() -> None:
    whole = host(
        state="failed",
        phase="verify",
        msg="1 of 3 checks found new faults",
        packages=[
            package("b", "1~x", "2~x", origin=None),
            package("a", None, "1"),
            package("c", "1", None, arch="all"),
        ],
        kept_back=[{"name": "bar", "old": "1.0", "new": "1.1"}, {"name": "baz"}],
        held=["bar"],
        excluded=["qux"],
        failed_packages=[{"name": "boom", "state": "half-configured"}],
        log_tail=["dpkg: error", "", "  sub-process"],
        conffiles=["/etc/foo.conf.dpkg-dist"],
        kernel={"before": "6.1.0-26-amd64", "after": "6.1.0-28-amd64"},
        reboot=reboot("yes", True, reasons=["a newer kernel", "libc6"]),
        health=health(
            before=[check(), check("port 443"), check("unit x", ok=False, msg="failed")],
            after=[check(ok=False, msg="exit | 1"), check("port 443"), check("unit x", ok=False, msg="")],
            new_faults=["service nginx"],
            old_faults=["unit x"],
        ),
        snapshot={"kind": "lvm", "msg": "kept, as the update failed"},
    )
    assert page_of(whole)[2:] == [
        "### web1: failed",
        "",
        "Reason: in phase verify: 1 of 3 checks found new faults",
        "",
        "From 2026-11-21T11:00:00Z to 2026-11-21T11:01:00Z, 1m.",
        "",
        "* Failed packages: 1: boom (half-configured)",
        "* New faults: 1: service nginx",
        "* Old faults, which do not count: 1: unit x",
        "* Checks that found no fault: 1: port 443",
        "* Reboot: needed (a newer kernel; libc6), done in 25s",
        "* Kernel: 6.1.0-26-amd64 -> 6.1.0-28-amd64",
        "* Kept back: 2: bar 1.0 (1.1 is there), baz",
        "* Held by the administrator of the host: 1: bar",
        "* Left as they are by the options of the role: 1: qux",
        "* New configuration files put beside changed ones: 1: /etc/foo.conf.dpkg-dist",
        "* Snapshot: lvm: kept, as the update failed",
        "* Time: preflight 1.2s, update 31s",
        "",
        "The last lines of the log of the package manager:",
        "",
        "```text",
        "dpkg: error",
        "sub-process",
        "```",
        "",
        "What was changed by apt (1 updated, 1 newly installed, 1 removed):",
        "",
        "| Package | Architecture | Old             | New     | Origin |",
        "| ------- | ------------ | --------------- | ------- | --- |",
        "| a       | amd64        | newly installed | 1       | Debian:12.9/stable |",
        "| b       | amd64        | 1~x             | 2~x     | not known |",
        "| c       | all          | 1               | removed | Debian:12.9/stable |",
        "",
        "Checks that found a fault:",
        "",
        "| Check         | Before        | After |",
        "| ------------- | ------------- | --- |",
        r"| service nginx | ok: active    | fault: exit \| 1 |",
        "| unit x        | fault: failed | fault |",
    ]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (reboot("no"), "not needed"),
        (reboot("no", reasons=["the newest kernel runs"]), "not needed (the newest kernel runs)"),
        (reboot("no", True), "not needed, done in 25s"),
        (reboot("yes", msg="it is never to be rebooted"), "needed, not done: it is never to be rebooted"),
        (reboot("yes", reasons=["libc6"]), "needed (libc6), not done"),
        (reboot("unknown"), "not known whether it is needed, not done"),
        (reboot(None, True, seconds=None), "not looked whether it is needed, done"),
        (reboot(None), None),
    ],
)
def test_of_a_reboot_it_is_told_whether_it_was_needed_why_and_what_became_of_it(said: Data, line: str | None) -> None:
    told_of = [note.removeprefix("* Reboot: ") for note in page_of(host(reboot=said)) if note.startswith("* Reboot")]
    assert told_of == ([] if line is None else [line])


def test_why_a_host_failed_is_told_with_the_phase_and_of_one_that_did_not_fail_there_is_nothing_to_tell() -> None:
    assert "Reason: in phase verify: it gave no reason" in page_of({"state": "failed", "phase": "verify"})
    assert "Reason: it gave no reason" in page_of({"state": "unreachable"})
    assert "Reason" not in "".join(page_of(host(phase="verify")))


def test_without_a_snapshot_it_is_told_what_that_means() -> None:
    assert "* Snapshot: none: a failed update cannot be rolled back by this role" in page_of(host())
    assert "Snapshot" not in "".join(page_of({"state": "ok"}))


def test_a_check_that_was_not_made_before_is_told() -> None:
    page = page_of(host(state="failed", msg="x", health=health(after=[check("port 1", ok=False, msg="refused")])))
    assert "| port 1 | not made | fault: refused |" in page


# What is too much


def test_a_notification_names_all_in_trouble_before_it_gives_their_causes_in_full() -> None:
    for hosts in (2, 20, 60, 1000):
        found = text(told, made({f"web{number}": {"state": "failed", "msg": "x" * 400} for number in range(hosts)}))
        assert len(found) <= MAX_TEXT
        assert hosts > 60 or all(f"\nweb{number}: failed" in found for number in range(hosts))


def test_a_notification_stays_short_whatever_hosts_are_called() -> None:
    results = {"x" * 90 + str(number): not_touched() for number in range(50)}
    assert len(text(told, made({**results, "bad": BROKEN}))) <= MAX_TEXT


@pytest.mark.parametrize(
    "said",
    [
        {"packages": [package()] * 10_001},
        {"planned": [package()] * 10_001},
        {"kept_back": [{"name": "a"}] * 10_001},
        {"held": ["a"] * 10_001},
        {"excluded": ["a"] * 10_001},
        {"failed_packages": [{"name": "a"}] * 10_001},
        {"conffiles": ["/etc/a"] * 1001},
        {"health": health(after=[check()] * 1001)},
        {"health": health(old_faults=["a"] * 1001)},
        {"reboot": reboot(reasons=["a"] * 21)},
    ],
)
def test_what_no_report_takes_makes_a_host_a_failed_one(said: Data) -> None:
    found = one_of(host(**said))
    assert found.state == "failed"
    assert "a report takes" in found.msg


def test_all_of_ten_thousand_packages_are_in_the_report() -> None:
    report = made({"web1": host(packages=[package(f"p{number}") for number in range(10_000)])})
    assert (report.state, report.summary["packages"]) == ("ok", 10_000)
    assert markdown(report).count("\n| p9999 ") == 2


def test_of_a_long_log_the_end_is_told() -> None:
    tail = one_of(host(log_tail=[f"line {number}" for number in range(1000)])).log_tail
    assert (tail[0], tail[1], tail[-1]) == ("(800 lines before these are left out)", "line 800", "line 999")
    assert one_of(host(log_tail=["x"] * 1000)).state == "ok"


def test_many_warnings_are_counted_and_cut_where_they_stand_together() -> None:
    assert one_of(host(warnings=["changed"] * 1000)).warnings[-1] == "980 more warnings"
    assert len(troubles(made({"web1": host(warnings=["x" * 400] * 20)}))[0].cause) == 500


def test_hostile_texts_of_any_length_cost_little_time() -> None:
    for unit in ("key", "password=", "://", "a@", "\x1b[31m", "'", "password: '", "://a@", "`"):
        long = unit * 100_000
        results = {"web1": host(packages=[package(long, long, long)] * 200, log_tail=[long] * 200, held=[long] * 200)}
        began = time.process_time()
        markdown(made(results))
        assert time.process_time() - began < 5


# What hosts say that they should not


@pytest.mark.parametrize(
    ("result", "msg"),
    [
        ([1], "what it reported is a list, not a dict"),
        ({"msg": "x"}, "the state it reported is missing"),
        ({"state": "great"}, "the state it reported is 'great'"),
        ({"state": ["ok"]}, "the state it reported is a list"),
        (host(packages="etc"), "the packages it reported are a text, not a list"),
        (host(packages=["a"]), "one of the packages it reported is a text, not a dict"),
        (host(log_tail="x"), "the log_tail it reported are a text, not a list"),
        (host(held={"a": 1}), "the held it reported are a dict, not a list"),
        (host(kernel="6.1"), "the kernel it reported is a text, not a dict"),
        (host(health=[1]), "the health it reported is a list, not a dict"),
        (host(health={"after": [1]}), "one of the health after it reported is a number, not a dict"),
        (host(seconds=5), "the seconds it reported is a number, not a dict"),
    ],
)
def test_a_damaged_result_is_a_failure_that_says_what_is_wrong(result: object, msg: str) -> None:
    assert one_of(result).state == "failed"
    assert msg in one_of(result).msg


@pytest.mark.parametrize("wrong", WRONG_NUMBERS)
def test_what_is_no_number_is_not_known(wrong: object) -> None:
    found = one_of(host(seconds={"update": wrong, "verify": 2}, reboot=reboot("yes", True, seconds=wrong)))
    assert (found.state, found.seconds, found.reboot.seconds) == ("ok", {"verify": 2.0}, None)


@pytest.mark.parametrize("said", SAID_WITH_A_PASSWORD)
def test_passwords_in_messages_are_hidden(said: str) -> None:
    words: Data = {key: [said] for key in ("held", "excluded", "log_tail", "conffiles", "warnings")}
    report = made(
        {
            "web1": host(
                state="failed",
                msg=said,
                packages=[package(said, said, said, origin=said)],
                failed_packages=[{"name": said, "state": said}],
                reboot=reboot("yes", reasons=[said], msg=said),
                health=health(before=[check(said, False, said)], new_faults=[said], old_faults=[said]),
                snapshot={"kind": "command", "msg": said},
                **words,
            )
        }
    )
    assert "hunter2" not in everything(told, report)
    assert "***" in text(told, report)


def test_no_log_can_end_its_block_and_write_into_the_report() -> None:
    hostile = ["```", "# Update report: all is well", "<script>", "~~~", "```` ", "\n```\n"]
    page = list(outside_of_code(page_of(host(state="failed", msg="x", log_tail=hostile))))
    assert not [line for line in page if "well" in line or "<" in line]


KEYS = [*host(), *package(), *reboot(), *health(), *check(), "update", "kind"]
ANYTHING = anything(KEYS)
# All that a line of Markdown can be: empty, a title, a row of a table that ends where it should, a note, a sentence.
A_LINE = re.compile(
    r"|#{1,3} .*|\|( ([^|\\]|\\.)* \|)+|\* .*|Reason: .*|From .* to .*\.|Written at .*\."
    r"|([0-9]+ packages?|No package) (would )?changed?\b.*\.|No package (was|would be) changed\."
    r"|What (was|would be) changed( by .*)? \(.*\):|Checks that found a fault:|The last lines of the log .*:"
)


def some(keys: t.Iterable[str]) -> st.SearchStrategy[Data]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(keys, ANYTHING))


@settings(deadline=None, max_examples=150)
@given(
    results=results_of(
        ANYTHING,
        {
            **dict.fromkeys(host(), ANYTHING),
            "state": ATOMS,
            **dict.fromkeys(("packages", "planned", "kept_back"), st.lists(some(package()), max_size=3)),
            "failed_packages": st.lists(some(["name", "state"]), max_size=3),
            **dict.fromkeys(("log_tail", "held", "conffiles", "warnings"), st.lists(ATOMS, max_size=5)),
            "seconds": some(["update", "verify"]),
            "reboot": some(reboot()),
            "health": some(health()),
            "snapshot": some(["kind", "msg"]),
        },
    ),
    title=st.text(max_size=30),
    width=st.integers(60, 80),
    check_mode=st.booleans(),
)
def test_whatever_hosts_say_there_is_a_report_with_all_of_them(
    results: dict[t.Any, t.Any], title: str, width: int, check_mode: bool
) -> None:
    report = report_of(results, title, NOW, check_mode)
    expect_a_whole_report(told(report, map(str, results)), results, width, A_LINE)
