# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._update import ending, packages, rpm
from ansible_collections.inflight.jobs.plugins.module_utils._update.apt import Apt
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import Change, Package, Plan
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import BEGUN, OUTCOME, Workspace

from .debian import OPTIONS
from .hosts import Answer, Replay

TIMERS = ["apt-daily.timer"]
QUERY = "dpkg-query"
PLAN = Plan([Change("a", "all", "1.0", "2.0", "Debian:12/stable"), Change("b", "all", "1", "2")], [], [])


class Host:
    """One whose update is over, by what is known of its beginning, and by what its programs say.

    term, dpkg: logs of apt and dpkg, of which there is something from before.
    """

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(str(folder / "workspace"))
        self.workspace.make()
        self.etc = folder / "etc"
        self.etc.mkdir()
        self.dpkg, self.term = folder / "dpkg.log", folder / "term.log"
        for log in (self.dpkg, self.term):
            log.write_text("of the update before\n", encoding="utf-8")
        self.answers: dict[str, Answer] = {
            QUERY: (0, "installed\ta\tall\t2.0\ninstalled\tb\tall\t1\ninstalled\tnew\tall\t5\n"),
            "systemctl start": (0, ""),
        }
        self.begun: dict[str, t.Any] = {
            "manager": "apt",
            "timers": TIMERS,
            "before": [Package("a", "all", "1.0"), Package("b", "all", "1"), Package("gone", "all", "3")],
            "held": [],
            "beside": packages.files_beside(str(self.etc)),
            "logs": {str(log): log.stat().st_size for log in (self.dpkg, self.term)},
            "plan": PLAN,
        }
        self.replay = Replay({})

    def finish(self, *warnings: str) -> dict[str, t.Any]:
        """End the update; what is told of it then."""
        self.workspace.write(BEGUN, self.begun)
        self.replay = Replay(self.answers)
        outcome = ending.finish(self.workspace, self.replay, *warnings)
        assert self.workspace.read(OUTCOME) is not None
        assert ending.told(self.workspace, outcome) == ending.told(self.workspace, self.workspace.read(OUTCOME) or {})
        return ending.told(self.workspace, outcome)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(tmp_path)
    monkeypatch.setattr(packages.files_beside, "__defaults__", (str(found.etc),))
    return found


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


class TestFinish:
    def test_what_has_changed_is_told_with_where_it_is_from(self, host: Host) -> None:
        assert [tuple(change.values()) for change in host.finish()["packages"]] == [
            ("a", "all", "1.0", "2.0", "Debian:12/stable"),
            ("gone", "all", "3", None, None),
            ("new", "all", None, "5", None),
        ]

    def test_the_timers_that_were_stopped_are_started(self, host: Host) -> None:
        assert host.finish()["remarks"] == []
        assert host.replay.asked[-1] == "systemctl start apt-daily.timer"

    def test_none_are_started_where_none_were_stopped(self, host: Host) -> None:
        host.begun["timers"] = []
        host.finish()
        assert not any(line.startswith("systemctl") for line in host.replay.asked)

    def test_half_installed_packages_are_told(self, host: Host) -> None:
        host.answers[QUERY] = (0, "half-configured\ta\tall\t2.0\ninstalled\tb\tall\t1\nconfig-files\tgone\tall\t3\n")
        told = host.finish()
        assert told["failed_packages"] == [{"name": "a", "state": "half-configured"}]
        assert [(change["name"], change["new"]) for change in told["packages"]] == [("a", "2.0"), ("gone", None)]

    def test_a_database_that_cannot_be_read_is_told_and_the_timers_are_started_all_the_same(self, host: Host) -> None:
        host.answers[QUERY] = (2, "error: out of memory\n")
        told = host.finish()
        assert told["packages"] == told["failed_packages"] == []
        assert told["remarks"] == ["dpkg-query --show ended with 2: error: out of memory"]
        assert host.replay.asked[-1] == "systemctl start apt-daily.timer"

    def test_timers_that_cannot_be_started_are_told(self, host: Host) -> None:
        host.answers["systemctl start"] = (1, "")
        told = host.finish()
        assert told["remarks"] == ["systemctl cannot start apt-daily.timer: "]
        assert len(told["packages"]) == 3

    def test_who_was_killed_before_it_had_looked_cannot_say_what_has_changed(self, host: Host) -> None:
        host.begun = {"manager": "apt", "timers": TIMERS}
        told = host.finish("it was killed")
        assert told["packages"] == []
        assert told["remarks"] == ["it was killed"]
        assert host.replay.asked[-1] == "systemctl start apt-daily.timer"

    def test_what_was_remarked_when_it_began_is_told_as_well(self, host: Host) -> None:
        host.begun["remarks"] = ["zypper has skipped a repository"]
        assert host.finish("it was killed")["remarks"] == ["zypper has skipped a repository", "it was killed"]

    def test_dnf_counts_packages_whose_scripts_failed_as_installed(self, host: Host) -> None:
        append(host.dpkg, "2026-11-21T10:00:00+0000 ERROR Error in POSTIN scriptlet in rpm package a\n")
        host.begun["manager"] = "dnf"
        host.answers = {"rpm -qa": (0, "a\tall\t2.0\nb\tall\t1\ngone\tall\t3\n"), "systemctl": (0, "")}
        told = host.finish()
        assert [change["name"] for change in told["packages"]] == ["a"]
        assert told["failed_packages"] == [{"name": "a", "state": "postin scriptlet failed"}]


class TestFilesBeside:
    def test_only_those_of_this_update_are_told(self, host: Host) -> None:
        old, again, new = (host.etc / f"{name}.dpkg-dist" for name in ("old", "again", "new"))
        for path in (old, again):
            path.touch()
            os.utime(path, (1, 1))
        host.begun["beside"] = packages.files_beside(str(host.etc))
        os.utime(again, (2, 2))
        new.touch()
        assert host.finish()["conffiles"] == [str(again), str(new)]


class TestLog:
    def test_the_last_lines_of_this_update_as_people_read_them(self, host: Host) -> None:
        append(host.dpkg, "2026-11-21 10:00:00 upgrade a:all 1.0 2.0\n")
        append(host.term, "".join(f"line {number}\n\n" for number in range(50)))
        assert host.finish()["log_tail"] == [f"line {number}" for number in range(10, 50)]

    def test_of_the_other_log_where_that_says_nothing(self, host: Host) -> None:
        append(host.dpkg, "2026-11-21 10:00:00 upgrade a:all 1.0 2.0\n")
        assert host.finish()["log_tail"] == ["2026-11-21 10:00:00 upgrade a:all 1.0 2.0"]

    def test_none_where_nothing_was_logged(self, host: Host) -> None:
        assert host.finish()["log_tail"] == []
        host.begun["logs"] = {"/nowhere/at/all": 0}
        assert host.finish()["log_tail"] == []

    def test_of_a_log_that_was_begun_anew_meanwhile_all_is_read(self, host: Host) -> None:
        host.term.rename(f"{host.term}.1")
        host.term.write_text("a new log\n", encoding="utf-8")
        assert host.finish()["log_tail"] == ["a new log"]

    def test_of_long_lines_and_logs_only_so_much_is_told(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ending, "_READ", 1000)
        append(host.term, "x" * 10**6 + "\n" + "y" * 800 + "\nend\n")
        tail = host.finish()["log_tail"]
        assert set(tail[0]) == {"x"}
        assert tail[1:] == ["y" * 500, "end"]

    def test_bytes_that_are_no_text_do_no_harm(self, host: Host) -> None:
        with host.term.open("ab") as file:
            file.write(b"\xff\xfe caf\xc3\xa9\x00\n")
        (line,) = host.finish()["log_tail"]
        assert line.startswith("\ufffd\ufffd caf\u00e9")


class TestFollower:
    @pytest.fixture
    def follow(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[], str]:
        monkeypatch.setattr(Apt, "FOLLOWED", (str(host.dpkg),))
        host.workspace.write(BEGUN, host.begun)
        return ending.follower(host.workspace, Apt(OPTIONS, Replay({}), host.workspace), PLAN)

    def test_it_follows_what_is_logged_since_the_beginning(self, host: Host, follow: t.Callable[[], str]) -> None:
        assert follow().startswith("download ")
        append(host.dpkg, "2026-11-21 10:00:00 upgrade a:all 1.0 2.0\n")
        assert follow() == "install 1 of 2, a"

    def test_a_log_that_is_begun_anew_is_followed(self, host: Host, follow: t.Callable[[], str]) -> None:
        append(host.dpkg, "2026-11-21 10:00:00 upgrade a:all 1.0 2.0\n" * 3)
        assert follow() == "install 1 of 2, a"
        host.dpkg.rename(f"{host.dpkg}.1")
        assert follow().startswith("download ")
        host.dpkg.write_text("1 2 upgrade b:all 1\n", encoding="utf-8")
        assert follow() == "install 1 of 2, b"

    def test_every_log_that_tells_of_it_is_followed(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rpm.Dnf, "FOLLOWED", (str(host.dpkg), str(host.term)))
        host.workspace.write(BEGUN, host.begun)
        follow = ending.follower(host.workspace, rpm.Dnf(OPTIONS, Replay({})), PLAN)
        append(host.term, '1 [2] INFO RPM callback install stop "a-0:2.0-1.noarch" amount 6 total 6\n')
        assert follow() == "install 1 of 2, a"

    def test_without_a_log_there_is_something_to_say(self, host: Host) -> None:
        host.workspace.write(BEGUN, {})
        manager = rpm.Dnf(OPTIONS, Replay({}))
        assert ending.follower(host.workspace, manager, PLAN)() == "download 2 packages"
