"""Domain values to JSON and back, by their types. Unions are told apart by a `_type` tag."""

from __future__ import annotations

import functools
import json
from datetime import datetime
from decimal import Decimal
from types import UnionType
from typing import Any, TypeVar, get_args

from cattrs.preconf.json import JsonConverter, make_converter
from cattrs.strategies import configure_tagged_union

from refundflow.domain.commands import AnyCommand
from refundflow.domain.inbound import Reading

T = TypeVar("T")


@functools.cache
def _converter() -> JsonConverter:
    converter = make_converter()
    for union in (AnyCommand, Reading):
        assert isinstance(union, UnionType)
        configure_tagged_union(union, converter, tag_name="_type")
    converter.register_unstructure_hook(datetime, lambda value: value.isoformat())
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value))
    return converter


_TAGGED = (*get_args(AnyCommand), *get_args(Reading))


def to_json(value: Any, kind: Any = None) -> str:
    """The value as canonical JSON text (sorted keys), the same for equal values."""
    if kind is None and isinstance(value, get_args(AnyCommand)):
        kind = AnyCommand
    plain = _converter().unstructure(value, unstructure_as=kind)
    return dump(plain)


def from_json(plain: Any, kind: type[T] | Any) -> T:
    """Builds `kind` from parsed JSON. Raises cattrs' errors for anything that does not fit."""
    result: T = _converter().structure(plain, kind)
    return result


def dump(plain: Any) -> str:
    """Canonical JSON text of plain data; Decimals as strings, times as ISO 8601."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
