# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import math
import typing as t
from collections.abc import Mapping

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.inflight.jobs.plugins.modules.async_prune import ARGUMENT_SPEC
from ansible_collections.inflight.jobs.plugins.plugin_utils import _contact
from ansible_collections.inflight.jobs.plugins.plugin_utils._listing import options_checked, survey
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import Record, shown
from ansible_collections.inflight.jobs.plugins.plugin_utils._selection import Selection, seconds_of
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption

display = Display()


class ActionModule(ActionBase):
    """Removes job files. Its documentation and its half on the host are plugins/modules/async_prune.py."""

    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        del tmp  # tmp no longer has any effect
        arguments = self.validate_argument_spec(ARGUMENT_SPEC)[1]
        _contact.refuse_other_platforms(self._connection, "async_prune")
        with options_checked(self._task.no_log):
            selection = Selection(arguments, given=self._task.args)
            rules = rules_of(arguments)
        request = {**selection.request(str(self.get_shell_option("async_dir", default="~/.ansible_async"))), **rules}
        execute = functools.partial(self._execute_module, module_name="inflight.jobs.async_prune", task_vars=task_vars)
        records, response = survey(execute, self._connection, request, selection, display.warning)
        result.update(result_of(records, response, bool(self._task.check_mode)))
        return result


def rules_of(arguments: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What of the options no selection knows, as the half on the host takes it.

    :raises BadOption: when a value makes no sense.
    """
    keep_last, limit = arguments["keep_last"], arguments["max_total_mb"]
    if keep_last < 0:
        raise BadOption(f"keep_last is {keep_last}: it must be a number of jobs, 0 or more")
    if limit is not None and not 0 <= limit < math.inf:
        raise BadOption(f"max_total_mb is {limit:g}: it must be a number of megabytes, 0 or more")
    older_than = seconds_of("older_than", arguments["older_than"])
    newer_than = seconds_of("newer_than", arguments["newer_than"])
    if older_than is not None and newer_than is not None and newer_than < older_than:
        raise BadOption(
            f"newer_than is {shown(arguments['newer_than'])} and older_than is {shown(arguments['older_than'])}: "
            "no job can be both, give an older_than that is shorter"
        )
    return {"keep_last": keep_last, "max_bytes": None if limit is None else limit * 1e6}


def result_of(records: list[Record], response: Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """What the task returns.

    :param records: of the jobs whose job files were removed.
    :param response: what the half on the host answered.
    """
    freed = int(response["freed_bytes"])
    return {
        "jobs": records,
        "removed": len(records),
        "freed_bytes": freed,
        "msg": message_of(len(records), freed, check_mode),
        "changed": bool(response["changed"]),
    }


def message_of(removed: int, freed: int, check_mode: bool) -> str:
    """How many job files were removed, and how much that freed, in one sentence."""
    if not removed and not freed:
        return "nothing to remove"
    size = f"{freed / 1e6:.1f} MB" if freed >= 1e5 else f"{math.ceil(freed / 1000)} kB"
    return f"{'would remove' if check_mode else 'removed'} {removed} job file{'' if removed == 1 else 's'}, {size}"
