"""Odd numbers from file to data set: stored as they are, counted, and no measure of them is NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.program import filterzoo

from filterzoo.store.workfolder import WorkFolder

MANIFEST = (
    'name: odd\nsources: [{source: local, paths: ["odd.safetensors"], license: mit}]\nkernels: ["3x3", "1x1", "5x5"]\n'
)
LARGEST = float(np.finfo("f4").max)


def normal(*shape: int, dtype: str = "f4") -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def holed(*values: float, dtype: str = "f4") -> np.ndarray:
    """Ordinary numbers with a few odd ones among them, in different filters."""
    array = normal(8, 4, 3, 3, dtype=dtype)
    for place, value in enumerate(values):
        array.reshape(-1)[place * 40 + 3] = value
    return array


def odd_layers() -> dict[str, np.ndarray]:
    nan_bits = np.array([0x7FC00001, 0xFFC12345, 0x7F800001], "u4").view("f4")  # quiet, negative, signalling
    signalling = holed()
    signalling.view("u4").reshape(-1)[:3] = nan_bits.view("u4")
    one_sided = normal(4, 4, 3, 3)
    one_sided[0] = 0
    return {
        "some_nan": holed(math.nan, math.nan),
        "nan_with_payload": signalling,
        "all_nan": np.full((4, 4, 3, 3), math.nan, "f4"),
        "some_inf": holed(math.inf, -math.inf, math.inf),
        "all_inf": np.full((4, 4, 3, 3), math.inf, "f4"),
        "both_inf": np.where(normal(4, 4, 3, 3) > 0, math.inf, -math.inf).astype("f4"),
        "nan_and_inf": holed(math.nan, math.inf, -math.inf),
        "denormal": (normal(4, 4, 3, 3) * 1e-41).astype("f4"),
        "smallest": np.full((4, 4, 3, 3), 1.4e-45, "f4"),
        "constant": np.full((4, 4, 3, 3), 0.25, "f4"),
        "zero": np.zeros((4, 4, 3, 3), "f4"),
        "negative_zero": np.full((4, 4, 3, 3), -0.0, "f4"),
        "a_zero_output": one_sided,
        "enormous": np.where(normal(8, 4, 3, 3) > 0, LARGEST, -LARGEST).astype("f4"),
        "one_enormous": holed(LARGEST),
        "enormous_and_tiny": holed(LARGEST, 1.4e-45, -LARGEST),
        "one_filter": normal(1, 1, 3, 3),
        "one_constant_filter": np.ones((1, 1, 3, 3), "f4"),
        "halves_with_nan": holed(math.nan, math.inf, dtype="f2"),
        "doubles_beyond_float32": holed(1e300, -1e300, 1e-300, dtype="f8"),
        "nan_1x1": np.full((4, 4, 1, 1), math.nan, "f4"),
        "zero_1x1": np.zeros((4, 4, 1, 1), "f4"),
        "enormous_1x1": np.full((4, 4, 1, 1), LARGEST, "f4"),
        "inf_5x5": np.full((2, 2, 5, 5), -math.inf, "f4"),
        "constant_5x5": np.full((2, 2, 5, 5), LARGEST, "f4"),
    }


LAYERS = odd_layers()


@pytest.fixture(scope="module")
def crawled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    save_file({f"{name}.weight": array for name, array in LAYERS.items()}, folder / "odd.safetensors")
    (folder / "manifest.yaml").write_text(MANIFEST)
    ran = filterzoo("crawl", "manifest.yaml", "--json", "--device", "cpu", cwd=folder)
    assert (ran.code, ran.document["checkpoints"]["done"]) == (0, 1), ran.err
    return folder


@pytest.fixture(scope="module")
def rows(crawled):
    work = WorkFolder(crawled / "filterzoo-work")
    with work.existing_journal() as journal:
        (done,) = journal.done()
    kept: dict[str, list[np.ndarray]] = {}
    for batch in work.store().filters(done.filters_fragment):
        for layer, weights in zip(batch["layer_id"].to_pylist(), batch["weights"], strict=True):
            kept.setdefault(layer, []).append(weights.values.to_numpy(zero_copy_only=False))
    rows = {row["name"].removesuffix(".weight"): row for row in work.store().layers(done.layers_fragment).to_pylist()}
    return rows, {layer: np.concatenate(blocks) for layer, blocks in kept.items()}


def as_float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype("f4")


@pytest.mark.parametrize("name", LAYERS)
def test_odd_numbers_are_stored_as_they_are_and_counted(name, rows):
    layers, filters = rows
    weights = as_float32(LAYERS[name])
    row = layers[name]
    assert filters[row["layer_id"]].tobytes() == weights.tobytes()
    assert (row["nan_count"], row["inf_count"]) == (np.isnan(weights).sum(), np.isinf(weights).sum())


@pytest.mark.parametrize("name", LAYERS)
def test_no_measure_is_nan_or_endless(name, rows):
    row = rows[0][name]
    found = [value for value in row.values() if isinstance(value, float)]
    found += [value for values in row.values() if isinstance(values, list) for value in values]
    assert len(found) > 3
    assert all(math.isfinite(value) for value in found if isinstance(value, float))


def test_what_is_undefined_is_left_out(rows):
    layers = rows[0]
    for name in ("all_nan", "all_inf", "both_inf"):
        assert layers[name]["sparsity"] is None
        assert layers[name]["variance_entropy"] is None
    assert layers["zero"]["l1_norm"] == layers["zero"]["l2_norm"] == 0


def test_the_published_data_set_holds_the_same(crawled):
    import filterzoo as library

    assert filterzoo("publish", "./out", cwd=crawled).code == 0
    verified = filterzoo("verify", "./out", cwd=crawled)
    assert verified.code == 0, verified.out + verified.err
    weights, layers = library.load(str(crawled / "out"), return_layers=True)
    expected = [as_float32(LAYERS[name.removesuffix(".weight")]) for name in layers["name"].to_pylist()]
    assert weights.tobytes() == b"".join(array.tobytes() for array in expected)
