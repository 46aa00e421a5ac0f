"""The labelling page of `vitrina serve`: behind the service's key and limits."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from http.client import HTTPConnection

import polars as pl
import pytest

from vitrina.cli.entry import _exit_code

KEY = "a key of this test only"


@pytest.fixture
def folder(tmp_path, encoder, grocery_titles):
    encoder.save(tmp_path / "encoder")
    titles = grocery_titles[1:601:10]
    table = {"product_id": range(len(titles)), "title": titles}
    pl.DataFrame(table).write_parquet(tmp_path / "catalogue.parquet")
    return tmp_path


@pytest.fixture
def port(folder):
    """A service with a key; its port."""
    command = [sys.executable, "-m", "vitrina", "serve", str(folder / "encoder"), "--port", "0"]
    command += ["--catalogue", str(folder / "catalogue.parquet"), "--quiet"]
    command += ["--labels", str(folder / "labels.csv")]
    environment = os.environ | {"VITRINA_API_KEY": KEY}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    found = re.match(r"vitrina serves http://127.0.0.1:(\d+)", process.stdout.readline())
    assert found
    yield int(found[1])
    process.terminate()
    process.wait(20)


def ask(port, path, body=None, **headers):
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    sent = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, sent, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_the_page_of_a_service_needs_its_key(port, folder) -> None:
    answer, content = ask(port, "/label/")
    assert answer.status == 401
    # so that a browser asks for the key
    assert answer.headers["www-authenticate"] == 'Basic realm="vitrina"'
    wrong = base64.b64encode(b"me:another key of 16").decode()
    assert ask(port, "/label/", authorization=f"Basic {wrong}")[0].status == 401
    assert ask(port, "/label/", authorization="Basic ?")[0].status == 401
    key = {"authorization": f"Basic {base64.b64encode(f'me:{KEY}'.encode()).decode()}"}
    answer, content = ask(port, "/label/", **key)
    assert answer.status == 200
    assert b"labels.csv" in content
    assert ask(port, "/label/static/label.js", **key)[0].status == 200
    # elsewhere, a password is no key
    answer, _ = ask(port, "/info", **key)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")

    answer, content = ask(port, "/label/next", {"tab": "a"}, **key)
    card = json.loads(content)
    body = {"tab": "a", "title": card["title"], "strategy": card["strategy"], "label": "yes"}
    assert ask(port, "/label/answer", body, **key)[0].status == 200
    assert pl.read_csv(folder / "labels.csv")["title"].to_list() == [card["title"]]
    bearer = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    assert ask(port, "/v1/embeddings", {"input": "milk"}, **bearer)[0].status == 200


def test_options_that_do_not_fit(folder, capsys) -> None:
    serve = ["serve", str(folder / "encoder"), "--labels", str(folder / "labels.csv")]
    assert _exit_code(serve) == 2
    assert "--labels needs a --catalogue" in capsys.readouterr().err
    catalogue = ["--catalogue", str(folder / "catalogue.parquet")]
    assert _exit_code([*serve, *catalogue, "--workers", "2"]) == 2
    assert "--workers" in capsys.readouterr().err
