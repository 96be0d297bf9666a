# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import os
import resource
import select
import shutil
import signal
import stat
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

import ansible
import pytest

from ansible_collections.inflight.jobs.plugins.modules import backup_set

from ..conftest import FOREVER
from ..module_utils._backup.backups import needs_restic, restic_repository

Answer = dict[str, t.Any]

# There is nothing.
WHERE = {"repository": "/no/where", "password_file": "/dev/null"}

needs_zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="install the package zstd")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a filesystem")

# Its arguments are what it is given to read; how much memory it needed at most is the last line of its complaints. What
# getrusage tells of that counts what the process was forked from.
PROGRAM = r"""
import re, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
from ansible_collections.inflight.jobs.plugins.modules import backup_set
try:
    backup_set.main()
finally:
    print(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read()).group(1), file=sys.stderr)
"""


class Told:
    """A pipe with a name, which commands write to."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.path = path

    def command(self, what: str) -> str:
        return f"echo {what} > {self.path}"

    def words(self, number: int) -> list[str]:
        """So many words, as soon as they were written."""
        heard = b""
        while len(heard.split()) < number or not heard.endswith(b"\n"):
            assert select.select([self._fd], [], [], FOREVER)[0], f"only {heard!r} was told"
            heard += os.read(self._fd, 4096)
        return heard.decode().split()

    def nothing_more(self) -> bool:
        return not select.select([self._fd], [], [], 0)[0]


class Run:
    """One run of the module."""

    def __init__(self, packages: Path, arguments: Answer, **how: t.Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONPATH": str(packages)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **how,
        )
        stdin = t.cast("t.IO[bytes]", self.process.stdin)
        stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        stdin.close()
        self.process.stdin = None
        self.memory = 0

    def end(self) -> tuple[int, str]:
        """Wait for its end; its exit code, and what it said."""
        output, complaints = self.process.communicate(timeout=3 * FOREVER)
        *others, last = complaints.decode().splitlines() or [""]
        assert not others, complaints.decode()
        self.memory = int(last or 0) * 1024
        return self.process.returncode, output.decode()

    def answer(self) -> Answer:
        return t.cast("Answer", json.loads(self.end()[1]))


class Host:
    """Where the module runs.

    directory: for the backups. source: a folder with something in it.
    """

    def __init__(self, folder: Path) -> None:
        self._packages = folder / "packages"
        collection = self._packages / "ansible_collections" / "inflight" / "jobs"
        collection.parent.mkdir(parents=True)
        collection.symlink_to(Path(backup_set.__file__).parents[2])
        (self._packages / "ansible").symlink_to(os.path.dirname(ansible.__file__))
        self.directory = folder / "host" / "backups"
        self.source = folder / "host" / "source"
        self.source.mkdir(parents=True)
        (self.source / "file").write_text("text\n", encoding="utf-8")

    def start(self, how: Answer | None = None, **arguments: t.Any) -> Run:
        """Start the module; it compresses nothing, and needs no free space, unless told otherwise."""
        chosen = {
            "name": "etc",
            "directory": str(self.directory),
            "compression": "none",
            "min_free_mb": 0,
            "min_free_percent": 0,
            **({} if {"paths", "command"} & arguments.keys() else {"paths": [str(self.source)]}),
            **arguments,
        }
        return Run(self._packages, chosen, **(how or {}))

    def run(self, **arguments: t.Any) -> Answer:
        return self.start(**arguments).answer()

    def left(self) -> list[str]:
        """What is in the folder of the set."""
        return sorted(path.name for path in (self.directory / "etc").iterdir() if path.name != ".lock")

    def everything(self) -> dict[str, tuple[int, ...]]:
        """All files and folders, with what changes when they are touched."""
        found: dict[str, tuple[int, ...]] = {}
        for path in sorted(self.source.parent.rglob("*")):
            looked = path.lstat()
            found[str(path)] = (looked.st_ino, looked.st_mode, looked.st_mtime_ns, looked.st_ctime_ns, looked.st_size)
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "told")


# Backups


@needs_zstd
def test_a_backup_of_paths(host: Host) -> None:
    answer = host.run(compression="zstd", host="web1")
    backup = answer["backup"]
    assert (answer["changed"], answer["msg"]) == (True, "backed up 0.0 MB")
    assert host.left() == [backup["id"]]
    folder = Path(backup["path"])
    assert sorted(path.name for path in folder.iterdir()) == ["files.tar.zst", "manifest.json"]
    (file,) = backup["files"]
    content = (folder / "files.tar.zst").read_bytes()
    assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (backup["bytes"], backup["members"], backup["previous_bytes"]) == (len(content), 2, None)
    assert (backup["verified"], backup["checks"], backup["damage"]) == (True, ["checksum", "list"], None)
    assert (backup["host"], backup["engine"], backup["copied_to"]) == ("web1", "tar", None)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    told = ("id", "set", "host", "engine", "started_at", "ended_at", "seconds", "bytes", "members", "checks", "files")
    assert {key: manifest[key] for key in told} == {key: backup[key] for key in told}
    listed = subprocess.run(["tar", "-tf", folder / "files.tar.zst"], stdout=subprocess.PIPE, text=True, check=True)
    assert listed.stdout.splitlines() == [f"{host.source}/"[1:], f"{host.source}/file"[1:]]


def test_the_second_backup_knows_the_size_of_the_first(host: Host) -> None:
    first = host.run()["backup"]
    (host.source / "more").write_bytes(bytes(100_000))
    second = host.run()["backup"]
    assert second["previous_bytes"] == first["bytes"] < second["bytes"]
    (host.source / "more").unlink()
    third = host.run()["backup"]
    assert third["previous_bytes"] == second["bytes"]
    assert third["warnings"] == ["it has 10240 bytes, and the last one had 0.1 MB: look whether all is there"]
    assert host.left() == [first["id"], second["id"], third["id"]]


def test_a_backup_of_what_a_command_writes(host: Host) -> None:
    backup = host.run(command="seq 10; echo remark >&2")["backup"]
    assert (backup["engine"], backup["members"], backup["checks"]) == ("command", None, ["checksum"])
    assert Path(backup["path"], "output").read_text(encoding="utf-8").split() == [str(n) for n in range(1, 11)]


@needs_restic
def test_a_backup_by_restic(host: Host, tmp_path: Path) -> None:
    repository = restic_repository(tmp_path)
    options = {"repository": str(repository.path), "password_file": str(repository.password_file)}
    answer = host.run(engine="restic", restic=options, _ansible_check_mode=True)
    why = f"there is no repository at {repository.path}: make it with restic init, or set init to true"
    assert (answer["failed"], answer["msg"]) == (True, why)
    assert host.run(engine="restic", restic=options)["msg"] == why
    options["init"] = True
    answer = host.run(engine="restic", restic=options, _ansible_check_mode=True)
    assert answer["msg"] == f"would back up {host.source} to {repository.path}"
    assert not repository.path.exists()
    first = host.run(engine="restic", restic=options, host="web1", verify=["list"])["backup"]
    assert (first["engine"], first["bytes"], first["files"], first["checks"]) == ("restic", 5, [], ["list"])
    # One that was killed behind its snapshot.
    left = "20200101T000000Z-000000"
    repository.run("backup", "--quiet", "--host", "web1", "--tag", f"etc,{left}", str(host.source))
    (host.directory / "etc" / f"{left}.partial").mkdir()
    second = host.run(engine="restic", restic=options, host="web1", verify=["list"])["backup"]
    assert second["previous_bytes"] == 5
    assert repository.ids() == {first["snapshot"], second["snapshot"]}
    assert host.left() == [first["id"], second["id"]]
    # No new one in the place of one that is not mounted.
    repository.path.rename(tmp_path / "not mounted")
    why = f"there is no repository at {repository.path}, and the backup {second['id']} is in it: see that it is mounted"
    for check_mode in (True, False):
        answer = host.run(engine="restic", restic=options, host="web1", _ansible_check_mode=check_mode)
        assert answer["msg"].startswith(why)
    # Nor by another set, or by another way to write the address.
    options["repository"] += "/"
    answer = host.run(name="other", engine="restic", restic=options, host="web1")
    assert "there is no repository at" in answer["msg"]
    assert f"the backup {second['id']} is in it" in answer["msg"]
    assert not repository.path.exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"engine": "restic"}, "engine is restic: say with restic which repository the backup is to be in"),
        (
            {"engine": "restic", "command": "true"},
            "engine is restic, which is for paths: leave it out for a database or a command",
        ),
        ({"restic": WHERE}, "restic is given, and the engine is tar: set engine to restic"),
        (
            {"engine": "restic", "restic": WHERE, "copy_to": "/mnt"},
            "copy_to is for files, and engine is restic: use restic.copy_to for another repository",
        ),
        (
            {"engine": "restic", "restic": {**WHERE, "password_file": "/no/where"}},
            "password_file is /no/where, which cannot be read: No such file or directory",
        ),
    ],
)
def test_options_for_restic_that_make_no_sense(arguments: Answer, reason: str, host: Host) -> None:
    assert host.run(**arguments)["msg"] == reason


def test_everything_is_for_the_owner_only(host: Host) -> None:
    host.start({"umask": 0}).answer()
    for path in [host.directory, *host.directory.rglob("*")]:
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path


# What fails


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"command": "echo half; echo 'no such table' >&2; exit 3"}, "sh ended with 3: no such table"),
        ({"command": "echo half; kill -9 $$"}, "sh was killed by signal 9"),
        ({"command": ""}, "there is nothing to back up: paths or command is empty"),
        ({"paths": ["/no/where"]}, "paths has /no/where, which is not there: correct it, or set missing_path to warn"),
        ({"paths": ["etc"]}, "paths has 'etc': give paths that begin with a slash"),
        ({"pre_commands": ["exit 7"]}, "a command of pre_commands ended with 7"),
    ],
)
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_of_what_fails_nothing_is_left(arguments: Answer, reason: str, compression: str, host: Host) -> None:
    answer = host.run(compression=compression, **arguments)
    assert (answer["failed"], answer["changed"], answer["msg"]) == (True, False, reason)
    assert "backup" not in answer
    assert not host.directory.exists() or host.left() == []


def test_a_path_that_is_missing_can_be_a_warning(host: Host) -> None:
    answer = host.run(paths=[str(host.source), "/no/where"], missing_path="warn")
    assert answer["backup"]["warnings"] == ["/no/where is not there"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 2 MB."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "none", path], check=False)
    if mounted.returncode:
        pytest.skip("this root cannot mount a filesystem")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@as_root
def test_a_full_filesystem_is_told_and_what_was_written_goes(host: Host, small: Path) -> None:
    first = host.run(directory=str(small))["backup"]
    answer = host.run(directory=str(small), command="head -c 10000000 /dev/urandom")
    assert answer["msg"] == f"the backup cannot be written to {small}: No space left on device"
    assert sorted(path.name for path in (small / "etc").iterdir()) == [".lock", first["id"]]
    assert host.run(directory=str(small))["backup"]["previous_bytes"] == first["bytes"]
    free = os.statvfs(small)
    with open(small / "ballast", "wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize))
    answer = host.run(directory=str(small))
    assert "No space left on device" in answer["msg"] or "make room" in answer["msg"]
    answer = host.run(directory=str(small), size_factor=0)
    assert "No space left on device" in answer["msg"]
    answer = host.run(directory=str(small / "new"), size_factor=0)
    assert "No space left on device" in answer["msg"]


def test_a_file_that_may_not_become_so_large_is_told(host: Host) -> None:
    limit: Answer = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))}
    answer = host.start(limit, command="head -c 10000000 /dev/urandom").answer()
    assert answer["msg"] == f"the backup cannot be written to {host.directory}: File too large"
    assert host.left() == []


def test_without_enough_free_space_nothing_is_written(host: Host) -> None:
    answer = host.run(min_free_mb=1e12)
    assert answer["msg"].startswith(f"{host.directory} has ")
    assert answer["msg"].endswith(" are more: make room, or lower min_free_mb and min_free_percent")
    assert host.left() == []


def test_a_directory_that_others_can_write_to_is_refused(host: Host) -> None:
    host.directory.mkdir()
    host.directory.chmod(0o777)
    assert host.run()["msg"].startswith(f"others can change what is in {host.directory}: ")
    assert list(host.directory.iterdir()) == []


# Check mode


def test_check_mode_writes_nothing(host: Host, tmp_path: Path) -> None:
    def check(**arguments: t.Any) -> Answer:
        commands = {f"{when}_commands": [f"touch {tmp_path}/ran"] for when in ("pre", "post", "fail")}
        before = host.everything()
        answer = host.run(_ansible_check_mode=True, **commands, **arguments)
        assert host.everything() == before
        return answer

    answer = check()
    assert (answer["changed"], answer["msg"]) == (True, f"would back up {host.source} to {host.directory}/etc")
    host.run()
    (host.directory / "etc" / "20200101T000000Z-000000.partial").mkdir()
    assert check()["changed"]
    assert check(command=f"touch {tmp_path}/ran")["msg"] == f"would back up output to {host.directory}/etc"
    assert check(paths=["/no/where"])["failed"]
    assert check(min_free_mb=1e12)["failed"]
    assert check(name="../etc")["failed"]
    assert not (tmp_path / "ran").exists()


# Interruptions


def endless(told: Told) -> str:
    """A command that has a backup written for ever, not too fast, after it has told that there is one.

    What it writes cannot be compressed, as a compressor that has nothing to write does not notice that nobody reads.
    """
    return f"echo x; {told.command('writing')}; while head -c 4000 /dev/urandom; do :; done"


def test_a_run_that_is_told_to_end_removes_what_it_wrote(host: Host, told: Told) -> None:
    run = host.start(command=endless(told), post_commands=[told.command("post")], fail_commands=[told.command("fail")])
    assert told.words(1) == ["writing"]
    assert len(host.left()) == 1
    run.process.send_signal(signal.SIGTERM)
    code, output = run.end()
    assert code == 1
    assert json.loads(output)["msg"] == "it was ended by SIGTERM, as when the host shuts down"
    assert told.words(2) == ["fail", "post"]
    assert host.left() == []


def test_what_a_run_that_was_killed_left_goes_at_the_next_one(host: Host, told: Told) -> None:
    run = host.start(command=endless(told), post_commands=[told.command("post")], fail_commands=[told.command("fail")])
    assert told.words(1) == ["writing"]
    run.process.kill()
    assert run.end() == (-signal.SIGKILL, "")
    assert told.words(2) == ["fail", "post"]
    (partial,) = host.left()
    assert partial.endswith(".partial")
    # What runs the commands after it has the lock to its end.
    answer = host.run(lock_wait=FOREVER)
    assert answer["backup"]["previous_bytes"] is None
    assert host.left() == [answer["backup"]["id"]]


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_programs_of_a_run_end_with_it(
    how: signal.Signals, compression: str, host: Host, told: Told, tmp_path: Path
) -> None:
    # The command has the other end of this pipe for as long as it lives.
    os.mkfifo(tmp_path / "life")
    life = os.open(tmp_path / "life", os.O_RDONLY | os.O_NONBLOCK)
    run = host.start(command=f"exec 9> {tmp_path}/life; {endless(told)}", compression=compression)
    assert told.words(1) == ["writing"]
    assert not select.select([life], [], [], 0)[0]
    run.process.send_signal(how)
    run.end()
    assert select.select([life], [], [], FOREVER)[0]
    assert os.read(life, 1) == b""
    os.close(life)


def test_two_runs_at_the_same_time(host: Host, told: Told, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    first = host.start(command=f"{told.command('writing')}; cat {tmp_path}/go")
    assert told.words(1) == ["writing"]
    answer = host.run()
    assert answer["msg"] == "another run is at work on the set etc: wait for it, or set lock_wait"
    assert host.run(name="www")["changed"]
    second = host.start(lock_wait=2 * FOREVER)
    (tmp_path / "go").write_text("done\n", encoding="utf-8")
    backup = first.answer()["backup"]
    assert backup["bytes"] == 5
    assert second.answer()["backup"]["previous_bytes"] == 5
    assert len(host.left()) == 2


# The commands before and after it


def test_the_commands_after_a_backup_run_and_their_failure_is_told(host: Host, told: Told) -> None:
    answer = host.run(
        pre_commands=[told.command("pre")],
        post_commands=[told.command("post"), "echo broken; exit 7"],
        fail_commands=[told.command("fail")],
    )
    assert told.words(2) == ["pre", "post"]
    assert told.nothing_more()
    assert (answer["failed"], answer["changed"]) == (True, True)
    assert answer["msg"] == "a command of post_commands ended with 7: broken"
    assert host.left() == [answer["backup"]["id"]]
    assert answer["backup"]["verified"]


def test_when_the_backup_fails_the_commands_after_it_run(host: Host, told: Told) -> None:
    commands = {f"{when}_commands": [told.command(when)] for when in ("pre", "post", "fail")}
    assert host.run(command="exit 3", **commands)["msg"] == "sh ended with 3"
    assert told.words(3) == ["pre", "fail", "post"]
    commands["pre_commands"].append("exit 5")
    assert host.run(**commands)["msg"] == "a command of pre_commands ended with 5"
    assert told.words(3) == ["pre", "fail", "post"]


@pytest.mark.skipif(shutil.which("rsync") is None, reason="install the package rsync")
def test_a_backup_is_copied(host: Host, tmp_path: Path) -> None:
    answer = host.run(copy_to=str(tmp_path / "vault" / "deep"), host="web1")
    assert (answer["failed"], answer["changed"], answer["backup"]["copied_to"]) == (True, True, None)
    (tmp_path / "vault").mkdir()
    backup = host.run(copy_to=str(tmp_path / "vault"), host="web1")["backup"]
    assert backup["copied_to"] == f"{tmp_path}/vault/web1/"
    copy = tmp_path / "vault" / "web1" / "etc" / backup["id"]
    assert (copy / "files.tar").read_bytes() == Path(backup["path"], "files.tar").read_bytes()


# Memory


def test_a_large_backup_needs_little_memory(host: Host) -> None:
    run = host.start(command="head -c 300000000 /dev/zero")
    assert run.answer()["backup"]["bytes"] == 300_000_000
    assert run.memory < 40e6
