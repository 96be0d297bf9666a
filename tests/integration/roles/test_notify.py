# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The role that tells people, as a play of a user includes it.

from __future__ import annotations

import json
import os
import typing as t
from email import message_from_string
from pathlib import Path

import pytest

from ...support import Outcome
from ..async_batch.conftest import BatchSandbox
from .conftest import Listener

# What a host says is sent as it is.
HOSTILE = "web1: failed: {{ lookup('pipe', 'id') }} é"

REPORT: dict[str, t.Any] = {
    "state": "failed",
    "text": "{{ said.stdout }}",
    "summary": {"hosts": 2},
    "failed_hosts": {"web1": "broken"},
}


def tell(sandbox: BatchSandbox, *arguments: str, hosts: str = "alpha,beta", **variables: t.Any) -> Outcome:
    """Include the role, with its variables without their prefix, and show on each host what it left."""
    said = sandbox.folder / "said"
    said.write_text(HOSTILE, encoding="utf-8")
    tasks: list[dict[str, t.Any]] = [
        {"name": "Hear the host", "ansible.builtin.command": f"cat {said}", "check_mode": False, "register": "said"},
        {
            "name": "Tell people",
            "ansible.builtin.include_role": {"name": "inflight.jobs.notify"},
            # Without run_once, which is easily forgotten.
            "vars": {f"notify_{name}": value for name, value in variables.items()},
        },
        {"name": "Show it", "ansible.builtin.debug": {"var": "notify_failed"}},
    ]
    folder = sandbox.folder / "bin"
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return sandbox.start_tasks(
        tasks,
        *arguments,
        play={"hosts": hosts},
        environment={"PATH": path},
    ).outcome()


def program(sandbox: BatchSandbox, name: str) -> Path:
    """A program on the controller that adds what it is told to a file, which is returned."""
    folder = sandbox.folder / "bin"
    folder.mkdir(exist_ok=True)
    seen = sandbox.folder / name
    path = folder / name
    path.write_text(f'#!/bin/sh\n{{ echo "$*|$NOTIFY_STATE|$NOTIFY_SUBJECT"; cat; }} >> {seen}\n', encoding="utf-8")
    path.chmod(0o755)
    return seen


def test_everybody_is_told_once_for_all_hosts(sandbox: BatchSandbox, listener: Listener) -> None:
    mailed, given = program(sandbox, "sendmail"), program(sandbox, "tell")
    to = [
        {"type": "webhook", "url": listener.url("/hook")},
        {"type": "mail", "address": "ops@example.com"},
        {"type": "command", "command": "tell --tag jobs"},
    ]
    outcome = tell(sandbox, report=REPORT, to=to, subject="Certificates", ping_url=listener.url("/ping"))
    assert outcome.rc == 0, outcome.output
    # web1 has failed, so nothing tells the dead man's switch that all is well.
    ((path, posted),) = listener.told
    assert path == "/hook"
    assert json.loads(posted) == {"text": HOSTILE, "state": "failed", "summary": {"hosts": 2}}
    first, dummy, mail = mailed.read_text(encoding="utf-8").partition("\n")
    assert first == "-t -i||"
    message = message_from_string(mail)
    assert (message["To"], message["Subject"]) == ("ops@example.com", "Certificates: failed")
    assert str(message.get_payload()).strip() == HOSTILE
    assert given.read_text(encoding="utf-8").strip() == f"--tag jobs|failed|Certificates\n{HOSTILE}"
    for host in ("alpha", "beta"):
        assert outcome.result("Show it", host)["notify_failed"] is False


def test_sendmail_is_looked_for_where_the_administrator_has_it(sandbox: BatchSandbox) -> None:
    folder = sandbox.folder / "bin"
    folder.mkdir()
    seen = sandbox.folder / "seen"
    fake = folder / "sendmail"
    fake.write_text(f'#!/bin/sh\ncat > /dev/null\necho "$PATH" > {seen}\n', encoding="utf-8")
    fake.chmod(0o755)
    to = [{"type": "mail", "address": "ops@example.com"}]
    outcome = tell(sandbox, report=REPORT, to=to, hosts="alpha")
    assert outcome.result("Show it", "alpha")["notify_failed"] is False
    # What somebody has put in front of it comes first, as here.
    path = seen.read_text(encoding="utf-8").strip()
    assert path == f"{folder}{os.pathsep}{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin"
    fake.write_text("#!/bin/sh\ncat > /dev/null\nexit 75\n", encoding="utf-8")
    outcome = tell(sandbox, report=REPORT, to=to, hosts="alpha")
    assert outcome.result("Show it", "alpha")["notify_failed"] is True


def test_a_command_need_not_read_the_text(sandbox: BatchSandbox) -> None:
    given = program(sandbox, "tell")
    # More than fits into a pipe.
    report = {"state": "failed", "text": "x" * 200_000}
    to = [{"type": "command", "command": command} for command in ("true", "tell 'two words' '$@'")]
    outcome = tell(sandbox, report=report, to=to, hosts="alpha")
    assert outcome.result("Show it", "alpha")["notify_failed"] is False
    assert given.read_text(encoding="utf-8").startswith("two words $@|failed|Report\nxxx")
    # Its exit code counts all the same.
    to = [{"type": "command", "command": "sh -c 'exit 3'"}]
    outcome = tell(sandbox, report=report, to=to, hosts="alpha", no_log=False)
    assert outcome.result("Show it", "alpha")["notify_failed"] is True
    assert '"rc": 3' in outcome.output


def test_who_cannot_be_told_fails_nothing_and_is_remembered_on_all_hosts(sandbox: BatchSandbox) -> None:
    given = program(sandbox, "tell")
    to = [{"type": "command", "command": command} for command in ("false --token=secret", "tell")]
    outcome = tell(sandbox, "-vv", report=REPORT, to=to)
    assert outcome.rc == 0, outcome.output
    assert given.exists()
    assert "secret" not in outcome.output
    for host in ("alpha", "beta"):
        assert outcome.result("Show it", host)["notify_failed"] is True
    assert "--token=secret" in tell(sandbox, "-vv", report=REPORT, to=to, no_log=False).output


def test_an_address_that_is_none_is_left_out_and_not_said(sandbox: BatchSandbox, listener: Listener) -> None:
    wrong = "hooks.example.com/services/T0KEN"
    to = [{"type": "webhook", "url": url} for url in (wrong, listener.url("/hook"))]
    outcome = tell(sandbox, "-vv", report={**REPORT, "failed_hosts": {}}, to=to, ping_url="http://ping me/T0KEN")
    assert outcome.rc == 0, outcome.output
    assert "T0KEN" not in outcome.output
    assert "2 of the addresses of webhooks and of the ping do not begin with http:// or https://" in " ".join(
        outcome.output.split()
    )
    assert [path for path, dummy in listener.told] == ["/hook"]
    assert outcome.result("Show it", "beta")["notify_failed"] is True


@pytest.mark.parametrize(
    ("state", "rule", "told"),
    [
        ("ok", "always", True),
        ("ok", "warning", False),
        ("warning", "warning", True),
        ("warning", "failure", False),
        ("failed", "failure", True),
    ],
)
def test_the_user_says_when_to_tell(
    sandbox: BatchSandbox, listener: Listener, state: str, rule: str, told: bool
) -> None:
    given = program(sandbox, "tell")
    to = [{"type": "command", "command": "tell"}]
    # What is not needed is left out.
    report = {"state": state, "text": "text"}
    outcome = tell(sandbox, report=report, to=to, on=rule, ping_url=listener.url("/ping"), hosts="alpha")
    assert outcome.rc == 0, outcome.output
    assert given.exists() == told
    assert [path for path, dummy in listener.told] == ["/ping"]


def test_nothing_is_sent_in_check_mode(sandbox: BatchSandbox, listener: Listener) -> None:
    given = program(sandbox, "tell")
    to = [{"type": "webhook", "url": listener.url("/hook")}, {"type": "command", "command": "tell"}]
    outcome = tell(sandbox, "--check", report=REPORT, to=to, ping_url=listener.url("/ping"))
    assert outcome.rc == 0, outcome.output
    assert (listener.told, given.exists()) == ([], False)
    assert outcome.result("Show it", "beta")["notify_failed"] is False


def test_a_report_that_lacks_something_is_refused(sandbox: BatchSandbox) -> None:
    outcome = tell(sandbox, report={"state": "bad"}, hosts="alpha")
    assert outcome.rc != 0
    assert "missing required arguments: text found in notify_report" in outcome.output
    assert "value of state must be one of: ok, warning, failed, got: bad found in notify_report" in outcome.output
