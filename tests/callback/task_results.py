# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A callback that writes the result of every task as one line of JSON, for the tests to read: see support.py.

from __future__ import annotations

import json
import os
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_results
type: notification
short_description: writes results of tasks for the tests
description: Appends the result of every task to the file that the environment variable TASK_RESULTS names.
"""


class CallbackModule(CallbackBase):
    """Writes what a task returned, as the callbacks of users see it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "task_results"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, outcome: t.Any, failed: bool = False) -> None:
        result = outcome.result if hasattr(outcome, "result") else outcome._result
        host = outcome.host if hasattr(outcome, "host") else outcome._host
        entry = {
            "host": host.get_name(),
            "task": outcome.task_name,
            "result": {**result, "failed": failed},
        }
        line = json.dumps(entry, default=str)
        with open(os.environ["TASK_RESULTS"], "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._write(result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._write(result, failed=True)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._write(result)
