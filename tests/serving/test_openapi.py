"""Requests that schemathesis makes from the service's own OpenAPI description."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

KEY = "a-key-of-more-than-16-characters"

# schemathesis knows no Arrow: some streams of titles, and some bytes that are none
ARROW_BODIES = """
import polars as pl
import schemathesis
from hypothesis import strategies as st

titles = st.lists(st.none() | st.text(max_size=20), max_size=5)
streams = titles.map(
    lambda some: pl.DataFrame({"title": pl.Series(some, dtype=pl.String)})
    .write_ipc_stream(None)
    .getvalue()
)
kind = "application/vnd.apache.arrow.stream"
schemathesis.openapi.media_type(kind, streams | st.binary(max_size=300))


@schemathesis.serializer(kind)
def as_it_is(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode()
"""


def test_requests_from_the_description(start, shop: Path, tmp_path: Path) -> None:
    """Valid and invalid requests get documented answers: no 500, no other form of body.

    Those without the key are refused where the description says that one is needed.
    """
    classifier, index = f"condition={shop / 'classifier'}", shop / "index"
    running = start(
        *(shop / "encoder", "--classifier", classifier, "--index", index, "--quiet"),
        env={"VITRINA_API_KEY": KEY},
    )
    paths = running.ask("/openapi.json").json["paths"]
    assert paths["/v1/embeddings"]["post"]["security"] == [{"key": []}]
    assert "security" not in paths["/health"]["get"]
    # models have names, which a description can't list
    (tmp_path / "schemathesis.toml").write_text('[parameters]\n"path.name" = "vitrina"\n')
    (tmp_path / "arrow_bodies.py").write_text(ARROW_BODIES)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{running.url}/openapi.json",
        f"--header=Authorization: Bearer {KEY}",
        "--max-examples=30",
        "--seed=1",
        "--phases=examples,coverage,fuzzing",
        # no schema can say which numbers of dimensions or columns of `where` there are
        "--exclude-checks=positive_data_acceptance",
        "--request-timeout=60",
        "--generation-database=none",
        "--no-color",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"NO_COLOR": "1", "SCHEMATHESIS_HOOKS": "arrow_bodies"},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    text = running.ask("/metrics", authorization=f"Bearer {KEY}").body.decode()
    # streams of titles were among the bodies
    assert 'vitrina_requests_total{route="/v1/embeddings/arrow",status="200"}' in text
    assert 'status="500"' not in text
    # some requests were no HTTP
    assert {line["event"] for line in running.log()} <= {"Invalid HTTP request received."}
