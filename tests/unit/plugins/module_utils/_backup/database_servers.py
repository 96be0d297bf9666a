# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Real database servers in temporary folders, reached over a socket alone. They do not run as root.

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

IS_ROOT = os.geteuid() == 0
FOREVER = 60


class Server(t.NamedTuple):
    """options: by which an administrator reaches it. client: a command that takes statements as the administrator."""

    options: dict[str, t.Any]
    client: list[str]
    user: str | None

    def say(self, text: str, *arguments: str) -> str:
        """Run statements; what the server answers."""
        return run([*self.client, *arguments], self.user, text)


def run(command: list[str], user: str | None, text: str = "") -> str:
    """Run a command as a user, or as the one who runs the tests."""
    found = pwd.getpwnam(user) if user else None
    ended = subprocess.run(
        command,
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=FOREVER,
        cwd="/",
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        user=found.pw_uid if found else None,
        group=found.pw_gid if found else None,
        extra_groups=[] if found else None,
        check=False,
    )
    if ended.returncode:
        raise AssertionError(f"{command[0]} ended with {ended.returncode}: {ended.stderr}{ended.stdout}")
    return ended.stdout


def program(name: str, package: str, *patterns: str) -> str:
    """The path of a program, or skip the test."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    places = [path for pattern in patterns for path in sorted(glob.glob(f"{pattern}/{name}"))]
    if not found and not places:
        pytest.skip(f"needs {name} of the package {package}")
    return str(found or places[-1])


@contextlib.contextmanager
def folder_of(user: str) -> Iterator[tuple[Path, str | None]]:
    """A folder with a short name, as that of a socket may have 107 bytes, and the user that is to use it."""
    path = Path(tempfile.mkdtemp(prefix="db", dir="/tmp"))
    try:
        if IS_ROOT:
            try:
                shutil.chown(path, user)
            except LookupError:
                pytest.skip(f"needs the system user {user}")
        yield path, user if IS_ROOT else None
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def postgresql_server() -> Iterator[Server]:
    """A server whose administrator is postgres; roles other than that one need a password."""
    places = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
    initdb = program("initdb", "postgresql", *places)
    pg_ctl = program("pg_ctl", "postgresql", *places)
    psql = program("psql", "postgresql-client")
    with folder_of("postgres") as (folder, user):
        data = folder / "data"
        run([initdb, f"--pgdata={data}", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"], user)
        access = "peer" if IS_ROOT else "trust"
        (data / "pg_hba.conf").write_text(f"local all postgres {access}\nlocal all all scram-sha-256\n")
        settings = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=20"
        run([pg_ctl, f"--pgdata={data}", f"--log={folder}/log", "--wait", f"--options={settings}", "start"], user)
        try:
            client = [psql, "-XAtq", f"--host={folder}", "--username=postgres", "--set=ON_ERROR_STOP=1"]
            yield Server({"type": "postgresql", "host": str(folder), "user": "postgres"}, client, user)
        finally:
            run([pg_ctl, f"--pgdata={data}", "--mode=immediate", "stop"], user)


@contextlib.contextmanager
def mariadb_server() -> Iterator[Server]:
    """A server whose administrator is root, without a password for the system user that runs the tests."""
    install = program("mariadb-install-db", "mariadb-server")
    mariadbd = program("mariadbd", "mariadb-server")
    client = program("mariadb", "mariadb-client")
    with folder_of("mysql") as (folder, user):
        authentication = "socket" if IS_ROOT else "normal"
        run(
            [
                *(install, "--no-defaults", f"--datadir={folder}/data", "--skip-test-db"),
                *(f"--auth-root-authentication-method={authentication}", "--innodb-log-file-size=4M"),
            ],
            user,
        )
        found = pwd.getpwnam(user) if user else None
        with open(folder / "log", "w", encoding="utf-8") as log:
            server = subprocess.Popen(
                [
                    *(mariadbd, "--no-defaults", f"--datadir={folder}/data", f"--socket={folder}/s"),
                    *(f"--pid-file={folder}/pid", "--skip-networking", "--innodb-buffer-pool-size=8M"),
                    *("--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=0"),
                ],
                stdout=log,
                stderr=log,
                user=found.pw_uid if found else None,
                group=found.pw_gid if found else None,
                extra_groups=[] if found else None,
            )
        try:
            end = time.monotonic() + FOREVER
            while not (folder / "s").exists():
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.02)
            command = [client, "--no-defaults", f"--socket={folder}/s", "--user=root", "--batch", "--skip-column-names"]
            yield Server({"type": "mariadb", "socket": f"{folder}/s", "user": "root"}, command, None)
        finally:
            server.terminate()
            server.wait(FOREVER)


@contextlib.contextmanager
def held(command: list[str], user: str | None, statements: str) -> Iterator[None]:
    """A session that has run these statements and stays open. The last one must answer with a line."""
    found = pwd.getpwnam(user) if user else None
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        cwd="/",
        user=found.pw_uid if found else None,
        group=found.pw_gid if found else None,
        extra_groups=[] if found else None,
    ) as session:
        assert session.stdin
        assert session.stdout
        session.stdin.write(statements)
        session.stdin.flush()
        assert session.stdout.readline()
        yield
        session.stdin.close()


def awaited(look: t.Callable[[], str]) -> str:
    """The first answer that says something."""
    end = time.monotonic() + FOREVER
    while True:
        answer = look().strip()
        if answer:
            return answer
        assert time.monotonic() < end
        time.sleep(0.05)


def expect_nowhere(secret: str) -> None:
    """No process that runs has it in its arguments or variables."""
    for path in (*glob.glob("/proc/[0-9]*/cmdline"), *glob.glob("/proc/[0-9]*/environ")):
        with contextlib.suppress(OSError):
            assert secret.encode() not in Path(path).read_bytes(), path
