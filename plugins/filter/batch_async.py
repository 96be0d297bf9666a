# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: batch_async
short_description: Cut a list into batches for background jobs
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Cuts a list into batches, so that a play starts the jobs of one batch, waits for them, and goes on with the next.
  - Every item is in exactly one batch, and no batch is empty. An empty list gives no batch.
  - Without O(weight) the order is kept. With it, the plan is made for the way the batches will run.
  - With O(size), batches are taken to run one after the other, each as long as its longest item. Items of like weight
    go together, the heaviest first.
  - With O(count), batches are taken to run side by side, each as long as the sum of its items. The sums are evened out,
    longest item first; the result is never longer than 4/3 of the best plan there is.
positional: _input, size, count, weight, label
options:
  _input:
    description:
      - The items, as a list, a tuple or what another filter hands over. Their own values come back unchanged.
      - Turn a dict into a list with P(ansible.builtin.dict2items#filter) first.
    type: list
    elements: raw
    required: true
extends_documentation_fragment: inflight.jobs.batches
seealso:
  - plugin: inflight.jobs.batch_async
    plugin_type: lookup
    description: The same plan, with weights learned from earlier runs.
  - module: inflight.jobs.async_wait
"""

EXAMPLES = r"""
- name: Show batches of two
  ansible.builtin.debug:
    msg: "{{ [30, 10, 20] | inflight.jobs.batch_async(2) }}"
  # [[30, 10], [20]]

- name: Back up all databases, two at a time
  ansible.builtin.include_tasks: backup_batch.yml
  loop: "{{ databases | inflight.jobs.batch_async(2) }}"
  loop_control:
    loop_var: batch
  vars:
    databases: [users, orders, stock, audit, mail]

# backup_batch.yml holds these two tasks
- name: Start the backups of this batch
  ansible.builtin.command:
    argv: [pg_dump, --format=custom, "--file=/var/backups/{{ item }}.dump", "{{ item }}"]
  async: 3600
  poll: 0
  loop: "{{ batch }}"
  register: started

- name: Wait for the backups of this batch
  inflight.jobs.async_wait:
    jobs: "{{ started }}"

- name: Put databases of like size together, so that no short backup waits for a long one
  ansible.builtin.include_tasks: backup_batch.yml
  loop: "{{ databases | inflight.jobs.batch_async(2, weight='stats.gigabytes') }}"
  loop_control:
    loop_var: batch
  vars:
    databases:
      - {name: users, stats: {gigabytes: 40}}
      - {name: audit, stats: {gigabytes: 1}}
      - {name: orders, stats: {gigabytes: 35}}
      - {name: mail, stats: {gigabytes: 2}}
  # batches: users and orders, mail and audit

- name: Share files among three workers that take about the same time
  ansible.builtin.command:
    argv: "{{ ['/usr/local/bin/import'] + item }}"
  async: 3600
  poll: 0
  loop: "{{ seconds.keys() | inflight.jobs.batch_async(count=3, weight=seconds) }}"
  vars:
    seconds: {a.csv: 60, b.csv: 50, c.csv: 40, d.csv: 30, e.csv: 20}
  register: started
  # workers: a.csv; b.csv and e.csv; c.csv and d.csv
"""

RETURN = r"""
_value:
  description: The batches, each a list of items.
  type: list
  elements: list
  sample: [[30, 10], [20]]
"""

from collections.abc import Callable

from ansible.errors import AnsibleFilterError

from ansible_collections.inflight.jobs.plugins.plugin_utils import _batches


def batch_async(
    items: object, size: object = None, count: object = None, weight: object = None, label: str | None = None
) -> list[list[object]]:
    """Cut items into batches; see DOCUMENTATION.

    :raises AnsibleFilterError: when no plan can be made from what was given.
    """
    try:
        listed = _batches.as_items(items)
        weights = _batches.weights_of(listed, weight, label)
        return _batches.plan(listed, size=size, count=count, weights=weights)
    except _batches.BatchError as ex:
        # Core appends the message of a cause: the same sentence would stand there twice.
        raise AnsibleFilterError(str(ex)) from None


class FilterModule:
    """The filter batch_async."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names and functions of the filters in this file."""
        return {"batch_async": batch_async}
