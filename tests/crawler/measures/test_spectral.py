"""Spectral measures and frequency content against plain computations on float64 copies of the same weights."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.fft import dctn

from filterzoo.measures import spectral
from filterzoo.measures.compiled import kernels
from filterzoo.measures.measure import measure_weights
from filterzoo.measures.on_torch import measure as torch_measure
from filterzoo.records import Kind

SHAPES = [
    ((64, 32, 3, 3), 1),
    ((300, 80, 1, 1), 1),
    ((130, 300, 3, 3), 1),
    ((96, 1, 7, 7), 96),
    ((8, 4, 5, 5), 2),
    ((1, 6, 3, 3), 1),
    ((5, 7, 4), 1),
]


def heavy(shape, seed=0):
    """Weights with a heavy tail, as trained ones have."""
    rng = np.random.default_rng(seed)
    made = rng.standard_t(4, size=shape) * rng.lognormal(size=(shape[0], *[1] * (len(shape) - 1)))
    return made.astype(np.float32)


def alpha_by_loops(values):
    """The fit of WeightWatcher 0.7.7, reimplemented: each value as lower end, the nearest distribution."""
    values = np.sort(values)
    best = (np.inf, None)
    for place, low in enumerate(values[:-1]):
        tail = values[place:]
        alpha = 1 + len(tail) / np.log(tail / low).sum()
        theory = 1 - (tail / low) ** (1 - alpha)
        best = min(best, (np.abs(theory - np.arange(len(tail)) / len(tail)).max(), alpha), key=lambda each: each[0])
    return best[1]


@pytest.mark.parametrize(("shape", "groups"), SHAPES)
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e18])
def test_measures_of_the_spectrum(shape, groups, scale):
    weights = heavy(shape) * np.float32(scale)
    found = measure_weights(weights, groups)
    values = np.linalg.svd(weights.reshape(shape[0], -1).astype(np.float64), compute_uv=False)
    share = values / values.sum()
    assert found.spectral_norm == pytest.approx(values[0], rel=1e-6)
    assert found.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-6)
    assert found.effective_rank == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-5)
    if len(values) < spectral.FEWEST_VALUES:
        assert found.power_law_alpha is None
    else:
        assert found.power_law_alpha == pytest.approx(alpha_by_loops(values**2), rel=1e-4)


def test_the_fit_is_weightwatchers():
    """Run once against its class WWFit (worst of 60 spectra: 1e-12); here against the loops above, of any size."""
    rng = np.random.default_rng(3)
    for size in (50, 257, 700):
        values = np.linalg.svd(rng.standard_t(3, size=(size, 900)), compute_uv=False) ** 2
        assert spectral.power_law_alpha(values) == pytest.approx(alpha_by_loops(values), rel=1e-5)  # type: ignore[arg-type]  # of a type that the test knows
    assert spectral.power_law_alpha(np.ones(60)) is None
    assert spectral.power_law_alpha(np.arange(1.0, 50.0)) is None


@pytest.mark.parametrize("on_torch", [False, True])
@pytest.mark.parametrize("shape", [(70, 10, 3, 3), (120, 60, 3, 3), (240, 8, 3, 3)])
@pytest.mark.parametrize("rank", [3, 40])
def test_a_matrix_of_low_rank(shape, rank, on_torch):
    """The rounding of the float32 products that the orthogonality makes must not count as rank."""
    rng = np.random.default_rng(5)
    rows, columns = shape[0], int(np.prod(shape[1:]))
    weights = (rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))).reshape(shape).astype(np.float32)
    found = torch_measure.measure_weights(weights, device="cpu") if on_torch else measure_weights(weights)
    values = np.linalg.svd(weights.reshape(rows, -1).astype(np.float64), compute_uv=False)
    share = values / values.sum()
    assert found.effective_rank == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-5)
    assert found.stable_rank <= rank
    assert found.power_law_alpha is None


def test_rows_that_are_nearly_zero_keep_the_shared_products(monkeypatch):
    weights = heavy((90, 30, 3, 3))
    weights[::2] *= np.float32(1e-9)
    values = np.linalg.svd(weights.reshape(90, -1).astype(np.float64), compute_uv=False)
    share = values / values.sum()
    monkeypatch.setattr(spectral, "_gram", None)
    found = measure_weights(weights)
    assert found.effective_rank == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-6)


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_what_has_no_spectrum_has_none(fill):
    weights = np.full((60, 4, 3, 3), fill, np.float32)
    weights[0, 0] = fill if fill == 0 else 1
    found = measure_weights(weights)
    assert (found.spectral_norm, found.stable_rank, found.effective_rank, found.power_law_alpha) == (None,) * 4


def test_a_spectrum_that_would_cost_too_much_is_none(monkeypatch):
    assert measure_weights(heavy((512, 512, 1, 1))).spectral_norm is None
    assert measure_weights(heavy((160, 160, 3, 3))).spectral_norm is not None
    assert spectral.is_affordable((256, 256, 3, 3), 1)
    assert not spectral.is_affordable((257, 257, 3, 3), 1)
    monkeypatch.setattr(spectral, "MAX_SIDE", 16)
    assert measure_weights(heavy((17, 2, 3, 3))).spectral_norm is None
    assert measure_weights(heavy((16, 2, 3, 3))).spectral_norm is not None
    assert measure_weights(heavy((40, 1, 3, 3))).spectral_norm is not None


def dense_blocks():
    """The convolutions of DenseNet-121, which has hundreds of small matrices and no large ones."""
    width, shapes = 64, [(64, 3, 7, 7)]
    for count in (6, 12, 24, 16):
        for _ in range(count):
            shapes += [(128, width, 1, 1), (32, 128, 3, 3)]
            width += 32
        if count < 16 or width < 1000:
            shapes.append((width // 2, width, 1, 1))
            width //= 2
    return shapes


def basic_blocks():
    """Of ResNet-18."""
    shapes, before = [(64, 3, 7, 7), *[(64, 64, 3, 3)] * 4], 64
    for width in (128, 256, 512):
        shapes += [(width, before, 3, 3), *[(width, width, 3, 3)] * 3, (width, before, 1, 1)]
        before = width
    return shapes


@pytest.mark.parametrize("shapes", [dense_blocks(), basic_blocks()], ids=["densenet121", "resnet18"])
def test_the_spectra_of_a_network_are_estimated_to_cost_less_than_a_third(shapes):
    """By the estimates of the rule itself; `benchmarks.spectra` takes the time."""
    affordable = [shape for shape in shapes if spectral.is_affordable(shape, 1)]
    spectra = sum(spectral.cost(shape, 1) for shape in affordable)
    others = sum(spectral.cost_of_others(shape, 1) for shape in shapes)
    assert len(affordable) >= len(shapes) / 2
    assert 0.02 < spectra / others < 0.3


SYMMETRIC = {
    "full": lambda rng, n: rng.standard_normal((n, n + 3)),
    "one direction": lambda rng, n: np.outer(rng.standard_normal(n), rng.standard_normal(n + 3)),
    "rows of 20 magnitudes": lambda rng, n: rng.standard_normal((n, n)) * 10.0 ** -rng.uniform(0, 20, (n, 1)),
    "all equal": lambda _, n: np.eye(n),
    "one number": lambda _, n: np.eye(n) * (np.arange(n) == n // 2),
    "nothing": lambda _, n: np.zeros((n, n)),
    "integers": lambda rng, n: rng.integers(-1, 2, size=(n, n)).astype(float),
    "nearly equal rows": lambda rng, n: np.ones((n, 5)) + 1e-6 * rng.standard_normal((n, 5)),
    "pairs of rows": lambda rng, n: np.repeat(rng.standard_normal((n, 7)), 2, axis=0)[:n],
}


@pytest.mark.parametrize("kind", SYMMETRIC)
@pytest.mark.parametrize("size", [1, 2, 3, 17, 64, 131, 256])
def test_eigenvalues_are_lapacks(kind, size):
    rows = SYMMETRIC[kind](np.random.default_rng(size), size)
    matrix = np.ascontiguousarray(rows @ rows.T)
    expected = np.linalg.eigvalsh(matrix)
    found = kernels.eigenvalues_of(np.triu(matrix))
    assert np.abs(found - expected).max() <= 1e-13 * max(expected[-1], 1.0)
    assert (np.diff(found) >= 0).all()


def test_eigenvalues_do_not_depend_on_the_layer_before_nor_on_the_thread():
    """Buffers are kept from layer to layer: what an earlier and larger matrix left there must not matter."""
    rows = np.random.default_rng(1).standard_normal((37, 50))
    matrix = rows @ rows.T
    before, kept = kernels.eigenvalues_of(matrix), matrix.copy()
    assert kernels.eigenvalues_of(np.full((90, 90), np.nan)) is None
    kernels.eigenvalues_of(1e200 * np.eye(200))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(kernels.eigenvalues_of, [matrix, 2 * np.eye(150)] * 20))
    assert all((each == before).all() for each in [*found[::2], kernels.eigenvalues_of(matrix)])
    assert all((each == 2).all() for each in found[1::2])
    assert (matrix == kept).all()


def test_eigenvalues_that_do_not_converge_are_left_to_lapack():
    matrix = np.diag(np.arange(1.0, 5.0))
    matrix[0, 1] = np.nan
    assert kernels.eigenvalues_of(matrix.copy()) is None
    with pytest.raises(ValueError, match="not square"):
        kernels.eigenvalues_of(np.ones((2, 3)))


def test_orthogonality_is_what_it_was_without_the_shared_products(monkeypatch):
    import filterzoo.measures.measure as module

    weights = heavy((120, 40, 3, 3))
    shared = measure_weights(weights)
    monkeypatch.setattr(module, "takes_row_products", lambda *_: False)
    alone = measure_weights(weights)
    assert shared.orthogonality == alone.orthogonality
    assert shared.effective_rank == pytest.approx(alone.effective_rank, rel=1e-6)


@pytest.mark.parametrize("side", [3, 4, 5, 6, 7])
def test_energy_by_radial_frequency(side):
    weights = heavy((12, 5, side, side))
    weights[3, 2, 0, 0] = np.nan
    filters = weights.reshape(-1, side, side).astype(np.float64)
    filters = filters[np.isfinite(filters).all(axis=(1, 2))]
    energy = (dctn(filters, axes=(1, 2), norm="ortho") ** 2).sum(axis=0)
    radius = np.rint(np.hypot(*np.indices((side, side)))).astype(int)
    expected = [energy[radius == each].sum() / energy.sum() for each in range(radius.max() + 1)]
    assert measure_weights(weights).frequency_energy == pytest.approx(expected, abs=1e-9)


def test_a_smooth_and_a_checkered_filter_lie_at_the_ends():
    smooth, checkered = np.ones((6, 1, 5, 5), np.float32), np.indices((5, 5)).sum(axis=0) % 2 * 2.0 - 1
    low = measure_weights(smooth, 6, Kind.DEPTHWISE).frequency_energy
    high = measure_weights(np.tile(checkered.astype(np.float32), (6, 1, 1, 1)), 6, Kind.DEPTHWISE).frequency_energy
    assert low[0] == pytest.approx(1.0)
    assert high[-2:].sum() > 0.7


@pytest.mark.parametrize("shape", [(4, 4, 1, 1), (4, 4, 8, 8), (4, 4, 3, 5), (4, 4, 3), (4, 4, 3, 3, 3)])
def test_other_kernels_have_no_frequency_content(shape):
    assert measure_weights(heavy(shape)).frequency_energy is None
    assert measure_weights(np.zeros((4, 4, 3, 3), np.float32)).frequency_energy is None
