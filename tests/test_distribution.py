"""What `pip install` gets: every package is in the wheel and in the source distribution."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "crawler/filterzoo": "filterzoo",
    "plugins/filterzoo_plugins": "filterzoo_plugins",
    "publish/filterzoo_publish": "filterzoo_publish",
    "analysis/filterzoo_analysis": "filterzoo_analysis",
    "evaluation/filterzoo_evaluation": "filterzoo_evaluation",
}


def sources() -> set[str]:
    """Every file that git tracks in a package, by its place inside the distribution."""
    listed = subprocess.run(["git", "ls-files", *ROOMS], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = set()
    for line in listed.splitlines():
        room = next(room for room in ROOMS if line.startswith(room + "/"))
        found.add(ROOMS[room] + line[len(room) :])
    return found


@pytest.mark.index
def test_every_package_is_in_the_wheel_and_the_sdist(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert sources() <= set(archive.namelist())
        entry_points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert b"filterzoo_plugins.sources.packages.pypi" in archive.read(entry_points)


@pytest.mark.index
def test_the_sdist_holds_what_the_wheel_is_built_from(tmp_path: Path) -> None:
    program = f"from hatchling.build import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "manifests/quickstart.yaml"} <= names
    for room in ROOMS:
        assert any(name.startswith(room) for name in names)
