# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the role refuses before anything is changed, in check mode on this machine. Real hosts, and what can go wrong
# there: tests/faults/updates.

from __future__ import annotations

import json
import re
import sys
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
    ({"serial": "12.5%"}, "parallel_update_serial is 12.5%: give a number of hosts, from 1, or a part of them"),
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
    (
        {"snapshot": "lvm", "snapshot_volume": "vg/root", "rollback": "snapshot"},
        "parallel_update_rollback would have to reboot it, and it is the host that Ansible runs on",
    ),
]


def check(
    sandbox: BatchSandbox, inventory: Path, playbook: str = "inflight.jobs.update", **variables: t.Any
) -> Outcome:
    given = {"report_directory": str(sandbox.folder / "reports"), **variables}
    extra = json.dumps({f"parallel_update_{name}": value for name, value in given.items()})
    command = ["ansible-playbook", playbook, "--check", "-i", str(inventory), "-e", "target=these"]
    return sandbox.start([*command, "--extra-vars", extra]).outcome()


def written(sandbox: BatchSandbox, hosts: dict[str, dict[str, t.Any]]) -> Path:
    """An inventory of hosts that are this machine, with variables of the role without their prefix."""
    path = sandbox.folder / "these.json"
    found = {
        host: {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
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


def test_a_number_of_hosts_that_makes_no_sense_ends_no_run_without_a_report(sandbox: BatchSandbox) -> None:
    bad = {"canary": ["first"], "serial": "abc", "reboot_serial": "one", "max_fail_percentage": 100}
    outcome = check(sandbox, written(sandbox, {"first": bad, "second": bad}))
    assert outcome.rc != 0
    for host in ("first", "second"):
        assert f"fatal: [{host}]: FAILED!" in outcome.stdout
    assert outcome.stdout.count("TASK [inflight.jobs.parallel_update : Write the report]") == 1
    assert "Unexpected Exception" not in outcome.output


def test_what_is_left_empty_counts_as_not_set(sandbox: BatchSandbox) -> None:
    empty = dict.fromkeys(("pre_tasks", "post_install_tasks", "snapshot_command", "ping_url"))
    outcome = check(sandbox, written(sandbox, {"alone": {**empty, "min_free_mb_boot": 0}}))
    assert "NoneType" not in outcome.output
    assert "Look for what stands in the way" in outcome.stdout


def test_batches_are_in_the_order_of_the_inventory(sandbox: BatchSandbox) -> None:
    hosts = ["zebra", "ant", "mole", "bee"]
    outcome = check(sandbox, written(sandbox, {host: {"serial": "1"} for host in hosts}))
    # A task at the end of each batch.
    ends = outcome.stdout.split("TASK [Find those that are to be rebooted]")[1:]
    assert [re.findall(r"^ok: \[(\w+)\]", text, re.MULTILINE)[:1] for text in ends] == [[host] for host in hosts]


def test_a_batch_pauses_when_any_of_its_hosts_has_rebooted(sandbox: BatchSandbox) -> None:
    result = {"state": "ok", "msg": None, "warnings": [], "reboot": {"done": "{{ inventory_hostname == 'beta' }}"}}
    tasks: list[dict[str, t.Any]] = [
        {"name": "Reboot", "ansible.builtin.set_fact": {"parallel_update_result": result}},
        {
            "name": "Verify",
            "ansible.builtin.include_role": {"name": "inflight.jobs.parallel_update", "tasks_from": "verify"},
            "vars": {"parallel_update_reboot_pause": 1, "parallel_update_check_failed_units": False},
        },
    ]
    for hosts, paused in (("alpha", False), ("alpha,beta", True)):
        outcome = sandbox.start_tasks(tasks, play={"hosts": hosts}).outcome()
        assert outcome.rc == 0, outcome.output
        assert ("Pausing for 1 seconds" in outcome.stdout) == paused


def test_a_mistake_in_a_file_with_tasks_is_found_before_anything_is_begun(sandbox: BatchSandbox) -> None:
    hook = sandbox.folder / "hook.yml"
    hook.write_text(json.dumps([{"name": "Do what nobody can", "no.such.module": {}}]), encoding="utf-8")
    outcome = check(sandbox, written(sandbox, {"alone": {"post_install_tasks": str(hook)}}))
    assert outcome.rc != 0
    assert "couldn't resolve module/action 'no.such.module'" in outcome.output
    assert "Look for what stands in the way" not in outcome.stdout


def test_a_relative_folder_for_reports_is_refused(sandbox: BatchSandbox) -> None:
    outcome = check(sandbox, written(sandbox, {"first": {}}), report_directory="reports")
    assert outcome.rc != 0
    assert "preflight: parallel_update_report_directory is reports: give an absolute path" in outcome.output


def test_a_report_tells_nothing_of_what_an_earlier_one_has_told(sandbox: BatchSandbox) -> None:
    # The second time, one host is not in it any more: a task of the user has failed on it.
    playbook = sandbox.folder / "twice.yml"
    playbook.write_text(
        """
- import_playbook: inflight.jobs.update
- hosts: these
  gather_facts: false
  tasks:
    - fail:
      when: inventory_hostname == 'second'
- import_playbook: inflight.jobs.update
""",
        encoding="utf-8",
    )
    inventory = written(sandbox, {"first": {"type": "fast"}, "second": {"type": "fast"}})
    outcome = check(sandbox, inventory, playbook=str(playbook), on_failure="warn")
    lines = [line.split() for line in outcome.stdout.splitlines() if line.startswith(("first ", "second "))]
    assert [line[:2] for line in lines if line[1] in ("failed", "unreachable")] == [
        ["first", "failed"],
        ["second", "failed"],
        ["first", "failed"],
        ["second", "unreachable"],
    ], outcome.stdout
