# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: batch_async
short_description: Cut a list into batches for background jobs, learning from earlier runs
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Cuts a list into batches, so that a play starts the jobs of one batch, waits for them, and goes on with the next.
  - Every item is in exactly one batch, and no batch is empty. An empty list gives no batch.
  - With O(job_log), how long each item takes is learned from the log that M(inflight.jobs.async_wait) wrote in earlier
    runs. The first run, without a log, keeps the order; later ones plan better.
  - Without O(weight) and O(job_log) the order is kept. With either, the plan is made for the way the batches will run.
  - With O(size), batches are taken to run one after the other, each as long as its longest item. Items of like weight
    go together, the heaviest first.
  - With O(count), batches are taken to run side by side, each as long as the sum of its items. The sums are evened out,
    longest item first; the result is never longer than 4/3 of the best plan there is.
options:
  _terms:
    description:
      - The items, as one list, or as several lists and single items, which are put one after another.
      - Turn a dict into a list with P(ansible.builtin.dict2items#filter) first.
    type: list
    elements: raw
    required: true
  job_log:
    description:
      - Path of the log on the controller that M(inflight.jobs.async_wait) writes; a relative one is relative to the
        folder of the playbook.
      - Only jobs that succeeded count. The weight of an item is the median of the jobs of its name on the same host,
        else on any host, else of all jobs in the log.
      - No file, or an empty one, keeps the order. A broken line is an error, except for the last one, which is skipped
        with a warning.
      - Mutually exclusive with O(weight).
    type: str
notes:
  - Use C(query), not C(lookup); the latter takes a plan of one batch apart.
extends_documentation_fragment: inflight.jobs.batches
seealso:
  - plugin: inflight.jobs.batch_async
    plugin_type: filter
    description: The same plan without a log, shorter to write.
  - module: inflight.jobs.async_wait
"""

EXAMPLES = r"""
- name: Show batches of two
  ansible.builtin.debug:
    msg: "{{ query('inflight.jobs.batch_async', [30, 10, 20], size=2) }}"
  # [[30, 10], [20]]

- name: Back up all databases, four at a time; those that took about as long the last times go together
  ansible.builtin.include_tasks: backup_batch.yml
  loop: "{{ query('inflight.jobs.batch_async', databases, size=4, job_log='backup.jsonl') }}"
  loop_control:
    loop_var: batch

# backup_batch.yml holds these two tasks
- name: Start the backups of this batch
  ansible.builtin.command:
    argv: [pg_dump, --format=custom, "--file=/var/backups/{{ item }}.dump", "{{ item }}"]
  async: 3600
  poll: 0
  loop: "{{ batch }}"
  register: started

- name: Wait for the backups of this batch and log how long each one took
  inflight.jobs.async_wait:
    jobs: "{{ started }}"
    job_log: backup.jsonl

- name: Share files among three workers that take about the same time
  ansible.builtin.command:
    argv: "{{ ['/usr/local/bin/import'] + item }}"
  async: 3600
  poll: 0
  loop: "{{ query('inflight.jobs.batch_async', files, old_files, count=3, weight=seconds) }}"
  vars:
    files: [a.csv, b.csv, c.csv]
    old_files: [d.csv, e.csv]
    seconds: {a.csv: 60, b.csv: 50, c.csv: 40, d.csv: 30, e.csv: 20}
  register: started
  # workers: a.csv; b.csv and e.csv; c.csv and d.csv
"""

RETURN = r"""
_raw:
  description: The batches, each a list of items.
  type: list
  elements: list
  sample: [[30, 10], [20]]
"""

import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ansible_collections.inflight.jobs.plugins.plugin_utils import _batches

display = Display()

_OPTIONS = ("size", "count", "weight", "label", "job_log")


class LookupModule(LookupBase):
    """The lookup batch_async."""

    def run(
        self, terms: Sequence[object], variables: Mapping[str, t.Any] | None = None, **kwargs: object
    ) -> list[list[object]]:
        """Cut the terms into batches; see DOCUMENTATION.

        :raises AnsibleLookupError: when no plan can be made from what was given.
        """
        self.set_options(var_options=variables, direct=kwargs)
        options = {name: self.get_option(name) for name in _OPTIONS}
        try:
            _refuse_unknown(kwargs)
            items = _items(terms)
            weights = self._weights(items, options, (variables or {}).get("inventory_hostname"))
            return _batches.plan(items, size=options["size"], count=options["count"], weights=weights)
        except _batches.BatchError as ex:
            # Core appends the message of a cause: the same sentence would stand there twice.
            raise AnsibleLookupError(str(ex)) from None

    def _weights(self, items: Sequence[object], options: Mapping[str, t.Any], host: str | None) -> list[float] | None:
        weight, label, job_log = options["weight"], options["label"], options["job_log"]
        if job_log is None:
            return _batches.weights_of(items, weight, label)
        if weight is not None:
            raise _batches.BatchError("weight and job_log are both given: give one of them, not both")
        # Core hands every lookup a loader; only its type allows for none.
        path = self._loader.path_dwim(job_log) if self._loader else job_log
        runs = _batches.logged_runs(path, display.warning)
        return _batches.weights_of_runs(items, runs, host, label)


def _refuse_unknown(given: Mapping[str, object]) -> None:
    # Core drops options that it does not know: a misspelt weight would change the plan without a word.
    for option in given:
        if option not in _OPTIONS:
            raise _batches.BatchError(f"there is no option {option}: choose from {', '.join(_OPTIONS)}")


def _items(terms: Sequence[object]) -> list[object]:
    items: list[object] = []
    for number, term in enumerate(terms, start=1):
        if isinstance(term, (str, int, float)):
            items.append(term)
        else:
            items.extend(_batches.as_items(term, f"term {number}"))
    return items
