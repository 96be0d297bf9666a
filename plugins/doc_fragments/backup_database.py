# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The option database, which the modules that make and that verify backups have in common.
# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """What ansible-doc puts in for extends_documentation_fragment."""

    DOCUMENTATION = r"""
options:
  database:
    description:
      - The databases, and how to reach their server.
    type: dict
    suboptions:
      type:
        description: What the server is. V(mariadb) stands for MySQL too.
        type: str
        required: true
        choices: [postgresql, mariadb, sqlite]
      names:
        description: The databases. All that the server has when left out.
        type: list
        elements: str
        default: []
      path:
        description: The file with the database, for V(sqlite).
        type: path
      host:
        description: The name of the server. The socket of this host when left out.
        type: str
      port:
        description: Its port.
        type: int
      user:
        description: The user of the database.
        type: str
      credentials_file:
        description:
          - The file with the password, which nobody else may read. For V(postgresql) a password file as described in
            C(pgpass), for V(mariadb) an option file with the section C([client]).
        type: path
      options:
        description: More arguments for the program that dumps a database.
        type: list
        elements: str
        default: []
"""
