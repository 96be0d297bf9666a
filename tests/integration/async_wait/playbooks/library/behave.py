# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A module that ends in one of the ways that modules end in.

from __future__ import annotations

import sys

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "how": {"type": "str", "required": True},
            "text": {"type": "str", "default": ""},
            "megabytes": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    how, text = module.params["how"], module.params["text"]
    if how == "fail":
        module.fail_json(msg=text)
    if how == "print junk":
        sys.stdout.write("this is\nno JSON at all\n")
        sys.exit(0)
    if how == "print a bare start":
        sys.stdout.write('{"started": true}')
        sys.exit(0)
    if how == "print nothing":
        sys.exit(0)
    if how == "warn":
        module.warn("the disk is old")
        module.deprecate("the old way is going away", version="99.0.0", collection_name="inflight.jobs")
    if how == "return keys of ours":
        module.exit_json(
            changed=True,
            started=False,
            finished=False,
            state="running",
            failed=False,
            name="a name",
            item="an item",
            jobs=["a"],
            summary={"total": 7},
            results=[{"ansible_job_id": "j5.5"}],
            results_file="/nowhere/j5.5",
            ansible_job_id="j5.5",
            ended_at="yesterday",
            elapsed="long",
        )
    if how == "return what looks like a start":
        module.exit_json(started=True, finished=False, state="absent")
    module.exit_json(changed=False, text=text, large="x" * (module.params["megabytes"] * 1024 * 1024))


if __name__ == "__main__":
    main()
