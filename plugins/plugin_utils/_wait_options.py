# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What a wait is asked for: the options that the argument spec cannot check alone.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import dataclasses
import math
import typing as t
from collections.abc import Mapping

# How many lines of the output of a job can be asked for.
MAX_TAIL = 1000


class BadOption(ValueError):
    """An option has a value that makes no sense; the message names both and says what to do."""


@dataclasses.dataclass(frozen=True)
class WaitOptions:
    """What the wait is asked for; times in seconds.

    until: "all", "any" or how many. stop: return at the first job that did not succeed. timeout: 0 for none.
    tail: how many of the lines that a running job printed last are wanted. cancel_on_failure, cancel_on_timeout,
    cancel_on_interrupt: whether the jobs that still run are ended then.
    """

    until: str | int = "all"
    stop: bool = False
    timeout: float = 0
    hold: float = 30
    poll: float = 10
    unreachable_timeout: float = 300
    cleanup: bool = False
    tail: int = 0
    cancel_on_failure: bool = False
    cancel_on_timeout: bool = False
    cancel_on_interrupt: bool = False

    @classmethod
    def for_batch(cls, arguments: Mapping[str, t.Any]) -> WaitOptions:
        """Those of a wait for the jobs of a batch, which ends itself: it has its own limits.

        :raises BadOption: when a value makes no sense.
        """
        check_seconds(arguments, ("hold", "poll", "unreachable_timeout"))
        return cls(
            hold=arguments["hold"],
            poll=arguments["poll"],
            unreachable_timeout=arguments["unreachable_timeout"],
            cleanup=arguments["cleanup"],
        )

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, t.Any], given: t.Iterable[str], check_mode: bool) -> WaitOptions:
        """Check what the task gave.

        :param arguments: all options, by the argument spec.
        :param given: names of those that the task gave; the others are defaults.
        :param check_mode: whether nothing may be changed on the host.
        :raises BadOption: when a value makes no sense.
        """
        check_seconds(arguments, ("timeout", "hold", "poll", "unreachable_timeout"))
        if 0 < arguments["timeout"] < arguments["hold"] and "hold" in given:
            raise BadOption(
                f"hold is {arguments['hold']:g} s, longer than the timeout of {arguments['timeout']:g} s: "
                "leave hold out, or make it shorter"
            )
        cancels = {name: arguments[name] == "cancel" for name in ("on_failure", "on_timeout", "on_interrupt")}
        if not {"jobs", "jid", "batch"}.intersection(given):
            for name in (name for name, cancel in cancels.items() if cancel):
                raise BadOption(f"{name} is cancel, but nothing says which jobs are meant: give jobs or batch")
        return cls(
            until=_until(arguments["until"]),
            stop=arguments["on_failure"] != "wait",
            timeout=arguments["timeout"],
            hold=arguments["hold"],
            poll=arguments["poll"],
            unreachable_timeout=arguments["unreachable_timeout"],
            cleanup=arguments["cleanup"] and not check_mode,
            tail=lines_of(arguments["tail"]),
            **{f"cancel_{name}": cancel and not check_mode for name, cancel in cancels.items()},
        )


def lines_of(tail: int) -> int:
    """The option tail.

    :raises BadOption: when it is no sensible number of lines.
    """
    if not 0 <= tail <= MAX_TAIL:
        raise BadOption(f"tail is {tail}: it must be a number of lines, 0 to {MAX_TAIL}")
    return tail


def check_seconds(arguments: Mapping[str, t.Any], names: t.Iterable[str]) -> None:
    """
    :raises BadOption: when one of these options is no number of seconds.
    """
    for name in names:
        if not 0 <= arguments[name] < math.inf:
            raise BadOption(f"{name} is {arguments[name]:g}: it must be a number of seconds, 0 or more")


def _until(value: object) -> str | int:
    if isinstance(value, str) and value in ("all", "any"):
        return str(value)
    try:
        number = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else 0
    except ValueError:
        number = 0
    if number < 1:
        raise BadOption(f"until is {str(value)!r}: it must be all, any, or a number of jobs, 1 or more")
    return number
