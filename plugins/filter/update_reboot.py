# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: update_reboot
short_description: Decide whether a host is to be rebooted after an update
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Goes by what M(inflight.jobs.update_info) has found, and by what the user wants. Refuses what nobody can want.
positional: _input, policy
options:
  _input:
    description:
      - What M(inflight.jobs.update_info) registered.
    type: dict
    required: true
  policy:
    description:
      - When to reboot.
    type: str
    choices: [never, if_needed, if_changed, always]
    required: true
  changed:
    description:
      - Whether the update has changed any package. V(if_changed) goes by that.
    type: bool
    default: false
  unknown:
    description:
      - What to do with V(if_needed) when no source can tell whether a reboot is needed.
    type: str
    choices:
      as_no: Do not reboot, and warn.
      as_yes: Reboot.
      fail: The decision counts as failed.
    default: as_no
  encrypted:
    description:
      - Whether to reboot a host that waits for a passphrase then.
    type: bool
    default: false
  controller:
    description:
      - Whether this host is the one that Ansible runs on. It is never rebooted.
    type: bool
    default: false
seealso:
  - module: inflight.jobs.update_info
"""

EXAMPLES = r"""
- name: Reboot where that is needed
  ansible.builtin.reboot:
  when: (info | inflight.jobs.update_reboot('if_needed')).wanted
"""

RETURN = r"""
_value:
  description: The decision.
  type: dict
  contains:
    wanted:
      description: Whether to reboot the host.
      type: bool
    needed:
      description: V(yes), V(no) or V(unknown).
      type: str
    reasons:
      description: Why that is so, a sentence each.
      type: list
      elements: str
    msg:
      description: Why it is not rebooted although it needs it, or somebody wants it; null otherwise.
      type: str
    warning:
      description: The same where somebody should look at it; null otherwise.
      type: str
    failed:
      description: Whether that counts as a failure.
      type: bool
"""

from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import shown

_as_bool: Callable[[object], bool] = boolean  # which has no types

_POLICIES = ("never", "if_needed", "if_changed", "always")
_UNKNOWN = ("as_no", "as_yes", "fail")


def update_reboot(
    value: object,
    policy: str,
    *,
    changed: bool = False,
    unknown: str = "as_no",
    encrypted: bool = False,
    controller: bool = False,
) -> dict[str, object]:
    """Decide whether a host is to be rebooted after an update; see DOCUMENTATION.

    :raises AnsibleFilterError: when a value is not what is expected.
    """
    for name, given, choices in (("policy", policy, _POLICIES), ("unknown", unknown, _UNKNOWN)):
        if given not in choices:
            raise AnsibleFilterError(f"{name} is {shown(given)}: use one of {', '.join(choices)}")
    # The command line of ansible-playbook gives text, and every text is true.
    try:
        changed, encrypted, controller = (_as_bool(flag) for flag in (changed, encrypted, controller))
    except TypeError as ex:
        raise AnsibleFilterError(f"changed, encrypted or controller is no boolean: {ex}") from ex
    found = value.get("reboot") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(found, Mapping):
        raise AnsibleFilterError(f"{shown(value)} is not what update_info registered")
    needed = found.get("needed")
    told = {"needed": needed, "reasons": found.get("reasons", []), "msg": None, "warning": None, "failed": False}
    unclear = policy == "if_needed" and needed not in ("yes", "no")
    wanted = {
        "never": False,
        "if_needed": needed == "yes" or (unclear and unknown == "as_yes"),
        "if_changed": changed,
        "always": True,
    }[policy]
    msg = warning = None
    if unclear and unknown != "as_yes":
        msg = warning = "it is not known whether it needs a reboot, and it was not rebooted"
    elif wanted:
        msg = warning = _refusal(value, encrypted, controller)
    elif needed == "yes":
        msg = f"it needs a reboot, and the policy is {policy}"
    failed = bool(unclear and unknown == "fail")
    return {**told, "wanted": wanted and not msg, "msg": msg, "warning": None if failed else warning, "failed": failed}


def _refusal(info: Mapping[str, object], encrypted: bool, controller: bool) -> str | None:
    """Why a host that is to be rebooted must not be."""
    root = info.get("encrypted_root")
    if controller:
        return "it was not rebooted: it is the host that Ansible runs on"
    if isinstance(root, Mapping) and root.get("encrypted") and not root.get("unlocks_itself") and not encrypted:
        return f"it was not rebooted: {root.get('msg')}"
    return None


class FilterModule:
    """The filter update_reboot."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names and functions of the filters in this file."""
        return {"update_reboot": update_reboot}
