"""A practice Shopify: the GraphQL Admin API and the token endpoint under `/shopify/admin/`.

Documents are parsed, validated and executed with graphql-core over `shopify_schema.py` (versions 2026-01 to 2026-10,
shopify.dev/docs/api/admin-graphql, read 2026-11-23). Operations are named by the first field asked for: `order`,
`orderCancel`, `refundCreate` …, and `access_token`. Nearly every failure is an HTTP 200 with `errors` or user errors in it.

What is strict: `X-Shopify-Access-Token` (any `shpat_…`, or one given out here, for 86399 s), JSON bodies, living versions (an
expired one falls forward to the oldest; `X-Shopify-API-Version` says which answered), unknown fields, `@idempotent(key:)` on
`refundCreate` and `inventoryAdjustQuantities` from 2026-04, the preconditions of `orderCancel`, what is left to refund.
`orderCancel` is done later, after the job or order was read `cancel_after_reads` times (default 1), or by itself
`cancel_within_s` seconds after the call; a job that failed leaves `cancelledAt` null although it is done.

Chosen where the vendor's behaviour is not known: an `orderCancel` without `refundMethod` is refused, so that nobody comes to
rely on its meaning; a key is remembered for 24 hours; a missing directive is a top-level error.

Faults: `late_failure` on orderCancel lets the accepted job fail, on refundCreate it later turns the money's transaction to
FAILURE. `slow_pending` leaves the job, or the transaction, open until settled. A status fault with status 200 is an answer
with that `code` in `errors` (default THROTTLED). With `code` "previous_attempt_failed" a status fault makes the key answer
so from then on.

`seed({"cancel_after_reads"?, "cancel_within_s"?, "bucket"?, "restore_per_s"?, "locations"?: [{"id"?, "name", "is_active"?}], "orders": [{"id"?, "name"?,
"currency", "presentment_currency"?, "presentment_rate"?, "email"?, "note"?, "tags"?, "created_at"?, "source_name"?,
"return_status"?, "shipping"?, "custom_ids"?, "lines": [{"id"?, "title", "sku"?, "quantity", "unit_minor", "fulfilled"?,
"location"?, "available"?, "item"?}], "transactions"?: [{"id"?, "kind"?, "status"?, "gateway"?, "amount"?, "payment_id"?,
"receipt"?}], "disputes"?: [{"type", "status"}]}]})`: amounts are minor units of the presentment currency; without
`transactions` the order was paid in one SALE through `shopify_payments`.

`settle` takes `{"order": id, "cancel": "succeeded" | "failed"}`, `{"transaction": id, "status": "SUCCESS" | "FAILURE"}`,
`{"order": id, "dispute": {"type", "status"}}`, `{"order": id, "fulfil": quantity}` or `{"order": id, "staff_cancel": reason}`
(a person cancels in the admin). Ids may be numbers or gids.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import random
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, ClassVar, Final, TypeVar

from graphql import (
    GraphQLError,
    GraphQLResolveInfo,
    OperationType,
    execute_sync,
    validate,
)

from refundflow.domain.money import Money, allocate, exponent_of
from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    Kind,
    NoSuchObjectError,
    Operation,
    Record,
    Route,
    Vendor,
)
from refundflow.sandbox.shopify_request import (
    GRAPHQL_PATH,
    KEYED,
    VERSIONS,
    Asked,
    connection,
    cost_of,
    is_found,
    keys_in,
    keys_of,
    minor_of,
    money_v2,
    number_in,
    objects_in,
    operation_of,
    read_request,
    served_version,
    shown_error,
)
from refundflow.sandbox.shopify_schema import schema_for
from refundflow.sandbox.shopify_state import (
    Dispute,
    Item,
    Job,
    Line,
    Location,
    Order,
    Refund,
    RefundedLine,
    Transaction,
    gid,
    tail,
)

SHOP: Final = "refundflow-practice.myshopify.com"
TOKEN_LIFETIME_S: Final = 86_399
KEY_LIFETIME: Final = timedelta(hours=24)

_REASONS: Final = (
    *(
        "correction",
        "cycle_count_available",
        "damaged",
        "movement_created",
        "movement_received",
        "movement_updated",
    ),
    *(
        "other",
        "promotion",
        "quality_control",
        "received",
        "reservation_created",
        "restock",
        "safety_stock",
        "shrinkage",
    ),
)
_QUANTITIES: Final = ("available", "damaged", "quality_control", "reserved", "safety_stock")

T = TypeVar("T")
Info = GraphQLResolveInfo[Any]


@dataclass(slots=True)
class Keyed:
    """What an idempotency key led to. `answer`: rebuilds the payload; `has_failed`: the first attempt broke off."""

    at: datetime
    fingerprint: str
    answer: Callable[[], Record] | None = None
    has_failed: bool = False


class Shopify(Vendor):
    """See the module's docstring; all amounts are minor units of the order's presentment currency."""

    name: ClassVar[str] = "shopify"

    def clear(self) -> None:
        self.orders: dict[str, Order] = {}
        self.locations: dict[str, Location] = {}
        self.items: dict[str, Item] = {}
        self.refunds: dict[str, Refund] = {}
        self.jobs: dict[str, Job] = {}
        self.disputes: dict[str, Dispute] = {}
        self.groups: dict[str, Record] = {}
        self.keys: dict[str, Keyed] = {}
        self.running: dict[str, str] = {}
        self.tokens: dict[str, datetime] = {}
        self.events: dict[tuple[str, str], Event] = {}
        self.cancel_after_reads = 1
        self.cancel_within_s = 1.0
        # A Plus shop's figures; a Standard shop has a tenth of them.
        self.bucket, self.restore_per_s = 20_000, 1000
        self.available = float(self.bucket)
        self.measured_at = self.world.clock()
        self._routes = (
            Route("POST", "/admin/oauth/access_token", "access_token", self.give_token, is_open=True),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    # ------------------------------------------------------------ at the door

    def find(self, call: Call) -> Operation:
        path = GRAPHQL_PATH.fullmatch(call.path)
        if path is None or (version := served_version(path[1])) is None:
            return Vendor.find(self, call)
        if call.method != "POST":
            return Operation("unknown", self.not_found)
        asked = read_request(call, version)
        return Operation(asked.field_name, functools.partial(self._run, asked))

    def authorise(self, call: Call) -> Answer | None:
        token = call.headers.get("x-shopify-access-token", "")
        ends = self.tokens.get(token)
        if (ends is None and token.startswith("shpat_")) or (ends is not None and self.world.clock() < ends):
            return None
        return self.unauthorised(call)

    def unauthorised(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return Answer(
            401, {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}
        )

    def refuse(self, call: Call) -> Answer:
        """Mutations answer with their own user errors; everything else with ACCESS_DENIED, or the code asked for."""
        if call.operation in ("orderCancel", *KEYED):
            return self.find(call).handle(call)
        code = (call.fault.code if call.fault else "") or "ACCESS_DENIED"
        return Answer(200, {"errors": [{"message": "Access denied.", "extensions": {"code": code}}]})

    def not_found(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return Answer(404, {"errors": "Not Found"})

    def failure(self, call: Call, status: int) -> Record:
        if status == 200:
            code = (call.fault.code if call.fault else "") or "THROTTLED"
            return {
                "errors": [{"message": code.capitalize(), "extensions": {"code": code}}],
                "extensions": {"cost": self._cost(self.bucket, None)},
            }
        return {"errors": "Throttled" if status == 429 else "Internal Server Error"}

    def begin(self, call: Call) -> Answer | None:
        for key in keys_in(call):
            self.running.setdefault(key, call.request_id)
        return None

    def finish(self, call: Call, answer: Answer) -> Answer:
        for key in keys_in(call):
            if self.running.get(key) == call.request_id:
                del self.running[key]
                if (
                    call.fault is not None
                    and call.fault.code == "previous_attempt_failed"
                    and answer.status >= 500
                ):
                    self.keys[key] = Keyed(self.world.clock(), "", has_failed=True)
        path = GRAPHQL_PATH.fullmatch(call.path)
        version = served_version(path[1]) if path is not None else None
        headers = {
            "X-Request-Id": str(uuid.uuid4()),
            **({"X-Shopify-API-Version": version} if version else {}),
        }
        return Answer(answer.status, answer.body, headers | dict(answer.headers), answer.content_type)

    def give_token(self, call: Call) -> Answer:
        asked = call.json if call.content_type == "application/json" else dict(call.form_pairs)
        match asked:
            case {"grant_type": "client_credentials", "client_id": str(id), "client_secret": str(secret)} if (
                id and secret
            ):
                token = "shpat_" + self.mint(length=32)
                self.tokens[token] = self.world.clock() + timedelta(seconds=TOKEN_LIFETIME_S)
                scope = "write_orders,write_inventory,read_shopify_payments_disputes"
                return Answer(200, {"access_token": token, "scope": scope, "expires_in": TOKEN_LIFETIME_S})
            case {"grant_type": "client_credentials"}:
                return Answer(
                    400, {"error": "invalid_request", "error_description": "client_id and client_secret"}
                )
            case _:
                return Answer(400, {"error": "unsupported_grant_type"})

    # ------------------------------------------------------------ carrying a document out

    def _run(self, asked: Asked, call: Call) -> Answer:
        if asked.problem is not None or asked.document is None:
            return Answer(200 if isinstance(asked.problem, list) else 400, {"errors": asked.problem})
        schema = schema_for(asked.version)
        if problems := validate(schema, asked.document):
            return Answer(200, {"errors": [shown_error(each) for each in problems]})
        operation = operation_of(asked)
        cost = cost_of(operation.selection_set) if operation is not None else 0
        if operation is not None and operation.operation is OperationType.MUTATION:
            cost += 10
        if cost > self._refill():
            throttled = [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]
            return Answer(200, {"errors": throttled, "extensions": {"cost": self._cost(cost, None)}})
        done = execute_sync(
            schema,
            asked.document,
            self._root(),
            (call, asked),
            asked.variables,
            asked.operation_name,
        )
        body: Record = {} if done.data is None and done.errors and not operation else {"data": done.data}
        if done.errors:
            body["errors"] = [shown_error(each) for each in done.errors]
        actual = min(cost, objects_in(done.data))
        self.available -= actual
        return Answer(200, {**body, "extensions": {"cost": self._cost(cost, actual)}})

    def _refill(self) -> float:
        now = self.world.clock()
        passed_s = max(0.0, (now - self.measured_at).total_seconds())
        self.available = min(float(self.bucket), self.available + passed_s * self.restore_per_s)
        self.measured_at = now
        return self.available

    def _cost(self, requested: int, actual: int | None) -> Record:
        return {
            "requestedQueryCost": requested,
            "actualQueryCost": actual,
            "throttleStatus": {
                "maximumAvailable": self.bucket,
                "currentlyAvailable": int(self.available),
                "restoreRate": self.restore_per_s,
            },
        }

    def _root(self) -> Record:
        return {
            "order": self._q_order,
            "orderByIdentifier": self._q_order_by_identifier,
            "orders": self._q_orders,
            "refund": lambda _, id: self._maybe(self.refunds, id, "Refund", self._refund_view),
            "job": self._q_job,
            "location": lambda _, id=None: self._q_location(id),
            "inventoryItem": lambda _, id: self._maybe(self.items, id, "InventoryItem", self._item_view),
            "dispute": lambda _, id: self._maybe(
                self.disputes, id, "ShopifyPaymentsDispute", self._dispute_view
            ),
            "disputes": lambda _, **paging: connection(
                [self._dispute_view(each) for each in self.disputes.values()], paging
            ),
            "publicApiVersions": [
                {"handle": each, "displayName": each, "supported": True} for each in VERSIONS
            ],
            "orderCancel": self._m_order_cancel,
            "refundCreate": self._m_refund_create,
            "inventoryAdjustQuantities": self._m_adjust,
            "orderUpdate": self._m_order_update,
            "tagsAdd": self._m_tags_add,
        }

    # ------------------------------------------------------------ queries

    def _maybe(
        self, found: Mapping[str, T], id: str, kind: str, view: Callable[[T], Record]
    ) -> Record | None:
        at = gid(kind, number_in(id, kind))
        return view(found[at]) if at in found else None

    def _q_order(self, _: Info, id: str) -> Record | None:
        order = self.orders.get(gid("Order", number_in(id, "Order")))
        if order is None:
            return None
        self._see(order)
        return self._order_view(order)

    def _q_order_by_identifier(self, info: Info, identifier: Record) -> Record | None:
        if (id := identifier.get("id")) is not None:
            return self._q_order(info, id)
        custom = identifier["customId"]
        wanted = (".".join(filter(None, (custom.get("namespace"), custom["key"]))), custom["value"])
        for order in self.orders.values():
            if wanted in order.custom_ids.items():
                self._see(order)
                return self._order_view(order)
        return None

    def _q_orders(
        self,
        _: Info,
        query: str = "",
        reverse: bool = False,
        sortKey: str = "",  # noqa: N803 (the vendor's argument)
        **paging: Any,
    ) -> Record:
        for order in self.orders.values():
            self._see(order)
        found = [order for order in self.orders.values() if is_found(order, query or "")]
        keys: dict[str, Callable[[Order], Any]] = {
            "UPDATED_AT": lambda order: order.updated,
            "ORDER_NUMBER": lambda order: order.number,
            "ID": lambda order: int(tail(order.id)),
            "TOTAL_PRICE": lambda order: order.total_minor,
        }
        found.sort(key=keys.get(sortKey, lambda order: order.created), reverse=reverse)
        return connection([self._order_view(each) for each in found], paging)

    def _q_job(self, _: Info, id: str) -> Record | None:
        if id not in self.jobs:
            return None
        self._see(self.jobs[id].order)
        return {"id": id, "done": self.jobs[id].status != "STARTED"}

    def _q_location(self, id: str | None) -> Record | None:
        if id is None:
            return next((self._location_view(each) for each in self.locations.values()), None)
        return self._maybe(self.locations, id, "Location", self._location_view)

    # ------------------------------------------------------------ orderCancel

    def _m_order_cancel(self, info: Info, **arguments: Any) -> Record:
        call, _ = info.context
        order = self.orders.get(gid("Order", number_in(arguments["orderId"], "Order")))
        if call.has(Kind.REFUSE):
            return _cancel_refused(call.fault.code or "INVALID", "The order cannot be canceled.", [])
        if order is None:
            return _cancel_refused("NOT_FOUND", "The order was not found.", ["orderId"])
        if (why := self._why_not_cancel(order, arguments)) is not None:
            return why
        reads = None if call.has(Kind.SLOW_PENDING) else self.cancel_after_reads
        job = Job(f"gid://shopify/Job/{uuid.uuid4()}", order, arguments, reads, call.has(Kind.LATE_FAILURE))
        self.jobs[job.id] = job
        if reads == 0:
            self._cancel(job)
        elif reads is not None:
            # A shop that never looks must still see its order cancelled.
            self.world.later(self.cancel_within_s, functools.partial(self._cancel_unseen, job))
        result = {
            "id": f"gid://shopify/OrderCancelJobResult/{tail(job.id)}",
            "done": job.status != "STARTED",
            "status": job.status,
            "errors": job.errors,
            "order": lambda _: self._order_view(order),
        }
        shown_job = {"id": job.id, "done": job.status != "STARTED"}
        return {"job": shown_job, "jobResult": result, "orderCancelUserErrors": [], "userErrors": []}

    def _why_not_cancel(self, order: Order, arguments: Mapping[str, Any]) -> Record | None:
        method = arguments.get("refundMethod")
        if len(arguments.get("staffNote") or "") > 255:
            return _cancel_refused(
                "INVALID", "Staff note is too long (maximum is 255 characters)", ["staffNote"]
            )
        if arguments.get("refund") is not None and method is not None:
            return _cancel_refused("INVALID", "Only one of refund and refundMethod may be given.", ["refund"])
        if arguments.get("refund") is None and method is None:
            return _cancel_refused("INVALID", "A refund method must be given.", ["refundMethod"])
        if order.cancelled_at is not None:
            return _cancel_refused("INVALID", "Order has already been canceled.", ["orderId"])
        if any(job.order is order and job.status == "STARTED" for job in self.jobs.values()):
            return _cancel_refused("INVALID", "A cancellation of this order is in progress.", ["orderId"])
        if order.return_status in ("IN_PROGRESS", "RETURN_REQUESTED"):
            return _cancel_refused("INVALID", "The order has a return in progress.", ["orderId"])
        if any(line.fulfilled for line in order.lines):
            return _cancel_refused(
                "INVALID", "The order has fulfillments that cannot be canceled.", ["orderId"]
            )
        if any(each.kind == "AUTHORIZATION" and each.status == "PENDING" for each in order.transactions):
            return _cancel_refused("INVALID", "The order has a pending payment authorization.", ["orderId"])
        if method is not None and method.get("storeCreditRefund") is not None and order.email is None:
            return _cancel_refused(
                "STORE_CREDIT_REFUND_MISSING_CUSTOMER", "The order has no customer.", ["refundMethod"]
            )
        return None

    def _see(self, order: Order) -> None:
        """Counts a read of an order; the one after the last undone read finds the cancellation done."""
        for job in self.jobs.values():
            if job.order is order and job.status == "STARTED" and job.reads_left is not None:
                if job.reads_left == 0:
                    self._cancel(job)
                else:
                    job.reads_left -= 1

    def _cancel_unseen(self, job: Job) -> None:
        with self.lock:
            if self.jobs.get(job.id) is job and job.status == "STARTED":
                self._cancel(job)

    def _cancel(self, job: Job) -> None:
        order, arguments = job.order, job.arguments
        inactive = any(not line.location.is_active for line in order.lines)
        if job.will_fail or (arguments["restock"] and inactive and order.received_minor):
            job.status = "FAILED"
            why = "The items' location is deactivated." if inactive else "The order could not be canceled."
            job.errors = [{"code": "INTERNAL_ERROR", "field": None, "message": why}]
            return
        job.status = "SUCCEEDED"
        now = self._now()
        order.cancelled_at = order.updated = now
        order.cancel_reason, order.staff_note = arguments["reason"], arguments.get("staffNote")
        self._write("cancel_order", order, order.id, reason=order.cancel_reason)
        self._void(order)
        method = arguments.get("refundMethod") or {}
        restock_type = "CANCEL" if arguments["restock"] else "NO_RESTOCK"
        lines = [
            RefundedLine(
                line, line.unfulfilled, restock_type, line.location if arguments["restock"] else None
            )
            for line in order.lines
            if line.unfulfilled
        ]
        refund = Refund(self._fresh("Refund"), order, order.staff_note, now, lines, [])
        if arguments.get("refund") or method.get("originalPaymentMethodsRefund"):
            for payment in order.money_in():
                if (left := order.left_on(payment)) > 0:
                    self._pay_back(refund, payment, left, "SUCCESS", None)
        elif method.get("storeCreditRefund") is not None:
            refund.store_credit_minor = sum(order.left_on(each) for each in order.money_in())
            self._write("store_credit", order, refund.id, refund.store_credit_minor)
        if refund.lines or refund.transactions or refund.store_credit_minor:
            self._keep(refund, None)
        self._tell("orders/cancelled", order.id)

    def _void(self, order: Order) -> None:
        for authorisation in list(order.transactions):
            if (left := order.left_to_capture(authorisation)) > 0:
                voided = self._transaction(
                    order, "VOID", "SUCCESS", authorisation.gateway, left, authorisation
                )
                self._write("void", order, voided.id, left, parent=authorisation.id)

    # ------------------------------------------------------------ refundCreate

    def _m_refund_create(self, info: Info, input: Record) -> Record:
        call, _ = info.context
        key, earlier = self._keyed(info, input)
        if isinstance(earlier, str):
            return _refund_refused(earlier, ["input"])
        if earlier is not None and earlier.answer is not None:
            return earlier.answer()
        if call.has(Kind.REFUSE):
            return _refund_refused(call.fault.code or "The refund was declined.", ["transactions"])
        order = self.orders.get(gid("Order", number_in(input["orderId"], "Order")))
        if order is None:
            return _refund_refused("Order does not exist", ["orderId"])
        payments = self._payments_of(order, input)
        if isinstance(payments, str):
            return _refund_refused(payments, ["transactions"])
        lines = self._lines_of(order, input.get("refundLineItems") or [])
        if isinstance(lines, str):
            return _refund_refused(lines, ["refundLineItems"])
        credit = sum(
            minor_of(each["storeCreditRefund"]["amount"]["amount"], order.presentment)
            for each in input.get("refundMethods") or []
        )
        if not (payments or lines or credit or input.get("shipping")):
            return _refund_refused("Refund must have at least one line item, shipping or transaction.", [])
        refund = Refund(self._fresh("Refund"), order, input.get("note"), self._now(), lines, [], credit)
        status = "PENDING" if call.has(Kind.SLOW_PENDING) else "SUCCESS"
        for payment, minor in payments:
            paid = self._pay_back(refund, payment, minor, status, key)
            if call.has(Kind.LATE_FAILURE):
                self.late.append(
                    functools.partial(self.settle, {"transaction": paid.id, "status": "FAILURE"})
                )
        if credit:
            self._write("store_credit", order, refund.id, credit, reference=refund.note, key=key)
        if not payments:
            self._write("record_refund", order, refund.id, reference=refund.note, key=key)
        self._keep(refund, key)

        def answer() -> Record:
            return {"order": self._order_view(order), "refund": self._refund_view(refund), "userErrors": []}

        if earlier is not None:
            earlier.answer = answer
        return answer()

    def _payments_of(self, order: Order, input: Record) -> list[tuple[Transaction, int]] | str:
        """What each entry in `transactions` takes from which payment, or why not."""
        entries = input.get("transactions") or []
        currency = input.get("currency")
        if entries and order.presentment != (currency or order.currency):
            return f"Currency must be the order's presentment currency, {order.presentment}"
        taken: dict[str, int] = {}
        found: list[tuple[Transaction, int]] = []
        for entry in entries:
            by_id = {tail(each.id): each for each in order.money_in()}
            payment = by_id.get(tail(entry.get("parentId") or ""))
            if entry["kind"] != "REFUND":
                return "Transaction kind must be refund"
            if tail(entry["orderId"]) != tail(order.id) or payment is None:
                return "Parent transaction is not a captured payment of this order"
            if entry["gateway"] != payment.gateway:
                return f"Gateway must be that of the parent transaction, {payment.gateway}"
            minor = minor_of(entry["amount"], order.presentment)
            taken[payment.id] = taken.get(payment.id, 0) + minor
            if minor <= 0:
                return "Amount must be greater than zero"
            if taken[payment.id] > order.left_on(payment):
                return "Refund amount exceeds what is left to refund on the transaction"
            found.append((payment, minor))
        return found

    def _lines_of(self, order: Order, entries: Iterable[Record]) -> list[RefundedLine] | str:
        found: list[RefundedLine] = []
        for entry in entries:
            line = next((each for each in order.lines if tail(each.id) == tail(entry["lineItemId"])), None)
            restock = entry.get("restockType") or "NO_RESTOCK"
            location = self.locations.get(gid("Location", tail(entry.get("locationId") or "")))
            if line is None:
                return "Line item does not belong to the order"
            before = sum(each.quantity for each in found if each.line is line)
            if not 0 < entry["quantity"] + before <= line.refundable or entry["quantity"] < 1:
                return "Quantity cannot refund more items than were purchased"
            if restock == "LEGACY_RESTOCK":
                return "Restock type is not accepted for new refunds"
            if restock == "CANCEL" and entry["quantity"] + before > line.unfulfilled:
                return "Only unfulfilled items can be canceled"
            if restock == "RETURN" and entry["quantity"] + before > line.fulfilled:
                return "Only fulfilled items can be returned"
            if restock != "NO_RESTOCK" and location is None:
                return "Location is needed to restock"
            found.append(
                RefundedLine(line, entry["quantity"], restock, location if restock != "NO_RESTOCK" else None)
            )
        return found

    def _pay_back(
        self, refund: Refund, payment: Transaction, minor: int, status: str, key: str | None
    ) -> Transaction:
        """Money leaves: the one place where a refund is paid."""
        order = refund.order
        paid = self._transaction(order, "REFUND", status, payment.gateway, minor, payment)
        refund.transactions.append(paid)
        self._write(
            "refund",
            order,
            paid.id,
            minor,
            reference=refund.note,
            key=key,
            parent=payment.id,
            refund=refund.id,
        )
        return paid

    def _keep(self, refund: Refund, key: str | None) -> None:
        """Books a refund record with its lines, and puts restocked units back on the shelf."""
        order = refund.order
        self.refunds[refund.id] = refund
        order.refunds.append(refund)
        order.updated = refund.at
        for each in refund.lines:
            each.line.removed += each.quantity
            if each.location is not None and each.location.is_active:
                each.line.item.add(each.location.id, "available", each.quantity)
                self._write(
                    "restock",
                    order,
                    each.line.item.id,
                    reference=refund.note,
                    key=key,
                    quantity=each.quantity,
                    sku=each.line.sku,
                    location=each.location.id,
                )
        self._tell("refunds/create", refund.id)

    # ------------------------------------------------------------ the small mutations

    def _m_adjust(self, info: Info, input: Record) -> Record:
        call, _ = info.context
        key, earlier = self._keyed(info, input)
        if isinstance(earlier, str):
            return _adjust_refused(earlier, [])
        if earlier is not None and earlier.answer is not None:
            return earlier.answer()
        if call.has(Kind.REFUSE):
            return _adjust_refused(call.fault.code or "ADJUST_QUANTITIES_FAILED", [])
        if (refused := self._why_not_adjust(input)) is not None:
            return refused
        changes: list[Record] = []
        for change in input["changes"]:
            item = self.items[gid("InventoryItem", tail(change["inventoryItemId"]))]
            location = self.locations[gid("Location", tail(change["locationId"]))]
            after = item.add(location.id, input["name"], change["delta"])
            changes.append(
                {
                    "name": input["name"],
                    "delta": change["delta"],
                    "quantityAfterChange": after,
                    "item": self._item_view(item),
                    "location": self._location_view(location),
                }
            )
            self.book.write(
                "adjust_inventory",
                id=item.id,
                target={"item": item.id, "location": location.id},
                reference=input.get("referenceDocumentUri"),
                idempotency_key=key,
                quantity=change["delta"],
                sku=item.sku,
                reason=input["reason"],
            )
        group = {
            "id": self._fresh("InventoryAdjustmentGroup"),
            "createdAt": self._now(),
            "reason": input["reason"],
            "referenceDocumentUri": input.get("referenceDocumentUri"),
            "changes": lambda _, **__: changes,
        }

        def answer() -> Record:
            return {"inventoryAdjustmentGroup": group, "userErrors": []}

        if earlier is not None:
            earlier.answer = answer
        return answer()

    def _why_not_adjust(self, input: Record) -> Record | None:
        uri = input.get("referenceDocumentUri")
        if input["name"] not in _QUANTITIES:
            return _adjust_refused("INVALID_QUANTITY_NAME", ["input", "name"])
        if input["reason"] not in _REASONS:
            return _adjust_refused("INVALID_REASON", ["input", "reason"])
        if uri is not None and not re.match(r"[a-z][a-z0-9+.-]*://\S+", uri):
            return _adjust_refused("INVALID_REFERENCE_DOCUMENT", ["input", "referenceDocumentUri"])
        for index, change in enumerate(input["changes"]):
            at = ["input", "changes", str(index)]
            item = self.items.get(gid("InventoryItem", tail(change["inventoryItemId"])))
            location = self.locations.get(gid("Location", tail(change["locationId"])))
            if item is None:
                return _adjust_refused("INVALID_INVENTORY_ITEM", [*at, "inventoryItemId"])
            if location is None:
                return _adjust_refused("INVALID_LOCATION", [*at, "locationId"])
            believed = change.get("changeFromQuantity")
            if believed is not None and believed != item.levels.get((location.id, input["name"]), 0):
                return _adjust_refused("CHANGE_FROM_QUANTITY_STALE", [*at, "changeFromQuantity"])
        return None

    def _m_order_update(self, _: Info, input: Record) -> Record:
        order = self.orders.get(gid("Order", number_in(input["id"], "Order")))
        if order is None:
            return {"order": None, "userErrors": [{"field": ["id"], "message": "Order does not exist"}]}
        order.note = input.get("note", order.note)
        order.tags = list(input.get("tags", order.tags) or [])
        order.updated = self._now()
        self._write("update_order", order, order.id, tags=list(order.tags), note=order.note)
        return {"order": self._order_view(order), "userErrors": []}

    def _m_tags_add(self, _: Info, id: str, tags: list[str]) -> Record:
        order = self.orders.get(gid("Order", tail(id)))
        if order is None:
            return {"userErrors": [{"field": ["id"], "message": "Order does not exist"}]}
        order.tags += [tag for tag in tags if tag not in order.tags]
        order.updated = self._now()
        self._write("update_order", order, order.id, tags=list(order.tags), note=order.note)
        return {"userErrors": []}

    def _keyed(self, info: Info, input: Record) -> tuple[str | None, Keyed | str | None]:
        """The key of a mutation, and what it means: an earlier or fresh entry, one of the vendor's refusal codes, or nothing."""
        call, asked = info.context
        key = next(iter(keys_of(info.field_nodes[0], asked.variables)), None)
        if key is None:
            if asked.version == "unstable" or asked.version >= "2026-04":
                raise GraphQLError(
                    f"The @idempotent directive is required on {info.field_name}.",
                    extensions={"code": "BAD_REQUEST"},
                )
            return None, None
        if not key.strip():
            raise GraphQLError("The idempotency key must not be blank.", extensions={"code": "BAD_REQUEST"})
        fingerprint = json.dumps([info.field_name, input], sort_keys=True, default=str)
        kept = self.keys.get(key)
        if self.running.get(key) != call.request_id:
            return key, "IDEMPOTENCY_CONCURRENT_REQUEST"
        if kept is None or self.world.clock() - kept.at >= KEY_LIFETIME:
            # A request that is refused has used its key up all the same: its refusal is not remembered, its variables are.
            self.keys[key] = Keyed(self.world.clock(), fingerprint)
        elif kept.has_failed:
            return key, "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED"
        elif kept.fingerprint != fingerprint:
            return key, "IDEMPOTENCY_KEY_PARAMETER_MISMATCH"
        return key, self.keys[key]

    # ------------------------------------------------------------ views: what a selection may ask for

    def _bag(self, minor: int, order: Order) -> Record:
        """MoneyBag: the shop's currency is reckoned from the presentment amount with the order's rate, half to even."""
        places = exponent_of(order.currency) - exponent_of(order.presentment)
        shop = int((Decimal(minor).scaleb(places) / order.rate).to_integral_value(ROUND_HALF_EVEN))
        return {
            "shopMoney": money_v2(shop, order.currency),
            "presentmentMoney": money_v2(minor, order.presentment),
        }

    def _order_view(self, order: Order) -> Record:
        bag = functools.partial(self._bag, order=order)
        removed = sum(line.unit_minor * line.removed for line in order.lines)
        voided_shipping = order.shipping_minor if order.cancelled_at else 0
        disputes = [
            {"id": each.id, "initiatedAs": each.type, "status": each.status} for each in order.disputes
        ]
        fulfilments = [
            {"id": gid("Fulfillment", tail(line.id)), "status": "SUCCESS", "createdAt": order.updated}
            for line in order.lines
            if line.fulfilled
        ]
        return {
            "id": order.id,
            "legacyResourceId": tail(order.id),
            "name": order.name,
            "number": order.number,
            "email": order.email,
            "note": order.note,
            "tags": order.tags,
            "sourceName": order.source_name,
            "test": True,
            "createdAt": order.created,
            "processedAt": order.created,
            "updatedAt": order.updated,
            "confirmed": True,
            "closed": order.cancelled_at is not None,
            "closedAt": order.cancelled_at,
            "cancelledAt": order.cancelled_at,
            "cancelReason": order.cancel_reason,
            "cancellation": {"staffNote": order.staff_note} if order.cancelled_at else None,
            "currencyCode": order.currency,
            "presentmentCurrencyCode": order.presentment,
            "displayFinancialStatus": order.financial_status,
            "displayFulfillmentStatus": order.display_fulfillment,
            "returnStatus": order.return_status,
            "capturable": order.capturable_minor > 0,
            "refundable": order.received_minor > order.refunded_minor,
            "restockable": any(line.refundable for line in order.lines),
            "fullyPaid": order.received_minor >= order.total_minor,
            "unpaid": order.received_minor == 0,
            "totalPriceSet": bag(order.total_minor),
            "currentTotalPriceSet": bag(max(0, order.total_minor - removed - voided_shipping)),
            "totalReceivedSet": bag(order.received_minor),
            "totalRefundedSet": bag(order.refunded_minor),
            "totalRefundedShippingSet": bag(0),
            "totalShippingPriceSet": bag(order.shipping_minor),
            "totalCapturableSet": bag(order.capturable_minor),
            "totalOutstandingSet": bag(max(0, order.total_minor - order.received_minor)),
            "netPaymentSet": bag(order.received_minor - order.refunded_minor),
            "paymentGatewayNames": sorted({each.gateway for each in order.transactions}),
            "disputes": disputes,
            "fulfillments": lambda _, first=None, **__: fulfilments[:first],
            "lineItems": lambda _, **paging: connection(
                [self._line_view(x, order) for x in order.lines], paging
            ),
            "refunds": lambda _, first=None: [self._refund_view(each) for each in order.refunds[:first]],
            "transactions": lambda _, first=None, capturable=None, **__: [
                self._transaction_view(each, order)
                for each in order.transactions
                if capturable is None or capturable == (order.left_to_capture(each) > 0)
            ][:first],
            "suggestedRefund": functools.partial(self._suggest, order),
        }

    def _line_view(self, line: Line, order: Order) -> Record:
        return {
            "id": line.id,
            "name": line.title,
            "title": line.title,
            "sku": line.sku,
            "quantity": line.quantity,
            "currentQuantity": line.quantity - line.removed,
            "refundableQuantity": line.refundable,
            "unfulfilledQuantity": line.unfulfilled,
            "restockable": line.refundable > 0,
            "variant": {"id": line.variant_id, "sku": line.sku, "inventoryItem": self._item_view(line.item)},
            "originalUnitPriceSet": self._bag(line.unit_minor, order),
            "discountedUnitPriceSet": self._bag(line.unit_minor, order),
            "originalTotalSet": self._bag(line.unit_minor * line.quantity, order),
        }

    def _transaction_view(self, each: Transaction, order: Order) -> Record:
        return {
            "id": each.id,
            "kind": each.kind,
            "status": each.status,
            "gateway": each.gateway,
            "formattedGateway": each.gateway.replace("_", " ").title(),
            "amountSet": self._bag(each.minor, order),
            "parentTransaction": self._transaction_view(each.parent, order) if each.parent else None,
            "paymentId": each.payment_id,
            "receiptJson": json.dumps(each.receipt) if each.receipt is not None else None,
            "createdAt": each.at,
            "processedAt": each.at,
            "authorizationExpiresAt": None,
            "errorCode": each.error_code,
            "manualPaymentGateway": each.gateway == "manual",
            "test": True,
        }

    def _refunded_line_view(self, each: RefundedLine, order: Order) -> Record:
        return {
            "id": gid("RefundLineItem", tail(each.line.id)),
            "lineItem": self._line_view(each.line, order),
            "quantity": each.quantity,
            "restockType": each.restock_type,
            "restocked": each.location is not None and each.location.is_active,
            "location": self._location_view(each.location) if each.location else None,
            "subtotalSet": self._bag(each.line.unit_minor * each.quantity, order),
            "totalTaxSet": self._bag(0, order),
        }

    def _refund_view(self, refund: Refund) -> Record:
        order = refund.order
        sent = sum(each.minor for each in refund.transactions if each.status == "SUCCESS")
        return {
            "id": refund.id,
            "legacyResourceId": tail(refund.id),
            "note": refund.note,
            "createdAt": refund.at,
            "processedAt": refund.at,
            "updatedAt": refund.at,
            "order": lambda _: self._order_view(order),
            "totalRefundedSet": self._bag(sent, order),
            "refundLineItems": lambda _, **paging: connection(
                [self._refunded_line_view(each, order) for each in refund.lines], paging
            ),
            "transactions": lambda _, **paging: connection(
                [self._transaction_view(each, order) for each in refund.transactions], paging
            ),
        }

    def _suggest(self, order: Order, _: Info, **asked: Any) -> Record:
        """What Shopify would give back: all that is left, or the lines and shipping named, taken from the oldest payment on."""
        payments = order.money_in()
        left = [max(0, order.left_on(each)) for each in payments]
        lines = self._lines_of(
            order, [{**e, "restockType": None} for e in asked.get("refundLineItems") or []]
        )
        if isinstance(lines, str):
            raise GraphQLError(lines)
        if asked.get("suggestFullRefund"):
            lines = [
                RefundedLine(each, each.refundable, "NO_RESTOCK", None)
                for each in order.lines
                if each.refundable
            ]
        goods = sum(each.line.unit_minor * each.quantity for each in lines)
        shipping = (
            order.shipping_minor if asked.get("refundShipping") or asked.get("suggestFullRefund") else 0
        )
        if asked.get("shippingAmount") is not None:
            shipping = minor_of(asked["shippingAmount"], order.presentment)
        amount = sum(left) if asked.get("suggestFullRefund") else min(goods + shipping, sum(left))
        bag = functools.partial(self._bag, order=order)
        suggested = [
            {
                "kind": "SUGGESTED_REFUND",
                "gateway": payment.gateway,
                "formattedGateway": payment.gateway.replace("_", " ").title(),
                "accountNumber": "•••• •••• •••• 4242",
                "amountSet": bag(part),
                "maximumRefundableSet": bag(most),
                "parentTransaction": self._transaction_view(payment, order),
            }
            for payment, most, part in zip(payments, left, allocate(amount, left), strict=True)
            if part
        ]
        return {
            "amountSet": bag(amount),
            "maximumRefundableSet": bag(sum(left)),
            "subtotalSet": bag(goods),
            "totalTaxSet": bag(0),
            "shipping": {
                "amountSet": bag(shipping),
                "maximumRefundableSet": bag(order.shipping_minor),
                "taxSet": bag(0),
            },
            "refundLineItems": [self._refunded_line_view(each, order) for each in lines],
            "suggestedTransactions": suggested,
        }

    def _location_view(self, location: Location) -> Record:
        return {"id": location.id, "name": location.name, "isActive": location.is_active}

    def _item_view(self, item: Item) -> Record:
        return {
            "id": item.id,
            "sku": item.sku,
            "tracked": True,
            "inventoryLevel": functools.partial(self._level_view, item),
        }

    def _level_view(self, item: Item, _: Info, locationId: str, **__: Any) -> Record | None:  # noqa: N803 (the vendor's argument)
        location = self.locations.get(gid("Location", tail(locationId)))
        if location is None or not any(at == location.id for at, _ in item.levels):
            return None
        return {
            "id": f"{gid('InventoryLevel', tail(item.id))}?inventory_item_id={tail(item.id)}",
            "location": self._location_view(location),
            "quantities": lambda _, names: [
                {"name": name, "quantity": item.levels.get((location.id, name), 0)} for name in names
            ],
        }

    def _dispute_view(self, dispute: Dispute) -> Record:
        return {
            "id": dispute.id,
            "legacyResourceId": tail(dispute.id),
            "status": dispute.status,
            "type": dispute.type,
            "amount": money_v2(dispute.minor, dispute.order.presentment),
            "order": lambda _: self._order_view(dispute.order),
            "initiatedAt": dispute.at,
            "evidenceDueBy": None,
            "finalizedOn": None,
            "reasonDetails": {"networkReasonCode": "10.4", "reason": "FRAUDULENT"},
        }

    # ------------------------------------------------------------ at the controls

    def seed(self, data: Record) -> Record:
        self.cancel_after_reads = int(data.get("cancel_after_reads", self.cancel_after_reads))
        self.cancel_within_s = float(data.get("cancel_within_s", self.cancel_within_s))
        self.restore_per_s = int(data.get("restore_per_s", self.restore_per_s))
        if "bucket" in data:
            self.bucket = int(data["bucket"])
            self.available = float(self.bucket)
        locations = [
            self._seed_location(each.get("id"), each["name"], bool(each.get("is_active", True)))
            for each in data.get("locations", [])
        ]
        orders = [self._seed_order(each) for each in data.get("orders", [])]
        return {
            "locations": [each.id for each in locations],
            "orders": [
                {
                    "id": order.id,
                    "name": order.name,
                    "lines": [
                        {"id": each.id, "item": each.item.id, "location": each.location.id}
                        for each in order.lines
                    ],
                    "transactions": [each.id for each in order.transactions],
                    "disputes": [each.id for each in order.disputes],
                }
                for order in orders
            ],
        }

    def _seed_location(self, id: Any, name: str, is_active: bool) -> Location:
        location = Location(
            gid("Location", tail(str(id))) if id else self._fresh("Location"), name, is_active
        )
        self.locations[location.id] = location
        return location

    def _seed_order(self, described: Record) -> Order:
        if not described.get("lines") or "currency" not in described:
            raise ValueError("an order needs a currency and lines")
        id = gid("Order", tail(str(described["id"]))) if "id" in described else self._fresh("Order")
        number = 1001 + len(self.orders)
        created = described.get("created_at", self._now())
        order = Order(
            id=id,
            name=described.get("name", f"#{number}"),
            number=number,
            currency=described["currency"],
            presentment=str(described.get("presentment_currency", described["currency"])),
            rate=Decimal(str(described.get("presentment_rate", 1))),
            email=described.get("email", "customer@example.com"),
            note=described.get("note"),
            tags=list(described.get("tags", [])),
            source_name=described.get("source_name", "web"),
            created=created,
            updated=created,
            shipping_minor=described.get("shipping", 0),
            return_status=described.get("return_status", "NO_RETURN"),
            lines=[self._seed_line(each) for each in described["lines"]],
            custom_ids=dict(described.get("custom_ids", {})),
            fulfillment_status=described.get("fulfillment_status"),
        )
        paid = [{"kind": "SALE", "amount": order.total_minor}]
        for each in described.get("transactions", paid):
            made = self._transaction(
                order,
                each.get("kind", "SALE"),
                each.get("status", "SUCCESS"),
                each.get("gateway", "shopify_payments"),
                each.get("amount", order.total_minor),
                next((x for x in order.transactions if x.kind == "AUTHORIZATION"), None)
                if each.get("kind") == "CAPTURE"
                else None,
            )
            if "id" in each:
                made.id = gid("OrderTransaction", tail(str(each["id"])))
            made.payment_id = each.get("payment_id", f"{tail(order.id)}.{len(order.transactions)}")
            made.receipt = each.get("receipt")
        self.orders[order.id] = order
        for each in described.get("disputes", []):
            self._open_dispute(order, each)
        return order

    def _seed_line(self, described: Record) -> Line:
        location_id = gid("Location", tail(str(described.get("location", ""))))
        location = self.locations.get(location_id) or next(iter(self.locations.values()), None)
        if location is None:
            location = self._seed_location(None, "Warehouse", True)
        item_id = gid("InventoryItem", tail(str(described.get("item", "")))) if "item" in described else None
        item = self.items.get(item_id or "") or Item(
            item_id or self._fresh("InventoryItem"), described.get("sku")
        )
        self.items[item.id] = item
        if "available" in described or (location.id, "available") not in item.levels:
            item.levels[location.id, "available"] = described.get("available", 0)
        return Line(
            id=gid("LineItem", tail(str(described["id"]))) if "id" in described else self._fresh("LineItem"),
            title=str(described.get("title", described.get("sku", "A thing"))),
            sku=described.get("sku"),
            quantity=described["quantity"],
            unit_minor=described["unit_minor"],
            fulfilled=described.get("fulfilled", 0),
            removed=0,
            variant_id=self._fresh("ProductVariant"),
            item=item,
            location=location,
        )

    def settle(self, data: Record) -> Record:
        match data:
            case {"transaction": id, "status": ("SUCCESS" | "FAILURE") as status}:
                return self._settle_transaction(tail(str(id)), status)
            case {"order": id, "cancel": ("succeeded" | "failed") as wanted}:
                order = self._known(id)
                job = next(
                    (x for x in self.jobs.values() if x.order is order and x.status == "STARTED"), None
                )
                if job is None:
                    raise NoSuchObjectError(f"no cancellation of {order.name} is on its way")
                job.will_fail = wanted == "failed"
                self._cancel(job)
                return {"order": order.id, "job": job.id, "status": job.status}
            case {"order": id, "dispute": dict(described)}:
                order = self._known(id)
                dispute = self._open_dispute(order, described)
                self._tell("disputes/create", dispute.id)
                return {"order": order.id, "dispute": dispute.id, "status": dispute.status}
            case {"order": id, "fulfil": int(quantity)}:
                order = self._known(id)
                for line in order.lines:
                    line.fulfilled += min(quantity, line.unfulfilled)
                order.updated = self._now()
                return {"order": order.id, "fulfillment": order.display_fulfillment}
            case {"order": id, "staff_cancel": str(reason)}:
                order = self._known(id)
                arguments = {
                    "reason": reason,
                    "restock": bool(data.get("restock", True)),
                    "refundMethod": {"originalPaymentMethodsRefund": bool(data.get("refund", False))},
                    "staffNote": data.get("staff_note"),
                }
                if (refused := self._why_not_cancel(order, arguments)) is not None:
                    raise ValueError(refused["orderCancelUserErrors"][0]["message"])
                self._cancel(Job("", order, arguments, 0, False))
                return {"order": order.id, "cancelled_at": order.cancelled_at}
            case _:
                raise ValueError("settle what? an order or a transaction; see the module's docstring")

    def _settle_transaction(self, number: str, status: str) -> Record:
        for order in self.orders.values():
            for each in order.transactions:
                if tail(each.id) == number:
                    if each.kind != "REFUND" or each.status in (status, "FAILURE"):
                        raise ValueError(f"a {each.kind} that is {each.status} does not become {status}")
                    each.status = status
                    order.updated = self._now()
                    if status == "FAILURE":
                        each.error_code = "PROCESSING_ERROR"
                        self._write("refund_failed", order, each.id, each.minor)
                    return {"transaction": each.id, "status": status}
        raise NoSuchObjectError(f"no transaction {number!r} at the practice Shopify")

    def _open_dispute(self, order: Order, described: Record) -> Dispute:
        dispute = Dispute(
            self._fresh("ShopifyPaymentsDispute"),
            order,
            described.get("type", "CHARGEBACK"),
            described.get("status", "NEEDS_RESPONSE"),
            described.get("amount", order.received_minor - order.refunded_minor),
            self._now(),
        )
        order.disputes.append(dispute)
        self.disputes[dispute.id] = dispute
        return dispute

    def _known(self, id: Any) -> Order:
        order = self.orders.get(gid("Order", tail(str(id))))
        if order is None:
            raise NoSuchObjectError(f"no order {id!r} at the practice Shopify")
        return order

    # ------------------------------------------------------------ what is written down, and told

    def _now(self) -> str:
        return self.world.clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _fresh(self, kind: str) -> str:
        return gid(kind, str(random.randrange(10**12, 10**13)))

    def _transaction(
        self, order: Order, kind: str, status: str, gateway: str, minor: int, parent: Transaction | None
    ) -> Transaction:
        made = Transaction(self._fresh("OrderTransaction"), kind, status, gateway, minor, self._now(), parent)
        order.transactions.append(made)
        return made

    def _write(
        self,
        effect: str,
        order: Order,
        id: str,
        minor: int | None = None,
        *,
        reference: str | None = None,
        key: str | None = None,
        **more: Any,
    ) -> None:
        self.book.write(
            effect,
            id=id,
            amount_minor=minor,
            currency=order.presentment if minor is not None else None,
            target={"order": order.id, "name": order.name},
            reference=reference if reference is not None else order.staff_note,
            idempotency_key=key,
            **more,
        )

    def _tell(self, topic: str, object_id: str) -> None:
        self.emit(self.event_for(topic, object_id))

    def event_for(self, topic: str, object_id: str) -> Event:
        """The event of that topic about an order, refund or dispute (number or gid); asked for twice it is the same event."""
        number = tail(object_id)
        match topic:
            case "refunds/create" if (refund := self.refunds.get(gid("Refund", number))) is not None:
                body = self._refund_payload(refund)
            case "orders/cancelled" | "orders/updated" if (
                order := self.orders.get(gid("Order", number))
            ) is not None:
                body = self._order_payload(order)
            case "disputes/create" | "disputes/update" if (
                dispute := self.disputes.get(gid("ShopifyPaymentsDispute", number))
            ) is not None:
                body = self._dispute_payload(dispute)
            case _:
                raise NoSuchObjectError(f"the practice Shopify sends no {topic!r} about {object_id!r}")
        return self.events.setdefault((topic, number), Event(str(uuid.uuid4()), topic, body))

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        """`X-Shopify-Hmac-Sha256`: base64 of HMAC-SHA256 over the raw body, keyed with the client secret."""
        body = event.payload
        digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
        headers = {
            "Content-Type": "application/json",
            "X-Shopify-Topic": event.topic,
            "X-Shopify-Shop-Domain": SHOP,
            "X-Shopify-API-Version": VERSIONS[-1],
            "X-Shopify-Webhook-Id": event.id,
            "X-Shopify-Event-Id": str(uuid.uuid5(uuid.NAMESPACE_URL, event.id)),
            "X-Shopify-Triggered-At": self._now(),
            "X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode(),
        }
        return Delivery(headers, body)

    def _order_payload(self, order: Order) -> Record:
        return {
            "id": int(tail(order.id)),
            "admin_graphql_api_id": order.id,
            "name": order.name,
            "order_number": order.number,
            "email": order.email,
            "created_at": order.created,
            "updated_at": order.updated,
            "cancelled_at": order.cancelled_at,
            "cancel_reason": order.cancel_reason.lower() if order.cancel_reason else None,
            "financial_status": order.financial_status.lower(),
            "fulfillment_status": {"FULFILLED": "fulfilled", "PARTIALLY_FULFILLED": "partial"}.get(
                order.display_fulfillment
            ),
            "currency": order.currency,
            "presentment_currency": order.presentment,
            "total_price": Money(order.total_minor, order.presentment).major,
            "tags": ", ".join(order.tags),
            "note": order.note,
            "source_name": order.source_name,
            "test": True,
            "payment_gateway_names": sorted({each.gateway for each in order.transactions}),
            "line_items": [
                {
                    "id": int(tail(line.id)),
                    "variant_id": int(tail(line.variant_id)),
                    "title": line.title,
                    "sku": line.sku,
                    "quantity": line.quantity,
                    "current_quantity": line.quantity - line.removed,
                    "price": Money(line.unit_minor, order.presentment).major,
                }
                for line in order.lines
            ],
            "refunds": [self._refund_payload(each) for each in order.refunds],
        }

    def _refund_payload(self, refund: Refund) -> Record:
        order = refund.order
        return {
            "id": int(tail(refund.id)),
            "admin_graphql_api_id": refund.id,
            "order_id": int(tail(order.id)),
            "created_at": refund.at,
            "processed_at": refund.at,
            "note": refund.note,
            "user_id": None,
            "restock": any(each.location is not None for each in refund.lines),
            "refund_line_items": [
                {
                    "id": int(tail(each.line.id)),
                    "line_item_id": int(tail(each.line.id)),
                    "quantity": each.quantity,
                    "restock_type": each.restock_type.lower(),
                    "location_id": int(tail(each.location.id)) if each.location else None,
                    "subtotal": Money(each.line.unit_minor * each.quantity, order.presentment).major,
                }
                for each in refund.lines
            ],
            "transactions": [
                {
                    "id": int(tail(each.id)),
                    "order_id": int(tail(order.id)),
                    "parent_id": int(tail(each.parent.id)) if each.parent else None,
                    "kind": each.kind.lower(),
                    "status": each.status.lower(),
                    "gateway": each.gateway,
                    "amount": Money(each.minor, order.presentment).major,
                    "currency": order.presentment,
                }
                for each in refund.transactions
            ],
            "order_adjustments": [],
        }

    def _dispute_payload(self, dispute: Dispute) -> Record:
        return {
            "id": int(tail(dispute.id)),
            "order_id": int(tail(dispute.order.id)),
            "type": dispute.type.lower(),
            "amount": Money(dispute.minor, dispute.order.presentment).major,
            "currency": dispute.order.presentment,
            "reason": "fraudulent",
            "network_reason_code": "10.4",
            "status": dispute.status.lower(),
            "evidence_due_by": None,
            "evidence_sent_on": None,
            "finalized_on": None,
            "initiated_at": dispute.at,
        }


def _cancel_refused(code: str, message: str, field: list[str]) -> Record:
    errors = [{"code": code, "field": field or None, "message": message}]
    plain = [{"field": field or None, "message": message}]
    return {"job": None, "jobResult": None, "orderCancelUserErrors": errors, "userErrors": plain}


def _refund_refused(message: str, field: list[str]) -> Record:
    return {"order": None, "refund": None, "userErrors": [{"field": field or None, "message": message}]}


def _adjust_refused(code: str, field: list[str]) -> Record:
    message = code.replace("_", " ").capitalize()
    return {
        "inventoryAdjustmentGroup": None,
        "userErrors": [{"code": code, "field": field or None, "message": message}],
    }
