#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: async_wait
short_description: Wait for many background jobs at once
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Waits until background jobs have ended, and returns the result of every one of them. Background jobs are tasks
    with C(async) and a C(poll) of 0.
  - One run of the module on the host sees all of its jobs. It stays there until the last one ends, so waiting for 200
    jobs costs no more than waiting for one.
  - A job that was killed, that ran out of memory or whose host rebooted is reported as V(lost). It is never taken for
    running for ever.
  - When the network is interrupted or the host reboots, the wait goes on as soon as the host is back.
  - The task fails when a job did not succeed or when the O(timeout) passed. Even then it returns all that is known.
options:
  jobs:
    description:
      - What to wait for. This may be anything that a task with C(async) registered, with or without a loop, a list of
        such variables, what this module returned earlier, one job id, or a list of job ids. Lists in lists are
        flattened.
      - Loop items that were skipped are left out. Items whose launch failed are reported as V(not_started).
      - Every job is looked for where its launch says that its job file is. For a bare job id this is the job directory
        of the host (the C(async_dir) option of the shell plugin).
      - Leave this option out to wait for every job that runs in the job directory of the host, whoever started it.
    type: raw
    aliases: [jid]
  batch:
    description:
      - The O(inflight.jobs.async_batch#module:id) of a batch on this host. Waits for all of its jobs, whoever started
        it.
      - Mutually exclusive with O(jobs).
    type: str
  timeout:
    description:
      - How long to wait, in seconds. What happens then to the jobs that still run is up to O(on_timeout).
      - V(0) means as long as a job lives.
    type: float
    default: 0
  until:
    description:
      - How many jobs have to end. Either V(all), V(any) for one of them, or a number.
    type: raw
    default: all
  on_failure:
    description: What to do at the first job that does not succeed.
    type: str
    choices:
      wait: Go on waiting for the others.
      stop: Return at once, and leave the others running.
      cancel: End the others, as M(inflight.jobs.async_cancel) does, and return then.
    default: wait
  on_timeout:
    description: What happens to the jobs that still run when the O(timeout) has passed.
    type: str
    choices:
      leave: They run on.
      cancel: They are ended, as M(inflight.jobs.async_cancel) does. That may take up to half a minute more.
    default: leave
  on_interrupt:
    description:
      - What happens to the jobs that still run when the playbook is interrupted while it waits, by Ctrl-C or by
        C(SIGTERM).
    type: str
    choices:
      leave: They run on. The next run can wait for them again.
      cancel: They are ended, as M(inflight.jobs.async_cancel) does, before the playbook ends.
    default: leave
  hold:
    description:
      - How long the module may stay on the host and wait for news before it comes back, in seconds.
      - V(0) keeps no connection open while jobs run. The host is then asked again and again, with a pause that grows to
        O(poll).
      - When given, this must not be longer than O(timeout).
    type: float
    default: 30
  poll:
    description:
      - The longest pause between two looks at the host, in seconds. Used with O(hold=0) alone.
    type: float
    default: 10
  unreachable_timeout:
    description:
      - How long the host may be out of reach in one stretch, in seconds. After that the task ends as unreachable.
      - The jobs run on meanwhile.
    type: float
    default: 300
  label:
    description:
      - Where in a loop item the name of its job is, like V(meta.name).
      - Without it a job is named by its loop item when that is a string or a number, else by the C(name), C(label),
        C(id) or C(key) of the item, else by the job id. A C(label) in C(loop_control) is not part of what a task
        registers.
    type: str
  cleanup:
    description:
      - Whether to delete the job files of the jobs that have ended, after their results have arrived.
    type: bool
    default: false
  progress:
    description:
      - Whether to show a line when jobs have ended, not more often than every five seconds.
    type: bool
    default: true
  tail:
    description:
      - How many of the lines to return that the program of a job has printed last, for jobs that still run at the end
        of the wait. At most 1,000. The newest one of each running job is shown with the progress line.
      - They are known of jobs of M(inflight.jobs.async_batch) that run M(ansible.builtin.command) or
        M(ansible.builtin.shell), unless their task has C(no_log), or C(no_target_syslog) keeps modules from logging,
        and of those that say themselves how far they are (C(INFLIGHT_STATUS) in M(inflight.jobs.async_batch)).
      - With this, the host is asked at least every five seconds as long as O(progress) is true.
    type: int
    default: 0
  job_log:
    description:
      - A file on the controller that gets one line of JSON for every job that ended, with the keys C(host), C(name),
        C(item), C(state), C(started_at), C(ended_at) and C(elapsed).
      - A relative path starts at the folder of the playbook. The file is made with mode 0600.
      - The lookup P(inflight.jobs.batch_async#lookup) learns from it how long jobs take.
    type: path
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
    details:
      - It waits for background jobs, so it cannot be one.
  become:
    description: Can be used with become.
    support: full
    details:
      - Use the same O(ignore:become_user) as the task that started the jobs.
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - Waits, because tasks with C(async) do start their jobs in check mode. Deletes no job file and writes no
        O(job_log).
  delegation:
    description: Can be used with C(delegate_to).
    support: full
    details:
      - Delegate to the host that the jobs were started on.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
  idempotent:
    description: Changes nothing when it is run again.
    support: full
    details:
      - With O(cleanup=true), the job files are gone at the second run, and job ids are then reported as V(missing).
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs Python 3.8 or newer on the host and nothing else. On Windows hosts and over network connections it is refused.
  - With C(no_log) on the task, results, names and progress are hidden. It does not make the job files on the host
    private; they are as safe as the job directory is.
  - A job file larger than 16 MiB is V(unreadable).
  - A result with bytes that are no UTF-8 is returned with those bytes replaced by a question mark.
  - At verbosity level 1 (C(-v)) the end of every single job is shown.
seealso:
  - module: ansible.builtin.async_status
  - plugin: inflight.jobs.batch_async
    plugin_type: filter
  - plugin: inflight.jobs.batch_async
    plugin_type: lookup
  - plugin: inflight.jobs.async_jobs
    plugin_type: filter
  - plugin: inflight.jobs.async_summary
    plugin_type: filter
  - ref: playbooks_async
    description: How to start background jobs.
"""

EXAMPLES = r"""
- name: Start a backup of every database
  ansible.builtin.command: /usr/local/bin/backup-db {{ item }}
  loop: [users, orders, stock]
  async: 7200
  poll: 0
  register: backups

- name: Wait for all backups
  inflight.jobs.async_wait:
    jobs: "{{ backups }}"

- name: Show what failed, and go on in any case
  block:
    - name: Wait for at most an hour
      inflight.jobs.async_wait:
        jobs: "{{ backups }}"
        timeout: 3600
      register: done
  rescue:
    - name: Name the databases without a backup
      ansible.builtin.debug:
        msg: "{{ item.name }}: {{ item.state }} {{ item.msg }}"
      loop: "{{ done.jobs | rejectattr('state', 'equalto', 'succeeded') }}"
      loop_control:
        label: "{{ item.name }}"

- name: Wait for jobs of several tasks, and tidy up
  inflight.jobs.async_wait:
    jobs:
      - "{{ backups }}"
      - "{{ package_upgrade }}"
    cleanup: true

- name: Go on as soon as one mirror has the file
  inflight.jobs.async_wait:
    jobs: "{{ downloads }}"
    until: any

- name: Name the jobs by a part of their loop items
  inflight.jobs.async_wait:
    jobs: "{{ deployments }}"
    label: meta.name

- name: Wait for everything that an earlier playbook left running
  inflight.jobs.async_wait:

# On the command line: ansible web -m inflight.jobs.async_wait -a "jid=j123456789012.4711"
"""

RETURN = r"""
jobs:
  description: The jobs, in the order in which they were given.
  returned: always
  type: list
  elements: dict
  contains:
    ansible_job_id:
      description: The job id. Null for a job that was V(not_started).
      type: str
      sample: j123456789012.4711
    name:
      description: What people call the job. See O(label).
      type: str
      sample: users
    item:
      description: The loop item that the job was started for. Null without a loop.
      type: raw
      sample: users
    state:
      description:
        - V(succeeded), V(failed) (its module says so) or V(timed_out) (the limit set by C(async) passed).
        - V(lost) when there is neither a process nor a result, because it was killed, ran out of memory, or the host
          rebooted.
        - V(missing) when there is no job file.
        - V(unreadable) when the job file is not JSON, is not a regular file of ours, or is too large.
        - V(not_started) when its launch failed.
        - V(running) when it has not ended.
        - V(cancelled) and V(queued) for jobs of other plugins of this collection.
      type: str
      sample: succeeded
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
      sample: false
    changed:
      description: Whether its module changed something.
      type: bool
      sample: true
    started_at:
      description:
        - When it started, as ISO 8601 in UTC, by the clock of the host. Null when nobody saw it running and its result
          does not tell.
      type: str
      sample: "2026-11-21T02:45:25.561Z"
    ended_at:
      description: When it ended, as ISO 8601 in UTC, by the clock of the host. Null when it left no result.
      type: str
      sample: "2026-11-21T02:45:28.395Z"
    elapsed:
      description: How long it ran, or has run so far, in seconds. Null where that is not known.
      type: float
      sample: 2.834
    attempts:
      description:
        - How many times it was started. More than 1 only in a batch with
          O(inflight.jobs.async_batch#module:retries).
      type: int
      sample: 1
    results_file:
      description: The job file on the host.
      type: str
      sample: /var/lib/deploy/.ansible_async/j123456789012.4711
    msg:
      description: Why it did not succeed, in one line, or the message of its module.
      type: str
      sample: disk full
    result:
      description: The result of its module, as a task in the foreground would have registered it. Null without one.
      type: dict
    tail:
      description: The last lines that its program has printed, at most as many as O(tail), each of at most 1,000
        characters.
      returned: when it still runs, and what its program prints is kept
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
finished:
  description: Whether as many jobs have ended as O(until) asked for.
  returned: always
  type: bool
  sample: true
elapsed:
  description: How long the wait took, in seconds.
  returned: always
  type: float
  sample: 12.391
checks:
  description: How many times the module was run on the host.
  returned: always
  type: int
  sample: 2
reconnects:
  description: How many times the host was out of reach and came back.
  returned: always
  type: int
  sample: 0
msg:
  description: What became of the jobs, with the names of those that did not succeed and why.
  returned: always
  type: str
  sample: "2 of 20 jobs did not succeed: users failed (rc 1): disk full; orders lost: no process and no result"
"""

import json
import sys
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError
from ansible_collections.inflight.jobs.plugins.module_utils._check import Check
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectoryError

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "jobs": {"type": "raw", "aliases": ["jid"]},
    "batch": {"type": "str"},
    "timeout": {"type": "float", "default": 0},
    "until": {"type": "raw", "default": "all"},
    "on_failure": {"type": "str", "choices": ["wait", "stop", "cancel"], "default": "wait"},
    "on_timeout": {"type": "str", "choices": ["leave", "cancel"], "default": "leave"},
    "on_interrupt": {"type": "str", "choices": ["leave", "cancel"], "default": "leave"},
    "hold": {"type": "float", "default": 30},
    "poll": {"type": "float", "default": 10},
    "unreachable_timeout": {"type": "float", "default": 300},
    "label": {"type": "str"},
    "cleanup": {"type": "bool", "default": False},
    "progress": {"type": "bool", "default": True},
    "tail": {"type": "int", "default": 0},
    "job_log": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(
        # The jobs travel as one text: neither the log of the host nor the masking of secrets has to go through them.
        argument_spec=dict(ARGUMENT_SPEC, _request={"type": "str", "no_log": True}),
        supports_check_mode=True,
    )
    if not module.params["_request"]:
        module.fail_json(msg="inflight.jobs.async_wait is run by its action plugin, not as a module of its own.")
    try:
        response = Check(json.loads(module.params["_request"]), module.run_command).run()
    except (JobDirectoryError, BatchError) as ex:
        module.fail_json(msg=str(ex))
    # Not exit_json: it would go through all results in search of secrets, and the results belong to other modules.
    json.dump(dict(response, changed=False), sys.stdout)
    raise SystemExit(0)


if __name__ == "__main__":
    main()
