"""A symbolic pickle machine: turns opcodes into inert data, without imports, look-ups or calls.

A pickle is a program for a stack machine. Here a class or function becomes a `Name`, calling one becomes an `Instance`,
and a `Meaning` decides by name which of them are known (a storage, a tensor).
"""

from __future__ import annotations

from filterzoo import Reason, Refused
from filterzoo_plugins.encodings.pickle.inert import Meaning, PickleBytes
from filterzoo_plugins.encodings.pickle.opcodes import ACTIONS
from filterzoo_plugins.encodings.pickle.stack import PickleStack, Truncated

MAX_OPCODES = 5_000_000
_STOP = ord(".")


def read_pickle(
    data: PickleBytes, meaning: Meaning, position: int = 0, *, blobs_from: int = 1 << 62
) -> tuple[object, int]:
    """The value of the pickle at `position`, and the offset of its end.

    blobs_from: byte strings of at least that length stay in the file, as a `Blob`. Refused if it is malformed;
    `Truncated` if the bytes end early.
    """
    pickle = PickleStack(data, meaning, position, blobs_from=blobs_from)
    try:
        _run(pickle)
    except IndexError:
        pickle.refuse("a pickle that takes from an empty stack")
    except KeyError:
        pickle.refuse("a pickle that refers to what it never stored")
    if pickle.marked or len(pickle.stack) != 1:
        pickle.refuse("a pickle that leaves its stack in disorder")
    return pickle.stack[0], pickle.position


def _run(pickle: PickleStack) -> None:
    data, end = pickle.data, len(pickle.data)
    for _ in range(MAX_OPCODES):
        if pickle.position >= end:
            raise Truncated
        opcode = data[pickle.position]
        pickle.position += 1
        if opcode == _STOP:
            return
        action = ACTIONS.get(opcode)
        if action is None:
            raise Refused(Reason.MALFORMED, f"no pickle opcode: {opcode:#x}", f"pickle byte {pickle.position - 1}")
        action(pickle)
    pickle.refuse(f"a pickle of more than {MAX_OPCODES} opcodes", Reason.LIMIT)
