# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

from ...fleet.system import eventually
from ...support import Outcome
from ..async_batch.conftest import BatchSandbox, batch_task, lines_of, until_exists

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"
# A host that nobody can reach: nothing listens there.
SILENT = "silent ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n"
HEAD = r"HOST +JOB +STATE +AGE +CPU +MEM LAST LINE"


def run(sandbox: BatchSandbox, playbook: str, *arguments: str, hosts: str = "localhost") -> Outcome:
    """Run one of the playbooks of the collection, as a person at a terminal does."""
    extra = [word for argument in arguments for word in ("--extra-vars", argument)]
    return sandbox.start(["ansible-playbook", f"inflight.jobs.{playbook}", "--limit", hosts, *extra]).outcome()


def table_of(outcome: Outcome) -> list[str]:
    """The lines of the table that was printed, its head first."""
    lines = outcome.stdout.splitlines()
    first = next(place for place, line in enumerate(lines) if re.fullmatch(HEAD, line))
    return lines[
        first : next(place for place, line in enumerate(lines) if " jobs on " in line or " job on " in line) + 1
    ]


@pytest.fixture
def batch(sandbox: BatchSandbox) -> t.Iterator[Path]:
    """A batch of which one job runs and two wait; what ends the one that runs, once that file is there."""
    log, go = sandbox.folder / "log", sandbox.folder / "go"
    script = f"echo working on it; echo begun >> {log}; {until_exists(go)}"
    options: dict[str, t.Any] = {"items": ["one", "two", "three"], "concurrency": 1, "id": "nightly", "wait": False}
    sandbox.run_tasks([batch_task("batch", script, **options)])
    eventually(lambda: len(lines_of(log)) == 1, 60, "a job runs")
    yield go
    go.touch()


def test_the_jobs_of_all_hosts_are_in_one_table_that_fits_into_80_columns(sandbox: BatchSandbox, batch: Path) -> None:
    inventory = sandbox.folder / "inventory"
    hosts, mark, variables = inventory.read_text(encoding="utf-8").partition("[all:vars]")
    inventory.write_text(hosts + SILENT + mark + variables, encoding="utf-8")
    outcome = run(sandbox, "jobs", hosts="localhost,silent")
    head, one, two, three, silent, summary = table_of(outcome)
    assert max(len(line) for line in (head, one, two, three, silent, summary)) < 80
    assert re.fullmatch(r"localhost +one +running +\d+(\.\d)?s +\S+s +\d+\S?M working on it", one)
    assert re.fullmatch(r"localhost +two +queued", two)
    assert re.fullmatch(r"localhost +three +queued", three)
    assert re.fullmatch(r"silent +unreachable +.*", silent)
    assert summary == "3 jobs on 2 hosts: 1 running, 2 queued; 1 host unreachable"
    assert outcome.rc == 4

    assert [line.split()[1] for line in table_of(run(sandbox, "jobs", "state=queued", "job=t*"))[1:-1]] == [
        "two",
        "three",
    ]


def test_jobs_are_ended_and_then_shown(sandbox: BatchSandbox, batch: Path) -> None:
    nothing = run(sandbox, "cancel")
    assert nothing.rc == 2
    assert "nothing says which jobs to cancel" in nothing.stdout
    assert table_of(run(sandbox, "jobs"))[-1] == "3 jobs on 1 host: 1 running, 2 queued"

    outcome = run(sandbox, "cancel", "state=queued", "job=two")
    assert outcome.rc == 0, outcome.output
    assert table_of(outcome)[-1] == "1 job on 1 host: 1 cancelled"
    outcome = run(sandbox, "cancel", "all=true", "grace=1")
    assert table_of(outcome)[-1] == "2 jobs on 1 host: 2 cancelled"
    assert all("cancelled at 20" in line or "not started:" in line for line in table_of(outcome)[1:-1])


def test_jobs_are_waited_for_and_shown_also_when_the_time_is_over(sandbox: BatchSandbox, batch: Path) -> None:
    outcome = run(sandbox, "wait", "max_wait=1")
    assert outcome.rc == 2
    assert table_of(outcome)[-1] == "3 jobs on 1 host: 1 running, 2 queued"
    assert " one " in table_of(outcome)[1]
    batch.touch()
    outcome = run(sandbox, "wait", "batch=nightly")
    assert outcome.rc == 0, outcome.output
    assert table_of(outcome)[-1] == "3 jobs on 1 host: 3 succeeded"


def test_old_job_files_are_removed_and_shown(sandbox: BatchSandbox, batch: Path) -> None:
    batch.touch()
    run(sandbox, "wait")
    outcome = run(sandbox, "prune", "older_than=0", "keep_last=1")
    assert outcome.rc == 0, outcome.output
    assert table_of(outcome)[-1] == "2 jobs on 1 host: 2 succeeded"
    assert table_of(run(sandbox, "jobs"))[-1] == "1 job on 1 host: 1 succeeded"


@pytest.mark.parametrize("name", ["jobs", "cancel", "prune", "wait"])
def test_every_playbook_says_at_its_top_how_to_call_it(name: str) -> None:
    text = (PLAYBOOKS / f"{name}.yml").read_text(encoding="utf-8")
    usage = [line for line in text.splitlines() if line.startswith(f"#     ansible-playbook inflight.jobs.{name} ")]
    assert len(usage) == 1
    assert f"ansible-playbook inflight.jobs.{name}" in (PLAYBOOKS.parent / "README.md").read_text(encoding="utf-8")
    # Every variable that can be set is spoken of above the play.
    variables = set(re.findall(r"{{ (\w+)(?:\.split\(','\) if| \| default\(omit\))", text))
    comment = text.partition("\n- name:")[0]
    assert {variable for variable in variables if f"-e {variable}=" not in comment} == set()
    assert len(yaml.safe_load(text)) == 1
