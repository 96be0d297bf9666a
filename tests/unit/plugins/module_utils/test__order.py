# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import math
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs, _order, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._order import MAX_GRACE, Order, order_of

GOOD: dict[str, t.Any] = {"jobs": ["j1.0", "j1.2"], "reason": "enough", "signal_name": "TERM", "grace": 30.0}

ORDERS = st.builds(
    Order,
    st.frozensets(st.builds("j{}.{}".format, st.integers(0, 10**18), st.integers(0, 10**5)), max_size=5),
    st.text(),
    st.sampled_from(_processes.SIGNALS),
    st.floats(0, MAX_GRACE),
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["j1.0", "TERM", 1e9])
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, max_examples=40)
@given(ORDERS)
def test_an_order_arrives_as_it_was_said(order: Order) -> None:
    assert order_of(json.loads(json.dumps(order.text()))) == order


def test_a_grace_in_whole_seconds_is_a_grace() -> None:
    assert order_of({**GOOD, "grace": 0}) == Order(frozenset(GOOD["jobs"]), "enough", "TERM", 0.0)


def test_what_else_stands_in_an_order_is_left_out() -> None:
    assert order_of({**GOOD, "more": 5}) == order_of(GOOD)
    assert order_of(GOOD) is not None


@pytest.mark.parametrize("field", sorted(GOOD))
def test_an_order_that_says_less_is_none(field: str) -> None:
    assert order_of({name: value for name, value in GOOD.items() if name != field}) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("jobs", None),
        ("jobs", "j1.0"),
        ("jobs", {"j1.0": 1}),
        ("jobs", ["j1.0", 5]),
        ("jobs", ["j1.0", ["j1.2"]]),
        ("jobs", ["../x"]),
        ("jobs", ["j1.0\n"]),
        ("reason", None),
        ("reason", ["enough"]),
        ("signal_name", "STOP"),
        ("signal_name", "SIGTERM"),
        ("signal_name", "term"),
        ("signal_name", 15),
        ("signal_name", ["TERM"]),
        ("signal_name", {}),
        ("grace", "5"),
        ("grace", True),
        ("grace", None),
        ("grace", -1),
        ("grace", MAX_GRACE + 1),
        ("grace", 10**400),
        ("grace", math.inf),
        ("grace", math.nan),
    ],
)
def test_an_order_that_nobody_has_said_is_none(field: str, value: object) -> None:
    assert order_of({**GOOD, field: value}) is None


@settings(deadline=None, max_examples=60)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(GOOD, ANYTHING)) | st.dictionaries(st.text(), ANYTHING))
def test_whatever_stands_in_the_file_only_what_can_be_done_is_an_order(text: dict[str, t.Any]) -> None:
    _assert_can_be_done(order_of(text))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(GOOD)), ANYTHING)
def test_one_odd_field_does_no_harm(field: str, value: object) -> None:
    _assert_can_be_done(order_of({**GOOD, field: value}))


def _assert_can_be_done(order: Order | None) -> None:
    if order is not None:
        assert all(map(_jobs.is_job_id, order.jobs))
        assert order.signal_name in _processes.SIGNALS
        assert 0 <= order.grace <= _order.MAX_GRACE
        assert isinstance(order.reason, str)
        assert order_of(order.text()) == order
