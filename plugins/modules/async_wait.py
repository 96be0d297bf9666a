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
  timeout:
    description:
      - How long to wait, in seconds. The jobs that run at the end of it are left running.
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
      cancel: End the others. Refused in this version, which cannot end jobs yet.
    default: wait
  on_timeout:
    description: What happens to the jobs that still run when the O(timeout) has passed.
    type: str
    choices:
      leave: They run on.
      cancel: They are ended. Refused in this version, which cannot end jobs yet.
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

import contextlib
import datetime
import json
import os
import sys
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs, _notify, _processes

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "jobs": {"type": "raw", "aliases": ["jid"]},
    "timeout": {"type": "float", "default": 0},
    "until": {"type": "raw", "default": "all"},
    "on_failure": {"type": "str", "choices": ["wait", "stop", "cancel"], "default": "wait"},
    "on_timeout": {"type": "str", "choices": ["leave", "cancel"], "default": "leave"},
    "hold": {"type": "float", "default": 30},
    "poll": {"type": "float", "default": 10},
    "unreachable_timeout": {"type": "float", "default": 300},
    "label": {"type": "str"},
    "cleanup": {"type": "bool", "default": False},
    "progress": {"type": "bool", "default": True},
    "job_log": {"type": "path"},
}

# How often to see whether the jobs live, and to look at files that changed in a way that inotify does not see (on a
# network file system).
LOOK_EVERY = 1.0
# How long the news that a job is lost may wait. Ten seconds after its death it has to be told; core's watcher, by which
# the job seems to live, may take five of them to notice.
LOST_LINGER = 1.0
# How often to look at the files where there is no inotify.
BLIND_LOOK_EVERY = 0.1
# No more than this part of a CPU goes into looking.
LOOK_SHARE = 0.005
# One check brings so many bytes of results at the most (and at least one result): the others follow with the next.
MAX_REPORT_BYTES = 8 * 1024 * 1024


class Job:
    """One job that is waited for.

    directory: its job directory. places: where that stands in the request, which may name one directory in two ways.
    began: moment of its start on the boot clock and as an ISO 8601 string, once it was seen running. look: what the
    last look at its file found.
    """

    def __init__(self, directory: _jobs.JobDirectory, place: int, jid: str, began: list[t.Any] | None) -> None:
        self.directory = directory
        self.places = [place]
        self.jid = jid
        self.began = began
        self.look = _jobs.JobFile(_jobs.RUNNING)
        self._signature: tuple[int, int, int] | None = (0, 0, 0)

    def read(self) -> None:
        """Look at the job file, unless it is still the one that was read before."""
        signature = self.directory.signature(self.jid)
        if self.look.settling or signature is None or signature != self._signature:
            self._signature = signature
            self.look = self.directory.read(self.jid)

    @property
    def has_result(self) -> bool:
        return self.look.text is not None

    def users(self) -> set[int]:
        """Whose processes can be this job's."""
        return {os.geteuid()}.union(user for user in (self.look.owner, self.directory.owner) if user is not None)


class Check:
    """One look at all jobs of a request, with a hold: see DESIGN, section 4.

    The request has these keys: directories (a list of path, and jobs: job id -> began or null), find (whether to take
    all running jobs of the first directory instead), ends (how many ends are asked for, at least 1), stop (whether one
    failure is enough), hold and linger (seconds), delete (a list of pairs of path and job id), boot and looked (from
    the response to the check before).
    """

    def __init__(self, request: dict[str, t.Any], run_command: _processes.RunCommand) -> None:
        self.request = request
        self.boot = _processes.boot_id()
        self.same_boot = request.get("boot") in (None, self.boot)
        self.looked = request.get("looked") if self.same_boot else None
        self.remarks: list[str] = []
        self.ended: list[dict[str, t.Any]] = []
        self.bytes = 0
        self.enough = False
        self.full = False
        self.processes = _processes.JobProcesses(run_command)
        self.pending: dict[tuple[str, str], Job] = {}

    def run(self) -> dict[str, t.Any]:
        """Do what the request asks for, and answer when there is news or the hold is over."""
        started = time.monotonic()
        for path, jid in self.request.get("delete", ()):
            _delete(path, jid)
        paths = self._open()
        # Watch first, look then: nothing that happens in between is missed.
        notifier = _notify.Notifier(paths)
        if self.request.get("find"):
            self._find()
        self._look(self.pending.values())
        self._settle()
        self._hold(notifier)
        return {
            "ended": self.ended,
            "running": [[place, job.jid, job.began] for job in self.pending.values() for place in job.places],
            "more": self.full,
            "boot": self.boot,
            "looked": self.looked,
            "remarks": self.remarks,
            "took": time.monotonic() - started,
        }

    def _open(self) -> list[str]:
        """Open the directories; in one that cannot be used, every job is unreadable for that reason."""
        paths = []
        for place, wanted in enumerate(self.request["directories"]):
            try:
                directory = _jobs.JobDirectory(wanted["path"])
            except _jobs.JobDirectoryError as ex:
                if self.request.get("find"):
                    raise
                for jid in wanted["jobs"]:
                    self._report(place, jid, _jobs.UNREADABLE, reason=str(ex))
                continue
            paths.append(directory.path)
            self.remarks.extend(directory.warnings)
            for jid, began in wanted["jobs"].items():
                job = Job(directory, place, jid, began if self.same_boot else None)
                twin = self.pending.setdefault((directory.path, jid), job)
                if twin is not job:
                    twin.places.append(place)
        return paths

    def _find(self) -> None:
        """Take every job of the directory that runs, whoever started it; ones that are long dead are none of ours."""
        directory = _jobs.JobDirectory(self.request["directories"][0]["path"])
        jobs = {jid: Job(directory, 0, jid, None) for jid in directory.running()}
        for job in jobs.values():
            job.read()
        living = self.processes.living(jobs, lambda jid: jobs[jid].users())
        for jid, job in jobs.items():
            if jid in living or job.has_result or not self._can_know(job):
                self.pending[directory.path, jid] = job

    def _hold(self, notifier: _notify.Notifier) -> None:
        """Stay until what is asked for is there, the hold is over, or news has waited for long enough."""
        started = time.monotonic()
        until = started + self.request["hold"]
        look_at = started + LOOK_EVERY
        pause = BLIND_LOOK_EVERY
        while self.pending and not self.enough:
            now = time.monotonic()
            if self.ended:
                lost = any(report["state"] == _jobs.LOST for report in self.ended)
                until = min(until, now + self.request["linger"], now + (LOST_LINGER if lost else float("inf")))
            if now >= until:
                return
            changed = notifier.wait(min(until, look_at) - now, pause)
            now = time.monotonic()
            if changed is None or now >= look_at:
                self._look(self.pending.values())
                if now >= look_at:
                    self._settle()
                    cost = time.monotonic() - now
                    look_at = time.monotonic() + max(LOOK_EVERY, cost / LOOK_SHARE)
                pause = max(BLIND_LOOK_EVERY, (time.monotonic() - now) / LOOK_SHARE)
            else:
                self._look(self.pending[one] for one in changed if one in self.pending)

    def _look(self, jobs: t.Iterable[Job]) -> None:
        """Read these job files, and report those that hold a result."""
        for job in list(jobs):
            job.read()
            if job.has_result:
                self._end(job)
                if self.full:
                    return
        self.looked = _processes.boot_clock()

    def _settle(self) -> None:
        """Decide, for jobs without a result, whether they live."""
        if not self.pending or self.full:
            return
        by_id = {job.jid: job for job in self.pending.values()}
        living = self.processes.living(by_id, lambda jid: by_id[jid].users())
        for job in list(self.pending.values()):
            if job.jid in living:
                self._began(job, living[job.jid].started)
                continue
            # It may have ended, with its result written, between the look at its file and the look for its process.
            job.look = job.directory.read(job.jid)
            if job.has_result or job.look.state != _jobs.RUNNING:
                self._end(job)
            elif not job.look.settling and self._can_know(job):
                job.look = job.look._replace(state=_jobs.LOST, reason="no process and no result")
                self._end(job)
            else:
                self._began(job, None)

    def _can_know(self, job: Job) -> bool:
        """Whether we would see a process of this job if there were one."""
        return self.processes.sees_all or job.look.owner == os.geteuid()

    def _began(self, job: Job, started: float | None) -> None:
        """Remember when a job that runs was started: when its process was, else when its job file was written."""
        if job.began is None:
            now, wall = _processes.boot_clock(), time.time()
            if started is None:
                if job.look.modified is None:
                    return
                started = now - max(0.0, wall - job.look.modified)
            job.began = [started, _iso(wall - (now - started))]

    def _end(self, job: Job) -> None:
        """Take a job out of those that are waited for, and report how it ended."""
        self.pending.pop((job.directory.path, job.jid))
        reason = job.look.reason
        if not job.has_result and job.directory.is_full():
            reason += f"; the filesystem of {job.directory.path} is full"
        fields = {"reason": reason, "text": job.look.text, "results_file": job.directory.file(job.jid)}
        if job.began is not None:
            fields["started_at"] = job.began[1]
        if job.look.text is not None and job.look.modified is not None:
            fields["ended_at"] = _iso(job.look.modified)
            if job.began is not None:
                # How long ago it ended is taken from the time of day, which can jump; so it is kept within what we
                # know: it was running when we last looked.
                now = _processes.boot_clock()
                ago = max(0.0, min(time.time() - job.look.modified, now - (self.looked or now)))
                fields["elapsed"] = round(max(0.0, now - ago - job.began[0]), 3)
        for place in job.places:
            self._report(place, job.jid, job.look.state, **fields)

    def _report(self, place: int, jid: str, state: str, **fields: t.Any) -> None:
        self.ended.append(dict(fields, place=place, jid=jid, state=state))
        self.bytes += len(fields.get("text") or "")
        self.full = self.bytes >= MAX_REPORT_BYTES
        failure = self.request["stop"] and state != _jobs.SUCCEEDED
        self.enough = self.enough or self.full or failure or len(self.ended) >= self.request["ends"]


def _delete(path: str, jid: str) -> None:
    # In a directory that is refused nothing is touched; its jobs were reported as unreadable.
    with contextlib.suppress(_jobs.JobDirectoryError):
        _jobs.JobDirectory(path).delete(jid)


def _iso(moment: float) -> str:
    """Seconds of the epoch as an ISO 8601 UTC string with milliseconds."""
    there = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc)
    return there.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
    except _jobs.JobDirectoryError as ex:
        module.fail_json(msg=str(ex))
    # Not exit_json: it would go through all results in search of secrets, and the results belong to other modules.
    json.dump(dict(response, changed=False), sys.stdout)
    raise SystemExit(0)


if __name__ == "__main__":
    main()
