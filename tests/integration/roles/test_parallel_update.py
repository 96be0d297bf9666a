# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the role refuses before anything is changed, in check mode on this machine. Real hosts, and what can go wrong
# there: tests/faults/updates.

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ...support import Outcome
from ..async_batch.conftest import BatchSandbox

# What is wrong with the options of a host, and what the report says of that.
MISTAKES: list[tuple[dict[str, t.Any], str]] = [
    ({"type": "fast"}, "value of parallel_update_type must be one of: safe, full, got: fast"),
    ({"max_fail_percentage": 101}, "parallel_update_max_fail_percentage is 101: give a part of all hosts"),
    ({"max_fail_percentage": -1}, "parallel_update_max_fail_percentage is -1: give a part of all hosts"),
    ({"max_fail_count": 3.5}, "parallel_update_max_fail_count"),
    ({"reboot_serial": 0}, "parallel_update_reboot_serial is 0: give a number of hosts, from 1"),
    ({"canary": "alpha"}, "parallel_update_canary: give a list, such as [web1]"),
    ({"hold": "nginx"}, "parallel_update_hold: give a list, such as [web1]"),
    ({"canary": ["web9"]}, "parallel_update_canary names web9: not in the inventory"),
    ({"pre_tasks": "/nowhere.yml"}, "/nowhere.yml: there is no such file with tasks"),
    ({"snapshot": "command"}, "parallel_update_snapshot is command, and parallel_update_snapshot_command is empty"),
    ({"snapshot": "lvm"}, "parallel_update_snapshot is lvm, and parallel_update_snapshot_volume is empty"),
    ({"rollback": "snapshot"}, "parallel_update_rollback is snapshot, and parallel_update_snapshot is none"),
    (
        {"snapshot": "command", "snapshot_command": "true", "rollback": "snapshot"},
        "parallel_update_rollback is snapshot, and parallel_update_rollback_command is empty",
    ),
]


def check(sandbox: BatchSandbox, inventory: Path, **variables: t.Any) -> Outcome:
    given = {"report_directory": str(sandbox.folder / "reports"), **variables}
    extra = json.dumps({f"parallel_update_{name}": value for name, value in given.items()})
    command = ["ansible-playbook", "inflight.jobs.update", "--check", "-i", str(inventory), "-e", "target=these"]
    return sandbox.start([*command, "--extra-vars", extra]).outcome()


def written(sandbox: BatchSandbox, hosts: dict[str, dict[str, t.Any]]) -> Path:
    """An inventory of hosts that are this machine, with variables of the role without their prefix."""
    path = sandbox.folder / "these.json"
    found = {
        host: {
            "ansible_connection": "local",
            "ansible_async_dir": f"{sandbox.jobs}-{host}",
            **{f"parallel_update_{name}": value for name, value in variables.items()},
        }
        for host, variables in hosts.items()
    }
    path.write_text(json.dumps({"these": {"hosts": found}}), encoding="utf-8")
    return path


def test_the_playbook_can_be_looked_at_before_it_is_run(sandbox: BatchSandbox) -> None:
    inventory = written(sandbox, {"first": {}, "second": {}})
    for look in ("--syntax-check", "--list-hosts", "--list-tasks"):
        outcome = sandbox.start(["ansible-playbook", "inflight.jobs.update", look, "-i", str(inventory)]).outcome()
        assert outcome.rc == 0, outcome.output
        assert "WARNING" not in outcome.output


def test_each_mistake_in_the_options_is_in_the_report_and_nothing_is_begun(sandbox: BatchSandbox) -> None:
    hosts = {f"host{number}": variables for number, (variables, dummy) in enumerate(MISTAKES)}
    outcome = check(sandbox, written(sandbox, hosts))
    assert outcome.rc != 0
    assert "Start the update" not in outcome.stdout.replace("Start the update with zypper", "")
    path = next((sandbox.folder / "reports").glob("*.json"), None)
    assert path is None, "check mode writes no report"
    said = [line for line in outcome.stdout.splitlines() if line.startswith("fatal: ") and "preflight: " in line]
    for number, (dummy, sentence) in enumerate(MISTAKES):
        mine = [line for line in said if f"[host{number}]" in line]
        assert len(mine) == 1, (number, said)
        assert sentence in mine[0]
    assert "Traceback" not in outcome.output


def test_a_mistake_in_a_file_with_tasks_is_found_before_anything_is_begun(sandbox: BatchSandbox) -> None:
    hook = sandbox.folder / "hook.yml"
    hook.write_text(json.dumps([{"name": "Do what nobody can", "no.such.module": {}}]), encoding="utf-8")
    outcome = check(sandbox, written(sandbox, {"alone": {"post_install_tasks": str(hook)}}))
    assert outcome.rc != 0
    assert "couldn't resolve module/action 'no.such.module'" in outcome.output
    assert "Look for what stands in the way" not in outcome.stdout
