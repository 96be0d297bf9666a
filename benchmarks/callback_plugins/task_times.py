# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: task_times
type: aggregate
short_description: Write the beginning and the end of every task to a file
description:
  - One line of JSON for each, with the name of the task and the seconds of the epoch.
options:
  path:
    description: The file.
    type: str
    required: true
    env:
      - name: TASK_TIMES
"""

import json
import time
import typing as t

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, event: str, name: str) -> None:
        with open(self.get_option("path"), "a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "task": name, "time": time.time()}) + "\n")

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:  # noqa: ARG002
        self._write("start", task.get_name())

    def v2_runner_on_ok(self, result: t.Any) -> None:
        # 2.19 has task in place of _task.
        self._write("end", (getattr(result, "task", None) and result.task.get_name()) or result._task.get_name())
