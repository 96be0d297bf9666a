# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import tempfile
import typing as t
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils._backup import tar
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Compression
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import End, Pipeline
from ansible_collections.inflight.jobs.plugins.module_utils._backup.tar import Archive, Member

from .backups import as_plain_user, mounted, needs_root, open_folder

PLAIN = Compression("none")
# More than what is in the pipe from tar and in its own buffers.
LARGE = 2_000_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


def put(path: Path, content: str | bytes = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def members_of(path: Path | str) -> list[Member]:
    with Pipeline([tar.detailed_listing()], source=str(path)) as pipeline:
        found = list(tar.members(pipeline))
    assert [end.exit_code for end in pipeline.ends] == [0]
    return found


def names_in(
    source: Path,
    exclude: t.Sequence[str] = (),
    destination: str = "/nowhere",
    paths: t.Sequence[str] = (),
    **more: t.Any,
) -> set[str]:
    """Archive the source, and tell the names of the members, relative to it."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(paths or [str(source)], exclude, destination, **more)
        record, dummy = archive.write(folder, PLAIN)
        found = members_of(f"{folder}/files.tar")
        assert record["members"] == len(found)
        assert record["exit_code"] == 0
        assert record["content_bytes"] == record["bytes"]
    top = paths[0] if paths else str(source)
    return {os.path.relpath("/" + os.fsdecode(member.path), top) for member in found}


# What is in an archive


def test_an_archive_has_the_paths_and_all_below_them(source: Path) -> None:
    put(source / "a" / "b")
    put(source / "c")
    assert names_in(source) == {".", "a", "a/b", "c"}


def test_a_pattern_with_a_slash_in_front_is_a_whole_path(source: Path) -> None:
    for name in ("cache/x", "sub/cache/x", "a1", "a2", "sub/a1"):
        put(source / name)
    left = {".", "sub", "sub/cache", "sub/cache/x", "a1", "a2", "sub/a1"}
    assert names_in(source, [f"{source}/cache"]) == left
    assert names_in(source, [f"{source}/cache/"]) == left
    assert names_in(source, [f"{source}/a?"]) == {".", "sub", "sub/cache", "sub/cache/x", "sub/a1", "cache", "cache/x"}
    assert names_in(source, [f"{source}/*/x"]) == {".", "sub", "sub/cache", "sub/a1", "cache", "a1", "a2"}


def test_any_other_pattern_is_a_name_or_the_end_of_a_path(source: Path) -> None:
    for name in ("a.tmp", "sub/b.tmp", "sub/keep", "x/cache/y", "cache", "my-cache/z"):
        put(source / name)
    assert names_in(source, ["*.tmp"]) == {
        ".",
        "sub",
        "sub/keep",
        "x",
        "x/cache",
        "x/cache/y",
        "cache",
        "my-cache",
        "my-cache/z",
    }
    assert names_in(source, ["cache", "*.tmp"]) == {".", "sub", "sub/keep", "x", "my-cache", "my-cache/z"}
    assert "x/cache/y" not in names_in(source, ["cache/y"])
    assert "x/cache" in names_in(source, ["cache/y"])


def test_a_pattern_may_begin_with_a_dash_or_have_a_space(source: Path) -> None:
    put(source / "-x")
    put(source / "a b")
    assert names_in(source, ["-x", "a b"]) == {"."}


def test_the_destination_is_never_part_of_a_backup(source: Path) -> None:
    put(source / "kept")
    for name in ("backups", "b[a]ck*ps", "back\\ups", "-backups"):
        put(source / name / "etc" / "old")
        assert names_in(source, destination=str(source / name)) == {".", "kept"}
        shutil.rmtree(source / name)


def test_the_destination_is_not_part_of_a_backup_by_another_name_either(source: Path, tmp_path: Path) -> None:
    put(source / "sub" / "backups" / "old")
    put(source / "sub" / "kept")
    (tmp_path / "link").symlink_to(source)
    paths = [str(tmp_path / "link" / "sub")]
    assert names_in(source, destination=str(source / "sub" / "backups"), paths=paths) == {".", "kept"}


def test_what_only_begins_like_the_destination_is_part_of_it(source: Path) -> None:
    put(source / "backups" / "old")
    put(source / "backups2" / "kept")
    assert names_in(source, destination=str(source / "backups")) == {".", "backups2", "backups2/kept"}


@needs_root
def test_other_filesystems_are_left_out_unless_they_are_wanted(source: Path) -> None:
    with mounted(source / "mount"):
        put(source / "mount" / "x")
        assert "mount/x" not in names_in(source)
        assert "mount/x" in names_in(source, one_file_system=False)


def test_a_path_may_begin_with_a_dash_have_a_backslash_or_a_newline(source: Path) -> None:
    names = ["-C", "a\\nb", "c\nd", "--remove-files", "@x", "e "]
    for name in names:
        put(source / name)
    paths = [str(source / name) for name in names]
    found = names_in(source, paths=paths)
    assert found == {os.path.relpath(path, paths[0]) for path in paths}


# Paths that cannot be backed up


def refused(paths: list[str], destination: str = "/nowhere", **more: t.Any) -> str:
    with pytest.raises(BackupError) as error:
        Archive(paths, [], destination, **more)
    return str(error.value)


def test_a_path_must_be_absolute_and_there(source: Path) -> None:
    assert refused(["etc"]) == "paths has 'etc': give paths that begin with a slash"
    missing = f"{source}/missing"
    assert refused([str(source), missing]) == (
        f"paths has {missing}, which is not there: correct it, or set missing_path to warn"
    )
    assert Archive([str(source), missing], [], "/nowhere", missing_path="warn").warnings == [f"{missing} is not there"]
    assert refused([missing], missing_path="warn") == f"there is nothing to back up: none of {missing} is there"


def test_a_path_inside_of_the_destination_is_refused(source: Path, tmp_path: Path) -> None:
    path = put(source / "etc" / "x").parent
    (tmp_path / "link").symlink_to(source)
    why = f"which is inside of {source}, where the backups are"
    assert refused([str(path)], str(source)) == f"paths has {path}, {why}"
    assert refused([str(source)], str(source)) == f"paths has {source}, {why}"
    assert refused([f"{tmp_path}/link/etc"], str(source)) == f"paths has {tmp_path}/link/etc, {why}"


def test_a_symbolic_link_is_backed_up_as_such_with_a_warning(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    put(source / "x")
    path = str(tmp_path / "link")
    assert names_in(source, paths=[path]) == {"."}
    (warning,) = Archive([path], [], "/nowhere").warnings
    assert warning == f"{path} is a symbolic link: the backup has the link, and not what it leads to"


# Files that change while they are read


def end_of(archive: Archive, change: t.Callable[[], object]) -> End:
    """Have tar read, and change something when it has begun.

    It cannot go on before that: nobody reads what it writes.
    """
    with Pipeline([archive.program], counter=archive.counter) as pipeline:
        chunks = pipeline.chunks()
        next(chunks)
        change()
        for dummy in chunks:
            pass
    return pipeline.ends[0]


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def remove_all(source: Path) -> None:
    for path in source.iterdir():
        path.unlink()


# The change, and what tar says of it. However many files there are, tar has opened only one of them by then.
CHANGES: dict[str, tuple[int, t.Callable[[Path], object], str]] = {
    "grows": (1, lambda source: grow(source / "0"), "0: file changed as we read it"),
    "shrinks": (1, lambda source: os.truncate(source / "0", LARGE // 2), "0: File shrank by 1000000 bytes; padding"),
    "goes away": (3, remove_all, "File removed before we read it"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_file_that_changes_is_a_warning_unless_told_otherwise(source: Path, what: str) -> None:
    files, change, said = CHANGES[what]
    for number in range(files):
        put(source / str(number), os.urandom(LARGE))
    paths = [str(source)]
    archive = Archive(paths, [], "/nowhere")
    end = end_of(archive, lambda: change(source))
    assert end.exit_code == 1
    (warning,) = archive.judge(end)
    assert said in warning
    assert "Total bytes" not in warning
    quiet = Archive(paths, [], "/nowhere", file_changed="ok")
    assert quiet.judge(end) == []
    strict = Archive(paths, [], "/nowhere", file_changed="fail")
    with pytest.raises(BackupError, match="tar ended with 1: "):
        strict.judge(end)


def test_a_file_that_cannot_be_read_is_a_failure() -> None:
    with open_folder() as folder:
        put(folder / "source" / "secret").chmod(0)
        (folder / "out").mkdir()
        (folder / "out").chmod(0o777)

        def body() -> None:
            for setting in ("ok", "warn", "fail"):
                archive = Archive([str(folder / "source")], [], "/nowhere", file_changed=setting)
                with pytest.raises(BackupError, match=r"^tar ended with 2: .*secret: Cannot open: Permission denied"):
                    archive.write(tempfile.mkdtemp(dir=folder / "out"), PLAIN)

        as_plain_user(body)


def test_a_warning_has_no_more_than_three_complaints(source: Path) -> None:
    archive = Archive([str(source)], [], "/nowhere")
    complaints = "".join(f"tar: file{number}: file changed as we read it\n" for number in range(5))
    end = End(archive.program, 1, f"{complaints}Total bytes written: 10240 (10KiB, 1MiB/s)\n")
    (warning,) = archive.judge(end)
    assert warning.count("file changed") == 3
    assert warning.endswith(", and 2 more")


# Names


NAMES = st.lists(
    st.binary(min_size=1, max_size=12)
    .map(lambda name: name.replace(b"/", b"\\").replace(b"\0", b" ").replace(b".", b"\n"))
    .filter(lambda name: name not in (b".", b"..")),
    max_size=8,
    unique=True,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=NAMES, data=st.data())
def test_any_name_comes_back_as_it_was_and_can_be_chosen(
    tmp_path: Path, names: list[bytes], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as place:
        top = os.fsencode(place)
        os.mkdir(top + b"/in")
        os.mkdir(top + b"/out")
        for number, name in enumerate(names):
            if number % 3 == 2:
                os.symlink(names[0], top + b"/in/" + name)
            else:
                Path(os.fsdecode(top + b"/in/" + name)).write_bytes(b"x" * number)
        if names:
            os.link(top + b"/in/" + names[0], top + b"/in/hard -> link link to x")
        Archive([f"{place}/in"], [], "/nowhere").write(place, PLAIN)
        found = members_of(f"{place}/files.tar")
        base = f"{place}/in".lstrip("/").encode()
        wanted = {base + b"/" + name for name in names} | ({base + b"/hard -> link link to x"} if names else set())
        assert {member.path for member in found} == wanted | {base}
        sizes = {member.path: member.size for member in found if member.kind == "-"}
        for number, name in enumerate(names):
            if number and number % 3 != 2:
                assert sizes[base + b"/" + name] == number
        for member in found:
            assert (member.target is not None) == (member.kind == "h")
            assert member.target is None or member.target in wanted

        files = [member.name for member in found if member.kind in "-l"]
        chosen = data.draw(st.lists(st.sampled_from(files), unique=True) if files else st.just([]))
        names_file = Path(place, "names")
        names_file.write_bytes(b"".join(name + b"\0" for name in chosen))
        if chosen:
            with Pipeline([tar.extracting(f"{place}/out", str(names_file))], source=f"{place}/files.tar") as pipeline:
                told = [member.name for member in tar.members(pipeline)]
            assert [end.exit_code for end in pipeline.ends] == [0]
            assert sorted(told) == sorted(chosen)
            assert all(os.path.lexists(top + b"/out/" + name) for name in chosen)
        extracted = [name for dummy, dummy_folders, files_there in os.walk(top + b"/out") for name in files_there]
        assert len(extracted) == len(chosen)


def test_a_name_of_tar_is_a_path_below_the_folder() -> None:
    assert tar.path_of(b"./etc/") == b"etc"
    assert tar.path_of(b"etc/x") == b"etc/x"
    assert tar.path_of(b"./") == b""


# Samples


def test_a_sample_has_files_and_symbolic_links_each_as_likely_as_any_other(source: Path) -> None:
    found = [Member(b"%d" % number, "-", 1) for number in range(8)]
    others = [Member(b"d/", "d", 0), Member(b"h", "h", 0, b"0"), Member(b"p", "p", 0), Member(b"c", "c", 0)]
    assert sorted(tar.sample([*found, *others], 10)) == [member.name for member in found]
    assert tar.sample(others, 10) == []
    assert tar.sample(found, 0) == []
    rounds = 4000
    counts = Counter(name for dummy in range(rounds) for name in tar.sample([*found, *others], 2))
    assert len(counts) == len(found)
    # Each is chosen in one of four rounds; five standard deviations would be 137.
    assert all(abs(count - rounds / 4) < 140 for count in counts.values())
