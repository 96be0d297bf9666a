#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup_restore
short_description: Restore a backup to a folder
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Restores a backup that M(inflight.jobs.backup_set) has made to a folder of choice. Before that it reads all of it,
    and compares it with its manifest. A damaged backup is not restored, and there is no way to force that.
  - Of a backup by restic only what is in it is listed before, as restic compares the content with its checksums while
    it restores. What of it could be restored stays beside O(dest) when some files are damaged.
  - The members of an archive are restored below O(dest) with their whole path. C(/etc/hosts) becomes
    C(DEST/etc/hosts).
  - Dumps of databases, and what a command wrote, become plain files in O(dest), such as C(app.dump). They are not
    loaded into a database. RV(commands) says how to do that.
  - When O(dest) is not there or empty, everything is restored to a new folder beside it, which gets the name at the
    end. So an interrupted restore never looks like a finished one.
options:
  directory:
    description: The folder on the host that the backups are in, as an absolute path.
    type: path
    required: true
  set:
    description: The name of the backup set.
    type: str
    required: true
  id:
    description: The backup. The newest verified one of the O(set) when left out.
    type: str
  dest:
    description:
      - The folder to restore to. The folder that it is in must be there. A new O(dest) gets the mode 0700, unless the
        backup is of C(/). One that is there and empty keeps its owner and mode.
      - It cannot be inside of O(directory).
    type: path
    required: true
  paths:
    description:
      - The files and folders to restore, as absolute paths that they had when they were backed up. Of a folder all that
        is in it. The whole backup when left out.
      - A hard link can be restored only together with the file that it leads to in the archive.
    type: list
    elements: str
  overwrite:
    description:
      - Whether to restore to a O(dest) that is not empty, over what is there.
      - Files of the same name are replaced. What the backup does not have stays as it is. Nothing is written when
        O(dest) has a symbolic link or a file in the place of a folder, or a folder in the place of a file.
      - Not to a O(dest) that belongs to another user who is not root, or that others can write to. They could put a
        link in the way.
      - When this is interrupted, part of the files is old and part of them is new.
      - A backup by restic is restored to a folder within O(dest) first, so there must be room for it twice.
    type: bool
    default: false
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
      - Only root can give files to other users. With another user all that is restored belongs to that user.
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - Reads the backup, says what would be restored, and writes nothing.
  delegation:
    description: Can be used with C(delegate_to).
    support: full
    details:
      - Restores on that host.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
  idempotent:
    description: Changes nothing when it is run again.
    support: none
    details:
      - Fails when it is run again, unless O(overwrite) is set, as O(dest) is not empty then.
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs Python 3.8 or newer on the host, GNU tar, and the program that the backup was compressed with, or restic 0.14
    or newer and the password file that the backup was made with.
  - restic writes out the holes of files.
  - With O(overwrite), see that no user who is not trusted can change what is in O(dest) meanwhile.
seealso:
  - module: inflight.jobs.backup_info
  - module: inflight.jobs.backup_verify
  - module: inflight.jobs.backup_set
"""

EXAMPLES = r"""
- name: Restore the newest backup of the configuration to look at it
  inflight.jobs.backup_restore:
    directory: /var/backups/parallel_backup
    set: etc
    dest: /root/etc-before

- name: Put a lost folder back where it was
  inflight.jobs.backup_restore:
    directory: /var/backups/parallel_backup
    set: wiki
    id: 20261121T201500Z-3fa9c1
    paths: [/srv/wiki/pages]
    dest: /
    overwrite: true
"""

RETURN = r"""
backup:
  description: The backup, as in RV(inflight.jobs.backup_info#module:backups).
  returned: when it was found
  type: dict
dest:
  description: Where it was restored to, without symbolic links.
  returned: when it was found
  type: str
  sample: /root/etc-before
members:
  description: How many files and folders were restored, or would be in check mode.
  returned: success
  type: int
  sample: 1873
bytes:
  description:
    - The size of the files that were restored. In check mode, that of the files that would be; V(null) when only
      restoring would tell.
  returned: success
  type: int
  sample: 5412087
remarks:
  description: What tar complained about, such as extended attributes that the filesystem does not have.
  returned: success
  type: list
  elements: str
commands:
  description: Commands of the shell that load the dumps, in this order. None for archives and for SQLite.
  returned: success
  type: list
  elements: str
  sample: ["pg_restore --create --dbname=postgres /root/dumps/app.dump"]
msg:
  description: What was done, or why not.
  returned: always
  type: str
  sample: restored 1873 files and folders (5.4 MB) of 20261121T201500Z-3fa9c1 to /root/etc-before
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._backup.restoring import Restored, Restoring
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError, Store
from ansible_collections.inflight.jobs.plugins.module_utils._termination import Terminated, heed_sigterm

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "directory": {"type": "path", "required": True},
    "set": {"type": "str", "required": True},
    "id": {"type": "str"},
    "dest": {"type": "path", "required": True},
    "paths": {"type": "list", "elements": "str"},
    "overwrite": {"type": "bool", "default": False},
}

# How many of the commands that load a dump the message has.
_SHOWN = 3


def message(restoring: Restoring, restored: Restored, only_look: bool) -> str:
    """What was done, in one sentence."""
    count = restored.members
    what = "1 file or folder" if count == 1 else f"{count} files and folders"
    size = "" if restored.size is None else f" ({restored.size / 1e6:.1f} MB)"
    done = "would restore" if only_look else "restored"
    told = f"{done} {what}{size} of {restoring.backup.id} to {restoring.dest}"
    if restored.commands:
        more = len(restored.commands) - _SHOWN
        told += f", to be loaded with: {'; '.join(restored.commands[:_SHOWN])}" + (f"; and {more} more" * (more > 0))
    return told


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    # What was begun is removed.
    heed_sigterm()
    options = module.params
    restoring = None
    known: dict[str, t.Any] = {}
    try:
        store = Store(options["directory"])
        backup = store.find(options["set"], options["id"] or None)
        known = {"backup": backup.report(), "dest": options["dest"]}
        restoring = Restoring(store, backup, options["dest"], options["paths"], options["overwrite"])
        known["dest"] = restoring.dest
        restored = restoring.plan() if module.check_mode else restoring.run()
    except (BackupError, Terminated) as ex:
        module.fail_json(msg=str(ex), changed=bool(restoring and restoring.changed), **known)
    except OSError as ex:
        why = f"{options['dest']} cannot be restored to: {ex.strerror}"
        module.fail_json(msg=why, changed=bool(restoring and restoring.changed), **known)
    module.exit_json(
        changed=True,
        msg=message(restoring, restored, module.check_mode),
        members=restored.members,
        bytes=restored.size,
        remarks=restored.remarks,
        commands=restored.commands,
        **known,
    )


if __name__ == "__main__":
    main()
