#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: health_check
short_description: Say what is healthy on a host and what is not
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Looks at services, ports, addresses, commands, failed units and the database of packages, all side by side. It takes
    as long as the slowest check.
  - What was not healthy in an earlier look, the O(baseline), does not count. So this can tell whether an update has
    broken something.
  - The task fails when there is a new fault, unless O(fail) is V(false).
options:
  services:
    description:
      - Units of systemd. They are healthy when C(systemctl is-active) takes them for active.
      - A name without a dot is that of a service.
    type: list
    elements: str
    default: []
  ports:
    description:
      - TCP ports. They are healthy when they accept a connection.
      - A number, for a port of V(127.0.0.1), or V(host:port). An IPv6 address has brackets, as in V([::1]:443).
    type: list
    elements: raw
    default: []
  urls:
    description:
      - Addresses of HTTP and HTTPS. They are healthy when the answer to C(GET) is a status from 200 to 299. It is
        followed to where it leads. Certificates are verified.
      - A user and a password may be in the address, as in V(https://user:password@host/). They are only sent to this
        server, and never shown. Characters with a meaning in addresses have to be percent-encoded.
      - The proxies in the environment of the task are used.
    type: list
    elements: str
    default: []
  commands:
    description:
      - Commands of the shell. They are healthy when they end with 0.
      - The command and the last lines that it prints are shown, so that there must be no secret in them.
      - A process that the command leaves in the background lives on.
    type: list
    elements: str
    default: []
  failed_units:
    description:
      - Whether each unit of systemd that has failed is a fault. The name of the fault is C(unit) and that of the unit.
      - A host that is still starting, or already shutting down, is a fault with the name C(system).
      - Left out on hosts without systemd.
    type: bool
    default: true
  packages:
    description:
      - Whether to look at the database of packages. With dpkg, each package that C(dpkg --audit) complains about is a
        fault. The name of the fault is C(package) and that of the package. With rpm, it is a fault when C(rpmdb
        --verifydb) finds one, which needs root on some systems.
      - Left out on hosts with neither of them.
    type: bool
    default: true
  baseline:
    description: What an earlier run returned as RV(checks). What was not healthy then, and is not now, is an old fault.
      When left out, every fault is a new one.
    type: list
    elements: dict
  retries:
    description: How many more times to look while there is a new fault. Every time looks at everything.
    type: int
    default: 0
  delay:
    description: How long to wait before it looks again, in seconds.
    type: float
    default: 5
  timeout:
    description: How long a single check may take, in seconds. One that takes longer is a fault. If it is a program, it
      is ended by force, and so is all that it has started.
    type: float
    default: 10
  fail:
    description: Whether the task fails when there is a new fault. Turn it off to take a baseline.
    type: bool
    default: true
attributes:
  action:
    description: Has a part that runs on the controller.
    support: none
  async:
    description: Can be used with the C(async) keyword.
    support: full
  become:
    description: Can be used with become.
    support: full
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - Does the same as without it. The O(commands) are run as well.
  delegation:
    description: Can be used with C(delegate_to).
    support: full
    details:
      - Looks at that host.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: N/A
    details:
      - Changes nothing.
  idempotent:
    description: Changes nothing when it is run again.
    support: full
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs Python 3.8 or newer on the host and nothing else.
"""

EXAMPLES = r"""
- name: Fail when the web server is not what it should be
  inflight.jobs.health_check:
    services: [nginx]
    ports: [80, 443, "db1.example.com:5432"]
    urls: [https://www.example.com/health]
    commands: [test -w /srv/www]

- name: See how healthy the host is before something changes
  inflight.jobs.health_check:
    services: [nginx]
    fail: false
  register: before

- name: Fail when something is broken now that was not before, within one minute
  inflight.jobs.health_check:
    services: [nginx]
    baseline: "{{ before.checks }}"
    retries: 12
    delay: 5
"""

RETURN = r"""
checks:
  description:
    - What was found by the last look, in the order of the options.
    - Each failed unit and each broken package has an entry of its own. When there are none, one entry says so.
  returned: when the options make sense
  type: list
  elements: dict
  contains:
    name:
      description: What was looked at. No two have the same name, and it is the same in every run.
      type: str
      sample: service nginx
    ok:
      description: Whether it is healthy.
      type: bool
      sample: false
    msg:
      description: What was seen, in a few words.
      type: str
      sample: failed (exit-code)
healthy:
  description: Whether there is no new fault.
  returned: when the options make sense
  type: bool
  sample: false
new_faults:
  description: The names of what is not healthy, and was not so in the O(baseline).
  returned: when the options make sense
  type: list
  elements: str
  sample: [service nginx]
old_faults:
  description: The names of what is not healthy, and was not in the O(baseline) either.
  returned: when the options make sense
  type: list
  elements: str
  sample: [unit fancontrol.service]
healed:
  description: The names of what was not healthy in the O(baseline), and is so now.
  returned: when the options make sense
  type: list
  elements: str
  sample: [port 443]
attempts:
  description: How many times it looked.
  returned: when the options make sense
  type: int
  sample: 1
elapsed:
  description: How long that took, in seconds.
  returned: when the options make sense
  type: float
  sample: 0.214
msg:
  description: The first new faults, or how many checks there were.
  returned: always
  type: str
  sample: "2 of 7 checks found new faults: service nginx: failed (exit-code); port 443: connection refused"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._health import HealthError, examine, secrets_of

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "services": {"type": "list", "elements": "str", "default": []},
    "ports": {"type": "list", "elements": "raw", "default": []},
    "urls": {"type": "list", "elements": "str", "default": []},
    "commands": {"type": "list", "elements": "str", "default": []},
    "failed_units": {"type": "bool", "default": True},
    "packages": {"type": "bool", "default": True},
    "baseline": {"type": "list", "elements": "dict"},
    "retries": {"type": "int", "default": 0},
    "delay": {"type": "float", "default": 5},
    "timeout": {"type": "float", "default": 10},
    "fail": {"type": "bool", "default": True},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    options = module.params
    # What a task was told is shown with its result when Ansible is asked to say more.
    module.no_log_values.update(secrets_of(options["urls"]))
    try:
        result = examine(options)
    except HealthError as ex:
        module.fail_json(msg=str(ex))
    if options["fail"] and not result["healthy"]:
        module.fail_json(changed=False, **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
