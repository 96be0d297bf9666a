# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t


def test_a_test_can_call_modules_on_this_machine(ansible_adhoc: t.Callable[[], t.Any]) -> None:
    contacted = ansible_adhoc().localhost.ping(data="hello").contacted

    assert contacted["localhost"]["ping"] == "hello"
