# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Lets something be done before a signal ends the task: Ctrl-C, or the SIGTERM of whatever runs the playbook.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import os
import signal
import threading
import types
import typing as t

from ansible_collections.inflight.jobs.plugins.plugin_utils._time_limit import kill_children

# Core hands both on to the processes that run tasks, the second one right after the first.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Raised in the middle of the body. Not an Exception, so that no retry loop can swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def before_the_end(act: t.Callable[[], object]) -> t.Iterator[None]:
    """Run the body. When a signal arrives that is to end this process, give the body up, act, and let it end us.

    The child processes that the interrupted frames were waiting for are killed. While we act, the signals are ignored.
    Outside of the main thread, where Python allows no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def on_signal(number: int, dummy_frame: types.FrameType | None) -> None:
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        raise Interrupted(number)

    for number in _SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield
    except Interrupted as ex:
        kill_children(ex.__traceback__)
        act()
        for number in _SIGNALS:
            signal.signal(number, before[number])
        os.kill(os.getpid(), ex.number)
        raise
    finally:
        for number in _SIGNALS:
            signal.signal(number, before[number])
