# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ctypes
import os
import select
import threading
import types
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils import _notify
from ansible_collections.inflight.jobs.plugins.module_utils._notify import Notifier

# Long enough for the slowest machine: a test that waits for so long has failed.
FOREVER = 20.0

Change = t.Optional[set[tuple[str, str]]]  # noqa: UP045  # pylint takes the other form for a mistake


@pytest.fixture
def notifier(tmp_path: Path) -> Iterator[Notifier]:
    found = Notifier([str(tmp_path)])
    if found._fd < 0:
        pytest.skip("there is no inotify here")
    yield found
    found.close()


def blind(directories: list[str], monkeypatch: pytest.MonkeyPatch) -> Notifier:
    """A notifier on a system without inotify."""
    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", lambda *dummy_names, **dummy_options: types.SimpleNamespace())
        return Notifier(directories)


def test_a_result_that_is_renamed_into_its_place_is_noticed(notifier: Notifier, tmp_path: Path) -> None:
    """This is how async_wrapper writes it."""
    (tmp_path / "j1.1.tmp").write_text("{}", encoding="utf-8")
    (tmp_path / "j1.1.tmp").rename(tmp_path / "j1.1")
    changed = notifier.wait(FOREVER, FOREVER)
    assert changed is not None
    assert (str(tmp_path), "j1.1") in changed


def test_a_file_that_is_written_in_place_is_noticed_when_it_is_closed(notifier: Notifier, tmp_path: Path) -> None:
    with (tmp_path / "j1.1").open("w", encoding="utf-8") as file:
        file.write("{")
        file.flush()
        assert notifier.wait(0, 0) == set()
        file.write("}")
    assert notifier.wait(FOREVER, FOREVER) == {(str(tmp_path), "j1.1")}


def test_a_file_that_is_deleted_is_noticed(notifier: Notifier, tmp_path: Path) -> None:
    (tmp_path / "j1.1").touch()
    notifier.wait(FOREVER, FOREVER)
    (tmp_path / "j1.1").unlink()
    assert notifier.wait(FOREVER, FOREVER) == {(str(tmp_path), "j1.1")}


def test_what_happened_before_it_was_asked_is_not_missed(notifier: Notifier, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"j{number}.1").touch()
    assert notifier.wait(FOREVER, FOREVER) == {(str(tmp_path), f"j{number}.1") for number in range(3)}


def test_nothing_new_ends_with_the_time_it_was_given(notifier: Notifier) -> None:
    assert notifier.wait(0.01, FOREVER) == set()


def test_a_change_ends_the_sleep_at_once(notifier: Notifier, tmp_path: Path) -> None:
    writer = threading.Timer(0.02, (tmp_path / "j1.1").touch)
    writer.start()
    assert notifier.wait(FOREVER, FOREVER) == {(str(tmp_path), "j1.1")}
    writer.join()


@pytest.mark.parametrize(("seconds", "gathered"), [(FOREVER, _notify.GATHER), (0.001, 0.001), (0, 0)])
def test_what_follows_at_once_is_told_with_it(
    notifier: Notifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, gathered: float
) -> None:
    """Thousands of files a minute must not cost as many looks; but nobody waits for longer than was asked for."""
    pauses: list[float] = []
    real = select.select

    def pause(*sleep: t.Any) -> t.Any:
        if sleep[0]:
            return real(*sleep)
        pauses.append(sleep[3])
        (tmp_path / "j2.1").touch()
        return (), (), ()

    (tmp_path / "j1.1").touch()
    monkeypatch.setattr(select, "select", pause)
    assert notifier.wait(seconds, FOREVER) == {(str(tmp_path), "j1.1"), (str(tmp_path), "j2.1")}
    assert pauses == [gathered]


def test_several_directories_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    notifier = Notifier(map(str, folders))
    if notifier._fd < 0:
        pytest.skip("there is no inotify here")
    for folder in folders:
        (folder / "j1.1").touch()
    assert notifier.wait(FOREVER, FOREVER) == {(str(folder), "j1.1") for folder in folders}
    notifier.close()


def test_names_that_are_no_utf8_do_no_harm(notifier: Notifier, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).touch()
    assert notifier.wait(FOREVER, FOREVER) == {(str(tmp_path), "\udcff\udcfe")}


def test_every_file_has_to_be_looked_at_when_events_were_lost(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    overflow = _notify._EVENT.pack(-1, _notify._IN_Q_OVERFLOW, 0, 0)
    monkeypatch.setattr(os, "read", lambda *dummy_arguments: overflow)
    assert notifier._read() is None


def test_an_event_of_a_watch_that_is_unknown_makes_every_file_be_looked_at(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = _notify._EVENT.pack(4711, _notify._IN_MOVED_TO, 0, 16) + b"j1.1".ljust(16, b"\0")
    monkeypatch.setattr(os, "read", lambda *dummy_arguments: event)
    assert notifier._read() is None


def test_a_false_alarm_is_no_change(notifier: Notifier) -> None:
    assert notifier._read() == set()


@pytest.mark.parametrize("kind", ["no inotify", "a directory that does not exist"])
def test_without_inotify_every_file_is_looked_at_again_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    notifier = blind([str(tmp_path)], monkeypatch) if kind == "no inotify" else Notifier([str(tmp_path / "none")])
    pauses: list[float] = []
    monkeypatch.setattr(select, "select", lambda *sleep: pauses.append(sleep[3]))
    assert notifier.wait(30, 0.1) is None
    assert notifier.wait(0.05, 0.1) is None
    assert pauses == [0.1, 0.05]
    assert notifier._fd == -1


def test_one_directory_that_does_not_exist_gives_up_inotify_for_all(tmp_path: Path) -> None:
    """It may come into being at any time, and nobody would tell."""
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    notifier = Notifier([str(tmp_path), str(tmp_path / "none")])
    assert notifier._fd == -1
    assert before == (len(os.listdir("/proc/self/fd")) if before else 0)


@pytest.mark.parametrize("inotify", [True, False])
def test_a_moment_that_has_passed_already_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inotify: bool
) -> None:
    """Between taking the time and going to sleep, time passes: what is left may be less than nothing."""
    notifier = Notifier([str(tmp_path)]) if inotify else blind([str(tmp_path)], monkeypatch)
    assert not notifier.wait(-0.001, 0.1)
    notifier.close()


def test_closing_twice_is_no_error(notifier: Notifier) -> None:
    notifier.close()
    notifier.close()
    assert notifier.wait(0, 0) is None


def test_no_directories_are_waited_for_like_any_other() -> None:
    notifier = Notifier([])
    assert not notifier.wait(0.01, 0.01)
    notifier.close()


def test_a_library_that_cannot_be_loaded_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_library(*dummy_names: t.Any, **dummy_options: t.Any) -> t.NoReturn:
        raise OSError("forbidden")

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    assert Notifier([str(tmp_path)]).wait(0, 0) is None
