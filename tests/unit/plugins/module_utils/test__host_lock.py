# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._host_lock import HostLockError, held, take

from ..conftest import FOREVER, living
from ._backup.backups import as_plain_user


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the lock is in place of /run."""
    return str(tmp_path / "lock")


def sentence(shared: bool, path: str, wait: float = 0) -> str:
    """Why the lock could not be had."""
    with pytest.raises(HostLockError) as caught:
        take(shared, wait, path)
    return str(caught.value)


def test_backups_go_together_and_an_update_waits_for_them(path: str) -> None:
    with living(lambda: take(True, 0, path)), held(True, 0, path):
        for wait in (0.0, 0.3):
            assert sentence(False, path, wait) == f"a backup of this host holds {path}"


def test_nobody_is_beside_an_update(path: str) -> None:
    with living(lambda: take(False, 0, path)):
        for shared in (True, False):
            assert sentence(shared, path) == f"an update of this host holds {path}"


def test_who_has_it_is_who_had_it_last(path: str) -> None:
    with held(True, 0, path):
        pass
    with held(False, 0, path):
        assert sentence(True, path) == f"an update of this host holds {path}"
    with held(True, 0, path):
        assert sentence(False, path) == f"a backup of this host holds {path}"


@pytest.mark.parametrize("content", [b"", b"{{ lookup('pipe', 'id') }}", b"\x1b[31mupdate", b"\xff" * 1000])
def test_words_of_others_are_not_repeated(content: bytes, path: str) -> None:
    with held(False, 0, path):
        Path(path).write_bytes(content)
        assert sentence(True, path) == f"another run holds {path}"


def test_a_holder_that_is_killed_holds_nothing(path: str) -> None:
    with living(lambda: take(False, 0, path)) as pid:
        os.kill(pid, signal.SIGKILL)
        with held(True, FOREVER, path) as fd:
            assert fd is not None


def test_a_run_waits_with_growing_pauses_and_for_no_longer_than_it_may(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    now = [100.0]

    def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 3))
        now[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    with living(lambda: take(False, 0, path)) as pid:
        sentence(True, path, wait=4)
        assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1, 1, 0.45]

        def end(seconds: float) -> None:
            sleep(seconds)
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        monkeypatch.setattr(time, "sleep", end)
        pauses.clear()
        with held(True, 4, path):
            assert pauses == [0.05]


def test_a_process_keeps_it_for_its_forks_but_not_for_programs(path: str) -> None:
    fd = take(False, 0, path)
    assert fd is not None
    # A fork that lives on, as a job in the background does.
    with living():
        os.close(fd)
        assert sentence(True, path) == f"an update of this host holds {path}"
    with held(False, 0, path):
        program = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    with held(False, 0, path):
        program.communicate()


def test_only_its_owner_can_read_it(path: str) -> None:
    mask = os.umask(0)
    try:
        with held(True, 0, path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    finally:
        os.umask(mask)


def test_a_user_who_is_not_root_goes_without(path: str) -> None:
    def body() -> None:
        # This one is the real one, which only root can make.
        assert take(True, 0) is None
        with held(True, 0, path) as fd:
            assert fd is None

    with held(False, 0, path):
        os.chmod(path, 0)
        as_plain_user(body)


def test_a_system_without_such_a_folder_goes_without(tmp_path: Path) -> None:
    assert take(False, 0, str(tmp_path / "run" / "lock")) is None


def test_a_link_and_what_is_no_file_are_refused(path: str, tmp_path: Path) -> None:
    os.symlink(tmp_path / "made", path)
    assert sentence(True, path).startswith(f"the lock {path} cannot be opened: Too many levels")
    assert not (tmp_path / "made").exists()
    os.unlink(path)
    os.mkfifo(path)
    assert sentence(True, path) == f"the lock {path} is no regular file: remove it"


def test_a_file_system_without_locks_is_told(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/dev/fd")

    def no_locks(*dummy_arguments: t.Any) -> t.NoReturn:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert sentence(True, path) == f"the lock {path} cannot be taken: No locks available"
    assert os.listdir("/dev/fd") == before


def test_what_could_not_be_written_does_not_matter(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*dummy_arguments: t.Any) -> t.NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with held(False, 0, path):
        assert sentence(True, path) == f"another run holds {path}"
