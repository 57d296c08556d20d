"""Analyses beyond the papers: spectra, frequencies, master keys, and measures at equal architecture and data set."""

from __future__ import annotations

from filterzoo_analysis.exhibits import Exhibit, Section
from filterzoo_analysis.sections import mixed_models
from filterzoo_analysis.sections.weights import frequencies, master_keys, spectra
from filterzoo_analysis.zoo import Zoo


def section(zoo: Zoo) -> Section:
    """The figures that the data set's columns allow, and a sentence for each missing one."""
    exhibits: list[Exhibit] = []
    empty: list[str] = []
    for found, reason in (
        (frequencies.content(zoo), "No frequency content: no layer of 3x3 to 7x7 has `frequency_energy`."),
        (spectra.by_depth(zoo), "No spectra: no layer has a `spectral_norm`."),
    ):
        exhibits += [] if found is None else [found]
        empty += [reason] if found is None else []
    if zoo.master_keys:
        keys = master_keys.explained(zoo, zoo.master_keys)
        exhibits += [] if keys is None else [keys]
        empty += ["No master keys: no depthwise filters of their sizes are published."] if keys is None else []
    else:
        empty.append("No master keys: not asked for (`--master-keys ideal`, or a file; reads depthwise filters).")
    effects = mixed_models.axis_effects(zoo)
    exhibits += [] if isinstance(effects, str) else [effects]
    empty += [effects] if isinstance(effects, str) else []
    return Section(
        "beyond", "Beyond the papers", "Figures that no paper before had over many zoos.", tuple(exhibits), tuple(empty)
    )
