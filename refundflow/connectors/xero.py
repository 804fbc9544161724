"""Xero: the books. Undoes the sales invoice of a cancelled order; moves no customer money.

Accounting API 2.0, described by XeroAPI/Xero-OpenAPI 16.1.0 (read 2026-11-23). Authorised as a Custom
Connection: client credentials for one organisation, token of 30 minutes.

An invoice has no status "refunded": where nothing was paid it is voided (deleted, where it is a draft),
otherwise a credit note is written, allocated to what is still due, and the cash refund is recorded as a
payment on the note. Three writes, three effects, each with its own look.

Quirks
- XML is the default answer: every call asks for JSON.
- PUT creates, POST creates *or overwrites*: documents are created with PUT, so that a number cannot be taken
  twice.
- A refusal comes as a 400, or as a 200 whose document carries errors. Neither has a code that could be told
  apart, only texts, and "this number is taken" may be the echo of our own lost call: after any refusal the
  document is looked up.
- The idempotency key is honoured for a short time that nobody promises (minutes, not days). It is sent, and
  never relied on: what keeps a second note away is its number, for allocations and payments it is the look.
- Amounts are JSON numbers in major units with two decimals; answers write dates as `/Date(milliseconds)/`.
- Another system owns the stock: note lines carry no item code, because a tracked item would be booked back
  in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final, TypeVar

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.domain.commands import AllocateCredit, CreditNote, RecordRefund, VoidInvoice
from refundflow.domain.facts import InvoiceFacts, InvoiceLine, InvoiceState
from refundflow.domain.money import Money, exponent_of
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    Found,
    NotFound,
    Outcome,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire

_DOC: Final = "https://developer.xero.com/documentation/api/accounting"

SPEC: Final = Spec(
    platform="xero",
    api_version="2.0",
    base_url="https://api.xero.com/api.xro/2.0",
    operations={
        Capability.READ_INVOICE: Operation("GET /Invoices", Idempotency.READ, f"{_DOC}/invoices"),
        Capability.VOID_INVOICE: Operation("POST /Invoices/{id}", Idempotency.NATURAL, f"{_DOC}/invoices"),
        # The key's lifetime is not promised, so none is declared: nothing is sent again before a look.
        Capability.CREDIT_NOTE: Operation("PUT /CreditNotes", Idempotency.LOOKUP, f"{_DOC}/creditnotes"),
        Capability.ALLOCATE_CREDIT: Operation(
            "PUT /CreditNotes/{id}/Allocations", Idempotency.LOOKUP, f"{_DOC}/creditnotes"
        ),
        Capability.RECORD_REFUND: Operation("PUT /Payments", Idempotency.LOOKUP, f"{_DOC}/payments"),
        Capability.CHECK: Operation("GET /Organisation", Idempotency.READ, f"{_DOC}/organisation"),
    },
    # 60 calls a minute and 5 at a time for one organisation: 5 + 60 x 0.75 stays below in any minute.
    rate_per_s=0.75,
    burst=5,
    # Documents carry the whole contact: name, addresses, telephone and bank account.
    redact=frozenset(
        {
            "access_token",
            "apikey",
            "bankaccountdetails",
            "bankaccountnumber",
            "client_secret",
            "contact",
            "emailaddress",
            "firstname",
            "invoiceaddresses",
            "lastname",
            "phones",
            "taxnumber",
        }
    ),
    read_s=30.0,
)

#: A write whose answer was lost can still be running when our time limit ends; it is over well within a
#: minute, and what it wrote is then visible to every read. Earlier an absence proves nothing.
_SETTLED_S: Final = 60.0

#: How much of a payment's `Reference` we use; the description names no limit; 255 is what it allows a
#: document number.
_REFERENCE_CHARS: Final = 255


@dataclass(frozen=True, slots=True)
class Credentials:
    """A Custom Connection. `tenant_id`: the organisation's id (`GET /connections`), sent where it is given;
    `scopes`: separated by spaces, the granular ones that apps made since 2026-03-02 must use.
    """

    client_id: str
    client_secret: Secret
    tenant_id: str = ""
    scopes: str = "accounting.invoices accounting.payments accounting.settings.read"
    base_url: str = SPEC.base_url
    token_url: str = "https://identity.xero.com/connect/token"  # noqa: S105  (an address, not a secret)


def today_utc() -> date:
    """Today in UTC: at most one day away from the organisation's own date."""
    return datetime.now(UTC).date()


def build(credentials: Credentials, wire: Wire, today: Callable[[], date] = today_utc) -> Xero:
    """The connector on a wire. `today`: the date that notes, allocations and payments are booked on."""
    door = wire.http(
        platform=SPEC.platform,
        base_url=credentials.token_url,
        rate_per_s=SPEC.rate_per_s,
        burst=SPEC.burst,
        connect_s=SPEC.connect_s,
        read_s=SPEC.read_s,
        redact=SPEC.redact,
    )
    return Xero(
        wire.http(
            platform=SPEC.platform,
            base_url=credentials.base_url,
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            headers=standing_headers(credentials),
            tokens=wire.client_credentials(door, token_request(credentials)),
            redact=SPEC.redact,
        ),
        today,
    )


def standing_headers(credentials: Credentials) -> Mapping[str, str]:
    """The headers of every call. A Custom Connection's token names its one organisation, so the id may be
    left out.
    """
    tenant = {"xero-tenant-id": credentials.tenant_id} if credentials.tenant_id else {}
    return {"Accept": "application/json", **tenant}


def token_request(credentials: Credentials) -> Request:
    return Request(
        "POST",
        credentials.token_url,
        "xero.token",
        headers={"Accept": "application/json"},
        form=(("grant_type", "client_credentials"), ("scope", credentials.scopes)),
        auth=(credentials.client_id, credentials.client_secret.reveal()),
    )


@dataclass(frozen=True, slots=True)
class Xero:
    """The books of one Xero organisation. `today`: the date to book on."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    today: Callable[[], date] = today_utc

    def check(self) -> Health:
        return read_health(self.http.send(Request("GET", "/Organisation", "xero.check")))

    def read_invoice(self, number: str) -> InvoiceFacts | NotFound | NoAnswer:
        return read_invoice(self.http.send(invoices_request(number)), number)

    def void_invoice(self, command: VoidInvoice) -> Outcome:
        """Voids, or deletes a draft. What to do depends on the status *now*, so it is read first; nothing was
        sent when that read fails.
        """
        now = self.http.send(invoice_request(command))
        match read_void_target(now, command.invoice.invoice_id):
            case str() as target:
                answer = self.http.send(void_request(command, target))
                outcome = read_void(answer, command.invoice.invoice_id, target)
                return settle_refusal(outcome, self.find_void_invoice, command)
            case outcome:
                return outcome

    def find_void_invoice(self, command: VoidInvoice) -> Found:
        return read_void_found(self.http.send(invoice_request(command)), command.invoice.invoice_id)

    def credit_note(self, command: CreditNote) -> Outcome:
        match credit_note_request(command, self.today()):
            case Request() as request:
                outcome = read_credit_note(self.http.send(request), command)
                return settle_refusal(outcome, self.find_credit_note, command)
            case refusal:
                return refusal

    def find_credit_note(self, command: CreditNote) -> Found:
        return read_credit_note_found(self.http.send(credit_notes_request(command)), command)

    def allocate_credit(self, command: AllocateCredit) -> Outcome:
        outcome = read_allocation(self.http.send(allocation_request(command, self.today())), command)
        return settle_refusal(outcome, self.find_allocate_credit, command)

    def find_allocate_credit(self, command: AllocateCredit) -> Found:
        return read_allocation_found(self.http.send(note_request(command, "find_allocate_credit")), command)

    def record_refund(self, command: RecordRefund) -> Outcome:
        outcome = read_payment(self.http.send(payment_request(command, self.today())), command)
        return settle_refusal(outcome, self.find_record_refund, command)

    def find_record_refund(self, command: RecordRefund) -> Found:
        return read_payment_found(self.http.send(note_request(command, "find_record_refund")), command)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Xero refused a write, and only texts say why: whether it is done already has to be looked up."""

    reason: str


_C = TypeVar("_C")


def settle_refusal(outcome: Outcome | Refusal, find: Callable[[_C], Found], command: _C) -> Outcome:
    """Decides a refusal by looking: done already, or never. Every other outcome is returned as it is."""
    match outcome:
        case Refusal(reason=reason):
            match find(command):
                case Done(reference=reference, detail=detail):
                    return AlreadyDone(reference, detail)
                case NotFound():
                    return Permanent("validation", reason)
                case Unknown(reason=trouble):
                    return Unknown(
                        f"refused ({reason}), and the look did not tell whether it is there: {trouble}"
                    )
                case found:
                    return found
        case _:
            return outcome


# ------------------------------------------------------------------------------------------------------------
# Requests


def invoices_request(number: str) -> Request:
    """A list leaves the lines out unless it is asked for by page."""
    return Request(
        "GET", "/Invoices", "xero.read_invoice", params=(("InvoiceNumbers", number), ("page", "1"))
    )


def invoice_request(command: VoidInvoice) -> Request:
    return Request("GET", f"/Invoices/{command.invoice.invoice_id}", "xero.find_void_invoice")


def void_request(command: VoidInvoice, target: str) -> Request:
    invoice_id = command.invoice.invoice_id
    return Request(
        "POST",
        f"/Invoices/{invoice_id}",
        "xero.void_invoice",
        headers={"Idempotency-Key": command.key},
        json={"Invoices": [{"InvoiceID": invoice_id, "Status": target}]},
    )


def credit_note_request(command: CreditNote, today: date) -> Request | Permanent:
    """The note over exactly `command.amount`, or the reason why a person must write it.

    The whole invoice: its own lines again. A part of it: one line, where all lines share account and tax,
    with the tax inside the amount, because the amount is what the customer gets back. Anything else would be
    a guess at the tax.
    """
    invoice, amount = command.invoice, command.amount
    lines = [line for line in invoice.lines if line.gross.minor]  # text and zero lines carry no money
    kinds = {(line.account_code, line.tax_type) for line in lines}
    if amount.currency != invoice.total.currency:
        return Permanent(
            "currency_mismatch",
            f"invoice {invoice.number} is in {invoice.total.currency}, not {amount.currency}",
        )
    if amount == invoice.total and lines:
        types = invoice.line_amount_types
        # A line may have come without a description; Xero refuses to take one without.
        items = [
            line_item(line.description or command.memo, line.gross, line.account_code, line.tax_type)
            for line in lines
        ]
    elif len(kinds) == 1:
        types = "NoTax" if invoice.line_amount_types == "NoTax" else "Inclusive"
        ((account_code, tax_type),) = kinds
        items = [line_item(command.memo, amount, account_code, tax_type)]
    else:
        return Permanent(
            "ambiguous_tax",
            f"{amount} of invoice {invoice.number} ({invoice.total}) cannot be spread over its lines without guessing: "
            f"they have {len(kinds)} combinations of account and tax rate. In Xero, write credit note {command.number} "
            f"over {amount} by hand, choosing account and tax rate per line, with reference {command.step_key}; then "
            "resolve this step with the note's CreditNoteID.",
        )
    note = {
        "Type": "ACCRECCREDIT",
        "Status": "AUTHORISED",
        "Contact": {"ContactID": invoice.contact_id},
        "Date": today.isoformat(),
        "CreditNoteNumber": command.number,
        "Reference": command.step_key,
        "CurrencyCode": amount.currency,
        "LineItems": items,
    }
    return Request(
        "PUT",
        "/CreditNotes",
        "xero.credit_note",
        headers={"Idempotency-Key": command.key},
        json={"CreditNotes": [note | ({"LineAmountTypes": types} if types else {})]},
    )


def line_item(description: str, amount: Money, account_code: str, tax_type: str) -> dict[str, Any]:
    """One line of one unit. Account and tax are left out where the invoice had none: Xero then says what is
    missing.
    """
    known = {"AccountCode": account_code, "TaxType": tax_type}
    return {
        "Description": description,
        "Quantity": 1,
        "UnitAmount": number_of(amount),
        **{name: value for name, value in known.items() if value},
    }


def credit_notes_request(command: CreditNote) -> Request:
    """By number, because a taken number cannot be created again, and by our reference, because a person can
    renumber.
    """
    where = f'CreditNoteNumber=="{command.number}" OR Reference=="{command.step_key}"'
    return Request("GET", "/CreditNotes", "xero.find_credit_note", params=(("where", where), ("page", "1")))


def note_request(command: AllocateCredit | RecordRefund, operation: str) -> Request:
    return Request("GET", f"/CreditNotes/{command.credit_note_id}", f"xero.{operation}")


def allocation_request(command: AllocateCredit, today: date) -> Request:
    allocation = {
        "Invoice": {"InvoiceID": command.invoice_id},
        "Amount": number_of(command.amount),
        "Date": today.isoformat(),
    }
    return Request(
        "PUT",
        f"/CreditNotes/{command.credit_note_id}/Allocations",
        "xero.allocate_credit",
        headers={"Idempotency-Key": command.key},
        json={"Allocations": [allocation]},
    )


def payment_request(command: RecordRefund, today: date) -> Request:
    payment = {
        "CreditNote": {"CreditNoteID": command.credit_note_id},
        "Account": {"Code": command.account_code},
        "Date": today.isoformat(),
        "Amount": number_of(command.amount),
        # Our key first: it is what the look finds the payment by, the payer's reference is for people.
        "Reference": f"{command.step_key} {command.refund_reference}".strip()[:_REFERENCE_CHARS],
    }
    return Request(
        "PUT",
        "/Payments",
        "xero.record_refund",
        headers={"Idempotency-Key": command.key},
        json={"Payments": [payment]},
    )


def number_of(amount: Money) -> int | float:
    """The amount as a JSON number in major units.

    Xero takes numbers only, and Python's JSON writer knows no Decimal. The float is made last, from the exact
    decimal, and never calculated with: with at most 15 digits its text on the wire is that decimal again.
    """
    major = Decimal(amount.major)
    return int(major) if major == major.to_integral_value() else float(major)


# ------------------------------------------------------------------------------------------------------------
# Answers


def read_health(response: Response) -> Health:
    match response.status, response.json:
        case 200, {"Organisations": [{"Name": str(name), "BaseCurrency": str(currency), **rest}]}:
            locks = [
                f"{words} {day_of(rest[field])}"
                for field, words in (("PeriodLockDate", "locked to"), ("EndOfYearLockDate", "year locked to"))
                if rest.get(field)
            ]
            return Health(True, ", ".join([name, f"base currency {currency}", *(locks or ["no lock date"])]))
        case 401 | 403, _:
            return Health(False, unauthorised(response).reason)
        case 429, _:
            return Health(False, throttled(response).reason)
        case _:
            return Health(False, unreadable(response).reason)


def day_of(raw: object) -> str:
    """`/Date(1546214400000+0000)/` as `2018-12-31`; anything else as it came."""
    match = re.fullmatch(r"/Date\((\d{1,14})(?:[+-]\d{4})?\)/", str(raw))
    if match is None:
        return str(raw)
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(match[1]))).date().isoformat()


_STATES: Final = {
    "DRAFT": InvoiceState.DRAFT,
    "SUBMITTED": InvoiceState.DRAFT,
    "AUTHORISED": InvoiceState.OPEN,
    "PAID": InvoiceState.PAID,
    "VOIDED": InvoiceState.VOIDED,
    "DELETED": InvoiceState.VOIDED,
}


def read_invoice(response: Response, number: str) -> InvoiceFacts | NotFound | NoAnswer:
    """The one sales invoice with this number. Numbers of bills and of deleted invoices can be the same."""
    match response.status, response.json:
        case 200, {"Invoices": list(found)}:
            sales = [
                invoice
                for invoice in documents(found)
                if invoice.get("Type") == "ACCREC" and invoice.get("InvoiceNumber") == number
            ]
            live = [invoice for invoice in sales if not is_gone(invoice)]
            match live or sales[:1]:
                case []:
                    if is_cut_short(response.json):
                        return Unknown("Xero answered with more pages of invoices than one number can have")
                    return NotFound(reason=f"no sales invoice {number} in Xero")
                case [invoice]:
                    return invoice_facts(invoice)
                case several:
                    ids = ", ".join(str(invoice.get("InvoiceID")) for invoice in several)
                    return Permanent("ambiguous_invoice", f"several sales invoices {number} are open: {ids}")
        case 400, _:
            return Permanent("validation", messages(response.json) or unreadable(response).reason)
        case _:
            return read_trouble(response)


def invoice_facts(invoice: Mapping[str, Any]) -> InvoiceFacts | Unknown:
    match invoice:
        case {
            "InvoiceID": str(invoice_id),
            "InvoiceNumber": str(number),
            "Status": str(status),
            "CurrencyCode": str(currency),
            "Contact": {"ContactID": str(contact_id)},
            "LineItems": list(items),
        } if status in _STATES:
            # The description's own examples leave AmountCredited out where nothing was credited.
            fields = (("Total", None), ("AmountDue", None), ("AmountPaid", None), ("AmountCredited", 0))
            sums = [money_of(invoice.get(field, missing), currency) for field, missing in fields]
            lines = [line_of(item, currency) for item in items]
            match sums:
                case [Money() as total, Money() as due, Money() as paid, Money() as credited] if all(lines):
                    return InvoiceFacts(
                        platform=SPEC.platform,
                        invoice_id=invoice_id,
                        number=number,
                        state=_STATES[status],
                        contact_id=contact_id,
                        total=total,
                        due=due,
                        paid=paid,
                        credited=credited,
                        lines=tuple(filter(None, lines)),
                        line_amount_types=text_of(invoice.get("LineAmountTypes")),
                    )
    return Unknown("Xero answered with an invoice whose fields cannot be read")


def line_of(item: object, currency: str) -> InvoiceLine | None:
    """`LineAmount` is what is left after the line's discount, which is what a credit note must repeat: it
    knows none.

    A line without any amount is a text line.
    """
    match item:
        case dict() as fields:
            is_text = fields.get("LineAmount") is None and not fields.get("UnitAmount")
            gross = money_of(0 if is_text else fields.get("LineAmount"), currency)
        case _:
            return None
    if gross is None:
        return None
    return InvoiceLine(
        description=text_of(fields.get("Description")),
        gross=gross,
        account_code=text_of(fields.get("AccountCode")),
        tax_type=text_of(fields.get("TaxType")),
    )


def read_void_target(response: Response, invoice_id: str) -> str | Outcome:
    """The status to set, or the outcome where there is nothing to set."""
    match response.status, response.json:
        case 200, {"Invoices": [{"InvoiceID": str(found), "Status": str(status), **rest}]} if (
            found == invoice_id
        ):
            match status, rest.get("AmountPaid"), rest.get("AmountCredited", 0):
                case "VOIDED" | "DELETED", _, _:
                    return AlreadyDone(invoice_id, status)
                case "DRAFT" | "SUBMITTED", _, _:
                    return "DELETED"
                case "AUTHORISED", (int() | Decimal()) as paid, (int() | Decimal()) as credited:
                    if paid == 0 and credited == 0:
                        return "VOIDED"
                    return has_payments(status)
                case "PAID", _, _:
                    return has_payments(status)
                case _:
                    return Unknown(f"Xero answered with an invoice that cannot be read, status {status}")
        case 404, _:
            return Permanent("not_found", f"Xero has no invoice {invoice_id}")
        case _:
            return read_trouble(response)


def has_payments(status: str) -> Permanent:
    return Permanent(
        "has_payments",
        f"the invoice is {status} and something was paid or credited on it: it cannot be voided, and payments mirror bank "
        "lines that must stay. Plan the case again, so that a credit note is written.",
    )


def read_void(response: Response, invoice_id: str, target: str) -> Outcome | Refusal:
    match response.status, response.json:
        case 200, {"Invoices": [{"InvoiceID": str(found), "Status": str(status)} as invoice]}:
            if is_refused(invoice):
                return Refusal(messages(invoice) or "the invoice came back with errors")
            if found == invoice_id and status == target:
                return Done(invoice_id, status)
            return Unknown(f"asked for {target}, Xero answered with {status} for invoice {found}")
        case _:
            return write_trouble(response)


def read_void_found(response: Response, invoice_id: str) -> Found:
    match response.status, response.json:
        case 200, {"Invoices": [{"InvoiceID": str(found), "Status": str(status)}]} if found == invoice_id:
            if status in ("VOIDED", "DELETED"):
                return Done(invoice_id, status)
            if status in _STATES:
                return NotFound(_SETTLED_S, f"the invoice is {status}")
            return Unknown(f"Xero answered with an unknown status {status}")
        case _:
            return look_trouble(response)


def read_credit_note(response: Response, command: CreditNote) -> Outcome | Refusal:
    match response.status, response.json:
        case 200, {"CreditNotes": [dict() as note]}:
            if is_refused(note):
                return Refusal(messages(note) or "the credit note came back with errors")
            return confirm_note(note, command)
        case _:
            return write_trouble(response)


def confirm_note(note: Mapping[str, Any], command: CreditNote) -> Outcome:
    """Whether a note of ours says what was asked: that it counts, and its amount and currency."""
    match note:
        case {
            "CreditNoteID": str(note_id),
            "Reference": command.step_key,
            "Status": str(status),
            "Total": total,
            "CurrencyCode": str(currency),
        }:
            money = money_of(total, currency)
            match status:
                case "VOIDED" | "DELETED":
                    return Permanent(
                        "voided",
                        f"credit note {command.number} ({note_id}) was written and is {status} since: a person undid it",
                    )
                case "DRAFT" | "SUBMITTED":
                    return Permanent(
                        "not_approved",
                        f"credit note {command.number} ({note_id}) is there as {status}: approve it in Xero, then replay "
                        "this step, which will find it",
                    )
                case "AUTHORISED" | "PAID" if money == command.amount:
                    return Done(note_id)
                case "AUTHORISED" | "PAID" if money is not None:
                    return mismatch(f"credit note {command.number} ({note_id})", str(money), command.amount)
    return Unknown("Xero answered with a credit note whose fields cannot be read")


def read_credit_note_found(response: Response, command: CreditNote) -> Found:
    match response.status, response.json:
        case 200, {"CreditNotes": list(found)}:
            notes = [note for note in documents(found) if note.get("Type") == "ACCRECCREDIT"]
            ours = [note for note in notes if note.get("Reference") == command.step_key]
            live = [note for note in ours if not is_gone(note)]
            strange = [note for note in notes if note.get("CreditNoteNumber") == command.number]
            match live or ours[:1]:
                case [note]:
                    return confirm_note(note, command)
                case []:
                    if strange:
                        return Permanent(
                            "number_taken",
                            f"credit note {command.number} exists ({strange[0].get('CreditNoteID')}) without our "
                            f"reference {command.step_key}: compare the two, and set the reference if it is this one",
                        )
                    if is_cut_short(response.json) or len(notes) != len(found):
                        return Unknown("Xero answered with more than the notes that were asked for")
                    return NotFound(_SETTLED_S, f"no credit note {command.number} in Xero")
                case several:
                    return twice(
                        "credit notes", [note.get("CreditNoteID") for note in several], command.step_key
                    )
        case _:
            return look_trouble(response)


def read_allocation(response: Response, command: AllocateCredit) -> Outcome | Refusal:
    match response.status, response.json:
        case 200, {"Allocations": list(found)}:
            refused = [part for part in documents(found) if is_refused(part)]
            if refused:
                return Refusal(messages(refused) or "the allocation came back with errors")
            match settle_allocations(found, command):
                case NotFound():
                    return Unknown("Xero answered without the allocation that was asked for")
                case outcome:
                    return outcome
        case _:
            return write_trouble(response)


def read_allocation_found(response: Response, command: AllocateCredit) -> Found:
    match response.status, response.json:
        case 200, {
            "CreditNotes": [{"CreditNoteID": str(found), "Status": str(status), "Allocations": list(parts)}]
        } if found == command.credit_note_id:
            return note_gone(status, found) or settle_allocations(parts, command)
        case _:
            return look_trouble(response)


def settle_allocations(parts: Iterable[object], command: AllocateCredit) -> Found:
    """Looks for the allocation to our invoice. An allocation names no currency: the note's and the invoice's
    are one.
    """
    seen: list[tuple[str, Money | None]] = []
    for part in parts:
        match part:
            case {"IsDeleted": True}:
                continue
            case {"Invoice": {"InvoiceID": str(invoice_id)}, "Amount": amount, **rest}:
                if invoice_id == command.invoice_id:
                    reference = text_of(rest.get("AllocationID")) or command.credit_note_id
                    seen.append((reference, money_of(amount, command.amount.currency)))
            case _:
                return Unknown("Xero answered with an allocation that cannot be read")
    match seen:
        case []:
            return NotFound(
                _SETTLED_S, f"nothing of the credit note is allocated to invoice {command.invoice_id}"
            )
        case [(reference, Money() as amount)] if amount == command.amount:
            return Done(reference)
        case [(reference, Money() as amount)]:
            return mismatch(f"allocation {reference}", str(amount), command.amount)
        case [_]:
            return Unknown("Xero answered with an allocation whose amount cannot be read")
        case several:
            return twice("allocations", [reference for reference, _ in several], command.step_key)


def read_payment(response: Response, command: RecordRefund) -> Outcome | Refusal:
    match response.status, response.json:
        case 200, {"Payments": [dict() as payment]}:
            if is_refused(payment):
                return Refusal(messages(payment) or "the payment came back with errors")
            match payment:
                case {"Status": "AUTHORISED"}:
                    return confirm_payment(payment, command)
                case _:
                    return Unknown(f"Xero answered with a payment in status {payment.get('Status')}")
        case _:
            return write_trouble(response)


def confirm_payment(payment: Mapping[str, Any], command: RecordRefund) -> Outcome:
    """Whether a payment says what was asked. Its currency stands in the document that it is on, where that is
    told: the description's examples put a credit note under `Invoice`.
    """
    currencies = [
        document["CurrencyCode"]
        for document in documents([payment.get("CreditNote"), payment.get("Invoice")])
        if isinstance(document.get("CurrencyCode"), str)
    ]
    currency = currencies[0] if currencies else command.amount.currency
    match payment:
        case {"PaymentID": str(payment_id), "Amount": amount}:
            match money_of(amount, currency):
                case Money() as money if money == command.amount:
                    return Done(payment_id)
                case Money() as money:
                    return mismatch(f"payment {payment_id}", str(money), command.amount)
    return Unknown("Xero answered with a payment whose fields cannot be read")


def read_payment_found(response: Response, command: RecordRefund) -> Found:
    """Looks through the payments on our note for the one whose reference starts with our key."""
    match response.status, response.json:
        case 200, {
            "CreditNotes": [{"CreditNoteID": str(found), "Status": str(status), "Payments": list(paid)}]
        } if found == command.credit_note_id:
            payments = documents(paid)
            gone = note_gone(status, found)
            if gone or len(payments) != len(paid):
                return gone or Unknown("Xero answered with a payment that cannot be read")
            ours = [p for p in payments if is_ours(p, command)]
            live = [p for p in ours if p.get("Status") != "DELETED"]
            match live:
                case [payment]:
                    return confirm_payment(payment, command)
                case [] if ours:
                    return Permanent(
                        "deleted",
                        f"payment {ours[0].get('PaymentID')} was recorded and is deleted since: a person undid it",
                    )
                case []:
                    return unmarked_payment(payments, command) or NotFound(
                        _SETTLED_S, "no payment with our reference on the credit note"
                    )
                case several:
                    return twice("payments", [p.get("PaymentID") for p in several], command.step_key)
        case _:
            return look_trouble(response)


def is_ours(payment: Mapping[str, Any], command: RecordRefund) -> bool:
    """The key is the reference's first word, whole: `….1` must not be taken for `….10`."""
    return text_of(payment.get("Reference")).split(" ")[0] == command.step_key


def unmarked_payment(payments: Iterable[Mapping[str, Any]], command: RecordRefund) -> Permanent | None:
    """A bookkeeper who matches the refund on the bank statement to our note records it without our reference.
    Recording it again would pay it twice in the books, so a person compares.
    """
    for payment in payments:
        same = money_of(payment.get("Amount"), command.amount.currency) == command.amount
        if same and not payment.get("Reference") and payment.get("Status") != "DELETED":
            return Permanent(
                "ambiguous_payment",
                f"payment {payment.get('PaymentID')} over {command.amount} is on the credit note without our reference. If "
                "it is this refund, resolve this step with its id; if not, add any reference to it in Xero and replay.",
            )
    return None


# ------------------------------------------------------------------------------------------------------------
# What answers have in common


def documents(found: Iterable[object]) -> list[dict[str, Any]]:
    return [document for document in found if isinstance(document, dict)]


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def money_of(value: object, currency: str) -> Money | None:
    """A JSON number in major units as money; None for anything that is no amount in that currency."""
    match value:
        case bool():
            return None
        case int() | Decimal():
            amount = Decimal(value)
        case _:
            return None
    # Bounds first: an exponent of a billion would be worked out to all its digits.
    if not amount.is_finite() or amount.adjusted() > 14 or not re.fullmatch(r"[A-Z]{3}", currency):
        return None
    scaled = amount.scaleb(exponent_of(currency))
    return Money(int(scaled), currency) if scaled == scaled.to_integral_value() else None


def is_gone(document: Mapping[str, Any]) -> bool:
    return document.get("Status") in ("VOIDED", "DELETED")


def is_cut_short(body: Mapping[str, Any]) -> bool:
    """More pages than the one that was asked for."""
    match body.get("pagination"):
        case {"pageCount": int(pages)}:
            return pages > 1
        case _:
            return False


def is_refused(document: Mapping[str, Any]) -> bool:
    """A 200 can carry a document that was not accepted."""
    return (
        document.get("HasErrors") is True
        or document.get("HasValidationErrors") is True
        or bool(document.get("ValidationErrors"))
        or document.get("StatusAttributeString") == "ERROR"
    )


def messages(body: object) -> str:
    """Every validation message in an answer, in its order, joined: for people to read, never to branch on."""
    found: list[str] = []
    match body:
        case {"ValidationErrors": list(errors), **rest}:
            found += [
                error["Message"] for error in documents(errors) if isinstance(error.get("Message"), str)
            ]
            found.append(messages(rest))
        case {"Elements": list(elements), **rest}:
            found.append(messages(elements) or text_of(rest.get("Message")))
        case {"Message": str(message)}:
            found.append(message)
        case list():
            found += [messages(element) for element in body]
    return "; ".join(dict.fromkeys(message for message in found if message))


def note_gone(status: str, note_id: str) -> Permanent | None:
    if status in ("VOIDED", "DELETED"):
        return Permanent("voided", f"credit note {note_id} is {status}: a person undid it")
    return None


def mismatch(what: str, is_now: str, asked: Money) -> Permanent:
    return Permanent(
        "amount_mismatch", f"{what} says {is_now}, {asked} was asked for: correct it in Xero by hand"
    )


def twice(what: str, ids: Iterable[object], step_key: str) -> Permanent:
    return Permanent(
        "booked_twice",
        f"several {what} in Xero are for {step_key}: {', '.join(map(str, ids))}. Undo all but one.",
    )


def unreadable(response: Response) -> Unknown:
    return Unknown(f"unreadable answer, status {response.status}")


def unauthorised(response: Response) -> Retryable:
    """401: the token; 403: a missing scope, or the organisation was disconnected from the app."""
    return Retryable(
        "unauthorised",
        f"Xero answered {response.status}: check the client id, its secret and scopes, and that the custom connection to the "
        "organisation is still there",
    )


def throttled(response: Response) -> Retryable:
    limit = response.headers.get("x-rate-limit-problem", "not named")
    return Retryable("throttled", f"Xero's rate limit is reached: {limit}", response.retry_after_s)


def read_trouble(response: Response) -> Retryable | Unknown:
    """Before any write: a failed read did nothing, so it may simply be tried again."""
    match response.status:
        case 401 | 403:
            return unauthorised(response)
        case 429:
            return throttled(response)
        case 500 | 502 | 503 | 504:
            # 503 is also what an organisation that is offline for maintenance answers.
            return Retryable("unavailable", f"Xero answered {response.status}", response.retry_after_s)
        case _:
            return unreadable(response)


def look_trouble(response: Response) -> Unknown:
    """After a write: a look that failed says nothing about the effect, whatever its status."""
    match response.status:
        case 401 | 403:
            return Unknown(unauthorised(response).reason)
        case 429:
            return Unknown(throttled(response).reason)
        case _:
            return unreadable(response)


def write_trouble(response: Response) -> Outcome | Refusal:
    """What a write came to that was not answered with its document. A 5xx may have acted, 503 (also an
    organisation that is offline) included.
    """
    match response.status, response.json:
        case 401 | 403, _:
            return unauthorised(response)
        case 429, _:
            return throttled(response)
        case 400, {"Elements": _} | {"ValidationErrors": _} | {"Message": str()}:
            return Refusal(messages(response.json) or "refused without a message")
        case 404, _:
            return Permanent(
                "not_found", "Xero has no such document: it was removed, or belongs to another organisation"
            )
        case 412, _:
            return Permanent("precondition", "Xero refused the call's precondition")
        case _:
            return unreadable(response)
