from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from tests.index_packages import wheel_member
from tests.tiers import fast_only

from filterzoo.measures.measure import measure_weights
from filterzoo.measures.random_weights import MIN_LAYERS, suspected_random

TRAINED = [
    ("rapidocr-onnxruntime", "1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", False),
    ("rapidocr-onnxruntime", "1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", False),
    ("nudenet", "3.4.2", "nudenet/320n.onnx", False),
    ("facenet-pytorch", "2.6.0", "facenet_pytorch/data/onet.pt", False),
    ("rbm", "0.0.3", "rbm/scripts/rat_brain-2d_unet.hdf5", False),
    ("facenet-pytorch", "2.6.0", "facenet_pytorch/data/rnet.pt", None),
    ("digit-recognizer-py", "0.1.0", "digit_recognizer/models/handwriting_model.pth", None),
    ("basic-pitch", "0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx", None),
]
TORCHVISION = ["resnet18", "mobilenet_v2", "alexnet", "vgg11", "squeezenet1_1", "densenet121", "shufflenet_v2_x1_0"]
TIMM = ["efficientnet_b0", "resnetv2_50", "nfnet_f0", "hrnet_w18_small", "repvgg_a0", "mobilenetv3_large_100", "dpn68"]


@dataclass
class Row:
    variance_entropy: float | None
    variance_entropy_threshold: float | None
    n_finite: int = 4096


def weights_of(path):
    """The convolution weights of a file, by its own framework's library: (out, in, 3, 3) arrays."""
    if path.suffix == ".onnx":
        import onnx
        from onnx import numpy_helper

        graph = onnx.load(path).graph
        known = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].HasField("t"):
                known[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        found = [known[node.input[1]] for node in graph.node if node.op_type == "Conv" and node.input[1] in known]
    elif path.suffix == ".hdf5":
        import h5py

        found = []
        with h5py.File(path) as file:
            file["model_weights"].visititems(
                lambda _, entry: found.append(entry[()].T) if isinstance(entry, h5py.Dataset) else None
            )
    else:
        import torch

        found = [tensor.numpy() for tensor in torch.load(path, weights_only=True).values()]
    return [weight for weight in found if weight.ndim == 4 and weight.shape[2:] == (3, 3)]


def verdict(weights):
    return suspected_random(measure_weights(np.ascontiguousarray(weight, np.float32)) for weight in weights)


def built(library, name):
    import torch

    torch.manual_seed(len(name))
    if library == "timm":
        import timm

        network = timm.create_model(name, pretrained=False)
    else:
        import torchvision

        network = torchvision.models.get_model(name, weights=None)
    tensors = [parameter.detach().numpy() for parameter in network.parameters() if parameter.ndim == 4]
    return [weight for weight in tensors if weight.shape[2:] == (3, 3)]


@pytest.mark.index
@pytest.mark.parametrize(("package", "version", "member", "expected"), TRAINED)
def test_trained_networks_are_not_suspected(package, version, member, expected):
    assert verdict(weights_of(wheel_member(package, version, member))) is expected


@pytest.mark.parametrize("name", fast_only(TORCHVISION[:2], TORCHVISION))
def test_initialised_networks_of_torchvision_are_suspected(name):
    assert verdict(built("torchvision", name)) is True


@pytest.mark.parametrize("name", fast_only(TIMM[:2], TIMM))
def test_initialised_networks_of_timm_are_suspected(name):
    assert verdict(built("timm", name)) is True


def test_they_are_suspected_with_batch_normalisation_folded():
    """As an exporter does it: gamma / sqrt(variance) goes into the weights, and timm starts some gammas at 0."""
    import timm
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    modules = list(timm.create_model("resnet18", pretrained=False).eval().modules())
    pairs = [(a, b) for a, b in pairwise(modules) if isinstance(a, nn.Conv2d)]
    folded = [fuse_conv_bn_eval(a, b).weight.detach().numpy() for a, b in pairs if isinstance(b, nn.BatchNorm2d)]
    folded = [weight for weight in folded if weight.shape[2:] == (3, 3)]
    assert len([weight for weight in folded if not weight.any()]) == 8
    assert verdict(folded) is True


@pytest.mark.parametrize("draw", ["normal", "uniform", "truncated", "orthogonal", "laplace"])
def test_they_are_suspected_with_any_initialisation(draw):
    import torch
    from torch.nn import init

    torch.manual_seed(1)
    ways = {
        "normal": lambda tensor: init.kaiming_normal_(tensor, mode="fan_out"),
        "uniform": init.xavier_uniform_,
        "truncated": lambda tensor: init.trunc_normal_(tensor, std=0.02),
        "orthogonal": init.orthogonal_,
        "laplace": lambda tensor: tensor.copy_(torch.distributions.Laplace(0, 1).sample(tensor.shape)),
    }
    layers = [ways[draw](torch.empty(32 * n, 16, 3, 3)).numpy() for n in (1, 2, 4)]
    assert verdict(layers) is True


def test_smooth_filters_are_not_random():
    """Random numbers, blurred within each filter: what little structure that is, is seen."""
    draws = np.random.default_rng(2).normal(size=(5, 64, 32, 3, 3))
    blurred = draws + 0.5 * np.roll(draws, 1, axis=-1)
    assert verdict(list(draws)) is True
    assert verdict(list(blurred)) is False


def test_nearly_all_layers_must_be_random():
    random, trained = Row(0.953, 0.9511), Row(0.7, 0.9511)
    assert suspected_random([random] * 9 + [trained]) is True
    assert suspected_random([random] * 8 + [trained] * 2) is False
    assert suspected_random([Row(0.942, 0.9511)] * 5) is True
    assert suspected_random([Row(0.940, 0.9511)] * 5) is False


def test_too_few_layers_give_no_answer():
    random = Row(0.953, 0.9511)
    assert suspected_random([]) is None
    assert suspected_random([random] * (MIN_LAYERS - 1)) is None
    assert suspected_random([random] * 2 + [Row(0.9, 0.8, 63)] * 9) is None
    assert suspected_random([random] * 2 + [Row(None, None)] * 9 + [Row(0.5, None)]) is None
    assert suspected_random([random] * MIN_LAYERS) is True
