"""Networks that timm or torchvision can build, by name: for files whose zoo has no code of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from filterzoo import Operation
from filterzoo_plugins.sources.libraries.torchvision import operations_of

MAX_CLASSES = 1_000_000
_MOST_CHANNELS = 64
_KEPT = 128
"""Most cached architectures: fine-tuned copies of one network differ in their number of classes."""


class Architectures:
    """Builds each network at most once, without weights; an unknown name costs one look-up.

    Input from a zoo is only used as a key of the packages' own tables and as two bounded numbers. A network is used
    only if it fits a file exactly (`filterzoo.architectures.context`), so a wrong name does no harm.
    """

    def __init__(self) -> None:
        self._timm = lru_cache(_KEPT)(_timm_operations)
        self._torchvision = lru_cache(_KEPT)(operations_of)
        self._names = cache(_names)

    def is_known(self, name: str | None) -> bool:
        """Whether one of the packages has a network of that name, ignoring case and punctuation (`ResNet-50`)."""
        return bool(name) and _plain(str(name)) in self._names()

    def of(
        self, name: str | None, classes: int | None = None, channels: Iterable[int] = (3,)
    ) -> Iterator[Mapping[str, Operation]]:
        """Candidates for a network of that name: timm's for each number of channels, then torchvision's."""
        if not self.is_known(name):
            return
        timm_name, torchvision_name = self._names()[_plain(str(name))]
        if timm_name:
            known_classes = classes if classes is not None and 0 <= classes <= MAX_CLASSES else None
            for count in channels:
                if 0 < count <= _MOST_CHANNELS:
                    yield self._timm(timm_name, known_classes, count)
        if torchvision_name:
            yield self._torchvision(torchvision_name)


def _names() -> dict[str, tuple[str, str]]:
    """Plain name -> (timm's name, torchvision's), "" if the package has none."""
    import timm  # noqa: PLC0415  # loads torch, which only a worker needs
    from torchvision import models  # noqa: PLC0415  # see above

    found: dict[str, list[str]] = {}
    for package, names in enumerate((timm.list_models(), models.list_models())):
        for name in names:
            both = found.setdefault(_plain(name), ["", ""])
            both[package] = both[package] or name
    return {plain: (of_timm, of_torchvision) for plain, (of_timm, of_torchvision) in found.items()}


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _timm_operations(name: str, classes: int | None, channels: int) -> Mapping[str, Operation]:
    """The network as timm builds it, with the input size of its training."""
    import timm  # noqa: PLC0415  # see above

    from filterzoo.architectures import architecture  # noqa: PLC0415  # see above

    config: Any = timm.get_pretrained_cfg(name)
    _, *sides = config.input_size if config is not None else (3, 224, 224)
    settings: dict[str, Any] = (
        {"in_chans": channels} if classes is None else {"in_chans": channels, "num_classes": classes}
    )
    return architecture.operations(lambda: timm.create_model(name, pretrained=False, **settings), (1, channels, *sides))
