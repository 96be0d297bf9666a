# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
import typing as t

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._termination import Terminated, heed_sigterm, ignore_sigterm


@pytest.fixture(autouse=True)
def sigterm_as_before() -> t.Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def is_told_to_end_twice(cleaned_up: list[bool]) -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        cleaned_up.append(True)


def test_sigterm_unwinds_once() -> None:
    heed_sigterm()
    cleaned_up: list[bool] = []
    with pytest.raises(Terminated, match="ended by SIGTERM, as when the host shuts down"):
        is_told_to_end_twice(cleaned_up)
    assert cleaned_up


def test_what_puts_things_back_is_not_unwound() -> None:
    heed_sigterm()
    ignore_sigterm()
    os.kill(os.getpid(), signal.SIGTERM)
    # A program that is started then can be ended.
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN


def test_it_is_no_error_to_be_passed_over() -> None:
    assert not issubclass(Terminated, Exception)
    assert Terminated().code == 128 + signal.SIGTERM
