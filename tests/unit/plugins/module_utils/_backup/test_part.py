# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Compression, Part, decompression
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import LineCount, Pipeline, Program

METHODS = [
    pytest.param(method, marks=pytest.mark.skipif(not shutil.which(method), reason=f"install the package {method}"))
    for method in ("zstd", "gzip")
]
# A file of 3 MB that can be compressed, but not to nothing.
SCRIPT = "seq 400000"


class Failing(Compression):
    """One whose program fails at once."""

    def programs(self) -> list[Program]:
        return [Program(["/bin/sh", "-c", "echo 'no memory' >&2; exit 9"])]


def part(script: str, compress: bool = True) -> Part:
    return Part("output", "command", Program(["/bin/sh", "-c", script]), compress)


def printed(*command: str | Path) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.mark.parametrize("method", [*METHODS, "none"])
def test_what_is_told_of_a_file_is_what_others_say_of_it(method: str, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        record, warnings = part(SCRIPT).write(str(tmp_path), Compression(method))
    finally:
        os.umask(before)
    path = tmp_path / str(record["name"])
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert record["sha256"] == printed("sha256sum", path).split()[0]
    assert record["bytes"] == int(printed("stat", "--format=%s", path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (record["kind"], record["compression"], record["exit_code"]) == ("command", method, 0)
    assert (record["members"], warnings) == (None, [])
    with Pipeline(decompression(method) or [Program(["cat"])], source=str(path)) as pipeline:
        content = b"".join(pipeline.chunks())
    assert hashlib.sha256(content).hexdigest() == printed("sh", "-c", f"{SCRIPT} | sha256sum").split()[0]


@pytest.mark.parametrize("method", METHODS)
def test_names_tell_the_compression(method: str, tmp_path: Path) -> None:
    suffix = {"zstd": ".zst", "gzip": ".gz"}[method]
    assert part("echo x").write(str(tmp_path), Compression(method, rsyncable=True))[0]["name"] == f"output{suffix}"
    record, dummy = part("echo x", compress=False).write(str(tmp_path), Compression(method))
    assert (record["name"], record["compression"]) == ("output", "none")


def test_members_are_counted(tmp_path: Path) -> None:
    counter = LineCount()
    one = part(f"seq 77 > {counter.path}; echo x")
    one.counter = counter
    assert one.write(str(tmp_path), Compression("none"))[0]["members"] == 77


@pytest.mark.parametrize("method", [*METHODS, "none"])
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (f"{SCRIPT}; echo gone >&2; exit 3", "sh ended with 3: gone"),
        (f"{SCRIPT}; kill -9 $$", "sh was killed by signal 9"),
        ("kill -9 $$", "sh was killed by signal 9"),
    ],
)
def test_a_program_that_fails_is_told(script: str, reason: str, method: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=f"^{reason}$"):
        part(script).write(str(tmp_path), Compression(method))


def test_of_a_compressor_that_fails_its_own_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"^sh ended with 9: no memory$"):
        part("yes").write(str(tmp_path), Failing("none"))


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError):
        part("echo x").write(str(tmp_path), Compression("none"))
    assert (tmp_path / "output").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("method", "level", "highest"), [("zstd", 20, 19), ("zstd", 0, 19), ("gzip", 10, 9)])
def test_levels_that_a_program_does_not_take_are_refused(method: str, level: int, highest: int) -> None:
    with pytest.raises(BackupError, match=f"^compression_level is {level}: {method} takes 1 to {highest}$"):
        Compression(method, level)
    Compression(method, highest)


def test_without_compression_a_level_says_nothing() -> None:
    assert Compression("none", 0).programs() == []
    assert Compression("none", 99).programs() == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_threads_and_levels_are_accepted(method: str, threads: int, tmp_path: Path) -> None:
    record, dummy = part("echo x").write(str(tmp_path), Compression(method, 9, threads))
    assert record["exit_code"] == 0
