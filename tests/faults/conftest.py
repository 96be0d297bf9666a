# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The fleet for the fault suite, and the table of what was measured.

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ..fleet.fleet import Fleet, why_not
from .scene import Scene
from .table import ALL_ROWS, Table, faults_page

HOSTS = 3


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name what cannot run here, with the reason."""
    reason = why_not()
    if reason:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def fleet() -> t.Iterator[Fleet]:
    """Hosts for all tests; they go down at the end unless they were up before."""
    root = Path(__file__).resolve().parents[2]
    fleet = Fleet(Path(os.environ.get("FLEET_FOLDER", root / ".fleet")))
    was_up = bool(fleet.hosts)
    try:
        fleet.up(HOSTS)
        yield fleet
    finally:
        if not was_up:
            fleet.down()


@pytest.fixture
def scene(fleet: Fleet, tmp_path: Path) -> t.Iterator[Scene]:
    """Hosts without a job, and a working folder."""
    scene = Scene(fleet, tmp_path)
    scene.sweep()
    yield scene
    scene.close()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> t.Iterator[Table]:
    """Takes down what was measured. FAULTS_TABLE names the file that it is written to, when every row was measured."""
    table = Table(request.config, ALL_ROWS)
    yield table
    path = os.environ.get("FAULTS_TABLE")
    if path:
        table.write(Path(path), faults_page(table))
