# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import typing as t
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils import basic

from ansible_collections.inflight.jobs.plugins.module_utils import _health
from ansible_collections.inflight.jobs.plugins.modules import health_check

from ..conftest import FOREVER
from .backup_modules import Answer, Run, expect_documented, returned, runner

# What no test looks at unless it asks for it: the state of this machine is not known.
NOTHING = {"failed_units": False, "packages": False}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    whole = runner(health_check, monkeypatch, capfd)
    return lambda arguments, check_mode=False: whole({**NOTHING, **arguments}, check_mode)


def seen(answer: Answer) -> list[tuple[str, bool, str]]:
    return [(one["name"], one["ok"], one["msg"]) for one in answer["checks"]]


# A port that accepts connections, and one that does not


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def open_port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


@pytest.fixture
def closed_port() -> Iterator[int]:
    # As long as it is bound, nobody else gets it; and nobody listens.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# A web server


class Web:
    """A server that answers each path as it was told. asked: the paths, each with its header Authorization."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, tuple[int, dict[str, str]]] = {}
        self.asked: list[tuple[str, str | None]] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append((self.path, self.headers["Authorization"]))
                status, headers = web.answers.get(self.path, (404, {}))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *dummy: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.url = f"{'https' if context else 'http'}://localhost:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Web]]:
    monkeypatch.setenv("no_proxy", "*")
    made = []

    def serve(context: ssl.SSLContext | None = None) -> Web:
        made.append(Web(context))
        return made[-1]

    yield serve
    for web in made:
        web.server.shutdown()
        web.server.server_close()


@pytest.fixture
def web(served: Callable[..., Web]) -> Web:
    return served()


# A systemd


class Systemd:
    """Stands in for systemctl, as a real one needs a host that systemd has started. The molecule scenario has that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        for name in ("units", "show"):
            (path / name).mkdir()
        self.system("running")
        self.failed()
        program = path / "systemctl"
        program.write_text(
            f"""#!/bin/sh
cd {path} || exit 99
echo "$*" >> calls
for last; do :; done
case "$*" in
*" -- "*) cat "units/$last" 2>/dev/null || printf 'LoadState=not-found\\nActiveState=inactive\\nSubState=dead\\n' ;;
show*) cat system ;;
list-units*) cat failed ;;
*) exit 98 ;;
esac
""",
            encoding="utf-8",
        )
        program.chmod(0o755)

    def system(self, state: str, jobs: int = 0) -> None:
        (self._path / "system").write_text(f"NJobs={jobs}\nSystemState={state}\n", encoding="utf-8")

    def failed(self, *units: str) -> None:
        lines = [f"{unit} loaded failed failed What {unit} is for\n" for unit in units]
        (self._path / "failed").write_text("".join(lines), encoding="utf-8")

    def unit(self, name: str, active: str, sub: str = "", result: str = "success", load: str = "loaded") -> None:
        text = f"Result={result}\nLoadState={load}\nActiveState={active}\nSubState={sub}\n"
        (self._path / "units" / name).write_text(text, encoding="utf-8")


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    path = tmp_path / "systemd"
    path.mkdir()
    monkeypatch.setattr(_health, "_PATH", f"{path}:{_health._PATH}")
    monkeypatch.setattr(_health, "_SYSTEMD", str(path))
    return Systemd(path)


@pytest.fixture
def no_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_health, "_SYSTEMD", str(tmp_path / "none"))


# All together


def test_everything_is_looked_at_in_the_order_of_the_options(
    run: Run, systemd: Systemd, web: Web, open_port: int
) -> None:
    systemd.unit("nginx", "active", "running")
    web.answers["/"] = (200, {})
    wanted = {
        "services": ["nginx"],
        "ports": [open_port],
        "urls": [f"{web.url}/"],
        "commands": ["echo all is well"],
        "failed_units": True,
    }
    answer = run(wanted)
    assert not answer.get("failed")
    assert seen(answer) == [
        ("service nginx", True, "active"),
        (f"port {open_port}", True, "accepts connections"),
        (f"url {web.url}/", True, "200 OK"),
        ("command echo all is well", True, "all is well"),
        ("system", True, "running"),
        ("failed units", True, "none"),
    ]
    assert answer["msg"] == "6 checks found no fault"
    assert answer["changed"] is False
    assert answer["healthy"] is True
    assert (answer["new_faults"], answer["old_faults"], answer["healed"]) == ([], [], [])
    assert answer["attempts"] == 1
    assert run(wanted, check_mode=True)["checks"] == answer["checks"]
    expect_documented(health_check)
    assert {*returned(health_check), "changed"} == set(answer)
    assert set(returned(health_check)["checks"]["contains"]) == set(answer["checks"][0])


def test_it_fails_when_there_are_faults_and_names_them(run: Run, systemd: Systemd, closed_port: int) -> None:
    systemd.unit("nginx", "failed", "failed", "exit-code")
    wanted = {"services": ["nginx"], "ports": [closed_port], "commands": ["true"]}
    answer = run(wanted)
    assert answer["failed"]
    assert answer["healthy"] is False
    assert answer["new_faults"] == ["service nginx", f"port {closed_port}"]
    assert answer["msg"] == (
        f"2 of 3 checks found faults: service nginx: failed (exit-code); port {closed_port}: connection refused"
    )
    baseline = run({**wanted, "fail": False})
    assert not baseline.get("failed")
    assert {**baseline, "elapsed": 0} == {
        key: value for key, value in {**answer, "elapsed": 0}.items() if key != "failed"
    }


def test_many_faults_are_all_returned_and_the_first_are_told(run: Run) -> None:
    answer = run({"commands": [f"exit {code}" for code in range(1, 8)]})
    assert len(answer["new_faults"]) == 7
    assert answer["msg"].startswith("7 of 7 checks found faults: command exit 1: ended with 1; command exit 2: ")
    assert answer["msg"].endswith("; command exit 5: ended with 5; and 2 more")
    assert run({"commands": ["false"]})["msg"] == "1 of 1 check found a fault: command false: ended with 1"


def test_where_there_is_nothing_to_check_it_says_so(run: Run) -> None:
    answer = run({})
    assert (answer["checks"], answer["healthy"], answer["msg"]) == ([], True, "nothing was checked")


def test_all_is_looked_at_side_by_side(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    # Each of them can only end when the other one is there.
    answer = run({"commands": [f"echo x > {tmp_path}/pipe", f"read x < {tmp_path}/pipe"], "timeout": FOREVER})
    assert answer["healthy"], answer["msg"]


# The baseline


def test_old_faults_do_not_count_and_new_ones_do(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).touch()
    commands = [f"test -e {tmp_path}/{name}" for name in ("a", "b", "c", "d")]
    names = [f"command {command}" for command in commands]
    before = run({"commands": commands, "fail": False})
    assert before["new_faults"] == names[2:]
    same = run({"commands": commands, "baseline": before["checks"]})
    assert not same.get("failed")
    assert (same["new_faults"], same["old_faults"], same["healed"]) == ([], names[2:], [])
    assert same["msg"] == (
        f"2 of 4 checks found what was a fault before as well, and nothing new: {names[2]}, {names[3]}"
    )
    (tmp_path / "b").unlink()
    (tmp_path / "c").touch()
    after = run({"commands": commands, "baseline": before["checks"]})
    assert after["failed"]
    assert (after["new_faults"], after["old_faults"], after["healed"]) == ([names[1]], [names[3]], [names[2]])
    assert after["msg"] == f"1 of 4 checks found a new fault: {names[1]}: ended with 1"
    # One that knows nothing is a baseline all the same.
    assert run({"commands": ["false"], "baseline": []})["msg"].startswith("1 of 1 check found a new fault: ")


def test_each_failed_unit_is_compared_with_the_baseline(run: Run, systemd: Systemd) -> None:
    systemd.system("degraded")
    systemd.failed("old.service", "healed.mount")
    before = run({"failed_units": True, "fail": False})
    assert seen(before) == [
        ("system", True, "degraded"),
        ("unit old.service", False, "failed"),
        ("unit healed.mount", False, "failed"),
    ]
    systemd.failed("new.timer", "old.service")
    after = run({"failed_units": True, "baseline": before["checks"]})
    assert after["new_faults"] == ["unit new.timer"]
    assert after["old_faults"] == ["unit old.service"]
    assert after["healed"] == ["unit healed.mount"]
    systemd.failed()
    assert run({"failed_units": True, "baseline": before["checks"]})["healed"] == [
        "unit old.service",
        "unit healed.mount",
    ]
    # Who does not look does not know.
    assert run({"baseline": before["checks"]})["healed"] == []


@pytest.mark.parametrize("wrong", [{"name": "system"}, {"ok": True}, {"name": "system", "ok": "no"}])
def test_a_baseline_that_no_look_returned_is_refused(run: Run, wrong: Answer) -> None:
    answer = run({"baseline": [{"name": "system", "ok": True, "msg": ""}, wrong]})
    assert answer["msg"] == "baseline[1] has no name or no ok: give the checks that an earlier run returned"


# Looking again


def test_it_looks_again_until_there_is_no_new_fault(run: Run, tmp_path: Path) -> None:
    third = f"echo >> {tmp_path}/looks; test $(wc -l < {tmp_path}/looks) -ge 3"
    answer = run({"commands": [third], "retries": 5, "delay": 0})
    assert not answer.get("failed")
    assert answer["attempts"] == 3
    assert answer["healthy"] is True


def test_it_gives_up_when_it_has_looked_often_enough(run: Run, tmp_path: Path) -> None:
    command = f"echo >> {tmp_path}/looks; false"
    answer = run({"commands": [command], "retries": 2, "delay": 0.05})
    assert answer["failed"]
    assert answer["attempts"] == 3
    assert answer["elapsed"] >= 0.1
    assert (tmp_path / "looks").read_text() == "\n" * 3
    # For an old fault there is nothing to wait for.
    answer = run({"commands": [command], "retries": 2, "baseline": answer["checks"]})
    assert answer["attempts"] == 1


def test_a_host_that_is_still_starting_is_waited_for(run: Run, systemd: Systemd, tmp_path: Path) -> None:
    systemd.system("starting", jobs=3)
    answer = run({"failed_units": True, "fail": False})
    assert seen(answer)[0] == ("system", False, "still starting: 3 jobs")
    started = f"printf 'NJobs=0\\nSystemState=running\\n' > {tmp_path}/systemd/system"
    answer = run({"failed_units": True, "commands": [started], "retries": 9, "delay": 0.01})
    assert answer["healthy"] is True
    assert ("system", True, "running") in seen(answer)


@pytest.mark.parametrize(
    ("state", "msg"),
    [
        ("initializing", "still starting: 1 job"),
        ("stopping", "shutting down"),
        ("maintenance", "in rescue or emergency mode"),
        ("offline", "offline"),
    ],
)
def test_a_host_that_is_not_running_is_a_fault(run: Run, systemd: Systemd, state: str, msg: str) -> None:
    systemd.system(state, jobs=1)
    answer = run({"failed_units": True})
    assert answer["msg"] == f"1 of 2 checks found a fault: system: {msg}"


# Services


@pytest.mark.parametrize(
    ("unit", "ok", "msg"),
    [
        ({"active": "active", "sub": "waiting"}, True, "active"),
        ({"active": "reloading", "sub": "reload"}, True, "reloading"),
        ({"active": "active", "sub": "running", "load": "not-found"}, True, "active"),
        ({"active": "inactive", "sub": "dead"}, False, "inactive"),
        ({"active": "inactive", "sub": "dead", "load": "masked"}, False, "masked"),
        ({"active": "activating", "sub": "auto-restart", "result": "exit-code"}, False, "activating (auto-restart)"),
        ({"active": "failed", "sub": "failed", "result": "oom-kill"}, False, "failed (oom-kill)"),
    ],
)
def test_a_service_is_healthy_when_it_is_active(run: Run, systemd: Systemd, unit: Answer, ok: bool, msg: str) -> None:
    systemd.unit("backup.timer", **unit)
    assert seen(run({"services": ["backup.timer"], "fail": False})) == [("service backup.timer", ok, msg)]


def test_the_name_of_a_service_is_never_an_option(run: Run, systemd: Systemd, tmp_path: Path) -> None:
    answer = run({"services": ["--version", "nginy"]})
    assert answer["msg"].endswith("service --version: there is no such unit; service nginy: there is no such unit")
    calls = (tmp_path / "systemd" / "calls").read_text().splitlines()
    assert any(call.endswith(" -- --version") for call in calls)


def test_a_systemctl_that_fails_is_a_fault(run: Run, systemd: Systemd, tmp_path: Path) -> None:
    (tmp_path / "systemd" / "systemctl").write_text("#!/bin/sh\necho Failed to connect to bus >&2\nexit 1\n")
    answer = run({"services": ["nginx"], "failed_units": True})
    names = ["service nginx", "system", "failed units"]
    assert seen(answer) == [(name, False, "failed to connect to bus") for name in names[:2]] + [
        (names[2], False, "Failed to connect to bus")
    ]


def test_without_systemd_only_what_asks_for_it_is_a_fault(run: Run, no_systemd: None) -> None:
    answer = run({"services": ["nginx"], "failed_units": True})
    assert seen(answer) == [("service nginx", False, "needs systemd, which is not on this host")]


# Ports


def test_ports_of_this_host_and_of_others(run: Run, open_port: int, closed_port: int) -> None:
    ports = [open_port, str(open_port), f"localhost:{open_port}", f"127.0.0.1:{closed_port}", "no-host.invalid:1"]
    answer = run({"ports": ports, "fail": False})
    accepts, refused = "accepts connections", "connection refused"
    # The same port is looked at once.
    assert seen(answer)[:3] == [
        (f"port {open_port}", True, accepts),
        (f"port localhost:{open_port}", True, accepts),
        (f"port 127.0.0.1:{closed_port}", False, refused),
    ]
    assert answer["checks"][3]["ok"] is False
    assert len(answer["checks"]) == 4


def test_a_port_of_an_ipv6_address(run: Run) -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        port = server.getsockname()[1]
        assert run({"ports": [f"[::1]:{port}"]})["checks"][0]["name"] == f"port [::1]:{port}"


def test_a_port_that_does_not_answer_is_a_fault(run: Run) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        with contextlib.ExitStack() as stack:
            for dummy in range(3):  # more than may wait
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(server.getsockname())
            answer = run({"ports": [server.getsockname()[1]], "timeout": 0.3})
    assert answer["checks"][0]["msg"] == "no answer in 0.3 s"
    assert answer["elapsed"] < 2


# Addresses


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirection_is_followed_by_every_python(
    run: Run, web: Web, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    handler = urllib.request.HTTPRedirectHandler
    real = handler.redirect_request

    def before_3_11(self: t.Any, request: t.Any, file: t.Any, code: int, *others: t.Any) -> t.Any:
        if code == 308:
            raise urllib.error.HTTPError(request.full_url, code, "not followed", others[1], file)
        return real(self, request, file, code, *others)

    monkeypatch.delattr(handler, "http_error_308", raising=False)
    monkeypatch.setattr(handler, "redirect_request", before_3_11)
    web.answers = {"/moved": (status, {"Location": "/good"}), "/good": (200, {})}
    assert seen(run({"urls": [f"{web.url}/moved"]})) == [(f"url {web.url}/moved", True, "200 OK")]


def test_an_address_is_healthy_when_it_leads_to_success(run: Run, web: Web) -> None:
    web.answers = {
        "/204": (204, {}),
        "/301": (301, {"Location": "/204"}),
        "/away": (302, {"Location": "/503"}),
        "/503": (503, {}),
        "/loop": (302, {"Location": "/loop"}),
        "/file": (302, {"Location": "file:///etc/passwd"}),
        "/ftp": (302, {"Location": f"ftp://localhost:{web.port}/"}),
    }
    answer = run({"urls": [web.url + path for path in [*web.answers, "/404"]], "fail": False})
    said = {one["name"].removeprefix(f"url {web.url}"): (one["ok"], one["msg"]) for one in answer["checks"]}
    assert said["/204"] == said["/301"] == (True, "204 No Content")
    assert said["/503"] == said["/away"] == (False, "503 Service Unavailable")
    assert said["/404"] == (False, "404 Not Found")
    for path in ("/loop", "/file", "/ftp"):
        assert said[path][0] is False


def test_a_password_is_used_and_never_shown(
    run: Run, served: Callable[..., Web], capfd: pytest.CaptureFixture[str]
) -> None:
    web, other = served(), served()
    web.answers = {
        "/": (302, {"Location": "/in"}),
        "/in": (302, {"Location": f"{other.url}/"}),
    }
    other.answers["/"] = (200, {})
    url = f"http://monitor:geh%40eim@localhost:{web.port}/"
    answer = run({"urls": [url, f"http://monitor:geheimer@localhost:{web.port}/nothing"]})
    assert [one["name"] for one in answer["checks"]] == [
        f"url http://***@localhost:{web.port}/",
        f"url http://***@localhost:{web.port}/nothing",
    ]
    assert [one["ok"] for one in answer["checks"]] == [True, False]
    secret = f"Basic {base64.b64encode(b'monitor:geh@eim').decode()}"
    assert [asked for asked in web.asked if asked[0] != "/nothing"] == [("/", secret), ("/in", secret)]
    # It is none of the business of where that server leads to.
    assert other.asked == [("/", None)]
    assert "geh" not in str(answer)


def test_what_the_task_was_told_shows_no_password(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    shown: list[Answer] = []
    module_class: t.Any = basic.AnsibleModule
    original = module_class._return_formatted

    def spy(module: t.Any, kwargs: Answer) -> None:
        with contextlib.suppress(AttributeError):
            shown.append({"no_log": set(module.no_log_values)})
        original(module, kwargs)

    monkeypatch.setattr(module_class, "_return_formatted", spy)
    run({"urls": ["http://monitor:geheim@localhost:1/", "http://localhost:1/x@y"], "timeout": 1})
    assert shown == [{"no_log": {"monitor:geheim@"}}]


def certificate(folder: Path) -> Path:
    """A certificate for localhost that nobody has signed, with its key."""
    path = folder / "localhost.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*argv, "-keyout", folder / "key", "-out", folder / "crt"], check=True, capture_output=True)
    path.write_bytes((folder / "key").read_bytes() + (folder / "crt").read_bytes())
    return path


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_certificate_has_to_be_one_that_this_host_trusts(
    run: Run, tmp_path: Path, served: Callable[..., Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    web = served(context)
    web.answers["/"] = (200, {})
    answer = run({"urls": [f"{web.url}/"]})
    assert answer["checks"][0]["msg"].startswith("its certificate is not accepted: self")
    assert web.asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "crt"))
    assert run({"urls": [f"{web.url}/"]})["healthy"] is True


def test_an_address_that_never_finishes_its_answer_is_a_fault(run: Run, listener: socket.socket) -> None:
    def drip() -> None:
        connection = listener.accept()[0]
        with contextlib.suppress(OSError), connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                # Each line comes well within the time that one read may take.
                connection.sendall(b"X: y\r\n")
                time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    answer = run({"urls": [url], "timeout": 0.5})
    assert answer["checks"][0]["ok"] is False
    assert answer["elapsed"] < 10


# Commands


@pytest.mark.parametrize(
    ("command", "ok", "msg"),
    [
        ("true", True, "ended with 0"),
        ("exit 3", False, "ended with 3"),
        ("echo 1; echo 2 >&2; echo; echo 3; echo 4; exit 1", False, "ended with 1: 2 / 3 / 4"),
        ("kill -9 $$", False, "was killed by signal 9"),
        ("printf '\\033]0;x\\007\\377'; false", False, "ended with 1: ]0;x \ufffd"),
        ("echo see http://me:secret@host/; false", False, "ended with 1: see http://***@host/"),
        ("echo '{{ 1 + 1 }}'; false", False, "ended with 1: {{ 1 + 1 }}"),
        ("cat", True, "ended with 0"),  # it has nothing to read
    ],
)
def test_a_command_says_last_what_is_told(run: Run, command: str, ok: bool, msg: str) -> None:
    (found,) = run({"commands": [command], "fail": False})["checks"]
    assert (found["ok"], found["msg"]) == (ok, msg)


def test_a_command_may_say_much(run: Run) -> None:
    (found,) = run({"commands": ["yes | head -c 3000000 | tr -d '\\n'; echo end"], "timeout": FOREVER})["checks"]
    assert found["msg"].endswith("yyyend")
    assert len(found["msg"]) <= 500


def test_long_commands_that_begin_alike_have_names_of_their_own(run: Run) -> None:
    beginning = f": {'x' * 200}; "
    answer = run({"commands": [beginning + "true", beginning + "false", beginning + "true"]})
    first, second = answer["checks"]
    assert (first["ok"], second["ok"]) == (True, False)
    assert len(first["name"]) < 140
    assert second["name"] == first["name"] + " (2)"
    assert answer["new_faults"] == [second["name"]]


def test_a_command_that_hangs_is_ended_with_all_that_it_has_started(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    # The pipe is open as long as one of them lives: one in the background, one in a session of its own, the shell.
    command = f"exec 7> {tmp_path}/alive; sleep 1000 & echo looking; setsid sleep 1000; echo not reached >&7"
    answer = run({"commands": [command, "true"], "timeout": 1})
    assert [one["ok"] for one in answer["checks"]] == [False, True]
    assert answer["checks"][0]["msg"] == "did not end in 1 s: looking"
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_what_a_healthy_command_leaves_in_the_background_lives_on(run: Run, tmp_path: Path) -> None:
    for name in ("go", "done"):
        os.mkfifo(tmp_path / name)
    answer = run({"commands": [f"(read x < {tmp_path}/go; echo lived > {tmp_path}/done) & echo started"]})
    assert answer["checks"][0]["msg"] == "started"
    (tmp_path / "go").write_text("\n")
    assert (tmp_path / "done").read_text() == "lived\n"


# Packages


STATUS = """\
Package: good
Status: install ok installed
Maintainer: nobody
Architecture: all
Version: 1
Description: is as it should be
"""


def broken(name: str, state: str) -> str:
    return STATUS.replace("good", name).replace("ok installed", f"ok {state}")


class Dpkg:
    """The database of a real dpkg."""

    def __init__(self, path: Path) -> None:
        self._path = path
        for name in ("info", "updates", "triggers"):
            (path / name).mkdir(parents=True)
        for name in ("good", "half", "mess", "unpacked", "old"):
            (path / "info" / f"{name}.list").write_text("/.\n")
            (path / "info" / f"{name}.md5sums").write_text("")
        (path / "info" / "format").write_text("1\n")
        self.have()

    def have(self, *packages: str) -> None:
        (self._path / "status").write_text("\n".join([STATUS, *packages]), encoding="utf-8")


@pytest.fixture
def dpkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dpkg:
    if not shutil.which("dpkg"):
        pytest.skip("needs dpkg")
    monkeypatch.setenv("DPKG_ADMINDIR", str(tmp_path / "dpkg"))
    monkeypatch.setattr(_health, "_DPKG_STATUS", str(tmp_path / "dpkg" / "status"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".rpmmacros").write_text(f"%_dbpath {tmp_path}/rpm\n")
    return Dpkg(tmp_path / "dpkg")


def test_each_broken_package_is_a_fault(run: Run, dpkg: Dpkg) -> None:
    assert seen(run({"packages": True})) == [("dpkg database", True, "no complaints")]
    dpkg.have(broken("half", "half-configured"), broken("unpacked", "unpacked"))
    before = run({"packages": True, "fail": False})
    configured = "configuring them the first time"
    assert sorted(seen(before)) == [
        ("package half", False, f"are only half configured, probably due to problems {configured}"),
        ("package unpacked", False, "have been unpacked but not yet configured"),
    ]
    dpkg.have(broken("half", "half-configured"), broken("mess", "half-installed"))
    after = run({"packages": True, "baseline": before["checks"]})
    assert after["new_faults"] == ["package mess"]
    assert after["old_faults"] == ["package half"]
    assert after["healed"] == ["package unpacked"]


def test_a_database_that_dpkg_cannot_read_is_a_fault(run: Run, dpkg: Dpkg) -> None:
    dpkg.have("Package: \n")
    ((name, ok, msg),) = seen(run({"packages": True}))
    assert (name, ok) == ("dpkg database", False)
    assert "parsing file" in msg


def test_what_dpkg_warns_of_is_no_package(run: Run, dpkg: Dpkg) -> None:
    dpkg.have(broken("old", "installed").replace("Maintainer: nobody\n", ""), broken("half", "half-configured"))
    answer = run({"packages": True})
    assert answer["new_faults"] == ["package half"]


def test_a_host_without_packages_has_nothing_to_look_at(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_health, "_PATH", str(tmp_path))
    assert run({"packages": True})["checks"] == []


@pytest.fixture
def rpm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the database of a real rpm, on a host that has no dpkg."""
    if not shutil.which("rpm") or not shutil.which("rpmdb"):
        pytest.skip("needs rpm")
    monkeypatch.setattr(_health, "_DPKG_STATUS", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "rpm"
    (tmp_path / ".rpmmacros").write_text(f"%_dbpath {path}\n")
    return path


def test_the_database_of_rpm_is_verified(run: Run, rpm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(run({"packages": True})) == [("rpm database", False, f"there is none in {rpm}")]
    assert not rpm.exists()
    subprocess.run(["rpmdb", "--initdb"], check=True)
    assert seen(run({"packages": True})) == [("rpm database", True, "no complaints")]
    for file in rpm.iterdir():
        file.write_bytes(b"broken" * 1000)
    ((name, ok, msg),) = seen(run({"packages": True}))
    assert (name, ok) == ("rpm database", False)
    assert "cannot open Packages" in msg
    find = _health._find
    monkeypatch.setattr(_health, "_find", lambda name: None if name == "rpmdb" else find(name))
    assert "cannot open Packages" in run({"packages": True})["msg"]


# Options


@pytest.mark.parametrize(
    ("options", "msg"),
    [
        ({"ports": [80, 0]}, "ports[1] is 0: give a number from 1 to 65535, or host:port, or [address]:port"),
        ({"ports": [True]}, "ports[0] is True: give a number"),
        ({"ports": [{"port": 80}]}, "ports[0] is {'port': 80}: give a number"),
        ({"ports": ["::1:80"]}, "ports[0] is '::1:80': give a number"),
        ({"ports": ["web:http"]}, "ports[0] is 'web:http': give a number"),
        ({"ports": ["web:65536"]}, "ports[0] is 'web:65536': give a number"),
        ({"urls": ["file:///etc/passwd"]}, "urls[0] is 'file:///etc/passwd': give an address that begins with http"),
        ({"urls": ["www.example.com"]}, "urls[0] is 'www.example.com': give an address"),
        ({"urls": ["http://me:a/b@host/"]}, "urls[0] is 'http://***@host/': give an address"),
        ({"urls": ["http://me:2024#s@host/"]}, "urls[0] is 'http://***@host/': behind a port write @ as %40"),
        ({"urls": ["http://me:2024/s@host/"]}, "urls[0] is 'http://***@host/': behind a port write @ as %40"),
        ({"urls": ["http://[::1/"]}, "urls[0] is 'http://[::1/': give an address"),
        ({"services": ["a", " "]}, "services[1] is empty: leave it out"),
        ({"services": ["ngin*"]}, "services[0] is 'ngin*', which is a pattern: name one unit"),
        ({"commands": [""]}, "commands[0] is empty: leave it out"),
        ({"timeout": 0}, "timeout is 0: give 0.01 to 86400 seconds"),
        ({"timeout": "nan"}, "timeout is nan: give 0.01 to 86400 seconds"),
        ({"delay": -1}, "delay is -1: give 0 to 86400 seconds"),
        ({"retries": -1}, "retries is -1: give 0 to 100000"),
    ],
)
def test_options_that_make_no_sense_are_refused(run: Run, options: Answer, msg: str, tmp_path: Path) -> None:
    answer = run({"commands": [f"touch {tmp_path}/looked"], **options})
    assert answer["failed"]
    assert answer["msg"].startswith(msg)
    assert not (tmp_path / "looked").exists()
