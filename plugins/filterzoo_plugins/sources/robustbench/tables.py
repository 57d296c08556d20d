"""The model zoo of RobustBench, read from its package's code as data."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from filterzoo_plugins.sources.packages.python_tables import assignments, items, literal, parse

FOLDER = "robustbench/model_zoo"
TABLES = {
    "cifar10": f"{FOLDER}/cifar10.py",
    "cifar100": f"{FOLDER}/cifar100.py",
    "imagenet": f"{FOLDER}/imagenet.py",
}
"""Data set, as RobustBench spells it -> the file that lists its networks."""
ADDRESSES = tuple(f"{FOLDER}/architectures/{name}.py" for name in ("xcit", "deit", "alexnet"))
"""Files with the URLs of networks whose entry has no Drive id."""
TORCHVISION = {"resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth"}
"""The file that torchvision loads for `resnet50(pretrained=True)`: ResNet50_Weights.IMAGENET1K_V1."""

_DRIVE_ID = re.compile(r"[A-Za-z0-9_-]{20,80}")
_LIBRARY_CALL = re.compile(r"(?P<torchvision>[a-z0-9_]+)\(\)|create_model\('(?P<timm>[a-z0-9_]+)'\)")
_NOT_THE_NETWORK = {"pretrained", "sub_block1"}
"""Arguments that do not change the network: `sub_block1` keeps an unused layer for old files."""


@dataclass(frozen=True, slots=True)
class LeaderboardEntry:
    """One network of the zoo.

    drive_ids: of its files, several for an ensemble. address: the URL of its file, if it is not on Google Drive.
    network: the call that builds it in RobustBench, None for a class of its own.
    """

    dataset: str
    threat_model: str
    name: str
    drive_ids: tuple[str, ...]
    address: str | None
    network: str | None

    @property
    def id(self) -> str:
        """Its id from the zoo's three names."""
        return f"{self.dataset}/{self.threat_model}/{self.name}"

    @property
    def library_name(self) -> str | None:
        """`resnet50` of `resnet50()`, `convnext_base` of `create_model('convnext_base')`: for torchvision or timm."""
        match = _LIBRARY_CALL.fullmatch(self.network or "")
        return match["torchvision"] or match["timm"] if match else None

    @property
    def loaded_from_timm(self) -> str | None:
        """The network whose weights timm loads, if RobustBench has no file for it."""
        match = _LIBRARY_CALL.fullmatch(self.network or "") if not self.drive_ids and self.address is None else None
        return match["timm"] if match else None

    @property
    def file(self) -> str | None:
        """A key that is equal for entries with the same single file."""
        return self.address or (self.drive_ids[0] if len(self.drive_ids) == 1 else None)

    @property
    def normal(self) -> bool:
        """Whether it was trained without attacks or corruptions, as a baseline."""
        return self.name.split("_")[0] in {"Standard", "AlexNet"}


def entries(texts: Mapping[str, str]) -> Iterator[LeaderboardEntry]:
    """All entries, in the package's order; `texts` are the files of TABLES and ADDRESSES."""
    addresses: dict[str, str] = {}
    for file in ADDRESSES:
        addresses |= _addresses(parse(texts[file], file))
    for dataset, file in TABLES.items():
        tree = parse(texts[file], file)
        tables = {target.id: value for target, value in assignments(tree) if isinstance(target, ast.Name)}
        for threat_model, table in _threat_models(tables):
            for name, entry in items(tables.get(table, ast.Constant(None))):
                if isinstance(name, str) and isinstance(entry, ast.Dict):
                    yield _entry(dataset, threat_model, name, dict(items(entry)), addresses)


def _threat_models(tables: Mapping[str, ast.expr]) -> Iterator[tuple[str, str]]:
    """(threat model, name of its table) from `... = OrderedDict([(ThreatModel.Linf, linf), ...])`."""
    for value in tables.values():
        for node in ast.walk(value):
            match node:
                case ast.Tuple(
                    elts=[ast.Attribute(value=ast.Name(id="ThreatModel"), attr=threat_model), ast.Name(id=table)]
                ):
                    yield threat_model, table


def _entry(
    dataset: str, threat_model: str, name: str, fields: Mapping[str, ast.expr], addresses: Mapping[str, str]
) -> LeaderboardEntry:
    listed = literal(fields.get("gdrive_id", ast.Constant(None))) or []
    ids = [listed] if isinstance(listed, str) else listed
    network = _network(fields.get("model"))
    # RobustBench looks up networks without an id in timm's registry, under this name.
    registered = f"{name}_{dataset}_{threat_model}".lower().replace("-", "_")
    address = addresses.get(registered)
    if address is None and not ids and network is not None:
        address = TORCHVISION.get(network.partition("(")[0])
    return LeaderboardEntry(dataset, threat_model, name, tuple(filter(_is_drive_id, ids)), address, network)


def _is_drive_id(value: object) -> bool:
    return isinstance(value, str) and _DRIVE_ID.fullmatch(value) is not None


def _network(node: ast.expr | None) -> str | None:
    """`WideResNet(depth=28, widen_factor=10)` of `lambda: normalize_model(WideResNet(...), mu, sigma)`."""
    if not isinstance(node, ast.Lambda):
        return None
    call = node.body
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "normalize_model":
        call = call.args[0] if call.args else call
    if not isinstance(call, ast.Call):
        return None
    function = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    chosen = [keyword for keyword in call.keywords if keyword.arg not in _NOT_THE_NETWORK]
    named = sorted(f"{keyword.arg}={ast.unparse(keyword.value)}" for keyword in chosen)
    return f"{function}({', '.join([*map(ast.unparse, call.args), *named])})"


def _addresses(tree: ast.Module) -> dict[str, str]:
    """Registered name -> address, of every `'name': cfg(url='...')` in a file."""
    found = {}
    for node in ast.walk(tree):
        for name, value in items(node) if isinstance(node, ast.Dict) else ():
            if isinstance(name, str) and isinstance(value, ast.Call):
                for keyword in value.keywords:
                    if keyword.arg == "url" and isinstance(url := literal(keyword.value), str) and url:
                        found[name] = url
    return found
