"""Pictures of models: where a dot stands is what its layer measures, and a pixel is what its number is."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from tests.analysis import synthetic

from filterzoo_analysis import zoo
from filterzoo_analysis.page import model_pictures
from filterzoo_analysis.sections import quality


def ticks(svg: str, axis: int) -> dict[float, float]:
    """Number at a tick -> its place, along x (0) or y (1); the place is that of the tick's line."""
    group = svg[svg.index(f'id="chart-matplotlib.axis_{axis + 1}"') :]
    places = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', group)[:3]
    return {number: float(place[axis]) for number, place in zip((0.0, 0.5, 1.0), places, strict=True)}


def test_dots_stand_where_the_ticks_say():
    rng = np.random.default_rng(0)
    made = zoo.prepare(synthetic.dataset([synthetic.random_model(f"m{n}", rng, depth=5) for n in range(3)]))
    found = model_pictures.marks(made, [0, 5, 10, 15])
    svg = model_pictures.axes()
    across, up = ticks(svg, 0), ticks(svg, 1)
    depth = made.layers.numbers("conv_depth_norm")
    for model, paths in enumerate(found):
        for measure, path in zip(quality.MEASURES, paths, strict=True):
            here = slice(5 * model, 5 * model + 5)
            dots = np.array(re.findall(r"M([\d.]+) ([\d.]+)h0", path), float)
            x = across[0] + (across[1] - across[0]) * depth[here]
            y = up[0] + (up[1] - up[0]) * made.layers.numbers(measure)[here]
            np.testing.assert_allclose(dots, np.column_stack([x, y]), atol=0.11)
    assert svg.count("currentColor")
    assert all(f'id="chart-marks-{number}"' in svg for number in range(3))


def test_layers_without_a_measure_have_no_dot():
    model = synthetic.random_model("m", np.random.default_rng(0), depth=3)
    model.layers[1][:] = 0
    made = zoo.prepare(synthetic.dataset([model]))
    (paths,) = model_pictures.marks(made, [0, 3])
    known = [int(np.isfinite(made.layers.numbers(measure)).sum()) for measure in quality.MEASURES]
    assert [path.count("M") for path in paths] == known
    assert min(known) == 2
    assert model_pictures.marks(made, [0, 0]) == [["", "", ""]]


@pytest.mark.parametrize("count", [1, 16, 17, 48])
def test_a_filter_is_nine_pixels(count):
    filters = np.random.default_rng(count).normal(size=(count, 9)).astype(np.float32)
    filters[0] = 0
    picture = Image.open(io.BytesIO(base64.b64decode(model_pictures.filter_grid(filters)))).convert("RGBA")
    pixels = np.asarray(picture).astype(int)
    assert pixels.shape == (4 * -(-count // 16) - 1, 4 * min(count, 16) - 1, 4)
    for number, filter_ in enumerate(filters):
        top, left = 4 * (number // 16), 4 * (number % 16)
        shown = pixels[top : top + 3, left : left + 3].reshape(9, 4)
        assert (shown[:, 3] == 255).all()
        redness = shown[:, 0] - shown[:, 2]
        scaled = filter_ / (np.abs(filter_).max() or 1)
        tones = np.rint(scaled * 9)
        assert (np.sign(redness) == np.sign(tones))[tones != 0].all()
        assert (np.abs(redness[tones == 0]) <= 5).all()
        assert (np.abs(redness[np.abs(scaled) == 1]) > 40).all()
    assert np.ptp(pixels[0, 0, :3]) <= 5, "a filter of zeros is white"
    if count > 1:
        assert (pixels[:3, 3, 3] == 0).all(), "nothing stands between two filters"
