# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._update import ground
from ansible_collections.inflight.jobs.plugins.module_utils._update.ground import Host

from .hosts import Answer, host_of, put, real

MUCH = 10**9

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="dpkg-query is not here: install dpkg")
needs_rpm = pytest.mark.skipif(shutil.which("rpm") is None, reason="rpm is not here: install rpm")


def free_on(path: Path) -> int:
    found = shutil.disk_usage(path)
    return found.free // 1000000


class TestSpace:
    def look(self, wanted: dict[str, int]) -> list[str]:
        return ground.free_space(Host(real), wanted)

    def test_enough_is_no_problem(self, tmp_path: Path) -> None:
        assert self.look({str(tmp_path): 0, "/": 0}) == []

    def test_too_little_is_told_with_both_numbers(self, tmp_path: Path) -> None:
        (problem,) = self.look({str(tmp_path): MUCH})
        free = int(problem.split()[0])
        assert abs(free - free_on(tmp_path)) < 1000
        assert problem == f"{free} MB are free on {tmp_path}, and {MUCH} are wanted"

    def test_a_path_that_is_not_there_needs_none(self, tmp_path: Path) -> None:
        put(tmp_path, "file")
        assert self.look({str(tmp_path / "none"): MUCH, str(tmp_path / "file" / "below"): MUCH}) == []

    def test_one_filesystem_is_told_once(self, tmp_path: Path) -> None:
        var = tmp_path / "var"
        var.mkdir()
        (problem,) = self.look({str(tmp_path): MUCH, str(var): MUCH})
        assert f" on {tmp_path}," in problem

    def test_a_path_that_wants_more_than_the_one_before_is_looked_at(self, tmp_path: Path) -> None:
        var = tmp_path / "var"
        var.mkdir()
        (problem,) = self.look({str(tmp_path): 0, str(var): MUCH})
        assert f" on {var}," in problem

    @pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="/dev/shm is no filesystem of its own here")
    def test_two_filesystems_are_two_problems(self) -> None:
        assert len(self.look({"/": MUCH, "/dev/shm": MUCH})) == 2

    def test_what_cannot_be_looked_at_is_a_problem(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to("loop")
        (problem,) = self.look({str(tmp_path / "loop"): 1})
        assert problem == f"how much is free on {tmp_path}/loop is not known: Too many levels of symbolic links"


STATES = {
    "whole": "install ok installed",
    "held": "hold ok installed",
    "removed": "deinstall ok config-files",
    "unpacked": "install ok unpacked",
    "boom": "install ok half-configured",
    "broken": "install reinstreq half-installed",
    "waits": "install ok triggers-awaited",
}


def make_dpkg(folder: Path) -> None:
    """A package database of dpkg with a package in each state."""
    text = ""
    for name, status in STATES.items():
        more = "Config-Version: 1.0\n" if name in ("removed", "unpacked", "boom", "waits") else ""
        more += "Triggers-Awaited: whole\n" if name == "waits" else ""
        head = f"Package: {name}\nStatus: {status}\nMaintainer: nobody\nArchitecture: all\nVersion: 1.0\n"
        text += f"{head}{more}Description: a package\n\n"
    put(folder, "var/lib/dpkg/status", text)
    for name in STATES:
        put(folder, f"var/lib/dpkg/info/{name}.list", "")
        put(folder, f"var/lib/dpkg/info/{name}.md5sums", "")


class TestPackages:
    @needs_dpkg
    def test_what_dpkg_has_not_finished_is_told_and_no_problem(self, tmp_path: Path) -> None:
        make_dpkg(tmp_path)
        found = ground.packages(Host(real, str(tmp_path)), "apt")
        assert found == ground.Packages(["boom", "broken", "unpacked", "waits"], None)

    @needs_dpkg
    def test_they_are_those_of_dpkg_audit(self, tmp_path: Path) -> None:
        make_dpkg(tmp_path)
        command = ["dpkg", f"--admindir={tmp_path}/var/lib/dpkg", "--audit"]
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        named = {line.split()[0] for line in text.splitlines() if line.startswith(" ")}
        assert set(ground.packages(Host(real, str(tmp_path)), "apt").unfinished) == named

    @needs_dpkg
    def test_a_database_of_dpkg_that_cannot_be_read_is_a_problem(self, tmp_path: Path) -> None:
        put(tmp_path, "var/lib/dpkg/status", "this is no database\n")
        found = ground.packages(Host(real, str(tmp_path)), "apt")
        assert found.unfinished == []
        assert found.problem
        assert found.problem.startswith("the package database of dpkg cannot be read: dpkg-query: error: ")

    @needs_rpm
    @pytest.mark.parametrize("manager", ["dnf", "zypper"])
    def test_a_database_of_rpm_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: str) -> None:
        put(tmp_path, ".rpmmacros", f"%_dbpath {tmp_path}/rpm\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        subprocess.run(["rpm", "--initdb"], check=True)
        assert ground.packages(Host(real), manager) == ground.Packages([], None)

    @needs_rpm
    def test_a_database_of_rpm_that_cannot_be_read_is_a_problem(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(tmp_path, ".rpmmacros", f"%_dbpath {tmp_path}/rpm\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("rpmdb.sqlite", "Packages", "Packages.db"):
            put(tmp_path, f"rpm/{name}", "nonsense " * 1000)
        problem = ground.packages(Host(real), "dnf").problem
        assert problem
        assert problem.startswith("the package database of rpm cannot be read: error: ")

    @pytest.mark.parametrize(("manager", "name"), [("apt", "dpkg"), ("dnf", "rpm"), ("zypper", "rpm")])
    def test_a_host_without_the_program_says_so(self, tmp_path: Path, manager: str, name: str) -> None:
        problem = ground.packages(host_of(tmp_path), manager).problem
        assert problem == f"the package database of {name} cannot be read: {name} is not installed"


# busctl of systemd 252 said this of two locks that were taken with systemd-inhibit, and the third is one of its format.
BUSCTL = (
    'a(ssssuu) 3 "shutdown:sleep" "in \\"flight\\" x" "\\303\\234mlaut\\ttab \\\\ back" "block" 0 11'
    ' "sleep" "NetworkManager" "NetworkManager needs to turn off networks" "delay" 0 612'
    ' "shutdown" "unattended-upgrades" "Unattended Upgrades Shutdown" "delay" 0 700\n'
)


class TestInhibitors:
    def test_those_that_keep_the_host_from_shutdown_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        found = ground.inhibitors(host_of(tmp_path, {"busctl call": (0, BUSCTL)}))
        assert found == [{"who": 'in "flight" x', "why": "Ümlaut tab \\ back"}]

    def test_what_they_say_cannot_write_to_a_terminal_and_is_not_endless(self, tmp_path: Path) -> None:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        text = f'a(ssssuu) 1 "shutdown" "x\\033[2Jy\\nz" "{"long " * 1000}" "block" 0 11\n'
        (found,) = ground.inhibitors(host_of(tmp_path, {"busctl call": (0, text)}))
        assert found["who"] == "x [2Jy z"
        assert len(found["why"]) == 200

    def test_no_locks_are_nobody(self, tmp_path: Path) -> None:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        assert ground.inhibitors(host_of(tmp_path, {"busctl call": (0, "a(ssssuu) 0\n")})) == []

    @pytest.mark.parametrize("answers", [{}, {"busctl call": (1, "")}])
    @pytest.mark.parametrize("state", ["inactive", "failed", "unknown"])
    def test_without_logind_there_are_none(self, tmp_path: Path, answers: dict[str, Answer], state: str) -> None:
        # As in a container without D-Bus, where logind does not run.
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        asked = {**answers, "systemctl is-active systemd-logind.service": (3, f"{state}\n")}
        assert ground.inhibitors(host_of(tmp_path, asked)) == []

    @pytest.mark.parametrize(
        "answers",
        [
            {},
            {"busctl call": (1, "")},
            {"busctl call": (1, ""), "systemctl": (0, "active\n")},
            {"busctl call": (1, ""), "systemctl": (3, "activating\n")},
            {"busctl call": (1, ""), "systemctl": (1, "")},
            {"systemctl": (0, "active\n")},
            # It answers, and nobody knows what.
            *({"busctl call": (0, text)} for text in ("", "as 0\n", "a(ssssuu) 1\n", f"{BUSCTL[:-20]}\n")),
        ],
    )
    def test_what_logind_does_not_tell_is_not_known(self, tmp_path: Path, answers: dict[str, Answer]) -> None:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        assert ground.inhibitors(host_of(tmp_path, answers)) is None

    def test_without_systemd_nobody_is_asked(self, tmp_path: Path) -> None:
        assert ground.inhibitors(host_of(tmp_path, {"busctl call": (0, BUSCTL)})) == []


def test_a_container_is_what_systemd_says(tmp_path: Path) -> None:
    assert not ground.is_container(host_of(tmp_path))
    put(tmp_path, "run/systemd/container", "lxc\n")
    assert ground.is_container(host_of(tmp_path))


def disk(name: str, kind: str, *children: t.Any) -> dict[str, t.Any]:
    return {"name": name, "type": kind, **({"children": list(children)} if children else {})}


PLAIN = disk("/dev/vda2", "part", disk("/dev/vda", "disk"))
CRYPT = disk("/dev/mapper/vda3_crypt", "crypt", disk("/dev/vda3", "part", disk("/dev/vda", "disk")))
LVM = disk("/dev/mapper/vg-root", "lvm", CRYPT)


def says(tree: dict[str, t.Any], source: str = "/dev/mapper/vg-root", clevis: str = "") -> dict[str, Answer]:
    """What findmnt, lsblk and clevis say of such disks.

    A machine of tests has no LUKS: these are in the form of findmnt and lsblk 2.38 and clevis 19.
    """
    found = {
        "findmnt --noheadings --output SOURCE /": (0, f"{source}\n"),
        "lsblk --inverse --json --paths": (0, json.dumps({"blockdevices": [tree]})),
    }
    return {**found, "clevis luks list -d /dev/vda3": (0, clevis)} if clevis else found


class TestEncryptedRoot:
    """Those that the machine of the tests has are real; those with LUKS are replayed."""

    def look(self, folder: Path, answers: dict[str, Answer]) -> tuple[bool, bool, str]:
        found = ground.encrypted_root(host_of(folder, answers))
        assert list(found) == ["encrypted", "unlocks_itself", "msg"]
        return found["encrypted"], found["unlocks_itself"], found["msg"]

    @pytest.mark.skipif(shutil.which("lsblk") is None, reason="lsblk is not here: install util-linux")
    def test_the_root_of_this_machine_is_looked_at(self) -> None:
        found = ground.encrypted_root(Host(real))
        assert isinstance(found["encrypted"], bool)
        assert "root filesystem" in found["msg"]

    def test_a_plain_root_is_not_encrypted(self, tmp_path: Path) -> None:
        message = "the root filesystem is on /dev/vda2, which is not encrypted"
        assert self.look(tmp_path, says(PLAIN, "/dev/vda2")) == (False, False, message)
        assert self.look(tmp_path, says(PLAIN, "/dev/vda2[/@rootfs]")) == (False, False, message)

    def test_a_passphrase_means_that_it_waits(self, tmp_path: Path) -> None:
        message = "the root filesystem is encrypted: /dev/mapper/vda3_crypt waits for a passphrase when the host boots"
        for key in ("none", "-", "none luks,discard"):
            put(tmp_path, "etc/crypttab", f"# a comment\nother /dev/x /etc/key\nvda3_crypt UUID=1234 {key}\n")
            assert self.look(tmp_path, says(LVM)) == (True, False, message)
        (tmp_path / "etc/crypttab").unlink()
        assert self.look(tmp_path, says(LVM)) == (True, False, message)

    def test_a_key_file_unlocks_it_when_it_is_there(self, tmp_path: Path) -> None:
        put(tmp_path, "etc/crypttab", "vda3_crypt UUID=1234 /etc/keys/root.key luks\n")
        encrypted, itself, message = self.look(tmp_path, says(LVM))
        assert (encrypted, itself) == (True, False)
        assert message.endswith("boots (its key file /etc/keys/root.key is not there)")
        put(tmp_path, "etc/keys/root.key", "secret")
        assert self.look(tmp_path, says(LVM)) == (
            True,
            True,
            "the root filesystem is encrypted: /dev/mapper/vda3_crypt is unlocked by the key file /etc/keys/root.key",
        )

    def test_initramfs_tools_takes_only_those_key_files_that_it_is_told(self, tmp_path: Path) -> None:
        put(tmp_path, "etc/crypttab", "vda3_crypt UUID=1234 /etc/keys/root.key luks\n")
        put(tmp_path, "etc/keys/root.key", "secret")
        put(tmp_path, "usr/share/initramfs-tools/hooks/cryptroot")
        encrypted, itself, message = self.look(tmp_path, says(LVM))
        assert (encrypted, itself) == (True, False)
        assert "is none that KEYFILE_PATTERN puts into the initramfs" in message
        put(tmp_path, "etc/cryptsetup-initramfs/conf-hook", '#KEYFILE_PATTERN=\nKEYFILE_PATTERN="/etc/keys/*.key"\n')
        assert self.look(tmp_path, says(LVM))[:2] == (True, True)

    @pytest.mark.parametrize(
        ("options", "itself", "why"),
        [
            ("luks,tpm2-device=auto", True, "is unlocked by the TPM of the host"),
            ("tpm2-device=auto,tpm2-pin=yes", False, "its TPM wants a PIN"),
            ("fido2-device=auto", False, "its FIDO2 token wants to be touched"),
            ("luks,keyscript=/bin/ask", False, "of its keyscript /bin/ask it is not known whether it asks somebody"),
        ],
    )
    def test_the_options_tell_whether_a_person_is_needed(
        self, tmp_path: Path, options: str, itself: bool, why: str
    ) -> None:
        put(tmp_path, "etc/crypttab", f"vda3_crypt UUID=1234 none {options}\n")
        found = self.look(tmp_path, says(LVM))
        assert found[:2] == (True, itself)
        assert why in found[2]

    def test_initramfs_tools_does_not_unlock_by_tpm(self, tmp_path: Path) -> None:
        put(tmp_path, "etc/crypttab", "vda3_crypt UUID=1234 none tpm2-device=auto\n")
        put(tmp_path, "usr/share/initramfs-tools/hooks/cryptroot")
        assert self.look(tmp_path, says(LVM))[:2] == (True, False)
        put(tmp_path, "usr/bin/dracut")
        assert self.look(tmp_path, says(LVM))[:2] == (True, True)

    @pytest.mark.parametrize("pin", ['tang \'{"url":"http://tang.example.org"}\'', 'tpm2 \'{"hash":"sha256"}\''])
    def test_clevis_unlocks_it_when_it_is_in_the_initramfs(self, tmp_path: Path, pin: str) -> None:
        answers = says(LVM, clevis=f"1: {pin}\n")
        found = self.look(tmp_path, answers)
        assert found[:2] == (True, False)
        assert "it is bound to clevis, which is not in the initramfs" in found[2]
        put(tmp_path, "usr/lib/dracut/modules.d/60clevis/module-setup.sh")
        found = self.look(tmp_path, answers)
        assert found[:2] == (True, True)
        assert f"is unlocked by clevis ({pin.split(maxsplit=1)[0]})" in found[2]
        put(tmp_path, "usr/share/initramfs-tools/hooks/cryptroot")
        assert self.look(tmp_path, answers)[:2] == (True, False)
        put(tmp_path, "usr/share/initramfs-tools/hooks/clevis")
        assert self.look(tmp_path, answers)[:2] == (True, True)

    def test_no_binding_of_clevis_is_none(self, tmp_path: Path) -> None:
        put(tmp_path, "usr/lib/dracut/modules.d/60clevis/module-setup.sh")
        assert self.look(tmp_path, says(LVM, clevis="1: pkcs11 '{}'\n"))[:2] == (True, False)
        answers = {**says(LVM), "clevis luks list": (1, "")}
        assert self.look(tmp_path, answers)[:2] == (True, False)

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("dropbear-initramfs", "usr/share/initramfs-tools/hooks/dropbear"),
            ("tinysshd-initramfs", "usr/share/initramfs-tools/hooks/tinysshd"),
            ("dracut-sshd", "usr/lib/dracut/modules.d/46sshd"),
        ],
    )
    def test_ssh_in_the_initramfs_still_needs_a_person(self, tmp_path: Path, name: str, path: str) -> None:
        put(tmp_path, path)
        found = self.look(tmp_path, says(LVM))
        assert found[:2] == (True, False)
        assert found[2].endswith(f"; somebody can unlock it by SSH ({name})")

    def test_all_that_is_below_must_unlock_itself(self, tmp_path: Path) -> None:
        other = disk("/dev/mapper/vdb_crypt", "crypt", disk("/dev/vdb", "disk"))
        raid = disk("/dev/md0", "raid1", CRYPT, other)
        put(tmp_path, "etc/key", "secret")
        put(tmp_path, "etc/crypttab", "vda3_crypt /dev/vda3 /etc/key\nvdb_crypt /dev/vdb none\n")
        found = self.look(tmp_path, says(raid, "/dev/md0"))
        assert found[:2] == (True, False)
        assert "/dev/mapper/vda3_crypt is unlocked by" in found[2]
        assert "/dev/mapper/vdb_crypt waits for a passphrase" in found[2]
        put(tmp_path, "etc/crypttab", "vda3_crypt /dev/vda3 /etc/key\nvdb_crypt /dev/vdb /etc/key\n")
        assert self.look(tmp_path, says(raid, "/dev/md0"))[:2] == (True, True)

    def test_what_cannot_be_known_counts_as_encrypted_and_is_said(self, tmp_path: Path) -> None:
        unknown = "what the root filesystem is on is not known: "
        assert self.look(tmp_path, {}) == (True, False, f"{unknown}findmnt is not installed")
        assert self.look(tmp_path, {"findmnt": (1, "no\n")}) == (True, False, f"{unknown}no")
        answers = says(PLAIN, "/dev/vda2")
        lsblk = "lsblk --inverse --json --paths"
        found = self.look(tmp_path, {name: answer for name, answer in answers.items() if name != lsblk})
        unknown = "what /dev/vda2 of the root filesystem is on is not known: "
        assert found == (True, False, f"{unknown}lsblk is not installed")
        odd = (
            "",
            "no JSON",
            "[]",
            '{"blockdevices": [3]}',
            '{"blockdevices": []}',
            '{"blockdevices": [{"name": "a"}]}',
        )
        for answer in ((32, ""), *((0, text) for text in odd)):
            found = self.look(tmp_path, {**answers, lsblk: answer})
            assert found[:2] == (True, False)
            assert found[2].startswith(unknown)

    @pytest.mark.parametrize("source", ["rpool/ROOT/debian", "overlay", "server:/srv/root", "none", ""])
    def test_a_root_on_no_device_counts_as_encrypted(self, tmp_path: Path, source: str) -> None:
        unknown = f"whether the root filesystem is encrypted is not known: it is on {source or 'nothing'}, no device"
        assert self.look(tmp_path, says(PLAIN, source)) == (True, False, unknown)
        # What a container is on is unlocked already.
        put(tmp_path, "run/systemd/container", "systemd-nspawn\n")
        assert self.look(tmp_path, says(PLAIN, source))[:2] == (False, False)

    def test_a_container_does_not_wait(self, tmp_path: Path) -> None:
        put(tmp_path, "run/systemd/container", "systemd-nspawn\n")
        assert self.look(tmp_path, says(LVM))[:2] == (False, False)
        assert self.look(tmp_path, {})[:2] == (False, False)
