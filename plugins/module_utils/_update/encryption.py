# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Whether a host waits for a passphrase when it boots.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._update.ground import (
    Host,
    Record,
    is_container,
    listed,
    shown,
    why_not,
)

_KERNELS = ("boot/vmlinu[xz]*", "boot/Image-*")

_NO_KEY = ("", "none", "-")
_YES = ("", "1", "yes", "y", "true", "t", "on")
# Options of /etc/crypttab with which boot does not wait for a device.
_NOT_AWAITED = {"nofail", "noauto"}
# Those with which a person is needed.
_PERSON = {
    "fido2-device": "its FIDO2 token wants to be touched",
    "pkcs11-uri": "its PKCS #11 token may want a PIN",
}
_PIN_OF_TPM = "its TPM wants a PIN"
_LINKS = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}

# Into PCR 7 goes what the firmware checks signatures with. Kernel, initramfs and boot loader go into others.
_LASTING_PCRS = {"7"}
# Those of clevis that need nobody. A pin of PKCS #11 may ask for its PIN.
_PINS = {"tang", "tpm2", "sss"}
_CLEVIS = re.compile(r"^[0-9]+: (tang|tpm2|sss)\b *(.*)$", re.MULTILINE)
_CLEVIS_SERVICE = ("usr/lib/systemd/system/clevis-luks-askpass.path", "lib/systemd/system/clevis-luks-askpass.path")

_DRACUT_ITEMS = ("install_items", "install_optional_items")

# What lets a person type the passphrase by SSH, by the file that it has on the host.
_BY_SSH = {
    "dropbear-initramfs": "usr/share/initramfs-tools/hooks/dropbear",
    "tinysshd-initramfs": "usr/share/initramfs-tools/hooks/tinysshd",
    "dracut-sshd": "usr/lib/dracut/modules.d/*sshd",
}


class _UnknownError(Exception):
    """What something is on cannot be told; the sentence says why."""


def encrypted_root(host: Host) -> Record:
    """Whether something that boot needs is encrypted, and whether all of it is unlocked without a person.

    In doubt it is encrypted: a host that waits for a passphrase does not come back.
    """
    if is_container(host):
        return _answer(False, False, "the host is a container: what its root filesystem is on is unlocked already")
    try:
        device, found = _below(host, "the root filesystem", "/")
    except _UnknownError as ex:
        return _answer(True, False, str(ex))
    unlocking = Unlocking(host)
    ways = [(mapping, unlocking.of_root(os.path.basename(mapping), below)) for mapping, below in found.items()]
    itself = all(way for dummy, (way, dummy_text) in ways)
    text = "; ".join(f"{shown(mapping)} {text}" for mapping, (dummy, text) in ways)
    boot_loader = _boot_loader(host, bool(found))
    by_ssh = [name for name, pattern in _BY_SSH.items() if host.find(pattern)]
    # Before the boot loader has the initramfs there is no SSH.
    if by_ssh and not itself and not boot_loader:
        text = f"{text}; somebody can unlock it by SSH ({by_ssh[0]})"
    waiting = [*boot_loader, *unlocking.waiting({os.path.basename(mapping) for mapping in found})]
    if found:
        text = f"the root filesystem is encrypted: {text}"
    else:
        text = f"the root filesystem is on {shown(device)}, which is not encrypted"
    return _answer(bool(found or waiting), bool(found) and itself and not waiting, "; ".join([text, *waiting]))


def _answer(encrypted: bool, unlocks_itself: bool, message: str) -> Record:
    return {"encrypted": encrypted, "unlocks_itself": unlocks_itself, "msg": message}


def _boot_loader(host: Host, in_doubt: bool) -> list[str]:
    """Why the boot loader waits for a passphrase, or may do so.

    :param in_doubt: whether it may do so where it is not known.
    """
    # Where /boot is empty, the kernels are on the EFI system partition, which nobody can encrypt.
    if not any(host.find(pattern) for pattern in _KERNELS):
        return []
    try:
        dummy, found = _below(host, "/boot", "--target", "/boot")
    except _UnknownError as ex:
        return [str(ex)] if in_doubt else []
    if not found:
        return []
    return [f"the boot loader waits for a passphrase, as the kernels in /boot are on {listed(found)}"]


def _below(host: Host, name: str, *where: str) -> tuple[str, dict[str, str]]:
    """The device of a filesystem, and the encrypted ones that it is on, each with the device below it.

    :param where: how findmnt is told which filesystem.
    :raises _UnknownError: when that cannot be told.
    """
    source = host.ask("findmnt", "--noheadings", "--output", "SOURCE", *where)
    if source is None or source.exit_code:
        raise _UnknownError(f"what {name} is on is not known: {why_not('findmnt', source)}")
    # Of btrfs the subvolume is told behind the device. Of two mounts on one folder the last one counts.
    device = (source.output.split() or [""])[-1].partition("[")[0]
    if not device.startswith("/dev/"):
        on = shown(device) or "nothing"
        raise _UnknownError(f"whether {name} is encrypted is not known: it is on {on}, no device")
    unknown = f"what {shown(device)} of {name} is on is not known"
    answer = host.ask("lsblk", "--inverse", "--json", "--paths", "--output", "NAME,TYPE", device)
    if answer is None or answer.exit_code:
        raise _UnknownError(f"{unknown}: {why_not('lsblk', answer)}")
    try:
        nodes = json.loads(answer.output)["blockdevices"]
        found = dict(_encrypted(nodes))
    except (ValueError, KeyError, TypeError, AttributeError):
        nodes, found = [], {}
    if not nodes:
        raise _UnknownError(f"{unknown}: lsblk is odd")
    return device, found


def _encrypted(nodes: t.Iterable[Record]) -> t.Iterator[tuple[str, str]]:
    """The encrypted devices among these and all that they are on, each with the device that it is on."""
    for node in nodes:
        below = node.get("children") or []
        if node["type"] == "crypt":
            yield node["name"], below[0]["name"] if below else ""
        yield from _encrypted(below)


class Entry(t.NamedTuple):
    """A line of /etc/crypttab.

    device: the path of the one that is encrypted.
    """

    name: str
    device: str
    key: str
    options: dict[str, str]


def _entries(text: str) -> t.Iterator[Entry]:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 2 or fields[0].startswith("#"):
            continue
        key, options = [*fields[2:4], "", ""][:2]
        pairs = (option.partition("=") for option in options.split(","))
        yield Entry(fields[0], _path(fields[1]), key, {option: value for option, dummy, value in pairs})


def _path(device: str) -> str:
    kind, dummy, value = device.partition("=")
    name = value.strip('"')
    return f"/dev/disk/{_LINKS[kind]}/{name}" if kind in _LINKS else device


class Unlocking:
    """How the encrypted devices of a host are unlocked when it boots.

    In doubt it says that a person is needed: a host that waits for one does not come back.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        # Without dracut, initramfs-tools unlocks the root filesystem.
        by_hook = bool(host.find("usr/share/initramfs-tools/hooks/cryptroot"))
        self._initramfs_tools = by_hook and not host.find("usr/bin/dracut")
        text = host.read("etc/crypttab")
        self._unreadable = text is None and os.path.lexists(host.path("etc/crypttab"))
        self._entries = list(_entries(text or ""))

    def of_root(self, name: str, device: str) -> tuple[bool, str]:
        """Whether a device of the root filesystem unlocks itself, and how, or why not.

        :param name: as /etc/crypttab has it.
        :param device: the one that it is on.
        """
        key, options = next(((entry.key, entry.options) for entry in self._entries if entry.name == name), ("", {}))
        return self._way(Entry(name, device, key, options), True)

    def waiting(self, known: t.Container[str]) -> list[str]:
        """Why boot waits for a person who unlocks other devices, or may do so, a sentence each.

        :param known: names in /etc/crypttab of those that are not asked for.
        """
        if self._unreadable:
            return ["whether boot waits for other devices is not known: /etc/crypttab cannot be read"]
        found = []
        for entry in self._entries:
            if entry.name in known or _NOT_AWAITED & entry.options.keys():
                continue
            itself, text = self._way(entry, False)
            if not itself:
                found.append(f"{shown(f'/dev/mapper/{entry.name}')} {text}")
        return found

    def _way(self, entry: Entry, early: bool) -> tuple[bool, str]:
        """
        :param early: whether it is unlocked with what is in the initramfs.
        """
        reasons = []
        for look in (self._by_crypttab, self._by_clevis):
            itself, text = look(entry, early)
            if itself:
                return True, text
            reasons.append(text)
        why = ", ".join(reason for reason in reasons if reason)
        return False, "waits for a passphrase when the host boots" + (f" ({why})" if why else "")

    def _by_crypttab(self, entry: Entry, early: bool) -> tuple[bool, str]:
        if "keyscript" in entry.options:
            script = shown(entry.options["keyscript"])
            return False, f"of its keyscript {script} it is not known whether it asks somebody"
        for option, wish in _PERSON.items():
            if option in entry.options:
                return False, wish
        if "tpm2-device" in entry.options:
            wrong, how = self._wrong_with_tpm(entry, early), "is unlocked by the TPM of the host"
        elif entry.key not in _NO_KEY:
            wrong, how = self._wrong_with_key(entry.key, early), f"is unlocked by the key file {shown(entry.key)}"
        else:
            wrong, how = "", ""
        return (True, how) if wrong is None else (False, wrong)

    def _wrong_with_key(self, key: str, early: bool) -> str | None:
        """Why a key file does not unlock a device; None when it does."""
        if not os.path.exists(self._host.path(key)):
            return f"its key file {shown(key)} is not there"
        if not early:
            return None
        if self._initramfs_tools:
            option, taken = "KEYFILE_PATTERN", fnmatch.fnmatchcase(key, self._key_files())
        else:
            option, taken = "install_items", key in self._items()
        return None if taken else f"its key file {shown(key)} is none that {option} puts into the initramfs"

    def _key_files(self) -> str:
        """The pattern of those that initramfs-tools takes; it takes none when there is no pattern."""
        pattern = ""
        for line in (self._host.read("etc/cryptsetup-initramfs/conf-hook") or "").splitlines():
            if line.strip().startswith("KEYFILE_PATTERN="):
                words = _words(line)
                pattern = words[0].partition("=")[2] if words else ""
        return pattern

    def _items(self) -> set[str]:
        """The files that dracut is told to take."""
        names = [os.path.basename(path) for path in self._host.find("etc/dracut.conf.d/*.conf")]
        found: set[str] = set()
        for name in ("etc/dracut.conf", *(f"etc/dracut.conf.d/{name}" for name in names)):
            for word in _words(self._host.read(name) or ""):
                variable, dummy, value = word.partition("=")
                if variable.rstrip("+") in _DRACUT_ITEMS:
                    found.update(value.split())
        return found

    def _wrong_with_tpm(self, entry: Entry, early: bool) -> str | None:
        """Why systemd does not unlock a device by the TPM; None when it does."""
        if early and self._initramfs_tools:
            return "initramfs-tools does not know its option tpm2-device"
        if entry.options.get("tpm2-pin", "no").lower() in _YES:
            return _PIN_OF_TPM
        if entry.key not in _NO_KEY:
            return f"what its key file {shown(entry.key)} is bound to in the TPM is not known"
        answer = self._host.ask("cryptsetup", "luksDump", "--dump-json-metadata", entry.device)
        if answer is None or answer.exit_code:
            return f"what its TPM checks is not known: {why_not('cryptsetup', answer)}"
        try:
            tokens = json.loads(answer.output)["tokens"].values()
            return _wrong_with_tokens([token for token in tokens if token["type"] == "systemd-tpm2"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return "what its TPM checks is not known: cryptsetup is odd"

    def _by_clevis(self, entry: Entry, early: bool) -> tuple[bool, str]:
        # A keyscript does not ask where clevis answers.
        if not entry.device or "keyscript" in entry.options:
            return False, ""
        answer = self._host.ask("clevis", "luks", "list", "-d", entry.device)
        bindings = _CLEVIS.findall(answer.output) if answer is not None else []
        if not bindings:
            return False, ""
        if not self._has_clevis(early):
            where = "which is not in the initramfs" if early else "and clevis-systemd is not installed"
            return False, f"it is bound to clevis, {where}"
        wrong = [_wrong_with_binding(*binding) for binding in bindings]
        if None in wrong:
            return True, f"is unlocked by clevis ({bindings[wrong.index(None)][0]})"
        return False, wrong[0] or ""

    def _has_clevis(self, early: bool) -> bool:
        """Whether clevis is there when a device is unlocked."""
        if not early:
            return any(self._host.find(pattern) for pattern in _CLEVIS_SERVICE)
        if self._initramfs_tools:
            return bool(self._host.find("usr/share/initramfs-tools/hooks/clevis"))
        return bool(self._host.find("usr/lib/dracut/modules.d/*clevis"))


def _wrong_with_tokens(tokens: t.Sequence[Record]) -> str | None:
    """Why those tokens of LUKS2 that systemd has made do not unlock a device by the TPM; None when they do."""
    if not tokens:
        return "it has no token for the TPM"
    # Which of them comes first is not known.
    if any(token.get("tpm2-pin", False) is not False for token in tokens):
        return _PIN_OF_TPM
    wrong = [_wrong_with_token(token) for token in tokens]
    return None if None in wrong else wrong[0]


def _wrong_with_token(token: Record) -> str | None:
    if token.get("tpm2_pcrlock"):
        return "its TPM goes by systemd-pcrlock, which may not expect what is updated"
    # A signed policy needs a signature of each new kernel.
    return _wrong_with_pcrs("its TPM", [token["tpm2-pcrs"], token.get("tpm2_pubkey_pcrs", [])])


def _wrong_with_binding(pin: str, config: str) -> str | None:
    """Why a binding of clevis does not unlock a device; None when it does.

    :param config: JSON, in quotes of the shell.
    """
    try:
        found = json.loads(config.strip().strip("'"))
        known = isinstance(found, dict) and all(_PINS.issuperset(pins) for pins in _values(found, "pins"))
    except (ValueError, TypeError):
        known = False
    if not known:
        return f"whether clevis ({pin}) needs somebody is not known"
    return _wrong_with_pcrs(f"clevis ({pin})", _values(found, "pcr_ids"))


def _wrong_with_pcrs(who: str, values: t.Iterable[object]) -> str | None:
    """Why a key that is bound to PCRs is lost with an update; None when it is not.

    :param values: lists, or text such as 4,7.
    """
    pcrs = {number for value in values for number in re.findall(r"\w+", str(value))}
    changing = sorted(pcrs - _LASTING_PCRS, key=lambda number: (len(number), number))
    return f"{who} is bound to PCR {listed(changing)}, which an update may change" if changing else None


def _values(found: object, name: str) -> t.Iterator[t.Any]:
    """All that have such a name in JSON, however deep they are."""
    if isinstance(found, dict):
        if name in found:
            yield found[name]
        found = list(found.values())
    if isinstance(found, list):
        for value in found:
            yield from _values(value, name)


def _words(text: str) -> list[str]:
    """The words of a file that a shell reads; none when it is no such file."""
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return []
