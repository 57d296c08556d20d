"""Machine code of the measuring loops: compiled once per machine by Numba, cached in a file, loaded by llvmlite alone.

Importing Numba takes most of a second, but the code that it compiles does not need it. Like Numba's own cache, the file
is stored next to this module or in the user's cache folder. If neither is writable, each process compiles. `python -m
filterzoo.measures.compiled.kernels` creates the file in advance.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import llvmlite
import llvmlite.binding as llvm
import platformdirs

from filterzoo.durable import whole_file

_SOURCES: Final = ("loops.py", "eigenvalue_loops.py", "loop_arguments.py", "../dct.py", "machine_code.py")
_CTYPES: Final[dict[str, Any]] = {"i": ctypes.c_int64, "d": ctypes.c_double}
_UNUSED: Final = "NRT_MemInfo_call_dtor"
"""Frees the memory of loops that allocate: the code refers to it, but never calls it."""

Objects = dict[str, tuple[str, bytes]]
"""Name of a loop -> name of its entry point, and the object file."""
_engines: list[Any] = []
"""The owners of the loaded code, kept until the process ends."""


def load(loops: Mapping[str, str]) -> dict[str, Callable[..., None]]:
    """Functions that release the GIL while they run; `loop_arguments.LOOPS` describes their arguments."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    key = _key()
    found = (_read(folder / key) for folder in _folders())
    # A process older than the sources on disk may have cached its own loops under the sources' key.
    kept = next((objects for objects in found if objects is not None and objects.keys() == loops.keys()), None)
    objects = kept or _compiled(key)
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    llvm.add_symbol(_UNUSED, ctypes.c_size_t.from_address(ctypes.addressof(ctypes.CDLL(None).abort)).value)
    for _entry, code in objects.values():
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return {name: _function(engine.get_function_address(objects[name][0]), loops[name]) for name in loops}


def _function(address: int, arguments: str) -> Callable[..., None]:
    """A ctypes function; compiled functions take two more arguments first, for the result and an exception."""
    kinds = [_CTYPES.get(letter, ctypes.c_size_t) for letter in arguments.split()]
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_size_t, ctypes.c_size_t, *kinds)(address)
    places = (ctypes.c_size_t * 2)()
    first = ctypes.addressof(places)

    def call(*given: float, _places: object = places) -> None:
        function(first, first + ctypes.sizeof(ctypes.c_size_t), *given)

    return call


def _key() -> str:
    """Name of the file; it changes with the loops, the compiler and the CPU."""
    own = Path(__file__).parent
    parts = [(own / name).read_bytes() for name in _SOURCES]
    parts += [importlib.metadata.version("numba").encode(), llvmlite.__version__.encode()]
    parts += [llvm.get_process_triple().encode(), llvm.get_host_cpu_name().encode()]
    parts += [llvm.get_host_cpu_features().flatten().encode()]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return f"loops-{digest.hexdigest()[:32]}.json"


def _folders() -> list[Path]:
    return [Path(__file__).parent / "__pycache__", platformdirs.user_cache_path("filterzoo", appauthor=False) / "loops"]


def _read(path: Path) -> Objects | None:
    """The objects in a file; None if it is missing or not as it was written, since damaged code must not run."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        digest, _, text = path.read_bytes().partition(b"\n")
        if digest.decode() == hashlib.sha256(text).hexdigest():
            return {name: (entry, base64.b64decode(code)) for name, (entry, code) in json.loads(text).items()}
    return None


def _compiled(key: str) -> Objects:
    """Compile the loops, and cache them in the first writable folder."""
    sys.stderr.write("filterzoo: compiling the measuring loops, once on this machine; it takes some seconds\n")
    from filterzoo.measures.compiled import loops  # noqa: PLC0415  # it imports Numba, and only this needs it

    objects = loops.compiled()
    text = json.dumps({name: (entry, base64.b64encode(code).decode()) for name, (entry, code) in objects.items()})
    content = f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}".encode()
    for folder in _folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with whole_file(folder / key) as draft:
                draft.write_bytes(content)
            break
    return objects
