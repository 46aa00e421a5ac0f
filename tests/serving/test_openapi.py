"""Requests that schemathesis makes from the service's own OpenAPI description."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_requests_from_the_description(service, tmp_path: Path) -> None:
    """Valid and invalid requests get documented answers: no 500, no other form of body."""
    # models have names, which a description can't list
    (tmp_path / "schemathesis.toml").write_text('[parameters]\n"path.name" = "vitrina"\n')
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{service.url}/openapi.json",
        "--max-examples=60",
        "--seed=1",
        "--phases=examples,coverage,fuzzing",
        # no schema can say which numbers of dimensions or columns of `where` there are
        "--exclude-checks=positive_data_acceptance",
        "--exclude-path=/metrics",
        "--exclude-path=/v1/embeddings/arrow",  # test_routes damages streams
        "--request-timeout=20",
        "--generation-database=none",
        "--no-color",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"NO_COLOR": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
