# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# No systemd runs where unit tests do: what systemctl says was taken down elsewhere, and is replayed.

from __future__ import annotations

import os

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._update import timers
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import UpdateError

from .hosts import Answer, Replay

# Of Debian 12 with apt alone: exit code 3 as soon as one is not active.
DEBIAN: Answer = (3, "active\nactive\n" + "inactive\n" * 7)
FEDORA: Answer = (3, "inactive\n" * 7 + "failed\nactive\n")


@pytest.fixture(autouse=True)
def has_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system" or real(path))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (DEBIAN, ["apt-daily.timer", "apt-daily-upgrade.timer"]),
        (FEDORA, ["dnf5-makecache.timer"]),
        ((3, "inactive\n" * 9), []),
        ((1, ""), []),
    ],
)
def test_those_that_are_active(answer: Answer, expected: list[str]) -> None:
    replay = Replay({"systemctl is-active": answer})
    assert timers.active(replay) == expected
    assert replay.asked == [f"systemctl is-active {' '.join(timers.TIMERS)}"]


def test_without_systemd_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    replay = Replay({})
    assert timers.active(replay) == []
    assert replay.asked == []


def test_they_are_stopped_and_started_again() -> None:
    replay = Replay({"systemctl": (0, "")})
    timers.pause(replay, ["apt-daily.timer", "dnf-makecache.timer"])
    timers.resume(replay, ["apt-daily.timer", "dnf-makecache.timer"])
    assert replay.asked == [f"systemctl {verb} apt-daily.timer dnf-makecache.timer" for verb in ("stop", "start")]


def test_nothing_is_done_where_there_are_none() -> None:
    timers.pause(Replay({}), [])
    timers.resume(Replay({}), ())


def test_nothing_is_started_that_is_no_timer_of_updates() -> None:
    # What stands in a file may have been damaged.
    replay = Replay({"systemctl": (0, "")})
    timers.resume(replay, ["apt-daily.timer", "evil.service", "--root=/", ""])
    assert replay.asked == ["systemctl start apt-daily.timer"]


@pytest.mark.parametrize(("do", "verb"), [(timers.pause, "stop"), (timers.resume, "start")])
def test_a_failure_is_told_with_the_reason(do: object, verb: str) -> None:
    def run(dummy_command: list[str]) -> tuple[int, str, str]:
        return 4, "", "Failed to connect to bus: No such file or directory\n"

    with pytest.raises(UpdateError) as caught:
        do(run, ["apt-daily.timer"])  # type: ignore[operator]
    assert str(caught.value) == (
        f"systemctl cannot {verb} apt-daily.timer: Failed to connect to bus: No such file or directory"
    )
