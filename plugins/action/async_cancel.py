# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.inflight.jobs.plugins.modules.async_cancel import ARGUMENT_SPEC
from ansible_collections.inflight.jobs.plugins.plugin_utils import _contact
from ansible_collections.inflight.jobs.plugins.plugin_utils._cancelling import cancel, manner_of, result_of
from ansible_collections.inflight.jobs.plugins.plugin_utils._listing import options_checked
from ansible_collections.inflight.jobs.plugins.plugin_utils._selection import Selection

display = Display()


class ActionModule(ActionBase):
    """Ends background jobs. Its documentation and its half on the host are plugins/modules/async_cancel.py."""

    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        del tmp  # tmp no longer has any effect
        arguments = self.validate_argument_spec(ARGUMENT_SPEC)[1]
        _contact.refuse_other_platforms(self._connection, "async_cancel")
        with options_checked(self._task.no_log):
            selection = Selection(arguments, given=self._task.args)
            manner = manner_of(arguments, given=self._task.args)
        request = {**selection.request(str(self.get_shell_option("async_dir", default="~/.ansible_async"))), **manner}
        execute = functools.partial(self._execute_module, module_name="inflight.jobs.async_cancel", task_vars=task_vars)
        records, response = cancel(execute, self._connection, request, selection, display.warning)
        try:
            result.update(result_of(records, response, bool(self._task.check_mode), no_log=bool(self._task.no_log)))
        except _contact.CheckFailed as ex:
            raise AnsibleActionFail(ex.sentence) from ex
        return result
