"""The report's table of networks that belong together is the data set's, without networks that are left out."""

from __future__ import annotations

import numpy as np
from tests.analysis import synthetic

from filterzoo_analysis.sections import lineage
from filterzoo_analysis.zoo import prepare


def near(models: list[synthetic.Model], name: str, rng: np.random.Generator, **facts) -> synthetic.Model:
    """The first model, a little changed."""
    layers = [layer + rng.normal(scale=0.1, size=layer.shape).astype(np.float32) for layer in models[0].layers]
    return synthetic.Model(name, layers, facts)


def test_facts_and_guesses_are_distinguished():
    rng = np.random.default_rng(0)
    models = [synthetic.random_model(f"m{number}", rng) for number in range(4)]
    models += [near(models, "near", rng), near(models, "untrained", rng, suspected_random=True)]
    models.append(synthetic.Model("copy", models[1].layers, {"duplicate_of": models[1].model_id}))
    models.append(synthetic.random_model("tuned", rng, base_model="m2, elsewhere/other"))
    exhibit = lineage.lineage(prepare(synthetic.dataset(models)))
    found = {(row["kind"], *sorted((row["model_id"], row["other"]))) for row in exhibit.table.to_pylist()}
    assert found == {
        ("copy", "made/copy@1", "made/m1@1"),
        ("inferred", "made/m0@1", "made/near@1"),
        ("stated", "elsewhere/other", "made/tuned@1"),
        ("stated", "made/m2@1", "made/tuned@1"),
    }
    assert "descent that weights suggest 1" in exhibit.summary
    everything = lineage.lineage(prepare(synthetic.dataset(models), exclude=()))
    assert sum(row["kind"] == "inferred" for row in everything.table.to_pylist()) > 1


def test_guesses_are_compared_with_what_zoos_state():
    """Two networks that were fine-tuned and say so, one with the larger kurtosis; and one that is unlike its base."""
    rng = np.random.default_rng(3)
    base = synthetic.random_model("base", rng)
    low, high = ([np.sign(layer) * np.abs(layer) ** np.float32(power) for layer in base.layers] for power in (0.8, 1.2))
    facts = {"base_model": "base"}
    models = [base, synthetic.Model("low", low, facts), synthetic.Model("high", high, facts)]
    models.append(synthetic.random_model("other", rng, **facts))
    notes = lineage.lineage(prepare(synthetic.dataset(models))).notes
    assert notes[-1].startswith("Of 3 stated pairs within the data set 2 are inferred as well, 1 of them in the stated")


def test_independent_networks_have_no_table():
    rng = np.random.default_rng(1)
    assert (
        lineage.lineage(prepare(synthetic.dataset([synthetic.random_model(f"m{n}", rng) for n in range(12)]))) is None
    )
