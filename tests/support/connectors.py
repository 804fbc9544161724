"""Every connector that the shared tests run over, with practice credentials. A new platform adds one entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Final

from refundflow.connectors import (
    amazon,
    bigcommerce,
    etsy,
    freshdesk,
    google_sheets,
    magento,
    mailgun,
    notion,
    paypal,
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
from refundflow.connectors.base import Capability
from refundflow.domain.facts import ItemQuantity, OrderRef
from refundflow.sandbox import google_sheets as sheets_double
from refundflow.settings import Secret
from tests.support.commands import COMMANDS, INVOICE, LINES, ORDER, READS, command_for


@dataclass(frozen=True)
class Subject:
    """One connector under test. `secrets`: the texts in `credentials` that nothing may keep; `changes`: what the sample
    commands need to be for this platform; `reads`: the arguments of its reads, where they differ.
    """

    module: ModuleType
    credentials: Any
    secrets: tuple[str, ...]
    changes: Mapping[Capability, Mapping[str, Any]] = field(default_factory=dict)
    reads: Mapping[Capability, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def platform(self) -> str:
        return str(self.module.SPEC.platform)

    def arguments(self, capability: Capability) -> tuple[Any, ...]:
        """What the capability's method is called with."""
        if capability in COMMANDS:
            return (command_for(capability, self.changes.get(capability, {})),)
        return self.reads.get(capability, READS.get(capability, ()))


_QUICKBOOKS_SALE: Final = replace(INVOICE, invoice_id="130", contact_id="61", document="Invoice")
_ZOHO_INVOICE: Final = replace(INVOICE, invoice_id="4815000000045091", contact_id="4815000000044080")

_AMAZON_ORDER: Final = "111-1234567-1234567"
_SENDGRID_KEY: Final = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="

CONNECTORS: Final[tuple[Subject, ...]] = (
    Subject(
        module=stripe,
        credentials=stripe.Credentials(
            secret_key=Secret("rk_test_practice_key"), webhook_secret=Secret("whsec_practice")
        ),
        secrets=("rk_test_practice_key", "whsec_practice"),
        changes={
            Capability.REFUND: {"payment_reference": "pi_3Practice"},
            Capability.VOID_PAYMENT: {"payment_reference": "pi_3Practice"},
        },
        reads={Capability.READ_PAYMENT: ("", "pi_3Practice")},
    ),
    Subject(
        module=shopify,
        credentials=shopify.Credentials(
            shop="practice",
            access_token=Secret("shpat_practice_token"),
            client_secret=Secret("shpss_practice"),
        ),
        secrets=("shpat_practice_token", "shpss_practice"),
    ),
    Subject(
        module=xero,
        credentials=xero.Credentials(
            client_id="practice-client", client_secret=Secret("xero-practice-secret")
        ),
        secrets=("xero-practice-secret",),
    ),
    Subject(
        module=woocommerce,
        credentials=woocommerce.Credentials(
            base_url="https://shop.example",
            consumer_key="ck_practice_key",
            consumer_secret=Secret("cs_practice_secret"),
            webhook_secret=Secret("wc-practice-webhook"),
        ),
        secrets=("cs_practice_secret", "wc-practice-webhook"),
        changes={
            Capability.RESTOCK: {"carried_by": "RF-00K3ZQ4M7ABCDEF.cancel_order.1"},
            Capability.REFUND: {"payment_reference": "6001"},
        },
        reads={Capability.READ_PAYMENT: ("6001", "6001")},
    ),
    Subject(
        module=magento,
        credentials=magento.Credentials(
            base_url="https://shop.example",
            access_token=Secret("magento-practice-token"),
            consumer_key="magento-practice-key",
            consumer_secret=Secret("magento-practice-consumer-secret"),
            access_token_secret=Secret("magento-practice-token-secret"),
        ),
        secrets=(
            "magento-practice-token",
            "magento-practice-consumer-secret",
            "magento-practice-token-secret",
        ),
        changes={Capability.RESTOCK: {"carried_by": "RF-00K3ZQ4M7ABCDEF.cancel_order.1"}},
    ),
    Subject(
        module=bigcommerce,
        credentials=bigcommerce.Credentials(
            store_hash="practice",
            access_token=Secret("bigcommerce-practice-token"),
            client_secret=Secret("bigcommerce-practice-secret"),
            hook_token=Secret("bigcommerce-practice-hook"),
        ),
        secrets=(
            "bigcommerce-practice-token",
            "bigcommerce-practice-secret",
            "bigcommerce-practice-hook",
        ),
        changes={
            Capability.CANCEL_ORDER: {"restock": False},
            Capability.REFUND: {"payment_reference": "6001:stripe"},
            Capability.VOID_PAYMENT: {"payment_reference": "6001:stripe"},
        },
        reads={Capability.READ_PAYMENT: ("6001", "6001:stripe")},
    ),
    Subject(
        module=square,
        credentials=square.Credentials(
            access_token=Secret("square-practice-token"),
            webhook_signature_key=Secret("square-practice-signature"),
            notification_url="https://shop.example/hooks/square",
            location_ids="L1",
        ),
        secrets=("square-practice-token", "square-practice-signature"),
        changes={Capability.CANCEL_ORDER: {"restock": False}},
    ),
    Subject(
        module=paypal,
        credentials=paypal.Credentials(
            client_id="practice-paypal-client",
            client_secret=Secret("paypal-practice-secret"),
            webhook_id="WH1PRACTICE",
        ),
        secrets=("paypal-practice-secret",),
        changes={
            Capability.REFUND: {"payment_reference": "3C679366HH908993F"},
            Capability.VOID_PAYMENT: {"payment_reference": "0VF52814937998046"},
        },
        reads={Capability.READ_PAYMENT: ("", "3C679366HH908993F")},
    ),
    Subject(
        module=sap_business_one,
        credentials=sap_business_one.Credentials(
            base_url="https://sap.shop.example:50000/b1s/v2",
            company_db="SBOPRACTICE",
            username="refundflow",
            password=Secret("practice-sap-password"),
        ),
        secrets=("practice-sap-password",),
        changes={
            Capability.RESTOCK: {
                "is_return": True,
                "order_number": "#1042",
                "items": (ItemQuantity("SKU-1", 1),),
            },
            Capability.VOID_INVOICE: {"invoice": replace(INVOICE, invoice_id="88")},
            Capability.CREDIT_NOTE: {"invoice": replace(INVOICE, invoice_id="88")},
            Capability.RECORD_REFUND: {"credit_note_id": "501"},
        },
    ),
    Subject(
        module=quickbooks_commerce,
        credentials=quickbooks_commerce.Credentials(
            client_id="practice-quickbooks-client",
            client_secret=Secret("practice-quickbooks-secret"),
            refresh_token=Secret("practice-quickbooks-refresh"),
            realm_id="4620816365000000000",
            item_id="10",
            webhook_secret=Secret("practice-quickbooks-verifier"),
        ),
        secrets=("practice-quickbooks-secret", "practice-quickbooks-refresh", "practice-quickbooks-verifier"),
        changes={
            Capability.VOID_INVOICE: {"invoice": _QUICKBOOKS_SALE},
            Capability.CREDIT_NOTE: {"invoice": _QUICKBOOKS_SALE},
            Capability.RECORD_REFUND: {"invoice": _QUICKBOOKS_SALE, "number": "RR-1042-1"},
        },
    ),
    Subject(
        module=zoho_inventory,
        credentials=zoho_inventory.Credentials(
            client_id="1000.PRACTICE",
            client_secret=Secret("zoho-practice-secret"),
            refresh_token=Secret("1000.practice-refresh"),
            organization_id="60012345678",
            webhook_secret=Secret("zoho-webhook-practice"),
        ),
        secrets=("zoho-practice-secret", "1000.practice-refresh", "zoho-webhook-practice"),
        changes={
            Capability.RESTOCK: {"is_return": True, "location": ""},
            Capability.VOID_INVOICE: {"invoice": _ZOHO_INVOICE},
            Capability.CREDIT_NOTE: {"invoice": _ZOHO_INVOICE},
            Capability.RECORD_REFUND: {
                "account_code": "4815000000000358",
                "credit_note_id": "4815000000072369",
            },
        },
    ),
    Subject(
        module=mailgun,
        credentials=mailgun.Credentials(
            domain="mg.shop.example",
            api_key=Secret("key-practice-mailgun"),
            sender="Shop <orders@mg.shop.example>",
            webhook_signing_key=Secret("mailgun-signing-practice"),
        ),
        secrets=("key-practice-mailgun", "mailgun-signing-practice"),
    ),
    Subject(
        module=slack,
        credentials=slack.Credentials(
            bot_token=Secret("xoxb-practice-token"),
            channel="C0123ABCD",
            signing_secret=Secret("slack-practice"),
        ),
        secrets=("xoxb-practice-token", "slack-practice"),
    ),
    Subject(
        module=sendgrid,
        credentials=sendgrid.Credentials(
            api_key=Secret("SG.practice-sending"),
            sender="Shop <orders@sg.shop.example>",
            read_key=Secret("SG.practice-reading"),
            event_public_key=_SENDGRID_KEY,
            parse_public_key=_SENDGRID_KEY,
        ),
        secrets=("SG.practice-sending", "SG.practice-reading"),
    ),
    Subject(
        module=twilio,
        credentials=twilio.Credentials(
            account_sid="AC0123456789abcdef0123456789abcdef",
            auth_token=Secret("twilio-practice-token"),
            api_key="SK0123456789abcdef0123456789abcdef",
            api_secret=Secret("twilio-practice-secret"),
            sender="+12025550143",
            webhook_url="https://shop.example/hooks/twilio",
        ),
        secrets=("twilio-practice-token", "twilio-practice-secret"),
        changes={Capability.SEND_MESSAGE: {"to": "+491701234567"}},
    ),
    Subject(
        module=zendesk,
        credentials=zendesk.Credentials(
            subdomain="practice",
            email="refunds@practice.example",
            api_token=Secret("zendesk-practice-token"),
            webhook_secret=Secret("zendesk-practice-webhook"),
            agent_id="901",
            order_field_id="360000000101",
        ),
        secrets=("zendesk-practice-token", "zendesk-practice-webhook"),
    ),
    Subject(
        module=freshdesk,
        credentials=freshdesk.Credentials(
            api_key=Secret("freshdesk-practice-key"),
            domain="practice",
            webhook_token=Secret("freshdesk-practice-hook"),
        ),
        secrets=("freshdesk-practice-key", "freshdesk-practice-hook"),
    ),
    Subject(
        module=trello,
        credentials=trello.Credentials(
            api_key="practice-trello-key",
            token=Secret("trello-practice-token"),
            board_id="5f00000000000000000000b0",
            list_id="5f00000000000000000000a1",
            oauth_secret=Secret("trello-practice-oauth"),
            callback_url="https://shop.example/hooks/trello",
        ),
        secrets=("trello-practice-token", "trello-practice-oauth"),
    ),
    Subject(
        module=notion,
        credentials=notion.Credentials(
            token=Secret("ntn_practice-token"), data_source_id="1b2c3d4e-0000-4000-8000-000000000001"
        ),
        secrets=("ntn_practice-token",),
    ),
    Subject(
        module=google_sheets,
        credentials=google_sheets.Credentials(
            service_account=Secret(json.dumps(dict(sheets_double.SERVICE_ACCOUNT))),
            spreadsheet_id=sheets_double.SPREADSHEET_ID,
        ),
        secrets=(sheets_double.PRIVATE_KEY.splitlines()[1],),
    ),
    Subject(
        module=etsy,
        credentials=etsy.Credentials(
            keystring="practice-etsy-keystring",
            shared_secret=Secret("practice-etsy-shared"),
            refresh_token=Secret("900100200.practice-etsy-refresh"),
            shop_id="12345678",
            webhook_secret=Secret("whsec_cHJhY3RpY2UtZXRzeS13ZWJob29r"),
        ),
        secrets=(
            "practice-etsy-keystring:practice-etsy-shared",
            "practice-etsy-shared",
            "900100200.practice-etsy-refresh",
            "whsec_cHJhY3RpY2UtZXRzeS13ZWJob29r",
        ),
    ),
    Subject(
        module=amazon,
        credentials=amazon.Credentials(
            client_id="amzn1.application-oa2-client.practice",
            client_secret=Secret("amazon-practice-client-secret"),
            refresh_token=Secret("Atzr|amazon-practice-refresh"),
            seller_id="A3PRACTICE",
            aws_access_key_id="AKIAPRACTICE",
            aws_secret_access_key=Secret("amazon-practice-aws-secret"),
        ),
        secrets=(
            "amazon-practice-client-secret",
            "Atzr|amazon-practice-refresh",
            "amazon-practice-aws-secret",
        ),
        changes={
            Capability.CANCEL_ORDER: {"order_id": _AMAZON_ORDER},
            Capability.REFUND: {"order_id": _AMAZON_ORDER, "payment_reference": _AMAZON_ORDER},
        },
        reads={
            Capability.READ_ORDER: (OrderRef("amazon", _AMAZON_ORDER),),
            Capability.QUOTE_LINES: (replace(ORDER, platform="amazon", order_id=_AMAZON_ORDER), LINES),
            Capability.READ_PAYMENT: (_AMAZON_ORDER, _AMAZON_ORDER),
        },
    ),
)
