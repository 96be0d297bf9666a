#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: update_end
short_description: Tell what an update has done to a host
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Tells what has become of the packages of a host in an update that M(inflight.jobs.update_begin) has begun, by
    comparing what was installed before and after. It does not matter who installed them, or whether that succeeded.
  - Where the process that M(inflight.jobs.update_begin) has left was killed, this puts back what was changed.
options:
  wait:
    description:
      - How long to wait for an update that has not ended, in seconds. It goes on in any case.
    type: float
    default: 30
  reported:
    description:
      - Whether what this tells is in a report. From then on it counts as told, see RV(reported); until then, the next
        update tells of both. Where nothing has changed, there is nothing to be reported.
    type: bool
    default: false
attributes:
  async:
    description: Can be used with the C(async) keyword.
    support: full
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - It looks, and puts nothing back.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
  idempotent:
    description: Changes nothing when it is run again.
    support: full
    details:
      - It tells the same of the last update each time, until the host boots or another update begins.
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs root.
seealso:
  - module: inflight.jobs.update_begin
"""

EXAMPLES = r"""
- name: See what the update has done
  inflight.jobs.update_end:
  register: updated

- name: Show the packages
  ansible.builtin.debug:
    msg: "{{ updated.packages | map(attribute='name') }}"

- name: Have the next update not tell of them again
  inflight.jobs.update_end:
    reported: true
"""

RETURN = r"""
changed:
  description: Whether any package has changed.
  returned: always
  type: bool
running:
  description: Whether the update has not ended yet. Then nothing else is told.
  returned: success
  type: bool
reported:
  description: Whether the module was told before that this is in a report, so that it is no news.
  returned: when the update has ended
  type: bool
packages:
  description: The packages that have changed, sorted by name. RV(packages[].old) is null for a new package,
    RV(packages[].new) for one that was removed.
  returned: when the update has ended
  type: list
  elements: dict
  contains:
    name:
      description: The name of the package.
      type: str
      sample: openssl
    arch:
      description: Its architecture.
      type: str
      sample: amd64
    old:
      description: The version before.
      type: str
      sample: 3.0.14-1~deb12u2
    new:
      description: The version after.
      type: str
      sample: 3.0.15-1~deb12u1
    origin:
      description: Where it came from; null where that is not known.
      type: str
      sample: Debian-Security:12/stable-security
failed_packages:
  description: Names and states of the packages that are neither installed nor removed.
  returned: when the update has ended
  type: list
  elements: dict
  sample: [{name: postfix, state: half-configured}]
conffiles:
  description: The new versions of configuration files that were put beside changed ones.
  returned: when the update has ended
  type: list
  elements: str
  sample: [/etc/postfix/main.cf.dpkg-dist]
log_tail:
  description: The last lines that the package manager has logged during the update, at most 40.
  returned: when the update has ended
  type: list
  elements: str
  sample: ["Setting up openssl (3.0.15-1~deb12u1) ..."]
remarks:
  description: What did not work when the update began or ended, and was no reason to give up.
  returned: when the update has ended
  type: list
  elements: str
  sample: []
msg:
  description: How many packages have changed.
  returned: always
  type: str
  sample: 12 packages changed
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._update import ending, keeper
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import UpdateError
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import (
    BEGUN,
    OUTCOME,
    REPORTED,
    Workspace,
)

_KILLED = "the process that looked after the update was killed; what it left was put back now"

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "wait": {"type": "float", "default": 30},
    "reported": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    if os.geteuid():
        module.fail_json(msg="only root can ask what became of an update: set become")
    if not module.params["wait"] >= 0:
        module.fail_json(msg=f"wait is {module.params['wait']:g}: give seconds, 0 or more")
    workspace = Workspace()
    if not workspace.has(BEGUN):
        module.fail_json(msg="no update has begun on this host since it booted")
    if workspace.read(BEGUN) is None:
        module.fail_json(msg=f"{workspace.file(BEGUN)} is damaged: nothing is known of the update, remove it")
    if not keeper.has_gone(workspace, module.params["wait"]):
        module.exit_json(changed=False, running=True, msg="the update has not ended: it goes on")
    outcome = workspace.read(OUTCOME)
    if outcome is None and module.check_mode:
        module.exit_json(changed=False, running=False, msg="the update was killed before it had ended")
    found: dict[str, t.Any] = {"reported": workspace.has(REPORTED)}
    try:
        if outcome is None:
            outcome = ending.finish(workspace, module.run_command, _KILLED)
        found.update(ending.told(workspace, outcome))
        # What people change by hand from now on is none of an update that has changed nothing.
        is_told = module.params["reported"] or not (found["packages"] or found["failed_packages"])
        if is_told and not module.check_mode:
            workspace.write(REPORTED, {})
    except UpdateError as ex:
        module.fail_json(msg=str(ex), **found)
    number = len(found["packages"])
    msg = f"{number} {'package' if number == 1 else 'packages'} changed"
    module.exit_json(changed=bool(number), running=False, msg=msg, **found)


if __name__ == "__main__":
    main()
