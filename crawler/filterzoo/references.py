"""Identifies a plugin so that any process can load it: the crawler, its workers and the jail's children."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True)
class PluginReference:
    """The origin of a plugin: an importable module, or a file given with `--plugin`. Survives a process boundary."""

    name: str
    module: str = ""
    file: str = ""
    offers: tuple[str, ...] | None = None
    """The offers that its entry points declare, as `source:NAME`; None if they declare none, so it must be imported."""

    def load(self) -> ModuleType:
        """Import it; raises whatever the plugin raises."""
        if not self.file:
            return importlib.import_module(self.module)
        module_name = f"filterzoo_plugin_{hashlib.sha256(self.file.encode()).hexdigest()[:16]}"
        if module_name in sys.modules:
            return sys.modules[module_name]
        spec = importlib.util.spec_from_file_location(module_name, self.file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{self.file} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]  # a partially imported module must not be found later
            raise
        return module
