"""Every setting and secret, declared once. Only this file reads the environment.

Secrets and addresses come from the environment, the shop's rules from `refundflow.toml`. All problems are reported at
once, each with the name of what is wrong and what would be right.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import cattrs
from cattrs.gen import make_dict_structure_fn

from refundflow.domain.mail import MailRules, rule_problems
from refundflow.domain.money import Money
from refundflow.domain.plan import Routing
from refundflow.domain.policy import Policy
from refundflow.domain.steps import Pace


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A secret that hides itself in `repr`, `str` and logs; `reveal()` where it is put on the wire."""

    _value: str = ""

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(***)" if self._value else "Secret(empty)"

    __str__ = __repr__


class SettingsError(Exception):
    """Settings that cannot work. `problems`: one line each, with the name and the cure."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(("the settings cannot work:", *(f"  - {problem}" for problem in self.problems)))


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """The front door. `max_body_bytes`: larger bodies get 413; `api_limit_lines`: most lines in one request."""

    max_body_bytes: int = 1_000_000
    api_limit_lines: int = 200


@dataclass(frozen=True, slots=True)
class PortalSettings:
    """The customer's page. `base_url`: where customers reach the front door (empty: no page); `link_h`: how long a link that we send
    is good for; `tries_per_minute`: how often one address may send its form. The links are signed with `REFUNDFLOW_PORTAL_KEY`.
    """

    base_url: str = ""
    link_h: float = 72.0
    tries_per_minute: int = 20


@dataclass(frozen=True, slots=True)
class PeopleSettings:
    """Who is who in the shop's tools: (the tool's member id, operator) pairs, `trello:5f…` or `slack:U024BE7LH` = "grace"."""

    members: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """How the work is paced. `sweep_s`: seconds between sweeps; `poll_s`: between two looks at a platform that is polled; `second_looks_h`: so many hours after a refund or its record was done the vendor is asked whether it still is; `relaunch_s`: after so long without a move a launched
    step is launched again; `auth_pause_s`: how long a platform that refuses our credentials is left alone;
    `rate_factor` and `time_factor`: scale the connectors' own rate limits and read time limits (practice vendors have no
    limits, and a rehearsal should not wait long for an answer that never comes).
    """

    sweep_s: float = 5.0
    poll_s: float = 300.0
    second_looks_h: tuple[float, ...] = (24.0, 168.0)
    relaunch_s: float = 30.0
    auth_pause_s: float = 120.0
    rate_factor: float = 1.0
    time_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """What customers read. `templates`: a folder whose files replace the shipped message templates by name."""

    name: str = "the shop"
    support_email: str = ""
    templates: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. `platforms`: by slug, the fields that the environment gives (`REFUNDFLOW_<SLUG>_<FIELD>`); `routes`: the
    routing of orders of one platform, where it differs; `token_keys`: seal the vendors' tokens that workers share.
    """

    database_url: Secret
    broker_url: Secret
    result_url: Secret
    redis_url: Secret
    api_keys: tuple[tuple[str, Secret], ...] = ()
    log_level: str = "INFO"
    is_log_json: bool = True
    home: str = ".refundflow"
    shop: ShopSettings = field(default_factory=ShopSettings)
    policy: Policy = field(default_factory=Policy)
    routing: Routing = field(default_factory=Routing)
    pace: Pace = field(default_factory=Pace)
    flow: FlowSettings = field(default_factory=FlowSettings)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    platforms: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    routes: Mapping[str, Routing] = field(default_factory=dict)
    token_keys: Secret = field(default_factory=Secret)
    email: MailRules = field(default_factory=MailRules)
    portal: PortalSettings = field(default_factory=PortalSettings)
    people: PeopleSettings = field(default_factory=PeopleSettings)
    portal_key: Secret = field(default_factory=Secret)
    flag_keys: Secret = field(default_factory=Secret)


#: Platforms that may be set up, and how their slug is written in an environment variable.
PLATFORMS: Final = (
    "shopify",
    "woocommerce",
    "magento",
    "bigcommerce",
    "square",
    "etsy",
    "amazon",
    "stripe",
    "paypal",
    "xero",
    "quickbooks-commerce",
    "zoho-inventory",
    "sap-business-one",
    "mailgun",
    "sendgrid",
    "twilio",
    "slack",
    "zendesk",
    "freshdesk",
    "trello",
    "notion",
    "google-sheets",
)

_SECTIONS: Final[dict[str, type]] = {
    "shop": ShopSettings,
    "policy": Policy,
    "routing": Routing,
    "pace": Pace,
    "flow": FlowSettings,
    "ingest": IngestSettings,
    "email": MailRules,
    "portal": PortalSettings,
    "people": PeopleSettings,
}
_CHOICES: Final = {
    "on_partly_fulfilled": ("cancel_unfulfilled", "hold", "decline"),
    "on_fulfilled": ("hold", "decline"),
    "on_warning": ("hold", "refund"),
    "on_unrefundable": ("other_tender", "store_credit", "person"),
}
_PREFIX: Final = "REFUNDFLOW_"
_SCHEMES: Final = {
    "DATABASE_URL": ("postgresql://", "postgresql+psycopg2://", "postgres://"),
    "BROKER_URL": ("redis://", "rediss://", "amqp://", "amqps://"),
}


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings. Raises SettingsError with every problem that it found."""
    settings, problems = read(environment)
    if problems:
        raise SettingsError(problems)
    return settings


def read(environment: Mapping[str, str] | None = None) -> tuple[Settings, tuple[str, ...]]:
    """Reads the environment and `refundflow.toml` (in the working folder, or at `REFUNDFLOW_CONFIG`); returns the settings
    and what is wrong with them, so that whoever knows more (the platforms) can add to it before it is told.
    """
    env = os.environ if environment is None else environment
    problems: list[str] = []
    sections = _read_toml(env, problems)
    for name, example in (
        ("DATABASE_URL", "postgresql+psycopg2://refundflow@localhost/refundflow"),
        ("BROKER_URL", "redis://localhost:6379/0"),
    ):
        value = env.get(name, "")
        if not value:
            problems.append(
                f"{name} is not set: give it an address such as {example}, or start with `refundflow up`"
            )
        elif not value.startswith(_SCHEMES[name]):
            problems.append(f"{name} must begin with one of {', '.join(_SCHEMES[name])}")
    broker = env.get("BROKER_URL", "")
    redis_url = env.get("REDIS_URL", "") or (broker if broker.startswith("redis") else "")
    level = env.get("REFUNDFLOW_LOG_LEVEL", "INFO").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        problems.append("REFUNDFLOW_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR")
    api_keys = _api_keys(env.get("REFUNDFLOW_API_KEYS", ""), problems)
    platforms = _platforms(env)
    _check(sections, problems)
    database_url = _psycopg2(env.get("DATABASE_URL", ""))
    settings = Settings(
        database_url=Secret(database_url),
        broker_url=Secret(broker),
        result_url=Secret(env.get("RESULT_URL", "") or redis_url or f"db+{database_url}"),
        redis_url=Secret(redis_url),
        api_keys=api_keys,
        log_level=level,
        is_log_json=env.get("REFUNDFLOW_LOG_FORMAT", "json") != "text",
        home=env.get("REFUNDFLOW_HOME", ".refundflow"),
        platforms=platforms,
        token_keys=Secret(env.get("REFUNDFLOW_TOKEN_KEYS", "")),
        portal_key=Secret(env.get("REFUNDFLOW_PORTAL_KEY", "")),
        flag_keys=Secret(env.get("REFUNDFLOW_FLAG_KEYS", "")),
        **sections,
    )
    return settings, tuple(problems)


def operator_name() -> str:
    """Who types: `REFUNDFLOW_OPERATOR`, else the login name."""
    return os.environ.get("REFUNDFLOW_OPERATOR") or os.environ.get("USER") or os.environ.get("LOGNAME") or ""


def _psycopg2(url: str) -> str:
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg2://" + url.removeprefix(scheme)
    return url


def _read_toml(env: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    named = env.get("REFUNDFLOW_CONFIG", "")
    path = Path(named or "refundflow.toml")
    plain: dict[str, Any] = {}
    if path.is_file():
        try:
            plain = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            problems.append(f"{path}: {error}")
    elif named:
        problems.append(f"REFUNDFLOW_CONFIG names {path}, which is not there")
    known = ", ".join(f"[{section}]" for section in (*_SECTIONS, "routes.<platform>"))
    problems += [
        f"{path}: no section [{name}]; there are {known}"
        for name in plain.keys() - _SECTIONS.keys() - {"routes"}
    ]
    converter = _converter()
    sections: dict[str, Any] = {}
    for name, kind in _SECTIONS.items():
        values = dict(plain.get(name, {}))
        values = _shop_words(name, values, problems, path)
        try:
            sections[name] = converter.structure(values, kind)
        except cattrs.ClassValidationError as error:
            problems += [f"{path}: [{name}] {message}" for message in cattrs.transform_error(error)]
            sections[name] = kind()
    sections["routes"] = _routes(plain, converter, problems, path)
    return sections


def _routes(
    plain: Mapping[str, Any], converter: cattrs.Converter, problems: list[str], path: Path
) -> dict[str, Routing]:
    """`[routes.<platform>]`: what differs from `[routing]` for orders of that platform."""
    routes: dict[str, Routing] = {}
    for platform, own in dict(plain.get("routes", {})).items():
        name = f"routes.{platform}"
        if platform not in PLATFORMS or not isinstance(own, dict):
            problems.append(f"{path}: [{name}] names no platform; there are {', '.join(PLATFORMS)}")
            continue
        values = {**dict(plain.get("routing", {})), **own, "order_platform": platform}
        try:
            routes[platform] = converter.structure(_shop_words("routing", values, problems, path), Routing)
        except cattrs.ClassValidationError as error:
            problems += [f"{path}: [{name}] {message}" for message in cattrs.transform_error(error)]
    return routes


def _shop_words(name: str, values: dict[str, Any], problems: list[str], path: Path) -> dict[str, Any]:
    """Tables as people write them: limits in major units by currency, payers by gateway."""
    if name == "policy" and "auto_approve_limit" in values:
        limits = []
        for currency, amount in dict(values["auto_approve_limit"]).items():
            try:
                limits.append((currency, Money.from_major(str(amount), currency).minor))
            except ValueError as error:
                problems.append(f"{path}: [policy] auto_approve_limit.{currency}: {error}")
        values["auto_approve_limit"] = limits
    if name == "policy" and "hold_emails" in values:
        values["hold_emails"] = [str(email).lower() for email in values["hold_emails"]]
    if name == "people" and "members" in values:
        values["members"] = list(dict(values["members"]).items())
    if name == "routing" and "payers" in values:
        values["payers"] = list(dict(values["payers"]).items())
    return values


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)

    def strict(kind: type) -> Any:
        return lambda value, _: _typed(kind, value)

    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, strict(kind))
    for section in _SECTIONS.values():
        hook: Any = make_dict_structure_fn(section, converter, _cattrs_forbid_extra_keys=True)
        converter.register_structure_hook(section, hook)
    return converter


def _typed(kind: type, value: Any) -> Any:
    """No silent conversions: `"5"` is no number and `1` is no truth."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"must be {kind.__name__}, not {value!r}")
    return value


def _check(sections: Mapping[str, Any], problems: list[str]) -> None:
    problems += [f"[email] {problem}" for problem in rule_problems(sections["email"])]
    if sections["portal"].base_url and not sections["portal"].base_url.startswith(("https://", "http://")):
        problems.append("[portal] base_url must begin with https:// (or http:// where nobody else listens)")
    problems += [
        f"[people] members: '{member}' is no member of a tool: write slack:U024BE7LH or trello:5f0c…"
        for member, _ in sections["people"].members
        if not all(member.partition(":"))
    ]
    policy: Policy = sections["policy"]
    for name, choices in _CHOICES.items():
        if getattr(policy, name) not in choices:
            problems.append(
                f"[policy] {name} must be one of {', '.join(choices)}, not '{getattr(policy, name)}'"
            )
    pace: Pace = sections["pace"]
    problems += [f"[pace] {f.name} must be above 0" for f in fields(pace) if getattr(pace, f.name) <= 0]
    if pace.short_s > 60:
        problems.append("[pace] short_s above 60: longer waits belong in the row, not in the broker")


def _api_keys(raw: str, problems: list[str]) -> tuple[tuple[str, Secret], ...]:
    keys = []
    for part in filter(None, (p.strip() for p in raw.split(","))):
        name, _, key = part.partition(":")
        if not name or len(key) < 16:
            problems.append(
                "REFUNDFLOW_API_KEYS must be name:key pairs, separated by commas, keys of 16 characters or more"
            )
            continue
        keys.append((name, Secret(key)))
    return tuple(keys)


def _platforms(env: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for slug in PLATFORMS:
        prefix = f"{_PREFIX}{slug.upper().replace('-', '_')}_"
        given = {n.removeprefix(prefix).lower(): v for n, v in env.items() if n.startswith(prefix) and v}
        if given:
            found[slug] = given
    return found
