"""Parses the child's messages, which are untrusted: their size is bounded first, and parsing stops at the first error.

Otherwise 64 MB of `1,` would become gigabytes: a list of numbers and an error for each number.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

from filterzoo.errors import Reason, Refused
from filterzoo.jail.messages import MAX_VALUES

NO_MESSAGE = "the jail sent something that is no message"
MAX_QUESTION = 8 << 20
"""Most bytes of a request or a refusal; only tables are longer."""


class RecordParser:
    """Parses JSON into a record."""

    def __init__(self, record: type[Any]) -> None:
        self._validator = SchemaValidator(_failing_fast(TypeAdapter(record).core_schema))

    def read(self, body: bytes) -> Any:
        """The record; Refused (limit, malformed, crashed) if the body is not one."""
        check_values(body)
        try:
            return self._validator.validate_json(body, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:  # not JSON, or not an object
                raise Refused(Reason.CRASHED, NO_MESSAGE) from None
            place = ".".join(str(step) for step in first["loc"])
            raise Refused(Reason.MALFORMED, f"the table from the jail is wrong: {first['msg']}", place[:200]) from None


def document(body: bytes) -> Any:
    """Any short JSON value; Refused (crashed) if the body is not JSON."""
    if len(body) > MAX_QUESTION:
        raise Refused(Reason.CRASHED, NO_MESSAGE)
    check_values(body)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(Reason.CRASHED, NO_MESSAGE) from None


def check_values(body: bytes) -> None:
    """Refused (limit) if the JSON has more values than any table, by the number of commas."""
    if body.count(b",") > MAX_VALUES:
        raise Refused(Reason.LIMIT, f"a table of more than {MAX_VALUES} values")


def _failing_fast(schema: Any) -> Any:
    """The same schema, but a sequence ends at its first wrong item."""
    if isinstance(schema, dict):
        copied = {key: _failing_fast(value) for key, value in schema.items()}
        return copied | {"fail_fast": True} if schema.get("type") in {"tuple", "list"} else copied
    return [_failing_fast(value) for value in schema] if isinstance(schema, list) else schema
