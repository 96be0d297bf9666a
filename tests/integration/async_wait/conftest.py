# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ...support import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> t.Iterator[Sandbox]:
    """A home, a job directory and a working folder for one test."""
    place = Sandbox(tmp_path, playbooks=Path(__file__).parent / "playbooks")
    yield place
    place.close()
