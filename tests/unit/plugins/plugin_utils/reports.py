# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# What the tests of reports share: what a host can say that it should not, and what any report must be all the same.
import json
import re
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping

from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.plugin_utils import _table
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_reading import Report
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_text import MAX_TEXT, Told

NOW = 1795262400.0  # 2026-11-21T12:00:00Z

Data = dict[str, t.Any]
Tell = Callable[[t.Any, Iterable[str]], Told]

WRONG_NUMBERS = [float("nan"), float("inf"), -1, 10**400, True, "12", None, [1]]

SAID_WITH_A_PASSWORD = [
    "cannot open https://backup:hunter2@nas/repo",
    "cannot open rest:https://hunter2@nas:8000/",
    "postgresql://backup:pa/hunter2@db/app?x=1 is down",
    "PGPASSWORD=hunter2 pg_dump: failed",
    "mysqldump --password=hunter2 ended with 2",
    "password = 'a hunter2'",
    '{"token": "a hunter2"}',
    "AWS_SECRET_ACCESS_KEY='hunter2",
]


def text(tell: Tell, report: Report[t.Any]) -> str:
    """The text for a notification."""
    return tell(report, [host.host for host in report.hosts]).text


def failed_hosts(tell: Tell, report: Report[t.Any], names: Iterable[str]) -> dict[str, str]:
    return tell(report, names).failed_hosts


def everything(tell: Tell, report: Report[t.Any]) -> str:
    """All that anybody is told."""
    told = tell(report, [host.host for host in report.hosts])
    lines = [line.text for line in told.lines(80)]
    return "\n".join([told.msg, told.text, *lines, *told.failed_hosts.values(), *_contents(told)])


def _contents(told: Told) -> Iterator[str]:
    return (make() for make in told.contents.values())


# What hypothesis has hosts say.

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.binary(max_size=5)
    | st.sampled_from(["ok", "succeeded", "failed", "2026-11-21T11:00:00Z", "2026-11-21", "| `x` <b>\n# y", 10**400])
    | st.sampled_from(["not_touched", "running", "unreachable", "yes", "unknown", "```", "~~~\n````", "a~b~c"])
)


def anything(keys: Iterable[str]) -> st.SearchStrategy[t.Any]:
    """Any value, with dicts that have some of these keys."""
    some_keys = st.sampled_from(sorted(set(keys)))
    return st.recursive(
        ATOMS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(some_keys | ATOMS, inner, max_size=6),
        max_leaves=30,
    )


def results_of(
    values: st.SearchStrategy[t.Any], keys: Mapping[str, st.SearchStrategy[t.Any]]
) -> st.SearchStrategy[dict[t.Any, t.Any]]:
    """What hosts of a run said: nothing, any of the values, or a dict with some of the keys and always a state."""
    optional = {key: strategy for key, strategy in keys.items() if key != "state"}
    one = st.none() | values | st.fixed_dictionaries({"state": keys["state"]}, optional=optional)
    return st.dictionaries(st.text(max_size=20) | st.integers(), one, max_size=4)


def _refuse(constant: str) -> t.NoReturn:
    raise AssertionError(constant)


def expect_a_whole_report(told: Told, results: dict[t.Any, t.Any], width: int, a_line: re.Pattern[str]) -> None:
    """A report has all hosts, is strict JSON, fits where it goes, and nothing in it has a meaning that it should not.

    :param a_line: all that a line of Markdown can be.
    """
    data = json.loads(told.contents["json"]().encode(), parse_constant=_refuse)
    assert len(data["hosts"]) == told.summary["hosts"] == len(results)
    assert sum(number for key, number in told.summary.items() if key in _COUNTED) == len(results)
    assert all(told.failed_hosts.values())
    assert bool(told.failed_hosts) == (told.state == "failed") or not results
    for line in told.lines(width):
        assert _table._width(line.text) <= width
        assert line.text.isprintable()
    assert len(told.text) <= MAX_TEXT
    assert all(line.isprintable() for line in told.text.split("\n"))
    page = told.contents["markdown"]().split("\n")
    assert all(line.isprintable() for line in page)
    for line in outside_of_code(page):
        assert "<" not in line
        assert a_line.fullmatch(line)


_COUNTED = [f"hosts_{state}" for state in ("ok", "warning", "not_touched", "failed", "unreachable")]


def outside_of_code(page: Iterable[str]) -> Iterator[str]:
    """The lines of Markdown that are in no block of code; each block ends where CommonMark says."""
    fence = ""
    for line in page:
        opened = re.match(" {0,3}(`{3,})[^`]*$", line)
        closed = re.match(" {0,3}(`{3,}) *$", line)
        if fence:
            if closed and len(closed[1]) >= len(fence):
                fence = ""
        elif opened:
            fence = opened[1]
        else:
            yield line
    assert not fence
