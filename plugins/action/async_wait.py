# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import functools
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.connection import NetworkConnectionBase
from ansible.utils.display import Display

from ansible_collections.inflight.jobs.plugins.modules.async_wait import ARGUMENT_SPEC
from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import Contact
from ansible_collections.inflight.jobs.plugins.plugin_utils._progress import JobLog, Progress
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import NotAJob, Record, job_records
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
        arguments = self.validate_argument_spec(ARGUMENT_SPEC)[1]
        self._refuse_other_platforms()
        no_log = bool(self._task.no_log)
        with contextlib.ExitStack() as open_files:
            try:
                wait = self._wait(arguments, task_vars or {}, no_log, open_files)
            except (BadOption, NotAJob) as ex:
                # Core shows the message even with no_log, and there are values in it.
                raise AnsibleActionFail("An option is wrong; no_log hides which" if no_log else str(ex)) from None
            wait.run()
            wait.clean_up()
        result.update(result_of(wait, no_log))
        return result

    def _refuse_other_platforms(self) -> None:
        if isinstance(self._connection, NetworkConnectionBase):
            raise AnsibleActionFail(
                f"async_wait does not work over the connection {self._connection.transport}: "
                "modules for such devices run on the controller, so delegate the task to localhost"
            )
        if getattr(self._connection._shell, "_IS_WINDOWS", False):
            raise AnsibleActionFail("async_wait does not support Windows hosts: use ansible.builtin.async_status there")

    def _wait(
        self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any], no_log: bool, open_files: contextlib.ExitStack
    ) -> Wait:
        """Everything that can be wrong with the options shows here, before the host is asked for anything."""
        host = str(task_vars.get("inventory_hostname", ""))
        options = WaitOptions.from_arguments(arguments, given=self._task.args, check_mode=self._task.check_mode)
        records = self._records(arguments)
        job_log = None
        if arguments["job_log"] and not self._task.check_mode:
            path = self._loader.path_dwim(arguments["job_log"])
            try:
                job_log = open_files.enter_context(JobLog(path, host, anonymous=no_log))
            except OSError as ex:
                raise BadOption(f"job_log: cannot write to {path}: {ex.strerror}") from ex
        return Wait(
            records,
            options,
            Contact(
                functools.partial(self._execute_module, module_name="inflight.jobs.async_wait", task_vars=task_vars),
                self._connection,
            ),
            Progress(display, host, lines=arguments["progress"], no_log=no_log, job_log=job_log),
            async_dir=str(self.get_shell_option("async_dir", default="~/.ansible_async")),
        )

    def _records(self, arguments: dict[str, t.Any]) -> list[Record] | None:
        """The jobs of the task; None where it names none, which means all that run."""
        given = {"jobs", "jid"}.intersection(self._task.args)
        return job_records(arguments["jobs"], arguments["label"]) if given else None
