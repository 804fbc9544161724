"""The customer's page: what is in the order, what can still be cancelled, one confirmed request, and honest progress after it.

Rendered here, works without JavaScript. A signed, expiring link (`transport/links.py`) says which order it is about and that its
holder may ask; the form's own token, bound to a cookie and to the link, keeps other sites from sending it. What is asked becomes one
event of the inbox, like everything else: this page decides nothing and calls no effect.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import falcon
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Connection

from refundflow.domain.facts import OrderFacts, OrderLine, OrderRef
from refundflow.domain.inbound import Delivery, Verified
from refundflow.domain.progress import Progress, progress_of
from refundflow.domain.states import CaseState
from refundflow.flow.gather import ReadLater, read_order
from refundflow.ingest.doors import Door
from refundflow.ingest.enqueue import Enqueuer
from refundflow.observe import logger
from refundflow.store import cases, inbox, steps
from refundflow.transport.links import BadLink, Link, read_link
from refundflow.wiring import House

log = logger(__name__)

SOURCE: Final = "portal"
TOPIC: Final = "cancellation.requested"
REASONS: Final = (
    ("customer", "I changed my mind"),
    ("other", "Something else"),
)
_COOKIE: Final = "refundflow_portal"
_PATIENCE_S: Final = 2.0
_LOOK_AGAIN_S: Final = 10
_MOST_CALLERS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What the form says. `units`: by line; empty where the whole order is meant."""

    is_whole: bool
    units: Mapping[str, int]
    reason: str

    @property
    def body(self) -> dict[str, Any]:
        lines = [{"line_id": line_id, "quantity": n} for line_id, n in self.units.items() if n]
        return {"reason": self.reason, **({} if self.is_whole else {"lines": lines})}


class TriesLimit:
    """So many tries a minute for each caller and each link, counted in this process; the oldest callers are forgotten first."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def is_over(self, *names: str, now: float | None = None) -> bool:
        """Counts one try under every name; whether any of them has had too many."""
        at = time.monotonic() if now is None else now
        with self._lock:
            counted = [self._count(name, at) for name in names]  # every name, whatever the first one says
        return any(counted)

    def _count(self, name: str, at: float) -> bool:
        tries = self._tries.setdefault(name, deque())
        self._tries.move_to_end(name)
        while tries and tries[0] <= at - 60:
            tries.popleft()
        if len(tries) >= self._per_minute:
            return True
        tries.append(at)
        while len(self._tries) > _MOST_CALLERS:
            self._tries.popitem(last=False)
        return False


class Portal(Door):
    """`GET /portal?…` shows the order or its progress; `POST /portal?…` asks to confirm, then takes the request."""

    def __init__(self, house: House, enqueuer: Enqueuer) -> None:
        super().__init__(house, enqueuer)
        self.key = house.settings.portal_key.reveal().encode()
        self.limit = TriesLimit(house.settings.portal.tries_per_minute)
        self.pages = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        link = self._link(request, response)
        if link is None:
            return
        order = self._order(link, response)
        if order is None:
            return
        progress = self._progress(order)
        if progress is not None and request.get_param("again") is None:
            self._show_progress(request, response, order, *progress)
        else:
            self._show_form(request, response, link, order)

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        link = self._link(request, response)
        if link is None:
            return
        if self.limit.is_over(f"address {request.access_route[0]}", f"link {link.platform} {link.number}"):
            response.set_header("Retry-After", "60")
            self._trouble(
                response, falcon.HTTP_429, "Too many tries", "Wait a minute, then send the form again."
            )
            return
        form = dict(parse_qsl(self.read_body(request).decode("utf-8", "replace"), keep_blank_values=True))
        cookie = request.cookies.get(_COOKIE, "")
        if not cookie or not hmac.compare_digest(
            self._token(cookie, link).encode(), form.get("token", "").encode()
        ):
            self._trouble(
                response,
                falcon.HTTP_403,
                "The form could not be checked",
                "Open your link again and fill the form in there. Cookies must be allowed for this page.",
            )
            return
        order = self._order(link, response)
        if order is None:
            return
        wish = read_wish(form, order)
        if isinstance(wish, str):
            self._show_form(request, response, link, order, problem=wish, filled=form)
        elif form.get("confirmed") != "yes":
            self._show_review(request, response, link, order, wish, cookie)
        else:
            self._take(request, response, order, wish, form)

    # ------------------------------------------------------------ what is asked for

    def _take(
        self,
        request: falcon.Request,
        response: falcon.Response,
        order: OrderFacts,
        wish: Wish,
        form: Mapping[str, str],
    ) -> None:
        """The request becomes an event. The form's own id names it, so a form that is sent twice is one request."""
        body = {
            "order": {"id": order.order_id},
            "platform": order.platform,
            "requested_by": "customer",
            **wish.body,
        }
        raw = json.dumps(body, ensure_ascii=False).encode()
        form_id = form.get("form_id", "")
        name = hashlib.sha256(form_id.encode()).hexdigest()
        stored = self.store(SOURCE, Verified(f"{_about(order)}{name}", TOPIC), Delivery({}, raw))
        log.info("portal.asked", event_id=stored.event_id, is_new=stored.is_new)
        response.status = falcon.HTTP_303
        response.set_header("Location", f"/portal?{_query(request)}")

    # ------------------------------------------------------------ what is read

    def _link(self, request: falcon.Request, response: falcon.Response) -> Link | None:
        link = read_link(self.key, {n: str(v) for n, v in request.params.items()}, self.house.context.now())
        if isinstance(link, BadLink):
            self._trouble(response, falcon.HTTP_403, "This link cannot be used", f"{link.why.capitalize()}.")
            return None
        return link

    def _order(self, link: Link, response: falcon.Response) -> OrderFacts | None:
        order = read_order(self.house.context, OrderRef(link.platform, "", link.number))
        if isinstance(order, OrderFacts):
            return order
        if isinstance(order, ReadLater):
            response.set_header("Retry-After", "30")
            self._trouble(
                response,
                falcon.HTTP_503,
                "The shop does not answer",
                "Nothing was changed. Try again in a minute.",
            )
        else:
            log.warning("portal.order_unreadable", platform=link.platform, reason=order.reason)
            self._trouble(
                response,
                falcon.HTTP_404,
                "The order was not found",
                f"The shop does not show order {link.number}. Please write to the shop.",
            )
        return None

    def _progress(self, order: OrderFacts) -> tuple[Progress, str] | None:
        """How the order's newest case stands, and its id; None where there is none."""

        def work(connection: Connection) -> tuple[Progress, str] | None:
            case = cases.latest_of_order(connection, order.platform, order.order_id)
            if inbox.is_waiting(connection, SOURCE, _about(order)):
                return progress_of(CaseState.RUNNING, ()), case.case_id if case else ""
            if case is None or (case.state is CaseState.HELD and not case.wanted.is_verified):
                return None  # whoever opens the link is the one who can confirm
            kept = cases.load_decision(connection, case.decision_id) if case.decision_id else None
            is_partial = kept is not None and not kept.decision.is_whole
            told = progress_of(case.state, steps.of_case(connection, case.case_id), is_partial=is_partial)
            return told, case.case_id

        return self.house.context.db.run(work, patience_s=_PATIENCE_S)

    # ------------------------------------------------------------ what is shown

    def _show_progress(
        self,
        request: falcon.Request,
        response: falcon.Response,
        order: OrderFacts,
        progress: Progress,
        case_id: str,
    ) -> None:
        if not progress.is_final:
            response.set_header("Refresh", str(_LOOK_AGAIN_S))
        self._show(
            response,
            "progress.html.j2",
            order=order,
            progress=progress,
            case_id=case_id,
            here=f"/portal?{_query(request)}",
            can_ask_again=progress.is_final and _can_cancel(order),
        )

    def _show_form(
        self,
        request: falcon.Request,
        response: falcon.Response,
        link: Link,
        order: OrderFacts,
        *,
        problem: str = "",
        filled: Mapping[str, str] | None = None,
    ) -> None:
        cookie = request.cookies.get(_COOKIE, "") or secrets.token_urlsafe(24)
        response.set_cookie(
            _COOKIE,
            cookie,
            http_only=True,
            secure=request.scheme == "https",
            same_site="Strict",
            path="/portal",
        )
        if problem:
            response.status = falcon.HTTP_422
        self._show(
            response,
            "form.html.j2",
            order=order,
            lines=[_line(line) for line in order.lines],
            can_cancel=_can_cancel(order),
            reasons=REASONS,
            token=self._token(cookie, link),
            action=f"/portal?{_query(request)}",
            problem=problem,
            filled=dict(filled or {}),
        )

    def _show_review(
        self,
        request: falcon.Request,
        response: falcon.Response,
        link: Link,
        order: OrderFacts,
        wish: Wish,
        cookie: str,
    ) -> None:
        lines = [
            (line.title, _cancellable(line) if wish.is_whole else wish.units.get(line.line_id, 0))
            for line in order.lines
        ]
        hidden = {
            "token": self._token(cookie, link),
            "form_id": secrets.token_urlsafe(18),
            "what": "whole" if wish.is_whole else "part",
            "reason": wish.reason,
            "confirmed": "yes",
            **{f"units.{line_id}": str(n) for line_id, n in wish.units.items()},
        }
        self._show(
            response,
            "review.html.j2",
            order=order,
            lines=[(title, n) for title, n in lines if n],
            is_whole=wish.is_whole,
            hidden=hidden,
            action=f"/portal?{_query(request)}",
        )

    def _trouble(self, response: falcon.Response, status: str, title: str, text: str) -> None:
        response.status = status
        self._show(response, "trouble.html.j2", title=title, text=text)

    def _show(self, response: falcon.Response, page: str, **words: Any) -> None:
        shop = self.house.context.shop
        words |= {"shop_name": shop.name, "support_email": shop.support_email}
        response.content_type = falcon.MEDIA_HTML
        response.text = self.pages.get_template(page).render(words)
        response.set_header("Cache-Control", "no-store")
        response.set_header("Referrer-Policy", "no-referrer")  # the address is the customer's right to ask
        response.set_header("X-Content-Type-Options", "nosniff")
        response.set_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        )

    def _token(self, cookie: str, link: Link) -> str:
        said = f"form\n{cookie}\n{link.platform}\n{link.number}\n{link.expires}"
        return hmac.new(self.key, said.encode(), hashlib.sha256).hexdigest()


class Style:
    """`GET /portal.css`: the page's only file."""

    def __init__(self) -> None:
        self.css = (Path(__file__).parent / "pages" / "portal.css").read_text(encoding="utf-8")

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        response.content_type = "text/css"
        response.text = self.css
        response.set_header("Cache-Control", "max-age=3600")


def read_wish(form: Mapping[str, str], order: OrderFacts) -> Wish | str:
    """What the form asks for, held against the order; or what is wrong with it, for the customer."""
    what, reason = form.get("what", ""), form.get("reason", "customer")
    if reason not in dict(REASONS):
        return "Choose a reason."
    if what not in ("whole", "part"):
        return "Choose whether the whole order or only a part of it is to be cancelled."
    units: dict[str, int] = {}
    named = [
        value for name, value in form.items() if name.startswith("units.") and value.strip() not in ("", "0")
    ]
    if what == "whole" and named:
        return "You entered a number and chose everything. Choose which of the two you mean, or set the numbers to 0."
    for line in order.lines if what == "part" else ():
        raw = form.get(f"units.{line.line_id}", "0").strip() or "0"
        most = _cancellable(line)
        if not raw.isascii() or not raw.isdigit() or len(raw) > 6 or int(raw) > most:
            return f"{line.title}: enter a number from 0 to {most}."
        if int(raw):
            units[line.line_id] = int(raw)
    if what == "part" and not units:
        return "Enter how many of which article are to be cancelled."
    return Wish(what == "whole", units, reason)


def _about(order: OrderFacts) -> str:
    """How the ids of all requests about an order begin."""
    return f"{order.platform}:{order.order_id}:"


def _cancellable(line: OrderLine) -> int:
    return max(0, min(line.unfulfilled, line.refundable))


def _can_cancel(order: OrderFacts) -> bool:
    return order.cancelled_at is None and any(_cancellable(line) for line in order.lines)


def _line(line: OrderLine) -> dict[str, Any]:
    return {
        "id": line.line_id,
        "title": line.title,
        "quantity": line.quantity,
        "unit": str(line.unit),
        "most": _cancellable(line),
        "shipped": line.quantity - line.unfulfilled,
    }


def _query(request: falcon.Request) -> str:
    """The link's own parameters, and nothing that somebody added."""
    names = ("platform", "order", "expires", "signature")
    return urlencode({name: request.get_param(name) or "" for name in names})
