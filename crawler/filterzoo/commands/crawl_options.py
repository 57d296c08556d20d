"""The options of `filterzoo crawl`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from filterzoo.measures.device import Device
from filterzoo.reporting.levels import LogFormat

ManifestsArgument = Annotated[list[Path], typer.Argument(help="What to crawl (YAML).", metavar="MANIFEST")]
LimitOption = Annotated[int | None, typer.Option(min=0, help="Look at no more than N checkpoints.")]
OnlyOption = Annotated[str | None, typer.Option(metavar="SOURCE", help="Look at one source only.")]
MaxBytesOption = Annotated[
    str | None,
    typer.Option("--max-bytes", metavar="SIZE", help="Fetch files of no more than SIZE, such as 500GB; 0 only lists."),
]
MaxHoursOption = Annotated[
    float | None, typer.Option("--max-hours", metavar="HOURS", min=0.0, help="Start no checkpoint after HOURS.")
]
DeviceOption = Annotated[Device, typer.Option(help="Where to measure.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Checkpoints at a time; by default one a core, and 1 GB of memory each.")
]
ExecutorOption = Annotated[
    str, typer.Option(metavar="NAME", help="What runs the work: local, ray (needs --store), or one of a plugin.")
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        "--ray-address", metavar="ADDRESS", help="auto (a cluster here), HOST:PORT, ray://HOST:10001, or local."
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be crawled; fetch no weights.")]
SizesOption = Annotated[
    bool, typer.Option("--sizes", help="With --dry-run: ask servers for sizes that zoos do not state.")
]
RateOption = Annotated[
    str | None, typer.Option(metavar="RATE", help="With --dry-run: hours to fetch at RATE, such as 1Gbit/s.")
]
PricesOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="With --dry-run: core hours and money by a table (YAML).")
]
MetricsOption = Annotated[
    Path | None, typer.Option("--metrics", metavar="FILE", help="Write Prometheus metrics to FILE, at the end.")
]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="Also show what was there already.")]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Tell failures only, and counts at the end.")]
LogFormatOption = Annotated[LogFormat, typer.Option("--log-format", help="How events are written to standard error.")]
