"""The order of reading and checking has one owner: nothing passes for checked that was not."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from safetensors.numpy import save

from filterzoo.crawl.worker.reading import checked_layers
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.jail.indexing import Indexer, IndexRequest, load_readers
from filterzoo.manifests.manifest import VerifySha256
from filterzoo.network.files.cache import Cache
from filterzoo.references import PluginReference

SAFETENSORS = PluginReference("safetensors", module="filterzoo_plugins.formats.safetensors")


@pytest.fixture
def reading(tmp_path):
    """Opens the block on a small file whose zoo publishes `sha256` of it."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(save({"conv.weight": np.ones((2, 1, 3, 3), np.float32)}))
    index = Indexer(*load_readers([SAFETENSORS])).look(LocalFile(path), IndexRequest(path.name))
    own = hashlib.sha256(path.read_bytes()).hexdigest()

    def open_block(sha256=own):
        file = LocalFile(path)
        return checked_layers(
            file,
            file,
            index,  # type: ignore[arg-type]  # of a type that the test knows
            scratch=tmp_path,
            published={None: sha256},
            verify=VerifySha256.WHEN_CHEAP,
            cache=Cache(tmp_path / "cache"),
        )

    return open_block


def test_what_was_checked_is_known_after_the_block_and_not_before(reading):
    with reading() as layers:
        assert [layer.name for layer in layers] == ["conv.weight"]
        with pytest.raises(RuntimeError, match="when all of them were read"):
            _ = layers.integrity
    assert layers.integrity == "sha256"


def test_a_block_that_leaves_layers_unread_does_not_pass_for_checked(reading):
    with pytest.raises(RuntimeError, match="after all layers were read"), reading():
        pass


def test_the_published_hash_is_compared_at_the_end_of_the_block(reading):
    read = []
    with pytest.raises(Refused) as raised, reading("0" * 64) as layers:
        read += layers
    assert (raised.value.reason, len(read)) == (Reason.HASH_MISMATCH, 1)
