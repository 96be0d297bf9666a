# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: update_result
short_description: Tell what has become of the update of a host so far
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Adds what the tasks of one phase of the role C(inflight.jobs.parallel_update) registered to the result of the host,
    as M(inflight.jobs.update_report) takes it.
positional: _input, phase, registered
options:
  _input:
    description:
      - The result so far; an empty dict in the beginning.
    type: dict
    required: true
  phase:
    description:
      - What is over.
    type: str
    choices: [preflight, update, reboot, verify, snapshot, stop]
    required: true
  registered:
    description:
      - What tasks registered, by what they are. C(info) is of M(inflight.jobs.update_info), C(health) of
        M(inflight.jobs.health_check), C(jobs) of M(inflight.jobs.async_wait), C(end) of M(inflight.jobs.update_end),
        C(decision) of P(inflight.jobs.update_reboot#filter), C(rebooted) of M(ansible.builtin.reboot), and C(gate) of
        P(inflight.jobs.update_gate#filter). For V(snapshot), its C(kind) and C(msg).
      - With C(failure), which is C(ansible_failed_result), the phase has failed. Of the others it is only looked
        whether the host was out of reach.
    type: dict
    required: true
seealso:
  - module: inflight.jobs.update_report
  - plugin: inflight.jobs.update_gate
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Remember what was found
  ansible.builtin.set_fact:
    result: "{{ {} | inflight.jobs.update_result('preflight', {'info': info, 'health': baseline}) }}"
"""

RETURN = r"""
_value:
  description: The result of the host. What it holds is told by M(inflight.jobs.update_report).
  type: dict
"""

from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.plugin_utils import _update_results
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import shown

_PHASES: dict[str, Callable[[Mapping[str, object], Mapping[str, object]], dict[str, object]]] = {
    "preflight": _update_results.after_preflight,
    "update": _update_results.after_update,
    "reboot": _update_results.after_reboot,
    "verify": _update_results.after_verify,
    "snapshot": _update_results.after_snapshot,
    "stop": _update_results.after_stop,
}


def update_result(value: object, phase: object, registered: object) -> dict[str, object]:
    """Tell what has become of the update of a host so far; see DOCUMENTATION.

    :raises AnsibleFilterError: when a value is not what is expected.
    """
    if not isinstance(phase, str) or phase not in _PHASES:
        raise AnsibleFilterError(f"{shown(phase)} is no phase of an update: use one of {', '.join(_PHASES)}")
    for given in (value, registered):
        if not isinstance(given, Mapping):
            raise AnsibleFilterError(f"{shown(given)} is not a dict: give the result so far, and what tasks registered")
    if isinstance(value, Mapping) and isinstance(registered, Mapping):  # it is; this is for mypy
        if registered.get("failure"):
            return _update_results.after_failure(value, phase, registered)
        return _PHASES[phase](value, registered)
    return {}


class FilterModule:
    """The filter update_result."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names and functions of the filters in this file."""
        return {"update_result": update_result}
