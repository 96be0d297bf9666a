# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import (
    Change,
    Package,
    changes_between,
    files_beside,
    matching,
)


def old(name: str, version: str, arch: str = "amd64") -> Package:
    return Package(name, arch, version)


class TestChanges:
    def test_updates_with_where_they_come_from_new_ones_and_removals_by_name(self) -> None:
        before = [old("b", "1.0"), old("same", "1"), old("a", "1:1.0"), old("gone", "3")]
        after = [old("new", "5"), old("same", "1"), old("a", "1:2.0"), old("b", "2.0")]
        assert changes_between(before, after, {"a": "Debian:12/stable", "new": None, "gone": "Debian"}) == [
            Change("a", "amd64", "1:1.0", "1:2.0", "Debian:12/stable"),
            Change("b", "amd64", "1.0", "2.0"),
            Change("gone", "amd64", "3", None),
            Change("new", "amd64", None, "5"),
        ]

    def test_nothing_has_changed_whatever_the_order(self) -> None:
        packages = [old("a", "1"), old("b", "2"), old("a", "1", "i386")]
        assert changes_between(packages, reversed(packages), {}) == []

    def test_a_kernel_beside_the_others_is_a_new_one_and_one_that_makes_room_a_removed_one(self) -> None:
        kernels = [old("kernel", version) for version in ("5.14-1", "5.14-2", "5.14-3")]
        new = old("kernel", "5.14-10")
        assert changes_between(kernels[:2], [*kernels[:2], new], {"kernel": "baseos"}) == [
            Change("kernel", "amd64", None, "5.14-10", "baseos")
        ]
        # With a limit of three, the oldest goes in the same transaction.
        assert changes_between(kernels, [*kernels[1:], new], {}) == [Change("kernel", "amd64", "5.14-1", "5.14-10")]
        assert changes_between(kernels, [kernels[2], new], {"kernel": "baseos"}) == [
            Change("kernel", "amd64", "5.14-1", None),
            Change("kernel", "amd64", "5.14-2", None),
            Change("kernel", "amd64", None, "5.14-10", "baseos"),
        ]

    def test_each_architecture_is_a_package_of_its_own(self) -> None:
        before = [old("libc6", "1"), old("libc6", "1", "i386")]
        after = [old("libc6", "2"), old("libc6", "1", "i386"), old("libc6", "2", "arm64")]
        assert changes_between(before, after, {}) == [
            Change("libc6", "amd64", "1", "2"),
            Change("libc6", "arm64", None, "2"),
        ]

    def test_one_that_has_got_another_architecture_has_gone_and_come(self) -> None:
        assert changes_between([old("a", "1", "all")], [old("a", "2")], {}) == [
            Change("a", "all", "1", None),
            Change("a", "amd64", None, "2"),
        ]

    def test_a_downgrade_is_a_change(self) -> None:
        assert changes_between([old("a", "2")], [old("a", "1")], {}) == [Change("a", "amd64", "2", "1")]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], set()),
        (["nginx"], {"nginx"}),
        (["nginx*"], {"nginx", "nginx-common"}),
        (["linux-*-6.?", "NGINX"], {"linux-image-6.1"}),
        (["*"], {"nginx", "nginx-common", "linux-image-6.1"}),
    ],
)
def test_names_are_matched_whole_and_as_they_are_written(patterns: list[str], expected: set[str]) -> None:
    assert matching(["nginx", "nginx-common", "linux-image-6.1"], patterns) == expected


class TestFilesBeside:
    def test_those_of_every_package_manager_are_found_wherever_they_are(self, tmp_path: Path) -> None:
        wanted = ["a.conf.dpkg-dist", "deep/down/b.ucf-dist", "c.rpmnew", "d.rpmsave", "e.dpkg-new"]
        for name in [*wanted, "a.conf", "a.dpkg-dist.conf", "dpkg-old"]:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        assert set(files_beside(str(tmp_path))) == {str(tmp_path / name) for name in wanted}

    def test_one_that_is_put_there_again_is_told_from_the_old_one(self, tmp_path: Path) -> None:
        path = tmp_path / "a.rpmnew"
        path.touch()
        os.utime(path, (1, 1))
        before = files_beside(str(tmp_path))
        os.utime(path, (2, 2))
        assert files_beside(str(tmp_path)) != before

    def test_links_to_nowhere_and_folders_that_are_not_there_do_no_harm(self, tmp_path: Path) -> None:
        (tmp_path / "a.rpmnew").symlink_to("/nowhere/at/all")
        assert list(files_beside(str(tmp_path))) == [str(tmp_path / "a.rpmnew")]
        assert files_beside(str(tmp_path / "none")) == {}
