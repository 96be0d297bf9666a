# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A module that does what modules are seen to do, and ends in one of the ways that modules end in.

from __future__ import annotations

import atexit
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import threading
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common import respawn


def leave_a_daemon(folder: pathlib.Path) -> None:
    """Leave a process in the background that writes and prints when it is told to, and ends as programs do."""
    if os.fork() == 0:
        os.setsid()
        folder.joinpath("daemon").write_text(str(os.getpid()), encoding="ascii")
        while not folder.joinpath("go on").exists():
            time.sleep(0.05)
        sys.stdout.write("the daemon says goodbye\n")
        sys.stdout.flush()
        folder.joinpath("went on").touch()
        sys.exit(0)


def outlive_the_main_thread(path: pathlib.Path) -> None:
    """Write to the file when the main thread has ended."""

    def work() -> None:
        threading.main_thread().join()
        path.write_text("done", encoding="ascii")

    threading.Thread(target=work).start()


def children() -> dict:
    """What processes and threads of several kinds return."""
    pid = os.fork()
    if pid == 0:
        sys.exit(5)
    forked = os.WEXITSTATUS(os.waitpid(pid, 0)[1])
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        powers = list(pool.map(pow, (2, 3), (2, 2)))
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        lengths = list(threads.map(len, ("a", "bc")))
    command = subprocess.run(["sh", "-c", "echo said; exit 3"], stdout=subprocess.PIPE, check=False)
    return {"forked": forked, "powers": powers, "lengths": lengths, "rc_of_command": command.returncode}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "how": {"type": "str", "required": True},
            "folder": {"type": "path", "default": "/nowhere"},
            "bytes": {"type": "int", "default": 0},
            "msg": {"type": "str"},
        },
        supports_check_mode=True,
    )
    how = module.params["how"]
    folder = pathlib.Path(module.params["folder"])
    result: dict = {"changed": False, "text": "x" * module.params["bytes"]}
    if how == "fail":
        module.fail_json(msg=module.params["msg"], changed=True)
    if how == "raise":
        raise RuntimeError("no luck today")
    if how == "exit with words":
        sys.exit("the disk is on fire")
    if how == "vanish":
        os._exit(7)
    if how == "print nothing":
        sys.exit(0)
    if how == "print junk around it":
        sys.stdout.write("Welcome to this host!\n")
        atexit.register(lambda: sys.stdout.write("\nGoodbye.\n"))
    if how == "print strange bytes":
        sys.stdout.flush()
        os.write(1, b'{"changed": false, "text": "a\\u0000b \xff\xfe c"}')
        sys.exit(0)
    if how == "print a list":
        sys.stdout.write('["no", "dict"]')
        sys.exit(0)
    if how == "write while leaving":
        atexit.register(folder.joinpath("trap").write_text, "done", "ascii")
        outlive_the_main_thread(folder / "thread")
    if how == "start again in another interpreter":
        if not respawn.has_respawned():
            respawn.respawn_module(sys.executable)
        result["again"] = True
    if how == "have children":
        result.update(children())
    if how == "close its output":
        atexit.register(sys.stdout.close)
        atexit.register(os.close, 2)
    if how == "leave a daemon":
        leave_a_daemon(folder)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
