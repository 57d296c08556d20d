"""The jail with a real child, honest and compromised: what the parent survives, and what it never accepts."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from tests.memory_file import MemoryFile

from filterzoo.archive import Member, Packing
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.jail import Jail
from filterzoo.jail.limits import JailLimits
from filterzoo.jail.namespaces import way_in
from filterzoo.records import Kind
from filterzoo.references import PluginReference

PROBE = PluginReference("probe-plugin", file=str(Path(__file__).with_name("compromised_format.py")))
STRICT = JailLimits(memory_bytes=400 << 20, cpu_seconds=1, patience=60, questions=50)
HASTY = JailLimits(cpu_seconds=2, patience=1)
ONE = "yield conv()"


@pytest.fixture(scope="module")
def jail():
    with Jail([PROBE], STRICT) as made:
        yield made


@pytest.fixture
def index(jail, tmp_path):
    """Index a file that tells the child what to do."""

    def run(source: str, *, on: Jail = jail):
        path = tmp_path / "model.bin"
        path.write_text(f"PROBE\n{source}\n" + "#" * 100)
        with LocalFile(path) as file:
            return on.index(file, "model.bin")

    return run


@pytest.fixture
def refusal(index):
    def run(source: str, **options) -> Refused:
        with pytest.raises(Refused) as raised:
            index(source, **options)
        return raised.value

    return run


def test_a_good_file(index):
    found = index("yield conv('a')\nyield conv('b', kind=Kind.GROUPED)\nyield conv('c', convolution=None)")
    assert (found.format, found.facts.framework, found.tensor_count) == ("probe", "probe", 3)
    assert [(tensor.name, tensor.convolution.kind) for tensor in found.convolutions] == [
        ("a", Kind.CONV),
        ("b", Kind.GROUPED),
        ("c", Kind.CONV),
    ]


def test_the_index_gets_the_names_of_files_and_of_members(index, tmp_path):
    assert index("yield conv(file.name)").convolutions[0].name == "model.bin"
    with zipfile.ZipFile(tmp_path / "inside.zip", "w") as archive:
        archive.writestr("a/b.bin", "PROBE\nyield conv(file.name)\n" + "#" * 100)
    archives = PluginReference("zip", module="filterzoo_plugins.archives.zip")
    with Jail([PROBE, archives], STRICT) as jail, LocalFile(tmp_path / "inside.zip") as file:
        assert jail.index(file, "inside.zip").convolutions[0].name == "a/b.bin"


def test_the_child_stays_warm_and_is_replaced_in_time(index, tmp_path):
    with Jail([PROBE], JailLimits(files_per_child=4)) as jail:
        served = []
        for _ in range(8):
            index(ONE, on=jail)
            served.append(jail._child)
        assert len({id(child) for child in served if child is not None}) == 2
        assert [child is None for child in served] == [False, False, False, True] * 2


def test_refusals_of_the_child_arrive_as_they_are_and_cost_no_child(jail, index, refusal):
    index(ONE)
    before = jail.process_id
    raised = refusal("raise Refused(Reason.DAMAGED, 'CRC \\ud800', 'record 7')")
    assert (raised.reason, raised.detail, raised.where) == (Reason.DAMAGED, "CRC \\ud800", "record 7")
    assert jail.process_id == before


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"", "empty"),
        (b"  <html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1", "git-LFS"),
        (b"\x00\x01junk", "00 01"),
    ],
)
def test_a_file_that_no_format_accepts_is_refused(start, expected, jail):
    with pytest.raises(Refused) as raised:
        jail.index(MemoryFile(start), "x.pth")
    assert raised.value.reason is Reason.UNKNOWN_FORMAT
    assert expected in raised.value.detail


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise KeyError('broken')", "KeyError: 'broken'"),
        ("raise Broken", "Broken: (its message cannot be had)"),
        ("raise ValueError('x' * 100_000_000)", "ValueError: xxx"),
        ("raise ValueError('\\ud800')", "ValueError: \\ud800"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("yield 1", "AttributeError"),
        ("yield conv(shape={1})", "TypeError"),
        ("yield conv(); # FACTS RAISE", "KeyError: 'facts'"),
        ("yield conv(name=b'bytes')", "TypeError"),
    ],
)
def test_a_format_that_raises_is_named(source, expected, jail, index, refusal):
    index(ONE)
    before = jail.process_id
    raised = refusal(source)
    assert (raised.reason, raised.plugin) == (Reason.PLUGIN_ERROR, "probe-plugin")
    assert raised.detail.startswith("the format 'probe' raised")
    assert expected in raised.detail
    assert len(raised.detail) <= 2000
    index(ONE)
    assert jail.process_id == before


def test_accepts_that_raises_is_reported_only_if_no_other_format_accepts(jail):
    with pytest.raises(Refused, match="KeyError: 'accepts'"):
        jail.index(MemoryFile(b"ACCEPTS RAISES"), "x")


@pytest.mark.parametrize("source", ["raise OSError('not here')", "import sys; sys.exit(1)", "1 / 0"])
def test_a_plugin_that_fails_only_in_the_jail_affects_only_its_own_files(source, tmp_path, index):
    broken = tmp_path / "broken.py"
    broken.write_text(source)
    with Jail([PluginReference("broken", file=str(broken)), PROBE]) as jail:
        assert index(ONE, on=jail).format == "probe"
        with pytest.raises(Refused) as raised:
            jail.index(MemoryFile(b"unknown"), "x")
    assert raised.value.plugin == "broken"


PREPARED = """
from filterzoo import Format, Reason, Refused, hookimpl

class Prepared(Format):
    name = "prepared"

    def prepare(self):
        BODY

    def accepts(self, head, name):
        return head == b"prepared"

    def index(self, file):
        import sndhdr  # which nothing else loads
        raise Refused(Reason.UNSUPPORTED, sndhdr.__name__)

@hookimpl
def filterzoo_formats():
    return [Prepared()]
"""


@pytest.mark.filterwarnings("ignore:.*sndhdr:DeprecationWarning")
def test_a_format_loads_what_it_needs_before_the_jail_closes(tmp_path):
    """Afterwards nothing can be opened, so an import that `prepare` left out fails."""
    said = {}
    for name, body in (("early", "import sndhdr"), ("late", "pass"), ("broken", "1 / 0")):
        (tmp_path / f"{name}.py").write_text(PREPARED.replace("BODY", body))
        with (
            Jail([PluginReference(name, file=str(tmp_path / f"{name}.py"))]) as jail,
            pytest.raises(Refused) as raised,
        ):
            jail.index(MemoryFile(b"prepared"), "x")
        said[name] = raised.value
    assert (said["early"].reason, said["early"].detail) == (Reason.UNSUPPORTED, "sndhdr")
    assert said["late"].reason is said["broken"].reason is Reason.PLUGIN_ERROR
    assert "ZeroDivisionError" in said["broken"].detail


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os\nos._exit(3)", "ended with 3"),
        (
            "import sys\nsys.stderr.write('x' * 1_000_000 + chr(10) + 'last words')\nimport os\nos._exit(3)",
            "last words",
        ),
        ("import time\ntime.sleep(60)", "did not start within 1 s"),
    ],
)
def test_a_jail_that_does_not_start(source, expected, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(source)
    with (
        Jail(
            [PluginReference("broken", file=str(broken))], JailLimits(start_seconds=1 if "sleep" in source else 60)
        ) as jail,
        pytest.raises(Refused) as raised,
    ):
        jail.index(MemoryFile(b"x"), "x")
    assert raised.value.reason is Reason.CRASHED
    if "ended" not in expected:
        assert expected in raised.value.detail


TRICKLE = """
WIRE.sendall(bytes((7, 0, 0, 255, 255)))
while True:
    WIRE.sendall(b"x")
    threading.Event().wait(0.2)
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("while True: pass", "needs more than 1 s of CPU time"),
        ("yield from ([bytes(10 << 20)] for _ in range(1000))", "more memory than"),
        ("bytearray(1 << 32)", "more memory than"),
        ("def again(): again()\nagain()", "nested too deeply"),
        ("one = conv()\nyield from (one for _ in range(10 ** 7))", "more than 1000000 tensors"),
        ("yield conv('x' * 70_000_000)", "a table of"),
        ("for _ in range(1000):\n    say(4, b'[0, 1, null]')\n    hear()", "more than 50 reads"),
        ("say(4, b'[0, 67108865, null]')\nhear()", "67108865 bytes at once"),
    ],
)
def test_limits_hold_and_the_next_file_has_a_new_child(source, expected, jail, index, refusal):
    index(ONE)
    before = jail.process_id
    raised = refusal(source)
    assert raised.reason is Reason.LIMIT
    assert expected in raised.detail
    assert not Path(f"/proc/{before}").exists()
    index(ONE)
    assert jail.process_id != before


@pytest.mark.parametrize(
    "source",
    [
        "threading.Event().wait()",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGXCPU])\nwhile True: pass",
        TRICKLE,
        "while True:\n    say(4, b'[0, 1, null]')",
    ],
    ids=["it waits", "it ignores the CPU limit", "a byte now and then", "it asks and hears nothing"],
)
def test_the_clock_stops_what_cpu_time_does_not(source, refusal):
    with Jail([PROBE], HASTY) as jail:
        process = jail.process_id
        started = time.monotonic()
        raised = refusal(source, on=jail)
        assert 1.9 < time.monotonic() - started < 20
        assert not Path(f"/proc/{process}").exists()
    assert (raised.reason, raised.detail) == (Reason.LIMIT, "reading took longer than 2 s")


def test_memory_of_the_child_is_bounded(jail, index):
    index(
        "held = []\ntry:\n    while True: held.append(bytearray(5 << 20))\nexcept MemoryError: held.clear()\n"
        "yield conv()"
    )
    status = Path(f"/proc/{jail.process_id}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
    assert STRICT.memory_bytes // 2 < peak <= STRICT.memory_bytes


def test_what_a_file_leaves_behind_does_not_decide_about_the_next(jail, index):
    leaves = "import filterzoo\nfilterzoo.left = bytearray(250 << 20)\nyield conv()"
    index(leaves)
    before = jail.process_id
    found = index("held = bytearray(250 << 20)\nyield conv('enough')")
    assert found.convolutions[0].name == "enough"
    assert jail.process_id != before


def test_a_child_that_only_said_it_was_done_costs_no_other_file(index, refusal):
    lie = """
body = b'{"reason": "damaged", "detail": "done", "where": null, "plugin": null}'
say(8, body)
threading.Event().wait()
"""
    with Jail([PROBE], HASTY) as jail:
        assert refusal(lie, on=jail).detail == "done"
        assert index(ONE, on=jail).format == "probe"


@pytest.mark.slow
def test_cpu_time_is_counted_for_each_file_alone(index, refusal):
    spend = "end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    for _ in range(4):
        index(spend + ONE)
        assert refusal(spend + "raise Refused(Reason.MALFORMED, 'no')").reason is Reason.MALFORMED
        assert refusal(spend + "raise KeyError").reason is Reason.PLUGIN_ERROR


@pytest.mark.parametrize("death", ["os.abort()", "LIBC.raise_(11)", "ctypes.string_at(0)", "os._exit(0)"])
def test_the_death_of_a_child_is_reported_and_the_next_file_has_a_new_child(death, jail, index, refusal):
    before = jail.process_id
    raised = refusal(death.replace("LIBC.raise_(11)", "LIBC['raise'](11)"))
    assert raised.reason is Reason.CRASHED
    assert "ended with" in raised.detail
    index(ONE)
    assert jail.process_id != before


class Killing(MemoryFile):
    """Kills the jail's child the first `times` times that it is read."""

    def __init__(self, data: bytes, jail: Jail, times: int) -> None:
        super().__init__(data, is_remote=True)
        self.jail, self.times = jail, times

    def read(self, offset: int, length: int) -> bytes:
        if self.times:
            self.times -= 1
            os.kill(self.jail.process_id, signal.SIGKILL)
        return super().read(offset, length)


def test_a_child_that_is_killed_from_outside_costs_no_file() -> None:
    """Also the first file of a child: only where its successor dies too, the file may have done it."""
    with Jail([PROBE], HASTY) as jail:
        assert jail.index(Killing(f"PROBE\n{ONE}\n{100 * '#'}".encode(), jail, 1), "x.probe").format == "probe"
    with Jail([PROBE], HASTY) as jail, pytest.raises(Refused, match="ended with -9") as raised:
        jail.index(Killing(f"PROBE\n{ONE}\n{100 * '#'}".encode(), jail, 2), "x.probe")
    assert raised.value.reason is Reason.CRASHED


def test_a_child_that_is_killed_while_it_unpacks_costs_no_file() -> None:
    sink = io.BytesIO()
    with Jail([PROBE], HASTY) as jail:
        packed = Killing(gzip.compress(bytes(5_000_000)), jail, 1)
        member = Member(name="", offset=0, length=packed.size, packing=Packing.GZIP)
        assert jail.unpack(packed, member, sink) == 5_000_000
    assert sink.getvalue() == bytes(5_000_000)


def test_a_child_that_died_while_it_waited_costs_no_file(jail, index):
    before = jail.process_id
    os.kill(before, 9)
    while is_running(before):
        time.sleep(0.01)
    index(ONE)
    assert jail.process_id != before


FORBIDDEN = {
    "open for writing": "open('/tmp/filterzoo-escaped', 'w')",
    "open for reading": "open('/etc/passwd')",
    "list a folder": "os.listdir('/')",
    "stat": "os.stat('/etc/passwd')",
    "unlink": "os.unlink('/tmp/filterzoo-escaped')",
    "make a folder": "os.mkdir('/tmp/filterzoo-escaped')",
    "link": "os.symlink('/etc/passwd', '/tmp/filterzoo-escaped')",
    "socket": "socket.socket()",
    "connect": "WIRE.connect('/tmp/x')",
    "fork": "os.fork()",
    "exec": "os.execv('/bin/true', ['true'])",
    "spawn": "subprocess.run(['/bin/true'])",
    "thread": "threading.Thread(target=print).start()",
    "kill the parent": "os.kill(PARENT, 0)",
    "write to stderr": "os.write(2, b'x')",
    "more memory": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "environment of another": "open('/proc/1/environ')",
    "import": "__import__('wave')",
    "pipe": "os.pipe()",
    "memory file": "os.memfd_create('x')",
}


def test_nothing_of_the_system_can_be_reached(jail, index):
    if "seccomp" not in jail.confinement:
        pytest.skip("libseccomp is not installed here")
    source = f"PARENT = {os.getpid()}\n"
    source += "".join(f"yield conv({name!r} + ': ' + attempt(lambda: {code}))\n" for name, code in FORBIDDEN.items())
    source += "yield conv(f'tgkill: {LIBC.syscall(234, PARENT, PARENT, 0)}')" if sys.platform == "linux" else ""
    outcomes = dict(tensor.name.split(": ", 1) for tensor in index(source).convolutions)
    if os.uname().machine == "x86_64":
        assert outcomes.pop("tgkill") == "-1"
    assert outcomes.pop("thread") == "RuntimeError"
    # Python finds no module where it may not look for one, and calls a limit that it may not raise a bad value.
    assert outcomes.pop("import") == "ModuleNotFoundError"
    assert outcomes.pop("more memory") == "ValueError"
    refused = {"PermissionError EPERM"}
    assert {name: text for name, text in outcomes.items() if text not in refused} == {}
    assert not Path("/tmp/filterzoo-escaped").exists()


WITHOUT_SECCOMP = """
import os, sys
from filterzoo.jail import confinement
confinement._system_call_filter = lambda: None
open(os.path.join(folder := sys.argv[1], "there"), "w").close()
print(*confinement.confine(1 << 30, confinement.network()))
for attempt in (
    lambda: open(os.path.join(folder, "there")),
    lambda: open(os.path.join(folder, "new"), "w"),
    lambda: os.listdir(folder),
    lambda: os.mkdir(os.path.join(folder, "new")),
    lambda: os.unlink(os.path.join(folder, "there")),
    lambda: os.execv("/bin/true", ["true"]),
):
    try:
        attempt()
    except PermissionError:
        print("refused")
"""


def test_landlock_closes_the_file_system_where_seccomp_is_missing(jail, tmp_path):
    if "landlock" not in jail.confinement:
        pytest.skip("this kernel has no Landlock")
    ran = subprocess.run([sys.executable, "-c", WITHOUT_SECCOMP, tmp_path], capture_output=True, text=True, check=True)
    layers, *outcomes = ran.stdout.splitlines()
    assert layers.split() == ["process", "rlimits", "no_new_privs", "landlock"]
    assert outcomes == ["refused"] * 6
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_child_has_a_network_of_its_own_where_that_is_permitted(jail):
    is_permitted = bool(way_in()) and subprocess.run([*way_in(), "true"], check=False).returncode == 0
    assert ("namespaces" in jail.confinement) == is_permitted
    if not is_permitted:
        pytest.skip("unshare is not installed, or not permitted here")
    listed = [*way_in(), sys.executable, "-I", "-c", "import socket; print([n for _, n in socket.if_nameindex()])"]
    assert subprocess.run(listed, check=True, capture_output=True, text=True).stdout == "['lo']\n"


def test_where_it_is_not_permitted_the_other_layers_hold(tmp_path, monkeypatch):
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert way_in()[0] == str(refusing)
    with Jail([PROBE]) as jail:
        assert "namespaces" not in jail.confinement
        assert {"process", "rlimits"} <= set(jail.confinement)


def test_a_child_that_is_killed_as_it_starts_is_not_started_with_fewer_layers(tmp_path, monkeypatch):
    killed = tmp_path / "unshare"
    killed.write_text(f"#!/bin/sh\necho once >> {tmp_path}/starts\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with Jail([PROBE]) as jail, pytest.raises(Refused, match="the jail did not start: it said nothing"):
        _ = jail.confinement
    assert (tmp_path / "starts").read_text() == "once\n"


def test_a_jail_may_start_before_it_is_needed(index):
    with Jail([PROBE]) as jail:
        jail.start()
        assert index(ONE, on=jail).format == "probe"
    with Jail([PROBE]) as jail:
        jail.start()


def test_the_child_knows_no_secret_and_no_framework(monkeypatch, index):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Jail([PROBE]) as jail:
        found = index("for name in (*os.environ, *sys.modules): yield conv(name)", on=jail)
        assert {"process", "rlimits"} <= set(jail.confinement)
    names = {tensor.name for tensor in found.convolutions}
    assert {"sys", "filterzoo.jail.indexing", "PATH"} <= names
    assert not {"HF_TOKEN", "AWS_SECRET_ACCESS_KEY"} & names
    assert not {"torch", "keras", "tensorflow", "onnxruntime", "joblib", "httpx", "requests"} & names


NOT_A_MESSAGE = {
    "unknown kind": "WIRE.sendall(b'\\xff\\x00\\x00\\x00\\x00')",
    "too long": "WIRE.sendall(b'\\x07\\xff\\xff\\xff\\xff')",
    "no JSON": "say(7, b'{')",
    "no UTF-8": "say(7, b'\"\\xff\"')",
    "deep JSON": "say(7, b'[' * 100_000 + b']' * 100_000)",
    "long number": "say(7, b'1' * 100_000)",
    "table that is a list": "say(7, b'[]')",
    "ready again": "say(2, b'{}')",
    "a parent's message": "say(3, b'{}')",
    "refusal without detail": 'say(8, b\'{"reason": "damaged"}\')',
    "refusal of numbers": 'say(8, b\'{"reason": "damaged", "detail": 1, "where": null, "plugin": null}\')',
    "unknown reason": 'say(8, b\'{"reason": "whim", "detail": "", "where": null, "plugin": null}\')',
    "the parent's reason": 'say(8, b\'{"reason": "taken_down", "detail": "", "where": null, "plugin": null}\')',
    "a plugin it has not": 'say(8, b\'{"reason": "plugin_error", "detail": "", "where": null, "plugin": "torch"}\')',
    "question without answer": "say(4, b'[0, 1]')",
    "question of text": "say(4, b'[\"0\", 1, null]')",
    "question of floats": "say(4, b'[0.5, 1, null]')",
    "side file that is no name": "say(5, b'[]')",
    "side bytes of no name": "say(4, b'[0, 1, {}]')",
    "a format that it has not": "say(14, b'\"torch\"')",
    "a format that it says was not loaded, twice": "say(14, b'\"probe\"')",
    "a format that is no name": "say(14, b'{}')",
    "a message that is none any more": "say(15, b'[]')",
    "a line that is closed": "WIRE.shutdown(2) if False else os.close(int(sys.argv[1])); WIRE.close()",
}


@pytest.mark.parametrize("case", NOT_A_MESSAGE)
def test_what_is_no_message_is_a_crash(case, jail, index, refusal):
    before = jail.process_id
    raised = refusal(f"{NOT_A_MESSAGE[case]}\nthreading.Event().wait()")
    assert raised.reason is Reason.CRASHED
    assert len(raised.detail) <= 2000
    index(ONE)
    assert jail.process_id != before


def test_descriptors_from_the_child_are_not_taken(index, refusal):
    index(ONE)
    before = descriptors()
    raised = refusal(
        """
body = b'{"reason": "damaged", "detail": "some came along", "where": null, "plugin": null}'
socket.send_fds(WIRE, [struct.pack(">BI", 8, len(body))], [2, 1])
WIRE.sendall(body)
os._exit(0)
"""
    )
    assert (raised.reason, raised.detail) == (Reason.DAMAGED, "some came along")
    assert descriptors() == before


def test_no_descriptor_and_no_process_is_left(index):
    before = descriptors()
    for source in (ONE, "os.abort()", "raise KeyError", "WIRE.sendall(b'junk' * 99)\nthreading.Event().wait()"):
        with Jail([PROBE], STRICT) as jail:
            with contextlib.suppress(Refused):
                index(source, on=jail)
            process = jail.process_id
        assert not Path(f"/proc/{process}").exists()
    assert descriptors() == before


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_jail_dies_with_its_parent():
    code = (
        "import os\nfrom tests.crawler.jail.test_jail import PROBE, Jail\n"
        "print(Jail([PROBE]).process_id, flush=True)\nos.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root, check=False)
    assert ran.returncode == -9
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and is_running(int(ran.stdout)):
        time.sleep(0.05)
    assert not is_running(int(ran.stdout))


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_relayed_file_is_read_through_the_parent():
    source = "yield conv(repr((file.is_remote, file.size, file.read(0, 5), file.read(7, 0))))"
    probe = MemoryFile(f"PROBE\n{source}\n{'#' * 20}".encode(), is_remote=True)
    with Jail([PROBE]) as jail:
        found = jail.index(probe, "model.bin")
    assert found.convolutions[0].name == repr((True, probe.size, b"PROBE", b""))
    assert probe.reads == [(0, probe.size), (6, probe.size - 6), (0, 5), (7, 0), (0, probe.size)]
    assert not probe.closed


@pytest.mark.parametrize("place", ["-1, 2", "0, 60_000_000", "1 << 62, 1", "0, -1", "99_999, 1", "1 << 70, 1"])
def test_bytes_outside_a_relayed_file_are_refused_here_too(place, jail):
    source = f"say(4, ('[%d, %d, null]' % ({place})).encode())\nyield conv(hear())\n"
    probe = MemoryFile(f"PROBE\n{source}{'#' * 50}".encode())
    assert '"malformed"' in jail.index(probe, "x").convolutions[0].name
    assert all(0 <= offset <= offset + length <= probe.size for offset, length in probe.reads)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"secret")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "side.bin").write_bytes(b"beside")
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "hard.bin").hardlink_to(tmp_path / "secret.bin")
    (folder / "inner").mkdir()
    os.mkfifo(folder / "pipe.bin")
    return folder


SIDE_FILES = {
    "side.bin": "beside",
    "missing.bin": "malformed",
    "../secret.bin": "unsafe",
    "/etc/passwd": "unsafe",
    "link.bin": "unsafe",
    "hard.bin": "unsafe",
    "inner": "unsafe",
    "pipe.bin": "unsafe",
    "": "unsafe",
    "..": "unsafe",
    "a\0b": "unsafe",
    "C:x": "unsafe",
    "a\\b": "unsafe",
    "\ud800": "unsafe",
    "x" * 300: "unsafe",
}


@pytest.mark.parametrize("name", SIDE_FILES, ids=ascii)
def test_side_files_are_those_beside_by_plain_name(name, folder, jail):
    path = folder / "model.bin"
    asked = f"yield conv(file.beside({name!a}).read(0, 6).decode())"
    path.write_text(f"PROBE\ntry: {asked}\nexcept Refused as no: yield conv(no.reason)")
    with LocalFile(path) as file:
        assert jail.index(file, "model.bin").convolutions[0].name == SIDE_FILES[name]


@pytest.mark.parametrize("name", SIDE_FILES, ids=ascii)
def test_the_parent_checks_the_names_of_side_files_by_itself(name, folder, jail):
    path = folder / "model.bin"
    path.write_text(f"PROBE\nimport json\nsay(4, json.dumps([0, 6, {name!a}]).encode())\nyield conv(hear())")
    with LocalFile(path) as file:
        assert SIDE_FILES[name] in jail.index(file, "model.bin").convolutions[0].name


def test_side_files_of_a_relayed_file_are_opened_once_and_closed(jail):
    source = "side = file.beside('side')\nagain = file.beside('side')\n"
    source += "yield conv(repr((side.size, side.is_remote, side.read(1, 3), again.read(0, 1))))"
    probe = MemoryFile(f"PROBE\n{source}\n{'#' * 20}".encode(), {"side": b"12345"}, is_remote=True)
    assert jail.index(probe, "x").convolutions[0].name == repr((5, True, b"234", b"1"))
    assert probe.sides["side"].closed
    assert probe.sides["side"].reads == [(1, 3), (0, 1)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refused(Reason.FETCH_FAILED, "the network is gone"), Reason.FETCH_FAILED),
        (Refused(Reason.CHANGED, "another file now"), Reason.CHANGED),
        (Refused(Reason.GATED, "sign first"), Reason.GATED),
        (TimeoutError("slow"), Reason.PLUGIN_ERROR),
        (ValueError("a bug"), Reason.PLUGIN_ERROR),
        (OSError(5, "disk"), Reason.PLUGIN_ERROR),
    ],
)
def test_a_source_that_fails_in_the_middle_is_not_the_file_or_the_child(error, reason, jail):
    class Failing(MemoryFile):
        def read(self, offset: int, length: int) -> bytes:
            if offset == 6:
                raise error
            return super().read(offset, length)

    with pytest.raises(Refused) as raised:
        jail.index(Failing(f"PROBE\n{ONE}\n{'#' * 20}".encode()), "x")
    assert raised.value.reason is reason


def test_a_file_that_shrinks_while_it_is_read_is_changed(jail, tmp_path):
    path = tmp_path / "model.bin"
    path.write_text("PROBE\n" + ONE + "#" * 50)
    with LocalFile(path) as file:
        os.truncate(path, 8)
        with pytest.raises(Refused) as raised:
            jail.index(file, "x")
    assert raised.value.reason is Reason.CHANGED
