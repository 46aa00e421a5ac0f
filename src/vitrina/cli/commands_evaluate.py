"""The command `vitrina evaluate`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter
from cyclopts.validators import Number

from vitrina.cli.app import RUN, Quiet, Threads, app
from vitrina.errors import InputError
from vitrina.progress import console

_Number = TypeVar("_Number", int, float)


def _baselines_help() -> str:
    from vitrina.evaluation.models.registry import describe_baselines

    return (
        "Baselines to compare. By default all that need no MODEL and whose packages are installed. "
        "MODEL is a folder or a name on the hub, SESSIONS a name in the task file. Brackets change "
        f"the numbers of a baseline: text-cnn[seeds=1].\n\n{describe_baselines()}"
    )


@app.command
def evaluate(
    tasks: Annotated[Path, Parameter(help="TOML file that describes the tasks and sessions.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder for the report, the results and the cache.")],
    encoder: Annotated[
        list[Path] | None,
        Parameter(help="Folder of a saved encoder; may be given several times."),
    ] = None,
    baselines: Annotated[
        list[str] | None, Parameter(consume_multiple=True, help=_baselines_help())
    ] = None,
    sizes: Annotated[
        str | None,
        Parameter(help="Numbers of labels, separated by commas [the paper's, 100 to 100000]."),
    ] = None,
    subsamples: Annotated[
        int | None,
        Parameter(help="Random subsamples of each size [5].", validator=Number(gte=1)),
    ] = None,
    alphas: Annotated[
        str | None,
        Parameter(
            help="Values of α, separated by commas: pre-trains an encoder by BYOL with each and "
            "compares them (the paper's figure 2)."
        ),
    ] = None,
    strategies: Annotated[
        bool,
        Parameter(
            help="Compare strategies of choosing titles to label, with one --encoder, instead of "
            "models."
        ),
    ] = False,
    quick: Annotated[bool, Parameter(help="Quick smoke test: small data, few steps.")] = False,
    resume: Annotated[
        bool,
        Parameter(group=RUN, help="Continue in a folder that holds a run, keeping its results."),
    ] = False,
    seed: Annotated[
        int, Parameter(group=RUN, help="Random seed for splits, subsamples and models.")
    ] = 0,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Compare encoders and baselines on your tasks, and write a report.

    Example: `vitrina evaluate tasks.toml --encoder encoder --out evaluation`
    """
    if strategies:
        if baselines or alphas or threads:
            raise InputError(
                "`strategies` compares no models: leave out `baselines`, `alphas` and `threads`"
            )
        _compare_strategies(tasks, out, encoder, sizes, subsamples, quick, resume, seed, quiet)
        return
    from vitrina.evaluation.evaluate import evaluate as run_evaluation

    run_evaluation(
        tasks,
        out,
        encoders=encoder or (),
        baselines=None if baselines is None else _names(baselines),
        sizes=_numbers("sizes", sizes, int),
        subsamples=subsamples,
        alphas=_numbers("alphas", alphas, float) or (),
        quick=quick,
        resume=resume,
        seed=seed,
        threads=threads,
        quiet=quiet,
    )
    console().print(f"report: {out / 'report.html'}")


def _compare_strategies(
    tasks: Path,
    out: Path,
    encoder: list[Path] | None,
    sizes: str | None,
    subsamples: int | None,
    quick: bool,
    resume: bool,
    seed: int,
    quiet: bool,
) -> None:
    from vitrina.evaluation.strategies import compare_strategies

    if encoder is None or len(encoder) != 1:
        raise InputError("`strategies` needs one `encoder`; give the folder of one")
    compare_strategies(
        tasks,
        out,
        encoder=encoder[0],
        sizes=_numbers("sizes", sizes, int),
        subsamples=subsamples,
        quick=quick,
        resume=resume,
        seed=seed,
        quiet=quiet,
    )
    console().print(f"report: {out / 'strategies.html'}")


def _names(values: list[str]) -> list[str]:
    """The names of an option that takes several, also with commas between them."""
    names = []
    for value in values:
        # commas in brackets are between the options of one baseline
        names += re.split(r",(?![^\[]*\])", value)
    return [name for name in names if name]


def _numbers(name: str, text: str | None, kind: type[_Number]) -> list[_Number] | None:
    """The numbers of an option whose values are separated by commas."""
    if text is None:
        return None
    try:
        return [kind(part.replace("_", "")) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"`{name}`: '{text}' is not a list of numbers; separate numbers by commas"
        ) from None
