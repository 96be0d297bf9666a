# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: async_summary
short_description: Count background jobs and sum up their times
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Says how many jobs there are in each state, how long they took together, what running them in parallel has gained,
    and which were the slowest.
  - Times are known for jobs that M(inflight.jobs.async_wait) has reported. The filter asks no host.
positional: _input
options:
  _input:
    description:
      - What M(inflight.jobs.async_wait) returned, or anything else that P(inflight.jobs.async_jobs#filter) takes.
    type: raw
    required: true
  label:
    description:
      - Attribute of a loop item that names the job, with dots for nested ones, such as V(meta.name).
      - Without it, the name is the item itself where that is a string or a number, else its C(name), C(label), C(id) or
        C(key), else the job id.
    type: str
notes:
  - RV(_value.wall) compares clocks of all hosts in the value; with several hosts it is as good as their clocks agree.
seealso:
  - plugin: inflight.jobs.async_jobs
    plugin_type: filter
  - module: inflight.jobs.async_wait
"""

EXAMPLES = r"""
- name: Wait for all backups
  inflight.jobs.async_wait:
    jobs: "{{ started }}"
  register: backups

- name: Show the whole summary
  ansible.builtin.debug:
    msg: "{{ backups | inflight.jobs.async_summary }}"

- name: Say in one line how it went
  ansible.builtin.debug:
    msg: >-
      {{ summary.succeeded }} of {{ summary.total }} backups in {{ summary.wall | round(1) }} s,
      {{ summary.speedup | round(1) }} times as fast as one by one;
      the slowest was {{ summary.slowest[0].name }}
  vars:
    summary: "{{ backups | inflight.jobs.async_summary }}"
  when: summary.speedup is not none
"""

RETURN = r"""
_value:
  description: The summary. It has one more key for each state, with the number of jobs in it, 0 where there are none.
  type: dict
  contains:
    total:
      description: Number of jobs.
      type: int
    succeeded:
      description:
        - Number of jobs that succeeded. The keys C(failed), C(timed_out), C(cancelled), C(lost), C(missing),
          C(unreadable), C(not_started), C(running) and C(queued) are the like.
      type: int
    wall:
      description: Seconds from the first known start to the last known end; null when not known.
      type: float
    serial:
      description: Seconds that the jobs took one by one, as far as known; null when no length is known.
      type: float
    speedup:
      description: RV(_value.serial) divided by RV(_value.wall); null when either is not known or the latter is 0.
      type: float
    slowest:
      description: The five jobs that took longest, or fewer, the slowest first.
      type: list
      elements: dict
      contains:
        name:
          description: What people call the job; see O(label).
          type: str
        state:
          description: Its state.
          type: str
        elapsed:
          description: Its length in seconds.
          type: float
  sample:
    total: 3
    succeeded: 2
    failed: 1
    timed_out: 0
    cancelled: 0
    lost: 0
    missing: 0
    unreadable: 0
    not_started: 0
    running: 0
    queued: 0
    wall: 42.5
    serial: 85.0
    speedup: 2.0
    slowest:
      - {name: users, state: succeeded, elapsed: 42.0}
      - {name: orders, state: succeeded, elapsed: 40.0}
      - {name: stock, state: failed, elapsed: 3.0}
"""

import math
import typing as t
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.plugin_utils import _batches, _registered

_SLOWEST = 5


def async_summary(value: object, label: str | None = None) -> dict[str, t.Any]:
    """Count the jobs in a registered variable and sum up their times; see DOCUMENTATION.

    :raises AnsibleFilterError: when value holds what is no job.
    """
    try:
        records = _registered.job_records(value, label, where="the value")
    except _registered.NotAJob as ex:
        # Core appends the message of a cause: the same sentence would stand there twice.
        raise AnsibleFilterError(str(ex)) from None
    timed = [(elapsed, record) for record in records if (elapsed := _batches.seconds_of(record["elapsed"])) is not None]
    timed.sort(key=lambda pair: -pair[0])
    wall = _wall(records)
    serial = round(math.fsum(elapsed for elapsed, dummy in timed), 3) if timed else None
    return {
        **_registered.summary_of(records),
        "wall": wall,
        "serial": serial,
        "speedup": round(serial / wall, 2) if serial is not None and wall else None,
        "slowest": [
            {"name": record["name"], "state": record["state"], "elapsed": elapsed}
            for elapsed, record in timed[:_SLOWEST]
        ],
    }


def _wall(records: Sequence[_registered.Record]) -> float | None:
    starts = [moment for record in records if (moment := _moment(record["started_at"])) is not None]
    ends = [moment for record in records if (moment := _moment(record["ended_at"])) is not None]
    if not starts or not ends:
        return None
    wall = (max(ends) - min(starts)).total_seconds()
    # Clocks of two hosts that do not agree: better no time than a wrong one.
    return wall if wall >= 0 else None


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class FilterModule:
    """The filter async_summary."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names and functions of the filters in this file."""
        return {"async_summary": async_summary}
