# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import filecmp
import getpass
import os
import shutil
import socket
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup import streams
from ansible_collections.inflight.jobs.plugins.module_utils._backup.copying import Copier
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import MANIFEST, Backup, BackupError, Store

RSYNC = shutil.which("rsync")
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

pytestmark = pytest.mark.skipif(RSYNC is None, reason="install the package rsync")


@pytest.fixture
def backup(tmp_path: Path) -> Backup:
    """One of the set etc, with two files."""
    store = Store(str(tmp_path / "backups"))
    store.prepare("etc")
    return made(store, 1_795_291_200)


def made(store: Store, started: float) -> Backup:
    unfinished = store.begin("etc", started)
    for name, content in (("files.tar.zst", b"0123456789" * 10_000), ("globals.sql", b"text")):
        path = Path(unfinished.path, name)
        path.write_bytes(content)
        path.chmod(0o600)
    return unfinished.finish("etc", {"bytes": 100_004, "checks": ["checksum"], "files": []})


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """Where copies go."""
    path = tmp_path / "vault"
    path.mkdir()
    return path


def wrap_rsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str = "", after: str = "") -> Path:
    """Have this run around each rsync, where $run is the number of the run; where it notes the arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    calls = tmp_path / "calls"
    wrapper = folder / "rsync"
    wrapper.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\nrun=$(grep -c . {calls})\n{before}\n{RSYNC} "$@" || exit\n{after}\n',
        encoding="utf-8",
    )
    wrapper.chmod(0o755)
    monkeypatch.setattr(streams, "_PATH", f"{folder}:{streams._PATH}")
    return calls


def expect_copied(backup: Backup, vault: Path, host: str = "web1") -> None:
    copy = vault / host / "etc" / backup.id
    names = sorted(os.listdir(backup.path))
    assert sorted(os.listdir(copy)) == names
    assert filecmp.cmpfiles(backup.path, copy, names, shallow=False) == (names, [], [])
    for path in (copy, copy.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {stat.S_IMODE((copy / name).stat().st_mode) for name in names} == {0o600}


# A folder


def test_a_backup_is_copied_to_a_folder(backup: Backup, vault: Path) -> None:
    copier = Copier(f"{vault}/", "web1")
    copier.copy(backup)
    expect_copied(backup, vault)
    assert copier.target == f"{vault}/web1/"
    copier.copy(backup)  # again
    second = made(Store(os.path.dirname(os.path.dirname(backup.path))), 1_795_291_300)
    Copier(str(vault), "web1", bwlimit=100_000).copy(second)
    Copier(str(vault), "web2").copy(second)
    expect_copied(second, vault, "web2")
    assert sorted(os.listdir(vault / "web1" / "etc")) == [backup.id, second.id]
    assert [found.id for found in Store(str(vault / "web1")).backups("etc")] == [backup.id, second.id]


def test_the_manifest_is_copied_last(
    backup: Backup, vault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = vault / "web1" / "etc" / backup.id
    wrap_rsync(tmp_path, monkeypatch, after=f"ls {copy} > {tmp_path}/seen.$run")
    Copier(str(vault), "web1").copy(backup)
    assert (tmp_path / "seen.1").read_text(encoding="utf-8").split() == ["files.tar.zst", "globals.sql"]
    assert (tmp_path / "seen.2").read_text(encoding="utf-8").split() == ["files.tar.zst", "globals.sql", MANIFEST]
    assert (tmp_path / "calls").read_text(encoding="utf-8").count("--checksum") == 1


@pytest.mark.parametrize("damaged", ["files.tar.zst", "globals.sql", MANIFEST, "gone"])
def test_a_copy_that_differs_is_found_though_size_and_time_are_the_same(
    damaged: str, backup: Backup, vault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = damaged == "gone"
    damaged = "files.tar.zst" if gone else damaged
    path = vault / "web1" / "etc" / backup.id / damaged
    damage = f"printf '!' | dd of={path} conv=notrunc status=none && touch -r {backup.path}/{damaged} {path}"
    damage = f"rm {path}" if gone else damage
    wrap_rsync(tmp_path, monkeypatch, before=f'if [ "$run" = 3 ]; then {damage}; fi')
    with pytest.raises(BackupError) as caught:
        Copier(str(vault), "web1").copy(backup)
    assert str(caught.value) == (f"etc/{backup.id}/{damaged} is not the same in {vault}/web1/ after it was copied")


def test_a_copy_that_is_wrong_already_is_put_right(backup: Backup, vault: Path) -> None:
    Copier(str(vault), "web1").copy(backup)
    path = vault / "web1" / "etc" / backup.id / "globals.sql"
    path.write_bytes(b"other text")
    Copier(str(vault), "web1").copy(backup)
    expect_copied(backup, vault)


def test_a_folder_that_is_not_there_is_told(backup: Backup, vault: Path) -> None:
    with pytest.raises(BackupError) as caught:
        Copier(f"{vault}/not mounted", "web1").copy(backup)
    said = str(caught.value)
    assert said.startswith(f"the backup was made, but not copied to {vault}/not mounted/web1/: rsync ended with 11: ")
    assert "No such file or directory" in said
    assert "\n" not in said
    assert os.listdir(vault) == []


def test_an_rsync_that_is_missing_is_told(backup: Backup, vault: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_PATH", str(vault))
    with pytest.raises(BackupError, match=r": rsync is not on this host: install the package rsync$"):
        Copier(str(vault), "web1").copy(backup)


def test_an_rsync_that_is_killed_is_told(
    backup: Backup, vault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap_rsync(tmp_path, monkeypatch, before="kill -9 $$")
    with pytest.raises(BackupError, match=r": rsync was killed by signal 9$"):
        Copier(str(vault), "web1").copy(backup)


@pytest.mark.parametrize("target", ["", "-e sh", "--rsh=sh"])
def test_a_target_is_a_folder(target: str) -> None:
    with pytest.raises(BackupError, match=r"^copy_to is '.*': give a folder, like backup@server:/srv/backups$"):
        Copier(target, "web1")


# Another server


class Server(t.NamedTuple):
    """An SSH server of the test on this host."""

    key: Path
    options: list[str]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("install the packages openssh-server and openssh-client")
    folder = tmp_path_factory.mktemp("sshd", numbered=True)
    for name in ("host_key", "a key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "a key.pub", folder / "authorized_keys")
    configuration = folder / "sshd_config"
    configuration.write_text(
        f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\nStrictModes no\nUsePAM no\nPidFile none\n",
        encoding="utf-8",
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists on its empty folder, which Debian makes at boot
    host_key = (folder / "host_key.pub").read_text(encoding="utf-8").split()
    (folder / "known_hosts").write_text(f"* {host_key[0]} {host_key[1]}\n", encoding="utf-8")
    # Each connection is one process of it, so there is no port to listen on, and nothing to wait for.
    proxy = f"{SSHD} -i -f {configuration} -E {folder}/log"
    options = [f"ProxyCommand={proxy}", f"UserKnownHostsFile={folder}/known_hosts"]
    return Server(folder / "a key", options)


@pytest.fixture
def remote(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, as the ssh on the PATH reaches it."""
    folder = tmp_path / "ssh"
    folder.mkdir()
    wrapper = folder / "ssh"
    more = " ".join(f'-o "{option}"' for option in server.options)
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/ssh-calls\nexec {shutil.which("ssh")} {more} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return server


def test_a_backup_is_copied_to_another_server(backup: Backup, vault: Path, remote: Server, tmp_path: Path) -> None:
    target = f"{getpass.getuser()}@{socket.gethostname()}:{vault}"
    Copier(target, "web1", str(remote.key)).copy(backup)
    expect_copied(backup, vault)
    assert "BatchMode=yes" in (tmp_path / "ssh-calls").read_text(encoding="utf-8")


def test_a_copy_on_another_server_that_differs_is_found(
    backup: Backup, vault: Path, remote: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = vault / "web1" / "etc" / backup.id / "globals.sql"
    damage = f"printf 'next' > {path} && touch -r {backup.path}/globals.sql {path}"
    wrap_rsync(tmp_path, monkeypatch, before=f'if [ "$run" = 3 ]; then {damage}; fi')
    with pytest.raises(BackupError, match=f"^etc/{backup.id}/globals.sql is not the same in .* after it was copied$"):
        Copier(f"vault:{vault}", "web1", str(remote.key)).copy(backup)


def test_a_server_that_does_not_know_the_key_is_told(
    backup: Backup, vault: Path, remote: Server, tmp_path: Path
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    with pytest.raises(BackupError) as caught:
        Copier(f"vault:{vault}", "web1", str(tmp_path / "other")).copy(backup)
    said = str(caught.value)
    assert said.startswith(f"the backup was made, but not copied to vault:{vault}/web1/: rsync ended with ")
    assert "Permission denied" in said
    assert "\n" not in said
    assert os.listdir(vault) == []
