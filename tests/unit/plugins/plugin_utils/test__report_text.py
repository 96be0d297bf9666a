# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.inflight.jobs.plugins.plugin_utils import _report_text as words
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_text import Row

from .reports import outside_of_code


@pytest.mark.parametrize(
    ("said", "source"),
    [
        ("a|b `c` *d*", r"a\|b \`c\` \*d\*"),
        ("<script>&lt;", "&lt;script&gt;&amp;lt;"),
        ("[x](http://y)", r"\[x\](http://y)"),
        ("my_set _em_ __x", r"my_set \_em\_ \_\_x"),
        ("back\\|slash", r"back\\\|slash"),
        ("~gone~", r"\~gone\~"),
    ],
)
def test_nothing_in_a_text_has_a_meaning_in_markdown(said: str, source: str) -> None:
    assert words.escaped(said) == source


def test_a_version_in_a_table_can_be_read_in_the_source() -> None:
    assert words.markdown_table(("Old",), [("3.0.14-1~deb12u2",)]).splitlines()[2] == "| 3.0.14-1~deb12u2 |"
    assert words.markdown_table(("Old",), [("1~a~b",)]).splitlines()[2] == r"| 1\~a\~b |"
    assert words.markdown_table(("Old",), [("\\~",)]).splitlines()[2] == r"| \\~ |"


@pytest.mark.parametrize(
    "lines",
    [
        ["plain"],
        ["```", "# a title", "````", "`````text", "<b>"],
        ["`" * 500],
        ["a ``` b", "   ```", "~~~"],
    ],
)
def test_no_line_ends_the_block_of_code_that_it_is_in(lines: list[str]) -> None:
    block = words.fenced(lines)
    assert list(outside_of_code(["before", *block.split("\n"), "after"])) == ["before", "after"]
    assert block.split("\n")[1:-1] == lines


def test_a_table_on_a_terminal_is_as_wide_as_it_may_be() -> None:
    lines = words.laid_out(
        ("HOST", "N", "CAUSE"),
        [Row(("ホスト名が長い", "5", "x" * 50), "bad"), Row(("web1", "10", ""), "good")],
        (8, 5),
        30,
        right=(1,),
    )
    assert [line.text for line in lines] == ["HOST      N CAUSE", "ホスト..  5 " + "x" * 16 + "..", "web1     10"]
    assert [line.kind for line in lines] == ["head", "bad", "good"]


def test_a_last_line_that_is_too_long_is_parted_at_its_commas() -> None:
    lines = words.last_lines("ok", "3 hosts succeeded", "40 packages changed on 8 hosts, 5 hosts rebooted, in 1m", 50)
    assert [line.text for line in lines] == [
        "3 hosts succeeded",
        "40 packages changed on 8 hosts, 5 hosts rebooted,",
        "in 1m",
    ]
    assert [line.text for line in words.last_lines("failed", "a", "b", 50)] == ["a; b"]
