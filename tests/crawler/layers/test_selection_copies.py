"""Moments, gradients and averages are no layers; a branch of a network that only has such a name is one."""

from __future__ import annotations

import pytest
from tests.crawler.layers.test_selection_by_shapes import tensor

from filterzoo.errors import Refused
from filterzoo.layers.selection import refuse_undecided, selection
from filterzoo.records import Tensor

PARAMETERS = {"0.weight": (8, 3, 3, 3), "0.bias": (8,), "1.weight": (8,), "1.bias": (8,), "3.weight": (16, 8, 3, 3)}
MEANS = {"1.running_mean": (8,), "1.running_var": (8,)}


def below(path: str, *, counts: bool = False) -> list[Tensor]:
    """A network's parameters below a path; with a counter and running means where it counts."""
    listed = [tensor(path + name, *shape) for name, shape in (PARAMETERS | (MEANS if counts else {})).items()]
    return [*listed, tensor(f"{path}1.num_batches_tracked", dtype="I64")] if counts else listed


def chosen(*parts: list[Tensor]) -> set[str]:
    """The paths below which convolutions are taken; all of them, or none, are taken below each."""
    found = [each.name for each in selection([one for part in parts for one in part]).convolutions]
    paths = {name.removesuffix("0.weight") for name in found if name.endswith("0.weight")}
    assert len(found) == 2 * len(paths)
    return paths


@pytest.mark.parametrize(
    ("network", "states"),
    [
        ("net.", ["qzx.", "pfw."]),
        ("", ["m/", "v/"]),
        ("net.", ["net_grad."]),
        ("a.b.", ["keep.first.", "keep.second."]),
    ],
)
def test_what_mirrors_a_network_but_for_its_buffers_is_made_of_parameters(network, states):
    """Whatever it is called, and whether it stands before or behind it."""
    copies = [one for state in states for one in below(state)]
    assert chosen(below(network, counts=True), copies) == {network}
    assert chosen(copies, below(network, counts=True)) == {network}


def test_a_branch_without_the_other_ones_norms_is_no_copy():
    """Its norms have no parameters, as RAFT's feature encoder; a moment has those of the norms."""
    plain = [each for each in below("qzx.") if not each.name.startswith("qzx.1.")]
    assert chosen(below("net.", counts=True), plain) == {"net.", "qzx."}
    assert chosen(plain, below("net.", counts=True)) == {"net.", "qzx."}


@pytest.mark.parametrize(
    ("network", "states"),
    [
        ("net.", ["m.", "v."]),
        ("", ["m.", "v."]),
        ("net.", ["adam."]),
        ("generator.", ["g_opt.m.", "g_opt.v."]),
        ("", ["Adam/first_moment/", "Adam/second_moment/"]),
        ("params.", ["opt_state.1.0.mu.", "opt_state.1.0.nu."]),
    ],
)
def test_without_buffers_a_word_breaks_the_tie(network, states):
    assert chosen(below(network), *map(below, states)) == {network}


def test_two_moments_of_one_of_two_networks():
    listed = [
        *below("generator."),
        *below("g_opt.m."),
        *below("g_opt.v."),
        tensor("discriminator.0.weight", 4, 3, 4, 4),
    ]
    found = selection(listed).convolutions
    assert [each.name for each in found] == ["generator.0.weight", "generator.3.weight", "discriminator.0.weight"]


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("names", [("opt.", "sar."), ("momentum.", "query."), ("m.", "v."), ("online.", "target.")])
def test_branches_of_a_network_are_layers_whatever_they_are_called(names, counts):
    listed = [one for name in names for one in below(name, counts=counts)]
    listed += [tensor("join.weight", 4, 32, 1, 1), tensor("join.bias", 4)]
    assert len(selection(listed).convolutions) == 5


def test_single_layers_are_layers_whatever_they_are_called():
    names = ["norm", "mask", "opt", "adam", "ema", "momentum", "grad", "copy"]
    listed = [tensor(f"{name}.weight", 8, 3 if name == "norm" else 8, 3, 3) for name in names]
    assert [each.name for each in selection(listed).convolutions] == [one.name for one in listed]


def test_arrays_without_names_that_repeat_a_network():
    """As training code keeps master weights or moments in a list."""
    listed = [tensor(f"groups.{place}", *shape) for place, shape in enumerate(PARAMETERS.values())]
    assert [each.name for each in selection([*below("net."), *listed]).convolutions] == ["net.0.weight", "net.3.weight"]
    only = [tensor(f"groups.{place}", *shape) for place, shape in enumerate([(8, 3, 3, 3), (8,), (16, 8, 5, 5), (16,)])]
    assert len(selection([*below("net."), *only]).convolutions) == 4


def test_moments_behind_the_word_for_an_optimiser_and_below_the_name():
    listed = [*below(""), *(tensor(f"Adam/{name}/{part}", *PARAMETERS[name]) for name in PARAMETERS for part in "mv")]
    assert [each.name for each in selection(listed).convolutions] == ["0.weight", "3.weight"]


@pytest.mark.parametrize("name", ["state.{}.exp_avg", "state.{}.momentum_buffer", "trainer.state.{}.square_avg"])
def test_the_state_of_an_optimiser_alone_is_refused(name):
    found = selection([tensor(name.format(place), *shape) for place, shape in enumerate(PARAMETERS.values())])
    assert not found.convolutions
    with pytest.raises(Refused, match="no network: 2 of its 5 arrays"):
        refuse_undecided(found, 5)
    listed = below("")
    section = [
        Tensor(name=one.name, dtype="F32", shape=one.shape, span=one.span, section="optimizer") for one in listed
    ]
    with pytest.raises(Refused, match="no network"):
        refuse_undecided(selection(section), 5)


def test_an_average_takes_the_place_of_what_it_is_an_average_of():
    assert chosen(below("params/"), below("ema_params/")) == {"ema_params/"}
    assert chosen(below("net."), below("net_ema.")) == {"net_ema."}


@pytest.mark.parametrize("key", ["optimizer", "exp_avg", "momentum_buffer"])
def test_a_branch_with_an_optimisers_key_is_one_unless_it_repeats_a_weight(key):
    branch = [tensor(f"{key}.conv.weight", 16, 16, 3, 3), tensor(f"{key}.0.weight", 8, 8, 3, 3)]
    assert {each.name for each in selection([*below("net."), *branch]).convolutions} >= {each.name for each in branch}
    (repeated,) = below(f"{key}.net.")[-1:]
    assert repeated.name not in {each.name for each in selection([*below("net."), *branch, repeated]).convolutions}


def test_what_paddles_optimisers_keep_is_no_network():
    """`.pdopt`: the parameter's name, and a word for what is kept of it."""
    kept = [
        tensor(f"conv2d_{number}.w_0_{what}_0", 8, 8, 3, 3) for number in range(2) for what in ("moment1", "velocity")
    ]
    with pytest.raises(Refused, match="what an optimiser keeps"):
        refuse_undecided(selection(kept), len(kept))
