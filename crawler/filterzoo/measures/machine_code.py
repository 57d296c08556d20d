"""Machine code of the measuring loops: compiled once on a machine by Numba, kept in a file, loaded by llvmlite alone.

Numba takes most of a second to import. What it compiles for a machine needs nothing of it afterwards. As Numba's own,
the file is kept beside this module or in the user's cache. Where neither can be written, each process compiles.
`python -m filterzoo.measures.kernels` makes it in advance.
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

_SOURCES: Final = ("loops.py", "loop_arguments.py", "dct.py", "machine_code.py")
_CTYPES: Final[dict[str, Any]] = {"i": ctypes.c_int64, "d": ctypes.c_double}
_UNUSED: Final = "NRT_MemInfo_call_dtor"
"""What a loop that allocates would free its memory with: the code names it and never calls it."""

Objects = dict[str, tuple[str, bytes]]
"""Name of a loop -> name of its entry, and the object file that holds it."""
_engines: list[Any] = []
"""They own the loaded code: it stays as long as the process."""


def load(loops: Mapping[str, str]) -> dict[str, Callable[..., None]]:
    """Functions that release the lock of Python while they run; `loop_arguments.LOOPS` describes their arguments."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    key = _key()
    found = (_read(folder / key) for folder in _folders())
    # A process that is older than the sources on disk may have kept its own loops under their key.
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
    """Before its own arguments a compiled function takes two places: for a result and for an exception."""
    kinds = [_CTYPES.get(letter, ctypes.c_size_t) for letter in arguments.split()]
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_size_t, ctypes.c_size_t, *kinds)(address)
    places = (ctypes.c_size_t * 2)()
    first = ctypes.addressof(places)

    def call(*given: float, _places: object = places) -> None:
        function(first, first + ctypes.sizeof(ctypes.c_size_t), *given)

    return call


def _key() -> str:
    """Name of the file: it changes with the loops, with what compiles them, and with the CPU."""
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
    """None where there is no such file, or not as it was written: damaged code must not be run."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        digest, _, text = path.read_bytes().partition(b"\n")
        if digest.decode() == hashlib.sha256(text).hexdigest():
            return {name: (entry, base64.b64decode(code)) for name, (entry, code) in json.loads(text).items()}
    return None


def _compiled(key: str) -> Objects:
    """Compile the loops, and keep them in the first folder that takes them."""
    sys.stderr.write("filterzoo: compiling the measuring loops, once on this machine; it takes some seconds\n")
    from filterzoo.measures import loops  # noqa: PLC0415  # it imports Numba, and only this needs it

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
