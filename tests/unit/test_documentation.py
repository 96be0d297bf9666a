# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# The documentation of an action says the same as its code: options, results and attributes.
import importlib
import pkgutil
import types
import typing as t
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import yaml
from ansible.playbook.task import Task
from ansible.plugins.connection import ConnectionBase

from ansible_collections.inflight.jobs.plugins import action
from ansible_collections.inflight.jobs.plugins.action import async_info, async_prune, show_jobs
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import STATES
from ansible_collections.inflight.jobs.plugins.plugin_utils import (
    _backup_report,
    _backup_report_text,
    _batch,
    _cancelling,
    _listing,
    _report_files,
    _update_report,
    _update_report_text,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import new_record
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import WaitOptions
from ansible_collections.inflight.jobs.plugins.plugin_utils._waiting import Wait, result_of

Entry = dict[str, t.Any]

ACTIONS = sorted(found.name for found in pkgutil.iter_modules(action.__path__) if not found.name.startswith("_"))

# Now: once another test has made a plugin loader, that would look for an installed collection.
MODULES = {
    name: importlib.import_module(f"ansible_collections.inflight.jobs.plugins.modules.{name}") for name in ACTIONS
}


def result_of_async_wait() -> Entry:
    wait = Wait([], WaitOptions(), t.cast("t.Any", None), t.cast("t.Any", None), async_dir="/x")
    wait.run()
    return result_of(wait)


def result_of_async_batch() -> Entry:
    wait = Wait([], WaitOptions(), t.cast("t.Any", None), t.cast("t.Any", None), async_dir="/x")
    batch = types.SimpleNamespace(wait=wait, waits=True, no_log=False, diff=True, started=True)
    return _batch.result_of(t.cast("t.Any", batch))


def result_of_async_info() -> Entry:
    task = MagicMock(Task, async_val=0, check_mode=False, no_log=False, environment=[], args={})
    connection = MagicMock(ConnectionBase, transport="ssh", _shell=MagicMock(_IS_WINDOWS=False))
    others = {name: MagicMock() for name in ("play_context", "loader", "templar", "shared_loader_obj")}
    plugin = async_info.ActionModule(task, connection, **others)
    response: Entry = {"jobs": [], "remarks": [], "took": 0.0}
    setattr(plugin, "_execute_module", lambda **dummy_call: response)  # noqa: B010 - mypy lets no method be assigned to
    return plugin.run(task_vars={})


def result_of_show_jobs() -> Entry:
    task = MagicMock(Task, async_val=0, check_mode=False, no_log=False, environment=[], args={"registered": "found"})
    others = {name: MagicMock() for name in ("connection", "play_context", "loader", "templar", "shared_loader_obj")}
    return show_jobs.ActionModule(task, **others).run(task_vars={"hostvars": {}, "ansible_play_hosts_all": ["web1"]})


def result_of_backup_report() -> Entry:
    report = _backup_report.report_of({}, "Backup report", 0.0)
    return _report_files.result_of(_backup_report_text.told(report, []), [])


def result_of_update_report() -> Entry:
    report = _update_report.report_of({}, "Update report", 0.0)
    return _report_files.result_of(_update_report_text.told(report, []), [])


# What each action returns, by the code that it returns it with.
RESULTS: dict[str, Callable[[], Entry]] = {
    "async_batch": result_of_async_batch,
    "async_cancel": lambda: _cancelling.result_of([], {"cancelled": 0, "left": []}, check_mode=False),
    "async_info": result_of_async_info,
    "async_prune": lambda: async_prune.result_of([], {"freed_bytes": 0, "changed": False}, check_mode=False),
    "async_wait": result_of_async_wait,
    "backup_report": result_of_backup_report,
    "show_jobs": result_of_show_jobs,
    "update_report": result_of_update_report,
}
# What the jobs of an action have beside the keys that all records have, where it is known.
MORE_KEYS = {
    "async_cancel": [key for key in _listing.MORE if key != "tail"],
    "async_info": list(_listing.MORE),
    "async_prune": ["batch"],
    "async_wait": ["tail"],
}
# What the jobs of an action never have of those.
MISSING_KEYS = {"async_cancel": {"result"}, "async_prune": {"result"}}

ATTRIBUTES = {"action", "async", "check_mode", "diff_mode", "idempotent", "platform"}
# What every task returns, so that documentation does not speak of it.
COMMON = {"changed", "failed"}


def part(name: str, what: str) -> t.Any:
    found = getattr(MODULES[name], what)
    return yaml.safe_load(found) if isinstance(found, str) else found


def all_options(name: str) -> Entry:
    """The options in the documentation of an action, with those of its doc fragments."""
    documentation = part(name, "DOCUMENTATION")
    options: Entry = {}
    for fragment in documentation.get("extends_documentation_fragment", ()):
        # By its path: where another test has made a plugin loader, that would look for an installed collection.
        path = Path(action.__path__[0]).parent / "doc_fragments" / f"{fragment.rpartition('.')[2]}.py"
        found: dict[str, t.Any] = {}
        exec(compile(path.read_text(encoding="utf-8"), path, "exec"), found)
        options.update(yaml.safe_load(found["ModuleDocFragment"].DOCUMENTATION)["options"])
    own = documentation.get("options", {})
    return {**options, **own}  # what a plugin says itself of an option of a fragment counts


def documented_options(options: Entry) -> dict[str, Entry]:
    """The options as the documentation tells them, in the form of an argument spec with nothing left out.

    Those with an underscore are what an action tells its module: a task cannot set them.
    """
    given = {name: option for name, option in options.items() if not name.startswith("_")}
    return {name: normal(option, option.get("suboptions")) for name, option in given.items()}


def coded_options(spec: Entry) -> dict[str, Entry]:
    """An argument spec with nothing left out."""
    return {name: normal(option, option.get("options")) for name, option in spec.items()}


def normal(option: Entry, inner: Entry | None) -> Entry:
    choices = option.get("choices")
    return {
        "type": option.get("type", "str"),
        "elements": option.get("elements"),
        "default": option.get("default"),
        "choices": None if choices is None else sorted(choices),
        "aliases": sorted(option.get("aliases", [])),
        "required": option.get("required", False),
        "options": None
        if inner is None
        else {name: normal(one, one.get("suboptions", one.get("options"))) for name, one in inner.items()},
    }


def test_there_are_actions_to_look_at() -> None:
    assert "async_wait" in ACTIONS


@pytest.mark.parametrize("name", ACTIONS)
def test_the_documented_options_are_those_of_the_argument_spec(name: str) -> None:
    documented = documented_options(all_options(name))
    coded = coded_options(part(name, "ARGUMENT_SPEC"))
    assert documented.keys() == coded.keys()
    assert documented == coded


@pytest.mark.parametrize("name", ACTIONS)
def test_every_default_has_the_type_of_its_option(name: str) -> None:
    for option in part(name, "ARGUMENT_SPEC").values():
        kinds: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}
        if "default" in option and option["type"] in kinds:
            assert isinstance(option["default"], kinds[option["type"]])
            assert option["type"] == "bool" or not isinstance(option["default"], bool)


def test_a_default_that_the_documentation_leaves_out_would_be_noticed() -> None:
    spec = {"hold": {"type": "float", "default": 30}}
    assert documented_options({"hold": {"type": "float"}}) != coded_options(spec)
    assert documented_options({"hold": {"type": "float", "default": 30}}) == coded_options(spec)


@pytest.mark.parametrize("name", ACTIONS)
def test_all_attributes_are_documented(name: str) -> None:
    attributes = part(name, "DOCUMENTATION")["attributes"]
    assert set(attributes) >= ATTRIBUTES
    for attribute in attributes.values():
        assert attribute["description"]
        assert attribute["support"] in ("full", "partial", "none", "N/A")
        assert attribute["support"] != "partial" or attribute["details"]
    # What never leaves the controller works for hosts of any kind.
    expected = "posix" if part(name, "DOCUMENTATION")["options"].get("_request") else "all"
    assert attributes["platform"]["platforms"] == expected


@pytest.mark.parametrize("name", ACTIONS)
def test_the_documentation_is_that_of_this_plugin_and_complete(name: str) -> None:
    documentation = part(name, "DOCUMENTATION")
    assert documentation["module"] == name
    assert {"short_description", "description", "version_added", "author"} <= documentation.keys()
    assert "." not in documentation["short_description"]
    assert documentation["short_description"].strip() == documentation["short_description"]


@pytest.mark.parametrize("name", ACTIONS)
def test_what_is_returned_is_documented_and_what_is_documented_is_returned(name: str) -> None:
    assert name in RESULTS, f"tell in RESULTS what {name} returns"
    documented = set(part(name, "RETURN"))
    assert documented - COMMON == set(RESULTS[name]()) - COMMON


@pytest.mark.parametrize("name", ACTIONS)
def test_every_key_of_a_job_is_documented(name: str) -> None:
    jobs = part(name, "RETURN").get("jobs")
    if jobs is None:
        pytest.skip("returns no jobs")
    record = new_record("j1.1", "succeeded")
    always = [key for key in record if key not in MISSING_KEYS.get(name, ())]
    assert list(jobs["contains"]) == [*always, *MORE_KEYS.get(name, ())]
    assert [key for key, told in jobs["contains"].items() if "returned" in told] == MORE_KEYS.get(name, [])
    for key, value in record.items():
        if isinstance(value, bool):
            assert jobs["contains"][key]["type"] == "bool"


@pytest.mark.parametrize("name", ACTIONS)
def test_every_state_is_documented(name: str) -> None:
    returned = part(name, "RETURN")
    if "jobs" not in returned:
        pytest.skip("returns no jobs")
    told = " ".join(returned["jobs"]["contains"]["state"]["description"])
    assert [state for state in STATES if f"V({state})" not in told] == []
    if "summary" in returned:
        assert set(returned["summary"]["sample"]) == {"total", *STATES}


@pytest.mark.parametrize("name", ACTIONS)
def test_the_examples_use_options_that_exist(name: str) -> None:
    known = part(name, "ARGUMENT_SPEC")
    accepted = set(known).union(*(option.get("aliases", ()) for option in known.values()))
    used: set[str] = set()

    def look(value: object) -> None:
        if isinstance(value, dict):
            used.update((value.get(f"inflight.jobs.{name}") or {}).keys())
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(inner)

    look(part(name, "EXAMPLES"))
    assert used
    assert used <= accepted
