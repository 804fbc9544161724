"""The settings of a shop that works with the practice vendors: what their real counterparts would be given, told to everybody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from refundflow.sandbox import (
    amazon,
    etsy,
    freshdesk,
    google_sheets,
    notion,
    quickbooks_commerce,
    sap_business_one,
    sendgrid,
    trello,
    twilio,
    zendesk,
    zoho_inventory,
)

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
    "etsy": etsy.WEBHOOK_SECRET,
    "mailgun": "practice-mailgun-signing-key",
    "slack": "practice-slack-signing-secret",
    "sendgrid": sendgrid.WEBHOOK_SECRET,
    "twilio": twilio.AUTH_TOKEN,
    "zendesk": "practice-zendesk-secret",
    "freshdesk": "practice-freshdesk-hook",
    "trello": trello.SECRET,
}
#: Signs the links to the customer's page, and the flags of a stock system.
PORTAL_KEY: Final = "practice-portal-key-0001"
FLAG_KEY: Final = "practice-flag-key-0001"
#: Seals the practice tokens. A shop makes its own.
TOKEN_KEY: Final = "cHJhY3RpY2UtcmVmdW5kZmxvdy10b2tlbi1rZXktMDE="  # noqa: S105  (known to everybody)


def environment(vendors_url: str, api_url: str = "") -> dict[str, str]:
    """The environment for practice vendors at an address. `api_url`: our own front door, which Square's signatures cover."""
    door = api_url or "http://127.0.0.1:1"
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
            "NOTIFICATION_URL": f"{door}/hooks/square",
        },
        "etsy": {
            "BASE_URL": "/etsy",
            "TOKEN_URL": "/etsy/v3/public/oauth/token",
            "KEYSTRING": etsy.KEYSTRING,
            "SHARED_SECRET": etsy.SHARED_SECRET,
            "REFRESH_TOKEN": etsy.REFRESH_TOKEN,
            "SHOP_ID": str(etsy.SHOP_ID),
            "WEBHOOK_SECRET": WEBHOOK_SECRETS["etsy"],
        },
        "amazon": {
            "BASE_URL": "/amazon",
            "TOKEN_URL": "/amazon/auth/o2/token",
            "SQS_URL": "/amazon",
            "CLIENT_ID": amazon.CLIENT_ID,
            "CLIENT_SECRET": amazon.CLIENT_SECRET,
            "REFRESH_TOKEN": amazon.REFRESH_TOKEN,
            "SELLER_ID": amazon.SELLER_ID,
            "MARKETPLACE_IDS": amazon.MARKETPLACE,
            "QUEUE_URL": amazon.QUEUE_URL,
            "AWS_ACCESS_KEY_ID": amazon.AWS_ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": amazon.AWS_SECRET_ACCESS_KEY,
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
            "WEBHOOK_SIGNING_KEY": WEBHOOK_SECRETS["mailgun"],
        },
        "sendgrid": {
            "BASE_URL": "/sendgrid",
            "API_KEY": sendgrid.SENDING_KEY,
            "READ_KEY": sendgrid.READING_KEY,
            "SENDER": f"Practice Shop <orders@{sendgrid.DOMAIN}>",
            "REPLY_TO": "cancel@in.practice.example",
            "EVENT_PUBLIC_KEY": sendgrid.EVENT_PUBLIC_KEY,
            "PARSE_PUBLIC_KEY": sendgrid.PARSE_PUBLIC_KEY,
        },
        "twilio": {
            "BASE_URL": "/twilio",
            "ACCOUNT_SID": twilio.ACCOUNT_SID,
            "AUTH_TOKEN": twilio.AUTH_TOKEN,
            "API_KEY": twilio.API_KEY,
            "API_SECRET": twilio.API_SECRET,
            "MESSAGING_SERVICE_SID": twilio.SERVICE,
            "WEBHOOK_URL": f"{door}/hooks/twilio",
        },
        "zendesk": {
            "BASE_URL": "/zendesk",
            "EMAIL": zendesk.EMAIL,
            "API_TOKEN": zendesk.API_TOKEN,
            "AGENT_ID": str(zendesk.AGENT_ID),
            "ORDER_FIELD_ID": str(zendesk.ORDER_FIELD),
            "WEBHOOK_SECRET": WEBHOOK_SECRETS["zendesk"],
        },
        "freshdesk": {
            "BASE_URL": "/freshdesk",
            "API_KEY": freshdesk.API_KEY,
            "AGENT_ID": str(freshdesk.AGENT_ID),
            "CASE_FIELD": "cf_rf_case",
            "ORDER_FIELD": "cf_order_ref",
            "CANCELLATION_TAG": freshdesk.CANCEL_TAG,
            "CANCELLATION_EVENT": freshdesk.CANCEL_EVENT,
            "WEBHOOK_TOKEN": WEBHOOK_SECRETS["freshdesk"],
            "WEBHOOK_HEADER": freshdesk.WEBHOOK_HEADER,
        },
        "trello": {
            "BASE_URL": "/trello/1",
            "API_KEY": trello.API_KEY,
            "TOKEN": trello.TOKEN,
            "OAUTH_SECRET": trello.SECRET,
            "CALLBACK_URL": f"{door}/hooks/trello",
            "BOARD_ID": trello.BOARD,
            "LIST_ID": trello.LISTS["Cancellations"],
            "LISTS": ",".join(
                f"{s}={trello.LISTS['Done']}" for s in ("complete", "declined", "nothing_to_do")
            ),
            "APPROVED_LIST_ID": trello.LISTS["Approved"],
            "REJECTED_LIST_ID": trello.LISTS["Rejected"],
            "MEMBERS": trello.PERSON,
            "BOT_MEMBER_ID": trello.BOT,
        },
        "notion": {
            "BASE_URL": "/notion",
            "TOKEN": notion.TOKEN,
            "DATA_SOURCE_ID": notion.DATA_SOURCE,
            "TITLE_PROPERTY": "Order",
        },
        "google-sheets": {
            "BASE_URL": "/google-sheets",
            "TOKEN_URL": "/google-sheets/token",
            "SERVICE_ACCOUNT": json.dumps(dict(google_sheets.SERVICE_ACCOUNT)),
            "SPREADSHEET_ID": google_sheets.SPREADSHEET_ID,
            "SHEET": google_sheets.SHEET,
        },
        "slack": {
            "BOT_TOKEN": "xoxb-practice-bot-token",
            "CHANNEL": "C0PRACTICE",
            "BASE_URL": "/slack/api/",
            "SIGNING_SECRET": WEBHOOK_SECRETS["slack"],
        },
    }
    found = {
        "REFUNDFLOW_TOKEN_KEYS": TOKEN_KEY,
        "REFUNDFLOW_PORTAL_KEY": PORTAL_KEY,
        "REFUNDFLOW_FLAG_KEYS": FLAG_KEY,
    }
    for slug, own in fields.items():
        prefix = f"REFUNDFLOW_{slug.upper().replace('-', '_')}_"
        for name, value in own.items():
            found[prefix + name] = f"{vendors_url}{value}" if value.startswith("/") else value
    return found
