"""The one place where concrete things are built and tied together."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import redis

from refundflow.connectors import (
    amazon,
    bigcommerce,
    etsy,
    freshdesk,
    google_sheets,
    inventory_flags,
    magento,
    mailgun,
    notion,
    paypal,
    portal_api,
    quickbooks_commerce,
    sap_business_one,
    sendgrid,
    shopify,
    slack,
    square,
    stripe,
    trello,
    twilio,
    woocommerce,
    xero,
    zendesk,
    zoho_inventory,
)
from refundflow.connectors.base import Inbound
from refundflow.domain.plan import Routing
from refundflow.flow.compose import ComposeError, Composer
from refundflow.flow.context import Context, Platforms, Shop, no_portal
from refundflow.settings import Secret, Settings, SettingsError, read
from refundflow.store.db import Database
from refundflow.store.tokens import TokenVault, read_keys
from refundflow.transport.base import Http, Request, Response, Token, TokenSource, Wire
from refundflow.transport.http import RequestsWire
from refundflow.transport.links import make_link
from refundflow.transport.pacing import LocalPacer, RedisPacer

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class House:
    """The built house: settings, and the context that every move takes."""

    settings: Settings
    context: Context

    @property
    def db(self) -> Database:
        return self.context.db

    @property
    def platforms(self) -> Platforms:
        return self.context.platforms


@functools.cache
def house() -> House:
    """The house of this process, built on first use from the environment. Raises SettingsError."""
    settings, problems = read()
    if problems:
        raise SettingsError((*problems, *platform_problems(settings)))
    return build(settings)


def platform_problems(settings: Settings) -> tuple[str, ...]:
    """What is wrong with the platforms' settings, whatever else is wrong."""
    try:
        build_platforms(settings, RequestsWire(LocalPacer()))
    except SettingsError as error:
        return error.problems
    return ()


def build(settings: Settings) -> House:
    """Builds a house. Nothing is connected yet: connections are made on first use."""
    database = Database(settings.database_url.reveal())
    wire = ScaledWire(
        RequestsWire(RedisPacer(_redis_factory(settings.redis_url)), vault=_vault(settings, database)),
        settings.flow.rate_factor,
        settings.flow.time_factor,
    )
    composer = Composer(Path(settings.shop.templates) if settings.shop.templates else None)
    if settings.shop.templates:
        try:
            composer.check_templates()
        except ComposeError as error:
            raise SettingsError((f"[shop] templates: {error}",)) from error
    context = Context(
        db=database,
        platforms=build_platforms(settings, wire),
        policy=settings.policy,
        routing=settings.routing,
        pace=settings.pace,
        composer=composer,
        shop=Shop(settings.shop.name, settings.shop.support_email),
        relaunch_s=settings.flow.relaunch_s,
        auth_pause_s=settings.flow.auth_pause_s,
        poll_s=settings.flow.poll_s,
        second_looks_h=settings.flow.second_looks_h,
        routes=settings.routes,
        mail_rules=settings.email,
        members=dict(settings.people.members),
        portal_link=_portal_link(settings),
    )
    return House(settings, context)


def _portal_link(settings: Settings) -> Callable[[str, str, datetime], str]:
    """How the house makes a customer's link; empty links where there is no page or no key to sign with."""
    base_url, key = settings.portal.base_url, settings.portal_key.reveal().encode()
    if not base_url or not key:
        return no_portal

    def link(platform: str, number: str, now: datetime) -> str:
        return make_link(
            base_url, key, platform, number, int(now.timestamp() + settings.portal.link_h * 3600)
        )

    return link


def _vault(settings: Settings, database: Database) -> TokenVault | None:
    """Where shared tokens are kept; None where no platform has any. Raises SettingsError for keys that are none."""
    if not settings.token_keys:
        return None
    try:
        return TokenVault(database, read_keys(settings.token_keys.reveal()))
    except ValueError as error:
        raise SettingsError((f"REFUNDFLOW_TOKEN_KEYS: {error}",)) from error


@dataclass(frozen=True, slots=True)
class ScaledWire:
    """A wire whose connections have the connectors' own limits, scaled by the settings."""

    wire: Wire
    rate_factor: float
    time_factor: float

    def http(self, *, rate_per_s: float, burst: int, read_s: float, **options: Any) -> Http:
        """As `transport.base.Wire`; a read never gets less than a second."""
        return self.wire.http(
            rate_per_s=rate_per_s * self.rate_factor,
            burst=max(1, round(burst * self.rate_factor)),
            read_s=max(1.0, read_s * self.time_factor),
            **options,
        )

    def client_credentials(self, http: Http, request: Request, **options: Any) -> TokenSource:
        return self.wire.client_credentials(http, request, **options)

    def refreshed_tokens(self, http: Http, request: Callable[[str], Request], **options: Any) -> TokenSource:
        return self.wire.refreshed_tokens(http, request, **options)

    def session_tokens(
        self, http: Http, request: Request, read: Callable[[Response], Token | None], **options: Any
    ) -> TokenSource:
        return self.wire.session_tokens(http, request, read, **options)


def build_platforms(settings: Settings, wire: Wire) -> Platforms:
    """Every platform that the settings name. Raises SettingsError with all that is missing."""
    given = _Credentials(settings.platforms)
    keys = {slug: given.of(slug, kind) for slug, kind in CREDENTIALS.items()}

    def made(slug: str, build: Callable[[Any, Wire], P]) -> dict[str, P]:
        """The platform under its slug, or nothing where it is not set up."""
        return {} if keys[slug] is None else {slug: build(keys[slug], wire)}

    # One line a platform; what it can do is checked by the types of the maps below.
    shops = made("shopify", shopify.build)
    woos = made("woocommerce", woocommerce.build)
    magentos = made("magento", magento.build)
    bigs = made("bigcommerce", bigcommerce.build)
    squares = made("square", square.build)
    stripes = made("stripe", stripe.build)
    paypals = made("paypal", paypal.build)
    xeros = made("xero", xero.build)
    quickbooks = made("quickbooks-commerce", quickbooks_commerce.build)
    zohos = made("zoho-inventory", zoho_inventory.build)
    saps = made("sap-business-one", sap_business_one.build)
    mailguns = made("mailgun", mailgun.build)
    slacks = made("slack", slack.build)
    etsies = made("etsy", etsy.build)
    amazons = made("amazon", amazon.build)
    sendgrids = made("sendgrid", sendgrid.build)
    twilios = made("twilio", twilio.build)
    zendesks = made("zendesk", zendesk.build)
    freshdesks = made("freshdesk", freshdesk.build)
    trellos = made("trello", trello.build)
    notions = made("notion", notion.build)
    sheets = made("google-sheets", google_sheets.build)
    api = portal_api.PortalApi(settings.routing.order_platform, settings.ingest.api_limit_lines)
    # The customer's page stores the same body as the shop's own site sends.
    inbound: dict[str, Inbound] = {"api": api, "portal": api}
    if settings.flag_keys:
        inbound["inventory-flags"] = inventory_flags.InventoryFlags(settings.flag_keys, api)
    if isinstance(k := keys["shopify"], shopify.Credentials):
        inbound["shopify"] = shopify.ShopifyInbound(k.webhook_secret or k.client_secret)
    if isinstance(k := keys["woocommerce"], woocommerce.Credentials):
        inbound["woocommerce"] = woocommerce.WooCommerceInbound(k.webhook_secret)
    if isinstance(keys["magento"], magento.Credentials):
        inbound["magento"] = magento.MagentoInbound()
    if isinstance(k := keys["bigcommerce"], bigcommerce.Credentials):
        inbound["bigcommerce"] = k.inbound
    if isinstance(k := keys["square"], square.Credentials):
        inbound["square"] = square.SquareInbound(k.webhook_signature_key, k.notification_url)
    if isinstance(k := keys["paypal"], paypal.Credentials):
        inbound["paypal"] = paypal.build_inbound(k, wire)
    if isinstance(keys["sap-business-one"], sap_business_one.Credentials):
        inbound["sap-business-one"] = sap_business_one.SapInbound()
    if isinstance(k := keys["stripe"], stripe.Credentials):
        inbound["stripe"] = stripe.StripeInbound(k.webhook_secret, k.order_metadata_key)
    if isinstance(k := keys["quickbooks-commerce"], quickbooks_commerce.Credentials):
        inbound["quickbooks-commerce"] = quickbooks_commerce.QuickBooksInbound(k.webhook_secret, k.realm_id)
    if isinstance(k := keys["zoho-inventory"], zoho_inventory.Credentials):
        flagged = k.order_platform or settings.routing.order_platform
        inbound["zoho-inventory"] = zoho_inventory.ZohoInbound(
            k.webhook_secret, flagged, k.webhook_header, k.flag_field
        )
    home = settings.routing.order_platform
    if isinstance(k := keys["etsy"], etsy.Credentials):
        inbound["etsy"] = etsy.EtsyInbound(k.webhook_secret, k.shop_id)
    if isinstance(keys["amazon"], amazon.Credentials):
        inbound["amazon"] = amazon.AmazonInbound()
    if isinstance(k := keys["mailgun"], mailgun.Credentials):
        inbound["mailgun"] = k.inbound
    if isinstance(k := keys["slack"], slack.Credentials) and k.signing_secret:
        inbound["slack"] = k.inbound
    if isinstance(k := keys["sendgrid"], sendgrid.Credentials):
        inbound["sendgrid"] = k.inbound
    if isinstance(k := keys["twilio"], twilio.Credentials):
        inbound["twilio"] = twilio.TwilioInbound(k.auth_token, k.webhook_url, k.status_callback_url)
    if isinstance(k := keys["zendesk"], zendesk.Credentials):
        inbound["zendesk"] = zendesk.build_inbound(k, home)
    if isinstance(k := keys["freshdesk"], freshdesk.Credentials):
        inbound["freshdesk"] = freshdesk.build_inbound(k, home)
    if isinstance(k := keys["trello"], trello.Credentials):
        inbound["trello"] = trello.build_inbound(k)
    platforms = Platforms(
        orders={**shops, **woos, **magentos, **bigs, **squares, **amazons, **zohos, **saps},
        channels=etsies,
        readers=etsies,
        mirrors={**zohos, **saps},
        lines={**shops},
        recorders={**woos, **magentos, **bigs},
        stock={**shops, **woos, **magentos, **bigs, **squares, **zohos, **saps},
        refunders={**shops, **woos, **magentos, **bigs, **squares, **amazons, **stripes, **paypals},
        voiders={**bigs, **squares, **stripes, **paypals},
        books={**xeros, **quickbooks, **zohos, **saps},
        allocators={**xeros},
        pollers={**woos, **magentos, **bigs, **saps, **etsies, **amazons},
        messengers={**mailguns, **sendgrids, **twilios, **slacks},
        desks={**zendesks, **freshdesks},
        keepers={**trellos, **notions, **sheets},
        inbound=inbound,
        all={
            **shops,
            **woos,
            **magentos,
            **bigs,
            **squares,
            **stripes,
            **paypals,
            **xeros,
            **quickbooks,
            **zohos,
            **saps,
            **mailguns,
            **slacks,
            **etsies,
            **amazons,
            **sendgrids,
            **twilios,
            **zendesks,
            **freshdesks,
            **trellos,
            **notions,
            **sheets,
        },
    )
    problems = [*given.problems, *_routing_problems(settings, platforms)]
    if problems:
        raise SettingsError(tuple(problems))
    return platforms


#: What each platform needs to be set up, declared by its connector.
CREDENTIALS: Final[Mapping[str, type]] = {
    "shopify": shopify.Credentials,
    "woocommerce": woocommerce.Credentials,
    "magento": magento.Credentials,
    "bigcommerce": bigcommerce.Credentials,
    "square": square.Credentials,
    "stripe": stripe.Credentials,
    "paypal": paypal.Credentials,
    "xero": xero.Credentials,
    "quickbooks-commerce": quickbooks_commerce.Credentials,
    "zoho-inventory": zoho_inventory.Credentials,
    "sap-business-one": sap_business_one.Credentials,
    "mailgun": mailgun.Credentials,
    "slack": slack.Credentials,
    "etsy": etsy.Credentials,
    "amazon": amazon.Credentials,
    "sendgrid": sendgrid.Credentials,
    "twilio": twilio.Credentials,
    "zendesk": zendesk.Credentials,
    "freshdesk": freshdesk.Credentials,
    "trello": trello.Credentials,
    "notion": notion.Credentials,
    "google-sheets": google_sheets.Credentials,
}


def _prefix(slug: str) -> str:
    """What the environment's names of this platform's settings begin with."""
    return f"REFUNDFLOW_{slug.upper().replace('-', '_')}_"


class _Credentials:
    """Turns environment fields into a connector's declared credentials, collecting every problem."""

    def __init__(self, given: Mapping[str, Mapping[str, str]]) -> None:
        self.given = given
        self.problems: list[str] = []

    def of(self, slug: str, kind: type) -> Any:
        """The credentials, or None where the platform is not set up (or not rightly: see `problems`)."""
        if slug not in self.given:
            return None
        before = len(self.problems)
        values: dict[str, Any] = {}
        declared = {f.name: f for f in fields(kind)}
        prefix = _prefix(slug)
        for name in self.given[slug].keys() - declared.keys():
            choices = ", ".join(prefix + n.upper() for n in declared)
            self.problems.append(f"{prefix}{name.upper()} is no setting of {slug}; there are {choices}")
        for name, setting in declared.items():
            raw = self.given[slug].get(name, "")
            if raw:
                values[name] = self._read(prefix + name.upper(), str(setting.type), raw)
            elif setting.default is MISSING and setting.default_factory is MISSING:
                self.problems.append(f"{prefix}{name.upper()} is not set, and {slug} needs it")
        try:
            return kind(**values) if len(self.problems) == before else None
        except ValueError as error:
            self.problems.append(f"{slug}: {error}")
            return None

    def _read(self, variable: str, kind: str, raw: str) -> Secret | int | str:
        """The text of a variable as what its field is."""
        if "Secret" in kind:
            return Secret(raw)
        if kind != "int":
            return raw
        if not re.fullmatch(r"[0-9]{1,9}", raw):
            self.problems.append(f"{variable} must be a whole number, not {raw!r}")
            return 0
        return int(raw)


def _routing_problems(settings: Settings, platforms: Platforms) -> list[str]:
    """Routing that names a platform which is not set up would strand every case: said at start, all at once."""
    problems: list[str] = []
    for section, routing in (
        ("routing", settings.routing),
        *((f"routes.{slug}", route) for slug, route in settings.routes.items()),
    ):
        problems += _problems_of(section, routing, settings, platforms)
    if _needs_vault(settings) and not settings.token_keys:
        problems.append(
            f"REFUNDFLOW_TOKEN_KEYS is not set: {', '.join(_needs_vault(settings))} give tokens that workers share, and they are kept "
            'encrypted; make a key with python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
        )
    return problems


def _problems_of(section: str, routing: Routing, settings: Settings, platforms: Platforms) -> list[str]:
    wanted: list[tuple[str, str, Mapping[str, object]]] = [
        ("order_platform", routing.order_platform, {**platforms.orders, **platforms.channels}),
        ("stock_owner", routing.stock_owner, platforms.stock),
        ("books", routing.books, platforms.books),
        ("customer_channel", routing.customer_channel, {**platforms.messengers, **platforms.desks}),
        ("sms_channel", routing.sms_channel, platforms.messengers),
        ("desk", routing.desk, platforms.desks),
        *((f"logs.{slug}", slug, platforms.keepers) for slug in routing.logs),
        ("staff_channel", routing.staff_channel, platforms.messengers),
        *(
            (f"payers.{gateway}", payer, {**platforms.refunders, **platforms.readers})
            for gateway, payer in routing.payers
        ),
        *((f"mirrors.{slug}", slug, platforms.mirrors) for slug in routing.mirrors),
    ]
    problems = []
    for name, slug, known in wanted:
        if not slug or slug in known:
            continue
        if slug not in settings.platforms:
            why = f"is not set up for that (set {_prefix(slug)}…)"
        elif slug in platforms.all:
            why = f"cannot do that; there are {', '.join(sorted(known)) or 'none set up'}"
        else:
            continue  # its own settings are wrong, which is said already
        problems.append(f'[{section}] {name} = "{slug}", but {slug} {why}')
    if routing.books and not routing.refund_account_code:
        problems.append(
            f"[{section}] refund_account_code is not set: the account in the books that refunds are paid from"
        )
    return problems


#: Platforms whose tokens are refreshed for all workers at once.
_SHARED_TOKENS: Final = ("paypal", "quickbooks-commerce", "zoho-inventory", "google-sheets", "etsy", "amazon")


def _needs_vault(settings: Settings) -> tuple[str, ...]:
    return tuple(slug for slug in _SHARED_TOKENS if slug in settings.platforms)


def _redis_factory(url: Secret) -> Callable[[], redis.Redis]:
    """Makes the Redis client for pacing, on first use, with short time limits: pacing never holds money up."""
    lock = threading.Lock()
    made: list[redis.Redis] = []

    def client() -> redis.Redis:
        with lock:
            if not made:
                made.append(
                    redis.Redis.from_url(
                        url.reveal() or "redis://127.0.0.1:1/0",
                        socket_timeout=0.5,
                        socket_connect_timeout=0.5,
                    )
                )
            return made[0]

    return client
