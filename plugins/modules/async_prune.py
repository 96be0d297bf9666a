#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: async_prune
short_description: Remove the job files of background jobs that have ended
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Removes the job files that background jobs have left on a host, with their results. Background jobs are tasks with
    C(async) and a C(poll) of 0, and the jobs of M(inflight.jobs.async_batch).
  - The job file of a job that runs or waits for its turn is never removed, however old it is, nor one of which that
    cannot be ruled out.
  - O(jobs), O(batch), O(state) and O(name) tell which jobs it is about. Of these, the newest O(keep_last) stay. Of the
    others, those go that O(older_than) and O(newer_than) tell. Then O(max_total_mb) may take more. A job is as old as
    the last change of its job file.
  - Without any option, job files that are older than a week are removed.
  - With the last job file of a batch goes all that is left of the batch. Before that, what its removed jobs left goes
    with them. As long as the supervisor of a batch lives, nothing is removed but job files.
  - When none of O(jobs), O(batch), O(name) and O(newer_than) is given, what is left of batches whose job files were
    removed in another way goes too, once it is older than O(older_than) and than an hour.
  - Other files, symbolic links, and files of other users are left alone.
extends_documentation_fragment:
  - inflight.jobs.selection
options:
  batch:
    description:
      - Only jobs of the batch with this O(inflight.jobs.async_batch#module:id). If there is none, there is nothing to
        remove.
    type: str
  state:
    description: Only jobs that have ended in one of these states.
    type: list
    elements: str
    choices: [succeeded, failed, timed_out, cancelled, lost, unreadable]
    default: [succeeded, failed, timed_out, cancelled, lost, unreadable]
  older_than:
    description:
      - Only jobs whose job file was last changed at least so long ago, which for most is when they ended. V(0) stands
        for any age.
      - A number of seconds, or a number with one of C(s), C(m), C(h), C(d) and C(w) behind it, such as V(90), V(2h) or
        V(7d). Ages go by the clock of the host.
      - This holds for jobs that are named in O(jobs) as well.
    type: raw
    default: 7d
  newer_than:
    description:
      - Only jobs whose job file was last changed at most so long ago. As O(older_than), which must be shorter.
    type: raw
  keep_last:
    description:
      - So many job files stay in any case. These are the newest of the jobs that meet O(jobs), O(batch), O(state) and
        O(name), whatever their age.
    type: int
    default: 0
  max_total_mb:
    description:
      - How many megabytes (of 1,000,000 bytes) may be left of the job files of those jobs that meet O(jobs), O(batch),
        O(state) and O(name). As long as it is more, the oldest of them are removed as well, whatever O(older_than) and
        O(newer_than) say. O(keep_last) counts for more than this.
      - Without it, there is no such limit.
    type: float
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
    details:
      - Tells what would be removed, and removes nothing.
  delegation:
    description: Can be used with C(delegate_to).
    support: full
    details:
      - Removes the job files of that host.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
    details:
      - What was removed is returned.
  idempotent:
    description: Changes nothing when it is run again.
    support: full
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs Python 3.8 or newer on the host and nothing else. On Windows hosts and over network connections it is refused.
  - A job whose job file is removed counts as V(missing) for whoever asks for it later.
seealso:
  - module: inflight.jobs.async_info
  - module: inflight.jobs.async_wait
  - module: inflight.jobs.async_batch
  - module: ansible.builtin.async_status
"""

EXAMPLES = r"""
- name: Remove the job files of jobs that ended more than a week ago
  inflight.jobs.async_prune:

- name: Keep the last hundred jobs of the last month, and no more than 500 MB of them
  inflight.jobs.async_prune:
    older_than: 30d
    keep_last: 100
    max_total_mb: 500

- name: Remove what jobs left that did not succeed, whatever its age
  inflight.jobs.async_prune:
    state: [failed, timed_out, cancelled, lost, unreadable]
    older_than: 0

- name: Remove a batch that has ended
  inflight.jobs.async_prune:
    batch: nightly
    older_than: 0

- name: Remove all but the last three dumps
  inflight.jobs.async_prune:
    name: dump *
    older_than: 0
    keep_last: 3
"""

RETURN = r"""
jobs:
  description:
    - The jobs whose job files were removed, or would be in check mode, in the order of O(jobs). Without O(jobs), the
      one whose job file was changed longest ago comes first.
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
        - V(succeeded), V(failed), V(timed_out), V(cancelled), V(lost) or V(unreadable), as
          M(inflight.jobs.async_wait) tells them. Never V(queued), V(running), V(missing) or V(not_started).
      type: str
      sample: succeeded
    started:
      description: Whether it was started.
      type: bool
      sample: true
    finished:
      description: Whether it has ended, which is so for all of them.
      type: bool
      sample: true
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
      sample: "2026-11-21T02:45:42.811Z"
    elapsed:
      description: How long it ran, in seconds. Null where that is not known.
      type: float
      sample: 17.25
    attempts:
      description: How many times it was started, as far as that is known.
      type: int
      sample: 1
    results_file:
      description: The job file on the host, which is gone.
      type: str
      sample: /var/lib/deploy/.ansible_async/j123456789012.4711
    msg:
      description: Why it did not succeed, in one line, or the message of its module.
      type: str
      sample: ""
    batch:
      description: The id of the batch that it belongs to, or the number of the batch if that has no id.
      returned: for jobs of a batch
      type: str
      sample: nightly
removed:
  description: How many job files were removed, or would be in check mode.
  returned: always
  type: int
  sample: 12
freed_bytes:
  description: How many bytes were in the files that were removed, or would be in check mode.
  returned: always
  type: int
  sample: 3412345
msg:
  description: How many job files were removed, and how much that freed.
  returned: always
  type: str
  sample: removed 12 job files, 3.4 MB
"""

import json
import sys
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectoryError
from ansible_collections.inflight.jobs.plugins.module_utils._prune import STATES, Prune

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "jobs": {"type": "raw", "aliases": ["jid"]},
    "batch": {"type": "str"},
    "state": {"type": "list", "elements": "str", "choices": list(STATES), "default": list(STATES)},
    "name": {"type": "str"},
    "older_than": {"type": "raw", "default": "7d"},
    "newer_than": {"type": "raw"},
    "keep_last": {"type": "int", "default": 0},
    "max_total_mb": {"type": "float"},
}


def main() -> None:
    module = AnsibleModule(
        # It travels as one text: neither the log of the host nor the masking of secrets has to go through it.
        argument_spec=dict(ARGUMENT_SPEC, _request={"type": "str", "no_log": True}),
        supports_check_mode=True,
    )
    if not module.params["_request"]:
        module.fail_json(msg="inflight.jobs.async_prune is run by its action plugin, not as a module of its own.")
    began = time.monotonic()
    try:
        request = json.loads(module.params["_request"])
        response = Prune(request, module.run_command, only_look=module.check_mode).run()
    except (JobDirectoryError, BatchError) as ex:
        module.fail_json(msg=str(ex))
    response["remarks"] = list(dict.fromkeys(response["remarks"]))
    # Not exit_json: it would go through all reports in search of secrets, and those belong to other modules.
    json.dump(dict(response, took=time.monotonic() - began), sys.stdout)
    raise SystemExit(0)


if __name__ == "__main__":
    main()
