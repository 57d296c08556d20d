"""The explorer: what is written, and the page in a real Chromium against a file server on loopback."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.analysis import synthetic
from tests.analysis.test_hub import NAME, hub  # noqa: F401  # a fixture
from tests.program import filterzoo

from filterzoo.errors import StartError
from filterzoo_analysis.explorer import writing

VENDOR = Path(writing.__file__).parent / "vendor"


def facts(page: Path) -> dict:
    return json.loads(re.search(r'<script id="dataset" type="application/json">(.*?)</script>', page.read_text())[1])


def policy(page: Path) -> str:
    return re.search(r'Content-Security-Policy" content="([^"]*)"', page.read_text())[1]


@pytest.fixture(scope="module")
def published(mixed, tmp_path_factory) -> Path:
    """The mixed zoo with a card that names its configs, so that `datasets` finds them."""
    folder = shutil.copytree(mixed, tmp_path_factory.mktemp("published") / "zoo")
    configs = [{"config_name": config, "data_files": f"data/{config}/**"} for config in writing.CONFIGS]
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    return folder


@pytest.fixture(scope="module")
def written(published, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("explorer")
    ran = filterzoo("report", published, "--explorer", "-o", folder)
    assert ran.code == 0, ran.err
    assert ran.out.strip() == str(folder / "index.html")
    return folder


def test_a_folder_has_copies_of_what_the_page_reads_and_no_more(written, published):
    copies = sorted(path.relative_to(written) for path in written.rglob("*.parquet"))
    assert {path.parts[1] for path in copies} == set(writing.CONFIGS)
    assert [(written / path).read_bytes() for path in copies] == [(published / path).read_bytes() for path in copies]
    listed = facts(written / "index.html")["files"]
    assert sorted(path for places in listed.values() for path, _ in places) == [str(path) for path in copies]
    assert [size for _, size in listed["layers"]] == [
        (written / "data/layers/made/permissive").glob("*").__next__().stat().st_size
    ]
    card = (written / "README.md").read_text().split("---")[1]
    assert yaml.safe_load(card) == {"title": "FilterZoo explorer", "sdk": "static", "pinned": False}


def test_the_policy_lets_nothing_in_but_the_page_and_the_data_set(written):
    rules = dict(rule.strip().split(" ", 1) for rule in policy(written / "index.html").split(";"))
    assert (rules["default-src"], rules["connect-src"], rules["base-uri"]) == ("'none'", "'self'", "'none'")
    assert re.fullmatch(r"('sha256-[A-Za-z0-9+/]{43}='( |$)){2}", rules["script-src"])
    assert "unsafe" not in policy(written / "index.html")
    assert "The MIT License" in (written / "index.html").read_text()


def test_a_data_set_on_the_hub_is_read_there_at_its_commit(hub, tmp_path, monkeypatch):  # noqa: F811  # the fixture
    for name, value in {**hub.environment, "HF_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    ran = filterzoo("report", NAME, "--explorer", "-o", tmp_path / "page", fresh=True)
    assert ran.code == 0, ran.err
    page = tmp_path / "page" / "index.html"
    commit = hub.repos[NAME].tags["v2"].oid
    for places in facts(page)["files"].values():
        for address, size in places:
            assert address.startswith(f"{hub.environment['HF_ENDPOINT']}/datasets/{NAME}/resolve/{commit}/data/")
            assert size > 0
    assert f"connect-src {hub.environment['HF_ENDPOINT']};" in policy(page)
    assert yaml.safe_load(page.with_name("README.md").read_text().split("---")[1])["datasets"] == [NAME]


def test_what_is_no_data_set_leaves_no_page(tmp_path):
    with pytest.raises(StartError, match="not a published data set"):
        writing.write(str(tmp_path), tmp_path / "page")
    assert not (tmp_path / "page").exists()


@pytest.mark.slow
@pytest.mark.index
def test_the_bundle_is_what_npm_gives(tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    for name in ("package.json", "package-lock.json", "entry.js"):
        shutil.copy(VENDOR / name, tmp_path)
    for command in (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "run", "build"]):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=300, capture_output=True)
    assert (tmp_path / "hyparquet.js").read_bytes() == (VENDOR / "hyparquet.js").read_bytes()
    licences = (VENDOR / "LICENSES.txt").read_text()
    for package in ("hyparquet", "fzstd"):
        assert (tmp_path / "node_modules" / package / "LICENSE").read_text().strip() in licences


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, without ranges and without a word."""

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(written):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=written))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def page(browser, address):
    """The opened page; the test fails where the console says anything, or anything but the data set is asked for."""
    told: list[str] = []
    here = address.rpartition("/")[0]
    allowed = (address, f"{here}/data/layers/", f"{here}/data/filters_sample/")
    opened = browser.new_page()
    opened.on("console", lambda message: told.append(message.text))
    opened.on("pageerror", lambda error: told.append(str(error)))
    opened.on("dialog", lambda dialog: told.append(dialog.message))
    opened.on("request", lambda request: None if request.url.startswith(allowed) else told.append(request.url))
    opened.goto(address)
    opened.wait_for_selector("#mosaic canvas")
    yield opened
    opened.close()
    assert told == []


def ask(page, number: int, column: str, how: str, value: str | None) -> None:
    page.get_by_label(f"Column of condition {number}").select_option(column)
    page.get_by_label(f"Comparison of condition {number}").select_option(how)
    if value is not None:
        page.get_by_label(f"Value of condition {number}").fill(value)


@pytest.mark.slow
def test_layers_are_chosen_by_any_column_and_the_line_loads_the_same(page):
    """Text, numbers and yes or no together; what the page counts, `datasets` loads with the copied line."""
    from playwright.sync_api import expect

    assert page.locator("#found").inner_text() == "108 of 108 layers, in 37 models."
    ask(page, 1, "task", "==", "classification")
    page.get_by_role("button", name="Add a condition").click()
    ask(page, 2, "robust", "yes", None)
    page.get_by_role("button", name="Add a condition").click()
    ask(page, 3, "conv_depth_norm", ">=", "0.5")
    page.get_by_role("button", name="Add a condition").click()
    ask(page, 4, "name", "contains", "layer1")
    expect(page.locator("#found")).to_have_text("6 of 108 layers, in 6 models.")
    assert page.locator("#table tbody tr").count() == 6
    assert "96 filters" in page.locator("#subject").inner_text()
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    line = page.evaluate("navigator.clipboard.readText()")
    found: dict = {}
    exec(line, found)  # that it runs is what is tested
    assert len(found["layers"]) == 6
    assert {(row["robust"], row["name"]) for row in found["layers"]} == {(True, "layer1.weight")}


@pytest.mark.slow
def test_hostile_strings_are_text_on_the_page_and_in_the_line(page):
    from playwright.sync_api import expect

    ask(page, 1, "task", "==", synthetic.HOSTILE)
    expect(page.locator("#found")).to_have_text("1 of 108 layers, in 1 model.")
    assert "<img src=x onerror=alert(1)></script>" in page.locator("#table tbody th").inner_text()
    assert r"\u{202e}" in page.locator("#table tbody th").inner_text()
    assert page.locator("main img, #table script").count() == 0
    found: dict = {}
    exec(page.locator("#line").text_content(), found)  # as above
    assert found["layers"]["task"] == [synthetic.HOSTILE]
    page.get_by_role("button", name="Show the filters of this layer").click()
    expect(page.locator("#subject")).to_contain_text("16 of the 16 filters")
    assert "<script>alert(2)</script>" in page.locator("#subject").inner_text()
    page.get_by_role("button", name="Back to the whole selection").click()
    expect(page.locator("#whole")).to_be_hidden()


@pytest.mark.slow
def test_the_filters_that_are_drawn_are_those_of_the_sample(page, published):
    """Blue and red where the sample has negative and positive weights, white where it has none."""
    import datasets
    from playwright.sync_api import expect

    first = "made/classification-0@1"
    ask(page, 1, "model_id", "==", first)
    expect(page.locator("#subject")).to_contain_text("48 of the 48 filters")
    rows = datasets.load_dataset(str(published), "filters_sample", split="train", filters=[("model_id", "==", first)])
    weights = rows[0]["weights"]
    pixels = page.evaluate("""() => {
        const read = document.querySelector('#mosaic canvas').getContext('2d').getImageData(0, 0, 24, 24).data;
        const middle = (i) => 4 * (24 * (Math.floor(i / 3) * 8 + 4) + (i % 3) * 8 + 4);
        return [...Array(9).keys()].map((i) => [...read.slice(middle(i), middle(i) + 4)]);
    }""")
    for weight, (red, _, blue, opaque) in zip(weights, pixels, strict=True):
        assert opaque == 255
        assert (red > blue) is (weight > 0), (weight, red, blue)


@pytest.mark.slow
def test_an_invalid_number_and_a_broken_file_are_reported(browser, page, written, address):
    from playwright.sync_api import expect

    ask(page, 1, "sparsity", ">=", "much")
    expect(page.locator("#found")).to_contain_text("“much” is not a number.")
    expect(page.get_by_label("Value of condition 1")).to_have_attribute("aria-invalid", "true")
    broken = browser.new_page()
    broken.route("**/data/layers/**", lambda route: route.fulfill(body=b"PAR1" + b"\0" * 500 + b"PAR1"))
    broken.goto(address)
    expect(broken.locator("#found")).to_contain_text("The data set could not be read: ")
    broken.close()


@pytest.mark.slow
def test_a_phone_does_not_scroll_sideways(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator(".sideways").is_visible()
