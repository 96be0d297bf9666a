# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.inflight.jobs.plugins.modules.show_jobs import ARGUMENT_SPEC
from ansible_collections.inflight.jobs.plugins.plugin_utils._table import table

display = Display()

# Of kinds of lines.
_COLORS = {"good": "COLOR_OK", "bad": "COLOR_ERROR", "unreachable": "COLOR_UNREACHABLE", "open": "COLOR_CHANGED"}


class ActionModule(ActionBase):
    """Shows a table of jobs. Its documentation is in plugins/modules/show_jobs.py."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        del tmp  # tmp no longer has any effect
        task_vars = task_vars or {}
        name = self.validate_argument_spec(ARGUMENT_SPEC)[1]["registered"]
        if not name.isidentifier():
            raise AnsibleActionFail(f"registered is {name!r}: it must be the name of a variable that a task registered")
        variables = task_vars.get("hostvars", {})
        hosts = task_vars.get("ansible_play_hosts_all") or [task_vars.get("inventory_hostname")]
        found = {host: variables[host].get(name) if host in variables else None for host in hosts}
        lines = table(found, display.columns or 79, time.time())
        for line in lines:
            color = _COLORS.get(line.kind)
            display.display(line.text, color=getattr(C, color) if color else None)
        result.update(msg=lines[-1].text, changed=False)
        return result
