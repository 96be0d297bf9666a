# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Options that select jobs, which the plugins that list, stop and delete jobs have in common.
# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """What ansible-doc puts in for extends_documentation_fragment."""

    DOCUMENTATION = r"""
options:
  jobs:
    description:
      - Which jobs are meant. This may be anything that a task with C(async) registered, with or without a loop, a list
        of such variables, what a plugin of this collection returned, one job id, or a list of job ids.
      - Every job is looked for where its launch says that its job file is. For a bare job id this is the job directory
        of the host (the C(async_dir) option of the shell plugin).
      - Without this option, all jobs of the job directory of the host are meant.
      - The other options choose among these. A job has to meet all of those that are given.
    type: raw
    aliases: [jid]
  batch:
    description: Only jobs of the batch with this O(inflight.jobs.async_batch#module:id).
    type: str
  state:
    description: Only jobs in one of these states.
    type: list
    elements: str
    choices: [succeeded, failed, timed_out, cancelled, lost, missing, unreadable, not_started, running, queued]
  name:
    description:
      - Only jobs whose name or job id matches this shell pattern, such as V(dump *). A job that no
        M(inflight.jobs.async_batch) started has no other name than its id.
    type: str
  older_than:
    description:
      - Only jobs that ended at least so long ago, or started so long ago if they have not ended.
      - A number of seconds, or a number with one of C(s), C(m), C(h), C(d) and C(w) behind it, such as V(90), V(2h) or
        V(7d). Ages go by the clock of the host.
    type: raw
  newer_than:
    description:
      - Only jobs that ended at most so long ago, or started so long ago if they have not ended. As O(older_than).
    type: raw
"""
