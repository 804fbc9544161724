"""The settings of a shop that works with the practice vendors: what their real counterparts would be given, told to everybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from refundflow.sandbox import quickbooks_commerce, sap_business_one, zoho_inventory

API_KEY: Final = "practice-api-key-0001"
#: What each practice vendor signs its webhooks with.
WEBHOOK_SECRETS: Final[Mapping[str, str]] = {
    "shopify": "practice-shopify-secret",
    "stripe": "whsec_practice",
    "woocommerce": "practice-woocommerce-secret",
    "bigcommerce": "practice-bigcommerce-secret",
    "square": "practice-square-signature-key",
    "paypal": "PRACTICEWEBHOOK01",
    "quickbooks-commerce": "practice-quickbooks-verifier",
    "zoho-inventory": "practice-zoho-secret",
}
#: Seals the practice tokens. A shop makes its own.
TOKEN_KEY: Final = "cHJhY3RpY2UtcmVmdW5kZmxvdy10b2tlbi1rZXktMDE="  # noqa: S105  (known to everybody)


def environment(vendors_url: str, api_url: str = "") -> dict[str, str]:
    """The environment for practice vendors at an address. `api_url`: our own front door, which Square's signatures cover."""
    fields: dict[str, dict[str, str]] = {
        "shopify": {
            "SHOP": "practice",
            "ACCESS_TOKEN": "shpat_practice",
            "BASE_URL": "/shopify",
            "WEBHOOK_SECRET": WEBHOOK_SECRETS["shopify"],
        },
        "woocommerce": {
            "BASE_URL": "/woocommerce",
            "CONSUMER_KEY": "ck_practice",
            "CONSUMER_SECRET": "cs_practice",
            "WEBHOOK_SECRET": WEBHOOK_SECRETS["woocommerce"],
        },
        "magento": {
            "BASE_URL": "/magento",
            "CONSUMER_KEY": "practice-magento-consumer-key",
            "CONSUMER_SECRET": "practice-magento-consumer-secret",
            "ACCESS_TOKEN": "practice-magento-access-token",
            "ACCESS_TOKEN_SECRET": "practice-magento-access-token-secret",
        },
        "bigcommerce": {
            "BASE_URL": "/bigcommerce",
            "STORE_HASH": "practice",
            "ACCESS_TOKEN": "practice-bigcommerce-token",
            "CLIENT_SECRET": WEBHOOK_SECRETS["bigcommerce"],
            "HOOK_TOKEN": "practice-bigcommerce-hook-token",
        },
        "square": {
            "BASE_URL": "/square",
            "ACCESS_TOKEN": "practice-square-access-token",
            "WEBHOOK_SIGNATURE_KEY": WEBHOOK_SECRETS["square"],
            "LOCATION_IDS": "L1",
            "NOTIFICATION_URL": f"{api_url or 'http://127.0.0.1:1'}/hooks/square",
        },
        "stripe": {
            "SECRET_KEY": "sk_test_practice",
            "WEBHOOK_SECRET": WEBHOOK_SECRETS["stripe"],
            "BASE_URL": "/stripe",
        },
        "paypal": {
            "BASE_URL": "/paypal",
            "CLIENT_ID": "practice-paypal-client",
            "CLIENT_SECRET": "practice-paypal-secret",
            "WEBHOOK_ID": WEBHOOK_SECRETS["paypal"],
            "CERTIFICATE_AUTHORITY": "practice",
            "CERTIFICATE_BASE_URL": "/paypal",
        },
        "xero": {
            "CLIENT_ID": "practice-xero-client",
            "CLIENT_SECRET": "practice-xero-secret",
            "BASE_URL": "/xero/api.xro/2.0",
            "TOKEN_URL": "/xero/connect/token",
        },
        "quickbooks-commerce": {
            "BASE_URL": "/quickbooks-commerce",
            "TOKEN_URL": "/quickbooks-commerce/oauth2/v1/tokens/bearer",
            "WEBHOOK_SECRET": WEBHOOK_SECRETS["quickbooks-commerce"],
            "ITEM_ID": "10",
            "HOME_CURRENCY": "EUR",
            "CLIENT_ID": quickbooks_commerce.CLIENT_ID,
            "CLIENT_SECRET": quickbooks_commerce.CLIENT_SECRET,
            "REALM_ID": quickbooks_commerce.REALM_ID,
            "REFRESH_TOKEN": quickbooks_commerce.REFRESH_TOKEN,
        },
        "zoho-inventory": {
            "BASE_URL": "/zoho-inventory/inventory/v1",
            "ACCOUNTS_URL": "/zoho-inventory",
            "WEBHOOK_SECRET": WEBHOOK_SECRETS["zoho-inventory"],
            "ORDER_PLATFORM": "shopify",
            "CLIENT_ID": zoho_inventory.CLIENT_ID,
            "CLIENT_SECRET": zoho_inventory.CLIENT_SECRET,
            "REFRESH_TOKEN": zoho_inventory.REFRESH_TOKEN,
            "ORGANIZATION_ID": zoho_inventory.ORGANIZATION_ID,
        },
        "sap-business-one": {
            "BASE_URL": "/sap-business-one/b1s/v2",
            "COMPANY_DB": sap_business_one.COMPANY,
            "USERNAME": sap_business_one.USER,
            "PASSWORD": sap_business_one.PASSWORD,
        },
        "mailgun": {
            "DOMAIN": "mg.practice.example",
            "API_KEY": "practice-mailgun-key",
            "SENDER": "Practice Shop <orders@mg.practice.example>",
            "BASE_URL": "/mailgun",
        },
        "slack": {
            "BOT_TOKEN": "xoxb-practice-bot-token",
            "CHANNEL": "C0PRACTICE",
            "BASE_URL": "/slack/api/",
        },
    }
    found = {"REFUNDFLOW_TOKEN_KEYS": TOKEN_KEY}
    for slug, own in fields.items():
        prefix = f"REFUNDFLOW_{slug.upper().replace('-', '_')}_"
        for name, value in own.items():
            found[prefix + name] = f"{vendors_url}{value}" if value.startswith("/") else value
    return found
