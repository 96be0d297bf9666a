#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: async_info
short_description: List the background jobs of a host
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Tells which background jobs there are on a host, in which state each is, and what those that run use. Background
    jobs are tasks with C(async) and a C(poll) of 0, and the jobs of M(inflight.jobs.async_batch).
  - One run of the module looks at all jobs. It changes nothing.
  - What cannot be known is left out. Nothing is guessed.
extends_documentation_fragment:
  - inflight.jobs.selection
options:
  results:
    description:
      - Whether to return the results of the jobs as well. No more than 8 MiB of them are returned by one task.
    type: bool
    default: false
  tail:
    description:
      - How many of the lines to return that the program of a running job has printed last, at most 1,000.
      - They are known of jobs of M(inflight.jobs.async_batch) that run M(ansible.builtin.command) or
        M(ansible.builtin.shell), unless their task has C(no_log), or C(no_target_syslog) keeps modules from logging.
    type: int
    default: 0
  _request:
    description:
      - What the part of this plugin that runs on the controller asks of the part that runs on the host. A task cannot
        set it.
    type: str
attributes:
  action:
    description: Has a part that runs on the controller.
    support: full
  async:
    description: Can be used with the C(async) keyword.
    support: none
  become:
    description: Can be used with become.
    support: full
    details:
      - The jobs of a user are found by becoming that user, as their job directory is in the home directory.
  check_mode:
    description: Can run in check mode.
    support: full
  delegation:
    description: Can be used with C(delegate_to).
    support: full
    details:
      - Looks at the jobs of that host.
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
    platforms: posix
notes:
  - Needs Python 3.8 or newer on the host and nothing else. On Windows hosts and over network connections it is refused.
  - What processes use is told on Linux alone.
seealso:
  - module: inflight.jobs.async_wait
  - module: inflight.jobs.async_batch
  - module: ansible.builtin.async_status
"""

EXAMPLES = r"""
- name: List all jobs
  inflight.jobs.async_info:
  register: listed

- name: List the jobs that have run for more than an hour
  inflight.jobs.async_info:
    state: running
    older_than: 1h
  register: slow

- name: Fail when a job was lost in the last day
  inflight.jobs.async_info:
    state: lost
    newer_than: 1d
  register: lost
  failed_when: lost.jobs | length > 0

- name: See how far a batch is
  inflight.jobs.async_info:
    batch: nightly
  register: nightly

- name: Get the results of jobs that were started earlier
  inflight.jobs.async_info:
    jobs: "{{ backups }}"
    results: true
  register: done
"""

RETURN = r"""
jobs:
  description:
    - The jobs, in the order of O(jobs). Without O(jobs), the one whose job file was changed longest ago comes first.
  returned: always
  type: list
  elements: dict
  contains:
    ansible_job_id:
      description: The job id.
      type: str
      sample: j123456789012.4711
    name:
      description: What people call the job. For a job that no batch started, its id, unless O(jobs) knows another.
      type: str
      sample: dump users
    item:
      description: The item that the job was started for. Null where it is not known.
      type: raw
      sample: users
    state:
      description:
        - V(queued), V(running), V(succeeded), V(failed), V(timed_out), V(cancelled), V(lost), V(missing),
          V(unreadable) or V(not_started), as M(inflight.jobs.async_wait) tells them.
      type: str
      sample: running
    started:
      description: Whether it was started.
      type: bool
      sample: true
    finished:
      description: Whether it has ended, in any state but V(queued) and V(running).
      type: bool
      sample: false
    failed:
      description: Whether it has ended in another state than V(succeeded).
      type: bool
      sample: false
    changed:
      description: Whether its module changed something.
      type: bool
      sample: false
    started_at:
      description: When it started, as ISO 8601 in UTC, by the clock of the host. Null where that is not known.
      type: str
      sample: "2026-11-21T02:45:25.561Z"
    ended_at:
      description: When it ended, as ISO 8601 in UTC, by the clock of the host. Null when it left no result.
      type: str
      sample: null
    elapsed:
      description: How long it ran, or has run so far, in seconds. Null where that is not known.
      type: float
      sample: 17.25
    attempts:
      description: How many times it was started, as far as that is known.
      type: int
      sample: 1
    results_file:
      description: The job file on the host.
      type: str
      sample: /var/lib/deploy/.ansible_async/j123456789012.4711
    msg:
      description: Why it did not succeed, in one line, or the message of its module.
      type: str
      sample: ""
    result:
      description: The result of its module. Null without one. Left out unless O(results) is true.
      type: dict
    batch:
      description: The id of the batch that it belongs to, or the number of the batch if that has no id.
      returned: for jobs of a batch
      type: str
      sample: nightly
    queue_place:
      description: Its place among the jobs of its batch that wait for their turn; 1 is started next.
      returned: for jobs in state V(queued)
      type: int
      sample: 3
    pid:
      description: Its first process.
      returned: when it runs and its processes can be seen
      type: int
      sample: 4711
    user:
      description: Whose processes they are.
      returned: when it runs and its processes can be seen
      type: str
      sample: root
    command:
      description: The command line of the program that its module runs, at most 1,000 characters.
      returned: when its module runs a program just now
      type: str
      sample: pg_dump -Fc users
    cpu_seconds:
      description: CPU time of all of its processes.
      returned: when it runs and its processes can be seen
      type: float
      sample: 4.37
    memory_bytes:
      description: Resident memory of all of its processes. What they share is counted for each.
      returned: when it runs and its processes can be seen
      type: int
      sample: 73400320
    children:
      description: How many processes it has beside the first.
      returned: when it runs and its processes can be seen
      type: int
      sample: 2
    time_left:
      description: Seconds until its time limit passes (O(inflight.jobs.async_batch#module:timeout) or C(async)).
      returned: when it runs, has a limit, and its processes can be seen
      type: float
      sample: 3582.75
    tail:
      description: The last lines that its program has printed, at most as many as O(tail), each of at most 1,000
        characters.
      returned: when it runs, and what its program prints is kept
      type: list
      elements: str
      sample: ["dumping contents of table public.users"]
summary:
  description: How many jobs there are in all (C(total)) and in each state.
  returned: always
  type: dict
  sample:
    {total: 3, succeeded: 2, failed: 1, timed_out: 0, cancelled: 0, lost: 0, missing: 0, unreadable: 0, not_started: 0,
     running: 0, queued: 0}
msg:
  description: How many jobs there are, and in which states.
  returned: always
  type: str
  sample: "3 jobs: 2 succeeded, 1 running"
"""

import json
import sys
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectoryError
from ansible_collections.inflight.jobs.plugins.module_utils._survey import MAX_RESULT_BYTES, Survey, brief

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "jobs": {"type": "raw", "aliases": ["jid"]},
    "batch": {"type": "str"},
    "state": {"type": "list", "elements": "str", "choices": list(_jobs.STATES)},
    "name": {"type": "str"},
    "older_than": {"type": "raw"},
    "newer_than": {"type": "raw"},
    "results": {"type": "bool", "default": False},
    "tail": {"type": "int", "default": 0},
}


def main() -> None:
    module = AnsibleModule(
        # The jobs travel as one text: neither the log of the host nor the masking of secrets has to go through them.
        argument_spec=dict(ARGUMENT_SPEC, _request={"type": "str", "no_log": True}),
        supports_check_mode=True,
    )
    if not module.params["_request"]:
        module.fail_json(msg="inflight.jobs.async_info is run by its action plugin, not as a module of its own.")
    began = time.monotonic()
    request = json.loads(module.params["_request"])
    survey = Survey(request, module.run_command)
    left = MAX_RESULT_BYTES if request["results"] else 0

    def keep(text: str) -> str:
        nonlocal left
        if len(text) <= left:
            left -= len(text)
            return text
        if request["results"]:
            survey.remarks.append(f"Results beyond {MAX_RESULT_BYTES} bytes were left out: ask for fewer jobs.")
        return brief(text)

    try:
        found = survey.find(keep)
    except (JobDirectoryError, BatchError) as ex:
        module.fail_json(msg=str(ex))
    jobs = [survey.report(one) for one in found]
    response = {"jobs": jobs, "remarks": list(dict.fromkeys(survey.remarks)), "took": time.monotonic() - began}
    # Not exit_json: it would go through all results in search of secrets, and the results belong to other modules. Not
    # json.dump either, which takes several times as long as dumps.
    sys.stdout.write(json.dumps(dict(response, changed=False)))
    raise SystemExit(0)


if __name__ == "__main__":
    main()
