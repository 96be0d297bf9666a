# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The options of the files that a report is written to, which all reports have in common.
# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """What ansible-doc puts in for extends_documentation_fragment."""

    DOCUMENTATION = r"""
options:
  directory:
    description:
      - The folder on the controller that gets the files. It is made with mode 0700 if it is not there. One that is
        there keeps its mode.
      - A relative path starts at the folder of the playbook.
    type: path
    default: reports
  formats:
    description:
      - Which files to write. With an empty list, none is written.
    type: list
    elements: str
    choices: [json, markdown]
    default: [json, markdown]
  name:
    description:
      - The name of the files, without C(.json) and C(.md). Letters, digits, and any of C(._-), at most 100.
      - A file of that name is replaced. So with a name such as V(latest) the report of the last run has a fixed place.
      - Without it, each report has a name of its own that begins with the time, such as
        C(update-20261121T201500Z-3fa9c1).
    type: str
"""
