"""The routes of a service, asked by the clients that people use."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import openai
import polars as pl
import pyarrow as pa
import pytest

from vitrina.classification.classifier import TitleClassifier
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.search.index import TitleIndex

ARROW = "application/vnd.apache.arrow.stream"
TITLES = [
    "APPLE JUICE 64 OZ",
    "¡Zapatillas “Niño” 42!",
    "苹果 手机",
    "",
    "a\nb\t\x00",
    "milk " * 50,
]


@pytest.fixture
def digest(lexical_encoder: TitleEncoder) -> str:
    return lexical_encoder.weights.digest


def same_bits(found, expected: np.ndarray) -> bool:
    found = np.asarray(found, np.float32)
    return found.shape == expected.shape and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_openai_client_gets_the_encoders_bits(
    service, lexical_encoder: TitleEncoder, digest: str, encoding
) -> None:
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="unused", max_retries=0)
    wanted = {} if encoding is None else {"encoding_format": encoding}
    answer = client.embeddings.create(model="vitrina", input=TITLES, **wanted)
    vectors: list[Any] = [item.embedding for item in answer.data]
    if encoding == "base64":
        vectors = [np.frombuffer(base64.b64decode(vector), "<f4") for vector in vectors]
    assert same_bits(vectors, lexical_encoder.transform(TITLES))
    assert [item.index for item in answer.data] == list(range(len(TITLES)))
    assert answer.model_extra == {"encoder": digest}
    one = client.embeddings.create(model=digest, input=TITLES[0])
    assert same_bits([one.data[0].embedding], lexical_encoder.transform(TITLES[:1]))


def test_openai_client_is_told_what_is_wrong(service) -> None:
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="unused", max_retries=0)
    with pytest.raises(openai.BadRequestError, match="dimensions: the vectors have 88"):
        client.embeddings.create(model="vitrina", input="milk", dimensions=10)
    with pytest.raises(openai.NotFoundError, match="neither 'vitrina' nor the digest"):
        client.embeddings.create(model="text-embedding-3-small", input="milk")
    for tokens in ([1, 2], [[1, 2], [3]]):
        with pytest.raises(openai.BadRequestError, match="ids of another model's tokens"):
            client.embeddings.create(model="vitrina", input=tokens)


def stream_of(table: pa.Table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(table, max_chunksize=500)
    return sink.getvalue().to_pybytes()


def polars_stream(titles: list[str | None]) -> bytes:
    frame = pl.DataFrame({"anything": titles}, schema={"anything": pl.String})
    return frame.write_ipc_stream(None).getvalue()


def test_arrow_gets_the_encoders_bits(
    service, lexical_encoder: TitleEncoder, digest: str, grocery_titles: list[str]
) -> None:
    titles = [None, *TITLES, *grocery_titles[:1300]]
    expected = lexical_encoder.transform(titles)
    for body in (
        stream_of(pa.table({"title": titles})),
        stream_of(pa.table({"title": pa.array(titles, pa.large_string())})),
        polars_stream(titles),
    ):
        answer = service.ask("/v1/embeddings/arrow", body, content_type=ARROW)
        assert (answer.status, answer.headers["content-type"]) == (200, ARROW)
        table = pa.ipc.open_stream(answer.body).read_all()
        assert table.schema.metadata == {b"vitrina_encoder": digest.encode()}
        vectors = pl.DataFrame(table)["vector"].to_numpy()
        assert same_bits(vectors, expected)
    none = service.ask("/v1/embeddings/arrow", polars_stream([]), content_type=ARROW)
    assert pa.ipc.open_stream(none.body).read_all().num_rows == 0


def test_arrow_streams_that_are_refused(service) -> None:
    titles = pa.table({"title": ["milk", "shoes"] * 300})
    plain = stream_of(titles)
    not_utf8 = plain.replace(b"milkshoesmilk", b"\xff\xfe\xffkshoesmilk", 1)
    assert not_utf8 != plain
    by_code = titles["title"].dictionary_encode().combine_chunks()
    wrong = [
        ("one column of strings", stream_of(titles.append_column("id", pa.array(range(600))))),
        ("one column of strings", stream_of(pa.table({"title": [1, 2]}))),
        ("one column of strings", stream_of(pa.table({"title": by_code}))),
        ("compressed", stream_of(titles, compression="zstd")),
        ("compressed", stream_of(titles, compression="lz4")),
        ("title 1 has 301", stream_of(pa.table({"title": ["a", "é" * 301]}))),
        ("no Arrow IPC stream", b""),
        ("no Arrow IPC stream", b"nonsense"),
        ("no Arrow IPC stream", not_utf8),
    ]
    for message, body in wrong:
        answer = service.ask("/v1/embeddings/arrow", body, content_type=ARROW)
        assert answer.status == 422
        assert message in answer.message
    too_many = polars_stream(["a"] * 1501)
    answer = service.ask("/v1/embeddings/arrow", too_many, content_type=ARROW)
    assert (answer.status, answer.message) == (
        413,
        "the stream: has 1,501 titles, more than 1,500; send them in several requests",
    )
    assert service.ask("/v1/embeddings/arrow", plain).status == 422  # the type of the content


def test_damaged_arrow_streams_do_no_harm(service, lexical_encoder: TitleEncoder) -> None:
    body = stream_of(pa.table({"title": ["milk", "red shoes", None] * 5}))
    rng = np.random.default_rng(0)
    statuses = set()
    for trial in range(150):
        damaged = bytearray(body)
        if trial % 3 == 0:
            damaged = damaged[: rng.integers(len(body))]
        for place in rng.integers(len(damaged) or 1, size=1 + trial % 4):
            damaged[place : place + 1] = rng.bytes(1)
        answer = service.ask("/v1/embeddings/arrow", bytes(damaged), content_type=ARROW)
        statuses.add(answer.status)
    assert statuses <= {200, 413, 422}
    answer = service.ask("/v1/embeddings", {"input": ["milk"]})
    vector = answer.json["data"][0]["embedding"]
    assert same_bits([vector], lexical_encoder.transform(["milk"]))


def test_classify(service, shop, digest: str) -> None:
    classifier = TitleClassifier.load(shop / "classifier")
    probabilities = classifier.predict_proba(TITLES)
    answer = service.ask("/v1/classify", {"input": TITLES, "classifier": "condition"})
    assert answer.json["encoder"] == answer.headers["vitrina-encoder"] == digest
    for row, item in enumerate(answer.json["data"]):
        by_label = {entry["label"]: entry["probability"] for entry in item["classes"]}
        expected = dict(zip(classifier.classes_.tolist(), probabilities[row].tolist(), strict=True))
        assert by_label == expected
        assert item["classes"][0]["label"] == classifier.predict(TITLES)[row]
    # the only classifier needs no name
    answer = service.ask("/v1/classify", {"input": "milk", "top_k": 1})
    assert len(answer.json["data"][0]["classes"]) == 1
    answer = service.ask("/v1/classify", {"input": "milk", "classifier": "no such"})
    assert answer.status == 404
    assert answer.message.endswith("the service has: condition")


def test_similar(service, shop, lexical_encoder: TitleEncoder, digest: str) -> None:
    index = TitleIndex.load(shop / "index", lexical_encoder)
    queries = ["qxzw vvkq", "apple juice", "dog food"]
    for where in (None, {"category": "drinks"}):
        answer = service.ask("/v1/similar", {"input": queries, "k": 4, "where": where})
        assert answer.json["encoder"] == digest
        expected = index.query(queries, 4, where)
        assert [item["known"] for item in answer.json["data"]] == [False, True, True]
        rows = [
            {"query": item["index"], **product}
            for item in answer.json["data"]
            for product in item["products"]
        ]
        assert pl.DataFrame(rows, expected.schema).equals(expected)
        assert {row["query"] for row in rows} == {1, 2}
    odd = [2**64 - 1, -(2**63), 1e300, "", "\0", "ñ" * 1000]
    for column in ("product_id", "category", "title"):
        for value in odd:
            wanted = {"input": "milk", "where": {column: value}}
            (item,) = service.ask("/v1/similar", wanted).json["data"]
            assert item["products"] == []
    answer = service.ask("/v1/similar", {"input": "milk", "where": {"colour": "red"}})
    assert (answer.status, answer.message) == (
        422,
        "where: the index has no column 'colour'; it has: product_id, title, category",
    )
    assert service.ask("/v1/similar", {"input": ["milk"] * 65}).status == 413


def test_kserve(service, shop, lexical_encoder: TitleEncoder, digest: str) -> None:
    described = service.ask("/v2/models/vitrina").json
    assert described["versions"] == [digest]
    assert described["outputs"] == [{"name": "vectors", "datatype": "FP32", "shape": [-1, 88]}]
    tensor = {"name": "titles", "shape": [len(TITLES)], "datatype": "BYTES", "data": TITLES}
    answer = service.ask("/v2/models/vitrina/infer", {"id": "7", "inputs": [tensor]}).json
    assert (answer["id"], answer["model_version"]) == ("7", digest)
    (output,) = answer["outputs"]
    vectors = np.array(output["data"], np.float32).reshape(output["shape"])
    assert same_bits(vectors, lexical_encoder.transform(TITLES))
    # tritonclient names no type of the content
    path, body = "/v2/models/condition/infer", {"inputs": [tensor]}
    labels, probabilities = service.ask(path, body, content_type=None).json["outputs"]
    classifier = TitleClassifier.load(shop / "classifier")
    assert labels["data"] == classifier.predict(TITLES).tolist()
    assert probabilities["data"] == classifier.predict_proba(TITLES).ravel().tolist()
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/condition/ready"):
        assert service.ask(path).status == 200
    # errors have KServe's form
    assert "the service has: vitrina, condition" in service.ask("/v2/models/x").json["error"]
    binary = {"inference_header_content_length": "100"}
    answer = service.ask("/v2/models/vitrina/infer", {"inputs": [tensor]}, **binary)
    assert answer.status == 400
    assert "binary_data=False" in answer.json["error"]
    wrong = service.ask("/v2/models/vitrina/infer", {"inputs": [tensor | {"shape": [2]}]})
    assert (wrong.status, wrong.json) == (
        422,
        {"error": "inputs[0].shape: must be [6], one title each"},
    )


def test_health_info_and_the_identity_in_every_answer(service, digest: str) -> None:
    for path in ("/health", "/ready", "/info"):
        assert service.ask(path).json["encoder"] == digest
    for path in ("/docs", "/metrics", "/openapi.json", "/v2", "/v2/health/ready"):
        assert service.ask(path).headers["vitrina-encoder"] == digest
    refused = {
        400: service.ask("/v1/embeddings", {"input": [1, 2]}),
        403: service.ask("/health", host="shop.example"),
        404: service.ask("/nowhere"),
        405: service.ask("/v1/embeddings"),
        413: service.ask("/v1/embeddings", b" " * (2**20 + 1)),
        422: service.ask("/v1/embeddings", b"{"),
    }
    for status, answer in refused.items():
        assert (answer.status, answer.headers["vitrina-encoder"]) == (status, digest)
    info = service.ask("/info").json
    assert info["index"]["products"] == 200
    assert info["classifiers"] == [{"name": "condition", "classes": 3}]
    assert info["limits"]["titles"] == 1500


def test_metrics_and_logs_know_no_titles(service) -> None:
    def count() -> float:
        text = service.ask("/metrics").body.decode()
        found = re.search(r'^vitrina_titles_total{route="/v1/embeddings"} (\S+)$', text, re.M)
        return float(found[1]) if found else 0.0

    before = count()
    for _ in range(3):
        service.ask("/v1/embeddings", {"input": ["a secret title", "another"]})
    service.ask("/secret-path?title=secret")
    service.ask("/label/secret")
    assert count() == before + 6

    def logged() -> list[tuple[str, int, int]]:
        lines = [line for line in service.events("request") if line["route"] != "/metrics"]
        return [(line["route"], line["status"], line["titles"]) for line in lines[-5:]]

    # a request is logged after its answer
    service.until(lambda: logged()[-1][0] == "/label", "the last request")
    assert logged() == [("/v1/embeddings", 200, 2)] * 3 + [("other", 404, 0), ("/label", 404, 0)]
    assert "secret" not in json.dumps(service.log())
    assert "secret" not in service.ask("/metrics").body.decode()


def test_the_documentation_loads_nothing(service, parse) -> None:
    page = parse(service.ask("/docs").body.decode())
    assert page.references == []
    assert "script" not in page.tags
    openapi = service.ask("/openapi.json").json
    for path in openapi["paths"]:
        assert any(path in text for text in page.texts)
