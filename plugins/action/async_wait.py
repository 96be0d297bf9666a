# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import functools
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import is_batch_id
from ansible_collections.inflight.jobs.plugins.modules.async_wait import ARGUMENT_SPEC
from ansible_collections.inflight.jobs.plugins.plugin_utils._cancelling import end_jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import Contact, refuse_other_platforms
from ansible_collections.inflight.jobs.plugins.plugin_utils._interrupt import before_the_end
from ansible_collections.inflight.jobs.plugins.plugin_utils._progress import Progress, open_job_log
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import NotAJob, Record, job_records, shown
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption, WaitOptions
from ansible_collections.inflight.jobs.plugins.plugin_utils._waiting import Wait, result_of

display = Display()


class ActionModule(ActionBase):
    """Waits for background jobs. Its documentation and its half on the host are plugins/modules/async_wait.py."""

    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        del tmp  # tmp no longer has any effect
        arguments = self.validate_argument_spec(ARGUMENT_SPEC, mutually_exclusive=[["jobs", "batch"]])[1]
        refuse_other_platforms(self._connection, "async_wait")
        no_log = bool(self._task.no_log)
        with contextlib.ExitStack() as open_files:
            try:
                wait = self._wait(arguments, task_vars or {}, no_log, open_files)
            except (BadOption, NotAJob) as ex:
                # Core shows the message even with no_log, and there are values in it.
                raise AnsibleActionFail("An option is wrong; no_log hides which" if no_log else str(ex)) from None
            if wait.cancels_on_interrupt:
                open_files.enter_context(before_the_end(wait.interrupted))
            wait.run()
            wait.clean_up()
        result.update(result_of(wait, no_log))
        return result

    def _wait(
        self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any], no_log: bool, open_files: contextlib.ExitStack
    ) -> Wait:
        """Everything that can be wrong with the options shows here, before the host is asked for anything."""
        host = str(task_vars.get("inventory_hostname", ""))
        options = WaitOptions.from_arguments(arguments, given=self._task.args, check_mode=self._task.check_mode)
        if arguments["batch"] is not None and not is_batch_id(arguments["batch"]):
            raise BadOption(f"batch is {shown(arguments['batch'])}: it is not the id of a batch")
        records = self._records(arguments)
        job_log = None
        if arguments["job_log"] and not self._task.check_mode:
            path = self._loader.path_dwim(arguments["job_log"])
            job_log = open_job_log(path, host, no_log, open_files)
        return Wait(
            records,
            options,
            self._contact("async_wait", task_vars),
            Progress(display, host, lines=arguments["progress"], no_log=no_log, job_log=job_log),
            async_dir=str(self.get_shell_option("async_dir", default="~/.ansible_async")),
            batch=arguments["batch"],
            end_jobs=functools.partial(end_jobs, self._contact("async_cancel", task_vars)),
        )

    def _contact(self, module: str, task_vars: dict[str, t.Any]) -> Contact:
        execute = functools.partial(self._execute_module, module_name=f"inflight.jobs.{module}", task_vars=task_vars)
        return Contact(execute, self._connection)

    def _records(self, arguments: dict[str, t.Any]) -> list[Record] | None:
        """The jobs of the task; None where it names none, which means all that run, or all of the batch."""
        given = {"jobs", "jid"}.intersection(self._task.args)
        return job_records(arguments["jobs"], arguments["label"]) if given else None
