"""One error for content that no release writes, wherever it is detected."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from filterzoo.errors import FilterZooError

WRONG_CONTENT = (
    pa.ArrowException,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    csv.Error,
)
"""Exceptions that other columns and cells than a release's cause: null, short, nested, far too large."""


@contextlib.contextmanager
def reading(where: str) -> Iterator[None]:
    """Convert exceptions caused by the content of the data set `where` into FilterZooError.

    pyarrow reports damaged bytes as an OSError without an errno; those with one are from the operating system and
    propagate.
    """
    try:
        yield
    except FileNotFoundError as error:
        if _is_elsewhere(error.filename, where):
            raise
        raise FilterZooError(
            f"{where}: lacks {error.filename or error}, which layers says is there; verify it"
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise FilterZooError(f"{where}: is damaged ({short_message(error)}); run filterzoo verify") from error
    except WRONG_CONTENT as error:
        raise FilterZooError(
            f"{where}: holds what no release writes ({short_message(error)}); run filterzoo verify"
        ) from error


def _is_elsewhere(filename: object, where: str) -> bool:
    """Whether an absolute path is outside the data set, such as that of an output folder that cannot be created."""
    if not isinstance(filename, str) or not Path(filename).is_absolute():
        return False
    return not Path(filename).is_relative_to(Path(where).absolute())


def short_message(error: BaseException) -> str:
    """The type of an error and the first line of its message, shortened."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return ascii(f"{type(error).__name__}: {text}")[1:-1][:200]
