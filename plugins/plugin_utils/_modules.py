# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which module a task would run on the host: core's own action plugins are asked, and stopped before they run it.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.loader import action_loader, module_loader

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.playbook.task import Task
    from ansible.plugins.action import ActionBase

Arguments = dict[str, t.Any]

# What these add to the arguments of the module command; nothing else is special about them.
_COMMANDS: dict[str, Arguments] = {"ansible.builtin.command": {}, "ansible.builtin.shell": {"_uses_shell": True}}
# These only choose a module, going by facts and arguments, and then run it.
_CHOOSERS = frozenset(
    ("ansible.builtin.package", "ansible.builtin.service", "ansible.builtin.dnf", "ansible.builtin.uri")
)
# No modules at all: the strategy does what they stand for.
_OF_THE_STRATEGY = frozenset(
    f"ansible.builtin.{name}"
    for name in ("import_playbook", "import_role", "import_tasks", "include_role", "include_tasks", "meta")
)
_OTHERWISE = {
    "ansible.builtin.raw": "use ansible.builtin.shell",
    "ansible.builtin.script": "copy the script to the host first, and run it by ansible.builtin.command",
    "ansible.builtin.wait_for_connection": "use it in a task of its own",
}
_OTHERWISE_ALL = "use it in a task of its own, before or after the batch"


class NotForBatches(ValueError):
    """A task cannot run in a batch; the message says why and what to do."""


class _ModuleChosen(BaseException):
    """Stops an action plugin where it would run its module. Not an Exception, so that no plugin swallows it."""

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name)
        self.name = name
        self.arguments = arguments


class Modules:
    """Resolves the actions of one batch."""

    def __init__(self, action: ActionBase, task_vars: dict[str, t.Any]) -> None:
        """
        :param action: the action plugin of the batch; facts are gathered by its means if a chooser needs them.
        """
        self._action = action
        self._task_vars = task_vars
        self._facts: dict[str, dict[str, t.Any]] = {}

    def resolve(self, task: Task) -> tuple[str, bool]:
        """The full name of a task's action, and whether it takes a free form.

        :raises NotForBatches: when it needs the controller while it runs.
        """
        name = str(task.action)
        found = action_loader.find_plugin_with_context(name, collection_list=task.collections)
        if not found.resolved:
            module = module_loader.find_plugin_with_context(name, collection_list=task.collections)
            if not module.resolved:
                raise NotForBatches(f"there is no module {name}: install its collection on the controller")
            full_name = str(module.resolved_fqcn)
            if full_name not in _OF_THE_STRATEGY:
                return full_name, False
        else:
            full_name = str(found.resolved_fqcn)
            if full_name in _COMMANDS:
                return full_name, True
            if full_name in _CHOOSERS:
                return full_name, False
        way_out = _OTHERWISE.get(full_name, _OTHERWISE_ALL)
        raise NotForBatches(f"{name} does a part of its work on the controller, so it cannot run in a batch: {way_out}")

    def module_of(self, task: Task, full_name: str, arguments: Arguments) -> tuple[str, Arguments]:
        """The module that a task with these arguments runs, and what that is given.

        :raises NotForBatches: when with these arguments it needs the controller.
        """
        if full_name in _COMMANDS:
            # By this name a command.py beside the playbook takes precedence, as it does without a batch.
            return "ansible.legacy.command", {**arguments, **_COMMANDS[full_name]}
        if full_name not in _CHOOSERS:
            return str(task.action), arguments
        return self._chosen(task, full_name, arguments)

    def _chosen(self, task: Task, full_name: str, arguments: Arguments) -> tuple[str, Arguments]:
        base = self._action
        asked = task.copy(exclude_parent=True)
        asked._parent = task._parent
        asked.args = arguments
        asked.delegate_to = base._task.delegate_to
        asked.check_mode, asked.diff = base._task.check_mode, base._task.diff
        plugin = action_loader.get(
            full_name,
            task=asked,
            connection=base._connection,
            play_context=base._play_context,
            loader=base._loader,
            templar=base._templar,
            shared_loader_obj=base._shared_loader_obj,
        )

        def execute_module(
            module_name: str | None = None, module_args: Arguments | None = None, **more: t.Any
        ) -> t.Any:
            name = str(module_name)
            if name.endswith(".setup"):
                asked_for = repr(module_args)  # each chooser asks for the one fact that it goes by
                if asked_for not in self._facts:
                    self._facts[asked_for] = base._execute_module(module_name=name, module_args=module_args, **more)
                return self._facts[asked_for]
            raise _ModuleChosen(name, dict(arguments if module_args is None else module_args))

        def transfer(*dummy: object, **dummy_too: object) -> t.NoReturn:
            raise NotForBatches(f"{full_name} with a file of the controller cannot run in a batch: {_OTHERWISE_ALL}")

        plugin._execute_module = execute_module
        plugin._find_needle = plugin._transfer_file = transfer
        plugin._make_tmp_path = plugin._remove_tmp_path = lambda *dummy: None
        try:
            result = plugin.run(task_vars=self._task_vars)
        except _ModuleChosen as chosen:
            return chosen.name, chosen.arguments
        except AnsibleConnectionFailure:
            raise  # while it gathered facts: the host is unreachable, and the task is fine
        except AnsibleError as ex:
            raise NotForBatches(str(ex)) from ex
        raise NotForBatches(f"{full_name} chose no module: {result.get('msg', 'it gave no reason')}")
