# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What a module does when it is told to end: it puts back what it has changed, and says what ended it.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import signal
import typing as t


class Terminated(SystemExit):
    """SIGTERM was received. No error that can be told and passed over: it unwinds all of the module."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)

    def __str__(self) -> str:
        return "it was ended by SIGTERM, as when the host shuts down"


def heed_sigterm() -> None:
    """From now on SIGTERM raises Terminated, once: a second one does not disturb what puts things back."""
    signal.signal(signal.SIGTERM, _terminate)


def ignore_sigterm() -> None:
    """From now on SIGTERM does nothing, so that what puts things back comes to its end."""
    # Unlike SIG_IGN, a handler is not handed on to the programs that it starts.
    signal.signal(signal.SIGTERM, _go_on)


def _terminate(*dummy: object) -> t.NoReturn:
    ignore_sigterm()
    raise Terminated()


def _go_on(*dummy: object) -> None:
    """It is ending already."""
