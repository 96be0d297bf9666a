#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: show_jobs
short_description: Show a table of background jobs
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Prints the jobs of all hosts of the play in one table on the terminal. It shows the host, the name of the job, its
    state, its age, the CPU time and the memory of its processes, and the last line that it has printed, or what it said
    at its end.
  - The age is how long a job has run, or how long ago it ended.
  - The jobs that run longest come first. Of those that have ended, the last 20 of each host are shown.
  - Hosts that could not be reached, or on which the task failed, have a line that says so.
  - The table is as wide as the terminal, and 79 characters without one.
options:
  registered:
    description:
      - The name of the variable that a task of this collection has registered on each host. The task is one that
        returns jobs, such as M(inflight.jobs.async_info) or M(inflight.jobs.async_wait).
    type: str
    required: true
attributes:
  action:
    description: Has a part that runs on the controller.
    support: full
    details:
      - It has no other part. Run it once (C(run_once)), for all hosts.
  async:
    description: Can be used with the C(async) keyword.
    support: none
  check_mode:
    description: Can run in check mode.
    support: full
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
    details:
      - It changes nothing.
  idempotent:
    description: Changes nothing when it is run again.
    support: full
  platform:
    description: The systems it can be used on.
    support: full
    platforms: all
seealso:
  - module: inflight.jobs.async_info
"""

EXAMPLES = r"""
- name: Look for jobs that run
  inflight.jobs.async_info:
    state: running
    tail: 1
  register: found

- name: Show the jobs of all hosts
  inflight.jobs.show_jobs:
    registered: found
  run_once: true
"""

RETURN = r"""
msg:
  description: How many jobs there are, in which states, on how many hosts.
  returned: always
  type: str
  sample: "7 jobs on 3 hosts: 2 running, 5 succeeded; 1 host unreachable"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "registered": {"type": "str", "required": True},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.fail_json(msg="inflight.jobs.show_jobs is run by its action plugin, not as a module of its own.")


if __name__ == "__main__":
    main()
