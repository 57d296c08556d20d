"""The medical repositories: tables of real packages, Zenodo and the Hub on loopback with answers made here."""

import csv
import hashlib
import io
import json
import zipfile
from collections import Counter
from dataclasses import fields
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests import index_packages
from tests.model_hub import ModelHub, Repo
from tests.plugins.sources.package_files import offer, sdist, wheel
from tests.servers import WebServer, status

from filterzoo.errors import Reason, Refused
from filterzoo.licensing.licences import Licence
from filterzoo.network.door import Door
from filterzoo.network.files.cache import default_folder
from filterzoo.network.time_limits import Clocks
from filterzoo.outcome import Refusal
from filterzoo.records import Artifact, Checkpoint
from filterzoo_plugins.sources.medical import (
    PACKAGES,
    REPOSITORIES,
    MedicalOptions,
    MedicalSource,
    nnunet_v1,
    torchxrayvision,
)
from filterzoo_plugins.sources.medical._repository import MedicalRepository

FACTS = Path(__file__).parents[3] / "manifests" / "facts" / "medical.csv"
LUNGMASK = b"""
import SimpleITK
raise SystemExit("imported")
MODEL_URLS = {
    "R231": ("https://github.com/JoHof/lungmask/releases/download/v0.0/unet_r231-d5d2fc3d.pth", 3),
    "Odd": call(),
    "Other": ("https://zoo.example/other.pth", 6),
}
"""
SEGMENTATOR = {
    "totalsegmentator/map_tasks_config.py": b"""
DEFAULT_CONFIG = {"model": "3d_fullres", "folds": [0], "plans": None}
TASK_CONFIGS = {
    "total": {"sub_modes": {"fast": {"task_id": 2, "trainer": "T"}, "default": {"task_id": [1, 3], "trainer": "T"}}},
    "knee_mr": {"task_id": 4, "trainer": "Tk", "model": "3d_high", "folds": [0, 1]},
    "clot": {"task_id": 5, "trainer": "T"},
    "sold": {"task_id": 6, "trainer": "T"},
    "again": {"task_id": 4, "trainer": "T"},
    "broken": 7,
}
TASK_ID_WEIGHTS_CONFIGS = {
    1: {"foldername": "Dataset001_a", "version": "v1-weights"},
    2: {"foldername": "Dataset002_b", "version": "v2-weights"},
    3: {"foldername": "Dataset003_c", "version": "TODO"}, 4: {"foldername": "Dataset004_d", "version": "v1-weights"},
    5: {"foldername": "Dataset005_e", "version": "v1-weights"}, 6: {"foldername": "Dataset006_f"},
    "xgb": {"foldername": "trees", "version": "v1-weights"},
    8: {"foldername": "Dataset008_g", "version": "v1-weights", "commercial": True},
}
""",
    "totalsegmentator/map_to_binary.py": b'commercial_models = {"sold": 6, "clot": 5}\n',
    "totalsegmentator/registry.py": b'_MR_TASKS_WITHOUT_SUFFIX = {"clot"}\n',
}
NNUNET = b"""
def get_available_models():
    available_models = {
        "Task002_Heart": {'description': "x", 'url': "https://zenodo.org/record/40/files/Task002_Heart.zip?download=1"},
        "Task115_COVIDSegChallenge": {'url': (
            "https://zenodo.org/record/41/files/Task115_a.zip?download=1",
            "https://zenodo.org/record/41/files/Task115_b.zip?download=1",
        )},
        "Task900_Elsewhere": {'url': "https://evil.example/record/1/files/x.zip"},
        "Task901_None": {'url': ()},
    }
    return available_models
"""


def archive(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name in names:
            made.writestr(name, b"x" * 10)
    return buffer.getvalue()


@pytest.fixture
def server():
    with WebServer() as running:
        yield running


@pytest.fixture
def hub(monkeypatch):
    with ModelHub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


@pytest.fixture
def discover(tmp_path):
    with Door(tmp_path / "cache", allow_private=True, clocks=Clocks(sleep=lambda _: None)) as door:

        def discover(*repositories, **options):
            made = MedicalOptions(repositories=repositories, **options)
            return {found.id: found for found in MedicalSource(made, door, tmp_path).discover()}

        yield discover


# Tables in packages


def test_lungmasks_table_is_data(server, discover):
    index = offer(server, "lungmask", {"lungmask-1.0-py3-none-any.whl": wheel({"lungmask/mask.py": LUNGMASK})})
    found = discover("lungmask", index_url=index, packages={"lungmask": "lungmask==1.0"})
    assert list(found) == ["lungmask/R231", "lungmask/Other"]
    one = found["lungmask/R231"]
    assert (one.revision, one.modality, one.anatomy, one.task) == ("sha256:d5d2fc3d", "ct", "lung", "segmentation")
    assert one.licence == "apache-2.0"
    assert found["lungmask/Other"].revision == "other.pth"


def test_a_file_of_lungmask_is_the_one_that_its_name_promises(server, tmp_path):
    place = "/JoHof/lungmask/releases/download/v0.0"
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    with Door(tmp_path / "cache", allow_private=True) as door:
        source = MedicalSource(MedicalOptions(), door, tmp_path)
        for url in (f"{place}/unet-{digits}.pth", f"{place}/unet-d5d2fc3d.pth", "/elsewhere/unet-d5d2fc3d.pth"):
            server.add(url, b"weights")
        with source.open(Artifact(url=f"{server.url}{place}/unet-{digits}.pth")) as file:
            assert file.verified_sha256 == hashlib.sha256(b"weights").hexdigest()
        with source.open(Artifact(url=f"{server.url}/elsewhere/unet-d5d2fc3d.pth")) as file:
            assert file.read(0, 7) == b"weights"
        with pytest.raises(Refused) as caught:
            source.open(Artifact(url=f"{server.url}{place}/unet-d5d2fc3d.pth"))
    assert caught.value.reason is Reason.HASH_MISMATCH


def test_totalsegmentators_open_weights_are_members_of_release_zips(server, discover):
    made = wheel(SEGMENTATOR, "totalsegmentator")
    index = offer(server, "totalsegmentator", {"totalsegmentator-1.0-py3-none-any.whl": made})
    options = {"index_url": index, "packages": {"totalsegmentator": "totalsegmentator==1.0"}}
    found = discover("totalsegmentator", **options)
    assert list(found) == [
        "totalsegmentator/total/Dataset002_b/fold_0",
        "totalsegmentator/total/Dataset001_a/fold_0",
        "totalsegmentator/knee_mr/Dataset004_d/fold_0",
    ]
    knee = found["totalsegmentator/knee_mr/Dataset004_d/fold_0"]
    (artifact,) = knee.artifacts
    assert artifact.url == "https://github.com/wasserth/TotalSegmentator/releases/download/v1-weights/Dataset004_d.zip"
    assert artifact.member == "Dataset004_d/Tk__nnUNetPlans__3d_high/fold_0/checkpoint_final.pth"
    assert (knee.modality, knee.visual_category, knee.licence) == ("mr", "medical-mri", "apache-2.0")
    assert found["totalsegmentator/total/Dataset001_a/fold_0"].modality == "ct"
    assert len(discover("totalsegmentator", folds="all", **options)) == 4


def test_an_alias_of_torchxrayvision_is_no_second_network(server, discover):
    files = dict.fromkeys(torchxrayvision.FILES, b"")
    files["torchxrayvision/models.py"] = b"""
model_urls = {}
model_urls['nih'] = {"weights_url": 'https://github.com/mlmed/x/releases/download/v1/nih.pt', "t": [0.1, np.nan]}
model_urls['densenet121-res224-nih'] = model_urls['nih']
model_urls['none'] = {"weights_url": 'https://github.com/mlmed/x/releases/download/v1/config.yaml'}
"""
    files["torchxrayvision/baseline_models/mira/__init__.py"] = b"""
class Model:
    def __init__(self):
        url = ('https://github.com/mlmed/x/'
               'releases/download/v1/mira.ckpt')
"""
    index = offer(server, "torchxrayvision", {"torchxrayvision-1.0-py3-none-any.whl": wheel(files, "torchxrayvision")})
    found = discover("torchxrayvision", index_url=index, packages={"torchxrayvision": "torchxrayvision==1.0"})
    assert list(found) == ["torchxrayvision/nih", "torchxrayvision/mira"]
    nih = found["torchxrayvision/nih"]
    assert (nih.architecture, nih.training_dataset, nih.revision) == ("densenet121", "nih", "v1")
    assert found["torchxrayvision/mira"].licence is None
    assert found["torchxrayvision/mira"].artifacts[0].url.endswith("/releases/download/v1/mira.ckpt")


@pytest.mark.index
def test_the_published_packages(monkeypatch, server, discover):
    """Every table as it is in the real package, out of an index that offers it; Zenodo's archives are made here."""
    counts = {"lungmask": 3, "torchxrayvision": 18, "totalsegmentator": 50}
    for name, expected in counts.items():
        package, version = PACKAGES[name].split("==")
        path = index_packages.wheel(package, version)
        index = offer(server, package, {path.name: path.read_bytes()})
        found = discover(name, index_url=index)
        assert len(found) == expected
        assert not [entry for entry in found.values() if isinstance(entry, Refusal)]
        assert all(entry.task and entry.modality for entry in found.values())
        hosts = Counter(entry.artifacts[0].url.split("/")[2] for entry in found.values())
        assert hosts == {"github.com": expected}


# Archives on Zenodo


@pytest.mark.index
def test_the_published_list_of_nnunet(server, tmp_path):
    """26 tasks in 33 archives; none of them is offered here, so each is a ledger entry."""
    with Door(default_folder(), allow_private=True, clocks=Clocks(sleep=lambda _: None)) as door:
        options = MedicalOptions(repositories=("nnunet_v1",), zenodo=server.url)
        found: list[Any] = list(MedicalSource(options, door, tmp_path).discover())
    assert len({entry.id.split("/")[1] for entry in found}) == 26
    assert len({entry.url for entry in found}) == 33
    assert {(type(entry), entry.reason) for entry in found} == {(Refusal, Reason.REMOVED)}
    with FACTS.open(newline="", encoding="utf-8") as file:
        known = {row["name"] for row in csv.DictReader(file)}
    assert {"/".join(entry.id.split("/")[:2]) for entry in found} <= known


def test_the_networks_in_an_archive_are_listed_by_its_directory(server, discover):
    heart = "nnUNet/{}/Task002_Heart/nnUNetTrainerV2__nnUNetPlansv2.1/{}/model_final_checkpoint.model"
    names = [heart.format(c, f) for c in ("2d", "3d_fullres") for f in ("fold_0", "fold_1", "all")]
    body = archive(*names, "nnUNet/2d/Task002_Heart/plans.pkl", *(f"{name}.pkl" for name in names))
    server.add("/record/40/files/Task002_Heart.zip?download=1", body)
    server.add("/record/41/files/Task115_a.zip?download=1", b"not a zip at all" * 9)
    index = offer(server, "nnunet", {"nnunet-1.0.tar.gz": sdist({nnunet_v1.FILE: NNUNET}, "nnunet")})
    options = {"index_url": index, "packages": {"nnunet_v1": "nnunet==1.0"}, "zenodo": server.url}
    found = discover("nnunet_v1", **options)
    first = "nnunet_v1/Task002_Heart/Task002_Heart/nnUNet/2d/Task002_Heart/nnUNetTrainerV2__nnUNetPlansv2.1/fold_0"
    assert list(found)[:2] == [first, first.replace("/2d/", "/3d_fullres/")]
    one = found[first]
    assert (one.artifacts[0].member, one.revision, one.modality) == (heart.format("2d", "fold_0"), "zenodo:40", "mr")
    assert (one.anatomy, one.licence) == ("heart", None)
    refused = [entry for entry in found.values() if isinstance(entry, Refusal)]
    assert [(entry.id, entry.reason) for entry in refused] == [
        ("nnunet_v1/Task115_COVIDSegChallenge/Task115_a", Reason.MALFORMED),
        ("nnunet_v1/Task115_COVIDSegChallenge/Task115_b", Reason.REMOVED),
    ]
    assert len(discover("nnunet_v1", folds="all", **options)) == 6 + 2


def test_medmnists_record_names_its_archives(server, discover):
    record = {
        "id": 7782113,
        "metadata": {"title": "weights", "license": {"id": "cc-by-4.0"}},
        "files": [
            {"key": "weights_pathmnist.zip", "size": 1, "checksum": "md5:0", "links": {"self": "https://elsewhere/x"}},
            {"key": "weights_organmnist3d.zip", "size": 1},
            {"key": "readme.txt", "size": 1},
            "odd",
        ],
    }
    server.add("/api/records/7782113", json.dumps(record).encode(), content_type="application/json")
    names = ("weights_pathmnist/resnet18_28_1.pth", "weights_pathmnist/autokeras/x.h5", "weights_pathmnist/other.pth")
    server.add("/records/7782113/files/weights_pathmnist.zip?download=1", archive(*names))
    server.add("/records/7782113/files/weights_organmnist3d.zip?download=1", archive("a/ResNet50_3d_1.pth"))
    found = discover("medmnist", zenodo=server.url)
    assert list(found) == [
        "medmnist/pathmnist/weights_pathmnist/other",
        "medmnist/pathmnist/weights_pathmnist/resnet18_28_1",
        "medmnist/organmnist3d/a/ResNet50_3d_1",
    ]
    one = found["medmnist/pathmnist/weights_pathmnist/resnet18_28_1"]
    assert (one.architecture, one.modality, one.licence) == ("resnet18", "microscopy", "cc-by-4.0")
    assert one.training_dataset == "pathmnist"
    assert found["medmnist/pathmnist/weights_pathmnist/other"].architecture is None
    assert found["medmnist/organmnist3d/a/ResNet50_3d_1"].modality == "ct"


def test_a_listed_member_is_the_one_that_is_read(server, discover, tmp_path):
    """Through the line: an archive of two networks, of which each is a checkpoint of its own."""
    import torch

    from filterzoo.crawl.worker.opening import opened
    from filterzoo.jail import Jail
    from filterzoo.plugins import load, references

    networks = {}
    for number in range(2):
        buffer = io.BytesIO()
        torch.save({"net": {"conv.weight": torch.full((4 + number, 3, 3, 3), 1.0)}}, buffer)
        networks[f"w/resnet18_{number}.pth"] = buffer.getvalue()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in networks.items():
            made.writestr(name, content)
    server.add("/records/7782113/files/weights_bloodmnist.zip?download=1", packed.getvalue())
    record = {"files": [{"key": "weights_bloodmnist.zip"}]}
    server.add("/api/records/7782113", json.dumps(record).encode(), content_type="application/json")
    found = discover("medmnist", zenodo=server.url)
    shapes = []
    readers = load(references(())).format_references
    with Door(tmp_path / "other", allow_private=True) as door, Jail(readers) as jail:
        source = MedicalSource(MedicalOptions(), door, tmp_path)
        for checkpoint in found.values():
            (given,) = checkpoint.artifacts
            with source.open(given) as file, opened(file, given.name, jail, tmp_path, given.member) as (_, index):
                shapes += [tensor.shape for tensor in index.convolutions]
    assert shapes == [(4, 3, 3, 3), (5, 3, 3, 3)]


# Repositories on the Hub


LICENCE = Path(str(distribution("timm").locate_file(f"timm-{version('timm')}.dist-info/licenses/LICENSE"))).read_bytes()


def test_an_archive_without_ranges_is_fetched_once_to_list_it_in_all_runs(server, tmp_path):
    url = server.add("/records/1/files/Task.zip", archive("a/model.pt", "b/"), ranges=False, etag=False)
    for _ in range(3):
        with Door(tmp_path / "cache", allow_private=True) as door:
            assert list(MedicalRepository("nnunet_v1", door).zipped(url, "x", "1")) == ["a/model.pt"]
    assert len(server.requests) == 1


def test_monai_networks_are_known_by_file_and_licences_by_the_repositorys_file(hub, discover):
    inference = {
        "trained_autoencoder_path": "$@model_dir + '/autoencoder_epoch273.pt'",
        "trained_diffusion_path": "$@model_dir + '/first_v1.pt'",
        "trained_mask_generation_autoencoder_path": "$@model_dir + '/mask_generation_autoencoder.pt'",
        "autoencoder_def": {"_target_": "monai.x.AutoencoderKlMaisi"},
        "mask_generation_autoencoder_def": {"_target_": "monai.x.AutoencoderKL"},
        "diffusion_unet_def": {"_target_": "monai.x.DiffusionModelUNet"},
        "mask_generation_diffusion_def": {"_target_": "monai.x.Other"},
    }
    names = ["autoencoder_epoch273.pt", "first_v1.pt", "mask_generation_autoencoder.pt", "unheard_of.pt"]
    weights_of_their_own = (
        b"Code License\n\nThis license applies to all files except the model weights in the directory.\n\n"
    )
    weights_of_their_own += (
        LICENCE + b"\n\nModel Weights License\n\nThis license applies to model weights in the directory.\n\nAsk us.\n"
    )
    hub.repos = {
        "MONAI/generative": Repo(
            {f"models/{name}": name.encode() * 9 for name in names}
            | {
                "configs/inference.json": json.dumps(inference).encode(),
                "configs/metadata.json": b'{"task": "CT image synthesis"}',
                "LICENSE": weights_of_their_own,
            }
        ),
        "MONAI/organs": Repo(
            {
                "models/model.pt": b"w" * 9,
                "configs/inference.yaml": b"network_def: {_target_: monai.networks.nets.DiNTS}\nx: &a [1]\ny: *a\n",
                "configs/metadata.json": b'{"task": "Multi-organ segmentation in abdominal CT"}',
                "LICENSE": LICENCE,
            }
        ),
    }
    found = discover("monai")
    one = {name.rpartition("/")[2]: (c.architecture, c.task) for name, c in found.items() if "generative" in name}
    assert one == {
        "autoencoder_epoch273": ("AutoencoderKlMaisi", "auto-encoder"),
        "first_v1": ("DiffusionModelUNet", "gan-generator"),
        "mask_generation_autoencoder": ("AutoencoderKL", "auto-encoder"),
        "unheard_of": (None, "gan-generator"),
    }
    assert {c.licence for name, c in found.items() if "generative" in name} == {"other"}  # the weights' own terms
    organs = found["monai/organs"]
    assert (organs.licence, organs.licence_from) == ("apache-2.0", "licence-file")
    assert (organs.architecture, organs.task) == ("DiNTS", "segmentation")


def test_monai_bundles_are_read_as_data(hub, discover):
    metadata = {"network_data_format": {"inputs": {"image": {"modality": "CT", "num_channels": 1}}, "outputs": {}}}
    inference = {"network_def": {"_target_": "monai.networks.nets.SegResNet", "x": "$__import__('os').system('false')"}}
    apache = {"tags": ["license:apache-2.0"]}

    def bundle(metadata, inference):
        files = {"models/model.pt": b"weights" * 9, "models/model.ts": b"script" * 9, "LICENSE": LICENCE}
        configs = {"configs/metadata.json": metadata, "configs/inference.json": inference}
        return Repo(files | {path: json.dumps(config).encode() for path, config in configs.items()}, dict(apache))

    hub.repos = {
        "MONAI/spleen_ct_segmentation": bundle(metadata, inference),
        "MONAI/pathology": bundle({"network_data_format": {"inputs": {"image": {"modality": "regular"}}}}, {}),
        "MONAI/two": bundle(
            {"network_data_format": {"inputs": {"a": {"modality": "MR"}, "b": {"modality": "CT"}}}},
            {"network_def": {"_target_": "$evil()"}},
        ),
        "MONAI/broken": Repo(
            {"models/model.pt": b"w" * 9, "configs/metadata.json": b"{", "configs/inference.json": b"7"}
        ),
        "MONAI/bare": Repo({"model.pt": b"w" * 9}),
        "MONAI/segmentation_template": bundle(metadata, inference),
    }
    found = discover("monai")
    assert set(found) == {f"monai/{name}" for name in ("spleen_ct_segmentation", "pathology", "two", "broken", "bare")}
    spleen = found["monai/spleen_ct_segmentation"]
    assert (spleen.modality, spleen.visual_category) == ("ct", "medical-ct")
    assert (spleen.architecture, spleen.licence) == ("SegResNet", "apache-2.0")
    assert spleen.revision == hub.repos["MONAI/spleen_ct_segmentation"].sha
    assert [artifact.name for artifact in spleen.artifacts] == ["model.pt"]
    for name in ("pathology", "two", "broken", "bare"):
        assert (found[f"monai/{name}"].modality, found[f"monai/{name}"].architecture) == (None, None)


def test_medicalnet_and_radimagenet_come_from_the_hub(hub, discover):
    misleading = {"tags": ["license:mit", "dataset:MRBrainS18"]}
    hub.repos = {
        "TencentMedicalNet/MedicalNet-Resnet10": Repo(
            {"resnet_10.pth": b"1" * 9, "resnet_10_23dataset.pth": b"2" * 9}, dict(misleading)
        ),
        "Lab-Rasool/RadImageNet": Repo({"ResNet50.pt": b"1" * 9, "DenseNet121.pt": b"2" * 9}, dict(misleading)),
    }
    found = discover("medicalnet", "radimagenet")
    assert set(found) == {
        "medicalnet/MedicalNet-Resnet10/resnet_10",
        "medicalnet/MedicalNet-Resnet10/resnet_10_23dataset",
        "radimagenet/RadImageNet/ResNet50",
        "radimagenet/RadImageNet/DenseNet121",
    }
    net = found["medicalnet/MedicalNet-Resnet10/resnet_10"]
    assert (net.architecture, net.modality, net.training_dataset) == ("resnet10", "ct+mr", None)
    assert net.licence == "mit"
    rad = found["radimagenet/RadImageNet/ResNet50"]
    assert (rad.licence, rad.training_dataset, rad.modality) == (None, "radimagenet", "mixed")


# The source


def test_a_repository_that_cannot_be_listed_does_not_stop_the_others(server, discover):
    index = offer(server, "lungmask", {"lungmask-1.0-py3-none-any.whl": wheel({"lungmask/mask.py": LUNGMASK})})
    server.add("/api/records/7782113", b"", *[status(503)] * 9)
    found = discover("medmnist", "lungmask", index_url=index, packages={"lungmask": "lungmask==1.0"}, zenodo=server.url)
    assert found["medmnist"].reason is Reason.FETCH_FAILED
    assert "lungmask/R231" in found


def test_which_networks_may_be_chosen(server, discover):
    index = offer(server, "lungmask", {"lungmask-1.0-py3-none-any.whl": wheel({"lungmask/mask.py": LUNGMASK})})
    options = {"index_url": index, "packages": {"lungmask": "lungmask==1.0"}}
    assert list(discover("lungmask", include=("*/R*",), **options)) == ["lungmask/R231"]
    assert list(discover("lungmask", exclude=("*/R*",), **options)) == ["lungmask/Other"]
    with pytest.raises(ValidationError):
        discover("lungmask", packages={"lungmask": "lungmask>=1"})
    with pytest.raises(ValidationError):
        discover("nobody")


def test_curated_facts_are_columns_of_known_repositories():
    """Words, doubles and sources are checked for all facts alike."""
    with FACTS.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert not [name for name, count in Counter(row["name"] for row in rows).items() if count > 1]
    known = {field.name for field in fields(Checkpoint)} | {"name", "source"}
    assert set(rows[0]) <= known
    assert None not in {key for row in rows for key in row}
    for row in rows:
        assert row["name"].partition("/")[0] in REPOSITORIES
        assert not row["licence"] or Licence.parse(row["licence"]).expression == row["licence"]
    assert {row["name"] for row in rows if "/" not in row["name"]} == set(REPOSITORIES)
