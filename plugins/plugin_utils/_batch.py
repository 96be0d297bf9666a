# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# One batch from options to result: its jobs, the order to the host, and the wait for them.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import dataclasses
import functools
import secrets
import typing as t

from ansible.errors import AnsibleError

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.modules.async_batch import ARGUMENT_SPEC
from ansible_collections.inflight.jobs.plugins.plugin_utils import _batches, _waiting
from ansible_collections.inflight.jobs.plugins.plugin_utils._batch_options import BatchOptions
from ansible_collections.inflight.jobs.plugins.plugin_utils._batch_tasks import BatchJob, batch_jobs, checked_tasks
from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import Contact
from ansible_collections.inflight.jobs.plugins.plugin_utils._launching import BatchHost, order_text, start_order
from ansible_collections.inflight.jobs.plugins.plugin_utils._payloads import Payloads
from ansible_collections.inflight.jobs.plugins.plugin_utils._progress import Progress, open_job_log
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import (
    Record,
    jobs_of,
    new_record,
    one_line,
    reason_of,
    with_state,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import WaitOptions

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.plugins.action import ActionBase
    from ansible.utils.display import Display

_MODULE = "inflight.jobs.async_batch"


class Batch:
    """One batch on one host.

    wait: the wait for its jobs. waits: whether anybody waits for them.
    """

    def __init__(
        self, action: ActionBase, display: Display, task_vars: dict[str, t.Any], open_files: contextlib.ExitStack
    ) -> None:
        """Everything that can be wrong with the options and the tasks shows here, before anything is started.

        :raises BadOption: when an option makes no sense; BadTask, BatchError, UnknownCore likewise.
        """
        task = action._task
        tasks = checked_tasks(task.args.get("tasks"))
        # Before the argument spec, which would cut a string into a list.
        items = None if task.args.get("items") is None else _batches.as_items(task.args["items"])
        arguments = action.validate_argument_spec(ARGUMENT_SPEC)[1]
        given = task.args
        self.no_log = bool(task.no_log)
        self.diff = bool(task.diff)
        self.waits = bool(arguments["wait"])
        options = BatchOptions.from_arguments(arguments, given)
        if task.check_mode:
            # A run that does the work must not take what ran in check mode for done, nor the other way round.
            options = dataclasses.replace(options, id=None, on_existing="attach", rerun="all")
        wait_options = WaitOptions.for_batch(arguments)
        host = str(task_vars.get("inventory_hostname", ""))
        job_log, runs = None, []
        if arguments["job_log"]:
            path = action._loader.path_dwim(arguments["job_log"])
            runs = _batches.logged_runs(path, display.warning)
            if not task.check_mode:
                job_log = open_job_log(path, host, self.no_log, open_files)
        jobs = batch_jobs(action, task_vars, tasks, items, arguments["loop_var"])
        order = start_order(jobs, items, arguments["durations"], runs, host)
        number = f"j{secrets.randbelow(10**12)}"
        self._jobs_by_key = {job.key: job for job in jobs}
        self._jobs = {f"{number}.{index}": job for index, job in enumerate(jobs)}
        ask = functools.partial(action._execute_module, task_vars=task_vars)

        def start(module_args: dict[str, t.Any]) -> dict[str, t.Any]:
            # Its argument spec asks for tasks; what there is of them is in the order.
            return t.cast("dict[str, t.Any]", ask(module_name=_MODULE, module_args={"tasks": [], **module_args}))

        self._host = BatchHost(
            Contact(start, action._connection),
            Contact(functools.partial(ask, module_name="inflight.jobs.async_wait"), action._connection),
            order_text(number, jobs, order, options, Payloads(action, _MODULE, task_vars), no_log=self.no_log),
            {job.key: job.name for job in jobs},
        )
        records = [
            new_record(jid, _jobs.QUEUED, name=job.name, item=job.item, attempts=0) for jid, job in self._jobs.items()
        ]
        self.wait = _waiting.Wait(
            records,
            wait_options,
            self._host,
            Progress(display, host, lines=arguments["progress"], no_log=self.no_log, job_log=job_log),
            async_dir=str(action.get_shell_option("async_dir", default="~/.ansible_async")),
            judge=self._judge,
        )

    @property
    def started(self) -> bool:
        """Whether the host has taken the jobs, if there are any."""
        return self._host.started or not self.wait.records

    def run(self) -> None:
        """Start the jobs, and wait for them if that was asked for."""
        if not self.wait.records:
            return
        if self.waits:
            self.wait.run()
            self.wait.clean_up()
        else:
            self.wait.look()
        if not self.started:
            for record in self.wait.records:
                record["msg"] = self.wait.problem
                with_state(record, _jobs.NOT_STARTED)

    def _judge(self, record: Record) -> None:
        """Apply changed_when and failed_when to a job that has ended with a result."""
        job = self._job_of(record)
        if job is None or record["state"] not in (_jobs.SUCCEEDED, _jobs.FAILED):
            return
        try:
            changed, failed = job.conditions.judge(record["result"])
        except AnsibleError as ex:
            record["msg"] = f"changed_when or failed_when cannot be evaluated: {one_line(ex)}"
            with_state(record, _jobs.FAILED)
            return
        if changed is not None:
            record["changed"] = changed
        if failed is not None:
            with_state(record, _jobs.FAILED if failed else _jobs.SUCCEEDED)
            if not failed:
                record["msg"] = reason_of(record["result"], record["state"])
            elif not record["msg"]:
                record["msg"] = "failed_when is true"

    def _job_of(self, record: Record) -> BatchJob | None:
        jid = record["ansible_job_id"]
        return self._jobs.get(jid) or self._jobs_by_key.get(self._host.keys.get(jid, ""))


def result_of(batch: Batch) -> dict[str, t.Any]:
    """What the task returns."""
    wait = batch.wait
    result = _waiting.result_of(wait, batch.no_log)
    if not batch.started:
        result["msg"] = wait.problem  # the same of every job
    elif not batch.waits and not wait.problem:
        result.update(failed=False, changed=bool(wait.records), msg=f"{jobs_of(len(wait.records))} started")
    if batch.diff:
        diffs = [(record["result"] or {}).get("diff") for record in wait.records]
        result["diff"] = [one for diff in diffs if diff for one in (diff if isinstance(diff, list) else [diff])]
    return result
