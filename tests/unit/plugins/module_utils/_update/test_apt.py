# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# With the real apt and dpkg where they are. unattended-upgrade has no folder for a root: what it says is replayed.

from __future__ import annotations

import fcntl
import os
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._update import apt
from ansible_collections.inflight.jobs.plugins.module_utils._update.apt import Apt
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import (
    Change,
    Package,
    Plan,
    UpdateError,
    changes_between,
)
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import Workspace

from ...conftest import living
from .debian import FOREIGN, NATIVE, OPTIONS, SECURITY, Debian, deb, debian, needs_apt, needs_root
from .hosts import Replay

__all__ = ["debian"]

pytestmark = needs_apt

FROM_MAIN, FROM_SECURITY = "Small:1/stable", "Small-Security:1/stable-security"
HOLD = "hold ok installed"


def names(plan: Plan) -> list[str]:
    return sorted(change.name for change in plan.changes)


def simple(debian: Debian, *packages: str, build: bool = False) -> None:
    """These packages have a new version."""
    debian.have(*(deb(name, "1.0") for name in packages))
    debian.offer(*(deb(name, "2.0") for name in packages), build=build)


def failure(do: t.Callable[[], object]) -> str:
    with pytest.raises(UpdateError) as caught:
        do()
    return str(caught.value)


class TestPlan:
    def test_everything_that_has_a_new_version_and_what_that_needs(self, debian: Debian) -> None:
        debian.have(deb("a", "1.0"), deb("b", "1:1.0~rc1", NATIVE), deb("same", "1.0"))
        debian.offer(
            deb("a", "2.0", Depends="new"), deb("b", "2:0.5+deb12u1", NATIVE), deb("same", "1.0"), deb("new", "3-1")
        )
        assert sorted(debian.apt().plan().changes) == [
            Change("a", "all", "1.0", "2.0", FROM_MAIN),
            Change("b", NATIVE, "1:1.0~rc1", "2:0.5+deb12u1", FROM_MAIN),
            Change("new", "all", None, "3-1", FROM_MAIN),
        ]

    def test_of_several_origins_the_one_of_security_is_told(self, debian: Debian) -> None:
        debian.have(deb("a", "1.0"))
        debian.offer(deb("a", "2.0"))
        debian.offer(deb("a", "2.0"), of=SECURITY)
        (change,) = debian.apt().plan().changes
        assert change.origin == FROM_SECURITY

    def test_nothing_to_do(self, debian: Debian) -> None:
        debian.have(deb("a", "2.0"))
        debian.offer(deb("a", "2.0"))
        assert debian.apt(only=["a"], security_only=False).plan() == Plan([], [], [])

    @pytest.mark.parametrize(
        ("options", "updated", "excluded"),
        [
            ({"exclude": ["b", "c*"]}, ["a"], ["b", "c1", "c2"]),
            ({"hold": ["a"]}, ["b", "c1", "c2"], ["a"]),
            ({"only": ["c?"]}, ["c1", "c2"], ["a", "b"]),
            ({"only": ["a", "b"], "exclude": ["b"]}, ["a"], ["b", "c1", "c2"]),
            ({"only": ["nothing"]}, [], ["a", "b", "c1", "c2"]),
            ({"exclude": ["nothing"]}, ["a", "b", "c1", "c2"], []),
            ({"exclude": ["*"]}, [], ["a", "b", "c1", "c2"]),
        ],
    )
    def test_pins_keep_what_was_left_out_and_nothing_else(
        self, debian: Debian, options: dict[str, t.Any], updated: list[str], excluded: list[str]
    ) -> None:
        simple(debian, "a", "b", "c1", "c2")
        plan = debian.apt(**options).plan()
        assert (names(plan), plan.excluded, plan.kept_back) == (updated, excluded, [])
        path = Path(debian.workspace.file(apt.PINS))
        pinned = path.read_text(encoding="utf-8").split("\n\n") if excluded else []
        assert [pin for pin in pinned if pin] == [
            f"Package: {name}\nPin: release a=now\nPin-Priority: 32767" for name in excluded
        ]

    def test_what_only_names_comes_with_its_needs(self, debian: Debian) -> None:
        debian.have(deb("a", "1.0"), deb("lib", "1.0"), deb("other", "1.0"))
        debian.offer(
            deb("a", "2.0", Depends="lib (>= 2.0), new"), deb("lib", "2.0"), deb("other", "2.0"), deb("new", "1")
        )
        plan = debian.apt(only=["a"]).plan()
        assert (names(plan), plan.excluded) == (["a", "lib", "new"], ["other"])

    def test_what_needs_something_that_is_left_out_is_kept_back_and_told_with_its_versions(
        self, debian: Debian
    ) -> None:
        debian.have(deb("a", "1.0"), deb("b", "1.0"), deb("lib", "1.0"))
        debian.offer(deb("a", "2.0", Depends="lib (>= 2.0)"), deb("b", "2.0"), deb("lib", "2.0"))
        for options in ({"exclude": ["lib"]}, {"exclude": ["lib"], "only": ["a", "b"]}):
            plan = debian.apt(**options).plan()
            assert names(plan) == ["b"]
            assert plan.excluded == ["lib"]
            assert plan.kept_back == [Change("a", "", "1.0", "2.0")]

    def test_one_that_cannot_be_installed_is_kept_back_and_no_reason_to_leave_the_others(self, debian: Debian) -> None:
        debian.have(deb("a", "1.0"), deb("b", "1.0"), deb("c", "1.0"))
        debian.offer(deb("a", "1:2.0", Depends="not-there"), deb("b", "2.0"), deb("c", "2.0"))
        plan = debian.apt(only=["a", "b"]).plan()
        assert (names(plan), plan.excluded) == (["b"], ["c"])
        assert plan.kept_back == [Change("a", "", "1.0", "1:2.0")]

    def test_a_package_on_hold_stays_and_is_no_news(self, debian: Debian) -> None:
        debian.have(deb("a", "1.0"), deb("held", "1.0", state=HOLD))
        debian.offer(deb("a", "2.0"), deb("held", "2.0"))
        for options in ({}, {"only": ["*"]}, {"type": "full", "allow_remove": True}, {"exclude": ["held"]}):
            manager = debian.apt(**options)
            plan = manager.plan()
            assert (names(plan), plan.excluded, plan.kept_back) == (["a"], [], [])
            assert manager.held() == ["held"]

    def test_what_would_need_a_package_on_hold_is_kept_back(self, debian: Debian) -> None:
        debian.have(deb("a", "1.0"), deb("b", "1.0"), deb("held", "1.0", state=HOLD))
        debian.offer(deb("a", "2.0", Depends="held (>= 2.0)"), deb("b", "2.0"), deb("held", "2.0"))
        for options in ({}, {"only": ["a", "b"]}, {"type": "full"}):
            plan = debian.apt(**options).plan()
            assert names(plan) == ["b"]
            assert plan.kept_back == [Change("a", "", "1.0", "2.0")]

    def test_settings_of_the_host_stay_as_they_are(self, debian: Debian) -> None:
        simple(debian, "a", "b")
        before = debian.settings()
        debian.apt(exclude=["a"], hold=["b"], lock_timeout=7).plan()
        assert debian.settings() == before

    def test_where_the_host_has_apt_show_versions(self, debian: Debian) -> None:
        debian.put("etc/apt/apt.conf.d/50versions", 'APT::Get::Show-Versions "true";\nAPT::Output-Version "30";\n')
        debian.have(deb("a", "1.0"), deb("b", "1.0"))
        debian.offer(deb("a", "2.0", Depends="not-there"), deb("b", "2.0"))
        plan = debian.apt().plan()
        assert (names(plan), plan.kept_back) == (["b"], [Change("a", "", "1.0", "2.0")])

    def test_in_another_language(self, debian: Debian) -> None:
        # As where somebody logs in with it; the translations are not on every machine.
        debian.environment = {"LANGUAGE": "de", "LANG": "de_DE.UTF-8"}
        debian.have(deb("a", "1.0"), deb("b", "1.0"))
        debian.offer(deb("a", "2.0", Depends="not-there"), deb("b", "2.0"))
        assert debian.apt().plan().kept_back == [Change("a", "", "1.0", "2.0")]


class TestLeftOut:
    """What is excluded or on hold stays as it is, whatever the host has and however that comes about."""

    @pytest.fixture
    def hidden(self, debian: Debian) -> Debian:
        """A new version that shows only where that of a is left out: else the package would be removed."""
        debian.have(deb("a", "1.0"), deb("x", "1.0"), deb("o", "1.0"))
        debian.offer(deb("a", "2.0", Conflicts="x"), deb("x", "2.0"), deb("o", "2.0"))
        return debian

    @pytest.mark.parametrize(
        ("options", "updated", "excluded"),
        [
            ({"exclude": ["a", "x"]}, ["o"], ["a"]),
            ({"exclude": ["a"], "hold": ["x"]}, ["o"], ["a"]),
            ({"only": ["o"]}, ["o"], ["a", "x"]),
            ({"only": ["o", "x"]}, ["o", "x"], ["a"]),
            # It is none of those that are left out.
            ({"exclude": ["a"]}, ["o", "x"], ["a"]),
        ],
    )
    def test_also_what_shows_only_then(
        self, hidden: Debian, options: dict[str, t.Any], updated: list[str], excluded: list[str]
    ) -> None:
        for allow_remove in (False, True):
            plan = hidden.apt(type="full", allow_remove=allow_remove, **options).plan()
            assert (names(plan), plan.excluded, plan.kept_back) == (updated, excluded, [])

    @pytest.mark.parametrize("priority", [1001, 1002, 32766])
    @pytest.mark.parametrize("pin", ["Package: *\nPin: release a=stable", "Package: b\nPin: version 2.0"])
    def test_pins_of_the_host_come_after_it(self, debian: Debian, priority: int, pin: str) -> None:
        simple(debian, "a", "b")
        debian.put("etc/apt/preferences", f"{pin}\nPin-Priority: {priority}\n")
        for options in ({"exclude": ["b"]}, {"hold": ["b"]}, {"only": ["a"]}):
            plan = debian.apt(**options).plan()
            assert (names(plan), plan.excluded) == (["a"], ["b"])

    @pytest.mark.parametrize("newer", [[], ["2.0"]])
    def test_another_build_of_the_same_version_does_not_come(self, debian: Debian, newer: list[str]) -> None:
        debian.have(deb("a", "1.0"), deb("b", "1.0"))
        rebuilt = deb("b", "1.0", Depends="a (>= 1.0)")
        debian.offer(rebuilt, deb("a", "2.0"), *(deb("b", version) for version in newer))
        assert names(debian.apt().plan()) == ["a", "b"]
        for options in ({"exclude": ["b"]}, {"hold": ["b"]}, {"only": ["a"]}):
            plan = debian.apt(**options).plan()
            assert (names(plan), plan.excluded) == (["a"], ["b"])

    @pytest.mark.parametrize("option", ["exclude", "hold"])
    def test_a_new_package_does_not_come(self, debian: Debian, option: str) -> None:
        debian.have(deb("a", "1.0"), deb("b", "1.0"))
        debian.offer(
            deb("a", "2.0", Depends="libnew"),
            *(deb("b", "2.0"), deb("libnew", "1", Depends="libnewer"), deb("libnewer", "1")),
        )
        assert names(debian.apt().plan()) == ["a", "b", "libnew", "libnewer"]
        for options in ({}, {"type": "full"}, {"only": ["a", "b"]}):
            for pattern in ("libnew", "libn*", "*newer"):
                plan = debian.apt(**{option: [pattern]}, **options).plan()
                assert (names(plan), plan.excluded) == (["b"], [])
                assert plan.kept_back == [Change("a", "", "1.0", "2.0")]

    def test_a_host_that_wants_an_older_version_does_not_get_it_unasked(self, debian: Debian) -> None:
        debian.have(deb("a", "1.0"), deb("p", "2.0"))
        debian.offer(deb("a", "2.0"), deb("p", "1.0"))
        debian.put("etc/apt/preferences", "Package: p\nPin: version 1.0\nPin-Priority: 1001\n")
        assert failure(debian.apt().plan) == (
            "the update would put p back to an older version, as the preferences of apt on the host want: "
            "exclude that, or change these"
        )
        for options in ({"exclude": ["p"]}, {"hold": ["p"]}, {"only": ["a"]}):
            assert names(debian.apt(**options).plan()) == ["a"]

    def test_where_the_host_cannot_be_overruled_the_update_is_refused(self, debian: Debian) -> None:
        simple(debian, "a", "b")
        real = debian.run

        def run(command: list[str], *arguments: t.Any, **options: t.Any) -> tuple[int, str, str]:
            Path(debian.workspace.file(apt.PINS)).write_text("", encoding="ascii")
            return real(command, *arguments, **options)

        debian.run = run  # type: ignore[method-assign]
        message = failure(debian.apt(exclude=["b"]).plan)
        assert message.startswith("the update would install b, which must stay as they are: the preferences of apt")

    def test_variables_of_whoever_runs_it_do_not_matter(self, debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
        simple(debian, "a", "b")
        for name in ("Version", "Package", "Architecture"):
            monkeypatch.setenv(name, "1")
        assert names(debian.apt(exclude=["a"]).plan()) == ["b"]


class TestRemoval:
    @pytest.fixture
    def conflict(self, debian: Debian) -> Debian:
        debian.have(deb("a", "1.0"), deb("old", "1.0", NATIVE), deb("b", "1.0"))
        debian.offer(deb("a", "2.0", Conflicts="old"), deb("b", "2.0"))
        return debian

    def test_a_safe_update_removes_nothing(self, conflict: Debian) -> None:
        plan = conflict.apt(allow_remove=True).plan()
        assert names(plan) == ["b"]
        assert plan.kept_back == [Change("a", "", "1.0", "2.0")]

    def test_it_is_refused_and_named(self, conflict: Debian) -> None:
        assert failure(conflict.apt(type="full").plan) == (
            "the update would remove old, and allow_remove is false: have only safe updates, or allow that"
        )

    def test_it_is_planned_where_it_is_allowed(self, conflict: Debian) -> None:
        plan = conflict.apt(type="full", allow_remove=True).plan()
        assert Change("old", NATIVE, "1.0", None) in plan.changes
        assert names(plan) == ["a", "b", "old"]

    def test_what_the_user_has_on_hold_is_not_removed(self, conflict: Debian) -> None:
        message = failure(conflict.apt(type="full", allow_remove=True, hold=["old"]).plan)
        assert message == "the update would remove old, which must stay as they are"

    def test_nothing_that_is_on_hold_on_the_host_is_removed(self, conflict: Debian) -> None:
        conflict.have(deb("a", "1.0"), deb("old", "1.0", NATIVE, state=HOLD), deb("b", "1.0"))
        plan = conflict.apt(type="full", allow_remove=True).plan()
        assert names(plan) == ["b"]

    def test_without_the_one_that_removes_it_the_others_are_updated(self, conflict: Debian) -> None:
        plan = conflict.apt(type="full", exclude=["a"]).plan()
        assert (names(plan), plan.excluded) == (["b"], ["a"])


class TestArchitectures:
    @pytest.fixture
    def both(self, debian: Debian) -> Debian:
        """A system with packages of two architectures."""
        same = {"Multi-Arch": "same"}
        debian.have(
            *(deb("lib", "1.0", arch, **same) for arch in (NATIVE, FOREIGN)),
            *(deb("tool", "1.0", FOREIGN), deb("held", "1.0", FOREIGN, state=HOLD), deb("a", "1.0", NATIVE)),
        )
        debian.offer(
            *(deb("lib", "2.0", arch, **same) for arch in (NATIVE, FOREIGN)),
            *(deb("tool", "2.0", arch) for arch in (NATIVE, FOREIGN)),
            *(deb("held", "2.0", FOREIGN), deb("a", "2.0", NATIVE)),
        )
        return debian

    def test_all_are_updated(self, both: Debian) -> None:
        manager = both.apt()
        plan = manager.plan()
        assert sorted((change.name, change.arch, change.old, change.new) for change in plan.changes) == sorted(
            [("a", NATIVE, "1.0", "2.0"), ("tool", FOREIGN, "1.0", "2.0")]
            + [("lib", arch, "1.0", "2.0") for arch in (NATIVE, FOREIGN)]
        )
        assert plan.kept_back == []
        assert manager.held() == [f"held:{FOREIGN}"]

    def test_pins_keep_those_of_every_architecture(self, both: Debian) -> None:
        plan = both.apt(exclude=["lib", "tool"]).plan()
        assert (names(plan), plan.excluded, plan.kept_back) == (["a"], ["lib", "tool"], [])

    def test_those_of_one_architecture_can_be_named(self, both: Debian) -> None:
        plan = both.apt(only=[f"tool:{FOREIGN}"]).plan()
        assert (names(plan), plan.excluded) == (["tool"], ["a", "lib"])

    def test_only_takes_those_of_every_architecture(self, both: Debian) -> None:
        plan = both.apt(only=["lib", "tool"]).plan()
        assert (names(plan), plan.excluded) == (["lib", "lib", "tool"], ["a"])

    def test_one_that_is_kept_back_is_told_with_its_own_versions(self, both: Debian) -> None:
        both.have(deb("tool", "1.0", FOREIGN))
        both.offer(deb("tool", "3.0", NATIVE), deb("tool", "2.0", FOREIGN, Depends="not-there"))
        assert both.apt().plan().kept_back == [Change("tool", FOREIGN, "1.0", "2.0")]


@needs_root
class TestRealUpdate:
    """What was planned is what core's module does with the configuration that was left for it."""

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"exclude": ["b"]},
            {"only": ["a"]},
            {"hold": ["lib"]},
            {"type": "full", "allow_remove": True},
            {"type": "full", "allow_remove": True, "exclude": ["c"]},
        ],
    )
    def test_the_plan_is_what_is_done(self, debian: Debian, options: dict[str, t.Any]) -> None:
        debian.have(*(deb(name, "1.0") for name in ("a", "b", "c", "old", "lib")), deb("held", "1.0", state=HOLD))
        debian.offer(
            deb("a", "2.0", Depends="lib (>= 2.0), new"),
            *(deb(name, "2.0") for name in ("b", "lib", "held")),
            deb("c", "2.0", Conflicts="old"),
            deb("new", "1.0"),
            build=True,
        )
        manager = debian.apt(**options)
        before = manager.installed()
        plan = manager.plan()
        debian.upgrade("dist-upgrade" if options.get("type") == "full" else "upgrade")
        origins = {change.name: change.origin for change in plan.changes}
        assert changes_between(before, manager.installed(), origins) == sorted(plan.changes)
        assert plan.changes
        log = (debian.root / "var/log/dpkg.log").read_text(encoding="utf-8")
        new = [change for change in plan.changes if change.new]
        assert manager.progress(plan, log).startswith(f"configure {len(new)} of {len(new)}, ")


class TestConfiguration:
    def test_it_comes_after_all_that_the_host_has_and_the_host_keeps_its_preferences(self, debian: Debian) -> None:
        simple(debian, "a", "b", "c", "d")
        debian.put("etc/apt/apt.conf.d/99last", 'DPkg::Lock::Timeout "1";\nDir::Etc::Preferences "/nowhere";\n')
        debian.put("etc/apt/apt.conf", 'DPkg::Lock::Timeout "2";\nInflight::There "yes";\n')
        debian.put("etc/apt/preferences", "Package: b\nPin: version 1.0\nPin-Priority: 1001\n")
        debian.put("etc/apt/preferences.d/c.pref", "Package: c\nPin: version 1.0\nPin-Priority: 1001\n")
        plan = debian.apt(exclude=["d"], lock_timeout=33.9).plan()
        assert (names(plan), plan.excluded) == (["a"], ["d"])
        said = debian.run(["apt-config", "dump"], {"APT_CONFIG": debian.workspace.file(apt.CONFIG)})[1]
        assert 'DPkg::Lock::Timeout "33";' in said
        assert 'Inflight::There "yes";' in said

    def test_preferences_that_the_host_has_no_more_do_not_stay(self, debian: Debian) -> None:
        simple(debian, "a", "b", "c")
        path = debian.put("etc/apt/preferences.d/b", "Package: b\nPin: version 1.0\nPin-Priority: 1001\n")
        assert names(debian.apt(exclude=["c"]).plan()) == ["a"]
        path.unlink()
        assert names(debian.apt(exclude=["c"]).plan()) == ["a", "b"]

    def test_pins_of_the_update_before_do_not_stay(self, debian: Debian) -> None:
        simple(debian, "a", "b")
        assert names(debian.apt(exclude=["a"]).plan()) == ["b"]
        assert names(debian.apt().plan()) == ["a", "b"]

    def test_nobody_is_asked_anything(self, debian: Debian) -> None:
        environment = debian.apt().environment
        assert environment["DEBIAN_FRONTEND"] == "noninteractive"
        assert environment["NEEDRESTART_SUSPEND"] == "1"
        assert environment["APT_LISTCHANGES_FRONTEND"] == environment["APT_LISTBUGS_FRONTEND"] == "none"
        assert environment["APT_CONFIG"] == debian.workspace.file("apt.conf")

    def test_lists_in_another_folder_leave_those_of_the_host(self, debian: Debian, tmp_path: Path) -> None:
        simple(debian, "a")
        debian.offer(deb("a", "2.0"))
        (tmp_path / "lists/partial").mkdir(parents=True)
        manager = Apt(OPTIONS, debian.run, debian.workspace)
        manager.configure(aside={apt.LISTS: str(tmp_path / "lists")})
        manager.refresh(10**9, 0)
        assert names(manager.plan()) == ["a"]
        assert os.listdir(debian.root / "var/lib/apt/lists") == ["partial"]

    @pytest.mark.parametrize("private", [True, False])
    def test_with_these_no_program_of_the_host_takes_notice_of_new_lists(
        self, debian: Debian, tmp_path: Path, private: bool
    ) -> None:
        simple(debian, "a")
        seen = tmp_path / "seen"
        hooks = ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")
        lines = (f'APT::Update::{hook} {{ "echo {hook} >> {seen}"; }};' for hook in hooks)
        debian.put("etc/apt/apt.conf.d/15hooks", "\n".join(lines))
        (tmp_path / "lists/partial").mkdir(parents=True)
        manager = Apt(OPTIONS, debian.run, debian.workspace)
        manager.configure(aside={apt.LISTS: str(tmp_path / "lists")} if private else None)
        manager.refresh(0, 0)
        noted = seen.read_text(encoding="ascii").split() if seen.exists() else []
        assert sorted(noted) == ([] if private else sorted(hooks))


ENGINE = "unattended-upgrade"
# Of unattended-upgrades 2.9.1 in Debian 12, without its moments.
NONE_FOUND = """\
Starting unattended upgrades script
Allowed origins are: codename=*-security, archive=*-security, label=*-Security
No packages found that can be upgraded unattended and no pending auto-removals
The list of kept packages can't be calculated in dry-run mode.
"""
FOUND = """\
Starting unattended upgrades script
Allowed origins are: codename=*-security, archive=*-security, label=*-Security
Option --dry-run given, *not* performing real actions
Packages that will be upgraded: {names}
Writing dpkg log to /var/log/unattended-upgrades/unattended-upgrades-dpkg.log
/usr/bin/dpkg --status-fd 10 --no-triggers --unpack --auto-deconfigure /var/cache/apt/archives/{names}
All upgrades installed
The list of kept packages can't be calculated in dry-run mode.
"""
BUSY = """\
Starting unattended upgrades script
Lock could not be acquired (another package manager running?)
Cache lock can not be acquired, exiting
"""


class TestSecurity:
    @pytest.fixture
    def offered(self, debian: Debian) -> Debian:
        """A fix for a, for which there is also a newer version that is no fix; lib is needed by that of c."""
        debian.have(*(deb(name, "1.0") for name in ("a", "b", "c", "lib")))
        debian.offer(deb("a", "2.0"), deb("b", "2.0"), deb("lib", "2.0"))
        debian.offer(deb("a", "1.1"), deb("c", "1.1", Depends="lib (>= 2.0)"), of=SECURITY)
        return debian

    @pytest.mark.parametrize("exit_code", [0, 1])
    def test_the_list_of_the_engine_is_what_is_updated_and_by_the_version_that_is_a_fix(
        self, offered: Debian, exit_code: int
    ) -> None:
        offered.answers = {ENGINE: (exit_code, FOUND.format(names="a"))}
        plan = offered.apt(security_only=True).plan()
        assert plan.changes == [Change("a", "all", "1.0", "1.1", FROM_SECURITY)]
        assert plan.excluded == ["b", "c", "lib"]

    def test_a_fix_comes_with_what_it_needs(self, offered: Debian) -> None:
        offered.answers = {ENGINE: (0, FOUND.format(names="a c"))}
        plan = offered.apt(security_only=True).plan()
        assert (names(plan), plan.excluded) == (["a", "c", "lib"], ["b"])

    @pytest.mark.parametrize(
        ("options", "fixed"),
        [
            ({}, ["a", "c"]),
            ({"exclude": ["c"]}, ["a"]),
            ({"hold": ["a"]}, ["c"]),
            ({"only": ["c"]}, ["c"]),
        ],
    )
    def test_on_a_host_that_wants_another_release_as_well(
        self, debian: Debian, options: dict[str, t.Any], fixed: list[str]
    ) -> None:
        debian.put("etc/apt/apt.conf", 'APT::Default-Release "stable";\n')
        debian.have(*(deb(name, "1.0") for name in ("a", "b", "c")))
        debian.offer(*(deb(name, "1.0") for name in ("a", "b", "c")))
        debian.offer(*(deb(name, "1.1") for name in ("a", "b", "c")), of=SECURITY)
        assert names(debian.apt().plan()) == []
        debian.answers = {ENGINE: (0, FOUND.format(names="a c"))}
        plan = debian.apt(security_only=True, **options).plan()
        assert (names(plan), plan.excluded) == (fixed, sorted({"a", "b", "c"} - {*fixed}))

    def test_only_and_exclude_count_as_well(self, offered: Debian) -> None:
        offered.answers = {ENGINE: (0, FOUND.format(names="a c"))}
        assert names(offered.apt(security_only=True, only=["c", "b"]).plan()) == ["c", "lib"]
        assert names(offered.apt(security_only=True, exclude=["c"]).plan()) == ["a"]

    def test_there_may_be_none(self, offered: Debian) -> None:
        offered.answers = {ENGINE: (0, NONE_FOUND)}
        plan = offered.apt(security_only=True).plan()
        assert (plan.changes, plan.excluded) == ([], ["a", "b", "c", "lib"])

    @pytest.mark.parametrize("exit_code", [0, 1])
    def test_an_engine_that_names_none_and_does_not_say_so_is_a_failure(self, offered: Debian, exit_code: int) -> None:
        offered.answers = {ENGINE: (exit_code, "Starting unattended upgrades script\nApt returned an error, exiting\n")}
        assert failure(offered.apt(security_only=True).plan) == (
            f"unattended-upgrade --dry-run ended with {exit_code}: "
            "Starting unattended upgrades script / Apt returned an error, exiting"
        )

    def test_it_waits_for_who_has_the_lock(self, offered: Debian) -> None:
        offered.answers = {ENGINE: (1, BUSY)}
        message = failure(offered.apt(security_only=True, lock_timeout=0.2).plan)
        assert message.startswith("unattended-upgrade --dry-run ended with 1, also after 0.2 s: ")
        assert "another package manager running?" in message
        assert sum(line.startswith(ENGINE) for line in offered.asked) > 1

    def test_settings_of_the_host_do_not_keep_the_engine_from_its_work(self, offered: Debian) -> None:
        own = "Unattended-Upgrade"
        offered.put(
            "etc/apt/apt.conf.d/50unattended-upgrades",
            f'{own}::Allowed-Origins {{ "Small:stable"; }};\n{own}::Origins-Pattern {{ "origin=*"; }};\n'
            f'{own}::Update-Days {{ "Mon"; }};\n{own}::Automatic-Reboot "true";\n'
            f'{own}::Package-Blacklist {{ "b"; }};\n',
        )
        offered.apt(security_only=True)
        configs = (apt.ENGINE_CONFIG, apt.CONFIG)
        engine, plain = (
            offered.run(["apt-config", "dump"], {"APT_CONFIG": offered.workspace.file(name)})[1] for name in configs
        )
        assert f"{own}::Update-Days::" not in engine
        assert f"{own}::Allowed-Origins::" not in engine
        for line in (
            *(f'{own}::Automatic-Reboot "false";', f'{own}::Package-Blacklist:: "b";'),
            f'{own}::Origins-Pattern:: "codename=*-security";',
            # Else packages that dpkg might ask something about would not be chosen.
            'DPkg::Options:: "--force-confold";',
        ):
            assert line in engine
        # The update itself keeps or replaces configuration files as its user wants.
        assert "--force-conf" not in plain
        assert f'{own}::Update-Days:: "Mon";' in plain

    def test_the_engine_is_run_with_its_configuration(self, offered: Debian) -> None:
        seen = []

        def run(command: list[str], environ_update: dict[str, str], **options: t.Any) -> tuple[int, str, str]:
            if command[0] == ENGINE:
                seen.append(environ_update)
                return 0, NONE_FOUND, ""
            return offered.run(command, environ_update, **options)

        offered.apt()
        Apt({**OPTIONS, "security_only": True}, run, offered.workspace).plan()
        (environment,) = seen
        assert environment["APT_CONFIG"] == offered.workspace.file("engine.conf")
        # It would say it in the language of whoever logged in.
        assert environment["LANGUAGE"] == "C"
        # It reads the files of the host again after those of the update, and would end there if one has it wait.
        assert environment["UNATTENDED_UPGRADES_FORCE_INSTALL_ON_SHUTDOWN"] == "1"


class TestLocks:
    """Of the lists of packages, and of dpkg, in a process of their own."""

    @staticmethod
    def take(path: Path) -> t.Callable[[], None]:
        def body() -> None:
            fcntl.lockf(os.open(path, os.O_RDWR | os.O_CREAT, 0o640), fcntl.LOCK_EX)

        return body

    def test_the_lock_of_the_lists_is_waited_for(self, debian: Debian) -> None:
        simple(debian, "a")
        manager = Apt(OPTIONS, debian.run, debian.workspace)
        manager.configure()
        done = threading.Event()
        with living(self.take(debian.root / "var/lib/apt/lists/lock")):
            waiting = threading.Thread(target=lambda: (manager.refresh(0, 60), done.set()))
            waiting.start()
            assert not done.wait(0.5)
        waiting.join(20)
        assert done.is_set()

    def test_a_lock_that_is_held_for_too_long_is_told(self, debian: Debian) -> None:
        simple(debian, "a")
        path = debian.root / "var/lib/apt/lists/lock"
        with living(self.take(path)) as pid:
            message = failure(lambda: debian.apt().refresh(0, 0.2))
        assert message.startswith("apt-get update ended with 100, also after 0")
        assert f"Could not get lock {path}. It is held by process {pid}" in message

    def test_the_lock_of_dpkg_as_well(self, debian: Debian) -> None:
        debian.have(deb("a", "1.0", state="install ok unpacked"))
        manager = Apt(OPTIONS, debian.run, debian.workspace)
        with living(self.take(debian.root / "var/lib/dpkg/lock-frontend")) as pid:
            message = failure(lambda: manager.repair(0.2))
        assert message.startswith("dpkg --configure ended with 2, also after 0.2 s: ")
        assert f"locked by another process with pid {pid}" in message
        assert manager.repair(0.2) == ["a"]

    def test_another_failure_is_not_waited_for(self, debian: Debian) -> None:
        debian.put("etc/apt/sources.list", "deb [trusted=yes] file:/nowhere/at/all ./\n")
        asked = len(debian.asked)
        message = failure(lambda: debian.apt().refresh(0, 60))
        assert message.startswith("apt-get update ended with 100: ")
        assert "/nowhere/at/all" in message
        assert len(debian.asked) == asked + 1


class TestRepair:
    @pytest.mark.parametrize("state", ["unpacked", "half-configured"])
    def test_what_is_half_installed_is_configured(self, debian: Debian, state: str) -> None:
        debian.have(deb("a", "1.0", state=f"install ok {state}"), deb("b", "1.0"))
        manager = debian.apt()
        assert manager.unfinished() == [("a", state)]
        assert manager.installed() == [Package("a", "all", "1.0"), Package("b", "all", "1.0")]
        assert manager.repair(0) == ["a"]
        assert manager.unfinished() == []
        assert manager.repair(0) == []

    def test_one_that_cannot_be_is_not_called_repaired(self, debian: Debian) -> None:
        debian.have(
            deb("a", "1.0", state="install reinstreq half-installed"), deb("b", "1.0", state="install ok unpacked")
        )
        manager = debian.apt()
        assert manager.repair(0) == ["b"]
        assert manager.unfinished() == [("a", "half-installed")]

    def test_dpkg_is_not_run_where_all_is_well(self, debian: Debian) -> None:
        simple(debian, "a")
        assert debian.apt().repair(0) == []
        assert not any(line.startswith("dpkg --configure") for line in debian.asked)

    def test_what_a_dpkg_that_was_killed_has_left_is_tidied_up(self, debian: Debian) -> None:
        simple(debian, "a")
        left = debian.put("var/lib/dpkg/updates/0001", f"{deb('a', '1.0').control()}Status: install ok installed\n")
        assert debian.apt().repair(0) == []
        assert not left.exists()

    def test_what_is_gone_but_for_its_settings_is_not_installed(self, debian: Debian) -> None:
        debian.have(deb("a", "1.0", state="deinstall ok config-files"), deb("b", "1.0"))
        manager = debian.apt()
        assert manager.installed() == [Package("b", "all", "1.0")]
        assert manager.unfinished() == []

    def test_a_script_that_fails_is_a_failure(self, debian: Debian) -> None:
        debian.have(deb("a", "1.0", state="install ok unpacked", Depends="not-there"))
        message = failure(lambda: debian.apt().repair(5))
        assert message.startswith("dpkg --configure ended with 1: ")
        assert message.endswith("Errors were encountered while processing: / a")


class TestLists:
    def test_new_lists_are_not_fetched_again(self, debian: Debian) -> None:
        simple(debian, "a")
        manager = debian.apt()
        asked = len(debian.asked)
        manager.refresh(3600, 0)
        assert len(debian.asked) == asked
        manager.refresh(0, 0)
        assert len(debian.asked) == asked + 1

    # The last one is from the future, as after a clock was put right.
    @pytest.mark.parametrize(("age", "outdated"), [(3599, False), (3602, True), (-60, True)])
    def test_the_stamp_of_the_last_success_counts_where_there_is_one(
        self, debian: Debian, age: float, outdated: bool
    ) -> None:
        simple(debian, "a")
        manager = debian.apt()
        stamp = debian.put("var/lib/apt/stamp", "")
        moment = stamp.stat().st_mtime - age
        os.utime(stamp, (moment, moment))
        assert manager.is_outdated(3600) == outdated

    def test_a_host_whose_lists_were_removed_has_old_ones(self, debian: Debian) -> None:
        simple(debian, "a")
        manager = debian.apt()
        assert not manager.is_outdated(3600)
        for path in (debian.root / "var/lib/apt/lists").glob("*_*"):
            path.unlink()
        # That has changed their folder just now.
        assert manager.is_outdated(3600)

    def test_a_host_without_lists_has_old_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(apt, "_STAMPS", ("/nowhere/at/all",))
        assert Apt(OPTIONS, Replay({}), Workspace("/nowhere")).is_outdated(10**8)


# What apt-get says elsewhere. The first part of it is of Ubuntu 22.04.
SIMULATION = """\
Reading package lists...
Building dependency tree...
Reading state information...
Calculating upgrade...
The following upgrades have been deferred due to phasing:
  phased-one phased-two:i386
The following packages have been kept back:
  linux-generic
  linux-headers-generic linux-image-generic
The following packages will be REMOVED:
  gone gone-too:i386
The following NEW packages will be installed:
  libnew
The following packages will be upgraded:
  libc6 libc6:i386 moved openssl
4 upgraded, 1 newly installed, 2 to remove and 5 not upgraded.
Remv gone [1.0-1]
Remv gone-too:i386 [2.0-1]
Purg purged [3.0-1]
Remv moved [1.0]
Inst libc6 [2.35-0ubuntu3.1] (2.35-0ubuntu3.8 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [amd64]) [x ]
Inst libc6:i386 [2.35-0ubuntu3.1] (2.35-0ubuntu3.8 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [i386])
Inst moved [1.0] (1:0.9 Ubuntu:22.04/jammy-updates [all]) []
Inst openssl [1:3.0.2-0ubuntu1.10] (1:3.0.2-0ubuntu1.18 Ubuntu:22.04/jammy-updates [amd64])
Inst libnew (5.0~beta+1  [amd64])
Conf libc6 (2.35-0ubuntu3.8 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [amd64])
"""
POLICY = """\
linux-generic:
  Installed: 5.15.0.100.1
  Candidate: 5.15.0.130.1
  Version table:
     5.15.0.130.1 500
        500 http://archive.ubuntu.com/ubuntu jammy-updates/main amd64 Packages
 *** 5.15.0.100.1 100
        100 /var/lib/dpkg/status
phased-two:i386:
  Installed: 1.0
  Candidate: 1:1.0
  Version table:
"""
INSTALLED = "installed\tgone-too\ti386\t2.0-1\ninstalled\tgone\tall\t1.0-1\ninstalled\tlibc6\tamd64\t2.35-0ubuntu3.1\n"


class TestTranscripts:
    @pytest.fixture
    def replay(self) -> Replay:
        return Replay(
            {
                "dpkg --print-architecture": (0, "amd64\n"),
                "dpkg-query": (0, INSTALLED),
                "apt-mark": (0, "kept-by-admin\n"),
                "apt-get dist-upgrade": (0, SIMULATION),
                "apt-cache policy": (0, POLICY),
            }
        )

    def test_every_line_is_understood(self, replay: Replay, tmp_path: Path) -> None:
        workspace = Workspace(str(tmp_path))
        plan = Apt({**OPTIONS, "type": "full", "allow_remove": True}, replay, workspace).plan()
        assert plan.changes == [
            Change("libc6", "amd64", "2.35-0ubuntu3.1", "2.35-0ubuntu3.8", "Ubuntu:22.04/jammy-security"),
            Change("libc6", "i386", "2.35-0ubuntu3.1", "2.35-0ubuntu3.8", "Ubuntu:22.04/jammy-security"),
            Change("moved", "all", "1.0", "1:0.9", "Ubuntu:22.04/jammy-updates"),
            Change("openssl", "amd64", "1:3.0.2-0ubuntu1.10", "1:3.0.2-0ubuntu1.18", "Ubuntu:22.04/jammy-updates"),
            Change("libnew", "amd64", None, "5.0~beta+1", ""),
            Change("gone", "all", "1.0-1", None),
            Change("gone-too", "i386", "2.0-1", None),
            Change("purged", "", "3.0-1", None),
        ]
        assert plan.kept_back == [
            Change("linux-generic", "", "5.15.0.100.1", "5.15.0.130.1"),
            Change("phased-two", "i386", "1.0", "1:1.0"),
        ]
        kept = "linux-generic linux-headers-generic linux-image-generic phased-one phased-two:i386"
        assert replay.asked[-1] == f"apt-cache policy {kept}"

    def test_what_is_removed_is_named(self, replay: Replay, tmp_path: Path) -> None:
        manager = Apt({**OPTIONS, "type": "full"}, replay, Workspace(str(tmp_path)))
        assert failure(manager.plan).startswith("the update would remove gone, gone-too:i386, purged, and allow_remove")
        manager = Apt(
            {**OPTIONS, "type": "full", "allow_remove": True, "hold": ["gone-*"]}, replay, Workspace(str(tmp_path))
        )
        assert failure(manager.plan) == "the update would remove gone-too:i386, which must stay as they are"


PLAN = Plan(
    [Change("a", "all", "1.0", "2.0"), Change("b", "amd64", "1", "1:2"), Change("gone", "all", "1", None)], [], []
)


class TestProgress:
    @pytest.fixture
    def manager(self, debian: Debian) -> Apt:
        return Apt(OPTIONS, debian.run, debian.workspace)

    def test_what_was_downloaded(self, manager: Apt, debian: Debian) -> None:
        assert manager.progress(PLAN, "") == "download 0 of 2"
        # A file of an older version, and of another package, are none of it.
        for name in ("a_1.0_all.deb", "c_2.0_all.deb", "lock", "b_1%3a2_amd64.deb"):
            debian.put(f"var/cache/apt/archives/{name}", "")
        assert manager.progress(PLAN, "") == "download 1 of 2"

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            (["startup archives unpack"], "download 0 of 2"),
            (["startup packages remove", "remove gone:all 1 <none>"], "install 0 of 2, gone"),
            (["upgrade a:all 1.0 2.0", "status half-configured a:all 1.0"], "install 1 of 2, a"),
            (["upgrade a:all 1.0 2.0", "status unpacked a:all 2.0", "upgrade b:amd64 1 1:2"], "install 2 of 2, b"),
            (
                [
                    "upgrade a:all 1.0 2.0",
                    "upgrade b:amd64 1 1:2",
                    "configure b:amd64 1:2",
                    "status installed b:amd64 1:2",
                ],
                "configure 1 of 2, b",
            ),
            # Triggers of others.
            (
                ["upgrade a:all 1.0 2.0", "upgrade b:amd64 1 1:2"]
                + [
                    f"status installed {name}"
                    for name in ("a:all 2.0", "b:amd64 1:2", "man-db:amd64 3", "libc-bin:amd64 4")
                ],
                "configure 2 of 2, libc-bin",
            ),
            (["no such line", "", "upgrade"], "download 0 of 2"),
        ],
    )
    def test_what_was_installed(self, manager: Apt, lines: list[str], expected: str) -> None:
        log = "".join(f"2026-11-21 10:00:00 {line}\n" for line in lines)
        assert manager.progress(PLAN, log) == expected

    def test_a_name_of_two_architectures_is_one(self, manager: Apt) -> None:
        plan = Plan([Change("a", arch, "1", "2") for arch in ("amd64", "i386")], [], [])
        lines = [f"{what} a:{arch} 2" for what in ("upgrade", "status installed") for arch in ("amd64", "i386")]
        log = "".join(f"2026-11-21 10:00:00 {line}\n" for line in lines)
        assert manager.progress(plan, log) == "configure 1 of 1, a"
