"""The options of `filterzoo evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ManifestsArgument = Annotated[list[Path], typer.Argument(help="Whose networks to run (YAML).", metavar="MANIFEST")]
ImagesOption = Annotated[
    str,
    typer.Option(
        help="A folder with one folder of images a class, FILE.npz (images, labels), FILE.npy beside labels.npy, "
        "datasets:NAME[:SPLIT] or torchvision:NAME[:FOLDER]."
    ),
]
ImageSetOption = Annotated[str | None, typer.Option(help="What to call the images; by default as they are named.")]
FirstOption = Annotated[int | None, typer.Option(min=1, help="Take the first N images only.")]
NetworkOption = Annotated[
    str | None,
    typer.Option(
        help="The installed architecture: timm:NAME, torchvision:NAME or MODULE:CALLABLE; by default what each zoo "
        "states."
    ),
]
RunOnnxOption = Annotated[
    bool, typer.Option("--run-onnx", help="Run ONNX graphs in onnxruntime: the graph is the zoo's, not ours.")
]
AttackOption = Annotated[Literal["none", "pgd", "square"], typer.Option(help="What is done to the images.")]
NormOption = Annotated[Literal["Linf", "L2"], typer.Option(help="The norm that bounds the attack.")]
EpsOption = Annotated[float, typer.Option(help="How far it may change an image of numbers in [0, 1].")]
StepsOption = Annotated[int, typer.Option(min=1, help="Steps of pgd.")]
StepSizeOption = Annotated[float | None, typer.Option(help="Size of a step; by default 2.5 eps / steps.")]
RestartsOption = Annotated[int, typer.Option(min=1, help="Random starts of pgd.")]
QueriesOption = Annotated[int, typer.Option(min=1, help="Queries of square for each image.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the attack's random numbers.")]
OutputOption = Annotated[Path, typer.Option("-o", "--output", help="Folder for the logits.")]
DeviceOption = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to run the networks.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Images at once.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Threads that load images.")]
