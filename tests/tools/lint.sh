#!/usr/bin/env bash
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# lint.sh: every linter, one line of verdict for each.

source "$(dirname "$0")/lib.sh"

make_venv lint newest

# Plugins import each other by the name of the collection, and linters find them by it: a tree where the checkout has
# that name.
collections=$venvs/tree
mkdir -p "$collections/ansible_collections/inflight"
ln -sfn "$root" "$collections/ansible_collections/inflight/jobs"

work_folder lint
mkdir "$work/home"
export RUFF_CACHE_DIR=$venvs/ruff-cache ANSIBLE_COLLECTIONS_PATH=$collections
export HOME=$work/home PATH=$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
unset ANSIBLE_CONFIG ANSIBLE_HOME
cd "$root"

failed=0
# check NAME COMMAND...
check() {
    local name=$1
    shift
    if "$@"; then echo "check passed: $name"; else echo "check failed: $name"; failed=1; fi
}

# Two targets: what runs on the hosts speaks Python 3.8, the rest 3.11.
hosts=(--config ruff-modules.toml plugins/modules plugins/module_utils)
rest=(--config ruff-plugins.toml .)
check "ruff check, what runs on the hosts" ruff check "${hosts[@]}"
check "ruff check, the rest" ruff check "${rest[@]}"
check "ruff format, what runs on the hosts" ruff format --check "${hosts[@]}"
check "ruff format, the rest" ruff format --check "${rest[@]}"

# mypy finds the collection by its name only from inside the tree.
cd "$collections"
check "mypy" mypy --config-file "$root/pyproject.toml" --cache-dir "$venvs/mypy-cache" \
    ansible_collections/inflight/jobs/plugins
cd "$root"

check "yamllint" yamllint --strict .
check "ansible-lint" ansible-lint --offline
check "antsibull-changelog lint" antsibull-changelog lint
check "antsibull-docs lint-collection-docs" antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck \
    --validate-collection-refs=all --disallow-unknown-collection-refs .

exit "$failed"
