"""A virtual environment of a user: FilterZoo and its libraries as they are here, and whatever the user installs."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Environment:
    """Its `python`, `pip` and `filterzoo` come first in `variables["PATH"]`; nothing outside `folder` is written."""

    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "VIRTUAL"))}
        own = {"PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return kept | own | {"PIP_NO_INDEX": "1"}

    def run(self, command: str, cwd: Path) -> str:
        """What a shell command prints; it must succeed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=cwd,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout


def make_environment(folder: Path) -> Environment:
    """An environment in `folder` that sees the libraries of this one, and installs into itself."""
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (here,) = {path for path in site.getsitepackages() if path.startswith(sys.prefix) and Path(path, "typer").exists()}
    (packages / "libraries.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    for program, module in {"filterzoo": "filterzoo.cli", "pip": "pip._internal.cli.main"}.items():
        script = folder / "bin" / program
        lines = (f"#!{folder / 'bin' / 'python'}", "import sys", f"from {module} import main", "")
        script.write_text("\n".join(lines) + "if __name__ == '__main__':\n    sys.exit(main())\n")
        script.chmod(0o755)
    return Environment(folder)
