# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Archives of files, by GNU tar.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import fnmatch
import os
import random
import re
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Part, Record
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import End, LineCount, Pipeline, Program

KIND = "tar"

# Everything that a file has: owners by number, ACLs, extended attributes and holes. As the listing of its members is
# read by line, a newline in a name is told as \n.
_COMMON = ["--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", "--quoting-style=escape"]

# "Some files differ", in the manual of GNU tar: a file changed while it was read, or went away.
_DIFFERENT = 1
# How many of the complaints of tar a message has.
_SHOWN = 3


class Sources:
    """The paths that are backed up.

    warnings: what there is to say of them.
    """

    def __init__(
        self, paths: t.Sequence[str], exclude: t.Sequence[str], destination: str, missing_path: str = "fail"
    ) -> None:
        """
        :param exclude: patterns of what is to be left out.
        :param destination: the folder that all backups are in, which is never part of one.
        :param missing_path: fail or warn.
        :raises BackupError: when a path is missing or cannot be in a backup.
        """
        self.warnings: list[str] = []
        self.paths = [found for found in map(_checked, paths) if self._is_there(found, missing_path)]
        if not self.paths:
            raise BackupError(f"there is nothing to back up: none of {', '.join(paths)} is there")
        for path in self.paths:
            if os.path.commonpath([os.path.realpath(path), destination]) == destination:
                raise BackupError(f"paths has {path}, which is inside of {destination}, where the backups are")
            for pattern in exclude:
                if _leaves_out(pattern, path):
                    raise BackupError(
                        f"paths has {path}, which is left out by {pattern!r} in exclude: remove one of them"
                    )

    def _is_there(self, path: str, missing_path: str) -> bool:
        if not os.path.lexists(path):
            if missing_path == "fail":
                raise BackupError(f"paths has {path}, which is not there: correct it, or set missing_path to warn")
            self.warnings.append(f"{path} is not there")
            return False
        if os.path.islink(path):
            self.warnings.append(f"{path} is a symbolic link: the backup has the link, and not what it leads to")
        return True

    def names_of(self, destination: str) -> list[str]:
        """A folder that is never part of a backup, by all names that it has in the archive.

        A path with a symbolic link in it leads to members that are called otherwise than their real paths.
        """
        found = [destination]
        for path in self.paths:
            real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
            if real != path and os.path.commonpath([real, destination]) == real:
                found.append(os.path.join(path, os.path.relpath(destination, real)))
        return found


class Archive(Part):
    """An archive of some paths."""

    def __init__(
        self,
        paths: t.Sequence[str],
        exclude: t.Sequence[str],
        destination: str,
        *,
        one_file_system: bool = True,
        missing_path: str = "fail",
        file_changed: str = "warn",
    ) -> None:
        """
        :param exclude: patterns of the shell: with a slash in front for a whole path, without one for the end of a
            path.
        :param destination: the folder that all backups are in, which is never part of one.
        :param missing_path: fail or warn.
        :param file_changed: ok, warn or fail.
        :raises BackupError: when a path is missing or cannot be in a backup.
        """
        sources = Sources(paths, exclude, destination, missing_path)
        self.warnings = sources.warnings
        self.paths = sources.paths
        self._file_changed = file_changed
        self._given_counter = LineCount()
        super().__init__("files.tar", KIND, self._program(exclude, sources.names_of(destination), one_file_system))
        self.counter = self._given_counter

    def _program(self, exclude: t.Sequence[str], never: t.Sequence[str], one_file_system: bool) -> Program:
        names = [path.lstrip("/") or "." for path in self.paths]
        whole = [pattern.strip("/") for pattern in exclude if pattern.startswith("/") and pattern.strip("/")]
        ends = [pattern.rstrip("/") for pattern in exclude if not pattern.startswith("/") and pattern.rstrip("/")]
        argv = [
            *("tar", "--create", "--file=-", "--format=posix", "--sparse", *_COMMON),
            *("--verbose", f"--index-file={self._given_counter.path}", "--totals", "--warning=no-file-ignored"),
            *(["--one-file-system"] if one_file_system else []),
            # Members of / are called ./etc, all others etc.
            *("--anchored", "--no-wildcards", *_excluded(path.lstrip("/") for path in never)),
            *("--wildcards", "--wildcards-match-slash", *_excluded(whole)),
            *("--no-anchored", *(f"--exclude={pattern}" for pattern in ends)),
            *("--directory=/", "--null", "--verbatim-files-from", "--files-from=-"),
        ]
        return Program(argv, input=b"".join(os.fsencode(name) + b"\0" for name in names))

    def judge(self, end: End) -> list[str]:
        """Warn of files that changed while they were read."""
        if end.exit_code not in (0, _DIFFERENT) or (end.exit_code and self._file_changed == "fail"):
            raise BackupError(end.reason())
        if not end.exit_code or self._file_changed == "ok":
            return self.warnings
        changed = complaints(end)
        more = f", and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        return [*self.warnings, "; ".join(changed[:_SHOWN]) + more]

    def more(self, end: End) -> Record:
        """How large the archive is before it is compressed."""
        found = re.search(r"^Total bytes written: (\d+)", end.complaints, re.MULTILINE)
        return {"content_bytes": int(found.group(1)) if found else None}


def _checked(path: str) -> str:
    if not os.path.isabs(path) or "\0" in path:
        raise BackupError(f"paths has {path!r}: give paths that begin with a slash")
    # Of //etc, which is another place to some systems, normpath leaves both slashes.
    return "/" + os.path.normpath(path).lstrip("/")


def _leaves_out(pattern: str, path: str) -> bool:
    """Whether a pattern leaves out a whole path, or a folder that it is in."""
    wanted = pattern.rstrip("/")
    while path != "/":
        # The ends of the path that begin with a name.
        ends = [path] if pattern.startswith("/") else [path[place + 1 :] for place in _slashes(path)]
        if any(fnmatch.fnmatchcase(end, wanted) for end in ends):
            return True
        path = os.path.dirname(path)
    return False


def _slashes(path: str) -> list[int]:
    return [place for place, letter in enumerate(path) if letter == "/"]


def _excluded(patterns: t.Iterable[str]) -> list[str]:
    return [f"--exclude={prefix}{pattern}" for pattern in patterns for prefix in ("", "./")]


# It is called by its path.
_COMPLAINT = re.compile(r"(?:/\S*/)?tar: (?!Exiting with failure status)(.*)")


def complaints(end: End) -> list[str]:
    """What tar complained about, without its totals and what it says of its exit code."""
    return [found.group(1) for found in map(_COMPLAINT.match, end.complaints.splitlines()) if found]


def listing() -> Program:
    """Lists the members of an archive, one in a line."""
    return Program(["tar", "--list", "--file=-", "--quoting-style=escape"])


# A member in a line of fields, in which a name with a space has a backslash before it.
_DETAILS = ["--verbose", "--quote-chars= "]
_FIELD = re.compile(rb"(?:[^ \\]|\\.)+")


def detailed_listing() -> Program:
    """Lists the members of an archive as members() reads them."""
    return Program([*listing().argv, "--numeric-owner", *_DETAILS])


def copying(folder: str, names: t.Iterable[bytes]) -> Program:
    """Writes an archive of what is in a folder.

    :param names: paths below that folder.
    """
    argv = ["tar", "--create", "--file=-", "--format=posix", "--sparse", *_COMMON, f"--directory={folder}"]
    names_of_all = b"".join((name or b".") + b"\0" for name in names)
    return Program([*argv, "--null", "--verbatim-files-from", "--files-from=-"], input=names_of_all)


def reading() -> Program:
    """Writes the content of all members."""
    return Program(["tar", "--extract", "--to-stdout", "--file=-"])


def extracting(folder: str, names_file: str | None = None) -> Program:
    """Extracts an archive, or some of its members, with all that they had. Tells of them as detailed_listing() does.

    A file that is there is removed and made anew, so that what has a hard link to it elsewhere stays as it is. A folder
    that is there stays, with what is in it.

    :param names_file: has the names of the members, each with a null byte behind it.
    """
    chosen = ["--null", "--verbatim-files-from", "--no-wildcards", f"--files-from={names_file}"] if names_file else []
    return Program(
        [
            *("tar", "--extract", "--file=-", "--preserve-permissions", *_COMMON),
            *("--verbose", *_DETAILS, f"--directory={folder}", *chosen),
        ]
    )


class Member(t.NamedTuple):
    """A member of an archive.

    name: as it is in the archive, of a folder with a slash behind it. kind: the first letter of its mode as ls tells
    it, h for a hard link. size: in bytes. target: the member that a hard link leads to.
    """

    name: bytes
    kind: str
    size: int
    target: bytes | None = None

    @property
    def path(self) -> bytes:
        """Its path below the folder that the archive is extracted to; empty for that folder."""
        return path_of(self.name)


def path_of(name: bytes) -> bytes:
    """The path of a member of this name below the folder that the archive is extracted to."""
    return b"/".join(part for part in name.split(b"/") if part not in (b"", b"."))


def members(pipeline: Pipeline) -> t.Iterator[Member]:
    """The members that detailed_listing() or extracting() tells of."""
    rest = b""
    for chunk in pipeline.chunks():
        *lines, rest = (rest + chunk).split(b"\n")
        for fields in map(_FIELD.findall, lines):
            # A folder that is made for a member has "Creating directory:" where members have their owner.
            if b"/" in fields[1]:
                yield _member(fields)


def _member(fields: list[bytes]) -> Member:
    kind = chr(fields[0][0])
    target = None
    if kind == "h":
        target = _unescaped(fields[-1])
        fields = fields[: -len(("link", "to", "target"))]
    elif kind == "l":
        fields = fields[: -len(("->", "target"))]
    # A device has two numbers instead of a size.
    size = int(fields[2]) if fields[2].isdigit() else 0
    return Member(_unescaped(fields[-1]), kind, size, target)


_ESCAPED = re.compile(rb"\\([0-7]{3}|.)")
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"f": b"\f", b"b": b"\b", b"a": b"\a", b"v": b"\v"}


def _unescaped(name: bytes) -> bytes:
    def character(found: t.Match[bytes]) -> bytes:
        what = found.group(1)
        return bytes([int(what, 8)]) if len(what) == 3 else _LETTERS.get(what, what)

    return _ESCAPED.sub(character, name)


def sample(found: t.Iterable[Member], number: int) -> list[bytes]:
    """The names of so many files and symbolic links, each as likely as any other (algorithm R of Vitter, 1985).

    None of the hard links: one cannot be extracted without the file it leads to, which has its content.
    """
    chosen: list[bytes] = []
    seen = 0
    for member in found:
        if member.kind in "-l":
            seen += 1
            if len(chosen) < number:
                chosen.append(member.name)
            elif random.randrange(seen) < number:
                chosen[random.randrange(number)] = member.name
    return chosen
