# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A module that also runs when it is imported, as old modules do: nothing at its end asks whether it is the program.

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(argument_spec={"path": {"type": "path"}, "line": {"type": "str"}})
    with open(module.params["path"], "a", encoding="utf-8") as file:
        file.write(module.params["line"] + "\n")
    module.exit_json(changed=True)


main()
