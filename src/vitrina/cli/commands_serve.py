"""The command `vitrina serve`."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from vitrina.cli.app import COLUMNS, RUN, EncoderFolder, TitleColumn, app
from vitrina.errors import InputError, MissingExtraError

LIMITS = Group("Limits of each worker", sort_key=2)


def _limit(text: str) -> Parameter:
    return Parameter(group=LIMITS, help=text, validator=Number(gte=1))


@app.command
def serve(
    encoder: EncoderFolder,
    /,
    *,
    classifier: Annotated[
        list[str] | None,
        Parameter(help="NAME=DIR: a classifier of this encoder, and its name; repeatable."),
    ] = None,
    index: Annotated[Path | None, Parameter(help="Folder of an index of this encoder.")] = None,
    catalogue: Annotated[
        str | None, Parameter(help="Table of products to search instead of an index.")
    ] = None,
    labels: Annotated[
        Path | None,
        Parameter(help="Label file: the page /label labels the titles of --catalogue."),
    ] = None,
    host: Annotated[
        str, Parameter(help="Address to listen at; any but this machine's own needs a key.")
    ] = "127.0.0.1",
    port: Annotated[
        int, Parameter(help="0 takes a free one.", validator=Number(gte=0, lte=65535))
    ] = 8000,
    key_file: Annotated[
        Path | None, Parameter(help="File with one key a line; VITRINA_API_KEY adds one.")
    ] = None,
    workers: Annotated[
        int, Parameter(group=RUN, help="Number of processes.", validator=Number(gte=1, lte=256))
    ] = 1,
    threads: Annotated[
        int | None,
        Parameter(
            group=RUN,
            help="Threads of each worker; by default, the processors divided among the workers.",
            validator=Number(gte=1, lte=256),
        ),
    ] = None,
    quiet: Annotated[bool, Parameter(group=RUN, help="Log warnings only, no requests.")] = False,
    max_body: Annotated[int, _limit("MiB of a request's body.")] = 8,
    max_titles: Annotated[int, _limit("Titles of a request.")] = 4_096,
    max_title_length: Annotated[int, _limit("Characters of a title.")] = 10_000,
    max_requests: Annotated[
        int, _limit("Requests at once; further ones are answered with 429.")
    ] = 32,
    product_column: Annotated[
        str, Parameter(group=COLUMNS, help="Column of the products in --catalogue.")
    ] = "product_id",
    title_column: TitleColumn = "title",
) -> None:
    """Serve an encoder over HTTP: vectors, classes and similar products.

    SIGTERM stops the service after the requests that it has accepted. SIGHUP loads all folders
    again, without an interruption. The page /docs describes the routes.

    Example: `vitrina serve encoder --classifier condition=classifier --index index`
    """
    if sys.platform == "win32":
        raise InputError("vitrina serve: runs on Linux and macOS only; use it in a container")
    for package in ("fastapi", "httptools", "jinja2", "orjson", "prometheus_client", "uvicorn"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve")
    from vitrina.serving.service_options import Limits, ServiceOptions
    from vitrina.serving.supervisor import serve as run

    run(
        ServiceOptions(
            encoder=encoder,
            classifiers=_named(classifier or []),
            index=index,
            catalogue=catalogue,
            product_column=product_column,
            title_column=title_column,
            labels=labels,
            host=host,
            port=port,
            key_file=key_file,
            workers=workers,
            threads=threads,
            limits=Limits(max_body * 2**20, max_titles, max_title_length, max_requests),
            quiet=quiet,
        )
    )


def _named(classifiers: list[str]) -> dict[str, Path]:
    """The folders of classifiers by name."""
    named: dict[str, Path] = {}
    for given in classifiers:
        name, sign, folder = given.partition("=")
        if not sign or not folder:
            raise InputError(f"`classifier` is '{given}'; write it as NAME=DIR")
        if name in named:
            raise InputError(f"`classifier`: the name '{name}' is given twice; choose another")
        named[name] = Path(folder)
    return named
