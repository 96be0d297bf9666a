# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What a batch is asked for: the options that the argument spec cannot check alone.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import dataclasses
import keyword
import math
import re
import typing as t
from collections.abc import Mapping

from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import is_batch_id
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import shown
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption, check_seconds

_PERCENT = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?%")


@dataclasses.dataclass(frozen=True)
class BatchOptions:
    """What the batch is asked for; times in seconds, 0 for none.

    window: how many jobs at once, a part of the host's CPUs as in "50%", or None for as many as there are CPUs.
    max_failures: the number of the failure that triggers on_failure, or a part of the jobs as in "10%".
    """

    window: int | str | None
    timeout: float
    grace: float
    total_timeout: float
    on_failure: str
    max_failures: int | str
    retries: int
    retry_delay: float
    start_delay: float
    nice: int
    io_class: str
    id: str | None
    on_existing: str
    rerun: str

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, t.Any], given: t.Container[str]) -> BatchOptions:
        """Check what the task gave.

        :param arguments: all options, by the argument spec.
        :param given: names of those that the task gave; the others are defaults.
        :raises BadOption: when a value makes no sense.
        """
        check_seconds(arguments, ("timeout", "grace", "total_timeout", "retry_delay", "start_delay"))
        loop_var = arguments["loop_var"]
        if not loop_var.isidentifier() or keyword.iskeyword(loop_var):
            raise BadOption(f"loop_var is {shown(loop_var)}: it must be the name of a variable")
        if arguments["retries"] < 0:
            raise BadOption(f"retries is {arguments['retries']}: it must be a whole number, 0 or more")
        if not -20 <= arguments["nice"] <= 19:
            raise BadOption(f"nice is {arguments['nice']}: it must be from -20 to 19")
        if "max_failures" in given and arguments["on_failure"] == "continue":
            raise BadOption("max_failures is given, but on_failure is continue: set it to drain or cancel")
        name = arguments["id"]
        if name is None:
            for option in ("on_existing", "rerun"):
                if option in given:
                    raise BadOption(f"{option} is given, but no id: without one, no other run can be found")
        elif not is_batch_id(name):
            raise BadOption(
                f"id is {shown(name)}: it must be 1 to 100 letters, digits and characters of _.:@+- "
                "that begin with a letter, a digit or _"
            )
        fields = {field.name: arguments[field.name] for field in dataclasses.fields(cls) if field.name in arguments}
        fields["window"] = _number_or_part("concurrency", arguments["concurrency"])
        fields["max_failures"] = _number_or_part("max_failures", arguments["max_failures"]) or 1
        return cls(**fields)

    def limits(self, jobs: int) -> dict[str, t.Any]:
        """The fields of _pool.Limits.

        :param jobs: how many there are.
        """
        max_failures = self.max_failures
        if isinstance(max_failures, str):
            max_failures = max(1, math.ceil(jobs * float(max_failures.rstrip("%")) / 100))
        return {
            "window": self.window,
            "timeout": self.timeout,
            "grace": self.grace,
            "total_timeout": self.total_timeout,
            "on_failure": self.on_failure,
            "max_failures": max_failures,
            "retries": self.retries,
            "retry_delay": self.retry_delay,
            "start_delay": self.start_delay,
        }


def _number_or_part(name: str, value: object) -> int | str | None:
    """A whole number from 1 up, a part as in 50%, or None."""
    if value is None:
        return None
    if isinstance(value, str) and _PERCENT.fullmatch(value) and float(value.rstrip("%")) > 0:
        return str(value)
    try:
        number = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else 0
    except ValueError:
        number = 0
    if number < 1:
        raise BadOption(f"{name} is {shown(value)}: it must be a whole number, 1 or more, or a part as in '50%'")
    return number
