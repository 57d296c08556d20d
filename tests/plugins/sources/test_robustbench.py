import hashlib
import json
import re
import textwrap
import zipfile
from collections import Counter
from typing import Any

import pytest
from tests import index_packages
from tests.plugins.sources.package_files import offer, wheel
from tests.servers import WebServer, status

from filterzoo.errors import Reason, Refused
from filterzoo.licensing.licences import Licence, Policy
from filterzoo.network.door import Door
from filterzoo.network.time_limits import Clocks
from filterzoo.outcome import Refusal
from filterzoo.records import Checkpoint
from filterzoo.vocabularies import COLUMNS
from filterzoo_plugins import facts
from filterzoo_plugins.sources.robustbench import robust_pairs, source
from filterzoo_plugins.sources.robustbench.licences import licences
from filterzoo_plugins.sources.robustbench.source import MAX_INFO, RobustBenchOptions, RobustBenchSource, _eps
from filterzoo_plugins.sources.robustbench.tables import ADDRESSES, TABLES, TORCHVISION, entries

CIFAR = """
    from collections import OrderedDict
    import module_that_is_nowhere
    raise SystemExit("imported")

    class Own(WideResNet):
        pass

    linf = OrderedDict([
        ('A2020Robust', {'model': lambda: WideResNet(depth=28, widen_factor=10, sub_block1=True),
                         'gdrive_id': '1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}),
        ('B2021Several', {'model': Own, 'gdrive_id': ['1bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', '1c' * 16]}),
        ('C2022Light_XCiT-S12', {'model': (lambda: timm.create_model('c_s12', pretrained=True)), 'gdrive_id': None}),
        ('D2023Lost', {'model': Own, 'gdrive_id': None}),
        ('E2023Odd', {'model': Own, 'gdrive_id': '../../etc/passwd'}),
        ('Standard', {'model': lambda: WideResNet(widen_factor=10, depth=28), 'gdrive_id': '1d' * 16}),
        (compute(), {'gdrive_id': '1e' * 16}),
    ])
    common_corruptions = OrderedDict([('F2021Mix', {'model': Own, 'gdrive_id': '1fffffffffffffffffffffffffffffff'})])
    models = OrderedDict([(ThreatModel.Linf, linf), (ThreatModel.corruptions, common_corruptions)])
"""
CIFAR = CIFAR.replace("'1c' * 16", repr("1c" * 16)).replace("'1d' * 16", repr("1d" * 16))
IMAGENET = """
    linf = OrderedDict([
        ('G2020', {'model': lambda: normalize_model(pt_models.resnet50(), mu, sigma),
                   'gdrive_id': '1ggggggggggggggggggggggg'}),
        ('Standard_R50', {'model': lambda: normalize_model(pt_models.resnet50(pretrained=True), mu, sigma),
                          'gdrive_id': ''}),
    ])
    models = OrderedDict([(ThreatModel.Linf, linf)])
"""
XCIT = """default_cfgs = {'c2022light_xcit_s12_cifar10_linf': cfg(classes=10, url="https://zoo.example/v1/c-light.pth.tar")}"""


def package(cifar=CIFAR, more=None):
    files = dict.fromkeys((*TABLES.values(), *ADDRESSES), b"") | (more or {})
    written = {TABLES["cifar10"]: cifar, TABLES["imagenet"]: IMAGENET, ADDRESSES[0]: XCIT}
    return wheel(files | {path: textwrap.dedent(text).encode() for path, text in written.items()}, "robustbench")


@pytest.fixture
def door(tmp_path):
    with Door(tmp_path / "cache", clocks=Clocks(sleep=lambda _: None)) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "robustbench-1.0-py3-none-any.whl").write_bytes(package())
    return tmp_path


def discover(door, folder, **given):
    options = {"package": "robustbench==1.0", "path": "robustbench-1.0-py3-none-any.whl", "normals": None}
    options |= given
    return list(RobustBenchSource(RobustBenchOptions(**options), door, folder).discover())  # type: ignore[arg-type]  # fields by name, of several types


def by_id(listed):
    return {entry.id: entry for entry in listed}


def test_the_tables_are_data_and_give_every_entry(door, folder):
    found = by_id(discover(door, folder))
    assert list(found) == [
        "cifar10/Linf/A2020Robust",
        "cifar10/Linf/B2021Several#m0",
        "cifar10/Linf/B2021Several#m1",
        "cifar10/Linf/C2022Light_XCiT-S12",
        "cifar10/Linf/D2023Lost",
        "cifar10/Linf/E2023Odd",
        "cifar10/Linf/Standard",
        "cifar10/corruptions/F2021Mix",
        "imagenet/Linf/G2020",
        "imagenet/Linf/Standard_R50",
    ]
    one = found["cifar10/Linf/A2020Robust"]
    assert one.artifacts[0].url == "https://drive.google.com/uc?export=download&id=1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    assert (one.revision, one.robust, one.threat_model) == ("gdrive:1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", True, "Linf")
    assert found["imagenet/Linf/G2020"].architecture == "resnet50"
    assert (one.licence, one.architecture, one.clean_accuracy, one.robust_accuracy) == (None, None, None, None)
    assert (one.training_dataset, one.task) == ("cifar-10", "classification")
    assert found["cifar10/Linf/C2022Light_XCiT-S12"].artifacts[0].url == "https://zoo.example/v1/c-light.pth.tar"
    assert found["imagenet/Linf/Standard_R50"].artifacts[0].url == TORCHVISION["resnet50"]


def test_an_entry_without_a_file_is_a_ledger_entry_and_the_others_go_on(door, folder):
    found = by_id(discover(door, folder))
    for lost in ("cifar10/Linf/D2023Lost", "cifar10/Linf/E2023Odd"):
        assert isinstance(found[lost], Refusal)
        assert found[lost].reason is Reason.REMOVED


def test_normal_networks_are_no_robust_ones_and_pair_with_those_built_alike(door, folder):
    found = by_id(discover(door, folder))
    robust, normal = found["cifar10/Linf/A2020Robust"], found["cifar10/Linf/Standard"]
    assert (normal.robust, normal.threat_model) == (False, "Linf")
    assert robust.pair_id == normal.pair_id == "cifar10/WideResNet(depth=28, widen_factor=10)"
    assert found["imagenet/Linf/G2020"].pair_id == found["imagenet/Linf/Standard_R50"].pair_id == "imagenet/resnet50()"
    assert found["cifar10/Linf/B2021Several#m0"].pair_id is None
    assert found["cifar10/corruptions/F2021Mix"].robust is None
    assert found["cifar10/corruptions/F2021Mix"].threat_model == "corruptions"


PAIRS = """\
No,Robust,Normal,Arch,Dataset
0,A2020Robust,A2020Robust,WideResNet-28-10,cifar10
1,B2021Several,A2020Robust,WideResNet-28-10,cifar10
2,C2022Light_XCiT-S12,Gone,XCiT,cifar10
3,G2020,resnet50,ResNet-50,imagenet
"""
RECORD = {
    "files": [{"key": "cifar10_normal_robustbench_A2020Robust.tar", "size": 99, "checksum": "md5:0"}, {"key": 3}],
    "metadata": {"license": {"id": "cc-by-sa-4.0"}},
}


@pytest.fixture
def papers(tmp_path, folder):
    """Discovery with the pairs of the papers, from an index and a Zenodo on loopback."""
    table = wheel({robust_pairs.TABLE: PAIRS.encode()}, "robustvsnormalzoo")
    with (
        WebServer() as server,
        Door(tmp_path / "cache", allow_private=True, clocks=Clocks(sleep=lambda _: None)) as door,
    ):
        url = offer(server, "robustvsnormalzoo", {"robustvsnormalzoo-1.0-py3-none-any.whl": table})
        server.add("/api/records/7097538", json.dumps(RECORD).encode(), content_type="application/json")
        options = {"normals": "robustvsnormalzoo==1.0", "index_url": url, "zenodo": server.url}
        yield lambda **more: discover(door, folder, **(options | more))


LICENCE_FILE = b"""The code is released under the MIT license.
All weights of the models in the Model Zoo are released under the MIT license except the following models (format:
dataset, threat model, name, license; copyright notice):
- CIFAR-10, Linf, A2020Robust: Attribution-NonCommercial-ShareAlike 4.0 International; Copyright (c) 2020, Somebody
- CIFAR-10/CIFAR-100, Linf/L2/corruptions, B2021*: Apache License 2.0; Copyright (c) 2021, Somebody
- ImageNet, corruptions, G2020: BSD 3-Clause License; Copyright (c) 2021, Somebody
* denotes multiple models that satisfy the same beginning substring.

--------------------------------------------------------------------------
- MIT, License, text: with a list of its own
"""


def licensed(tmp_path, door, text):
    (tmp_path / "own-1.0-py3-none-any.whl").write_bytes(package(more={"robustbench-1.0.dist-info/LICENSE": text}))
    return by_id(discover(door, tmp_path, path="own-1.0-py3-none-any.whl"))


def test_the_licences_of_weights_are_those_of_the_packages_licence_file(tmp_path, door):
    found = licensed(tmp_path, door, LICENCE_FILE)
    stated = {name: (one.licence, one.licence_from) for name, one in found.items() if isinstance(one, Checkpoint)}
    assert stated["cifar10/Linf/A2020Robust"] == ("cc-by-nc-sa-4.0", "licence-file")
    assert stated["cifar10/Linf/B2021Several#m1"] == ("apache-2.0", "licence-file")
    assert stated["imagenet/Linf/G2020"] == ("mit", "licence-file")  # the exception is of another threat model


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"- CIFAR-10, Linf, A2020Robust: ", b"- A2020Robust, "),
        (b"BSD 3-Clause License", b"a licence of our own"),
        (b"All weights of", b"Some weights of"),
    ],
)
def test_half_a_table_of_licences_is_none(tmp_path, door, old, new):
    found = licensed(tmp_path, door, LICENCE_FILE.replace(old, new))
    assert {one.licence for one in found.values() if isinstance(one, Checkpoint)} == {None}


def test_weights_that_are_only_loaded_from_timm_have_its_licence(tmp_path, door):
    table = CIFAR.replace(
        "('D2023Lost', {'model': Own,", "('D2023Lost', {'model': lambda: timm.create_model('mobilevit_s'),"
    )
    assert table != CIFAR
    (lost,) = (
        e
        for e in entries(
            {**dict.fromkeys((*TABLES.values(), *ADDRESSES), ""), TABLES["cifar10"]: textwrap.dedent(table)}
        )
        if e.name == "D2023Lost"
    )
    own = licences(LICENCE_FILE.decode())
    assert source._licence_of(lost, own) == {"licence": "cvnets-license", "licence_from": "licence-file+original"}


def test_members_of_ensembles_are_what_is_known_of_them(tmp_path, door):
    table = CIFAR.replace("B2021Several", "Bai2023Improving_x")
    (tmp_path / "robustbench-1.0-py3-none-any.whl").write_bytes(package(table))
    found = by_id(discover(door, tmp_path))
    standard, robust = (found[f"cifar10/Linf/Bai2023Improving_x#m{n}"] for n in (0, 1))
    assert (standard.robust, standard.threat_model) == (False, None)
    assert (robust.robust, robust.threat_model) == (True, "Linf")
    (tmp_path / "robustbench-1.0-py3-none-any.whl").write_bytes(package())
    unknown = by_id(discover(door, tmp_path))["cifar10/Linf/B2021Several#m0"]
    assert (unknown.robust, unknown.threat_model) == (None, None)


def test_a_pair_has_a_robust_and_a_normal_network_and_no_copies(tmp_path, door):
    copies = """l2 = OrderedDict([
        ('Standard', {'model': lambda: WideResNet(widen_factor=10, depth=28), 'gdrive_id': 'ID'}),
        ('Standard_a', {'model': lambda: Net(3), 'gdrive_id': '1xxxxxxxxxxxxxxxxxxxxxxxx'}),
        ('Standard_b', {'model': lambda: Net(3), 'gdrive_id': '1yyyyyyyyyyyyyyyyyyyyyyyy'}),
    ])"""
    table = CIFAR.replace("common_corruptions =", copies.replace("ID", "1d" * 16) + "\n    common_corruptions =")
    table = table.replace("(ThreatModel.corruptions", "(ThreatModel.corruptions, l2), (ThreatModel.corruptions")
    (tmp_path / "robustbench-1.0-py3-none-any.whl").write_bytes(package(table))
    pairs: dict[str, Any] = {}
    for name, one in by_id(discover(door, tmp_path)).items():
        if getattr(one, "pair_id", None):
            pairs.setdefault(one.pair_id, []).append((name, one.robust))
    assert pairs["cifar10/WideResNet(depth=28, widen_factor=10)"] == [
        ("cifar10/Linf/A2020Robust", True),
        ("cifar10/Linf/Standard", False),
    ]
    assert set(pairs) == {"cifar10/WideResNet(depth=28, widen_factor=10)", "imagenet/resnet50()"}


def test_the_normal_networks_of_the_papers_are_the_twins_of_theirs(papers):
    found = by_id(papers())
    normal = found["cifar10/normal/A2020Robust"]
    members = {name for name, one in found.items() if getattr(one, "pair_id", None) == "cifar10/A2020Robust"}
    assert members == {"cifar10/Linf/A2020Robust", normal.id}  # what an ensemble's members are is not known
    assert (normal.robust, normal.threat_model, normal.training_dataset) == (False, None, "cifar-10")
    assert (normal.architecture, normal.licence, normal.revision) == (
        "WideResNet-28-10",
        "cc-by-sa-4.0",
        "zenodo:7097538",
    )
    (file,) = normal.artifacts
    assert file.url.endswith("/records/7097538/files/cifar10_normal_robustbench_A2020Robust.tar?download=1")
    assert file.size == 99
    assert normal.clean_accuracy is None
    assert found["cifar10/normal/Gone"].reason is Reason.REMOVED
    assert found["imagenet/Linf/G2020"].pair_id == "imagenet/resnet50"
    assert found["cifar10/Linf/Standard"].pair_id is None  # its only twin is in a pair of the papers
    assert not [name for name in found if name.startswith("imagenet/normal")]


def test_the_accuracies_of_the_normal_networks_are_the_papers(papers, tmp_path):
    rows = (
        "Network,Training-Dataset,Robust,Clean Accuracy\nA2020Robust,cifar10,True,80\nA2020Robust,cifar10,False,95.46\n"
    )
    (tmp_path / "meta.csv").write_text(rows)
    assert by_id(papers(normals_meta="meta.csv"))["cifar10/normal/A2020Robust"].clean_accuracy == 0.9546
    (tmp_path / "meta.csv").write_text("<html>")
    assert by_id(papers(normals_meta="meta.csv"))["normal"].reason is Reason.MALFORMED


def test_which_normal_networks_may_be_chosen(papers):
    chosen = [name for name in by_id(papers(include=("*A2020*",))) if "normal" in name]
    assert chosen == ["cifar10/normal/A2020Robust"]
    for options in ({"threat_models": ("L2",)}, {"datasets": ("imagenet",)}, {"exclude": ("*/normal/*",)}):
        assert not [name for name in by_id(papers(**options)) if "normal" in name]


def test_a_zenodo_that_does_not_answer_costs_the_normal_networks_only(papers):
    found = by_id(papers(zenodo="http://127.0.0.1:9"))
    assert found["normal"].reason is Reason.FETCH_FAILED
    assert found["cifar10/Linf/A2020Robust"].pair_id == "cifar10/A2020Robust"


@pytest.mark.parametrize(
    "rows", ["No,Robust\n0,A", "Dataset,Robust,Normal,Arch\ncifar10,../../a,b,c", "Dataset,Robust,Normal,Arch\na"]
)
def test_a_table_of_pairs_that_is_none_is_refused(rows):
    with pytest.raises(Refused) as refused:
        robust_pairs.pairs(rows)
    assert refused.value.reason is Reason.MALFORMED


@pytest.mark.index
def test_the_published_pairs_are_networks_of_the_published_zoo(door, tmp_path):
    with zipfile.ZipFile(index_packages.wheel("robustvsnormalzoo", "1.0.4")) as archive:
        pairs = robust_pairs.pairs(archive.read(robust_pairs.TABLE).decode())
    assert Counter(pair.dataset for pair in pairs) == {"cifar10": 49, "cifar100": 17, "imagenet": 5}
    path = index_packages.wheel("robustbench", "1.1.1")
    listed = discover(door, path.parent, package="robustbench==1.1.1", path=path.name)
    networks = {re.sub(r"#m\d+$", "", checkpoint.id) for checkpoint in listed}
    assert {f"{pair.dataset}/Linf/{pair.robust}" for pair in pairs} <= networks
    timms = {row["pair_id"] for row in facts.table("pairs").values()}
    assert timms == {pair.id for pair in pairs if pair.dataset == "imagenet"}


def test_which_entries_may_be_chosen(door, folder):
    assert set(by_id(discover(door, folder, datasets=("imagenet",), include=("*/G*",)))) == {"imagenet/Linf/G2020"}
    found = discover(door, folder, threat_models=("Linf",), exclude=("imagenet/*", "*/[B-E]*"))
    assert set(by_id(found)) == {"cifar10/Linf/A2020Robust", "cifar10/Linf/Standard"}


def test_accuracies_come_from_the_repository_where_the_manifest_names_a_copy(door, folder):
    infos = {
        "cifar10/Linf/A2020Robust": {"architecture": "WideResNet-28-10", "eps": "8/255", "clean_acc": "89.69",
                                     "autoattack_acc": "59.53", "external": "59.51"},
        "cifar10/Linf/B2021Several": {"architecture": "Three", "eps": "8/255", "clean_acc": "90",
                                       "autoattack_acc": "50"},
        "cifar10/Linf/Standard": {"architecture": "WideResNet-28-10", "eps": "8/255", "clean_acc": 94.78,
                                  "autoattack_acc": "0.0"},
        "cifar10/corruptions/F2021Mix": {"architecture": 5, "clean_acc": "?", "corruptions_acc": "91.5", "eps": None},
        "imagenet/Linf/G2020": ["not", "an", "object"],
    }  # fmt: skip
    for name, info in infos.items():
        path = folder / "model_info" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(info))
    (folder / "model_info/imagenet/Linf/Standard_R50.json").write_text("{")
    found = by_id(discover(door, folder, model_info="model_info"))

    def columns(name):
        return found[name].architecture, found[name].clean_accuracy, found[name].robust_accuracy, found[name].eps

    assert columns("cifar10/Linf/A2020Robust") == ("WideResNet-28-10", 0.8969, 0.5951, 8 / 255)
    assert columns("cifar10/Linf/B2021Several#m1") == (None, None, None, None)
    assert columns("cifar10/Linf/Standard") == ("WideResNet-28-10", 0.9478, 0.0, 8 / 255)
    assert columns("cifar10/corruptions/F2021Mix") == (None, None, 0.915, None)
    assert columns("imagenet/Linf/G2020") == columns("imagenet/Linf/Standard_R50") == ("resnet50", None, None, None)


def test_accuracies_come_from_the_repository_on_the_web(tmp_path, folder):
    stated = {"architecture": "WideResNet-28-10", "eps": "8/255", "clean_acc": "89.69", "autoattack_acc": "59.53"}
    with WebServer() as server, Door(tmp_path / "cache", allow_private=True) as door:
        place = f"{server.url}/model_info"
        for name, body in {"A2020Robust": json.dumps(stated).encode(), "Standard": b"{" + bytes(MAX_INFO)}.items():
            server.add(f"/model_info/cifar10/Linf/{name}.json", body, content_type="text/plain; charset=utf-8")
        found = by_id(discover(door, folder, model_info=f"{place}/"))
    robust = found["cifar10/Linf/A2020Robust"]
    told = (robust.architecture, robust.eps, robust.clean_accuracy, robust.robust_accuracy)
    assert told == ("WideResNet-28-10", 8 / 255, 0.8969, 0.5953)
    others = [one for one in found.values() if isinstance(one, Checkpoint) and one is not robust]
    assert {(one.eps, one.clean_accuracy, one.robust_accuracy) for one in others} == {(None, None, None)}
    asked = [path for path, _, _ in server.requests]
    assert len(asked) == len(set(asked))
    assert not [path for path in asked if "B2021Several" in path], "an ensemble's are not of one network"


def test_a_document_that_cannot_be_fetched_affects_only_its_entry_and_leaves_no_column_null_for_ever(tmp_path, folder):
    clocks = Clocks(sleep=lambda _: None)
    with WebServer() as server, Door(tmp_path / "cache", allow_private=True, clocks=clocks) as door:
        server.add("/model_info/cifar10/Linf/A2020Robust.json", b"{}", *[status(503)] * 20)
        found = by_id(discover(door, folder, model_info=f"{server.url}/model_info"))
    assert found["cifar10/Linf/A2020Robust"].reason is Reason.FETCH_FAILED
    assert isinstance(found["cifar10/Linf/Standard"], Checkpoint)


@pytest.mark.parametrize(
    ("stated", "eps"),
    [
        *(("8/255", 8 / 255), (0.5, 0.5), ("0.031", 0.031), (2, 2.0)),
        *((wrong, None) for wrong in ("1/0", "-1/2", "nan", "1e999", "?", "", None, [8])),
    ],
)
def test_the_size_of_an_attack(stated, eps):
    assert _eps(stated) == eps


@pytest.mark.slow
def test_the_package_comes_from_an_index_or_a_folder(door, folder):
    with WebServer() as server:
        url = offer(server, "robustbench", {"robustbench-1.0-py3-none-any.whl": package()})
        indexed = discover(door, folder, path=None, index_url=url)
    for path in (*TABLES.values(), *ADDRESSES):
        (folder / "unpacked" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "unpacked" / path).write_text("")
    (folder / "unpacked" / TABLES["cifar10"]).write_text(textwrap.dedent(CIFAR))
    assert indexed == discover(door, folder)
    assert len(discover(door, folder, path="unpacked", datasets=("cifar10",))) == 8


def test_a_file_that_is_not_the_one_its_name_promises_is_refused(tmp_path):
    from filterzoo.records import Artifact

    with WebServer() as server, Door(tmp_path / "cache", allow_private=True) as door:
        source = RobustBenchSource(RobustBenchOptions(), door, tmp_path)
        good = hashlib.sha256(b"weights").hexdigest()[:8]
        for digits, body in ((good, b"weights"), ("0676ba61", b"others")):
            server.add(f"/resnet50-{digits}.pth", body)
        with source.open(Artifact(url=f"{server.url}/resnet50-{good}.pth")) as file:
            assert file.read(0, 7) == b"weights"
        with pytest.raises(Refused) as caught:
            source.open(Artifact(url=f"{server.url}/resnet50-0676ba61.pth"))
        assert caught.value.reason is Reason.HASH_MISMATCH


@pytest.mark.parametrize("code", ["def (", "x = '\\x00", "(" * 5000, "x = " + "-" * 20_000 + "1"])
def test_a_package_that_is_no_python_is_refused(door, folder, code):
    (folder / "robustbench-1.0-py3-none-any.whl").write_bytes(package(cifar=code))
    with pytest.raises(Refused) as caught:
        discover(door, folder)
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.index
def test_the_published_package_has_206_entries(door, tmp_path):
    path = index_packages.wheel("robustbench", "1.1.1")
    listed = discover(door, path.parent, package="robustbench==1.1.1", path=path.name)
    assert not [entry for entry in listed if isinstance(entry, Refusal)]
    networks = Counter(re.sub(r"#m\d+$", "", checkpoint.id) for checkpoint in listed)
    assert len(networks) == 206
    assert Counter(networks.values()) == {1: 195, 2: 3, 3: 4, 6: 4}
    counts = Counter("/".join(name.split("/")[:2]) for name in networks)
    assert counts == {
        "cifar10/Linf": 76,
        "cifar10/L2": 21,
        "cifar10/corruptions": 17,
        "cifar100/Linf": 38,
        "cifar100/corruptions": 12,
        "imagenet/Linf": 30,
        "imagenet/corruptions": 12,
    }
    drive = [c.artifacts[0].url for c in listed if c.artifacts[0].url.startswith("https://drive.google.com/")]
    assert (len(drive), len(set(drive)), len(listed)) == (223, 203, 237)
    others = Counter(c.artifacts[0].url.split("/")[2] for c in listed if c.artifacts[0].url not in drive)
    assert others == {"github.com": 11, "download.pytorch.org": 3}
    assert Counter(c.pair_id for c in listed if c.pair_id) == {
        "cifar10/WideResNet(depth=28, widen_factor=10)": 7,
        "imagenet/resnet50()": 4,
    }
    for pair in {c.pair_id for c in listed} - {None}:
        assert sorted(c.robust for c in listed if c.pair_id == pair)[:2] == [False, True], "one normal, others robust"
    assert len({(c.id, c.revision) for c in listed}) == len(listed)
    for column, words in COLUMNS.items():
        assert {getattr(c, column) for c in listed} - {None} <= {word.value for word in words}
    assert Counter(c.licence for c in listed) == {"mit": 205, "apache-2.0": 29, "bsd-3-clause": 1, "cc-by-nc-sa-4.0": 2}
    # A manifest that names no licences publishes all but the two; Rony2019Decoupling asks for notice only.
    assert sum(Policy().decide(Licence.parse(c.licence)).weights for c in listed) == 235


@pytest.mark.index
def test_no_entry_of_the_published_package_is_read_differently_by_hand():
    """The names between `('` and `', {` at the start of a line, and every Drive id, as text."""
    with zipfile.ZipFile(index_packages.wheel("robustbench", "1.1.1")) as archive:
        texts = {path: archive.read(path).decode() for path in (*TABLES.values(), *ADDRESSES)}
    read = list(entries(texts))
    code = "\n".join(re.sub(r"#.*", "", texts[path]) for path in TABLES.values())
    assert Counter(entry.name for entry in read) == Counter(re.findall(r"^\s*\('([^']+)',\s*\{", code, re.MULTILINE))
    ids = Counter(drive_id for entry in read for drive_id in entry.drive_ids)
    assert ids == Counter(re.findall(r"[\"'](1[A-Za-z0-9_-]{32})[\"']", code))


def test_torchvisions_address_is_the_one_it_loads():
    from torchvision.models import ResNet50_Weights

    assert TORCHVISION["resnet50"] == ResNet50_Weights.IMAGENET1K_V1.url
