# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Keeps the timers of systemd that update packages by themselves from doing so for a while.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import os
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import RunCommand, UpdateError

TIMERS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dnf-automatic.timer",
    "dnf-automatic-download.timer",
    "dnf-automatic-install.timer",
    "dnf-automatic-notifyonly.timer",
    "dnf-makecache.timer",
    "dnf5-automatic.timer",
    "dnf5-makecache.timer",
)


def active(run: RunCommand) -> list[str]:
    """Those of the timers that are active; none where there is no systemd."""
    if not os.path.isdir("/run/systemd/system"):
        return []
    # One line for each, also for those that it does not know.
    states = run(["systemctl", "is-active", *TIMERS])[1].split()
    return [timer for timer, state in zip(TIMERS, states) if state == "active"]


def pause(run: RunCommand, timers: t.Sequence[str]) -> None:
    """Stop them. They are as they were after resume, or after a reboot.

    :raises UpdateError: when that does not work.
    """
    _systemctl(run, "stop", timers)


def resume(run: RunCommand, timers: t.Sequence[str]) -> None:
    """Start those again that were stopped.

    :raises UpdateError: when that does not work.
    """
    _systemctl(run, "start", [timer for timer in timers if timer in TIMERS])


def _systemctl(run: RunCommand, verb: str, timers: t.Sequence[str]) -> None:
    if timers:
        code, dummy, complaints = run(["systemctl", verb, *timers])
        if code:
            raise UpdateError(f"systemctl cannot {verb} {', '.join(timers)}: {complaints.strip()[-300:]}")
