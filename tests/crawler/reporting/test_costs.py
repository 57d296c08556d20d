"""What a dry run says of bytes, requests, hours and money, by the user's table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.crawler.checkpoints import checkpoint
from tests.program import filterzoo

from filterzoo import plugins
from filterzoo.commands.crawl_plan import show_plan
from filterzoo.crawl.pipeline import Order
from filterzoo.crawl.task import Task
from filterzoo.errors import StartError
from filterzoo.records import Artifact
from filterzoo.reporting.costs import Amount, Cost, Prices, cost_of, parse_rate, read_prices
from filterzoo.store.workfolder import WorkFolder

EXAMPLE = Path(__file__).parents[3] / "deploy" / "prices.yaml"
PRICES = "currency: EUR\ncore_seconds_per_gb: 20\ncore_seconds_per_checkpoint: 2\n"


def amount(*sizes: int | None) -> Amount:
    counted = Amount()
    for number, size in enumerate(sizes):
        artifact = Artifact(url=f"https://zoo.example/{number}", size=size)
        counted.add(Task(checkpoint(str(number), artifacts=(artifact,)), 0, None))
    return counted


def test_hours_and_money_follow_from_bytes_and_the_table() -> None:
    found = amount(*[9_000_000_000] * 100)
    prices = Prices(
        currency="EUR", node_hour=1.5, node_cores=2, received_gb=0.01, thousand_requests=5,
        core_seconds_per_gb=20, core_seconds_per_checkpoint=180,
    )  # fmt: skip
    assert cost_of(found, parse_rate("1Gbit/s"), prices) == Cost(
        requests=200,
        network_hours=2.0,  # 900 GB at 125 MB a second
        core_hours=10.0,  # 900 * 20 + 100 * 180 seconds
        node_hours=5.0,
        money=5 * 1.5 + 900 * 0.01 + 0.2 * 5,
        currency="EUR",
    )
    assert cost_of(found, None, None) == Cost(requests=200)


def test_what_has_no_size_is_counted_as_such() -> None:
    assert amount(5, None) == Amount(checkpoints=2, files=2, bytes=5, unknown_sizes=1)


@pytest.mark.parametrize(
    ("text", "rate"), [("1Gbit/s", 125e6), ("100 MB/s", 1e8), ("0.5kbit/s", 62.5), ("8bit/s", 1.0), ("2TB/s", 2e12)]
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "1", "1Gbit", "0B/s", "-1MB/s", "1e9B/s", "1MiB/s", "1gbit/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="write 1Gbit/s"):
        parse_rate(text)


def test_the_example_can_be_replaced_value_by_value() -> None:
    assert read_prices(EXAMPLE).node_cores == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PRICES + "node_hour: -1\n", r":4: node_hour: .*greater than or equal to 0"),
        (PRICES + "node_hours: 1\n", r":4: node_hours: Extra inputs"),
        (PRICES.replace("20", ".nan"), r":2: core_seconds_per_gb: "),
        ("- 1\n", r":1: the table: "),
        ("a: [", r"not YAML"),
        (PRICES + "#" * 100_000, r"not a table of prices: larger than 100,000 bytes"),
    ],
)
def test_a_wrong_table_is_reported_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(StartError, match=told):
        read_prices(tmp_path / "prices.yaml")


def test_the_command_says_it(tmp_path: Path) -> None:
    file = "{url: https://zoo.example/a.pth, license: mit, size: 4000000000}"
    (tmp_path / "m.yaml").write_text(f"name: m\nsources:\n  - {{source: urls, files: [{file}]}}\n")
    (tmp_path / "prices.yaml").write_text(PRICES + "node_hour: 3600\n")
    asked = ("--dry-run", "--rate", "8Mbit/s", "--prices", "prices.yaml")
    ran = filterzoo("crawl", "m.yaml", *asked, cwd=tmp_path)
    assert ran.out.splitlines()[-2] == (
        "to fetch: 4,000,000,000 bytes, 2 requests, 1.11 hours at the rate, 0.02 core hours, 82.00 EUR"
    )
    assert filterzoo("crawl", "m.yaml", *asked, "--json", cwd=tmp_path).document["cost"]["money"] == pytest.approx(82)
    assert "add --dry-run" in filterzoo("crawl", "m.yaml", "--rate", "1GB/s", cwd=tmp_path).err


@pytest.mark.parametrize(("free", "more"), [(17_000_000, ", which may be too little"), (17_000_000 + 4_000_000, "")])
def test_the_room_is_estimated_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free: int, more: str
) -> None:
    """The size of the files, beside what has to stay free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, free))
    (tmp_path / "a.pth").write_bytes(bytes(1_000_000))
    (tmp_path / "m.yaml").write_text(f"name: m\nsources:\n  - {{source: local, paths: ['{tmp_path}/a.pth']}}\n")
    work = WorkFolder(tmp_path / "new" / "work")
    order = Order(manifests=(tmp_path / "m.yaml",), plugins=(), work=work, cache=tmp_path / "cache")
    loaded = plugins.load(plugins.references())
    show_plan(order, loaded, None, None, as_json=False)
    told = " ".join(capsys.readouterr().out.split())
    assert f"to keep: about 1,000,000 bytes, if all is convolutions in float32; {free:,} are free in " in told
    assert told.endswith(f"new/work{more}")
    assert not (tmp_path / "new").exists()
    show_plan(order, loaded, None, None, as_json=True)
    assert json.loads(capsys.readouterr().out)["room"] == {"bytes": 1_000_000, "free": free}
