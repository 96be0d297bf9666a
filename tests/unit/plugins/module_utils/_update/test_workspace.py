# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import stat
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import UpdateError
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import PATH, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace(str(tmp_path / "workspace"))
    found.make()
    return found


def test_a_reboot_takes_it_away() -> None:
    assert PATH.startswith("/run/")
    assert Workspace().path == PATH


class TestFolder:
    def test_nobody_else_can_enter_it_and_it_may_be_there(self, workspace: Workspace) -> None:
        workspace.write_text("a", "b")
        workspace.make()
        assert stat.S_IMODE(os.stat(workspace.path).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(workspace.file("a")).st_mode) == 0o600

    @pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
    def test_one_that_others_may_write_to_is_refused(self, workspace: Workspace, mode: int) -> None:
        os.chmod(workspace.path, mode)
        with pytest.raises(UpdateError, match="belongs to somebody else, or others may write to it: remove it"):
            workspace.make()

    def test_one_of_somebody_else_is_refused(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        mine = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        with pytest.raises(UpdateError, match="belongs to somebody else"):
            workspace.make()

    @pytest.mark.parametrize("kind", ["link", "file"])
    def test_what_is_no_folder_is_refused(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "there"
        if kind == "link":
            (tmp_path / "theirs").mkdir(mode=0o700)
            path.symlink_to(tmp_path / "theirs")
        else:
            path.touch()
        with pytest.raises(UpdateError, match="remove it"):
            Workspace(str(path)).make()

    def test_one_that_cannot_be_made_is_told_with_the_reason(self) -> None:
        with pytest.raises(UpdateError, match=r"^cannot make the folder /nowhere/at/all: No such file or directory$"):
            Workspace("/nowhere/at/all").make()


class TestFiles:
    def test_what_is_written_is_read(self, workspace: Workspace) -> None:
        content = {"a": [1, "\u00e4\udc80", None], "b": {}}
        workspace.write("one.json", content)
        assert workspace.read("one.json") == content
        workspace.write("one.json", {})
        assert workspace.read("one.json") == {}
        assert os.listdir(workspace.path) == ["one.json"]

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe", b'{"a": ' * 100000, b"[" * 100000, b"NaN", b"{}x"]
    )
    def test_what_is_damaged_is_none(self, workspace: Workspace, content: bytes) -> None:
        Path(workspace.file("one.json")).write_bytes(content)
        assert workspace.read("one.json") is None
        assert workspace.has("one.json")

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(st.binary())
    def test_whatever_is_there_is_a_dict_or_nothing(self, workspace: Workspace, content: bytes) -> None:
        Path(workspace.file("one.json")).write_bytes(content)
        assert isinstance(workspace.read("one.json"), (dict, type(None)))

    def test_a_file_that_is_not_there_is_none(self, workspace: Workspace) -> None:
        assert workspace.read("one.json") is None
        assert not workspace.has("one.json")
        workspace.delete("one.json", "two.json")

    def test_nothing_is_written_through_a_link(self, workspace: Workspace, tmp_path: Path) -> None:
        (tmp_path / "theirs").write_text("theirs", encoding="ascii")
        os.symlink(tmp_path / "theirs", workspace.file("a"))
        with pytest.raises(UpdateError, match=r"symbolic links$"):
            workspace.write_text("a", "ours")
        assert (tmp_path / "theirs").read_text(encoding="ascii") == "theirs"


ADVICE = [
    (errno.ENOSPC, "No space left on device: make space there"),
    (errno.EROFS, "Read-only file system: have its filesystem mounted so that it can be written to"),
    (errno.EIO, "Input/output error"),
]


@pytest.mark.parametrize(("number", "reason"), ADVICE)
class TestDisk:
    """One that does not take what is to be written."""

    @staticmethod
    def spoil(monkeypatch: pytest.MonkeyPatch, number: int, *names: str) -> None:
        def fail(*dummy: object, **dummy_options: object) -> t.NoReturn:
            raise OSError(number, os.strerror(number))

        for name in names:
            monkeypatch.setattr(os, name, fail)

    def test_what_cannot_be_written_is_told_with_the_reason(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
    ) -> None:
        workspace.write("one.json", {"a": 1})
        with monkeypatch.context() as patch:
            self.spoil(patch, number, "open", "unlink")
            for name, do in {
                "a": lambda: workspace.write_text("a", "b"),
                "one.json.new": lambda: workspace.write("one.json", {}),
                "one.json": lambda: workspace.delete("one.json"),
            }.items():
                with pytest.raises(UpdateError) as caught:
                    do()
                assert str(caught.value) == f"cannot write to {workspace.file(name)}: {reason}"
        assert workspace.read("one.json") == {"a": 1}

    def test_a_folder_that_cannot_be_made_as_well(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
    ) -> None:
        path = tmp_path / "other"
        self.spoil(monkeypatch, number, "mkdir")
        with pytest.raises(UpdateError) as caught:
            Workspace(str(path)).make()
        assert str(caught.value) == f"cannot make the folder {path}: {reason}"

    def test_what_was_written_in_part_does_not_stay(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
    ) -> None:
        self.spoil(monkeypatch, number, "rename")
        with pytest.raises(UpdateError, match=reason):
            workspace.write("one.json", {})
        assert os.listdir(workspace.path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is not here")
def test_a_disk_that_is_full_only_once_it_is_written_to(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "file", lambda dummy_name: "/dev/full")
    with pytest.raises(UpdateError) as caught:
        workspace.write_text("a", "b")
    assert str(caught.value) == "cannot write to /dev/full: No space left on device: make space there"
