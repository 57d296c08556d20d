"""Plugins: found by name, loaded one by one, and free to raise anything anywhere without ending a run."""

from __future__ import annotations

import inspect
import pickle
from dataclasses import replace
from pathlib import Path

import pluggy
import pytest
import torch
from safetensors.torch import save_file
from tests.program import filterzoo

from filterzoo import hooks
from filterzoo.crawl.discovery import discover, named_sources, open_sources
from filterzoo.errors import Reason, Refused, StartError, describe
from filterzoo.network.door import Door
from filterzoo.outcome import LedgerEntry
from filterzoo.plugins import load, only_formats, references
from filterzoo.references import PluginReference
from filterzoo.store.journal import Journal

HOOKS = [name for name, value in vars(hooks).items() if hasattr(value, "filterzoo_spec")]

PLUGIN = """
from filterzoo import Artifact, Checkpoint, Format, LocalFile, RandomAccessFile, Source, hookimpl
import filterzoo

class Zoo(Source):
    name = {name!r}

    def discover(self):
        yield Checkpoint(id="one", revision="1", licence="mit", artifacts=(Artifact(url="https://zoo.example/one"),))

    def open(self, artifact):
        return LocalFile(self.folder / "zoo" / "good.safetensors")

class Zeros(Format):
    name = {name!r}

    def accepts(self, head, name):
        return head.startswith(b"ZEROS")

    def index(self, file):
        yield from ()

{more}

@hookimpl
def filterzoo_sources():
    return [Zoo]

@hookimpl
def filterzoo_formats():
    return [Zeros()]
"""

MANIFEST = """
name: test
sources:
  - {{source: local, paths: ["zoo/*"], license: apache-2.0}}
{more}
"""
AND_BROKEN = "  - {source: broken}"


def plugin(name: str = "broken", more: str = "", start: str = "") -> str:
    return start + PLUGIN.format(name=name, more=more)


def override(owner: str, signature: str, body: str) -> str:
    """Python that puts another method into a class of the plugin."""
    return f"def other({signature}):\n    {body}\n{owner} = other\n"


READER = """
class Failing(RandomAccessFile):
    size = 1000
    def read(self, offset, length):
        raise ZeroDivisionError("broken")
Zoo.open = lambda self, artifact: Failing()
"""
BROKEN_MESSAGE = """
class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no message")
def other(self):
    raise Odd
Zoo.discover = other
"""
SOURCES = {
    "import": ("import", plugin(start="raise OSError('broken')\n")),
    "import that ends Python": ("import", plugin(start="import sys\nsys.exit('broken')\n")),
    "syntax": ("import", "def broken("),
    "hook": ("hook", plugin().replace("return [Zoo]", "raise KeyError('broken')")),
    "unknown hook": ("hook", plugin(more="@hookimpl\ndef filterzoo_broken():\n    return []")),
    "source without a name": ("hook", plugin().replace("name = 'broken'", "broken = 1")),
    "discover": ("discover", plugin(more=override("Zoo.discover", "self", "raise KeyError('broken')"))),
    "discover that ends Python": (
        "discover",
        plugin(more=override("Zoo.discover", "self", "raise SystemExit('broken')")),
    ),
    "discover gives something else": ("discover", plugin(more=override("Zoo.discover", "self", "yield 'broken'"))),
    "discover gives what cannot be stored": (
        "discover",
        plugin(more=override("Zoo.discover", "self", "yield Checkpoint(id='\\ud800', revision='1', artifacts=())")),
    ),
    "an error without a message": (
        "discover",
        plugin(more=BROKEN_MESSAGE).replace("class Odd", "class broken").replace("raise Odd", "raise broken"),
    ),
    "open": ("fetch", plugin(more=override("Zoo.open", "self, artifact", "raise KeyError('broken')"))),
    "open that ends Python": (
        "fetch",
        plugin(more=override("Zoo.open", "self, artifact", "raise SystemExit('broken')")),
    ),
    "read": ("index", plugin(more=READER)),
    "architectures": (
        "index",
        plugin(more=override("Zoo.architectures", "self, checkpoint", "raise KeyError('broken')")),
    ),
    "architecture_name": (
        "index",
        plugin(more=override("Zoo.architecture_name", "self, checkpoint", "raise KeyError('broken')")),
    ),
    "architecture_name gives something else": (
        "index",
        plugin(more=override("Zoo.architecture_name", "self, checkpoint", "return 5")),
    ),
}
FORMATS = {
    "accepts": override("Zeros.accepts", "self, head, name", "raise KeyError('broken')"),
    "accepts that ends Python": override("Zeros.accepts", "self, head, name", "raise SystemExit('broken')"),
    "index": override("Zeros.index", "self, file", "yield filterzoo.Tensor(); raise KeyError('broken')").replace(
        "yield filterzoo.Tensor(); ", ""
    ),
    "index gives something else": override("Zeros.index", "self, file", "yield 'broken'"),
    "facts": override("Zeros.facts", "self, file", "raise KeyError('broken')"),
}

DETAILS = {
    "syntax": "SyntaxError",
    "source without a name": "no attribute 'name'",
    "discover gives something else": "gave 'broken', which is no Checkpoint",
    "discover gives what cannot be stored": "ValueError: '\\ud800' cannot be stored",
    "architecture_name gives something else": "cannot be stored: architecture Input should be a valid string",
    "index gives something else": "AttributeError: 'str'",
}


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    (tmp_path / "zoo").mkdir()
    generator = torch.Generator().manual_seed(0)
    save_file({"conv.weight": torch.randn(8, 3, 3, 3, generator=generator)}, tmp_path / "zoo" / "good.safetensors")
    return tmp_path


@pytest.fixture(scope="module")
def ran_with_broken_sources(tmp_path_factory) -> dict[str, LedgerEntry]:
    """Case -> what the ledger says of it, after one run with the plugins of all cases and a sound source."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "zoo").mkdir()
    save_file({"conv.weight": torch.randn(8, 3, 3, 3)}, folder / "zoo" / "good.safetensors")
    options, names = [], {}
    for number, (case, (_, code)) in enumerate(SOURCES.items()):
        names[f"broken_{number}"] = case
        (folder / f"broken_{number}.py").write_text(code.replace("name = 'broken'", f"name = 'broken_{number}'"))
        options += ["--plugin", f"broken_{number}.py"]
    entries = "\n".join(AND_BROKEN.replace("broken", name) for name in names)
    (folder / "manifest.yaml").write_text(MANIFEST.format(more=entries))
    ran = filterzoo("crawl", "manifest.yaml", *options, "--workers", "1", "--json", cwd=folder)
    assert ran.code == 1, ran.err
    assert ran.document["checkpoints"] == {"done": 1, "skipped": 0, "failed": len(SOURCES)}
    assert ran.document["reasons"] == {"plugin_error": len(SOURCES)}
    status = filterzoo("status", "--json", cwd=folder).document
    assert len(status.pop("ledger")) == len(ran.document["run"]["failures"]) == len(SOURCES)
    assert status | {"run": ran.document["run"], "ledger_left_out": 0} == ran.document | {"ledger_left_out": 0}
    with Journal(folder / "filterzoo-work" / "journal.sqlite") as journal:
        (done,) = journal.done()
        assert done.checkpoint.id.endswith("good.safetensors")
        return {names[entry.plugin]: entry for entry in journal.ledger()}


@pytest.mark.parametrize("case", SOURCES)
def test_a_source_may_raise_anything_anywhere(case, ran_with_broken_sources):
    """The run goes on, names it and counts it."""
    entry = ran_with_broken_sources[case]
    assert (entry.reason, entry.stage) == (Reason.PLUGIN_ERROR, SOURCES[case][0])
    assert DETAILS.get(case, "broken") in entry.detail
    assert "\n" not in entry.detail


@pytest.mark.slow
@pytest.mark.parametrize("case", FORMATS)
def test_a_format_may_raise_anything_anywhere(case, zoo):
    """The run goes on, names it and counts it."""
    (zoo / "broken.py").write_text(plugin(more=FORMATS[case]))
    (zoo / "manifest.yaml").write_text(MANIFEST.format(more=""))
    (zoo / "zoo" / "zeros.bin").write_bytes(b"ZEROS" + bytes(100))
    ran = filterzoo("crawl", "manifest.yaml", "--plugin", "broken.py", "--workers", "1", "--json", cwd=zoo)
    assert ran.code == 1, ran.err
    assert ran.document["checkpoints"] == {"done": 1, "skipped": 0, "failed": 1}
    assert ran.document["reasons"] == {"plugin_error": 1}
    with Journal(zoo / "filterzoo-work" / "journal.sqlite") as journal:
        (entry,) = journal.ledger()
        (done,) = journal.done()
    assert (entry.reason, entry.stage, entry.plugin) == (Reason.PLUGIN_ERROR, "index", "broken")
    assert DETAILS.get(case, "broken") in entry.detail
    assert "\n" not in entry.detail
    assert done.checkpoint.id.endswith("good.safetensors")


@pytest.mark.slow
def test_what_failed_in_a_plugin_is_tried_again_and_then_done(zoo):
    (zoo / "manifest.yaml").write_text(MANIFEST.format(more=AND_BROKEN))
    options = ("crawl", "manifest.yaml", "--plugin", "broken.py", "--workers", "1", "--json")
    (zoo / "broken.py").write_text(SOURCES["open"][1])
    ran = filterzoo(*options, cwd=zoo)
    assert ran.code == 1
    (zoo / "broken.py").write_text(plugin())
    ran = filterzoo(*options, cwd=zoo)
    assert ran.code == 0, ran.err
    assert ran.document["checkpoints"] == {"done": 2, "skipped": 0, "failed": 0}


def at(path: Path, code: str) -> PluginReference:
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
    return PluginReference(path.stem, file=str(path))


@pytest.mark.parametrize("what", ["source", "format"])
def test_one_name_is_for_one_plugin(what, tmp_path):
    first, second = at(tmp_path / "first.py", plugin("same")), at(tmp_path / "second.py", plugin("same"))
    if what == "format":
        second = at(tmp_path / "second.py", plugin("same").replace("return [Zoo]", "return []"))
    with pytest.raises(StartError, match=f"'first' and 'second' both offer the {what} 'same'"):
        load([first, second])


def test_two_files_of_one_name_are_two_plugins(tmp_path):
    first, second = at(tmp_path / "a" / "zoo.py", plugin("one")), at(tmp_path / "b" / "zoo.py", plugin("two"))
    assert set(load([first, second]).sources) == {"one", "two"}


def test_half_a_module_is_not_taken_for_one_later(tmp_path):
    reference = at(tmp_path / "half.py", plugin() + "\nraise OSError('at the end')")
    for _ in range(2):
        loaded = load([reference])
        assert [failure.stage for failure in loaded.failures] == ["import"]
        assert not loaded.sources


def test_a_failed_plugin_offers_nothing_and_the_others_all(tmp_path):
    odd = at(tmp_path / "odd.py", plugin("odd").replace("return [Zeros()]", "raise StopIteration"))
    good = at(tmp_path / "good.py", plugin("good"))
    loaded = load([odd, good])
    assert (set(loaded.sources), set(loaded.formats)) == ({"good"}, {"good"})
    assert loaded.provided_by == {"source:good": "good", "format:good": "good"}
    assert loaded.format_references == [good]
    assert [(failure.plugin, failure.stage, failure.id) for failure in loaded.failures] == [("odd", "hook", None)]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = 1\nboom(\n", "SyntaxError: '(' was never closed (zoo.py, line 2)"),
        ("x = 1\n\nraise OSError('no list')\n", "plugin zoo did not load: OSError: no list (zoo.py, line 3)"),
        ("def f():\n    return 1 / 0\nf()\n", "ZeroDivisionError: division by zero (zoo.py, line 2)"),
        ("x = 1\n", "it offers nothing: no function in it is a hook"),
    ],
)
def test_a_broken_plugin_file_is_reported_where_its_source_is_missing(tmp_path, code, told):
    (tmp_path / "one.yaml").write_text("name: one\nsources: [{source: mine}]\n")
    with pytest.raises(StartError) as caught:
        named_sources([tmp_path / "one.yaml"], load([at(tmp_path / "zoo.py", code)]))
    assert str(caught.value).startswith("plugin zoo did not load: ")
    assert "no source is called 'mine'" in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("    def __init__(self, *a):\n        raise KeyError('x')\n", "its constructor raised KeyError: 'x'"),
        ("    def discover(self):\n        return None\n", "TypeError: 'NoneType' object is not iterable"),
        ("    def discover(self):\n        yield 3\n", "TypeError: discover() gave 3, which is no Checkpoint"),
    ],
)
def test_a_source_that_is_wrong_in_itself_is_named_with_its_line(tmp_path, body, told):
    code = "from filterzoo import Source, hookimpl\n\nclass Mine(Source):\n    name = 'mine'\n"
    rest = "    def discover(self): yield\n" if "discover" not in body else ""
    hook = "@hookimpl\ndef filterzoo_sources():\n    return [Mine]\n"
    (tmp_path / "one.yaml").write_text("name: one\nsources: [{source: mine}]\n")
    loaded = load([at(tmp_path / "zoo.py", f"{code}{body}{rest}{hook}")])
    with Door(tmp_path) as door:
        (entry,) = discover(open_sources([tmp_path / "one.yaml"], loaded, door))
    assert isinstance(entry, LedgerEntry)
    assert entry.reason is Reason.PLUGIN_ERROR
    assert entry.detail == told
    assert entry.where in {"zoo.py, line 5", "zoo.py, line 6"}


def test_a_plugin_cannot_pretend_that_nothing_can_start(tmp_path):
    code = "from filterzoo.errors import StartError\nraise StartError('not today')"
    assert [failure.detail for failure in load([at(tmp_path / "x.py", code)]).failures] == ["StartError: not today"]


def test_installed_plugins_are_found_through_entry_points():
    loaded = load(references())
    assert loaded.failures == []
    assert {"local", "pypi"} <= set(loaded.sources)
    assert {"torch", "safetensors", "onnx"} <= set(loaded.formats)


def test_installed_plugins_say_what_they_offer_and_it_is_so():
    """Otherwise they would be imported for every command, or not found; `load` compares what each one offers."""
    assert [one.name for one in references() if not one.offers] == []
    assert [failure.detail for failure in load(references()).failures] == []


def test_only_what_is_used_is_imported(tmp_path):
    used = replace(at(tmp_path / "used.py", plugin("used")), offers=("format:used", "source:used"))
    unused = replace(at(tmp_path / "unused.py", "raise OSError('imported')"), offers=("format:unused", "source:unused"))
    silent = at(tmp_path / "silent.py", plugin("silent"))
    loaded = load([used, unused, silent], lambda offer: offer == "source:used")
    assert (set(loaded.sources), loaded.failures) == ({"used", "silent"}, [])
    assert loaded.source_names == {"used", "unused", "silent"}
    assert loaded.format_references == [used, unused, silent]
    with pytest.raises(StartError, match="'unused' and 'taken' both offer the format 'unused'"):
        load([unused, replace(silent, name="taken", offers=("format:unused",))], only_formats)


def test_a_plugin_whose_offers_differ_from_its_entry_points_is_reported(tmp_path):
    loaded = load([replace(at(tmp_path / "zoo.py", plugin("mine")), offers=("source:mine",))])
    assert not loaded.sources
    (failure,) = loaded.failures
    assert "name source:mine, and its hooks offer format:mine, source:mine" in failure.detail


def test_a_missing_plugin_file_is_reported(tmp_path):
    with pytest.raises(StartError, match="there is no such file"):
        references([tmp_path / "missing.py"])


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_prefixed_typed_and_documented(name):
    hook = getattr(hooks, name)
    assert name.startswith("filterzoo_")
    assert len(inspect.getdoc(hook) or "") > 40
    assert "return" in inspect.get_annotations(hook)
    assert name in Path(__file__).read_text()


def test_every_hook_gives_what_it_says(tmp_path):
    code = """
from filterzoo.archive import Archive
class Box(Archive):
    name = "box"
    def accepts(self, head, name): return False
    def members(self, file): yield from ()
@hookimpl
def filterzoo_archives():
    return [Box()]
class Here:
    name = "here"
@hookimpl
def filterzoo_executors():
    return [Here]
@hookimpl
def filterzoo_commands():
    return [hello]
def hello() -> None:
    "Say hello."
"""
    loaded = load([at(tmp_path / "all.py", plugin("all", more=code))])
    assert loaded.failures == []
    kinds = ("sources", "formats", "archives", "executors", "commands")
    assert {f"filterzoo_{kind}" for kind in kinds} == set(HOOKS)
    assert set(loaded.provided_by) == {"source:all", "format:all", "archive:box", "executor:here", "command:hello"}
    assert list(loaded.executors) == ["here"]
    assert [command.__name__ for command in loaded.commands] == ["hello"]


def test_hooks_are_those_pluggy_knows():
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    assert {name for name in vars(manager.hook) if not name.startswith("_")} == set(HOOKS)


@pytest.mark.parametrize(
    "error", [Refused(Reason.DAMAGED, "CRC", "w"), Refused(Reason.PLUGIN_ERROR, "KeyError: 1", plugin="mine")]
)
def test_errors_survive_another_process(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_texts_of_errors_can_be_stored():
    refusal = Refused(Reason.DAMAGED, "\ud800" + "x" * 10_000, "\udfff")
    assert len(refusal.detail.encode()) < 3000
    assert refusal.where == "\\udfff"
    assert describe(ValueError("\ud800")) == "ValueError: \\ud800"


def test_a_command_whose_annotations_do_not_evaluate_is_named_and_the_others_serve(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from filterzoo import hookimpl\n"
        "def greet(name: 'NoSuchType'): ...\n"
        "@hookimpl\ndef filterzoo_commands():\n    return [greet]\n"
    )
    loaded = load([*references(), *references([broken])[-1:]])
    (failure,) = loaded.failures
    assert (failure.plugin, failure.stage) == ("broken", "hook")
    assert "NoSuchType" in failure.detail
    assert "greet" not in {command.__name__ for command in loaded.commands}
    assert "torch" in loaded.formats
