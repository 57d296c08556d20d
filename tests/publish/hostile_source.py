"""A zoo whose every word is hostile but those of closed lists, which a crawl refuses; crawled with `--plugin`.

Reads words.json beside the manifest.
"""

from __future__ import annotations

import json
from typing import ClassVar

from filterzoo import Artifact, Checkpoint, LocalFile, Reason, Source, hookimpl
from filterzoo.outcome import Refusal


class HostileSource(Source):
    name: ClassVar[str] = "hostile"

    def discover(self):
        for number, word in enumerate(json.loads((self.folder / "words.json").read_text())):
            facts = ("architecture", "training_dataset", "pretraining_dataset")
            others = ("url", "licence", "pair_id", "base_model", "tags")
            artifact = Artifact(url=f"{number}.safetensors", name=word, member=None)
            yield Checkpoint(
                id=word, revision=word, artifacts=(artifact,), **dict.fromkeys((*facts, *others), word), robust=True
            )
            reason = list(Reason)[number % len(Reason)]
            yield Refusal(id=f"{word} gone", revision=word, reason=reason, detail=word, url=word, licence=word)

    def open(self, artifact):
        return LocalFile(self.folder / "zoo" / artifact.url)


@hookimpl
def filterzoo_sources():
    return (HostileSource,)
