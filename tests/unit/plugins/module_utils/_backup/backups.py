# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Real backups, for the tests of what reads them.

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import traceback
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup.making import Making
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import Backup, Store
from ansible_collections.inflight.jobs.plugins.modules import backup_set

from ...conftest import exit_code, fork

Record = dict[str, t.Any]

COMPRESSIONS = ("zstd", "gzip", "none")
NOBODY = 65534

needs_restic = pytest.mark.skipif(shutil.which("restic") is None, reason="restic is not installed (package restic)")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user or mount a filesystem")


def needs(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not here: install {package}")


def make(directory: Path | str, **options: t.Any) -> Backup:
    """Make a backup of the set "etc" with the module's defaults."""
    defaults = {name: option.get("default") for name, option in backup_set.ARGUMENT_SPEC.items()}
    room = {"min_free_mb": 0, "min_free_percent": 0, "compression_threads": 1}
    report = Making({**defaults, **room, "name": "etc", "directory": str(directory), **options}).run()
    return Store(str(directory)).find(report["set"], report["id"])


@dataclasses.dataclass(frozen=True)
class ResticRepository:
    """A repository of restic, and the file with its password."""

    path: Path
    password_file: Path

    def options(self, **more: t.Any) -> Record:
        """What backup_set is told of it."""
        defaults = {"environment_file": None, "init": True, "copy_to": None, "copy_password_file": None}
        return {"repository": str(self.path), "password_file": str(self.password_file), **defaults, **more}

    def command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        own = {"RESTIC_REPOSITORY": str(self.path), "RESTIC_PASSWORD_FILE": str(self.password_file)}
        return ["restic", *arguments], {**os.environ, **own}

    def run(self, *arguments: str) -> str:
        argv, environment = self.command(*arguments)
        return subprocess.check_output(argv, env=environment, text=True)

    def snapshots(self) -> list[Record]:
        return t.cast("list[Record]", json.loads(self.run("snapshots", "--json", "--no-lock")) or [])

    def ids(self) -> set[str]:
        """Those of the snapshots, which restic need not be asked for."""
        return set(os.listdir(self.path / "snapshots"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[subprocess.Popen[str]]:
        """A restic that is at work in it, and is killed at the end. Its lock stays."""
        argv, environment = self.command("backup", "--stdin", "--json")
        pipes: Record = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(argv, env={**environment, "RESTIC_PROGRESS_FPS": "10"}, **pipes) as process:
            assert process.stdout
            assert process.stdout.readline()
            yield process
            process.kill()


def restic_repository(folder: Path) -> ResticRepository:
    """One that is not there yet."""
    password_file = folder / "password"
    password_file.write_text("secret\n", encoding="utf-8")
    password_file.chmod(0o600)
    return ResticRepository(folder / "repository", password_file)


def again(backup: Backup) -> Backup:
    """The backup as it is on the disk now."""
    return Backup(backup.set_name, backup.path)


def file_of(backup: Backup) -> Path:
    """The only file of a backup."""
    assert backup.manifest is not None
    return Path(backup.path, backup.manifest["files"][0]["name"])


def rewrite_manifest(backup: Backup, **more: t.Any) -> Backup:
    """Have the manifest tell the size and checksum that the only file has now, as if it had been written like that."""
    assert backup.manifest is not None
    content = file_of(backup).read_bytes()
    found = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **more}
    manifest = {**backup.manifest, "files": [{**backup.manifest["files"][0], **found}]}
    Path(backup.path, "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return again(backup)


def compressed(content: bytes, method: str) -> bytes:
    return content if method == "none" else subprocess.check_output([method, "-c"], input=content)


def decompressed(content: bytes, method: str) -> bytes:
    return content if method == "none" else subprocess.check_output([method, "-dc"], input=content)


def put_archive(backup: Backup, archive: bytes, members: int) -> Backup:
    """Put another archive, which this project would not make itself, in the place of that of a backup."""
    assert backup.manifest is not None
    file_of(backup).write_bytes(compressed(archive, backup.manifest["files"][0]["compression"]))
    return rewrite_manifest(backup, members=members)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def tree(folder: Path | str) -> dict[bytes, tuple[t.Any, ...]]:
    """What is in a folder, with all that a backup has to keep."""
    top = os.fsencode(folder)
    found: dict[bytes, tuple[t.Any, ...]] = {}
    first: dict[int, bytes] = {}
    paths = [os.path.join(path, name) for path, names, files in os.walk(top) for name in (*names, *files)]
    for path in sorted([top, *paths]):
        seen = os.lstat(path)
        name = os.path.relpath(path, top)
        content: bytes | None = None
        if os.path.islink(path):
            content = os.readlink(path)
        elif os.path.isfile(path):
            content = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).digest()
        attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in attribute_names(path)}
        same_as = first.setdefault(seen.st_ino, name)
        owner = (seen.st_uid, seen.st_gid)
        found[name] = (seen.st_mode, owner, seen.st_mtime_ns, seen.st_rdev, same_as, content, attributes)
    return found


def attribute_names(path: bytes) -> list[str]:
    return sorted(os.listxattr(path, follow_symlinks=False))


def listing(folder: Path | str) -> dict[str, tuple[int, int, int]]:
    """What is in a folder, for the question whether anything was written."""
    top = Path(folder)
    seen = {str(path): path.lstat() for path in [top, *top.rglob("*")]}
    return {path: (found.st_ino, found.st_mtime_ns, found.st_size) for path, found in seen.items()}


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users can get to."""
    path = Path(tempfile.mkdtemp(prefix="inflight-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def as_plain_user(body: Callable[[], object]) -> None:
    """Run the body as a user who is not root, who must come through."""

    def as_nobody() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        try:
            body()
        except BaseException:
            traceback.print_exc()
            raise

    assert exit_code(fork(as_nobody)) == 0


@contextlib.contextmanager
def mounted(folder: Path, size: str = "1m") -> Iterator[Path]:
    """A small filesystem."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a filesystem cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
