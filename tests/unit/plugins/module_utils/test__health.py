# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What can be told without a host; the checks themselves are tested with the module.

from __future__ import annotations

import os
import socket
import threading
import typing as t

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils import _health
from ansible_collections.inflight.jobs.plugins.module_utils._health import Check, Found, Verdict

NOTHING = {"services": [], "ports": [], "urls": [], "commands": [], "failed_units": False, "packages": False}


def good(name: str) -> Found:
    return Found(name, True, "fine")


def bad(name: str) -> Found:
    return Found(name, False, "broken")


@pytest.mark.parametrize(
    ("found", "before", "verdict"),
    [
        ([], [], ([], [], [])),
        ([good("a"), bad("b")], [], (["b"], [], [])),
        ([good("a"), bad("b"), bad("c")], ["c", "a"], (["b"], ["c"], ["a"])),
        # What is not looked at any more is not known to be healthy.
        ([good("a")], ["b"], ([], [], [])),
        ([good("failed units")], ["unit x", "package y"], ([], [], ["unit x"])),
        ([good("dpkg database")], ["unit x", "package y"], ([], [], ["package y"])),
        ([bad("unit z"), bad("unit x")], ["unit x", "unit y"], (["unit z"], ["unit x"], ["unit y"])),
        # Nobody could look at the units.
        ([bad("failed units")], ["unit x"], (["failed units"], [], [])),
        ([bad("unit x")], ["failed units"], (["unit x"], [], ["failed units"])),
        ([good("a")], ["a", "a"], ([], [], ["a"])),
    ],
)
def test_a_look_is_compared_with_an_earlier_one(
    found: list[Found], before: list[str], verdict: tuple[list[str], ...]
) -> None:
    assert _health.judge(found, before) == Verdict(*verdict)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nlines\t and  spaces ", "two lines and spaces"),
        ("\x1b[31mred\x1b[0m\x00\u202eturned", "[31mred [0m turned"),
        ("a https://me:pass@host/x@y and http://tok@h", "a https://***@host/x@y and http://***@h"),
        ("http://host/?mail=a@b", "http://host/?mail=a@b"),
        ("x" * 500, "x" * 117 + "..."),
        ("", ""),
    ],
)
def test_what_is_shown_is_one_short_line(text: str, line: str) -> None:
    assert _health.clean(text) == line


def test_passwords_are_known() -> None:
    urls = ["http://a/", "http://me:pw@a/", "https://tok@b:1/c@d", "http://a/?mail=x@y"]
    assert _health.secrets_of(urls) == {"me:pw@", "tok@"}


def test_between_two_looks_there_is_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([[bad("a"), good("b")], [good("a"), bad("b")], [good("a"), good("b")]])
    monkeypatch.setattr(_health, "look", lambda checks, timeout: next(looks))
    now = [100.0]
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    options: dict[str, t.Any] = {**NOTHING, "baseline": None, "retries": 5, "delay": 2.5, "timeout": 1}
    result = _health.examine(options, lambda: now[0], sleep)
    assert pauses == [2.5, 2.5]
    assert (result["attempts"], result["elapsed"], result["healthy"]) == (3, 5.0, True)


def test_a_check_that_does_not_come_back_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    # As a name server may make it wait that does not answer.
    monkeypatch.setattr(_health, "_MARGIN", 0.1)
    leave = threading.Event()

    def wait(*dummy: object, **more: object) -> t.Any:
        leave.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    checks = _health.checks_of({**NOTHING, "ports": ["host.invalid:1"], "commands": ["true"]})
    try:
        found = _health.look(checks, 0.2)
    finally:
        leave.set()
    assert found[0] == Found("port host.invalid:1", False, "no answer in 0.2 s")
    assert found[1].ok


def test_a_check_with_a_bug_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda dummy: None)

    def fail(check: Check, timeout: float) -> list[Found]:
        raise KeyError("x")

    assert _health.look([Check("a", fail)], 5) == [Found("a", False, "this check itself failed")]


def test_a_command_that_cannot_be_run_is_a_fault() -> None:
    (found,) = _health.look(_health.checks_of({**NOTHING, "commands": ["echo \0"]}), 5)
    assert (found.ok, found.msg) == (False, "embedded null byte")


def test_no_descriptor_is_left_open() -> None:
    checks = _health.checks_of({**NOTHING, "commands": [f"exit {code}" for code in range(8)]})
    _health.look(checks, 20)
    before = len(os.listdir("/proc/self/fd"))
    _health.look(checks, 20)
    assert len(os.listdir("/proc/self/fd")) == before
