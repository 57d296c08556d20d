"""The pickle opcodes of protocols 0 to 5 (CPython, Lib/pickletools.py), each as its effect on inert data."""

from __future__ import annotations

import struct
from collections.abc import Callable

from filterzoo import Reason
from filterzoo_plugins.encodings.pickle.inert import Blob, Instance, Name
from filterzoo_plugins.encodings.pickle.stack import MAX_INTEGER_BYTES, PickleStack

_U1, _U2, _I4, _U4, _U8 = (struct.Struct(layout) for layout in ("<B", "<H", "<i", "<I", "<Q"))
_F8 = struct.Struct(">d")
_ENCODE = Name("_codecs", "encode")
Action = Callable[[PickleStack], None]


def _constant(value: object) -> Action:
    return lambda pickle: pickle.stack.append(value)


def _pushed(read: Callable[[PickleStack], object]) -> Action:
    return lambda pickle: pickle.stack.append(read(pickle))


def _fixed(layout: struct.Struct) -> Action:
    return lambda pickle: pickle.stack.append(pickle.number(layout))


def _sized(size: struct.Struct, make: Callable[[bytes], object]) -> Action:
    def push(pickle: PickleStack) -> None:
        length = pickle.number(size)
        if length < 0:
            pickle.refuse("a negative length")
        raw = pickle.bytes_or_blob(length)
        pickle.stack.append(raw if isinstance(raw, Blob) else make(raw))

    return push


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _python2_text(raw: bytes) -> str:
    """A Python 2 byte string as a name; invalid UTF-8 is decoded byte by byte."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _checked_text(size: struct.Struct) -> Action:
    def push(pickle: PickleStack) -> None:
        length = pickle.number(size)
        try:
            pickle.stack.append(pickle.text_or_blob(length, _text, is_text=True))
        except UnicodeDecodeError:
            pickle.refuse("text in a pickle that is not UTF-8")

    return push


def _python2_string(size: struct.Struct) -> Action:
    """A Python 2 string: a name, or bytes."""

    def push(pickle: PickleStack) -> None:
        length = pickle.number(size)
        if length < 0:
            pickle.refuse("a negative length")
        pickle.stack.append(pickle.text_or_blob(length, _python2_text, is_text=False))

    return push


def _integer(size: struct.Struct) -> Action:
    def push(pickle: PickleStack) -> None:
        length = pickle.number(size)
        if not 0 <= length <= MAX_INTEGER_BYTES:
            pickle.refuse(f"an integer of {length} bytes", Reason.LIMIT)
        pickle.stack.append(int.from_bytes(pickle.take(length), "little", signed=True))

    return push


def _decimal(pickle: PickleStack) -> int | bool:
    raw = pickle.line().removesuffix(b"L")
    if raw in {b"00", b"01"}:
        return raw == b"01"
    if len(raw) > 2 * MAX_INTEGER_BYTES:
        pickle.refuse(f"an integer of {len(raw)} digits", Reason.LIMIT)
    try:
        return int(raw)
    except ValueError:
        pickle.refuse("a number in a pickle that is none")


def _decimal_float(pickle: PickleStack) -> float:
    try:
        return float(pickle.line())
    except ValueError:
        pickle.refuse("a number in a pickle that is none")


def _binary_float(pickle: PickleStack) -> float:
    return float(_F8.unpack(pickle.take(8))[0])


def _unicode_line(pickle: PickleStack) -> str:
    try:
        return pickle.line().decode("raw-unicode-escape")
    except UnicodeDecodeError:
        pickle.refuse("text in a pickle that is not Unicode")


def _quoted(pickle: PickleStack) -> str:
    """A quoted string of protocol 0; escapes are kept as written, since names of tensors have none."""
    raw = pickle.line().strip()
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in {b"'", b'"'}:
        pickle.refuse("a string in a pickle without quotes")
    return _python2_text(raw[1:-1])


def _mark(pickle: PickleStack) -> None:
    pickle.marked.append(pickle.stack)
    pickle.stack = []


def _pop(pickle: PickleStack) -> None:
    if pickle.stack:
        pickle.stack.pop()
    else:
        pickle.unmark()


def _pop_mark(pickle: PickleStack) -> None:
    pickle.unmark()


def _duplicate(pickle: PickleStack) -> None:
    pickle.stack.append(pickle.stack[-1])


def _tuple(pickle: PickleStack) -> None:
    above = pickle.unmark()
    pickle.stack.append(tuple(above))


def _tuple_of(count: int) -> Action:
    def push(pickle: PickleStack) -> None:
        stack = pickle.stack
        if len(stack) < count:
            raise IndexError
        stack[-count:] = [tuple(stack[-count:])]

    return push


def _empty(make: Callable[[], object]) -> Action:
    return lambda pickle: pickle.stack.append(make())


def _list(pickle: PickleStack) -> None:
    above = pickle.unmark()
    pickle.stack.append(above)


def _dict(pickle: PickleStack) -> None:
    above = pickle.unmark()
    entries: dict[str, object] = {}
    _put_all(pickle, above, entries)
    pickle.stack.append(entries)


def _put_all(pickle: PickleStack, values: list[object], target: object) -> None:
    if len(values) % 2:
        pickle.refuse("a key without a value")
    for at in range(0, len(values), 2):
        pickle.put(values[at], values[at + 1], target)


def _set_item(pickle: PickleStack) -> None:
    value, key = pickle.stack.pop(), pickle.stack.pop()
    pickle.put(key, value, pickle.stack[-1])


def _set_items(pickle: PickleStack) -> None:
    above = pickle.unmark()
    _put_all(pickle, above, pickle.stack[-1])


def _append(pickle: PickleStack) -> None:
    value = pickle.stack.pop()
    pickle.extend([value], pickle.stack[-1])


def _appends(pickle: PickleStack) -> None:
    above = pickle.unmark()
    pickle.extend(above, pickle.stack[-1])


def _global(pickle: PickleStack) -> Name:
    return Name(_python2_text(pickle.line()), _python2_text(pickle.line()))


def _stack_global(pickle: PickleStack) -> None:
    name, module = pickle.stack.pop(), pickle.stack.pop()
    if type(name) is not str or type(module) is not str:
        pickle.refuse("a class path that is not text")
    pickle.stack.append(Name(module, name))


def _call(pickle: PickleStack) -> None:
    arguments, maker = pickle.stack.pop(), pickle.stack.pop()
    if type(arguments) is not tuple:
        pickle.refuse("a call whose arguments are no tuple")
    if maker == _ENCODE and len(arguments) == 2 and type(data := pickle.as_blob(arguments[0])) is Blob:
        pickle.stack.append(data)  # bytes, as protocol 2 writes them
        return
    pickle.stack.append(pickle.meaning.call(maker, arguments))


def _call_with_keywords(pickle: PickleStack) -> None:
    keywords, arguments, maker = pickle.stack.pop(), pickle.stack.pop(), pickle.stack.pop()
    pickle.stack.append(Instance(maker, (arguments, keywords)))


def _instance(pickle: PickleStack) -> None:
    maker = _global(pickle)
    above = pickle.unmark()
    pickle.stack.append(Instance(maker, tuple(above)))


def _object(pickle: PickleStack) -> None:
    above = pickle.unmark()
    pickle.stack.append(Instance(above[0], tuple(above[1:])))


def _build(pickle: PickleStack) -> None:
    """Set the state of an inert instance; the state of dictionaries and tensors is attributes, which are ignored."""
    state = pickle.stack.pop()
    target = pickle.stack[-1]
    if type(target) is Instance:
        is_array = type(target.maker) is Name and target.maker.name == "_reconstruct" and type(state) is tuple
        target.state = tuple(map(pickle.as_blob, state)) if is_array and isinstance(state, tuple) else state
    elif target is None or type(target) in {int, float, bool, str, bytes, tuple, list, Name, Blob}:
        pickle.refuse("a pickle that sets the state of what has none")


def _persistent(pickle: PickleStack) -> None:
    pickle.stack.append(pickle.meaning.persistent(pickle.stack.pop()))


def _remember(position: Callable[[PickleStack], int]) -> Action:
    def store(pickle: PickleStack) -> None:
        pickle.memo[position(pickle)] = pickle.stack[-1]

    return store


def _recall(position: Callable[[PickleStack], int]) -> Action:
    return lambda pickle: pickle.stack.append(pickle.memo[position(pickle)])


def _refused(what: str) -> Action:
    return lambda pickle: pickle.refuse(f"a pickle with {what}", Reason.UNSUPPORTED)


def _skip(length: int) -> Action:
    def skip(pickle: PickleStack) -> None:
        pickle.take(length)

    return skip


ACTIONS: dict[int, Action] = {
    code[0]: action
    for code, action in (
        (b"\x80", _skip(1)),  # PROTO
        (b"\x95", _skip(8)),  # FRAME
        (b"N", _constant(None)),
        (b"\x88", _constant(True)),  # noqa: FBT003  # a pushed value, not a flag
        (b"\x89", _constant(False)),  # noqa: FBT003  # a pushed value, not a flag
        (b"J", _fixed(_I4)),
        (b"K", _fixed(_U1)),
        (b"M", _fixed(_U2)),
        (b"\x8a", _integer(_U1)),
        (b"\x8b", _integer(_I4)),
        (b"I", _pushed(_decimal)),
        (b"L", _pushed(_decimal)),
        (b"F", _pushed(_decimal_float)),
        (b"G", _pushed(_binary_float)),
        (b"S", _pushed(_quoted)),
        (b"T", _python2_string(_I4)),
        (b"U", _python2_string(_U1)),
        (b"B", _sized(_U4, bytes)),
        (b"C", _sized(_U1, bytes)),
        (b"\x8e", _sized(_U8, bytes)),
        (b"\x96", _sized(_U8, bytes)),
        (b"V", _pushed(_unicode_line)),
        (b"X", _checked_text(_U4)),
        (b"\x8c", _checked_text(_U1)),
        (b"\x8d", _checked_text(_U8)),
        (b"(", _mark),
        (b"0", _pop),
        (b"1", _pop_mark),
        (b"2", _duplicate),
        (b")", _constant(())),
        (b"]", _empty(list)),
        (b"}", _empty(dict)),
        (b"\x8f", _empty(list)),  # EMPTY_SET: a set is a list here, since untrusted values are not hashed
        (b"t", _tuple),
        (b"\x85", _tuple_of(1)),
        (b"\x86", _tuple_of(2)),
        (b"\x87", _tuple_of(3)),
        (b"l", _list),
        (b"\x91", _list),  # FROZENSET
        (b"d", _dict),
        (b"s", _set_item),
        (b"u", _set_items),
        (b"a", _append),
        (b"e", _appends),
        (b"\x90", _appends),  # ADDITEMS
        (b"c", _pushed(_global)),
        (b"\x93", _stack_global),
        (b"R", _call),
        (b"\x81", _call),  # NEWOBJ
        (b"\x92", _call_with_keywords),  # NEWOBJ_EX
        (b"i", _instance),
        (b"o", _object),
        (b"b", _build),
        (b"Q", _persistent),
        (b"P", _refused("persistent ids in text")),
        (b"p", _remember(_decimal)),
        (b"q", _remember(lambda pickle: pickle.number(_U1))),
        (b"r", _remember(lambda pickle: pickle.number(_U4))),
        (b"\x94", _remember(lambda pickle: len(pickle.memo))),
        (b"g", _recall(_decimal)),
        (b"h", _recall(lambda pickle: pickle.number(_U1))),
        (b"j", _recall(lambda pickle: pickle.number(_U4))),
        (b"\x82", _refused("extension codes")),
        (b"\x83", _refused("extension codes")),
        (b"\x84", _refused("extension codes")),
        (b"\x97", _refused("buffers outside itself")),
        (b"\x98", _refused("buffers outside itself")),
    )
}
