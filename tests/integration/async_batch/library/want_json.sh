#!/bin/sh
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A module in another language; WANT_JSON says that it takes the path of a file with its arguments as JSON.

given=$(cat "$1")
case $given in
    *'"_ansible_check_mode": true'*) mode=check ;;
    *) mode=run ;;
esac
printf '{"changed": true, "given": %s, "greeting": "%s", "mode": "%s"}\n' "$given" "$GREETING" "$mode"
