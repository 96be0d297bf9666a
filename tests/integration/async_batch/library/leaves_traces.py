# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A module that returns how it finds the interpreter that runs it, and leaves everything different.

from __future__ import annotations

import decimal
import gc
import locale
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading

from ansible.module_utils import basic, traces
from ansible.module_utils.basic import AnsibleModule

SIGNALS = ("SIGCHLD", "SIGHUP", "SIGINT", "SIGPIPE", "SIGTERM", "SIGUSR1")


def umask() -> int:
    """The umask, which can be read by setting it alone."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def found() -> dict:
    """All that must be as it is in an interpreter that has just started."""
    descriptors = subprocess.run(["ls", "/dev/fd"], stdout=subprocess.PIPE, close_fds=False, check=True).stdout.decode()
    return {
        "global": traces.COUNT,
        "environment": {key: value for key, value in os.environ.items() if key not in ("_", "SHLVL")},
        "folder": os.getcwd(),
        "umask": umask(),
        "locale": locale.setlocale(locale.LC_ALL),
        "signals": {name: str(signal.getsignal(getattr(signal, name))) for name in SIGNALS},
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        "limit": list(resource.getrlimit(resource.RLIMIT_NOFILE)),
        "precision": decimal.getcontext().prec,
        "threads": threading.active_count(),
        "collects": gc.isenabled(),
        "temporary": tempfile.gettempdir(),
        "main": sys.modules["__main__"].__name__,
        "standard": [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "input": sys.stdin.read(),
        "words": len(sys.argv),
        "seen in a child": sorted(set(descriptors.split()) - {"3"}),
    }


def main() -> None:
    module = AnsibleModule(argument_spec={"number": {"type": "int"}}, supports_check_mode=True)
    result = {
        "found": found(),
        "at_import": traces.AT_IMPORT,
        "random": random.random(),
        "tmpdir": module.tmpdir,
        "leads": os.getpid() == os.getsid(0) == os.getpgid(0),
        "remote_tmp": module._remote_tmp,
        "optimizes": sys.flags.optimize,
        "version": ".".join(map(str, sys.version_info[:2])),
        # Whether the interpreter did something else before it ran this module.
        "warm": "ansible_collections.inflight.jobs.plugins.module_utils._zygote" in sys.modules,
    }
    with open(os.path.join(module.tmpdir, "file"), "w", encoding="ascii"):
        pass
    traces.COUNT += 1
    basic.AnsibleModule.traces = True
    os.environ["TRACE"] = "left behind"
    os.environ.pop("HOME", None)
    os.umask(0o111)
    os.chdir("/")
    locale.setlocale(locale.LC_ALL, "C")
    for name in ("SIGTERM", "SIGUSR1", "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR2,))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, result["found"]["limit"][1]))
    decimal.getcontext().prec = 3
    gc.disable()
    tempfile.tempdir = "/nowhere"
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
