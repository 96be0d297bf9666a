# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# What the actions backup_report and update_report have in common: where a report goes.
import json
import os
import re
import stat
import typing as t
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.inflight.jobs.plugins.action import backup_report, update_report
from ansible_collections.inflight.jobs.plugins.plugin_utils import _report_files

Result = dict[str, t.Any]


class Kind(t.NamedTuple):
    """A report. title, prefix: what it and its files are called if nothing is said. good: a result of a host.

    totals, would: what is said of that result, and of it in check mode.
    """

    action: type[backup_report.ActionModule | update_report.ActionModule]
    title: str
    prefix: str
    good: Result
    totals: str
    would: str


BACKUP = Kind(
    backup_report.ActionModule,
    "Backup report",
    "backup",
    {"state": "ok", "sets": [{"set": "etc", "state": "succeeded", "bytes": 5, "seconds": 1.0}]},
    "1 of 1 set saved, 0.0K (1.0s one after the other)",
    "1 of 1 set would be saved",
)
UPDATE = Kind(
    update_report.ActionModule,
    "Update report",
    "update",
    {"state": "ok", **{key: [{"name": "openssl", "old": "1", "new": "2"}] for key in ("packages", "planned")}},
    "1 package changed on 1 host",
    "1 package would change on 1 host",
)
BAD: Result = {"state": "failed", "msg": "disk full"}


class Play:
    """Runs the action for a task of a playbook in a folder, and takes down what it shows."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.folder = folder
        self.kind = kind
        self.check_mode = False
        self.no_log = False
        self.shown: list[str] = []
        self.columns = 200

    def display(self, line: str, **dummy_options: t.Any) -> None:
        self.shown.append(line)

    def run(self, results: Result, **arguments: t.Any) -> Result:
        loader = DataLoader()
        loader.set_basedir(str(self.folder))
        args = {"results": results, **arguments}
        task = MagicMock(Task, async_val=0, check_mode=self.check_mode, no_log=self.no_log, environment=[], args=args)
        others = {name: MagicMock() for name in ("connection", "play_context", "templar", "shared_loader_obj")}
        return self.kind.action(task, loader=loader, **others).run(task_vars={})


@pytest.fixture(params=[BACKUP, UPDATE], ids=lambda kind: kind.prefix)
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Play:
    made = Play(tmp_path, request.param)
    monkeypatch.setattr(_report_files, "display", made)
    return made


def test_both_files_are_written_beside_the_playbook_for_nobody_else_to_read(play: Play) -> None:
    result = play.run({"web1": play.kind.good, "web2": BAD})
    folder = play.folder / "reports"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(result["files"]) == sorted(str(path) for path in folder.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    data, page = (Path(path).read_text(encoding="utf-8") for path in result["files"])
    assert json.loads(data)["state"] == "failed"
    assert page.startswith(f"# {play.kind.title}: 1 of 2 hosts failed\n")
    assert re.fullmatch(play.kind.prefix + r"-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}\.json", Path(result["files"][0]).name)


def test_what_is_returned(play: Play) -> None:
    result = play.run({"web1": play.kind.good, "web2": BAD}, title="Nightly")
    assert (result["changed"], result["state"]) == (False, "failed")
    assert result["failed_hosts"] == {"web2": "disk full"}
    assert result["msg"] == f"1 of 2 hosts failed; {play.kind.totals}"
    assert result["text"].startswith("Nightly: 1 of 2 hosts failed\n")
    assert not result.get("failed")


def test_the_table_is_at_most_80_columns_wide(play: Play) -> None:
    play.run({"web1": play.kind.good, "web2": {"state": "failed", "msg": "x" * 300}})
    assert max(map(len, play.shown)) == 80
    assert play.shown[1].startswith("web2 ")
    assert "x" * 20 in play.shown[1]
    assert play.shown[-1] == f"1 of 2 hosts failed; {play.kind.totals}"


def test_two_reports_of_the_same_second_are_two(play: Play) -> None:
    for dummy in range(3):
        play.run({"web1": play.kind.good})
    assert len(list((play.folder / "reports").iterdir())) == 6


def test_a_report_with_a_name_replaces_the_last_one_of_that_name(play: Play) -> None:
    play.run({"web1": play.kind.good}, name="latest", directory="x/y", formats=["json"])
    assert play.run({"web1": BAD}, name="latest", directory="x/y", formats=["json"])["files"] == [
        str(play.folder / "x" / "y" / "latest.json")
    ]
    assert [path.name for path in (play.folder / "x" / "y").iterdir()] == ["latest.json"]
    assert json.loads((play.folder / "x" / "y" / "latest.json").read_text(encoding="utf-8"))["state"] == "failed"


def test_a_link_in_the_place_of_a_report_is_replaced_and_not_followed(play: Play) -> None:
    other = play.folder / "other"
    other.write_text("mine", encoding="utf-8")
    (play.folder / "latest.md").symlink_to(other)
    play.run({"web1": play.kind.good}, name="latest", directory=str(play.folder))
    assert other.read_text(encoding="utf-8") == "mine"
    assert not (play.folder / "latest.md").is_symlink()


def test_check_mode_writes_nothing_and_says_what_it_would(play: Play) -> None:
    play.check_mode = True
    result = play.run({"web1": play.kind.good}, name="latest")
    assert list(play.folder.iterdir()) == []
    assert result["files"] == [str(play.folder / "reports" / name) for name in ("latest.json", "latest.md")]
    assert result["msg"].startswith(f"1 host succeeded; {play.kind.would}; would write ")
    assert f"would write {result['files'][1]}" in result["msg"]


def test_without_formats_nothing_is_written(play: Play) -> None:
    assert play.run({"web1": play.kind.good}, formats=[])["files"] == []
    assert list(play.folder.iterdir()) == []
    assert play.shown


def test_no_log_shows_nothing(play: Play) -> None:
    play.no_log = True
    play.run({"web1": BAD})
    assert play.shown == []


def test_a_folder_that_cannot_be_written_is_one_clear_error_that_keeps_the_result(play: Play) -> None:
    (play.folder / "reports").write_text("", encoding="utf-8")
    with pytest.raises(AnsibleActionFail, match=r"directory: cannot write the report to .*/reports: ") as caught:
        play.run({"web1": BAD})
    assert caught.value.result["failed_hosts"] == {"web1": "disk full"}
    assert caught.value.result["files"] == []
    assert play.shown


def test_what_cannot_be_written_in_full_leaves_nothing(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(dummy: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(AnsibleActionFail, match="No space left on device"):
        play.run({"web1": BAD})
    assert list((play.folder / "reports").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "../x"}, r"name is '\.\./x': "),
        ({"name": ".hidden"}, "name is '.hidden': "),
        ({"name": ""}, "name is '': "),
        ({"name": "x\n"}, "name is "),
        ({"name": "x" * 101}, "name is "),
        ({"formats": ["pdf"]}, "formats"),
        ({"results": [1]}, "results"),
        ({"results": None}, "results"),
        ({"patience": 5}, "patience"),
    ],
)
def test_bad_options_are_one_clear_error(play: Play, arguments: Result, message: str) -> None:
    with pytest.raises(AnsibleActionFail, match=message):
        play.run(**{"results": {"web1": play.kind.good}, **arguments})
    assert list(play.folder.iterdir()) == []
