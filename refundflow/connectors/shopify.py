"""Shopify: the shop platform. Reads orders, cancels them, puts stock back, and gives Shopify's own payments back.

GraphQL Admin API, version 2026-10 (read 2026-11-23); older versions of that year know no `jobResult`. Authorised with a token of the
app, or with the client credentials grant (a token of 24 hours). Scopes: `write_orders`, `read_all_orders` (orders older
than 60 days), `read_shopify_payments_disputes`.

One effect a call. A cancel never returns money, a refund names one transaction and one amount, and a refund that has lines
and no transaction moves stock only. What Shopify authorised and never captured is released by the cancel itself, so there
is no void.

Quirks
- Almost every failure is an HTTP 200: top-level `errors`, or the mutation's own list of user errors, mostly without codes.
- A cancel is a job: the answer names it, and its end is seen on the order only. A job that ran and failed leaves no trace.
- A cancelled order answers a second cancel with a user error whose text nobody promises: the order is read instead.
- Our reference is the cancel's staff note and the refund's note, and how both are found again.
- A refund's idempotency key is honoured for a time that is not published: it is always sent, and never relied on.
- An expired API version is answered by the oldest living one, without an error: `check` compares the version told.
- Amounts are decimal texts in the shop's and in the customer's currency. The customer's one is used throughout; where the
  shop sells in one currency they are the same.
- A query may cost 1000 points: an object is one point, a list as many as it asks for. Every document stays below that.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, ClassVar, Final, TypeVar

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.domain.commands import CancelLines, CancelOrder, Refund, Restock
from refundflow.domain.facts import (
    DisputeState,
    LineQuantity,
    OrderFacts,
    OrderLine,
    OrderPayment,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundFact,
    RefundStatus,
)
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Reading,
    RefundSeen,
    Refused,
    Verified,
)
from refundflow.domain.money import Money, exponent_of
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    Found,
    NotFound,
    Outcome,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, TransportError, Wire, parse_json
from refundflow.transport.signatures import is_any, sign_base64, split_secrets

_DOC: Final = "https://shopify.dev/docs/api/admin-graphql/latest"

SPEC: Final = Spec(
    platform="shopify",
    api_version="2026-10",
    base_url="https://{shop}.myshopify.com",
    operations={
        Capability.READ_ORDER: Operation("query order", Idempotency.READ, f"{_DOC}/queries/order"),
        Capability.QUOTE_LINES: Operation(
            "query order.suggestedRefund", Idempotency.READ, f"{_DOC}/objects/SuggestedRefund"
        ),
        Capability.CANCEL_ORDER: Operation(
            "mutation orderCancel", Idempotency.NATURAL, f"{_DOC}/mutations/orderCancel"
        ),
        # A key goes with every refundCreate, but its lifetime is not published: nothing is sent again before a look.
        Capability.CANCEL_LINES: Operation(
            "mutation refundCreate, lines only", Idempotency.LOOKUP, f"{_DOC}/mutations/refundCreate"
        ),
        Capability.RESTOCK: Operation(
            "mutation refundCreate, lines only", Idempotency.LOOKUP, f"{_DOC}/mutations/refundCreate"
        ),
        Capability.READ_PAYMENT: Operation(
            "query order.transactions", Idempotency.READ, f"{_DOC}/objects/OrderTransaction"
        ),
        Capability.REFUND: Operation(
            "mutation refundCreate, one transaction", Idempotency.LOOKUP, f"{_DOC}/mutations/refundCreate"
        ),
        Capability.CHECK: Operation(
            "query publicApiVersions", Idempotency.READ, f"{_DOC}/queries/publicApiVersions"
        ),
        Capability.INBOUND: Operation(
            "webhook", Idempotency.READ, "https://shopify.dev/docs/apps/build/webhooks"
        ),
    },
    # The smallest plan restores 100 points a second; an order's read is about 50 in earnest.
    rate_per_s=2.0,
    burst=5,
    # A receipt is whatever the gateway attached: names, addresses and parts of card numbers among it.
    redact=frozenset(
        {"access_token", "client_id", "client_secret", "email", "receiptjson", "x-shopify-access-token"}
    ),
    read_s=20.0,
)

#: A write whose answer was lost may still be running; after this time an absence proves that nothing was written.
_REFUND_SETTLED_S: Final = 30.0
_CANCEL_SETTLED_S: Final = 60.0
#: What `refund_key` derives its UUIDs in. Never to be changed: a repeated call must carry the key of the first one.
_KEY_SPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "refundflow/shopify/idempotent")

_LINES_A_PAGE: Final = 100
_MOST_PAGES: Final = 20
_MOST_TRANSACTIONS: Final = 50
_MOST_REFUNDS: Final = 30
_MOST_NOTES: Final = 100


_NO_SECRET: Final = Secret()


@dataclass(frozen=True, slots=True)
class Credentials:
    """A shop and the app in it. `shop`: the part before `.myshopify.com`; `access_token`: an app's token that does not
    expire, left empty for the client credentials grant; `webhook_secret`: what deliveries are signed with, by default
    the client secret (several, separated by commas, while a secret is rotated).
    """

    shop: str
    access_token: Secret = _NO_SECRET
    client_id: str = ""
    client_secret: Secret = _NO_SECRET
    base_url: str = ""
    api_version: str = SPEC.api_version
    webhook_secret: Secret = _NO_SECRET

    @property
    def url(self) -> str:
        shop = self.shop.removesuffix(".myshopify.com")
        return self.base_url or SPEC.base_url.format(shop=shop)

    @property
    def inbound_secret(self) -> Secret:
        return self.webhook_secret or self.client_secret


def build(credentials: Credentials, wire: Wire) -> Shopify:
    """The connector on a wire."""
    if credentials.access_token:
        http = wire.http(
            platform=SPEC.platform,
            base_url=credentials.url,
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            headers={"X-Shopify-Access-Token": credentials.access_token.reveal()},
            redact=SPEC.redact,
        )
        return Shopify(http, credentials.api_version)
    door = wire.http(
        platform=SPEC.platform,
        base_url=credentials.url,
        rate_per_s=SPEC.rate_per_s,
        burst=SPEC.burst,
        connect_s=SPEC.connect_s,
        read_s=SPEC.read_s,
        redact=SPEC.redact,
    )
    http = wire.http(
        platform=SPEC.platform,
        base_url=credentials.url,
        rate_per_s=SPEC.rate_per_s,
        burst=SPEC.burst,
        connect_s=SPEC.connect_s,
        read_s=SPEC.read_s,
        tokens=wire.client_credentials(door, token_request(credentials)),
        token_header="X-Shopify-Access-Token",  # noqa: S106  (a header's name, not a secret)
        token_format="{}",  # noqa: S106  (how the header is written, not a secret)
        redact=SPEC.redact,
    )
    return Shopify(http, credentials.api_version)


def token_request(credentials: Credentials) -> Request:
    return Request(
        "POST",
        "/admin/oauth/access_token",
        "shopify.token",
        headers={"Accept": "application/json"},
        form=(
            ("grant_type", "client_credentials"),
            ("client_id", credentials.client_id),
            ("client_secret", credentials.client_secret.reveal()),
        ),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Documents

_MONEY: Final = "{ presentmentMoney { amount currencyCode } }"
_TRANSACTION: Final = f"id kind status gateway amountSet {_MONEY} parentTransaction {{ id }}"
_LINE: Final = (
    f"id sku name currentQuantity unfulfilledQuantity refundableQuantity discountedUnitPriceSet {_MONEY}"
)
_LINE_PAGE: Final = f"nodes {{ {_LINE} }} pageInfo {{ hasNextPage endCursor }}"
_REFUND: Final = f"""id note
    transactions(first: 10) {{ nodes {{ {_TRANSACTION} }} pageInfo {{ hasNextPage }} }}
    refundLineItems(first: 250) {{
      nodes {{ quantity restockType restocked lineItem {{ id }} }}
      pageInfo {{ hasNextPage }}
    }}"""

CHECK: Final = """query Check {
  publicApiVersions { handle supported }
  orders(first: 1) { nodes { id } }
}"""

ORDERS_BY_NAME: Final = """query OrdersByName($query: String!) {
  orders(first: 10, query: $query) { nodes { id name } pageInfo { hasNextPage } }
}"""

ORDER: Final = f"""query Order($id: ID!) {{
  order(id: $id) {{
    id name createdAt cancelledAt email test returnStatus presentmentCurrencyCode
    totalPriceSet {_MONEY}
    lineItems(first: {_LINES_A_PAGE}) {{ {_LINE_PAGE} }}
    transactions(first: {_MOST_TRANSACTIONS}) {{ {_TRANSACTION} paymentId receiptJson }}
  }}
}}"""

ORDER_LINES: Final = f"""query OrderLines($id: ID!, $after: String!) {{
  order(id: $id) {{ id lineItems(first: {_LINES_A_PAGE}, after: $after) {{ {_LINE_PAGE} }} }}
}}"""

QUOTE: Final = f"""query Quote($id: ID!, $lines: [RefundLineItemInput!]!) {{
  order(id: $id) {{
    id
    suggestedRefund(refundLineItems: $lines, refundShipping: false) {{ amountSet {_MONEY} }}
  }}
}}"""

NOTES: Final = f"""query Notes($id: ID!) {{
  order(id: $id) {{
    id cancelledAt
    cancellation {{ staffNote }}
    refunds(first: {_MOST_NOTES}) {{ id note }}
  }}
}}"""

REFUND: Final = f"""query Refund($id: ID!) {{
  refund(id: $id) {{
    {_REFUND}
  }}
}}"""

PAYMENT: Final = f"""query Payment($id: ID!) {{
  order(id: $id) {{
    id name
    transactions(first: {_MOST_TRANSACTIONS}) {{ {_TRANSACTION} }}
    refunds(first: {_MOST_REFUNDS}) {{
      id note
      transactions(first: 5) {{ nodes {{ {_TRANSACTION} }} pageInfo {{ hasNextPage }} }}
    }}
    disputes {{ id initiatedAs status }}
  }}
}}"""

DISPUTE: Final = """query Dispute($id: ID!) {
  dispute(id: $id) { id status type order { id } }
}"""

_CANCEL: Final = """mutation Cancel(
  $orderId: ID!, $reason: OrderCancelReason!, $restock: Boolean!, $notifyCustomer: Boolean!,
  $refundMethod: OrderCancelRefundMethodInput!, $staffNote: String!
) {
  orderCancel(
    orderId: $orderId, reason: $reason, restock: $restock, notifyCustomer: $notifyCustomer,
    refundMethod: $refundMethod, staffNote: $staffNote
  ) {
    job { id done }%s
    orderCancelUserErrors { code field message }
  }
}"""
CANCEL: Final = _CANCEL % "\n    jobResult { id status errors { code message } }"
CANCEL_BEFORE_2026_10: Final = _CANCEL % ""

REFUND_CREATE: Final = f"""mutation RefundCreate($input: RefundInput!, $key: String!) {{
  refundCreate(input: $input) @idempotent(key: $key) {{
    refund {{
    {_REFUND}
    }}
    userErrors {{ field message }}
  }}
}}"""


# ---------------------------------------------------------------------------------------------------------------------
# The connector


@dataclass(frozen=True, slots=True)
class Shopify:
    """One shop. `api_version`: as pinned in the path of every call."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    api_version: str = SPEC.api_version

    def check(self) -> Health:
        return read_health(self._send("check", CHECK, {}), self.api_version)

    def read_order(self, ref: OrderRef) -> OrderFacts | NotFound | NoAnswer:
        """By id, or by number: then the name must be exactly that (a leading `#` aside) and the order the only one."""
        if ref.order_id:
            return self._read_order(gid("Order", ref.order_id))
        if not ref.number:
            return Permanent("no_reference", "neither an order id nor an order number was given")
        response = self._send("find_order", ORDERS_BY_NAME, {"query": name_query(ref.number)})
        match read_orders_by_name(response, ref.number):
            case str() as order_id:
                return self._read_order(order_id)
            case no:
                return no

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """What Shopify itself would give back for these units: never more than is left to give back."""
        variables = {"id": gid("Order", order.order_id), "lines": refund_lines(lines, "NO_RESTOCK", "")}
        return read_quote(self._send("quote_lines", QUOTE, variables), order.currency)

    def cancel_order(self, command: CancelOrder) -> Outcome:
        """Done only where the order itself already shows the cancel; else Pending on the job."""
        document = CANCEL if self.api_version >= "2026-10" else CANCEL_BEFORE_2026_10
        response = self._send("cancel_order", document, cancel_variables(command))
        match read_cancel(response):
            case JobDone(reference=job):
                found = look_after(self.find_cancel_order, command)
                return found if isinstance(found, Done | AlreadyDone) else Pending(job, 2.0)
            case Refusal(code=code, reason=reason):
                return settle_refusal(
                    refused_cancel(code, reason), self.find_cancel_order, command, reason=reason
                )
            case outcome:
                return outcome

    def find_cancel_order(self, command: CancelOrder) -> Found:
        return judge_cancel(self._notes("find_cancel_order", command.order_id), command)

    def cancel_lines(self, command: CancelLines) -> Outcome:
        return self._write_lines("cancel_lines", cancel_lines_input(command), command, self.find_cancel_lines)

    def find_cancel_lines(self, command: CancelLines) -> Found:
        notes = self._notes("find_cancel_lines", command.order_id)
        return self._find_lines("find_cancel_lines", notes, command.step_key, command)

    def restock(self, command: Restock) -> Outcome:
        """Where another call carries it, only looks. Else books the lines as returned, or as cancelled where they were
        never shipped and Shopify still holds them as refundable.
        """
        if command.carried_by:
            match self.find_restock(command):
                case NotFound(reason=reason):
                    return Retryable("not_there", reason, 5.0)
                case found:
                    return found
        if not command.is_return:
            match self._read_order(gid("Order", command.order_id)):
                case OrderFacts() as order:
                    missing = missing_lines(order, command.lines)
                case NotFound(reason=reason):
                    return Permanent("NOT_FOUND", reason)
                case Unknown(reason=reason):
                    # Nothing was sent yet, so nothing can have happened.
                    return Retryable("unreadable", reason)
                case no:
                    return no
            if missing:
                no = Permanent("not_refundable", f"Shopify no longer holds these units: {missing}")
                return settle_refusal(no, self.find_restock, command, reason=no.reason)
        return self._write_lines("restock", restock_input(command), command, self.find_restock)

    def find_restock(self, command: Restock) -> Found:
        notes = self._notes("find_restock", command.order_id)
        if isinstance(notes, Notes) and is_cancelled_by(notes, command.carried_by):
            return carried_by_cancel(notes, command)
        found = self._find_lines("find_restock", notes, command.carried_by or command.step_key, command)
        if command.carried_by and isinstance(found, NotFound) and isinstance(notes, Notes):
            return missing_carrier(notes, found)
        return found

    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts | NotFound | NoAnswer:
        """`payment_reference`: the id of the sale or capture transaction. A dispute stands against the order, so it
        counts for each of its payments.
        """
        match self._book("read_payment", order_id):
            case Book() as book:
                state, reference = self._dispute(book)
                reference_gid = gid("OrderTransaction", payment_reference)
                return payment_facts(book, reference_gid, state, reference)
            case no:
                return no

    def refund(self, command: Refund) -> Outcome:
        response = self._create("refund", refund_input(command), command.key)
        match read_refund_create(response):
            case RefundRecord() as record:
                return judge_refunds((record,), command)
            case Refusal(code=code, reason=reason):
                return settle_refusal(refused_refund(code, reason), self.find_refund, command, reason=reason)
            case outcome:
                return outcome

    def find_refund(self, command: Refund) -> Found:
        match self._book("find_refund", command.order_id):
            case Book() as book:
                # A refund that failed under an earlier key does not speak for this one, which may be on its way.
                ours = tuple(
                    r
                    for r in book.refunds
                    if step_key_in(r.note) == command.step_key
                    and (try_in(r.note) >= _number_of_key(command.key) or is_alive(r))
                )
                return judge_refunds(ours, command) if ours else NotFound(_REFUND_SETTLED_S)
            case no:
                return uncertain(no)

    def _send(self, operation: str, document: str, variables: Mapping[str, Any]) -> Response:
        return self.http.send(graphql_request(self.api_version, operation, document, variables))

    def _create(self, operation: str, refund: Mapping[str, Any], key: str) -> Response:
        return self._send(operation, REFUND_CREATE, {"input": refund, "key": refund_key(key)})

    def _read_order(self, order_id: str) -> OrderFacts | NotFound | NoAnswer:
        response = self._send("read_order", ORDER, {"id": order_id})
        match read_order(response):
            case OrderPage(facts=facts, cursor=cursor):
                lines = facts.lines
            case no:
                return no
        for _ in range(_MOST_PAGES):
            if not cursor:
                return with_lines(facts, lines)
            response = self._send("read_order", ORDER_LINES, {"id": order_id, "after": cursor})
            match read_order_lines(response):
                case LinePage(lines=more, cursor=cursor):
                    lines += more
                case no:
                    return no
        return Unknown(f"the lines of order {order_id} do not come to an end")

    def _notes(self, operation: str, order_id: str) -> Notes | NotFound | NoAnswer:
        return read_notes(self._send(operation, NOTES, {"id": gid("Order", order_id)}))

    def _book(self, operation: str, order_id: str) -> Book | NotFound | NoAnswer:
        return read_book(self._send(operation, PAYMENT, {"id": gid("Order", order_id)}))

    def _dispute(self, book: Book) -> tuple[DisputeState, str]:
        """The worst dispute of the order. The order tells how a dispute *began*; whether an inquiry still is one only
        the dispute itself tells, and until it does the dispute counts as open: nothing is paid twice then.
        """
        told = [(d, dispute_state(d.kind, d.status)) for d in book.disputes]
        judged = [
            (self._inquiry(book, d) if state is DisputeState.WARNING else state, d.dispute_id)
            for d, state in told
        ]
        return max(judged, key=lambda j: _GRAVITY.index(j[0]), default=(DisputeState.NONE, ""))

    def _inquiry(self, book: Book, dispute: Dispute) -> DisputeState:
        response = self._send("read_payment", DISPUTE, {"id": dispute.dispute_id})
        return read_dispute(response, book.order_id)

    def _write_lines(
        self, operation: str, refund: Mapping[str, Any], command: _Lines, find: Callable[[_Lines], Found]
    ) -> Outcome:
        match read_refund_create(self._create(operation, refund, command.key)):
            case RefundRecord() as record:
                return judge_lines(record, command)
            case Refusal(code=code, reason=reason):
                told = reason if command.location else f"{reason} ({_NO_LOCATION})"
                return settle_refusal(refused_refund(code, told), find, command, reason=told)
            case outcome:
                return outcome

    def _find_lines(
        self,
        operation: str,
        notes: Notes | NotFound | NoAnswer,
        step_key: str,
        command: CancelLines | Restock,
    ) -> Found:
        if not isinstance(notes, Notes):
            return uncertain(notes)
        match [refund_id for refund_id, note in notes.refunds if step_key_in(note) == step_key]:
            case [] if len(notes.refunds) >= _MOST_NOTES:
                return Unknown(
                    f"the order has {_MOST_NOTES} refunds or more, not all of them can be looked at"
                )
            case []:
                return NotFound(_REFUND_SETTLED_S)
            case [refund_id]:
                match read_refund(self._send(operation, REFUND, {"id": refund_id})):
                    case RefundRecord() as record:
                        return judge_lines(record, command)
                    case no:
                        return uncertain(no)
            case several:
                return Permanent(
                    "done_twice", f"{len(several)} refunds carry {step_key}: {', '.join(several)}"
                )


_Lines = TypeVar("_Lines", CancelLines, Restock)
_Command = TypeVar("_Command", CancelOrder, CancelLines, Restock, Refund)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A mutation was refused, and mostly only a text says why: whether it is done already has to be looked up."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobDone:
    """Shopify says that the cancel job succeeded; the order has to show it."""

    reference: str


def look_after(find: Callable[[_Command], Found], command: _Command) -> Found:
    """A look within a call that was sent. Trouble on the wire of the look must not be told as trouble of the call:
    "not sent" would be taken for "nothing happened".
    """
    try:
        return find(command)
    except TransportError as error:
        return Unknown(f"could not look: {error.args[0]}")


def settle_refusal(
    refused: Outcome, find: Callable[[_Command], Found], command: _Command, *, reason: str
) -> Outcome:
    """Decides a refusal by looking: what is found counts, where there is nothing the refusal stands."""
    match look_after(find, command):
        case NotFound():
            return refused
        case Retryable(reason=trouble) | Unknown(reason=trouble):
            return Unknown(f"refused ({reason}), and the look did not tell whether it is there: {trouble}")
        case Done(reference=reference, detail=detail) if isinstance(command, CancelOrder):
            return AlreadyDone(reference, detail)
        case found:
            return found


def uncertain(no: NotFound | NoAnswer) -> Retryable | Unknown:
    """A look that got no answer, or saw no order: nothing of it says that the effect is absent."""
    match no:
        case Permanent(code=code, reason=reason):
            return Unknown(f"could not look ({code}): {reason}")
        case NotFound(reason=reason):
            return Unknown(f"could not look: {reason}")
        case _:
            return no


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def graphql_request(api_version: str, operation: str, document: str, variables: Mapping[str, Any]) -> Request:
    return Request(
        "POST",
        f"/admin/api/{api_version}/graphql.json",
        f"shopify.{operation}",
        headers={"Accept": "application/json"},
        json={"query": document, "variables": dict(variables)},
    )


def gid(kind: str, reference: str) -> str:
    """Shopify's global id, also of a plain number as it stands in webhooks and in the admin's addresses."""
    return f"gid://shopify/{kind}/{reference}" if reference.isdecimal() else reference


def name_query(number: str) -> str:
    """The search for an order's name, as a quoted phrase: what stands in the number cannot become search syntax."""
    quoted = number.replace("\\", "\\\\").replace('"', '\\"')
    return f'name:"{quoted}"' if number.startswith("#") else f'name:"{quoted}" OR name:"#{quoted}"'


def note_of(step_key: str) -> str:
    return f"refundflow {step_key}"


def refund_note(command: Refund) -> str:
    """Our reference on a refund; after a definite no, the note of the next try says so."""
    number = _number_of_key(command.key)
    return note_of(command.step_key) if number <= 1 else f"{note_of(command.step_key)} try {number}"


def _number_of_key(key: str) -> int:
    """The number at the end of a wire key, 1 where it has none."""
    number = key.rpartition(":")[2]
    return int(number) if number.isdecimal() else 1


def try_in(note: str) -> int:
    """Which try a refund's note speaks of."""
    found = re.search(r"\btry (\d{1,6})\b", note)
    return int(found[1]) if found else 1


def step_key_in(note: str) -> str:
    """The step that a note refers to: the word after `refundflow`, whole. Empty where the note is not ours."""
    words = note.split()
    marks = [i for i, word in enumerate(words[:-1]) if word == "refundflow"]
    return words[marks[0] + 1] if marks else ""


def refund_key(key: str) -> str:
    """The idempotency key as a UUID, always the same one for the same key of ours."""
    return str(uuid.uuid5(_KEY_SPACE, key))


_REASONS: Final = {
    "customer": "CUSTOMER",
    "declined": "DECLINED",
    "fraud": "FRAUD",
    "inventory": "INVENTORY",
    "staff": "STAFF",
}


def cancel_variables(command: CancelOrder) -> dict[str, Any]:
    """Says explicitly that no money goes back: what happens where the refund method is left out is not described."""
    return {
        "orderId": gid("Order", command.order_id),
        "reason": _REASONS.get(command.reason, "OTHER"),
        "restock": command.restock,
        "notifyCustomer": False,
        "refundMethod": {"originalPaymentMethodsRefund": False},
        "staffNote": note_of(command.step_key),
    }


def refund_lines(lines: tuple[LineQuantity, ...], restock_type: str, location: str) -> list[dict[str, Any]]:
    """Whether Shopify chooses a location where none is named is not described: it may refuse the refund instead."""
    where = {"locationId": gid("Location", location)} if location and restock_type != "NO_RESTOCK" else {}
    return [
        {
            "lineItemId": gid("LineItem", line.line_id),
            "quantity": line.quantity,
            "restockType": restock_type,
            **where,
        }
        for line in lines
    ]


def lines_input(command: CancelLines | Restock, restock_type: str) -> dict[str, Any]:
    """A refund without transactions: it books units and moves no money."""
    return {
        "orderId": gid("Order", command.order_id),
        "currency": command.currency,
        "note": note_of(command.step_key),
        "notify": False,
        "allowOverRefunding": False,
        "refundLineItems": refund_lines(command.lines, restock_type, command.location),
    }


def cancel_lines_input(command: CancelLines) -> dict[str, Any]:
    return lines_input(command, "CANCEL" if command.restock else "NO_RESTOCK")


def restock_input(command: Restock) -> dict[str, Any]:
    return lines_input(command, "RETURN" if command.is_return else "CANCEL")


def refund_input(command: Refund) -> dict[str, Any]:
    order_id = gid("Order", command.order_id)
    return {
        "orderId": order_id,
        "currency": command.amount.currency,
        "note": refund_note(command),
        "notify": False,
        "allowOverRefunding": False,
        "transactions": [
            {
                "orderId": order_id,
                "parentId": gid("OrderTransaction", command.payment_reference),
                "kind": "REFUND",
                "gateway": command.gateway,
                "amount": command.amount.major,
            }
        ],
    }


# ---------------------------------------------------------------------------------------------------------------------
# Answers: the envelope


_SCOPES: Final = "check the access token, and that the app has write_orders, read_all_orders and read_shopify_payments_disputes"


def read_data(response: Response, *, is_write: bool) -> dict[str, Any] | NoAnswer:
    """The `data` of an answer without errors; anything else is the outcome that says why not."""
    match response.status, response.json:
        case 200, {"errors": [_, *_] as errors} as body:
            return read_errors(errors, body, is_write=is_write)
        case 200, {"data": dict() as data}:
            return data
        case 401 | 403, _:
            return Retryable("unauthorised", f"Shopify answered {response.status}: {_SCOPES}")
        case 429, _:
            return Retryable("throttled", "Shopify answered 429", response.retry_after_s)
        case 402 | 423, _:
            return Permanent(
                "shop_locked", f"Shopify answered {response.status}: the shop is frozen or locked"
            )
        case 404, _:
            return Permanent("wrong_shop", "Shopify answered 404: check the shop's name and the API version")
        case status, _ if status >= 500 and not is_write:
            return Retryable("unavailable", f"Shopify answered {status}", response.retry_after_s)
        case status, _:
            return Unknown(f"unreadable answer, status {status}")


def read_errors(errors: list[Any], body: Mapping[str, Any], *, is_write: bool) -> NoAnswer:
    """Top-level errors. On a write an error counts as "nothing happened" only where it is about the whole call and
    there is no data: an error deep in the answer means that the mutation ran and its result could not be shown.
    """
    code, message = "", "errors without a message"
    match errors[0]:
        case {"message": str(message), "extensions": {"code": str(code)}}:
            pass
        case {"message": str(message)}:
            pass
    reason = f"Shopify answered {code or 'an error'}: {message}"
    if is_write and (has_data(body.get("data")) or any(is_deep(error) for error in errors)):
        return Unknown(reason)
    match code:
        case "THROTTLED":
            return Retryable("throttled", reason, throttled_s(body))
        case "ACCESS_DENIED":
            return Retryable("unauthorised", f"{reason}; {_SCOPES}")
        case "SHOP_INACTIVE" | "MAX_COST_EXCEEDED":
            return Permanent(code.lower(), reason)
        case "IDEMPOTENCY_KEY_PARAMETER_MISMATCH" | "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED":
            return Permanent(code, reason)
        case "INTERNAL_SERVER_ERROR" | "TIMEOUT" if not is_write:
            return Retryable("unavailable", reason)
        case _:
            return Unknown(reason)


def has_data(data: object) -> bool:
    match data:
        case None:
            return False
        case dict():
            return any(value is not None for value in data.values())
        case _:
            return True


def is_deep(error: object) -> bool:
    """Whether an error is about a field inside of what a mutation answers."""
    match error:
        case {"path": [_, _, *_]}:
            return True
        case _:
            return False


def throttled_s(body: Mapping[str, Any]) -> float | None:
    """Seconds until the bucket holds what the call asked for: (asked for - there) / restored per second."""
    match body:
        case {
            "extensions": {
                "cost": {
                    "requestedQueryCost": int() | Decimal() as asked,
                    "throttleStatus": {
                        "currentlyAvailable": int() | Decimal() as there,
                        "restoreRate": int() | Decimal() as rate,
                    },
                }
            }
        } if rate > 0:
            return max(0.0, float((Decimal(asked) - Decimal(there)) / Decimal(rate)))
        case _:
            return None


def read_node(response: Response, name: str, absent: str) -> dict[str, Any] | NotFound | NoAnswer:
    """One object of a query. `absent`: what to tell where it is null."""
    match read_data(response, is_write=False):
        case dict() as data if name in data:
            match data[name]:
                case dict() as node:
                    return node
                case None:
                    return NotFound(0.0, absent)
                case _:
                    return Unknown(f"unreadable {name} in the answer")
        case dict():
            return Unknown(f"no {name} in the answer")
        case no:
            return no


_NO_ORDER: Final = "Shopify shows no such order: it is not in this shop, or it is older than 60 days and the app lacks read_all_orders"


def read_order_node(response: Response) -> dict[str, Any] | NotFound | NoAnswer:
    return read_node(response, "order", _NO_ORDER)


_T = TypeVar("_T")


def read_each(nodes: object, read_one: Callable[[object], _T | None]) -> tuple[_T, ...] | None:
    """Every element read, or None where it is no list or one of them cannot be read: half a list is no facts."""
    if not isinstance(nodes, list):
        return None
    read = tuple(one for one in map(read_one, nodes) if one is not None)
    return read if len(read) == len(nodes) else None


_AMOUNT: Final = re.compile(r"-?\d{1,15}(\.\d{1,15})?")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")


def money_of(bag: object, *, is_rounded: bool = False) -> Money | None:
    """The customer's side of a money bag. `is_rounded`: more decimals than the currency has are rounded, for a price
    that is only shown; for an amount they make it unreadable.
    """
    match bag:
        case {"presentmentMoney": {"amount": str(amount), "currencyCode": str(currency)}}:
            return money_from(amount, currency, is_rounded=is_rounded)
        case _:
            return None


def money_from(amount: str, currency: str, *, is_rounded: bool = False) -> Money | None:
    if not _AMOUNT.fullmatch(amount) or not _CURRENCY.fullmatch(currency):
        return None
    exact = Decimal(amount).scaleb(exponent_of(currency))
    minor = exact.to_integral_value(ROUND_HALF_UP)
    return Money(int(minor), currency) if minor == exact or is_rounded else None


def time_of(text: str) -> datetime | None:
    """An aware time, or None. The only parser that knows which days a month has reports by raising."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


# ---------------------------------------------------------------------------------------------------------------------
# Answers: the shop and its orders


def read_health(response: Response, api_version: str) -> Health:
    """Healthy only where Shopify answered in the version that was asked for: an expired one is replaced silently."""
    match read_data(response, is_write=False):
        case {"publicApiVersions": [*versions], "orders": dict()}:
            pass
        case Retryable(reason=reason) | Permanent(reason=reason) | Unknown(reason=reason):
            return Health(False, reason)
        case _:
            return Health(
                False, "Shopify answered, but not with its versions and orders: check the shop's name"
            )
    told = response.headers.get("x-shopify-api-version", "")
    advice = "set api_version to a living version and run the contract tests"
    if told and told != api_version:
        return Health(False, f"asked for API {api_version}, answered by {told}: {advice}")
    supported = [
        v["handle"] for v in versions if isinstance(v, dict) and v.get("supported") is True and "handle" in v
    ]
    if api_version not in supported:
        return Health(False, f"API {api_version} is not among the supported {supported}: {advice}")
    return Health(True, f"API {api_version}, orders are readable")


def read_orders_by_name(response: Response, number: str) -> str | NotFound | NoAnswer:
    """The id of the only order with exactly this name. The search finds similar names too."""
    match read_data(response, is_write=False):
        case {"orders": {"nodes": nodes, "pageInfo": {"hasNextPage": bool(has_more)}}}:
            named = read_each(nodes, read_named)
        case Retryable() | Permanent() | Unknown() as no:
            return no
        case _:
            named = None
    if named is None:
        return Unknown("unreadable list of orders")
    wanted = number.removeprefix("#")
    match [order_id for order_id, name in named if name.removeprefix("#") == wanted]:
        case [order_id] if not has_more:
            return order_id
        case [] if not has_more:
            return NotFound(0.0, _NO_ORDER)
        case several:
            told = ", ".join(several) or "more than one page of them"
            return Permanent("ambiguous", f"several orders answer to {number}: {told}")


def read_named(node: object) -> tuple[str, str] | None:
    match node:
        case {"id": str(order_id), "name": str(name)}:
            return order_id, name
        case _:
            return None


@dataclass(frozen=True, slots=True)
class OrderPage:
    """An order with its first page of lines. `cursor`: where the next page starts, empty where there is none."""

    facts: OrderFacts
    cursor: str


@dataclass(frozen=True, slots=True)
class LinePage:
    lines: tuple[OrderLine, ...]
    cursor: str


#: Return states in which goods or inspections are still on their way. A state that we do not know counts as open.
_NO_OPEN_RETURN: Final = frozenset({"NO_RETURN", "RETURNED", "RETURN_FAILED"})


def read_order(response: Response) -> OrderPage | NotFound | NoAnswer:
    match read_order_node(response):
        case {
            "id": str(order_id),
            "name": str(number),
            "createdAt": str(created),
            "cancelledAt": (str() | None) as cancelled,
            "presentmentCurrencyCode": str(currency),
            "returnStatus": str(return_status),
            "test": bool(is_test),
            "totalPriceSet": total_set,
            "lineItems": line_items,
            "transactions": transactions,
            **rest,
        }:
            created_at = time_of(created)
            cancelled_at = time_of(cancelled) if cancelled is not None else None
            total = money_of(total_set)
            page = read_line_page(line_items)
            booked = read_each(transactions, read_transaction)
        case NotFound() | Retryable() | Permanent() | Unknown() as no:
            return no
        case _:
            return Unknown("unreadable order")
    if booked is not None and len(booked) >= _MOST_TRANSACTIONS:
        return Unknown(
            f"order {number} has {_MOST_TRANSACTIONS} transactions or more, not all of them can be read"
        )
    if created_at is None or total is None or page is None or booked is None:
        return Unknown(f"unreadable times, total, lines or transactions of order {number}")
    if cancelled is not None and cancelled_at is None:
        return Unknown(f"unreadable time of the cancel of order {number}")
    if any(amount.currency != currency for amount in (total, *(t.amount for t in booked))):
        return Unknown(f"order {number} is in {currency}, and some of its amounts are not")
    facts = OrderFacts(
        platform=SPEC.platform,
        order_id=order_id,
        number=number,
        created_at=created_at,
        currency=currency,
        total=total,
        email=text_of(rest.get("email")),
        lines=page.lines,
        payments=order_payments(booked),
        cancelled_at=cancelled_at,
        is_return_open=return_status not in _NO_OPEN_RETURN,
        is_test=is_test,
    )
    return OrderPage(facts, page.cursor)


def with_lines(facts: OrderFacts, lines: tuple[OrderLine, ...]) -> OrderFacts | Unknown:
    """The facts with the lines of all pages, where they are in the order's currency."""
    if any(line.unit.currency != facts.currency for line in lines):
        return Unknown(f"order {facts.number} is in {facts.currency}, and some of its lines are not")
    return replace(facts, lines=lines)


def read_order_lines(response: Response) -> LinePage | NotFound | NoAnswer:
    match read_order_node(response):
        case {"lineItems": line_items}:
            return read_line_page(line_items) or Unknown("unreadable order lines")
        case NotFound() | Retryable() | Permanent() | Unknown() as no:
            return no
        case _:
            return Unknown("an order without lines")


def read_line_page(connection: object) -> LinePage | None:
    match connection:
        case {"nodes": nodes, "pageInfo": {"hasNextPage": True, "endCursor": str(cursor)}} if cursor:
            lines = read_each(nodes, read_line)
        case {"nodes": nodes, "pageInfo": {"hasNextPage": False}}:
            lines, cursor = read_each(nodes, read_line), ""
        case _:
            return None
    return None if lines is None else LinePage(lines, cursor)


def read_line(node: object) -> OrderLine | None:
    match node:
        case {
            "id": str(line_id),
            "name": str(title),
            "currentQuantity": int(quantity),
            "unfulfilledQuantity": int(unfulfilled),
            "refundableQuantity": int(refundable),
            "discountedUnitPriceSet": unit_set,
            **rest,
        }:
            unit = money_of(unit_set, is_rounded=True)
            sku = text_of(rest.get("sku"))
            return OrderLine(line_id, sku, title, quantity, unfulfilled, refundable, unit) if unit else None
        case _:
            return None


def missing_lines(order: OrderFacts, lines: tuple[LineQuantity, ...]) -> str:
    """Which units the order no longer holds as refundable, for people; empty where all are there."""
    held = {line.line_id: line.refundable for line in order.lines}
    wanted = [(gid("LineItem", line.line_id), line.quantity) for line in lines]
    return ", ".join(
        f"{quantity - held.get(line_id, 0)} of {line_id}"
        for line_id, quantity in wanted
        if quantity > held.get(line_id, 0)
    )


def read_quote(response: Response, currency: str) -> Money | NoAnswer:
    match read_order_node(response):
        case {"suggestedRefund": {"amountSet": amount_set}}:
            quote = money_of(amount_set)
        case NotFound(reason=reason):
            return Permanent("NOT_FOUND", reason)
        case Retryable() | Permanent() | Unknown() as no:
            return no
        case _:
            quote = None
    if quote is None or quote.minor < 0:
        return Unknown("unreadable suggested refund")
    if quote.currency != currency:
        return Permanent("currency_mismatch", f"Shopify suggests {quote}, and the order is in {currency}")
    return quote


# ---------------------------------------------------------------------------------------------------------------------
# Answers: transactions and payments


@dataclass(frozen=True, slots=True)
class Transaction:
    """One movement of money as Shopify books it. `parent`: the capture's authorisation, the refund's capture."""

    transaction_id: str
    kind: str
    status: str
    gateway: str
    amount: Money
    parent: str
    provider_reference: str = ""


_AUTHORISATIONS: Final = frozenset({"AUTHORIZATION", "EMV_AUTHORIZATION"})
_CAPTURES: Final = frozenset({"SALE", "CAPTURE"})
_PROVIDER_ID: Final = re.compile(r"(pi|ch|py)_\w+")


def read_transaction(node: object) -> Transaction | None:
    match node:
        case {
            "id": str(transaction_id),
            "kind": str(kind),
            "status": str(status),
            "amountSet": amount_set,
            "parentTransaction": ({"id": str()} | None) as parent,
            **rest,
        }:
            amount = money_of(amount_set)
        case _:
            return None
    if amount is None:
        return None
    return Transaction(
        transaction_id=transaction_id,
        kind=kind,
        status=status,
        gateway=text_of(rest.get("gateway")),
        amount=amount,
        parent=parent["id"] if parent else "",
        provider_reference=provider_reference(rest.get("paymentId"), rest.get("receiptJson")),
    )


def provider_reference(payment_id: object, receipt: object) -> str:
    """The payment's id at its provider: the payment id where it looks like one, else what the receipt holds. Receipts
    differ by gateway and come as an object or as its text; `id` is the receipt's own, so it is asked last.
    """
    if isinstance(payment_id, str) and _PROVIDER_ID.fullmatch(payment_id):
        return payment_id
    match parse_json(receipt.encode()) if isinstance(receipt, str) else receipt:
        case (
            {"payment_intent_id": str(found)}
            | {"payment_intent": str(found)}
            | {"payment_intent": {"id": str(found)}}
            | {"charge": str(found)}
            | {"charge": {"id": str(found)}}
            | {"id": str(found)}
        ):
            return found
        case _:
            return ""


def has_succeeded(transaction: Transaction, kinds: frozenset[str]) -> bool:
    return transaction.status == "SUCCESS" and transaction.kind in kinds


def children(transactions: tuple[Transaction, ...], parent: str, kinds: frozenset[str]) -> list[Transaction]:
    return [t for t in transactions if t.parent == parent and has_succeeded(t, kinds)]


def order_payments(transactions: tuple[Transaction, ...]) -> tuple[OrderPayment, ...]:
    """Sales and captures, and authorisations that nothing followed. An authorisation that was captured, be it in part,
    is told by its captures: its money must not count twice.
    """
    by_id = {t.transaction_id: t for t in transactions}
    payments = []
    for t in transactions:
        is_captured = has_succeeded(t, _CAPTURES)
        is_open = has_succeeded(t, _AUTHORISATIONS) and not children(
            transactions, t.transaction_id, _CAPTURES | {"VOID"}
        )
        if is_captured or is_open:
            parent = by_id.get(t.parent)
            reference = t.provider_reference or (parent.provider_reference if parent else "")
            payments.append(OrderPayment(t.transaction_id, t.gateway, reference, is_captured, t.amount))
    return tuple(payments)


@dataclass(frozen=True, slots=True)
class RefundedLine:
    line_id: str
    quantity: int
    restock_type: str
    is_restocked: bool


@dataclass(frozen=True, slots=True)
class RefundRecord:
    """A refund as the shop books it: money that moved, units that moved, or both."""

    refund_id: str
    note: str
    transactions: tuple[Transaction, ...]
    lines: tuple[RefundedLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Dispute:
    """`kind`: INQUIRY or CHARGEBACK, as it began."""

    dispute_id: str
    kind: str
    status: str


@dataclass(frozen=True, slots=True)
class Book:
    """All money of one order."""

    order_id: str
    number: str
    transactions: tuple[Transaction, ...]
    refunds: tuple[RefundRecord, ...]
    disputes: tuple[Dispute, ...]


def read_book(response: Response) -> Book | NotFound | NoAnswer:
    match read_order_node(response):
        case {
            "id": str(order_id),
            "name": str(number),
            "transactions": list() as transaction_nodes,
            "refunds": list() as refund_nodes,
            "disputes": dispute_nodes,
        }:
            transactions = read_each(transaction_nodes, read_transaction)
            refunds = read_each(refund_nodes, read_money_refund)
            disputes = read_each(dispute_nodes, read_dispute_summary)
        case NotFound() | Retryable() | Permanent() | Unknown() as no:
            return no
        case _:
            return Unknown("unreadable order")
    if len(transaction_nodes) >= _MOST_TRANSACTIONS or len(refund_nodes) >= _MOST_REFUNDS:
        return Unknown(f"order {number} has more transactions or refunds than can be read at once")
    if transactions is None or refunds is None or disputes is None:
        return Unknown(f"unreadable transactions, refunds or disputes of order {number}")
    if len({t.amount.currency for ts in (transactions, *(r.transactions for r in refunds)) for t in ts}) > 1:
        return Unknown(f"the transactions of order {number} are not in one currency")
    return Book(order_id, number, transactions, refunds, disputes)


def read_money_refund(node: object) -> RefundRecord | None:
    """A refund with all of its transactions; one that has more than were asked for is not read at all."""
    match node:
        case {
            "id": str(refund_id),
            "note": (str() | None) as note,
            "transactions": {"nodes": nodes, "pageInfo": {"hasNextPage": False}},
        }:
            transactions = read_each(nodes, read_transaction)
            return None if transactions is None else RefundRecord(refund_id, note or "", transactions)
        case _:
            return None


def read_refund_record(node: object) -> RefundRecord | None:
    """A refund with all of its transactions and lines."""
    match node, read_money_refund(node):
        case (
            {"refundLineItems": {"nodes": nodes, "pageInfo": {"hasNextPage": False}}},
            RefundRecord() as record,
        ):
            lines = read_each(nodes, read_refunded_line)
            return None if lines is None else replace(record, lines=lines)
        case _:
            return None


def read_refunded_line(node: object) -> RefundedLine | None:
    match node:
        case {
            "quantity": int(quantity),
            "restockType": str(restock_type),
            "restocked": bool(is_restocked),
            "lineItem": {"id": str(line_id)},
        }:
            return RefundedLine(line_id, quantity, restock_type, is_restocked)
        case _:
            return None


def read_dispute_summary(node: object) -> Dispute | None:
    """The number is the dispute's own: it is told under the id that deliveries and the dispute itself have."""
    match node:
        case {"id": str(summary_id), "initiatedAs": str(kind), "status": str(status)}:
            return Dispute(gid("ShopifyPaymentsDispute", summary_id.rsplit("/", 1)[-1]), kind, status)
        case _:
            return None


#: From the state that leaves the money with us to the one in which it is gone.
_GRAVITY: Final = (
    DisputeState.NONE,
    DisputeState.WON,
    DisputeState.WARNING,
    DisputeState.OPEN,
    DisputeState.LOST,
)


def dispute_state(kind: str, status: str) -> DisputeState:
    """Shopify's words, in either case, as ours. ACCEPTED, CHARGE_REFUNDED and PREVENTED are ends in which the customer
    has, or may have, the money already; a status that we do not know counts as open.
    """
    match status.upper():
        case "WON":
            return DisputeState.WON
        case "LOST" | "ACCEPTED" | "CHARGE_REFUNDED" | "PREVENTED":
            return DisputeState.LOST
        case "NEEDS_RESPONSE" | "UNDER_REVIEW" if kind.upper() == "INQUIRY":
            return DisputeState.WARNING
        case _:
            return DisputeState.OPEN


def read_dispute(response: Response, order_id: str) -> DisputeState:
    """How the dispute of this order stands now. Without an answer about this very order it counts as open."""
    match read_data(response, is_write=False):
        case {"dispute": {"status": str(status), "type": str(kind), "order": {"id": str(found)}}} if (
            found == order_id
        ):
            return dispute_state(kind, status)
        case _:
            return DisputeState.OPEN


def payment_facts(
    book: Book, transaction_id: str, dispute: DisputeState, dispute_reference: str
) -> PaymentFacts | NotFound:
    payment = next((t for t in book.transactions if t.transaction_id == transaction_id), None)
    if payment is None:
        return NotFound(0.0, f"order {book.number} has no transaction {transaction_id}")
    nothing = Money(0, payment.amount.currency)
    authorised = captured = nothing
    match payment_state(book.transactions, payment):
        case PaymentState.AUTHORISED as state:
            authorised = payment.amount
        case PaymentState.CAPTURED as state if payment.kind in _CAPTURES:
            captured = payment.amount
        case state:
            pass
    facts = (refund_fact(refund, payment) for refund in book.refunds)
    return PaymentFacts(
        platform=SPEC.platform,
        reference=transaction_id,
        state=state,
        authorised=authorised,
        captured=captured,
        refunds=tuple(fact for fact in facts if fact is not None),
        dispute=dispute,
        dispute_reference=dispute_reference,
        gateway=payment.gateway,
        order_number=book.number,
    )


def payment_state(transactions: tuple[Transaction, ...], payment: Transaction) -> PaymentState:
    """A captured authorisation is captured with no money of its own: its captures are payments themselves."""
    if has_succeeded(payment, _CAPTURES):
        return PaymentState.CAPTURED
    if not has_succeeded(payment, _AUTHORISATIONS):
        return PaymentState.NOT_PAID
    if children(transactions, payment.transaction_id, _CAPTURES):
        return PaymentState.CAPTURED
    if children(transactions, payment.transaction_id, frozenset({"VOID"})):
        return PaymentState.VOIDED
    return PaymentState.AUTHORISED


def refund_fact(refund: RefundRecord, payment: Transaction) -> RefundFact | None:
    """What a refund gave back of this payment. One that names the payment's authorisation, or no parent at all, counts
    too where the gateway is the same: money that may have gone back must not go back again.
    """
    parents = {payment.transaction_id, payment.parent, ""}
    parts = tuple(
        t
        for t in refund.transactions
        if t.kind == "REFUND"
        and t.parent in parents
        and (t.parent == payment.transaction_id or t.gateway == payment.gateway)
    )
    if not parts:
        return None
    status, amount = settle_transactions(parts)
    return RefundFact(refund.refund_id, amount, status, step_key_in(refund.note))


def refund_status(status: str) -> RefundStatus:
    """A transaction's status, in either case. What is neither success nor failure is still on its way."""
    match status.upper():
        case "SUCCESS":
            return RefundStatus.SUCCEEDED
        case "FAILURE" | "ERROR":
            return RefundStatus.FAILED
        case _:
            return RefundStatus.PENDING


def settle_transactions(transactions: tuple[Transaction, ...]) -> tuple[RefundStatus, Money]:
    """How the money of a refund stands, and how much of it counts: what did not fail, or all where all failed.

    `transactions`: at least one, in one currency.
    """
    alive = [t for t in transactions if refund_status(t.status) is not RefundStatus.FAILED]
    amount = sum((t.amount for t in alive or transactions), Money(0, transactions[0].amount.currency))
    if not alive:
        return RefundStatus.FAILED, amount
    is_pending = any(refund_status(t.status) is RefundStatus.PENDING for t in alive)
    return RefundStatus.PENDING if is_pending else RefundStatus.SUCCEEDED, amount


# ---------------------------------------------------------------------------------------------------------------------
# Answers: effects


@dataclass(frozen=True, slots=True)
class Notes:
    """What an order says about what was done to it. `refunds`: (id, note) pairs."""

    order_id: str
    cancelled_at: str
    staff_note: str
    refunds: tuple[tuple[str, str], ...]


def read_notes(response: Response) -> Notes | NotFound | NoAnswer:
    match read_order_node(response):
        case {
            "id": str(order_id),
            "cancelledAt": (str() | None) as cancelled_at,
            "cancellation": (dict() | None) as cancellation,
            "refunds": nodes,
        }:
            refunds = read_each(nodes, read_noted)
            if refunds is None:
                return Unknown("unreadable refunds of the order")
            staff_note = text_of((cancellation or {}).get("staffNote"))
            return Notes(order_id, cancelled_at or "", staff_note, refunds)
        case NotFound() | Retryable() | Permanent() | Unknown() as no:
            return no
        case _:
            return Unknown("unreadable order")


def read_noted(node: object) -> tuple[str, str] | None:
    match node:
        case {"id": str(refund_id), "note": (str() | None) as note}:
            return refund_id, note or ""
        case _:
            return None


def read_cancel(response: Response) -> JobDone | Refusal | Outcome:
    match read_data(response, is_write=True):
        case {"orderCancel": {"orderCancelUserErrors": [dict() as error, *_]}}:
            return read_refusal(error)
        case {"orderCancel": {"jobResult": {"status": "FAILED", "errors": [dict() as error, *_]}}}:
            return read_refusal(error)
        case {"orderCancel": {"jobResult": {"status": "FAILED"}}}:
            return Refusal("", "the cancel job failed and Shopify does not say why")
        case {"orderCancel": {"jobResult": {"status": "SUCCEEDED", "id": str(job)}}}:
            return JobDone(job)
        case {"orderCancel": {"job": {"id": str(job)}} | {"jobResult": {"id": str(job)}}}:
            return Pending(job, 2.0)
        case Retryable() | Permanent() | Unknown() as no:
            return no
        case _:
            return Unknown("unreadable answer to the cancel")


def read_refusal(error: Mapping[str, Any]) -> Refusal:
    where = ".".join(str(part) for part in error["field"]) if isinstance(error.get("field"), list) else ""
    reason = text_of(error.get("message")) or "no reason given"
    return Refusal(text_of(error.get("code")), f"{where}: {reason}" if where else reason)


#: `OrderCancelUserErrorCode` (read 2026-11-23). Every other code is a no: a cancel is refused for what the order is.
_CANCEL_RETRYABLE: Final = {"INTERNAL_ERROR": "unavailable"}


def refused_cancel(code: str, reason: str) -> Outcome:
    """A refused cancel of an order that is not cancelled."""
    if code in _CANCEL_RETRYABLE:
        return Retryable(_CANCEL_RETRYABLE[code], f"{code}: {reason}")
    if code == "NOT_FOUND":
        return Permanent(code, f"{reason} ({_NO_ORDER})")
    return Permanent(code or "refused", reason)


def judge_cancel(notes: Notes | NotFound | NoAnswer, command: CancelOrder) -> Found:
    """What the order says about its cancel."""
    match notes:
        case Notes(cancelled_at="", order_id=order_id):
            return NotFound(
                _CANCEL_SETTLED_S,
                f"{order_id} is not cancelled: the job has not run yet, was never started, or ran and failed",
            )
        case Notes(order_id=order_id, cancelled_at=at):
            if is_cancelled_by(notes, command.step_key):
                return Done(order_id, f"cancelled at {at}; the staff note is ours")
            return AlreadyDone(order_id, f"cancelled by somebody else at {at}")
        case no:
            return uncertain(no)


def is_cancelled_by(notes: Notes, step_key: str) -> bool:
    return bool(notes.cancelled_at and step_key) and step_key_in(notes.staff_note) == step_key


def carried_by_cancel(notes: Notes, command: Restock) -> Done:
    """The proof of a restock that a whole cancel carried: the order is cancelled, and the cancel was ours."""
    return Done(
        notes.order_id,
        f"cancelled with restock by {command.carried_by} at {notes.cancelled_at}, as cancelledAt and the staff note say; "
        "Shopify tells no quantities here, and units of a deactivated location are not put back",
    )


def missing_carrier(notes: Notes, found: NotFound) -> Permanent | NotFound:
    """No call of ours carried the restock. Where somebody else cancelled the order it will not come any more."""
    if not notes.cancelled_at:
        return found
    return Permanent(
        "restock_unproven",
        f"{notes.order_id} was cancelled by somebody else at {notes.cancelled_at}, and Shopify does not say whether the "
        "units were put back: compare the inventory history in the admin, then resolve this step",
    )


_NO_LOCATION: Final = "no location was named: if Shopify wants one, set stock_location"

#: User errors of refundCreate have no code. Texts like these may mean that the same key is at work in another call:
#: reading them too widely costs a look, not reading them could pay twice.
_MAYBE_RUNNING: Final = re.compile(r"in progress|try again|concurrent", re.IGNORECASE)


def read_refund_create(response: Response) -> RefundRecord | Refusal | Retryable | Permanent | Unknown:
    match read_data(response, is_write=True):
        case {"refundCreate": {"refund": dict() as refund}}:
            return read_refund_record(refund) or Unknown("unreadable refund in the answer")
        case {"refundCreate": {"userErrors": [dict() as error, *_]}}:
            return read_refusal(error)
        case Permanent(code=code, reason=reason) if code.startswith("IDEMPOTENCY_"):
            # The key was used before: the look tells what came of it.
            return Refusal(code, reason)
        case Retryable() | Permanent() | Unknown() as no:
            return no
        case _:
            return Unknown("unreadable answer to the refund")


def refused_refund(code: str, reason: str) -> Outcome:
    """A refused refundCreate that left no trace."""
    if not code and _MAYBE_RUNNING.search(reason):
        return Unknown(f"refused, perhaps because the same call is still running: {reason}")
    return Permanent(code or "refused", reason)


def read_refund(response: Response) -> RefundRecord | NotFound | NoAnswer:
    match read_node(response, "refund", "Shopify no longer shows the refund"):
        case dict() as node:
            return read_refund_record(node) or Unknown("unreadable refund")
        case no:
            return no


def is_alive(record: RefundRecord) -> bool:
    """Whether a refund moved money, or may have."""
    parts = tuple(t for t in record.transactions if t.kind == "REFUND")
    same = len({t.amount.currency for t in parts}) == 1
    return not same or settle_transactions(parts)[0] is not RefundStatus.FAILED


def judge_refunds(records: tuple[RefundRecord, ...], command: Refund) -> Outcome:
    """What the refunds that carry our reference come to. One that failed does not count beside one that did not; two
    that did not are money sent twice, and the comparison of amounts says so.
    """
    told = [
        (record.refund_id, *settle_transactions(parts))
        for record in records
        if (parts := tuple(t for t in record.transactions if t.kind == "REFUND"))
        and len({t.amount.currency for t in parts}) == 1
    ]
    references = ", ".join(record.refund_id for record in records)
    if len(told) < len(records):
        return Unknown(f"{references} shows no transaction whose money could be followed")
    alive = [t for t in told if t[1] is not RefundStatus.FAILED]
    if not alive:
        return Permanent("refund_failed", f"{references} exists, and its money did not move")
    match [amount for _, _, amount in alive]:
        case [amount] if amount == command.amount:
            pass
        case amounts:
            given = " and ".join(str(amount) for amount in amounts)
            return Permanent(
                "amount_mismatch", f"asked for {command.amount}, {references} gives back {given}"
            )
    reference, status, _ = alive[0]
    return Pending(reference) if status is RefundStatus.PENDING else Done(reference)


def judge_lines(record: RefundRecord, command: CancelLines | Restock) -> Outcome:
    """Whether the refund that carries our reference took out, and put back, what was asked for, and moved no money."""
    given = ", ".join(str(t.amount) for t in record.transactions if t.kind == "REFUND" and t.amount.minor)
    if given:
        return Permanent(
            "amount_mismatch", f"no money was to move, and {record.refund_id} gives back {given}"
        )
    taken: dict[str, int] = {}
    back: dict[str, int] = {}
    for line in record.lines:
        taken[line.line_id] = taken.get(line.line_id, 0) + line.quantity
        if line.is_restocked and line.restock_type != "NO_RESTOCK":
            back[line.line_id] = back.get(line.line_id, 0) + line.quantity
    wanted: dict[str, int] = {}
    for asked in command.lines:
        line_id = gid("LineItem", asked.line_id)
        wanted[line_id] = wanted.get(line_id, 0) + asked.quantity
    match command:
        case CancelLines() if taken != wanted:
            return Permanent("lines_mismatch", f"asked for {wanted}, {record.refund_id} took out {taken}")
        case Restock() if any(back.get(line_id, 0) < quantity for line_id, quantity in wanted.items()):
            return Permanent(
                "not_restocked",
                f"asked to put back {wanted}, {record.refund_id} put back {back or 'nothing'}: look whether the units are "
                "tracked and their location is active, and correct the stock in the admin",
            )
        case _:
            return Done(record.refund_id, f"taken out {taken}, put back {back or 'nothing'}")


# ---------------------------------------------------------------------------------------------------------------------
# Deliveries


@dataclass(frozen=True, slots=True)
class ShopifyInbound:
    """Webhooks of one app. `secret`: its client secret; several, separated by commas, while it is rotated (the old one
    may sign for up to an hour). The signature covers the body only: topic and event id are told by headers that are not
    signed, so what a body says is never taken for more than the body itself shows.
    """

    platform: ClassVar[str] = SPEC.platform
    secret: Secret

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        signature = header(delivery, "hmac-sha256")
        topic = header(delivery, "topic")
        secrets = split_secrets(self.secret.reveal())
        if not secrets:
            return Refused("no webhook secret is set")
        if not signature or not topic:
            return Refused("the signature or the topic is missing")
        if not is_any((sign_base64(secret, delivery.body) for secret in secrets), (signature,)):
            return Refused("the signature does not fit")
        event_id = header(delivery, "webhook-id")
        return Verified(event_id or f"sha256:{hashlib.sha256(delivery.body).hexdigest()}", topic)

    def read_event(self, topic: str, body: bytes) -> Reading:
        match parse_json(body):
            case dict() as event:
                pass
            case _:
                raise MalformedError("$", "not a JSON object")
        match topic:
            case "orders/cancelled":
                return read_cancelled_event(event)
            case "refunds/create":
                return read_refund_event(event)
            case "order_transactions/create":
                return read_transaction_event(event)
            case "disputes/create" | "disputes/update":
                return read_dispute_event(event)
            case _:
                return Irrelevant(f"nothing is done on {topic}")


def header(delivery: Delivery, name: str) -> str:
    """Shopify's header of that name, in its older or its newer spelling."""
    return delivery.headers.get(f"x-shopify-{name}") or delivery.headers.get(f"shopify-{name}", "")


def number_in(body: Mapping[str, Any], name: str, path: str = "") -> int:
    match body.get(name):
        case bool():
            pass
        case int(value) if value > 0:
            return value
    raise MalformedError(f"{path}{name}", f"not a number: {body.get(name)!r:.40}")


def number_or_none(body: Mapping[str, Any], name: str, path: str = "") -> int | None:
    return None if body.get(name) is None else number_in(body, name, path)


def text_in(body: Mapping[str, Any], name: str, path: str = "") -> str:
    match body.get(name):
        case str(value) if value:
            return value
        case _:
            raise MalformedError(f"{path}{name}", f"not a text: {body.get(name)!r:.40}")


def text_or_none(body: Mapping[str, Any], name: str, path: str = "") -> str | None:
    return None if body.get(name) is None else text_in(body, name, path)


def amount_in(body: Mapping[str, Any], currency: str, path: str = "") -> Money:
    amount = money_from(text_in(body, "amount", path), currency)
    if amount is None:
        raise MalformedError(f"{path}amount", f"not an amount in {currency:.10}: {body['amount']!r:.40}")
    return amount


def order_ref(number: int, name: str = "") -> OrderRef:
    return OrderRef(SPEC.platform, gid("Order", str(number)), name)


def read_cancelled_event(event: Mapping[str, Any]) -> Reading:
    """The echo of our own cancel looks the same: the delivery has no staff note. The case of the order tells."""
    order = order_ref(number_in(event, "id"), text_or_none(event, "name") or "")
    reason = text_or_none(event, "cancel_reason") or "other"
    if "cancelled_at" in event and text_or_none(event, "cancelled_at") is None:
        return Irrelevant("the order in this delivery is not cancelled")
    return OrderCancelledElsewhere(order, reason if reason in _REASONS else "other")


def read_refund_event(event: Mapping[str, Any]) -> Reading:
    """Sent when the refund is written down, whether or not money has moved by then."""
    refund_id, order = number_in(event, "id"), order_ref(number_in(event, "order_id"))
    step_key = step_key_in(note_in(event))
    match event.get("transactions", []):
        case list() as nodes:
            moves = [read_refund_move(node, f"transactions[{i}].") for i, node in enumerate(nodes)]
        case _:
            raise MalformedError("transactions", "not a list")
    parts = [move for move in moves if move is not None]
    payments = {part.parent for part in parts}
    if not parts and step_key:
        return Irrelevant("the echo of our own call, without money")
    if len(payments) != 1 or any(part.amount is None for part in parts):
        # Nothing said yet, several payments at once, or no currency told: the order knows.
        payment = next(iter(payments)) if len(payments) == 1 else ""
        return PaymentRefundsChanged(SPEC.platform, payment, order)
    amounts = tuple(
        Transaction(part.parent, "REFUND", part.status, "", part.amount, part.parent)
        for part in parts
        if part.amount is not None
    )
    if len({t.amount.currency for t in amounts}) != 1:
        raise MalformedError("transactions", "one payment in several currencies")
    status, amount = settle_transactions(amounts)
    return RefundSeen(
        platform=SPEC.platform,
        payment_reference=payments.pop(),
        refund_reference=gid("Refund", str(refund_id)),
        status=status,
        amount=amount,
        step_key=step_key,
        order=order,
    )


def note_in(event: Mapping[str, Any]) -> str:
    """The note, which a person may have left empty."""
    match event.get("note"):
        case None:
            return ""
        case str(note):
            return note
        case other:
            raise MalformedError("note", f"not a text: {other!r:.40}")


@dataclass(frozen=True, slots=True)
class RefundMove:
    """A transaction of a delivered refund. `amount`: None where the delivery does not tell the currency."""

    parent: str
    status: str
    amount: Money | None


def read_refund_move(node: object, path: str) -> RefundMove | None:
    """A transaction that gives money back; None for one of another kind."""
    match node:
        case dict() as transaction:
            pass
        case _:
            raise MalformedError(path.removesuffix("."), "not an object")
    if text_in(transaction, "kind", path) != "refund":
        return None
    parent = number_or_none(transaction, "parent_id", path)
    currency = text_or_none(transaction, "currency", path)
    return RefundMove(
        parent=gid("OrderTransaction", str(parent)) if parent else "",
        status=text_in(transaction, "status", path),
        amount=amount_in(transaction, currency, path) if currency else None,
    )


def read_transaction_event(event: Mapping[str, Any]) -> Reading:
    """Tells the end of a refund that was pending, its failure too, without naming the refund."""
    if text_in(event, "kind") != "refund":
        return Irrelevant("a transaction that gives nothing back")
    parent = number_or_none(event, "parent_id")
    payment = gid("OrderTransaction", str(parent)) if parent else ""
    return PaymentRefundsChanged(SPEC.platform, payment, order_ref(number_in(event, "order_id")))


def read_dispute_event(event: Mapping[str, Any]) -> Reading:
    """A dispute names its order, not the payment."""
    order_id = number_or_none(event, "order_id")
    return DisputeSeen(
        platform=SPEC.platform,
        payment_reference="",
        dispute_reference=gid("ShopifyPaymentsDispute", str(number_in(event, "id"))),
        state=dispute_state(text_in(event, "type"), text_in(event, "status")),
        amount=amount_in(event, text_in(event, "currency")),
        reason=text_or_none(event, "reason") or "",
        order=order_ref(order_id) if order_id else None,
    )
