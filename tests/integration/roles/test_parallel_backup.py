# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The role on this machine: what is said, and to whom. Real hosts, and what can go wrong there: tests/faults/backups.

from __future__ import annotations

import json
import os
import typing as t

import pytest

from ...support import Outcome
from ..async_batch.conftest import BatchSandbox
from .conftest import Listener


def back_up(
    sandbox: BatchSandbox,
    *arguments: str,
    hosts: str = "localhost",
    playbook: str = "inflight.jobs.backup",
    **variables: t.Any,
) -> Outcome:
    """Run the playbook, or one that imports it, with variables of the role without their prefix."""
    source = sandbox.folder / "source"
    if not source.exists():
        source.mkdir()
        (source / "file").write_text("content", encoding="ascii")
    # Hosts of the inventory that are this machine: each has its own jobs.
    extra: dict[str, t.Any] = {"ansible_async_dir": f"{sandbox.jobs}-{{{{ inventory_hostname }}}}"}
    given = {
        "sets": [{"name": "source", "paths": [str(source)]}],
        "exclude": [],
        "directory": str(sandbox.folder / "backups-{{ inventory_hostname }}"),
        "report_directory": str(sandbox.folder / "reports"),
        "min_free_mb": 0,
        "min_free_percent": 0,
        **variables,
    }
    extra.update({f"parallel_backup_{name}": value for name, value in given.items()})
    command = ["ansible-playbook", playbook, "--limit", hosts, "--extra-vars", json.dumps(extra)]
    return sandbox.start([*command, *arguments]).outcome()


def add_host(sandbox: BatchSandbox, line: str) -> None:
    inventory = sandbox.folder / "inventory"
    hosts, mark, variables = inventory.read_text(encoding="utf-8").partition("[all:vars]")
    inventory.write_text(hosts + line + mark + variables, encoding="utf-8")


def report_of(sandbox: BatchSandbox) -> dict[str, t.Any]:
    """The last report. Their names begin with the time, which may be the same for two."""
    newest = max((sandbox.folder / "reports").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return t.cast("dict[str, t.Any]", json.loads(newest.read_text(encoding="utf-8")))


def test_all_hosts_are_in_the_report_and_the_exit_code_comes_after_it(sandbox: BatchSandbox) -> None:
    sets = [{"name": "source", "paths": [str(sandbox.folder / "source")]}, {"name": "gone", "paths": ["/no/such/path"]}]
    outcome = back_up(
        sandbox, hosts="alpha,beta", sets=f"{{{{ {sets!r}[:1 if inventory_hostname == 'alpha' else 2] }}}}"
    )
    assert outcome.rc != 0
    report = report_of(sandbox)
    states = {host["host"]: host["state"] for host in report["hosts"]}
    assert states == {"alpha": "ok", "beta": "failed"}
    assert "paths has /no/such/path, which is not there" in json.dumps(report)
    assert outcome.stdout.index("Write the report") < outcome.stdout.index("Fail where a backup failed")
    lines = outcome.stdout.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("HOST "))
    table = lines[head : head + 3]
    assert [line.split()[0] for line in table] == ["HOST", "beta", "1"]
    assert max(map(len, table)) < 80
    assert [path.name for path in (sandbox.folder / "backups-beta").iterdir() if any(path.glob("2*"))] == ["source"]


def test_people_are_told(sandbox: BatchSandbox, listener: Listener) -> None:
    told = sandbox.folder / "told"
    notify = [
        {"type": "webhook", "url": listener.url("/never?token=secret")},
        {"type": "webhook", "url": listener.url("/twice")},
        {"type": "command", "command": f"tee {told}"},
    ]
    # The first host has failed by then, and the second one is none the worse for it.
    gone = [{"name": "gone", "paths": ["/no/such/path"]}]
    good = [{"name": "source", "paths": [str(sandbox.folder / "source")]}]
    sets = f"{{{{ {gone!r} if inventory_hostname == 'localhost' else {good!r} }}}}"
    both = {"hosts": "localhost,alpha", "sets": sets}
    outcome = back_up(sandbox, **both, notify=notify[1:], ping_url=listener.url("/ping"))
    assert outcome.rc != 0
    assert outcome.output.count("fatal: ") == 1
    assert [path for path, dummy in listener.told] == ["/twice", "/twice"]
    message = json.loads(listener.told[1][1])
    assert message["state"] == "failed"
    assert "localhost (gone): failed: paths has /no/such/path" in message["text"]
    assert "localhost (gone): failed: paths has /no/such/path" in told.read_text(encoding="utf-8")
    # All is well: nobody but the dead man's switch wants to know.
    listener.told.clear()
    outcome = back_up(sandbox, notify=notify[1:], ping_url=listener.url("/ping"))
    assert outcome.rc == 0, outcome.output
    assert [path for path, dummy in listener.told] == ["/ping"]
    # One who cannot be told keeps the others from nothing, and the address is nowhere to be seen.
    listener.told.clear()
    told.unlink()
    outcome = back_up(sandbox, notify=notify, notify_on="always")
    assert outcome.rc != 0
    assert "not everybody who was to get it has got it" in outcome.output
    assert "secret" not in outcome.output
    assert told.exists()


@pytest.mark.parametrize(("rule", "code"), [("warn", 0), ("fail_now", 2), ("report_then_fail", 2)])
def test_the_user_says_when_to_fail(sandbox: BatchSandbox, rule: str, code: int) -> None:
    outcome = back_up(sandbox, sets=[{"name": "gone", "paths": ["/no/such/path"]}], on_failure=rule)
    assert outcome.rc == code
    report = next((sandbox.folder / "reports").glob("backup-*.md")).read_text(encoding="utf-8")
    assert "paths has /no/such/path, which is not there" in report


# For each host one wrong value, and what is to be said of it.
WRONG: dict[str, tuple[str, t.Any, str]] = {
    "nameless": ("sets", [{"paths": ["/etc"]}], "missing required arguments: name found in parallel_backup_sets"),
    "unknown": (
        "compression",
        "lzma",
        "value of parallel_backup_compression must be one of: zstd, gzip, none, got: lzma",
    ),
    "climbs": ("sets", [{"name": "../etc", "paths": ["/etc"]}], "the name of a backup set is '../etc'"),
    "empty": ("sets", [{"name": "etc"}], "one of the following is required: paths, database, command"),
    "relative": ("directory", "backups", "directory is 'backups': give a path that begins with a slash"),
    "span": ("keep_within", "2 weeks", "keep_within"),
    "none": ("concurrency", 0, "concurrency is 0"),
    "nothing": ("sets", [], "parallel_backup_sets is empty"),
    "nowhere": ("report_directory", "reports", "parallel_backup_report_directory is reports: give an absolute path"),
    "twice": ("sets", [{"name": "etc", "paths": ["/etc"]}] * 2, "two sets of the same name"),
}


def test_wrong_input_is_named_for_each_host(sandbox: BatchSandbox) -> None:
    add_host(sandbox, "".join(f"{host}\n" for host in WRONG))
    right = {
        "sets": [{"name": "source", "paths": [str(sandbox.folder / "source")]}],
        "directory": str(sandbox.folder / "backups"),
        "compression": "zstd",
        "keep_within": "",
        "concurrency": 2,
        "report_directory": str(sandbox.folder / "reports"),
    }
    variables = {}
    for name, value in right.items():
        wrong = {host: given for host, (option, given, dummy) in WRONG.items() if option == name}
        variables[name] = f"{{{{ {wrong!r}[inventory_hostname] | default({value!r}) }}}}"
    outcome = back_up(sandbox, hosts=",".join(WRONG), **variables)
    assert outcome.rc != 0
    for sentence in [sentence for dummy, dummy_value, sentence in WRONG.values()]:
        assert sentence in outcome.output


def test_a_target_that_matches_no_host_is_an_error(sandbox: BatchSandbox) -> None:
    outcome = sandbox.start(["ansible-playbook", "inflight.jobs.backup", "-e", "target=nobody"]).outcome()
    assert outcome.rc != 0
    assert "No host of the inventory matches the target nobody." in outcome.output


def test_nothing_is_removed_while_a_backup_is_suddenly_small(sandbox: BatchSandbox) -> None:
    source, keep = sandbox.folder / "source", {"keep_last": 1, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    source.mkdir()
    (source / "file").write_bytes(os.urandom(300_000))
    for left in (1, 2, 1):
        outcome = back_up(sandbox, **keep, keep_yearly=0)
        assert outcome.rc == 0, outcome.output
        assert len(list(sandbox.folder.glob("backups-localhost/source/2*"))) == left
        (source / "file").write_bytes(b"little")


def test_a_report_tells_nothing_of_what_an_earlier_one_has_told(sandbox: BatchSandbox) -> None:
    # The second time, beta is not in it any more: a task of the user has failed on it.
    playbook = sandbox.folder / "twice.yml"
    playbook.write_text(
        """
- import_playbook: inflight.jobs.backup
- hosts: alpha, beta
  gather_facts: false
  tasks:
    - fail:
      when: inventory_hostname == 'beta'
- import_playbook: inflight.jobs.backup
""",
        encoding="utf-8",
    )
    outcome = back_up(sandbox, hosts="alpha,beta", playbook=str(playbook))
    assert outcome.rc != 0
    hosts = {host["host"]: host for host in report_of(sandbox)["hosts"]}
    assert {host: found["state"] for host, found in hosts.items()} == {"alpha": "ok", "beta": "unreachable"}
    assert hosts["beta"]["sets"] == []
    assert len(list((sandbox.folder / "reports").glob("*.json"))) == 2


def test_a_wrong_option_is_in_the_report_and_told_to_people(sandbox: BatchSandbox, listener: Listener) -> None:
    notify = [{"type": "webhook"}, {"type": "webhook", "url": listener.url("/told")}]
    outcome = back_up(sandbox, keep_last=None, report_formats=None, notify_on="often", notify=notify)
    assert outcome.rc != 0
    assert "parallel_backup_keep_last" in report_of(sandbox)["hosts"][0]["msg"]
    assert [path for path, dummy in listener.told] == ["/told"]
    assert "1 of the addresses of webhooks and of the ping" in outcome.output


def test_a_name_may_be_a_number_and_a_list_may_be_text(sandbox: BatchSandbox) -> None:
    source = sandbox.folder / "source"
    source.mkdir()
    for name in ("kept", "b.tmp", "c.log"):
        (source / name).touch()
    sets = [{"name": 2024, "paths": [str(source)], "exclude": "*.tmp,*.log"}]
    outcome = back_up(sandbox, sets=sets, exclude="/dev,/proc")
    assert outcome.rc == 0, outcome.output
    (found,) = report_of(sandbox)["hosts"][0]["sets"]
    assert (found["set"], found["state"], found["members"]) == ("2024", "succeeded", 2)


def test_the_report_is_in_the_folder_that_ansible_is_run_in(sandbox: BatchSandbox) -> None:
    command = ["ansible-playbook", "inflight.jobs.backup", "--limit", "localhost"]
    relative = ["--extra-vars", "parallel_backup_report_directory=elsewhere"]
    for count, more in enumerate(([], relative), start=1):
        assert sandbox.start([*command, *more], PWD="/nowhere").outcome().rc != 0  # there are no sets
        assert len(list((sandbox.folder / "reports").glob("*.json"))) == count


def test_another_machine_may_wait_for_the_backups(sandbox: BatchSandbox) -> None:
    apart = {"hosts": "localhost", "gather_facts": False}
    for part in ("start", "wait"):
        role = {"name": "inflight.jobs.parallel_backup", "tasks_from": part}
        shown = {"debug": {"var": "parallel_backup_result.state"}}
        tasks = [{"include_role": role}, *([shown] if part == "wait" else [])]
        (sandbox.folder / f"{part}.yml").write_text(json.dumps([{**apart, "tasks": tasks}]), encoding="utf-8")
    for part in ("start", "wait"):
        playbook = str(sandbox.folder / f"{part}.yml")
        outcome = back_up(sandbox, playbook=playbook, report_directory=str(sandbox.folder / part))
        assert outcome.rc == 0, outcome.output
    assert '"parallel_backup_result.state": "ok"' in outcome.stdout


def test_commands_after_a_backup_run_though_it_was_killed(sandbox: BatchSandbox) -> None:
    never, late, done = (sandbox.folder / name for name in ("never", "late", "done"))
    for path in (never, late, done):
        os.mkfifo(path)
    outcome = back_up(
        sandbox,
        timeout=2,
        grace=1,
        pre_commands=[f"trap '' TERM; read x < {never}"],
        # It takes longer than the job has.
        post_commands=[f"read x < {late}; echo $x > {done}"],
    )
    assert outcome.rc != 0
    assert report_of(sandbox)["hosts"][0]["sets"][0]["state"] == "timed_out"
    late.write_text("go on", encoding="ascii")
    assert done.read_text(encoding="ascii") == "go on\n"
