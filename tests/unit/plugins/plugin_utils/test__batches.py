# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import json
import math
import os
import typing as t
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.plugin_utils import _batches
from ansible_collections.inflight.jobs.plugins.plugin_utils._batches import BatchError, Run

SIZES = st.integers(1, 12)
# Whole numbers: sums of them are exact, so bounds can be compared without a tolerance.
WEIGHTS = st.lists(st.integers(0, 1000), max_size=40)


def flat(batches: Sequence[Sequence[t.Any]]) -> list[t.Any]:
    return list(itertools.chain.from_iterable(batches))


def numbered(weights: Sequence[float]) -> list[int]:
    """Items that can be told apart, whatever their weights."""
    return list(range(len(weights)))


def optimum(weights: Sequence[int], batches: int) -> int:
    """The shortest possible longest sum, found by trying every way to share the items out."""
    best = sum(weights)
    for choice in itertools.product(range(batches), repeat=len(weights)):
        sums = [0] * batches
        for weight, batch in zip(weights, choice, strict=True):
            sums[batch] += weight
        best = min(best, max(sums))
    return best


# What holds for every plan


@given(WEIGHTS, SIZES, st.booleans(), st.booleans())
def test_every_item_is_in_exactly_one_batch_and_no_batch_is_empty(
    weights: list[int], number: int, by_size: bool, weighted: bool
) -> None:
    option: dict[str, t.Any] = {"size" if by_size else "count": number}
    batches = _batches.plan(numbered(weights), weights=weights if weighted else None, **option)
    assert sorted(flat(batches)) == numbered(weights)
    assert all(batches)


@given(WEIGHTS, SIZES, st.booleans())
def test_with_size_all_batches_but_the_last_are_full(weights: list[int], size: int, weighted: bool) -> None:
    batches = _batches.plan(numbered(weights), size=size, weights=weights if weighted else None)
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(len(batch) <= size for batch in batches[-1:])


@given(WEIGHTS, SIZES, st.booleans())
def test_with_count_there_are_at_most_so_many_batches(weights: list[int], count: int, weighted: bool) -> None:
    assert len(_batches.plan(numbered(weights), count=count, weights=weights if weighted else None)) <= count


@given(st.lists(st.integers()), SIZES, st.booleans())
def test_without_weights_the_order_is_kept(items: list[int], number: int, by_size: bool) -> None:
    option: dict[str, t.Any] = {"size" if by_size else "count": number}
    assert flat(_batches.plan(items, **option)) == items


@given(st.lists(st.integers(), min_size=1), SIZES)
def test_with_count_and_no_weights_batches_are_as_even_as_possible(items: list[int], count: int) -> None:
    lengths = [len(batch) for batch in _batches.plan(items, count=count)]
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) == min(count, len(items))


@given(WEIGHTS, SIZES)
def test_with_size_the_weighted_plan_never_takes_longer_than_the_given_order(weights: list[int], size: int) -> None:
    def length(batches: list[list[int]]) -> int:
        return sum(max(weights[item] for item in batch) for batch in batches)

    items = numbered(weights)
    assert length(_batches.plan(items, size=size, weights=weights)) <= length(_batches.plan(items, size=size))


@given(WEIGHTS, SIZES)
def test_with_size_the_heaviest_items_come_first(weights: list[int], size: int) -> None:
    planned = [weights[item] for item in flat(_batches.plan(numbered(weights), size=size, weights=weights))]
    assert planned == sorted(weights, reverse=True)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=7), st.integers(1, 3))
def test_with_count_the_longest_batch_is_within_grahams_bound_of_the_best_plan(weights: list[int], count: int) -> None:
    batches = _batches.plan(numbered(weights), count=count, weights=weights)
    longest = max(sum(weights[item] for item in batch) for batch in batches)
    # longest <= (4/3 - 1/(3 * count)) * optimum, without fractions
    assert 3 * count * longest <= (4 * count - 1) * optimum(weights, count)


def test_grahams_bound_is_reached_by_his_own_worst_case() -> None:
    weights = [5, 5, 4, 4, 3, 3, 3]
    batches = _batches.plan(numbered(weights), count=3, weights=weights)
    assert max(sum(weights[item] for item in batch) for batch in batches) == 11
    assert optimum(weights, 3) == 9


@given(st.lists(st.integers(0, 3), max_size=20), SIZES, st.booleans())
def test_items_of_equal_weight_keep_their_order_within_a_batch(weights: list[int], number: int, by_size: bool) -> None:
    option: dict[str, t.Any] = {"size" if by_size else "count": number}
    for batch in _batches.plan(numbered(weights), weights=weights, **option):
        assert batch == sorted(batch, key=lambda item: (-weights[item], item))


# Plans worked out by hand


def test_an_empty_list_gives_no_batches() -> None:
    assert _batches.plan([], size=3) == []
    assert _batches.plan([], count=3) == []
    assert _batches.plan([], count=3, weights=[]) == []


def test_with_size_items_of_like_weight_go_together() -> None:
    assert _batches.plan(["a", "b", "c", "d"], size=2, weights=[5, 50, 4, 40]) == [["b", "d"], ["a", "c"]]


def test_with_count_each_item_goes_to_the_shortest_batch() -> None:
    planned = _batches.plan(["a", "b", "c", "d", "e"], count=3, weights=[60, 50, 40, 30, 20])
    assert planned == [["a"], ["b", "e"], ["c", "d"]]


def test_with_count_and_equal_sums_the_first_batch_is_taken() -> None:
    assert _batches.plan(["a", "b", "c", "d"], count=2, weights=[4, 2, 2, 1]) == [["a", "d"], ["b", "c"]]


def test_a_count_far_above_the_number_of_items_costs_nothing() -> None:
    assert _batches.plan(["a", "b"], count=10**17) == [["a"], ["b"]]
    assert _batches.plan(["a", "b"], size=10**17) == [["a", "b"]]


def test_digits_in_a_string_are_a_number_as_jinja_hands_them_over() -> None:
    assert _batches.plan([1, 2, 3], size="2") == [[1, 2], [3]]
    assert _batches.plan([1, 2, 3], count="2") == [[1], [2, 3]]


@pytest.mark.parametrize("option", ["size", "count"])
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (0, "0"),
        (-1, "-1"),
        (True, "True"),
        (2.0, "2.0"),
        ("2.0", "'2.0'"),
        ("two", "'two'"),
        ("", "''"),
        ("\u00b2", "'\u00b2'"),
        ([2], "[2]"),
    ],
)
def test_a_bad_size_or_count_is_named(option: str, value: object, named: str) -> None:
    with pytest.raises(BatchError) as caught:
        _batches.plan([1], **{option: value})  # type: ignore[arg-type]
    assert str(caught.value) == f"{option} is {named}: it must be a whole number, 1 or more"


def test_a_bad_size_is_an_error_for_an_empty_list_too() -> None:
    with pytest.raises(BatchError, match="size is 0"):
        _batches.plan([], size=0)


def test_size_and_count_together_are_an_error() -> None:
    with pytest.raises(BatchError, match=r"^size is 2 and count is 3: give one of them, not both$"):
        _batches.plan([1], size=2, count=3)


def test_neither_size_nor_count_is_an_error() -> None:
    with pytest.raises(BatchError, match=r"^neither size nor count is given: give one of them$"):
        _batches.plan([1])


# Items


@pytest.mark.parametrize("value", [[1, 2], (1, 2), iter([1, 2]), {1: "a", 2: "b"}.keys()])
def test_items_may_be_anything_that_can_be_walked_through(value: object) -> None:
    assert _batches.as_items(value) == [1, 2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("abc", "items is 'abc' (str), not a list"),
        (b"abc", "items is b'abc' (bytes), not a list"),
        (None, "items is empty (null), not a list"),
        (5, "items is 5 (int), not a list"),
        ({"a": 1}, "items is a dict, not a list: turn it into a list with ansible.builtin.dict2items"),
    ],
)
def test_items_that_are_no_list_are_named(value: object, message: str) -> None:
    with pytest.raises(BatchError) as caught:
        _batches.as_items(value)
    assert str(caught.value) == message


# Weights

USERS = [{"name": "users", "stats": {"mb": 1}}, {"name": "orders", "stats": {"mb": 9}}, {"name": "stock"}]
WEIGHT_KINDS = "it must be the name of an attribute, a dict of item names and seconds, or a list of numbers"


def test_no_weight_and_an_empty_dict_keep_the_order() -> None:
    assert _batches.weights_of(USERS, None) is None
    assert _batches.weights_of(USERS, {}) is None


def test_weight_by_attribute_goes_down_at_dots_and_unknown_ones_count_as_the_median() -> None:
    assert _batches.weights_of(USERS, "stats.mb") == [1, 9, 5]


def test_weight_by_dict_goes_by_the_name_of_the_item() -> None:
    assert _batches.weights_of(USERS, {"users": 3, "stock": 7, "gone": -1}) == [3, 5, 7]


def test_weight_by_dict_goes_by_the_label_where_there_is_one() -> None:
    items = [{"meta": {"id": 7}}, {"meta": {"id": 8}}]
    assert _batches.weights_of(items, {7: 3, "8": 4}, label="meta.id") == [3, 4]


def test_weight_by_list_takes_numbers_in_strings_and_null_for_unknown() -> None:
    assert _batches.weights_of(["a", "b", "c"], ["1.5", None, 2]) == [1.5, 1.75, 2]
    assert _batches.weights_of(["a", "b"], iter([1, 2])) == [1, 2]


@pytest.mark.parametrize("weight", ["mb", {"a": 1}, []])
def test_weights_for_no_items_are_no_error(weight: object) -> None:
    assert _batches.weights_of([], weight) == []


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (math.nan, "nan"),
        ("nan", "'nan'"),
        (math.inf, "inf"),
        (-1, "-1"),
        (-0.5, "-0.5"),
        (True, "True"),
        ("soon", "'soon'"),
        ([1], "[1]"),
        ({"mb": 1}, "{'mb': 1}"),
        (10**400, "1000"),
    ],
)
@pytest.mark.parametrize("given_as", ["attribute", "dict", "list"])
def test_a_bad_weight_is_named_with_its_item(value: object, named: str, given_as: str) -> None:
    items = [{"name": "orders", "mb": 1}, {"name": "users", "mb": value}]
    weight = {"attribute": "mb", "dict": {"orders": 1, "users": value}, "list": [1, value]}[given_as]
    with pytest.raises(BatchError) as caught:
        _batches.weights_of(items, weight)
    assert str(caught.value).startswith(f"weight of item 2 ('users') is {named}")
    assert str(caught.value).endswith(": it must be a number of seconds, 0 or more")


def test_a_bad_weight_of_an_item_without_a_name_is_named_by_its_number() -> None:
    with pytest.raises(BatchError, match=r"^weight of item 1 is -1: "):
        _batches.weights_of([[1, 2]], [-1])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("mb", "weight is 'mb', but no item has that attribute: item 1 has 'name', 'stats'"),
        (
            {"x": 1, "y": 2},
            "weight has no entry for any item: items are 'users', 'orders', 'stock'; weight has 'x', 'y'",
        ),
        ([None, None, None], "weight is a list that holds no number"),
        ([1, 2], "weight is a list of length 2, but there are 3 items"),
        (
            "",
            f"weight is '' (str): {WEIGHT_KINDS}",
        ),
        (
            5,
            f"weight is 5 (int): {WEIGHT_KINDS}",
        ),
    ],
)
def test_a_weight_that_fits_no_item_says_what_was_looked_for_and_what_is_there(weight: object, message: str) -> None:
    with pytest.raises(BatchError) as caught:
        _batches.weights_of(USERS, weight)
    assert str(caught.value) == message


def test_a_weight_by_attribute_for_items_that_are_strings_says_so() -> None:
    with pytest.raises(BatchError, match=r"item 1 is 'users' \(str\)$"):
        _batches.weights_of(["users"], "mb")


def test_an_error_about_many_names_stays_short() -> None:
    with pytest.raises(BatchError, match=r"'0', '1', '2', '3', '4' and 995 more; weight has 'x'$"):
        _batches.weights_of(list(range(1000)), {"x": 1})


def test_a_label_that_an_item_has_not_got_is_named() -> None:
    with pytest.raises(BatchError, match=r"label is 'nm', but item 1 has no such attribute"):
        _batches.weights_of(USERS, {"users": 1}, label="nm")


# Weights from a job log


def entry(name: str, elapsed: object, host: str = "web1", state: str = "succeeded") -> str:
    return json.dumps({"host": host, "name": name, "item": name, "state": state, "elapsed": elapsed}) + "\n"


def logged(path: Path, *lines: str) -> tuple[list[Run], list[str]]:
    path.write_text("".join(lines), encoding="utf-8")
    warnings: list[str] = []
    return _batches.logged_runs(str(path), warnings.append), warnings


def test_a_weight_is_the_median_of_the_same_name_on_the_same_host_else_on_any_else_of_all() -> None:
    runs = [Run("web1", "a", 1), Run("web1", "a", 3), Run("web2", "a", 100), Run("web2", "b", 50), Run("web3", "b", 70)]
    assert _batches.weights_of_runs(["a", "b", "new", ["no name"]], runs, "web1") == [2, 60, 50, 50]
    assert _batches.weights_of_runs(["a"], runs, None) == [3]


def test_a_name_in_a_log_may_come_from_a_label() -> None:
    runs = [Run("web1", "a", 1), Run("web1", "b", 9)]
    assert _batches.weights_of_runs([{"meta": {"x": "b"}}], runs, "web1", label="meta.x") == [9]


def test_no_runs_keep_the_order() -> None:
    assert _batches.weights_of_runs(["a"], [], "web1") is None


def test_only_succeeded_jobs_of_a_known_length_count(tmp_path: Path) -> None:
    runs, warnings = logged(
        tmp_path / "log",
        entry("a", 5),
        entry("a", 1, state="failed"),
        entry("a", None),
        entry("a", -1),
        entry("a", math.nan),
        entry("a", True),
        "\n",
        "{}\n",
        entry("b", 6.5, host="web2"),
    )
    assert runs == [Run("web1", "a", 5), Run("web2", "b", 6.5)]
    assert warnings == []


def test_no_log_yet_and_an_empty_log_are_no_error(tmp_path: Path) -> None:
    assert _batches.logged_runs(str(tmp_path / "none" / "log"), pytest.fail) == []
    assert logged(tmp_path / "log") == ([], [])


@pytest.mark.parametrize("line", ["oops\n", "[1]\n", "5\n", '{"host": "we', "[" * 100000])
def test_a_broken_last_line_is_left_out_with_a_warning(tmp_path: Path, line: str) -> None:
    runs, warnings = logged(tmp_path / "log", entry("a", 5), line)
    assert runs == [Run("web1", "a", 5)]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"line 2 of the job log {tmp_path}/log is no JSON object: ")
    assert warnings[0].endswith("It is the last line and is left out.")


def test_a_broken_line_before_the_last_is_an_error_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(BatchError) as caught:
        logged(tmp_path / "log", entry("a", 5), "oops\n", entry("b", 6))
    assert str(caught.value) == f"line 2 of the job log {tmp_path}/log is no JSON object: 'oops'"


def test_a_line_that_is_not_utf8_is_broken(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"name": "\xff"}\n' + entry("a", 5).encode())
    with pytest.raises(BatchError, match="line 1 of the job log"):
        _batches.logged_runs(str(tmp_path / "log"), pytest.fail)


def test_a_log_that_is_a_directory_or_a_pipe_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match=rf"^the job log {tmp_path} is a directory$"):
        _batches.logged_runs(str(tmp_path), pytest.fail)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BatchError, match=r"pipe is not a regular file$"):
        _batches.logged_runs(str(tmp_path / "pipe"), pytest.fail)


def test_a_log_that_cannot_be_opened_is_an_error_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*dummy_args: object) -> t.NoReturn:
        raise PermissionError(13, "Permission denied")

    # Not by its mode: root, who may run these tests, can read every file.
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(BatchError, match=r"log cannot be read: Permission denied$"):
        _batches.logged_runs(str(tmp_path / "log"), pytest.fail)


def test_items_that_all_weigh_nothing_are_still_spread_over_all_batches() -> None:
    assert _batches.plan(["a", "b", "c"], count=3, weights=[0, 0, 0]) == [["a"], ["b"], ["c"]]
