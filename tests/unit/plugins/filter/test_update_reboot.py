# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.filter import update_reboot as plugin
from ansible_collections.inflight.jobs.plugins.filter.update_reboot import FilterModule, update_reboot

LOCKED = {"encrypted": True, "unlocks_itself": False, "msg": "/ is on dm-crypt and waits for a passphrase"}


def info(needed: object = "yes", **more: t.Any) -> dict[str, t.Any]:
    """What update_info has found."""
    return {"reboot": {"needed": needed, "reasons": [f"it is {needed}"]}, "encrypted_root": None, **more}


def test_it_is_there_by_its_name() -> None:
    assert FilterModule().filters() == {"update_reboot": update_reboot}


def test_it_returns_what_is_documented() -> None:
    documented = yaml.safe_load(plugin.RETURN)["_value"]["contains"]
    assert set(update_reboot(info(), "always")) == set(documented)


@pytest.mark.parametrize(
    ("policy", "needed", "changed", "wanted"),
    [
        ("never", "yes", True, False),
        ("never", "no", True, False),
        ("if_needed", "yes", False, True),
        ("if_needed", "no", True, False),
        ("if_changed", "no", True, True),
        ("if_changed", "yes", False, False),
        ("if_changed", "unknown", True, True),
        ("always", "no", False, True),
        ("always", "unknown", False, True),
    ],
)
def test_the_policy_decides(policy: str, needed: str, changed: bool, wanted: bool) -> None:
    decision = update_reboot(info(needed), policy, changed=changed)
    assert decision["wanted"] is wanted
    assert (decision["needed"], decision["reasons"]) == (needed, [f"it is {needed}"])
    assert (decision["warning"], decision["failed"]) == (None, False)


@pytest.mark.parametrize("policy", ["never", "if_changed"])
def test_one_that_needs_it_and_is_not_rebooted_is_told_without_a_warning(policy: str) -> None:
    decision = update_reboot(info("yes"), policy)
    assert decision["msg"] == f"it needs a reboot, and the policy is {policy}"
    assert update_reboot(info("no"), policy)["msg"] is None


class TestUnknown:
    @pytest.mark.parametrize("needed", ["unknown", None, "perhaps"])
    def test_it_is_not_rebooted_and_warned_of(self, needed: object) -> None:
        decision = update_reboot(info(needed), "if_needed")
        assert (decision["wanted"], decision["failed"]) == (False, False)
        assert (
            decision["msg"]
            == decision["warning"]
            == "it is not known whether it needs a reboot, and it was not rebooted"
        )

    def test_it_can_be_rebooted(self) -> None:
        decision = update_reboot(info("unknown"), "if_needed", unknown="as_yes")
        assert (decision["wanted"], decision["msg"], decision["warning"]) == (True, None, None)

    def test_it_can_fail(self) -> None:
        decision = update_reboot(info("unknown"), "if_needed", unknown="fail")
        assert (decision["wanted"], decision["failed"], decision["warning"]) == (False, True, None)
        assert decision["msg"] == "it is not known whether it needs a reboot, and it was not rebooted"

    @pytest.mark.parametrize("needed", ["yes", "no"])
    def test_where_it_is_known_it_does_not_matter(self, needed: str) -> None:
        assert not update_reboot(info(needed), "if_needed", unknown="fail")["failed"]


class TestRefusal:
    @pytest.mark.parametrize("policy", ["if_needed", "if_changed", "always"])
    def test_the_host_that_ansible_runs_on_is_never_rebooted(self, policy: str) -> None:
        decision = update_reboot(info(), policy, changed=True, encrypted=True, unknown="as_yes", controller=True)
        assert decision["wanted"] is False
        assert decision["msg"] == decision["warning"] == "it was not rebooted: it is the host that Ansible runs on"

    @pytest.mark.parametrize("policy", ["if_needed", "if_changed", "always"])
    def test_one_that_waits_for_a_passphrase_is_not_rebooted(self, policy: str) -> None:
        decision = update_reboot(info(encrypted_root=LOCKED), policy, changed=True)
        assert decision["wanted"] is False
        assert decision["msg"] == decision["warning"] == f"it was not rebooted: {LOCKED['msg']}"

    def test_but_where_somebody_types_it(self) -> None:
        assert update_reboot(info(encrypted_root=LOCKED), "always", encrypted=True)["wanted"]

    @pytest.mark.parametrize("root", [None, {}, {"encrypted": False}, {**LOCKED, "unlocks_itself": True}, "yes"])
    def test_one_that_comes_up_by_itself_is_rebooted(self, root: object) -> None:
        assert update_reboot(info(encrypted_root=root), "always")["wanted"]

    @pytest.mark.parametrize("policy", ["never", "if_needed"])
    def test_nothing_is_refused_that_nobody_wants(self, policy: str) -> None:
        decision = update_reboot(info("no", encrypted_root=LOCKED), policy, controller=True)
        assert (decision["wanted"], decision["msg"], decision["warning"]) == (False, None, None)

    @pytest.mark.parametrize("text", ["false", "False", "no", "0"])
    def test_what_the_command_line_says_is_understood(self, text: str) -> None:
        # -e parallel_update_reboot_encrypted=false is text, which is as true as any.
        decision = update_reboot(info(encrypted_root=LOCKED), "always", encrypted=text, controller=text)  # type: ignore[arg-type]
        assert decision["wanted"] is False
        assert not update_reboot(info(), "if_changed", changed=text)["wanted"]  # type: ignore[arg-type]
        assert update_reboot(info(encrypted_root=LOCKED), "always", encrypted="yes")["wanted"]  # type: ignore[arg-type]


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"policy": "sometimes"}, "policy is 'sometimes': use one of never, if_needed, if_changed, always"),
            ({"unknown": "no"}, "unknown is 'no': use one of as_no, as_yes, fail"),
            ({"encrypted": "perhaps"}, "changed, encrypted or controller is no boolean"),
        ],
    )
    def test_other_values_are_refused(self, options: dict[str, t.Any], reason: str) -> None:
        with pytest.raises(AnsibleFilterError) as caught:
            update_reboot(info(), **{"policy": "always", **options})
        assert str(caught.value).startswith(reason)

    @pytest.mark.parametrize("value", [None, "", [], {}, {"reboot": "yes"}, {"msg": "it failed", "failed": True}])
    def test_what_is_not_of_update_info_is_refused(self, value: object) -> None:
        with pytest.raises(AnsibleFilterError, match="is not what update_info registered"):
            update_reboot(value, "always")
