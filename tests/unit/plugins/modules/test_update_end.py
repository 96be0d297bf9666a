# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# With updates that the real apt and dpkg make on a Debian in a folder.

from __future__ import annotations

import errno
import os
import signal
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._update import beginning, keeper
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import BEGUN, OUTCOME, REPORTED
from ansible_collections.inflight.jobs.plugins.modules import update_end

from ..conftest import FOREVER
from ..module_utils._update.debian import deb, debian, needs_apt, needs_root
from ..module_utils._update.updates import START, STOP, Update, eventually, update
from .backup_modules import Answer, Run, expect_documented, returned, runner

__all__ = ["debian", "update"]

KILLED = "the process that looked after the update was killed; what it left was put back now"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return runner(update_end, monkeypatch, capfd)


@pytest.fixture
def host(update: Update, monkeypatch: pytest.MonkeyPatch) -> Update:
    """The host that the module is on, with two new versions."""
    update.debian.have(deb("a", "1.0"), deb("b", "1.0"))
    update.debian.offer(deb("a", "2.0"), deb("b", "2.0"), build=True)

    def run_command(dummy_module: object, command: list[str], **options: t.Any) -> tuple[int, str, str]:
        return update.debian.run(command, **options)

    monkeypatch.setattr(update_end.AnsibleModule, "run_command", run_command)
    monkeypatch.setattr(update_end, "Workspace", lambda: update.workspace)
    return update


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host has no space for a file in the folder of the update."""
    real = os.rename

    def rename(old: str, new: str, **options: t.Any) -> None:
        if old.endswith(".new"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(old, new, **options)

    monkeypatch.setattr(os, "rename", rename)


def versions(answer: Answer) -> list[tuple[str, str | None, str | None]]:
    return [(change["name"], change["old"], change["new"]) for change in answer["packages"]]


BOTH = [("a", "1.0", "2.0"), ("b", "1.0", "2.0")]


def test_the_documentation_says_the_same_as_the_code() -> None:
    expect_documented(update_end)


def test_only_root_can_ask(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run({})["msg"] == "only root can ask what became of an update: set become"


@pytest.mark.parametrize("wait", ["-1", "nan"])
def test_a_wait_is_a_time(run: Run, wait: str) -> None:
    answer = run({"wait": wait})
    assert answer["failed"]
    assert answer["msg"] == f"wait is {wait}: give seconds, 0 or more"


@needs_apt
@needs_root
class TestOnAHost:
    def test_without_an_update_there_is_nothing_to_tell(self, run: Run, host: Update) -> None:
        answer = run({})
        assert answer["failed"]
        assert answer["msg"] == "no update has begun on this host since it booted"

    def test_it_tells_the_same_each_time_and_what_is_documented(self, run: Run, host: Update) -> None:
        host.update(exclude=["b"])
        answer = run({})
        assert (answer["changed"], answer["running"], answer["msg"]) == (True, False, "1 package changed")
        assert versions(answer) == BOTH[:1]
        assert set(answer) == set(returned(update_end))
        assert run({}) == answer
        assert host.systemctl() == [STOP, START]

    def test_an_update_that_did_nothing_is_no_change(self, run: Run, host: Update) -> None:
        host.update(exclude=["*"])
        answer = run({})
        assert (answer["changed"], answer["packages"], answer["msg"]) == (False, [], "0 packages changed")

    def test_one_that_is_at_work_goes_on(self, run: Run, host: Update) -> None:
        with host.batch() as folder:
            host.begin(folder)
            for wait in (0, 0.2):
                answer = run({"wait": wait})
                assert answer == {"changed": False, "running": True, "msg": "the update has not ended: it goes on"}
            assert not host.workspace.has(REPORTED)
            host.debian.upgrade()
        # It waits for the end, which is near.
        assert versions(run({"wait": FOREVER})) == BOTH

    def test_check_mode_tells_it_and_notes_nothing(self, run: Run, host: Update) -> None:
        host.update(exclude=["b"])
        assert versions(run({"reported": True}, check_mode=True)) == BOTH[:1]
        assert not host.workspace.has(REPORTED)
        host.update()
        assert versions(run({})) == BOTH

    def test_what_is_in_a_report_is_not_told_with_the_next_update(self, run: Run, host: Update) -> None:
        host.update(exclude=["b"])
        assert not run({"reported": True})["reported"]
        answer = run({})
        assert answer["reported"]
        assert versions(answer) == BOTH[:1]
        host.update()
        answer = run({})
        assert not answer["reported"]
        assert versions(answer) == BOTH[1:]

    def test_what_is_in_no_report_is_told_with_the_next_update(self, run: Run, host: Update) -> None:
        host.update(exclude=["b"])
        assert versions(run({})) == BOTH[:1]
        host.update()
        assert versions(run({})) == BOTH

    def test_what_people_do_after_an_update_that_did_nothing_is_not_told_with_the_next_one(
        self, run: Run, host: Update
    ) -> None:
        host.update(exclude=["*"])
        run({})
        host.debian.have(deb("a", "2.0"), deb("b", "1.0"))
        host.update()
        assert versions(run({})) == BOTH[1:]

    @pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "\x00"])
    def test_what_is_damaged_is_told(self, run: Run, host: Update, content: str) -> None:
        host.update()
        path = Path(host.workspace.file(BEGUN))
        path.write_text(content, encoding="utf-8")
        answer = run({})
        assert answer["failed"]
        assert answer["msg"] == f"{path} is damaged: nothing is known of the update, remove it"

    def test_what_cannot_be_noted_is_a_failure_that_tells_all_the_same(
        self, run: Run, host: Update, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.update()
        full(monkeypatch)
        answer = run({"reported": True})
        assert answer["failed"]
        path = host.workspace.file(f"{REPORTED}.new")
        assert answer["msg"] == f"cannot write to {path}: No space left on device: make space there"
        assert versions(answer) == BOTH

    def test_an_outcome_that_is_damaged_is_found_out_once_more(self, run: Run, host: Update) -> None:
        host.update()
        Path(host.workspace.file(OUTCOME)).write_text('{"after": [', encoding="utf-8")
        answer = run({})
        assert versions(answer) == BOTH
        assert answer["remarks"] == [KILLED]


@needs_apt
@needs_root
class TestKilled:
    @pytest.fixture
    def killed(self, host: Update) -> Update:
        """The process that looks after an update was killed while packages were installed."""
        pids = host.debian.root / "tmp/keeper"
        real = beginning.ending.follower

        def follower(*arguments: t.Any) -> t.Callable[[], str]:
            follow = real(*arguments)

            def progress() -> str:
                pids.write_text(str(os.getpid()), encoding="ascii")
                return follow()

            return progress

        def prepare() -> None:
            beginning.ending.follower = follower

        with host.batch() as folder:
            host.begin(folder, prepare)
            eventually(lambda: pids.exists() and pids.read_text(encoding="ascii"))
            os.kill(int(pids.read_text(encoding="ascii")), signal.SIGKILL)
            assert keeper.has_gone(host.workspace, FOREVER)
            host.debian.upgrade()
        return host

    def test_what_it_left_is_put_back_and_what_was_done_is_told_each_time(self, run: Run, killed: Update) -> None:
        assert killed.systemctl() == [STOP]
        answer = run({"wait": 0})
        assert versions(answer) == BOTH
        assert answer["remarks"] == [KILLED]
        assert killed.systemctl() == [STOP, START]
        assert run({"wait": 0}) == answer
        assert killed.systemctl() == [STOP, START]

    def test_timers_are_started_also_where_nothing_can_be_written(
        self, run: Run, killed: Update, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            full(patch)
            answer = run({"wait": 0})
        assert answer["failed"]
        assert answer["msg"].endswith("No space left on device: make space there")
        assert killed.systemctl() == [STOP, START]
        assert versions(run({"wait": 0})) == BOTH

    def test_check_mode_puts_nothing_back(self, run: Run, killed: Update) -> None:
        answer = run({"wait": 0}, check_mode=True)
        assert answer == {
            "changed": False,
            "running": False,
            "msg": "the update was killed before it had ended",
        }
        assert killed.systemctl() == [STOP]
        assert not killed.workspace.has(OUTCOME)

    def test_one_that_was_killed_when_it_had_only_begun_has_changed_nothing(
        self, run: Run, host: Update, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(*dummy: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        with monkeypatch.context() as patch, host.batch() as folder:
            patch.setattr(beginning, "_prepare", die)
            host.begin(folder)
        answer = run({"wait": 0})
        assert (answer["changed"], answer["packages"]) == (False, [])
        assert answer["remarks"] == [KILLED]
        assert host.systemctl() == [STOP, START]
