# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The hosts for the tests of updates, the packages that they are offered, and the table of what was measured.

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ...fleet.fleet import Fleet
from ..table import Table
from .packages import PROGRAMS, Packages
from .rows import ROWS, page
from .updates import Updates


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """The packages, built once."""
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if missing:
        pytest.skip(f"the tests of updates need packages that are not here: apt-get install {' '.join(missing)}")
    return Packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture
def updates(packages: Packages, fleet: Fleet, tmp_path: Path) -> t.Iterator[Updates]:
    """Hosts with old packages, and nothing new."""
    updates = Updates(fleet, tmp_path, packages)
    updates.sweep()
    yield updates
    updates.close()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> t.Iterator[Table]:
    """Takes down what was measured. UPDATES_TABLE names the file that it is written to, when every row was measured."""
    table = Table(request.config, ROWS)
    yield table
    path = os.environ.get("UPDATES_TABLE")
    if path:
        table.write(Path(path), page(table))
