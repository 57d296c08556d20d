"""Estimates the cost of a crawl from a dry run: bytes, requests, disk space, hours, money by a table of prices."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from filterzoo.crawl.run_limits import LEAST_FREE, stated_size
from filterzoo.crawl.task import Task
from filterzoo.errors import StartError
from filterzoo.files import text_of
from filterzoo.manifests.manifest_yaml import YamlError, parse_yaml
from filterzoo.network.addresses import is_http
from filterzoo.store.workfolder import WorkFolder

REQUESTS_OF_A_FILE = 2
"""Fewest requests for a file: one for its size and first bytes, one or more for the rest."""
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([kMGT]?)(bit|B)/s")
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_MAX_TABLE = 100_000

_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Prices(BaseModel):
    """A table of prices and of the speed of the user's machines; an example is deploy/prices.yaml.

    node_hour: of a node with `node_cores` cores. core_seconds_*: for each gigabyte of files, and in addition for each
    checkpoint.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: Annotated[str, Field(min_length=1, max_length=20)]
    node_hour: _Amount = 0.0
    node_cores: Annotated[int, Field(ge=1)] = 1
    received_gb: _Amount = 0.0
    thousand_requests: _Amount = 0.0
    core_seconds_per_gb: _Amount
    core_seconds_per_checkpoint: _Amount


@dataclass(slots=True)
class Amount:
    """The amount of data that a dry run found.

    files: remote ones. bytes: as far as zoos state them. unknown_sizes: checkpoints without a stated size.
    """

    checkpoints: int = 0
    files: int = 0
    bytes: int = 0
    unknown_sizes: int = 0

    def add(self, task: Task) -> None:
        """Count a checkpoint."""
        size = stated_size(task)
        self.checkpoints += 1
        self.files += sum(is_http(artifact.url) for artifact in task.checkpoint.artifacts)
        self.bytes += sum(artifact.size or 0 for artifact in task.checkpoint.artifacts)
        self.unknown_sizes += size is None


@dataclass(frozen=True, slots=True)
class Room:
    """The estimated size of a work folder, and the free space there, in bytes; `free` is None with a shared store.

    bytes: the size of the files, which is exact if all weights are float32 and belong to convolutions. Other layers
    take no space, 16-bit weights twice as much.
    """

    bytes: int
    free: int | None

    @property
    def may_be_too_little(self) -> bool:
        """Whether the free space may be too small for the files."""
        return self.free is not None and self.free < self.bytes + LEAST_FREE


@dataclass(frozen=True, slots=True)
class Cost:
    """The estimate; a lower bound if sizes are unknown. None: no rate, or no table of prices, was given.

    network_hours: to receive the bytes at the rate. node_hours: of nodes as in the table, with all cores busy.
    """

    requests: int
    network_hours: float | None = None
    core_hours: float | None = None
    node_hours: float | None = None
    money: float | None = None
    currency: str | None = None

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def cost_of(amount: Amount, rate: float | None, prices: Prices | None) -> Cost:
    """The cost of an amount. rate: bytes a second."""
    requests = REQUESTS_OF_A_FILE * amount.files
    network = None if rate is None else amount.bytes / rate / 3600
    if prices is None:
        return Cost(requests, network)
    seconds = amount.bytes / 1e9 * prices.core_seconds_per_gb
    core_hours = (seconds + amount.checkpoints * prices.core_seconds_per_checkpoint) / 3600
    node_hours = core_hours / prices.node_cores
    money = (
        node_hours * prices.node_hour
        + amount.bytes / 1e9 * prices.received_gb
        + requests / 1000 * prices.thousand_requests
    )
    return Cost(requests, network, core_hours, node_hours, money, prices.currency)


def room_of(amount: Amount, work: WorkFolder) -> Room:
    """The disk space that the checkpoints of a dry run need in the work folder, which need not exist yet."""
    if work.store_url is not None:
        return Room(amount.bytes, None)
    place = next(one for one in (work.path.absolute(), *work.path.absolute().parents) if one.is_dir())
    return Room(amount.bytes, shutil.disk_usage(place).free)


def parse_rate(text: str) -> float:
    """`1Gbit/s` or `100 MB/s` -> bytes a second; ValueError otherwise."""
    match = _RATE.fullmatch(text.strip())
    rate = float(match[1]) * _FACTORS[match[2]] / (8 if match[3] == "bit" else 1) if match else 0.0
    if rate <= 0:
        raise ValueError(f"{text!r} is no rate; write 1Gbit/s or 100MB/s")
    return rate


def read_prices(path: Path) -> Prices:
    """A table of prices; StartError with file and line for an invalid one."""
    try:
        document = parse_yaml(text_of(path, "a table of prices", _MAX_TABLE))
    except YamlError as error:
        raise StartError(f"{path}:{error.line}: {error.detail}") from error
    try:
        return Prices.model_validate(document.data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = tuple(step for step in first["loc"] if isinstance(step, str | int))
        named = ".".join(str(step) for step in place) or "the table"
        raise StartError(f"{path}:{document.line(place)}: {named}: {first['msg']}; see deploy/prices.yaml") from error
