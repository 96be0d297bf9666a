# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# From the tasks and items of a batch to its jobs: everything is templated here, once for each job.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.executor.module_common import _apply_action_arg_defaults
from ansible.playbook.task import Task

from ansible_collections.inflight.jobs.plugins.plugin_utils._modules import Modules, NotForBatches
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import item_name, one_line, shown

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.plugins.action import ActionBase
    from ansible.template import Templar

_ALLOWED = frozenset(("action", "args", "changed_when", "environment", "failed_when", "name", "when"))
_OTHERWISE = {
    "async": "each task of a batch is a background job already",
    "delay": "use retry_delay of async_batch",
    "ignore_errors": "use failed_when",
    "local_action": "give delegate_to to the async_batch task",
    "loop": "use items of async_batch",
    "loop_control": "use loop_var of async_batch",
    "poll": "use wait of async_batch",
    "register": "register the async_batch task; changed_when and failed_when see the result of a job as result",
    "retries": "use retries of async_batch",
    "timeout": "use timeout of async_batch",
    "until": "use retries of async_batch",
    "vars": "use variables of the play, or the items",
}


class BadTask(ValueError):
    """A task of a batch makes no sense, or cannot run in one; the message says where it stands and what to do."""


@dataclasses.dataclass(frozen=True)
class BatchJob:
    """One job that is to be started: a task, for an item.

    place: of its item in the items. key: the same for the same task and item in another run. module and arguments: what
    runs on the host.
    """

    name: str
    item: t.Any
    place: int
    key: str
    module: str
    arguments: dict[str, t.Any]
    environment: dict[str, str]
    conditions: Conditions


class Conditions:
    """The changed_when and failed_when of a job, with the variables that they are to see."""

    def __init__(self, task: Task, templar: Templar, variables: Mapping[str, t.Any]) -> None:
        self._changed_when = _as_list(task.changed_when)
        self._failed_when = _as_list(task.failed_when)
        self._templar = templar
        self._variables = variables

    def judge(self, result: Mapping[str, t.Any]) -> tuple[bool | None, bool | None]:
        """Whether a result counts as changed and as failed; None where the task does not say.

        :param result: of the module, as it would be registered.
        :raises AnsibleError: when a condition cannot be evaluated.
        """
        if not self._changed_when and not self._failed_when:
            return None, None
        templar = self._templar.copy_with_new_env(available_variables={**self._variables, "result": result})
        changed, failed = (
            all(templar.evaluate_conditional(condition) for condition in conditions) if conditions else None
            for conditions in (self._changed_when, self._failed_when)
        )
        return changed, failed


def batch_jobs(
    action: ActionBase,
    task_vars: dict[str, t.Any],
    tasks: Sequence[Mapping[str, t.Any]],
    items: Sequence[t.Any] | None,
    loop_var: str,
) -> list[BatchJob]:
    """Every task for every item, in the order of the items; those whose when is false are left out.

    :param tasks: what checked_tasks returned.
    :param items: None for tasks without items.
    :raises BadTask: when a task makes no sense.
    """
    modules = Modules(action, task_vars)
    parsed = [_BatchTask(action, modules, task, f"tasks[{index}]") for index, task in enumerate(tasks)]
    jobs = []
    for place, item in enumerate([None] if items is None else items):
        variables = dict(task_vars) if items is None else {**task_vars, loop_var: item}
        templar = action._templar.copy_with_new_env(available_variables=variables)
        where = "" if items is None else f" for items[{place}] ({_item_shown(item)})"
        name = None if items is None else item_name(item)
        for task in parsed:
            try:
                job = task.job(templar, variables, (place, item), name, alone=len(parsed) == 1)
            except AnsibleConnectionFailure:
                raise
            except (AnsibleError, NotForBatches) as ex:
                raise BadTask(f"{task.where}{where}: {one_line(ex, width=400)}") from ex
            if job is not None:
                jobs.append(job)
    return jobs


class _BatchTask:
    """One task of a batch, parsed once."""

    def __init__(self, action: ActionBase, modules: Modules, raw: Mapping[str, t.Any], where: str) -> None:
        self.where = where
        self._modules = modules
        self._name = raw.get("name")
        self._raw = raw
        self._environment = raw.get("environment")
        try:
            self._task = Task.load(
                dict(raw),
                block=action._task._parent,
                variable_manager=action._task._variable_manager,
                loader=action._loader,
            )
            # Those of the play and its blocks are there already, but the async_batch task is not a parent of this one.
            self._task.module_defaults = action._task.module_defaults
            self._full_name, self._free_form = modules.resolve(self._task)
        except (AnsibleError, NotForBatches) as ex:
            raise BadTask(f"{where}: {one_line(ex, width=400)}") from ex

    def job(
        self, templar: Templar, variables: dict[str, t.Any], item: tuple[int, t.Any], name: str | None, *, alone: bool
    ) -> BatchJob | None:
        """The job for an item; None when the task's when is false for it."""
        if not all(templar.evaluate_conditional(condition) for condition in _as_list(self._task.when)):
            return None
        module, arguments = self._modules.module_of(self._task, self._full_name, self._arguments(templar))
        action = str(self._task.action)
        if self._name:
            shown_name = str(templar.template(self._name))
        elif name is None:
            shown_name = action
        else:
            shown_name = name if alone else f"{action}: {name}"
        return BatchJob(
            name=shown_name,
            item=item[1],
            place=item[0],
            key=_key(self._name or self._raw, item[1]),
            module=module,
            arguments=arguments,
            environment=self._own_environment(templar),
            conditions=Conditions(self._task, templar, variables),
        )

    def _arguments(self, templar: Templar) -> dict[str, t.Any]:
        given = dict(self._task.args)
        layers = [given.pop("_variable_params", None)]
        if not self._free_form:
            layers.append(given.pop("_raw_params", None))
        arguments: dict[str, t.Any] = {}
        for layer in layers:
            if layer is not None:
                found = templar.template(layer)
                if not isinstance(found, Mapping):
                    raise NotForBatches(f"{self._task.action} takes no free form: write its options as a dict")
                arguments.update(found)
        arguments.update(given)
        arguments = templar.template(arguments)
        if self._task.module_defaults:
            # Private, but what core's own choosers of modules use for the same purpose.
            arguments = _apply_action_arg_defaults(self._full_name, self._task, arguments, templar)
        return arguments

    def _own_environment(self, templar: Templar) -> dict[str, str]:
        """Its environment; that of the play and of the batch is there already, because the jobs inherit it."""
        environment: dict[str, str] = {}
        for part in _as_list(self._environment):
            found = templar.template(part)
            if not isinstance(found, Mapping):
                raise NotForBatches(f"environment is {shown(found)}: it must be a dict")
            environment.update((str(name), str(value)) for name, value in found.items())
        for name, value in environment.items():
            if not name or "=" in name or "\0" in name + value:
                raise NotForBatches(
                    f"environment has {shown(name)} with the value {shown(value)}: no process can have it"
                )
        return environment


def checked_tasks(tasks: object) -> list[Mapping[str, t.Any]]:
    """The tasks of a batch as they stand in the playbook, not templated.

    :raises BadTask: when they are no tasks, or have keywords that a task of a batch cannot have.
    """
    if tasks is None:
        raise BadTask("tasks is missing: give a list of tasks, each with a module and its arguments")
    if isinstance(tasks, str):
        raise BadTask(
            f"tasks is {shown(tasks)}: write the tasks out; what they hold is templated for each item, "
            "so they cannot come from a variable"
        )
    if not isinstance(tasks, Sequence) or not tasks:
        raise BadTask(f"tasks is {shown(tasks)}: it must be a list of tasks, and not empty")
    for index, task in enumerate(tasks):
        if not isinstance(task, Mapping):
            raise BadTask(f"tasks[{index}] is {shown(task)}: it must be a task, a dict with the name of a module")
        for key in task:
            if {"block", "rescue", "always"}.intersection(task):
                raise BadTask(f"tasks[{index}] is a block: write its tasks one by one")
            if key in _OTHERWISE or (key in Task.fattributes and key not in _ALLOWED) or str(key).startswith("with_"):
                way_out = _OTHERWISE.get(key, "give it to the async_batch task")
                if str(key).startswith("with_"):
                    way_out = _OTHERWISE["loop"]
                raise BadTask(f"tasks[{index}] has {key}, which a task of a batch cannot have: {way_out}")
    return list(tasks)


def _key(task: object, item: object) -> str:
    try:
        text = json.dumps([task, item], default=str, sort_keys=True)
    except TypeError:  # keys of several types, as in {1: a, b: 2}, have no order
        text = json.dumps([task, item], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _item_shown(item: object) -> str:
    name = item_name(item)
    return shown(item if name is None else name)


def _as_list(value: t.Any) -> list[t.Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]
