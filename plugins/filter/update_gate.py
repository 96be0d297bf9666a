# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: update_gate
short_description: Tell whether a roll-out of updates goes on
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Counts the hosts that failed or were out of reach, and compares their number with what is allowed. The keyword
    C(max_fail_percentage) of a play cannot do this, as it does not count hosts that are out of reach.
  - Of a host it takes what M(inflight.jobs.update_report) takes, and judges it in the same way. So a host that still
    runs, has new faults, has failed packages, or whose result is damaged has failed.
positional: _input, max_fail_percentage, max_fail_count
options:
  _input:
    description:
      - What each host reported (the fact C(parallel_update_result)) by the name of the host, of all hosts whose turn
        has come and of no others.
      - A host whose value is V(null) or empty was out of reach.
    type: dict
    required: true
  max_fail_percentage:
    description:
      - How many of these hosts may have failed or been out of reach, in percent, from 0 to 100. With V(0) none may,
        with V(50) half of them.
    type: float
    default: 0
  max_fail_count:
    description:
      - How many hosts may have failed or been out of reach, from 0 up. Both limits count.
      - Without it, only O(max_fail_percentage) counts.
    type: int
seealso:
  - module: inflight.jobs.update_report
"""

EXAMPLES = r"""
- name: Stop the roll-out if a canary did not make it
  ansible.builtin.assert:
    that: gate.open
    fail_msg: "{{ gate.msg }}"
  vars:
    # Not ansible_play_batch or ansible_play_hosts: these leave out the hosts that failed or were out of reach.
    found: "{{ groups['canary'] | map('extract', hostvars, 'parallel_update_result') | map('default', none) }}"
    gate: "{{ dict(groups['canary'] | zip(found)) | inflight.jobs.update_gate }}"
  run_once: true

- name: Stop the roll-out if more than a tenth of the hosts, or more than three, did not make it
  ansible.builtin.assert:
    that: gate.open
    fail_msg: "{{ gate.msg }}"
  vars:
    found: "{{ ansible_play_hosts_all | map('extract', hostvars, 'parallel_update_result') | map('default', none) }}"
    results: "{{ dict(ansible_play_hosts_all | zip(found)) }}"
    gate: "{{ results | inflight.jobs.update_gate(max_fail_percentage=10, max_fail_count=3) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: Whether to go on, and why not.
  type: dict
  contains:
    open:
      description: Whether the number of hosts that failed or were out of reach is within the limits.
      type: bool
    failed:
      description: The hosts that failed, in the order that they were given in.
      type: list
      elements: str
    unreachable:
      description: The hosts that were out of reach, in the order that they were given in.
      type: list
      elements: str
    msg:
      description:
        - Why not to go on, in one sentence that names the first 10 of these hosts and their causes. Empty where the
          roll-out goes on.
      type: str
  sample:
    open: false
    failed: [web1]
    unreachable: [web2]
    msg: >-
      2 of 10 hosts (20 %) failed or were out of reach, and parallel_update_max_fail_percentage is 10: web1 failed: new
      faults: service nginx, web2 was out of reach: no route to host
"""

import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.plugin_utils import _update_gate


def update_gate(results: object, max_fail_percentage: object = 0, max_fail_count: object = None) -> dict[str, t.Any]:
    """Tell whether a roll-out of updates goes on; see DOCUMENTATION.

    :raises AnsibleFilterError: when a limit or the results are not what they should be.
    """
    try:
        return _update_gate.gate(results, max_fail_percentage, max_fail_count)
    except _update_gate.GateError as ex:
        # Core appends the message of a cause: the same sentence would stand there twice.
        raise AnsibleFilterError(str(ex)) from None


class FilterModule:
    """The filter update_gate."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names and functions of the filters in this file."""
        return {"update_gate": update_gate}
