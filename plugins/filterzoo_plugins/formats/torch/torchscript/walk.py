"""Abstract interpretation of a TorchScript archive's code, from its input to its convolutions.

Values are modules, stored tensors, constants, and for everything else the number of operations from an input. If the
whole path is understood, stride, groups and depth are those of the graph; otherwise a module's own code still
determines the convolution of its weight.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from filterzoo import Context, Convolution
from filterzoo_plugins.encodings.pickle.inert import Instance
from filterzoo_plugins.formats.torch.torchscript.convolutions import convolution
from filterzoo_plugins.formats.torch.torchscript.syntax import Code, NotUnderstoodError, parameters, parse
from filterzoo_plugins.formats.torch.torchscript.values import (
    UNKNOWN,
    Flow,
    Known,
    Listed,
    Module,
    Path,
    Value,
    Weight,
    depth,
    lift,
    listed,
    merged,
    plain,
)

MAX_STEPS = 100_000
"""Most expressions evaluated on the path from the input, and as many again for modules outside it."""
MAX_WORK = 2_000_000
"""Most names and items that are copied: every branch copies the state, and a call copies all parameters."""
MAX_NESTING = 160
"""Most nested expressions and blocks, calls included."""
MAX_READS = 20_000
MAX_MODULES = 20_000


@dataclass(frozen=True, slots=True)
class Read:
    """One operation that reads a stored tensor as its weight."""

    name: str
    convolution: Convolution


def convolutions(root: object, constants: object, code: Mapping[str, bytes]) -> dict[str, list[Convolution]]:
    """Name of a weight -> every convolution that reads it, in code order."""
    if type(root) is not Instance:
        return {}
    archive = _Archive(code, constants)
    main = Module("", root)
    found: dict[str, list[Convolution]] = {}
    reads, is_whole = archive.follow(main)
    for read in reads:
        known = read.convolution if is_whole else replace(read.convolution, context=Context.DECLARED, depth=None)
        found.setdefault(read.name, []).append(known)
    archive.steps = archive.work = 0
    for module in _modules(main):
        found.update(archive.declared(module, set(found)))
    return found


def _modules(root: Module) -> Iterator[Module]:
    """The root and the modules below it, parents first, each once."""
    todo, seen = [root], {id(root.instance)}
    while todo and len(seen) <= MAX_MODULES:
        module = todo.pop()
        yield module
        state = module.instance.state
        for name in state if type(state) is dict else ():
            child = module.child(name)
            if isinstance(child, Module) and id(child.instance) not in seen:
                seen.add(id(child.instance))
                todo.append(child)


class _Archive:
    """The code of one archive, and the state of its interpretation."""

    def __init__(self, code: Mapping[str, bytes], constants: object) -> None:
        self.code = code
        self.constants = constants if type(constants) is tuple else ()
        self.sources: dict[str, Code] = {}
        self.reads: list[Read] = []
        self.steps = 0
        self.work = 0
        self.nesting = 0
        self.is_whole = True

    def follow(self, module: Module) -> tuple[list[Read], bool]:
        """The convolutions in the module's forward, and whether all of its code was understood."""
        self.reads, self.nesting, self.is_whole = [], 0, True
        forward = self.method(module, "forward")
        if forward is None:
            return [], False
        try:
            self.run(forward, [module, *[Flow(0)] * (len(parameters(forward)) - 1)], {})
        except NotUnderstoodError:
            self.is_whole = False
        return self.reads, self.is_whole

    def declared(self, module: Module, known: set[str]) -> dict[str, list[Convolution]]:
        """The convolutions in the module's own forward that were not found elsewhere."""
        found: dict[str, list[Convolution]] = {}
        state = module.instance.state
        if type(state) is dict and any(isinstance(module.child(name), Weight) for name in state):
            for read in self.follow(module)[0]:
                if read.name not in known:
                    found.setdefault(read.name, []).append(
                        replace(read.convolution, context=Context.DECLARED, depth=None)
                    )
        return found

    def source(self, module_name: str) -> Code:
        """The code of `__torch__.a.b`, in `__torch__/a/b.py`."""
        if module_name not in self.sources:
            content = self.code.get(module_name.replace(".", "/") + ".py", b"")
            try:
                self.sources[module_name] = parse(content.decode())
            except (NotUnderstoodError, UnicodeDecodeError):
                self.sources[module_name] = Code()
        return self.sources[module_name]

    def method(self, module: Module, name: str) -> ast.FunctionDef | None:
        """The module's method of that name."""
        file, owner = module.owner
        return self.source(file).functions.get((owner, name))

    def run(self, function: ast.FunctionDef, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        """The function's return value."""
        scope: dict[str, Value] = {}
        level = self.nesting
        named = parameters(function)
        self.spend(len(named))
        for position, (name, default) in enumerate(named):
            if position < len(arguments):
                scope[name] = arguments[position]
            elif name in keywords:
                scope[name] = keywords[name]
            else:
                scope[name] = UNKNOWN if default is None else self.evaluate(default, {})
        returned = self.execute(function.body, scope)
        self.nesting = level  # a `return` leaves all enclosing blocks
        return returned or Known(None)

    def execute(self, statements: Sequence[ast.stmt], scope: dict[str, Value]) -> Value | None:
        """Interpret statements; returns the value of a `return` among them."""
        self.nest()
        returned: Value | None = None
        for statement in statements:
            match statement:
                case ast.Assign(targets=targets, value=node):
                    value = self.evaluate(node, scope)
                    for target in targets:
                        self.assign(target, value, scope)
                case ast.AnnAssign(target=target, value=ast.expr() as node):
                    self.assign(target, self.evaluate(node, scope), scope)
                case ast.Expr(value=node):
                    self.evaluate(node, scope)
                case ast.Return(value=node):
                    return Known(None) if node is None else self.evaluate(node, scope)
                case ast.For() | ast.While() | ast.With():
                    returned = self.block(statement, scope) or returned
                case ast.If():
                    returned = self.branch(statement, scope) or returned
        self.nesting -= 1
        return returned

    def block(self, block: ast.For | ast.While | ast.With, scope: dict[str, Value]) -> Value | None:
        """Evaluate its header, then its body, once."""
        match block:
            case ast.For(target=target, iter=node):
                self.assign(target, Flow(depth(self.evaluate(node, scope))), scope)
            case ast.While(test=node):
                self.evaluate(node, scope)
            case ast.With(items=items):
                for item in items:
                    self.evaluate(item.context_expr, scope)
        return self.execute(block.body, scope)

    def branch(self, branch: ast.If, scope: dict[str, Value]) -> Value | None:
        """Interpret both branches, unless the condition is known; a weight read in both counts once."""
        condition = self.evaluate(branch.test, scope)
        if isinstance(condition, Known):
            return self.execute(branch.body if condition.value else branch.orelse, scope)
        self.spend(len(scope))
        other_scope = dict(scope)
        before = len(self.reads)
        first = self.execute(branch.body, scope)
        between = len(self.reads)
        second = self.execute(branch.orelse, other_scope)
        already = {read.name for read in self.reads[before:between]}
        self.reads[between:] = [read for read in self.reads[between:] if read.name not in already]
        self.spend(len(other_scope))
        for name, value in other_scope.items():
            scope[name] = merged(scope[name], value) if name in scope else value
        return merged(first, second) if first and second else first or second

    def nest(self) -> None:
        """Enter one more level; NotUnderstoodError beyond the limits."""
        self.steps += 1
        self.nesting += 1
        if self.steps > MAX_STEPS or self.nesting > MAX_NESTING:
            raise NotUnderstoodError("code that is too long or too deep")

    def spend(self, count: int) -> None:
        """Count copied items; NotUnderstoodError beyond the limit."""
        self.work += count
        if self.work > MAX_WORK:
            raise NotUnderstoodError("code that copies too much")

    def assign(self, target: ast.expr, value: Value, scope: dict[str, Value]) -> None:
        """Bind the names of a target."""
        if isinstance(target, ast.Tuple | ast.List):
            self.spend(len(target.elts))
        _assign(target, value, scope)

    def evaluate(self, node: ast.expr, scope: Mapping[str, Value]) -> Value:
        """The value of an expression."""
        self.nest()
        value = self.value(node, scope)
        self.nesting -= 1
        return value

    def value(self, node: ast.expr, scope: Mapping[str, Value]) -> Value:
        """See `evaluate`, which limits it."""
        match node:
            case ast.Constant(value=value):
                return Known(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return Known(-value)
            case ast.Name(id=name):
                return scope.get(name, Path(name))
            case ast.Attribute(value=owner, attr=name):
                return self.attribute(self.evaluate(owner, scope), name)
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                return listed([self.evaluate(item, scope) for item in items])
            case ast.Dict():
                return listed([self.evaluate(item, scope) for item in _operands(node)])
            case ast.Subscript(value=owner, slice=position):
                return _item(self.evaluate(owner, scope), self.evaluate(position, scope))
            case ast.Call():
                return self.call(node, scope)
        return _computed([self.evaluate(operand, scope) for operand in _operands(node)])

    def attribute(self, owner: Value, name: str) -> Value:
        """An attribute of a module: from the file, or from its class."""
        match owner:
            case Module():
                file, class_name = owner.owner
                constant = self.source(file).constants.get((class_name, name))
                stored = owner.child(name)
                if stored is not None:
                    return stored
                return UNKNOWN if constant is None else self.evaluate(constant, {})
            case Path("CONSTANTS"):
                position = name[1:]
                if position.isdecimal() and len(position) < 7 and int(position) < len(self.constants):
                    return lift(self.constants[int(position)], f"CONSTANTS.{name}")
                return UNKNOWN
            case Path(path):
                return Path(f"{path}.{name}")
        return Flow(depth(owner))

    def call(self, node: ast.Call, scope: Mapping[str, Value]) -> Value:
        """A method of a module, a function of the archive, or an operation."""
        called = node.func if isinstance(node.func, ast.Attribute) else None
        owner = None if called is None else self.evaluate(called.value, scope)
        arguments = [self.evaluate(argument, scope) for argument in node.args]
        keywords = {keyword.arg or "": self.evaluate(keyword.value, scope) for keyword in node.keywords}
        if isinstance(owner, Module) and called is not None:
            method = self.method(owner, called.attr)
            if method is not None:
                return self.run(method, [owner, *arguments], keywords)
            self.is_whole = False
            return _computed([*arguments, *keywords.values()])
        if owner is None or called is None:
            function = self.evaluate(node.func, scope)
        else:
            function = self.attribute(owner, called.attr)
        if isinstance(function, Path):
            return self.named_call(function.name, arguments, keywords)
        return _computed([function, *arguments, *keywords.values()])

    def named_call(self, name: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """A call of something outside of modules."""
        if name == "getattr" and len(arguments) == 2 and isinstance(arguments[1], Known):
            return self.attribute(arguments[0], str(arguments[1].value))
        if name in {"annotate", "unchecked_cast"} and len(arguments) == 2:
            return arguments[1]
        if name.startswith("__torch__."):
            file, _, function_name = name.rpartition(".")
            function = self.source(file).functions.get(("", function_name))
            if function is not None:
                return self.run(function, arguments, keywords)
        result = _computed([*arguments, *keywords.values()])
        weight = arguments[1] if len(arguments) > 1 else None
        if isinstance(weight, Weight):
            values = {key: plain(value) for key, value in keywords.items()}
            self.spend(sum(len(value.items) for value in [*arguments, *keywords.values()] if isinstance(value, Listed)))
            known = convolution(name, [plain(value) for value in arguments], values, weight.tensor.shape)
            if known is not None:
                if len(self.reads) >= MAX_READS:
                    raise NotUnderstoodError("more convolutions than any network has")
                self.reads.append(Read(weight.name, replace(known, depth=max(depth(result), 0))))
        return result


def _assign(target: ast.expr, value: Value, scope: dict[str, Value]) -> None:
    """Assign to names only: the code of an archive does not change its modules."""
    match target:
        case ast.Name(id=name):
            scope[name] = value
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            fits = isinstance(value, Listed) and len(value.items) == len(targets)
            values = value.items if fits and isinstance(value, Listed) else [Flow(depth(value))] * len(targets)
            for each, part in zip(targets, values, strict=True):
                if isinstance(each, ast.Name):
                    scope[each.id] = part


def _operands(node: ast.AST) -> Iterator[ast.expr]:
    """The operands of an operation, in code order."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield child


def _item(owner: Value, position: Value) -> Value:
    if isinstance(owner, Listed) and isinstance(position, Known) and type(position.value) is int:
        if -len(owner.items) <= position.value < len(owner.items):
            return owner.items[position.value]
        return UNKNOWN
    return Flow(max(depth(owner), depth(position)))


def _computed(operands: Sequence[Value]) -> Flow:
    """The result of an operation: one deeper than the deepest operand, if any depends on an input."""
    deepest = max((depth(operand) for operand in operands), default=-1)
    return Flow(deepest + 1) if deepest >= 0 else UNKNOWN
