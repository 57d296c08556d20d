"""publish and verify as a user types them: what they print, and how they end."""

from __future__ import annotations

import pytest
from tests.program import filterzoo
from tests.publish.work import ledger, write_work, zoo

from filterzoo.dataset.published import is_hub_name


@pytest.fixture
def place(tmp_path):
    write_work(tmp_path / "filterzoo-work", zoo(), ledger())
    return tmp_path


def test_publish_then_verify_then_damage(place):
    dry = filterzoo("publish", "out", "--dry-run", cwd=place)
    assert dry.code == 0
    counts = "7 models, 19 layers, 51,336 filters; 1,848,096 bytes of weights before compression; "
    assert dry.out.startswith(f"out: would add {counts}")
    assert not (place / "out").exists()
    first = filterzoo("publish", "out", cwd=place)
    assert first.code == 0
    assert first.out.startswith(f"out: added {counts}")
    assert [line.split() for line in first.out.splitlines()[1:]] == [
        ["source", "models", "layers", "filters"],
        ["local", "1", "1", "51,200"],
        ["pypi", "6", "18", "136"],
        ["licence", "class", "models"],
        ["no-redistribution", "1"],
        ["permissive", "5"],
        ["share-alike", "1"],
    ]
    assert dry.out.replace("would add", "added") == first.out
    again = filterzoo("publish", "out", cwd=place)
    assert (again.code, again.out, again.err) == (0, "out: nothing new\n", "")
    assert filterzoo("verify", "out", cwd=place).out == "out: sound\n"
    next((place / "out/data/filters/local").rglob("*.parquet")).unlink()
    damaged = filterzoo("verify", "out", cwd=place)
    assert damaged.code == 1
    assert damaged.out.startswith("filters: data/filters/local/permissive/")


@pytest.mark.slow
def test_json_for_machines(place):
    report = filterzoo("publish", "out", "--json", cwd=place).document
    assert report["target"] == "out"
    assert report["models"] == {"pypi": 6, "local": 1}
    assert report["weight_bytes"] == 51_336 * 36
    assert report["rows"]["pypi"] == {"models": 6, "layers": 18, "filters": 136}
    assert report["licences"] == {"permissive": 5, "share-alike": 1, "no-redistribution": 1}
    assert (report["layers"], report["filters"], report["skipped"], report["is_empty"]) == (19, 51_336, 2, False)
    assert report["files"] == {
        path.relative_to(place / "out").as_posix(): path.stat().st_size
        for folder in ("data", "cards")
        for path in (place / "out" / folder).rglob("*.*")
    }
    assert filterzoo("publish", "out", "--json", cwd=place).document["is_empty"] is True
    assert filterzoo("verify", "out", "--json", cwd=place).document == {"target": "out", "problems": []}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["publish", "out", "--workdir", "nowhere"], "no crawl has been here"),
        (["publish", "."], "holds other files"),
        (["verify", "nowhere"], "nowhere: no such folder"),
        (["verify", "a-file"], "a-file: is a file, not the folder of a data set"),
        (["report", "a-file"], "a-file: is a file, not the folder of a data set"),
        (["publish", "a-file"], "a-file: is not a folder"),
        (
            ["publish", "a-file/x"],
            "a-file/x: cannot be written to: Not a directory; nothing was published; name another",
        ),
        (["verify", "a-file/x"], "a-file/x: no such folder"),
        (["takedown", "a-file/x", "--model", "pypi/x", "--yes"], "a-file/x: holds no data set"),
        (["publish", "out", "--workdir", "a-file/x"], "a-file is a file, not a folder; name another --workdir"),
        (["status", "--workdir", "nowhere"], "nowhere: no crawl has been here, there is no such folder; name the"),
        (["confidence", "a-file", "--workdir", "a-data-set"], "a-file: is no Parquet file"),
        (["status", "--workdir", "a-data-set"], "a-data-set: is a published data set, not a work folder"),
        (["publish", "out", "--workdir", "a-file"], "a-file: is a file, not a work folder; name another --workdir"),
        (["status", "--workdir", "a-file"], "a-file: is a file, not a work folder"),
        (["doctor", "--workdir", "a-file"], "a-file: is a file, not a work folder"),
        (["verify", "alice/nothing"], "alice/nothing: there is no folder of that name, and the Hub cannot be reached"),
    ],
)
def test_what_cannot_start_says_so_in_one_line(place, arguments, said):
    (place / "a-file").touch()
    (place / "a-data-set").mkdir()
    (place / "a-data-set" / "releases.csv").touch()
    ran = filterzoo(*arguments, cwd=place, env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1


def test_what_a_target_means(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    hub = ["alice/zoo", "A.b-c_d/e.f"]
    folders = ["build/zoo", "./alice/zoo", "/alice/zoo", "zoo", "a/b/c", "../alice/zoo", "alice/", "-a/b"]
    assert [name for name in [*hub, *folders] if is_hub_name(name)] == hub
