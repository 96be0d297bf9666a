# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.filter.async_jobs import DOCUMENTATION, FilterModule
from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils import _registered

async_jobs = FilterModule().filters()["async_jobs"]

RECORDS = [_registered.new_record(f"j{number}.1", state, name=state) for number, state in enumerate(_jobs.STATES)]


def names(jobs: object) -> list[str]:
    assert isinstance(jobs, list)
    return [job["name"] for job in jobs]


def launch(number: int, item: object) -> dict[str, object]:
    return {"ansible_job_id": f"j{number}.1", "started": 1, "finished": 0, "item": item, "ansible_loop_var": "item"}


def test_without_states_all_jobs_are_listed_in_the_order_given() -> None:
    assert async_jobs({"jobs": RECORDS, "summary": {}}) == RECORDS


@pytest.mark.parametrize("state", _jobs.STATES)
def test_a_state_lists_the_jobs_in_it(state: str) -> None:
    assert names(async_jobs(RECORDS, state)) == [state]


def test_several_states_list_the_jobs_in_any_of_them() -> None:
    assert names(async_jobs(RECORDS, "lost", "failed")) == ["failed", "lost"]


def test_a_registered_loop_and_ids_become_one_flat_list() -> None:
    registered = {"results": [launch(1, "users"), {"skipped": True, "item": "audit"}, launch(2, "orders")]}
    assert names(async_jobs([registered, ["j3.4"]])) == ["users", "orders", "j3.4"]


def test_a_label_names_the_jobs() -> None:
    registered = {"results": [launch(1, {"meta": {"name": "users"}})]}
    assert names(async_jobs(registered, label="meta.name")) == ["users"]


def test_no_jobs_are_an_empty_list() -> None:
    assert async_jobs([]) == []
    assert async_jobs([], "failed") == []


@pytest.mark.parametrize(
    ("state", "named"), [("faild", "'faild'"), (None, "None"), (["failed", "lost"], "['failed', 'lost']")]
)
def test_an_unknown_state_is_named_with_the_choices(state: object, named: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        async_jobs([], "failed", state)
    assert str(caught.value) == f"there is no state {named}: choose from {', '.join(_jobs.STATES)}"


def test_what_is_no_job_is_an_error_that_says_where_it_stood() -> None:
    with pytest.raises(AnsibleFilterError, match=r"^the value\[1\] is a str that is no job id: 'x'$") as caught:
        async_jobs(["j1.2", "x"])
    assert caught.value.__cause__ is None


def test_the_documentation_lists_every_state() -> None:
    assert yaml.safe_load(DOCUMENTATION)["options"]["_states"]["choices"] == list(_jobs.STATES)
