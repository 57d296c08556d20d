"""torch.export archives, as torch writes them now and as it wrote them before: equal to the module, bit for bit."""

from __future__ import annotations

import io
import json
import random
import time
import warnings
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.untrusted_files.mutation import mutated_inside
from tests.untrusted_files.reading import BytesFile, index, read
from torch import nn

from filterzoo.computation import Way
from filterzoo.errors import Reason, Refused
from filterzoo.records import Context, Kind
from filterzoo_plugins.formats.pt2 import Pt2


class Net(nn.Module):
    """Each kind of convolution, a tied one, views, and weights that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, bias=False)
        self.transposed = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3))
        self.line = nn.Conv1d(4, 6, 3, dilation=2)
        self.register_buffer("scaled", torch.randn(4, 4, 3, 3))
        self.turned = nn.Parameter(torch.randn(4, 4, 3, 3).transpose(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.normed(self.transposed(self.depthwise(self.plain(x).relu())))
        kernel = torch.cat([self.scaled[:2] * 2.0, self.scaled[2:].neg()]).permute(1, 0, 2, 3)  # type: ignore[index]  # an attribute of a torch module
        x = nn.functional.conv2d(x, kernel) + nn.functional.conv2d(x, self.turned)
        return self.line(x.flatten(2)) + self.line(x.flatten(2) * 2)

    def weights(self) -> dict[str, torch.Tensor]:
        """What the layers are, in the order of the graph."""
        kernel = torch.cat([self.scaled[:2] * 2, -self.scaled[2:]]).permute(1, 0, 2, 3)  # type: ignore[index]  # an attribute of a torch module
        return {
            "plain.weight": self.plain.weight,
            "depthwise.weight": self.depthwise.weight,
            "transposed.weight": self.transposed.weight.transpose(0, 1),
            "normed.parametrizations.weight.original1": self.normed.weight,
            "scaled": kernel,
            "turned": self.turned,
            "line.weight": self.line.weight,
        }


@pytest.fixture(scope="module")
def network() -> tuple[Net, bytes]:
    """A module, and what torch.export.save writes of it."""
    torch.manual_seed(0)
    net = Net().eval()
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(net, (torch.randn(1, 3, 32, 32),)), buffer)
    return net, buffer.getvalue()


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def saved(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def program_of(content: bytes) -> bytes:
    (program,) = (part for name, part in members(content).items() if name.endswith("models/model.json"))
    return program


def old_layout(net: Net, content: bytes) -> bytes:
    """As torch 2.1 to 2.7 wrote it: the state dict is a pickle in a zip of its own."""
    return zipped(
        {
            "version": b"5.3",
            "serialized_exported_program.json": program_of(content),
            "serialized_state_dict.pt": saved(net.state_dict()),
            "serialized_constants.pt": saved({}),
            "serialized_example_inputs.pt": saved((torch.randn(2, 3, 3, 3),)),
        }
    )


def middle_layout(net: Net, content: bytes) -> bytes:
    """As torch 2.8 wrote it: the folders of today, a pickled state dict in one of them."""
    return zipped(
        {
            "net/archive_format": b"pt2",
            "net/models/model.json": program_of(content),
            "net/data/weights/model.pt": saved(dict(net.named_parameters()) | dict(net.named_buffers())),
            "net/data/constants/model.pt": saved({}),
            "net/byteorder": b"little",
        }
    )


def as_written(_: Net, content: bytes) -> bytes:
    return content


@pytest.mark.parametrize("layout", [as_written, middle_layout, old_layout])
def test_layers_are_those_of_the_module(network, layout: Callable[[Net, bytes], bytes]):
    net, content = network
    layers = read(BytesFile(layout(net, content)), "net.pt2")
    expected = net.weights()
    assert [layer.name for layer in layers] == [*expected, "line.weight"]
    for layer in layers:
        weight = expected[layer.name].detach().numpy()
        if layer.name.startswith("normed"):
            np.testing.assert_allclose(layer.weights, weight, rtol=1e-6)
        else:
            np.testing.assert_array_equal(layer.weights, weight, err_msg=layer.name)


def test_the_graph_has_stride_groups_and_depth(network):
    found = index(BytesFile(network[1]), "net.pt2")
    facts = {t.name: t.convolution for t in found.convolutions}
    assert {c.context for c in facts.values()} == {Context.GRAPH}
    plain, depthwise, transposed = (facts[f"{name}.weight"] for name in ("plain", "depthwise", "transposed"))
    assert (plain.kind, plain.stride, plain.padding, plain.depth) == (Kind.CONV, (2, 2), (1, 1, 1, 1), 1)
    assert (depthwise.kind, depthwise.groups, depthwise.depth) == (Kind.DEPTHWISE, 8, 3)
    assert (transposed.kind, transposed.stride, transposed.depth) == (Kind.TRANSPOSED, (2, 2), 4)
    assert facts["line.weight"].dilation == (2,)
    ways = {t.name: t.computation.way for t in found.convolutions if t.computation}
    assert ways == {"normed.parametrizations.weight.original1": Way.FOLDED, "scaled": Way.FOLDED}
    assert (found.format, found.facts.framework, found.tensor_count) == ("pt2", "torch", 12 + 1)


def changed(content: bytes, name: str, change: Callable[[dict], None]) -> bytes:
    parts = members(content)
    (path,) = (path for path in parts if path.endswith(name))
    document = json.loads(parts[path])
    change(document)
    return zipped(parts | {path: json.dumps(document).encode()})


def entry(document: dict) -> dict:
    return document["config"]["plain.weight"]


def nodes(document: dict) -> list[dict]:
    return document["graph_module"]["graph"]["nodes"]


WEIGHTS, MODEL = "model_weights_config.json", "model.json"
HOSTILE = {
    "a member that is missing": (WEIGHTS, lambda d: entry(d).update(path_name="weight_99"), Reason.MALFORMED),
    "a member above": (WEIGHTS, lambda d: entry(d).update(path_name="../../models/model.json"), Reason.MALFORMED),
    "a shape that is too large": (
        WEIGHTS,
        lambda d: entry(d)["tensor_meta"].update(sizes=[{"as_int": 8}, {"as_int": 3}, {"as_int": 3}, {"as_int": 9}]),
        Reason.MALFORMED,
    ),
    "an offset beyond the member": (
        WEIGHTS,
        lambda d: entry(d)["tensor_meta"].update(storage_offset={"as_int": 1}),
        Reason.MALFORMED,
    ),
    "a stride that is negative": (
        WEIGHTS,
        lambda d: entry(d)["tensor_meta"].update(strides=[{"as_int": -1}] * 4),
        Reason.MALFORMED,
    ),
    "no description": (WEIGHTS, lambda d: entry(d).pop("tensor_meta"), Reason.MALFORMED),
    "a pickled tensor": (WEIGHTS, lambda d: entry(d).update(use_pickle=True), Reason.UNSUPPORTED),
    "no graph": (MODEL, lambda d: d.pop("graph_module"), Reason.MALFORMED),
    "nodes that are none": (MODEL, lambda d: d["graph_module"]["graph"].update(nodes=[1]), Reason.MALFORMED),
    "a value from nowhere": (
        MODEL,
        lambda d: nodes(d)[0]["inputs"][0]["arg"]["as_tensor"].update(name="nowhere"),
        Reason.MALFORMED,
    ),
    "three groups": (
        MODEL,
        lambda d: nodes(d)[0]["inputs"].append({"name": "groups", "arg": {"as_int": 3}}),
        Reason.MALFORMED,
    ),
    "a convolution nobody knows": (
        MODEL,
        lambda d: nodes(d)[0].update(target="torch.ops.own.modulated_conv2d.default"),
        Reason.UNSUPPORTED,
    ),
    "a weight that passes a sine": (
        MODEL,
        lambda d: next(n for n in nodes(d) if ".neg." in n["target"]).update(target="torch.ops.aten.sin.default"),
        Reason.UNSUPPORTED,
    ),
    "a convolution in a branch": (
        MODEL,
        lambda d: nodes(d).append(
            {
                "target": "torch.ops.higher_order.cond",
                "inputs": [{"name": "t", "arg": {"as_graph": {"name": "t", "graph": {"nodes": nodes(d)[:1]}}}}],
                "outputs": [],
            }
        ),
        Reason.UNSUPPORTED,
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_or_its_layer_is_refused_with_its_reason(network, case):
    name, change, reason = HOSTILE[case]
    try:
        reasons = {left.reason for left in index(BytesFile(changed(network[1], name, change)), "net.pt2").left_out}
    except Refused as refusal:
        reasons = {refusal.reason}
    assert reasons == {reason}


def test_damage_and_compiled_packages_are_refused(network):
    content = bytearray(network[1])
    weight = network[0].plain.weight.detach().numpy().tobytes()
    content[content.index(weight) + 5] ^= 1
    with pytest.raises(Refused, match="CRC-32"):
        read(BytesFile(bytes(content)), "net.pt2")
    parts = {name: part for name, part in members(network[1]).items() if "/models/" not in name}
    with pytest.raises(Refused, match="compiled package"):
        index(BytesFile(zipped(parts)), "net.pt2")


def test_checkpoints_of_torch_save_are_not_taken_for_it():
    for content in (saved({"w": torch.ones(1)}), saved(nn.Conv2d(1, 1, 1).state_dict())):
        assert not Pt2().accepts(content[:4096], "net.pt2")


def test_nothing_but_a_refusal_comes_of_a_damaged_archive(network):
    random = np.random.default_rng(0)
    accepted = refused = 0
    for _ in range(300):
        content = bytearray(network[1])
        for place in random.integers(0, len(content), 4):
            content[place] = random.integers(0, 256)
        try:
            index(BytesFile(bytes(content)), "net.pt2")
            accepted += 1
        except Refused:
            refused += 1
    assert accepted
    assert refused


@pytest.mark.parametrize("start", [None, 0, 1, 2])
def test_a_slice_begins_where_it_says(start: int | None):
    """1 equals True, which a program has for what is not stated."""

    class Sliced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = nn.Parameter(torch.randn(4, 2, 3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv2d(x, torch.ops.aten.slice(self.whole, 0, start, 3))

    net, buffer = Sliced().eval(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(net, (torch.randn(1, 2, 8, 8),)), buffer)
    (layer,) = read(BytesFile(buffer.getvalue()), "net.pt2")
    np.testing.assert_array_equal(layer.weights, net.whole.detach().numpy()[start:3])


MUTATIONS = 4_000
ODD = (None, True, -1, 0, 1, 3, 1 << 40, 1 << 63, 1.5, "", "\ud800", "p_plain_weight", "conv2d", [], [[]], {}, [0] * 70)  # type: ignore[var-annotated]  # of everything JSON has
"""What takes the place of a value of a program."""


def places(value: object) -> list[tuple[list | dict, int | str]]:
    """Every container of a JSON document, with each of its keys."""
    found: list[tuple[list | dict, int | str]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        found += [(one, key) for key in keys]  # type: ignore[misc]  # of a type that the test knows
        waiting += [one[key] for key in keys]  # type: ignore[index]  # of a parsed or untyped object
    return found


def mutated_program(parts: dict[str, bytes], dice: random.Random) -> bytes:
    """An archive one of whose documents has one to four values replaced, removed, doubled or exchanged."""
    documents = [name for name, content in parts.items() if content[:1] == b"{"]
    name = dice.choice(documents)
    document = json.loads(parts[name])
    for _ in range(dice.randint(1, 4)):
        known = places(document)
        if not known:
            break
        (holder, key), (other, from_there) = dice.choice(known), dice.choice(known)
        match dice.randrange(4):
            case 0 | 1:
                holder[key] = dice.choice(ODD)  # type: ignore[index]  # of a parsed or untyped object
            case 2:
                holder[key] = json.loads(json.dumps(other[from_there]))  # type: ignore[index]  # of a parsed or untyped object
            case 3:
                del holder[key]  # type: ignore[arg-type]  # of a type that the test knows
    return zipped(parts | {name: json.dumps(document).encode()})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mutated_archives_are_read_or_refused(network):
    """Bytes with right checksums, and values of the program; nothing but a refusal comes out, soon."""
    net, content = network
    archives = [as_written(net, content), middle_layout(net, content), old_layout(net, content)]
    unpacked = [members(archive) for archive in archives]
    outcomes, slowest = {"read": 0, "refused": 0}, 0.0
    faults: list[tuple[int, str]] = []
    for seed in range(MUTATIONS):
        dice = random.Random(seed)
        number = dice.randrange(len(archives))
        data = mutated_program(unpacked[number], dice) if seed % 2 else mutated_inside(archives[number], dice)
        start = time.process_time()
        try:
            read(BytesFile(data), "net.pt2")
            outcomes["read"] += 1
        except Refused as refusal:
            outcomes["refused"] += 1
            if refusal.reason in {Reason.CRASHED, Reason.PLUGIN_ERROR}:
                faults.append((seed, refusal.detail))
        slowest = max(slowest, time.process_time() - start)
    assert faults[:3] == []
    assert min(outcomes.values()) > MUTATIONS // 20
    assert slowest < 8
