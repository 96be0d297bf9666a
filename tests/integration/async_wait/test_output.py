# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import json
import re
import stat

from ...support import Sandbox, registered

SECRET = "the-combination-is-4711"


def test_no_log_hides_names_items_results_and_progress(sandbox: Sandbox) -> None:
    launches = sandbox.start_jobs(
        {f"{SECRET}-name": f"echo {SECRET}", f"{SECRET}-2": f"sleep 2.4; echo {SECRET} >&2; exit 5"}
    )
    jobs_file, secret_file = sandbox.folder / "jobs.json", sandbox.folder / "secret"
    jobs_file.write_text(json.dumps(registered(launches)), encoding="utf-8")
    secret_file.write_text(SECRET, encoding="utf-8")

    outcome = sandbox.run_playbook(
        "no_log", "-vvv", jobs_file=str(jobs_file), secret_file=str(secret_file), folder=str(sandbox.folder)
    )
    assert outcome.rc == 0, outcome.output
    assert SECRET not in outcome.output
    assert SECRET not in json.dumps(outcome.results)
    assert " ended, " not in outcome.output
    log = (sandbox.folder / "jobs.jsonl").read_text(encoding="utf-8")
    assert SECRET not in log
    assert [json.loads(line)["state"] for line in log.splitlines()] == ["succeeded", "failed"]


def test_progress_and_job_log_tell_what_happens_while_it_happens(sandbox: Sandbox) -> None:
    outcome = sandbox.run_playbook("loud_and_silent", folder=str(sandbox.folder))

    # At most one line in five seconds (and one for the end), with what people want to know.
    progress = [(moment, line) for moment, line in outcome.lines if re.match(r"\w+: \d+/\d+ ended", line)]
    form = r"localhost: \d/4 ended, \d failed, \d+ s(; running: [0-9., +]+)?\n"
    for dummy, line in progress:
        assert re.fullmatch(form, line), line
    assert len(progress) >= 2
    moments = [moment for moment, dummy in progress]
    for earlier, later in itertools.pairwise(moments[:-1]):
        assert later - earlier > 4.5
    assert progress[-1][1].startswith("localhost: 4/4 ended, 1 failed, ")
    assert "; running: " in progress[0][1]
    assert progress[0][0] < progress[-1][0] - 2
    assert "alpha: " not in "".join(line for dummy, line in progress)

    path = sandbox.folder / "jobs.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for host in ("localhost", "alpha"):
        mine = {line["name"]: line for line in lines if line["host"] == host}
        assert len(mine) == 4
        for job in outcome.result_of_wait(host)["jobs"]:
            keys = ("name", "item", "state", "started_at", "ended_at", "elapsed")
            assert mine[job["name"]] == {"host": host, **{key: job[key] for key in keys}}
        assert mine["2"]["state"] == "failed"
        assert 7.9 < mine["8"]["elapsed"] < 13
