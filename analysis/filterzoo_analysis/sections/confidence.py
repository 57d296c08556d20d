"""The figures of 'Robust Models are less Over-Confident' (arXiv:2210.05938) for the evaluated networks."""

from __future__ import annotations

from filterzoo_analysis.exhibits import Section
from filterzoo_analysis.sections.confidences import curves, functions, scatter, twins, weights
from filterzoo_analysis.sections.confidences.rows import evaluations
from filterzoo_analysis.zoo import Zoo


def section(zoo: Zoo) -> Section:
    """All comparisons for which there are evaluated networks."""
    title = "Confidence: are networks over-confident?"
    about = (
        "The figures of 'Robust Models are less Over-Confident' (NeurIPS 2022), and confidence beside weights. "
        "Over-confidence is the mean confidence on wrong images, under-confidence one less it on right ones."
    )
    found, _ = evaluations(zoo)
    if not found:
        none = (
            "No network of this data set was evaluated: `filterzoo evaluate` and `filterzoo confidence` measure, and "
            "`filterzoo publish` adds what they found to `confidences`."
        )
        return Section("confidence", title, about, (), (none,))
    exhibits = [scatter.scatter(zoo), scatter.bars(zoo), curves.reliability(zoo)]
    empty = []
    if any(each.row["auroc"] is not None for each in found):
        exhibits.insert(2, curves.roc(zoo))
    else:
        empty.append("No ROC curve: no network has both right and wrong images.")
    for made, missing in (
        (twins.differences(zoo), "No difference within pairs: no pair of a robust and a normal network was evaluated."),
        (
            functions.functions(zoo),
            (
                "No comparison of activation functions or poolings: no two evaluated networks of one architecture, "
                "both robust or both normal, are known to differ in them."
            ),
        ),
        (
            weights.correlation(zoo),
            (
                f"No correlation of confidence with weights: fewer than {weights.FEWEST + 1} networks can be compared "
                "with others of their architecture and training."
            ),
        ),
    ):
        if made is None:
            empty.append(missing)
        else:
            exhibits.append(made)
    return Section("confidence", title, about, tuple(exhibits), tuple(empty))
