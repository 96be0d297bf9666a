#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: update_begin
short_description: Prepare a host for an update of its packages
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Does what comes before the installation of new packages, as the first task of a M(inflight.jobs.async_batch) whose
    second task installs them. The role C(inflight.jobs.parallel_update) does both.
  - Takes the lock of the host, which M(inflight.jobs.backup_set) respects. Stops the timers that update packages by
    themselves. Has packages configured that an earlier run has left half-installed. Fetches the lists of packages.
    Finds out what the update is going to do, and refuses it where that is not allowed.
  - Leaves a process on the host that goes away when all jobs of the batch have ended. Until then it keeps the lock, and
    says of the other jobs how far the installation is (C(INFLIGHT_STATUS) of M(inflight.jobs.async_batch)). Then it
    starts the timers again, however the installation has ended, and writes down what has become of the packages, for
    M(inflight.jobs.update_end).
  - Starts the timers again at once when it fails, or is ended by C(SIGTERM).
  - With apt, packages that are to stay as they are get a pin in a configuration of its own, and so does the time that
    apt waits for locks. The second task has to name that in its environment, as the example does. Holds and
    files of the host are never touched, so there is nothing to undo.
options:
  manager:
    description:
      - The package manager.
    type: str
    choices: [apt, dnf, zypper]
    required: true
  type:
    description:
      - V(safe) removes nothing. V(full) may remove what is in the way of a new version, where O(allow_remove) is true.
      - Only apt makes this difference when it finds out what is to be done.
    type: str
    choices: [safe, full]
    default: safe
  security_only:
    description:
      - Whether to install security updates only. With apt, C(unattended-upgrade) decides which these are, and has to be
        on the host. With dnf it is the security information of the repositories.
    type: bool
    default: false
  only:
    description:
      - Names of packages, or patterns of the shell. Nothing else is updated, but what these need. All when empty.
    type: list
    elements: str
    default: []
  exclude:
    description:
      - Names of packages, or patterns of the shell, that are not updated. With apt, they are not installed as new
        packages either; what needs those is kept back.
    type: list
    elements: str
    default: []
  hold:
    description:
      - Names of packages that must neither be updated nor removed. An update that cannot do without is refused.
        With apt, they do not come as new packages either.
    type: list
    elements: str
    default: []
  allow_remove:
    description:
      - Whether the update may remove packages.
    type: bool
    default: false
  cache_valid_time:
    description:
      - How old the lists of packages may be without being fetched anew, in seconds.
    type: int
    default: 3600
  lock_timeout:
    description:
      - How long to wait for other package managers, and for updates and backups of this host, in seconds.
    type: float
    default: 600
  pause_timers:
    description:
      - Whether to stop the timers of apt-daily, dnf-automatic and dnf-makecache until the update is over.
    type: bool
    default: true
attributes:
  async:
    description: Can be used with the C(async) keyword.
    support: none
    details:
      - It is a task of M(inflight.jobs.async_batch).
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - Tells what the update would do. Nothing of the host is changed; where its lists of packages are too old, new
        ones are fetched to a folder in C(/var/tmp) that is removed again. It needs no batch then.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
  idempotent:
    description: Changes nothing when it is run again.
    support: none
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs root.
seealso:
  - module: inflight.jobs.update_end
  - module: inflight.jobs.update_info
  - module: inflight.jobs.async_batch
"""

EXAMPLES = r"""
- name: Update all packages in the background
  inflight.jobs.async_batch:
    id: update
    tasks:
      - name: prepare
        inflight.jobs.update_begin:
          manager: apt
          exclude: [linux-*]
      - name: install
        ansible.builtin.apt:
          upgrade: safe
          force_apt_get: true
        environment:
          APT_CONFIG: /run/inflight.jobs.update/apt.conf
          NEEDRESTART_SUSPEND: "1"
    # One after the other, and the second one only if the first has succeeded.
    concurrency: 1
    on_failure: drain

- name: See what has become of it
  inflight.jobs.update_end:
"""

RETURN = r"""
planned:
  description: What the update is going to do. RV(planned[].old) is null for a new package, RV(planned[].new) for one
    that is removed. With dnf, new packages that others need are not known yet.
  returned: success
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
      description: The version that is installed.
      type: str
      sample: 3.0.14-1~deb12u2
    new:
      description: The version that comes.
      type: str
      sample: 3.0.15-1~deb12u1
    origin:
      description: Where it comes from, as the package manager calls that.
      type: str
      sample: Debian-Security:12/stable-security
kept_back:
  description: For each package that has a newer version which will not be installed, its name, the C(old) version and
    the C(new) one.
  returned: success
  type: list
  elements: dict
  sample: [{name: linux-image-amd64, old: 6.1.106-3, new: 6.1.112-1}]
excluded:
  description: The names of packages that have a newer version and stay as they are because of O(only), O(exclude),
    O(hold) or O(security_only).
  returned: success
  type: list
  elements: str
  sample: [nginx]
held:
  description: The names of the packages that the administrator of the host has on hold.
  returned: success
  type: list
  elements: str
  sample: [postgresql-15]
remarks:
  description: What did not work and was no reason to give up, such as a repository that C(zypper) has skipped.
    M(inflight.jobs.update_end) tells this as well.
  returned: success
  type: list
  elements: str
  sample: []
repaired:
  description: The names of packages that an earlier run has left half-installed, and that were configured now.
  returned: success
  type: list
  elements: str
  sample: []
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._termination import Terminated, heed_sigterm
from ansible_collections.inflight.jobs.plugins.module_utils._update import beginning
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import UpdateError
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import Workspace

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "manager": {"type": "str", "choices": ["apt", "dnf", "zypper"], "required": True},
    "type": {"type": "str", "choices": ["safe", "full"], "default": "safe"},
    "security_only": {"type": "bool", "default": False},
    "only": {"type": "list", "elements": "str", "default": []},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "hold": {"type": "list", "elements": "str", "default": []},
    "allow_remove": {"type": "bool", "default": False},
    "cache_valid_time": {"type": "int", "default": 3600},
    "lock_timeout": {"type": "float", "default": 600},
    "pause_timers": {"type": "bool", "default": True},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    for name in ("cache_valid_time", "lock_timeout"):
        if not 0 <= module.params[name] < float("inf"):
            module.fail_json(msg=f"{name} is {module.params[name]:g}: give seconds, 0 or more")
    if os.geteuid():
        module.fail_json(msg="only root can update packages: set become")
    heed_sigterm()
    try:
        if module.check_mode:
            found = beginning.look(module.params, module.run_command)
        else:
            found = beginning.begin(module.params, module.run_command, Workspace())
    except (UpdateError, Terminated) as ex:
        module.fail_json(msg=str(ex))
    number = len(found["planned"])
    msg = f"{number} {'package' if number == 1 else 'packages'} to install or remove"
    # But in check mode, it has only prepared the host; what it has repaired is a change.
    changed = bool(found["planned"] if module.check_mode else found["repaired"])
    module.exit_json(changed=changed, msg=msg, **found)


if __name__ == "__main__":
    main()
