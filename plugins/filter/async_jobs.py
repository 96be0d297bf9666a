# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: async_jobs
short_description: List the background jobs in a registered variable
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Turns anything that a task with C(async) registered, or a result of this collection, into one flat list of jobs,
    all of the same form, optionally only those in some states.
  - The filter asks no host. A job that was only started is V(running) here, whatever has become of it since; wait for
    it with M(inflight.jobs.async_wait) to know.
  - Skipped loop items are left out; items whose launch failed are V(not_started).
positional: _input, _states
options:
  _input:
    description:
      - What a task registered, be it one launch, a loop, the result of M(inflight.jobs.async_wait), a job id, or any
        nesting of lists of those.
    type: raw
    required: true
  _states:
    description:
      - One or more states, one argument each. Only jobs in one of them are returned.
      - Without any, all jobs are.
    type: list
    elements: str
    choices:
      - succeeded
      - failed
      - timed_out
      - cancelled
      - lost
      - missing
      - unreadable
      - not_started
      - running
      - queued
  label:
    description:
      - Attribute of a loop item that names the job, with dots for nested ones, such as V(meta.name). Give it by name.
      - Without it, the name is the item itself where that is a string or a number, else its C(name), C(label), C(id) or
        C(key), else the job id.
    type: str
seealso:
  - plugin: inflight.jobs.async_summary
    plugin_type: filter
  - module: inflight.jobs.async_wait
"""

EXAMPLES = r"""
- name: List the names of all jobs
  ansible.builtin.debug:
    msg: "{{ backups | inflight.jobs.async_jobs | map(attribute='name') }}"

- name: Wait for all backups
  inflight.jobs.async_wait:
    jobs: "{{ started }}"
  register: backups
  ignore_errors: true

- name: Say which backups to look at, and why
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.msg }}"
  loop: "{{ backups | inflight.jobs.async_jobs('failed', 'lost') }}"
  loop_control:
    label: "{{ item.name }}"

- name: Start the backups that were lost once more
  ansible.builtin.command:
    argv: [pg_dump, --format=custom, "--file=/var/backups/{{ item }}.dump", "{{ item }}"]
  async: 3600
  poll: 0
  loop: "{{ backups | inflight.jobs.async_jobs('lost') | map(attribute='item') }}"
  register: started_again
"""

RETURN = r"""
_value:
  description:
    - The jobs, in the order given.
  type: list
  elements: dict
  contains:
    ansible_job_id:
      description: The id of the job; null when its launch failed.
      type: str
    name:
      description: What people call it; see O(label).
      type: str
    item:
      description: The loop item that it was started for; null without a loop.
      type: raw
    state:
      description: Its state.
      type: str
    started:
      description: Whether it was started.
      type: bool
    finished:
      description: Whether it has ended, one way or the other.
      type: bool
    failed:
      description: Whether it has ended in another state than V(succeeded).
      type: bool
    changed:
      description: Whether its module changed anything.
      type: bool
    started_at:
      description: When it started, as ISO 8601 in UTC by the clock of its host; null when not known.
      type: str
    ended_at:
      description: When it ended, likewise.
      type: str
    elapsed:
      description: Its length in seconds; null when not known.
      type: float
    results_file:
      description: Its job file on the host; null when not known.
      type: str
    msg:
      description: Why it ended as it did, in one line.
      type: str
    result:
      description: The whole result of its module; null as long as there is none.
      type: dict
"""

from collections.abc import Callable

from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils import _registered


def async_jobs(value: object, *states: object, label: str | None = None) -> list[_registered.Record]:
    """List the jobs in a registered variable; see DOCUMENTATION.

    :raises AnsibleFilterError: when there is no such state, or value holds what is no job.
    """
    for state in states:
        if state not in _jobs.STATES:
            choices = ", ".join(_jobs.STATES)
            raise AnsibleFilterError(f"there is no state {_registered.shown(state)}: choose from {choices}")
    try:
        records = _registered.job_records(value, label, where="the value")
    except _registered.NotAJob as ex:
        # Core appends the message of a cause: the same sentence would stand there twice.
        raise AnsibleFilterError(str(ex)) from None
    return [record for record in records if not states or record["state"] in states]


class FilterModule:
    """The filter async_jobs."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names and functions of the filters in this file."""
        return {"async_jobs": async_jobs}
