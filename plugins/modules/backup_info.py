#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup_info
short_description: List the backups of a host
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Lists the backups that M(inflight.jobs.backup_set) has made and that are still there, by what their manifests and
    later verifications say. It does not read the backups themselves.
options:
  directory:
    description: The folder on the host that the backups are in, as an absolute path. It need not be there.
    type: path
    required: true
  sets:
    description: The names of the sets. All that are in O(directory) when left out.
    type: list
    elements: str
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
      - The backups belong to the user that made them. Be the same.
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - It never changes anything.
  delegation:
    description: Can be used with C(delegate_to).
    support: full
    details:
      - Lists the backups on that host.
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
  - Needs Python 3.8 or newer on the host and nothing else.
seealso:
  - module: inflight.jobs.backup_set
  - module: inflight.jobs.backup_verify
  - module: inflight.jobs.backup_restore
"""

EXAMPLES = r"""
- name: List the backups
  inflight.jobs.backup_info:
    directory: /var/backups/parallel_backup
  register: found

- name: Fail when the configuration has no verified backup
  ansible.builtin.assert:
    that: found.sets.etc.newest_verified is not none
"""

RETURN = r"""
backups:
  description:
    - The backups, by set, and those of a set with the oldest first. Each is told as in
      RV(inflight.jobs.backup_set#module:backup), without C(previous_bytes) and C(copied_to).
  returned: always
  type: list
  elements: dict
  contains:
    set:
      description: The name of the set.
      type: str
      sample: etc
    id:
      description: The name of its folder, which begins with its start in UTC.
      type: str
      sample: 20261121T201500Z-3fa9c1
    path:
      description: Its folder.
      type: str
      sample: /var/backups/parallel_backup/etc/20261121T201500Z-3fa9c1
    bytes:
      description: The size of its files. Of a snapshot of restic that of the files that it is of.
      type: int
      sample: 1834523
    verified:
      description: Whether it passed a check, and no later one found a damage.
      type: bool
      sample: true
    checks:
      description: The checks that it passed.
      type: list
      elements: str
      sample: [checksum, list]
    damage:
      description: What is wrong with it, V(null) if nothing is known.
      type: str
sets:
  description: For each set what there is of it, by its name.
  returned: always
  type: dict
  contains:
    count:
      description: How many backups.
      type: int
      sample: 12
    newest_verified:
      description: The id of the newest verified one, V(null) if there is none.
      type: str
      sample: 20261121T201500Z-3fa9c1
    bytes:
      description: The size of all of them together. Snapshots of restic need less.
      type: int
      sample: 22014276
free_bytes:
  description: How much is free on the filesystem of O(directory), V(null) if it is not there.
  returned: always
  type: int
  sample: 81293012992
msg:
  description: How many backups there are, or why that is not known.
  returned: always
  type: str
  sample: 12 backups of 1 set, 22.0 MB
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import Backup, BackupError, Store

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "directory": {"type": "path", "required": True},
    "sets": {"type": "list", "elements": "str"},
}


def summary(backups: t.Sequence[Backup]) -> dict[str, t.Any]:
    """What there is of a set.

    :param backups: the oldest first.
    """
    verified = [backup.id for backup in backups if backup.verified]
    return {
        "count": len(backups),
        "newest_verified": verified[-1] if verified else None,
        "bytes": sum(backup.bytes for backup in backups),
    }


def free_bytes(directory: str) -> int | None:
    """How much a user may still write there; None when it is not there."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def counted(number: int, what: str) -> str:
    """A number with the word for what there is."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def result_of(store: Store, sets: t.Sequence[str] | None) -> dict[str, t.Any]:
    """What the module returns."""
    found = {name: store.backups(name) for name in (store.sets() if sets is None else sets)}
    backups = [backup for name in sorted(found) for backup in found[name]]
    size = sum(backup.bytes for backup in backups)
    return {
        "backups": [backup.report() for backup in backups],
        "sets": {name: summary(found[name]) for name in sorted(found)},
        "free_bytes": free_bytes(store.directory),
        "msg": f"{counted(len(backups), 'backup')} of {counted(len(found), 'set')}, {size / 1e6:.1f} MB",
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = result_of(Store(module.params["directory"]), module.params["sets"])
    except BackupError as ex:
        module.fail_json(msg=str(ex))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
