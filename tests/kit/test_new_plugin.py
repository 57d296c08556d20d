"""A package from `new-plugin` installs, is found, passes its own test and is listed, as it was written."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.kit.fresh_environment import make_environment
from tests.program import filterzoo

from filterzoo.errors import StartError
from filterzoo.kit.writing import write_plugin

ROOT = Path(__file__).parents[2]


def code_lines(path: Path) -> list[str]:
    """Lines that are neither empty nor part of a docstring."""
    text = path.read_text()
    documented = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    described = [node.body[0] for node in documented if ast.get_docstring(node)]
    inside = {number for node in described for number in range(node.lineno, node.end_lineno + 1)}
    return [line for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in inside]


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """An environment, and a folder with one zoo and one format in it, installed."""
    folder = tmp_path_factory.mktemp("user")
    environment = make_environment(folder / "venv")
    environment.run("filterzoo new-plugin green-house", folder)
    environment.run("filterzoo new-plugin herb_ium --format --into formats", folder)
    environment.run("pip install --no-deps --no-build-isolation -e green-house -e formats/herb_ium", folder)
    return environment, folder


@pytest.mark.parametrize(
    ("package", "module"),
    [("green-house", "filterzoo_green_house"), ("formats/herb_ium", "filterzoo_herb_ium")],
)
@pytest.mark.slow
def test_it_is_a_dozen_lines_and_passes_its_own_test(user, package, module):
    environment, folder = user
    files = {path.name for path in (folder / package).iterdir()}
    name = module.removeprefix("filterzoo_")
    assert files >= {"pyproject.toml", "README.md", f"{module}.py", f"test_{name}.py"}
    lines = code_lines(folder / package / f"{module}.py")
    assert len(lines) <= 12
    assert sum(line.startswith(("import", "from")) for line in lines) == 1
    assert tomllib.loads((folder / package / "pyproject.toml").read_text())["project"]["entry-points"] == {
        "filterzoo": {name: module}
    }
    assert " passed" in environment.run("python -m pytest -q -p no:cacheprovider", folder / package)


@pytest.mark.slow
def test_they_are_listed_and_keep_the_contract(user):
    environment, folder = user
    listed = json.loads(environment.run("filterzoo plugins --json", folder))
    assert listed["failed"] == []
    assert {"what": "source", "name": "green_house", "plugin": "green_house"} in listed["offers"]
    assert {"what": "format", "name": "herb_ium", "plugin": "herb_ium"} in listed["offers"]
    for name in ("green_house", "herb_ium"):
        findings = json.loads(environment.run(f"filterzoo check-plugin {name} --json", folder))
        assert {finding["verdict"] for finding in findings} <= {"ok", "not checked"}
    (folder / "zoo.yaml").write_text("name: zoo\nsources:\n  - source: green_house\n")
    planned = json.loads(environment.run("filterzoo crawl zoo.yaml --dry-run --json", folder))
    assert planned["sources"]["green_house"]["checkpoints"] == 2


@pytest.mark.slow
def test_the_environment_of_the_tests_stays_as_it_was(user):
    offers = filterzoo("plugins", "--json").document["offers"]
    assert not {"green_house", "herb_ium"} & {offer["name"] for offer in offers}


@pytest.mark.parametrize(
    "name",
    ["", "..", "../x", "a/b", "A", "1a", "a b", "a__b", "_a", "a-", "class", "é", "a\n", "${HOME}", "a" * 41],
)
def test_a_name_that_cannot_be_one_is_refused(name, tmp_path):
    with pytest.raises(StartError, match="cannot be a plugin's name") as raised:
        write_plugin(name, "source", tmp_path)
    assert str(raised.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def test_the_command_refuses_it_in_a_line(tmp_path):
    ran = filterzoo("new-plugin", "../x", cwd=tmp_path)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "'../x' cannot be a plugin's name" in ran.err


def test_existing_files_are_not_changed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    ran = filterzoo("new-plugin", "mine", cwd=tmp_path)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "something of that name" in ran.err
    assert [path.read_text() for path in (tmp_path / "mine").iterdir()] == ["mine"]
    (tmp_path / "file").write_text("")
    assert "cannot write the package" in filterzoo("new-plugin", "mine", "--into", "file/x", cwd=tmp_path).err


@pytest.mark.parametrize(("name", "options"), [("timm", ()), ("onnx", ("--format",))])
def test_a_name_that_is_taken_is_refused(name, options, tmp_path):
    ran = filterzoo("new-plugin", name, *options, cwd=tmp_path)
    assert ran.code == 2
    assert f"the plugin '{name}' has the name" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_the_templates_are_in_the_wheel(tmp_path):
    import zipfile

    program = f"from hatchling.build import build_wheel; build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    folder = ROOT / "crawler"
    templates = {path.relative_to(folder).as_posix() for path in folder.glob("filterzoo/kit/templates/**/*.txt")}
    assert len(templates) == 7
    with zipfile.ZipFile(wheel) as archive:
        assert templates <= set(archive.namelist())
