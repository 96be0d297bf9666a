# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup import streams
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import (
    KEPT,
    LineCount,
    Pipeline,
    Program,
    find,
    run,
)

from ...conftest import FOREVER


def shell(script: str) -> Program:
    return Program(["/bin/sh", "-c", script])


def ended(*programs: Program) -> list[int]:
    """The exit codes of programs that were read to the end."""
    with Pipeline(programs) as pipeline:
        for dummy in pipeline.chunks():
            pass
    return [end.exit_code for end in pipeline.ends]


def descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


def children() -> set[str]:
    """The processes that this one has started and that are not forgotten yet."""
    found: set[str] = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError):  # a thread of an earlier test has just ended
            found.update(Path(f"/proc/self/task/{task}/children").read_text(encoding="ascii").split())
    return found


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """The test leaves no process, no descriptor and no thread."""
    processes, files, threads = children(), len(descriptors()), set(threading.enumerate())
    yield
    assert not children() - processes
    assert len(descriptors()) <= files
    assert not set(threading.enumerate()) - threads


# Ends


def test_the_exit_code_of_every_program_is_known(nothing_left: None) -> None:
    with Pipeline([shell("echo a; exit 3"), shell("cat; echo b; exit 4"), Program(["cat"])]) as pipeline:
        assert b"".join(pipeline.chunks()) == b"a\nb\n"
    assert [end.exit_code for end in pipeline.ends] == [3, 4, 0]
    assert [end.reason() for end in pipeline.ends[:2]] == ["sh ended with 3", "sh ended with 4"]
    pipeline.ends[2].expect_success()
    with pytest.raises(BackupError, match=r"^sh ended with 4$"):
        pipeline.ends[1].expect_success()


def test_a_producer_that_is_killed_is_noticed_though_the_compressor_ends_well(nothing_left: None) -> None:
    with Pipeline([shell("echo a; kill -9 $$"), Program(["gzip", "-c"])]) as pipeline:
        assert b"".join(pipeline.chunks())
    assert [end.exit_code for end in pipeline.ends] == [-signal.SIGKILL, 0]
    assert pipeline.ends[0].reason() == "sh was killed by signal 9"


def test_a_compressor_that_is_killed_takes_the_producer_with_it(nothing_left: None) -> None:
    with Pipeline([Program(["yes"]), Program(["gzip", "-c", "-1"])]) as pipeline:
        chunks = pipeline.chunks()
        next(chunks)
        pipeline._running[1].kill()
        for dummy in chunks:
            pass
    assert [end.exit_code for end in pipeline.ends] == [-signal.SIGPIPE, -signal.SIGKILL]


def test_a_reader_that_stops_early_leaves_nothing(nothing_left: None) -> None:
    with Pipeline([Program(["yes"]), Program(["cat"]), Program(["cat"])]) as pipeline:
        next(pipeline.chunks())
    assert [end.exit_code for end in pipeline.ends] == [-signal.SIGPIPE] * 3
    with pytest.raises(KeyError), Pipeline([Program(["yes"])]) as pipeline:
        raise KeyError
    assert [end.exit_code for end in pipeline.ends] == [-signal.SIGPIPE]


def test_programs_have_the_signals_and_the_language_that_they_count_on() -> None:
    ignored = int(run(Program(["grep", "SigIgn", "/proc/self/status"])).split()[1], 16)
    assert not ignored & 1 << signal.SIGPIPE - 1  # Python itself ignores it
    assert run(Program(["/bin/sh", "-c", "echo $LC_ALL $MORE"], {"MORE": "more"})) == "C more\n"


# Complaints


def test_a_program_may_complain_at_length(nothing_left: None) -> None:
    with Pipeline([shell("echo first >&2; yes complaint | head -c 8000000 >&2; echo last >&2; echo out")]) as pipeline:
        assert b"".join(pipeline.chunks()) == b"out\n"
    complaints = pipeline.ends[0].complaints
    assert len(complaints) == 2 * KEPT
    assert complaints.startswith("first\ncomplaint\n")
    assert complaints.endswith("complaint\nlast\n")


@pytest.mark.parametrize("size", [0, 1, KEPT - 1, KEPT, KEPT + 1, 2 * KEPT])
def test_nothing_of_short_complaints_is_lost(size: int) -> None:
    with Pipeline([shell(f"head -c {size} /dev/zero | tr '\\0' x >&2")]) as pipeline:
        pipeline.close()
    assert pipeline.ends[0].complaints == "x" * size


def test_the_last_complaints_are_in_the_reason() -> None:
    with Pipeline([shell("for line in a b c d; do echo $line >&2; done; printf '\\377\\n' >&2; exit 2")]) as pipeline:
        pipeline.close()
    assert pipeline.ends[0].reason() == "sh ended with 2: c / d / \ufffd"


def test_what_a_program_leaves_in_the_background_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_LINGER", 1.0)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Pipeline([shell(f"(read x < {fifo}) > /dev/null & echo said >&2; echo out")]) as pipeline:
        assert b"".join(pipeline.chunks()) == b"out\n"
    assert pipeline.ends[0].complaints == "said\n"
    fifo.write_text("go\n", encoding="utf-8")
    pipeline._complaints[0].join(FOREVER)


# Programs that cannot be run


def test_a_program_that_is_missing_is_told_before_anything_is_run(tmp_path: Path, nothing_left: None) -> None:
    counter = LineCount()
    programs = [shell(f"touch {tmp_path}/started"), Program(["no-such-program"])]
    said = "^no-such-program is not on this host: install the package no-such-program$"
    with pytest.raises(BackupError, match=said), Pipeline(programs, counter=counter):
        pass
    assert not list(tmp_path.iterdir())
    with pytest.raises(BackupError, match=r"install the package of-another-name$"):
        find("no-such-program", "of-another-name")


def test_a_program_that_cannot_be_started_leaves_none_that_waits_for_its_input(
    tmp_path: Path, nothing_left: None
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\0\1\2")
    broken.chmod(0o755)
    programs = [Program(["cat"], input=b"x"), Program([str(broken)])]
    with pytest.raises(BackupError, match=r"^broken cannot be run: Exec format error$"), Pipeline(programs):
        pass


def test_a_null_byte_is_refused(nothing_left: None) -> None:
    with pytest.raises(BackupError, match=r"^sh cannot be run: there is a null byte in its arguments$"):
        run(shell("echo \0"))


# What goes in and out


def test_the_first_program_may_be_given_more_than_a_pipe_holds(nothing_left: None) -> None:
    text = bytes(range(256)) * 4096
    with Pipeline([Program(["cat"], input=text), Program(["cat"])]) as pipeline:
        assert b"".join(pipeline.chunks()) == text
    with Pipeline([Program(["true"], input=text)]) as pipeline:
        assert b"".join(pipeline.chunks()) == b""
    assert pipeline.ends[0].exit_code == 0


def test_a_file_is_read_by_the_first_program(tmp_path: Path, nothing_left: None) -> None:
    (tmp_path / "file").write_bytes(b"text")
    with Pipeline([Program(["cat"]), Program(["cat"])], source=str(tmp_path / "file")) as pipeline:
        assert b"".join(pipeline.chunks()) == b"text"
    with pytest.raises(FileNotFoundError), Pipeline([Program(["cat"])], source=str(tmp_path / "nowhere")):
        pass


def test_a_program_without_input_reads_nothing() -> None:
    assert ended(Program(["cat"])) == [0]


def test_lines_are_counted(nothing_left: None) -> None:
    counter = LineCount()
    with Pipeline([shell(f"seq 100000 > {counter.path}; echo out"), Program(["cat"])], counter=counter) as pipeline:
        assert b"".join(pipeline.chunks()) == b"out\n"
    assert [end.lines for end in pipeline.ends] == [100000, 100000]


def test_the_pipe_of_a_counter_is_closed_once() -> None:
    counter = LineCount()
    writer = counter.writer
    with Pipeline([Program(["true"])], counter=counter) as pipeline:
        for dummy in pipeline.chunks():
            pass
        spare = os.open(os.devnull, os.O_RDONLY)
        try:
            os.dup2(spare, writer)  # the number is that of another file now
            pipeline.close()
            counter.lines()
            os.fstat(writer)
        finally:
            os.close(writer)
            if spare != writer:
                os.close(spare)


def test_the_output_of_a_program_is_text(nothing_left: None) -> None:
    assert run(shell("printf '\\303\\244\\377'")) == "ä\udcff"
    with pytest.raises(BackupError, match=r"^sh ended with 5: no$"):
        run(shell("echo no >&2; exit 5"))
    with pytest.raises(BackupError, match=r"^yes wrote more than 1000000 bytes$"):
        run(Program(["yes"]), limit=1000000)
