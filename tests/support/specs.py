"""Published API descriptions, and checks of what we send and of the answers our readers are tested on against them.

The descriptions are found in $REFUNDFLOW_SPECS, else in `../shared/specs` beside the checkout; a test that needs an absent
one is skipped. Read: OpenAPI 3.0 and 3.1, Swagger 2.0, plain JSON Schema. Only local `$ref`s are followed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from refundflow.transport.base import Request

_ROOT = Path(__file__).resolve().parents[2]
_URI = "urn:spec"
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


def specs(platform: str) -> Path:
    """The folder of a platform's published descriptions; skips the test where it is absent."""
    base = Path(os.environ.get("REFUNDFLOW_SPECS") or _ROOT.parent / "shared" / "specs")
    folder = base / platform
    if not folder.is_dir():
        pytest.skip(f"no published descriptions of {platform} in {base} (set REFUNDFLOW_SPECS)")
    return folder


def load(path: Path) -> Any:
    """A JSON file of the descriptions (vectors, fixtures)."""
    return json.loads(path.read_text(encoding="utf-8"))


def check_request(spec_path: Path, method: str, path_template: str, request: Request) -> None:
    """Fails unless the request is what the description allows: method and path, declared query parameters and body
    properties only, required ones present, types and enums kept. Forms are unfolded (`metadata[a]=b`) first.
    """
    operation = _operation(spec_path, method, path_template)
    assert request.method.upper() == method.upper(), f"sent with {request.method}, described as {method}"
    url = urlsplit(request.path)
    assert _matches(path_template, url.path), f"{url.path} is not {path_template}"
    params = [*parse_qsl(url.query, keep_blank_values=True), *request.params]
    problems = [*_query_problems(operation, params), *_body_problems(operation, request)]
    assert not problems, f"{method} {path_template}:\n  " + "\n  ".join(problems)


def check_response(
    spec_path: Path, method: str, path_template: str, status: int, json: Any, *, declared_only: bool = False
) -> None:
    """Fails unless this JSON is an answer that the description allows for the status.

    `declared_only`: also fails on properties that are not described (vendors may add some, so the default is False).
    """
    operation = _operation(spec_path, method, path_template)
    answers = operation.value["responses"]
    name = next((n for n in (str(status), f"{status // 100}XX", "default") if n in answers), None)
    assert name is not None, f"{method} {path_template} has no answer {status}, only {', '.join(answers)}"
    described = operation.at("responses", name)
    schema = described.at("schema") if "schema" in described.value else _content(described, _is_json)
    if schema is None:
        return
    problems = [*schema.errors(_plain(json))]
    if declared_only:
        problems += _undeclared(schema, _plain(json), "$")
    assert not problems, f"{method} {path_template} {status}:\n  " + "\n  ".join(problems)


def check_document(schema_path: Path, instance: Any, pointer: str = "") -> None:
    """Fails unless the JSON fits a JSON Schema file, or the schema at `pointer` ("/components/schemas/refund") in an
    OpenAPI file.
    """
    document = _document(schema_path)
    if pointer:
        problems = (
            _Node(document, tuple(p for p in pointer.split("/") if p)).resolved().errors(_plain(instance))
        )
    else:
        validator = validator_for(document, default=Draft202012Validator)(document)
        problems = [_told(error) for error in validator.iter_errors(_plain(instance))]
    assert not problems, f"{schema_path.name}{pointer}:\n  " + "\n  ".join(problems)


class _Node:
    """A place in a description: the document and the keys that lead there."""

    def __init__(self, document: Any, keys: tuple[str, ...]) -> None:
        self.document = document
        self.keys = keys
        value = document
        for key in keys:
            value = value[int(key)] if isinstance(value, list) else value[key]
        self.value: Any = value

    def at(self, *keys: str) -> _Node:
        return _Node(self.document, (*self.keys, *keys)).resolved()

    def items(self, key: str) -> list[_Node]:
        return [self.at(key, str(i)) for i in range(len(self.value.get(key, ())))]

    def resolved(self) -> _Node:
        """The node itself, or the one that its `$ref` names."""
        if isinstance(self.value, dict) and isinstance(ref := self.value.get("$ref"), str):
            keys = tuple(k.replace("~1", "/").replace("~0", "~") for k in ref.removeprefix("#/").split("/"))
            return _Node(self.document, keys).resolved()
        return self

    def errors(self, instance: Any, *, is_request: bool = False) -> list[str]:
        pointer = "/".join(quote(k.replace("~", "~0").replace("/", "~1"), safe="~") for k in self.keys)
        registry = Registry[Any]().with_resource(_URI, DRAFT202012.create_resource(self.document))
        validator = Draft202012Validator({"$ref": f"{_URI}#/{pointer}"}, registry=registry)
        found = validator.iter_errors(instance)
        return [_told(error) for error in found if not (is_request and _is_read_only(error))]


def _told(error: ValidationError) -> str:
    best = min(error.context, key=lambda e: -len(e.absolute_path), default=None)
    inner = f" ({best.json_path}: {best.message[:200]})" if best is not None else ""
    return f"{error.json_path}: {error.message[:200]}{inner}"


def _is_read_only(error: ValidationError) -> bool:
    """A property that only answers carry is not missing from a request."""
    if error.validator != "required" or not isinstance(error.schema, dict):
        return False
    properties = error.schema.get("properties", {})
    present = error.instance if isinstance(error.instance, dict) else {}
    missing = [n for n in error.schema["required"] if n not in present]
    return all(properties.get(n, {}).get("readOnly") is True for n in missing)


@lru_cache(maxsize=64)
def _document(path: Path) -> Any:
    return _modern(load(path))


def _modern(value: Any) -> Any:
    """OpenAPI 3.0 schemas in the words of JSON Schema 2020-12: `nullable`, boolean `exclusiveMinimum`, and patterns of
    another regex dialect left out.
    """
    if isinstance(value, list):
        return [_modern(v) for v in value]
    if not isinstance(value, dict):
        return value
    out = {k: v if k in ("example", "examples", "enum") else _modern(v) for k, v in value.items()}
    for flag, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(out.get(flag), bool) and out.pop(flag) and limit in out:
            out[flag] = out.pop(limit)
    if isinstance(out.get("pattern"), str) and not _compiles(out["pattern"]):
        del out["pattern"]
    if True in (out.get("nullable"), out.get("x-nullable")):
        rest = {k: v for k, v in out.items() if k not in ("nullable", "x-nullable")}
        return {"anyOf": [rest, {"type": "null"}], **({"readOnly": True} if out.get("readOnly") else {})}
    return out


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _operation(spec_path: Path, method: str, path_template: str) -> _Node:
    document = _document(spec_path)
    assert path_template in document["paths"], f"{path_template} is not in {spec_path.name}"
    item = _Node(document, ("paths", path_template))
    assert method.lower() in item.value, f"{path_template} has no {method} in {spec_path.name}"
    return item.at(method.lower())


def _matches(template: str, path: str) -> bool:
    """Compared from the end: a base URL may hold the first part of the path, or the description may leave it out."""
    ours, theirs = path.strip("/").split("/"), template.strip("/").split("/")
    return all(
        re.fullmatch(re.sub(r"\\\{[^{}]+\\\}", "[^/]+", re.escape(described)), sent)
        for sent, described in zip(reversed(ours), reversed(theirs), strict=False)
    )


def _parameters(operation: _Node, place: str) -> dict[str, _Node]:
    item = _Node(operation.document, operation.keys[:-1])
    nodes = [*item.items("parameters"), *operation.items("parameters")]
    return {node.value["name"]: node for node in nodes if node.value["in"] == place}


def _schema(parameter: _Node) -> _Node:
    return parameter.at("schema") if "schema" in parameter.value else parameter


def _query_problems(operation: _Node, params: Sequence[tuple[str, str]]) -> Iterator[str]:
    declared = _parameters(operation, "query")
    literal = [(n, v) for n, v in params if n in declared]
    folded = [(n, v) for n, v in params if n not in declared]
    sent: dict[str, Any] = {n: [v for m, v in literal if m == n] for n, _ in literal}
    sent |= {n: v if isinstance(v, dict | list) else [v] for n, v in unfold(folded).items()}
    for name, value in sent.items():
        if name not in declared:
            yield f"query parameter {name!r} is not described"
            continue
        schema = _schema(declared[name])
        is_list = "array" in _types(schema)
        flat = value if is_list or isinstance(value, dict) or len(value) != 1 else value[0]
        if is_list and len(value) == 1 and "," in value[0]:
            flat = value[0].split(",")
        if "schema" in declared[name].value:
            yield from (f"query {name}: {e}" for e in schema.errors(_typed(schema, flat)))
    for name, node in declared.items():
        if node.value.get("required") and name not in sent:
            yield f"query parameter {name!r} is required"


def _body_problems(operation: _Node, request: Request) -> list[str]:
    if request.form is not None:
        fields = _parameters(operation, "formData")
        if fields:
            sent = dict(request.form)
            undescribed = [f"form field {n!r} is not described" for n in sent if n not in fields]
            return undescribed + [
                f"form field {n!r} is required"
                for n, f in fields.items()
                if f.value.get("required") and n not in sent
            ]
        schema = _body_schema(operation, lambda kind: kind.split(";")[0] in _FORM_TYPES)
        if schema is None:
            return [] if not request.form else ["no form body is described"]
        body = _typed(schema, unfold(request.form))
    elif request.json is not None:
        schema = _body_schema(operation, _is_json)
        if schema is None:
            return ["no JSON body is described"]
        body = _plain(request.json)
    else:
        required = operation.value.get("requestBody") and operation.at("requestBody").value.get("required")
        return ["a body is required"] if required else []
    return [*schema.errors(body, is_request=True), *_undeclared(schema, body, "$")]


def _is_json(kind: str) -> bool:
    return "json" in kind or kind == "*/*"


def _body_schema(operation: _Node, fits: Any) -> _Node | None:
    if "requestBody" in operation.value:
        return _content(operation.at("requestBody"), fits)
    bodies = list(_parameters(operation, "body").values())
    return bodies[0].at("schema") if bodies else None


def _content(node: _Node, fits: Any) -> _Node | None:
    for kind, media in node.value.get("content", {}).items():
        if fits(kind) and "schema" in media:
            return node.at("content", kind, "schema")
    return None


def unfold(fields: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Form fields in bracket notation as the object they stand for: `a[b]=1`, `c[]=2`, `d[0][e]=3`."""
    out: dict[str, Any] = {}
    for name, value in fields:
        head, *keys = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        place, key = out, head
        for following in keys:
            place = place.setdefault(key, {})
            key = following or str(len(place))
        assert key not in place, f"form field {name} is sent twice"
        place[key] = value
    return {k: _lists(v) for k, v in out.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {k: _lists(v) for k, v in value.items()}
    return list(inner.values()) if inner and list(inner) == [str(i) for i in range(len(inner))] else inner


def _parts(schema: _Node) -> Iterator[_Node]:
    """The schema and the ones that it is put together from."""
    yield schema
    for word in ("allOf", "anyOf", "oneOf"):
        if isinstance(schema.value, dict):
            for part in schema.items(word):
                yield from _parts(part)


def _types(schema: _Node) -> set[str]:
    found: set[str] = set()
    for part in _parts(schema):
        kind = part.value.get("type") if isinstance(part.value, dict) else None
        found |= {kind} if isinstance(kind, str) else set(kind or ())
    return found


def _members(schema: _Node, name: str) -> tuple[list[_Node], bool]:
    """The schemas described for a property, and whether properties that are not described are welcome."""
    found, is_open, has_properties = [], False, False
    for part in _parts(schema):
        if not isinstance(part.value, dict):
            continue
        if part.value.get("properties"):
            has_properties = True
            if name in part.value["properties"]:
                found.append(part.at("properties", name))
        extra = part.value.get("additionalProperties")
        if isinstance(extra, dict) and extra:
            found.append(part.at("additionalProperties"))
        is_open = is_open or extra is True or extra == {}
    return found, is_open or not has_properties


def _undeclared(schema: _Node, value: Any, path: str) -> list[str]:
    if isinstance(value, list):
        inner = [p.at("items") for p in _parts(schema) if isinstance(p.value, dict) and "items" in p.value]
        return [p for i, v in enumerate(value) for p in _fewest(inner, v, f"{path}[{i}]")]
    if not isinstance(value, dict):
        return []
    problems: list[str] = []
    for name, member in value.items():
        found, is_open = _members(schema, name)
        if not found and not is_open:
            problems.append(f"{path}.{name} is not described")
        problems += _fewest(found, member, f"{path}.{name}")
    return problems


def _fewest(schemas: Sequence[_Node], value: Any, path: str) -> list[str]:
    return min((_undeclared(s, value, path) for s in schemas), key=len, default=[])


def _typed(schema: _Node, value: Any) -> Any:
    """Form and query texts as the types that the description gives them; what does not fit stays a text and fails."""
    if isinstance(value, dict):
        return {n: _typed_by(_members(schema, n)[0], v) for n, v in value.items()}
    if isinstance(value, list):
        inner = [p.at("items") for p in _parts(schema) if "items" in p.value]
        return [_typed_by(inner, v) for v in value]
    types = _types(schema)
    if "string" in types or not isinstance(value, str):
        return value
    if "integer" in types and re.fullmatch(r"-?\d+", value):
        return int(value)
    if "number" in types and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return float(value)
    if "boolean" in types and value in ("true", "false"):
        return value == "true"
    return value


def _typed_by(schemas: Sequence[_Node], value: Any) -> Any:
    return _typed(schemas[0], value) if schemas else value


def _plain(value: Any) -> Any:
    """JSON as the validator expects it: Decimals as numbers, tuples as lists."""
    return json.loads(json.dumps(value, default=float))
