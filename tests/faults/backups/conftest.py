# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The hosts for the tests of backups, and the table of what was measured.

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ...fleet.fleet import Fleet
from ..table import Table
from .backups import Backups
from .rows import ROWS, page


@pytest.fixture
def backups(fleet: Fleet, tmp_path: Path) -> t.Iterator[Backups]:
    """Hosts without a backup."""
    backups = Backups(fleet, tmp_path)
    backups.sweep()
    yield backups
    backups.close()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> t.Iterator[Table]:
    """Takes down what was measured. BACKUPS_TABLE names the file that it is written to, when every row was measured."""
    table = Table(request.config, ROWS)
    yield table
    path = os.environ.get("BACKUPS_TABLE")
    if path:
        table.write(Path(path), page(table))
