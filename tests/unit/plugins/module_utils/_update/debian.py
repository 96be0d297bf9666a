# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A Debian in a folder: the real apt and dpkg of this machine, with a database, repositories and settings of its own.

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import typing as t
from email.utils import formatdate
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._update import apt
from ansible_collections.inflight.jobs.plugins.module_utils._update.apt import Apt
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import Workspace

from .hosts import Answer

PROGRAMS = ("apt-get", "apt-cache", "apt-mark", "dpkg", "dpkg-deb", "dpkg-query")
HAS_APT = all(map(shutil.which, PROGRAMS))
needs_apt = pytest.mark.skipif(not HAS_APT, reason="apt and dpkg are not here")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="dpkg installs packages for root alone")

NATIVE = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip() if HAS_APT else ""
FOREIGN = "i386" if NATIVE != "i386" else "amd64"

OPTIONS: dict[str, t.Any] = {
    "manager": "apt",
    "type": "safe",
    "security_only": False,
    "only": [],
    "exclude": [],
    "hold": [],
    "allow_remove": False,
    "cache_valid_time": 3600,
    "lock_timeout": 0,
    "pause_timers": False,
}

# Whose origin a version is: label and suite.
MAIN, SECURITY = ("Small", "stable"), ("Small-Security", "stable-security")


@dataclasses.dataclass
class Deb:
    """A package in one version.

    state: of dpkg, for one that is installed. fields: others of its control file, such as Depends.
    """

    name: str
    version: str
    arch: str = "all"
    state: str = "install ok installed"
    fields: dict[str, str] = dataclasses.field(default_factory=dict)

    def control(self) -> str:
        words = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": self.arch,
            "Maintainer": "Nobody <nobody@example.org>",
            **self.fields,
            "Description": "a small package",
        }
        return "".join(f"{name}: {value}\n" for name, value in words.items())


def deb(name: str, version: str, arch: str = "all", state: str = "install ok installed", **fields: str) -> Deb:
    return Deb(name, version, arch, state, fields)


class Debian:
    """The system, and run_command of a module on it.

    answers: what programs say that are not run, by how a command begins.
    """

    def __init__(self, root: Path, workspace: Workspace) -> None:
        self.root = root
        self.workspace = workspace
        self.answers: dict[str, Answer] = {}
        self.environment: dict[str, str] = {}
        for name in (
            *("etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d"),
            *("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"),
            *("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt", "tmp"),
        ):
            (root / name).mkdir(parents=True)
        # Nobody has ever fetched a list.
        os.utime(root / "var/lib/apt/lists", (0, 0))
        self._repositories: dict[tuple[str, str], list[Deb]] = {MAIN: [], SECURITY: []}
        self.have()
        self.offer()
        sources = "".join(f"deb [trusted=yes] file:{self._place(of)} ./\n" for of in self._repositories)
        (root / "etc/apt/sources.list").write_text(sources, encoding="ascii")

    def _place(self, of: tuple[str, str]) -> Path:
        return self.root / "srv" / of[1]

    def have(self, *debs: Deb) -> None:
        """These are installed, and nothing else. They have no files."""
        status = "\n".join(f"{one.control()}Status: {one.state}\n" for one in debs)
        (self.root / "var/lib/dpkg/status").write_text(status, encoding="ascii")

    def offer(self, *debs: Deb, of: tuple[str, str] = MAIN, build: bool = False) -> None:
        """A repository has these, and nothing else.

        :param build: whether they can be installed, and not only be spoken of.
        """
        self._repositories[of] = list(debs)
        for origin, offered in self._repositories.items():
            place = self._place(origin)
            place.mkdir(parents=True, exist_ok=True)
            index = "\n".join(self._entry(place, one, build) for one in offered).encode()
            (place / "Packages").write_bytes(index)
            (place / "Release").write_text(
                f"Origin: Small\nLabel: {origin[0]}\nSuite: {origin[1]}\nCodename: {origin[1]}\nVersion: 1\n"
                f"Architectures: all {NATIVE} {FOREIGN}\nDate: {formatdate(usegmt=True)}\n"
                f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n",
                encoding="ascii",
            )

    def _entry(self, place: Path, one: Deb, build: bool) -> str:
        path = place / f"{one.name}_{one.version.replace(':', '%3a')}_{one.arch}.deb"
        content = b"nothing"
        if build:
            tree = self.root / "tmp" / path.stem
            (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
            tree.chmod(0o755)
            (tree / "DEBIAN").chmod(0o755)
            (tree / "DEBIAN/control").write_text(one.control(), encoding="ascii")
            subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, path], check=True, stdout=-3)
            content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        return f"{one.control()}Filename: ./{path.name}\nSize: {len(content)}\nSHA256: {digest}\n"

    def put(self, name: str, text: str) -> Path:
        """Give it a file."""
        path = self.root / name
        path.write_text(text, encoding="utf-8")
        return path

    def run(
        self, command: list[str], environ_update: dict[str, str] | None = None, **options: t.Any
    ) -> tuple[int, str, str]:
        if options.get("expand_user_and_vars", True):
            command = [os.path.expandvars(word) for word in command]
        line = " ".join(command)
        with (self.root / "tmp/asked").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        for begin, (exit_code, output) in self.answers.items():
            if line.startswith(begin):
                return exit_code, output, ""
        environment = {**os.environ, **self.environment, **(environ_update or {})}
        own = self.root / "tmp/private.conf"
        given = environment.get("APT_CONFIG")
        own.write_text(
            f'Dir "{self.root}/";\nDir::State::status "{self.root}/var/lib/dpkg/status";\n'
            f'APT::Architectures {{ "{NATIVE}"; "{FOREIGN}"; }};\nAPT::Sandbox::User "root";\n'
            f'DPkg::Options {{ "--root={self.root}"; "--force-not-root"; "--log={self.root}/var/log/dpkg.log"; }};\n'
            + (f'#include "{given}";\n' if given and os.path.exists(given) else ""),
            encoding="ascii",
        )
        environment.update(
            APT_CONFIG=str(own),
            DPKG_ADMINDIR=str(self.root / "var/lib/dpkg"),
            DPKG_FORCE="not-root",
            PATH=f"{os.environ['PATH']}:/usr/sbin:/sbin",
        )
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, stdin=-3)
        return done.returncode, done.stdout, done.stderr

    @property
    def asked(self) -> list[str]:
        """The commands that were run, also by other processes."""
        path = self.root / "tmp/asked"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def apt(self, **options: t.Any) -> Apt:
        """What is under test, with these options, and with lists of packages that are new."""
        found = Apt({**OPTIONS, **options}, self.run, self.workspace)
        found.configure()
        found.refresh(0, 0)
        return found

    def upgrade(self, command: str = "upgrade") -> None:
        """Do as core's module apt does with the environment that the role gives it."""
        more = ["--with-new-pkgs"] if command == "upgrade" else []
        words = ["apt-get", "-y", "-o", "Dpkg::Options::=--force-confold", command, *more]
        path = self.workspace.file(apt.CONFIG)
        exit_code, output, complaints = self.run(words, {"APT_CONFIG": path, "DEBIAN_FRONTEND": "noninteractive"})
        assert exit_code == 0, output + complaints

    def settings(self) -> dict[str, str]:
        """All files that belong to the administrator."""
        paths = [*(self.root / "etc").rglob("*"), self.root / "var/lib/dpkg/status"]
        return {str(path): path.read_text(encoding="utf-8") for path in paths if path.is_file()}


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    workspace = Workspace(str(tmp_path / "workspace"))
    workspace.make()
    root = tmp_path / "root"
    monkeypatch.setattr(apt, "_ETC", str(root / "etc/apt"))
    monkeypatch.setattr(apt, "_ARCHIVES", str(root / "var/cache/apt/archives"))
    monkeypatch.setattr(apt, "_LISTS", str(root / "var/lib/apt/lists"))
    monkeypatch.setattr(apt, "_STAMPS", (str(root / "var/lib/apt/stamp"), str(root / "var/lib/apt/lists")))
    monkeypatch.setattr(apt, "_JOURNAL", str(root / "var/lib/dpkg/updates"))
    monkeypatch.setattr(apt, "_LOCK_PAUSE", 0.05)
    return Debian(root, workspace)
