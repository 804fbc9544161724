"""Redaction: what never reaches a log line or an audit row.

By name, whatever the spelling (`apiKey`, `api_key` and `X-Api-Key` are one name): headers, query and form fields, JSON keys at
any depth. By shape inside texts: e-mail addresses, and card numbers that pass the Luhn check. By value: the very credentials
that a call carries, because vendors quote them in error messages. A connector adds its own names. Nothing here can be
turned back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from refundflow.transport.base import parse_json

MASK: Final = "***"

#: Names that are always masked, in lower case and without marks.
# fmt: off
_NAMES: Final = frozenset({
    # credentials
    "authorization", "proxyauthorization", "wwwauthenticate", "cookie", "setcookie", "credentials", "bearer", "signature",
    "session", "sessionid", "apikey", "accesskey", "secretkey", "privatekey", "sharedkey", "keysecret", "pin", "otp",
    # people
    "name", "firstname", "lastname", "givenname", "familyname", "surname", "middlename", "fullname", "displayname",
    "realname", "username", "customername", "buyername", "recipientname", "shippingname", "billingname", "contactname",
    "to", "cc", "bcc", "recipient", "from", "sender", "replyto", "mail", "tel", "telephone", "mobile", "fax", "msisdn",
    "line1", "line2", "line3", "address1", "address2", "addressline1", "addressline2", "addressline3", "street", "city",
    "zip", "zipcode", "postalcode", "postcode", "ip", "customerip", "birthday", "birthdate", "dateofbirth", "taxid",
    # their money
    "card", "number", "cardnumber", "pan", "cvc", "cvv", "csc", "cardholder", "cardholdername", "nameoncard",
    "accountholder", "accountnumber", "iban", "bic", "sortcode", "routingnumber",
})
#: Whatever ends like this is masked too: `x_acme_access_token`, `customer_email`, `shipping_address`.
_ENDINGS: Final = (
    "token", "secret", "password", "passwd", "passphrase", "apikey", "email", "phone", "phonenumber", "address",
)
# fmt: on

_EMAIL: Final = re.compile(r"[\w.%+'\-]{1,64}(?:@|%40)(?:[\w\-]{1,63}\.){1,8}[\w\-]{2,63}")
# First digits and lengths of the card networks. Shorter runs are left alone: order ids of 13 and 14 digits pass the
# checksum one time in ten, and an audit without its ids explains nothing.
_CARD: Final = re.compile(r"(?<![\w.])(?:[2-6]\d(?:[ -]?\d){13,17}|3[068]\d{12})(?!\w)")
_MARKS: Final = re.compile(r"[^a-z0-9]")
#: Shorter credentials would mask innocent words.
_SHORTEST_SECRET: Final = 6
#: Deeper than any vendor nests; below it everything is masked, so that keeping an answer never fails.
_DEEPEST: Final = 60


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is masked for one platform. `names`: the connector's own; `secrets`: credentials of this call."""

    names: frozenset[str] = frozenset()
    secrets: tuple[str, ...] = ()

    def knowing(self, secrets: Iterable[str]) -> Redaction:
        """The same, and these values are masked wherever they stand."""
        known = {s for s in (*self.secrets, *secrets) if len(s) >= _SHORTEST_SECRET}
        # The longest first: a login inside a longer header must not leave the rest of the header behind.
        return replace(self, secrets=tuple(sorted(known, key=lambda s: (-len(s), s))))

    def hides(self, name: str) -> bool:
        """Whether a header or field of this name is masked whole."""
        return _is_always_hidden(name) or _bare(name) in _bare_all(self.names)

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {n: MASK if self.hides(n) and v else self.text(v) for n, v in headers.items()}

    def fields(self, pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
        """Form fields or parameters; `metadata[email]` is masked as `email` is."""
        return [[n, MASK if v and self._hides_part(n) else self._member(v, _DEEPEST)] for n, v in pairs]

    def json(self, value: Any) -> Any:
        """Plain JSON of the same shape. Numbers and truths under masked names are masked too; what is empty stays (that
        nothing was there is no secret), and Decimals become texts.
        """
        return self._json(value, _DEEPEST)

    def _json(self, value: Any, depth: int) -> Any:
        if depth == 0:
            return MASK
        match value:
            case Mapping():
                return {self.text(str(n)): self._value(str(n), v, depth - 1) for n, v in value.items()}
            case list() | tuple():
                return [self._json(v, depth - 1) for v in value]
            case str():
                return self._member(value, depth)
            case None | bool() | int() | float():
                return value
            case Decimal():
                return str(value)
            case bytes():
                return self.text(value.decode("utf-8", "replace"))
            case _:
                return self.text(str(value))

    def _value(self, name: str, value: Any, depth: int) -> Any:
        return MASK if self.hides(name) and value not in (None, "", [], {}) else self._json(value, depth)

    def url(self, url: str) -> str:
        """The address without user and password, its query masked like fields; an unreadable one is masked whole."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return MASK
        host = parts.netloc.rpartition("@")[2]
        pairs = self.fields(parse_qsl(parts.query, keep_blank_values=True))
        query = "&".join(f"{quote(name, safe='[]$')}={quote(value, safe='*,:/')}" for name, value in pairs)
        return urlunsplit((parts.scheme, host, self.text(parts.path), query, ""))

    def text(self, text: str) -> str:
        """Credentials, e-mail addresses and card numbers inside a text."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return _CARD.sub(_mask_card, _EMAIL.sub(MASK, text))

    def _hides_part(self, name: str) -> bool:
        return any(self.hides(part) for part in (name, *re.split(r"[\[\].]+", name)) if part)

    def _member(self, text: str, depth: int) -> str:
        """A text inside a body. Where it is JSON itself (message blocks, GraphQL variables), its keys count as well."""
        inner = _inner_json(text)
        return self.text(text) if inner is None else json.dumps(self._json(inner, depth), ensure_ascii=False)


def _inner_json(text: str) -> Any:
    """The object or list that a text holds, or None."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return parse_json(text.encode("utf-8", "replace"))
    except RecursionError:
        return None


@lru_cache(maxsize=4096)
def _bare(name: str) -> str:
    return _MARKS.sub("", name.lower())


@lru_cache(maxsize=64)
def _bare_all(names: frozenset[str]) -> frozenset[str]:
    return frozenset(_bare(name) for name in names)


@lru_cache(maxsize=4096)
def _is_always_hidden(name: str) -> bool:
    bare = _bare(name)
    single = bare.removesuffix("es") if bare.endswith("sses") else bare.removesuffix("s")
    return any(form in _NAMES or form.endswith(_ENDINGS) for form in (bare, single))


def _mask_card(found: re.Match[str]) -> str:
    return MASK if _is_card(found[0]) else found[0]


def _is_card(text: str) -> bool:
    """The Luhn check."""
    digits = [int(c) for c in text if c in "0123456789"]
    doubled = [sum(divmod(2 * d, 10)) for d in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
