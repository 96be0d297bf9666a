# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What is healthy on a host and what is not: looks at everything side by side, and compares with an earlier look.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import base64
import glob
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from ansible_collections.inflight.jobs.plugins.module_utils import _processes

# Longest time of one check, and longest pause between two looks.
MAX_SECONDS = 86400.0
MAX_RETRIES = 100000

# Of a name and of what was seen, so many characters at most are told.
_LONGEST_NAME = 120
_LONGEST_MSG = 500
_LONGEST_SAID = 400
# How many faults the message tells.
_SHOWN = 5

# So much of the end of what a program prints is kept.
_KEPT = 256 * 1024
# When a program has ended, another one that it started may still have its output: so many seconds is that waited for.
_LINGER = 0.5
# A program that hangs may take so many seconds to be gone once it was killed.
_ENDING = 1.0
_LOOK_EVERY = 0.05
# A check that says nothing when its time, and what it may take to end its program, has passed is given up.
_MARGIN = _LINGER + _ENDING + 0.5

# There as long as systemd is what started this host.
_SYSTEMD = "/run/systemd/system"
_DPKG_STATUS = "/var/lib/dpkg/status"
# Files of the database of rpm, whatever kind it is of.
_RPM_FILES = ("Packages*", "rpmdb.sqlite")
# Programs of the administrator are not always on the PATH of a background job.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])

_ADDRESS = re.compile(r"(?:(\[[^\[\]\s]+\]|[^\[\]:\s]+):)?([0-9]{1,5})")
_USER_IN_URL = re.compile(r"://([^/?#\s]*@)")

# Checks that find out themselves what there is, and what the names of their faults begin with. A fault that they do
# not find any more is gone.
_UNITS = "failed units"
_DPKG = "dpkg database"
_FAULTS_OF = {_UNITS: "unit ", _DPKG: "package "}


class HealthError(Exception):
    """An option makes no sense; the message says which one, and what to do."""


class _HangsError(OSError):
    """A program has not ended in time; the message is what it said last."""


class Found(t.NamedTuple):
    """What a check found. msg: what was seen, in a few words."""

    name: str
    ok: bool
    msg: str


class Check(t.NamedTuple):
    """Something to look at.

    look: takes the check and the seconds that it may take. target: what it looks at.
    """

    name: str
    look: t.Callable[[Check, float], list[Found]]
    target: str = ""

    def found(self, ok: bool, msg: str) -> list[Found]:
        """The answer of a check that finds one thing."""
        return [Found(self.name, ok, clean(msg, _LONGEST_MSG))]


class Verdict(t.NamedTuple):
    """What a look means beside an earlier one. healed: faults of then that are gone."""

    new_faults: list[str]
    old_faults: list[str]
    healed: list[str]


def clean(text: str, width: int = _LONGEST_NAME) -> str:
    """A text as one line that can be printed, no longer than width, without passwords in addresses."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 20 * width]).split())
    line = _USER_IN_URL.sub("://***@", line)
    return line if len(line) <= width else line[: width - 3] + "..."


def secrets_of(urls: t.Iterable[str]) -> set[str]:
    """The parts of addresses that nobody is to see."""
    return {user for url in urls for user in _USER_IN_URL.findall(url)}


# What there is to check


def checks_of(options: t.Mapping[str, t.Any]) -> list[Check]:
    """All checks, in the order of the options of the module. What is given twice is checked once.

    :raises HealthError: when one of the options makes no sense.
    """
    checks = [Check(f"service {clean(unit)}", _service, unit) for unit in _texts("services", options["services"])]
    for place, port in enumerate(options["ports"]):
        text = _port_text(port, place)
        checks.append(Check(f"port {clean(text)}", _port, text))
    for place, url in enumerate(_texts("urls", options["urls"])):
        _expect_url(url, place)
        checks.append(Check(f"url {clean(url)}", _url, url))
    checks += [Check(f"command {clean(text)}", _command, text) for text in _texts("commands", options["commands"])]
    if options["failed_units"] and _systemctl():
        checks += [Check("system", _system), Check(_UNITS, _failed_units)]
    if options["packages"]:
        if _has_dpkg():
            checks.append(Check(_DPKG, _dpkg))
        if _find("rpm"):
            checks.append(Check("rpm database", _rpm))
    return _with_names_of_their_own(checks)


def _with_names_of_their_own(checks: t.Iterable[Check]) -> list[Check]:
    """Names tell faults from each other, and two may look the same once they are cut."""
    named: dict[str, Check] = {}
    for check in dict.fromkeys(checks):
        name, number = check.name, 1
        while name in named:
            number += 1
            name = f"{check.name} ({number})"
        named[name] = check._replace(name=name)
    return list(named.values())


def _texts(option: str, values: t.Sequence[str]) -> t.Sequence[str]:
    for place, value in enumerate(values):
        if not value.strip():
            raise HealthError(f"{option}[{place}] is empty: leave it out")
        if option == "services" and set(value) & set("*?["):
            raise HealthError(f"services[{place}] is {clean(value)!r}, which is a pattern: name one unit")
    return values


def _port_text(port: object, place: int) -> str:
    text = str(port).strip() if isinstance(port, (int, str)) and not isinstance(port, bool) else ""
    match = _ADDRESS.fullmatch(text)
    if not match or not 0 < int(match[2]) < 65536:
        raise HealthError(
            f"ports[{place}] is {clean(repr(port))}: give a number from 1 to 65535, or host:port, or [address]:port"
        )
    return text


def _expect_url(url: str, place: int) -> None:
    advice = "give an address that begins with http:// or https://"
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        # A password of digits that has one of /?# in it looks like a port, and would be shown.
        if parts.port is not None and "@" in url and "@" not in parts.netloc:
            good, advice = False, "behind a port write @ as %40, and in a password / ? # as %2F %3F %23"
    except ValueError:
        good = False
    if not good:
        # Where the address ends that belongs to the password cannot be told.
        shown = clean(re.sub(r"://.*@", "://***@", url, flags=re.DOTALL))
        raise HealthError(f"urls[{place}] is {shown!r}: {advice}")


def faults_of(baseline: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """The names of what was not healthy at an earlier look.

    :param baseline: what it returned as checks.
    :raises HealthError: when it did not.
    """
    faults = []
    for place, one in enumerate(baseline):
        if not isinstance(one.get("name"), str) or not isinstance(one.get("ok"), bool):
            raise HealthError(f"baseline[{place}] has no name or no ok: give the checks that an earlier run returned")
        if not one["ok"]:
            faults.append(one["name"])
    return faults


# Looking


class _Look(threading.Thread):
    """One check at work."""

    def __init__(self, check: Check, timeout: float) -> None:
        super().__init__(daemon=True)  # one that hangs does not keep the module from ending
        self._check = check
        self._timeout = timeout
        self._answer: list[Found] | None = None
        self.start()

    def run(self) -> None:
        try:
            self._answer = self._check.look(self._check, self._timeout)
        except (OSError, ValueError, http.client.HTTPException) as ex:
            self._answer = self._check.found(False, _why(ex, self._timeout))

    def answer(self, until: float) -> list[Found]:
        """What it found, or that it found nothing by then."""
        self.join(max(0.0, until - time.monotonic()))
        if self._answer is not None:
            return self._answer
        late = f"no answer in {self._timeout:g} s"
        return self._check.found(False, late if self.is_alive() else "this check itself failed")


def look(checks: t.Iterable[Check], timeout: float) -> list[Found]:
    """Look at everything side by side.

    :param timeout: for each check, in seconds.
    """
    looks = [_Look(check, timeout) for check in checks]
    until = time.monotonic() + timeout + _MARGIN
    return [found for one in looks for found in one.answer(until)]


def judge(found: t.Sequence[Found], faults_before: t.Sequence[str]) -> Verdict:
    """Compare with the faults of an earlier look."""
    faults = [one.name for one in found if not one.ok]
    good = {one.name for one in found if one.ok}
    for name, beginning in _FAULTS_OF.items():
        if name in good or any(fault.startswith(beginning) for fault in faults):
            gone = {one for one in faults_before if one == name or one.startswith(beginning)}
            good |= gone.difference(faults)
    return Verdict(
        [name for name in faults if name not in faults_before],
        [name for name in faults if name in faults_before],
        [name for name in dict.fromkeys(faults_before) if name in good],
    )


def examine(
    options: t.Mapping[str, t.Any],
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], object] = time.sleep,
) -> dict[str, t.Any]:
    """Look as often as the options of the module say; what the module returns.

    :raises HealthError: when one of the options makes no sense.
    """
    for name, least in (("timeout", 0.01), ("delay", 0)):
        if not least <= options[name] <= MAX_SECONDS:
            raise HealthError(f"{name} is {options[name]:g}: give {least:g} to {MAX_SECONDS:g} seconds")
    if not 0 <= options["retries"] <= MAX_RETRIES:
        raise HealthError(f"retries is {options['retries']}: give 0 to {MAX_RETRIES}")
    checks = checks_of(options)
    before = faults_of(options["baseline"] or ())
    began = clock()
    attempts = 1
    while True:
        found = look(checks, options["timeout"])
        verdict = judge(found, before)
        if not verdict.new_faults or attempts > options["retries"]:
            break
        attempts += 1
        sleep(options["delay"])
    return {
        "msg": _message(found, verdict, options["baseline"] is not None),
        "healthy": not verdict.new_faults,
        "checks": [one._asdict() for one in found],
        **verdict._asdict(),
        "attempts": attempts,
        "elapsed": round(clock() - began, 3),
    }


def _message(found: t.Sequence[Found], verdict: Verdict, compared: bool) -> str:
    number = f"{len(found)} check{'' if len(found) == 1 else 's'}"
    if verdict.new_faults:
        new = [f"{one.name}: {one.msg}" for one in found if one.name in verdict.new_faults]
        more = f"; and {len(new) - _SHOWN} more" if len(new) > _SHOWN else ""
        a, s = ("a ", "") if len(new) == 1 else ("", "s")
        what = f"{a}{'new ' if compared else ''}fault{s}"
        return f"{len(new)} of {number} found {what}: {'; '.join(new[:_SHOWN])}{more}"
    old = verdict.old_faults
    if old:
        names = ", ".join(old[:_SHOWN]) + (f" and {len(old) - _SHOWN} more" if len(old) > _SHOWN else "")
        return f"{len(old)} of {number} found what was a fault before as well, and nothing new: {names}"
    return f"{number} found no fault" if found else "nothing was checked"


def _why(ex: object, timeout: float) -> str:
    """Why a check found nothing, in a few words."""
    if isinstance(ex, _HangsError):
        return f"did not end in {timeout:g} s" + (f": {ex}" if str(ex) else "")
    if isinstance(ex, urllib.error.HTTPError):
        return f"{ex.code} {ex.reason}"
    if isinstance(ex, urllib.error.URLError):
        return _why(ex.reason, timeout)
    if isinstance(ex, socket.timeout):
        return f"no answer in {timeout:g} s"
    if isinstance(ex, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {ex.verify_message}"
    said = (ex.strerror if isinstance(ex, OSError) else None) or str(ex) or type(ex).__name__
    return said[:1].lower() + said[1:] if said[1:2].islower() else said


# Services and units


def _systemctl() -> str | None:
    return _find("systemctl") if os.path.isdir(_SYSTEMD) else None


def _service(check: Check, timeout: float) -> list[Found]:
    """Healthy is what systemctl is-active takes for active; show tells more of what is not."""
    if not _systemctl():
        return check.found(False, "needs systemd, which is not on this host")
    said = _show(timeout, "LoadState", "ActiveState", "SubState", "Result", unit=check.target)
    state = said.get("ActiveState", "unknown")
    if state in ("active", "reloading", "refreshing"):
        return check.found(True, state)
    if said.get("LoadState") == "not-found":
        return check.found(False, "there is no such unit")
    if said.get("LoadState") == "masked":
        return check.found(False, "masked")
    detail = said.get("Result" if state == "failed" else "SubState", "")
    return check.found(False, state if detail in ("", "dead", "success", state) else f"{state} ({detail})")


def _system(check: Check, timeout: float) -> list[Found]:
    said = _show(timeout, "SystemState", "NJobs")
    state, jobs = said.get("SystemState", "unknown"), said.get("NJobs", "")
    if state in ("starting", "initializing"):
        return check.found(False, "still starting" + (f": {jobs} job{'' if jobs == '1' else 's'}" if jobs else ""))
    words = {"stopping": "shutting down", "maintenance": "in rescue or emergency mode"}
    return check.found(state in ("running", "degraded"), words.get(state, state))


def _show(timeout: float, *properties: str, unit: str | None = None) -> dict[str, str]:
    """Properties of a unit, or of systemd itself."""
    argv = ["show", "--no-pager", *(f"--property={name}" for name in properties)]
    code, output = _run([_systemctl() or "systemctl", *argv, *([] if unit is None else ["--", unit])], timeout, "C")
    if code:
        raise OSError(_last(output) or f"systemctl ended with {code}")
    lines = (line.partition("=") for line in output.splitlines())
    return {name: value for name, dummy_separator, value in lines if name in properties}


def _failed_units(check: Check, timeout: float) -> list[Found]:
    argv = ["list-units", "--state=failed", "--all", "--full", "--plain", "--no-legend", "--no-pager"]
    code, output = _run([_systemctl() or "systemctl", *argv], timeout, "C")
    if code:
        return check.found(False, _last(output) or f"systemctl ended with {code}")
    # An old systemd has a dot before the name, plain or not.
    rows = [line.lstrip("\u25cf* \t").split(None, 4) for line in output.splitlines()]
    units = dict.fromkeys(clean(row[0]) for row in rows if len(row) > 3 and row[2] == "failed")
    return [Found(f"{_FAULTS_OF[_UNITS]}{unit}", False, "failed") for unit in units] or check.found(True, "none")


# Ports and addresses


def _port(check: Check, timeout: float) -> list[Found]:
    host, port = t.cast("re.Match[str]", _ADDRESS.fullmatch(check.target)).groups("127.0.0.1")
    socket.create_connection((host.strip("[]"), int(port)), timeout).close()
    return check.found(True, "accepts connections")


def _url(check: Check, timeout: float) -> list[Found]:
    parts = urllib.parse.urlsplit(check.target)
    user, dummy_at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host, fragment="").geturl())
    request.add_header("User-Agent", "inflight.jobs.health_check")
    opener = urllib.request.OpenerDirector()
    # Those of build_opener would also follow to an address of ftp.
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        _User(user, request),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(request, timeout=timeout) as answer:
            return check.found(True, f"{answer.status} {answer.reason}")
    except urllib.error.HTTPError as ex:
        ex.close()
        raise


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a 308 as well, which Python does by itself from 3.11 on."""

    def http_error_308(self, req: urllib.request.Request, fp: t.Any, code: int, msg: str, headers: t.Any) -> t.Any:
        del code
        # Nothing but GET is asked here, for which it is the same as a 307.
        return self.http_error_302(req, fp, 307, msg, headers)


class _User(urllib.request.BaseHandler):
    """Tells one server, and none that this one leads to, the user and the password that an address has."""

    def __init__(self, user: str, request: urllib.request.Request) -> None:
        """
        :param user: name:password, or empty.
        :param request: the first one to the server.
        """
        self._secret = base64.b64encode(urllib.parse.unquote_to_bytes(user)).decode()
        self._server = (request.type, request.host)

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        if self._secret and (request.type, request.host) == self._server:
            request.add_unredirected_header("Authorization", f"Basic {self._secret}")
        return request

    https_request = http_request


# Packages


def _has_dpkg() -> bool:
    """Whether dpkg is there, and more than a tool on a system with other packages."""
    try:
        return _find("dpkg") is not None and os.path.getsize(_DPKG_STATUS) > 0
    except OSError:
        return False


def _dpkg(check: Check, timeout: float) -> list[Found]:
    code, output = _run([_find("dpkg") or "dpkg", "--audit"], timeout, "C")
    found: dict[str, Found] = {}
    heading: list[str] = []
    listing = False
    for line in output.splitlines():
        if line.startswith(" ") and line.strip():
            listing = True
            # What it warns of may have such lines, too.
            dummy_before, is_list, said = " ".join(heading).rpartition("The following packages ")
            name = _FAULTS_OF[_DPKG] + clean(line.split()[0])
            if is_list:
                found.setdefault(name, Found(name, False, _without_advice(said)))
        elif line.strip():
            heading = [*([] if listing else heading), line.strip()]
            listing = False
    if found:
        return list(found.values())
    return check.found(not code, _last(output) or f"dpkg ended with {code}" if code else "no complaints")


def _without_advice(said: str) -> str:
    """What dpkg --audit says of packages before it lists them, as far as that says what they are."""
    return clean(re.split(r"[.:](?:\s|$)", said, maxsplit=1)[0], _LONGEST_MSG)


def _rpm(check: Check, timeout: float) -> list[Found]:
    until = time.monotonic() + timeout
    rpm = _find("rpm") or "rpm"
    folder = _run([rpm, "--eval", "%{_dbpath}"], timeout, "C")[1].strip()
    # Where there is none, rpmdb would make an empty one, and find it good.
    if not any(glob.glob(os.path.join(glob.escape(folder), pattern)) for pattern in _RPM_FILES):
        return [] if _has_dpkg() else check.found(False, f"there is none in {folder}")
    rpmdb = _find("rpmdb")
    argv = [rpmdb, "--verifydb"] if rpmdb else [rpm, "--query", "--all"]
    code, output = _run(argv, until - time.monotonic(), "C")
    return check.found(not code, _last(output) or f"{argv[0]} ended with {code}" if code else "no complaints")


# Programs


def _command(check: Check, timeout: float) -> list[Found]:
    code, output = _run(["/bin/sh", "-c", check.target], timeout)
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    said = _last(output)
    return check.found(not code, (f"{how}: {said}" if said else how) if code else said or how)


def _find(name: str) -> str | None:
    return shutil.which(name, path=_PATH)


def _last(output: str) -> str:
    """What a program said last."""
    return " / ".join([line.strip() for line in output.splitlines() if line.strip()][-3:])[-_LONGEST_SAID:]


def _run(argv: t.Sequence[str], timeout: float, locale: str | None = None) -> tuple[int, str]:
    """Run a program to its end: its exit code, minus the number of the signal that killed it, and what it printed.

    :param locale: the one that it speaks; that of the module when left out.
    :raises OSError: when it cannot be run, or has not ended in time. Then it and all that it started were ended.
    """
    environment = None if locale is None else {**os.environ, "LC_ALL": locale}
    # run_command of AnsibleModule knows no time limit, and waits for whatever a program leaves in the background.
    process = subprocess.Popen(  # pylint: disable=ansible-bad-function
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    output = _Output(t.cast("t.IO[bytes]", process.stdout))
    try:
        return process.wait(timeout), output.text()
    except subprocess.TimeoutExpired:
        _end(process)
        raise _HangsError(_last(output.text())) from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that leads its session, and all that it started."""
    # No job has such an id: the session and its descendants are meant.
    tree = _processes.Tree(process.pid, f"check {process.pid}", process.pid)
    until = time.monotonic() + _ENDING
    while tree.look(_processes.Snapshot()) and time.monotonic() < until:
        tree.kill()
        process.poll()  # where there is no /proc, it counts as long as nobody has collected it
        time.sleep(_LOOK_EVERY)
    process.poll()


class _Output(threading.Thread):
    """Keeps the end of what a program prints."""

    def __init__(self, pipe: t.IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._kept = b""
        self.start()

    def run(self) -> None:
        for chunk in iter(lambda: os.read(self._pipe.fileno(), 65536), b""):
            self._kept = (self._kept + chunk)[-_KEPT:]
        self._pipe.close()

    def text(self) -> str:
        """To be called when the program has ended."""
        self.join(_LINGER)
        return self._kept.decode("utf-8", "replace")
