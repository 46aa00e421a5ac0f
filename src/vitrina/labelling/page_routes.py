"""The labelling page as an application: `vitrina label` runs it, `vitrina serve` mounts it.

It sends HTML that is rendered here, and one script that puts the pieces in place. Its titles come
from anywhere, so the templates escape all text, and a policy forbids scripts and styles but ours.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from vitrina._version import __version__
from vitrina.errors import InputError
from vitrina.labelling.page_drawings import draw_curve, draw_histogram
from vitrina.labelling.page_state import PageState

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_LONGEST_BODY = 4 * 2**20
_FOUND = 30
"""Titles of one search."""

_CHIPS = 12
"""Words beside the title."""

_WHY = {
    "audit": "A random title. The score is computed from these alone.",
    "diverse": "A typical title of a group of similar ones.",
    "margin": "The classifier is least certain about titles like this one.",
    "random": "A random title.",
    "search": "You searched for it.",
    "review": "You looked at it again.",
}

_templates = Environment(
    loader=PackageLoader("vitrina.labelling"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["signed"] = lambda value: f"{value:+.2f}".replace("-", "−")


def standalone_app(state: PageState) -> Starlette:
    """Return an application that shows the page at /label, to browsers on this machine.

    Parameters
    ----------
    state : PageState
    """

    async def to_page(request: Request) -> Response:
        return RedirectResponse("label/")

    # a page of another site can send requests to this machine under a name of its own
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    routes = [Mount("/label", page_app(lambda request: state)), Route("/", to_page)]
    return Starlette(routes=routes, middleware=[hosts])


def page_app(state_of: Callable[[Request], PageState]) -> Starlette:
    """Return the page as an application to be mounted under a path.

    Parameters
    ----------
    state_of : callable
        Returns what the page shows, for a request.
    """
    page = _Page(state_of)
    routes = [
        Route("/", page.whole),
        Route("/next", page.next, methods=["POST"]),
        Route("/release", page.release, methods=["POST"]),
        Route("/answer", page.answer, methods=["POST"]),
        Route("/undo", page.undo, methods=["POST"]),
        Route("/status", page.status),
        Route("/search", page.search),
        Route("/review", page.review),
        Route("/words", page.words),
        Route("/export/{what}", page.export, methods=["POST"]),
        Mount("/static", StaticFiles(packages=[("vitrina.labelling", "static")])),
    ]
    return Starlette(routes=routes, exception_handlers={InputError: _on_input_error})


class _Page:
    """The routes. Work on titles runs in threads; the project has a lock of its own."""

    def __init__(self, state_of: Callable[[Request], PageState]) -> None:
        self._state_of = state_of

    async def whole(self, request: Request) -> Response:
        state = self._state_of(request)
        html = _rendered(
            "page.html",
            classes=state.classes,
            keys=_keys(state.classes),
            project=state.identity,
            titles=len(state.project),
            file=state.project.file.path.name,
            version=__version__,
        )
        return Response(html, media_type="text/html", headers=HEADERS)

    async def next(self, request: Request) -> Response:
        state, body = await self._posted(request)
        tab = _text(body, "tab")
        return await _answered(lambda: _card(state, tab))

    async def release(self, request: Request) -> Response:
        state, body = await self._posted(request)
        state.release(_text(body, "tab"))
        return JSONResponse({}, headers=HEADERS)

    async def answer(self, request: Request) -> Response:
        state, body = await self._posted(request)
        tab = _text(body, "tab")
        title, strategy = _text(body, "title"), _text(body, "strategy")
        label = None if body.get("label") is None else _text(body, "label")

        def work() -> dict[str, Any]:
            if strategy not in _WHY and strategy != "":
                raise InputError("strategy: is unknown; load the page again")
            before = state.answer(title, label, strategy)
            answer = {"before": before, "counts": _counts(state)}
            return answer | (_card(state, tab) if body.get("next") is True else {})

        return await _answered(work)

    async def undo(self, request: Request) -> Response:
        state, body = await self._posted(request)
        tab = _text(body, "tab")
        title = None if body.get("title") is None else _text(body, "title")
        before = body.get("before")
        if before is not None and not isinstance(before, dict):
            raise InputError("before: is no object")

        def work() -> dict[str, Any]:
            undone = state.undo(tab, title, before and _before(before))
            return {"undone": undone, **_card(state, tab)}

        return await _answered(work)

    async def status(self, request: Request) -> Response:
        state = self._state_of(request)
        label = request.query_params.get("class", state.classes[0])

        def work() -> dict[str, Any]:
            figures = state.figures(label)
            html = _rendered(
                "figures.html",
                figures=figures,
                classes=state.classes,
                curve=draw_curve(figures.curve),
                histogram=draw_histogram(figures.histogram),
                catalogue=len(state.project),
                shown=_shown,
            )
            words = state.project.deciding_words(label, _CHIPS).to_dicts()
            deciding = _rendered("deciding.html", label=label, words=words)
            return {"html": html, "deciding": deciding, "labels": figures.labels}

        return await _answered(work)

    async def search(self, request: Request) -> Response:
        state, query = self._state_of(request), request.query_params.get("q", "")
        by = request.query_params.get("by", "words")

        def work() -> dict[str, Any]:
            found = state.project.search(query, by, _FOUND) if query.strip() else None
            nothing = "No unlabelled title has these words." if query.strip() else ""
            return _found(state, found, nothing)

        return await _answered(work)

    async def review(self, request: Request) -> Response:
        state = self._state_of(request)
        nothing = "The classifier contradicts no label strongly."
        return await _answered(lambda: _found(state, state.project.doubtful(_FOUND), nothing))

    async def words(self, request: Request) -> Response:
        state = self._state_of(request)
        label = request.query_params.get("class", state.classes[0])
        title = request.query_params.get("title")

        def work() -> dict[str, Any]:
            html = _rendered(
                "words.html",
                label=label,
                words=state.project.deciding_words(label).to_dicts(),
                title=title,
                of_title=[] if title is None else _words_of(state, title),
            )
            return {"html": html}

        return await _answered(work)

    async def export(self, request: Request) -> Response:
        state, _ = await self._posted(request)
        what = request.path_params["what"]
        if what == "labels":
            return await run_in_threadpool(_labels_csv, state)
        if what not in ("classifier", "scores"):
            return JSONResponse({"message": "there is no such export"}, 404, HEADERS)
        return await _answered(lambda: _saved(state, what))

    async def _posted(self, request: Request) -> tuple[PageState, dict[str, Any]]:
        """The body of a request, if it comes from a page of this project."""
        body = await _body(request)
        state = self._state_of(request)
        if body.get("project", state.identity) != state.identity:
            raise InputError("this page shows another label file or other classes; load it again")
        return state, body


# ---- pieces of the page


def _rendered(template: str, **values: Any) -> str:
    return _templates.get_template(template).render(**values)


def _keys(classes: list[str]) -> list[str]:
    """The key of each class: a digit, or y and n for the classes of that name."""
    digits = [str(number + 1) for number in range(len(classes))]
    return ["y", "n"] if classes == ["yes", "no"] else digits


def _card(state: PageState, tab: str) -> dict[str, Any]:
    """The title of a tab, and how many labels there are."""
    row = state.card(tab)
    html = _rendered("card.html", row=row, why=_WHY.get(row["strategy"], "") if row else "")
    title, strategy = (row["title"], row["strategy"]) if row else (None, None)
    return {"title": title, "strategy": strategy, "html": html, "counts": _counts(state)}


def _counts(state: PageState) -> str:
    counts = state.counts()
    labelled = state.project.labelled()
    return _rendered(
        "counts.html",
        counts=counts,
        labels=sum(counts.values()),
        audit=int(labelled.is_audit.sum()),
        waiting=len(labelled.waiting),
    )


def _found(state: PageState, found: pl.DataFrame | None, nothing: str) -> dict[str, Any]:
    """A list of titles to label."""
    rows = [] if found is None else found.to_dicts()
    html = _rendered("found.html", rows=rows, classes=state.classes, nothing=nothing)
    return {"html": html, "rows": [[row["title"], row["strategy"]] for row in rows]}


def _words_of(state: PageState, title: str) -> list[dict[str, Any]]:
    """What each word of a title adds to the score of its predicted class."""
    parts = state.project.explain(title)
    if parts is None:
        return []
    words = parts.drop_nulls("word").group_by("word", "prediction", maintain_order=True)
    return words.agg(pl.sum("contribution")).to_dicts()


def _shown(estimate: Any) -> str:
    """An estimate with its interval."""
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


# ---- exports


def _labels_csv(state: PageState) -> Response:
    file = state.project.file
    buffer = io.BytesIO()
    file.read().write_csv(buffer)
    name = f"{file.path.stem}.csv".encode("ascii", "replace").decode().replace('"', "'")
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(buffer.getvalue(), headers=HEADERS | disposition, media_type="text/csv")


def _saved(state: PageState, what: str) -> dict[str, Any]:
    """Write the classifier or the scored catalogue beside the label file."""
    file = state.project.file.path
    if what == "classifier":
        path: Path = file.with_name(f"{file.stem}-classifier")
        state.project.save_classifier(path, force=True)
        note = f"vitrina classify predict {path} CATALOGUE --out scores.parquet"
        return {"path": str(path), "note": note}
    path = file.with_name(f"{file.stem}-scores.parquet")
    rows = state.project.save_scores(path, force=True)
    return {"path": str(path), "note": f"{rows:,} rows"}


# ---- requests and answers


async def _body(request: Request) -> dict[str, Any]:
    """Read the JSON object of a request that another site's page can't have sent."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    is_foreign = site not in ("same-origin", "none")
    if origin is not None:
        is_foreign = urlsplit(origin).netloc != request.headers.get("host")
    if is_foreign:
        raise InputError("the request comes from the page of another site")
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > _LONGEST_BODY:
            raise InputError(f"the body has more than {_LONGEST_BODY:,} bytes")
    try:
        body = json.loads(content or b"{}")
    except ValueError:
        raise InputError("the body is not valid JSON") from None
    if not isinstance(body, dict):
        raise InputError("the body is no JSON object")
    return body


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise InputError(f"{name}: is missing or no text")
    return value


def _before(before: dict[str, Any]) -> dict[str, Any]:
    label = None if before.get("label") is None else _text(before, "label")
    return {"label": label, "strategy": _text(before, "strategy")}


async def _answered(work: Callable[[], dict[str, Any]]) -> Response:
    return JSONResponse(await run_in_threadpool(work), headers=HEADERS)


async def _on_input_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"message": str(error).replace("`", "")}, 422, HEADERS)
