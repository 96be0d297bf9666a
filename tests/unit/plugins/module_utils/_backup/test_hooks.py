# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils import _processes
from ansible_collections.inflight.jobs.plugins.module_utils._backup import hooks
from ansible_collections.inflight.jobs.plugins.module_utils._backup.hooks import Guard, run_commands
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError

from ...conftest import FOREVER, exit_code, fork


class Told:
    """A pipe with a name, which commands write to."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.path = path

    def command(self, what: str) -> str:
        return f"echo {what} > {self.path}"

    def words(self, number: int) -> list[str]:
        """So many words, as soon as they were written."""
        heard = b""
        while len(heard.split()) < number or not heard.endswith(b"\n"):
            assert select.select([self._fd], [], [], FOREVER)[0], f"only {heard!r} was told"
            heard += os.read(self._fd, 4096)
        return heard.decode().split()

    def nothing_more(self) -> bool:
        return not select.select([self._fd], [], [], 0)[0]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "told")


# Commands


def test_commands_run_in_turn_to_the_first_that_fails(told: Told) -> None:
    run_commands([told.command("a"), told.command("b")], "pre_commands")
    assert told.words(2) == ["a", "b"]
    commands = [told.command("a"), "echo 1; echo 2; echo 3 >&2; echo 4; exit 7", told.command("b")]
    with pytest.raises(BackupError, match=r"^a command of pre_commands ended with 7: 2 / 3 / 4$"):
        run_commands(commands, "pre_commands")
    assert told.words(1) == ["a"]
    assert told.nothing_more()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("exit 3", "ended with 3"),
        ("kill -9 $$", "ended with -9"),
        ("cat && exit 4", "ended with 4"),  # it has nothing to read
        ("printf '\\377'; exit 1", "ended with 1: \ufffd"),
        ("echo \0", "cannot be run: embedded null byte"),
    ],
)
def test_why_a_command_failed_is_told(command: str, reason: str) -> None:
    with pytest.raises(BackupError, match=f"^a command of post_commands {reason}$"):
        run_commands([command], "post_commands")


def test_a_command_may_say_much(told: Told) -> None:
    with pytest.raises(BackupError) as caught:
        run_commands(["yes | head -c 20000000 | tr -d '\\n'; echo end; exit 1"], "pre_commands")
    assert str(caught.value).endswith("yyyend")
    assert len(str(caught.value)) < 1100


def test_what_a_command_starts_in_the_background_is_not_waited_for(told: Told, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "end")
    # It keeps the output of the command open.
    run_commands([f"(read x < {tmp_path}/end; echo daemon > {told.path}) & echo started"], "post_commands")
    assert told.nothing_more()
    (tmp_path / "end").write_text("go\n", encoding="utf-8")
    assert told.words(1) == ["daemon"]


# The guard


def test_after_a_good_backup_only_post_commands_run(told: Told) -> None:
    with Guard([told.command("post"), told.command("post2")], [told.command("fail")]) as guard:
        assert told.nothing_more()
        guard.good()
    assert told.words(2) == ["post", "post2"]
    assert told.nothing_more()


def test_after_a_failure_the_fail_commands_run_first(told: Told) -> None:
    with pytest.raises(BackupError, match=r"^it failed$"), Guard([told.command("post")], [told.command("fail")]):
        raise BackupError("it failed")
    assert told.words(2) == ["fail", "post"]


def test_one_command_that_fails_does_not_keep_the_others_from_running(told: Told) -> None:
    said = "^a command of post_commands ended with 3; a command of post_commands ended with 4: no$"
    with (
        pytest.raises(BackupError, match=said),
        Guard(["exit 3", told.command("post"), "echo no; exit 4", told.command("post2")], ["exit 5"]) as guard,
    ):
        guard.good()
    assert told.words(2) == ["post", "post2"]


def test_why_the_backup_failed_is_told_before_what_failed_after_that() -> None:
    said = "^it failed; a command of fail_commands ended with 2; a command of post_commands ended with 3$"
    with pytest.raises(BackupError, match=said), Guard(["exit 3"], ["exit 2"]):
        raise BackupError("it failed")
    with pytest.raises(KeyError), Guard(["exit 3"], []):
        raise KeyError


def test_complaints_may_be_long() -> None:
    with (
        pytest.raises(BackupError, match=r"(a command of post_commands ended with 1: y+; ){99}"),
        Guard(["yes | head -c 100000 | tr -d '\\n'; exit 1"] * 100, []) as guard,
    ):
        guard.good()


def test_without_commands_there_is_no_process() -> None:
    before = Path("/proc/thread-self/children").read_text()
    with Guard([], []) as guard:
        assert Path("/proc/thread-self/children").read_text() == before
        guard.good()


def test_a_guard_that_is_killed_is_noticed(told: Told) -> None:
    with (
        pytest.raises(BackupError, match=r"^post_commands were ended before they were through$"),
        Guard(["kill -KILL $PPID", told.command("post")], []) as guard,
    ):
        guard.good()
    assert told.nothing_more()


def test_the_guard_and_its_commands_are_no_part_of_the_job(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_processes.TAG, "j1.1")
    children = Path("/proc/thread-self/children").read_text()
    with Guard([f"test -z ${_processes.TAG}", told.command("post")], []) as guard:
        assert Path("/proc/thread-self/children").read_text() == children
        guard.good()
    assert told.words(1) == ["post"]


def exits() -> None:
    raise SystemExit(3)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_told_to_end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def is_told_to_end_with_its_group() -> None:
    os.killpg(0, signal.SIGTERM)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (exits, 3),
        (is_killed, -signal.SIGKILL),
        (is_told_to_end, -signal.SIGTERM),
        (is_told_to_end_with_its_group, -signal.SIGTERM),
    ],
)
@pytest.mark.parametrize("handled", [False, True])
def test_however_the_process_ends_the_commands_after_it_run(
    how: Callable[[], None], code: int, handled: bool, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*dummy: object) -> None:
        raise SystemExit(5)

    def body() -> None:
        os.setpgid(0, 0)
        monkeypatch.setattr(os, "setsid", lambda: None)  # as if it had not come to that yet
        if handled:
            signal.signal(signal.SIGTERM, leave)
        with Guard([told.command("post")], [told.command("fail")]):
            how()

    ended = exit_code(fork(body))
    assert ended == (5 if handled and code == -signal.SIGTERM else code)
    assert told.words(2) == ["fail", "post"]


def test_commands_do_not_go_on_for_ever_when_the_backup_was_killed(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "GRACE", 0.1)
    os.mkfifo(tmp_path / "never")

    def body() -> None:
        with Guard([f"read x < {tmp_path}/never", told.command("post")], []):
            is_killed()

    assert exit_code(fork(body)) == -signal.SIGKILL
    assert told.words(1) == ["post"]


def test_the_commands_have_the_signals_that_they_count_on(told: Told) -> None:
    said = "^a command of post_commands ended with -15; a command of post_commands ended with -13$"
    with pytest.raises(BackupError, match=said), Guard(["kill -TERM $$", "kill -PIPE $$"], []) as guard:
        guard.good()
