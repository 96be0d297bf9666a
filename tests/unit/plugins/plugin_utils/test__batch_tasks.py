# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import inspect
import re
import typing as t

import pytest
from ansible.executor import module_common
from ansible.playbook.task import Task

from ansible_collections.inflight.jobs.plugins.plugin_utils import _batch_tasks
from ansible_collections.inflight.jobs.plugins.plugin_utils._batch_tasks import (
    BadTask,
    BatchJob,
    batch_jobs,
    checked_tasks,
)

from ..conftest import Controller

Variables = dict[str, t.Any]


def jobs_of(
    controller: Controller,
    tasks: str,
    items: list[t.Any] | None = None,
    variables: Variables | None = None,
    loop_var: str = "item",
    **more: t.Any,
) -> list[BatchJob]:
    """The jobs of the tasks of a playbook."""
    action = controller.action(variables, **more)
    return batch_jobs(action, variables or {}, checked_tasks(controller.yaml(tasks)), items, loop_var)


def problem_of(controller: Controller, tasks: str, items: list[t.Any] | None = None, **more: t.Any) -> str:
    with pytest.raises(BadTask) as caught:
        jobs_of(controller, tasks, items, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# From tasks and items to jobs


def test_there_is_a_job_of_every_task_for_every_item_in_the_order_of_the_items(controller: Controller) -> None:
    jobs = jobs_of(
        controller,
        """
        - {name: "dump {{ item }}", ansible.builtin.command: "dump {{ item }} {{ where }}"}
        - ansible.builtin.ping: {data: "{{ item }}"}
        """,
        ["a", "b"],
        {"where": "/srv"},
    )
    assert [(job.name, job.item, job.place) for job in jobs] == [
        ("dump a", "a", 0),
        ("ansible.builtin.ping: a", "a", 0),
        ("dump b", "b", 1),
        ("ansible.builtin.ping: b", "b", 1),
    ]
    assert jobs[0].arguments == {"_raw_params": "dump a /srv"}
    assert (jobs[3].module, jobs[3].arguments, jobs[3].environment) == ("ansible.builtin.ping", {"data": "b"}, {})


def test_without_items_each_task_is_a_job(controller: Controller) -> None:
    jobs = jobs_of(controller, "[{ansible.builtin.ping: {}}, {name: two, ansible.builtin.command: 'true'}]")
    assert [(job.name, job.item, job.place) for job in jobs] == [("ansible.builtin.ping", None, 0), ("two", None, 0)]


def test_without_any_items_there_are_no_jobs(controller: Controller) -> None:
    assert jobs_of(controller, "[{ansible.builtin.ping: {}}]", []) == []


@pytest.mark.parametrize(
    ("item", "name"), [("a", "a"), (5, "5"), ({"name": "x"}, "x"), ({"id": 7}, "7"), ({"y": 1}, "ansible.builtin.ping")]
)
def test_the_job_of_a_task_without_a_name_is_called_after_its_item(
    controller: Controller, item: t.Any, name: str
) -> None:
    (job,) = jobs_of(controller, "[{ansible.builtin.ping: {}}]", [item])
    assert job.name == name


def test_the_variable_that_holds_the_item_can_have_another_name(controller: Controller) -> None:
    (job,) = jobs_of(controller, "[{ansible.builtin.ping: {data: '{{ disk }}'}}]", ["sda"], loop_var="disk")
    assert job.arguments == {"data": "sda"}


def test_an_item_hides_a_variable_of_the_play_with_its_name(controller: Controller) -> None:
    (job,) = jobs_of(controller, "[{ansible.builtin.ping: {data: '{{ item }}'}}]", ["here"], {"item": "there"})
    assert job.arguments == {"data": "here"}


@pytest.mark.parametrize(
    ("task", "module", "arguments"),
    [
        ("ansible.builtin.command: uptime -p", "ansible.legacy.command", {"_raw_params": "uptime -p"}),
        ("command: uptime", "ansible.legacy.command", {"_raw_params": "uptime"}),
        (
            "ansible.builtin.shell: a | b creates=/x",
            "ansible.legacy.command",
            {"_raw_params": "a | b", "creates": "/x", "_uses_shell": True},
        ),
        ("ansible.builtin.command: {argv: [a, b]}", "ansible.legacy.command", {"argv": ["a", "b"]}),
        (
            "{ansible.builtin.command: a, args: {chdir: /x}}",
            "ansible.legacy.command",
            {"_raw_params": "a", "chdir": "/x"},
        ),
        ("action: ansible.builtin.ping data=x", "ansible.builtin.ping", {"data": "x"}),
        ("action: {module: ansible.builtin.ping, data: x}", "ansible.builtin.ping", {"data": "x"}),
        ("ansible.builtin.ping: {data: '{{ number }}'}", "ansible.builtin.ping", {"data": 5}),
        ("ansible.builtin.ping: {data: '{{ omit }}'}", "ansible.builtin.ping", {}),
        ("ansible.builtin.ping: '{{ options }}'", "ansible.builtin.ping", {"data": "y"}),
        ("{ansible.builtin.ping: {data: x}, args: '{{ options }}'}", "ansible.builtin.ping", {"data": "x"}),
    ],
)
def test_arguments_can_be_written_in_any_form_that_a_playbook_takes(
    controller: Controller, task: str, module: str, arguments: Variables
) -> None:
    (job,) = jobs_of(controller, f"- {task}", variables={"number": 5, "options": {"data": "y"}})
    assert (job.module, job.arguments) == (module, arguments)


def test_defaults_of_modules_are_kept(controller: Controller) -> None:
    defaults = "module_defaults: {ansible.builtin.ping: {data: '{{ word }}'}}"
    tasks = "[{ansible.builtin.ping: {}}, {ansible.builtin.ping: {data: own}}]"
    for where in ("play", "keywords"):
        jobs = jobs_of(controller, tasks, variables={"word": "default"}, **{where: defaults})
        assert [job.arguments for job in jobs] == [{"data": "default"}, {"data": "own"}]


def test_what_an_item_holds_is_no_template(controller: Controller) -> None:
    """It may come from anywhere: only what stands in the playbook is a template."""
    (job,) = jobs_of(controller, "[{name: '{{ item }}', ansible.builtin.ping: {data: '{{ item }}'}}]", ["{{ 6 * 7 }}"])
    assert (job.name, job.arguments) == ("{{ 6 * 7 }}", {"data": "{{ 6 * 7 }}"})


@pytest.mark.parametrize("when", ["item != 'b'", "[item != 'b', word == 'x']"])
def test_jobs_whose_when_is_false_are_left_out(controller: Controller, when: str) -> None:
    tasks = f"[{{ansible.builtin.ping: {{}}, when: {when}}}]"
    assert [job.item for job in jobs_of(controller, tasks, ["a", "b", "c"], {"word": "x"})] == ["a", "c"]


def test_a_when_that_is_false_comes_before_arguments_that_have_no_value(controller: Controller) -> None:
    tasks = "[{ansible.builtin.ping: {data: '{{ item.x }}'}, when: item.x is defined}]"
    assert [job.arguments for job in jobs_of(controller, tasks, [{}, {"x": 1}])] == [{"data": 1}]


def test_the_environment_of_a_task_is_templated_and_made_of_text(controller: Controller) -> None:
    tasks = "[{ansible.builtin.ping: {}, environment: {N: '{{ item }}', B: true}}]"
    (job,) = jobs_of(controller, tasks, [5])
    assert job.environment == {"N": "5", "B": "True"}
    tasks = "[{ansible.builtin.ping: {}, environment: ['{{ base }}', {B: '2'}]}]"
    (job,) = jobs_of(controller, tasks, variables={"base": {"A": "1", "B": "1"}})
    assert job.environment == {"A": "1", "B": "2"}


# The key of a job


def test_the_same_job_in_another_run_has_the_same_key(controller: Controller) -> None:
    tasks = "[{name: 'x {{ item.a }} {{ word }}', ansible.builtin.ping: {}}, {ansible.builtin.ping: {data: 1}}]"
    first = jobs_of(controller, tasks, [{"a": 1, "b": 2}, {"a": 2}], {"word": "one"})
    second = jobs_of(controller, tasks, [{"a": 2}, {"b": 2, "a": 1}], {"word": "two"})
    assert len({job.key for job in first}) == 4
    assert [job.key for job in second] == [first[index].key for index in (2, 3, 0, 1)]


@pytest.mark.parametrize(
    "item", [{1: "a", "b": 2}, [None, {"x": float("nan")}], "\udcff", {"a": {2: 3, None: 4}}, b"x"]
)
def test_every_item_has_a_key(controller: Controller, item: t.Any) -> None:
    (job,) = jobs_of(controller, "[{name: x, ansible.builtin.ping: {}}]", [item])
    assert len(job.key) == 32


# What cannot run in a batch


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("null", "tasks is missing: give a list of tasks"),
        ("'{{ my_tasks }}'", "tasks is '{{ my_tasks }}': write the tasks out"),
        ("[]", r"tasks is \[\]: it must be a list of tasks, and not empty"),
        ("{ansible.builtin.ping: {}}", "it must be a list of tasks"),
        ("5", "tasks is 5: it must be a list"),
        ("[ping]", r"tasks\[0\] is 'ping': it must be a task"),
        ("[{ansible.builtin.ping: {}}, null]", r"tasks\[1\] is None: it must be a task"),
        ("[{block: [{ansible.builtin.ping: {}}]}]", r"tasks\[0\] is a block: write its tasks one by one"),
        ("[{name: x, block: [], rescue: []}]", r"tasks\[0\] is a block"),
        ("[{with_items: [], ansible.builtin.ping: {}}]", r"tasks\[0\] has with_items, .*: use items of async_batch"),
        ("[{become: true, ansible.builtin.ping: {}}]", r"has become, .*: give it to the async_batch task"),
        ("[{delegate_to: x, ansible.builtin.ping: {}}]", r"has delegate_to, .*: give it to the async_batch task"),
        ("[{no_log: true, ansible.builtin.ping: {}}]", r"has no_log, .*: give it to the async_batch task"),
        ("[{tags: x, ansible.builtin.ping: {}}]", r"has tags, .*: give it to the async_batch task"),
    ],
)
def test_what_is_no_task_of_a_batch_is_refused_with_a_way_out(controller: Controller, tasks: str, message: str) -> None:
    with pytest.raises(BadTask, match=message):
        checked_tasks(controller.yaml(tasks))


@pytest.mark.parametrize("keyword", sorted(_batch_tasks._OTHERWISE))
def test_keywords_that_have_a_better_place_are_refused_with_its_name(keyword: str) -> None:
    with pytest.raises(BadTask) as caught:
        checked_tasks([{"ansible.builtin.ping": {}, keyword: 5}])
    assert str(caught.value) == (
        f"tasks[0] has {keyword}, which a task of a batch cannot have: {_batch_tasks._OTHERWISE[keyword]}"
    )


def test_every_keyword_of_a_task_is_either_understood_or_refused() -> None:
    """A new one of core must not be passed over in silence."""
    understood = set()
    for keyword in Task.fattributes:
        try:
            checked_tasks([{"ansible.builtin.ping": {}, keyword: 5}])
            understood.add(keyword)
        except BadTask:
            continue
    assert understood == {"action", "args", "changed_when", "environment", "failed_when", "name", "when"}


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("[{name: x}]", r"tasks\[0\]: .*no module"),
        ("[{ansible.builtin.ping: {}, ansible.builtin.command: x}]", r"tasks\[0\]: .*conflicting"),
        ("[{no.such.module: {}}]", r"tasks\[0\]: .*no\.such\.module"),
        (
            "[{ansible.builtin.copy: {src: a, dest: b}}]",
            r"tasks\[0\]: .*copy does a part of its work on the controller",
        ),
        ("[{ansible.builtin.ping: {}, nonsense: 1}]", r"tasks\[0\]: .*nonsense"),
        ("[{ansible.builtin.ping: {}, environment: [a]}]", r"tasks\[0\]: environment is 'a': it must be a dict"),
        ("[{ansible.builtin.ping: {}, environment: '{{ 5 }}'}]", "environment is 5: it must be a dict"),
        ("[{ansible.builtin.ping: {}, environment: {'': x}}]", "environment has '' with the value 'x': no process can"),
        ("[{ansible.builtin.ping: {}, environment: {'a=b': x}}]", "environment has 'a=b' with the value 'x'"),
        ("[{ansible.builtin.ping: some text}]", r"tasks\[0\]: .*(free form|raw params|error while|data)"),
        ("[{ansible.builtin.ping: '{{ 5 }}'}]", "takes no free form: write its options as a dict"),
        ("[{ansible.builtin.ping: {data: '{{ nowhere }}'}}]", r"tasks\[0\]: .*'nowhere' is undefined"),
        ("[{ansible.builtin.ping: {}, when: nowhere}]", r"tasks\[0\]: .*'nowhere' is undefined"),
        ("[{ansible.builtin.ping: {}, when: '5 +'}]", r"tasks\[0\]: "),
    ],
)
def test_a_task_that_makes_no_sense_is_refused_and_says_where_it_stands(
    controller: Controller, tasks: str, message: str
) -> None:
    assert re.search(message, problem_of(controller, tasks))


def test_a_problem_with_an_item_names_the_item(controller: Controller) -> None:
    tasks = "[{ansible.builtin.ping: {}}, {ansible.builtin.ping: {data: '{{ item.size }}'}}]"
    problem = problem_of(controller, tasks, [{"name": "a", "size": 1}, {"name": "b"}])
    assert problem.startswith("tasks[1] for items[1] ('b'): ")
    assert "size" in problem


# Conditions


@pytest.mark.parametrize(
    ("conditions", "result", "changed", "failed"),
    [
        ("{}", {"rc": 1}, None, None),
        ("{changed_when: result.rc == 2}", {"rc": 2}, True, None),
        ("{changed_when: false}", {"rc": 2, "changed": True}, False, None),
        ("{failed_when: 'result.rc > 2'}", {"rc": 2}, None, False),
        ("{failed_when: ['result.rc > 2', item == 'a']}", {"rc": 3}, None, True),
        ("{failed_when: ['result.rc > 2', item == 'b']}", {"rc": 3}, None, False),
        ('{failed_when: "word in result.stdout", changed_when: true}', {"stdout": "an error"}, True, True),
    ],
)
def test_conditions_see_the_result_the_item_and_the_variables(
    controller: Controller, conditions: str, result: Variables, changed: bool | None, failed: bool | None
) -> None:
    tasks = controller.yaml("[{ansible.builtin.ping: {}}]")
    tasks[0].update(controller.yaml(conditions))
    variables = {"word": "error"}
    (job,) = batch_jobs(controller.action(variables), variables, tasks, ["a"], "item")
    assert job.conditions.judge(result) == (changed, failed)


def test_a_condition_that_cannot_be_evaluated_is_an_error(controller: Controller) -> None:
    (job,) = jobs_of(controller, "[{ansible.builtin.ping: {}, failed_when: result.nowhere == 1}]")
    with pytest.raises(Exception, match="nowhere"):
        job.conditions.judge({"rc": 0})


def test_a_result_is_no_template(controller: Controller) -> None:
    (job,) = jobs_of(controller, "[{ansible.builtin.ping: {}, failed_when: \"result.stdout == '42'\"}]")
    assert job.conditions.judge({"stdout": "{{ 6 * 7 }}"}) == (None, False)


# What core keeps private


def test_core_applies_the_defaults_of_modules_as_it_did() -> None:
    found = inspect.signature(module_common._apply_action_arg_defaults)
    assert list(found.parameters) == ["action", "task", "action_args", "templar"]
