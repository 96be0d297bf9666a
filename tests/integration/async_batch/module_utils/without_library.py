# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A module util as it was once written: it ends the module that imports it when something is missing.

from __future__ import annotations

import sys

sys.stdout.write('{"failed": true, "msg": "the library that this needs is missing"}')
sys.exit(1)
