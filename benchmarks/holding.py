# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures what the half of async_wait on the host costs while it holds: memory, and CPU when nothing happens.

The jobs are stand-ins: processes of a shell that carry the command line of async_wrapper and wait for a pipe, each with
its job file. The module itself and the way it is started are the real ones. Needs /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path


@contextlib.contextmanager
def stand_ins(folder: Path, count: int) -> t.Iterator[list[str]]:
    """So many processes and job files that look like running jobs; yields their ids."""
    fifo = folder / "end"
    os.mkfifo(fifo)
    jobs = folder / "jobs"
    jobs.mkdir(mode=0o700)
    ids = [f"j{900000000000 + number}.1" for number in range(count)]
    processes = []
    for jid in ids:
        (jobs / jid).write_text(json.dumps({"started": True, "finished": False, "ansible_job_id": jid}))
        command = ["sh", "-c", f"read line < {fifo}", "async_wrapper.py", jid.split(".")[0]]
        processes.append(subprocess.Popen(command))
    try:
        yield ids
    finally:
        for process in processes:
            process.kill()
            process.wait()


def module_process() -> Path:
    """The folder in /proc of the running module, once there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                arguments = (path / "cmdline").read_bytes().split(b"\0")
                if "python" in os.path.basename(arguments[0].decode()) and b"AnsiballZ_async_wait.py" in arguments[1]:
                    return path
        time.sleep(0.1)
    raise RuntimeError("the module was not started")


def cpu_seconds(process: Path) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description="memory and idle CPU of async_wait on the host")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 100, 1000], help="numbers of jobs to measure")
    parser.add_argument("--seconds", type=int, default=20, help="how long to look at the CPU")
    arguments = parser.parse_args()
    print("| jobs | peak memory of the module on the host | CPU while it holds |")
    print("| --- | --- | --- |")
    for count in arguments.jobs:
        with tempfile.TemporaryDirectory() as name, stand_ins(Path(name), count) as ids:
            hold = arguments.seconds + 20
            given = json.dumps({"jobs": ids, "hold": hold, "timeout": hold, "progress": False})
            environment = dict(os.environ, ANSIBLE_ASYNC_DIR=f"{name}/jobs", ANSIBLE_PIPELINING="0")
            command = ["ansible", "localhost", "-m", "inflight.jobs.async_wait", "-a", given]
            waiting = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            process = module_process()
            time.sleep(5)  # the first look is no idling
            before = cpu_seconds(process)
            time.sleep(arguments.seconds)
            share = (cpu_seconds(process) - before) / arguments.seconds
            peak = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM"))
            print(f"| {count} | {int(peak.split()[1]) / 1024:.1f} MiB | {share:.2%} |", flush=True)
            waiting.terminate()
            waiting.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
