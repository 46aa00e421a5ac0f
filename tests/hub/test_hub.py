"""Encoders on the hub: pushed and loaded by processes of their own, over a stand-in's HTTP."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from vitrina.classification.classifier import TitleClassifier
from vitrina.encoder.model_card import front_matter
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.text.normalize import Normalizer

from .stand_in import GITATTRIBUTES, TOKEN, StandInHub

TITLES = ["APPLE SAUCE 24 OZ", "", "milk 1 l", "ñandú"]
REPO = "shop/titles"


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    server = StandInHub()
    yield server
    server.close()


def run(program: str, hub: StandInHub, home: Path, *arguments: object, **more: str) -> list[str]:
    """Run a program with a hub and a cache of its own; return what it printed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    variables |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    start = "import sys\nimport numpy as np\nfrom vitrina import InputError, TitleEncoder\n"
    done = subprocess.run(
        [sys.executable, "-c", start + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=variables | more,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


PUSH = """
for folder in sys.argv[1:]:
    encoder = TitleEncoder.load(folder)
    print(encoder.push_to_hub("shop/titles", license="apache-2.0", private=True))
try:
    encoder.push_to_hub("shop/titles", license="no-such-licence")
except InputError as error:
    print(error)
"""

PULL = f"""
for number, revision in enumerate(sys.argv[2:]):
    encoder = TitleEncoder.from_pretrained("shop/titles", revision=revision or None)
    np.save(f"{{sys.argv[1]}}/{{number}}.npy", encoder.encode({TITLES!r}))
    print(encoder.weights.digest)
"""


def test_pushed_and_loaded(
    encoder: TitleEncoder, lexical_encoder: TitleEncoder, hub: StandInHub, tmp_path: Path
) -> None:
    lexical_encoder.save(tmp_path / "first")
    encoder.save(tmp_path / "second")
    login = {"HF_TOKEN": TOKEN}
    home = tmp_path / "home"
    folders = [tmp_path / "first", tmp_path / "second"]
    first, second, message = run(PUSH, hub, home, *folders, **login)
    assert message.startswith("shop/titles: the hub refused this (ValueError: Invalid metadata in")
    assert '"license" must be one of' in message

    # the repository has the folder's files, with the licence in the card, and no file of before
    for folder, commit in zip(folders, [first, second], strict=True):
        files = dict(hub.files(REPO, commit) or {})
        assert files.pop(".gitattributes") == GITATTRIBUTES
        card = files.pop("README.md").decode("utf-8")
        assert yaml.safe_load(card.split("---\n")[1])["license"] == "apache-2.0"
        assert card.endswith(TitleEncoder.load(folder).weights.model_card())
        expected = {path.name: path.read_bytes() for path in folder.iterdir()}
        del expected["README.md"]
        assert files == expected

    # what doesn't belong to an encoder is not downloaded
    newest = {**(hub.files(REPO) or {}), "weights.pickle": b"cos\nsystem\n", "code.py": b"1 / 0"}
    hub.commit(REPO, newest)
    digests = run(PULL, hub, home, tmp_path, "", first, "main", **login)
    for number, pushed in enumerate([encoder, lexical_encoder, encoder]):
        assert digests[number] == pushed.weights.digest
        np.testing.assert_array_equal(np.load(tmp_path / f"{number}.npy"), pushed.encode(TITLES))
    assert not any("pickle" in request or "code.py" in request for request in hub.asked)

    # the cache is enough without the hub
    hub.asked.clear()
    run(PULL, hub, home, tmp_path, first, HF_HUB_OFFLINE="1")
    np.testing.assert_array_equal(np.load(tmp_path / "0.npy"), lexical_encoder.encode(TITLES))
    assert hub.asked == []


REFUSED = """
encoder = TitleEncoder.load(sys.argv[1])
nowhere = sys.argv[2]
for call in (
    lambda: TitleEncoder.from_pretrained("shop/none"),
    lambda: TitleEncoder.from_pretrained("shop/private"),
    lambda: TitleEncoder.from_pretrained("shop/open", revision="v9"),
    lambda: TitleEncoder.from_pretrained("shop/open"),
    lambda: TitleEncoder.from_pretrained(nowhere),
    lambda: TitleEncoder.from_pretrained(sys.argv[1], revision="main"),
    lambda: TitleEncoder.from_pretrained("shop/..titles"),
    lambda: encoder.push_to_hub("titles"),
    lambda: encoder.push_to_hub("shop/new", license="my own\\nlicence"),
    lambda: encoder.push_to_hub("shop/new"),
):
    try:
        call()
    except InputError as error:
        print(error)
"""


def test_what_is_refused(encoder: TitleEncoder, hub: StandInHub, tmp_path: Path) -> None:
    encoder.save(tmp_path / "encoder")
    hub.commit("shop/private", {})
    hub.private.add("shop/private")
    hub.commit("shop/open", {".gitattributes": GITATTRIBUTES})  # no encoder
    nowhere = tmp_path / "a" / "b"
    messages = run(REFUSED, hub, tmp_path / "home", tmp_path / "encoder", nowhere)
    expected = [
        "shop/none: there is no such folder here, and no such repository on the hub that you may",
        "shop/private: there is no such folder here, and no such repository on the hub that you",
        "shop/open at v9: the repository has no such revision; set `revision` to a branch",
        "shop/open: the repository has no manifest.json, so it holds no vitrina encoder; ",
        f"{nowhere}: no such folder; give the path of a saved vitrina encoder, or the name of a",
        f"`revision` is 'main', but {tmp_path / 'encoder'} is a folder",
        "shop/..titles: the hub refused this (HFValidationError: ",
        "`repo` is 'titles'; give the name of a repository, such as shop/titles",
        "`license` is 'my own\\nlicence'; give the hub's name of a licence in lower case",
        "shop/new: ",
    ]
    assert len(messages) == len(expected)
    for message, start in zip(messages, expected, strict=True):
        assert message.startswith(start)
    assert "shop/new" not in hub.repositories

    hub.close()
    (message,) = run(
        "try: TitleEncoder.from_pretrained('shop/open', revision='v1')\n"
        "except InputError as error: print(error)",
        hub,
        tmp_path / "home",
    )
    assert "doesn't hold all of that repository, and the hub can't be reached" in message


LOCAL = """
from huggingface_hub import snapshot_download
print(snapshot_download("shop/titles", local_dir=sys.argv[1]))
"""


def test_a_downloaded_folder_is_an_encoder(
    encoder: TitleEncoder, hub: StandInHub, tmp_path: Path
) -> None:
    """Other files in a folder are never opened: the manifest doesn't list them."""
    encoder.save(tmp_path / "saved")
    files = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    hub.commit(REPO, {**files, ".gitattributes": GITATTRIBUTES, "notes/figure.png": b"PNG"})
    (found,) = run(LOCAL, hub, tmp_path / "home", tmp_path / "local")
    names = {path.name for path in Path(found).iterdir()}
    assert {".cache", ".gitattributes", "notes"} < names
    loaded = TitleEncoder.load(found)
    assert loaded.weights.digest == encoder.weights.digest
    np.testing.assert_array_equal(loaded.encode(TITLES), encoder.encode(TITLES))
    loaded.save(tmp_path / "again")
    assert {path.name for path in (tmp_path / "again").iterdir()} == set(files)


def as_cache(folder: Path, cache: Path) -> Path:
    """Put the files of a folder into a cache as huggingface_hub does; return the snapshot."""
    snapshot = cache / "models--shop--titles" / "snapshots" / ("1" * 40)
    blobs = snapshot.parents[1] / "blobs"
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder)
            blobs.mkdir(parents=True, exist_ok=True)
            content = blobs / f"{len(list(blobs.iterdir())):040x}"
            shutil.copy(path, content)
            (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
            up = "../" * (1 + len(name.parts))
            (snapshot / name).symlink_to(f"{up}blobs/{content.name}")
    return snapshot


@pytest.fixture
def snapshot(encoder: TitleEncoder, tmp_path: Path) -> Path:
    encoder.save(tmp_path / "saved")
    return as_cache(tmp_path / "saved", tmp_path / "hub")


def test_links_of_the_cache_are_followed(
    encoder: TitleEncoder, snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(folder: Path) -> None:
        loaded = TitleEncoder.load(folder)
        np.testing.assert_array_equal(loaded.encode(TITLES), encoder.encode(TITLES))

    check(snapshot)
    (tmp_path / "link").symlink_to(snapshot)
    check(tmp_path / "link")
    monkeypatch.chdir(snapshot)
    check(Path())
    # a damaged download is noticed
    (snapshot / "config.json").resolve().write_text("{}")
    with pytest.raises(InputError, match=r"config\.json: is damaged"):
        TitleEncoder.load(snapshot)


def test_a_classifier_in_the_cache(encoder: TitleEncoder, tmp_path: Path) -> None:
    """Its encoder lies in a folder below."""
    classifier = TitleClassifier(encoder).fit(["red shoe", "blue shoe", "red lamp"], [0, 0, 1])
    classifier.save(tmp_path / "saved")
    loaded = TitleClassifier.load(as_cache(tmp_path / "saved", tmp_path / "hub"))
    np.testing.assert_array_equal(loaded.predict_proba(TITLES), classifier.predict_proba(TITLES))


def test_other_links_are_refused(snapshot: Path, tmp_path: Path) -> None:
    path = snapshot / "config.json"
    blobs = snapshot.parents[1] / "blobs"
    content = path.resolve()
    outside = tmp_path / "saved" / "config.json"
    link_in_blobs = blobs / ("f" * 40)
    link_in_blobs.symlink_to(outside)
    other_blobs = snapshot / "blobs"
    other_blobs.mkdir()
    shutil.copy(content, other_blobs / content.name)
    for target in (
        outside,
        "../../../../saved/config.json",
        "../../blobs/../blobs/name",
        "blobs/" + content.name,
        "../../blobs/" + link_in_blobs.name,
    ):
        path.unlink()
        path.symlink_to(target)
        with pytest.raises(InputError, match="is a link"):
            TitleEncoder.load(snapshot)
    path.unlink()
    path.symlink_to("../../blobs/" + content.name)
    TitleEncoder.load(snapshot)
    # the folder of the files may be no link, and the revision must lie in "snapshots"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link"):
        TitleEncoder.load(snapshot)
    blobs.unlink()
    (tmp_path / "elsewhere").rename(blobs)
    snapshot.parent.rename(snapshot.parents[1] / "others")
    with pytest.raises(InputError, match="is a link"):
        TitleEncoder.load(snapshot.parents[1] / "others" / snapshot.name)


def test_without_huggingface_hub(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from vitrina import MissingExtraError, TitleEncoder\n"
        "try: TitleEncoder.from_pretrained('shop/titles')\n"
        "except MissingExtraError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert "pip install 'vitrina[hub]'" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("language", "code"), [("es", "es"), ("english", "en"), (None, None), ("ms", "ms")]
)
def test_front_matter(language: str | None, code: str | None) -> None:
    text = front_matter(Normalizer(language).language, "cc-by-4.0")
    _, block, rest = text.split("---\n")
    fields = yaml.safe_load(block)
    assert fields.get("language") == code
    assert fields["license"] == "cc-by-4.0"
    assert fields["library_name"] == "vitrina"
    assert fields["pipeline_tag"] == "feature-extraction"
    assert "sentence-transformers" in fields["tags"]
    assert rest == "\n"
    assert "license" not in front_matter(language)
