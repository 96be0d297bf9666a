# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleActionFail
from ansible.playbook.task import Task
from ansible.plugins.loader import action_loader

from ansible_collections.inflight.jobs.plugins.plugin_utils import _modules
from ansible_collections.inflight.jobs.plugins.plugin_utils._modules import Modules, NotForBatches

from ..conftest import Controller

Variables = dict[str, t.Any]


class Resolver:
    """Resolves tasks as the tasks of a batch are, and counts what is asked of the host."""

    def __init__(self, controller: Controller, facts: Variables | None = None) -> None:
        self.controller = controller
        self.variables = {"ansible_facts": facts or {}}
        self.action = controller.action(self.variables)
        self.modules = Modules(self.action, self.variables)
        self.asked: list[Variables] = []
        self.answer: Variables = {"ansible_facts": {}}
        setattr(self.action, "_execute_module", self.execute_module)  # noqa: B010 - mypy lets no method be assigned to

    def execute_module(self, **call: t.Any) -> Variables:
        self.asked.append(call)
        return self.answer

    def task(self, text: str) -> Task:
        own = self.action._task
        return Task.load(
            self.controller.yaml(text),
            block=own._parent,
            variable_manager=own._variable_manager,
            loader=self.controller.loader,
        )

    def resolve(self, text: str) -> tuple[str, bool]:
        return self.modules.resolve(self.task(text))

    def module_of(self, text: str) -> tuple[str, Variables]:
        task = self.task(text)
        return self.modules.module_of(task, self.modules.resolve(task)[0], dict(task.args))


@pytest.fixture
def resolver(controller: Controller) -> Resolver:
    return Resolver(controller)


def named_task(resolver: Resolver, name: str) -> Task:
    task = resolver.task("{ansible.builtin.ping: {}}")
    task.action = f"ansible.builtin.{name}"
    return task


def refused(resolver: Resolver, text: str) -> str:
    with pytest.raises(NotForBatches) as caught:
        resolver.module_of(text)
    assert resolver.asked == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("task", "full_name", "free_form"),
    [
        ("{ping: {}}", "ansible.builtin.ping", False),
        ("{ansible.builtin.ping: {}}", "ansible.builtin.ping", False),
        ("{ansible.legacy.ping: {}}", "ansible.builtin.ping", False),
        ("{command: x}", "ansible.builtin.command", True),
        ("{ansible.builtin.shell: x}", "ansible.builtin.shell", True),
        ("{ansible.builtin.service: {name: x}}", "ansible.builtin.service", False),
        ("{ansible.builtin.uri: {url: x}}", "ansible.builtin.uri", False),
    ],
)
def test_an_action_is_known_by_its_full_name(resolver: Resolver, task: str, full_name: str, free_form: bool) -> None:
    assert resolver.resolve(task) == (full_name, free_form)


def test_a_module_runs_as_the_task_says(resolver: Resolver) -> None:
    assert resolver.module_of("{ping: {data: x}}") == ("ping", {"data": "x"})
    assert resolver.asked == []


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("{ansible.builtin.command: {cmd: x}}", {"cmd": "x"}),
        ("{ansible.builtin.shell: {cmd: x}}", {"cmd": "x", "_uses_shell": True}),
    ],
)
def test_command_and_shell_are_the_module_command(resolver: Resolver, task: str, arguments: Variables) -> None:
    assert resolver.module_of(task) == ("ansible.legacy.command", arguments)


@pytest.mark.parametrize(
    ("task", "way_out"),
    [
        ("{ansible.builtin.copy: {src: a, dest: b}}", "use it in a task of its own, before or after the batch"),
        ("{template: {src: a, dest: b}}", "use it in a task of its own"),
        ("{ansible.builtin.raw: x}", "use ansible.builtin.shell"),
        ("{ansible.builtin.script: x}", "copy the script to the host first, and run it by ansible.builtin.command"),
        ("{ansible.builtin.wait_for_connection: {}}", "use it in a task of its own"),
        ("{ansible.builtin.include_tasks: x}", "use it in a task of its own"),
        ("{ansible.builtin.meta: noop}", "use it in a task of its own"),
        ("{ansible.builtin.debug: {}}", "use it in a task of its own"),
        ("{ansible.builtin.set_fact: {a: 1}}", "use it in a task of its own"),
        ("{ansible.builtin.async_status: {jid: j1.1}}", "use it in a task of its own"),
    ],
)
def test_what_needs_the_controller_is_refused_with_a_way_out(resolver: Resolver, task: str, way_out: str) -> None:
    problem = refused(resolver, task)
    assert "does a part of its work on the controller, so it cannot run in a batch: " in problem
    assert way_out in problem


def test_every_action_plugin_of_core_is_either_understood_or_refused(resolver: Resolver) -> None:
    """A new one of core must not be run as if it were a module."""
    understood = set()
    for plugin in action_loader.all(class_only=True, collection_list=None):
        name = plugin.ansible_name.rpartition(".")[2]
        task = named_task(resolver, name)
        try:
            understood.add(resolver.modules.resolve(task)[0])
        except NotForBatches:
            continue
    assert understood == {*_modules._COMMANDS, *_modules._CHOOSERS}


def test_a_module_that_is_not_installed_is_refused(resolver: Resolver) -> None:
    task = resolver.task("{ansible.builtin.ping: {}}")
    task.action = "no.such.module"
    with pytest.raises(NotForBatches, match=r"there is no module no\.such\.module: install its collection"):
        resolver.modules.resolve(task)


# Actions that choose a module


def test_package_is_the_module_of_the_package_manager_of_the_host(controller: Controller) -> None:
    resolver = Resolver(controller, {"pkg_mgr": "apt"})
    module, arguments = resolver.module_of("{ansible.builtin.package: {name: x, state: present}}")
    assert (module, arguments) == ("ansible.legacy.apt", {"name": "x", "state": "present"})
    assert resolver.asked == []


def test_service_is_the_module_of_the_service_manager_of_the_host(controller: Controller) -> None:
    resolver = Resolver(controller, {"service_mgr": "systemd"})
    module, arguments = resolver.module_of("{ansible.builtin.service: {name: x, state: started}}")
    assert (module, arguments) == ("ansible.legacy.systemd", {"name": "x", "state": "started"})


def test_what_is_asked_of_the_host_to_choose_is_asked_once(resolver: Resolver) -> None:
    resolver.answer = {"ansible_facts": {"ansible_service_mgr": "systemd", "ansible_pkg_mgr": "apt"}}
    for dummy in range(3):
        assert resolver.module_of("{ansible.builtin.service: {name: x}}")[0] == "ansible.legacy.systemd"
        assert resolver.module_of("{ansible.builtin.package: {name: x}}")[0] == "ansible.legacy.apt"
    assert sorted(str(call["module_args"]["filter"]) for call in resolver.asked) == [
        "ansible_pkg_mgr",
        "ansible_service_mgr",
    ]


def test_uri_without_a_file_of_the_controller_is_a_module(resolver: Resolver) -> None:
    module, arguments = resolver.module_of("{ansible.builtin.uri: {url: http://x, return_content: true}}")
    assert module == "ansible.legacy.uri"
    assert arguments["url"] == "http://x"
    assert arguments["return_content"] is True


def test_uri_with_a_file_of_the_controller_is_refused(resolver: Resolver) -> None:
    problem = refused(resolver, "{ansible.builtin.uri: {url: http://x, src: file}}")
    assert problem.startswith("ansible.builtin.uri with a file of the controller cannot run in a batch: ")


def test_an_action_that_refuses_its_arguments_says_why(resolver: Resolver) -> None:
    problem = refused(resolver, "{ansible.builtin.uri: {url: http://x, body: text, body_format: form-multipart}}")
    assert "body must be mapping" in problem


def test_an_action_that_chooses_nothing_is_refused_with_what_it_says(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = resolver.task("{ansible.builtin.service: {name: x}}")
    real = action_loader.get("ansible.builtin.service", class_only=True)
    monkeypatch.setattr(real, "run", lambda *dummy, **more: {"failed": True, "msg": "no service manager"})
    with pytest.raises(NotForBatches, match=r"ansible\.builtin\.service chose no module: no service manager"):
        resolver.modules.module_of(task, "ansible.builtin.service", {})
    monkeypatch.setattr(real, "run", lambda *dummy, **more: {})
    with pytest.raises(NotForBatches, match="it gave no reason"):
        resolver.modules.module_of(task, "ansible.builtin.service", {})

    def fail(*dummy: t.Any, **more: t.Any) -> t.NoReturn:
        raise AnsibleActionFail("wrong arguments")

    monkeypatch.setattr(real, "run", fail)
    with pytest.raises(NotForBatches, match="wrong arguments"):
        resolver.modules.module_of(task, "ansible.builtin.service", {})


def test_choosing_leaves_the_task_as_it_was(controller: Controller) -> None:
    resolver = Resolver(controller, {"pkg_mgr": "apt"})
    task = resolver.task("{ansible.builtin.package: {name: x, use: auto}}")
    before = dict(task.args)
    for dummy in range(2):
        assert resolver.modules.module_of(task, "ansible.builtin.package", dict(task.args)) == (
            "ansible.legacy.apt",
            {"name": "x"},
        )
    assert task.args == before
