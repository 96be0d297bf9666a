# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Phase by phase, from what the tasks of the role register to what the report reads.

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.filter.update_result import FilterModule, update_result

Result = dict[str, t.Any]

INFO = {"manager": "apt", "kernel": "6.1.0-26-amd64", "reboot": {}}
CHECKS = [{"name": "service nginx", "ok": True, "msg": "active"}]
BASELINE = {"checks": CHECKS, "elapsed": 1.234}
CHANGE = {"name": "a", "arch": "all", "old": "1", "new": "2", "origin": "Debian:12/stable"}
PLAN = {
    "planned": [CHANGE],
    "kept_back": [{"name": "kept", "old": "1", "new": "2"}],
    "excluded": ["left"],
    "held": ["held"],
    "repaired": [],
}
END = {
    "running": False,
    "changed": True,
    "packages": [CHANGE],
    "failed_packages": [],
    "conffiles": ["/etc/a.conf.dpkg-dist"],
    "log_tail": ["Setting up a (2) ..."],
    "remarks": [],
    "msg": "1 package changed",
}


def job(**more: t.Any) -> Result:
    return {
        "state": "succeeded",
        "failed": False,
        "started_at": "2026-11-21T10:00:00+00:00",
        "ended_at": "2026-11-21T10:00:10+00:00",
        "msg": None,
        "result": {},
        **more,
    }


def jobs(**more: t.Any) -> Result:
    """What async_wait registers of a batch whose second job is like this."""
    second = job(started_at="2026-11-21T10:00:10Z", ended_at="2026-11-21T10:01:00.5Z", **more)
    return {"jobs": [job(result=PLAN), second], "finished": True}


@pytest.fixture
def looked() -> Result:
    """A host that can be updated."""
    return update_result({}, "preflight", {"info": INFO, "health": BASELINE, "failure": {}})


def updated(before: Result, end: Result | None = None, **registered: t.Any) -> Result:
    return update_result(before, "update", {"jobs": jobs(), "end": END if end is None else end, **registered})


def test_it_is_there_by_its_name() -> None:
    assert FilterModule().filters() == {"update_result": update_result}


class TestPreflight:
    def test_what_was_found(self, looked: Result) -> None:
        assert looked == {
            "state": "ok",
            "msg": None,
            "phase": None,
            "changed": False,
            "warnings": [],
            "reached": "preflight",
            "manager": "apt",
            "kernel": {"before": "6.1.0-26-amd64", "after": None},
            "health": {"before": CHECKS, "after": None, "new_faults": [], "old_faults": []},
            "snapshot": {"kind": "none", "msg": None},
            "seconds": {"preflight": 1.2},
        }

    def test_without_a_baseline(self) -> None:
        result = update_result({}, "preflight", {"info": INFO, "health": {"skipped": True, "changed": False}})
        assert result["state"] == "ok"
        assert "health" not in result
        assert "seconds" not in result

    def test_a_failure_is_told(self) -> None:
        result = update_result(
            {}, "preflight", {"info": INFO, "failure": {"failed": True, "msg": "10 MB are free on /"}}
        )
        assert (result["state"], result["phase"], result["msg"]) == ("failed", "preflight", "10 MB are free on /")

    def test_a_host_that_is_out_of_reach_is_not_called_failed(self) -> None:
        info = {"unreachable": True, "msg": "no route to host"}
        result = update_result({}, "preflight", {"info": info, "failure": {"failed": True, "msg": "see above"}})
        assert (result["state"], result["phase"], result["msg"]) == ("unreachable", "preflight", "no route to host")

    @pytest.mark.parametrize("failure", [{"failed": True}, {"msg": ""}, {"msg": None, "failed": True}])
    def test_a_failure_without_a_reason_is_one(self, failure: Result) -> None:
        result = update_result({}, "preflight", {"failure": failure})
        assert (result["state"], result["msg"]) == ("failed", "nothing is known of the reason")


class TestUpdate:
    def test_what_was_done(self, looked: Result) -> None:
        result = updated(looked)
        assert {key: result[key] for key in result if key not in looked} == {
            "packages": [CHANGE],
            "planned": [],
            "kept_back": PLAN["kept_back"],
            "excluded": ["left"],
            "held": ["held"],
            "failed_packages": [],
            "conffiles": ["/etc/a.conf.dpkg-dist"],
            "started_at": "2026-11-21T10:00:00+00:00",
            "ended_at": "2026-11-21T10:01:00.5Z",
        }
        assert (result["state"], result["msg"], result["changed"]) == ("ok", None, True)
        assert result["seconds"] == {"preflight": 1.2, "update": 60.5}

    def test_what_came_before_is_left_as_it_was(self, looked: Result) -> None:
        before = {**looked, "warnings": [*looked["warnings"]]}
        updated(looked, {**END, "remarks": ["timers do not start"]})
        assert looked == before

    @pytest.mark.parametrize("state", ["running", "cancelled", "lost"])
    def test_what_is_in_a_report_already_is_none_of_one_that_did_not_begin(self, looked: Result, state: str) -> None:
        failed = state != "running"
        waited = {"jobs": [{**job(), "state": state, "failed": failed, "result": None, "msg": "not begun"}]}
        result = update_result(looked, "update", {"jobs": waited, "end": {**END, "reported": True}})
        assert result["state"] == ("failed" if failed else "running")
        assert (result["packages"], result["changed"]) == ([], False)

    def test_nothing_to_do(self, looked: Result) -> None:
        waited = {"jobs": [job(result={**PLAN, "planned": []}), job()]}
        result = update_result(looked, "update", {"jobs": waited, "end": {**END, "packages": []}})
        assert (result["state"], result["changed"], result["packages"]) == ("ok", False, [])

    def test_in_check_mode_what_would_be_done(self, looked: Result) -> None:
        result = update_result(looked, "update", {"jobs": {"jobs": [job(result=PLAN)]}, "end": {"skipped": True}})
        assert (result["planned"], result["packages"], result["changed"]) == ([CHANGE], [], False)
        assert (result["state"], result["warnings"]) == ("ok", [])

    def test_in_check_mode_packages_that_dnf_would_install_anew(self, looked: Result) -> None:
        printed = [
            "Installed: ij-new-1:2.0-1.el9.noarch",
            "Installed: a-2-1.noarch",
            "Removed: b-1-1.noarch",
            "nonsense",
        ]
        waited = {"jobs": [job(result=PLAN), job(result={"results": printed})]}
        result = update_result(looked, "update", {"jobs": waited, "end": {"skipped": True}})
        assert [(change["name"], change["old"], change["new"]) for change in result["planned"]] == [
            ("a", "1", "2"),
            ("ij-new", None, "1:2.0-1.el9"),
        ]

    def test_what_was_planned_and_not_done_is_a_warning(self, looked: Result) -> None:
        result = updated(looked, {**END, "packages": []})
        assert (result["state"], result["msg"]) == ("warning", "a was to be updated, and was not")

    def test_what_did_not_work_at_the_end_is_a_warning(self, looked: Result) -> None:
        result = updated(looked, {**END, "remarks": ["systemctl cannot start apt-daily.timer: no"]})
        assert (result["state"], result["msg"]) == ("warning", "systemctl cannot start apt-daily.timer: no")

    def test_also_where_the_update_failed(self, looked: Result) -> None:
        waited = {"jobs": [job(result=PLAN), job(state="failed", failed=True, msg="E: no space")]}
        end = {**END, "remarks": ["systemctl cannot start apt-daily.timer: no"]}
        result = update_result(looked, "update", {"jobs": waited, "end": end})
        assert (result["state"], result["msg"]) == ("failed", "no space")
        assert result["warnings"] == ["systemctl cannot start apt-daily.timer: no"]

    def test_what_was_repaired_is_a_warning(self, looked: Result) -> None:
        waited = {"jobs": [job(result={**PLAN, "repaired": ["b"]}), job()]}
        result = update_result(looked, "update", {"jobs": waited, "end": END})
        assert result["state"] == "warning"
        assert result["warnings"] == ["b was half-installed by an earlier run, and was configured"]

    def test_half_installed_packages_are_a_failure_whatever_the_job_says(self, looked: Result) -> None:
        result = updated(looked, {**END, "failed_packages": [{"name": "a", "state": "half-configured"}]})
        assert (result["state"], result["phase"], result["msg"]) == ("failed", "update", "not fully installed: a")
        assert result["log_tail"] == END["log_tail"]
        assert result["changed"]

    def test_a_job_that_failed_is_told_with_what_the_package_manager_complained_of(self, looked: Result) -> None:
        text = "'/usr/bin/apt-get upgrade' failed: W: something\nE: Sub-process returned an error code (1)\nE: two\n"
        waited = {"jobs": [job(result=PLAN), job(state="failed", failed=True, msg=text)]}
        end = {**END, "failed_packages": [{"name": "a", "state": "half-configured"}]}
        result = update_result(looked, "update", {"jobs": waited, "end": end})
        assert (result["state"], result["phase"]) == ("failed", "update")
        assert result["msg"] == "not fully installed: a; Sub-process returned an error code (1) / two"

    def test_the_refusal_of_the_first_job_is_the_reason(self, looked: Result) -> None:
        why = "the update would remove old, and allow_remove is false: have only safe updates, or allow that"
        waited = {"jobs": [job(state="failed", failed=True, msg=why, result={"failed": True}), job(state="cancelled")]}
        end = {"failed": False, "msg": "no update has begun on this host since it booted"}
        result = update_result(looked, "update", {"jobs": waited, "end": end})
        assert (result["state"], result["msg"], result["packages"]) == ("failed", why, [])

    def test_a_job_that_was_lost_says_so(self, looked: Result) -> None:
        waited = {"jobs": [job(result=PLAN), job(state="lost", failed=True, msg="the host was rebooted")]}
        result = update_result(looked, "update", {"jobs": waited, "end": {"msg": "no update has begun"}})
        assert (result["state"], result["msg"]) == ("failed", "lost: the host was rebooted")

    @pytest.mark.parametrize(
        "registered",
        [
            {"jobs": {"jobs": [job(result=PLAN), job(state="running", ended_at=None)]}, "end": END},
            {"jobs": jobs(), "end": {"running": True, "changed": False}},
        ],
    )
    def test_one_that_has_not_ended_is_left_alone(self, looked: Result, registered: Result) -> None:
        result = update_result(looked, "update", registered)
        assert (result["state"], result["phase"]) == ("running", "update")
        assert "was left alone" in result["msg"]

    @pytest.mark.parametrize(
        "registered",
        [
            {"jobs": {"unreachable": True, "msg": "no route to host"}, "end": {"skipped": True}},
            {"jobs": jobs(), "end": {"unreachable": True, "msg": "no route to host"}},
        ],
    )
    def test_one_that_went_out_of_reach(self, looked: Result, registered: Result) -> None:
        result = update_result(looked, "update", registered)
        assert (result["state"], result["phase"], result["msg"]) == ("unreachable", "update", "no route to host")

    def test_a_batch_that_could_not_be_started_is_told(self, looked: Result) -> None:
        result = update_result(
            looked, "update", {"jobs": {"failed": False, "msg": "no space left"}, "end": {"skipped": 1}}
        )
        assert (result["state"], result["msg"]) == ("failed", "no space left")

    def test_an_update_of_which_nothing_is_known_afterwards_is_no_success(self, looked: Result) -> None:
        result = updated(looked, {"failed": False, "msg": "begun.json is damaged"})
        assert (result["state"], result["msg"]) == ("failed", "begun.json is damaged")

    def test_without_a_log_what_was_printed_is_told(self, looked: Result) -> None:
        printed = "\n".join(map(str, range(50)))
        waited = {"jobs": [job(result=PLAN), job(state="failed", failed=True, msg="bad", result={"stdout": printed})]}
        result = update_result(looked, "update", {"jobs": waited, "end": {**END, "log_tail": []}})
        assert result["log_tail"] == [str(number) for number in range(10, 50)]


DECISION = {"wanted": True, "needed": "yes", "reasons": ["new kernel"], "msg": None, "warning": None, "failed": False}


class TestReboot:
    def test_one_that_was_rebooted(self, looked: Result) -> None:
        registered = {
            "decision": DECISION,
            "rebooted": {"rebooted": True, "changed": True, "elapsed": 25},
            "info": {"kernel": "6.1.0-28-amd64"},
        }
        result = update_result(updated(looked), "reboot", registered)
        assert result["reboot"] == {
            "needed": "yes",
            "reasons": ["new kernel"],
            "done": True,
            "seconds": 25,
            "msg": None,
        }
        assert result["kernel"] == {"before": "6.1.0-26-amd64", "after": "6.1.0-28-amd64"}
        assert (result["state"], result["seconds"]["reboot"]) == ("ok", 25.0)

    def test_one_that_is_to_be_rebooted_is_not_said_to_have_been(self, looked: Result) -> None:
        result = update_result(updated(looked), "reboot", {"decision": DECISION})
        assert (result["reboot"]["done"], result["state"]) == (False, "ok")
        assert "reboot" not in result["seconds"]

    def test_a_refusal_is_a_warning(self, looked: Result) -> None:
        why = "it was not rebooted: it is the host that Ansible runs on"
        result = update_result(updated(looked), "reboot", {"decision": {**DECISION, "msg": why, "warning": why}})
        assert (result["state"], result["msg"], result["warnings"]) == ("warning", why, [why])

    def test_what_the_user_does_not_want_is_none(self, looked: Result) -> None:
        why = "it needs a reboot, and the policy is never"
        result = update_result(updated(looked), "reboot", {"decision": {**DECISION, "wanted": False, "msg": why}})
        assert (result["state"], result["reboot"]["msg"]) == ("ok", why)

    def test_a_decision_that_counts_as_failed(self, looked: Result) -> None:
        decision = {**DECISION, "needed": "unknown", "msg": "it is not known", "failed": True}
        result = update_result(updated(looked), "reboot", {"decision": decision})
        assert (result["state"], result["phase"], result["msg"]) == ("failed", "reboot", "it is not known")

    @pytest.mark.parametrize("how", ["failed", "unreachable"])
    def test_one_that_did_not_come_back(self, looked: Result, how: str) -> None:
        rebooted = {"rebooted": True, "elapsed": 900, how: True, "msg": "Timed out waiting for last boot time check"}
        result = update_result(updated(looked), "reboot", {"decision": DECISION, "rebooted": rebooted, "info": {}})
        assert (result["state"], result["phase"]) == ("failed", "reboot")
        assert result["msg"] == "it did not come back from its reboot: Timed out waiting for last boot time check"
        assert result["kernel"]["after"] is None

    def test_one_that_was_lost_before_it_was_told_to_reboot(self, looked: Result) -> None:
        lost = {"unreachable": True, "msg": "no route to host"}
        result = update_result(updated(looked), "reboot", {"decision": DECISION, "rebooted": lost, "info": {}})
        assert (result["state"], result["reboot"]["done"]) == ("failed", False)
        assert result["msg"] == "whether it has rebooted is not known: no route to host"

    def test_a_failure_after_a_reboot_does_not_hide_that_it_has_rebooted(self, looked: Result) -> None:
        before = update_result(updated(looked), "reboot", {"decision": DECISION})
        rebooted = {"rebooted": True, "elapsed": 20}
        result = update_result(before, "reboot", {"failure": {"msg": "Timed out"}, "rebooted": rebooted})
        assert (result["state"], result["msg"]) == ("failed", "Timed out")
        assert result["reboot"] == {**before["reboot"], "done": True, "seconds": 20}

    def test_a_failure_of_another_task_is_told_and_what_was_known_stays(self, looked: Result) -> None:
        before = update_result(updated(looked), "reboot", {"decision": DECISION})
        result = update_result(before, "reboot", {"failure": {"msg": "it is kept from being shut down by a backup"}})
        assert (result["state"], result["phase"]) == ("failed", "reboot")
        assert (result["packages"], result["reboot"]) == (before["packages"], before["reboot"])


class TestVerify:
    def test_one_that_is_as_healthy_as_before(self, looked: Result) -> None:
        health = {"checks": CHECKS, "new_faults": [], "old_faults": ["unit x"], "elapsed": 2, "failed": False}
        result = update_result(updated(looked), "verify", {"health": health})
        assert result["health"] == {"before": CHECKS, "after": CHECKS, "new_faults": [], "old_faults": ["unit x"]}
        assert (result["state"], result["seconds"]["verify"]) == ("ok", 2.0)

    def test_a_new_fault_is_a_failure(self, looked: Result) -> None:
        health = {"checks": CHECKS, "new_faults": ["service nginx"], "failed": True, "msg": "new faults: service nginx"}
        result = update_result(updated(looked), "verify", {"health": health})
        assert (result["state"], result["phase"], result["msg"]) == ("failed", "verify", "new faults: service nginx")
        assert result["health"]["new_faults"] == ["service nginx"]

    def test_a_rollback_that_failed_does_not_hide_what_it_was_for(self, looked: Result) -> None:
        health = {"checks": CHECKS, "new_faults": ["service nginx"], "failed": True, "msg": "new faults: service nginx"}
        verified = update_result(updated(looked), "verify", {"health": health})
        result = update_result(verified, "verify", {"failure": {"msg": "the volume is in use"}})
        assert (result["state"], result["msg"]) == ("failed", "new faults: service nginx; the volume is in use")
        assert result["health"] == verified["health"]

    def test_one_that_is_out_of_reach_after_its_update(self, looked: Result) -> None:
        health = {"unreachable": True, "failed": True, "msg": "no route to host"}
        result = update_result(updated(looked), "verify", {"health": health})
        assert (result["state"], result["phase"]) == ("unreachable", "verify")

    def test_a_warning_of_before_stays(self, looked: Result) -> None:
        before = updated(looked, {**END, "remarks": ["look at this"]})
        result = update_result(before, "verify", {"health": {"checks": CHECKS}})
        assert (result["state"], result["msg"]) == ("warning", "look at this")

    def test_without_a_baseline(self) -> None:
        before = updated(update_result({}, "preflight", {"info": INFO}))
        result = update_result(before, "verify", {"health": {"checks": CHECKS}})
        assert result["health"] == {"before": None, "after": CHECKS, "new_faults": [], "old_faults": []}


class TestStop:
    GATE: t.ClassVar = {"gate": {"open": False, "msg": "web1 failed: new faults"}}

    def test_one_that_was_not_updated_is_not_touched(self, looked: Result) -> None:
        result = update_result(looked, "stop", self.GATE)
        assert (result["state"], result["msg"]) == ("not_touched", "the roll-out was stopped: web1 failed: new faults")
        assert result["changed"] is False

    def test_one_that_was_is_a_warning(self, looked: Result) -> None:
        result = update_result(updated(looked), "stop", self.GATE)
        assert (result["state"], result["changed"]) == ("warning", True)
        assert result["msg"].startswith("it was updated, but neither rebooted nor verified: the roll-out was stopped")


def test_what_became_of_a_snapshot(looked: Result) -> None:
    result = update_result(looked, "snapshot", {"kind": "lvm", "msg": "made before the update"})
    assert result == {**looked, "snapshot": {"kind": "lvm", "msg": "made before the update"}}


class TestMistakes:
    def test_there_is_no_such_phase(self) -> None:
        for phase in ("Update", "", None, []):
            with pytest.raises(
                AnsibleFilterError, match="is no phase of an update: use one of preflight, update, reboot"
            ):
                update_result({}, phase, {})

    @pytest.mark.parametrize(("value", "registered"), [(None, {}), ({}, None), ("x", {}), ({}, [1])])
    def test_what_is_no_dict_is_refused(self, value: object, registered: object) -> None:
        with pytest.raises(
            AnsibleFilterError, match="is not a dict: give the result so far, and what tasks registered"
        ):
            update_result(value, "preflight", registered)
