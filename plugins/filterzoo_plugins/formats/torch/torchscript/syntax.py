"""Reads the text of TorchScript archives into a tree: the small part of Python that torch's printer writes.

The text is only ever looked at (torch/csrc/jit/serialization/python_print.cpp writes it). What is not understood ends
the reading of that file, never more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from filterzoo_plugins.formats.torch.torchscript.tree import (
    Assign,
    Attribute,
    Block,
    Branch,
    Call,
    Function,
    Index,
    Items,
    Literal,
    Node,
    Operation,
    Return,
    Source,
    Statement,
    Variable,
)

MAX_NESTING = 60
"""Of brackets, and of blocks."""
MAX_TRAILERS = 60
"""Attributes, calls and subscripts behind one value."""


class NotUnderstoodError(Exception):
    """Raised where the text is not what torch's printer writes; the archive is then read without its code."""


_TOKEN = re.compile(
    r"""(?P<space>[ \t]+)"""
    r"""|(?P<number>\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?j?|\.\d+(?:[eE][+-]?\d+)?)"""
    r"""|(?P<name>[^\W\d]\w*)"""
    r"""|(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<mark>->|==|!=|<=|>=|//|\*\*|<<|>>|[-+*/%<>=()\[\]{},.:&|^~@])"""
)
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_BINARY = frozenset(
    {"+", "-", "*", "/", "//", "%", "**", "<", ">", "<=", ">=", "==", "!=", "&", "|", "^", "<<", ">>", "and", "or"}
    | {"is", "in", "not", "if", "else"}
)
_CONSTANTS: dict[str, object] = {"True": True, "False": False, "None": None}


@dataclass(slots=True)
class _Line:
    """A logical line: brackets may have gone over several of the text's lines."""

    indent: int
    words: list[str]


def parse(text: str) -> Source:
    """The classes and functions of one file; NotUnderstoodError for a text that is not the printer's."""
    lines = list(_logical_lines(text))
    source = Source()
    at = 0
    owner = ""
    while at < len(lines):
        line = lines[at]
        first = line.words[0]
        if line.indent == 0:
            owner = line.words[1] if first == "class" and len(line.words) > 1 else ""
        if first == "def":
            if len(line.words) == 1:
                raise NotUnderstoodError("a function without a name")
            body, end = _block(lines, at + 1, line.indent, 0)
            source.functions[owner, line.words[1]] = Function(_parameters(line.words), body)
            at = end
            continue
        if owner and "=" in line.words and line.words[1:2] == [":"]:
            source.constants[owner, first] = _expression(line.words[line.words.index("=") + 1 :])
        at += 1
    return source


def _logical_lines(text: str) -> Iterator[_Line]:
    pending: _Line | None = None
    depth = 0
    for raw in text.split("\n"):
        words = _words(raw)
        if not words:
            continue
        if pending is None:
            pending = _Line(len(raw) - len(raw.lstrip(" ")), [])
        pending.words += words
        depth += sum((word in _OPENING) - (word in _CLOSING) for word in words)
        if depth <= 0:
            yield pending
            pending, depth = None, 0
    if pending is not None:
        raise NotUnderstoodError("a bracket that stays open")


def _words(line: str) -> list[str]:
    words = []
    at = 0
    while at < len(line):
        match = _TOKEN.match(line, at)
        if match is None:
            if line[at:].lstrip().startswith("#"):
                break
            raise NotUnderstoodError(f"the character {line[at]!a}")
        if match.lastgroup != "space":
            words.append(match.group())
        at = match.end()
    return words


def _block(lines: list[_Line], at: int, indent: int, nesting: int) -> tuple[tuple[Statement, ...], int]:
    """The statements indented deeper than `indent` from line `at` on, and the line behind them."""
    if nesting > MAX_NESTING:
        raise NotUnderstoodError("blocks nested too deep")
    statements: list[Statement] = []
    while at < len(lines) and lines[at].indent > indent:
        line = lines[at]
        match line.words[0]:
            case "if":
                body, at = _block(lines, at + 1, line.indent, nesting + 1)
                otherwise: tuple[Statement, ...] = ()
                if at < len(lines) and lines[at].indent == line.indent and lines[at].words[0] == "else":
                    otherwise, at = _block(lines, at + 1, line.indent, nesting + 1)
                statements.append(Branch(_expression(line.words[1:-1]), body, otherwise))
            case "for" | "while" | "with":
                body, at = _block(lines, at + 1, line.indent, nesting + 1)
                statements.append(_head(line.words, body))
            case _:
                statements.append(_simple(line.words))
                at += 1
    return tuple(statements), at


def _head(words: list[str], body: tuple[Statement, ...]) -> Block:
    if words[0] == "for" and "in" in words:
        at = words.index("in")
        return Block(_targets(words[1:at]), _expression(words[at + 1 : -1]), body)
    return Block((), _expression(words[1:-1]), body)


def _simple(words: list[str]) -> Statement:
    if words[0] == "pass":
        return Assign((), Literal(None))
    if words[0] == "return":
        return Return(_expression(words[1:]) if len(words) > 1 else Literal(None))
    depth = 0
    for at, word in enumerate(words):
        depth += (word in _OPENING) - (word in _CLOSING)
        if word == "=" and depth == 0:
            return Assign(_targets(words[:at]), _expression(words[at + 1 :]))
    return Assign((), _expression(words))


def _targets(words: list[str]) -> tuple[str, ...]:
    """The names before a `=`, one for each comma; "" for an attribute or an annotated one."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == ",":
            parts.append([])
        else:
            parts[-1].append(word)
    names = tuple(part[0] if len(part) == 1 else "" for part in parts if part)
    return (names[0],) if len(names) == 1 and "," not in words else (*names, *([""] if len(names) == 1 else []))


def _parameters(words: list[str]) -> tuple[tuple[str, Node | None], ...]:
    """Of `def name(self: T, x: T=default, ...) -> T:`."""
    parameters: list[tuple[str, Node | None]] = []
    depth = 0
    part: list[str] = []
    for word in words[2:]:
        depth += (word in _OPENING) - (word in _CLOSING)
        if (word == "," and depth == 1) or depth == 0:
            if part:
                default = _expression(part[part.index("=") + 1 :]) if "=" in part else None
                parameters.append((part[0], default))
            part = []
            if depth == 0:
                break
        elif not (word == "(" and depth == 1):
            part.append(word)
    return tuple(parameters)


def _expression(words: list[str]) -> Node:
    reader = _Expressions(words)
    node = reader.whole()
    if reader.at > len(words):
        raise NotUnderstoodError("an expression that ends before it is whole")
    if reader.at != len(words):
        raise NotUnderstoodError(f"{words[reader.at]!a} behind an expression")
    return node


class _Expressions:
    """Recursive descent over the words of one line."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.at = 0
        self.nesting = 0

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def next(self) -> str:
        word = self.peek()
        self.at += 1
        return word

    def whole(self) -> Node:
        """An expression, or several with commas between them: a tuple."""
        first = self.single()
        if self.peek() != ",":
            return first
        items = [first]
        while self.peek() == ",":
            self.at += 1
            if self.at < len(self.words) and self.peek() not in _CLOSING:
                items.append(self.single())
        return Items(tuple(items))

    def single(self) -> Node:
        """Operands with operators between them; which ones does not matter here."""
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise NotUnderstoodError("brackets nested too deep")
        operands = [self.operand()]
        while self.peek() in _BINARY:
            while self.peek() in _BINARY:
                self.at += 1
            operands.append(self.operand())
        self.nesting -= 1
        return operands[0] if len(operands) == 1 else Operation(tuple(operands))

    def operand(self) -> Node:
        word = self.next()
        if word in {"-", "+", "~", "not"}:
            operand = self.single() if word == "not" else self.operand_after_sign()
            if word == "-" and isinstance(operand, Literal) and isinstance(operand.value, int | float):
                return Literal(-operand.value)
            return Operation((operand,))
        node: Node
        if word in {"(", "[", "{"}:
            node = self.bracket(word)
        elif word[:1] in {'"', "'"} and word:
            node = Literal(word[1:-1])
        elif word[:1].isdigit() or (word[:1] == "." and len(word) > 1):
            node = Literal(_number(word))
        elif word in _CONSTANTS:
            node = Literal(_CONSTANTS[word])
        elif word.isidentifier():
            node = Variable(word)
        else:
            raise NotUnderstoodError(f"{word!a} where a value is expected")
        return self.trailers(node)

    def operand_after_sign(self) -> Node:
        if self.peek() in {"-", "+", "~"}:
            raise NotUnderstoodError("a sign behind a sign")
        return self.operand()

    def bracket(self, opening: str) -> Node:
        """A list, a tuple, a dictionary, or what stood in brackets."""
        closing = {"(": ")", "[": "]", "{": "}"}[opening]
        items = []
        has_comma = False
        while self.peek() != closing:
            items.append(self.single())
            if self.peek() in {",", ":"}:
                has_comma = True
                self.at += 1
            elif self.peek() != closing:
                raise NotUnderstoodError(f"{self.peek()!a} in brackets")
        self.at += 1
        if opening == "(" and len(items) == 1 and not has_comma:
            return items[0]
        return Items(tuple(items))

    def trailers(self, node: Node) -> Node:
        """The attributes, calls and subscripts behind a value."""
        for _ in range(MAX_TRAILERS):
            match self.peek():
                case ".":
                    self.at += 1
                    node = Attribute(node, self.next())
                case "(":
                    self.at += 1
                    node = self.call(node)
                case "[":
                    self.at += 1
                    position = self.bracket("[")
                    single = isinstance(position, Items) and len(position.items) == 1
                    node = Index(node, position.items[0] if single and isinstance(position, Items) else position)
                case _:
                    return node
        raise NotUnderstoodError("a chain of many attributes")

    def call(self, function: Node) -> Call:
        arguments: list[Node] = []
        keywords: list[tuple[str, Node]] = []
        while self.peek() != ")":
            if self.words[self.at + 1 : self.at + 2] == ["="]:
                name = self.next()
                self.at += 1
                keywords.append((name, self.single()))
            else:
                arguments.append(self.single())
            if self.peek() == ",":
                self.at += 1
            elif self.peek() != ")":
                raise NotUnderstoodError(f"{self.peek()!a} in a call")
        self.at += 1
        return Call(function, tuple(arguments), tuple(keywords))


def _number(word: str) -> object:
    if len(word) > 40:
        raise NotUnderstoodError("a number of many digits")
    try:
        return int(word)
    except ValueError:
        pass
    try:
        return float(word)
    except ValueError as error:
        raise NotUnderstoodError(f"the number {word!a}") from error
