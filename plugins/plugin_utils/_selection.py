# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which jobs of a host are meant: by name, by state, by age, by batch, or those that were registered.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import os.path
import re
import typing as t
from collections.abc import Mapping

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import is_batch_id
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import Record, job_records, shown
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption

_DURATION = re.compile(r"(?P<number>[0-9]{1,12}(\.[0-9]{1,6})?) ?(?P<unit>[smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_MAX_PATTERN = 200


class Selection:
    """The jobs that a task asks for.

    records: a record for each job that it names; None where it names none, so that all jobs of the host are meant.
    """

    def __init__(self, arguments: Mapping[str, t.Any], given: t.Container[str]) -> None:
        """
        :param arguments: all options, by the argument spec.
        :param given: names of those that the task gave.
        :raises BadOption: when a value makes no sense.
        :raises NotAJob: when jobs holds something that is no job.
        """
        self.records: list[Record] | None = None
        if "jobs" in given or "jid" in given:
            self.records = job_records(arguments["jobs"])
        batch, name = arguments["batch"], arguments["name"]
        if batch is not None and not is_batch_id(batch):
            raise BadOption(f"batch is {shown(batch)}: it is not the id of a batch")
        if name is not None and not 0 < len(name) <= _MAX_PATTERN:
            raise BadOption(f"name is {shown(name)}: it must be a pattern of 1 to {_MAX_PATTERN} characters")
        self._filters: dict[str, t.Any] = {
            "batch": batch,
            "states": arguments["state"],
            "name": name,
            "older_than": seconds_of("older_than", arguments["older_than"]),
            "newer_than": seconds_of("newer_than", arguments["newer_than"]),
        }

    @property
    def not_started(self) -> list[Record]:
        """Records of the task whose launch failed, so that the host knows nothing of them, as far as they are meant."""
        by_state = self._filters["states"]
        others = [self._filters[name] for name in ("batch", "name", "older_than", "newer_than")]
        if any(value is not None for value in others) or (by_state is not None and _jobs.NOT_STARTED not in by_state):
            return []
        return [record for record in self.records or () if record["ansible_job_id"] is None]

    def request(self, async_dir: str) -> dict[str, t.Any]:
        """What a survey on the host is asked for.

        :param async_dir: the job directory of jobs whose launch did not return theirs.
        """
        directories: dict[str, list[str] | None] = {async_dir: None}
        if self.records is not None:
            directories = {}
            for record in self.records:
                if record["ansible_job_id"]:
                    path = record["results_file"]
                    jids = directories.setdefault(os.path.dirname(path) if path else async_dir, [])
                    t.cast("list[str]", jids).append(record["ansible_job_id"])
        return {"directories": [{"path": path, "jobs": jids} for path, jids in directories.items()], **self._filters}


def seconds_of(option: str, value: object) -> float | None:
    """Seconds of an option that takes a number of them, or a number with s, m, h, d or w behind it.

    :raises BadOption: for anything else.
    """
    if value is None:
        return None
    match = _DURATION.fullmatch(str(value)) if isinstance(value, (str, int, float)) else None
    if match is None or isinstance(value, bool):
        raise BadOption(
            f"{option} is {shown(value)}: it must be a number of seconds, or a number with s, m, h, d or w, as in '7d'"
        )
    return float(match["number"]) * _SECONDS[match["unit"]]
