#!/usr/bin/env bash
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# demo.sh: what a user does, from nothing: ansible-core into a virtual environment, the collection built and installed,
# and the demo played on this machine from a folder that is not the checkout. Only the archives that it names stay.

source "$(dirname "$0")/lib.sh"

make_venv core newest
say "building the collection and installing it into ${venv#"$root/"}/collections"
"$tools/install.sh" "$venv"

work_folder demo
export ANSIBLE_HOME=$work/ansible ANSIBLE_REMOTE_TMP=$work/ansible/tmp ANSIBLE_ASYNC_DIR=$work/async
export ANSIBLE_COLLECTIONS_PATH=$venv/collections ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_UNPARSED_WARNING=false
unset ANSIBLE_CONFIG
# The archives go into a new folder here, and stay.
cd "${TMPDIR:-/tmp}"
"$venv/bin/ansible-playbook" inflight.jobs.demo
