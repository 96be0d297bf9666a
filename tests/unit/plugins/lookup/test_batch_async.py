# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader

from ansible_collections.inflight.jobs.plugins.doc_fragments import batches
from ansible_collections.inflight.jobs.plugins.lookup import batch_async

NAME = "inflight.jobs.batch_async"
LOG = [("web1", "a", 5), ("web1", "b", 50), ("web2", "c", 40), ("web1", "d", 4)]


@pytest.fixture
def query(tmp_path: Path) -> t.Callable[..., t.Any]:
    """Call the lookup as a template in a playbook in tmp_path, run for host web1, does it."""
    loader = DataLoader()
    loader.set_basedir(str(tmp_path))
    # What core's plugin loader does with the options documented.
    options = {
        **yaml.safe_load(batches.ModuleDocFragment.DOCUMENTATION)["options"],
        **yaml.safe_load(batch_async.DOCUMENTATION)["options"],
    }
    constants.config.initialize_plugin_configuration_definitions("lookup", NAME, options)

    def run(*terms: object, **options: object) -> t.Any:
        lookup = batch_async.LookupModule(loader=loader)
        lookup._load_name = NAME
        return lookup.run(list(terms), variables={"inventory_hostname": "web1"}, **options)

    return run


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    shown: list[str] = []
    monkeypatch.setattr(batch_async.display, "warning", shown.append)
    return shown


def write_log(path: Path, tail: str = "") -> None:
    lines = (
        json.dumps({"host": host, "name": name, "item": name, "state": "succeeded", "elapsed": elapsed}) + "\n"
        for host, name, elapsed in LOG
    )
    path.write_text("".join(lines) + tail, encoding="utf-8")


def test_one_list_is_cut(query: t.Callable[..., t.Any]) -> None:
    assert query([1, 2, 3], size=2) == [[1, 2], [3]]
    assert query([1, 2, 3], count="2") == [[1], [2, 3]]


def test_lists_and_single_items_are_put_one_after_another(query: t.Callable[..., t.Any]) -> None:
    assert query([1, [2]], "three", (4,), 5, size=4) == [[1, [2], "three", 4], [5]]


def test_nothing_gives_no_batches(query: t.Callable[..., t.Any]) -> None:
    assert query([], size=2) == []
    assert query(size=2) == []


def test_weight_and_label_work_as_in_the_filter(query: t.Callable[..., t.Any]) -> None:
    items = [{"meta": {"x": name}} for name in "abc"]
    planned = query(items, size=2, weight={"a": 1, "b": 9, "c": 2}, label="meta.x")
    assert planned == [[items[1], items[2]], [items[0]]]


def test_a_job_log_beside_the_playbook_gives_the_weights(query: t.Callable[..., t.Any], tmp_path: Path) -> None:
    write_log(tmp_path / "backup.jsonl")
    assert query(list("abcd"), size=2, job_log="backup.jsonl") == [["b", "c"], ["a", "d"]]


def test_a_job_log_goes_by_the_host_that_the_plan_is_for(query: t.Callable[..., t.Any], tmp_path: Path) -> None:
    line = {"host": "web9", "name": "d", "item": "d", "state": "succeeded", "elapsed": 5000}
    write_log(tmp_path / "backup.jsonl", json.dumps(line) + "\n")
    assert query(list("abcd"), size=2, job_log="backup.jsonl") == [["b", "c"], ["a", "d"]]


def test_a_job_log_may_be_in_the_home_directory(
    query: t.Callable[..., t.Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    write_log(home / "backup.jsonl")
    assert query(list("abcd"), size=2, job_log="~/backup.jsonl") == [["b", "c"], ["a", "d"]]


def test_a_job_log_serves_items_that_have_a_label(query: t.Callable[..., t.Any], tmp_path: Path) -> None:
    write_log(tmp_path / "backup.jsonl")
    items = [{"meta": {"x": name}} for name in "ab"]
    assert query(items, size=1, job_log="backup.jsonl", label="meta.x") == [[items[1]], [items[0]]]


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_the_first_run_has_no_log_and_keeps_the_order(
    query: t.Callable[..., t.Any], tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "backup.jsonl").write_text(content, encoding="utf-8")
    assert query(list("abcd"), count=2, job_log="backup.jsonl") == [["a", "b"], ["c", "d"]]


def test_a_log_cut_off_in_its_last_line_still_serves_with_a_warning(
    query: t.Callable[..., t.Any], tmp_path: Path, warnings: list[str]
) -> None:
    write_log(tmp_path / "backup.jsonl", '{"host": "we')
    assert query(list("abcd"), size=2, job_log="backup.jsonl") == [["b", "c"], ["a", "d"]]
    assert len(warnings) == 1
    assert "line 5 of the job log" in warnings[0]


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        ([[1]], {"size": True}, "size is True: it must be a whole number, 1 or more"),
        ([[1]], {"size": 2.0}, "size is 2.0: it must be a whole number, 1 or more"),
        ([[1]], {}, "neither size nor count is given: give one of them"),
        ([[1]], {"size": 1, "count": 1}, "size is 1 and count is 1: give one of them, not both"),
        (
            [["a"]],
            {"size": 1, "weight": [-1]},
            "weight of item 1 ('a') is -1: it must be a number of seconds, 0 or more",
        ),
        (
            [["a"]],
            {"size": 1, "weight": [1], "job_log": "x"},
            "weight and job_log are both given: give one of them, not both",
        ),
        (
            [["a"]],
            {"size": 1, "weigth": [1]},
            "there is no option weigth: choose from size, count, weight, label, job_log",
        ),
        (
            [[1], {"a": 1}],
            {"size": 1},
            "term 2 is a dict, not a list: turn it into a list with ansible.builtin.dict2items",
        ),
        ([None], {"size": 1}, "term 1 is empty (null), not a list"),
    ],
)
def test_bad_input_is_an_error_of_one_sentence_that_core_shows_once(
    query: t.Callable[..., t.Any], terms: list[object], options: dict[str, object], message: str
) -> None:
    with pytest.raises(AnsibleLookupError) as caught:
        query(*terms, **options)
    assert str(caught.value) == message
    # Core would append the message of a cause.
    assert caught.value.__cause__ is None


def test_a_broken_log_is_an_error_with_file_and_line(query: t.Callable[..., t.Any], tmp_path: Path) -> None:
    (tmp_path / "backup.jsonl").write_text("oops\n{}\n", encoding="utf-8")
    with pytest.raises(AnsibleLookupError, match=r"^line 1 of the job log .*/backup\.jsonl is no JSON object: 'oops'$"):
        query(["a"], size=1, job_log="backup.jsonl")


def test_a_log_that_is_a_directory_is_an_error(query: t.Callable[..., t.Any], tmp_path: Path) -> None:
    (tmp_path / "backup.jsonl").mkdir()
    with pytest.raises(AnsibleLookupError, match=r"backup\.jsonl is a directory$"):
        query(["a"], size=1, job_log="backup.jsonl")
