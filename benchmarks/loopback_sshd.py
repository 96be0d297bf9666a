# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An SSH server of our own on the loopback address, with keys of its own, for as long as a measurement takes."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
import typing as t
from pathlib import Path


class MissingProgram(RuntimeError):
    """sshd is not installed; the message says how to get it."""


@contextlib.contextmanager
def loopback_sshd(folder: Path, python: str) -> t.Iterator[Path]:
    """Start an sshd, and yield the path of an inventory with the host `loopback` that goes through it.

    :param folder: where keys, configuration and inventory go; must not be readable by others.
    :param python: interpreter for the modules on the host.
    """
    sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if sshd is None:
        raise MissingProgram("sshd was not found: install the SSH server of your system (Debian: openssh-server)")
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    port = _free_port()
    configuration = folder / "sshd_config"
    configuration.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        "StrictModes no\nSubsystem sftp internal-sftp\nMaxStartups 100\n"
    )
    with contextlib.suppress(PermissionError):
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists on its empty folder, which Debian makes at boot
    known = (folder / "host_key.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {known[0]} {known[1]}\n")
    inventory = folder / "inventory.ini"
    inventory.write_text(
        f"loopback ansible_host=127.0.0.1 ansible_port={port} ansible_user={getpass.getuser()} "
        f"ansible_ssh_private_key_file={folder}/user_key ansible_python_interpreter={python} "
        f"ansible_ssh_common_args='-o UserKnownHostsFile={folder}/known_hosts -o ControlPath={folder}/mux'\n"
    )
    server = subprocess.Popen([sshd, "-D", "-f", configuration], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield inventory
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_for(port: int) -> None:
    """Return when something answers on the port, or fail after ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise RuntimeError(f"sshd did not begin to listen on port {port}")
