"""Five thousand damaged files: what a checksum or a published hash can notice is noticed, the rest costs little."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter

import pytest
from tests.servers import WebServer
from tests.untrusted_files.mutation import damaged
from tests.untrusted_files.reading import BytesFile, index, layers, read, readers, write
from tests.untrusted_files.small_files import small_files

from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.jail import Jail
from filterzoo.network.door import Door
from filterzoo.network.time_limits import Clocks
from filterzoo.records import Artifact

FILES_IN_ALL = 5000
FILES_IN_THE_JAIL = 190
SLOWEST_SECONDS = 2.0
"""Of one tiny file; the jail's own limit is eight."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return small_files(tmp_path_factory.mktemp("small"))


def content(read_layers) -> list[tuple]:
    """All that reaches the data set of each layer."""
    return [(r.name, r.tensor.dtype, r.tensor.convolution, r.weights.shape, r.weights.tobytes()) for r in read_layers]


@pytest.mark.slow
def test_no_damage_that_a_checksum_covers_is_missed(files):
    outcomes: Counter[tuple[str, str]] = Counter()
    missed, slowest = [], 0.0
    originals = {
        label: content(read(BytesFile(small.content, small.sides), small.name)) for label, small in files.items()
    }
    assert [label for label, found in originals.items() if not found] == ["npy"]  # an array without a name is no layer
    labels = list(files)
    for seed in range(FILES_IN_ALL):
        label = labels[seed % len(labels)]
        small = files[label]
        data = damaged(small.content, random.Random(seed))
        started = time.process_time()
        try:
            found = content(read(BytesFile(data, small.sides), small.name))
        except Refused as refusal:
            outcomes[label, "refused"] += 1
            reason = refusal.reason
        else:
            outcomes[label, "same" if found == originals[label] else "different"] += 1
            reason = None
            if small.has_checksums and found != originals[label]:
                missed.append((label, seed))
        slowest = max(slowest, time.process_time() - started)
        assert reason not in {Reason.CRASHED, Reason.PLUGIN_ERROR}
    for label in labels:
        print(label, {what: outcomes[label, what] for what in ("refused", "same", "different")})  # noqa: T201  # the figures
    assert missed == []
    assert slowest < SLOWEST_SECONDS
    assert all(outcomes[label, "refused"] for label in labels)


def test_a_published_hash_notices_what_the_format_cannot(files, tmp_path):
    """The same files from a server, with the sha256 of the undamaged one published."""
    clocks = Clocks(sleep=lambda _seconds: None)
    with WebServer() as server, Door(tmp_path, allow_private=True, clocks=clocks) as door:
        for seed, (label, small) in enumerate(files.items()):
            published = hashlib.sha256(small.content).hexdigest()
            for damage in range(5):
                data = damaged(small.content, random.Random(100 * seed + damage))
                url = server.add(f"/{seed}/{damage}", data, ranges=False)
                with pytest.raises(Refused) as refusal, door.open(Artifact(url=url, sha256=published)):
                    pass
                assert refusal.value.reason is Reason.HASH_MISMATCH, label
            url = server.add(f"/{seed}/good", small.content, ranges=False)
            with door.open(Artifact(url=url, sha256=published)) as file:
                assert file.verified_sha256 == published


def test_the_jail_says_the_same_as_this_process(files, tmp_path):
    with Jail(readers()) as jail:
        for seed in range(FILES_IN_THE_JAIL):
            label = list(files)[seed % len(files)]
            small = files[label]
            data = damaged(small.content, random.Random(seed))
            path = write(tmp_path / str(seed), small.name, data, small.sides)
            try:
                here = content(layers(BytesFile(data, small.sides), index(BytesFile(data, small.sides), small.name)))
            except Refused as refusal:
                here = refusal.reason  # type: ignore[assignment]  # another type on purpose
            try:
                with LocalFile(path) as file:
                    there = content(layers(file, jail.index(file, small.name)))
            except Refused as refusal:
                there = refusal.reason  # type: ignore[assignment]  # another type on purpose
            assert there == here, (label, seed)
