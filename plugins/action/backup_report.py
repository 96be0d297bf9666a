# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.inflight.jobs.plugins.modules.backup_report import ARGUMENT_SPEC
from ansible_collections.inflight.jobs.plugins.plugin_utils._backup_report import report_of
from ansible_collections.inflight.jobs.plugins.plugin_utils._backup_report_text import told
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_files import deliver, target_of


class ActionModule(ActionBase):
    """Writes one report of the backups of many hosts. Its documentation is in plugins/modules/backup_report.py."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        del tmp  # tmp no longer has any effect
        arguments = self.validate_argument_spec(ARGUMENT_SPEC)[1]
        target = target_of(arguments, "backup", self._loader, self._task.check_mode, self._task.no_log)
        report = report_of(arguments["results"], arguments["title"], time.time(), target.check_mode)
        result.update(deliver(told(report, map(str, arguments["results"])), target))
        return result
