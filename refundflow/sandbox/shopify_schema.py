"""What the practice Shopify's GraphQL Admin API knows: its types, built for graphql-core from tables of our own notation.

One entry a type; fields are `name:Type` or `name(argument:Type=default …):Type`, separated by blanks. Names, types and
defaults are the vendor's (shopify.dev/docs/api/admin-graphql, 2026-10, read 2026-11-23); left out is what has nothing to do
with cancellations: metafields and webhook subscriptions. A document that asks for more is refused as a real server refuses an
unknown field. `schema_for(version)` gives the schema of one version; only `jobResult` (from 2026-10) differs.
"""

from __future__ import annotations

import functools
import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from graphql import (
    DirectiveLocation,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLDirective,
    GraphQLEnumType,
    GraphQLField,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    Undefined,
    specified_directives,
)

_PAGED: Final = "after:String before:String first:Int last:Int reverse:Boolean=false"

_ENUMS: Final[dict[str, str]] = {
    "CurrencyCode": "AUD BHD CAD CHF CZK DKK EUR GBP JPY KWD NOK NZD PLN SEK USD",
    "DisputeStatus": "ACCEPTED CHARGE_REFUNDED LOST NEEDS_RESPONSE PREVENTED UNDER_REVIEW WON",
    "DisputeType": "CHARGEBACK INQUIRY",
    "FulfillmentStatus": "CANCELLED ERROR FAILURE OPEN PENDING SUCCESS",
    "InventoryAdjustQuantitiesUserErrorCode": (
        "ADJUST_QUANTITIES_FAILED CHANGE_FROM_QUANTITY_STALE IDEMPOTENCY_CONCURRENT_REQUEST "
        "IDEMPOTENCY_KEY_PARAMETER_MISMATCH IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED INVALID_INVENTORY_ITEM INVALID_LOCATION "
        "INVALID_QUANTITY_NAME INVALID_QUANTITY_TOO_LOW INVALID_REASON INVALID_REFERENCE_DOCUMENT"
    ),
    "OrderAdjustmentInputDiscrepancyReason": "CUSTOMER DAMAGE OTHER RESTOCK",
    "OrderCancelReason": "CUSTOMER DECLINED FRAUD INVENTORY OTHER STAFF",
    "OrderCancelStatus": "FAILED STARTED SUCCEEDED",
    "OrderCancelUserErrorCode": (
        "INTERNAL_ERROR INVALID NOT_FOUND NO_REFUND_PERMISSION NO_REFUND_TO_STORE_CREDIT_PERMISSION "
        "STORE_CREDIT_REFUND_B2B_NOT_SUPPORTED STORE_CREDIT_REFUND_EXPIRATION_IN_PAST STORE_CREDIT_REFUND_MISSING_CUSTOMER"
    ),
    "OrderDisplayFinancialStatus": (
        "AUTHORIZED EXPIRED PAID PARTIALLY_PAID PARTIALLY_REFUNDED PENDING REFUNDED VOIDED"
    ),
    "OrderDisplayFulfillmentStatus": (
        "FULFILLED IN_PROGRESS ON_HOLD OPEN PARTIALLY_FULFILLED PENDING_FULFILLMENT REQUEST_DECLINED RESTOCKED SCHEDULED "
        "UNFULFILLED FULFILLMENT_NOT_REQUIRED"
    ),
    "OrderReturnStatus": "INSPECTION_COMPLETE IN_PROGRESS NO_RETURN RETURNED RETURN_FAILED RETURN_REQUESTED",
    "OrderSortKeys": "CREATED_AT ID ORDER_NUMBER PROCESSED_AT RELEVANCE TOTAL_PRICE UPDATED_AT",
    "OrderTransactionErrorCode": "CARD_DECLINED EXPIRED_CARD GENERIC_ERROR INSUFFICIENT_FUNDS PROCESSING_ERROR",
    "OrderTransactionKind": (
        "AUTHORIZATION CAPTURE CHANGE EMV_AUTHORIZATION REFUND SALE SUGGESTED_REFUND VOID"
    ),
    "OrderTransactionStatus": "AWAITING_RESPONSE ERROR FAILURE PENDING SUCCESS UNKNOWN",
    "RefundDutyRefundType": "FULL PROPORTIONAL",
    "RefundLineItemRestockType": "CANCEL LEGACY_RESTOCK NO_RESTOCK RETURN",
    "RefundMethodAllocation": "ORIGINAL_PAYMENT_METHODS STORE_CREDIT",
    "ShopifyPaymentsDisputeReason": (
        "CREDIT_NOT_PROCESSED DUPLICATE FRAUDULENT GENERAL PRODUCT_NOT_RECEIVED PRODUCT_UNACCEPTABLE UNRECOGNIZED"
    ),
    "SuggestedOrderTransactionKind": "SUGGESTED_REFUND",
}

_INPUTS: Final[dict[str, str]] = {
    "AttributeInput": "key:String! value:String!",
    "InventoryAdjustQuantitiesInput": (
        "name:String! reason:String! referenceDocumentUri:String changes:[InventoryChangeInput!]!"
    ),
    "InventoryChangeInput": (
        "inventoryItemId:ID! locationId:ID! delta:Int! changeFromQuantity:Int ledgerDocumentUri:String"
    ),
    "MoneyInput": "amount:Decimal! currencyCode:CurrencyCode!",
    "OrderCancelRefundMethodInput": (
        "originalPaymentMethodsRefund:Boolean storeCreditRefund:OrderCancelStoreCreditRefundInput"
    ),
    "OrderCancelStoreCreditRefundInput": "expiresAt:DateTime",
    "OrderIdentifierInput": "id:ID customId:UniqueMetafieldValueInput",
    "OrderInput": "id:ID! note:String tags:[String!] customAttributes:[AttributeInput!]",
    "OrderTransactionInput": (
        "orderId:ID! parentId:ID kind:OrderTransactionKind! gateway:String! amount:Money!"
    ),
    "RefundDutyInput": "dutyId:ID! refundType:RefundDutyRefundType",
    "RefundInput": (
        "orderId:ID! note:String notify:Boolean currency:CurrencyCode transactions:[OrderTransactionInput!] "
        "refundLineItems:[RefundLineItemInput!] shipping:ShippingRefundInput allowOverRefunding:Boolean=false "
        "discrepancyReason:OrderAdjustmentInputDiscrepancyReason processedAt:DateTime refundDuties:[RefundDutyInput!] "
        "refundMethods:[RefundMethodInput!]=[]"
    ),
    "RefundLineItemInput": (
        "lineItemId:ID! quantity:Int! restockType:RefundLineItemRestockType locationId:ID"
    ),
    "RefundMethodInput": "storeCreditRefund:StoreCreditRefundInput",
    "ShippingRefundInput": "amount:Money fullRefund:Boolean",
    "StoreCreditRefundInput": "amount:MoneyInput! expiresAt:DateTime",
    "UniqueMetafieldValueInput": "key:String! namespace:String value:String!",
}
# Of these, exactly one field must be given.
_ONE_OF: Final = ("OrderCancelRefundMethodInput", "OrderIdentifierInput", "RefundMethodInput")

_OBJECTS: Final[dict[str, str]] = {
    "QueryRoot": (
        "order(id:ID!):Order orderByIdentifier(identifier:OrderIdentifierInput!):Order "
        f"orders({_PAGED} query:String sortKey:OrderSortKeys=PROCESSED_AT):OrderConnection! refund(id:ID!):Refund "
        "job(id:ID!):Job location(id:ID):Location inventoryItem(id:ID!):InventoryItem "
        f"dispute(id:ID!):ShopifyPaymentsDispute disputes({_PAGED} query:String):ShopifyPaymentsDisputeConnection! "
        "publicApiVersions:[ApiVersion!]!"
    ),
    "Mutation": (
        "orderCancel(orderId:ID! reason:OrderCancelReason! restock:Boolean! notifyCustomer:Boolean=false refund:Boolean "
        "refundMethod:OrderCancelRefundMethodInput staffNote:String=null):OrderCancelPayload "
        "refundCreate(input:RefundInput!):RefundCreatePayload "
        "inventoryAdjustQuantities(input:InventoryAdjustQuantitiesInput!):InventoryAdjustQuantitiesPayload "
        "orderUpdate(input:OrderInput!):OrderUpdatePayload tagsAdd(id:ID! tags:[String!]!):TagsAddPayload"
    ),
    "ApiVersion": "handle:String! displayName:String! supported:Boolean!",
    "Fulfillment": "id:ID! status:FulfillmentStatus! createdAt:DateTime!",
    "InventoryAdjustQuantitiesPayload": (
        "inventoryAdjustmentGroup:InventoryAdjustmentGroup userErrors:[InventoryAdjustQuantitiesUserError!]!"
    ),
    "InventoryAdjustQuantitiesUserError": (
        "code:InventoryAdjustQuantitiesUserErrorCode field:[String!] message:String!"
    ),
    "InventoryAdjustmentGroup": (
        "id:ID! createdAt:DateTime! reason:String! referenceDocumentUri:String "
        "changes(inventoryItemIds:[ID!] locationIds:[ID!] quantityNames:[String!]):[InventoryChange!]!"
    ),
    "InventoryChange": (
        "name:String! delta:Int! quantityAfterChange:Int item:InventoryItem location:Location"
    ),
    "InventoryItem": (
        "id:ID! sku:String tracked:Boolean! inventoryLevel(includeInactive:Boolean=false locationId:ID!):InventoryLevel"
    ),
    "InventoryLevel": "id:ID! location:Location! quantities(names:[String!]!):[InventoryQuantity!]!",
    "InventoryQuantity": "name:String! quantity:Int!",
    "Job": "id:ID! done:Boolean!",
    "LineItem": (
        "id:ID! name:String! title:String! sku:String quantity:Int! currentQuantity:Int! refundableQuantity:Int! "
        "unfulfilledQuantity:Int! restockable:Boolean! variant:ProductVariant originalUnitPriceSet:MoneyBag! "
        "originalTotalSet:MoneyBag! discountedUnitPriceSet:MoneyBag!"
    ),
    "LineItemConnection": "nodes:[LineItem!]! pageInfo:PageInfo!",
    "Location": "id:ID! name:String! isActive:Boolean!",
    "MoneyBag": "shopMoney:MoneyV2! presentmentMoney:MoneyV2!",
    "MoneyV2": "amount:Decimal! currencyCode:CurrencyCode!",
    "Order": (
        "id:ID! legacyResourceId:UnsignedInt64! name:String! number:Int! email:String note:String tags:[String!]! "
        "sourceName:String test:Boolean! createdAt:DateTime! processedAt:DateTime! updatedAt:DateTime! confirmed:Boolean! "
        "closed:Boolean! closedAt:DateTime cancelledAt:DateTime cancelReason:OrderCancelReason "
        "cancellation:OrderCancellation currencyCode:CurrencyCode! presentmentCurrencyCode:CurrencyCode! "
        "displayFinancialStatus:OrderDisplayFinancialStatus displayFulfillmentStatus:OrderDisplayFulfillmentStatus! "
        "returnStatus:OrderReturnStatus! capturable:Boolean! refundable:Boolean! restockable:Boolean! fullyPaid:Boolean! "
        "unpaid:Boolean! totalPriceSet:MoneyBag! currentTotalPriceSet:MoneyBag! totalReceivedSet:MoneyBag! "
        "totalRefundedSet:MoneyBag! totalRefundedShippingSet:MoneyBag! totalShippingPriceSet:MoneyBag! "
        "totalCapturableSet:MoneyBag! totalOutstandingSet:MoneyBag! netPaymentSet:MoneyBag! "
        "paymentGatewayNames:[String!]! disputes:[OrderDisputeSummary!]! "
        "fulfillments(first:Int query:String):[Fulfillment!]! "
        f"lineItems({_PAGED}):LineItemConnection! refunds(first:Int):[Refund!]! "
        "transactions(capturable:Boolean first:Int manuallyResolvable:Boolean):[OrderTransaction!]! "
        "suggestedRefund(refundDuties:[RefundDutyInput!] refundLineItems:[RefundLineItemInput!] "
        "refundMethodAllocation:RefundMethodAllocation=ORIGINAL_PAYMENT_METHODS refundShipping:Boolean shippingAmount:Money "
        "suggestFullRefund:Boolean=false):SuggestedRefund"
    ),
    "OrderCancelJobResult": (
        "id:ID! done:Boolean! status:OrderCancelStatus! errors:[OrderCancelUserError!]! order:Order"
    ),
    "OrderCancelPayload": (
        "job:Job jobResult:OrderCancelJobResult orderCancelUserErrors:[OrderCancelUserError!]! userErrors:[UserError!]!"
    ),
    "OrderCancelUserError": "code:OrderCancelUserErrorCode field:[String!] message:String!",
    "OrderCancellation": "staffNote:String",
    "OrderConnection": "nodes:[Order!]! pageInfo:PageInfo!",
    "OrderDisputeSummary": "id:ID! initiatedAs:DisputeType! status:DisputeStatus!",
    "OrderTransaction": (
        "id:ID! kind:OrderTransactionKind! status:OrderTransactionStatus! gateway:String formattedGateway:String "
        "amountSet:MoneyBag! parentTransaction:OrderTransaction paymentId:String receiptJson:JSON createdAt:DateTime! "
        "processedAt:DateTime authorizationExpiresAt:DateTime errorCode:OrderTransactionErrorCode "
        "manualPaymentGateway:Boolean! test:Boolean!"
    ),
    "OrderTransactionConnection": "nodes:[OrderTransaction!]! pageInfo:PageInfo!",
    "OrderUpdatePayload": "order:Order userErrors:[UserError!]!",
    "PageInfo": "endCursor:String hasNextPage:Boolean!",
    "ProductVariant": "id:ID! sku:String inventoryItem:InventoryItem!",
    "Refund": (
        "id:ID! legacyResourceId:UnsignedInt64! note:String createdAt:DateTime processedAt:DateTime! updatedAt:DateTime! "
        f"order:Order! totalRefundedSet:MoneyBag! refundLineItems({_PAGED}):RefundLineItemConnection! "
        f"transactions({_PAGED}):OrderTransactionConnection!"
    ),
    "RefundCreatePayload": "order:Order refund:Refund userErrors:[UserError!]!",
    "RefundLineItem": (
        "id:ID lineItem:LineItem! quantity:Int! restockType:RefundLineItemRestockType! restocked:Boolean! "
        "location:Location subtotalSet:MoneyBag! totalTaxSet:MoneyBag!"
    ),
    "RefundLineItemConnection": "nodes:[RefundLineItem!]! pageInfo:PageInfo!",
    "ShippingRefund": "amountSet:MoneyBag! maximumRefundableSet:MoneyBag! taxSet:MoneyBag!",
    "ShopifyPaymentsDispute": (
        "id:ID! legacyResourceId:UnsignedInt64! status:DisputeStatus! type:DisputeType! amount:MoneyV2! order:Order "
        "initiatedAt:DateTime! evidenceDueBy:DateTime finalizedOn:DateTime reasonDetails:ShopifyPaymentsDisputeReasonDetails!"
    ),
    "ShopifyPaymentsDisputeConnection": "nodes:[ShopifyPaymentsDispute!]! pageInfo:PageInfo!",
    "ShopifyPaymentsDisputeReasonDetails": ("networkReasonCode:String reason:ShopifyPaymentsDisputeReason!"),
    "SuggestedOrderTransaction": (
        "kind:SuggestedOrderTransactionKind! gateway:String formattedGateway:String accountNumber:String "
        "amountSet:MoneyBag! maximumRefundableSet:MoneyBag parentTransaction:OrderTransaction"
    ),
    "SuggestedRefund": (
        "amountSet:MoneyBag! maximumRefundableSet:MoneyBag! subtotalSet:MoneyBag! totalTaxSet:MoneyBag! "
        "shipping:ShippingRefund! refundLineItems:[RefundLineItem!]! suggestedTransactions:[SuggestedOrderTransaction!]!"
    ),
    "TagsAddPayload": "userErrors:[UserError!]!",
    "UserError": "field:[String!] message:String!",
}

_FIELD: Final = re.compile(r"(\w+)(?:\(([^)]*)\))?:(\S+)")
_ARGUMENT: Final = re.compile(r"(\w+):([^\s=]+)(?:=(\S+))?")


@functools.cache
def schema_for(version: str) -> GraphQLSchema:
    """The schema of one API version ("2026-10"); built once each."""
    types: dict[str, Any] = dict(_scalars())
    for name, values in _ENUMS.items():
        types[name] = GraphQLEnumType(name, {value: value for value in values.split()})
    for name, notation in _INPUTS.items():
        types[name] = GraphQLInputObjectType(
            name, functools.partial(_input_fields, notation, types), is_one_of=name in _ONE_OF
        )
    for name, notation in _OBJECTS.items():
        types[name] = GraphQLObjectType(name, functools.partial(_fields, notation, types, version))
    idempotent = GraphQLDirective(
        "idempotent", [DirectiveLocation.FIELD], {"key": GraphQLArgument(GraphQLNonNull(GraphQLString))}
    )
    return GraphQLSchema(
        types["QueryRoot"], types["Mutation"], directives=[*specified_directives, idempotent]
    )


def _fields(notation: str, types: dict[str, Any], version: str) -> dict[str, GraphQLField]:
    return {
        name: GraphQLField(_type(returned, types), _arguments(arguments or "", types))
        for name, arguments, returned in _FIELD.findall(notation)
        if name != "jobResult" or version == "unstable" or version >= "2026-10"
    }


def _arguments(notation: str, types: dict[str, Any]) -> dict[str, GraphQLArgument]:
    return {
        name: GraphQLArgument(_type(kind, types), default_value=_default(default))
        for name, kind, default in _ARGUMENT.findall(notation)
    }


def _input_fields(notation: str, types: dict[str, Any]) -> dict[str, GraphQLInputField]:
    return {
        name: GraphQLInputField(_type(kind, types), default_value=_default(default))
        for name, kind, default in _ARGUMENT.findall(notation)
    }


def _default(text: str) -> Any:
    match text:
        case "":
            return Undefined
        case "true" | "false" | "null" | "[]":
            return json.loads(text)
        case _:
            return text


def _type(notation: str, types: dict[str, Any]) -> Any:
    if notation.endswith("!"):
        return GraphQLNonNull(_type(notation[:-1], types))
    if notation.startswith("["):
        return GraphQLList(_type(notation[1:-1], types))
    return types[notation]


def _scalars() -> dict[str, GraphQLScalarType]:
    plain = {each.name: each for each in (GraphQLID, GraphQLInt, GraphQLString, GraphQLBoolean)}
    texts = {name: GraphQLScalarType(name, serialize=str) for name in ("DateTime", "UnsignedInt64")}
    decimals = {
        name: GraphQLScalarType(name, serialize=str, parse_value=_decimal) for name in ("Decimal", "Money")
    }
    return {**plain, **texts, **decimals, "JSON": GraphQLScalarType("JSON")}


def _decimal(value: Any) -> Decimal:
    try:
        read = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a decimal") from None
    if not read.is_finite():
        raise ValueError(f"{value!r} is not a decimal")
    return read
