# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.inflight.jobs.plugins.modules.async_info import ARGUMENT_SPEC
from ansible_collections.inflight.jobs.plugins.plugin_utils import _contact
from ansible_collections.inflight.jobs.plugins.plugin_utils._listing import message_of, options_checked, survey
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import summary_of
from ansible_collections.inflight.jobs.plugins.plugin_utils._selection import Selection
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import lines_of

display = Display()


class ActionModule(ActionBase):
    """Lists background jobs. Its documentation and its half on the host are plugins/modules/async_info.py."""

    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        del tmp  # tmp no longer has any effect
        arguments = self.validate_argument_spec(ARGUMENT_SPEC)[1]
        _contact.refuse_other_platforms(self._connection, "async_info")
        with options_checked(self._task.no_log):
            selection = Selection(arguments, given=self._task.args)
            tail = lines_of(arguments["tail"])
        request = selection.request(str(self.get_shell_option("async_dir", default="~/.ansible_async")))
        request.update(results=arguments["results"], tail=tail)
        execute = functools.partial(self._execute_module, module_name="inflight.jobs.async_info", task_vars=task_vars)
        wanted = arguments["results"]
        records, dummy = survey(execute, self._connection, request, selection, display.warning, results=wanted)
        result.update(jobs=records, summary=summary_of(records), msg=message_of(records), changed=False)
        return result
