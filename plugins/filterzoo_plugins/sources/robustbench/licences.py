"""The licences of RobustBench's weights, as the LICENSE file of its package lists them: a default and exceptions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from filterzoo import Licence, Reason, Refused

FILE = "LICENSE"

_DEFAULT = re.compile(
    r"all weights of the models in the model zoo are released under the (.{1,60}?) licen[cs]e\b", re.IGNORECASE
)
_EXCEPTION = re.compile(
    r"^\s*[-*]\s+(?P<datasets>[^,]+),\s*(?P<threats>[^,]+),\s*(?P<name>[^:,]+):\s*(?P<licence>[^;]+)"
)


@dataclass(frozen=True, slots=True)
class Exemption:
    """Entries under another licence: `*` in a name matches any ending."""

    datasets: frozenset[str]
    threat_models: frozenset[str]
    name: str
    licence: str

    def covers(self, dataset: str, threat_model: str, name: str) -> bool:
        """Whether the exemption applies to the entry."""
        is_listed = _plain(dataset) in self.datasets and _plain(threat_model) in self.threat_models
        return is_listed and fnmatchcase(name, self.name)


@dataclass(frozen=True, slots=True)
class Licences:
    """The file's licences: `default` for all weights except those of `exceptions`."""

    default: str
    exceptions: tuple[Exemption, ...]

    def of(self, dataset: str, threat_model: str, name: str) -> str:
        """The licence of one entry."""
        own = [entry.licence for entry in self.exceptions if entry.covers(dataset, threat_model, name)]
        return Licence.strictest(*own).expression or own[0] if own else self.default


def licences(text: str) -> Licences:
    """Parse the file. Refused (malformed) for another file, or if an exception cannot be parsed.

    A partial result would put an exception under the default, so there is none then.
    """
    head, _, _ = text.partition("\n---")  # the full texts of the licences follow
    default = _DEFAULT.search(" ".join(head.split()))
    known = Licence.parse(f"{default[1]} License").expression if default else None
    if known is None:
        raise Refused(Reason.MALFORMED, "names no licence of all weights", FILE)
    listed = [line for line in head.splitlines() if re.match(r"\s*(-\s+\S|\*\s+\S.*:)", line)]
    return Licences(known, tuple(_exception(line) for line in listed))


def _exception(line: str) -> Exemption:
    match = _EXCEPTION.match(line)
    licence = _expression(match["licence"]) if match else None
    if match is None or licence is None:
        raise Refused(Reason.MALFORMED, f"an exception that is not understood: {ascii(line)[:120]}", FILE)
    parts = (frozenset(_plain(part) for part in match[key].split("/")) for key in ("datasets", "threats"))
    datasets, threat_models = parts
    name = re.sub(r"([\[?])", r"[\1]", match["name"].strip())
    return Exemption(datasets, threat_models, name, licence)


def _expression(text: str) -> str | None:
    """The SPDX expression; `Attribution-NonCommercial-ShareAlike 4.0 International` omits "Creative Commons"."""
    return Licence.parse(text.strip()).expression or Licence.parse(f"Creative Commons {text.strip()}").expression


def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "", word).lower()
