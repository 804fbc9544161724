"""Shopify against its published schema (Admin API 2026-10): the documents and variables that we send, the answers that
the readers are tested on, what a query may cost, deliveries and their signatures.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLEnumType,
    GraphQLObjectType,
    GraphQLSchema,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    build_schema,
    get_named_type,
    get_nullable_type,
    graphql_sync,
    is_list_type,
    parse,
    validate,
)
from graphql.execution.values import get_variable_values

from refundflow.connectors import shopify
from refundflow.connectors.shopify import Credentials, Shopify, ShopifyInbound, token_request
from refundflow.domain.facts import (
    DisputeState,
    LineQuantity,
    OrderFacts,
    OrderRef,
    PaymentFacts,
    RefundStatus,
)
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    RefundSeen,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import AlreadyDone, Done, Pending, Permanent
from refundflow.settings import Secret
from refundflow.transport.base import Request, Response
from tests.support.fake_http import answer
from tests.support.specs import check_document, load, specs
from tests.unit.connectors.test_shopify import (
    ANSWERS,
    CANCEL_LINES,
    CANCEL_ORDER,
    CANCEL_STEP,
    CARRIED,
    FACTS,
    GIVE_BACK,
    LAMP,
    ORDER_ID,
    REFUND_ID,
    REFUND_STEP,
    RESTOCK,
    RETURNED,
    SALE,
    THROTTLED,
    bag,
    book,
    cancel_payload,
    cancel_refused,
    cancelled,
    dispute,
    eur,
    line,
    lines_refund,
    money_refund,
    moved,
    noted,
    order,
    page,
    paid,
    refund_move,
    refunded_line,
)

DOCUMENTS = {
    name: getattr(shopify, name)
    for name in (
        "CHECK", "ORDERS_BY_NAME", "ORDER", "ORDER_LINES", "QUOTE", "NOTES", "REFUND", "PAYMENT", "DISPUTE", "CANCEL",
        "CANCEL_BEFORE_2026_10", "REFUND_CREATE",
    )
}  # fmt: skip
#: The most that a single query may cost, whatever the shop's plan.
DEAREST = 1000
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@lru_cache(maxsize=1)
def _built(path: Path) -> GraphQLSchema:
    return build_schema(path.read_text(encoding="utf-8"))


@pytest.fixture
def schema() -> GraphQLSchema:
    return _built(specs("shopify") / "admin-2026-10.slice.graphql")


class SchemaShop:
    """An `Http` that runs each request against the published schema.

    `roots`: what the queries and mutations give, by field. A document, a variable or an answer that the schema does not
    allow fails the test: nothing reaches the connector that Shopify could not have written.
    """

    def __init__(self, schema: GraphQLSchema, **roots: Any) -> None:
        self.schema = schema
        self.roots = roots
        self.requests: list[Request] = []

    def send(self, request: Request) -> Response:
        self.requests.append(request)
        assert request.method == "POST"
        assert request.path == "/admin/api/2026-10/graphql.json"
        assert request.json.keys() == {"query", "variables"}
        check_variables(self.schema, request.json["query"], request.json["variables"])
        result = run(self.schema, request.json["query"], request.json["variables"], self.roots)
        return answer(200, {"data": result.data})

    @property
    def operations(self) -> list[str]:
        return [request.operation for request in self.requests]


def check_variables(schema: GraphQLSchema, document: str, variables: dict[str, Any]) -> None:
    """Every variable is declared by the document, given, and of its type."""
    (operation,) = parse(document).definitions
    assert isinstance(operation, OperationDefinitionNode)
    definitions = operation.variable_definitions or ()
    assert {d.variable.name.value for d in definitions} == set(variables)
    coerced = get_variable_values(schema, definitions, variables)
    assert not isinstance(coerced, list), coerced


def run(
    schema: GraphQLSchema, document: str, variables: dict[str, Any], roots: dict[str, Any]
) -> ExecutionResult:
    result = graphql_sync(schema, document, root_value=roots, variable_values=variables)
    assert result.errors is None, [error.message for error in result.errors]
    return result


# --- documents ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_is_valid(schema: GraphQLSchema, name: str) -> None:
    assert validate(schema, parse(DOCUMENTS[name])) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_document_asks_for_what_is_deprecated(schema: GraphQLSchema, name: str) -> None:
    (operation,) = parse(DOCUMENTS[name]).definitions
    assert isinstance(operation, OperationDefinitionNode)
    kinds = {"query": schema.query_type, "mutation": schema.mutation_type}

    def deprecated(selections: SelectionSetNode | None, parent: Any) -> list[str]:
        found = []
        for node in selections.selections if selections else ():
            assert isinstance(node, FieldNode)
            field = parent.fields[node.name.value]
            found += [f"{parent.name}.{node.name.value}"] if field.deprecation_reason else []
            found += deprecated(node.selection_set, get_named_type(field.type))
        return found

    assert deprecated(operation.selection_set, kinds[operation.operation.value]) == []


def cost(selections: SelectionSetNode | None, parent: Any, asked_for: int = 1) -> int:
    """What a selection asks for: an object is one point, the elements of a list as many as its `first` says, a scalar
    nothing. Lists without `first` are taken for ten. `asked_for`: the `first` of the connection that this is inside of.
    """
    total = 0
    for node in selections.selections if selections else ():
        assert isinstance(node, FieldNode)
        kind = get_named_type(parent.fields[node.name.value].type)
        if not isinstance(kind, GraphQLObjectType):
            continue
        limits = [
            int(argument.value.value)
            for argument in node.arguments or ()
            if argument.name.value == "first" and isinstance(argument.value, IntValueNode)
        ]
        times = 1
        if is_list_type(get_nullable_type(parent.fields[node.name.value].type)):
            times = asked_for if node.name.value == "nodes" else (limits or [10])[0]
        total += times * (1 + cost(node.selection_set, kind, (limits or [1])[0]))
    return total


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_document_costs_more_than_one_query_may(schema: GraphQLSchema, name: str) -> None:
    (operation,) = parse(DOCUMENTS[name]).definitions
    assert isinstance(operation, OperationDefinitionNode)
    is_write = operation.operation.value == "mutation"
    root = schema.mutation_type if is_write else schema.query_type

    assert cost(operation.selection_set, root) + (10 if is_write else 0) < DEAREST


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_that_the_readers_are_tested_on_is_one_that_shopify_could_write(
    schema: GraphQLSchema, name: str
) -> None:
    document, written = ANSWERS[name]
    variables = {
        "id": ORDER_ID,
        "after": "c1",
        "query": "x",
        "lines": [],
        "orderId": ORDER_ID,
        "reason": "OTHER",
        "restock": True,
        "notifyCustomer": False,
        "refundMethod": {"originalPaymentMethodsRefund": False},
        "staffNote": "x",
        "input": {"orderId": ORDER_ID},
        "key": "k",
    }
    # Running the document over the answer gives it back only where it has the fields asked for, of the right types.
    assert run(schema, document, variables, written).data == written


# --- what is sent, and what it comes to ---------------------------------------------------------------------


def test_an_order_is_read_as_the_schema_writes_it(schema: GraphQLSchema) -> None:
    shop = SchemaShop(schema, order=order())

    assert Shopify(shop).read_order(OrderRef("shopify", ORDER_ID)) == FACTS


def test_an_order_is_found_by_number_and_read_page_by_page(schema: GraphQLSchema) -> None:
    pages = [page(line(), cursor="c1"), page(line("gid://shopify/LineItem/13"))]
    found = order(lineItems=lambda _info, **asked: pages[1 if asked.get("after") == "c1" else 0])
    listed = {"nodes": [{"id": ORDER_ID, "name": "#1001"}], "pageInfo": {"hasNextPage": False}}
    shop = SchemaShop(schema, orders=listed, order=found)

    read = Shopify(shop).read_order(OrderRef("shopify", number="1001"))

    assert isinstance(read, OrderFacts)
    assert [each.line_id for each in read.lines] == [LAMP, "gid://shopify/LineItem/13"]
    assert shop.operations == ["shopify.find_order", "shopify.read_order", "shopify.read_order"]


def test_an_order_sold_abroad_is_read_in_the_customers_currency_throughout(schema: GraphQLSchema) -> None:
    def abroad(amount: str, at_home: str) -> dict[str, Any]:
        return bag(amount, "JPY") | {"shopMoney": {"amount": at_home, "currencyCode": "EUR"}}

    found = order(
        presentmentCurrencyCode="JPY",
        totalPriceSet=abroad("6800.0", "41.90"),
        lineItems=page(line(discountedUnitPriceSet=abroad("2960.0", "18.25"))),
        transactions=[paid(amountSet=abroad("6800.0", "41.90"))],
    )
    read = Shopify(SchemaShop(schema, order=found)).read_order(OrderRef("shopify", ORDER_ID))

    assert isinstance(read, OrderFacts)
    assert [str(m) for m in (read.total, read.lines[0].unit, read.payments[0].amount)] == [
        "6800 JPY",
        "2960 JPY",
        "6800 JPY",
    ]


def test_lines_are_quoted(schema: GraphQLSchema) -> None:
    seen: list[dict[str, Any]] = []

    def suggested(_info: Any, **arguments: Any) -> dict[str, Any]:
        seen.append(arguments)
        return {"amountSet": bag("18.25")}

    shop = SchemaShop(schema, order={"id": ORDER_ID, "suggestedRefund": suggested})

    assert Shopify(shop).quote_lines(FACTS, (LineQuantity(LAMP, 1),)) == eur(1825)
    assert [(s["refundLineItems"], s["refundShipping"], s["refundMethodAllocation"]) for s in seen] == [
        (
            [{"lineItemId": LAMP, "quantity": 1, "restockType": "NO_RESTOCK"}],
            False,
            "ORIGINAL_PAYMENT_METHODS",
        )
    ]


@pytest.mark.parametrize(
    ("_case", "payload", "found", "expected"),
    [
        ("started", cancel_payload(), cancelled(None), Pending("gid://shopify/Job/j1", 2.0)),
        (
            "refused, and cancelled by somebody",
            cancel_refused("INVALID"),
            cancelled("by hand"),
            AlreadyDone(ORDER_ID, "cancelled by somebody else at 2026-11-23T11:59:00Z"),
        ),
        ("refused", cancel_refused(None), noted(), Permanent("refused", "orderId: Cannot be cancelled")),
    ],
)
def test_an_order_is_cancelled_without_money(
    schema: GraphQLSchema, _case: str, payload: Any, found: Any, expected: object
) -> None:
    seen: list[dict[str, Any]] = []

    def cancel(_info: Any, **arguments: Any) -> Any:
        seen.append(arguments)
        return payload

    shop = SchemaShop(schema, orderCancel=cancel, order=found)

    assert Shopify(shop).cancel_order(CANCEL_ORDER) == expected
    assert [
        (s["refundMethod"], s["restock"], s["notifyCustomer"], s["staffNote"], "refund" in s) for s in seen
    ] == [({"originalPaymentMethodsRefund": False}, True, False, f"refundflow {CANCEL_STEP}", False)]


@pytest.mark.parametrize(
    "reason", ["customer", "declined", "fraud", "inventory", "staff", "other", "anything"]
)
def test_every_reason_is_one_of_shopifys(schema: GraphQLSchema, reason: str) -> None:
    shop = SchemaShop(schema, orderCancel=cancel_payload())

    assert isinstance(Shopify(shop).cancel_order(replace(CANCEL_ORDER, reason=reason)), Pending)


def test_a_staff_note_is_shorter_than_the_255_characters_that_it_may_have() -> None:
    assert len(shopify.cancel_variables(CANCEL_ORDER)["staffNote"]) < 128


class RefundBook:
    """What `refundCreate` was asked for."""

    def __init__(self, refund: dict[str, Any]) -> None:
        self.refund = refund
        self.asked: list[dict[str, Any]] = []

    def __call__(self, _info: Any, **arguments: Any) -> dict[str, Any]:
        self.asked.append(arguments["input"])
        return {"refund": self.refund, "userErrors": []}


def test_a_refund_is_one_transaction_of_an_explicit_amount(schema: GraphQLSchema) -> None:
    created = RefundBook(
        money_refund(refund_move(), refundLineItems={"nodes": [], "pageInfo": {"hasNextPage": False}})
    )
    shop = SchemaShop(schema, refundCreate=created)

    assert Shopify(shop).refund(GIVE_BACK) == Done(REFUND_ID)
    assert [(r["transactions"], r.get("refundLineItems"), r["refundMethods"]) for r in created.asked] == [
        (
            [
                {
                    "orderId": ORDER_ID,
                    "parentId": SALE,
                    "kind": "REFUND",
                    "gateway": "shopify_payments",
                    "amount": "41.90",
                }
            ],
            None,
            [],
        )
    ]


@pytest.mark.parametrize(
    ("operation", "restock_type"), [("cancel_lines", "CANCEL"), ("restock", "CANCEL"), ("return", "RETURN")]
)
def test_lines_are_booked_without_a_transaction(
    schema: GraphQLSchema, operation: str, restock_type: str
) -> None:
    created = RefundBook(lines_refund(refunded_line(restockType=restock_type)))
    shop = SchemaShop(schema, refundCreate=created, order=order())
    outcome = {
        "cancel_lines": lambda: Shopify(shop).cancel_lines(CANCEL_LINES),
        "restock": lambda: Shopify(shop).restock(RESTOCK),
        "return": lambda: Shopify(shop).restock(RETURNED),
    }[operation]()

    assert isinstance(outcome, Done)
    assert [(r["refundLineItems"][0]["restockType"], "transactions" in r) for r in created.asked] == [
        (restock_type, False)
    ]


def test_effects_are_found_again(schema: GraphQLSchema) -> None:
    refund = SchemaShop(schema, order=book(money_refund(refund_move())))
    lines = SchemaShop(
        schema,
        order=noted((REFUND_ID, f"refundflow {CANCEL_STEP}")),
        refund=lines_refund(refunded_line()),
    )
    cancel = SchemaShop(schema, order=cancelled(f"refundflow {CANCEL_STEP}"))

    assert Shopify(refund).find_refund(GIVE_BACK) == Done(REFUND_ID)
    assert isinstance(Shopify(lines).find_cancel_lines(CANCEL_LINES), Done)
    assert isinstance(Shopify(lines).find_restock(CARRIED), Done)
    assert isinstance(Shopify(cancel).find_cancel_order(CANCEL_ORDER), Done)
    assert isinstance(Shopify(cancel).find_restock(CARRIED), Done)


def test_every_transaction_status_means_something_for_a_refund(schema: GraphQLSchema) -> None:
    kind = schema.type_map["OrderTransactionStatus"]
    assert isinstance(kind, GraphQLEnumType)
    told = {status: shopify.refund_status(status) for status in kind.values}

    assert told == {
        "SUCCESS": RefundStatus.SUCCEEDED,
        "FAILURE": RefundStatus.FAILED,
        "ERROR": RefundStatus.FAILED,
        "PENDING": RefundStatus.PENDING,
        "AWAITING_RESPONSE": RefundStatus.PENDING,
        "UNKNOWN": RefundStatus.PENDING,
    }


def test_every_dispute_status_means_something(schema: GraphQLSchema) -> None:
    kind = schema.type_map["DisputeStatus"]
    assert isinstance(kind, GraphQLEnumType)
    told = {status: shopify.dispute_state("CHARGEBACK", status) for status in kind.values}

    assert told == {
        "NEEDS_RESPONSE": DisputeState.OPEN,
        "UNDER_REVIEW": DisputeState.OPEN,
        "WON": DisputeState.WON,
        "LOST": DisputeState.LOST,
        "ACCEPTED": DisputeState.LOST,
        "CHARGE_REFUNDED": DisputeState.LOST,
        "PREVENTED": DisputeState.LOST,
    }


def test_an_inquiry_is_a_warning(schema: GraphQLSchema) -> None:
    shop = SchemaShop(
        schema,
        order=book(disputes=[dispute("NEEDS_RESPONSE", "INQUIRY")]),
        dispute=ANSWERS["a dispute"][1]["dispute"],
    )
    facts = Shopify(shop).read_payment(ORDER_ID, SALE)

    assert isinstance(facts, PaymentFacts)
    assert (facts.dispute, facts.captured) == (DisputeState.WARNING, eur(4190))


def test_a_check_asks_for_the_living_versions(schema: GraphQLSchema) -> None:
    versions = [{"handle": "2026-10", "supported": True}]

    assert Shopify(SchemaShop(schema, publicApiVersions=versions, orders={"nodes": []})).check().is_ok


# --- the envelope and the token -----------------------------------------------------------------------------


def test_errors_are_tested_as_the_envelope_has_them() -> None:
    check_document(specs("shopify") / "graphql-envelope.schema.json", THROTTLED.json)


def test_a_token_is_asked_for_as_described() -> None:
    request = token_request(Credentials("acme", client_id="id", client_secret=Secret("shh")))

    check_document(
        specs("shopify") / "oauth-client-credentials.schema.json", dict(request.form or ()), "/$defs/request"
    )


# --- deliveries ---------------------------------------------------------------------------------------------

CANCELLED_EVENT = {
    "id": 1001,
    "admin_graphql_api_id": ORDER_ID,
    "name": "#1001",
    "updated_at": "2026-11-22T10:15:01-05:00",
    "cancelled_at": "2026-11-22T10:15:00-05:00",
    "cancel_reason": "customer",
    "email": "buyer@example.com",
    "currency": "EUR",
    "line_items": [{"id": 11, "variant_id": None, "sku": None, "quantity": 2, "price": "18.25"}],
}
REFUND_EVENT = {
    "id": 501,
    "admin_graphql_api_id": REFUND_ID,
    "order_id": 1001,
    "created_at": "2026-11-22T10:15:00-05:00",
    "note": f"refundflow {REFUND_STEP}",
    "refund_line_items": [],
    "transactions": [moved(order_id=1001, gateway="shopify_payments")],
}
DISPUTE_EVENT = {
    "id": 9,
    "order_id": 1001,
    "type": "chargeback",
    "amount": "41.90",
    "currency": "EUR",
    "reason": "fraudulent",
    "status": "needs_response",
    "initiated_at": "2026-11-22T10:15:00-05:00",
}
REF = OrderRef("shopify", ORDER_ID)


@pytest.mark.parametrize(
    ("topic", "file", "body", "reading"),
    [
        (
            "orders/cancelled",
            "webhook.orders-cancelled.schema.json",
            CANCELLED_EVENT,
            OrderCancelledElsewhere(OrderRef("shopify", ORDER_ID, "#1001"), "customer"),
        ),
        (
            "orders/cancelled",
            "webhook.orders-cancelled.schema.json",
            {"id": 1001, "admin_graphql_api_id": ORDER_ID, "updated_at": "2026-11-22T10:15:01-05:00"},
            OrderCancelledElsewhere(REF, "other"),
        ),
        (
            "refunds/create",
            "webhook.refunds-create.schema.json",
            REFUND_EVENT,
            RefundSeen("shopify", SALE, REFUND_ID, RefundStatus.SUCCEEDED, eur(4190), REFUND_STEP, REF),
        ),
        (
            "refunds/create",
            "webhook.refunds-create.schema.json",
            {"id": 501, "order_id": 1001},
            PaymentRefundsChanged("shopify", "", REF),
        ),
        (
            "disputes/create",
            "webhook.disputes.schema.json",
            DISPUTE_EVENT,
            DisputeSeen(
                "shopify",
                "",
                "gid://shopify/ShopifyPaymentsDispute/9",
                DisputeState.OPEN,
                eur(4190),
                "fraudulent",
                REF,
            ),
        ),
        (
            "disputes/update",
            "webhook.disputes.schema.json",
            {"id": 9, "type": "inquiry", "amount": "41.90", "currency": "EUR", "status": "under_review"},
            DisputeSeen(
                "shopify", "", "gid://shopify/ShopifyPaymentsDispute/9", DisputeState.WARNING, eur(4190)
            ),
        ),
    ],
)
def test_deliveries_are_read_as_described(
    topic: str, file: str, body: dict[str, Any], reading: object
) -> None:
    check_document(specs("shopify") / file, body)

    assert ShopifyInbound(Secret("x")).read_event(topic, answer(200, body).body) == reading


def test_signature_vectors() -> None:
    vectors = load(specs("shopify") / "webhook_signature_vectors.json")["vectors"]
    assert len(vectors) == 2

    for vector in vectors:
        headers = {
            "x-shopify-hmac-sha256": vector["signature"],
            "x-shopify-topic": "orders/cancelled",
            "x-shopify-webhook-id": "w1",
        }
        signed = Delivery(headers, vector["body"].encode())
        expected = (
            Verified("w1", "orders/cancelled") if vector["valid"] else Refused("the signature does not fit")
        )
        assert ShopifyInbound(Secret(vector["client_secret"])).verify(signed, NOW) == expected
