# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What a test of updates works with: hosts with old packages, what they are offered, and runs of the role on them.

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import threading
import time
import typing as t
from pathlib import Path

from ...fleet.fleet import Fleet
from ...fleet.host import Host
from ...fleet.system import FleetError, eventually, processes, run
from ...support import Outcome, Result, Run, Sandbox, kill
from .packages import GATE, RPM_DATABASE, SHELF, SLEEPING, Packages

# Of a package: its version, None where it is not installed.
Change = tuple[str, str | None, str | None]

LOCK_OF_DPKG = "/var/lib/dpkg/lock-frontend"
LOCK_OF_HOST = "/run/inflight.jobs.lock"
# Takes a lock as dpkg does, or as a backup does, and holds it until it is ended.
HOLDER = """\
import fcntl, pathlib, sys, time
lock = open(sys.argv[1], "a+")
if sys.argv[2] == "dpkg":
    fcntl.lockf(lock, fcntl.LOCK_EX)
else:
    lock.truncate(0)
    lock.write("backup")
    lock.flush()
    fcntl.flock(lock, fcntl.LOCK_SH)
pathlib.Path("/run/ij-holds").touch()
time.sleep(600)
"""

# What an update may change while it is at work, and has to put back as it was.
SETTINGS = """\
apt-mark showhold
systemctl show --property=Id,ActiveState,UnitFileState apt-daily.timer apt-daily-upgrade.timer
find /etc/apt /etc/dnf /etc/needrestart /etc/dpkg -type f -exec sha256sum {} + | sort
find /etc/systemd/system /run/systemd/system -name '*apt-daily*' | sort
"""
INSTALLED = "dpkg-query --show --showformat '${db:Status-Status} ${Package} ${Version}\\n'"

# A needrestart that says what a test has it say. No kernel can be installed on hosts that share one.
NEEDRESTART = """\
#!/bin/sh
echo NEEDRESTART-VER: 3.6
if [ -e /run/ij-ksta ]; then
    echo NEEDRESTART-KCUR: $(uname -r)
    echo NEEDRESTART-KEXP: 99$(uname -r | sed 's/^[0-9]*//')
    echo NEEDRESTART-KSTA: $(cat /run/ij-ksta)
fi
"""

# Much more than a reboot takes, even on a machine that is busy.
LIMIT = 120.0

SWEEP = f"""\
rm -rf /root/.ansible_async /home/*/.ansible_async {GATE}
pkill -KILL -x python3 || true
while pgrep -x 'apt-get|dpkg|dnf' >/dev/null; do sleep 0.1; done
systemctl stop 'ij-*' || true
rm -f /etc/systemd/system/ij-* /run/ij-* /var/lib/ij-* /run/reboot-required* /usr/local/sbin/needrestart /etc/ij-*
echo systemd-nspawn > /run/systemd/container
systemctl daemon-reload
systemctl reset-failed
rm -rf /srv/* /var/lib/rpm /var/lib/dnf /var/cache/dnf /var/lib/apt/lists/*
apt-mark showhold | xargs --no-run-if-empty apt-mark unhold >/dev/null
dpkg-query --show --showformat '${{Package}}\\n' 'ij-*' 2>/dev/null |
    xargs --no-run-if-empty dpkg --purge --force-all >/dev/null 2>&1 || true
"""


class Updates:
    """The hosts, and the runs of the role on them.

    hosts: of the fleet. first: the one that most things happen to. reports: the folder of the reports.
    """

    def __init__(self, fleet: Fleet, folder: Path, packages: Packages) -> None:
        self.fleet = fleet
        self.hosts = fleet.hosts
        self.first = self.hosts[0]
        self.reports = folder / "reports"
        self.packages = packages
        self._sandbox = Sandbox(folder, Path(__file__).parent / "playbooks", fleet.inventory)

    def sweep(self) -> None:
        """Have the old packages on each host, nothing new to install, and no job."""
        self._clean()
        for host in self.hosts:
            self.packages.prepare(host.root)
            self.packages.publish(host.root)
            host.run("dpkg", "--install", *self.packages.old_debs())
            host.run("apt-mark", "hold", "ij-held")

    def _clean(self) -> None:
        for host in self.hosts:
            if not host.is_on():
                host.power_on()
                host.wait_until_up()
            host.shell(SWEEP)

    def close(self) -> None:
        """End what the test has left running, and remove all packages."""
        self._sandbox.close()
        self._clean()

    # Runs

    def start_play(self, *arguments: str, playbook: str = "update", **variables: t.Any) -> Run:
        """Start a playbook, with variables of the role without their prefix.

        target: a pattern of hosts, all of the fleet; None for what the playbook says.
        """
        given = {
            "min_free_mb_root": 0,
            "min_free_mb_var": 0,
            "min_free_mb_boot": 0,
            # Each test offers something new.
            "cache_valid_time": 0,
            "reboot": "never",
            "check_retries": 3,
            "check_delay": 1,
            "report_directory": str(self.reports),
            **variables,
        }
        target = given.pop("target", "fleet")
        prefixed = {f"parallel_update_{name}": value for name, value in given.items()}
        if target is not None:
            prefixed["target"] = target
        return self._sandbox.start_playbook(playbook, *arguments, **prefixed)

    def play(self, *arguments: str, playbook: str = "update", **variables: t.Any) -> Outcome:
        """The same, and wait for its end."""
        return self.start_play(*arguments, playbook=playbook, **variables).outcome()

    def by_host(self, default: object, **values: object) -> str:
        """A template of a variable that is different on some hosts."""
        return f"{{{{ {values!r}.get(inventory_hostname, {default!r}) }}}}"

    def report(self) -> dict[str, Result]:
        """What the newest report says of each host, by its name."""
        path = max(self.reports.glob("update-*.json"), key=lambda path: path.stat().st_mtime_ns)
        return {host["host"]: host for host in json.loads(path.read_text(encoding="utf-8"))["hosts"]}

    def kill_control_master(self, host: Host) -> None:
        """Kill the ssh process that holds the connection to a host."""
        title = f"ssh: {self.fleet.folder}/ssh/root@{host.address} "
        masters = [pid for pid, words in processes() if words[0].startswith(title)]
        assert masters, f"{host} is not connected"
        kill(masters)

    # Packages

    def publish(self, *names: str, hosts: t.Iterable[Host] | None = None) -> None:
        """Offer the new versions of these packages, to all hosts or to some."""
        for host in hosts or self.hosts:
            self.packages.publish(host.root, *names)

    def installed(self, host: Host) -> dict[str, str]:
        """The packages of dpkg on a host, as dpkg says."""
        words = map(str.split, self.statuses(host))
        return {name: version for status, name, version in words if status not in {"config-files", "not-installed"}}

    def statuses(self, host: Host) -> list[str]:
        """What dpkg says of each package on a host: status, name and version."""
        return host.shell(INSTALLED).splitlines()

    def installed_rpms(self, host: Host) -> dict[str, str]:
        """The same of rpm, as the rpm of this machine says."""
        where = (f"--root={host.root}", f"--dbpath={RPM_DATABASE}")
        lines = run("rpm", *where, "--query", "--all", "--queryformat", "%{NAME} %{EVR}\n").splitlines()
        return {name: version for name, dummy, version in (line.partition(" ") for line in lines)}

    def new_deb(self, name: str) -> str:
        """The file of the new version of a package that is published, by its path in a host."""
        return f"/{SHELF}/apt/main/{name}_2.0_all.deb"

    def install_old_rpms(self, host: Host) -> None:
        """Have the old packages of dnf on a host instead of those of apt."""
        host.shell("dpkg --purge --force-all $(dpkg-query --show --showformat '${Package}\\n' 'ij-*') 2>/dev/null")
        host.run("dnf", "install", "--assumeyes", "--quiet", *self.packages.old_rpms())

    # Hosts

    def start_of_sshd(self, host: Host) -> str:
        """When sshd of a host was started."""
        return host.run("systemctl", "show", "--property=ExecMainStartTimestampMonotonic", "ssh.service")

    def settings(self, host: Host) -> str:
        """What an update has to leave as it was, or to put back."""
        return host.shell(SETTINGS)

    def close_gate(self, *hosts: Host) -> None:
        """Keep the new ij-sleep from being configured until open() is called."""
        for host in hosts:
            host.run("touch", GATE)

    def open(self, *hosts: Host) -> None:
        """Let it be configured."""
        for host in hosts:
            with contextlib.suppress(FleetError):
                host.run("rm", "-f", GATE)

    def sleeps(self, host: Host) -> bool:
        """Whether a package manager waits at the gate."""
        return _succeeds(host, "test", "-e", SLEEPING)

    def wait_for_sleep(self, *hosts: Host) -> None:
        """Wait until the package managers of all these hosts wait at the gate, at the same time."""
        eventually(lambda: all(map(self.sleeps, hosts)), LIMIT, f"{hosts} install at the same time")

    @contextlib.contextmanager
    def lock_held(self, host: Host, kind: str) -> t.Iterator[None]:
        """Have somebody hold a lock of a host for as long as the block, and be there at its end.

        :param kind: dpkg, the lock of dpkg; backup, the lock of a host that backups and updates share.
        """
        (host.root / "srv/holder.py").write_text(HOLDER, encoding="ascii")
        path = LOCK_OF_DPKG if kind == "dpkg" else LOCK_OF_HOST
        host.run("systemd-run", "--quiet", "--unit=ij-holder", "python3", "/srv/holder.py", path, kind)
        try:
            eventually(lambda: _succeeds(host, "test", "-e", "/run/ij-holds"), 30, f"the lock is held on {host}")
            yield
            assert _succeeds(host, "systemctl", "is-active", "ij-holder"), "who holds the lock is gone"
        finally:
            host.run("systemctl", "stop", "ij-holder")

    def fail_unit(self, host: Host, name: str) -> None:
        """Have a failed unit on a host."""
        unit = "[Service]\nExecStart=/bin/false\n"
        (host.root / f"etc/systemd/system/{name}").write_text(unit, encoding="ascii")
        host.shell(f"systemctl daemon-reload; systemctl start {shlex.quote(name)}")
        eventually(lambda: not _succeeds(host, "systemctl", "is-active", name), 30, f"{name} has failed on {host}")

    def say_kernel(self, host: Host, status: int) -> None:
        """Have needrestart say this of the kernel until the next reboot, and nothing from then on."""
        path = host.root / "usr/local/sbin/needrestart"
        path.write_text(NEEDRESTART, encoding="ascii")
        path.chmod(0o755)
        host.shell(f"echo {status} > /run/ij-ksta")

    def hide_kernel(self, host: Host) -> None:
        """Have a host be no container until it is swept: without a kernel of its own nothing can be known of it."""
        host.run("rm", "--force", "/run/systemd/container")
        self.say_kernel(host, 0)

    def boot(self, host: Host) -> str:
        """Which boot of a host this is."""
        return host.run("cat", "/proc/sys/kernel/random/boot_id").strip()

    def boots(self) -> dict[str, str]:
        """The same of all hosts, by their names."""
        return {host.name: self.boot(host) for host in self.hosts}


class Probe:
    """Looks four times each second, from outside, which hosts answer on the port of SSH."""

    def __init__(self, hosts: t.Collection[Host]) -> None:
        self._looks: dict[str, list[tuple[float, bool]]] = {host.name: [] for host in hosts}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._look, args=(host,)) for host in hosts]

    def __enter__(self) -> Probe:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _look(self, host: Host) -> None:
        while not self._stop.is_set():
            moment = time.monotonic()
            self._looks[host.name].append((moment, _answers(host.address)))
            self._stop.wait(max(0.0, moment + 0.25 - time.monotonic()))

    def absences(self) -> list[tuple[str, float, float]]:
        """Each time that a host did not answer: its name, when it last did before, and when it did first after that."""
        found = []
        for name, looks in self._looks.items():
            last, away = looks[0][0], False
            for moment, up in looks:
                if up and away:
                    found.append((name, last, moment))
                last, away = moment if up else last, not up
            if away:
                found.append((name, last, looks[-1][0]))
        return found

    def most_down_at_once(self) -> int:
        """How many hosts did not answer at the same time, at most."""
        found = self.absences()
        return max(
            (sum(first <= start < end for dummy, first, end in found) for dummy, start, dummy_end in found), default=0
        )


def difference(before: t.Mapping[str, str], after: t.Mapping[str, str]) -> list[Change]:
    """What has changed between two lists of packages."""
    names = sorted({*before, *after})
    return [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def changes(found: t.Iterable[Result]) -> list[Change]:
    """The same, as a report says it."""
    return sorted((package["name"], package["old"], package["new"]) for package in found)


def results(outcome: Outcome) -> dict[str, Result]:
    """What the role has remembered of each host at the end of a run: that of check mode is in no file."""
    facts = ((host, result.get("ansible_facts", {})) for host, dummy, result in outcome.results)
    return {host: known["parallel_update_result"] for host, known in facts if "parallel_update_result" in known}


def names_of(found: t.Iterable[Result]) -> list[str]:
    """The names in a list of a report."""
    return sorted(entry["name"] for entry in found)


def _succeeds(host: Host, *command: str) -> bool:
    try:
        host.run(*command)
    except FleetError:
        return False
    return True


def _answers(address: str) -> bool:
    # The kernel answers, as long as sshd listens: at once, however busy the machine is. With more patience a second try
    # of the kernel would find the host again after a short absence.
    try:
        with socket.create_connection((address, 22), timeout=0.5):
            return True
    except OSError:
        return False
