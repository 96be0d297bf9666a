#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: async_cancel
short_description: End background jobs with all of their processes
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Ends background jobs of a host, and returns when the last of their processes is gone. Background jobs are tasks with
    C(async) and a C(poll) of 0, and the jobs of M(inflight.jobs.async_batch).
  - O(jobs), O(batch), O(state), O(name), O(older_than) and O(newer_than) tell which jobs are meant. At least one of
    them must be given, or O(all).
  - The programs of a job get O(signal). What is left of the job after O(grace) is ended by force. This holds for all of
    its processes, also for those that have left the process group or the session. All jobs are ended at the same time.
  - Jobs of a batch that wait for their turn are cancelled without having been started. The other jobs of the batch go
    on. A cancelled job is not tried again, and does not count for
    O(inflight.jobs.async_batch#module:max_failures).
  - When the last process of a job is gone, its job file says that it was cancelled, when, and by which user. What its
    module said when it was ended is the result of the job.
  - Jobs that have ended are left alone. So it does no harm to run this again.
extends_documentation_fragment:
  - inflight.jobs.selection
options:
  jobs:
    description:
      - Which jobs are meant. This may be anything that a task with C(async) registered, with or without a loop, a list
        of such variables, what a plugin of this collection returned, one job id, or a list of job ids.
      - Every job is looked for where its launch says that its job file is. For a bare job id this is the job directory
        of the host (the C(async_dir) option of the shell plugin).
      - The other options choose among these. A job has to meet all of those that are given. An empty list means no job.
    type: raw
    aliases: [jid]
  batch:
    description: Only jobs of the batch with this O(inflight.jobs.async_batch#module:id). If there is none, there is
      nothing to cancel, and a warning says so.
    type: str
  state:
    description: Only jobs in one of these states. Others cannot be cancelled.
    type: list
    elements: str
    choices: [running, queued]
  older_than:
    description:
      - Only jobs that were started at least so long ago, or wait for their turn for so long.
      - A number of seconds, or a number with one of C(s), C(m), C(h), C(d) and C(w) behind it, such as V(90), V(2h) or
        V(7d). Ages go by the clock of the host.
    type: raw
  newer_than:
    description:
      - Only jobs that were started at most so long ago, or wait for their turn for so long. As O(older_than).
    type: raw
  all:
    description: Whether all jobs in the job directory of the host are meant. Cannot be given together with what chooses
      among them.
    type: bool
    default: false
  signal:
    description: The signal that asks the programs of a job to end. With V(KILL) they are ended by force at once.
    type: str
    choices: [TERM, INT, HUP, QUIT, USR1, USR2, KILL]
    default: TERM
  grace:
    description: How many seconds the programs may take to end before they are ended by force. At most 86,400 (a day).
      When a job is still there 15 seconds after that, the task gives it up.
    type: float
    default: 10
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
      - The jobs of a user are found by becoming that user, as their job directory is in the home directory. Jobs that a
        registered variable names are found by root as well. Then they are ended with no more rights than their user
        has.
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - Tells which jobs would be cancelled, and ends none.
  delegation:
    description: Can be used with C(delegate_to).
    support: full
    details:
      - Ends the jobs of that host.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
    details:
      - What was cancelled is returned.
  idempotent:
    description: Changes nothing when it is run again.
    support: full
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs Python 3.8 or newer on the host and nothing else. On Windows hosts and over network connections it is refused.
  - No signal goes to a process that cannot be told to be the job's own. The processes of a job of
    M(inflight.jobs.async_batch) are known by an environment variable that carries the job id, wherever they go. For
    tasks with C(async) they are known by their session and their parents. So a daemon that such a task has started, and
    that has left both, is not found.
  - Where the host has no C(/proc), only jobs of batches whose supervisor lives can be ended.
  - The task fails when a job could not be ended, for example because one of its processes waits for a dead disk. Its
    result tells what became of the others.
seealso:
  - module: inflight.jobs.async_info
  - module: inflight.jobs.async_wait
  - module: inflight.jobs.async_batch
  - module: ansible.builtin.async_status
"""

EXAMPLES = r"""
- name: End the jobs that an earlier task has started
  inflight.jobs.async_cancel:
    jobs: "{{ dumps }}"

- name: End one job at once
  inflight.jobs.async_cancel:
    jobs: j123456789012.4711
    signal: KILL

- name: End what has run for more than a day
  inflight.jobs.async_cancel:
    older_than: 1d

- name: See what would be ended
  inflight.jobs.async_cancel:
    all: true
  check_mode: true

- name: Take back those jobs of a batch that have not been started
  inflight.jobs.async_cancel:
    batch: nightly
    state: queued

- name: Give programs two minutes to tidy up
  inflight.jobs.async_cancel:
    name: dump *
    signal: INT
    grace: 120
"""

RETURN = r"""
jobs:
  description:
    - The jobs that were cancelled, or would be in check mode, and those that could not be ended. With O(jobs), all of
      these in that order, also such as had ended before. Without it, the one whose job file was changed longest ago
      comes first.
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
      sample: cancelled
    started:
      description: Whether it was started.
      type: bool
      sample: true
    finished:
      description: Whether it has ended, in any state but V(queued) and V(running).
      type: bool
      sample: true
    failed:
      description: Whether it has ended in another state than V(succeeded).
      type: bool
      sample: true
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
      sample: cancelled at 2026-11-21T02:45:42.702Z by root
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
cancelled:
  description: How many jobs were cancelled, or would be in check mode.
  returned: always
  type: int
  sample: 2
msg:
  description: How many jobs were cancelled, how many had ended, and which could not be ended and why.
  returned: always
  type: str
  sample: cancelled 2 jobs, 1 had ended
"""

import json
import sys
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError
from ansible_collections.inflight.jobs.plugins.module_utils._cancel import STATES, Cancel
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectoryError
from ansible_collections.inflight.jobs.plugins.module_utils._processes import SIGNALS

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "jobs": {"type": "raw", "aliases": ["jid"]},
    "batch": {"type": "str"},
    "state": {"type": "list", "elements": "str", "choices": list(STATES)},
    "name": {"type": "str"},
    "older_than": {"type": "raw"},
    "newer_than": {"type": "raw"},
    "all": {"type": "bool", "default": False},
    "signal": {"type": "str", "choices": list(SIGNALS), "default": "TERM"},
    "grace": {"type": "float", "default": 10},
}


def main() -> None:
    module = AnsibleModule(
        # It travels as one text: neither the log of the host nor the masking of secrets has to go through it.
        argument_spec=dict(ARGUMENT_SPEC, _request={"type": "str", "no_log": True}),
        supports_check_mode=True,
    )
    if not module.params["_request"]:
        module.fail_json(msg="inflight.jobs.async_cancel is run by its action plugin, not as a module of its own.")
    began = time.monotonic()
    try:
        request = json.loads(module.params["_request"])
        response = Cancel(request, module.run_command, only_look=module.check_mode).run()
    except (JobDirectoryError, BatchError) as ex:
        module.fail_json(msg=str(ex))
    response["remarks"] = list(dict.fromkeys(response["remarks"]))
    # Not exit_json: it would go through all reports in search of secrets, and those belong to other modules.
    json.dump(dict(response, took=time.monotonic() - began), sys.stdout)
    raise SystemExit(0)


if __name__ == "__main__":
    main()
