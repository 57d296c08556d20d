"""The time of spectral measures and of all other measures of a network's convolutions, one row per network.

Each distinct shape of a layer is measured with and without its spectrum, on noise, on one core. Times are CPU times,
the fastest of several runs, since the machine may be shared. No weights are downloaded.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import threadpoolctl
import torchvision
from torch import nn

from filterzoo.measures import measure, spectral

Shape = tuple[tuple[int, ...], int]
NETWORKS = (
    "resnet18",
    "resnet50",
    "densenet121",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "convnext_tiny",
    "vgg11",
    "wide_resnet50_2",
    "resnext50_32x4d",
    "inception_v3",
    "squeezenet1_1",
    "regnet_y_3_2gf",
)


def layers(name: str) -> Counter[Shape]:
    """(shape, groups) of a network's convolutions -> how many there are."""
    options = {"init_weights": False} if name.startswith("inception") else {}
    network = torchvision.models.get_model(name, weights=None, **options)
    convolutions = (each for each in network.modules() if isinstance(each, nn.Conv2d))
    return Counter((tuple(each.weight.shape), each.groups) for each in convolutions)


def wide_residual(depth: int, width: int) -> Counter[Shape]:
    """The convolutions of wide residual networks for CIFAR (Zagoruyko & Komodakis, 2016); width 1: by He et al."""
    blocks, before = (depth - 4) // 6, 16
    found: Counter[Shape] = Counter({((16, 3, 3, 3), 1): 1})
    for out in (16 * width, 32 * width, 64 * width):
        found += Counter({((out, before, 3, 3), 1): 1, ((out, out, 3, 3), 1): 2 * blocks - 1})
        before = out
    return found


def networks() -> Iterator[tuple[str, Counter[Shape]]]:
    for name in NETWORKS:
        yield name, layers(name)
    for depth, width in ((28, 10), (28, 4), (16, 1)):
        yield f"wide residual {depth}-{width}", wide_residual(depth, width)


def microseconds(shape: Shape, with_spectrum: Callable[..., bool], repeat: int) -> float:
    weights = np.random.default_rng(0).standard_normal(shape[0], dtype=np.float32) * np.float32(0.05)
    found = []
    with mock.patch.object(measure, "is_affordable", with_spectrum):
        for _ in range(repeat if weights.size < 2**20 else 3):
            start = time.thread_time()
            measure.measure_weights(weights, shape[1])
            found.append(time.thread_time() - start)
    return min(found) * 1e6


def both(shape: Shape, repeat: int) -> tuple[float, float]:
    """Microseconds of the other measures, and of the spectral ones."""
    others = microseconds(shape, lambda *_: False, repeat)
    has_one = spectral.is_affordable(*shape)
    return others, microseconds(shape, spectral.is_affordable, repeat) - others if has_one else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=12, help="runs of a shape, of which the fastest counts")
    repeat = parser.parse_args().repeat
    known: dict[Shape, tuple[float, float]] = {}
    total = np.zeros(2)
    print(f"{'network':24}{'with a spectrum':>18}{'others':>12}{'spectra':>12}{'share':>8}")
    with threadpoolctl.threadpool_limits(1):
        for name, counts in networks():
            own = np.zeros(2)
            for shape, count in counts.items():
                if shape not in known:
                    known[shape] = both(shape, repeat)
                own += np.multiply(known[shape], count)
            having = sum(count for shape, count in counts.items() if spectral.is_affordable(*shape))
            having_of = f"{having} of {counts.total()}"
            print(f"{name:24}{having_of:>18}{own[0] / 1e3:>9.1f} ms{own[1] / 1e3:>9.1f} ms{own[1] / own[0]:>8.1%}")
            total += own
    print(f"{'all':24}{'':18}{total[0] / 1e3:>9.1f} ms{total[1] / 1e3:>9.1f} ms{total[1] / total[0]:>8.1%}")


if __name__ == "__main__":
    main()
