"""CNN Filter DB as a source: its networks become checkpoints, its rows layers, and nothing in its tables runs."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import shutil
import warnings

import h5py
import numpy as np
import pytest
from tests.plugins.formats.filter_db_files import NAN, Network, normal, onnxzoo2filterdb, pickled, release, zoo
from tests.program import filterzoo

from filterzoo.errors import Reason, Refused, StartError
from filterzoo.jail import Jail
from filterzoo.layers.normalise import normalise
from filterzoo.layers.stored import TensorReader
from filterzoo.network.door import Door
from filterzoo.plugins import load, references
from filterzoo.records import Context, Kind
from filterzoo.references import PluginReference
from filterzoo_plugins.sources.cnn_filter_db import network_file
from filterzoo_plugins.sources.cnn_filter_db.source import CnnFilterDbOptions, CnnFilterDbSource

ROWS = PluginReference("cnn_filter_db_rows", module="filterzoo_plugins.formats.cnn_filter_db")
HDF5 = PluginReference("hdf5", module="filterzoo_plugins.formats.keras.hdf5")


@pytest.fixture(scope="module")
def warm():
    with Jail([HDF5, ROWS]) as jail:
        yield jail


@pytest.fixture(scope="module")
def warm_release():
    with Jail([network_file._FORMAT]) as jail:
        yield jail


@pytest.fixture(autouse=True)
def one_jail_for_all(monkeypatch, warm_release):
    """A child takes a second to start, and tests that start the program have their own."""
    monkeypatch.setattr(network_file, "Jail", lambda formats: contextlib.nullcontext(warm_release))


def source(path, **options):
    with Door(path.parent / "cache") as door:
        return CnnFilterDbSource(CnnFilterDbOptions(path=path.name, **options), door, path.parent)


@pytest.fixture
def read(warm):
    return lambda path: read_with(warm, path)


def read_with(jail, path):
    """id -> (checkpoint, index, layers)"""
    made = source(path)
    found = {}
    for checkpoint in made.discover():
        (artifact,) = checkpoint.artifacts
        with made.open(artifact) as file, TensorReader(file) as reader:
            index = jail.index(file, artifact.name)
            found[checkpoint.id] = checkpoint, index, list(normalise(index.convolutions, reader))
    return found


def refusal(path):
    with pytest.raises(Refused) as raised:
        list(source(path).discover())
    return raised.value


@pytest.mark.parametrize("shape", [(3, 3), (9,)])
def test_every_network_of_the_release_is_a_checkpoint_with_its_filters(tmp_path, shape, read):
    found = read(release(tmp_path / "dataset.h5", zoo(), shape=shape))
    assert list(found) == [network.name for network in zoo()]
    for network in zoo():
        _, index, layers = found[network.name]
        assert index.format == "cnn_filter_db"
        assert [layer.kind for layer in layers] == [Kind.CONV] * len(network.layers)
        for layer, (filters, depth, norm, channels) in zip(layers, network.layers, strict=True):
            inputs, outputs = channels if channels and channels[0] * channels[1] == len(filters) else (len(filters), 1)
            assert layer.weights.shape == (outputs, inputs, 3, 3)
            assert layer.weights.tobytes() == filters.astype(np.float32).tobytes()
            assert (layer.conv_depth, layer.conv_depth_norm, layer.context) == (depth, norm, Context.DECLARED)
            assert (layer.groups, layer.stride, layer.padding, layer.dilation) == (None,) * 4


def test_facts_are_ours_where_they_are_and_empty_where_they_are_not(tmp_path, read):
    found = read(release(tmp_path / "dataset.h5", zoo()))
    first, index, _ = found["resnet_a_imagenet_11"]
    assert (first.task, first.visual_category) == ("object-detection", "medical-xray")
    assert (first.training_dataset, first.pretraining_dataset) == ("coco", "imagenet1k")
    assert (first.url, first.robust, first.clean_accuracy) == ("https://zoo.example/a", None, None)
    assert (index.facts.framework, index.facts.opset) == ("torch", 11)
    second, index, _ = found["robustbench_b_cifar10_13"]
    assert (second.task, second.visual_category, second.url, second.pretraining_dataset) == (
        None,
        "natural",
        None,
        None,
    )
    assert (second.robust, second.clean_accuracy, second.architecture) == (False, 0.6846, "WideResNet-28-10")
    assert second.robust_accuracy is None  # a zero that nobody measured
    assert (index.facts.framework, index.facts.opset) == (None, None)
    third, _, _ = found["net_c"]
    assert (third.task, third.robust, third.training_dataset) == ("auto-encoder", True, None)
    assert (first.architecture, third.architecture) == ("resnet_a_imagenet_11", "net_c")


RELEASE_TASKS = (
    "Classification", "Segmentation", "GAN-Generator", "Object Detection", "GAN-Discriminator", "Style Transfer",
    "Super Resolution", "Face Detection", "Depth Estimation", "Face Recognition", "Auto-Encoder",
)  # fmt: skip
RELEASE_CATEGORIES = (
    "natural", "handwriting", "faces", "medical xray", "art", "seismic", "medical ct", "medical mri", "depth", "map",
    "astronomy", "fractals", "textures", "thermal", "cars", "plants",
)  # fmt: skip


def test_every_task_and_category_of_the_release_has_a_word(tmp_path, read):
    stated = [("Semantic Segmentation", "formula"), ("Autoencoder", "medical X-ray"), ("Cell segmentation", "Map")]
    stated += [(task, "natural") for task in RELEASE_TASKS] + [("Classification", each) for each in RELEASE_CATEGORIES]
    networks = [
        Network(f"n{place}", [(normal(place, 4), 0, 0.0, (2, 2))], {"Task": task, "Visual Category": category})
        for place, (task, category) in enumerate(stated)
    ]
    found = [checkpoint for checkpoint, *_ in read(release(tmp_path / "dataset.h5", networks)).values()]
    assert all(each.task is not None and each.visual_category is not None for each in found)
    assert [each.task for each in found[:3]] == ["segmentation", "auto-encoder", "segmentation"]
    assert [each.visual_category for each in found[:3]] == ["fractals", "medical-xray", "map"]


def test_what_onnxzoo2filterdb_wrote_says_the_same(tmp_path, read):
    networks = [Network(n.name, [(*layer[:3], None) for layer in n.layers], n.facts) for n in zoo()]
    (tmp_path / "zoo").mkdir()
    joined, one = read(onnxzoo2filterdb(tmp_path / "zoo", networks)), read(release(tmp_path / "one.h5", networks))
    assert list(joined) == list(one)
    for name, (checkpoint, index, layers) in joined.items():
        other, other_index, other_layers = one[name]
        for fact in ("task", "visual_category", "training_dataset", "robust", "clean_accuracy", "architecture", "url"):
            assert getattr(checkpoint, fact) == getattr(other, fact)
        assert index.convolutions == other_index.convolutions
        assert [layer.layer_id for layer in layers] == [layer.layer_id for layer in other_layers]
    before = next(iter(joined.values()))[0].revision
    (tmp_path / "zoo/meta.csv").write_text("Name,Task\nnet_c,Segmentation\n")
    checkpoint, _, _ = read(tmp_path / "zoo/dataset.h5")["net_c"]
    assert checkpoint.task == "segmentation"
    assert checkpoint.revision != before


def test_what_pandas_and_pytables_write_is_read(tmp_path, read):
    import pandas as pd
    from tests.plugins.formats.filter_db_files import table

    ours = read(release(tmp_path / "ours.h5", zoo()))
    shutil.copy(tmp_path / "ours.h5", tmp_path / "theirs.h5")
    with h5py.File(tmp_path / "theirs.h5", "a") as file:
        del file["meta"]
    made = pd.DataFrame(table(zoo())).set_index(["model_id", "conv_depth", "conv_depth_norm", "layer_id"])
    objects = made.astype({name: object for name, kind in made.dtypes.items() if kind == "str"})
    with pytest.warns(pd.errors.PerformanceWarning, match="PyTables will pickle"):
        objects.to_hdf(tmp_path / "theirs.h5", key="meta")
    theirs = read(tmp_path / "theirs.h5")
    assert {name: found[1:] for name, found in theirs.items()}.keys() == ours.keys()
    assert [found[1].convolutions for found in theirs.values()] == [found[1].convolutions for found in ours.values()]


def test_columns_of_texts_as_pandas_3_saves_them_are_read(tmp_path, read):
    """A column of its type `str` is a block of its own, a pickled array of one axis; NaN is among the texts."""
    import pandas as pd
    from tests.plugins.formats.filter_db_files import table

    ours = read(release(tmp_path / "ours.h5", zoo()))
    shutil.copy(tmp_path / "ours.h5", tmp_path / "theirs.h5")
    with h5py.File(tmp_path / "theirs.h5", "a") as file:
        del file["meta"]
    made = pd.DataFrame(table(zoo())).set_index(["model_id", "conv_depth", "conv_depth_norm", "layer_id"])
    texts = ["filter_ids", "model", "Task", "Visual Category", "Training-Dataset", "Framework", "Backbone"]
    made = made.astype(dict.fromkeys(texts, "str"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        made.to_hdf(tmp_path / "theirs.h5", key="meta")
    with h5py.File(tmp_path / "theirs.h5") as file:
        assert any(node.attrs.get("value_type") == b"str" for node in file["meta"].values())
    theirs = read(tmp_path / "theirs.h5")
    facts = ("task", "visual_category", "training_dataset", "architecture", "robust")
    assert [[getattr(found[0], fact) for fact in facts] for found in theirs.values()] == [
        [getattr(found[0], fact) for fact in facts] for found in ours.values()
    ]
    assert [found[1].convolutions for found in theirs.values()] == [found[1].convolutions for found in ours.values()]


def test_two_networks_of_one_name_are_distinguished(tmp_path, read):
    same = [Network("twin", [(normal(seed, 4), 0, 0.0, (2, 2))]) for seed in (1, 2)]
    assert list(read(release(tmp_path / "dataset.h5", [*same, Network("other", same[0].layers)]))) == [
        "twin#0",
        "twin#1",
        "other",
    ]


def test_layers_in_any_order_of_rows_come_as_they_stand_in_the_file(tmp_path, read):
    def reverse(columns):
        for column in columns.values():
            column.reverse()

    backwards = read(release(tmp_path / "dataset.h5", zoo(), reverse))
    assert [[layer.layer_id for layer in layers] for _, _, layers in backwards.values()] == [
        [layer.layer_id for layer in layers] for _, _, layers in read(release(tmp_path / "o.h5", zoo())).values()
    ]


def test_without_a_depth_of_every_layer_the_order_in_the_file_stands(tmp_path, read):
    def forget(columns):
        columns["conv_depth_norm"][1] = NAN

    path = release(tmp_path / "dataset.h5", zoo(), forget)
    _, _, layers = read(path)["resnet_a_imagenet_11"]
    assert [layer.conv_depth for layer in layers] == [0, 1, 2]


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def as_cell(columns, payload):
    columns["Task"][2] = payload


@pytest.mark.parametrize("where", ["cell", "column", "table"])
def test_a_payload_in_the_pickled_column_is_refused_and_never_runs(tmp_path, where):
    payload = Payload(tmp_path / "owned")
    if where == "cell":
        path = release(tmp_path / "dataset.h5", zoo(), lambda columns: as_cell(columns, payload))
    else:
        path = release(tmp_path / "dataset.h5", zoo())
        with h5py.File(path, "a") as file:
            content = np.array([payload], object) if where == "column" else payload
            del file["meta/block1_values"]
            pickled(file["meta"], "block1_values", pickle.dumps(content))
    said = refusal(path)
    assert not (tmp_path / "owned").exists()
    assert said.reason in {Reason.UNSAFE, Reason.MALFORMED}
    if where != "column":
        assert (said.reason, "posix.mkdir" in said.detail) == (Reason.UNSAFE, True)
    with h5py.File(path) as file:  # it is a payload: unpickling it would execute it
        pickle.loads(bytes(file["meta/block1_values"][0]))
    assert (tmp_path / "owned").exists()


def set_to(name, place, value):
    def change(columns):
        columns[name][place] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_to("filter_ids", 1, "12:99"), Reason.MALFORMED),
        (set_to("filter_ids", 1, "-3:4"), Reason.MALFORMED),
        (set_to("filter_ids", 1, "31:12"), Reason.MALFORMED),
        (set_to("filter_ids", 1, "5:20"), Reason.MALFORMED),
        (set_to("filter_ids", 1, NAN), Reason.MALFORMED),
        (set_to("filter_ids", 1, "9" * 400 + ":3"), Reason.MALFORMED),
        (set_to("model_id", 0, -4), Reason.MALFORMED),
        (lambda columns: columns.pop("filter_ids"), Reason.UNSUPPORTED),
    ],
)
def test_a_table_that_contradicts_the_filters_is_refused(tmp_path, change, reason):
    assert refusal(release(tmp_path / "dataset.h5", zoo(), change)).reason is reason


def relink(name, link):
    def change(file):
        del file[name]
        file[name] = link

    return change


def with_references(file):
    file.create_dataset("meta/more", (2,), h5py.ref_dtype)[:] = file["filters"].ref


def virtual(file):
    del file["filters"]
    layout = h5py.VirtualLayout((10, 3, 3), "f8")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "filters", (10, 3, 3))
    file.create_virtual_dataset("filters", layout)


def outside(file):
    del file["filters"]
    file.create_dataset("filters", (58, 3, 3), "f8", external=[("/etc/passwd", 0, 58 * 72)])


def chunked(file):
    filters = file["filters"][...]
    del file["filters"]
    file.create_dataset("filters", data=filters, chunks=(10, 3, 3), compression="gzip")


def flat(file):
    del file["meta"]
    file["meta"] = np.frombuffer(b"model_id,filter_ids\n", np.uint8)


def drop(name):
    def change(file):
        del file[name]

    return change


def pickle_of(value):
    def change(file):
        del file["meta/block1_values"]
        pickled(file["meta"], "block1_values", pickle.dumps(value)[:-1])

    return change


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        (relink("filters", h5py.ExternalLink("/etc/x.h5", "/filters")), Reason.UNSAFE, "out of the file"),
        (relink("meta/block0_values", h5py.ExternalLink("/etc/x.h5", "/x")), Reason.UNSAFE, "out of the file"),
        (relink("filters", h5py.SoftLink("/nowhere")), Reason.MALFORMED, "not in the file"),
        (virtual, Reason.UNSAFE, "virtual"),
        (outside, Reason.UNSAFE, "another file"),
        (with_references, Reason.UNSAFE, "references"),
        (chunked, Reason.UNSUPPORTED, "h5repack"),
        (flat, Reason.UNSUPPORTED, "before 1.0"),
        (drop("filters"), Reason.UNSUPPORTED, "not a file of CNN Filter DB"),
        (drop("meta"), Reason.MALFORMED, "side file"),
        (drop("meta/axis1_label2"), Reason.MALFORMED, "lacks a part"),
        (drop("meta/block1_values"), Reason.MALFORMED, "lacks a part"),
        (relink("filters", np.zeros((58, 3, 3), "i8")), Reason.UNSUPPORTED, "floats"),
        (relink("filters", np.zeros((58, 3, 4))), Reason.UNSUPPORTED, "floats"),
        (relink("meta/axis1_label0", np.full(6, 9, "i1")), Reason.MALFORMED, "past its level"),
        (relink("meta/axis1_label0", np.full(6, 0.5)), Reason.MALFORMED, "list of places"),
        (relink("meta/block0_values", np.zeros((5, 6))), Reason.MALFORMED, "one length"),
        (relink("meta/block0_items", np.zeros((2, 2))), Reason.UNSUPPORTED, "names of columns"),
        (relink("meta/block1_values", np.zeros((6, 9, 2))), Reason.MALFORMED, "shape"),
        (pickle_of("abc"), Reason.MALFORMED, "too early"),
    ],
)
def test_a_file_that_points_outside_itself_or_breaks_the_layout_is_refused(tmp_path, change, reason, said):
    path = release(tmp_path / "dataset.h5", zoo())
    with h5py.File(path, "a") as file:
        change(file)
    found = refusal(path)
    assert (found.reason, said in found.detail) == (reason, True), found


def test_damage_anywhere_is_refused_or_changes_no_more_than_it_touches(tmp_path):
    path = release(tmp_path / "dataset.h5", zoo())
    whole = path.read_bytes()
    generator = random.Random(5)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole[: generator.choice([len(whole), generator.randrange(100, len(whole))])])
        for _ in range(generator.choice([1, 1, 20])):
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        found = described(path)
        if isinstance(found, Refused):
            refused += 1
            assert found.reason not in {Reason.CRASHED, Reason.PLUGIN_ERROR}, found
        else:
            spans = [layer.span for network in found for layer in network.layers]
            assert all(0 <= span.offset <= span.offset + span.length <= len(damaged) for span in spans)
    assert refused > 50


def described(path):
    try:
        return network_file.read_release(path)
    except Refused as refusal:
        return refusal


def test_a_file_that_became_another_is_said_to_have_changed(tmp_path):
    path = release(tmp_path / "dataset.h5", zoo())
    (first, *_) = source(path).discover()
    release(path, zoo()[1:])
    with pytest.raises(Refused) as raised:
        source(path).open(first.artifacts[0])
    assert raised.value.reason is Reason.CHANGED
    assert [checkpoint.revision for checkpoint in source(path).discover()] != [first.revision] * 2


def test_source_and_format_are_found_as_plugins():
    provided = load(references()).provided_by
    assert (provided["source:cnn_filter_db"], provided["format:cnn_filter_db"]) == ("cnn_filter_db", ROWS.name)


def test_a_file_that_is_not_there_stops_the_start(tmp_path):
    with pytest.raises(StartError, match=r"dataset\.h5 is not there"):
        list(source(tmp_path / "dataset.h5").discover())


@pytest.mark.slow
def test_a_crawl_reads_it_beside_other_zoos_and_says_what_it_refuses(tmp_path):
    release(tmp_path / "dataset.h5", zoo())
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "manifest.yaml").write_text(
        "name: old\nlicenses: {allow: [cc-by-sa-4.0]}\nsources:\n"
        "  - {source: cnn_filter_db, path: dataset.h5, license: cc-by-sa-4.0}\n"
        "  - {source: cnn_filter_db, path: broken.h5}\n"
    )
    ran = filterzoo("crawl", "manifest.yaml", "--json", cwd=tmp_path)
    assert ran.code == 1
    assert ran.document["checkpoints"] == {"done": 3, "skipped": 0, "failed": 1}
    assert ran.document["filters"] == {"3x3": 58}
    assert ran.document["reasons"] == {"malformed": 1}
    assert filterzoo("publish", "out", cwd=tmp_path).code == 0
    assert filterzoo("verify", "out", cwd=tmp_path).out == "out: sound\n"
    import filterzoo as library

    expected = np.concatenate(
        [filters for network in sorted(zoo(), key=lambda n: n.name) for filters, *_ in network.layers]
    )
    assert library.load(str(tmp_path / "out")).tobytes() == expected.astype(np.float32).tobytes()
    _, layers = library.load(str(tmp_path / "out"), return_layers=True)
    channelless = layers.filter(layers["n_filters"].to_numpy() == 7).to_pylist()[0]
    assert (channelless["shape"], channelless["orthogonality"]) == ([1, 7, 3, 3], None)


def test_pairs_are_those_of_the_authors_table(tmp_path):
    (tmp_path / "pairs.csv").write_text(",Robust,Normal,Arch\n0,robust_a,normal_a,WRN\n1,robust_b,normal_a,WRN\n")
    assert source(tmp_path / "dataset.h5", pairings="pairs.csv")._pairs() == {
        "robust_a": "normal_a",
        "robust_b": "normal_a",
        "normal_a": "normal_a",
    }
    for text in ("<html>\n", "a,b\n1,2\n"):
        (tmp_path / "pairs.csv").write_text(text)
        with pytest.raises(StartError, match="pairs"):
            source(tmp_path / "dataset.h5", pairings="pairs.csv")._pairs()
