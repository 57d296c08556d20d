"""The fit of filters by a x + b of given keys, against least squares; the idealised keys, against their formulas."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.ndimage import correlate
from scipy.special import ive

from filterzoo.errors import StartError
from filterzoo_analysis.filters import master_keys
from filterzoo_analysis.filters.master_keys import chance, cropped, fit, ideal_keys, keys_of, read_keys


def gaussian(across: float, down: float) -> np.ndarray:
    """The discrete Gaussian on 15 x 15, y down."""
    place = np.abs(np.arange(15) - 7)
    return np.outer(ive(place, down**2), ive(place, across**2))


@pytest.mark.parametrize(
    ("number", "mask"),
    [
        (0, [[0, 1, 0], [0, -1, 0], [0, 0, 0]]),
        (1, [[0, 0, 0], [1, -1, 0], [0, 0, 0]]),
        (2, [[0, 0, 0], [0, -1, 0], [0, 1, 0]]),
        (3, [[0, 0, 0], [0, -1, 1], [0, 0, 0]]),
        (4, [[0, 0, 0], [-1, 0, 1], [0, 0, 0]]),
        (5, [[0, -1, 0], [0, 0, 0], [0, 1, 0]]),
        (7, [[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
    ],
)
def test_the_ideal_keys_are_differences_of_discrete_gaussians(number, mask):
    made = correlate(gaussian(*master_keys._SCALES[number]), np.array(mask, float), mode="constant")[4:11, 4:11]
    assert abs(np.corrcoef(made.ravel(), ideal_keys(7)[number].ravel())[0, 1]) == pytest.approx(1, abs=1e-9)


def test_the_seventh_is_an_impulse_less_a_laplacian():
    laplacian = correlate(gaussian(0.675, 0.675), np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0.0]]), mode="constant")
    made = np.zeros((15, 15))
    made[7, 7] = 1
    assert ideal_keys(7)[6] == pytest.approx((made - 0.526 * laplacian)[4:11, 4:11], abs=1e-9)


@pytest.mark.parametrize("side", [3, 5, 7])
def test_the_fit_is_that_of_least_squares(side):
    rng = np.random.default_rng(side)
    keys, filters = ideal_keys(7), rng.normal(size=(30, side * side)).astype(np.float32)
    filters[3] = 0.25  # constant: left out
    filters[4, 2] = np.nan
    edge = (7 - side) // 2
    shares, best, left, whole = [], [], 0.0, 0.0
    for place, each in enumerate(filters.astype(float)):
        if place in {3, 4}:
            continue
        sums = []
        for key in keys:
            design = np.column_stack([key[edge : edge + side, edge : edge + side].ravel(), np.ones(side * side)])
            sums.append(np.linalg.lstsq(design, each, rcond=None)[1][0])
        variance = ((each - each.mean()) ** 2).sum()
        shares.append(1 - min(sums) / variance)
        best.append(int(np.argmin(sums)))
        left, whole = left + min(sums), whole + variance
    found = fit([filters[:11], filters[11:]], cropped(keys, side))
    assert found.filters == 28
    assert found.shares / found.filters == pytest.approx(np.mean(shares))
    assert found.best.tolist() == np.bincount(best, minlength=8).tolist()
    assert found.explained / found.variance == pytest.approx(1 - left / whole)


def test_shifted_and_scaled_keys_are_explained_and_noise_is_as_chance_has_it():
    keys, rng = ideal_keys(7), np.random.default_rng(0)
    chosen = rng.integers(8, size=500)
    made = keys[chosen].reshape(500, -1) * rng.normal(size=(500, 1)) + rng.normal(size=(500, 1))
    found = fit([made.astype(np.float32)], cropped(keys, 7))
    assert found.shares / 500 == pytest.approx(1, abs=1e-4)
    assert found.best.tolist() == np.bincount(chosen, minlength=8).tolist()
    noise = fit([rng.normal(size=(4000, 49)).astype(np.float32)], cropped(keys, 7))
    assert noise.shares / 4000 == pytest.approx(chance(cropped(keys, 7)), abs=0.01)
    assert chance(cropped(keys, 3)) > 2 * chance(cropped(keys, 7))


TEXT = """Filter 1:
0 0 0
-1, 0, 1
0 0 0

Filter 2:
1e-1 2 3
4 5 6
7 8 9
"""


def test_a_file_of_filters_is_read(tmp_path):
    (tmp_path / "keys.txt").write_text(TEXT)
    found = read_keys(tmp_path / "keys.txt")
    assert found.shape == (2, 3, 3)
    assert found[0, 1].tolist() == [-1, 0, 1]
    assert (keys_of(str(tmp_path / "keys.txt")) == found).all()
    assert keys_of("ideal").shape == (8, 7, 7)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"1 2\n3 4\n", "one odd square size"),
        (b"1 2 3\n4 5 6\n", "one odd square size"),
        (b"", "has none"),
        (b"1 2 3\n1 2 x3\n", "line 2 is no row"),
        (b"1 1 1\n1 1 1\n1 1 1\n", "constant"),
        (b"1 1 1\n1 inf 1\n1 1 1\n", "not finite"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b"1 " * (1 << 20), "larger than"),
    ],
)
def test_what_is_no_file_of_filters_is_refused_with_the_reason(tmp_path, content, said):
    (tmp_path / "keys.txt").write_bytes(content)
    with pytest.raises(StartError, match=said):
        read_keys(tmp_path / "keys.txt")
    with pytest.raises(StartError, match="No such file"):
        read_keys(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StartError, match="not a regular file"):
        read_keys(tmp_path / "pipe")
