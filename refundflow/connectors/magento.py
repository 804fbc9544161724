"""Magento / Adobe Commerce: the shop platform. Reads and cancels orders, returns money through the shop's own gateway, writes
down what others returned, and puts stock back with either.

REST V1 of version 2.4.9 (`admin-schema-2.4.9` of 2026-08-05 and the public sources, read 2026-11-25). Magento Open Source and
Adobe Commerce on the merchant's own servers; not the cloud service (other paths, other tokens). Each call is signed with the
four keys of an integration (OAuth 1.0a, HMAC-SHA256); where the merchant switched bearers on, its access token alone will do.
Permissions: Magento_Sales::actions_view, ::cancel, ::creditmemo, ::comment, ::sales_invoice.

An order leaves in one of two ways. While nothing is invoiced the cancel call takes it all back, releases what was authorised and
ends the promise of stock. What is invoiced is paid, as a rule, and leaves by a credit memo only: that moves money, units and
stock in one document. An order of which only a part is invoiced needs both, which the flow does not plan: it is held for a
person, who cancels (or invoices) the rest in the admin; then it goes the second way.

Quirks
- The cancel answers 200 with `true` or `false` and gives no reason; `true` also where only a part went. The order is read again.
- Nothing has an idempotency key. Our step key stands in the credit memo's comment, and in a comment on the order that is written
  before: the intent mark. The last look for a credit memo is made between the mark and the call for money.
- The gateway is asked inside the database transaction: "could not save" may mean that the money is gone and no credit memo is
  there. So a mark without a credit memo proves nothing, and a person asks the gateway.
- No items means all items, and no shipping amount all the shipping that is left. Both are always said, but for taxed shipping that
  goes back whole: whether an amount is read with or without its tax is a setting of the shop that no call shows.
- Amounts come from quantities. What is asked beside them is an adjustment, so that the total is the amount that was asked for; a part
  of a row whose tax or discount does not divide evenly may still be rounded otherwise there, and the total is compared.
- Shipping cannot be given back any more once all units are: it goes with the refund of the whole order or not at all.
- Money alone is given back only while shipping is left to refund; a shop calls anything else "without products".
- `arguments` are in the base currency: orders in another one are left to a person.
- What an integration may not do is a 401. A comment sets the order's status: the current one is sent.
- A page behind the last one is the last one again, and sorting is descending where nothing is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, ClassVar, Final, TypeVar

from refundflow.connectors.base import (
    Capability,
    Health,
    Idempotency,
    NoAnswer,
    Operation,
    Polled,
    PolledEvent,
    Spec,
)
from refundflow.domain.commands import CancelOrder, RecordOrderRefund, Refund, Restock
from refundflow.domain.facts import (
    LineQuantity,
    OrderFacts,
    OrderLine,
    OrderPayment,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundFact,
    RefundStatus,
    TakesBack,
)
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Reading,
    Refused,
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
from refundflow.transport.base import (
    Http,
    MaybeSentError,
    OAuth1Keys,
    Request,
    Response,
    TransportError,
    Wire,
    parse_json,
)

_DOC: Final = "https://developer.adobe.com/commerce/webapi/rest/quick-reference/"

SPEC: Final = Spec(
    platform="magento",
    api_version="2.4.9",
    base_url="https://{shop}",
    operations={
        Capability.READ_ORDER: Operation("GET /V1/orders/{id}", Idempotency.READ, _DOC),
        Capability.QUOTE_LINES: Operation("GET /V1/orders/{id}", Idempotency.READ, _DOC),
        Capability.CANCEL_ORDER: Operation("POST /V1/orders/{id}/cancel", Idempotency.NATURAL, _DOC),
        # Sends nothing: a cancel or a credit memo carries it.
        Capability.RESTOCK: Operation("GET /V1/creditmemos", Idempotency.NATURAL, _DOC),
        Capability.READ_PAYMENT: Operation("GET /V1/invoices", Idempotency.READ, _DOC),
        Capability.REFUND: Operation("POST /V1/invoice/{invoiceId}/refund", Idempotency.LOOKUP, _DOC),
        Capability.RECORD_ORDER_REFUND: Operation(
            "POST /V1/order/{orderId}/refund", Idempotency.LOOKUP, _DOC
        ),
        Capability.CHECK: Operation("GET /V1/orders", Idempotency.READ, _DOC),
        Capability.POLL: Operation("GET /V1/orders", Idempotency.READ, _DOC),
        Capability.INBOUND: Operation("none: what polling found is read", Idempotency.READ, _DOC),
    },
    # The core has no limit; what stands in front of a shop may.
    rate_per_s=2.0,
    burst=5,
    # An order holds its customer, where they were when they bought, and whatever the gateway left beside the payment.
    redact=frozenset(
        {
            "additional_data",
            "additional_information",
            "cc_exp_month",
            "cc_exp_year",
            "cc_last4",
            "cc_number_enc",
            "cc_owner",
            "company",
            "customer_dob",
            "customer_firstname",
            "customer_gender",
            "customer_lastname",
            "customer_middlename",
            "customer_note",
            "customer_taxvat",
            "echeck_account_name",
            "echeck_routing_number",
            "po_number",
            "protect_code",
            "remote_ip",
            "vat_id",
            "x_forwarded_for",
        }
    ),
    read_s=25.0,
)

#: A read or a comment gets no more than this: a refund is up to six of them and the call that asks the gateway, within one lease.
_SHORT_S: Final = 8.0
#: After so long an absence is believed: our own call has given up long before, and what it sent has ended too.
SETTLED_S: Final = 60.0
#: Windows of polling overlap by this much; the first one is a day long, and none ever longer.
OVERLAP: Final = timedelta(minutes=5)
LONGEST_WINDOW: Final = timedelta(days=1)

_PAGE: Final = 100
_MOST_PAGES: Final = 5

_NO_SECRET: Final = Secret()


@dataclass(frozen=True, slots=True)
class Credentials:
    """A shop and an integration in it. `base_url`: the shop's address (what stands before `/rest`); `store`: the code of a store
    view, where the calls should name one; `access_token`, `access_token_secret`, `consumer_key`, `consumer_secret`: as System >
    Integrations shows them; `access_token_only`: "yes" where the shop takes the access token as a bearer, then the other three
    are not needed.
    """

    base_url: str
    access_token: Secret
    consumer_key: str = ""
    consumer_secret: Secret = _NO_SECRET
    access_token_secret: Secret = _NO_SECRET
    access_token_only: str = "no"  # noqa: S105 (a yes or no)
    store: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for settings that cannot work."""
        if not self.base_url.startswith(("https://", "http://")) or "/rest" in self.base_url:
            raise ValueError("base_url is the shop's address, https://…, without /rest")
        if not re.fullmatch(r"\w*", self.store, re.ASCII):
            raise ValueError(f"store is a store view's code, not {self.store!r}")
        if self.access_token_only not in ("yes", "no"):
            raise ValueError(f"access_token_only is yes or no, not {self.access_token_only!r}")
        signs = bool(self.consumer_key and self.consumer_secret and self.access_token_secret)
        if not signs and not self.is_bearer:
            raise ValueError(
                "consumer_key, consumer_secret and access_token_secret are needed to sign calls (or set "
                "access_token_only to yes, where the shop allows it)"
            )

    @property
    def is_bearer(self) -> bool:
        return self.access_token_only == "yes"  # noqa: S105 (a yes or no)


def build(credentials: Credentials, wire: Wire) -> Magento:
    token = credentials.access_token.reveal()
    keys = OAuth1Keys(
        client_key=credentials.consumer_key,
        client_secret=credentials.consumer_secret.reveal(),
        token=token,
        token_secret=credentials.access_token_secret.reveal(),
    )
    http = wire.http(
        platform=SPEC.platform,
        base_url=credentials.base_url,
        rate_per_s=SPEC.rate_per_s,
        burst=SPEC.burst,
        connect_s=SPEC.connect_s,
        read_s=SPEC.read_s,
        headers={"Authorization": f"Bearer {token}"} if credentials.is_bearer else None,
        oauth1=None if credentials.is_bearer else keys,
        redact=SPEC.redact,
    )
    return Magento(http, f"/rest/{credentials.store}" if credentials.store else "/rest")


# ---------------------------------------------------------------------------------------------------------------------
# What Magento shows. Amounts are minor units of the order's currency.


@dataclass(frozen=True, slots=True)
class Row:
    """An order line as it is sold: the parent, where it has children. Amounts are of the whole row."""

    line_id: str
    sku: str
    title: str
    kind: str
    is_virtual: bool
    ordered: int
    invoiced: int
    shipped: int
    canceled: int
    refunded: int
    amounts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.amounts)

    @property
    def left(self) -> int:
        """Units for which nothing was given back or taken out."""
        return max(0, self.ordered - self.canceled - self.refunded)

    @property
    def to_invoice(self) -> int:
        return max(0, self.ordered - self.invoiced - self.canceled)

    @property
    def to_refund(self) -> int:
        return max(0, self.invoiced - self.refunded)

    def worth(self, quantity: int) -> int:
        """What that many units, beside the refunded ones, come to: price, tax and discount each taken of growing parts, so that
        the parts of a row sum to the row.
        """
        return sum(
            _share(amount, self.refunded + quantity, self.ordered)
            - _share(amount, self.refunded, self.ordered)
            for amount in self.amounts
        )


def _share(total: int, part: int, whole: int) -> int:
    """The part of an amount, half up, away from zero."""
    if not whole:
        return 0
    sign = -1 if total < 0 else 1
    return sign * ((2 * abs(total) * part + whole) // (2 * whole))


@dataclass(frozen=True, slots=True)
class Order:
    """`is_base`: amounts in the base currency are the same numbers; `is_begun`: something is invoiced, on a child too;
    `shipping`, `shipping_tax`: what was charged, the discount on it in `shipping_discount`; `comments`: newest first.
    """

    order_id: str
    number: str
    state: str
    status: str
    created_at: datetime
    updated_at: datetime
    currency: str
    is_base: bool
    email: str
    customer_name: str
    rows: tuple[Row, ...]
    is_begun: bool
    total: int
    paid: int
    refunded: int
    refunded_online: int
    shipping: int
    shipping_tax: int
    shipping_discount: int
    shipping_refunded: int
    shipping_tax_refunded: int
    method: str
    last_transaction: str
    authorised: int
    voided: int
    comments: tuple[str, ...]

    @property
    def shipping_left(self) -> int:
        """What the customer would get back for the shipping that was not given back yet, tax included."""
        if not self.shipping_refunded:
            return self.shipping + self.shipping_tax - self.shipping_discount
        return self.shipping + self.shipping_tax - self.shipping_refunded - self.shipping_tax_refunded

    @property
    def is_taken_back(self) -> bool:
        """Closed by refunds of everything, before anything was shipped: cancelled, in other words."""
        return (
            self.state == "closed"
            and bool(self.rows)
            and all(row.left == 0 and row.shipped == 0 for row in self.rows)
        )

    def money(self, minor: int) -> Money:
        return Money(minor, self.currency)


@dataclass(frozen=True, slots=True)
class Invoice:
    """`is_paid`: its money was captured."""

    invoice_id: str
    is_paid: bool
    total: int
    transaction: str


@dataclass(frozen=True, slots=True)
class Memo:
    """A credit memo. `status`: None for a state that we do not know; `units`: by order line; `step_keys`: ours, in its comments."""

    memo_id: str
    order_id: str
    amount: Money
    status: RefundStatus | None
    transaction: str
    units: Mapping[str, int]
    step_keys: tuple[str, ...]
    has_comments: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """What a credit memo shall say. `items`: units by order line, zero where a line is named to leave it alone; `shipping`:
    minor units, None for all that is left; `adjustment`: minor units, negative to give back less.
    """

    items: tuple[tuple[str, int], ...]
    returned: tuple[str, ...]
    shipping: int | None
    adjustment: int
    currency: str


_Answer = TypeVar("_Answer")


# ---------------------------------------------------------------------------------------------------------------------
# The connector


@dataclass(frozen=True, slots=True)
class Magento:
    """One shop. `prefix`: what stands before `/V1` in every path.

    A payment's reference is its invoice's id (`12+15` where one payment at the provider stands behind several invoices), or
    `order:<id>` while nothing is invoiced.
    """

    spec: ClassVar[Spec] = SPEC
    http: Http
    prefix: str = "/rest"

    def check(self) -> Health:
        response = self._send(check_request())
        match response.status, response.json:
            case 200, {"items": list(), "total_count": int()}:
                return Health(True, f"the integration is accepted; schema {SPEC.api_version}")
            case _:
                return Health(False, read_failure(response).reason)

    def read_order(self, ref: OrderRef) -> OrderFacts | NotFound | NoAnswer:
        """One call by id, two by number; one more where something is invoiced."""
        order_id = ref.order_id
        if not order_id:
            if not ref.number:
                return Permanent("no_reference", "neither an order id nor an order number was given")
            number = ref.number.strip().removeprefix("#")
            match read_number(self._send(number_request(number)), number):
                case str(order_id):
                    pass
                case no:
                    return no
        order = self._order(order_id)
        if not isinstance(order, Order):
            return order
        invoices = self._invoices(order)
        return order_facts(order, invoices) if isinstance(invoices, tuple) else invoices

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """From the rows as they are now; shipping is not in it. One call."""
        match self._order(order.order_id):
            case Order() as current:
                return quote(current, lines)
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return no

    # ------------------------------------------------------------ cancelling

    def cancel_order(self, command: CancelOrder) -> Outcome:
        """Reads, marks the order with our step, cancels, and reads again: only the state is a proof."""
        order = self._order(command.order_id)
        match order:
            case Order():
                pass
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return before_the_write(no)
        if order.state == "canceled":
            return judge_cancel(order, command.step_key)
        if (refusal := refuse_cancel(order)) is not None:
            return refusal
        is_marked = is_marked_for(order, command.step_key)
        if not is_marked and (trouble := self._comment(order, cancel_mark(command))) is not None:
            return trouble
        return self._settle_cancel(self._send(cancel_request(command)), command)

    def _settle_cancel(self, response: Response, command: CancelOrder) -> Outcome:
        is_no = False
        match response.status, response.json:
            case 401 | 403 | 429, _:
                return read_failure(response)
            case 404, {"message": str()}:
                return read_failure(response)
            case 200, bool(is_told_done):
                is_no = not is_told_done
                told = f"the cancel answered {str(is_told_done).lower()}"
            case 400, {"message": str()}:
                is_no = True
                told = f"the cancel was refused: {error_text(response.json)}"
            case status, _:
                told = f"the cancel was not answered clearly (status {status})"
        match look_after(lambda: self._order(command.order_id)):
            case Order(state="canceled", order_id=order_id) if response.json is True:
                return Done(order_id, "the cancel was confirmed, and the order is cancelled")
            case Order(state="canceled", order_id=order_id) if response.json is False:
                return AlreadyDone(order_id, "cancelled by somebody else in the same moment")
            case Order(state="canceled") as order:
                return judge_cancel(order, command.step_key)
            case Order() as order if any(row.canceled for row in order.rows):
                return partly_cancelled(order)
            case Order() as order if is_no:
                why = state_refusal(order) or "no reason is given"
                return Permanent("not_cancelled", f"{told}, and the order is {order.state}: {why}")
            case Order(state=state):
                return Unknown(f"{told}, and the order is still {state}")
            case no:
                return Unknown(f"{told}, and the order could not be read: {no.reason}")

    def find_cancel_order(self, command: CancelOrder) -> Found:
        """One call."""
        match self._order(command.order_id):
            case Order(state="canceled") as order:
                return judge_cancel(order, command.step_key)
            case Order(is_taken_back=True, order_id=order_id):
                return AlreadyDone(order_id, "closed: everything was refunded before anything was shipped")
            case Order() as order if any(row.canceled for row in order.rows):
                return partly_cancelled(order)
            case Order(order_id=order_id, state=state):
                return NotFound(SETTLED_S, f"order {order_id} is {state}")
            case NotFound(reason=reason):
                return Unknown(f"could not look: {reason}")
            case no:
                return not_seen(no)

    # ------------------------------------------------------------ stock

    def restock(self, command: Restock) -> Outcome:
        """Only looks: a cancel or a credit memo puts units back, and nothing else here does."""
        match self.find_restock(command):
            case NotFound(reason=reason):
                return Permanent(
                    "restock_unproven",
                    f"{reason}: compare the stock in the admin, then resolve this step",
                )
            case found:
                return found

    def find_restock(self, command: Restock) -> Found:
        """One call; one or two more where a credit memo carried it."""
        if not command.carried_by:
            return Permanent(
                "no_call",
                "Magento puts units back with a cancel or a credit memo only: correct the stock in the admin",
            )
        match self._order(command.order_id):
            case Order(state="canceled") as order:
                return Done(
                    order.order_id, "the order is cancelled, which ends what was reserved for its units"
                )
            case Order() as order:
                pass
            case NotFound(reason=reason):
                return Unknown(f"could not look: {reason}")
            case no:
                return not_seen(no)
        memos = self._memos(order.order_id, "magento.find_restock")
        if not isinstance(memos, tuple):
            return not_seen(memos)
        ours = [memo for memo in memos if command.carried_by in memo.step_keys]
        return judge_restock(ours, command)

    # ------------------------------------------------------------ money

    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts | NotFound | NoAnswer:
        """Up to three calls; one more where the order's id is not known."""
        match read_reference(payment_reference):
            case None:
                return _unknown_reference(payment_reference)
            case OrderReference(order_id=named):
                order_id = named
            case (first, *_) if not order_id:
                match read_invoice_order(self._send(invoice_request(first)), first):
                    case str(order_id):
                        pass
                    case no:
                        return no
            case _:
                pass
        order = self._order(order_id)
        if not isinstance(order, Order):
            return order
        invoices = self._invoices(order)
        if not isinstance(invoices, tuple):
            return invoices
        memos = self._memos(order_id, "magento.read_payment") if order.is_begun else ()
        if not isinstance(memos, tuple):
            return memos
        return payment_facts(order, invoices, memos, payment_reference)

    def refund(self, command: Refund) -> Outcome:
        """Looks, marks the order, looks again, asks for the money and reads the credit memo: up to seven calls."""
        match read_reference(command.payment_reference):
            case None:
                return _unknown_reference(command.payment_reference)
            case OrderReference():
                return Permanent("not_invoiced", "nothing was invoiced, so there is nothing to give back")
            case [invoice_id]:
                return self._write_memo(command, invoice_id)
            case _:
                return Permanent("several_invoices", _SEVERAL)

    def find_refund(self, command: Refund) -> Found:
        """Our credit memo proves it; our mark without one means that the gateway may have paid: a person asks it."""
        if read_reference(command.payment_reference) is None:
            return _unknown_reference(command.payment_reference)
        found = self._find_memo(command)
        if not isinstance(found, NotFound):
            return found
        match self._order(command.order_id):
            case Order() as order if has_intent(order, command):
                return NotFound(
                    None,
                    f"the refund was asked for and order {order.number} has no credit memo with our reference: it may have been "
                    f"paid all the same. Look for a refund of {command.amount} at the gateway; if there is one, write an "
                    "offline credit memo",
                )
            case Order() as order:
                return elsewhere(order, command.amount) or NotFound(
                    SETTLED_S, "no credit memo and no mark of ours: the money was never asked for"
                )
            case NotFound(reason=reason):
                return Unknown(f"could not look: {reason}")
            case no:
                return not_seen(no)

    def record_order_refund(self, command: RecordOrderRefund) -> Outcome:
        """An offline credit memo: no gateway is asked. Calls as in `refund`."""
        return self._write_memo(command, "")

    def find_record_order_refund(self, command: RecordOrderRefund) -> Found:
        """One call per 100 credit memos of the order."""
        return self._find_memo(command)

    def _write_memo(self, command: Refund | RecordOrderRefund, invoice_id: str) -> Outcome:
        """`invoice_id`: empty for an offline credit memo. What comes before the call for the memo moves nothing, so whatever goes
        wrong there may be tried again.
        """
        order = nothing_sent(lambda: self._order(command.order_id))
        match order:
            case Order():
                pass
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return no
        is_looked = is_marked_for(order, command.step_key)
        if is_looked and (there := self._look_before(command)) is not None:
            return there
        invoices = nothing_sent(lambda: self._invoices(order))
        if not isinstance(invoices, tuple):
            return invoices
        draft = draft_memo(order, invoices, command, invoice_id)
        if not isinstance(draft, Draft):
            return draft
        if not has_intent(order, command):
            if (trouble := self._comment(order, intent_mark(command))) is not None:
                return trouble
            # A worker that was taken for dead may have come this far as well: whoever looks after marking sees the other.
            if (there := self._look_before(command)) is not None:
                return there
        response = self._send(memo_request(command, draft, invoice_id))
        match read_memo_id(response):
            case str(memo_id):
                return self._read_back(memo_id, command)
            case Refusal(reason=reason):
                return self._settle_refusal(command, reason)
            case Retryable() | Permanent() as no:
                return no
            case Unknown(reason=reason):
                found = look_after(lambda: self._find_memo(command))
                return found if isinstance(found, Done | Permanent | Pending) else Unknown(reason)

    def _look_before(self, command: Refund | RecordOrderRefund) -> Outcome | None:
        """The look before the call; None where there is no credit memo of ours."""
        memos = nothing_sent(lambda: self._memos(command.order_id, _FIND[type(command)]))
        if not isinstance(memos, tuple):
            return memos
        ours = [memo for memo in memos if command.step_key in memo.step_keys]
        return look_after(lambda: self._judge(ours, command)) if ours else None

    def _read_back(self, memo_id: str, command: Refund | RecordOrderRefund) -> Outcome:
        match look_after(lambda: read_memo(self._send(memo_by_id_request(memo_id)), command.amount.currency)):
            case Memo(order_id=command.order_id) as memo:
                judged = look_after(lambda: self._judge([memo], command))
                return judged if isinstance(judged, Done | Permanent | Pending) else Pending(memo_id, 5.0)
            case Memo() as memo:
                return Permanent("wrong_order", f"credit memo {memo_id} belongs to order {memo.order_id}")
            case _:
                # It was made; what it says is read again later.
                return Pending(memo_id, 5.0)

    def _settle_refusal(self, command: Refund | RecordOrderRefund, reason: str) -> Outcome:
        """A refusal before anything was done. It is also what is said where the thing was done already: the look decides."""
        match look_after(lambda: self._find_memo(command)):
            case NotFound():
                pass
            case Retryable(reason=trouble) | Unknown(reason=trouble):
                return Unknown(
                    f"refused ({reason}), and the look did not tell whether it is there: {trouble}"
                )
            case found:
                return found
        match look_after(lambda: self._order(command.order_id)):
            case Order() as order if (other := elsewhere(order, command.amount)) is not None:
                return other
            case _:
                return Permanent("validation", reason)

    def _find_memo(self, command: Refund | RecordOrderRefund) -> Found:
        """The credit memo that carries our step key, judged."""
        if not is_id(command.order_id):
            return _bad_order_id(command.order_id)
        memos = self._memos(command.order_id, _FIND[type(command)])
        if not isinstance(memos, tuple):
            return not_seen(memos)
        ours = [memo for memo in memos if command.step_key in memo.step_keys]
        return self._judge(ours, command) if ours else NotFound(SETTLED_S, "no credit memo has our reference")

    def _judge(self, ours: list[Memo], command: Refund | RecordOrderRefund) -> Outcome:
        """An online credit memo names the gateway's transaction; of one that does not, the order knows whether money moved."""
        judged = judge_memos(ours, command)
        if not isinstance(judged, Done) or isinstance(command, RecordOrderRefund) or ours[0].transaction:
            return judged
        match self._order(command.order_id):
            case Order(refunded_online=moved) if moved >= command.amount.minor:
                return judged
            case Order():
                return Permanent(
                    "booked_offline",
                    f"credit memo {judged.reference} was booked offline: no money moved. Pay {command.amount} at the gateway",
                )
            case _:
                return Unknown(f"whether credit memo {judged.reference} moved money could not be read")

    # ------------------------------------------------------------ news

    def poll(self, cursor: str, now: datetime) -> Polled | NoAnswer:
        """Orders that are cancelled, or have refunds, by the time of their last change. One call."""
        place = read_cursor(cursor, now)
        return read_changes(self._send(changes_request(place)), place, now)

    # ------------------------------------------------------------ reads

    def _send(self, request: Request) -> Response:
        return self.http.send(replace(request, path=self.prefix + request.path))

    def _order(self, order_id: str) -> Order | NotFound | NoAnswer:
        if not is_id(order_id):
            return _bad_order_id(order_id)
        return read_order(self._send(order_request(order_id)), order_id)

    def _invoices(self, order: Order) -> tuple[Invoice, ...] | NoAnswer:
        """All invoices of an order; no call where nothing was invoiced."""
        if not order.is_begun:
            return ()
        listed = self._all("/V1/invoices", "magento.list_invoices", order.order_id)
        return read_invoices(listed, order) if isinstance(listed, list) else listed

    def _memos(self, order_id: str, operation: str) -> tuple[Memo, ...] | NoAnswer:
        """All credit memos of an order. One whose comments are not told in the list is read by itself."""
        listed = self._all("/V1/creditmemos", operation, order_id)
        if not isinstance(listed, list):
            return listed
        memos: list[Memo] = []
        for value in listed:
            told: Memo | NoAnswer = read_memo_value(value)
            if isinstance(told, Memo) and not told.has_comments:
                told = read_memo(self._send(memo_by_id_request(told.memo_id)), told.amount.currency)
            if not isinstance(told, Memo):
                return told
            memos.append(told)
        return tuple(memos)

    def _all(self, path: str, operation: str, order_id: str) -> list[Any] | NoAnswer:
        """Every object of an order's list, or why it could not be had whole."""
        objects: list[Any] = []
        for number in range(1, _MOST_PAGES + 1):
            page = read_page(self._send(page_request(path, operation, order_id, number)))
            if not isinstance(page, Page):
                return page
            objects += page.items
            if len(objects) >= page.total:
                return objects
        return Unknown(f"{path} of order {order_id} goes on after {_MOST_PAGES} pages")

    def _comment(self, order: Order, text: str) -> Retryable | Permanent | None:
        """Writes a comment on the order; None where it stands. It changes nothing else, so anything else may be tried again."""
        response = nothing_sent(lambda: self._send(comment_request(order, text)))
        match response:
            case Retryable():
                return response
            case Response(status=200, json=True):
                return None
            case Response(status=401 | 403 | 429):
                return before_the_write(read_failure(response))
            case _:
                return Retryable("unavailable", f"our mark was not taken: {read_failure(response).reason}")


def is_id(text: str) -> bool:
    """Whether a text is an id of Magento's, and nothing else that would do something in a path."""
    return re.fullmatch(r"[1-9][0-9]{0,17}", text, re.ASCII) is not None


def _bad_order_id(order_id: str) -> Permanent:
    return Permanent("unknown_reference", f"{order_id!r:.60} is no order id of Magento (digits)")


def _unknown_reference(reference: str) -> Permanent:
    return Permanent("unknown_reference", f"{reference!r:.60} is no payment of Magento (an invoice's id)")


@dataclass(frozen=True, slots=True)
class OrderReference:
    """The payment of an order that has no invoice."""

    order_id: str


def read_reference(reference: str) -> tuple[str, ...] | OrderReference | None:
    """The invoices that a payment's reference names, or its order; None for anything else."""
    head, colon, rest = reference.partition(":")
    if colon:
        return OrderReference(rest) if head == "order" and is_id(rest) else None
    parts = tuple(reference.split("+"))
    return parts if all(is_id(part) for part in parts) else None


def look_after(look: Callable[[], _Answer]) -> _Answer | Unknown:
    """A look within a call that was sent. Trouble on the wire of the look must not be told as trouble of the call: "not
    sent" would be taken for "nothing happened".
    """
    try:
        return look()
    except TransportError as error:
        return Unknown(f"could not look: {error.args[0]}")


def nothing_sent(call: Callable[[], _Answer]) -> _Answer | Retryable:
    """A call that comes before the one with an effect: if its answer is lost or cannot be read, the effect was certainly not
    asked for.
    """
    try:
        answer = call()
    except MaybeSentError as error:
        return Retryable("unavailable", f"no answer to a call before the effect: {error.reason}")
    return Retryable("unavailable", answer.reason) if isinstance(answer, Unknown) else answer


def before_the_write(no: NoAnswer) -> Retryable | Permanent:
    return Retryable("unavailable", no.reason) if isinstance(no, Unknown) else no


# ---------------------------------------------------------------------------------------------------------------------
# Our marks

#: The beginning of everything that we write at Magento, before the step's key.
_OURS: Final = "refundflow"
_KEYS: Final = re.compile(rf"(?<!\S){_OURS} (\S+)")
_INTENTS: Final = re.compile(rf"(?<!\S){_OURS} (\S+) credit memo (\S+) of ([0-9.]+) ([A-Z]{{3}})(?!\S)")


def cancel_mark(command: CancelOrder) -> str:
    return f"{_OURS} {command.step_key} cancel"


def intent_mark(command: Refund | RecordOrderRefund) -> str:
    """What stands on the order before a credit memo is asked for. With the wire's key, because a new one is made only after a
    definite no: the mark of the old one then says nothing any more.
    """
    return f"{_OURS} {command.step_key} credit memo {command.key} of {command.amount}"


def memo_comment(command: Refund | RecordOrderRefund) -> str:
    paid_as = command.refund_references if isinstance(command, RecordOrderRefund) else ""
    return f"{_OURS} {command.step_key}" + (f" paid back as {paid_as}" if paid_as else "")


def step_keys_in(comments: Iterable[str]) -> tuple[str, ...]:
    return tuple(key for comment in comments for key in _KEYS.findall(comment))


def has_intent(order: Order, command: Refund | RecordOrderRefund) -> bool:
    return any(key == command.key for comment in order.comments for _, key, _, _ in _INTENTS.findall(comment))


def is_marked_for(order: Order, step_key: str) -> bool:
    return step_key in step_keys_in(order.comments)


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def check_request() -> Request:
    return Request("GET", "/V1/orders", "magento.check", params=_criteria((), size=1), total_s=_SHORT_S)


def order_request(order_id: str) -> Request:
    return Request("GET", f"/V1/orders/{order_id}", "magento.read_order", total_s=_SHORT_S)


def number_request(number: str) -> Request:
    """Two would be too many already."""
    params = _criteria(((("increment_id", "eq", number),),), size=2)
    return Request("GET", "/V1/orders", "magento.find_order", params=params, total_s=_SHORT_S)


def invoice_request(invoice_id: str) -> Request:
    return Request("GET", f"/V1/invoices/{invoice_id}", "magento.read_invoice", total_s=_SHORT_S)


def memo_by_id_request(memo_id: str) -> Request:
    return Request("GET", f"/V1/creditmemo/{memo_id}", "magento.read_creditmemo", total_s=_SHORT_S)


def page_request(path: str, operation: str, order_id: str, number: int) -> Request:
    params = _criteria(((("order_id", "eq", order_id),),), sort=("entity_id",), page=number)
    return Request("GET", path, operation, params=params, total_s=_SHORT_S)


def cancel_request(command: CancelOrder) -> Request:
    return Request("POST", f"/V1/orders/{command.order_id}/cancel", "magento.cancel_order")


def comment_request(order: Order, text: str) -> Request:
    history: dict[str, Any] = {
        "comment": text,
        "is_customer_notified": 0,
        "is_visible_on_front": 0,
        "parent_id": int(order.order_id),
    }
    if order.status:
        history["status"] = order.status
    return Request(
        "POST",
        f"/V1/orders/{order.order_id}/comments",
        "magento.mark_order",
        json={"statusHistory": history},
        total_s=_SHORT_S,
    )


def memo_request(command: Refund | RecordOrderRefund, draft: Draft, invoice_id: str) -> Request:
    """With an invoice the gateway is asked for the money, without one nothing is."""

    def major(minor: int) -> Decimal:
        return Decimal(minor).scaleb(-exponent_of(draft.currency))

    arguments: dict[str, Any] = {
        "adjustment_positive": major(max(0, draft.adjustment)),
        "adjustment_negative": major(max(0, -draft.adjustment)),
    }
    if draft.shipping is not None:
        arguments["shipping_amount"] = major(draft.shipping)
    if draft.returned:
        arguments["extension_attributes"] = {
            "return_to_stock_items": [int(line_id) for line_id in draft.returned]
        }
    body: dict[str, Any] = {
        "items": [{"order_item_id": int(line_id), "qty": quantity} for line_id, quantity in draft.items],
        "notify": False,
        "appendComment": True,
        "comment": {"comment": memo_comment(command), "is_visible_on_front": 0},
        "arguments": arguments,
    }
    if isinstance(command, RecordOrderRefund):
        return Request(
            "POST", f"/V1/order/{command.order_id}/refund", "magento.record_order_refund", json=body
        )
    return Request(
        "POST", f"/V1/invoice/{invoice_id}/refund", "magento.refund", json={"isOnline": True, **body}
    )


#: A filter: field, condition, value. Those of a group are alternatives, and every group must be met.
Filter = tuple[str, str, str]


def _criteria(
    groups: Iterable[tuple[Filter, ...]], *, sort: Iterable[str] = (), size: int = _PAGE, page: int = 1
) -> list[tuple[str, str]]:
    head = "searchCriteria"
    params: list[tuple[str, str]] = []
    for g, group in enumerate(groups):
        for f, (name, condition, value) in enumerate(group):
            place = f"{head}[filterGroups][{g}][filters][{f}]"
            params += [
                (f"{place}[field]", name),
                (f"{place}[value]", value),
                (f"{place}[conditionType]", condition),
            ]
    for s, name in enumerate(sort):
        place = f"{head}[sortOrders][{s}]"
        params += [(f"{place}[field]", name), (f"{place}[direction]", "ASC")]
    return [*params, (f"{head}[pageSize]", str(size)), (f"{head}[currentPage]", str(page))]


# ---------------------------------------------------------------------------------------------------------------------
# Reading what Magento shows


class _OddError(ValueError):
    """An object that cannot be taken as it is. `outcome`: what that means for whoever asked."""

    def __init__(self, outcome: Permanent | Unknown) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def read_order(response: Response, order_id: str) -> Order | NotFound | NoAnswer:
    match response.status, response.json:
        case 200, {"entity_id": int(entity_id)} as value if str(entity_id) == order_id:
            return read_order_value(value)
        case 404, {"message": str()} if not is_no_route(response):
            return NotFound(reason=f"Magento has no order with id {order_id}")
        case _:
            return read_failure(response, is_read=True)


def read_order_value(value: Mapping[str, Any]) -> Order | Permanent | Unknown:
    try:
        return _order_of(value)
    except _OddError as odd:
        return odd.outcome


def _order_of(value: Mapping[str, Any]) -> Order:
    currency = _text(value, "order_currency_code")
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise _OddError(Unknown(f"the order's currency cannot be read: {currency!r:.20}"))
    number = _text(value, "increment_id")

    def minor(name: str, of: Mapping[str, Any] = value) -> int:
        return _minor(of, name, currency)

    payment = value.get("payment")
    payment = payment if isinstance(payment, Mapping) else {}
    items = value.get("items")
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise _OddError(Unknown(f"the lines of order {number} cannot be read"))
    rate = value.get("base_to_order_rate")
    is_one_to_one = _is_number(rate) and Decimal(rate or 0) == 1
    base = value.get("base_currency_code")
    names = (_text_or_empty(value, "customer_firstname"), _text_or_empty(value, "customer_lastname"))
    return Order(
        order_id=str(value["entity_id"]),
        number=number,
        state=_text(value, "state"),
        status=_text_or_empty(value, "status"),
        created_at=_time(value, "created_at"),
        updated_at=_time(value, "updated_at"),
        currency=currency,
        # Another currency at a rate of exactly one has the same numbers, where it has as many decimals.
        is_base=(base == currency and (rate is None or is_one_to_one))
        or (isinstance(base, str) and is_one_to_one and exponent_of(base) == exponent_of(currency)),
        email=_text_or_empty(value, "customer_email"),
        customer_name=" ".join(name for name in names if name),
        rows=tuple(_row(item, items, currency) for item in items if not _parent_of(item)),
        is_begun=any(_units(item, "qty_invoiced") for item in items) or minor("total_invoiced") > 0,
        total=minor("grand_total"),
        paid=minor("total_paid"),
        refunded=minor("total_refunded"),
        refunded_online=minor("total_online_refunded"),
        shipping=minor("shipping_amount"),
        shipping_tax=minor("shipping_tax_amount"),
        shipping_discount=minor("shipping_discount_amount")
        - minor("shipping_discount_tax_compensation_amount"),
        shipping_refunded=minor("shipping_refunded"),
        shipping_tax_refunded=minor("shipping_tax_refunded"),
        method=_text_or_empty(payment, "method"),
        last_transaction=_text_or_empty(payment, "last_trans_id"),
        authorised=minor("amount_authorized", payment),
        voided=minor("amount_canceled", payment),
        comments=_comments(value.get("status_histories")),
    )


#: What a row's price is made of beside `discount_amount`, which is taken off: the parts that Magento itself sums up.
_PARTS: Final = (
    "row_total",
    "tax_amount",
    "discount_tax_compensation_amount",
    "weee_tax_applied_row_amount",
)


def _row(item: Mapping[str, Any], items: list[Any], currency: str) -> Row:
    line_id = _id(item, "item_id")
    children = [each for each in items if _parent_of(each) == line_id]
    ordered = _units(item, "qty_ordered")
    shipped = max(_units(item, "qty_shipped"), *(_units(child, "qty_shipped") for child in children), 0)
    return Row(
        line_id=line_id,
        sku=_text(item, "sku"),
        title=_text_or_empty(item, "name"),
        kind=_text_or_empty(item, "product_type"),
        is_virtual=item.get("is_virtual") in (1, True)
        or item.get("product_type") in ("virtual", "downloadable"),
        ordered=ordered,
        invoiced=_units(item, "qty_invoiced"),
        shipped=min(shipped, ordered),
        canceled=_units(item, "qty_canceled"),
        refunded=_units(item, "qty_refunded"),
        amounts=(
            *(_minor(item, name, currency, is_rounded=True) for name in _PARTS),
            -_minor(item, "discount_amount", currency, is_rounded=True),
        ),
    )


def _parent_of(item: Mapping[str, Any]) -> str:
    parent = item.get("parent_item_id")
    return str(parent) if isinstance(parent, int) and parent else ""


def _comments(histories: Any) -> tuple[str, ...]:
    listed = histories if isinstance(histories, list) else []
    return tuple(
        each["comment"] for each in listed if isinstance(each, dict) and isinstance(each.get("comment"), str)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool) and Decimal(value).is_finite()


def _id(value: Mapping[str, Any], name: str) -> str:
    match value.get(name):
        case bool():
            pass
        case int(number) if number > 0:
            return str(number)
    raise _OddError(Unknown(f"{name} is no id: {value.get(name)!r:.40}"))


def _text(value: Mapping[str, Any], name: str) -> str:
    match value.get(name):
        case str(text) if text:
            return text
        case other:
            raise _OddError(Unknown(f"{name} is no text: {other!r:.40}"))


def _text_or_empty(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name)
    return text if isinstance(text, str) else ""


def _time(value: Mapping[str, Any], name: str) -> datetime:
    """Times are UTC and say nothing of it."""
    if (at := read_time(value.get(name))) is None:
        raise _OddError(Unknown(f"{name} is no time: {value.get(name)!r:.40}"))
    return at


def read_time(text: Any) -> datetime | None:
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", text, re.ASCII):
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None


def _units(value: Mapping[str, Any], name: str) -> int:
    """A quantity, absent where it is none. Raises a Permanent for a fraction: what is sold by weight is not counted in units."""
    number = value.get(name)
    if number is None:
        return 0
    if not _is_number(number) or number < 0 or number > 10**9:
        raise _OddError(Unknown(f"{name} is no quantity: {number!r:.40}"))
    if number != int(number):
        sku = value.get("sku")
        raise _OddError(
            Permanent(
                "fractional_quantity",
                f"{name} of {sku if isinstance(sku, str) else 'a line'!s:.60} is {number}: what is sold by weight or length a person "
                "must cancel and refund in the admin",
            )
        )
    return int(number)


def _minor(value: Mapping[str, Any], name: str, currency: str, *, is_rounded: bool = False) -> int:
    """An amount, absent where it is none. Magento keeps four decimals; a total that needs them is left to a person, a part of a
    row is rounded, as Magento does where it sums up.
    """
    number = value.get(name)
    if number is None:
        return 0
    if not _is_number(number) or abs(number) > 10**14:
        raise _OddError(Unknown(f"{name} is no amount: {number!r:.40}"))
    minor = Decimal(number).scaleb(exponent_of(currency))
    whole = minor.quantize(Decimal(1), ROUND_HALF_UP)
    # Sums of binary fractions come with a tail of noise, far behind the fourth decimal.
    if not is_rounded and abs(minor - whole) > Decimal("0.0001"):
        raise _OddError(Permanent("amount_unsupported", f"{name} is {number}, which {currency} cannot say"))
    return int(whole)


@dataclass(frozen=True, slots=True)
class Page:
    items: list[Any]
    total: int


def read_page(response: Response) -> Page | NoAnswer:
    match response.status, response.json:
        case 200, {"total_count": bool()}:
            return Unknown("the list's total cannot be read")
        case 200, {"items": list(items), "total_count": int(total)} if len(items) <= total:
            return Page(items, total) if items or not total else Unknown("the list is cut short")
        case 200, {"items": None, "total_count": 0}:
            return Page([], 0)
        case _:
            return read_failure(response, is_read=True)


def read_number(response: Response, number: str) -> str | NotFound | NoAnswer:
    """The id of the one order with that number."""
    page = read_page(response)
    if not isinstance(page, Page):
        return page
    if page.total > 1:
        return Permanent(
            "ambiguous", f"{page.total} orders have the number {number}: name the one that is meant by its id"
        )
    match page.items:
        case []:
            return NotFound(reason=f"Magento has no order with number {number}")
        case [{"increment_id": str(told), "entity_id": int(entity_id)}] if told == number:
            return str(entity_id)
        case [{"increment_id": str(told)}]:
            return NotFound(reason=f"Magento has no order with number {number}, only {told!r:.40}")
        case _:
            return Unknown("the found order cannot be read")


def read_invoice_order(response: Response, invoice_id: str) -> str | NotFound | NoAnswer:
    match response.status, response.json:
        case 200, {"entity_id": int(told), "order_id": int(order_id)} if str(told) == invoice_id:
            return str(order_id)
        case 404, {"message": str()} if not is_no_route(response):
            return NotFound(reason=f"Magento has no invoice with id {invoice_id}")
        case _:
            return read_failure(response, is_read=True)


def read_invoices(listed: list[Any], order: Order) -> tuple[Invoice, ...] | Permanent | Unknown:
    """Without the cancelled ones."""
    invoices: list[Invoice] = []
    for value in listed:
        match value:
            case {"entity_id": int(), "state": int(state)} if state in (1, 2, 3):
                pass
            case _:
                return Unknown(f"an invoice of order {order.number} cannot be read")
        if value.get("order_currency_code", order.currency) != order.currency:
            return Unknown("an invoice is in another currency than its order")
        try:
            invoice = Invoice(
                _id(value, "entity_id"),
                state == 2,
                _minor(value, "grand_total", order.currency),
                _text_or_empty(value, "transaction_id"),
            )
        except _OddError as odd:
            return odd.outcome
        if state != 3:
            invoices.append(invoice)
    return tuple(invoices)


def read_memo(response: Response, currency: str) -> Memo | NoAnswer:
    match response.status, response.json:
        case 200, {"entity_id": int()} as value:
            return read_memo_value(value, currency)
        case _:
            return read_failure(response, is_read=True)


_MEMO_STATES: Final = {1: RefundStatus.PENDING, 2: RefundStatus.SUCCEEDED, 3: RefundStatus.FAILED}


def read_memo_value(value: Any, currency: str = "") -> Memo | Permanent | Unknown:
    """`currency`: believed where the memo does not tell its own."""
    if not isinstance(value, dict):
        return Unknown("a credit memo cannot be read")
    try:
        currency = _text(value, "order_currency_code") if "order_currency_code" in value else currency
        if not re.fullmatch(r"[A-Z]{3}", currency):
            return Unknown("a credit memo's currency cannot be read")
        units: dict[str, int] = {}
        for item in value.get("items") or ():
            if isinstance(item, dict) and item.get("order_item_id") is not None:
                line_id = _id(item, "order_item_id")
                units[line_id] = units.get(line_id, 0) + _units(item, "qty")
        state = value.get("state")
        return Memo(
            memo_id=_id(value, "entity_id"),
            order_id=_id(value, "order_id"),
            amount=Money(_minor(value, "grand_total", currency), currency),
            status=_MEMO_STATES.get(state) if isinstance(state, int) else None,
            transaction=_text_or_empty(value, "transaction_id"),
            units=units,
            step_keys=step_keys_in(_comments(value.get("comments"))),
            has_comments=isinstance(value.get("comments"), list),
        )
    except _OddError as odd:
        return odd.outcome


# ---------------------------------------------------------------------------------------------------------------------
# Facts


def order_facts(order: Order, invoices: tuple[Invoice, ...]) -> OrderFacts:
    is_cancelled = order.state == "canceled" or order.is_taken_back
    is_refundable = order.state not in _UNREFUNDABLE and order.paid > order.refunded
    return OrderFacts(
        platform=SPEC.platform,
        order_id=order.order_id,
        number=order.number,
        created_at=order.created_at,
        currency=order.currency,
        total=order.money(order.total),
        email=order.email,
        lines=tuple(_line(row, order) for row in order.rows),
        payments=_payments(order, invoices),
        # When exactly is not told; the last change is the nearest that is.
        cancelled_at=order.updated_at if is_cancelled else None,
        customer_name=order.customer_name,
        cancels=TakesBack.REFUND if order.is_begun else TakesBack.CALL,
        cancels_lines=TakesBack.REFUND if order.is_begun else TakesBack.PERSON,
        cancel_refusal="" if is_cancelled else cancel_refusal(order, invoices),
        is_restock_carried=True,
        # A credit memo needs an invoice with money left on it.
        records_refunds=order.is_begun and (is_refundable or order.state == "holded"),
        releases_authorisations=True,
    )


def _line(row: Row, order: Order) -> OrderLine:
    unshipped = max(0, min(row.left, row.ordered - row.shipped - row.refunded - row.canceled))
    if row.is_virtual and row.invoiced and not _waits_for_shipping(order):
        unshipped = 0  # nothing will be shipped: it was handed over when it was paid
    unit = row.total // row.ordered if row.ordered else 0
    return OrderLine(
        row.line_id, row.sku, row.title, row.left, unshipped, row.left, order.money(max(0, unit))
    )


def _waits_for_shipping(order: Order) -> bool:
    return any(row.left > row.shipped for row in order.rows if not row.is_virtual)


def _payments(order: Order, invoices: tuple[Invoice, ...]) -> tuple[OrderPayment, ...]:
    """One a payment at the provider: invoices that share a transaction are one. Before the first invoice, what is authorised;
    nothing where nothing was (a transfer that did not arrive).
    """
    paid = [invoice for invoice in invoices if invoice.is_paid and invoice.total > 0]
    groups: dict[str, list[Invoice]] = {}
    for invoice in paid:
        groups.setdefault(provider_reference(invoice.transaction), []).append(invoice)
    if paid:
        return tuple(
            OrderPayment(
                "+".join(invoice.invoice_id for invoice in group),
                order.method,
                reference,
                is_captured=True,
                amount=order.money(sum(invoice.total for invoice in group)),
            )
            for reference, group in groups.items()
        )
    held = order.authorised - order.voided
    if held <= 0 or order.state in ("canceled", "closed"):
        return ()
    return (
        OrderPayment(
            f"order:{order.order_id}",
            order.method,
            provider_reference(order.last_transaction),
            is_captured=False,
            amount=order.money(held),
        ),
    )


def provider_reference(transaction: str) -> str:
    """A transaction's id without what Magento appends for what was done with it (`…-capture`, `…-refund-2`)."""
    return re.split(r"-(?:authorization|capture|order|refund|void)\b", transaction)[0]


_UNREFUNDABLE: Final = ("canceled", "closed", "holded", "payment_review")

_SEVERAL: Final = "the order has several invoices, and Magento refunds each by itself: refund them in the admin, invoice by invoice"

#: Why an order in that state is not touched, in words for people. A state that is new to us is not touched either.
_STATE_REFUSALS: Final = {
    "new": "",
    "pending_payment": "",
    "processing": "",
    "holded": "it is on hold; release it in the admin first",
    "payment_review": "its payment is under review at the gateway; accept or deny it in the admin first",
    "complete": "it is complete; whether the goods come back a person says",
    "closed": "it is closed",
    "canceled": "it is cancelled",
}


def state_refusal(order: Order) -> str:
    return _STATE_REFUSALS.get(
        order.state, f"it is in the state {order.state!r:.40}, which is not known here"
    )


def cancel_refusal(order: Order, invoices: tuple[Invoice, ...]) -> str:
    """Why the order would not be taken back as it stands; empty where it would."""
    if refusal := state_refusal(order):
        return refusal
    if not order.is_begun:
        return "" if any(row.to_invoice for row in order.rows) else "nothing of it is left to cancel"
    if any(row.to_invoice for row in order.rows):
        return (
            "a part of it is invoiced and a part is not: cancel the rest in the admin (it keeps the invoiced part), or invoice it; "
            "then the invoiced units can be refunded"
        )
    if any(not invoice.is_paid for invoice in invoices):
        return "it has an invoice that is not paid: cancel that one in the admin first"
    if any(row.is_virtual and row.invoiced and row.left for row in order.rows):
        skus = ", ".join(row.sku for row in order.rows if row.is_virtual and row.invoiced and row.left)
        return f"{skus} is nothing that is shipped and was paid: whether it was handed over or used, a person says"
    return memo_refusal(order)


def memo_refusal(order: Order) -> str:
    """Why no credit memo of ours could say the right amount; empty where one can."""
    if not order.is_base:
        return f"it is in {order.currency}, which is not the shop's base currency, and Magento takes amounts in that"
    if any(row.kind == "bundle" for row in order.rows):
        return "it has a bundle, whose parts a person must choose in the admin"
    rows = sum(row.total for row in order.rows)
    shipping = order.shipping + order.shipping_tax - order.shipping_discount
    if rows + shipping != order.total:
        return (
            f"its total of {order.money(order.total)} is not the sum of its lines and its shipping "
            f"({order.money(rows + shipping)}): a fee, a gift card or store credit is in it"
        )
    if order.shipping_refunded and order.shipping_discount:
        return "a part of its discounted shipping was given back before"
    return ""


def quote(order: Order, lines: tuple[LineQuantity, ...]) -> Money | Permanent:
    rows = {row.line_id: row for row in order.rows}
    minor = 0
    for line in lines:
        row = rows.get(line.line_id)
        if row is None or not 0 < line.quantity <= row.left:
            return Permanent(
                "unknown_units",
                f"order {order.number} has no {line.quantity} units of line {line.line_id!r:.40}",
            )
        minor += row.worth(line.quantity)
    return order.money(minor)


def payment_facts(
    order: Order, invoices: tuple[Invoice, ...], memos: tuple[Memo, ...], reference: str
) -> PaymentFacts | NotFound | NoAnswer:
    """Every credit memo of the order counts against its payment, whoever wrote it and whether or not it was paid online."""
    nothing = order.money(0)
    paid = [invoice for invoice in invoices if invoice.is_paid]
    match read_reference(reference):
        case OrderReference():
            if paid:
                return Retryable(
                    "unavailable", f"order {order.number} was invoiced just now: read it again", 5.0
                )
            return _uncaptured(order, reference)
        case tuple(wanted):
            mine = [invoice for invoice in paid if invoice.invoice_id in wanted]
            if len(mine) < len(wanted):
                return NotFound(reason=f"order {order.number} has no paid invoice {reference}")
        case None:
            return _unknown_reference(reference)
    if any(memo.amount.currency != order.currency for memo in memos):
        return Unknown("a credit memo is in another currency than its order")
    return PaymentFacts(
        platform=SPEC.platform,
        reference=reference,
        state=PaymentState.CAPTURED,
        authorised=nothing,
        captured=order.money(sum(invoice.total for invoice in mine)),
        refunds=tuple(
            RefundFact(
                memo.memo_id,
                memo.amount,
                memo.status or RefundStatus.PENDING,
                next((key for key in memo.step_keys), ""),
            )
            for memo in memos
        ),
        gateway=order.method,
        order_number=order.number,
        refund_refusal=refund_refusal(order, paid),
    )


def _uncaptured(order: Order, reference: str) -> PaymentFacts:
    nothing = order.money(0)
    held = max(0, order.authorised - order.voided)
    match order.state:
        case "canceled" | "closed":
            state = PaymentState.VOIDED if order.authorised else PaymentState.NOT_PAID
        case _:
            state = PaymentState.AUTHORISED if held else PaymentState.NOT_PAID
    return PaymentFacts(
        platform=SPEC.platform,
        reference=reference,
        state=state,
        authorised=order.money(held) if state is PaymentState.AUTHORISED else nothing,
        captured=nothing,
        gateway=order.method,
        order_number=order.number,
    )


def refund_refusal(order: Order, paid: list[Invoice]) -> str:
    """Why Magento would not return money of this order for us; empty where it would."""
    if len(paid) > 1:
        return _SEVERAL
    if paid and not paid[0].transaction:
        return f"it was paid by {order.method or 'a way'} that has no transaction at a gateway: pay it back by hand"
    return memo_refusal(order)


# ---------------------------------------------------------------------------------------------------------------------
# What a credit memo shall say


def draft_memo(
    order: Order, invoices: tuple[Invoice, ...], command: Refund | RecordOrderRefund, invoice_id: str
) -> Draft | Permanent:
    """The document whose total is the amount: units and shipping as they are worth, and an adjustment for the difference."""
    if (refusal := refuse_memo(order, invoices, command, invoice_id)) is not None:
        return refusal
    rows = {row.line_id: row for row in order.rows}
    units: dict[str, int] = {}
    if command.takes_out:
        for line in command.lines:
            units[line.line_id] = units.get(line.line_id, 0) + line.quantity
    for line_id, quantity in units.items():
        row = rows.get(line_id)
        if row is None:
            return Permanent("unknown_units", f"order {order.number} has no line {line_id!r:.40}")
        if not 0 < quantity <= row.to_refund:
            return Permanent(
                "not_invoiced",
                f"{quantity} of {row.sku} were to be taken out, and {row.to_refund} are invoiced and not refunded yet",
            )
    if not units and order.shipping <= order.shipping_refunded:
        return Permanent(
            "no_products",
            f"Magento gives back money alone only while shipping is left to refund: refund {command.amount} of order "
            f"{order.number} in the admin, with the units that it is for",
        )
    with_shipping = command.is_whole and bool(units)
    worth = sum(rows[line_id].worth(quantity) for line_id, quantity in units.items())
    shipping: int | None = 0
    if with_shipping:
        worth += order.shipping_left
        is_taxed = order.shipping_tax != order.shipping_tax_refunded
        shipping = None if is_taxed else order.shipping - order.shipping_refunded
    items = tuple(units.items()) or tuple((row.line_id, 0) for row in order.rows if row.to_refund)
    returned = tuple(line_id for line_id in units if command.restock and not rows[line_id].is_virtual)
    return Draft(items, returned, shipping, command.amount.minor - worth, order.currency)


def refuse_memo(
    order: Order, invoices: tuple[Invoice, ...], command: Refund | RecordOrderRefund, invoice_id: str
) -> Permanent | None:
    """Why the credit memo is not even asked for; None where it is."""
    paid = [invoice for invoice in invoices if invoice.is_paid]
    if command.amount.currency != order.currency:
        return Permanent(
            "amount_mismatch", f"{command.amount} were asked for, the order is in {order.currency}"
        )
    if command.amount.minor <= 0:
        return Permanent("amount_unsupported", f"{command.amount} cannot be given back")
    if (other := elsewhere(order, command.amount)) is not None:
        return other
    if order.paid < command.amount.minor:
        return Permanent(
            "amount_too_large", f"{command.amount} were asked for, {order.money(order.paid)} are paid"
        )
    if order.state in _UNREFUNDABLE or order.state not in _STATE_REFUSALS:
        return Permanent("wrong_state", f"order {order.number} takes no credit memo: {state_refusal(order)}")
    if not any(row.to_refund for row in order.rows):
        return Permanent("nothing_to_refund", f"no unit of order {order.number} is left to refund")
    if invoice_id and (refusal := refund_refusal(order, paid)):
        return Permanent("not_refundable", f"order {order.number} cannot be refunded: {refusal}")
    if invoice_id and invoice_id not in [invoice.invoice_id for invoice in paid]:
        return Permanent("not_found", f"order {order.number} has no paid invoice {invoice_id}")
    if refusal := memo_refusal(order):
        return Permanent("not_refundable", f"order {order.number} cannot be refunded: {refusal}")
    return None


def elsewhere(order: Order, amount: Money) -> Permanent | None:
    """Whether less than the amount is left, because others gave back, or wrote down, the rest."""
    left = order.paid - order.refunded
    if not order.refunded or left >= amount.minor:
        return None
    return Permanent(
        "refunded_elsewhere",
        f"{order.money(order.refunded)} of {order.money(order.paid)} are in other credit memos of order {order.number}: "
        f"{amount} are not left",
    )


# ---------------------------------------------------------------------------------------------------------------------
# Reading what became of an effect


def refuse_cancel(order: Order) -> Permanent | None:
    """Why the cancel is not even asked for; None where it is.

    Whether this platform owns the stock makes no difference: a cancel ends Magento's own reservation of the units, which nobody else can do, and
    leaves the quantities in its sources, which another system may own, as they are.
    """
    if order.is_begun:
        return Permanent(
            "invoiced",
            f"order {order.number} is invoiced: its units leave by a credit memo, and not by a cancel",
        )
    if refusal := cancel_refusal(order, ()):
        return Permanent("not_cancellable", f"order {order.number} cannot be cancelled: {refusal}")
    return None


def judge_cancel(order: Order, step_key: str) -> Done | AlreadyDone:
    """A cancelled order: by us, where our mark stands on it."""
    if is_marked_for(order, step_key):
        return Done(order.order_id, f"cancelled at {order.updated_at.isoformat()}; our mark is on the order")
    return AlreadyDone(
        order.order_id, f"cancelled by somebody else, last changed {order.updated_at.isoformat()}"
    )


def partly_cancelled(order: Order) -> Permanent:
    gone = ", ".join(f"{row.canceled} x {row.sku}" for row in order.rows if row.canceled)
    return Permanent(
        "partly_cancelled",
        f"only {gone} of order {order.number} are cancelled and the order is {order.state}: the rest was invoiced or shipped "
        "meanwhile; plan the case again, so that the invoiced part is refunded",
    )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Magento looked at the document and did nothing."""

    reason: str


#: How the one error begins that is said before anything is done (https://developer.adobe.com/commerce/webapi, and
#: Magento\Sales\Model\RefundInvoice, read 2026-11-25). "Could not save a Creditmemo" may come after the gateway has paid.
VALIDATION: Final = "Creditmemo Document Validation Error(s)"


def read_memo_id(response: Response) -> str | Refusal | Retryable | Permanent | Unknown:
    """The answer to a call for a credit memo: its id, or what the refusal is worth."""
    match response.status, response.json:
        case 200, bool():
            return Unknown("unreadable answer to the call for a credit memo")
        case 200, int() | str() as memo_id if is_id(str(memo_id)):
            return str(memo_id)
        case 400, {"message": str(message)} if message.startswith(VALIDATION):
            return Refusal(error_text(response.json))
        case 401 | 403 | 429, _:
            return read_failure(response)
        case 404, {"message": str()}:
            return read_failure(response)
        case status, _:
            return Unknown(f"no clear answer, status {status}: {error_text(response.json)}".rstrip(": "))


def judge_memos(ours: list[Memo], command: Refund | RecordOrderRefund) -> Outcome:
    """What the credit memos with our reference come to. Two of them are money sent twice; the comparison says so."""
    references = ", ".join(memo.memo_id for memo in ours)
    alive = [memo for memo in ours if memo.status is not RefundStatus.FAILED]
    if not alive:
        return Permanent("refund_failed", f"credit memo {references} is cancelled")
    if [memo.amount for memo in alive] != [command.amount]:
        given = " and ".join(str(memo.amount) for memo in alive)
        return Permanent(
            "amount_mismatch", f"asked for {command.amount}, credit memo {references} is over {given}"
        )
    match alive[0]:
        case Memo(status=RefundStatus.SUCCEEDED, memo_id=memo_id, transaction=transaction):
            return Done(memo_id, f"transaction {transaction}" if transaction else "")
        case Memo(status=RefundStatus.PENDING, memo_id=memo_id):
            return Pending(memo_id)
        case _:
            return Unknown(f"credit memo {references} is in a state that is not known here")


def judge_restock(ours: list[Memo], command: Restock) -> Outcome | NotFound:
    """The units that the credit memo took out are the ones that it was told to put back; Magento shows no more of it."""
    memos = [memo for memo in ours if memo.status is not RefundStatus.FAILED]
    if not memos:
        return NotFound(SETTLED_S, f"neither a cancel nor a credit memo of {command.carried_by} is there")
    taken: dict[str, int] = {}
    for memo in memos:
        for line_id, quantity in memo.units.items():
            taken[line_id] = taken.get(line_id, 0) + quantity
    missing = [line for line in command.lines if taken.get(line.line_id, 0) < line.quantity]
    references = ", ".join(memo.memo_id for memo in memos)
    if missing:
        told = ", ".join(f"{line.quantity} of line {line.line_id}" for line in missing)
        return Permanent(
            "not_restocked", f"credit memo {references} does not have {told}: correct the stock in the admin"
        )
    return Done(references, f"credit memo {references} has these units, and was told to put them back")


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def read_failure(response: Response, *, is_read: bool = False) -> Retryable | Permanent | Unknown:
    """An answer that is not the yes that was hoped for. `is_read`: nothing can have happened, so trouble over there may pass."""
    text = error_text(response.json)
    match response.status, response.json:
        case 401 | 403 as status, _:
            return Retryable(
                "unauthorised",
                f"Magento refuses our integration ({status}): check REFUNDFLOW_MAGENTO_… and its permissions. {text}".rstrip(),
            )
        case 400, {"message": str(message)} if "oauth" in message.lower():
            # Signatures are checked before anything else is done.
            return Retryable("unauthorised", f"Magento refuses the signature: {text}")
        case 429, _:
            return Retryable("throttled", "the shop is asked too often", response.retry_after_s)
        case status, _ if status >= 500 and is_read:
            return Retryable("unavailable", f"status {status}: {text}".rstrip(": "), response.retry_after_s)
        case 404, {"message": str()} if is_no_route(response):
            return Permanent("no_route", f"check REFUNDFLOW_MAGENTO_BASE_URL and _STORE: {text}")
        case 404, {"message": str()}:
            return Permanent("not_found", text)
        case 400, {"message": str()}:
            return Permanent("refused", text)
        case status, _:
            return Unknown(f"no clear answer, status {status}")


def is_no_route(response: Response) -> bool:
    """A 404 about the address, and not about the object."""
    match response.json:
        case {"message": str(message)}:
            return "does not match any route" in message
        case _:
            return False


def error_text(value: Any) -> str:
    """An error's message with its parameters put in: `%1` by place, `%name` by name."""
    match value:
        case {"message": str(message)}:
            pass
        case _:
            return ""
    named: dict[str, Any] = {}
    match value.get("parameters"):
        case dict(by_name):
            named = by_name
        case list(listed):
            # By place, or, as the schema has it, one object a parameter.
            for place, each in enumerate(listed, start=1):
                named |= each if isinstance(each, dict) else {str(place): each}
        case _:
            pass
    message = re.sub(r"%(\w+)", lambda found: str(named.get(found[1], found[0])), message, flags=re.ASCII)
    return " ".join(message.split())[:500]


def not_seen(failure: Found) -> Found:
    """A look that was refused: a no to the question is no word about the effect."""
    match failure:
        case Permanent(code="unknown_reference" | "fractional_quantity"):
            return failure
        case Permanent(code=code, reason=reason):
            return Unknown(f"could not look: {code}: {reason}")
        case _:
            return failure


_FIND: Final[Mapping[type, str]] = {
    Refund: "magento.find_refund",
    RecordOrderRefund: "magento.find_record_order_refund",
}


# ---------------------------------------------------------------------------------------------------------------------
# Polling

CANCELLED: Final = "order.cancelled"
REFUNDED: Final = "order.refunded"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a look begins: orders changed at `at` with a larger id than `after_id`, and all that changed later."""

    at: datetime
    after_id: int = 0

    def __str__(self) -> str:
        return f"{_stamp(self.at)}|{self.after_id}"


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def read_cursor(cursor: str, now: datetime) -> Place:
    """A day back where there is no cursor, or one that is no use."""
    text, _, after_id = cursor.partition("|")
    at = read_time(text)
    if at is None or not after_id.isdecimal():
        return Place(now - LONGEST_WINDOW)
    return Place(at, int(after_id))


def changes_request(place: Place) -> Request:
    """(later, or the same second) and (later, or behind the last one) and (cancelled, or refunded)."""
    stamp = _stamp(place.at)
    groups: tuple[tuple[Filter, ...], ...] = (
        (("updated_at", "gteq", stamp),),
        (("updated_at", "gt", stamp), ("entity_id", "gt", str(place.after_id))),
        (("state", "eq", "canceled"), ("total_refunded", "gt", "0")),
    )
    params = _criteria(groups, sort=("updated_at", "entity_id"))
    return Request("GET", "/V1/orders", "magento.poll", params=params)


def read_changes(response: Response, place: Place, now: datetime) -> Polled | NoAnswer:
    """Within one look pages follow each other by their last row; the next look begins a little before the last change seen."""
    page = read_page(response)
    if not isinstance(page, Page):
        return page
    events: list[PolledEvent] = []
    last = place
    for value in page.items:
        match value:
            case {"entity_id": int(entity_id), "updated_at": str(text)} if (
                at := read_time(text)
            ) is not None:
                last = Place(at, entity_id)
                event = read_change(value)
                if isinstance(event, Unknown):
                    return event
                events.append(event)
            case _:
                return Unknown("a changed order cannot be read")
    if page.total > len(page.items) and page.items:
        return Polled(tuple(events), str(last), has_more=True)
    begin = max(last.at - OVERLAP if page.items else place.at, now - LONGEST_WINDOW)
    return Polled(tuple(events), str(Place(begin)))


def read_change(value: Mapping[str, Any]) -> PolledEvent | Unknown:
    """What the inbox keeps of a changed order: no customer, and the same id for the same news."""
    match value:
        case {"entity_id": int(entity_id), "increment_id": str(number), "state": str(state)}:
            pass
        case _:
            return Unknown("a changed order cannot be read")
    refunded = value.get("total_refunded")
    body = {
        "order_id": str(entity_id),
        "number": number,
        "state": state,
        "refunded": str(refunded) if _is_number(refunded) else "0",
        "is_taken_back": _is_taken_back(value),
        "is_ours": _is_ours(value),
    }
    is_cancelled = state == "canceled"
    news = "cancelled" if is_cancelled else f"refunded:{body['refunded']}"
    return PolledEvent(
        f"order:{entity_id}:{news}",
        CANCELLED if is_cancelled else REFUNDED,
        json.dumps(body, sort_keys=True).encode(),
    )


def _is_taken_back(value: Mapping[str, Any]) -> bool:
    """As `Order.is_taken_back`, for orders that we could not read otherwise too (sold by weight)."""
    items = [item for item in value.get("items") or () if isinstance(item, dict) and not _parent_of(item)]

    def number(item: Mapping[str, Any], name: str) -> Decimal:
        told = item.get(name)
        return Decimal(told) if told is not None and _is_number(told) else Decimal(0)

    return (
        value.get("state") == "closed"
        and bool(items)
        and all(
            not number(item, "qty_shipped")
            and number(item, "qty_refunded") + number(item, "qty_canceled") >= number(item, "qty_ordered")
            for item in items
        )
    )


def _is_ours(value: Mapping[str, Any]) -> bool:
    """Whether our own marks account for all that was given back: then nobody else has acted."""
    asked = {
        step_key: Decimal(amount)
        for comment in _comments(value.get("status_histories"))
        for step_key, _, amount, _ in _INTENTS.findall(comment)
        if re.fullmatch(r"\d+(\.\d+)?", amount)
    }
    refunded = value.get("total_refunded")
    return refunded is not None and _is_number(refunded) and sum(asked.values()) >= refunded > 0


@dataclass(frozen=True, slots=True)
class MagentoInbound:
    """Reads what polling found. Nothing is ever delivered here: Magento Open Source sends nothing, and the webhooks of Adobe
    Commerce hold the shop's own request up until they are answered.
    """

    platform: ClassVar[str] = SPEC.platform

    def verify(self, delivery: Delivery, now: datetime) -> Refused:
        return Refused("Magento sends no webhooks here: its orders are polled")

    def read_event(self, topic: str, body: bytes) -> Reading:
        match parse_json(body):
            case dict() as event:
                pass
            case _:
                raise MalformedError("body", "is not a JSON object")
        for name in ("order_id", "number"):
            if not isinstance(event.get(name), str) or not event[name]:
                raise MalformedError(name, "is not a text")
        order = OrderRef(SPEC.platform, event["order_id"], event["number"])
        match topic:
            case "order.cancelled":
                return OrderCancelledElsewhere(order)
            case "order.refunded" if event.get("is_taken_back") is True and event.get("is_ours") is not True:
                return OrderCancelledElsewhere(order)
            case "order.refunded":
                return PaymentRefundsChanged(SPEC.platform, "", order)
            case _:
                return Irrelevant(f"nothing is done on {topic}")
