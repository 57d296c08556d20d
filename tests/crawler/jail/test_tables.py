"""What a child says costs the parent little, whatever it is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from tests.crawler.jail.test_validation import GOOD, index
from tests.memory_file import MemoryFile

from filterzoo.errors import Reason, Refused
from filterzoo.jail.answers import Answers
from filterzoo.jail.limits import JailLimits
from filterzoo.jail.messages import MAX_BODY, Message, encode
from filterzoo.jail.tables import RecordParser, document
from filterzoo.records import Index

TABLE = RecordParser(Index)


@pytest.mark.parametrize("case", GOOD)
def test_a_table_is_read_as_it_was_written(case: str):
    table = replace(index(GOOD[case]), member="a!b")
    assert TABLE.read(encode(table)) == table


def test_a_table_ends_at_its_first_error():
    body = encode(index(GOOD["plain"])).replace(b'"convolutions": [', b'"convolutions": [' + b"1," * 200_000)
    with pytest.raises(Refused, match="wrong") as raised:
        TABLE.read(body)
    assert raised.value.reason is Reason.MALFORMED
    assert raised.value.where == "convolutions.0"


FLOODS = {
    "numbers": "b'[' + b'1,' * 33_000_000 + b'1]'",
    "numbers in the table": "b'{\"convolutions\": [' + b'1,' * 33_000_000 + b'1]}'",
    "objects": "b'[' + b'{},' * 22_000_000 + b'{}]'",
    "brackets": "b'[' * (64 << 20)",
    "objects in objects": "b'{\"a\":' * 13_000_000",
    "allowed numbers": "b'{\"convolutions\": [' + b'1,' * 2_900_000 + b'1]}'",
    "one string": "b'\"' + b'a' * 67_000_000 + b'\"'",
}
READER = """
import resource, time
from pathlib import Path
from filterzoo.errors import Refused
from filterzoo.jail.tables import RecordParser, document
from filterzoo.records import Index
body, read = {body}, {reader}
assert len(body) <= 64 << 20
in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (600 << 20),) * 2)
begin = time.process_time()
try:
    read(body)
except Refused as refusal:
    print(refusal.reason, time.process_time() - begin)
"""


@pytest.mark.parametrize("reader", ["RecordParser(Index).read", "document"])
@pytest.mark.parametrize("case", FLOODS)
def test_a_flood_of_values_takes_little_memory_and_time(case: str, reader: str):
    if (case, reader) == ("allowed numbers", "document"):
        pytest.skip("that is a document")
    code = READER.replace("{body}", FLOODS[case]).replace("{reader}", reader)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    reason, seconds = done.stdout.split()
    assert reason in {"limit", "crashed", "malformed"}
    assert float(seconds) < 3


def test_the_length_of_a_read_request_is_bounded():
    with pytest.raises(Refused):
        document(b'"' + b"a" * (MAX_BODY - 2) + b'"')


class Line:
    """The child's line, as `Answers` uses it."""

    deadline = 100.0

    def send(self, _message: Message, _body: bytes) -> None:
        pass


def test_read_requests_for_a_file_are_bounded_in_sum():
    limits = JailLimits(announced=1000, sides=2)
    file = MemoryFile(bytes(1000), dict.fromkeys("abc", b"x"))
    with Answers(file, Line(), limits) as answers:  # type: ignore[arg-type]  # all of it that is used
        for _ in range(10):
            answers.give(Message.WILL_READ, [[[0, 1]] * 100, None])
        with pytest.raises(Refused, match="announces") as raised:
            answers.give(Message.WILL_READ, [[[0, 1]], None])
        assert raised.value.reason is Reason.LIMIT
        for name in "ab":
            answers.give(Message.SIDE, name)
        with pytest.raises(Refused, match="beside") as raised:
            answers.give(Message.SIDE, "c")
        assert raised.value.reason is Reason.LIMIT


def test_the_number_of_read_requests_is_bounded():
    """Empty ranges cost nothing but the parent's time."""
    with Answers(MemoryFile(b"x"), Line(), JailLimits(questions=5)) as answers:  # type: ignore[arg-type]  # as above
        for _ in range(5):
            answers.give(Message.READ, [0, 0, None])
        with pytest.raises(Refused, match="wants more than 5 reads") as raised:
            answers.give(Message.WILL_READ, [[], None])
    assert raised.value.reason is Reason.LIMIT


def test_a_file_is_not_read_again_and_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("filterzoo.jail.answers.READ_FREE", 0)
    line = Line()
    with Answers(MemoryFile(bytes(1000)), line, JailLimits()) as answers:  # type: ignore[arg-type]  # as above
        for _ in range(2):
            answers.give(Message.READ, [0, 1000, None])
        with pytest.raises(Refused, match="again") as raised:
            answers.give(Message.READ, [0, 1, None])
    assert raised.value.reason is Reason.LIMIT
    assert line.deadline < 100.5
