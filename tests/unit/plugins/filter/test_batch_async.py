# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.filter.batch_async import FilterModule

batch_async: t.Callable[..., t.Any] = FilterModule().filters()["batch_async"]


def test_the_first_argument_is_the_size() -> None:
    assert batch_async([30, 10, 20], 2) == [[30, 10], [20]]


def test_count_shares_the_items_out_in_order() -> None:
    assert batch_async((1, 2, 3, 4, 5), count=2) == [[1, 2], [3, 4, 5]]


def test_a_generator_as_jinja_makes_them_is_taken() -> None:
    assert batch_async((number for number in range(3)), size="2") == [[0, 1], [2]]


def test_an_attribute_puts_items_of_like_weight_together() -> None:
    items = [{"name": name, "mb": mb} for name, mb in (("a", 40), ("b", 1), ("c", 35), ("d", 2))]
    planned = batch_async(items, 2, weight="mb")
    assert [[item["name"] for item in batch] for batch in planned] == [["a", "c"], ["d", "b"]]


def test_a_dict_of_seconds_by_label_evens_batches_out() -> None:
    items = [{"meta": {"x": name}} for name in "abc"]
    assert batch_async(items, count=2, weight={"a": 1, "b": 9, "c": 2}, label="meta.x") == [
        [items[1]],
        [items[2], items[0]],
    ]


def test_items_come_back_unchanged() -> None:
    items = [{"name": "a"}, {"name": "b"}]
    planned = batch_async(items, 2, weight={"b": 1})
    assert planned[0][0] is items[0]
    assert items == [{"name": "a"}, {"name": "b"}]


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        ("abc", {"size": 2}, "items is 'abc' (str), not a list"),
        ([1], {"size": 0}, "size is 0: it must be a whole number, 1 or more"),
        ([1], {}, "neither size nor count is given: give one of them"),
        (["a"], {"size": 1, "weight": [-1]}, "weight of item 1 ('a') is -1: it must be a number of seconds, 0 or more"),
        (
            [{"name": "a"}],
            {"size": 1, "weight": {"a": 1}, "label": "x"},
            "label is 'x', but item 1 has no such attribute: ['name']",
        ),
    ],
)
def test_bad_input_is_an_error_of_one_sentence_that_core_shows_once(
    items: object, options: dict[str, object], message: str
) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        batch_async(items, **options)
    assert str(caught.value) == message
    # Core would append the message of a cause.
    assert caught.value.__cause__ is None
