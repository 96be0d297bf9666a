# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._update import encryption
from ansible_collections.inflight.jobs.plugins.module_utils._update.ground import Host

from .hosts import Answer, host_of, put, real


def disk(name: str, kind: str, *children: t.Any) -> dict[str, t.Any]:
    return {"name": name, "type": kind, **({"children": list(children)} if children else {})}


PLAIN = disk("/dev/vda2", "part", disk("/dev/vda", "disk"))
CRYPT = disk("/dev/mapper/vda3_crypt", "crypt", disk("/dev/vda3", "part", disk("/dev/vda", "disk")))
LVM = disk("/dev/mapper/vg-root", "lvm", CRYPT)


LSBLK = "lsblk --inverse --json --paths --output NAME,TYPE"
LUKS_DUMP = "cryptsetup luksDump --dump-json-metadata"
CLEVIS = "clevis luks list -d"


def says(tree: dict[str, t.Any], source: str = "/dev/mapper/vg-root", clevis: str = "") -> dict[str, Answer]:
    """What findmnt, lsblk and clevis say of such disks.

    A machine of tests has no LUKS: these are in the form of findmnt and lsblk 2.38 and clevis 19.
    """
    found = {
        "findmnt --noheadings --output SOURCE /": (0, f"{source}\n"),
        LSBLK: (0, json.dumps({"blockdevices": [tree]})),
    }
    return {**found, f"{CLEVIS} /dev/vda3": (0, clevis)} if clevis else found


def boot_on(tree: dict[str, t.Any]) -> dict[str, Answer]:
    """What findmnt and lsblk say of a /boot of its own. It is to come before what they say of the root filesystem."""
    return {
        "findmnt --noheadings --output SOURCE --target /boot": (0, f"{tree['name']}\n"),
        f"{LSBLK} {tree['name']}": (0, json.dumps({"blockdevices": [tree]})),
    }


def luks(*tokens: dict[str, t.Any], device: str = "/dev/vda3") -> dict[str, Answer]:
    """What cryptsetup 2.6 says of a device with such tokens, as far as it is read."""
    text = json.dumps({"keyslots": {}, "tokens": {str(place): token for place, token in enumerate(tokens)}})
    return {f"{LUKS_DUMP} {device}": (0, text)}


def token(*pcrs: int, **more: t.Any) -> dict[str, t.Any]:
    """A token of LUKS2, as systemd-cryptenroll makes it for the TPM."""
    names = {name.replace("tpm2_pin", "tpm2-pin"): value for name, value in more.items()}
    return {"type": "systemd-tpm2", "keyslots": ["1"], "tpm2-pcrs": list(pcrs), "tpm2-pcr-bank": "sha256", **names}


class Look:
    def look(self, folder: Path, answers: dict[str, Answer]) -> tuple[bool, bool, str]:
        found = encryption.encrypted_root(host_of(folder, answers))
        assert list(found) == ["encrypted", "unlocks_itself", "msg"]
        return found["encrypted"], found["unlocks_itself"], found["msg"]


class TestEncryptedRoot(Look):
    """Those that the machine of the tests has are real; those with LUKS are replayed."""

    @pytest.mark.skipif(shutil.which("lsblk") is None, reason="lsblk is not here: install util-linux")
    def test_the_root_of_this_machine_is_looked_at(self) -> None:
        found = encryption.encrypted_root(Host(real))
        assert isinstance(found["encrypted"], bool)
        assert "root filesystem" in found["msg"]

    def test_a_plain_root_is_not_encrypted(self, tmp_path: Path) -> None:
        message = "the root filesystem is on /dev/vda2, which is not encrypted"
        assert self.look(tmp_path, says(PLAIN, "/dev/vda2")) == (False, False, message)
        assert self.look(tmp_path, says(PLAIN, "/dev/vda2[/@rootfs]")) == (False, False, message)

    def test_a_passphrase_means_that_it_waits(self, tmp_path: Path) -> None:
        message = "the root filesystem is encrypted: /dev/mapper/vda3_crypt waits for a passphrase when the host boots"
        for key in ("none", "-", "none luks,discard"):
            text = f"# a comment\nother /dev/x /etc/key nofail\nvda3_crypt UUID=1234 {key}\n"
            put(tmp_path, "etc/crypttab", text)
            assert self.look(tmp_path, says(LVM)) == (True, False, message)
        (tmp_path / "etc/crypttab").unlink()
        assert self.look(tmp_path, says(LVM)) == (True, False, message)

    def test_a_key_file_unlocks_it_when_it_is_there(self, tmp_path: Path) -> None:
        put(tmp_path, "etc/crypttab", "vda3_crypt UUID=1234 /etc/keys/root.key luks\n")
        encrypted, itself, message = self.look(tmp_path, says(LVM))
        assert (encrypted, itself) == (True, False)
        assert message.endswith("boots (its key file /etc/keys/root.key is not there)")
        put(tmp_path, "etc/keys/root.key", "secret")
        put(tmp_path, "etc/dracut.conf", 'install_items+=" /etc/keys/root.key "\n')
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
            ("tpm2-device=auto,tpm2-pin=no", True, "is unlocked by the TPM of the host"),
            ("tpm2-device=auto,tpm2-pin=yes", False, "its TPM wants a PIN"),
            ("fido2-device=auto", False, "its FIDO2 token wants to be touched"),
            ("pkcs11-uri=auto", False, "its PKCS #11 token may want a PIN"),
            ("luks,keyscript=/bin/ask", False, "of its keyscript /bin/ask it is not known whether it asks somebody"),
        ],
    )
    def test_the_options_tell_whether_a_person_is_needed(
        self, tmp_path: Path, options: str, itself: bool, why: str
    ) -> None:
        put(tmp_path, "etc/crypttab", f"vda3_crypt UUID=1234 none {options}\n")
        found = self.look(tmp_path, {**says(LVM), **luks(token(7))})
        assert found[:2] == (True, itself)
        assert why in found[2]

    def test_initramfs_tools_does_not_unlock_by_tpm(self, tmp_path: Path) -> None:
        put(tmp_path, "etc/crypttab", "vda3_crypt UUID=1234 none tpm2-device=auto\n")
        put(tmp_path, "usr/share/initramfs-tools/hooks/cryptroot")
        answers = {**says(LVM), **luks(token(7))}
        assert self.look(tmp_path, answers)[:2] == (True, False)
        put(tmp_path, "usr/bin/dracut")
        assert self.look(tmp_path, answers)[:2] == (True, True)

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
        put(tmp_path, "etc/dracut.conf", "install_items+=/etc/key\n")
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
        found = self.look(tmp_path, {name: answer for name, answer in answers.items() if name != LSBLK})
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
            found = self.look(tmp_path, {**answers, LSBLK: answer})
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
        put(tmp_path, "boot/vmlinuz-6.1.0")
        put(tmp_path, "etc/crypttab", "data /dev/vdb none\n")
        assert self.look(tmp_path, says(LVM))[:2] == (False, False)
        assert self.look(tmp_path, {})[:2] == (False, False)


def key_file(folder: Path) -> None:
    """Let the device of the root filesystem be unlocked by a key file."""
    put(folder, "etc/crypttab", "vda3_crypt UUID=1234 /etc/root.key\n")
    put(folder, "etc/root.key", "secret")
    put(folder, "etc/dracut.conf.d/key.conf", 'install_items+=" /etc/root.key "\n')


class TestBootLoader(Look):
    @pytest.mark.parametrize("kernel", ["vmlinuz-6.1.0", "vmlinux-6.4.0.gz", "Image-6.4.0-default"])
    def test_a_kernel_on_an_encrypted_device_waits_whatever_the_initramfs_has(
        self, tmp_path: Path, kernel: str
    ) -> None:
        key_file(tmp_path)
        answers = {**boot_on(LVM), **says(LVM)}
        assert self.look(tmp_path, answers)[:2] == (True, True)
        put(tmp_path, f"boot/{kernel}")
        # Its server is in the initramfs, which the boot loader cannot read yet.
        put(tmp_path, "usr/share/initramfs-tools/hooks/dropbear")
        root = "the root filesystem is encrypted: /dev/mapper/vda3_crypt is unlocked by the key file /etc/root.key"
        boot = "the boot loader waits for a passphrase, as the kernels in /boot are on /dev/mapper/vda3_crypt"
        assert self.look(tmp_path, answers) == (True, False, f"{root}; {boot}")
        (tmp_path / "etc/crypttab").unlink()
        assert "SSH" not in self.look(tmp_path, answers)[2]

    def test_a_kernel_on_a_plain_device_does_not_wait(self, tmp_path: Path) -> None:
        key_file(tmp_path)
        put(tmp_path, "boot/vmlinuz-6.1.0")
        assert self.look(tmp_path, {**boot_on(PLAIN), **says(LVM)})[:2] == (True, True)
        assert self.look(tmp_path, {**boot_on(PLAIN), **says(PLAIN, "/dev/vda2")})[:2] == (False, False)

    def test_a_plain_root_waits_as_well(self, tmp_path: Path) -> None:
        put(tmp_path, "boot/vmlinuz-6.1.0")
        found = self.look(tmp_path, {**boot_on(CRYPT), **says(PLAIN, "/dev/vda2")})
        assert found[:2] == (True, False)
        assert "the boot loader waits for a passphrase" in found[2]

    @pytest.mark.parametrize(
        ("boot", "why"),
        [
            ({}, "what /boot is on is not known: findmnt is not installed"),
            ({"findmnt --noheadings --output SOURCE --target": (0, "bpool\n")}, "it is on bpool, no device"),
            (
                {**boot_on(CRYPT), f"{LSBLK} /dev/mapper/vda3_crypt": (1, "no\n")},
                "what /dev/mapper/vda3_crypt of /boot is on is not known: no",
            ),
        ],
    )
    def test_in_doubt_it_waits_when_the_root_is_encrypted(
        self, tmp_path: Path, boot: dict[str, Answer], why: str
    ) -> None:
        key_file(tmp_path)
        put(tmp_path, "boot/vmlinuz-6.1.0")
        found = self.look(tmp_path, {**boot, **says(LVM)})
        assert found[:2] == (True, False)
        assert why in found[2]
        (tmp_path / "etc/crypttab").unlink()
        assert self.look(tmp_path, {**boot, **says(PLAIN, "/dev/vda2")})[:2] == (False, False)


class TestClevis(Look):
    @pytest.mark.parametrize(
        ("binding", "good"),
        [
            ('tpm2 \'{"hash":"sha256","key":"ecc","pcr_bank":"sha256","pcr_ids":"7"}\'', True),
            ("tpm2 '{\"pcr_ids\":[7]}'", True),
            ('tpm2 \'{"pcr_ids":["7"]}\'', True),
            ('tpm2 \'{"pcr_ids":""}\'', True),
            ('tpm2 \'{"pcr_ids":"4,7"}\'', False),
            ("tpm2 '{\"pcr_ids\":[7, 9]}'", False),
            ("tpm2 '{\"pcr_ids\":8}'", False),
            ('tpm2 \'{"pcr_ids":"17"}\'', False),
            ("tpm2 '{\"pcr_ids\":null}'", False),
            ("tpm2", False),
            ("tpm2 '{\"pcr_ids\":'", False),
            ("tpm2 '[]'", False),
            ('sss \'{"t":1,"pins":{"tang":[{"url":"http://a"}],"tpm2":[{"pcr_ids":"7"}]}}\'', True),
            ('sss \'{"t":1,"pins":{"tang":[{"url":"http://a"}],"tpm2":[{"pcr_ids":"7"},{"pcr_ids":"8"}]}}\'', False),
            ('sss \'{"t":1,"pins":{"sss":{"t":1,"pins":{"tpm2":{"pcr_ids":"0,7"}}}}}\'', False),
            ('sss \'{"t":1,"pins":{"tang":{"url":"http://a"},"pkcs11":{"uri":"b"}}}\'', False),
            ('sss \'{"t":1,"pins":3}\'', False),
        ],
    )
    def test_a_binding_to_what_an_update_changes_does_not_count(self, tmp_path: Path, binding: str, good: bool) -> None:
        put(tmp_path, "usr/lib/dracut/modules.d/60clevis/module-setup.sh")
        assert self.look(tmp_path, says(LVM, clevis=f"1: {binding}\n"))[:2] == (True, good)

    def test_it_is_said_what_it_is_bound_to(self, tmp_path: Path) -> None:
        put(tmp_path, "usr/lib/dracut/modules.d/60clevis/module-setup.sh")
        found = self.look(tmp_path, says(LVM, clevis='1: tpm2 \'{"pcr_ids":"7,14,4"}\'\n'))
        assert found[2].endswith("boots (clevis (tpm2) is bound to PCR 4, 14, which an update may change)")

    def test_one_good_binding_of_several_is_enough(self, tmp_path: Path) -> None:
        put(tmp_path, "usr/lib/dracut/modules.d/60clevis/module-setup.sh")
        text = '1: tpm2 \'{"pcr_ids":"4"}\'\n2: tang \'{"url":"http://a"}\'\n'
        found = self.look(tmp_path, says(LVM, clevis=text))
        assert found[:2] == (True, True)
        assert found[2].endswith(" is unlocked by clevis (tang)")

    def test_a_keyscript_does_not_ask_clevis(self, tmp_path: Path) -> None:
        put(tmp_path, "usr/lib/dracut/modules.d/60clevis/module-setup.sh")
        answers = says(LVM, clevis="1: tang '{}'\n")
        assert self.look(tmp_path, answers)[:2] == (True, True)
        put(tmp_path, "etc/crypttab", "vda3_crypt UUID=1234 none keyscript=/bin/ask\n")
        assert self.look(tmp_path, answers)[:2] == (True, False)


class TestTpm(Look):
    @pytest.mark.parametrize(
        ("tokens", "why"),
        [
            ([token(7)], None),
            ([token()], None),
            ([token(7, tpm2_pin=False, tpm2_pcrlock=False, tpm2_pubkey_pcrs=[])], None),
            ([{"type": "systemd-recovery"}, token(4), token(7)], None),
            ([], "it has no token for the TPM"),
            ([{"type": "systemd-fido2"}], "it has no token for the TPM"),
            ([token(0, 7, 11, 4)], "its TPM is bound to PCR 0, 4, 11, which an update may change"),
            ([token(7, tpm2_pin=True)], "its TPM wants a PIN"),
            ([token(7), token(7, tpm2_pin=True)], "its TPM wants a PIN"),
            # No PCR is named here, and all the same the kernel must be one that was expected.
            ([token(tpm2_pcrlock=True)], "its TPM goes by systemd-pcrlock, which may not expect what is updated"),
            ([token(tpm2_pubkey_pcrs=[11])], "its TPM is bound to PCR 11, which an update may change"),
            ([{"type": "systemd-tpm2"}], "what its TPM checks is not known: cryptsetup is odd"),
            ([{}], "what its TPM checks is not known: cryptsetup is odd"),
        ],
    )
    def test_the_token_tells_what_the_tpm_is_bound_to(
        self, tmp_path: Path, tokens: list[dict[str, t.Any]], why: str | None
    ) -> None:
        put(tmp_path, "etc/crypttab", "vda3_crypt UUID=1234 - tpm2-device=auto\n")
        found = self.look(tmp_path, {**says(LVM), **luks(*tokens)})
        assert found[:2] == (True, why is None)
        assert found[2].endswith(f"boots ({why})" if why else " is unlocked by the TPM of the host")

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            ({}, "cryptsetup is not installed"),
            ({LUKS_DUMP: (1, "not LUKS\n")}, "not LUKS"),
            *(({LUKS_DUMP: (0, text)}, "cryptsetup is odd") for text in ("", "[]", "{}", '{"tokens": {"0": 3}}')),
        ],
    )
    def test_in_doubt_it_waits(self, tmp_path: Path, answer: dict[str, Answer], why: str) -> None:
        put(tmp_path, "etc/crypttab", "vda3_crypt UUID=1234 none tpm2-device=auto\n")
        found = self.look(tmp_path, {**says(LVM), **answer})
        assert found[:2] == (True, False)
        assert found[2].endswith(f"(what its TPM checks is not known: {why})")

    def test_a_key_file_for_the_tpm_is_none_that_unlocks_by_itself(self, tmp_path: Path) -> None:
        key_file(tmp_path)
        put(tmp_path, "etc/crypttab", "vda3_crypt UUID=1234 /etc/root.key tpm2-device=auto\n")
        found = self.look(tmp_path, {**says(LVM), **luks(token(7))})
        assert found[:2] == (True, False)
        assert "what its key file /etc/root.key is bound to in the TPM is not known" in found[2]


class TestDracut(Look):
    @pytest.mark.parametrize("name", ["etc/dracut.conf", "etc/dracut.conf.d/50-key.conf"])
    @pytest.mark.parametrize(
        ("text", "taken"),
        [
            ('install_items+=" /etc/other /etc/root.key "\n', True),
            ("install_items=/etc/root.key # its key\n", True),
            ('  install_optional_items+=" /etc/root.key"\n', True),
            ('install_items+=" /etc/root.key2 "\n', False),
            ('#install_items+=" /etc/root.key "\n', False),
            ('add_drivers+=" /etc/root.key "\n', False),
            ('install_items+=" /etc/root.key \n', False),
            ("", False),
        ],
    )
    def test_only_key_files_that_it_is_told_are_in_the_initramfs(
        self, tmp_path: Path, name: str, text: str, taken: bool
    ) -> None:
        key_file(tmp_path)
        (tmp_path / "etc/dracut.conf.d/key.conf").unlink()
        put(tmp_path, name, text)
        found = self.look(tmp_path, says(LVM))
        assert found[:2] == (True, taken)
        assert taken or "/etc/root.key is none that install_items puts into the initramfs" in found[2]


class TestOtherDevices(Look):
    """Those that boot waits for besides the root filesystem, which is a plain one where nothing else is said."""

    @pytest.mark.parametrize("key", ["", "none", "-", "none luks,discard"])
    def test_a_passphrase_for_another_device_means_that_it_waits(self, tmp_path: Path, key: str) -> None:
        put(tmp_path, "etc/crypttab", f"# a comment\n\ndata UUID=1234 {key}\n")
        waits = "; /dev/mapper/data waits for a passphrase when the host boots"
        message = f"the root filesystem is on /dev/vda2, which is not encrypted{waits}"
        assert self.look(tmp_path, says(PLAIN, "/dev/vda2")) == (True, False, message)
        key_file(tmp_path)
        text = (tmp_path / "etc/crypttab").read_text(encoding="utf-8")
        assert self.look(tmp_path, says(LVM))[:2] == (True, True)
        put(tmp_path, "etc/crypttab", f"{text}data UUID=1234 {key}\n")
        message = "the root filesystem is encrypted: /dev/mapper/vda3_crypt is unlocked by the key file /etc/root.key"
        assert self.look(tmp_path, says(LVM)) == (True, False, f"{message}{waits}")

    @pytest.mark.parametrize("options", ["nofail", "luks,noauto", "nofail,keyscript=/bin/ask"])
    def test_boot_does_not_wait_for_all(self, tmp_path: Path, options: str) -> None:
        put(tmp_path, "etc/crypttab", f"data UUID=1234 none {options}\n")
        assert self.look(tmp_path, says(PLAIN, "/dev/vda2"))[:2] == (False, False)

    def test_a_key_file_must_only_be_there(self, tmp_path: Path) -> None:
        put(tmp_path, "usr/share/initramfs-tools/hooks/cryptroot")
        put(tmp_path, "etc/crypttab", "data UUID=1234 /etc/data.key luks\n")
        found = self.look(tmp_path, says(PLAIN, "/dev/vda2"))
        assert found[:2] == (True, False)
        assert found[2].endswith(
            "/dev/mapper/data waits for a passphrase when the host boots (its key file /etc/data.key is not there)"
        )
        put(tmp_path, "etc/data.key")
        assert self.look(tmp_path, says(PLAIN, "/dev/vda2"))[:2] == (False, False)

    @pytest.mark.parametrize("option", ["fido2-device=auto", "keyscript=/bin/ask", "pkcs11-uri=auto"])
    def test_options_that_need_a_person(self, tmp_path: Path, option: str) -> None:
        put(tmp_path, "etc/data.key")
        for key in ("none", "/etc/data.key"):
            put(tmp_path, "etc/crypttab", f"data UUID=1234 {key} {option}\n")
            assert self.look(tmp_path, says(PLAIN, "/dev/vda2"))[:2] == (True, False)

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("/dev/vdb", "/dev/vdb"),
            ("UUID=12-34", "/dev/disk/by-uuid/12-34"),
            ('UUID="12-34"', "/dev/disk/by-uuid/12-34"),
            ("LABEL=a", "/dev/disk/by-label/a"),
            ("PARTUUID=1", "/dev/disk/by-partuuid/1"),
            ("PARTLABEL=b", "/dev/disk/by-partlabel/b"),
        ],
    )
    def test_the_tpm_is_judged_by_its_token(self, tmp_path: Path, name: str, path: str) -> None:
        # It is unlocked by systemd, also where initramfs-tools is there.
        put(tmp_path, "usr/share/initramfs-tools/hooks/cryptroot")
        put(tmp_path, "etc/crypttab", f"data {name} none tpm2-device=auto\n")
        plain = says(PLAIN, "/dev/vda2")
        assert self.look(tmp_path, {**plain, **luks(token(7), device=path)})[:2] == (False, False)
        assert self.look(tmp_path, {**plain, **luks(token(7, 9), device=path)})[:2] == (True, False)
        assert self.look(tmp_path, plain)[:2] == (True, False)

    def test_clevis_is_judged_by_its_bindings_and_needs_no_initramfs(self, tmp_path: Path) -> None:
        put(tmp_path, "etc/crypttab", "data UUID=1234 none _netdev\n")
        plain, command = says(PLAIN, "/dev/vda2"), f"{CLEVIS} /dev/disk/by-uuid/1234"
        good = {**plain, command: (0, '1: tpm2 \'{"pcr_ids":"7"}\'\n')}
        found = self.look(tmp_path, good)
        assert found[:2] == (True, False)
        assert "it is bound to clevis, and clevis-systemd is not installed" in found[2]
        put(tmp_path, "usr/lib/systemd/system/clevis-luks-askpass.path")
        assert self.look(tmp_path, good)[:2] == (False, False)
        assert self.look(tmp_path, {**plain, command: (0, '1: tpm2 \'{"pcr_ids":"4"}\'\n')})[:2] == (True, False)

    def test_all_that_wait_are_named(self, tmp_path: Path) -> None:
        put(tmp_path, "etc/crypttab", "one /dev/vdb none\ntwo /dev/vdc none nofail\nthree /dev/vdd none\n")
        message = self.look(tmp_path, says(PLAIN, "/dev/vda2"))[2]
        assert [name for name in ("one", "two", "three") if f"/dev/mapper/{name} waits" in message] == ["one", "three"]

    def test_a_table_that_cannot_be_read_means_that_it_may_wait(self, tmp_path: Path) -> None:
        (tmp_path / "etc/crypttab").mkdir(parents=True)
        found = self.look(tmp_path, says(PLAIN, "/dev/vda2"))
        assert found[:2] == (True, False)
        assert found[2].endswith("whether boot waits for other devices is not known: /etc/crypttab cannot be read")
