"""The application of one worker: its routes, and the form of its errors."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from vitrina._version import __version__
from vitrina.errors import InputError
from vitrina.serving import kserve_routes, operation_routes, title_routes
from vitrina.serving.gate import OPEN_PATHS, Gate
from vitrina.serving.refusals import Refusal, error_body
from vitrina.serving.service import Service


def make_app(service: Service) -> Gate:
    """Return the application of a service, with all its routes.

    Parameters
    ----------
    service : Service
    """
    app = FastAPI(
        title="vitrina",
        version=__version__,
        description="Titles of products to vectors, classes and similar products.",
        docs_url=None,  # FastAPI's own pages load their scripts from the internet
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(title_routes.router)
    app.include_router(kserve_routes.router)
    app.include_router(operation_routes.router)
    if service.options.labels is not None:
        from vitrina.labelling.page_routes import page_app

        app.mount("/label", page_app(lambda request: request.state.models.label_page))
    if service.models.keys:
        _describe_key(app.openapi())
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(InputError, _on_input_error)
    app.add_exception_handler(RequestValidationError, _on_wrong_body)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_defect)
    return Gate(app, service)


def _describe_key(openapi: dict[str, Any]) -> None:
    """Say in the OpenAPI description which routes need a key."""
    openapi["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in openapi["paths"].items():
        if path not in OPEN_PATHS:
            for operation in operations.values():
                operation["security"] = [{"key": []}]


def _error(
    request: Request, status: int, message: str, headers: dict[str, str] | None = None
) -> Response:
    body = error_body(request.url.path, status, message)
    return Response(body, status, headers, "application/json")


def _on_refusal(request: Request, refusal: Any) -> Response:
    return _error(request, refusal.status, refusal.message, refusal.headers)


def _on_input_error(request: Request, error: Exception) -> Response:
    return _error(request, 422, str(error).replace("`", ""))


def _on_wrong_body(request: Request, error: Any) -> Response:
    """Say the first thing that is wrong with a body, without quoting it."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _error(request, 422, "the body is not valid JSON in UTF-8")
    field = ".".join(map(str, first["loc"][1:]))
    message = str(first["msg"]).lower()
    return _error(request, 422, f"{field or 'the body'}: {message}")


def _on_http_error(request: Request, error: Any) -> Response:
    """Say what the framework refuses: unknown paths and methods."""
    message = "there is no such path; see /docs" if error.status_code == 404 else str(error.detail)
    return _error(request, error.status_code, message.lower(), error.headers)


def _on_defect(request: Request, error: Exception) -> Response:
    return _error(request, 500, "the service has failed; its log says where")
