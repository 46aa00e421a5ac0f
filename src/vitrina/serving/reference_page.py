"""The page that describes the routes, from the OpenAPI description. It loads nothing."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from vitrina.pages.html import page, text

_EXAMPLES = {
    "/v1/embeddings": {"input": ["apple juice"], "encoding_format": "base64"},
    "/v1/classify": {"input": ["apple juice"], "top_k": 2},
    "/v1/similar": {"input": "apple juice", "k": 5},
    "/v2/models/{name}/infer": {
        "inputs": [
            {"name": "titles", "shape": [1], "datatype": "BYTES", "data": ["apple juice"]},
        ]
    },
}


def reference_page(openapi: dict[str, Any]) -> str:
    """Return the page, as HTML.

    Parameters
    ----------
    openapi : dict
        The OpenAPI description of the application.
    """
    sections = {}
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            sections[f"{method.upper()} {path}"] = _section(path, operation, openapi)
    lead = (
        f"{openapi['info']['description']} /openapi.json has the same for programs. Where the "
        "service has keys, send one as 'Authorization: Bearer KEY'."
    )
    return page(f"{openapi['info']['title']} {openapi['info']['version']}", lead, sections)


def _section(path: str, operation: dict[str, Any], openapi: dict[str, Any]) -> str:
    """The description of one route: a sentence, the fields of its body, an example, the answers."""
    parts = [text(operation.get("description", ""))]
    content = operation.get("requestBody", {}).get("content", {})
    for media_type, body in content.items():
        parts.append(text(f"Body: {media_type}", soft=True))
        reference = body["schema"].get("$ref")
        if reference:
            schema = openapi["components"]["schemas"][reference.rpartition("/")[2]]
            parts.append(_fields(schema))
    if path in _EXAMPLES:
        parts.append(f"<pre>{escape(json.dumps(_EXAMPLES[path], indent=1))}</pre>")
    answers = []
    for status, answer in operation["responses"].items():
        answers.append(f"<li>{status}: {escape(answer['description'])}</li>")
    return "\n".join([*parts, f"<ul>{''.join(answers)}</ul>"])


def _fields(schema: dict[str, Any]) -> str:
    """A list of the fields of a JSON object."""
    required = schema.get("required", [])
    rows = []
    for name, field in schema["properties"].items():
        note = field.get("description", "")
        if name not in required:
            note += f" Default: {json.dumps(field.get('default'))}."
        rows.append(f"<li><b>{escape(name)}</b> {escape(note)}</li>")
    return f"<ul>{''.join(rows)}</ul>"
