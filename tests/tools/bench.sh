#!/usr/bin/env bash
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# bench.sh [NAME...]: run benchmarks/NAME.py, or all that the collection has, with the built and installed collection.
#
#   BENCH_ARGS   arguments for it, like "--runs 3"

source "$(dirname "$0")/lib.sh"

make_venv bench newest
"$tools/install.sh" "$venv"

work_folder bench
mkdir "$work/home"
export HOME=$work/home ANSIBLE_COLLECTIONS_PATH=$venv/collections PATH=$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=$tools/..
unset ANSIBLE_CONFIG ANSIBLE_HOME
cd "$work"
[ "$#" -gt 0 ] || set -- async_wait async_batch async_info holding parallel_backup parallel_update
read -r -a arguments <<<"${BENCH_ARGS:-}"
for name in "$@"; do
    python "$root/benchmarks/$name.py" ${arguments[@]+"${arguments[@]}"}
done
