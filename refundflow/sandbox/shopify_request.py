"""Reading GraphQL requests as Shopify does, and what every answer of its has: errors, pages, amounts, search, cost."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    VariableNode,
    parse,
)

from refundflow.domain.money import Money
from refundflow.sandbox.base import Call, Record
from refundflow.sandbox.shopify_state import Order, tail

VERSIONS: Final = ("2026-01", "2026-04", "2026-07", "2026-10")
GRAPHQL_PATH: Final = re.compile(r"/admin/api/([^/]+)/graphql\.json")
KEYED: Final = ("refundCreate", "inventoryAdjustQuantities")
_VERSION: Final = re.compile(r"\d{4}-(01|04|07|10)")


@dataclass(frozen=True, slots=True)
class Asked:
    """A GraphQL request after reading; `problem` says why there is no document in it."""

    version: str
    document: DocumentNode | None
    field_name: str
    variables: dict[str, Any]
    operation_name: str | None
    problem: Record | list[Record] | None = None


def served_version(version: str) -> str | None:
    """The version that answers: an expired one falls forward to the oldest living, an unknown one is nowhere."""
    if version in VERSIONS or version == "unstable":
        return version
    return VERSIONS[0] if _VERSION.fullmatch(version) and version < VERSIONS[0] else None


def read_request(call: Call, version: str) -> Asked:
    """The document, its variables and the first field asked for; `problem` where there is none to carry out."""
    nothing: dict[str, Any] = {}
    match call.json if call.content_type == "application/json" else None:
        case {"query": str(text), **more} if text.strip():
            sent: Any = more.get("variables")
            variables = sent if isinstance(sent, dict) else nothing
            asked_name: Any = more.get("operationName")
            name = asked_name if isinstance(asked_name, str) else None
        case _:
            return Asked(
                version, None, "unknown", nothing, None, {"query": "Required parameter missing or invalid"}
            )
    try:
        document = parse(text)
    except GraphQLError as error:
        return Asked(version, None, "unknown", nothing, None, [shown_error(error)])
    asked = Asked(version, document, "unknown", variables, name)
    operation = operation_of(asked)
    first = operation.selection_set.selections[0] if operation is not None else None
    field_name = first.name.value if isinstance(first, FieldNode) else "unknown"
    return Asked(version, document, field_name, asked.variables, name)


def operation_of(asked: Asked) -> OperationDefinitionNode | None:
    """The operation that a request means: the one named, else the first."""
    definitions = asked.document.definitions if asked.document is not None else ()
    for each in definitions:
        if isinstance(each, OperationDefinitionNode) and (
            asked.operation_name is None
            or (each.name is not None and each.name.value == asked.operation_name)
        ):
            return each
    return None


def keys_in(call: Call) -> list[str]:
    """All idempotency keys in a call, whatever it does."""
    path = GRAPHQL_PATH.fullmatch(call.path)
    if path is None or call.operation not in KEYED:
        return []
    asked = read_request(call, path[1])
    operation = operation_of(asked)
    nodes = operation.selection_set.selections if operation is not None else ()
    return [key for node in nodes if isinstance(node, FieldNode) for key in keys_of(node, asked.variables)]


def keys_of(node: FieldNode, variables: Mapping[str, Any]) -> list[str]:
    """The idempotency keys on one field."""
    return [_key_of(each, variables) for each in node.directives or () if each.name.value == "idempotent"]


def _key_of(directive: DirectiveNode, variables: Mapping[str, Any]) -> str:
    for argument in directive.arguments or ():
        match argument.value:
            case StringValueNode(value=value):
                return value
            case VariableNode(name=name):
                return str(variables.get(name.value, ""))
    return ""


def cost_of(selection: SelectionSetNode | None) -> int:
    """A rough figure in the vendor's spirit: one point an object, times `first` where a list is asked for; 1000 at most."""
    cost = 0
    for node in selection.selections if selection is not None else ():
        below = getattr(node, "selection_set", None)
        if below is None:
            continue
        times = 1
        for argument in getattr(node, "arguments", None) or ():
            if (
                argument.name.value in ("first", "last")
                and str(getattr(argument.value, "value", "")).isdigit()
            ):
                times = int(argument.value.value)
        cost += 1 + cost_of(below) * times
    return min(cost, 1000)


def objects_in(data: Any) -> int:
    """How many objects an answer holds: what it costs in the end."""
    match data:
        case dict():
            return 1 + sum(objects_in(each) for each in data.values())
        case list():
            return sum(objects_in(each) for each in data)
        case _:
            return 0


def shown_error(error: GraphQLError) -> Record:
    """One entry of the top-level `errors`, as the vendor writes it."""
    shown: Record = {"message": error.message}
    if error.locations:
        shown["locations"] = [{"line": each.line, "column": each.column} for each in error.locations]
    if error.path:
        shown["path"] = list(error.path)
    if error.extensions:
        shown["extensions"] = dict(error.extensions)
    return shown


def connection(nodes: list[Record], paging: Mapping[str, Any]) -> Record:
    """A page of nodes: `first`/`after` or `last`/`before`. Raises the vendor's error where neither is said, or past 250."""
    first, last = paging.get("first"), paging.get("last")
    if first is None and last is None:
        raise GraphQLError("you must provide one of first or last", extensions={"code": "BAD_REQUEST"})
    if (first is not None and not 0 < first <= 250) or (last is not None and not 0 < last <= 250):
        raise GraphQLError("first and last are between 1 and 250.", extensions={"code": "BAD_USER_INPUT"})
    if paging.get("reverse"):
        nodes = [*reversed(nodes)]
    start = 0
    if (after := paging.get("after")) is not None:
        start = _position(after) + 1
    end = _position(paging["before"]) if paging.get("before") is not None else len(nodes)
    indexes = list(range(start, end))
    kept = indexes[:first] if first is not None else indexes[-int(last or 0) :]
    cursor = base64.b64encode(str(kept[-1]).encode()).decode() if kept else None
    more = bool(kept) and kept[-1] < end - 1 if first is not None else end < len(nodes)
    return {"nodes": [nodes[at] for at in kept], "pageInfo": {"endCursor": cursor, "hasNextPage": more}}


def _position(cursor: str) -> int:
    try:
        return int(base64.b64decode(cursor, validate=True))
    except ValueError:
        raise GraphQLError(f"Invalid cursor {cursor!r}.", extensions={"code": "BAD_USER_INPUT"}) from None


def is_found(order: Order, query: str) -> bool:
    """Shopify's search terms, as far as known here; terms not known are passed over, as the vendor does."""
    for term in re.findall(r"""[\w.]+:(?:'[^']*'|"[^"]*"|\S+)""", query):
        name, _, value = term.partition(":")
        value = value.strip("'\"")
        if not _has(order, name, value):
            return False
    return True


def _has(order: Order, name: str, value: str) -> bool:
    match name:
        case "name":
            return order.name.lstrip("#") == value.lstrip("#")
        case "id":
            return tail(order.id) == value
        case "email":
            return (order.email or "") == value
        case "tag":
            return value in order.tags
        case "status":
            is_cancelled = order.cancelled_at is not None
            return value == "any" or is_cancelled == (value in ("cancelled", "closed"))
        case "financial_status":
            return order.financial_status.lower() == value.lower()
        case "fulfillment_status":
            return order.display_fulfillment.lower() == value.lower()
        case "updated_at" | "created_at":
            return _is_in_time(order.updated if name == "updated_at" else order.created, value)
        case _:
            return True


def _is_in_time(at: str, bound: str) -> bool:
    sign = re.match(r"[<>]=?", bound)
    wanted = _moment(bound[sign.end() :] if sign else bound)
    moment = _moment(at)
    match sign[0] if sign else "=":
        case ">":
            return moment > wanted
        case ">=":
            return moment >= wanted
        case "<":
            return moment < wanted
        case "<=":
            return moment <= wanted
        case _:
            return moment == wanted


def _moment(text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise GraphQLError(f"Invalid time {text!r}.") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def number_in(id: str, kind: str) -> str:
    """The number in a gid. Raises the vendor's error for an id that is none, or is another kind's."""
    if not re.fullmatch(rf"gid://shopify/{kind}/\d+", id):
        raise GraphQLError(f"Invalid global id '{id}'", extensions={"code": "argumentLiteralsIncompatible"})
    return tail(id)


def money_v2(minor: int, currency: str) -> Record:
    """MoneyV2: amounts come with as few decimals as they need, yet at least one where the currency has any ("41.9")."""
    whole, point, part = Money(minor, currency).major.partition(".")
    return {"amount": f"{whole}.{part.rstrip('0') or '0'}" if point else whole, "currencyCode": currency}


def minor_of(amount: Decimal, currency: str) -> int:
    """Minor units of a decimal amount. Raises GraphQLError for more decimals than the currency has."""
    try:
        return Money.from_major(amount, currency).minor
    except ValueError as error:
        raise GraphQLError(str(error), extensions={"code": "BAD_USER_INPUT"}) from None
