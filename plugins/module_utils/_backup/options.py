# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The options that several modules of backups have.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import typing as t

# How to reach databases, as an argument spec. What it means: the doc fragment backup_database.
DATABASE: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "type": {"type": "str", "required": True, "choices": ["postgresql", "mariadb", "sqlite"]},
        "names": {"type": "list", "elements": "str", "default": []},
        "path": {"type": "path"},
        "host": {"type": "str"},
        "port": {"type": "int"},
        "user": {"type": "str"},
        "credentials_file": {"type": "path"},
        "options": {"type": "list", "elements": "str", "default": []},
    },
    "required_if": [("type", "sqlite", ["path"])],
}
