"""The front door's own description, OpenAPI 3.1, served at `/openapi.json`."""

from __future__ import annotations

from typing import Any

from refundflow.connectors.inventory_flags import FLAGS
from refundflow.connectors.portal_api import REASONS

_TEXT = {"type": "string"}
_PROBLEM = {
    "type": "object",
    "properties": {"status": {"type": "integer"}, "title": _TEXT, "detail": _TEXT},
    "required": ["status", "title"],
}


def describe(max_body_bytes: int) -> dict[str, Any]:
    """The document as plain data."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "refundflow ingest",
            "version": "1",
            "description": f"Cancellations come in here. Bodies may have at most {max_body_bytes} bytes.",
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Cancellation": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["order"],
                    "properties": {
                        "order": {
                            "description": "the order's number, or its id at the order platform",
                            "oneOf": [
                                {"type": "string", "minLength": 1, "maxLength": 100},
                                _one_field("id", 200),
                                _one_field("number", 100),
                            ],
                        },
                        "platform": {**_TEXT, "maxLength": 40},
                        "lines": {
                            "description": "leave out to cancel the whole order",
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["line_id", "quantity"],
                                "properties": {
                                    "line_id": {"type": "string", "minLength": 1, "maxLength": 200},
                                    "quantity": {"type": "integer", "minimum": 1},
                                },
                            },
                        },
                        "reason": {"enum": list(REASONS), "default": "customer"},
                        "requested_by": {**_TEXT, "maxLength": 200},
                        "note": {**_TEXT, "maxLength": 2000},
                    },
                },
                "Problem": _PROBLEM,
            },
        },
        "paths": {
            "/v1/cancellations": {
                "post": {
                    "summary": "Ask for a cancellation",
                    "security": [{"key": []}],
                    "parameters": [
                        {
                            "name": "Idempotency-Key",
                            "in": "header",
                            "required": True,
                            "schema": {"type": "string", "minLength": 1, "maxLength": 200},
                        }
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Cancellation"}}
                        },
                    },
                    "responses": {
                        "202": _answer(
                            "stored; it will be carried out", ["event_id", "status", "status_url"]
                        ),
                        **_problems(400, 401, 409, 413, 422, 503),
                    },
                }
            },
            "/v1/cancellations/{event_id}": {
                "get": {
                    "summary": "What became of a request",
                    "security": [{"key": []}],
                    "parameters": [_path("event_id", "integer")],
                    "responses": {
                        "200": _answer(
                            "its state, and its case once it has one", ["event_id", "status", "case_id"]
                        ),
                        **_problems(401, 404, 503),
                    },
                }
            },
            "/v1/cases/{case_id}": {
                "get": {
                    "summary": "How a cancellation stands",
                    "security": [{"key": []}],
                    "parameters": [_path("case_id", "string")],
                    "responses": {
                        "200": _answer("the case and its steps", ["case_id", "state", "steps"]),
                        **_problems(401, 404, 503),
                    },
                }
            },
            "/hooks/{source}": {
                "post": {
                    "summary": "A signed webhook of a platform",
                    "parameters": [_path("source", "string")],
                    "requestBody": {"required": True, "content": {"application/json": {}}},
                    "responses": {
                        "200": _answer("stored, known already, or a greeting (without event_id)", ["status"]),
                        "204": {"description": "as 200, for vendors that would read more into an answer"},
                        **_problems(401, 404, 413, 422, 503),
                    },
                },
                "head": {
                    "summary": "The address is there, for vendors that try it out",
                    "parameters": [_path("source", "string")],
                    "responses": {"200": {"description": "it is"}, **_problems(404)},
                },
            },
            "/v1/inventory-flags": {
                "post": {
                    "summary": "A stock system flags an order",
                    "parameters": [
                        {
                            "name": "X-Refundflow-Signature",
                            "in": "header",
                            "required": True,
                            "description": "t=<epoch seconds>,v1=<hex HMAC-SHA256 over t.body with a key of REFUNDFLOW_FLAG_KEYS>",
                            "schema": _TEXT,
                        }
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "object",
                                    "additionalProperties": False,
                                    "required": ["flag_id", "flag", "order"],
                                    "properties": {
                                        "flag_id": {"type": "string", "minLength": 1, "maxLength": 200},
                                        "flag": {"enum": list(FLAGS)},
                                        "order": {"description": "as in a cancellation"},
                                        "platform": _TEXT,
                                        "lines": {"description": "as in a cancellation"},
                                        "note": {"type": "string", "maxLength": 2000},
                                    },
                                }
                            }
                        },
                    },
                    "responses": {
                        "200": _answer("stored, or known already", ["event_id", "status"]),
                        **_problems(401, 404, 413, 422, 503),
                    },
                }
            },
            "/healthz": {
                "get": {"summary": "The process answers", "responses": {"200": {"description": "ok"}}}
            },
            "/readyz": {
                "get": {
                    "summary": "Deliveries can be stored",
                    "responses": {"200": {"description": "ready"}, **_problems(503)},
                }
            },
        },
    }


def _one_field(name: str, limit: int) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name],
        "properties": {name: {"type": "string", "minLength": 1, "maxLength": limit}},
    }


def _path(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": kind}}


def _answer(description: str, required: list[str]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"type": "object", "required": required}}},
    }


def _problems(*statuses: int) -> dict[str, Any]:
    words = {
        400: "a header is missing",
        401: "the key or the signature is refused; nothing is stored",
        404: "there is no such thing",
        409: "this Idempotency-Key came with another body before",
        413: "the body is too large",
        422: "a field is not right; its name is in the answer",
        503: "not stored; send it again after Retry-After",
    }
    return {
        str(status): {
            "description": words[status],
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
