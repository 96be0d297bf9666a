# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Backups of three hosts, and what can go wrong with them. One test for a row of the table, or for a few.

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from ...fleet import levers
from ...fleet.system import eventually
from ..table import Table
from .backups import DATA, DIRECTORY, ETC, Backups


def seconds_of(moment: str) -> str:
    """The second of a moment, to compare it with others."""
    return moment[:19]


# Runs


def test_start_other_work_wait(backups: Backups, table: Table) -> None:
    with backups.gate(*backups.hosts):
        run = backups.start_play("start")
        started = run.shows("Do other work", 60)
        outcome = run.outcome()
        assert outcome.rc == 0, outcome.output
        for host in backups.hosts:
            backups.wait_for_tar(host)
        backups.open(*backups.hosts)
    worked = {host.name: float(outcome.result("Do other work", host.name)["stdout"]) for host in backups.hosts}
    outcome = backups.play("wait")
    assert outcome.rc == 0, outcome.output
    report = backups.report()
    assert [found["state"] for host in report.values() for found in host["sets"]] == ["succeeded"] * 6
    for host in backups.hosts:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(worked[host.name]))
        data = backups.sets(host)["data"]
        assert seconds_of(data["started_at"]) <= moment <= seconds_of(data["ended_at"])
    table.row("start", f"start returned after {started:.1f} s with the start of Ansible; all 6 sets saved")


def test_second_run(backups: Backups, table: Table) -> None:
    for dummy in range(2):
        outcome = backups.play_first("main")
        assert outcome.rc == 0, outcome.output
    both = backups.ids("data")
    assert len(both) == 1  # of one day, the newest
    keep = {"keep_last": 2}
    outcome = backups.play_first("main", **keep)
    assert outcome.rc == 0, outcome.output
    data = backups.sets()["data"]
    assert data["previous_bytes"] == data["bytes"]
    outcome = backups.play_first("main", **keep)
    kept = backups.ids("data")
    assert len(kept) == 2
    assert len(backups.report()[backups.first.name]["retention"][0]["deleted"]) == 1
    table.row("second run", "as expected; of one day the newest is kept, with keep_last: 2 two")


def test_check_mode(backups: Backups, table: Table) -> None:
    before = backups.first.shell("find /srv | sort")
    outcome = backups.play_first("main", "--check")
    assert outcome.rc == 0, outcome.output
    assert backups.first.shell("find /srv | sort") == before
    assert not list(backups.reports.glob("backup-*"))
    assert "would back up /srv/data" in str(outcome.results)
    table.row("check mode", "nothing written; 'would back up /srv/data to /srv/backups/data'")


def test_controller_killed(backups: Backups, table: Table) -> None:
    with backups.gate(*backups.hosts):
        run = backups.start_play("backup")
        for host in backups.hosts:
            backups.wait_for_tar(host)
        run.kill()
        backups.open(*backups.hosts)
    outcome = backups.play("wait")
    assert outcome.rc == 0, outcome.output
    assert [found["state"] for host in backups.report().values() for found in host["sets"]] == ["succeeded"] * 6
    assert [len(backups.ids("data", host)) for host in backups.hosts] == [1, 1, 1]
    table.row("controller", "6 of 6 sets, each backed up once")


# Hosts with troubles


def test_one_trouble_each(backups: Backups, table: Table) -> None:
    full, broken, off = backups.hosts
    with levers.mounted(full, DIRECTORY, "size=6m"), levers.powered_off(off):
        broken.shell("rm /srv/data/first; systemctl start postgresql; umask 077; echo '*:*:*:*:wrong' > /srv/pgpass")
        sets = [
            DATA,
            ETC,
            {"name": "sometimes", "paths": ["/srv/data/first"]},
            {
                "name": "database",
                "database": {
                    "type": "postgresql",
                    "host": "127.0.0.1",
                    "user": "postgres",
                    "credentials_file": "/srv/pgpass",
                },
            },
        ]
        only = {full.name: ["data", "etc", "sometimes"], broken.name: ["etc", "sometimes", "database"]}
        run = backups.start_play("backup", sets=_sets_by_host(sets, only), concurrency=1)
        outcome = run.outcome()
    report = backups.report()
    states = {
        host.name: {found["set"]: found["state"] for found in report[host.name]["sets"]} for host in (full, broken)
    }
    assert states[full.name] == {"data": "failed", "etc": "succeeded", "sometimes": "succeeded"}
    assert states[broken.name] == {"etc": "succeeded", "sometimes": "failed", "database": "failed"}
    assert outcome.rc != 0
    told = {**{found["set"]: found["msg"] for found in report[full.name]["sets"] if found["msg"]}}
    assert "No space left on device" in told["data"]
    table.row("full filesystem", told["data"].replace("|", ""))
    told = {found["set"]: found["msg"] for found in report[broken.name]["sets"] if found["msg"]}
    assert "/srv/data/first" in told["sometimes"]
    table.row("missing path", told["sometimes"])
    assert "password authentication failed" in told["database"]
    assert "wrong" not in str(report)
    table.row("wrong password", told["database"].split(" / ")[0])
    assert report[off.name]["state"] == "unreachable"
    assert outcome.stdout.index("Write the report") < outcome.stdout.index("Fail where a backup failed")
    table.row("switched off", f"unreachable; exit code {outcome.rc}, after the report")


def _sets_by_host(sets: list[dict[str, object]], only: dict[str, list[str]]) -> str:
    """A template of the sets that each host has; all, where it is not named."""
    every = [found["name"] for found in sets]
    return f"{{{{ {sets!r} | selectattr('name', 'in', {only!r}.get(inventory_hostname, {every!r})) }}}}"


def test_writer(backups: Backups, table: Table) -> None:
    said = []
    for rule in ("warn", "fail"):
        with backups.gate(backups.first):
            run = backups.start_play("main", sets=[DATA], file_changed=rule, where=backups.first.name)
            backups.wait_for_tar(backups.first)
            backups.first.shell("echo more >> /srv/data/large")
            backups.open(backups.first)
            outcome = run.outcome()
        said.append((outcome.rc, backups.sets()["data"]["state"], str(backups.sets()["data"])))
    assert [(code == 0, state) for code, state, dummy in said] == [(True, "succeeded"), (False, "failed")]
    assert all("large: file changed as we read it" in text for dummy, dummy_state, text in said)
    assert len(backups.ids("data")) == 1
    backups.first.run("tar", "--list", "--file", f"{backups.path('data')}/files.tar.zst")
    table.row("writer", "'srv/data/large: file changed as we read it'; tar lists it; failed")


def _killed(backups: Backups, program: str) -> tuple[dict[str, object], list[str]]:
    """Kill a program in the middle of a backup; what became of the set, and what is in its folder."""
    with backups.gate(backups.first):
        run = backups.start_play("main", sets=[DATA], where=backups.first.name, post_commands=["touch /srv/after"])
        backups.wait_for_tar(backups.first)
        backups.first.shell(program)
        backups.open(backups.first)
        outcome = run.outcome()
    assert outcome.rc != 0
    eventually((backups.first.root / "srv/after").exists, 30, "post_commands have run")
    return backups.sets()["data"], backups.ids("data")


def test_killed_tar(backups: Backups, table: Table) -> None:
    found, left = _killed(backups, "pkill -KILL -x tar")
    assert (found["state"], left) == ("failed", [])
    table.row("kill tar", str(found["msg"]))


def test_killed_zstd(backups: Backups, table: Table) -> None:
    found, left = _killed(backups, "pkill -KILL -x zstd")
    assert (found["state"], left) == ("failed", [])
    table.row("kill zstd", str(found["msg"]))


def test_killed_job(backups: Backups, table: Table) -> None:
    # The parent of tar.
    found, left = _killed(backups, "kill -KILL $(ps --format ppid= --pid $(pgrep -x tar))")
    assert found["state"] == "lost"
    assert [name.rpartition(".")[2] for name in left] == ["partial"]
    outcome = backups.play_first("main", sets=[DATA])
    assert outcome.rc == 0, outcome.output
    assert [name for name in backups.ids("data") if "." in name] == []
    assert len(backups.ids("data")) == 1
    table.row("kill job", "lost; post_commands have run; the next run removed the partial")


def test_timeout(backups: Backups, table: Table) -> None:
    with backups.gate(backups.first):
        outcome = backups.play_first("main", sets=[DATA], timeout=5, grace=10, post_commands=["touch /srv/after"])
    assert outcome.rc != 0
    assert backups.sets()["data"]["state"] == "timed_out"
    assert backups.ids("data") == []
    assert (backups.first.root / "srv/after").exists()
    table.row("timeout", "timed_out; nothing is left; post_commands have run")


def test_reboot(backups: Backups, table: Table) -> None:
    with backups.gate(backups.first):
        run = backups.start_play("main", sets=[DATA], where=backups.first.name)
        backups.wait_for_tar(backups.first)
        run.shows("Wait for the backups of all sets")
        backups.first.reboot()
        outcome = run.outcome()
    assert outcome.rc != 0
    # The host ends all processes in any order: the job may live to tell that it, or tar, was ended.
    data = backups.sets()["data"]
    state = data["state"]
    told = ("was killed by signal", "ended by SIGTERM")
    assert state == "lost" or (state == "failed" and any(words in data["msg"] for words in told)), data
    assert [name for name in backups.ids("data") if "." not in name] == []
    left = len(backups.ids("data"))
    outcome = backups.play_first("main", sets=[DATA])
    assert outcome.rc == 0, outcome.output
    assert len(backups.ids("data")) == 1
    table.row("reboot", f"{state}; partials left by it: {left}, removed by the next run")


# Damages and restores


# All bits of the byte in the middle of $f.
FLIP = """python3 - "$f" <<'END'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
middle = os.fstat(fd).st_size // 2
os.pwrite(fd, bytes([os.pread(fd, 1, middle)[0] ^ 255]), middle)
END"""


def test_damages(backups: Backups, table: Table) -> None:
    damages = {
        "flipped": FLIP,
        "cut": "truncate --size $(($(stat -c %s $f) * 60 / 100)) $f",
    }
    found = []
    for name, damage in damages.items():
        assert backups.play_first("main", sets=[{**DATA, "name": name}]).rc == 0
        backups.first.shell(f"f={backups.path(name)}/files.tar.zst; {damage}")
        found.append(_verified(backups, name))
    assert backups.play_first("main", sets=[{**DATA, "name": "member"}], compression="none").rc == 0
    # The first member is the folder, one block; the second a file.
    script = "import tarfile; a = tarfile.open('files.tar'); print([m.offset for m in a][2])"
    folder = backups.path("member")
    backups.first.shell(f'cd {folder}; truncate --size $(python3 -c "{script}") files.tar; tar --list --file files.tar')
    found.append(_verified(backups, "member"))
    # A second backup, so that there would be something to remove.
    outcome = backups.play_first("main", sets=[{**DATA, "name": "flipped"}])
    assert outcome.rc == 0
    assert len(backups.ids("flipped")) == 2
    table.row("damage", "; ".join(found))


def _verified(backups: Backups, name: str) -> str:
    outcome = backups.play_first("verify", sets=[{**DATA, "name": name}])
    assert outcome.rc != 0
    jobs = outcome.result("Verify the newest backup of all sets", backups.first.name)["jobs"]
    assert jobs[0]["state"] == "failed"
    told = str(jobs[0]["result"]["backups"][0]["damage"])
    assert told
    return told[:100]


ODD = r"""
mkdir -p /srv/odd/empty; cd /srv/odd
echo a > "$(printf 'new\nline')"; echo b > 'ümläut'; echo c > -dash; echo d > 'back\slash'; echo e > ' space '
echo f > "$(printf 'bad\377byte')"; head -c 5000 /dev/urandom > random; ln random hard; ln -s random soft; mkfifo pipe
truncate --size 50M sparse; echo middle | dd of=sparse bs=1 seek=20M conv=notrunc status=none
chown deploy:games random; chmod 4751 random; chmod 1777 empty; touch --date '2001-02-03 04:05:06.789' -- -dash
setfacl --modify user:deploy:r-- 'ümläut'; setfattr --name user.colour --value blue 'back\slash'
"""

LOOK = r"""(cd %s; find . -printf '%%p %%y %%m %%U %%G %%s %%n %%T@ %%l\n' | sort
getfacl --recursive --absolute-names . ; getfattr --recursive --dump . ; stat --format %%b sparse) | cat -v"""


def test_restore(backups: Backups, table: Table) -> None:
    host = backups.first
    host.shell(ODD)
    sets = [{"name": "odd", "paths": ["/srv/odd"]}]
    assert backups.play_first("main", sets=sets).rc == 0
    wanted = {"restore_set": "odd", "restore_dest": "/srv/restored"}
    outcome = backups.play_first("restore", "--check", sets=sets, **wanted)
    assert outcome.rc == 0, outcome.output
    assert host.shell("ls /srv").split() == ["backups", "data", "odd"]
    outcome = backups.play_first("restore", sets=sets, **wanted)
    assert outcome.rc == 0, outcome.output
    host.shell("diff --recursive --no-dereference --exclude=pipe /srv/odd /srv/restored/srv/odd")
    assert host.shell(LOOK % "/srv/odd") == host.shell(LOOK % "/srv/restored/srv/odd")
    assert int(host.run("stat", "--format=%b", "/srv/restored/srv/odd/sparse")) < 1000
    refused = backups.play_first("restore", sets=sets, **wanted)
    assert refused.rc != 0
    host.shell(f"f={backups.path('odd')}/files.tar.zst; {FLIP}")
    assert backups.play_first("restore", sets=sets, **{**wanted, "restore_dest": "/srv/new"}).rc != 0
    assert "new" not in host.shell("ls /srv").split()
    table.row("restore", "no difference; refused twice")


def test_postgresql(backups: Backups, table: Table) -> None:
    host = backups.first
    host.shell("systemctl start postgresql")
    psql = "runuser --user postgres -- psql --quiet --no-align --tuples-only --set ON_ERROR_STOP=1"
    host.shell(f"{psql} -c 'DROP DATABASE IF EXISTS \"Shop one\"' -c 'CREATE DATABASE \"Shop one\"'")
    rows = "SELECT n, md5(n::text) AS t FROM generate_series(1, 5000) n"
    host.shell(f"{psql} -d 'Shop one' <<'END'\nCREATE TABLE \"or'ders\" AS {rows};\nEND")
    sets = [
        {"name": "pg", "database": {"type": "postgresql"}, "verify": ["checksum", "database_read", "database_restore"]}
    ]
    outcome = backups.play_first("main", sets=sets)
    assert outcome.rc == 0, outcome.output
    found = backups.sets()["pg"]
    assert sorted(found["checks"]) == ["checksum", "database_read", "database_restore"]
    names = host.shell(f"ls {backups.path('pg')}").split()
    assert "globals.sql.zst" in names
    assert len([name for name in names if name.endswith(".dump")]) == 2
    outcome = backups.play_first("restore", sets=sets, restore_set="pg", restore_dest="/srv/dumps")
    assert outcome.rc == 0, outcome.output
    host.shell("chmod 755 /srv/dumps; chmod 644 /srv/dumps/*")
    host.shell(f"{psql} -c 'DROP DATABASE \"Shop one\"'")
    host.shell("runuser --user postgres -- pg_restore --create --dbname=postgres /srv/dumps/Shop*.dump")
    rows = host.shell(f"{psql} -d 'Shop one' -c 'SELECT count(*) FROM \"or'\"'\"'ders\"'").strip()
    left = host.shell(f"{psql} -c \"SELECT count(*) FROM pg_database WHERE datname LIKE 'inflight%'\"").strip()
    assert (rows, left) == ("5000", "0")
    table.row("postgresql", f"{rows} of 5000 rows, beside and by hand; none left over")


def test_mariadb(backups: Backups, table: Table) -> None:
    host = backups.first
    host.shell("systemctl start mariadb")
    host.shell("mariadb -e 'CREATE DATABASE IF NOT EXISTS `shop-one`'")
    rows = "SELECT seq AS n, unhex(md5(seq)) AS t FROM seq_1_to_5000"
    host.shell(
        f"mariadb shop-one <<'END'\nCREATE OR REPLACE TABLE `or\"ders` (n int primary key, t blob) AS {rows};\nEND"
    )
    sets = [
        {"name": "maria", "database": {"type": "mariadb"}, "verify": ["checksum", "database_read", "database_restore"]}
    ]
    outcome = backups.play_first("main", sets=sets)
    assert outcome.rc == 0, outcome.output
    assert sorted(backups.sets()["maria"]["checks"]) == ["checksum", "database_read", "database_restore"]
    outcome = backups.play_first("restore", sets=sets, restore_set="maria", restore_dest="/srv/dumps")
    assert outcome.rc == 0, outcome.output
    host.shell(
        "mariadb -e 'DROP DATABASE `shop-one`; CREATE DATABASE `shop-one`'; mariadb shop-one < /srv/dumps/shop-one.sql"
    )
    rows = host.shell("mariadb --batch --skip-column-names shop-one -e 'SELECT count(*) FROM `or\"ders`'").strip()
    left = [name for name in host.shell("mariadb --batch -e 'SHOW DATABASES'").split() if name.startswith("inflight")]
    assert (rows, left) == ("5000", [])
    table.row("mariadb", f"{rows} of 5000 rows, beside and by hand; none left over")


def test_restic(backups: Backups, table: Table) -> None:
    host = backups.first
    host.shell("umask 077; echo secret > /srv/password")
    restic = {
        "sets": [{**DATA, "verify": ["checksum", "list", "read"]}],
        "engine": "restic",
        "restic_repository": "/srv/repository",
        "restic_password_file": "/srv/password",
        "restic_init": True,
        "keep_last": 2,
    }
    for dummy in range(3):
        outcome = backups.play_first("main", **restic)
        assert outcome.rc == 0, outcome.output
    command = "RESTIC_REPOSITORY=/srv/repository RESTIC_PASSWORD_FILE=/srv/password restic --json snapshots --no-lock"
    snapshots = [found["id"] for found in json.loads(host.shell(command))]
    kept = [json.loads(host.shell(f"cat {DIRECTORY}/data/{name}/manifest.json")) for name in backups.ids("data")]
    assert [manifest["snapshot"] for manifest in kept] == snapshots
    assert len(snapshots) == 2
    outcome = backups.play_first("restore", **restic, restore_set="data", restore_dest="/srv/restored")
    assert outcome.rc == 0, outcome.output
    host.shell("diff --recursive /srv/data /srv/restored/srv/data")
    host.shell(f"f=$(ls --sort=size /srv/repository/data/*/* | head -n 1); chmod u+w $f; {FLIP}")
    outcome = backups.play_first("verify", **restic)
    assert outcome.rc != 0
    damage = str(outcome.result("Verify the newest backup of all sets", host.name)["jobs"][0]["msg"])
    assert "1 of 1 backups are damaged" in damage
    table.row("restic", "two kept; found by read; no difference")


# Elsewhere


def test_copy(backups: Backups, table: Table) -> None:
    host, vault = backups.hosts[:2]
    host.shell(
        "rm -f /root/.ssh/vault*; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/vault;"
        f" echo '{vault.public_key.strip()}' > /root/.ssh/known_hosts"
    )
    key = host.shell("cat /root/.ssh/vault.pub").strip()
    vault.shell(f"mkdir -p /srv/vault; echo '{key}' >> /root/.ssh/authorized_keys")
    copied = {"copy_to": f"root@{vault.address}:/srv/vault", "copy_key_file": "/root/.ssh/vault", "sets": [DATA]}
    outcome = backups.play_first("main", **copied)
    assert outcome.rc == 0, outcome.output
    name = backups.ids("data")[-1]
    sums = "cd %s/data/" + name + " && sha256sum *"
    assert host.shell(sums % DIRECTORY) == vault.shell(sums % f"/srv/vault/{host.name}")
    with levers.sshd_stopped(vault):
        outcome = backups.play_first("main", **copied, keep_last=2)
    assert outcome.rc != 0
    assert "the backup was made, but not copied" in backups.sets()["data"]["msg"]
    assert len(backups.ids("data")) == 2
    table.row("copy", "the same; 'the backup was made, but not copied to ...'")


def test_oracle(backups: Backups, table: Table) -> None:
    host = backups.first
    oracle = host.root / "srv/project/tests/oracle"
    utils = host.root / "srv/project/plugins/module_utils/_backup"
    for folder in (oracle, utils):
        folder.mkdir(parents=True)
    here = Path(__file__).resolve().parents[3]
    shutil.copy(here / "tests/oracle/make_retention.py", oracle)
    shutil.copy(here / "plugins/module_utils/_backup/retention.py", utils)
    said = host.run("python3", "/srv/project/tests/oracle/make_retention.py", "--check", "12").strip().splitlines()[-1]
    table.row("oracle", said)


def test_user_with_become(backups: Backups, table: Table) -> None:
    host = backups.first
    (host.root / "etc/sudoers.d/deploy").write_text("deploy ALL=(ALL) NOPASSWD: ALL\n", encoding="ascii")
    try:
        outcome = backups.play_first("main", "--user", "deploy", "--become", "-e", "ansible_user=deploy")
    finally:
        (host.root / "etc/sudoers.d/deploy").unlink()
    assert outcome.rc == 0, outcome.output
    assert host.run("stat", "--format=%U %a", backups.path("data")).strip() == "root 700"
    table.row("user", "2 of 2 sets saved, as root, mode 0700")


def test_noexec(backups: Backups, table: Table) -> None:
    host = backups.first
    host.run("mkdir", "-p", "/root/.ansible/tmp")
    with levers.mounted(host, "/root/.ansible", "noexec"):
        host.run("mount", "--options", "remount,noexec", "/tmp")
        try:
            outcome = backups.play_first("main")
        finally:
            host.run("mount", "--options", "remount,exec", "/tmp")
    assert outcome.rc == 0, outcome.output
    assert len(backups.ids("data")) == 1
    table.row("noexec", "2 of 2 sets saved")
