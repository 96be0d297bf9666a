# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import os
import re
import signal
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup import making, verify
from ansible_collections.inflight.jobs.plugins.module_utils._backup.making import Making
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Part
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError, Store
from ansible_collections.inflight.jobs.plugins.module_utils._host_lock import HostLockError, held
from ansible_collections.inflight.jobs.plugins.modules.backup_set import ARGUMENT_SPEC

from ...conftest import FOREVER, living

Answer = dict[str, t.Any]


@pytest.fixture(autouse=True)
def host_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The lock of a host of its own."""
    path = str(tmp_path / "lock")
    monkeypatch.setattr(making, "held", functools.partial(held, path=path))
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the backups go."""
    return tmp_path / "backups"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with something in it."""
    path = tmp_path / "source"
    path.mkdir()
    (path / "file").write_text("text\n", encoding="utf-8")
    return path


def options(folder: Path, **chosen: t.Any) -> Answer:
    """Those of the module, with a command when nothing else is chosen."""
    what: Answer = {} if {"paths", "command", "database"} & chosen.keys() else {"command": "echo x"}
    return {
        **{name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()},
        "name": "etc",
        "directory": str(folder),
        "compression": "none",
        "min_free_mb": 0,
        "min_free_percent": 0,
        **what,
        **chosen,
    }


def make(folder: Path, **chosen: t.Any) -> Answer:
    return Making(options(folder, **chosen)).run()


def left(directory: Path) -> list[str]:
    """What is in the folder of the set."""
    return sorted(path.name for path in (directory / "etc").iterdir() if path.name != ".lock")


# What is made


def test_the_report_is_what_the_store_tells_later(directory: Path, source: Path) -> None:
    report = make(directory, paths=[str(source)], host="web1")
    (backup,) = Store(str(directory)).backups("etc")
    assert report == {**backup.report(), "previous_bytes": None, "shrunk": False, "copied_to": None}
    assert (report["host"], report["engine"], report["members"]) == ("web1", "tar", 2)
    assert report["bytes"] == os.stat(os.path.join(backup.path, "files.tar")).st_size
    assert (report["verified"], report["checks"], report["warnings"]) == (True, ["checksum", "list"], [])
    assert backup.manifest is not None
    assert backup.manifest["paths"] == [str(source)]


def test_checks_that_do_not_fit_are_left_out_but_one_is_made(directory: Path) -> None:
    assert make(directory)["checks"] == ["checksum"]
    report = make(directory, verify=["list"])
    assert (report["checks"], report["verified"]) == (["checksum"], True)
    report = make(directory, verify=[])
    assert (report["checks"], report["verified"]) == ([], False)


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@pytest.mark.parametrize("command", ["true", "false | cat"])
def test_a_command_that_writes_nothing_makes_no_backup(directory: Path, command: str, compression: str) -> None:
    with pytest.raises(BackupError, match=r"^sh has written nothing: there would be nothing in the backup$"):
        make(directory, command=command, compression=compression)
    assert left(directory) == []


@pytest.mark.parametrize("pattern", ["{source}", "{parent}", "{parent}/*", "{name}", "{name}/", "*{name}"])
def test_a_path_that_is_left_out_altogether_is_refused(directory: Path, source: Path, pattern: str) -> None:
    pattern = pattern.format(source=source, parent=source.parent, name=source.name)
    with pytest.raises(
        BackupError, match=f"^paths has {source}, which is left out by '{re.escape(pattern)}' in exclude"
    ):
        make(directory, paths=[str(source)], exclude=[pattern])
    assert left(directory) == []


@pytest.mark.parametrize("pattern", ["{source}/*", "*.tmp", "{name}/file", "/{name}", "file"])
def test_a_path_of_which_a_part_is_left_out_is_not(directory: Path, source: Path, pattern: str) -> None:
    pattern = pattern.format(source=source, name=source.name)
    assert make(directory, paths=[str(source)], exclude=[pattern])["members"] >= 1


def test_a_folder_is_not_shared_by_hosts(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(directory, host="web1")
    make(directory, host="web1.example.com")  # the same machine has a new name
    monkeypatch.setattr(making, "_machine", lambda: "another")
    with pytest.raises(
        BackupError, match=r"^the backups of the set etc in \S+ are those of web1.example.com, and this is db1"
    ):
        make(directory, host="db1")


def test_the_last_verified_backup_is_what_a_new_one_is_compared_with(directory: Path) -> None:
    assert make(directory, command="seq 1000")["previous_bytes"] is None
    assert make(directory, command="seq 500", verify=[])["previous_bytes"] == 3893
    report = make(directory, command="seq 400")
    assert report["previous_bytes"] == 3893
    assert report["shrunk"]
    assert report["warnings"] == ["it has 1492 bytes, and the last one had 3893 bytes: look whether all is there"]
    assert make(directory, command="seq 300", min_size_ratio=0.1)["warnings"] == []
    assert make(directory, command="seq 1000")["warnings"] == []


def test_the_host_has_a_name_of_its_own(directory: Path) -> None:
    assert make(directory)["host"] == os.uname().nodename


# What is refused


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"name": "../etc"}, "the name of a backup set is '../etc': "),
        ({"host": "../etc", "copy_to": "/mnt"}, "host is '../etc': use letters, digits, "),
        ({"directory": "backups"}, "directory is 'backups': "),
        ({"compression": "gzip", "compression_level": 19}, "compression_level is 19: gzip takes 1 to 9"),
        ({"copy_to": "--rsh=touch /tmp/x"}, "copy_to is '--rsh=touch /tmp/x': give a folder, "),
        ({"command": ""}, "there is nothing to back up: paths or command is empty"),
        ({"paths": []}, "there is nothing to back up: paths or command is empty"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_made(
    chosen: Answer, reason: str, directory: Path
) -> None:
    with pytest.raises(BackupError) as caught:
        Making(options(directory, **chosen))
    assert str(caught.value).startswith(reason)
    assert not directory.exists()


def test_a_path_that_is_missing_fails_or_is_warned_of(directory: Path, source: Path) -> None:
    paths = [str(source), str(source / "nowhere")]
    with pytest.raises(BackupError, match=f"^paths has {source}/nowhere, which is not there: "):
        make(directory, paths=paths)
    assert left(directory) == []
    report = make(directory, paths=paths, missing_path="warn")
    assert report["warnings"] == [f"{source}/nowhere is not there"]
    with pytest.raises(BackupError, match=r"^there is nothing to back up: none of "):
        make(directory, paths=paths[1:], missing_path="warn")


def sized(monkeypatch: pytest.MonkeyPatch, free: int, total: int) -> None:
    """A filesystem with so many bytes."""
    found = types.SimpleNamespace(f_bavail=free, f_blocks=total, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda dummy: found)


def test_what_is_to_stay_free_stays_free(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sized(monkeypatch, free=5_000_000, total=100_000_000)
    make(directory, min_free_mb=5, verify=[])
    make(directory, min_free_percent=5, verify=[])
    tight: Answer
    for tight in ({"min_free_mb": 5.1}, {"min_free_percent": 5.1}):
        with pytest.raises(BackupError) as caught:
            make(directory, **tight)
        assert str(caught.value) == (
            f"{directory} has 5.0 MB free, and 5.1 MB that are to stay free are more: "
            "make room, or lower min_free_mb and min_free_percent"
        )
        with pytest.raises(BackupError, match=r"has 5.0 MB free"):
            Making(options(directory, **tight)).plan()
    assert len(left(directory)) == 2


def test_a_backup_like_the_last_one_has_to_fit(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = "head -c 1000000 /dev/zero"
    make(directory, command=large)
    sized(monkeypatch, free=1_060_000, total=100_000_000)
    make(directory, command=large, size_factor=1)
    with pytest.raises(BackupError, match=r"^.* has 1.1 MB free, and 1.1 MB for a backup like "):
        make(directory)
    sized(monkeypatch, free=0, total=0)
    make(directory, size_factor=0)


# What fails


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_of_a_command_that_fails_nothing_is_left(compression: str, directory: Path) -> None:
    with pytest.raises(BackupError, match=r"^sh ended with 3: no such table$"):
        make(directory, command="echo half; echo 'no such table' >&2; exit 3", compression=compression)
    assert left(directory) == []


def test_a_backup_that_does_not_pass_its_checks_is_removed(
    directory: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Part.write

    def damaging(self: Part, folder: str, *arguments: t.Any) -> t.Any:
        made = write(self, folder, *arguments)
        with open(os.path.join(folder, made[0]["name"]), "r+b") as file:
            file.seek(600)
            file.write(b"!")
        return made

    monkeypatch.setattr(Part, "write", damaging)
    with pytest.raises(BackupError, match=r"^files.tar has the checksum [0-9a-f]{64}, and had [0-9a-f]{64}$"):
        make(directory, paths=[str(source)])
    assert left(directory) == []


def test_a_disk_that_cannot_be_read_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*dummy: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(verify.Verification, "run", broken)
    with pytest.raises(BackupError, match=r"^the backup cannot be verified: Input/output error$"):
        make(directory)
    assert left(directory) == []


def test_a_disk_that_cannot_be_written_to_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*dummy: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(BackupError, match=f"^the backup cannot be written to {directory}: Input/output error$"):
        make(directory)
    assert left(directory) == []


def test_what_runs_have_left_goes_at_the_next_one(directory: Path) -> None:
    first = make(directory)
    store = Store(str(directory))
    unfinished = store.begin("etc", 0)
    os.rename(store.begin("etc", 0).path, f"{directory}/etc/20200101T000000Z-000000.deleted")
    second = make(directory)
    assert not os.path.exists(unfinished.path)
    assert left(directory) == sorted([first["id"], second["id"]])


# An update of the host


def test_no_backup_is_begun_while_the_host_is_updated(directory: Path, host_lock: str) -> None:
    update = held(False, 0, host_lock)
    with living(update.__enter__) as pid:
        for wait in (0.0, 0.2):
            with pytest.raises(BackupError) as caught:
                make(directory, lock_wait=wait)
            assert str(caught.value) == (f"an update of this host holds {host_lock}: wait for it, or set lock_wait")
            assert left(directory) == []
        # Who only asks what would be backed up is none the worse for it.
        Making(options(directory)).plan()
        os.kill(pid, signal.SIGKILL)
        make(directory, lock_wait=FOREVER)
    assert len(left(directory)) == 1


def test_an_update_waits_for_backups_which_do_not_wait_for_each_other(
    directory: Path, host_lock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(True, 0, host_lock):
        make(directory)
    with held(False, 0, host_lock):
        pass

    def refused(*dummy_arguments: object) -> t.NoReturn:
        with pytest.raises(HostLockError, match=r"^a backup of this host holds "), held(False, 0, host_lock):
            pass
        raise BackupError("seen")

    monkeypatch.setattr(Making, "_make", refused)
    with pytest.raises(BackupError, match=r"^seen$"):
        make(directory)
    with held(False, 0, host_lock):
        pass


# The plan


def test_the_plan_tells_what_would_be_made_and_makes_nothing(directory: Path, source: Path) -> None:
    plan = Making(options(directory, paths=[str(source), "/etc"], pre_commands=["exit 1"])).plan()
    assert plan == f"would back up {source}, /etc to {directory}/etc"
    assert Making(options(directory)).plan() == f"would back up output to {directory}/etc"
    with pytest.raises(BackupError, match=r"which is not there"):
        Making(options(directory, paths=[str(source / "nowhere")])).plan()
    assert not directory.exists()


# The commands before and after it, and the copy


def test_commands_of_the_user_run_around_the_backup(directory: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    note = f"ls {directory}/etc | sed 's/.*partial/partial/; s/2.*/whole/' | tr '\\n' ' ' >> {seen}; echo"
    make(
        directory,
        command=f"{note} backup >> {seen}; echo x",
        pre_commands=[f"{note} pre >> {seen}"],
        post_commands=[f"{note} post >> {seen}"],
        fail_commands=[f"{note} fail >> {seen}"],
    )
    assert seen.read_text(encoding="utf-8").splitlines() == ["pre", "partial backup", "whole post"]


def test_a_command_before_it_that_fails_keeps_it_from_being_made(directory: Path, tmp_path: Path) -> None:
    commands = {f"{when}_commands": [f"echo {when} >> {tmp_path}/seen"] for when in ("post", "fail")}
    with pytest.raises(BackupError, match=r"^a command of pre_commands ended with 7: no$"):
        make(directory, command=f"touch {tmp_path}/ran; echo x", pre_commands=["echo no; exit 7"], **commands)
    assert (tmp_path / "seen").read_text(encoding="utf-8") == "fail\npost\n"
    assert not (tmp_path / "ran").exists()
    assert left(directory) == []


def test_a_command_after_it_that_fails_is_told_and_the_backup_stays(directory: Path) -> None:
    making = Making(options(directory, post_commands=["exit 7"], fail_commands=["exit 8"]))
    with pytest.raises(BackupError, match=r"^a command of post_commands ended with 7$"):
        making.run()
    assert making.report is not None
    assert left(directory) == [making.report["id"]]


def test_why_it_was_not_made_is_told_before_what_failed_after_that(directory: Path) -> None:
    with pytest.raises(BackupError, match=r"^sh ended with 3; a command of post_commands ended with 7$"):
        make(directory, command="exit 3", post_commands=["exit 7"])


def test_a_copy_that_fails_is_told_and_the_backup_stays(directory: Path, tmp_path: Path) -> None:
    making = Making(options(directory, copy_to=str(tmp_path / "nowhere" / "deep"), host="web1"))
    with pytest.raises(BackupError, match=r"^the backup was made, but not copied to .*/nowhere/deep/web1/: rsync "):
        making.run()
    assert making.report is not None
    assert (making.report["copied_to"], left(directory)) == (None, [making.report["id"]])
