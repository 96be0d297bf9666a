# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: backup_result
short_description: Tell what became of the backups of a host
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Turns what the tasks of the role C(inflight.jobs.parallel_backup) registered into the result of the host, as
    M(inflight.jobs.backup_report) takes it.
positional: _input, expected
options:
  _input:
    description:
      - What M(inflight.jobs.async_batch) or M(inflight.jobs.async_wait) registered for the jobs of a backup, also when
        the host was unreachable. With O(retention), a result of this filter.
    type: dict
    required: true
  expected:
    description: The names of the sets that are to be there. One without a job is V(not_started).
    type: list
    elements: str
    default: []
  retention:
    description: What M(inflight.jobs.backup_prune) registered. It is added to the result.
    type: dict
seealso:
  - module: inflight.jobs.backup_report
  - module: inflight.jobs.backup_set
  - module: inflight.jobs.backup_prune
"""

EXAMPLES = r"""
- name: Remember what became of the backups
  ansible.builtin.set_fact:
    result: "{{ waited | inflight.jobs.backup_result }}"
"""

RETURN = r"""
_value:
  description: The result of the host.
  type: dict
  contains:
    state:
      description: V(ok), V(warning), V(failed), V(unreachable), or V(running) when jobs have not ended.
      type: str
    msg:
      description: Why nothing is known of any set; null otherwise.
      type: str
    started_at:
      description: When the first job started, in UTC; null if none did.
      type: str
    ended_at:
      description: When the last job ended, in UTC; null if none did.
      type: str
    sets:
      description:
        - For each job the name of its C(set), its C(state), C(msg), C(started_at), C(ended_at) and C(warnings), and of
          a backup that was made also what M(inflight.jobs.backup_set) returned.
      type: list
      elements: dict
    retention:
      description: For each set the backups that were C(kept) and C(deleted), as M(inflight.jobs.backup_prune) tells.
      type: list
      elements: dict
    freed_bytes:
      description: How much was freed by that.
      type: int
"""

from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.plugin_utils import _backup_results
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import shown


def backup_result(value: object, expected: Sequence[object] = (), retention: object = None) -> dict[str, object]:
    """Tell what became of the backups of a host; see DOCUMENTATION.

    :raises AnsibleFilterError: when a value is not what a task registered.
    """
    for given in (value, {} if retention is None else retention):
        if not isinstance(given, Mapping):
            raise AnsibleFilterError(f"{shown(given)} is not what a task registered: give the variable of its register")
    if isinstance(value, Mapping) and isinstance(retention, Mapping):
        return _backup_results.with_retention(value, retention)
    return _backup_results.of_jobs(value if isinstance(value, Mapping) else {}, expected)


class FilterModule:
    """The filter backup_result."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names and functions of the filters in this file."""
        return {"backup_result": backup_result}
