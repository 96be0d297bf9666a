# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import inspect
import json
import os
import re
import sys
import types
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible.module_utils._internal._ansiballz import _loader
from ansible.plugins.action import ActionBase
from ansible.release import __version__

from ansible_collections.inflight.jobs.plugins.action.async_batch import ActionModule
from ansible_collections.inflight.jobs.plugins.module_utils._zygote import Payload, Zygote
from ansible_collections.inflight.jobs.plugins.plugin_utils._payloads import Payloads, UnknownCore

from ..conftest import FOREVER, Controller, Ground, exit_code

Arguments = dict[str, t.Any]


class Core:
    """An ansible-core that builds modules by a script, and counts what it builds."""

    def __init__(self, **shape: t.Any) -> None:
        """
        :param shape: what the modules are like, where that differs from a module in Python.
        """
        self.shape = shape
        self.built: list[tuple[str, Arguments]] = []

    def _update_module_args(self, module: str, arguments: Arguments, task_vars: Arguments) -> None:
        arguments.update(_ansible_module_name=module, _ansible_tmpdir="/tmp/gone", _ansible_check_mode=False)

    def _configure_module(self, module_name: str, module_args: Arguments, task_vars: Arguments) -> t.Any:
        self.built.append((module_name, dict(module_args)))
        code = f"run({json.dumps({'ANSIBLE_MODULE_ARGS': module_args})!r}, '\xe9')".encode("latin-1")
        bits = {
            "b_module_data": code,
            "module_style": "new",
            "shebang": "#!/usr/bin/python3",
            "serialization_profile": "legacy",
            **self.shape,
        }
        return types.SimpleNamespace(**bits), "/modules/x.py"


def payloads_of(core: object, own: str = "own") -> Payloads:
    return Payloads(t.cast("ActionBase", core), own, {})


def whole(payload: Arguments, params: str) -> str:
    """The program that the host makes of a payload and the arguments of a job."""
    before, after = payload["code"]
    return f"{before}{params!r}{after}"


# From a module to its payload


def test_a_module_is_built_once_and_cut_where_its_arguments_go() -> None:
    core = Core()
    payloads = payloads_of(core)
    first, second = payloads.job("ping", {"data": "a"}), payloads.job("ping", {"data": "b"})
    assert (first[0], second[0], len(payloads.payloads)) == (0, 0, 1)
    assert [name for name, dummy in core.built] == ["ping", "own"]
    payload = payloads.payloads[0]
    assert (payload["kind"], payload["interpreter"], payload["warm"]) == ("zip", "/usr/bin/python3", True)
    assert whole(payload, second[1]) == f"run({second[1]!r}, '\xe9')"


def test_the_arguments_of_a_job_come_with_what_every_module_is_told() -> None:
    arguments = json.loads(payloads_of(Core()).job("ping", {"data": "a", "_ansible_check_mode": "forged"})[1])
    assert arguments == {
        "ANSIBLE_MODULE_ARGS": {
            "data": "a",
            "_ansible_module_name": "ping",
            "_ansible_check_mode": False,
            # That of the run which starts the jobs is gone before they end.
            "_ansible_tmpdir": None,
        }
    }


def test_several_modules_have_a_payload_each() -> None:
    payloads = payloads_of(Core())
    assert [payloads.job(module, {})[0] for module in ("a", "b", "a", "c")] == [0, 1, 0, 2]


def test_a_module_with_another_interpreter_than_ours_is_not_kept_warm() -> None:
    class Two(Core):
        def _configure_module(self, module_name: str, module_args: Arguments, task_vars: Arguments) -> t.Any:
            self.shape = {"shebang": "#!/usr/bin/python3" if module_name == "own" else "#!/opt/python -x"}
            return super()._configure_module(module_name, module_args, task_vars)

    payloads = payloads_of(Two())
    payloads.job("ping", {})
    assert (payloads.payloads[0]["warm"], payloads.payloads[0]["interpreter"]) == (False, "/opt/python -x")


@pytest.mark.parametrize("code", [b"run(1)", None])
def test_a_module_whose_arguments_are_not_found_once_is_built_for_each_job(code: bytes | None) -> None:
    class Odd(Core):
        def _configure_module(self, module_name: str, module_args: Arguments, task_vars: Arguments) -> t.Any:
            bits, path = super()._configure_module(module_name, module_args, task_vars)
            bits.b_module_data = code or bits.b_module_data * 2
            return bits, path

    core = Odd()
    payloads = payloads_of(core)
    jobs = [payloads.job("ping", {"data": data}) for data in "ab"]
    assert jobs == [(1, ""), (2, "")]
    assert {payload["kind"] for payload in payloads.payloads} == {"whole"}
    assert not any(payload["warm"] for payload in payloads.payloads)
    assert [arguments.get("data") for dummy, arguments in core.built] == [None, "a", "b"]
    assert core.built[1][1]["_ansible_tmpdir"] is None


@pytest.mark.parametrize("style", ["non_native_want_json", "binary"])
def test_a_program_gets_its_arguments_in_a_file(style: str) -> None:
    payloads = payloads_of(Core(module_style=style, b_module_data=b"\x7fELF\xff"))
    place, params = payloads.job("program", {"data": "a"})
    assert payloads.payloads[place]["kind"] == "file"
    assert payloads.payloads[place]["code"] == ["\x7fELF\xff"]
    assert json.loads(params)["data"] == "a"
    assert json.loads(params)["_ansible_module_name"] == "program"


def test_a_program_that_core_leaves_where_it_is_is_read_from_there(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\x7fELF")

    class Left(Core):
        def _configure_module(self, module_name: str, module_args: Arguments, task_vars: Arguments) -> t.Any:
            return super()._configure_module(module_name, module_args, task_vars)[0], str(tmp_path / "program")

    payloads = payloads_of(Left(module_style="binary", b_module_data=None, shebang=None))
    assert payloads.payloads[payloads.job("program", {})[0]]["code"] == ["\x7fELF"]
    assert payloads.payloads[0]["interpreter"] == ""


def test_a_module_of_the_old_style_is_refused() -> None:
    with pytest.raises(AnsibleError, match="old is an old-style module without JSON arguments"):
        payloads_of(Core(module_style="old")).job("old", {})


def test_a_script_that_does_not_say_what_runs_it_is_refused() -> None:
    with pytest.raises(AnsibleError, match="x is a script, but its first line does not say what runs it"):
        payloads_of(Core(module_style="non_native_want_json", shebang=None)).job("x", {})


def test_a_module_that_cannot_be_built_says_why() -> None:
    class Failing(Core):
        def _configure_module(self, *dummy: t.Any, **more: t.Any) -> t.NoReturn:
            raise AnsibleError("The module x was not found")

    with pytest.raises(AnsibleError, match="The module x was not found") as caught:
        payloads_of(Failing()).job("x", {})
    assert not isinstance(caught.value, UnknownCore)


# An ansible-core that builds modules in another way


def another_core(change: str) -> object:
    """A core with one part of what we know of it changed."""

    class Another(Core):
        pass

    def bits_alone(*dummy: t.Any, **more: t.Any) -> t.Any:
        return types.SimpleNamespace(b_module_data=b"")

    def three(*dummy: t.Any, **more: t.Any) -> t.Any:
        return None, "/path", "more"

    def without_style(*dummy: t.Any, **more: t.Any) -> t.Any:
        return types.SimpleNamespace(b_module_data=b"", shebang="#!x", serialization_profile="legacy"), "/path"

    def tuple_of_bytes(*dummy: t.Any, **more: t.Any) -> t.Any:
        return (b"code", "new", "#!x"), "/path"

    def other_parameters(module: str, arguments: Arguments) -> t.NoReturn:
        raise AssertionError("called")

    changes: dict[str, Callable[..., t.Any] | None] = {
        "returns no pair": bits_alone,
        "returns three": three,
        "knows no style": without_style,
        "returns a tuple": tuple_of_bytes,
        "takes other parameters": other_parameters,
    }
    core = Another()
    if change == "has no _configure_module":
        return types.SimpleNamespace(_update_module_args=core._update_module_args)
    if change == "has no _update_module_args":
        return types.SimpleNamespace(_configure_module=core._configure_module)
    if change == "tells modules other things":
        setattr(core, "_update_module_args", other_parameters)  # noqa: B010 - mypy lets no method be assigned to
    else:
        setattr(core, "_configure_module", changes[change])  # noqa: B010
    return core


@pytest.mark.parametrize(
    "change",
    [
        "has no _configure_module",
        "has no _update_module_args",
        "returns no pair",
        "returns three",
        "knows no style",
        "returns a tuple",
        "takes other parameters",
        "tells modules other things",
    ],
)
def test_another_way_to_build_modules_is_refused_with_a_way_out(change: str) -> None:
    with pytest.raises(UnknownCore) as caught:
        payloads_of(another_core(change)).job("ping", {})
    assert re.fullmatch(
        rf"async_batch does not know how ansible-core {re.escape(__version__)} builds modules \(.+\): "
        "update inflight.jobs, or use async with async_wait",
        str(caught.value),
    )


# The ansible-core that is installed: when one of these fails, it has changed what it keeps private


def parameters(function: Callable[..., t.Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_core_lets_an_action_template_its_own_arguments_as_it_did(controller: Controller) -> None:
    assert parameters(ActionBase.finalize_task_arg) == ["name", "value", "templar", "context"]
    assert parameters(ActionModule.finalize_task_arg) == parameters(ActionBase.finalize_task_arg)


def test_core_asks_an_action_to_template_its_arguments_one_by_one(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the very method that we put our own in the place of."""
    asked: list[str] = []
    real = ActionBase.__dict__["finalize_task_arg"].__func__

    def finalize(cls: t.Any, name: str, value: t.Any, templar: t.Any, context: t.Any) -> t.Any:
        asked.append(name)
        return real(cls, name, value, templar, context)

    action = controller.action({"word": "x"})
    action._task.args = controller.yaml("{data: '{{ word }}', more: [1]}")
    monkeypatch.setattr(ActionBase, "finalize_task_arg", classmethod(finalize))
    action._task.post_validate(action._templar._engine)
    assert sorted(asked) == ["data", "more"]
    assert action._task.args == {"data": "x", "more": [1]}


def test_the_tasks_of_a_batch_reach_it_untemplated_and_its_other_options_templated(controller: Controller) -> None:
    action = controller.action({"word": "x"})
    for name, value, meant in (
        ("tasks", "[{ping: {data: '{{ item }}'}}]", [{"ping": {"data": "{{ item }}"}}]),
        ("items", "['{{ word }}']", ["x"]),
    ):
        found = ActionModule.finalize_task_arg(name, controller.yaml(value), action._templar._engine, None)
        assert found == meant


def test_core_builds_modules_with_the_parameters_that_we_give() -> None:
    assert parameters(ActionBase._configure_module)[1:4] == ["module_name", "module_args", "task_vars"]
    assert parameters(ActionBase._update_module_args)[1:4] == ["module_name", "module_args", "task_vars"]


def test_core_runs_modules_with_the_parameters_that_we_know() -> None:
    found = inspect.signature(_loader.run_module).parameters
    assert {"json_params", "profile", "module_fqn", "modlib_path", "extensions"} <= set(found)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in found.values())


def built(controller: Controller, module: str, *arguments: Arguments) -> tuple[list[Payload], list[str]]:
    """Payloads as the host gets them, built by the core that is installed, and the arguments of jobs."""
    variables = {"ansible_python_interpreter": sys.executable, "ansible_facts": {}}
    payloads = Payloads(controller.action(variables), "ansible.builtin.ping", variables)
    params = [payloads.job(module, one)[1] for one in arguments]
    made = [
        Payload(one["kind"], tuple(piece.encode("latin-1") for piece in one["code"]), one["interpreter"], one["warm"])
        for one in payloads.payloads
    ]
    return made, params


def test_a_module_that_core_builds_is_cut_into_two_pieces_that_make_a_program(controller: Controller) -> None:
    (payload,), (params,) = built(controller, "ansible.legacy.command", {"_raw_params": "echo 'a' \"b\" \\ ä\udcff"})
    assert (payload.kind, payload.interpreter, payload.warm) == ("zip", sys.executable, True)
    assert json.loads(params)["ANSIBLE_MODULE_ARGS"]["_raw_params"] == "echo 'a' \"b\" \\ ä\udcff"
    before, after = payload.code
    compile(before + repr(params).encode() + after, "AnsiballZ_command.py", "exec")
    assert b"inflight" not in before[-1000:] + after[:1000]


def test_a_module_that_core_builds_runs_warm(
    controller: Controller, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, params = built(controller, "ansible.builtin.ping", {"data": "a"}, {"data": "b"}, {"data": "crash"})
    ground.batch.payloads.extend(made)
    jobs = [ground.job(one) for one in params]
    for name in [name for name in sys.modules if name.startswith("ansible_collections.ansible")]:
        monkeypatch.delitem(sys.modules, name)  # other names for the same packages, which no host knows
    ground.prepare_fork()
    zygote = Zygote(ground.batch, 0)
    zygote.socket.settimeout(FOREVER)
    for index in jobs:
        zygote.start(index, 1, True)
    pids = set()
    while zygote.jobs:
        events = zygote.events()
        assert events is not None, "the zygote died"
        pids.update(event.value for event in events if event.kind == "started")
    zygote.close()
    assert exit_code(zygote.pid) == 0
    assert [ground.result(index).get("ping") for index in jobs] == ["a", "b", None]
    assert ground.look(jobs[2]).state == "failed"
    assert "boom" in json.dumps(ground.result(jobs[2]))
    assert len(pids) == 3
    # Nothing of the archive is left.
    assert sorted(os.listdir(ground.batch.folder.path)) == ["batch.json", "lock", "log"]
