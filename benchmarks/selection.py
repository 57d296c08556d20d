"""The accuracy of the selection of convolutions in state dicts, on architectures built without weights.

    python -m benchmarks selection [--every N [FRAMEWORK...]]

All architectures of the installed packages (timm, torchvision, segmentation_models.pytorch, MONAI, nnU-Net's,
pretrainedmodels, keras with KERAS_BACKEND=torch) and the networks of benchmarks/_held_out.py (`hand`) are built on the
meta device, with 3, 1 and 4 input channels if they support them. The selection gets the names and shapes of their
tensors, in the order of the state dict and sorted by name. The architecture is the ground truth. The rules were not
tuned on `keras` and `hand`.
Prints, by framework and order: precision and recall of layers, the share of right kinds among layers that are not
marked as assumed, the share of assumed ones, and the wrong layers. Exit code 1 if there is a false positive.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmarks._architectures import FRAMEWORKS, Case, corpus

from filterzoo.errors import Refused
from filterzoo.layers.selection import select
from filterzoo.layers.shapes import canonical_shape
from filterzoo.records import Evidence, Kind, Layout, Span, Tensor
from filterzoo_plugins.encodings.kernel_names import meaning_by_name

ORDERS = ("state dict", "names")


@dataclass(slots=True)
class Score:
    """Counts of a framework and order. wrong: kind of error -> layers with it -> their number."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, case: Case, order: str) -> None:
        """Add an architecture, with its tensors in that order."""
        tensors = [_tensor(case, *described) for described in case.tensors]
        if order == "names":
            tensors.sort(key=lambda tensor: tensor.name)
        self.counts["networks"] += 1
        try:
            found = {tensor.name: tensor for tensor in select(tensors, case.written_by)}
        except Refused as refusal:
            self.note(case, f"refused: {refusal.detail}", "")
            found = {}
        for name in case.truth.keys() - found.keys():
            self.note(case, "missed", name)
        for name in found.keys() - case.truth.keys():
            self.note(case, "false", name)
        for name in case.truth.keys() & found.keys():
            self._compare(case, found[name], *case.truth[name])
            if case.shapes.get(name, canonical_shape(found[name])) != canonical_shape(found[name]):
                self.note(case, "axes", name)

    def _compare(self, case: Case, tensor: Tensor, kind: Kind, groups: int) -> None:
        found = tensor.convolution
        assert found is not None, tensor.name
        self.counts["found"] += 1
        is_open = kind is Kind.GROUPED and found.kind is Kind.CONV and found.groups is None
        is_right = (found.kind is kind or is_open) and found.groups in {None, groups}
        if tensor.evidence is Evidence.ASSUMED:
            self.counts["assumed"] += 1
        elif is_right:
            self.counts["right"] += 1
        else:
            self.note(case, f"{kind} in {groups} groups taken for {found.kind} in {found.groups}", tensor.name)

    def note(self, case: Case, what: str, name: str) -> None:
        """Record an error."""
        self.counts[what.partition(":")[0]] += 1
        self.wrong.setdefault(what, Counter())[f"{case.name} ({case.channels}): {name}"] += 1

    def line(self) -> str:
        """The measures, as a line."""
        counts = self.counts
        decided = counts["found"] - counts["assumed"]
        return (
            f"{counts['networks']:5} networks {counts['found'] + counts['missed']:7} layers"
            f"  precision {_share(counts['found'], counts['found'] + counts['false'])}"
            f"  recall {_share(counts['found'], counts['found'] + counts['missed'])}"
            f"  kinds {_share(counts['right'], decided)}  assumed {_share(counts['assumed'], counts['found'])}"
        )


def _tensor(case: Case, name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    """The tensor as the format plugin returns it. A Keras file without a configuration has only names."""
    layout, known = meaning_by_name(name, shape) if case.framework == "keras" else (Layout.OI_K, None)
    return Tensor(name=name, dtype=dtype, shape=shape, span=Span(0, 0), layout=layout, convolution=known)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:7.3f} %" if whole else "      -"


def main() -> int:
    """Run the selection on the corpus and print the scores; returns the exit code."""
    parser = argparse.ArgumentParser(prog="selection")
    parser.add_argument("--every", type=int, default=1, help="every N-th architecture")
    parser.add_argument("--examples", type=int, default=5, help="of each kind of error")
    parser.add_argument("frameworks", nargs="*", choices=[*FRAMEWORKS, []], help="all by default")
    arguments = parser.parse_args()
    scores: dict[tuple[str, str], Score] = {}
    started = time.perf_counter()
    for case in corpus(arguments.every, tuple(arguments.frameworks)):
        for order in ORDERS:
            scores.setdefault((case.framework, order), Score()).add(case, order)
    for (framework, order), score in scores.items():
        print(f"{framework:12} {order:10} {score.line()}")
        for what, names in score.wrong.items():
            print(f"    {sum(names.values())} {what}")
            for name in list(names)[: arguments.examples]:
                print(f"        {name}")
    print(f"{time.perf_counter() - started:.0f} s")
    return int(any(score.counts["false"] for score in scores.values()))


if __name__ == "__main__":
    sys.exit(main())
