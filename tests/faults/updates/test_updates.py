# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Updates of three hosts, and what can go wrong with them. One test for a row of the table, or for a few.

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ...fleet import levers
from ...fleet.host import Host
from ...fleet.system import eventually
from ..table import Table
from .packages import COMPLAINT, CONFFILE, SERVICE
from .updates import LIMIT, Probe, Updates, changes, difference, names_of, results

# Of the new packages, those with which nothing goes wrong.
GOOD = ("ij-plain", "ij-conffile", "ij-sleep", "ij-pulls", "ij-secure")


def updated(*names: str) -> list[tuple[str, str | None, str | None]]:
    """The changes of packages from the old to the new version."""
    return [(name, None if name == "ij-new" else "1.0", "2.0") for name in sorted(names)]


# Well


def test_all_in_parallel(updates: Updates, table: Table) -> None:
    first, second, dummy = updates.hosts
    for host in updates.hosts:
        host.shell(f"echo mine >> {CONFFILE}")
    second.run("systemctl", "stop", "apt-daily.timer")
    settings = {host.name: updates.settings(host) for host in updates.hosts}
    before = {host.name: updates.installed(host) for host in updates.hosts}
    updates.publish(*GOOD, "ij-held", "ij-removes")

    checked = updates.play("--check")
    assert checked.rc == 0, checked.output
    assert {host.name: updates.installed(host) for host in updates.hosts} == before
    planned = {name: changes(found["planned"]) for name, found in results(checked).items()}

    updates.close_gate(*updates.hosts)
    run = updates.start_play()
    updates.wait_for_sleep(*updates.hosts)
    for host in updates.hosts:
        run.shows(f"update {host.name}: ", LIMIT)
    shown = [line.strip() for line in run.stdout.splitlines() if line.lstrip().startswith(f"update {first.name}: ")]
    updates.open(*updates.hosts)
    outcome = run.outcome()
    assert outcome.rc == 0, outcome.output
    table.row("parallel", "three package managers wait at the same time; all go on and succeed")
    assert any(name in line for line in shown for name in ("install", "configure", "unpack")), shown
    table.row("progress", f"'{shown[-1]}'")

    report = updates.report()
    for host in updates.hosts:
        found, truth = report[host.name], difference(before[host.name], updates.installed(host))
        assert found["state"] == "ok", found
        assert changes(found["packages"]) == truth == updated(*GOOD, "ij-new")
        assert all("Inflight" in package["origin"] for package in found["packages"])
        assert found["conffiles"] == [f"{CONFFILE}.dpkg-dist"]
        assert host.shell(f"tail -n 1 {CONFFILE}") == "mine\n"
        assert "ij-removes" in names_of(found["kept_back"])
        assert found["held"] == ["ij-held"]
        assert planned[host.name] == truth
        assert updates.settings(host) == settings[host.name]
    table.row("report", f"equal: {len(updated(*GOOD, 'ij-new'))} packages on each host")
    table.row("conffile", f"kept; {CONFFILE}.dpkg-dist")
    table.row("held", "as it was, and held")
    table.row("pulled in", "ij-new is there; in the report it has no old version")
    table.row("kept back", "ij-removes is in the report; ij-plain-old is still there")
    table.row("check mode", "equal on all three hosts")
    table.row("put back", "no difference")

    boots, now = updates.boots(), {host.name: updates.installed(host) for host in updates.hosts}
    outcome = updates.play(reboot="if_needed")
    assert outcome.rc == 0, outcome.output
    again = updates.report()
    assert [found["changed"] for found in again.values()] == [False] * 3
    assert [found["packages"] for found in again.values()] == [[]] * 3
    assert [found["reboot"]["done"] for found in again.values()] == [False] * 3
    assert updates.boots() == boots
    assert {host.name: updates.installed(host) for host in updates.hosts} == now
    table.row("second run", "no package changed, no reboot")


# What is installed


def test_choice(updates: Updates, table: Table) -> None:
    secure, some, full = updates.hosts
    names = ("ij-plain", "ij-conffile", "ij-pulls", "ij-removes", "ij-secure")
    before = {host.name: updates.installed(host) for host in updates.hosts}
    settings = updates.settings(some)
    updates.publish(*names)
    outcome = updates.play(
        security_only=updates.by_host(False, **{secure.name: True}),
        exclude=updates.by_host([], **{some.name: ["ij-plain"]}),
        hold=updates.by_host([], **{some.name: ["ij-conffile"]}),
        type=updates.by_host("safe", **{full.name: "full"}),
        max_fail_percentage=100,
    )
    assert outcome.rc != 0
    report = updates.report()
    truth = {host.name: difference(before[host.name], updates.installed(host)) for host in updates.hosts}
    assert report[secure.name]["state"] == "ok"
    assert changes(report[secure.name]["packages"]) == truth[secure.name] == [("ij-secure", "1.0", "1.1")]
    assert "Inflight-Security" in report[secure.name]["packages"][0]["origin"]
    table.row("security", "ij-secure 1.0 -> 1.1, though 2.0 is there too")
    assert report[some.name]["state"] == "ok"
    assert changes(report[some.name]["packages"]) == truth[some.name] == updated("ij-new", "ij-pulls", "ij-secure")
    assert sorted(report[some.name]["excluded"]) == ["ij-conffile", "ij-plain"]
    assert report[some.name]["held"] == ["ij-held"]
    assert updates.settings(some) == settings
    table.row("choice", "as they were; the holds are those from before")
    assert report[full.name]["state"] == "failed"
    assert "ij-plain-old" in report[full.name]["msg"]
    assert truth[full.name] == []
    table.row("removal", report[full.name]["msg"])


# Badly


def test_one_trouble_each(updates: Updates, table: Table) -> None:
    fails, service, dnf = updates.hosts
    updates.install_old_rpms(dnf)
    updates.fail_unit(service, "ij-broken.service")
    before = updates.installed(fails)
    rpms = updates.installed_rpms(dnf)
    settings = {host.name: updates.settings(host) for host in updates.hosts}
    updates.publish("ij-plain", "ij-fails", hosts=[fails, dnf])
    updates.publish("ij-plain", "ij-service", hosts=[service])
    service.run("dpkg", "--unpack", updates.new_deb("ij-plain"))
    outcome = updates.play(
        manager=updates.by_host("auto", **{dnf.name: "dnf"}),
        check_services=updates.by_host([], **{service.name: [SERVICE]}),
        hold=updates.by_host(["ij-sleep"], **{dnf.name: []}),
        max_fail_percentage=100,
    )
    assert outcome.rc != 0
    report = updates.report()

    found = report[fails.name]
    assert (found["state"], found["phase"]) == ("failed", "update")
    assert names_of(found["failed_packages"]) == ["ij-fails"]
    assert COMPLAINT in "\n".join(found["log_tail"])
    assert changes(found["packages"]) == difference(before, updates.installed(fails))
    table.row("fails", found["msg"])

    found = report[service.name]
    assert (found["state"], found["phase"]) == ("failed", "verify")
    assert [name for name in found["health"]["new_faults"] if SERVICE in name]
    table.row("service", found["msg"])
    assert not [name for name in found["health"]["new_faults"] if "ij-broken" in name]
    assert [name for name in found["health"]["old_faults"] if "ij-broken" in name]
    table.row("baseline", f"{', '.join(found['health']['old_faults'])}: does not count")
    assert "installed ij-plain 2.0" in updates.statuses(service)
    table.row("unfinished", "configured")

    for host in updates.hosts:
        assert updates.settings(host) == settings[host.name]
    table.row("put back after failure", "no difference")

    found = report[dnf.name]
    assert (found["state"], found["phase"]) == ("failed", "update")
    assert names_of(found["failed_packages"]) == ["ij-fails"]
    assert changes(found["packages"]) == difference(rpms, updates.installed_rpms(dnf))
    table.row("dnf fails", found["msg"])


# Locks


def test_locks(updates: Updates, table: Table) -> None:
    patient, hasty, saved = updates.hosts
    before = {host.name: updates.installed(host) for host in updates.hosts}
    updates.publish("ij-plain")
    timeouts = {hasty.name: 5, saved.name: 5}
    with updates.lock_held(hasty, "dpkg"), updates.lock_held(saved, "backup"):
        with updates.lock_held(patient, "dpkg"):
            run = updates.start_play(lock_timeout=updates.by_host(600, **timeouts), max_fail_percentage=100)
            time.sleep(60)  # the fault is 60 s long
            assert run.is_running
        outcome = run.outcome()
    assert outcome.rc != 0
    report = updates.report()
    truth = {host.name: difference(before[host.name], updates.installed(host)) for host in updates.hosts}
    assert report[patient.name]["state"] == "ok"
    assert changes(report[patient.name]["packages"]) == truth[patient.name] == updated("ij-plain")
    table.row("lock", f"updated; {sum(report[patient.name]['seconds'].values()):.0f} s with the wait")
    assert report[hasty.name]["state"] == "failed"
    assert "lock" in report[hasty.name]["msg"]
    assert truth[hasty.name] == []
    table.row("lock too long", report[hasty.name]["msg"])
    assert report[saved.name]["state"] == "failed"
    assert report[saved.name]["msg"].startswith("a backup of this host")
    assert truth[saved.name] == []
    table.row("backup", report[saved.name]["msg"])


# Breaks


def test_breaks_in_mid_install(updates: Updates, table: Table) -> None:
    cut, sshd, killed = updates.hosts
    settings = {host.name: updates.settings(host) for host in updates.hosts}
    updates.publish("ij-plain", "ij-sleep")
    updates.publish("ij-plain", "ij-sleep", "ij-sshd", hosts=[sshd])
    updates.close_gate(*updates.hosts)
    started = updates.start_of_sshd(sshd)
    run = updates.start_play(max_fail_percentage=100)
    updates.wait_for_sleep(*updates.hosts)
    killed.run("pkill", "-KILL", "-x", "python3")
    assert updates.sleeps(killed)
    with levers.link_down(cut):
        updates.kill_control_master(cut)
        run.shows(f"{cut.name}: out of reach", LIMIT)
    updates.open(*updates.hosts)
    outcome = run.outcome()
    assert outcome.rc != 0
    report = updates.report()
    assert changes(report[cut.name]["packages"]) == updated("ij-plain", "ij-sleep")
    assert report[cut.name]["state"] == "ok"
    table.row("link", "collected; 'out of reach, trying again' was shown")
    assert report[sshd.name]["state"] == "ok"
    assert changes(report[sshd.name]["packages"]) == updated("ij-plain", "ij-sleep", "ij-sshd")
    assert updates.start_of_sshd(sshd) != started
    table.row("sshd", "collected; sshd has another process")
    assert report[killed.name]["state"] == "failed"
    eventually(lambda: "installed ij-sleep 2.0" in updates.statuses(killed), LIMIT, "apt has ended its work")
    again = updates.play(target=killed.name)
    assert again.rc == 0, again.output
    # Whether the first run has seen apt end or not: the host had not come through it.
    assert changes(updates.report()[killed.name]["packages"]) == updated("ij-plain", "ij-sleep")
    for host in updates.hosts:
        assert updates.settings(host) == settings[host.name]
    table.row("job", "failed, and all is installed; in the report of the next run, and everything put back")


def test_timeout_and_controller(updates: Updates, table: Table) -> None:
    slow, other, quick = updates.hosts
    settings = {host.name: updates.settings(host) for host in updates.hosts}
    before = {host.name: updates.installed(host) for host in updates.hosts}
    updates.publish("ij-sleep", hosts=[slow])
    updates.close_gate(slow, other)
    outcome = updates.play(timeout=10, max_fail_percentage=100)
    assert outcome.rc != 0
    found = updates.report()[slow.name]
    assert found["state"] in {"running", "failed"}
    assert "still" in found["msg"]
    assert updates.sleeps(slow)
    table.row("timeout", found["msg"])

    updates.publish("ij-sleep", hosts=[other])
    run = updates.start_play()
    updates.wait_for_sleep(slow, other)
    run.kill()
    updates.open(slow, other)
    outcome = updates.play()
    assert outcome.rc == 0, outcome.output
    report = updates.report()
    for host in (slow, other):
        truth = difference(before[host.name], updates.installed(host))
        assert report[host.name]["state"] == "ok"
        assert changes(report[host.name]["packages"]) == truth == updated("ij-sleep")
    assert report[quick.name]["packages"] == []
    for host in updates.hosts:
        assert updates.settings(host) == settings[host.name]
    table.row("controller", "2 of 2 updates, with all that they changed; holds, timers and /etc/apt as before")


# Reboots


def _rebooted(updates: Updates, boots: dict[str, str]) -> list[Host]:
    """The hosts that have booted since; the report says the same."""
    report = updates.report()
    hosts = [host for host in updates.hosts if updates.boot(host) != boots[host.name]]
    assert [host for host in updates.hosts if report[host.name].get("reboot", {}).get("done")] == hosts
    return hosts


def _needs(updates: Updates) -> list[str]:
    report = updates.report()
    return [report[host.name]["reboot"]["needed"] for host in updates.hosts]


def test_a_run_that_ended_before_its_report(updates: Updates, table: Table, tmp_path: Path) -> None:
    host = updates.first
    updates.publish("ij-plain")
    hook = tmp_path / "hook.yml"
    tasks = [
        {"name": "Say that the installation has ended", "ansible.builtin.command": "touch /run/ij-installed"},
        {"name": "Wait for ever", "ansible.builtin.wait_for": {"path": "/run/ij-never", "timeout": 600}},
    ]
    hook.write_text(json.dumps(tasks), encoding="utf-8")
    run = updates.start_play(target=host.name, reboot="if_changed", post_install_tasks=str(hook))
    eventually(lambda: host.shell("ls /run/ij-installed || true"), LIMIT, "all is installed")
    run.kill()
    boot = updates.boot(host)
    outcome = updates.play(target=host.name, reboot="if_changed")
    assert outcome.rc == 0, outcome.output
    found = updates.report()[host.name]
    assert changes(found["packages"]) == updated("ij-plain")
    assert found["reboot"]["done"]
    assert updates.boot(host) != boot
    table.row("no report", "ij-plain 1.0 -> 2.0, and rebooted")


def test_reboot_never(updates: Updates, table: Table) -> None:
    needed, dummy, unknown = updates.hosts
    updates.say_kernel(needed, 2)
    updates.hide_kernel(unknown)
    boots = updates.boots()
    outcome = updates.play(reboot="never")
    assert outcome.rc == 0, outcome.output
    assert _needs(updates) == ["yes", "no", "unknown"]
    assert _rebooted(updates, boots) == []
    table.row("reboot never", f"{', '.join(_needs(updates))}; none rebooted")


def test_reboot_if_needed(updates: Updates, table: Table) -> None:
    needed, dummy, unknown = updates.hosts
    updates.publish("ij-reboot", hosts=[needed])
    updates.hide_kernel(unknown)
    boots = updates.boots()
    outcome = updates.play(reboot="if_needed")
    assert outcome.rc == 0, outcome.output
    assert _needs(updates) == ["yes", "no", "unknown"]
    assert _rebooted(updates, boots) == [needed]
    report = updates.report()
    assert "ij-reboot" in str(report[needed.name]["reboot"]["reasons"])
    assert report[unknown.name]["state"] == "warning"
    table.row("reboot if_needed", f"{report[needed.name]['reboot']['seconds']:.0f} s; '{report[unknown.name]['msg']}'")


def test_reboot_if_changed(updates: Updates, table: Table) -> None:
    changed, needed, unknown = updates.hosts
    updates.publish("ij-plain", "ij-pulls", hosts=[changed])
    updates.say_kernel(needed, 3)
    updates.hide_kernel(unknown)
    boots = updates.boots()
    outcome = updates.play(reboot="if_changed", only=updates.by_host([], **{changed.name: ["ij-plain"]}))
    assert outcome.rc == 0, outcome.output
    assert _needs(updates) == ["no", "yes", "unknown"]
    assert _rebooted(updates, boots) == [changed]
    report = updates.report()
    assert changes(report[changed.name]["packages"]) == updated("ij-plain")
    assert "ij-pulls" in report[changed.name]["excluded"]
    table.row("reboot if_changed", f"{report[changed.name]['reboot']['seconds']:.0f} s; ij-plain 1.0 -> 2.0")


def test_reboot_always(updates: Updates, table: Table) -> None:
    needed, dummy, unknown = updates.hosts
    updates.publish("ij-reboot", hosts=[needed])
    updates.hide_kernel(unknown)
    boots = updates.boots()
    with Probe(updates.hosts) as probe:
        # One that is no container any more has a root filesystem of which nobody can tell whether it is encrypted.
        encrypted = updates.by_host(False, **{unknown.name: True})
        outcome = updates.play(reboot="always", reboot_serial=1, reboot_encrypted=encrypted)
    assert outcome.rc == 0, outcome.output
    assert _rebooted(updates, boots) == updates.hosts
    assert probe.most_down_at_once() == 1
    took = [found["reboot"]["seconds"] for found in updates.report().values()]
    table.row("reboot always", f"at most 1 was down; {', '.join(f'{seconds:.0f}' for seconds in took)} s")


def test_a_host_that_cannot_be_asked_who_keeps_it_is_not_rebooted(updates: Updates) -> None:
    boots = updates.boots()
    outcome = updates.play(playbook="reboot", target=updates.first.name)
    assert outcome.rc == 0, outcome.output
    assert "failed: it was not rebooted: it could not be asked who keeps it from that" in outcome.output
    assert updates.boots() == boots


# Hooks and snapshots


def test_hooks_and_rollback(updates: Updates, table: Table, tmp_path: Path) -> None:
    good, bad, lost = some = updates.hosts
    updates.publish("ij-plain", hosts=some)
    hooks = {}
    for name in ("pre", "post_install", "post_reboot"):
        text = f"echo {name} $(cat /proc/sys/kernel/random/boot_id) >> /var/lib/ij-hooks"
        path = tmp_path / f"{name}.yml"
        path.write_text(json.dumps([{"ansible.builtin.shell": text}]), encoding="utf-8")
        hooks[f"{name}_tasks"] = str(path)
    boots = updates.boots()
    check = ["! grep -q post_reboot /var/lib/ij-hooks"]
    outcome = updates.play(
        reboot="always",
        check_commands=updates.by_host([], **{bad.name: check, lost.name: check}),
        check_retries=0,
        max_fail_percentage=100,
        snapshot="command",
        snapshot_command="echo snapshot >> /var/lib/ij-hooks",
        snapshot_remove_command="echo remove >> /var/lib/ij-hooks",
        rollback="snapshot",
        rollback_command=updates.by_host(
            "echo rollback >> /var/lib/ij-hooks", **{lost.name: "echo rollback >> /var/lib/ij-hooks; pkill -KILL sshd"}
        ),
        **hooks,
    )
    assert outcome.rc != 0
    report = updates.report()
    ran = {host.name: host.run("cat", "/var/lib/ij-hooks").splitlines() for host in some}
    for host in some:
        before, after = boots[host.name], updates.boots()[host.name]
        assert ran[host.name][:4] == [f"pre {before}", "snapshot", f"post_install {before}", f"post_reboot {after}"]
    table.row("hooks", "pre and post_install before the reboot, post_reboot after it")
    assert (report[good.name]["state"], ran[good.name][4:]) == ("ok", ["remove"])
    assert (report[bad.name]["state"], ran[bad.name][4:]) == ("failed", ["rollback"])
    table.row("rollback", f"{report[bad.name]['msg']}; {report[bad.name]['snapshot']['msg']}")
    assert (report[lost.name]["state"], ran[lost.name][4:]) == ("failed", ["rollback"])
    assert report[lost.name]["msg"].startswith(f"{report[bad.name]['msg']}; what became of its snapshot is not known: ")
    assert report[lost.name]["snapshot"]["msg"] == "made before the update, and still there"
    table.row("rollback lost", f"{report[lost.name]['msg'][:160]}")


def test_a_hook_that_cannot_reach_a_host(updates: Updates, table: Table, tmp_path: Path) -> None:
    first, *others = updates.hosts
    updates.publish("ij-plain")
    before = updates.installed(first)
    hook = tmp_path / "drain.yml"
    task = {"name": "Take it out", "ansible.builtin.command": "true", "delegate_to": "nowhere.invalid"}
    hook.write_text(json.dumps([task]), encoding="utf-8")
    outcome = updates.play(pre_tasks=updates.by_host("", **{first.name: str(hook)}), max_fail_percentage=50)
    assert outcome.rc != 0
    report = updates.report()
    assert updates.installed(first) == before
    assert {name: found["state"] for name, found in report.items()} == {
        first.name: "unreachable",
        **{host.name: "ok" for host in others},
    }
    assert report[first.name]["msg"].endswith(f"was out of reach in {hook}, or these have ended it")
    table.row("hook lost", "unreachable, and nothing was installed there; two hosts were updated")


# The roll-out


def test_canary(updates: Updates, table: Table) -> None:
    canary, *others = updates.hosts
    before = {host.name: updates.installed(host) for host in others}
    updates.publish("ij-plain", "ij-service")
    outcome = updates.play(canary=[canary.name], check_services=[SERVICE])
    assert outcome.rc != 0
    report = updates.report()
    assert report[canary.name]["state"] == "failed"
    for host in others:
        assert report[host.name]["state"] == "not_touched"
        assert updates.installed(host) == before[host.name]
    table.row("canary", f"{report[canary.name]['msg']}; the others: not_touched")


def test_canaries_reboot_one_after_the_other(updates: Updates, table: Table) -> None:
    first, second, other = updates.hosts
    before, boots = updates.installed(other), updates.boots()
    updates.publish("ij-plain")
    first.run("touch", "/run/ij-first-boot")
    commands = updates.by_host([], **{first.name: ["test -e /run/ij-first-boot"]})
    outcome = updates.play(canary=[first.name, second.name], reboot="always", check_commands=commands)
    assert outcome.rc != 0
    assert _rebooted(updates, boots) == [first]
    report = updates.report()
    assert report[first.name]["state"] == "failed"
    assert report[second.name]["state"] == "warning"
    assert report[other.name]["state"] == "not_touched"
    assert updates.installed(other) == before
    table.row("canaries reboot", f"{report[first.name]['msg']}; the second one: {report[second.name]['msg']}")


def test_two_roll_outs_in_one_run(updates: Updates, table: Table) -> None:
    one, two, three = updates.hosts
    before, boots = updates.installed(one), updates.boots()
    updates.publish("ij-plain")
    two.run("touch", "/run/ij-first-boot")
    commands = updates.by_host([], **{two.name: ["test -e /run/ij-first-boot"]})
    outcome = updates.play(playbook="twice", target=None, reboot="always", canary=[one.name], check_commands=commands)
    assert outcome.rc != 0
    assert [host for host in updates.hosts if updates.boot(host) != boots[host.name]] == [one, two]
    assert difference(before, updates.installed(one)) == updated("ij-plain")
    reports = [json.loads(path.read_text(encoding="utf-8"))["hosts"] for path in updates.reports.glob("update-*.json")]
    states = sorted([(host["host"], host["state"]) for host in report] for report in reports)
    assert states == [[(one.name, "ok")], [(two.name, "failed"), (three.name, "warning")]]
    # Each host is told of once, and not again in the other roll-out.
    assert len([task for dummy, task, dummy_result in outcome.results if task == "See what it has done"]) == 3
    table.row("twice", f"{len(reports)} reports; of the second one: failed; not rebooted, which is in a warning")


@pytest.mark.parametrize("percentage", [0, 50])
def test_threshold(updates: Updates, table: Table, percentage: int) -> None:
    *others, off = updates.hosts
    before = {host.name: updates.installed(host) for host in others}
    updates.publish("ij-plain")
    with levers.powered_off(off):
        outcome = updates.play(max_fail_percentage=percentage)
    assert outcome.rc != 0
    report = updates.report()
    assert report[off.name]["state"] == "unreachable"
    states = {report[host.name]["state"] for host in others}
    truth = [difference(before[host.name], updates.installed(host)) for host in others]
    if percentage:
        assert (states, truth) == ({"ok"}, [updated("ij-plain")] * 2)
        table.row("threshold 50", f"2 of 2 updated; exit code {outcome.rc}, after the report")
    else:
        assert (states, truth) == ({"not_touched"}, [[]] * 2)
        table.row("threshold 0", f"not_touched; exit code {outcome.rc}, after the report")


# dnf


def test_dnf(updates: Updates, table: Table) -> None:
    host = updates.hosts[-1]
    updates.install_old_rpms(host)
    host.shell(f"echo mine >> {CONFFILE}")
    before, settings = updates.installed_rpms(host), updates.settings(host)
    updates.publish(*GOOD)
    wanted = {"playbook": "main", "target": host.name, "manager": "dnf"}
    checked = updates.play("--check", **wanted)
    assert checked.rc == 0, checked.output
    assert updates.installed_rpms(host) == before
    planned = changes(results(checked)[host.name]["planned"])
    updates.close_gate(host)
    run = updates.start_play(**wanted)
    updates.wait_for_sleep(host)
    run.shows(f"update {host.name}: ", LIMIT)
    updates.open(host)
    outcome = run.outcome()
    assert outcome.rc == 0, outcome.output
    found = updates.report()[host.name]
    truth = difference(before, updates.installed_rpms(host))
    assert changes(found["packages"]) == truth
    assert planned == truth
    assert [name for name, dummy, new in truth if new == "2.0-1"] == sorted({*GOOD, "ij-new"} - {"ij-secure"})
    assert found["conffiles"] == [f"{CONFFILE}.rpmnew"]
    assert host.shell(f"tail -n 1 {CONFFILE}") == "mine\n"
    assert updates.settings(host) == settings
    assert found["manager"] == "dnf"
    table.row("dnf", f"equal: {len(truth)} packages; {CONFFILE}.rpmnew")
