# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import types
import typing as t
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.inflight.jobs.plugins.plugin_utils._interrupt import Interrupted, before_the_end

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handled() -> Iterator[list[int]]:
    """The signals that reached the handlers of somebody else, which are set up as core's are."""
    handled: list[int] = []

    def handler(number: int, dummy_frame: types.FrameType | None) -> None:
        handled.append(number)

    before = {number: signal.signal(number, handler) for number in NUMBERS}
    yield handled
    for number in NUMBERS:
        assert signal.getsignal(number) is handler
        signal.signal(number, before[number])


def interrupt(number: int) -> Callable[[], None]:
    def body() -> None:
        os.kill(os.getpid(), number)
        threading.Event().wait(20)
        pytest.fail("nothing interrupted the body")

    return body


@pytest.mark.parametrize("number", NUMBERS)
def test_the_body_is_given_up_and_the_signal_ends_us_only_after_the_act(number: int, handled: list[int]) -> None:
    told: list[str] = []

    def act() -> None:
        told.append("acted")
        for other in NUMBERS:
            os.kill(os.getpid(), other)  # as core does, right after the first one
        assert handled == []

    with pytest.raises(Interrupted), before_the_end(act):
        interrupt(number)()
    assert told == ["acted"]
    assert handled == [number]


def test_a_body_that_nobody_interrupts_runs_to_its_end(handled: list[int]) -> None:
    with before_the_end(lambda: pytest.fail("acted")):
        done = True
    assert done
    assert handled == []


def test_a_program_that_is_just_being_started_does_not_keep_us_from_acting(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine that takes a while, in which its process is not known yet.
    monkeypatch.setattr(subprocess.Popen, "_execute_child", lambda *dummy: interrupt(signal.SIGTERM)())
    told: list[str] = []
    with pytest.raises(Interrupted), before_the_end(lambda: told.append("acted")):
        subprocess.Popen(["true"])
    assert told == ["acted"]


def test_an_error_in_the_body_goes_through() -> None:
    with pytest.raises(ZeroDivisionError), before_the_end(lambda: pytest.fail("acted")):
        raise ZeroDivisionError


def test_the_signal_ends_us_also_when_the_act_fails() -> None:
    def act() -> t.NoReturn:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), before_the_end(act):
        interrupt(signal.SIGINT)()


def test_the_program_that_the_body_waits_for_is_ended() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def body() -> None:
        process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        started.append(process)
        interrupt(signal.SIGINT)()

    with pytest.raises(Interrupted), before_the_end(lambda: None):
        body()
    assert started[0].returncode is not None


def test_outside_of_the_main_thread_the_body_just_runs() -> None:
    done: list[bool] = []

    def body() -> None:
        with before_the_end(lambda: pytest.fail("acted")):
            done.append(True)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert done == [True]
