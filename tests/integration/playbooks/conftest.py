# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ..async_batch.conftest import BatchSandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> t.Iterator[BatchSandbox]:
    """A home, a job directory and a working folder for one test."""
    playbooks = tmp_path / "playbooks"
    playbooks.mkdir()
    place = BatchSandbox(tmp_path, playbooks=playbooks)
    yield place
    place.close()
