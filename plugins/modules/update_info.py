#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: update_info
short_description: Tell what stands in the way of an update, and whether a host needs a reboot
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Looks for what stands in the way of an update or a reboot of a host, such as too little space, or an encrypted root
    filesystem that waits for a passphrase.
  - Asks several sources whether the host needs a reboot. Each answers V(yes), V(no) or V(unknown). No source knows all
    reasons. One V(yes) is enough; without one, one V(no) is.
  - What stands in the way is returned and is no failure of the task.
options:
  manager:
    description:
      - The package manager of the host.
      - V(auto) takes the first that is there of C(apt-get), C(dnf5) or C(dnf), and C(zypper). Where dpkg knows of no
        package, C(apt-get) is only a tool on a system with other packages, and does not count.
    type: str
    choices: [auto, apt, dnf, zypper]
    default: auto
  min_free_mb:
    description:
      - How much space must be free, in MB (1000000 bytes), by the absolute path of a folder.
      - A path that does not exist needs no space. Of paths on the same filesystem, one that wants no more than another
        before it is not looked at.
    type: dict
    default: {}
attributes:
  action:
    description: Has a part that runs on the controller.
    support: none
  async:
    description: Can be used with the C(async) keyword.
    support: full
  become:
    description: Can be used with become.
    support: full
    details:
      - Be root. Others cannot tell how an encrypted root filesystem is unlocked, and may not see whether the kernel
        that runs is the one that is installed.
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - It never changes anything.
  delegation:
    description: Can be used with C(delegate_to).
    support: full
    details:
      - Looks at that host.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
  idempotent:
    description: Changes nothing when it is run again.
    support: full
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs Python 3.8 or newer on the host and nothing else. It uses C(needrestart), C(findmnt), C(lsblk), C(clevis),
    C(cryptsetup) and C(busctl) where they are there.
  - The sources for a reboot are the file C(/run/reboot-required), or C(/run/reboot-needed) of SUSE; the kernel that
    runs, against the installed ones of its kind; C(needrestart -b -k); and with dnf C(dnf needs-restarting -r).
  - Which kernel the boot loader takes is not known. Where an administrator has pinned an older one, a newer installed
    kernel is a V(yes) after every reboot.
  - A kernel can be rebuilt under the name of the one that runs. Only images for x86 tell their build. Of another one it
    is V(unknown) when the file has changed after the boot, and so it is when the image cannot be read.
"""

EXAMPLES = r"""
- name: Look what stands in the way of an update
  inflight.jobs.update_info:
    min_free_mb:
      /: 1024
      /var: 1024
      /boot: 200
  become: true
  register: before

- name: Fail when something does
  ansible.builtin.assert:
    that: not before.problems
    fail_msg: "{{ before.msg }}"

- name: Reboot when it is needed, and nobody has to type a passphrase
  ansible.builtin.reboot:
  become: true
  when:
    - before.reboot.needed == "yes"
    - not before.encrypted_root.encrypted or before.encrypted_root.unlocks_itself
"""

RETURN = r"""
manager:
  description: The package manager, which is V(apt), V(dnf) or V(zypper).
  returned: success
  type: str
  sample: apt
backend:
  description: With dnf V(dnf4) or V(dnf5), whichever C(dnf) is; null with another package manager.
  returned: success
  type: str
  sample: dnf5
kernel:
  description: The kernel that runs, as C(uname -r) tells it.
  returned: success
  type: str
  sample: 6.1.0-26-amd64
boot_id:
  description: Something that is another one after a reboot. Empty where the system does not tell.
  returned: success
  type: str
  sample: 0bd4a2e5-5a4e-4a8b-8d5c-8a7f7a7a3c1e
problems:
  description: What stands in the way of an update, a sentence each.
  returned: success
  type: list
  elements: str
  sample: ["812 MB are free on /var, and 1024 are wanted"]
unfinished:
  description:
    - The packages that an earlier run of dpkg has not finished. C(dpkg --configure -a) or C(apt-get -f install) repairs
      most of them. Always empty with dnf and zypper.
  returned: success
  type: list
  elements: str
  sample: [man-db]
reboot:
  description: Whether the host needs a reboot.
  returned: success
  type: dict
  contains:
    needed:
      description: V(yes), V(no), or V(unknown) when no source could tell.
      type: str
      sample: "yes"
    reasons:
      description: What the sources say that say so, a sentence each.
      type: list
      elements: str
      sample: ["the kernel 6.1.0-26-amd64 runs, and 6.1.0-28-amd64 is installed"]
    sources:
      description:
        - The answer of each source, which is V(yes), V(no) or V(unknown). C(needs_restarting) is there with dnf only.
      type: dict
      sample: {reboot_required: unknown, kernel: "yes", needrestart: "yes"}
encrypted_root:
  description:
    - Whether the host waits for a passphrase when it boots, for its root filesystem, for the kernels in C(/boot), or
      for another device of C(/etc/crypttab).
  returned: success
  type: dict
  contains:
    encrypted:
      description:
        - Whether something below the root filesystem is encrypted by dm-crypt, or boot waits for a passphrase for
          something else. That is C(/boot) with the kernels on an encrypted device, where the boot loader asks, or
          another device of C(/etc/crypttab) that has neither V(nofail) nor V(noauto) and does not unlock itself.
        - True as well when that is not known, as on a host without C(findmnt), or one whose root filesystem is on no
          block device, such as ZFS. RV(encrypted_root.msg) tells why. Always false in a container.
      type: bool
      sample: true
    unlocks_itself:
      description:
        - Whether all of it is unlocked without a person, by a key file, the TPM or clevis. False when nothing is
          encrypted. That somebody can unlock it by SSH does not count, nor does a FIDO2 token, which must be touched.
        - In doubt it is false. A key file of the root filesystem must be one that goes into the initramfs. The TPM
          counts where it wants no PIN and is bound to no PCR but 7, as an update may change what is measured into the
          others.
      type: bool
      sample: false
    msg:
      description: How it is unlocked, or why not, or why that is not known.
      type: str
      sample: "the root filesystem is encrypted: /dev/mapper/vda3_crypt waits for a passphrase when the host boots"
inhibitors:
  description: Who keeps the host from being shut down, as C(systemd-inhibit --list) tells it. Empty where there is no
    systemd-logind.
  returned: when it is known, which it is not when systemd-logind runs and gives no answer; RV(msg) says so then
  type: list
  elements: dict
  contains:
    who:
      description: The name of the program.
      type: str
      sample: inflight.jobs
    why:
      description: Its reason.
      type: str
      sample: a backup is being made
is_container:
  description: Whether systemd says that the host is a container. Its kernel is that of another host.
  returned: success
  type: bool
  sample: false
msg:
  description: What stands in the way of an update, and whether a reboot is needed, or why that is not known.
  returned: always
  type: str
  sample: nothing stands in the way of an update; a reboot is needed
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._processes import boot_id
from ansible_collections.inflight.jobs.plugins.module_utils._update import encryption, ground
from ansible_collections.inflight.jobs.plugins.module_utils._update.need import NO, UNKNOWN, YES, Kernel, Need

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "manager": {"type": "str", "choices": ["auto", "apt", "dnf", "zypper"], "default": "auto"},
    "min_free_mb": {"type": "dict", "default": {}},
}

DPKG_STATUS = "/var/lib/dpkg/status"
PROGRAMS = {"apt": ("apt-get",), "dnf": ("dnf5", "dnf"), "zypper": ("zypper",)}

_SENTENCES = {
    YES: "a reboot is needed",
    NO: "no reboot is needed",
    UNKNOWN: "whether a reboot is needed is not known",
}


class OptionError(Exception):
    """Something that was asked for cannot be done here."""


def manager_of(wanted: str, find: t.Callable[[str], str | None], status: str = DPKG_STATUS) -> str:
    """The package manager of the host.

    :param find: where a program is; None when it is not there.
    :param status: the file in which dpkg has its packages.
    :raises OptionError: when there is none, or not that one.
    """
    for manager, programs in PROGRAMS.items():
        if wanted not in ("auto", manager) or not any(find(program) for program in programs):
            continue
        if wanted == manager or manager != "apt" or _has_content(status):
            return manager
    if wanted == "auto":
        raise OptionError("this host has none of apt-get, dnf5, dnf and zypper: no other package manager is known")
    raise OptionError(f"manager is {wanted}, and this host has no {' or '.join(PROGRAMS[wanted])}: set it to auto")


def _has_content(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False


def megabytes_of(given: t.Mapping[str, t.Any]) -> dict[str, int]:
    """The space that is wanted.

    :raises OptionError: when a path or a number cannot be.
    """
    found = {}
    for path, value in given.items():
        if not os.path.isabs(path):
            raise OptionError(f"min_free_mb has the path {path!r}: give an absolute one")
        # From a template it may come as text.
        text = str(value).strip()
        if isinstance(value, bool) or not text.isdecimal():
            raise OptionError(f"min_free_mb has {value!r} for {path}: give a whole number of MB that is not negative")
        found[path] = int(text)
    return found


def backend_of(manager: str, find: t.Callable[[str], str | None]) -> str | None:
    """Which dnf it is, as M(ansible.builtin.dnf) calls that; None with another package manager."""
    if manager != "dnf":
        return None
    # dnf is a link to either of them.
    return "dnf5" if os.path.basename(os.path.realpath(find("dnf") or "dnf5")) == "dnf5" else "dnf4"


def result_of(
    host: ground.Host, manager: str, wanted: t.Mapping[str, int], backend: str | None = None
) -> dict[str, t.Any]:
    """What the module returns."""
    kernel, container, packages = Kernel.running(), ground.is_container(host), ground.packages(host, manager)
    problems = [*ground.free_space(host, wanted), *([packages.problem] if packages.problem else [])]
    reboot = Need(host, kernel, container).report(manager)
    inhibitors = ground.inhibitors(host)
    words = [*(problems or ["nothing stands in the way of an update"]), _SENTENCES[reboot["needed"]]]
    if inhibitors is None:
        words.append("systemd-logind does not tell who keeps the host from being shut down")
    return {
        "manager": manager,
        "backend": backend,
        "kernel": kernel.release,
        "boot_id": boot_id(),
        "problems": problems,
        "unfinished": packages.unfinished,
        "reboot": reboot,
        "encrypted_root": encryption.encrypted_root(host),
        # Whoever reboots is not to take what is not known for nobody.
        **({} if inhibitors is None else {"inhibitors": inhibitors}),
        "is_container": container,
        "msg": "; ".join(words),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        wanted = megabytes_of(module.params["min_free_mb"])
        manager = manager_of(module.params["manager"], module.get_bin_path)
    except OptionError as ex:
        module.fail_json(msg=str(ex))
    backend = backend_of(manager, module.get_bin_path)
    module.exit_json(changed=False, **result_of(ground.Host(module.run_command), manager, wanted, backend))


if __name__ == "__main__":
    main()
