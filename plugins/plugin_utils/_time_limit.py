# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A limit for a call into a connection plugin, which may hang for hours when a host goes silent.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
import types
import typing as t


class TimeLimitPassed(BaseException):
    """Raised in the middle of the call. Not an Exception, so that no retry loop inside a plugin can swallow it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> t.Iterator[None]:
    """Run the body for so many seconds at most, then raise TimeLimitPassed in it.

    The child processes that the interrupted frames were waiting for (ssh, docker) are killed: they would wait on for a
    host that is silent. Uses SIGALRM as the timeout keyword of a task does; an alarm that is due earlier is left alone,
    one that is due later is set again. Outside of the main thread, where Python allows no signals, there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    due, dummy = signal.getitimer(signal.ITIMER_REAL)
    if 0 < due <= seconds:
        yield
        return

    def on_alarm(dummy_number: int, dummy_frame: types.FrameType | None) -> None:
        raise TimeLimitPassed

    started = time.monotonic()
    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeLimitPassed as ex:
        kill_children(ex.__traceback__)
        raise
    finally:
        signal.signal(signal.SIGALRM, before)
        if due:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, due - (time.monotonic() - started)))


def kill_children(traceback: types.TracebackType | None) -> None:
    """Kill the child processes that are local variables of the frames which an exception went through."""
    while traceback is not None:
        for value in list(traceback.tb_frame.f_locals.values()):
            # One that was interrupted while it was being started does not know its process.
            if isinstance(value, subprocess.Popen) and getattr(value, "pid", None) and value.poll() is None:
                value.kill()
                value.wait()
        traceback = traceback.tb_next
