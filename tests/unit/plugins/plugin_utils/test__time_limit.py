# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator

import pytest

from ansible_collections.inflight.jobs.plugins.plugin_utils._time_limit import TimeLimitPassed, time_limit

# A sleep that only an alarm can end; a test in which it comes to its end has failed.
FOREVER = 20.0


class TaskTimeout(BaseException):
    """What an alarm of somebody else raises, as that of core's timeout keyword does."""


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """An alarm of somebody else is set up, and nothing of ours is left when the test is over."""

    def on_alarm(dummy_number: int, dummy_frame: types.FrameType | None) -> None:
        raise TaskTimeout

    before = signal.signal(signal.SIGALRM, on_alarm)
    yield
    assert signal.getsignal(signal.SIGALRM) is on_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def sleep(seconds: float = FOREVER) -> None:
    threading.Event().wait(seconds)


def left() -> float:
    return signal.getitimer(signal.ITIMER_REAL)[0]


def test_what_is_done_in_time_is_left_alone() -> None:
    with time_limit(FOREVER):
        done = True
    assert done
    assert left() == 0


def test_the_limit_fires() -> None:
    started = time.monotonic()
    with pytest.raises(TimeLimitPassed), time_limit(0.02):
        sleep()
    assert time.monotonic() - started < FOREVER / 2
    assert left() == 0


def test_no_retry_loop_inside_of_a_plugin_can_swallow_the_limit() -> None:
    def stubborn() -> None:
        while True:
            try:
                sleep()
            except Exception:  # noqa: BLE001 - as connection plugins do
                continue

    with pytest.raises(TimeLimitPassed), time_limit(0.02):
        stubborn()


def test_an_error_in_the_body_goes_through_and_the_limit_is_lifted() -> None:
    with pytest.raises(ZeroDivisionError), time_limit(FOREVER):
        raise ZeroDivisionError
    assert left() == 0


def test_the_child_process_that_the_interrupted_call_waited_for_is_killed() -> None:
    children: list[subprocess.Popen[bytes]] = []

    def ssh() -> None:
        process = subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        children.append(process)
        process.wait()

    with pytest.raises(TimeLimitPassed), time_limit(0.1):
        ssh()
    (child,) = children
    assert child.returncode == -signal.SIGKILL
    assert child.stdin is not None
    child.stdin.close()


def test_a_child_process_of_somebody_else_is_not_killed() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        holder = [other]  # no frame of the interrupted call waits for it
        with pytest.raises(TimeLimitPassed):
            limited_sleep()
        assert holder[0].poll() is None
        other.kill()


def limited_sleep() -> None:
    with time_limit(0.02):
        sleep()


def test_a_child_process_that_has_ended_is_no_error() -> None:
    def ssh() -> None:
        process = subprocess.Popen(["true"])
        process.wait()
        sleep()

    with pytest.raises(TimeLimitPassed), time_limit(0.2):
        ssh()


def test_an_alarm_that_is_due_earlier_is_left_alone() -> None:
    """The task has a timeout of its own, and it comes first."""
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    with pytest.raises(TaskTimeout), time_limit(FOREVER):
        sleep()
    assert left() == 0


def test_an_alarm_that_is_due_later_is_set_again() -> None:
    signal.setitimer(signal.ITIMER_REAL, FOREVER)
    with time_limit(FOREVER / 2):
        assert left() <= FOREVER / 2
    assert FOREVER / 2 < left() <= FOREVER


def test_an_alarm_that_is_due_later_is_set_again_after_the_limit_fired() -> None:
    signal.setitimer(signal.ITIMER_REAL, FOREVER)
    with pytest.raises(TimeLimitPassed), time_limit(0.02):
        sleep()
    assert FOREVER / 2 < left() <= FOREVER - 0.02


def test_an_alarm_that_became_due_meanwhile_still_comes() -> None:
    """Work that no signal can interrupt may last longer than both."""
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(TimeLimitPassed):
        deaf_sleep()
    with pytest.raises(TaskTimeout):
        sleep()


def deaf_sleep() -> None:
    with time_limit(0.01):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        try:
            sleep(0.1)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def test_outside_of_the_main_thread_there_is_no_limit() -> None:
    done: list[bool] = []

    def work() -> None:
        with time_limit(0.001):
            sleep(0.02)
            done.append(left() == 0)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(FOREVER)
    assert done == [True]


def test_limits_can_follow_each_other() -> None:
    for _attempt in range(3):
        with pytest.raises(TimeLimitPassed), time_limit(0.01):
            sleep()
    with time_limit(FOREVER):
        pass
