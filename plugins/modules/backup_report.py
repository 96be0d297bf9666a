#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup_report
short_description: Write one report of the backups of many hosts
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Takes what each host of a run of backups reported, adds it up, and writes it to files on the controller. One is JSON
    for programs, the other is Markdown for people.
  - A table on the terminal has a line for each host and each set that did not succeed or has a warning, and at its end
    a line or two for the whole. It is at most 80 characters wide.
  - It does not fail when backups have failed. RV(state) and RV(failed_hosts) tell that, and a later task can fail by
    them, after the report was sent.
  - What a host reported is not trusted. Texts are cut and freed of what a terminal or a page would act on. What is no
    number counts as not known. A host whose report is damaged counts as failed.
  - What stands where passwords often stand in messages is replaced with C(***). That is the user part of an address,
    as in C(https://user:password@nas), and the value after names such as C(password=).
options:
  results:
    description:
      - What each host reported, by the name of the host. The role C(inflight.jobs.parallel_backup) leaves it in the
        fact C(parallel_backup_result) of the host.
      - A host whose value is V(null) or empty counts as one that was out of reach. So give all hosts of the play, also
        those that have no such fact.
      - The keys are C(state) (V(ok), V(warning), V(failed), V(unreachable), V(running)), C(msg), C(started_at),
        C(ended_at), C(sets), C(retention) and C(freed_bytes). Times are UTC in ISO 8601.
      - Each of C(sets) has C(set) (its name), C(state) (V(succeeded), or why not), C(msg), C(id), C(path),
        C(bytes), C(previous_bytes), C(members), C(seconds), C(sha256), C(files) (a list of C(name), C(bytes) and
        C(sha256)), C(checks), C(warnings), C(copied_to), C(started_at) and C(ended_at).
      - Each of C(retention) has C(set), C(kept) (a list of C(id) and C(reasons)), C(deleted) (a list of ids) and
        C(skipped) (why nothing was deleted).
    type: dict
    required: true
  title:
    description:
      - What the report is called in its first line.
    type: str
    default: Backup report
extends_documentation_fragment:
  - inflight.jobs.report_files
attributes:
  action:
    description: Has a part that runs on the controller.
    support: full
    details:
      - It has no other part. Run it once (C(run_once)), for all hosts.
  async:
    description: Can be used with the C(async) keyword.
    support: none
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - Writes no files, and tells which it would write. On the terminal, sets that would be backed up have a line too.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
  idempotent:
    description: Changes nothing when it is run again.
    support: full
    details:
      - A report that is written does not count as a change.
  platform:
    description: The systems it can be used on.
    support: full
    platforms: all
notes:
  - Files have mode 0600, as names of hosts and paths may be nobody else's business. They are written under another name
    first, so that nobody ever reads half of one.
  - With C(no_log) nothing is shown on the terminal.
seealso:
  - module: inflight.jobs.async_batch
"""

EXAMPLES = r"""
- name: Write the report of the backups of all hosts
  inflight.jobs.backup_report:
    results: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars)
      | map(attribute='parallel_backup_result', default={}))) }}"
    directory: reports
  run_once: true
  register: report

- name: Fail if any host has failed
  ansible.builtin.fail:
    msg: "{{ report.text }}"
  when: report.state == 'failed'
  run_once: true
"""

RETURN = r"""
msg:
  description: How many hosts did not succeed, how much was saved, and how long it took.
  returned: always
  type: str
  sample: "1 of 12 hosts failed, 1 out of reach; 21 of 22 sets saved, 13G in 12m (1h33m one after the other)"
state:
  description:
    - V(failed) when a host has failed or was out of reach, or when there is no host at all, else V(warning) when a host
      has a warning, else V(ok).
  returned: always
  type: str
  sample: failed
summary:
  description:
    - Numbers of the whole run.
    - C(bytes) counts the sets that were saved. C(wall_seconds) goes from the first start to the last end by the clocks
      of the hosts, and is V(null) when none is known. C(serial_seconds) is the sum of the times of all sets.
  returned: always
  type: dict
  sample:
    hosts: 12
    hosts_ok: 9
    hosts_warning: 1
    hosts_failed: 1
    hosts_unreachable: 1
    sets: 22
    sets_ok: 21
    sets_failed: 1
    bytes: 13958643712
    freed_bytes: 2147483648
    wall_seconds: 724.5
    serial_seconds: 5580.25
failed_hosts:
  description: For each host that failed or was out of reach, by its name, why, in one sentence.
  returned: always
  type: dict
  sample:
    web3: "etc: /srv/data is missing"
files:
  description: The paths of the files that were written, or would be written in check mode.
  returned: always
  type: list
  elements: str
  sample: [/srv/play/reports/backup-20261121T201500Z-3fa9c1.json, /srv/play/reports/backup-20261121T201500Z-3fa9c1.md]
text:
  description:
    - A plain text for a notification, at most 2,000 characters. It names each host and set that failed or has a
      warning, with its cause. Where there are many, causes are cut first.
  returned: always
  type: str
  sample: |-
    Backup report: 1 of 12 hosts failed
    21 of 22 sets saved, 13G in 12m (1h33m one after the other)
    web3 (etc): failed: /srv/data is missing
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "results": {"type": "dict", "required": True},
    "directory": {"type": "path", "default": "reports"},
    "formats": {
        "type": "list",
        "elements": "str",
        "choices": ["json", "markdown"],
        "default": ["json", "markdown"],
    },
    "name": {"type": "str"},
    "title": {"type": "str", "default": "Backup report"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.fail_json(msg="inflight.jobs.backup_report is run by its action plugin, not as a module of its own.")


if __name__ == "__main__":
    main()
