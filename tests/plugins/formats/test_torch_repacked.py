"""Zips of torch that were packed again, and several saves in one file."""

from __future__ import annotations

import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch
from tests.memory_file import MemoryFile
from tests.untrusted_files.reading import BytesFile, index, read

from filterzoo.errors import Reason, Refused
from filterzoo.layers.depth import depths
from filterzoo.layers.normalise import normalise
from filterzoo.layers.selection import select
from filterzoo.layers.stored import TensorReader
from filterzoo_plugins.formats.torch import TorchFormat

WEIGHT = torch.arange(8 * 3 * 9, dtype=torch.float32).reshape(8, 3, 3, 3)


def layers(data: bytes):
    file = MemoryFile(data)
    with TensorReader(file) as reader:
        return list(normalise(select(list(TorchFormat().index(file))), reader))


def test_a_checkpoint_that_was_zipped_again_with_compression():
    stream, again = BytesIO(), BytesIO()
    torch.save({"x.weight": WEIGHT, "y.weight": WEIGHT[:4, :2]}, stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(again, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    first, second = layers(again.getvalue())
    assert np.array_equal(first.weights, WEIGHT.numpy())
    assert np.array_equal(second.weights, WEIGHT[:4, :2].numpy())


def test_of_several_saves_in_one_file_the_first_is_read_as_torch_does():
    stream = BytesIO()
    for value in ({"x.weight": WEIGHT}, {"epoch": 3}):
        torch.save(value, stream, _use_new_zipfile_serialization=False)
    (only,) = layers(stream.getvalue())
    assert np.array_equal(only.weights, WEIGHT.numpy())
    with pytest.raises(Refused, match="behind the last storage"):
        layers(_with_garbage())


def test_of_several_saves_the_first_with_tensors_is_read():
    """The counter that training code saves before the network; its offsets count from the start of the file."""
    stream = BytesIO()
    for value in ({"epoch": 3}, {"x.weight": WEIGHT, "array.weight": WEIGHT.numpy()}, {"y.weight": WEIGHT[:4]}):
        torch.save(value, stream, _use_new_zipfile_serialization=False)
    first, second = layers(stream.getvalue())
    assert np.array_equal(first.weights, WEIGHT.numpy())
    assert np.array_equal(second.weights, WEIGHT.numpy())


def test_a_file_without_any_array_is_refused_not_done_with_no_layers():
    with pytest.raises(Refused, match="no array of numbers") as raised:
        index(BytesFile(saved({"epoch": 3, "model": None})), "x.pth")
    assert raised.value.reason is Reason.UNSUPPORTED


def _with_garbage() -> bytes:
    stream = BytesIO()
    torch.save({"x.weight": WEIGHT}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue() + b"garbage"


def test_a_tensor_by_itself_is_refused():
    stream = BytesIO()
    torch.save(WEIGHT, stream)
    with pytest.raises(Refused, match="by itself"):
        layers(stream.getvalue())


def saved(value: object, **options) -> bytes:
    stream = BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ({"x.weight": WEIGHT.to_sparse()}, "sparse"),
        ({"x.weight": WEIGHT.to("meta")}, "no numbers"),
        (WEIGHT, "by itself"),
    ],
    ids=["sparse", "meta", "alone"],
)
def test_weights_that_cannot_be_read_are_named(value, detail):
    with pytest.raises(Refused, match=detail) as caught:
        index(BytesFile(saved(value)), "x.pth")
    assert caught.value.reason is Reason.UNSUPPORTED


def test_a_shard_of_torch_distributed_checkpoint_is_named():
    with pytest.raises(Refused, match=r"torch\.distributed\.checkpoint") as caught:
        layers(saved(WEIGHT) + saved(WEIGHT[:2]))
    assert caught.value.reason is Reason.UNSUPPORTED


def test_keys_of_bytes_are_names():
    (only,) = layers(saved({b"x.weight": WEIGHT}))
    assert only.name == "x.weight"


class Wrapped:
    """Pickles as a tensor of a wrapper class does (torch/_tensor.py)."""

    def __reduce__(self):
        return torch._utils._rebuild_wrapper_subclass, (torch.Tensor, torch.float32, (8, 8, 3, 3), (72, 9, 3, 1), 0)


ODD_WEIGHT = WEIGHT.repeat(1, 3, 1, 1)[:, :8]
ODD = {
    "sparse": ODD_WEIGHT.to_sparse(),
    "a sparse parameter": torch.nn.Parameter(ODD_WEIGHT.to_sparse()),
    "meta device": ODD_WEIGHT.to("meta"),
    "wrapper class": Wrapped(),
    "negated": torch.complex(ODD_WEIGHT, ODD_WEIGHT).conj().imag,
    "float4_e2m1fn_x2": torch.zeros(8, 8, 3, 3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    "masked array": np.ma.masked_array(ODD_WEIGHT.numpy(), mask=False),
    "f16": np.ones((8, 8, 3, 3), "longdouble"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("is_zip", [True, False])
def test_only_a_weight_that_cannot_be_read_is_left_out(odd, is_zip):
    """It is named, it counts for the depth of the others, and a linear layer like it is no convolution."""
    value = {"a.weight": WEIGHT, "b.weight": ODD[odd], "c.weight": WEIGHT[:, :1], "d.weight": torch.eye(3).to_sparse()}
    found = index(BytesFile(saved({"state_dict": value}, _use_new_zipfile_serialization=is_zip)), "x.pth")
    assert [tensor.name for tensor in found.convolutions] == ["a.weight", "c.weight"]
    assert [place for place, _, _ in depths(found.convolutions)] == [0, 2]
    (left,) = found.left_out
    assert (left.name, left.reason) == ("b.weight", "unsupported")
    assert odd.removeprefix("a ").removesuffix(" parameter") in left.detail


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_only_numbers_in_a_storage_of_an_unknown_type_are_left_out():
    odd = torch.quantize_per_channel(torch.randn(8, 4), torch.ones(8), torch.zeros(8), 0, torch.quint4x2)
    found = index(BytesFile(saved({"a.weight": WEIGHT, "b.weight": odd})), "x.pth")
    assert ([tensor.name for tensor in found.convolutions], found.tensor_count) == (["a.weight"], 2)
    with pytest.raises(Refused, match="QUInt4x2Storage"):
        index(BytesFile(saved({"b.weight": odd}, _use_new_zipfile_serialization=False)), "x.pth")


def test_only_a_weight_of_a_pickled_module_that_cannot_be_read_is_left_out():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ConvTranspose2d(8, 8, 3))
    network[1].weight = torch.nn.Parameter(network[1].weight.to_sparse())  # type: ignore[operator]  # an attribute of a torch module
    found = index(BytesFile(saved(network)), "x.pth")
    assert [tensor.name for tensor in found.convolutions] == ["0.weight"]
    assert [left.name for left in found.left_out] == ["1.weight"]


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:.*weight_norm:DeprecationWarning")
def test_a_pickled_module_with_weight_norm_has_one_weight():
    """It is pickled with the parts and with the weight that it computed last."""
    module = torch.nn.Conv2d(3, 8, 3)
    torch.nn.utils.weight_norm(module)
    (only,) = read(BytesFile(saved(torch.nn.Sequential(module))), "x.pth")
    np.testing.assert_allclose(only.weights, module.weight.detach().numpy(), rtol=1e-6)
    assert only.tensor.computation is not None


def test_a_state_dict_that_can_be_read_whole_is_taken_before_one_that_cannot():
    value = {"model_ema": {"a.weight": WEIGHT, "b.weight": ODD["sparse"]}, "model": {"a.weight": 2 * WEIGHT}}
    (only,) = read(BytesFile(saved(value)), "x.pth")
    assert np.array_equal(only.weights, 2 * WEIGHT.numpy())


def test_arrays_in_an_array_of_objects_are_read():
    objects = np.empty(2, dtype=object)
    objects[0], objects[1] = WEIGHT.numpy(), np.zeros(8, "f4")
    data = saved({"a.weight": WEIGHT, "more": objects})
    assert [each.name for each in read(BytesFile(data), "x.pth")] == ["a.weight", "more.0"]


@pytest.mark.parametrize("dtype", ["complex32", "bits8"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_only_a_tensor_of_a_type_that_is_no_weight_is_left_out(dtype, is_zip):
    odd = torch.zeros(4, 8, 3, 2, dtype=torch.uint8 if dtype != "complex32" else torch.int32).view(
        getattr(torch, dtype)
    )
    data = saved({"a.weight": WEIGHT, "b.weight": odd, "c": odd[0, 0]}, _use_new_zipfile_serialization=is_zip)
    found = index(BytesFile(data), "x.pth")
    assert [tensor.name for tensor in found.convolutions] == ["a.weight"]
    assert (found.tensor_count, found.passed_over) == (3, "1 numbers")


@pytest.mark.slow
def test_a_dtensor_is_named(tmp_path):
    import torch.distributed as dist
    from torch.distributed.tensor import distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
        sharded = distribute_tensor(WEIGHT, mesh)
        with pytest.raises(Refused, match="DTensor") as caught:
            index(BytesFile(saved({"x.weight": sharded})), "x.pth")
    finally:
        dist.destroy_process_group()
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    "others",
    [
        ("policy.optimizer.pth",),
        ("actor.optimizer.pth", "pytorch_variables.pth"),
        ("policy.optimizer.pth", "pytorch_variables.pth"),
        ("critic.optimizer.pth", "ent_coef_optimizer.pth", "pytorch_variables.pth"),
    ],
)
def test_of_a_zip_of_stable_baselines_the_policy_is_read(others):
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data", "{}")
        for name in others:
            archive.writestr(name, saved({"state": {0: {"exp_avg": torch.zeros(9, 3, 3, 3)}}}))
        archive.writestr("policy.pth", saved({"x.weight": WEIGHT}))
        if len(others) == 1 or "actor.optimizer.pth" in others:
            archive.writestr("_stable_baselines3_version", "2.3.0")
    (only,) = read(BytesFile(stream.getvalue()), "x.zip")
    assert np.array_equal(only.weights, WEIGHT.numpy())


def test_of_two_networks_in_a_zip_none_is_chosen():
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("a.pth", "b.pth", "optimizer.pth"):
            archive.writestr(name, saved({"x.weight": WEIGHT}))
    with pytest.raises(Refused, match="2 model files, name one"):
        read(BytesFile(stream.getvalue()), "x.zip")
