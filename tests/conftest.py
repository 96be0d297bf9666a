# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# All that the tests know of pytest-ansible. It loads itself; this tells it what it would else be told on the command
# line, so that a test can take `ansible_adhoc` or `ansible_module` and talk to this machine, and can import the
# collection that ANSIBLE_COLLECTIONS_PATH holds.

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set the options of pytest-ansible before it reads them."""
    config.option.ansible_inventory = str(Path(__file__).with_name("inventory.yml"))
    config.option.ansible_host_pattern = "localhost"
    config.option.ansible_unit_inject_only = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is tested with one ansible-core alone: see the marker in pyproject.toml."""
    host_side = Path(__file__).parent / "unit" / "plugins" / "module_utils"
    for item in items:
        if host_side in item.path.parents:
            item.add_marker("host_side")
