"""No code runs: an audit hook over everything that is read, and a look at what reading modules name at all."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.untrusted_files import watched
from tests.untrusted_files.battery import cases
from tests.untrusted_files.honest import VARIANTS
from tests.untrusted_files.reading import write
from tests.untrusted_files.small_files import small_files

import filterzoo
import filterzoo_plugins

FEW, MANY, MOST = 2_000, 10_000, 200_000
"""Mutated files: beside the battery, in `make test-all`, and in `make torture`."""
SECONDS = 900
"""A machine that is too slow for that many fails; here 200,000 take three minutes on two cores."""
CORE = Path(filterzoo.__file__).parent
PLUGINS = Path(filterzoo_plugins.__file__).parent
READING = sorted([
    *(path for room in ("formats", "archives", "encodings") for path in (PLUGINS / room).rglob("*.py")),
    *(path for room in ("jail", "layers") for path in (CORE / room).rglob("*.py")),
    *(CORE / f"{name}.py" for name in ("files", "dtypes", "records", "format", "archive", "errors")),
    CORE / "crawl" / "worker" / "opening.py",
])  # fmt: skip
FORBIDDEN_MODULES = {
    "pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "torch", "keras",
    "tensorflow", "onnx", "onnxruntime", "safetensors", "timm", "jinja2", "yaml", "code", "codeop", "runpy", "ctypes",
    "cffi", "imp", "numpy.lib.format", "multiprocessing", "importlib", "httpx", "urllib", "requests",
}  # fmt: skip
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__", "execfile", "breakpoint", "globals"}
FORBIDDEN_ATTRIBUTES = {"system", "popen", "load_module", "allow_pickle", "load_library", "literal_eval", "fromfile"}
START_THE_CHILD = {"jail/process.py"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The battery, the honest variants, and small files to mutate."""
    made = tmp_path_factory.mktemp("watched")
    (made / "scratch").mkdir()
    for number, case in enumerate(cases(made / "scratch")):
        case.write(made / "battery" / f"{number:03}")
    for number, (name, writer) in enumerate(VARIANTS.values()):
        (made / "honest" / f"{number:03}").mkdir(parents=True)
        writer(made / "honest" / f"{number:03}" / name)
    names = []
    for label, small in small_files(made / "scratch").items():
        write(made / "small" / label, small.name, small.content, small.sides)
        names.append((label, small.name))
    (made / "small" / "names.json").write_text(json.dumps(names))
    return made


def watch(folder: Path, mutations: int, processes: int) -> list[dict]:
    """What `processes` saw, each with its part of the mutations."""
    arguments = [str(SECONDS), str(mutations // processes)]
    started = [
        subprocess.Popen(
            [sys.executable, watched.__file__, str(folder), str(seed), *arguments], stdout=subprocess.PIPE, text=True
        )
        for seed in range(processes)
    ]
    answers = [process.communicate(timeout=SECONDS + 200)[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes
    return [json.loads(answer) for answer in answers]


@pytest.fixture(scope="module")
def seen(folder) -> dict:
    """What one process saw that read every file and a few mutated ones."""
    return watch(folder, FEW, 1)[0]


@pytest.mark.slow
def test_nothing_is_run_started_connected_to_or_written(seen):
    assert seen["events"] == []


@pytest.mark.slow
def test_nothing_but_a_refusal_comes_out(seen):
    assert seen["faults"][:3] == []


@pytest.mark.slow
def test_everything_was_read(seen):
    files = seen["files"]
    assert files["read"] > len(VARIANTS) + 100
    assert files["refused"] > 300
    assert seen["mutations"]["read"] + seen["mutations"]["refused"] == FEW


@pytest.mark.parametrize(
    "promised", [pytest.param(MANY, marks=pytest.mark.slow), pytest.param(MOST, marks=pytest.mark.torture)]
)
@pytest.mark.timeout(SECONDS + 300)
def test_as_many_mutated_files_as_promised(folder, promised):
    answers = watch(folder, promised, 2)
    mutations = [answer["mutations"] for answer in answers]
    read, refused = (int(sum(answer[what] for answer in mutations)) for what in ("read", "refused"))
    print(f"{read + refused} mutated files: {read} read, {refused} refused")  # noqa: T201  # the figures
    assert [answer["events"] for answer in answers] == [[], []]
    assert [fault for answer in answers for fault in answer["faults"]][:3] == []
    assert min(read, refused) > (read + refused) // 20
    assert max(answer["slowest"] for answer in mutations) < 20
    assert read + refused == promised, f"{SECONDS} s were too few for as many as docs/security.md promises"


@pytest.mark.slow
def test_the_hook_would_notice(tmp_path):
    """Each kind of event, made on purpose."""
    deeds = {
        "exec('1')": "exec", "compile('1', 'x', 'eval')": "compile", "import wave": "import",
        "os.system('true')": "os.system", "open('x', 'w').close()": "open", "os.mkdir('y')": "os.mkdir",
        "socket.socket().close()": "socket.", "subprocess.run(['true'])": "subprocess.Popen",
        "pickle.loads(b'cposix\\nsystem\\n.')": "pickle.find_class", "os.open('z', os.O_CREAT)": "open",
    }  # fmt: skip
    for deed, event in deeds.items():
        noticed = events_of(deed, tmp_path)
        assert any(line.startswith(event) for line in noticed), (deed, noticed)


def test_the_hook_lets_text_be_parsed_and_not_run(tmp_path):
    assert events_of("ast.parse('a = b')", tmp_path) == []
    noticed = events_of("exec(compile(ast.parse('a = 1'), '<unknown>', 'exec'))", tmp_path)
    assert [line.split()[0] for line in noticed] == ["compile", "exec"]


def events_of(deed: str, folder: Path) -> list[str]:
    """What the hook notes of a statement, in a process of its own."""
    code = (
        f"import sys, os, socket, subprocess, pickle, ast\nsys.path.insert(0, {str(Path(watched.__file__).parent)!r})\n"
        f"from watched import Watch\nwatch = Watch(); sys.addaudithook(watch)\ndo = lambda: None\n"
        f"watch.armed = True\n{deed}\nwatch.armed = False\nprint(*watch.events, sep='\\n')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    return [line for line in ran.stdout.splitlines() if line]


@pytest.mark.parametrize("path", READING, ids=[f"{path.parent.name}/{path.name}" for path in READING])
def test_a_reading_module_names_nothing_that_runs_code(path):
    tree = ast.parse(path.read_text())
    assert sorted(imported(tree) & FORBIDDEN_MODULES) == []
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert sorted(names & FORBIDDEN_NAMES) == []
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    assert sorted((attributes | keywords) & FORBIDDEN_ATTRIBUTES) == []
    assert ("subprocess" in imported(tree)) == (f"{path.parent.name}/{path.name}" in START_THE_CHILD)


def imported(tree: ast.AST) -> set[str]:
    """Names of the modules that a module imports anywhere, and of those they lie in."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {".".join(name.split(".")[: n + 1]) for name in found for n in range(name.count(".") + 1)}
