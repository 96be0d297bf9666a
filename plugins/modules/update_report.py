#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: update_report
short_description: Write one report of the updates of many hosts
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Takes what each host of a run of updates reported, adds it up, and writes it to files on the controller. One is JSON
    for programs, the other is Markdown for people.
  - A table on the terminal has a line for each host, those in trouble first, and at its end a line or more for the
    whole. Where there are more than 20 hosts that succeeded, or that were not touched, these are counted. It is at most
    80 characters wide.
  - It does not fail when updates have failed. RV(state) and RV(failed_hosts) tell that, and a later task can fail by
    them, after the report was sent.
  - What a host reported is not trusted. Texts are cut and freed of what a terminal or a page would act on. What is no
    number counts as not known. A host whose report is damaged counts as failed.
  - What stands where passwords often stand in messages is replaced with C(***). That is the user part of an address,
    as in C(https://user:password@mirror), and the value after names such as C(password=).
options:
  results:
    description:
      - What each host reported, by the name of the host. The role C(inflight.jobs.parallel_update) leaves it in the
        fact C(parallel_update_result) of the host.
      - A host whose value is V(null) or empty counts as one that was out of reach. So give all hosts of the play, also
        those that have no such fact.
      - The keys are C(state) (V(ok), V(warning), V(not_touched) where the roll-out was stopped before the turn of the
        host, V(failed), V(unreachable), V(running)), C(msg), C(phase) (where it failed), C(reached) (the last of
        V(preflight), V(update), V(reboot) and V(verify) that it came through, or V(stop)), C(started_at),
        C(ended_at), C(seconds) (a dict of phases), C(manager), C(changed), C(packages), C(planned), C(kept_back),
        C(held), C(excluded), C(failed_packages), C(log_tail), C(conffiles), C(warnings), C(kernel), C(reboot),
        C(health) and C(snapshot). Times are UTC in ISO 8601. Any of them may be missing.
      - Each of C(packages), and of C(planned) in check mode, has C(name), C(arch), C(old) (V(null) if it was newly
        installed), C(new) (V(null) if it was removed) and C(origin). Each of C(kept_back) has C(name), C(old) and
        C(new), each of C(failed_packages) C(name) and C(state).
      - C(kernel) has C(before) and C(after). C(reboot) has C(needed) (V(yes), V(no), V(unknown)), C(reasons), C(done),
        C(seconds) and C(msg). C(health) has C(before) and C(after) (lists of C(name), C(ok) and C(msg)),
        C(new_faults) and C(old_faults). C(snapshot) has C(kind) and C(msg).
      - A host with failed packages or with new faults counts as failed, whatever state it reported, and so does one
        that says to be well and did not come through V(verify), except in check mode.
    type: dict
    required: true
  title:
    description:
      - What the report is called in its first line.
    type: str
    default: Update report
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
      - Writes no files, and tells which it would write. What the hosts planned takes the place of what they changed,
        and the terminal shows which package would be changed on which hosts, the first 50 of them.
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
  - plugin: inflight.jobs.update_gate
    plugin_type: filter
  - module: inflight.jobs.backup_report
"""

EXAMPLES = r"""
- name: Write the report of the updates of all hosts
  inflight.jobs.update_report:
    results: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars)
      | map(attribute='parallel_update_result', default={}))) }}"
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
  description: How many hosts did not succeed, what was changed, and how long it took.
  returned: always
  type: str
  sample: "1 of 12 hosts failed, 1 out of reach; 231 packages changed on 10 hosts, 9 hosts rebooted, in 14m"
state:
  description:
    - V(failed) when a host has failed or was out of reach, or when there is no host at all, else V(warning) when a host
      has a warning or was not touched, else V(ok).
  returned: always
  type: str
  sample: failed
summary:
  description:
    - Numbers of the whole run.
    - C(packages) is the sum of the packages that were changed on each host, and C(kept_back) of those that were kept
      back. In check mode, C(packages) and C(hosts_changed) tell what would be changed.
    - C(hosts_reboot_needed) counts hosts that need a reboot and did not get one. C(wall_seconds) goes from the first
      start to the last end by the clocks of the hosts, and is V(null) when none is known.
  returned: always
  type: dict
  sample:
    hosts: 12
    hosts_ok: 9
    hosts_warning: 1
    hosts_not_touched: 0
    hosts_failed: 1
    hosts_unreachable: 1
    packages: 231
    hosts_changed: 10
    hosts_rebooted: 9
    hosts_reboot_needed: 0
    kept_back: 0
    wall_seconds: 840.5
failed_hosts:
  description: For each host that failed or was out of reach, by its name, why, in one sentence.
  returned: always
  type: dict
  sample:
    web3: "verify: new faults: service nginx"
files:
  description: The paths of the files that were written, or would be written in check mode.
  returned: always
  type: list
  elements: str
  sample: [/srv/play/reports/update-20261121T201500Z-3fa9c1.json, /srv/play/reports/update-20261121T201500Z-3fa9c1.md]
text:
  description:
    - A plain text for a notification, at most 2,000 characters. It names each host that failed or has a warning, with
      its cause. Where there are many, causes are cut first.
  returned: always
  type: str
  sample: |-
    Update report: 1 of 12 hosts failed, 1 out of reach
    231 packages changed on 10 hosts, 9 hosts rebooted, in 14m
    web3 (verify): failed: new faults: service nginx
    web7: unreachable: connection timed out
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
    "title": {"type": "str", "default": "Update report"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.fail_json(msg="inflight.jobs.update_report is run by its action plugin, not as a module of its own.")


if __name__ == "__main__":
    main()
