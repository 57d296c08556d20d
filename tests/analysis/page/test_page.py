"""The page in a real browser. Needs Playwright and a Chromium of the machine; nothing is installed or downloaded."""

from __future__ import annotations

from urllib.parse import quote

import numpy as np
import pytest
from tests.analysis import synthetic

from filterzoo_analysis import zoo
from filterzoo_analysis.page import report
from filterzoo_analysis.page.embedding import embedded
from filterzoo_analysis.page.models_page import document

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(report_of_mixed):
    return (report_of_mixed / "index.html").as_uri()


@pytest.fixture
def page(browser, address):
    """The opened page; the test fails where the console says anything, or anything but the page is asked for."""
    told: list[str] = []
    opened = browser.new_page()
    opened.on("console", lambda message: told.append(message.text))
    opened.on("pageerror", lambda error: told.append(str(error)))
    opened.on("dialog", lambda dialog: told.append(dialog.message))
    opened.on("request", lambda request: told.append(request.url) if request.url != address else None)
    opened.goto(address)
    yield opened
    opened.close()
    assert told == []


def test_hostile_names_are_text(page):
    link = page.locator("#table a").first
    assert "<img src=x onerror=alert(1)></script>" in link.inner_text()
    assert r"\u{202e}" in link.inner_text()
    assert page.locator("#table img, main article img").count() == 0
    link.click()
    assert "<script>alert(2)</script>" in page.locator("#model-title").inner_text()
    assert page.locator('a[href^="javascript:"]').count() == 0
    assert page.locator("#model dd", has_text="javascript:alert(3)").count() == 1


@pytest.mark.usefixtures("undrawn")
def test_columns_that_say_nothing_are_left_out(browser, tmp_path):
    models = [synthetic.random_model(f"a/b/m{n}", np.random.default_rng(n), task="x") for n in range(2)]
    written = report.write(zoo.prepare(synthetic.dataset(models)), tmp_path)
    page = browser.new_page()
    page.goto(written.as_uri())
    columns = page.locator("#table button").evaluate_all("all => all.map((b) => b.dataset.column)")
    assert "task" in columns
    assert not {"robust", "architecture", "visual_category"} & set(columns)
    assert page.locator("#table tbody th a").first.text_content() == "made/a/b/m0@1"
    page.close()


@pytest.mark.usefixtures("undrawn")
def test_no_cell_runs_into_the_next(browser, tmp_path):
    long = "package/" + "_".join(["a_directory_whose_name_goes_on"] * 4)
    models = [synthetic.random_model(f"{long}/m{n}", np.random.default_rng(n)) for n in range(2)]
    written = report.write(zoo.prepare(synthetic.dataset(models)), tmp_path)
    page = browser.new_page()
    page.goto(written.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    wide = """() => [...document.querySelectorAll('td, th')].filter((c) => c.scrollWidth > c.clientWidth + 1)
        .map((c) => c.textContent.slice(0, 60))"""
    assert page.evaluate(wide) == []
    page.close()


@pytest.mark.usefixtures("undrawn")
def test_what_the_data_set_does_not_fill_is_one_line_and_no_link(browser, tmp_path):
    models = [synthetic.random_model(f"m{n}", np.random.default_rng(n), task="x") for n in range(2)]
    page = browser.new_page()
    page.goto(report.write(zoo.prepare(synthetic.dataset(models)), tmp_path).as_uri())
    linked = page.locator("nav a").evaluate_all("all => all.map((a) => a.textContent)")
    assert linked == ["Models", "Overview", "CNN Filter DB", "Beyond"]
    folded = page.locator("#folded")
    told = "Sections that this data set does not fill: Robustness, Confidence, Medical, Growth"
    assert folded.locator("summary").inner_text() == told
    assert folded.locator("dd").count() >= 4
    assert not folded.locator("dd").first.is_visible()
    assert page.locator("main section").evaluate_all("all => all.filter((s) => !s.children.length && !s.hidden)") == []
    page.close()


def test_the_first_screen_shows_filters_and_says_what_was_found(page):
    mosaic = page.locator("figure.mosaic picture img")
    assert mosaic.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [36 * 4 - 1, 6 * 4 - 1]
    assert mosaic.bounding_box()["y"] + mosaic.bounding_box()["height"] < 900
    assert "Each is divided by its largest absolute weight." in page.locator("figure.mosaic figcaption").inner_text()
    assert page.locator(".findings li").count() == 3
    assert page.locator(".findings li", has_text="95 % interval").count() == 3
    assert (
        page.evaluate("document.querySelector('.findings').compareDocumentPosition(document.querySelector('#table'))")
        == 4
    )


def test_search_and_filters_narrow_the_table(page):
    from playwright.sync_api import expect

    assert page.locator("#found").inner_text() == "38 of 38 models"
    page.get_by_role("searchbox", name="Search").fill("organ unet")
    expect(page.locator("#found")).to_have_text("7 of 38 models")
    page.get_by_role("searchbox", name="Search").fill("")
    page.get_by_role("combobox", name="visual category").select_option(label="faces")
    assert page.locator("#found").inner_text() == "5 of 38 models"
    assert page.locator("#table tbody tr").count() == 5
    page.get_by_role("combobox", name="visual category").select_option(label="all")
    page.get_by_role("combobox", name="robust").select_option(label="yes")
    assert page.locator("#found").inner_text() == "6 of 38 models"


def test_columns_sort_by_keyboard(page):
    header = page.locator('#table button[data-column="filters_3x3"]')
    header.focus()
    page.keyboard.press("Enter")
    assert page.locator("#table tbody th").first.text_content() == "made/organ-0@1"
    assert page.locator('th[aria-sort="descending"]').inner_text().startswith("3x3 filters")
    page.keyboard.press("Enter")
    assert page.locator("#table tbody th").first.text_content() == "made/empty@1"


def test_a_model_has_a_page_with_layers_filters_and_origin(page, address):
    from playwright.sync_api import expect

    page.goto(address + "#model/" + quote("made/cifar-net-0-robust@1", safe=""))
    view = page.locator("#model")
    assert view.locator("h2").text_content() == "made/cifar-net-0-robust@1"
    assert view.locator("dt", has_text="licence").locator("xpath=following-sibling::dd").inner_text() == "mit"
    assert view.locator("tbody tr").count() == 3
    grid = view.locator("img.grid")
    assert "48 sampled 3x3 filters" in grid.get_attribute("alt")
    expect(grid).to_have_attribute("width", str(8 * (16 * 4 - 1)))
    assert grid.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [16 * 4 - 1, 3 * 4 - 1]
    chart = view.locator(".chart")
    assert "3 layers" in chart.get_attribute("aria-label")
    measures = chart.locator("[id^=chart-marks-] path")
    assert measures.count() == 3
    for number in range(3):
        assert measures.nth(number).get_attribute("d").count("M") == 3
        assert measures.nth(number).bounding_box()["width"] > 0.8 * chart.bounding_box()["width"]
    view.get_by_text("Back to all models").click()
    expect(view).to_be_hidden()
    page.goto(address + "#model/" + quote("made/empty@1", safe=""))
    assert view.locator('a[href="https://zoo.example/empty"]').get_attribute("rel") == "noopener noreferrer nofollow"
    page.goto(address + "#model/%E0%A4%A")
    assert view.locator("h2").inner_text() == "No such model"


def test_links_and_labels_lead_somewhere(page):
    missing = """() => [...document.querySelectorAll('a[href^="#"]')].map((a) => a.getAttribute('href'))
        .filter((h) => !h.startsWith('#model/') && !document.getElementById(h.slice(1)))"""
    assert page.evaluate(missing) == []
    files = page.locator(".files a").evaluate_all("links => links.map((a) => a.href)")
    assert len(files) > 50
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    unnamed = "() => document.querySelectorAll('[role=img]:not([aria-label]), [role=region]:not([aria-label])').length"
    assert page.evaluate(unnamed) == 0
    for landmark in ("banner", "main", "navigation", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1


def test_a_screen_reader_has_a_name_for_everything_it_stops_at(browser, page, address):
    """The accessibility tree as Chromium hands it on, of the page and of a model's page."""
    stops = {"link", "button", "combobox", "searchbox", "img", "image", "region", "navigation", "search", "heading"}
    tree = browser.new_cdp_session(page)
    for place in ("", "#model/" + quote("made/cifar-net-0-robust@1", safe="")):
        page.goto(address + place)
        nodes = tree.send("Accessibility.getFullAXTree")["nodes"]
        named: dict[str, list[str]] = {}
        for node in nodes:
            if not node["ignored"] and (role := node["role"]["value"]) in stops:
                named.setdefault(role, []).append(node["name"]["value"])
        assert {"link", "button", "combobox", "searchbox", "region", "heading"} <= set(named)
        assert [role for role, names in named.items() for name in names if not name.strip()] == []
        # Figures are read as their title and what they show, in words.
        assert any(name.startswith("Drift by task. Mean drift ") for name in named["image"])


def test_everything_is_reached_by_keyboard(page):
    """Skip link, search, a model's page and back, without a mouse."""
    from playwright.sync_api import expect

    active = "document.activeElement.id || document.activeElement.textContent.trim()"
    page.keyboard.press("Tab")
    assert page.evaluate(active) == "Skip to the figures"
    page.keyboard.press("Enter")
    assert page.evaluate(active) == "main"
    page.keyboard.press("Tab")
    assert page.evaluate(active) == "search"
    page.keyboard.type("organ-signs")
    expect(page.locator("#table tbody tr")).to_have_count(1)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#table tbody a')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#model-title")).to_be_focused()
    assert page.locator("#model-title").text_content() == "made/organ-signs@1"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(active) == "Back to all models"
    page.keyboard.press("Enter")
    expect(page.locator("#model")).to_be_hidden()


def test_the_files_beside_the_page_exist(page, address):
    from pathlib import Path
    from urllib.parse import unquote, urlparse

    files = page.locator(".files a").evaluate_all("links => links.map((a) => a.href)")
    assert all(Path(unquote(urlparse(file).path)).is_file() for file in files)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_does_not_scroll_sideways_and_text_stands_out(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    luminance = """(property) => {
        const [r, g, b] = getComputedStyle(document.body)[property].match(/[0-9.]+/g).map(Number)
            .map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }"""
    text, ground = page.evaluate(luminance, "color"), page.evaluate(luminance, "backgroundColor")
    assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 7
    assert (text > ground) is (scheme == "dark")


@pytest.mark.usefixtures("undrawn")
def test_a_phone_breaks_no_number_and_shows_what_scrolls_sideways(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    broken, numbers = page.evaluate(
        """() => {
          const all = [...document.querySelectorAll('td.number, .totals dd')].filter(one => one.offsetParent);
          const long = all.filter(one => /^[+-]?[\\d.,]+$/.test(one.textContent.trim()));
          const lines = one => { const r = document.createRange(); r.selectNodeContents(one);
            return new Set([...r.getClientRects()].map(each => Math.round(each.top))).size; };
          return [long.filter(one => lines(one) > 1).map(one => one.textContent), long.length];
        }"""
    )
    assert (broken, numbers > 20) == ([], True)
    hidden, shown = page.evaluate(
        """() => {
          const wide = [...document.querySelectorAll('body *')].filter(one => one.offsetParent
            && one.scrollWidth > one.clientWidth + 1
            && ['auto', 'scroll'].includes(getComputedStyle(one).overflowX));
          const marked = wide.filter(one => getComputedStyle(one).backgroundImage.includes('radial-gradient'));
          return [wide.filter(one => !marked.includes(one)).map(one => one.outerHTML.slice(0, 80)), marked.length];
        }"""
    )
    assert (hidden, shown > 1) == ([], True)


def test_two_thousand_models_open_fast(browser, tmp_path):
    rng = np.random.default_rng(0)
    one = synthetic.random_model("m", rng, width=3, depth=2)
    models = [synthetic.Model(f"m{n}", one.layers, {"task": f"task {n % 9}"}) for n in range(2000)]
    written = report.write(zoo.prepare(synthetic.dataset(models[:1])), tmp_path)
    big = embedded(document(zoo.prepare(synthetic.dataset(models))))
    page_text = written.read_text()
    head, _, rest = page_text.partition('<script id="data" type="application/json">')
    written.write_text(head + '<script id="data" type="application/json">' + big + rest[rest.index("</script>") :])
    page = browser.new_page()
    measured = browser.new_cdp_session(page)
    measured.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(written.as_uri())
    assert page.locator("#found").inner_text() == "2,000 of 2,000 models"
    # CPU seconds of the page's thread, whatever else runs on the machine.
    metrics = {each["name"]: each["value"] for each in measured.send("Performance.getMetrics")["metrics"]}
    seconds = metrics["TaskDuration"]
    page.get_by_role("button", name="Next").click()
    assert page.locator("#page").inner_text() == "page 2 of 40"
    page.close()
    assert 0 < seconds < 3
