# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Options of the planner, which the filter and the lookup batch_async have in common.
# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """What ansible-doc puts in for extends_documentation_fragment."""

    DOCUMENTATION = r"""
options:
  size:
    description:
      - At most so many items in a batch, a whole number, 1 or more. All batches but the last are full.
      - Exactly one of O(size) and O(count) is required.
    type: raw
  count:
    description:
      - At most so many batches, a whole number, 1 or more.
      - Exactly one of O(size) and O(count) is required.
    type: raw
  weight:
    description:
      - How long each item takes, in seconds; any other unit will do as long as it is the same for all items.
      - A string is the name of an attribute of the items, with dots for nested ones, such as V(stats.seconds).
      - A dict has the names of items as keys and seconds as values; see O(label) for what the name of an item is. An
        empty dict keeps the order.
      - A list has one number for each item.
      - Each weight is a number, 0 or more. An item that has none (no such attribute, no such entry, or null) counts as
        the median of the others. That no item has one is an error.
    type: raw
  label:
    description:
      - Attribute of an item that names it, with dots for nested ones, such as V(meta.name). Names are looked for where
        O(weight) is a dict, and in a job log. Give M(inflight.jobs.async_wait) the same label.
      - Without it, the name is the item itself where that is a string or a number, else its C(name), C(label), C(id) or
        C(key).
    type: str
"""
