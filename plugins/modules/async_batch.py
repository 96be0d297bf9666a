#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: async_batch
short_description: Run tasks over many items, so many at a time, in one round trip
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Runs every task for every item as a background job on the host, at most O(concurrency) of them at once, and returns
    the result of every one. As soon as one ends the next one starts; no job waits for a whole batch of others.
  - All jobs go to the host in one round trip. Modules written in Python are loaded once there and forked for each job,
    which takes milliseconds; other modules are started as they are without a batch.
  - The jobs are ordinary background jobs of Ansible. They live on when the connection or the controller goes away.
    M(ansible.builtin.async_status) sees them, and M(inflight.jobs.async_wait) waits for them from any later playbook.
  - The task fails when a job did not succeed. Even then it returns all that is known.
options:
  tasks:
    description:
      - The tasks, each one module with its arguments, in any form that a playbook takes, and with the keywords C(name),
        C(args), C(environment), C(when), C(changed_when) and C(failed_when). They may use different modules.
      - Without O(items) each task is one job.
      - Everything in them is templated for each item, with all variables of the play. They must be written out here,
        because in a variable they would be templated before there is an item.
      - C(changed_when) and C(failed_when) see the result of the job as C(result).
      - Actions that do a part of their work on the controller, such as M(ansible.builtin.copy) and
        M(ansible.builtin.template), are refused before anything starts. M(ansible.builtin.package),
        M(ansible.builtin.service), M(ansible.builtin.dnf) and M(ansible.builtin.uri) without a file of the controller
        work.
    type: list
    elements: dict
    required: true
  items:
    description:
      - Every task is run once for each of these.
    type: list
    elements: raw
  loop_var:
    description:
      - The name of the variable that holds the item.
    type: str
    default: item
  concurrency:
    description:
      - How many jobs run at once. A number, or a part of the CPUs of the host, like V(50%).
      - As many as the host has CPUs when left out.
    type: raw
  timeout:
    description:
      - How long each job may run, in seconds from its own start. Then all of its processes get a C(SIGTERM), and those
        that are left after O(grace) a C(SIGKILL). The job is reported as V(timed_out).
      - V(0) means no limit.
    type: float
    default: 0
  grace:
    description:
      - How long a job may take to end when it is told to, in seconds.
    type: float
    default: 10
  total_timeout:
    description:
      - How long the batch may take, in seconds from its start. Jobs that run then end as V(timed_out), as with
        O(timeout); jobs that have not started are reported as V(cancelled).
      - V(0) means no limit.
    type: float
    default: 0
  on_failure:
    description:
      - What to do when O(max_failures) jobs have not succeeded.
      - The host decides this. It goes by what the modules say; C(failed_when) is looked at later, on the controller.
    type: str
    choices:
      continue: Run the others.
      drain: Start no more jobs. Those that were not started are reported as V(cancelled).
      cancel: Start no more jobs, and end those that run as well.
    default: continue
  max_failures:
    description:
      - The number of the failure that triggers O(on_failure). A number, or a part of the jobs, like V(10%).
      - The first one when left out.
    type: raw
  retries:
    description:
      - How many times a job that did not succeed is started again. It goes by what the module says, as
        O(on_failure) does.
    type: int
    default: 0
  retry_delay:
    description:
      - The pause before a job is started again, in seconds. It doubles each time. Other jobs run meanwhile.
    type: float
    default: 5
  start_delay:
    description:
      - The pause between two starts, in seconds.
    type: float
    default: 0
  durations:
    description:
      - How long the jobs take, in seconds or any other unit. The longest is started first, so that no long job is left
        over at the end.
      - A dict has the names of jobs as keys. A list has one number for each item. A string is the name of an attribute
        of the items, with dots for nested ones. What is not known counts as the median of the others.
    type: raw
  job_log:
    description:
      - A file on the controller that gets one line of JSON for every job that ended, as with
        O(inflight.jobs.async_wait#module:job_log). Without O(durations), the next run learns from it which jobs to
        start first.
    type: path
  nice:
    description:
      - How much to lower the priority of the jobs for the CPU, from V(-20) to V(19). Only root may raise it.
    type: int
    default: 0
  io_class:
    description:
      - The priority of the jobs for disks. Needs C(ionice) on the host.
    type: str
    choices: [none, best-effort, idle]
    default: none
  id:
    description:
      - A name for the batch on this host. A second run with the same name, from a playbook that was started again or
        from another controller, does not start the work twice. When two come at the same moment, one starts it.
      - M(inflight.jobs.async_wait) takes it as O(inflight.jobs.async_wait#module:batch).
    type: str
  on_existing:
    description:
      - What to do when a batch with this O(id) lives on the host.
    type: str
    choices:
      attach: Wait for it, and return its results.
      fail: Fail.
      replace: End its jobs first.
    default: attach
  rerun:
    description:
      - What to do when a batch with this O(id) has ended on the host.
    type: str
    choices:
      all: Start all jobs.
      failed: Start the jobs that did not succeed, and return the old results of the others. Needs their job files.
    default: all
  wait:
    description:
      - Whether to wait for the jobs. V(false) returns as soon as they are on the host.
    type: bool
    default: true
  hold:
    description:
      - How long the module may stay on the host and wait for news before it comes back, in seconds.
      - V(0) keeps no connection open while jobs run.
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
      - Its jobs are background jobs already; see O(wait).
  become:
    description: Can be used with become.
    support: full
    details:
      - All jobs run as that user.
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - The jobs are run in check mode, as their modules do without a batch. O(id) is not used, and nothing is written
        to O(job_log).
  delegation:
    description: Can be used with C(delegate_to).
    support: full
    details:
      - The jobs run on that host.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: full
    details:
      - Shows what the modules of the jobs show.
  idempotent:
    description: Changes nothing when it is run again.
    support: partial
    details:
      - As far as the modules of the jobs do. See also O(id) and O(rerun).
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs Python 3.8 or newer on the host and nothing else. On Windows hosts, over network connections and under the
    strategies of Mitogen it is refused.
  - The job files, the arguments of modules that are not written in Python, and the names and items of the jobs are kept
    in the job directory of the host (the C(async_dir) option of the shell plugin), where only the user that runs the
    jobs can read them. With C(no_log) on the task, names and items are not.
  - A job that sets C(LANG), C(LC_*), C(LD_*) or C(PYTHON*) in its C(environment) is started in an interpreter of its
    own.
  - Each job finds its id in the environment variable C(INFLIGHT_JOB). By that, and by their session, its processes are
    found when it is ended; a program that a job starts in the background belongs to it.
  - A job may say how far it is. It writes one line to the file that the environment variable C(INFLIGHT_STATUS) names,
    in place of the line before, and M(inflight.jobs.async_wait) shows it with O(inflight.jobs.async_wait#module:tail).
  - When a job has ended by itself, processes that it left in the background live on.
  - A job that was killed is V(lost). When its supervisor on the host was killed, jobs that run end by themselves, and
    those that have not started are V(lost).
seealso:
  - module: inflight.jobs.async_wait
  - module: ansible.builtin.async_status
  - plugin: inflight.jobs.async_jobs
    plugin_type: filter
  - plugin: inflight.jobs.async_summary
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Dump every database, four at a time
  inflight.jobs.async_batch:
    items: "{{ databases }}"
    tasks:
      - name: dump {{ item }}
        ansible.builtin.command: /opt/scripts/backup-db.sh {{ item }}
    concurrency: 4
    timeout: 3600
  register: dumps

- name: Do five different things side by side
  inflight.jobs.async_batch:
    tasks:
      - name: Refresh the package lists
        ansible.builtin.apt:
          update_cache: true
      - name: Load the language files
        ansible.builtin.get_url:
          url: https://example.com/languages.json
          dest: /srv/languages.json
          mode: "0644"
      - name: Rebuild the search index
        ansible.builtin.command: /usr/local/bin/reindex
        environment:
          INDEX_THREADS: "2"
    concurrency: 5

- name: Check many links, try each three times, and count only those as failed that are gone
  inflight.jobs.async_batch:
    items: "{{ links }}"
    tasks:
      - name: "{{ item }}"
        ansible.builtin.uri:
          url: "{{ item }}"
        failed_when: result.status | default(0) == 404
    concurrency: 20
    retries: 2

- name: Convert the videos, the longest first, out of the way of everything else; stop when a tenth has failed
  inflight.jobs.async_batch:
    items: "{{ videos }}"
    tasks:
      - name: convert {{ item.name }}
        ansible.builtin.command:
          argv: [/usr/local/bin/convert, "{{ item.name }}"]
          creates: /srv/converted/{{ item.name }}
    concurrency: 50%
    durations: seconds
    on_failure: drain
    max_failures: 10%
    nice: 19
    io_class: idle

- name: Start a long batch that no second run of this playbook starts again
  inflight.jobs.async_batch:
    id: nightly-{{ ansible_facts['date_time']['date'] }}
    items: "{{ databases }}"
    tasks:
      - name: check {{ item }}
        ansible.builtin.command: /usr/local/bin/check-db {{ item }}
    rerun: failed
    wait: false

- name: Wait for it, here or in another playbook
  inflight.jobs.async_wait:
    batch: nightly-{{ ansible_facts['date_time']['date'] }}
"""

RETURN = r"""
jobs:
  description:
    - The jobs, in the order of O(items), and of O(tasks) for each item. Those whose C(when) is false are left out.
  returned: always
  type: list
  elements: dict
  contains:
    ansible_job_id:
      description: The job id.
      type: str
      sample: j123456789012.4711
    name:
      description:
        - The name of its task. Without one the item, or its C(name), C(label), C(id) or C(key), else the module.
      type: str
      sample: dump users
    item:
      description: Its item. Null without items.
      type: raw
      sample: users
    state:
      description:
        - V(succeeded) or V(failed), as its module or its C(failed_when) says.
        - V(timed_out) when its O(timeout) or the O(total_timeout) passed.
        - V(cancelled) when it was ended, or not started, because of O(on_failure), O(total_timeout), or because another
          run replaced the batch.
        - V(lost) when it was killed, ran out of memory, or the host rebooted; or when its supervisor was killed
          before it started.
        - V(missing) when its job file was deleted.
        - V(unreadable) when its job file is not JSON, is not a regular file of ours, or is larger than 16 MiB.
        - V(not_started) when the batch was not started.
        - V(queued) and V(running) when it has not ended.
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
      description: Whether it changed something, as its module or its C(changed_when) says.
      type: bool
      sample: true
    started_at:
      description:
        - When it started, as ISO 8601 in UTC, by the clock of the host. Of the last
          attempt, if there were several. Null when it was not started.
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
      description: How many times it was started. See O(retries).
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
summary:
  description: How many jobs there are in all (C(total)) and in each state.
  returned: always
  type: dict
  sample:
    {total: 3, succeeded: 2, failed: 1, timed_out: 0, cancelled: 0, lost: 0, missing: 0, unreadable: 0, not_started: 0,
     running: 0, queued: 0}
finished:
  description: Whether all jobs have ended.
  returned: always
  type: bool
  sample: true
elapsed:
  description: How long the task took, in seconds.
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
  sample: "2 of 20 jobs did not succeed: dump users failed (rc 1): disk full; dump orders timed out"
diff:
  description: What the modules of the jobs show in diff mode.
  returned: in diff mode
  type: list
  elements: dict
"""

import json
import sys
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError
from ansible_collections.inflight.jobs.plugins.module_utils._check import Check
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectoryError
from ansible_collections.inflight.jobs.plugins.module_utils._launch import Launcher

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "tasks": {"type": "list", "elements": "dict", "required": True},
    "items": {"type": "list", "elements": "raw"},
    "loop_var": {"type": "str", "default": "item"},
    "concurrency": {"type": "raw"},
    "timeout": {"type": "float", "default": 0},
    "grace": {"type": "float", "default": 10},
    "total_timeout": {"type": "float", "default": 0},
    "on_failure": {"type": "str", "choices": ["continue", "drain", "cancel"], "default": "continue"},
    "max_failures": {"type": "raw"},
    "retries": {"type": "int", "default": 0},
    "retry_delay": {"type": "float", "default": 5},
    "start_delay": {"type": "float", "default": 0},
    "durations": {"type": "raw"},
    "job_log": {"type": "path"},
    "nice": {"type": "int", "default": 0},
    "io_class": {"type": "str", "choices": ["none", "best-effort", "idle"], "default": "none"},
    "id": {"type": "str"},
    "on_existing": {"type": "str", "choices": ["attach", "fail", "replace"], "default": "attach"},
    "rerun": {"type": "str", "choices": ["all", "failed"], "default": "all"},
    "wait": {"type": "bool", "default": True},
    "hold": {"type": "float", "default": 30},
    "poll": {"type": "float", "default": 10},
    "unreachable_timeout": {"type": "float", "default": 300},
    "cleanup": {"type": "bool", "default": False},
    "progress": {"type": "bool", "default": True},
}


def main() -> None:
    # First of all: what comes later must not be found in the interpreter that the jobs are forked from.
    launcher = Launcher()
    module = AnsibleModule(
        # The jobs travel as one text: neither the log of the host nor the masking of secrets has to go through them.
        argument_spec=dict(ARGUMENT_SPEC, _request={"type": "str", "no_log": True}),
        supports_check_mode=True,
    )
    if not module.params["_request"]:
        module.fail_json(msg="inflight.jobs.async_batch is run by its action plugin, not as a module of its own.")
    request = json.loads(module.params["_request"])
    wanted = request["directories"][0]
    try:
        batch = launcher.launch(request["order"], wanted["path"])
        if batch["jobs"] is not None:
            wanted["jobs"] = {job["jid"]: None for job in batch["jobs"]}
        response = Check(request, module.run_command).run()
    except (BatchError, JobDirectoryError) as ex:
        module.fail_json(msg=str(ex))
    # Not exit_json: it would go through all results in search of secrets, and the results belong to other modules.
    json.dump(dict(response, path=batch["path"], jobs=batch["jobs"], changed=True), sys.stdout)
    raise SystemExit(0)


if __name__ == "__main__":
    main()
