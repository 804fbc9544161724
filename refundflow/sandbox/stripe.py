"""A practice Stripe: PaymentIntents, charges, refunds, disputes, balance transactions and events under `/stripe/v1/`.

API version 2026-10-28.endive (docs.stripe.com/api, read 2026-11-23). Strict about: form bodies, parameter names, who calls
(`sk_test_…` or `rk_test_…`), states, what is still refundable, open disputes, and the rules of `Idempotency-Key`: a request
that began executing keeps its answer for 24 hours, errors and a 500 included; other parameters under the same key are an
`idempotency_error`; a second request while the first runs is a 409. What fails validation is not kept, and neither are 429, 502
and 503, which come from in front of the API.

`seed({"payment_intents": [{"id"?, "amount", "currency", "status"?, "metadata"?, "customer"?, "created"?,
"refunds"?: [{"amount", "metadata"?, "status"?}], "dispute"?: {"status"?, "reason"?, "amount"?}}]})`. What is seeded happened
before the rehearsal and is not in the book. Amounts are minor units, currencies lower-case, as on the wire.

`settle` takes one of
`{"refund": "re_…", "status": "succeeded" | "failed" | "canceled", "failure_reason"?}`,
`{"dispute": "dp_…", "status": …}`,
`{"payment_intent": "pi_…", "open_dispute": {…}}`, `{"payment_intent": …, "dashboard_refund": {"amount", "metadata"?}}`,
`{"payment_intent": …, "early_fraud_warning": "<fraud type>"}` or `{"payment_intent": …, "status": "succeeded"}` (a capture).
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final, NoReturn

from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    Kind,
    NoSuchObjectError,
    Record,
    RefusalError,
    Route,
    Vendor,
)

API_VERSION: Final = "2026-10-28.endive"
KEY_LIFETIME: Final = timedelta(hours=24)

_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?")
_TEST_KEY: Final = re.compile(r"(sk|rk)_test_\w+")
_REFUND_REASONS: Final = ("duplicate", "fraudulent", "requested_by_customer")
_CANCEL_REASONS: Final = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
_CANCELLABLE: Final = (
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "requires_capture",
)
_PENDING_REASONS: Final = ("processing", "insufficient_funds", "charge_pending")
# A dispute in one of these has taken the money already, or may: nothing is refundable.
_DISPUTE_BLOCKS: Final = (
    "needs_response",
    "under_review",
    "appeal_needs_response",
    "appeal_under_review",
    "lost",
)
_DISPUTE_CLOSED: Final = ("won", "lost", "warning_closed", "prevented")
_REFUND_MOVES: Final[dict[str, tuple[str, ...]]] = {
    "pending": ("succeeded", "failed", "canceled"),
    "requires_action": ("pending", "succeeded", "failed", "canceled"),
    "succeeded": ("failed",),
    "failed": (),
    "canceled": (),
}
_PAGING: Final = ("limit", "starting_after", "ending_before", "created")
# Which parameters an operation knows; `expand` is known everywhere.
_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "create_refund": (
        *("amount", "charge", "currency", "customer", "instructions_email", "metadata", "origin"),
        *("payment_intent", "reason", "refund_application_fee", "reverse_transfer"),
    ),
    "update_refund": ("metadata",),
    "list_refunds": ("charge", "payment_intent", *_PAGING),
    "get_payment_intent": ("client_secret",),
    "list_payment_intents": ("customer", "customer_account", *_PAGING),
    "search_payment_intents": ("query", "limit", "page"),
    "cancel_payment_intent": ("cancellation_reason",),
    "list_charges": ("payment_intent", "customer", "transfer_group", *_PAGING),
    "list_disputes": ("charge", "payment_intent", *_PAGING),
    "update_dispute": ("evidence", "intended_submission_method", "metadata", "submit"),
    "list_events": ("type", "types", "delivery_success", *_PAGING),
}
# Objects by the beginning of their ids, and the fields that hold an id which `expand` may replace.
_EXPANDABLE: Final = (
    "latest_charge",
    "charge",
    "payment_intent",
    "balance_transaction",
    "failure_balance_transaction",
)
_CLAUSE: Final = re.compile(
    r"""(?:metadata\["(\w+)"\]|metadata\['(\w+)'\]|(status|customer)):["']([^"']*)["']"""
)
_REFUSALS: Final = {
    "create_refund": ("charge_disputed", "The charge has been charged back; cannot issue a refund."),
    "cancel_payment_intent": (
        "payment_intent_unexpected_state",
        "This PaymentIntent cannot be canceled in its present state.",
    ),
}


@dataclass(slots=True)
class Kept:
    """What is remembered under an idempotency key. `owner`: the call that runs, or ran, first; `answer` is None while it runs."""

    at: datetime
    fingerprint: tuple[str, ...]
    owner: str
    has_begun: bool = False
    answer: Answer | None = None


def fail(status: int, message: str, *, type: str = "invalid_request_error", **more: object) -> NoReturn:
    """Ends the call with Stripe's error body; keys without a value are absent from it."""
    error = {
        "message": message,
        "type": type,
        **{key: value for key, value in more.items() if value is not None},
    }
    raise RefusalError(Answer(status, {"error": error}))


def read_form(pairs: Iterable[tuple[str, str]]) -> Record:
    """Reads bracket notation: `metadata[order]=1` gives a dict inside, `expand[]=x` and `expand[0]=x` give a list."""
    tree: Record = {}
    for key, value in pairs:
        name = key.split("[", 1)[0]
        path = [name, *re.findall(r"\[([^\]]*)\]", key)]
        node = tree
        for part in path[:-1]:
            below = node.setdefault(part or str(len(node)), {})
            if not isinstance(below, dict):
                fail(400, f"Invalid parameter: {key}", param=name)
            node = below
        node[path[-1] or str(len(node))] = value
    return {
        key: list(value.values())
        if isinstance(value, dict) and value and all(part.isdigit() for part in value) and key != "metadata"
        else value
        for key, value in tree.items()
    }


class Stripe(Vendor):
    """See the module's docstring; the state is Stripe-shaped dicts by id, in the order in which they were made."""

    name: ClassVar[str] = "stripe"

    def clear(self) -> None:
        self.intents: dict[str, Record] = {}
        self.charges: dict[str, Record] = {}
        self.refunds: dict[str, Record] = {}
        self.disputes: dict[str, Record] = {}
        self.transactions: dict[str, Record] = {}
        self.warnings: dict[str, Record] = {}
        self.events: dict[str, Record] = {}
        self.keys: dict[str, Kept] = {}
        self._routes = (
            Route("POST", "/v1/refunds", "create_refund", self.create_refund),
            Route("GET", "/v1/refunds", "list_refunds", self._lister(self.refunds)),
            Route("GET", "/v1/refunds/{id}", "get_refund", self._getter(self.refunds, "refund")),
            Route("POST", "/v1/refunds/{id}", "update_refund", self.update_refund),
            Route("POST", "/v1/refunds/{id}/cancel", "cancel_refund", self.cancel_refund),
            Route("GET", "/v1/payment_intents", "list_payment_intents", self._lister(self.intents)),
            Route("GET", "/v1/payment_intents/search", "search_payment_intents", self.search_intents),
            Route(
                "GET",
                "/v1/payment_intents/{id}",
                "get_payment_intent",
                self._getter(self.intents, "payment_intent"),
            ),
            Route("POST", "/v1/payment_intents/{id}/cancel", "cancel_payment_intent", self.cancel_intent),
            Route("GET", "/v1/charges", "list_charges", self._lister(self.charges)),
            Route("GET", "/v1/charges/{id}", "get_charge", self._getter(self.charges, "charge")),
            Route("GET", "/v1/disputes", "list_disputes", self._lister(self.disputes)),
            Route("GET", "/v1/disputes/{id}", "get_dispute", self._getter(self.disputes, "dispute")),
            Route("POST", "/v1/disputes/{id}", "update_dispute", self.update_dispute),
            Route("POST", "/v1/disputes/{id}/close", "close_dispute", self.close_dispute),
            Route(
                "GET",
                "/v1/balance_transactions/{id}",
                "get_balance_transaction",
                self._getter(self.transactions, "balance_transaction"),
            ),
            Route("GET", "/v1/events", "list_events", self._lister(self.events)),
            Route("GET", "/v1/events/{id}", "get_event", self._getter(self.events, "event")),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        scheme, _, credentials = call.headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "bearer":
                key = credentials.strip()
            case "basic":
                key = _basic_user(credentials)
            case _:
                return _refusal(401, "You did not provide an API key.")
        return None if _TEST_KEY.fullmatch(key) else _refusal(401, f"Invalid API Key provided: {key[:8]}***")

    def unauthorised(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return _refusal(401, "Expired API Key provided: sk_test_***", code="api_key_expired")

    def refuse(self, call: Call) -> Answer:
        code, message = _REFUSALS.get(call.operation, ("resource_missing", "No such object"))
        status = 404 if code == "resource_missing" else 400
        return _refusal(status, message, code=(call.fault.code if call.fault else "") or code)

    def not_found(self, call: Call) -> Answer:
        return _refusal(404, f"Unrecognized request URL ({call.method}: {call.path}).")

    def failure(self, call: Call, status: int) -> Record:  # noqa: ARG002 (the contract's signature)
        if status == 429:
            return {
                "error": {
                    "type": "invalid_request_error",
                    "code": "rate_limit",
                    "message": "Too many requests.",
                }
            }
        kind = "api_error" if status >= 500 else "invalid_request_error"
        return {"error": {"type": kind, "message": "An error happened on the practice Stripe's side."}}

    def begin(self, call: Call) -> Answer | None:
        version = call.headers.get("stripe-version", API_VERSION)
        if not _VERSION.fullmatch(version):
            fail(400, f"Invalid Stripe API version: {version}")
        if call.method != "POST":
            return None
        if call.body and call.content_type != "application/x-www-form-urlencoded":
            fail(400, "The content type of a POST must be application/x-www-form-urlencoded.")
        key = call.headers.get("idempotency-key", "")
        if not key:
            return None
        if len(key) > 255:
            fail(400, "An idempotency key has at most 255 characters.", type="idempotency_error")
        now = self.world.clock()
        kept = self.keys.get(key)
        if kept is None or (kept.answer is not None and now - kept.at >= KEY_LIFETIME):
            self.keys[key] = Kept(now, _fingerprint(call), call.request_id)
            return None
        front = any(call.has(kind) for kind in (Kind.STATUS, Kind.HTML, Kind.REFUSE_AUTH))
        if front and call.fault is not None and not call.fault.is_after_effect:
            # What stands in front of the API answers before it can look into its memory.
            return None
        if kept.fingerprint != _fingerprint(call):
            fail(400, "This key was first used with other parameters.", type="idempotency_error")
        if kept.answer is None:
            fail(409, "Another request with this key is in progress.", code="idempotency_key_in_use")
        headers = {
            **kept.answer.headers,
            "Idempotent-Replayed": "true",
            "Original-Request": f"req_{kept.owner}",
        }
        return Answer(kept.answer.status, kept.answer.body, headers)

    def finish(self, call: Call, answer: Answer) -> Answer:
        headers = {
            "Request-Id": f"req_{call.request_id}",
            "Stripe-Version": call.headers.get("stripe-version", API_VERSION),
            **answer.headers,
        }
        key = call.headers.get("idempotency-key", "") if call.method == "POST" else ""
        if key:
            headers["Idempotency-Key"] = key
        answer = Answer(answer.status, answer.body, headers, answer.content_type)
        kept = self.keys.get(key)
        if kept is not None and kept.owner == call.request_id and kept.answer is None:
            if kept.has_begun or call.has(Kind.REFUSE) or (call.has(Kind.STATUS) and answer.status == 500):
                kept.answer = answer
            else:
                del self.keys[key]
        return answer

    def _execute(self, call: Call) -> None:
        """Says that validation is over: from here on the answer is kept under the key, whatever it is."""
        if (kept := self.keys.get(call.headers.get("idempotency-key", ""))) is not None:
            kept.has_begun = kept.owner == call.request_id or kept.has_begun

    def _parameters(self, call: Call) -> Record:
        found = read_form(call.form_pairs if call.method == "POST" else call.query_pairs)
        for name in found:
            if name != "expand" and name not in _PARAMETERS.get(call.operation, ()):
                fail(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
        return found

    # ------------------------------------------------------------ reading

    def _getter(self, objects: dict[str, Record], kind: str) -> Callable[[Call], Answer]:
        def get(call: Call) -> Answer:
            parameters = self._parameters(call)
            return Answer(200, self._shown(self._one(objects, kind, call.ids["id"]), parameters))

        return get

    def _lister(self, objects: dict[str, Record]) -> Callable[[Call], Answer]:
        def show(call: Call) -> Answer:
            parameters = self._parameters(call)
            found = [each for each in reversed(objects.values()) if _is_wanted(each, parameters)]
            page, has_more = _page(found, parameters)
            shown = {"object": "list", "data": page, "has_more": has_more, "url": call.path}
            return Answer(200, self._shown(shown, parameters))

        return show

    def search_intents(self, call: Call) -> Answer:
        """`metadata['order']:'1042' AND status:'succeeded'`; of the query language only such clauses are known."""
        parameters = self._parameters(call)
        if not (query := parameters.get("query", "")):
            fail(400, "Missing required param: query.", code="parameter_missing", param="query")
        clauses = [_CLAUSE.fullmatch(each.strip()) for each in re.split(r"\s+AND\s+", query)]
        if None in clauses:
            fail(400, "We were unable to parse your search query.", param="query")
        found = [
            intent
            for intent in reversed(self.intents.values())
            if all(clause is not None and _fits(intent, clause) for clause in clauses)
        ]
        limit = _whole(parameters, "limit", 10, 1, 100)
        shown = {
            "object": "search_result",
            "data": found[:limit],
            "has_more": len(found) > limit,
            "next_page": None,
            "url": call.path,
        }
        return Answer(200, self._shown(shown, parameters))

    def _one(
        self, objects: dict[str, Record], kind: str, id: str, *, param: str = "id", status: int = 404
    ) -> Record:
        if id not in objects:
            fail(status, f"No such {kind}: '{id}'", code="resource_missing", param=param)
        return objects[id]

    def _shown(self, found: Record, parameters: Record) -> Record:
        """A copy to send, with what `expand` asks for put in place of its id."""
        shown = copy.deepcopy(found)
        wanted = parameters.get("expand", [])
        for path in wanted if isinstance(wanted, list) else [wanted]:
            parts = str(path).split(".")
            if len(parts) > 4 or not self._expand(shown, parts):
                fail(400, f"This property cannot be expanded ({path}).", param="expand")
        return shown

    def _expand(self, node: Record, parts: list[str]) -> bool:
        head, rest = parts[0], parts[1:]
        if head == "data" and isinstance(node.get("data"), list):
            return bool(rest) and all(self._expand(each, rest) for each in node["data"])
        if head == "refunds" and node.get("object") == "charge":
            mine = [each for each in reversed(self.refunds.values()) if each["charge"] == node["id"]]
            url = f"/v1/charges/{node['id']}/refunds"
            node["refunds"] = {
                "object": "list",
                "data": copy.deepcopy(mine[:10]),
                "has_more": len(mine) > 10,
                "url": url,
            }
            return not rest or self._expand(node["refunds"], rest)
        if head not in _EXPANDABLE or head not in node:
            return False
        if isinstance(node[head], str):
            node[head] = copy.deepcopy(self._any(node[head]))
        return node[head] is None or not rest or self._expand(node[head], rest)

    def _any(self, id: str) -> Record:
        for objects in (
            *(self.intents, self.charges, self.refunds),
            *(self.disputes, self.transactions, self.warnings),
        ):
            if id in objects:
                return objects[id]
        raise NoSuchObjectError(f"no object {id!r} at the practice Stripe")

    # ------------------------------------------------------------ refunds

    def create_refund(self, call: Call) -> Answer:
        parameters = self._parameters(call)
        match parameters:
            case {"payment_intent": str(), "charge": str()}:
                fail(400, "Only one of payment_intent and charge may be given.", param="charge")
            case {"payment_intent": str(id)}:
                charge = self._charge_of(
                    self._one(self.intents, "payment_intent", id, param="payment_intent")
                )
            case {"charge": str(id)}:
                charge = self._one(self.charges, "charge", id, param="charge")
            case _:
                fail(400, "One of payment_intent and charge must be given.", code="parameter_missing")
        amount = _whole(parameters, "amount", 0, 1, 99_999_999) or None
        reason = parameters.get("reason")
        if reason is not None and reason not in _REFUND_REASONS:
            fail(400, f"Invalid reason: must be one of {', '.join(_REFUND_REASONS)}", param="reason")
        if "currency" in parameters and parameters["currency"] != charge["currency"]:
            fail(400, f"The charge is in {charge['currency']}.", param="currency")
        metadata = _metadata(parameters)
        self._execute(call)
        self._check_refundable(charge, amount)
        refund = self._refund(charge, amount, metadata, reason, call)
        self.book.write(
            "refund",
            id=refund["id"],
            amount_minor=refund["amount"],
            currency=refund["currency"].upper(),
            target={"charge": charge["id"], "payment_intent": charge["payment_intent"]},
            reference=dict(metadata),
            idempotency_key=call.headers.get("idempotency-key"),
            by="api",
        )
        if call.has(Kind.LATE_FAILURE):
            self.late.append(lambda: self.settle({"refund": refund["id"], "status": "failed"}))
        return Answer(200, self._shown(refund, parameters))

    def update_refund(self, call: Call) -> Answer:
        parameters = self._parameters(call)
        refund = self._one(self.refunds, "refund", call.ids["id"])
        metadata = _metadata(parameters)
        self._execute(call)
        refund["metadata"] = {
            key: value for key, value in {**refund["metadata"], **metadata}.items() if value
        }
        self._tell("refund.updated", refund, call)
        return Answer(200, self._shown(refund, parameters))

    def cancel_refund(self, call: Call) -> Answer:
        parameters = self._parameters(call)
        refund = self._one(self.refunds, "refund", call.ids["id"])
        self._execute(call)
        if refund["status"] != "requires_action":
            fail(
                400,
                f"A refund with status {refund['status']} cannot be canceled.",
                code="refund_unexpected_state",
            )
        self._move_refund(refund, "canceled", "merchant_request", call)
        return Answer(200, self._shown(refund, parameters))

    def _charge_of(self, intent: Record) -> Record:
        """The charge to refund. Stripe has none to offer where nothing was captured."""
        if intent["latest_charge"] is None or intent["status"] != "succeeded":
            fail(
                400,
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                code="payment_intent_unexpected_state",
                param="payment_intent",
            )
        return self.charges[intent["latest_charge"]]

    def _check_refundable(self, charge: Record, amount: int | None) -> None:
        left = charge["amount_captured"] - charge["amount_refunded"]
        if not charge["captured"]:
            fail(400, f"Charge {charge['id']} has not been captured.", code="charge_not_refundable")
        if any(each["status"] in _DISPUTE_BLOCKS for each in self._disputes_of(charge)):
            fail(
                400,
                f"Charge {charge['id']} has been charged back; cannot issue a refund.",
                code="charge_disputed",
            )
        if left <= 0:
            fail(400, f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
        if amount is not None and amount > left:
            fail(
                400,
                f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).",
                code="amount_too_large",
                param="amount",
            )

    def _refund(
        self, charge: Record, amount: int | None, metadata: Record, reason: str | None, call: Call | None
    ) -> Record:
        left = charge["amount_captured"] - charge["amount_refunded"]
        status, pending_reason = "succeeded", None
        if call is not None and call.has(Kind.SLOW_PENDING) and call.fault is not None:
            status = "requires_action" if call.fault.code == "requires_action" else "pending"
            pending_reason = call.fault.code if call.fault.code in _PENDING_REASONS else "processing"
        refund: Record = {
            "id": self.mint("re_"),
            "object": "refund",
            "amount": left if amount is None else amount,
            "balance_transaction": None,
            "charge": charge["id"],
            "created": self._now(),
            "currency": charge["currency"],
            "destination_details": {"card": {"type": "refund"}, "type": "card"},
            "metadata": dict(metadata),
            "payment_intent": charge["payment_intent"],
            "reason": reason,
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": status,
            "transfer_reversal": None,
        }
        if status == "pending":
            refund["pending_reason"] = pending_reason
            refund["destination_details"]["card"]["type"] = "pending"
        if status == "requires_action":
            refund["next_action"] = {
                "type": "display_details",
                "display_details": {
                    "email_sent": {"email_sent_at": self._now(), "email_sent_to": "customer@example.com"},
                    "expires_at": self._now() + 45 * 86_400,
                },
            }
        self.refunds[refund["id"]] = refund
        if status == "succeeded":
            refund["balance_transaction"] = self._post(
                refund["id"], -refund["amount"], refund["currency"], "refund"
            )
        before = charge["amount_refunded"]
        charge["amount_refunded"] += refund["amount"]
        charge["refunded"] = charge["amount_refunded"] >= charge["amount_captured"]
        self._tell("refund.created", refund, call)
        self._tell("charge.refunded", charge, call, {"amount_refunded": before})
        if charge["refunded"]:
            # Returning all of it in the inquiry stage ends the inquiry.
            for dispute in self._disputes_of(charge):
                if dispute["status"] in ("warning_needs_response", "warning_under_review"):
                    self._move_dispute(dispute, "warning_closed", call)
        return refund

    def _move_refund(self, refund: Record, status: str, why: str, call: Call | None = None) -> None:
        before = {"status": refund["status"]}
        if status not in _REFUND_MOVES[refund["status"]]:
            raise ValueError(f"a refund does not go from {refund['status']} to {status}")
        refund["status"] = status
        refund.pop("pending_reason", None)
        refund.pop("next_action", None)
        charge = self.charges[refund["charge"]]
        if status == "succeeded":
            refund["destination_details"]["card"]["type"] = "refund"
            refund["balance_transaction"] = self._post(
                refund["id"], -refund["amount"], refund["currency"], "refund"
            )
        if status in ("failed", "canceled"):
            if refund["balance_transaction"] is not None:
                refund["failure_balance_transaction"] = self._post(
                    refund["id"], refund["amount"], refund["currency"], "refund_failure"
                )
            refund["failure_reason"] = why
            charge["amount_refunded"] -= refund["amount"]
            charge["refunded"] = False
            self.book.write(
                f"refund_{status}",
                id=refund["id"],
                amount_minor=refund["amount"],
                currency=refund["currency"].upper(),
                target={"charge": charge["id"], "payment_intent": charge["payment_intent"]},
                reference=dict(refund["metadata"]),
            )
        self._tell("refund.updated", refund, call, before)
        self._tell("charge.refund.updated", refund, call, before)
        if status == "failed":
            self._tell("refund.failed", refund, call, before)

    # ------------------------------------------------------------ authorisations and disputes

    def cancel_intent(self, call: Call) -> Answer:
        parameters = self._parameters(call)
        intent = self._one(self.intents, "payment_intent", call.ids["id"], param="intent")
        reason = parameters.get("cancellation_reason")
        if reason is not None and reason not in _CANCEL_REASONS:
            fail(400, f"Invalid cancellation_reason: {reason}", param="cancellation_reason")
        self._execute(call)
        if intent["status"] not in _CANCELLABLE:
            fail(
                400,
                f"This PaymentIntent cannot be canceled because it has a status of {intent['status']}.",
                code="payment_intent_unexpected_state",
                payment_intent=copy.deepcopy(intent),
            )
        released = intent["amount_capturable"]
        intent.update(
            status="canceled", canceled_at=self._now(), cancellation_reason=reason, amount_capturable=0
        )
        self.book.write(
            "void",
            id=intent["id"],
            amount_minor=released,
            currency=intent["currency"].upper(),
            target={"payment_intent": intent["id"]},
            reference=dict(intent["metadata"]),
            idempotency_key=call.headers.get("idempotency-key"),
        )
        self._tell("payment_intent.canceled", intent, call)
        return Answer(200, self._shown(intent, parameters))

    def update_dispute(self, call: Call) -> Answer:
        parameters = self._parameters(call)
        dispute = self._one(self.disputes, "dispute", call.ids["id"])
        self._execute(call)
        dispute["metadata"] |= _metadata(parameters)
        if evidence := parameters.get("evidence"):
            dispute["evidence"] |= evidence
            dispute["evidence_details"]["has_evidence"] = True
            if parameters.get("submit", "true") == "true":
                dispute["evidence_details"]["submission_count"] += 1
                warned = dispute["status"].startswith("warning_")
                self._move_dispute(dispute, "warning_under_review" if warned else "under_review", call)
        return Answer(200, self._shown(dispute, parameters))

    def close_dispute(self, call: Call) -> Answer:
        parameters = self._parameters(call)
        dispute = self._one(self.disputes, "dispute", call.ids["id"])
        self._execute(call)
        if dispute["status"] in _DISPUTE_CLOSED:
            fail(400, "This dispute is already closed.", code="resource_already_exists")
        self._move_dispute(dispute, "lost", call)
        return Answer(200, self._shown(dispute, parameters))

    def _disputes_of(self, charge: Record) -> list[Record]:
        return [each for each in self.disputes.values() if each["charge"] == charge["id"]]

    def _open_dispute(self, charge: Record, described: Record) -> Record:
        status = described.get("status", "needs_response")
        dispute: Record = {
            "id": described.get("id") or self.mint("dp_"),
            "object": "dispute",
            "amount": described.get("amount", charge["amount_captured"] - charge["amount_refunded"]),
            "balance_transactions": [],
            "charge": charge["id"],
            "created": self._now(),
            "currency": charge["currency"],
            "enhanced_eligibility_types": [],
            "evidence": {"enhanced_evidence": {}},
            "evidence_details": {
                "due_by": self._now() + 7 * 86_400,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
            },
            "is_charge_refundable": status.startswith("warning_"),
            "livemode": False,
            "metadata": {},
            "payment_intent": charge["payment_intent"],
            "payment_method_details": {
                "card": {
                    "brand": "visa",
                    "case_type": "inquiry" if status.startswith("warning_") else "chargeback",
                    "network": "visa",
                    "network_reason_code": "10.4",
                },
                "type": "card",
            },
            "reason": described.get("reason", "fraudulent"),
            "status": status,
        }
        self.disputes[dispute["id"]] = dispute
        charge["disputed"] = True
        self._tell("charge.dispute.created", dispute)
        if status in _DISPUTE_BLOCKS:
            self._move_disputed_money(
                dispute, -dispute["amount"], "dispute_withdrawn", "charge.dispute.funds_withdrawn"
            )
        return dispute

    def _move_dispute(self, dispute: Record, status: str, call: Call | None = None) -> None:
        was = dispute["status"]
        if was in _DISPUTE_CLOSED:
            raise ValueError(f"a dispute that is {was} stays so")
        dispute["status"] = status
        dispute["is_charge_refundable"] = status.startswith("warning_") or status in ("won", "prevented")
        closing = status in _DISPUTE_CLOSED
        self._tell(
            "charge.dispute.closed" if closing else "charge.dispute.updated", dispute, call, {"status": was}
        )
        if was not in _DISPUTE_BLOCKS and status in _DISPUTE_BLOCKS:
            self._move_disputed_money(
                dispute, -dispute["amount"], "dispute_withdrawn", "charge.dispute.funds_withdrawn"
            )
        if was in _DISPUTE_BLOCKS and status == "won":
            self._move_disputed_money(
                dispute, dispute["amount"], "dispute_reinstated", "charge.dispute.funds_reinstated"
            )

    def _move_disputed_money(self, dispute: Record, amount: int, effect: str, topic: str) -> None:
        moved = self._post(dispute["id"], amount, dispute["currency"], "adjustment")
        dispute["balance_transactions"].append(copy.deepcopy(self.transactions[moved]))
        self.book.write(
            effect,
            id=dispute["id"],
            amount_minor=dispute["amount"],
            currency=dispute["currency"].upper(),
            target={"charge": dispute["charge"], "payment_intent": dispute["payment_intent"]},
        )
        self._tell(topic, dispute)

    # ------------------------------------------------------------ at the controls

    def seed(self, data: Record) -> Record:
        return {"payment_intents": [self._seed_intent(each) for each in data.get("payment_intents", [])]}

    def _seed_intent(self, described: Record) -> Record:
        amount, currency = described.get("amount"), described.get("currency")
        if not isinstance(amount, int) or not isinstance(currency, str):
            raise ValueError("a payment intent needs an amount in minor units and a currency")
        status = described.get("status", "succeeded")
        captured = status == "succeeded"
        has_charge = captured or status == "requires_capture"
        id = described.get("id") or self.mint("pi_")
        created = described.get("created", self._now())
        metadata = {key: str(value) for key, value in described.get("metadata", {}).items()}
        charge_id = (described.get("charge") or self.mint("ch_")) if has_charge else None
        intent: Record = {
            "id": id,
            "object": "payment_intent",
            "amount": amount,
            "amount_capturable": amount if status == "requires_capture" else 0,
            "amount_received": amount if captured else 0,
            "canceled_at": created if status == "canceled" else None,
            "cancellation_reason": None,
            "capture_method": "manual" if status == "requires_capture" else "automatic",
            "client_secret": f"{id}_secret_{self.mint(length=24)}",
            "confirmation_method": "automatic",
            "created": created,
            "currency": currency.lower(),
            "customer": described.get("customer"),
            "latest_charge": charge_id,
            "livemode": False,
            "metadata": metadata,
            "payment_method": self.mint("pm_") if has_charge else None,
            "payment_method_types": ["card"],
            "status": status,
        }
        self.intents[id] = intent
        made: Record = {"id": id, "latest_charge": charge_id, "refunds": [], "dispute": None}
        if charge_id is not None:
            charge = self._seed_charge(intent, charge_id, captured)
            for refund in described.get("refunds", []):
                given = self._refund(
                    charge, refund["amount"], refund.get("metadata", {}), refund.get("reason"), None
                )
                if (later := refund.get("status", "succeeded")) != "succeeded":
                    self._move_refund(given, later, "unknown")
                made["refunds"].append(given["id"])
            if (dispute := described.get("dispute")) is not None:
                made["dispute"] = self._open_dispute(charge, dispute)["id"]
        return made

    def _seed_charge(self, intent: Record, id: str, captured: bool) -> Record:
        charge: Record = {
            "id": id,
            "object": "charge",
            "amount": intent["amount"],
            "amount_captured": intent["amount"] if captured else 0,
            "amount_refunded": 0,
            "balance_transaction": None,
            "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
            "captured": captured,
            "created": intent["created"],
            "currency": intent["currency"],
            "customer": intent["customer"],
            "disputed": False,
            "livemode": False,
            "metadata": dict(intent["metadata"]),
            "paid": True,
            "payment_intent": intent["id"],
            "payment_method": intent["payment_method"],
            "payment_method_details": {
                "card": {"brand": "visa", "country": "US", "exp_month": 8, "exp_year": 2030, "last4": "4242"},
                "type": "card",
            },
            "refunded": False,
            "status": "succeeded",
        }
        self.charges[id] = charge
        if captured:
            charge["balance_transaction"] = self._post(id, charge["amount"], charge["currency"], "charge")
        return charge

    def settle(self, data: Record) -> Record:
        match data:
            case {"refund": str(id), "status": str(status)}:
                refund = self._known(self.refunds, id)
                self._move_refund(refund, status, data.get("failure_reason", "expired_or_canceled_card"))
                return copy.deepcopy(refund)
            case {"dispute": str(id), "status": str(status)}:
                dispute = self._known(self.disputes, id)
                self._move_dispute(dispute, status)
                return copy.deepcopy(dispute)
            case {"payment_intent": str(id), "open_dispute": dict(described)}:
                return copy.deepcopy(self._open_dispute(self._known_charge(id), described))
            case {"payment_intent": str(id), "dashboard_refund": {"amount": int(amount)} as described}:
                charge = self._known_charge(id)
                if amount > charge["amount_captured"] - charge["amount_refunded"]:
                    raise ValueError("the dashboard would not refund more than is left either")
                refund = self._refund(charge, amount, described.get("metadata", {}), None, None)
                self.book.write(
                    "refund",
                    id=refund["id"],
                    amount_minor=amount,
                    currency=charge["currency"].upper(),
                    target={"charge": charge["id"], "payment_intent": id},
                    reference=dict(refund["metadata"]),
                    by="dashboard",
                )
                return copy.deepcopy(refund)
            case {"payment_intent": str(id), "early_fraud_warning": str(fraud_type)}:
                charge = self._known_charge(id)
                warning: Record = {
                    "id": self.mint("issfr_"),
                    "object": "radar.early_fraud_warning",
                    "actionable": not charge["refunded"] and not charge["disputed"],
                    "charge": charge["id"],
                    "created": self._now(),
                    "fraud_type": fraud_type,
                    "livemode": False,
                    "payment_intent": id,
                }
                self.warnings[warning["id"]] = warning
                self._tell("radar.early_fraud_warning.created", warning)
                return dict(warning)
            case {"payment_intent": str(id), "status": "succeeded"}:
                return copy.deepcopy(self._capture(self._known(self.intents, id)))
            case _:
                raise ValueError(
                    "settle what? a refund, a dispute or a payment_intent; see the module's docstring"
                )

    def _capture(self, intent: Record) -> Record:
        if intent["status"] != "requires_capture":
            raise ValueError(f"a payment intent that is {intent['status']} cannot be captured")
        intent.update(status="succeeded", amount_capturable=0, amount_received=intent["amount"])
        charge = self.charges[intent["latest_charge"]]
        charge.update(captured=True, amount_captured=charge["amount"])
        charge["balance_transaction"] = self._post(
            charge["id"], charge["amount"], charge["currency"], "charge"
        )
        self._tell("charge.captured", charge)
        self._tell("payment_intent.succeeded", intent)
        return intent

    def _known(self, objects: dict[str, Record], id: str) -> Record:
        if id not in objects:
            raise NoSuchObjectError(f"no object {id!r} at the practice Stripe")
        return objects[id]

    def _known_charge(self, intent_id: str) -> Record:
        intent = self._known(self.intents, intent_id)
        return self._known(self.charges, intent["latest_charge"] or "")

    # ------------------------------------------------------------ money movements and events

    def _now(self) -> int:
        return int(self.world.clock().timestamp())

    def _post(self, source: str, amount: int, currency: str, kind: str) -> str:
        """Books a movement of the shop's balance (`amount` signed, minor units) and returns its id."""
        # The fee is a practice figure: 1.5 % of a charge; refunds give no fee back.
        fee = amount * 15 // 1000 if kind == "charge" else 0
        category = {"refund_failure": "refund_failure", "adjustment": "dispute"}.get(kind, kind)
        id = self.mint("txn_")
        self.transactions[id] = {
            "id": id,
            "object": "balance_transaction",
            "amount": amount,
            "available_on": self._now(),
            "balance_type": "payments",
            "created": self._now(),
            "currency": currency,
            "description": None,
            "exchange_rate": None,
            "fee": fee,
            "fee_details": [],
            "net": amount - fee,
            "reporting_category": category,
            "source": source,
            "status": "available",
            "type": kind,
        }
        return id

    def _tell(
        self, topic: str, about: Record, call: Call | None = None, previous: Record | None = None
    ) -> None:
        event = self._event(topic, about, call, previous)
        self.emit(Event(event["id"], topic, event))

    def _event(
        self, topic: str, about: Record, call: Call | None = None, previous: Record | None = None
    ) -> Record:
        data: Record = {"object": copy.deepcopy(about)}
        if previous is not None:
            data["previous_attributes"] = previous
        event: Record = {
            "id": self.mint("evt_"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self._now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 1,
            "request": {
                "id": f"req_{call.request_id}" if call is not None else None,
                "idempotency_key": call.headers.get("idempotency-key") if call is not None else None,
            },
            "type": topic,
        }
        self.events[event["id"]] = event
        return event

    def event_for(self, topic: str, object_id: str) -> Event:
        """The newest event of that type about the object, or one made now: asked for twice it is the same event."""
        for event in reversed(self.events.values()):
            if event["type"] == topic and event["data"]["object"]["id"] == object_id:
                return Event(event["id"], topic, event)
        event = self._event(topic, self._any(object_id))
        return Event(event["id"], topic, event)

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        """`Stripe-Signature`: HMAC-SHA256 over time stamp, full stop and raw body, keyed with the whole secret as text."""
        body = event.payload
        at = self._now()
        signature = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": f"t={at},v1={signature}",
            "User-Agent": "Stripe/1.0 (practice)",
        }
        return Delivery(headers, body)


# ---------------------------------------------------------------- reading parameters


def _refusal(status: int, message: str, code: str | None = None) -> Answer:
    error = {"type": "invalid_request_error", "message": message}
    return Answer(status, {"error": error | ({"code": code} if code else {})})


def _basic_user(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except ValueError:
        return ""


def _fingerprint(call: Call) -> tuple[str, ...]:
    return (call.method, call.path, *sorted(f"{key}={value}" for key, value in call.form_pairs))


def _whole(parameters: Record, name: str, default: int, low: int, high: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    if not isinstance(text, str) or not re.fullmatch(r"-?\d+", text):
        fail(400, f"Invalid integer: {text}", code="parameter_invalid_integer", param=name)
    if not low <= int(text) <= high:
        fail(
            400,
            f"Invalid integer: {name} must be between {low} and {high}.",
            code="parameter_invalid_integer",
            param=name,
        )
    return int(text)


def _metadata(parameters: Record) -> dict[str, str]:
    found = parameters.get("metadata", {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        fail(400, "Invalid hash", param="metadata")
    if len(found) > 50 or any(len(key) > 40 or len(value) > 500 for key, value in found.items()):
        fail(400, "Metadata has at most 50 keys of 40 characters, with values of 500.", param="metadata")
    return dict(found)


def _fits(intent: Record, clause: re.Match[str]) -> bool:
    double, single, field, value = clause.groups()
    key = double or single
    return bool(intent["metadata"].get(key) == value if key else intent[field] == value)


def _is_wanted(found: Record, parameters: Record) -> bool:
    created = parameters.get("created", {})
    bounds = created if isinstance(created, dict) else {"gte": created, "lte": created}
    tests: dict[str, Callable[[int, int], bool]] = {
        "gt": int.__gt__,
        "gte": int.__ge__,
        "lt": int.__lt__,
        "lte": int.__le__,
    }
    for name, bound in bounds.items():
        if name not in tests or not str(bound).isdigit():
            fail(400, f"Invalid created: {name}", param="created")
        if not tests[name](found["created"], int(bound)):
            return False
    types = parameters.get("types", [found.get("type")])
    if found.get("type") not in (types if isinstance(types, list) else [types]):
        return False
    return all(
        found.get(name) == parameters[name]
        for name in ("charge", "payment_intent", "customer", "type")
        if name in parameters
    )


def _page(found: list[Record], parameters: Record) -> tuple[list[Record], bool]:
    limit = _whole(parameters, "limit", 10, 1, 100)
    ids = [each["id"] for each in found]
    for name in ("starting_after", "ending_before"):
        if name in parameters and parameters[name] not in ids:
            fail(400, f"No such object: '{parameters[name]}'", code="resource_missing", param=name)
    if (cursor := parameters.get("ending_before")) is not None:
        before = found[: ids.index(cursor)]
        return before[-limit:], len(before) > limit
    start = ids.index(parameters["starting_after"]) + 1 if "starting_after" in parameters else 0
    return found[start : start + limit], len(found) > start + limit
