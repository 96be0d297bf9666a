# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _output, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._output import keep, last_lines, say, tail


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "j1.0.output")


class Module(basic.AnsibleModule):
    """As much of a module as run_command needs."""

    def __init__(self, no_log: bool = False) -> None:  # not what a module does, which reads its arguments from outside
        self.no_log = no_log
        self.no_log_values: set[str] = set()
        self.run_command_environ_update: dict[str, str] = {}
        self._debug = False
        self._clean: t.Any = None
        self._verbosity = 0
        self.cleanup_files: list[str] = []
        self._name = "command"


@pytest.fixture
def run(path: str, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., tuple[int, str, str]]:
    """Runs a shell command as the module command does, and keeps what it prints."""
    monkeypatch.setattr(basic.AnsibleModule, "run_command", basic.AnsibleModule.run_command)
    keep(path)

    def run(command: str, *, no_log: bool = False, **options: t.Any) -> tuple[int, str, str]:
        return t.cast("tuple[int, str, str]", Module(no_log).run_command(["/bin/sh", "-c", command], **options))

    return run


Run = t.Callable[..., tuple[int, str, str]]


def test_what_a_program_prints_is_kept_and_returned_as_ever(run: Run, path: str) -> None:
    assert run("echo out; echo err >&2; exit 3") == (3, "out\n", "err\n")
    assert sorted(tail(path, 5)) == ["err", "out"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_it_is_there_while_the_program_runs(run: Run, path: str, tmp_path: Path) -> None:
    """The program itself waits until what it has printed is there to be read."""
    waits = f'until grep -q early "{path}"; do :; done; echo late'
    assert run(f"echo early; {waits}")[1] == "early\nlate\n"


def test_what_the_program_reads_arrives(run: Run, path: str) -> None:
    assert run("cat", data="some input")[1] == "some input\n"
    assert tail(path, 1) == ["some input"]


def test_somebody_else_may_still_look_at_the_process(run: Run) -> None:
    seen: list[int] = []
    run("true", before_communicate_callback=lambda process: seen.append(process.pid))
    assert len(seen) == 1


def test_nothing_is_kept_of_a_task_with_no_log(run: Run, path: str) -> None:
    assert run("echo secret", no_log=True)[1] == "secret\n"
    assert not os.path.exists(path)


def test_the_file_does_not_grow_without_end(run: Run, path: str) -> None:
    count = 100_000
    rc, out, dummy = run(f"seq {count}")
    assert (rc, out.splitlines()[-1]) == (0, str(count))
    assert os.path.getsize(path) < 3 * _output.KEPT_BYTES
    assert tail(path, 3) == ["99998", "99999", "100000"]
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


@pytest.mark.parametrize("place", ["nowhere/output", "link"])
def test_a_program_runs_also_where_nothing_can_be_kept(place: str, tmp_path: Path, monkeypatch: t.Any) -> None:
    (tmp_path / "victim").write_text("precious", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    monkeypatch.setattr(basic.AnsibleModule, "run_command", basic.AnsibleModule.run_command)
    keep(str(tmp_path / place))
    assert Module().run_command(["/bin/sh", "-c", "echo out"])[:2] == (0, "out\n")
    assert (tmp_path / "victim").read_text(encoding="utf-8") == "precious"


def test_a_disk_that_is_full_does_not_keep_the_program_from_running(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def write(fd: int, data: bytes) -> int:
        if b"out" in data:
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(_output.os, "write", write)
    assert run("echo out; echo more out")[:2] == (0, "out\nmore out\n")


# The last lines


def test_lines_that_were_overwritten_count(path: str) -> None:
    Path(path).write_bytes(b"start\n10 %\r20 %\r30 %")
    assert tail(path, 2) == ["20 %", "30 %"]


def test_empty_lines_do_not_count(path: str) -> None:
    Path(path).write_bytes(b"one\n\n  \ntwo\n\n")
    assert tail(path, 2) == ["one", "two"]


def test_what_is_no_text_is_shown_as_far_as_it_is(path: str) -> None:
    Path(path).write_bytes(b"caf\xc3\xa9 \xff\n")
    assert tail(path, 1) == ["caf\u00e9 \ufffd"]


def test_a_line_is_no_longer_than_so_many_characters(path: str) -> None:
    Path(path).write_bytes(b"x" * 5000)
    assert tail(path, 1) == ["x" * 1000]


@pytest.mark.parametrize("lines", [0, -1])
def test_who_wants_no_line_gets_none(path: str, lines: int) -> None:
    Path(path).write_bytes(b"one\n")
    assert tail(path, lines) == []


def test_what_is_no_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("secret\n", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", ".", "nothing"):
        assert tail(str(tmp_path / name), 3) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=300), lines=st.integers(1, 5))
def test_whatever_was_printed_the_last_lines_are_lines(path: str, content: bytes, lines: int) -> None:
    Path(path).write_bytes(content)
    found = tail(path, lines)
    assert len(found) <= lines
    assert all(line.strip() and len(line.splitlines()) == 1 for line in found)


# What a job says of itself

JOB = "j4711.0"


def test_what_a_job_says_takes_the_place_of_what_it_said_before(batch_folder: BatchFolder) -> None:
    path = batch_folder.status_file(JOB)
    for text in ("download 1 of 2", "caf\u00e9 \udcff", "x" * 5000):
        say(text, path)
    assert last_lines(batch_folder, JOB, 3) == ["x" * 1000]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    say("caf\u00e9 \udcff", path)
    assert last_lines(batch_folder, JOB, 3) == ["caf\u00e9 ?"]


def test_a_process_of_a_job_says_it_of_its_job(batch_folder: BatchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_processes.STATUS, batch_folder.status_file(JOB))
    say("half of it")
    assert last_lines(batch_folder, JOB, 1) == ["half of it"]


def test_what_is_said_comes_before_what_is_printed(batch_folder: BatchFolder) -> None:
    Path(batch_folder.output_file(JOB)).write_text("one\ntwo\n", encoding="utf-8")
    assert last_lines(batch_folder, JOB, 1) == ["two"]
    # Any program may write the file, also line by line.
    Path(batch_folder.status_file(JOB)).write_text("10 %\n20 %\n", encoding="utf-8")
    assert last_lines(batch_folder, JOB, 1) == ["20 %"]
    Path(batch_folder.status_file(JOB)).write_text("", encoding="utf-8")
    assert last_lines(batch_folder, JOB, 1) == ["two"]


@pytest.mark.parametrize("lines", [0, -1])
def test_who_wants_nothing_of_what_is_said_gets_nothing(batch_folder: BatchFolder, lines: int) -> None:
    say("something", batch_folder.status_file(JOB))
    assert last_lines(batch_folder, JOB, lines) == []
    assert last_lines(None, JOB, 1) == []


def test_nobody_hears_it_outside_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_processes.STATUS, raising=False)
    monkeypatch.chdir(tmp_path)
    say("something")
    monkeypatch.setenv(_processes.STATUS, "")
    say("something")
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_is_gone_or_a_link_does_no_harm(batch_folder: BatchFolder, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("theirs", encoding="ascii")
    os.symlink(tmp_path / "target", batch_folder.status_file(JOB))
    say("ours", batch_folder.status_file(JOB))
    assert (tmp_path / "target").read_text(encoding="ascii") == "theirs"
    assert last_lines(batch_folder, JOB, 1) == []
    batch_folder.delete()
    say("ours", batch_folder.status_file(JOB))
    assert last_lines(batch_folder, JOB, 1) == []
