#!/usr/bin/env bash
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# test-in.sh NAME INTERPRETER CORE: unit and integration tests against the built and installed collection, in one
# environment.
#
#   EVERYTHING    0 leaves out the unit tests of what runs on the hosts, and the integration tests of what is mostly that
#   BETWEEN       1 takes only the integration tests that are whole plays: an older and a newer core have all tests
#   PYTEST_ARGS   more arguments for pytest, like "-x -k timeout"

source "$(dirname "$0")/lib.sh"

name=$1
venv=$("$tools/venv.sh" test "$@")
"$tools/install.sh" "$venv"

# Nothing of the checkout and nothing of the user takes part. As a host, localhost takes ~ from the user database and not
# from HOME, so its folders are named.
work_folder test
mkdir "$work/home"
export HOME=$work/home ANSIBLE_REMOTE_TMP=$work/home/.ansible/tmp ANSIBLE_ASYNC_DIR=$work/home/.ansible_async
export ANSIBLE_COLLECTIONS_PATH=$venv/collections PATH=$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
unset ANSIBLE_CONFIG ANSIBLE_HOME PYTHONPATH
cd "$work"

read -r -a arguments <<<"${PYTEST_ARGS:-}"
[ "${EVERYTHING:-1}" = 1 ] || arguments+=(-m "not host_side")
# run_tests KIND PATH...
run_tests() {
    say "== $1 tests, Python ${name%-*}, ansible-core ${name#*-}"
    python -m pytest -p no:cacheprovider -n auto --maxprocesses 4 "${@:2}" ${arguments[@]+"${arguments[@]}"}
}

integration=("$root/tests/integration")
# Listing, ending and removing jobs is work of the host, too.
[ "${EVERYTHING:-1}" = 1 ] || integration=("$root"/tests/integration/{async_batch,async_wait,roles,test_pytest_ansible.py})
[ "${BETWEEN:-0}" = 0 ] || integration=("$root/tests/integration/roles" "$root"/tests/integration/*/test_play.py)

status=0
[ "${BETWEEN:-0}" = 1 ] || PYTHONPATH=$venv/collections run_tests unit "$root/tests/unit" || status=$?
run_tests integration "${integration[@]}" || status=$?
exit "$status"
