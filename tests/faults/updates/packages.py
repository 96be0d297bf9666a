# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Small packages in an old and a new version, for apt and for dnf, and the repositories in hosts that offer them.

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import typing as t
from email.utils import formatdate
from pathlib import Path

from ...fleet.system import run

# Programs that build packages and repositories, and the packages of Debian that bring them.
PROGRAMS = {"createrepo_c": "createrepo-c", "rpm": "rpm", "rpmbuild": "rpm"}

# Where a host has its repositories, and what rpm knows.
SHELF = "srv/packages"
RPM_DATABASE = "/var/lib/rpm"
# While this file is there, the new ij-sleep is not configured. It goes with a reboot.
GATE = "/run/ij-closed"
# What the new ij-sleep leaves when it has come to the gate.
SLEEPING = "/run/ij-sleeping"
# What the new ij-fails says.
COMPLAINT = "ij-fails: the old data cannot be converted"
SERVICE = "ij-service.service"
CONFFILE = "/etc/ij-conffile.conf"

# No test needs a gate that is closed for longer; a test that went wrong must not leave apt waiting for ever.
SLEEP = f"""\
touch {SLEEPING}
i=0
while [ -e {GATE} ] && [ $i -lt 1800 ]; do sleep 0.1; i=$((i + 1)); done
rm -f {SLEEPING}
"""
FAIL = f"""\
echo "{COMPLAINT}" >&2
exit 1
"""
# As a package of a server does it: one that does not start is nothing that the package manager hears of.
RESTART = f"""\
systemctl daemon-reload
systemctl enable --quiet {SERVICE}
systemctl restart {SERVICE} || true
"""
UNIT = """\
[Unit]
Description=A small server

[Service]
ExecStart=/usr/lib/ij-service/run

[Install]
WantedBy=multi-user.target
"""
ASK_FOR_REBOOT = """\
touch /run/reboot-required
echo ij-reboot >> /run/reboot-required.pkgs
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Package:
    """A package in one version.

    files: contents by path; those in /usr/lib can be run, those in /etc are configuration. configure, remove: what the
    shell does then. depends, conflicts: names of packages. security: whether it comes from the security repository.
    """

    name: str
    version: str
    files: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    configure: str = ""
    remove: str = ""
    depends: str = ""
    conflicts: str = ""
    provides: str = ""
    security: bool = False

    def __str__(self) -> str:
        return f"{self.name}_{self.version}"


def _pair(name: str, *, new: str = "2.0", **of_new: t.Any) -> list[Package]:
    """The old and the new version of a package; the old one has and does nothing."""
    return [Package(name, "1.0"), Package(name, new, **of_new)]


def _service(version: str, program: str) -> Package:
    files = {"/usr/lib/ij-service/run": f"#!/bin/sh\n{program}\n", f"/lib/systemd/system/{SERVICE}": UNIT}
    return Package("ij-service", version, files, RESTART, remove=f"systemctl disable --quiet --now {SERVICE}")


PACKAGES = (
    *_pair("ij-plain"),
    Package("ij-plain-old", "1.0"),
    *(Package("ij-conffile", version, {CONFFILE: f"version = {version}\n"}) for version in ("1.0", "2.0")),
    *_pair("ij-sleep", configure=SLEEP),
    *_pair("ij-fails", configure=FAIL),
    _service("1.0", "exec sleep infinity"),
    _service("2.0", "echo 'the setting colour is not known any more' >&2; exit 1"),
    *_pair("ij-reboot", configure=ASK_FOR_REBOOT),
    *_pair("ij-held"),
    *_pair("ij-pulls", depends="ij-new"),
    Package("ij-new", "2.0"),
    *_pair("ij-removes", conflicts="ij-plain-old"),
    *_pair("ij-secure"),
    Package("ij-secure", "1.1", security=True),
    # Stands for openssh-server, of which there is no second version here: what its own package does at the end.
    *_pair("ij-sshd", configure="systemctl restart ssh.service\n"),
)
# Of these there are rpm packages too. The scripts need a shell, and the database of a Debian with dnf has none.
RPM_NAMES = {"ij-plain", "ij-conffile", "ij-sleep", "ij-fails", "ij-pulls", "ij-new"}
SHELL = Package("ij-shell", "1.0", provides="/bin/sh")
RPM_PACKAGES = (SHELL, *(package for package in PACKAGES if package.name in RPM_NAMES))


@dataclasses.dataclass(frozen=True)
class Repository:
    """One that apt reads."""

    name: str
    label: str
    suite: str

    def release(self, index: bytes) -> str:
        """The file Release."""
        digest = hashlib.sha256(index).hexdigest()
        return (
            f"Origin: Inflight\nLabel: {self.label}\nSuite: {self.suite}\nCodename: {self.suite}\nVersion: 1\n"
            f"Architectures: all\nDate: {formatdate(usegmt=True)}\nSHA256:\n {digest} {len(index)} Packages\n"
        )


REPOSITORIES = {
    False: Repository("main", "Inflight", "stable"),
    True: Repository("security", "Inflight-Security", "stable-security"),
}
SOURCES = "".join(f"deb [trusted=yes] file:/{SHELF}/apt/{one.name} ./\n" for one in REPOSITORIES.values())
# As an administrator names it for unattended-upgrades.
SECURITY_ORIGIN = 'Unattended-Upgrade::Origins-Pattern { "origin=Inflight,label=Inflight-Security"; };\n'

DNF_REPOSITORY = f"""\
[ij]
name=Small packages
baseurl=file:///{SHELF}/rpm
gpgcheck=0
"""
# What a system of the RHEL family knows of itself; else dnf complains at each run.
DNF_SETTINGS = """\
[main]
gpgcheck=1
best=True
module_platform_id=platform:ij1
"""


class Packages:
    """The packages, built in a folder, and what hosts offer of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._debs: dict[Package, tuple[Path, str]] = {}
        self._rpms: dict[Package, Path] = {}
        for package in PACKAGES:
            self._debs[package] = self._make_deb(package)
        for package in RPM_PACKAGES:
            self._rpms[package] = self._make_rpm(package)

    # On a host

    def prepare(self, root: Path) -> None:
        """Have apt and dnf of a host know these repositories and no other.

        :param root: the filesystem of the host.
        """
        for path in (root / "etc/apt/sources.list.d").iterdir():
            path.unlink()
        for name, text in {
            "etc/apt/sources.list": SOURCES,
            "etc/apt/apt.conf.d/52ij-security": SECURITY_ORIGIN,
            "etc/yum.repos.d/ij.repo": DNF_REPOSITORY,
            "etc/dnf/dnf.conf": DNF_SETTINGS,
            "etc/dnf/vars/releasever": "1\n",
            # On Debian it is in the home of the user.
            "etc/rpm/macros": f"%_dbpath {RPM_DATABASE}\n",
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")

    def publish(self, root: Path, *names: str) -> None:
        """Offer the old version of all packages, and the new ones of these packages."""
        self._publish_debs(root / SHELF / "apt", names)
        self._publish_rpms(root / SHELF / "rpm", names)

    def _publish_debs(self, folder: Path, names: t.Collection[str]) -> None:
        for security, repository in REPOSITORIES.items():
            place = folder / repository.name
            place.mkdir(parents=True, exist_ok=True)
            entries = []
            for package, (path, control) in self._debs.items():
                if package.security == security and _is_wanted(package, names):
                    shutil.copy(path, place)
                    content = path.read_bytes()
                    digest = hashlib.sha256(content).hexdigest()
                    entries.append(f"{control}Filename: ./{path.name}\nSize: {len(content)}\nSHA256: {digest}\n")
            index = "\n".join(entries).encode()
            (place / "Packages").write_bytes(index)
            (place / "Release").write_text(repository.release(index), encoding="utf-8")

    def _publish_rpms(self, folder: Path, names: t.Collection[str]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for package, path in self._rpms.items():
            if _is_wanted(package, names):
                shutil.copy(path, folder)
        run("createrepo_c", "--quiet", folder)

    def old_debs(self) -> list[str]:
        """The files of the old versions, by their paths in a host."""
        main = REPOSITORIES[False].name
        return [
            f"/{SHELF}/apt/{main}/{self._debs[package][0].name}" for package in PACKAGES if package.version == "1.0"
        ]

    def old_rpms(self) -> list[str]:
        """The names of what dnf can install of the old versions."""
        return [package.name for package in RPM_PACKAGES if package.version == "1.0"]

    # Building

    def _tree(self, package: Package, kind: str) -> Path:
        """A folder with the files of a package."""
        tree = self._folder / kind / str(package)
        tree.mkdir(parents=True)
        for name, text in package.files.items():
            path = tree / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755 if name.startswith("/usr/lib/") else 0o644)
        return tree

    def _make_deb(self, package: Package) -> tuple[Path, str]:
        """The file of a package, and what an index says of it."""
        tree = self._tree(package, "deb")
        fields = {
            "Package": package.name,
            "Version": package.version,
            "Architecture": "all",
            "Maintainer": "The inflight.jobs contributors <nobody@example.org>",
            "Depends": package.depends,
            "Conflicts": package.conflicts,
            "Description": f"a small package, {package.version}",
        }
        control = "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
        members = {
            "control": control,
            "conffiles": "".join(f"{name}\n" for name in package.files if name.startswith("/etc/")),
            "postinst": _script("configure", package.configure),
            "prerm": _script("remove", package.remove),
        }
        (tree / "DEBIAN").mkdir()
        for name, text in members.items():
            if text:
                path = tree / "DEBIAN" / name
                path.write_text(text, encoding="utf-8")
                path.chmod(0o755 if text.startswith("#!") else 0o644)
        path = tree.with_name(f"{package}_all.deb")
        run("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, path)
        return path, control

    def _make_rpm(self, package: Package) -> Path:
        """The file of a package."""
        tree = self._tree(package, "rpm")
        spec = tree.with_name(f"{package}.spec")
        files = [f"%config(noreplace) {name}" if name.startswith("/etc/") else name for name in package.files]
        fields = {
            "Name": package.name,
            "Version": package.version,
            "Release": "1",
            "Summary": "A small package",
            "License": "GPL-3.0-or-later",
            "BuildArch": "noarch",
            "AutoReqProv": "no",
            "Requires": package.depends,
            "Conflicts": package.conflicts,
            "Provides": package.provides,
        }
        sections = {
            "%description": "A small package.",
            "%install": f"cp -a {tree}/. %{{buildroot}}/",
            "%post": package.configure,
            "%files": "\n".join(files),
        }
        header = "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
        body = "".join(f"\n{name}\n{text}\n" for name, text in sections.items() if text or name == "%files")
        spec.write_text(header + body, encoding="utf-8")
        run("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {tree}.build", "--define", f"_rpmdir {tree}.rpm", spec)
        return next(Path(f"{tree}.rpm").glob("noarch/*.rpm"))


def _is_wanted(package: Package, names: t.Collection[str]) -> bool:
    # What is needed by a new version comes with it; it is not there before.
    needed_by = next((one.name for one in PACKAGES if package.name in one.depends.split()), None)
    return (package.version == "1.0" and not needed_by) or package.name in names or needed_by in names


def _script(action: str, text: str) -> str:
    """A script of a deb package that does something in one of the cases in which it is called."""
    return f'#!/bin/sh\nset -e\n[ "$1" = {action} ] || exit 0\n{text}' if text else ""
