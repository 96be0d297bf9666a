# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What dnf, rpm and zypper said elsewhere is replayed: no database of them is here.

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._update import rpm
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import Change, Package, Plan, UpdateError
from ansible_collections.inflight.jobs.plugins.module_utils._update.rpm import Dnf, Zypper

from .debian import OPTIONS
from .hosts import Replay

# Of a Rocky Linux 9. dnf breaks lines that have no room on a screen of 80 columns, and fills those that have some with
# blanks, also where there is no screen.
INSTALLED = (
    "gpg-pubkey\t(none)\t350d275d-6279464b\n"
    "bash\tx86_64\t5.1.8-6.el9\n"
    "openssl\tx86_64\t1:3.0.7-6.el9\n"
    "openssl-libs\tx86_64\t1:3.0.7-6.el9\n"
    "openssl-libs\ti686\t1:3.0.7-6.el9\n"
    "a-package-with-a-name-that-is-longer-than-dnf-likes\tnoarch\t1.0-1\n"
    "kernel-core\tx86_64\t5.14.0-70.el9\n"
    "kernel-core\tx86_64\t5.14.0-162.el9\n"
    "grub2-tools-minimal\tx86_64\t1:2.06-46.el9\n"
    "python3.11\tx86_64\t3.11.2-1.el9\n"
)
UPDATES = """\

bash.x86_64                              5.1.8-9.el9                  baseos
openssl.x86_64                           1:3.0.7-28.el9_4             baseos
openssl-libs.i686                        1:3.0.7-28.el9_4             baseos
openssl-libs.x86_64                      1:3.0.7-28.el9_4             baseos
a-package-with-a-name-that-is-longer-than-dnf-likes.noarch
                                         1.1-1                        @commandline
kernel-core.x86_64                       5.14.0-427.el9               baseos
not-installed.x86_64                     1-1                          appstream
python3.11.x86_64                        3.11.9-7.el9                 appstream
Obsoleting Packages
grub2-tools.x86_64                       1:2.06-80.el9                baseos
    grub2-tools-minimal.x86_64           1:2.06-46.el9                @baseos
"""
SECURITY = """\

openssl.x86_64                           1:3.0.7-28.el9_4             baseos
openssl-libs.x86_64                      1:3.0.7-28.el9_4             baseos
"""
RPM = "rpm -qa"


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The programs that are there."""
    there = {"dnf"}
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in there else None)
    return there


def printed(text: str) -> str:
    return "".join(f"{line:<79}\n" for line in text.splitlines())


def dnf5_log(*messages: str) -> str:
    """As libdnf5 5.4.4 writes it."""
    return "".join(f"2026-11-21T10:00:00+0000 [4711] {message}\n" for message in messages)


def replay(exit_code: int = 100, updates: str = UPDATES) -> Replay:
    return Replay(
        {
            RPM: (0, INSTALLED),
            "dnf -q check-update --security": (exit_code, printed(SECURITY)),
            "dnf -q --setopt": (exit_code, printed(updates)),
        }
    )


def plan(run: t.Any = None, **options: t.Any) -> Plan:
    return Dnf({**OPTIONS, **options}, run or replay()).plan()


def names(found: Plan) -> list[str]:
    return sorted({change.name for change in found.changes})


ALL = [
    *("a-package-with-a-name-that-is-longer-than-dnf-likes", "bash", "kernel-core", "openssl", "openssl-libs"),
    "python3.11",
]


class TestInstalled:
    def test_epochs_architectures_and_several_kernels(self) -> None:
        found = Dnf(OPTIONS, replay()).installed()
        assert Package("openssl", "x86_64", "1:3.0.7-6.el9") in found
        assert [package.version for package in found if package.name == "kernel-core"] == [
            "5.14.0-70.el9",
            "5.14.0-162.el9",
        ]
        assert len(found) == 10

    def test_lines_that_are_none_are_left_out(self) -> None:
        run = Replay({RPM: (0, "warning: something\na\tb\nbash\tx86_64\t5-1\n")})
        assert Dnf(OPTIONS, run).installed() == [Package("bash", "x86_64", "5-1")]

    def test_a_failure_is_told(self) -> None:
        def run(*dummy: object, **dummy_options: object) -> tuple[int, str, str]:
            return 1, "", "error: cannot open Packages database in /var/lib/rpm\n"

        with pytest.raises(UpdateError) as caught:
            Dnf(OPTIONS, run).installed()
        assert str(caught.value) == "rpm -qa ended with 1: error: cannot open Packages database in /var/lib/rpm"


class TestPlan:
    def test_every_line_is_understood_and_what_only_takes_the_place_of_another_is_no_update(self) -> None:
        found = plan()
        assert names(found) == ALL
        assert Change("openssl-libs", "i686", "1:3.0.7-6.el9", "1:3.0.7-28.el9_4", "baseos") in found.changes
        assert Change("python3.11", "x86_64", "3.11.2-1.el9", "3.11.9-7.el9", "appstream") in found.changes
        assert [change[1:] for change in found.changes if change.name.startswith("a-")] == [
            ("noarch", "1.0-1", "1.1-1", "@commandline")
        ]
        assert (found.kept_back, found.excluded) == ([], [])

    def test_what_dnf5_says(self, programs: set[str]) -> None:
        programs ^= {"dnf", "dnf5"}
        text = "bash.x86_64  5.2.32-1.fc41 updates\n\nObsoleting packages\nopenssl.x86_64 2-1 updates\n"
        run = Replay({RPM: (0, INSTALLED), "dnf5 -q --setopt=metadata_expire=3600 ": (100, text)})
        assert plan(run).changes == [Change("bash", "x86_64", "5.1.8-6.el9", "5.2.32-1.fc41", "updates")]

    @pytest.mark.parametrize("program", ["dnf", "dnf5"])
    def test_what_belongs_to_a_command_comes_behind_it(self, programs: set[str], program: str) -> None:
        programs ^= {"dnf", program}
        run = Replay({RPM: (0, INSTALLED), program: (0, "")})
        plan(run, security_only=True)
        # dnf5 does not take the other order.
        assert f"{program} -q check-update --security" in run.asked

    @pytest.mark.parametrize(
        ("options", "updated"),
        [
            ({"exclude": ["openssl*", "kernel-*"]}, [ALL[0], "bash", "python3.11"]),
            ({"hold": ["bash"]}, [name for name in ALL if name != "bash"]),
            ({"only": ["openssl*"]}, ["openssl", "openssl-libs"]),
            ({"only": ["openssl*"], "exclude": ["openssl"]}, ["openssl-libs"]),
            ({"security_only": True}, ["openssl", "openssl-libs"]),
            ({"security_only": True, "exclude": ["openssl"]}, ["openssl-libs"]),
        ],
    )
    def test_what_was_left_out_is_told(self, options: dict[str, t.Any], updated: list[str]) -> None:
        found = plan(**options)
        assert names(found) == updated
        assert found.excluded == [name for name in ALL if name not in updated]

    def test_nothing_to_do(self) -> None:
        assert plan(replay(0, "")) == Plan([], [], [])

    def test_a_failure_is_told(self) -> None:
        def run(command: list[str], **dummy_options: object) -> tuple[int, str, str]:
            return (
                (0, INSTALLED, "") if command[0] == "rpm" else (1, "", "Error: Failed to download metadata for repo\n")
            )

        with pytest.raises(UpdateError) as caught:
            plan(run)
        assert str(caught.value) == "dnf check-update ended with 1: Error: Failed to download metadata for repo"

    def test_lists_may_be_as_old_as_is_said(self) -> None:
        run = replay()
        plan(run, cache_valid_time=7)
        # For those repositories, too, that say something else themselves, as those of AlmaLinux do.
        assert "dnf -q --setopt=metadata_expire=7 --setopt=*.metadata_expire=7 check-update" in run.asked

    def test_the_language_of_who_logs_in_does_not_matter(self) -> None:
        assert Dnf(OPTIONS, replay()).environment == {"LANGUAGE": "C", "LC_ALL": "C.UTF-8"}


class TestHeld:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", []),
            # Of dnf versionlock add, and of dnf versionlock exclude.
            (
                "\n# Added lock on Sat Nov 21\nbash-0:5.1.8-6.el9.*\nkernel-core-0:5.14.0-70.el9.*\n",
                ["bash", "kernel-core"],
            ),
            ("!nginx-1:1.20-1.*\n  \npython3.11-*\n", ["python3.11"]),
            ('version = "1.0"\n[[packages]]\nname = "bash"\n[[packages.conditions]]\nkey = "evr"\n', ["bash"]),
        ],
    )
    def test_locked_versions(
        self, text: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "list").write_text(text, encoding="utf-8")
        monkeypatch.setattr(rpm, "_LISTS_OF_LOCKS", (str(tmp_path / "none"), str(tmp_path / "list")))
        assert Dnf(OPTIONS, replay()).held() == expected


class TestProgress:
    LOG = (
        "2026-11-21T10:00:00+0000 INFO --- logging initialized ---\n"
        "2026-11-21T10:00:01+0000 SUBDEBUG Upgrade: openssl-libs-1:3.0.7-28.el9_4.x86_64\n"
        "2026-11-21T10:00:02+0000 SUBDEBUG Installed: kernel-core-5.14.0-427.el9.x86_64\n"
        "2026-11-21T10:00:03+0000 SUBDEBUG Upgraded: openssl-libs-1:3.0.7-6.el9.x86_64\n"
    )

    def test_what_was_installed_of_how_many(self) -> None:
        manager = Dnf(OPTIONS, replay())
        found = Plan(plan().changes[:3], [], [])
        assert manager.progress(found, "") == "download 3 packages"
        assert manager.progress(found, self.LOG) == "install 2 of 3, kernel-core"

    def test_what_dnf5_logs(self) -> None:
        log = dnf5_log(
            'INFO RPM callback install start "openssl-libs-1:3.0.7-28.fc41.x86_64" total 9',
            'INFO RPM callback install stop "openssl-libs-1:3.0.7-28.fc41.x86_64" amount 9 total 9',
            'INFO RPM callback install stop "kernel-core-0:6.11.4-301.fc41.x86_64" amount 9 total 9',
            'INFO RPM callback uninstall stop "bash-0:5.2-1.fc41.x86_64" amount 9 total 9',
        )
        manager = Dnf(OPTIONS, replay())
        assert "/var/log/dnf5.log" in manager.FOLLOWED
        assert manager.progress(Plan(plan().changes[:3], [], []), log) == "install 2 of 3, kernel-core"

    def test_there_are_never_more_than_there_are(self) -> None:
        assert Dnf(OPTIONS, replay()).progress(Plan([], [], []), self.LOG) == "install 2 of 2, kernel-core"


# Of openSUSE Leap 15.5.
ZYPPER = """\
S | Repository                  | Name    | Current Version | Available Version | Arch
--+-----------------------------+---------+-----------------+-------------------+-------
v | Update repository with SLE  | openssl | 1.1-150400.1    | 1:1.1-150400.2    | x86_64
v | Main Repository             | bash    | 4.4-1           | 4.4-2             | x86_64
"""


class TestZypper:
    def test_the_table_is_understood(self) -> None:
        run = Replay({"zypper --non-interactive --quiet list-updates": (0, ZYPPER)})
        assert Zypper(OPTIONS, run).plan().changes == [
            Change("openssl", "x86_64", "1.1-150400.1", "1:1.1-150400.2", "Update repository with SLE"),
            Change("bash", "x86_64", "4.4-1", "4.4-2", "Main Repository"),
        ]

    def test_nothing_to_do(self) -> None:
        run = Replay({"zypper": (0, "No updates found.\n")})
        assert Zypper(OPTIONS, run).plan() == Plan([], [], [], [])
        assert Zypper(OPTIONS, run).held() == []

    def test_a_repository_that_was_skipped_is_a_remark(self) -> None:
        def run(command: list[str], **dummy: object) -> tuple[int, str, str]:
            return 106, ZYPPER, "Warning: Skipping repository 'Extra'\nbecause of the above error.\n"

        plan = Zypper(OPTIONS, run).plan()
        assert [change.name for change in plan.changes] == ["openssl", "bash"]
        assert plan.remarks == [
            "zypper has skipped a repository: Warning: Skipping repository 'Extra' because of the above error."
        ]

    def test_another_failure_is_told(self) -> None:
        def run(command: list[str], **dummy: object) -> tuple[int, str, str]:
            return 7, "", "System management is locked by the application with pid 1 (zypper).\n"

        with pytest.raises(UpdateError, match=r"^zypper list-updates ended with 7: System management is locked"):
            Zypper(OPTIONS, run).plan()

    def test_it_waits_for_who_has_the_lock(self) -> None:
        seen: list[dict[str, str]] = []

        def run(command: list[str], environ_update: dict[str, str], **dummy: object) -> tuple[int, str, str]:
            seen.append(environ_update)
            return 0, "No updates found.\n", ""

        Zypper({**OPTIONS, "lock_timeout": 33.9}, run).plan()
        assert [environment["ZYPP_LOCK_TIMEOUT"] for environment in seen] == ["33"]

    def test_progress(self) -> None:
        manager = Zypper(OPTIONS, Replay({}))
        found = Plan([Change("a", "x86_64", "1", "2"), Change("b", "x86_64", "1", "2")], [], [])
        log = "# 2026-11-21 10:00:00 a scriptlet\n2026-11-21 10:00:01|install|a|2|x86_64||repo|sum|\n"
        assert manager.progress(found, "") == "download 2 packages"
        assert manager.progress(found, log) == "install 1 of 2, a"


def test_packages_whose_scripts_failed_are_told_once() -> None:
    log = (
        "2026-11-21T10:00:01+0000 ERROR Error in POSTIN scriptlet in rpm package ij-fails\n"
        "2026-11-21T10:00:01+0000 ERROR Error in POSTIN scriptlet in rpm package ij-fails\n"
        "2026-11-21T10:00:02+0000 ERROR Error in PREUN scriptlet in rpm package other\n"
    )
    assert Dnf(OPTIONS, replay()).unfinished(log) == [
        ("ij-fails", "postin scriptlet failed"),
        ("other", "preun scriptlet failed"),
    ]


def test_dnf5_says_it_in_other_words() -> None:
    log = dnf5_log(
        'WARNING RPM callback non-critical error in %post scriptlet "ij-fails-0:1.0-1.noarch"',
        'INFO RPM callback stop %post scriptlet "ij-fails-0:1.0-1.noarch" return code 1',
        'ERROR RPM callback error in %preun scriptlet "other-2:1-1.fc41.x86_64" return code 2',
        # Of a version before 5.2.14.
        'ERROR RPM callback error in post-install scriptlet "old-0:1-1.fc41.x86_64" return code 2',
    )
    assert Dnf(OPTIONS, replay()).unfinished(log) == [
        ("ij-fails", "post scriptlet failed"),
        ("old", "post-install scriptlet failed"),
        ("other", "preun scriptlet failed"),
    ]


def test_nothing_is_repaired_or_refreshed_by_itself() -> None:
    run = replay()
    manager = Dnf(OPTIONS, run)
    manager.refresh(0, 0)
    assert (manager.repair(0), manager.unfinished(), run.asked) == ([], [], [])
