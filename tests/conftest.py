# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# All that the tests know of pytest-ansible. It loads itself; this tells it what it would else be told on the command
# line, so that a test can take `ansible_adhoc` or `ansible_module` and talk to this machine, and can import the
# collection that ANSIBLE_COLLECTIONS_PATH holds.

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set the options of pytest-ansible before it reads them."""
    config.option.ansible_inventory = str(Path(__file__).with_name("inventory.yml"))
    config.option.ansible_host_pattern = "localhost"
    config.option.ansible_unit_inject_only = True


HERE = Path(__file__).parent
# Of what the tests of backups run, what not every system has; and the packages that bring it.
BACKUP_PROGRAMS = {"rsync": "rsync", "setfacl": "acl", "setfattr": "attr", "zstd": "zstd"}
BACKUP_TESTS = (
    *("unit/plugins/module_utils/_backup/*", "unit/plugins/modules/test_backup_*"),
    "integration/roles/test_parallel_backup.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is tested with one ansible-core alone: see the marker in pyproject.toml. Skip what lacks a program."""
    missing = [package for program, package in BACKUP_PROGRAMS.items() if not shutil.which(program)]
    reason = f"the tests of backups need packages that are not here: {' '.join(missing)}"
    for item in items:
        path = item.path.relative_to(HERE)
        if path.is_relative_to("unit/plugins/module_utils"):
            item.add_marker("host_side")
        if missing and any(path.match(pattern) for pattern in BACKUP_TESTS):
            item.add_marker(pytest.mark.skip(reason=reason))
