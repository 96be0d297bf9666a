# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.inflight.jobs.plugins.plugin_utils._batch import Batch, result_of
from ansible_collections.inflight.jobs.plugins.plugin_utils._batch_tasks import BadTask
from ansible_collections.inflight.jobs.plugins.plugin_utils._batches import BatchError
from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import refuse_mitogen, refuse_other_platforms
from ansible_collections.inflight.jobs.plugins.plugin_utils._payloads import UnknownCore
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption

display = Display()


class ActionModule(ActionBase):
    """Runs a batch of jobs. Its documentation and its half on the host are plugins/modules/async_batch.py."""

    _supports_async = False
    _supports_check_mode = True

    @classmethod
    def finalize_task_arg(cls, name: str, value: t.Any, templar: t.Any, context: t.Any) -> t.Any:
        """Keep core from templating tasks, which hold loop variables that have no value yet.

        Core calls this experimental. Without it a task with {{ item }} fails before it gets here.
        """
        return value if name == "tasks" else super().finalize_task_arg(name, value, templar, context)

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        del tmp  # tmp no longer has any effect
        refuse_other_platforms(self._connection, "async_batch")
        refuse_mitogen(self._connection, "async_batch")
        no_log = bool(self._task.no_log)
        with contextlib.ExitStack() as open_files:
            try:
                batch = Batch(self, display, task_vars or {}, open_files)
            except (BadOption, BadTask, BatchError, UnknownCore) as ex:
                # Core shows the message even with no_log, and there are values in it.
                raise AnsibleActionFail("An option is wrong; no_log hides which" if no_log else str(ex)) from None
            batch.run()
        result.update(result_of(batch))
        return result
