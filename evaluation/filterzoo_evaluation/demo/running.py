"""Trains six pairs of networks and evaluates them on clean images, under PGD and under Square, two pairs at a time."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from filterzoo import plugins as plugin_loading
from filterzoo.network.files.cache import default_folder
from filterzoo.outcome import LedgerEntry
from filterzoo_evaluation.attacks.attack import Attack
from filterzoo_evaluation.attacks.pgd import ProjectedGradientDescent
from filterzoo_evaluation.attacks.square import Square
from filterzoo_evaluation.demo.training import EPS
from filterzoo_evaluation.demo.zoo import SIX, DemoPair, make_pair, make_zoo, manifest_of
from filterzoo_evaluation.evaluate import EvaluationRequest, evaluate
from filterzoo_evaluation.images.opening import open_images

STEPS, QUERIES = 10, 100


def attacks(eps: float) -> tuple[Attack | None, ...]:
    """The attacks: None for clean images, PGD, and Square."""
    return None, ProjectedGradientDescent("Linf", eps, steps=STEPS), Square("Linf", eps, queries=QUERIES)


def run_pair(folder: Path, pair: DemoPair, epochs: int | None = None) -> list[str]:
    """Train a pair and write the logits of both networks to `folder/logits`; returns the failures."""
    failures = make_pair(folder, pair, epochs)
    plugins = plugin_loading.load(plugin_loading.references(()))
    for attack in attacks(EPS[pair.image_set]):
        wanted = EvaluationRequest(
            manifests=(manifest_of(folder, pair),),
            images=open_images(str(folder / f"{pair.image_set}.npz")),
            output=folder / "logits",
            scratch=folder / "scratch",
            cache=default_folder(),
            attack=attack,
            network=pair.network,
        )
        found = evaluate(wanted, plugins)
        entries = (entry for entry in found if isinstance(entry, LedgerEntry))
        failures += [f"{pair.name}: {entry.reason}: {entry.detail}" for entry in entries]
    return failures


def main(folder: Path) -> int:
    """Train and evaluate all pairs, two at a time; returns the exit code."""
    make_zoo(folder, SIX)
    failed = False
    # The last pairs take longest. They start first, so that both processes end at about the same time.
    pairs = SIX[::-1]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for pair, failures in zip(pairs, pool.map(partial(run_pair, folder), pairs), strict=True):
            _print("\n".join(failures) or f"trained and evaluated {pair.name}")
            failed |= bool(failures)
    return int(failed)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
