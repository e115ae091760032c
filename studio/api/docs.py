"""The documentation of the routes as one plain page: nothing is loaded from elsewhere."""

from collections.abc import Mapping
from html import escape
from typing import Any

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Maquette: the routes</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }}
h2 {{ font: 600 15px ui-monospace, monospace; margin: 1.6rem 0 .2rem; }} p, ul {{ margin: .2rem 0; }}
</style></head><body><h1>Maquette: the routes</h1><p>{about}</p>
<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>{routes}</body></html>"""


def docs_page(described: Mapping[str, Any]) -> str:
    """The page for an OpenAPI description."""
    routes = [
        _route(method, path, route) for path, methods in described["paths"].items() for method, route in methods.items()
    ]
    return PAGE.format(about=escape(described["info"]["description"]), routes="".join(routes))


def _route(method: str, path: str, route: Mapping[str, Any]) -> str:
    body: Mapping[str, Any] = route.get("requestBody", {})
    fields = [
        (f"{name} ({_kind(schema)})", "")
        for content in list(body.get("content", {}).values())[:1]
        for name, schema in content["schema"].get("properties", {}).items()
    ]
    parameters = [
        (f"{entry['name']} ({_kind(entry['schema'])})", entry.get("description", ""))
        for entry in route.get("parameters", [])
    ]
    items = "".join(f"<li>{escape(name)} {escape(text)}</li>" for name, text in parameters + fields)
    about = " ".join(filter(None, (route.get("description", ""), body.get("description", ""))))
    return f"<h2>{escape(method.upper())} {escape(path)}</h2><p>{escape(about)}</p><ul>{items}</ul>"


def _kind(schema: Mapping[str, Any]) -> str:
    kinds = [str(entry.get("type", "")) for entry in schema.get("anyOf", [schema])]
    return " or ".join(kind for kind in kinds if kind)
