# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The module in check mode and in a batch, with the real apt and dpkg on a Debian in a folder. How an update begins is
# tested with beginning.

from __future__ import annotations

import os
import signal
import typing as t
from collections.abc import Iterator

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils import _processes
from ansible_collections.inflight.jobs.plugins.module_utils._update import keeper
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import BEGUN
from ansible_collections.inflight.jobs.plugins.modules import update_begin

from ..conftest import FOREVER
from ..module_utils._update.debian import deb, debian, needs_apt, needs_root
from ..module_utils._update.updates import START, STOP, Update, update
from .backup_modules import Answer, Run, expect_documented, returned, runner

__all__ = ["debian", "update"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return runner(update_begin, monkeypatch, capfd)


@pytest.fixture
def unheeded() -> Iterator[None]:
    """A SIGTERM that nobody heeds fails the test, and does not end it."""

    def fail(*dummy: object) -> None:
        pytest.fail("SIGTERM has ended the module")

    before = signal.signal(signal.SIGTERM, fail)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def host(update: Update, monkeypatch: pytest.MonkeyPatch) -> Update:
    """The host that the module is on, with two new versions."""
    update.debian.have(deb("a", "1.0"), deb("b", "1.0"))
    update.debian.offer(deb("a", "2.0"), deb("b", "2.0"))

    def run_command(dummy_module: object, command: list[str], **options: t.Any) -> tuple[int, str, str]:
        return update.debian.run(command, **options)

    monkeypatch.setattr(update_begin.AnsibleModule, "run_command", run_command)
    monkeypatch.setattr(update_begin, "Workspace", lambda: update.workspace)
    return update


def test_the_documentation_says_the_same_as_the_code() -> None:
    expect_documented(update_begin)


def test_only_root_can_do_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for check_mode in (True, False):
        answer = run({"manager": "apt"}, check_mode)
        assert answer["msg"] == "only root can update packages: set become"


@pytest.mark.parametrize(
    ("name", "value"),
    [("cache_valid_time", "-1"), *(("lock_timeout", value) for value in ("-1", "-0.5", "nan", "inf"))],
)
def test_times_are_seconds(run: Run, name: str, value: str) -> None:
    answer = run({"manager": "apt", name: value})
    assert answer["failed"]
    assert answer["msg"] == f"{name} is {value}: give seconds, 0 or more"


@pytest.mark.parametrize("arguments", [{}, {"manager": "apk"}, {"manager": "apt", "type": "dist"}])
def test_other_values_are_refused(run: Run, arguments: Answer) -> None:
    assert run(arguments)["failed"]


def test_outside_of_a_batch_it_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_processes.STATUS, raising=False)
    answer = run({"manager": "apt"})
    assert answer["failed"]
    assert answer["msg"].startswith("update_begin can only be a task of inflight.jobs.async_batch")


@needs_apt
@needs_root
class TestOnAHost:
    def test_check_mode_tells_what_would_be_done_and_returns_what_is_documented(self, run: Run, host: Update) -> None:
        answer = run({"manager": "apt", "exclude": ["b"], "lock_timeout": 1}, check_mode=True)
        assert answer["changed"]
        assert answer["msg"] == "1 package to install or remove"
        assert [(change["name"], change["new"]) for change in answer["planned"]] == [("a", "2.0")]
        assert answer["excluded"] == ["b"]
        assert set(answer) == {"changed", "msg", *returned(update_begin)}
        assert host.systemctl() == []
        assert not host.workspace.has(BEGUN)

    def test_nothing_to_do_is_no_change(self, run: Run, host: Update) -> None:
        answer = run({"manager": "apt", "exclude": ["*"]}, check_mode=True)
        assert (answer["changed"], answer["msg"]) == (False, "0 packages to install or remove")

    def test_in_a_batch_it_has_only_prepared_the_host(self, run: Run, host: Update, monkeypatch: t.Any) -> None:
        with host.batch() as folder:
            monkeypatch.setenv(_processes.STATUS, folder.status_file(f"{folder.number}.0"))
            answer = run({"manager": "apt", "lock_timeout": 1})
            assert (answer["changed"], answer["msg"]) == (False, "2 packages to install or remove")
            assert not keeper.has_gone(host.workspace, 0)
            # Another one would have to wait.
            other = run({"manager": "apt", "lock_timeout": 0})
            assert other["failed"]
            assert "an update of this host holds" in other["msg"]
        assert keeper.has_gone(host.workspace, FOREVER)
        assert host.systemctl() == [STOP, START]

    def test_what_it_repairs_is_a_change(self, run: Run, host: Update, monkeypatch: t.Any) -> None:
        host.debian.have(deb("a", "1.0", state="install ok unpacked"), deb("b", "2.0"))
        with host.batch() as folder:
            monkeypatch.setenv(_processes.STATUS, folder.status_file(f"{folder.number}.0"))
            answer = run({"manager": "apt"})
            assert (answer["changed"], answer["repaired"]) == (True, ["a"])

    def test_a_failure_is_one_sentence(self, run: Run, host: Update, monkeypatch: t.Any) -> None:
        host.debian.offer(deb("a", "2.0", Conflicts="b"))
        with host.batch() as folder:
            monkeypatch.setenv(_processes.STATUS, folder.status_file(f"{folder.number}.0"))
            answer = run({"manager": "apt", "type": "full"})
        assert answer["failed"]
        assert answer["msg"] == (
            "the update would remove b, and allow_remove is false: have only safe updates, or allow that"
        )
        assert host.systemctl() == [STOP, START]

    @pytest.mark.usefixtures("unheeded")
    @pytest.mark.parametrize("check_mode", [True, False])
    def test_when_it_is_told_to_end_it_starts_the_timers_again_and_says_why(
        self, run: Run, host: Update, monkeypatch: t.Any, check_mode: bool
    ) -> None:
        real = host.debian.run

        def told(command: list[str], *arguments: t.Any, **options: t.Any) -> tuple[int, str, str]:
            if command[0] == "apt-mark":
                os.kill(os.getpid(), signal.SIGTERM)
            return real(command, *arguments, **options)

        host.debian.run = told  # type: ignore[method-assign]
        with host.batch() as folder:
            monkeypatch.setenv(_processes.STATUS, folder.status_file(f"{folder.number}.0"))
            answer = run({"manager": "apt"}, check_mode)
        assert answer["failed"]
        assert answer["msg"] == "it was ended by SIGTERM, as when the host shuts down"
        assert host.systemctl() == ([] if check_mode else [STOP, START])
        assert not host.workspace.has(BEGUN)
