# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Python runs this at its start where the folder is on PYTHONPATH: the time of day is off by as many seconds as the file
# says that FAKE_CLOCK names, read each time that somebody asks. The clocks that no change of the time of day moves go
# on as they are, as when somebody sets the clock of a machine.
#
# libfaketime does the same for any program, but up to 0.9.10 it breaks time.sleep of Python 3.11 and newer (EINVAL).

from __future__ import annotations

import os
import time

_time, _time_ns = time.time, time.time_ns


def _off() -> int:
    with open(os.environ["FAKE_CLOCK"], encoding="ascii") as file:
        return int(file.read() or 0)


time.time = lambda: _time() + _off()
time.time_ns = lambda: _time_ns() + _off() * 10**9
