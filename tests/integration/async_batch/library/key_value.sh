#!/bin/sh
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A module of the oldest kind: it takes the path of a file with key=value in it.

printf '{"changed": false, "given": "%s"}\n' "$(cat "$1")"
