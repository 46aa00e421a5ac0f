"""Pieces of titles, compared with those of SentencePiece."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitrina.errors import InputError
from vitrina.text import words as words_module
from vitrina.text.normalize import Normalizer, as_utf8
from vitrina.text.tokenizer import MIN_PIECES, PAD, UNKNOWN, TitleTokenizer

TITLES = st.lists(st.none() | st.text(max_size=20) | st.text("ab ñ1.-é", max_size=20), max_size=6)


def fresh(tokenizer: TitleTokenizer) -> TitleTokenizer:
    return TitleTokenizer(tokenizer.model, tokenizer.normalizer)


def rows(tokenizer: TitleTokenizer, titles: list[str | None] | list[str]) -> list[list[int]]:
    return [row.tolist() for row in tokenizer(titles)]


def test_training_twice_gives_the_same_bytes(grocery_titles: list[str]) -> None:
    models = [
        TitleTokenizer.train(iter(grocery_titles), Normalizer("en"), vocab_size=300).model
        for _ in range(2)
    ]
    assert models[0] == models[1]
    assert (
        TitleTokenizer.train(grocery_titles[::-1], Normalizer("en"), vocab_size=250).model
        != models[0]
    )


def test_the_number_of_pieces(tokenizer: TitleTokenizer, grocery_titles: list[str]) -> None:
    assert len(tokenizer) == 500
    small = TitleTokenizer.train(grocery_titles[:20], Normalizer("en"))
    assert 20 < len(small) < 1_000  # fewer than the 30,000 requested
    assert max(max(row) for row in rows(small, grocery_titles)) < len(small)


def test_pieces_equal_sentencepiece_s_own(
    tokenizer: TitleTokenizer, grocery_titles: list[str]
) -> None:
    own = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    normal = tokenizer.normalizer(grocery_titles)
    assert len(set(normal)) > 2_000
    for row, expected in zip(rows(tokenizer, grocery_titles), own.encode(normal), strict=True):
        assert row == expected + [PAD] * (MIN_PIECES - len(expected))
    # the pieces, joined, are the normalised title
    title = "Apple SAUCE 24.5 Oz"
    assert "".join(tokenizer.pieces(title)) == "▁apple▁sauce▁24.5▁oz"


def test_pieces_are_those_of_the_words(
    tokenizer: TitleTokenizer, grocery_titles: list[str]
) -> None:
    for title, row in zip(grocery_titles[:300], rows(tokenizer, grocery_titles), strict=False):
        words = [[p for p in r if p != PAD] for r in rows(fresh(tokenizer), title.split())]
        assert [piece for piece in row if piece != PAD] == list(chain.from_iterable(words))


def test_short_titles_are_padded_at_the_end(tokenizer: TitleTokenizer) -> None:
    assert rows(tokenizer, ["", None, "!"]) == [[PAD] * 5] * 3
    (row,) = rows(tokenizer, ["a"])
    assert len(row) == MIN_PIECES == 5
    assert PAD not in row[: len(row) - row.count(PAD)]
    assert tokenizer.pieces("") == []
    assert rows(tokenizer, []) == []


def test_unknown_letters(tokenizer: TitleTokenizer) -> None:
    (row,) = rows(tokenizer, ["語"])
    assert UNKNOWN in row


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(TITLES)
def test_what_is_remembered_never_shows(
    tokenizer: TitleTokenizer, titles: list[str | None]
) -> None:
    warm = rows(tokenizer, titles)
    assert warm == rows(fresh(tokenizer), titles)
    assert warm == [rows(tokenizer, [title])[0] for title in titles]
    for row in warm:
        assert len(row) >= MIN_PIECES
        used = len(row) - row.count(PAD)
        assert PAD not in row[:used]
        assert used == 0 or len(row) == max(used, MIN_PIECES)


def test_a_memory_that_overflows(
    tokenizer: TitleTokenizer, grocery_titles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows(tokenizer, grocery_titles)
    most = max(
        len(set(" ".join(grocery_titles[i : i + 50]).split()))
        for i in range(0, len(grocery_titles), 50)
    )
    # room for any batch, for some and for none
    for words_kept, records in ((most, 1 << 20), (90, 1 << 20), (3, 1 << 20), (1 << 20, 600)):
        monkeypatch.setattr(words_module, "_MAX_WORDS", words_kept)
        monkeypatch.setattr(words_module, "_MAX_RECORDS", records)
        small = fresh(tokenizer)
        tables = set()
        for start in range(0, len(grocery_titles), 50):
            batch = grocery_titles[start : start + 50]
            assert rows(small, batch) == expected[start : start + 50]
            assert len(small._words) <= words_kept
            assert len(small._words.records) <= records + 1
            tables.add(small._words.seed)
        assert len(tables) > 1 or words_kept == 3


def test_the_memory_is_bounded_in_bytes(tokenizer: TitleTokenizer) -> None:
    rng = np.random.default_rng(0)
    shared = fresh(tokenizer)
    # 12 MB of words, whose records take 60 MB
    for _ in range(3):
        words = rng.integers(97, 123, (400, 10_000), np.uint8)
        titles = [word.tobytes().decode() for word in words]
        assert len(shared(titles)) == 400
        stored = shared._words
        assert stored.records.nbytes + stored.slots.nbytes <= 40 * 2**20
    assert rows(shared, titles[:3]) == rows(fresh(tokenizer), titles[:3])


def test_threads_share_a_tokenizer(
    tokenizer: TitleTokenizer, grocery_titles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows(tokenizer, grocery_titles)
    # small, so that words are also dropped
    monkeypatch.setattr(words_module, "_MAX_WORDS", 300)
    shared = fresh(tokenizer)

    def work(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(grocery_titles))
        parts = np.array_split(order, 40)
        return all(
            rows(shared, [grocery_titles[i] for i in part]) == [expected[i] for i in part]
            for part in parts
        )

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))


class Interrupted(BaseException):
    """Raised by a signal's handler."""


ROUNDS = 2
"""How often a line of one call may raise: later rounds of a loop only repeat the first ones."""


def raise_at(
    line_number: int, tokenizer: TitleTokenizer, functions: set[str]
) -> Callable[..., Any]:
    """Make a trace function that raises once, at the n-th line of some functions (all if empty)."""
    lines = 0

    def trace_call(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if "vitrina" not in code.co_filename or (functions and code.co_name not in functions):
            return None
        visits: Counter[int] = Counter()

        def trace_line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal lines
            # The interpreter handles signals after calls and at loops, never between the end of a
            # block and the release of its lock. There, the lock's line is traced a second time.
            at_lock = frame.f_lineno == code.co_firstlineno + 2
            locks = code is TitleTokenizer._learn.__code__ and at_lock
            if event != "line" or (locks and tokenizer._lock.locked()):
                return trace_line
            visits[frame.f_lineno] += 1
            if visits[frame.f_lineno] <= ROUNDS:
                lines += 1
                if lines == line_number:
                    raise Interrupted
            return trace_line

        return trace_line

    return trace_call


@pytest.mark.parametrize(
    ("words", "functions"),
    # many words fill the slots, so that a slot of a word that was not stored would be read
    [(5, set()), (500, {"pieces_of", "_learn", "_unknown_words", "none", "with_words"})],
    ids=["every line", "full slots"],
)
def test_an_exception_at_any_line_leaves_no_wrong_state(
    tokenizer: TitleTokenizer,
    monkeypatch: pytest.MonkeyPatch,
    words: int,
    functions: set[str],
) -> None:
    letters = ["Ñ", "7", "½", "1,5", "-"]
    names = [f"{10 ** (i % 5)}{letters[i % 3 * (i % 2)]}{i}" for i in range(3 * words)]
    titles = [" ".join(names[start : start + words]) for start in range(0, 3 * words, words)]
    before, interrupted, after = titles
    expected = rows(fresh(tokenizer), titles)
    trials = 0
    # enough room, and tables that start anew or are too small
    for words_kept in (10_000, words + words // 2, words // 2):
        monkeypatch.setattr(words_module, "_MAX_WORDS", words_kept)
        raised = True
        line_number = 0
        while raised:
            line_number += 1
            shared = fresh(tokenizer)
            shared([before])
            snapshot = shared._words
            try:
                sys.settrace(raise_at(line_number, shared, functions))
                shared([interrupted])
                raised = False
            except Interrupted:
                trials += 1
            finally:
                sys.settrace(None)
            assert rows(shared, [after]) == expected[2:]
            assert rows(shared, titles) == expected
            # a thread may still read the table of before, while others learn
            if len(snapshot):
                text = as_utf8([before])
                found, lengths = snapshot.look_up(text)
                assert snapshot.pieces_of(text, found, lengths, PAD)[0].tolist() == expected[0]
    assert trials > 50


SIGNALS = """
import random, signal, sys, time
from pathlib import Path
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer

class Interrupted(BaseException):
    pass

def interrupt(*_):
    raise Interrupted

model = Path(sys.argv[1]).read_bytes()
shared = TitleTokenizer(model, Normalizer("en"))
reference = TitleTokenizer(model, Normalizer("en"))
rng = random.Random(0)

def titles(name):
    return [" ".join(f"{name}{i}q{j}" for j in range(6)) for i in range(12)]

def rows(tokenizer, batch):
    return [row.tolist() for row in tokenizer(batch)]

durations = []
for trial in range(20):
    start = time.perf_counter()
    shared(titles(f"first{trial}"))
    durations.append(time.perf_counter() - start)
duration = sorted(durations)[10]

signal.signal(signal.SIGALRM, interrupt)
raised = 0
trial = 0
# on a busy machine most signals come too late
while raised < int(sys.argv[2]):
    trial += 1
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, duration))
        shared(titles(f"a{trial}b"))
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupted:
        raised += 1
    for name in (f"c{trial}d", f"a{trial}b", f"a{trial // 2}b"):
        assert rows(shared, titles(name)) == rows(reference, titles(name)), name
print(raised)
"""

FORKS = """
import os, signal, sys, threading, time
from pathlib import Path
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer

model = Path(sys.argv[1]).read_bytes()
shared = TitleTokenizer(model, Normalizer("en"))
known = [f"apple {i} juice" for i in range(200)]
expected = [row.tolist() for row in TitleTokenizer(model, Normalizer("en"))(known)]
shared(known)
running = True

def learn():
    number = 0
    while running:
        shared([f"a{i}b c{i}d e{i}f" for i in range(number, number + 300)])
        number += 300

thread = threading.Thread(target=learn)
thread.start()
status = []
for trial in range(int(sys.argv[2])):
    time.sleep(0.003)
    child = os.fork()
    if not child:
        shared([f"new {trial} x{i}" for i in range(50)])
        os._exit([row.tolist() for row in shared(known)] != expected)
    limit = time.monotonic() + 20
    done = 0
    while not done and time.monotonic() < limit:
        done, code = os.waitpid(child, os.WNOHANG)
        time.sleep(0.001)
    if not done:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        code = "hangs"
    status.append(code)
    if code:
        break
running = False
thread.join()
print(status.count(0), set(status))
"""


def run(script: str, model: bytes, folder: Path, trials: int) -> str:
    """Run a script in a process of its own, which may crash or hang."""
    path = folder / "tokenizer.model"
    path.write_bytes(model)
    command = [sys.executable, "-c", script, str(path), str(trials)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_signal_that_raises_leaves_no_wrong_state(
    tokenizer: TitleTokenizer, tmp_path: Path
) -> None:
    assert int(run(SIGNALS, tokenizer.model, tmp_path, 100)) == 100


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_fork_while_a_thread_learns_words(tokenizer: TitleTokenizer, tmp_path: Path) -> None:
    assert run(FORKS, tokenizer.model, tmp_path, 50) == "50 {0}\n"


def test_titles_of_any_length(tokenizer: TitleTokenizer) -> None:
    long = "apple " * 20_000
    (row,) = rows(tokenizer, [long])
    assert row == [p for p in rows(tokenizer, ["apple"])[0] if p != PAD] * 20_000
    (row,) = rows(tokenizer, ["apple" * 20_000])
    assert len(row) > 1_000


def test_bad_corpora() -> None:
    for titles in ([], [None, "", "¡!"]):
        with pytest.raises(InputError, match=r"^titles: no title has a word after normalisation; "):
            TitleTokenizer.train(titles, Normalizer("es"))
    for pieces in (5, 0, -1):
        with pytest.raises(
            InputError, match=rf"^`vocab_size` is {pieces}, smaller than [^\n]* raise it$"
        ):
            TitleTokenizer.train(["abc def ghi"], Normalizer("en"), vocab_size=pieces)


def test_no_model(tokenizer: TitleTokenizer) -> None:
    for model in (b"", b"not a model", bytes(100), tokenizer.model[:-3], tokenizer.model[5:]):
        with pytest.raises(InputError, match=r"^tokenizer: not a SentencePiece model [^\n]*$"):
            TitleTokenizer(model, Normalizer("en"))
