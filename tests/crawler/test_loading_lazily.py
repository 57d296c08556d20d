"""What a process loads: nothing heavy that its work does not need."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.program import filterzoo

from filterzoo import plugins
from filterzoo.commands.catalogue import named_commands
from filterzoo.crawl.processes import fork_server
from filterzoo.network.door import Door
from filterzoo.source import Source
from filterzoo.store.workfolder import WorkFolder

_STARTS = """
import sys
from filterzoo import plugins
loaded = plugins.load(plugins.references())
assert not loaded.failures, loaded.failures
"""


@pytest.mark.parametrize(
    ("start", "not_needed"),
    [
        (_STARTS, {"h5py", "numpy", "pyarrow", "fsspec", "httpx", "torch", "huggingface_hub"}),
        (_STARTS + "import filterzoo.commands.inspect", {"h5py", "pyarrow", "fsspec", "httpx", "torch"}),
        (
            "import sys, filterzoo.commands.crawl, filterzoo.crawl.pipeline, filterzoo.crawl.log",
            {"numpy", "pyarrow", "httpx", "ssl", "fsspec", "tenacity", "filelock", "filterzoo.crawl.worker.worker"},
        ),
        (
            "import sys, filterzoo.crawl.processes.preloaded",
            {"pyarrow.compute", "pyarrow.dataset", "httpx", "fsspec", "tenacity", "filelock", "rich", "h5py"},
        ),
        ("import sys, filterzoo.jail.child", {"pydantic", "numpy", "filterzoo.jail.parent", "filterzoo.jail.process"}),
    ],
    ids=["plugins", "inspect", "a crawl's process", "a worker", "the jail's child"],
)
def test_what_is_not_needed_is_not_loaded(start: str, not_needed: set[str]) -> None:
    """Crawls load all plugins; the jail's child has but a small share of its memory for itself."""
    code = f"{start}\nprint(*sorted({not_needed!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == []


HEAVY = {"torch", "timm", "datasets", "huggingface_hub", "matplotlib", "pandas", "numba", "h5py"}
LIGHT = HEAVY | {"numpy", "pyarrow", "fsspec", "httpx"}
SMALL = 500
"""Modules of a start that shows a text; 300 to 400 are Python's own, Typer's and Pydantic's."""
COMMANDS = {
    "--help": LIGHT | {"pydantic", "pluggy", "filterzoo.plugins"},
    "--version": LIGHT | {"pluggy", "filterzoo.plugins"},
    "status": LIGHT | {"filterzoo.plugins"},
    "retry": LIGHT | {"filterzoo.plugins"},
    "plugins --help": LIGHT,
    "publish --help": LIGHT,
    "verify --help": LIGHT,
    "report --help": LIGHT,
    "inspect --help": (LIGHT - {"numpy"}),
    "crawl --help": LIGHT,
    "doctor": HEAVY,
}
_CRAWLS = """
import pathlib, sys
from filterzoo import plugins
pathlib.Path("one.yaml").write_text("name: one\\nsources: [{source: local, paths: [a]}]")
loaded = plugins.load(plugins.references(), plugins.named_in([pathlib.Path("one.yaml")], "local"))
print(*sorted(name for name in sys.modules if name.startswith("filterzoo_plugins.") and hasattr(
    sys.modules[name], "filterzoo_" + "sources") or "formats" in name or "executors" in name))
"""


def test_a_crawl_imports_the_plugins_that_its_manifests_name(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _CRAWLS], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    assert [name for name in ran.stdout.split() if name.startswith("filterzoo")] == [
        "filterzoo_plugins.sources.own_files.local"
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_loads_what_it_needs(tmp_path: Path, command: str) -> None:
    """No command imports the plugins of others, and texts are shown without arrays, tables and networks."""
    code = (
        f"import atexit, sys\nsys.argv = ['filterzoo', *{command.split()!r}]\n"
        "atexit.register(lambda: print('\\nloaded', *sys.modules))\n"
        "from filterzoo.start import main\nmain()"
    )
    WorkFolder(tmp_path / "filterzoo-work").journal().close()
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    loaded = set(ran.stdout.rpartition("\nloaded ")[2].split())
    assert "filterzoo.cli" in loaded
    assert loaded & COMMANDS[command] == set()
    if command.endswith("--help") and COMMANDS[command] >= LIGHT:
        assert len(loaded) < SMALL


def test_help_lists_every_command_and_says_what_it_does() -> None:
    ran = filterzoo("--help")
    assert ran.code == 0
    for name, command in named_commands().items():
        first = (command.load().__doc__ or "").split("\n")[0][:30]
        assert re.search(rf"^ +{name} +{re.escape(first)}", ran.out, re.MULTILINE), name


def test_every_public_name_can_be_imported() -> None:
    import filterzoo

    assert sorted(filterzoo._MODULE_OF) == sorted(filterzoo.__all__)
    assert all(getattr(filterzoo, name) is not None for name in filterzoo.__all__)


def test_sources_that_may_build_architectures_are_known_without_loading_them(tmp_path: Path) -> None:
    """Workers of any other source are started while the manifests are read, without torch."""
    loaded = plugins.load(plugins.references()).sources
    builders = {name for name, source in loaded.items() if source.architectures is not Source.architectures}
    named = {point.name: point.load() for point in importlib.metadata.entry_points(group=fork_server._BUILDERS)}
    assert {name.partition(".")[0] for name in named} == builders
    for name in ("local", "timm"):
        (tmp_path / f"{name}.yaml").write_text(f"name: mine\nsources: [{{source: {name}}}]")
    assert fork_server.may_start_early([tmp_path / "local.yaml"])
    assert not fork_server.may_start_early([tmp_path / "local.yaml", tmp_path / "timm.yaml"])
    assert not fork_server.may_start_early([tmp_path / "missing.yaml"])
    urls, file = tmp_path / "urls.yaml", "name: mine\nsources: [{source: urls, files: [{url: https://a/b"
    for keys, may_start in {"}]": True, ", architecture: resnet18}]": False, "}], facts: a.csv": False}.items():
        urls.write_text(f"{file}{keys}}}]")
        assert fork_server.may_start_early([urls]) is may_start


def test_torch_is_loaded_before_the_workers_only_where_an_architecture_may_be_stated(tmp_path: Path) -> None:
    kind = plugins.load(plugins.references()).sources["urls"]
    plain, stated = {"url": "https://zoo.example/a"}, {"url": "https://zoo.example/b", "architecture": "resnet18"}
    options = {"files": [plain]}, {"files": [plain, stated]}, {"table": "t.csv"}, {"files": [plain], "facts": "f.csv"}
    with Door(tmp_path) as door:
        made = [kind(kind.options_type().model_validate(one), door, tmp_path) for one in options]
    assert [one.may_build_architectures for one in made] == [False, True, True, True]


def test_what_workers_need_for_http_is_loaded_unless_all_files_are_local(tmp_path: Path) -> None:
    loaded = {}
    for name in ("local", "urls"):
        (tmp_path / f"{name}.yaml").write_text(f"name: mine\nsources: [{{source: {name}}}]")
        loaded[name] = fork_server.plugins_of([tmp_path / f"{name}.yaml"], plugins.references())
    assert loaded["local"] == ["filterzoo_plugins.sources.own_files.local"]
    assert loaded["urls"] == [
        "filterzoo_plugins.sources.own_files.urls",
        "filterzoo.network.connections",
        "filterzoo.network.files.probing",
    ]


def test_pyarrow_does_without_pandas_and_still_finds_it() -> None:
    code = (
        "import sys\nfrom filterzoo.store.arrow import leave_pandas_out\nleave_pandas_out()\nimport pyarrow as pa\n"
        "table = pa.Table.from_pylist([{'a': [1.0, None]}, {'a': None}])\nprint('pandas' in sys.modules)\n"
        "print(table.to_pandas()['a'].isna().tolist())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split("\n")[:2] == ["False", "[False, True]"]
