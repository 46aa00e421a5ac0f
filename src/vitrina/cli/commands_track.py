"""The command `vitrina track`: a training run in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vitrina.cli.app import Quiet, app
from vitrina.progress import console


@app.command
def track(
    run: Annotated[Path, Parameter(help="Folder of the encoder, finished or in training.")],
    /,
    *,
    mlflow_uri: Annotated[
        str,
        Parameter(name="--mlflow", help="MLflow's tracking server or database."),
    ],
    experiment: Annotated[str, Parameter(help="Experiment of MLflow.")] = "vitrina",
    quiet: Quiet = False,
) -> None:
    """Show a training run in MLflow: its settings as parameters, its log as metrics.

    Call it again while the training goes on: it adds what is new.

    Example: `vitrina track encoder --mlflow sqlite:///mlflow.db`
    """
    from vitrina.tracking import track_run

    done = track_run(run, mlflow_uri, experiment=experiment, quiet=quiet)
    console().print(done.run_id)
    state = "finished" if done.finished else "in training: call this again for what follows"
    console(stderr=True, quiet=quiet).print(f"{done.records:,} new records; {state}")
