#!/usr/bin/env bash
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# install.sh VENV: build the collection and install the archive into VENV/collections, with the ansible-galaxy of VENV.

source "$(dirname "$0")/lib.sh"

venv=$1
work_folder install
one_at_a_time "${venv##*/}-install"

export ANSIBLE_HOME=$work/ansible ANSIBLE_COLLECTIONS_PATH=$venv/collections
quietly "$venv/bin/ansible-galaxy" collection build "$root" --output-path "$work"
quietly "$venv/bin/ansible-galaxy" collection install "$work"/inflight-jobs-*.tar.gz \
    --collections-path "$venv/collections" --force --offline --no-deps
