"""Scripted, traced and frozen modules: what their code does with each weight is known exactly, or said not to be."""

from __future__ import annotations

import random
import time
import warnings
import zipfile
from typing import no_type_check

import pytest
import torch
from tests.memory_file import MemoryFile
from tests.plugins.formats.torch_files import TorchZip, mapping, name, program, tensor, text
from torch import nn

from filterzoo.errors import Refused
from filterzoo.files import LocalFile
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Context, Kind, Layout, Tensor
from filterzoo_plugins.formats.torch import TorchFormat
from filterzoo_plugins.formats.torch.torchscript.syntax import NotUnderstoodError, parse

FORMAT = TorchFormat()
KINDS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def script(module: nn.Module, *inputs: torch.Tensor, freeze: bool = False) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; its files stay
        made = torch.jit.trace(module.eval(), inputs) if inputs else torch.jit.script(module.eval())
        return torch.jit.freeze(made) if freeze else made


def index(made: torch.jit.ScriptModule, path) -> list[Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(made, path)
    with LocalFile(path) as file, TensorReader(file) as reader:
        assert FORMAT.accepts(file.read(0, min(file.size, 4096)), "weights")
        tensors = list(FORMAT.index(file))
        state = dict(made.state_dict())
        for found in tensors:
            if found.name in state:
                assert reader.read(found).tobytes() == state[found.name].numpy().tobytes()
        assert set(state) <= {found.name for found in tensors}
    return tensors


def convolutions(tensors: list[Tensor]) -> dict[str, Tensor]:
    return {found.name: found for found in tensors if found.convolution is not None}


class Plain(nn.Module):
    """Every kind of convolution of a rank, one behind the other, with a residual."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        conv, up = KINDS[rank], TRANSPOSED[rank]
        self.first = conv(3, 8, 3, stride=2, padding=1, bias=False)
        self.grouped = conv(8, 8, 3, padding=2, dilation=2, groups=2)
        self.body = nn.Sequential(conv(8, 8, 3, padding=1, groups=8), nn.ReLU(), conv(8, 8, 1))
        self.up = up(8, 4, 2, stride=2)
        self.up_grouped = up(4, 4, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=1)

    def forward(self, x):
        x = torch.relu(self.grouped(self.first(x)))
        x = x + self.body(x)
        return self.up_grouped(self.up(x))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("how", ["script", "trace"])
def test_every_operation_is_what_its_module_says(rank, how, tmp_path):
    model = Plain(rank)
    inputs = (torch.randn(1, 3, *[8] * rank),) if how == "trace" else ()
    found = convolutions(index(script(model, *inputs), tmp_path / "x"))
    modules = {f"{path}.weight": module for path, module in model.named_modules() if hasattr(module, "kernel_size")}
    assert set(found) == set(modules)
    for path, module in modules.items():
        operation = found[path].convolution
        assert operation.context is Context.GRAPH
        assert (operation.stride, operation.groups) == (module.stride, module.groups)
        assert (operation.padding, operation.dilation) == (module.padding, module.dilation)
        assert (operation.kind is Kind.TRANSPOSED) == module.transposed
        assert found[path].layout is (Layout.IO_K if module.transposed else Layout.OI_K)
    assert found["body.0.weight"].convolution.kind is Kind.DEPTHWISE
    assert found["grouped.weight"].convolution.kind is Kind.GROUPED
    depths = [found[f"{path}.weight"].convolution.depth for path in ("first", "grouped", "body.0", "body.2", "up")]
    assert depths == sorted(set(depths))
    assert depths[0] == 1
    if how == "trace":  # first, grouped, relu, body.0, relu, body.2, add, up
        assert depths == [1, 2, 4, 6, 8]


class Odd(nn.Module):
    """Weights that are no module's, a layer that is used twice, ways that part and meet again, a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", torch.randn(4, 1, 5))
        self.shared = nn.Conv1d(4, 4, 3, padding=1)
        self.left = nn.Conv1d(4, 4, 3, padding=1)
        self.right = nn.Conv1d(4, 4, 1)
        self.stride = 2
        self.unused = nn.Conv2d(1, 1, 3)
        self.embedding = nn.Parameter(torch.randn(1, 4, 4))

    @no_type_check  # a buffer's type is the framework's; torch would read a comment on types as its own
    def forward(self, x, way: bool = True):  # noqa: FBT001, FBT002  # scripted, so typed
        x = torch.conv1d(x, self.basis, None, [self.stride], [1])
        x = self.shared(self.shared(x))
        if way:  # noqa: SIM108  # a branch of the script
            y = self.left(x)
        else:
            y = self.left(self.right(x))
        for _ in range(3):
            y = y + self.embedding
        return y


def test_weights_of_no_module_and_layers_used_twice(tmp_path):
    tensors = index(script(Odd()), tmp_path / "x")
    found = convolutions(tensors)
    names = [tensor.name for tensor in tensors if tensor.convolution is not None]
    assert names.count("shared.weight") == 2
    assert names.count("left.weight") == 1
    assert found["basis"].convolution.stride == (2,)
    assert found["basis"].convolution.padding == (1,)
    shared = [tensor.convolution.depth for tensor in tensors if tensor.name == "shared.weight"]
    assert shared == [2, 3]
    assert "embedding" not in found
    assert found["unused.weight"].convolution.context is Context.DECLARED
    assert found["unused.weight"].convolution.depth is None
    assert found["left.weight"].convolution.context is Context.GRAPH


def test_frozen_weights_are_found_among_the_constants(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.ConvTranspose2d(4, 2, 3, stride=2))
    tensors = index(script(model, freeze=True), tmp_path / "x")
    found = convolutions(tensors)
    assert {tensor.name.partition(".")[0] for tensor in found.values()} == {"CONSTANTS"}
    assert [tensor.shape for tensor in found.values()] == [(4, 3, 3, 3), (4, 2, 3, 3)]
    assert [tensor.convolution.kind for tensor in found.values()] == [Kind.CONV, Kind.TRANSPOSED]
    assert {tensor.convolution.context for tensor in found.values()} == {Context.GRAPH}


def with_code(code: str) -> bytes:
    """An archive whose root module is `__torch__.Net` with a tensor `w`, and that code."""
    root = name("__torch__", "Net") + b")\x81" + mapping(text("w"), tensor()) + b"b"
    return TorchZip(program(root), more=[("archive/code/__torch__.py", code.encode())]).bytes()


def net(body: str) -> str:
    return "class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n" + body


def only(code: str) -> Tensor:
    (found,) = FORMAT.index(MemoryFile(with_code(code)))
    assert found.name == "w"
    return found


def test_code_that_is_not_understood_costs_the_context_only():
    good = only(net("    return torch.conv2d(x, self.w, None, [2], [1, 1])\n"))
    assert (good.convolution.stride, good.convolution.depth, good.convolution.context) == ((2, 2), 1, Context.GRAPH)
    unknown = only(net("    y = (self).nowhere(x)\n    return torch.conv2d(y, self.w, None, [2])\n"))
    assert (unknown.convolution.depth, unknown.convolution.context) == (None, Context.DECLARED)
    for code in (
        "",
        "\0",
        "class Net(Module",
        net("    return torch.conv2d(x, self.w, None, [2)\n"),
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ):
        assert only(code).convolution is None


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(net("    return " + "(" * 5000 + "x" + ")" * 5000 + "\n"), id="brackets"),
        pytest.param(net("    return x" + ".a" * 100_000 + "\n"), id="attributes"),
        pytest.param(net("    y = " + "-" * 100_000 + "x\n    return y\n"), id="signs"),
        pytest.param(
            net("".join(" " * (4 + n) + "if x:\n" for n in range(3000)) + " " * 3100 + "return x\n"), id="ifs"
        ),
        pytest.param(net("    return (self).forward(x, )\n"), id="endless recursion"),
        pytest.param(net("    y = (self).forward(x)\n" * 20 + "    return y\n"), id="wide recursion"),
        pytest.param(
            net("    a = [x]\n" + "    a = [a, a]\n" * 3000 + "    return torch.conv2d(a, a)\n"), id="doubled lists"
        ),
        pytest.param(net("    y = torch.add(x, x)\n" * 60_000 + "    return y\n"), id="long", marks=pytest.mark.slow),
        pytest.param(
            net("".join(f"    if x:\n      a{n} = x\n" for n in range(24_000)) + "    return x\n"), id="branches"
        ),
        pytest.param(
            "def f("
            + ", ".join(f"a{n}=0" for n in range(30_000))
            + "):\n  return 1\n\n"
            + net("    y = __torch__.f(" + "x, " * 100 + ")\n" * 9000 + "    return x\n"),
            id="parameters",
        ),
        pytest.param(
            net(
                "    "
                + ", ".join(f"a{n}" for n in range(40_000))
                + " = x\n    while x:\n      y = x\n"
                + ("    if x:\n      y = x\n    else:\n      y = x\n" * 10_000)
                + "    return x\n"
            ),
            id="branches of many names",
        ),
        pytest.param(net('    y = "' + "\\" * 100_001 + "\n"), id="escapes"),
        pytest.param(net("    return torch.conv2d(x, self.w, None, [" + "9" * 50_000 + "])\n"), id="digits"),
        pytest.param(net("    y = " + "not " * 100_000 + "x\n    return y\n"), id="nots"),
        pytest.param(net("    y = " + "x < " * 100_000 + "x\n    return y\n"), id="operators"),
    ],
)
def test_code_that_would_cost_too_much_is_given_up(code):
    started = time.process_time()
    found = only(code)
    assert found.convolution is None or found.convolution.context is Context.DECLARED or found.convolution.depth == 1
    assert time.process_time() - started < 15


def test_a_network_of_many_modules_is_followed_to_its_end(tmp_path):
    """Each module's forward returns once: what was nested is left again."""
    deep = nn.Sequential(*[nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU()) for _ in range(200)])
    found = convolutions(index(script(deep), tmp_path / "deep.pt"))
    assert len(found) == 200
    assert {layer.convolution.context for layer in found.values()} == {Context.GRAPH}
    assert found["199.0.weight"].convolution.depth > found["198.0.weight"].convolution.depth


def test_mutated_code_is_read_or_given_up(tmp_path):
    """400 seeded mutations of real code; the index never fails, the tensors stay the same."""
    path = tmp_path / "x"
    index(script(Odd()), path)
    with zipfile.ZipFile(path) as archive:
        code = b"\n".join(archive.read(member) for member in archive.namelist() if member.endswith(".py")).decode()
    numbers = random.Random(0)
    marks = [*"()[]{}.,:=\n \"'\\#", "def ", "class ", "if ", "return ", "self", "torch", "0", "9", "None"]
    outcomes = {"understood": 0, "given up": 0}
    for _ in range(400):
        text_ = list(code)
        for _ in range(numbers.randint(1, 5)):
            at = numbers.randrange(len(text_))
            text_[at : at + numbers.randrange(3)] = numbers.choice(marks)
        mutated = "".join(text_)
        try:
            parse(mutated)
            outcomes["understood"] += 1
        except NotUnderstoodError:
            outcomes["given up"] += 1
        assert only(mutated.replace("class Odd(", "class Net(")).shape == (1, 4, 3, 3)
    assert min(outcomes.values()) > 20


def test_hostile_pickles_with_code_are_refused_or_read():
    code = net("    return torch.conv2d(x, self.w, self.b, self.s)\n")
    nested = b"]q\1" + b"h\1a"  # a list that holds itself
    root = name("__torch__", "Net") + b")\x81" + mapping(text("w"), tensor(), text("s"), nested, text("b"), b"N") + b"b"
    data = TorchZip(program(root), more=[("archive/code/__torch__.py", code.encode())]).bytes()
    (found,) = FORMAT.index(MemoryFile(data))
    assert found.convolution.stride is None
    with pytest.raises(Refused):
        list(FORMAT.index(MemoryFile(data[:-1])))
