"""Every Unicode scalar value through the tokenizer in the graph, alone and among letters.

The vocabulary holds nearly every assigned character by itself, at the beginning of a word and within one, so that
an id says what a character was normalised to.
"""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections.abc import Sequence

import pytest
from folders import DATA
from tokens import UNK

CONTEXTS = {"alone": "{}", "before": "{}a", "after": "a{}", "within": "a{}b c"}
SETTINGS = {
    "uncased": {"lowercase": True},
    "cased": {"lowercase": False},
    "uncased with accents": {"lowercase": True, "strip_accents": False, "handle_chinese_chars": False},
    "raw": {"lowercase": False, "clean_text": False, "handle_chinese_chars": False},
}
SCALARS = (*range(0xD800), *range(0xE000, 0x110000))
#: Without planes 4 to 13, 15 and 16, in which no character is assigned.
USED_SCALARS = tuple(code for code in SCALARS if code >> 16 in (0, 1, 2, 3, 14))
BATCH = 40_000


def characters() -> list[str]:
    """Assigned characters, without most of the Chinese and Korean ones, which would be half of the vocabulary."""
    left_out = (*range(0x3500, 0x9F00), *range(0xAD00, 0xD700), *range(0x10000 * 2, 0x110000))
    codes = sorted(set(SCALARS) - set(left_out))
    return [chr(code) for code in codes if unicodedata.category(chr(code)) not in ("Cc", "Cn", "Co", "Zs")]


def check(checkpoint, tokenizer_of, settings: dict, context: str, scalars: Sequence[int]) -> None:
    import tensorflow as tf
    from tokenizers import Tokenizer

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters(), *(f"##{char}" for char in characters())]
    state = json.loads((DATA / "tiny_bert" / "tokenizer.json").read_text(encoding="utf-8"))
    state["normalizer"].update(settings)
    state["model"]["vocab"] = {token: at for at, token in enumerate(tokens)}
    reference = Tokenizer.from_str(json.dumps(state))
    rules = dataclasses.replace(checkpoint.tokenizer, vocab=tuple(tokens), **settings)
    tokenizer = tokenizer_of(rules, 64)
    graph = tf.function(lambda text: tokenizer(text), input_signature=[tf.TensorSpec([None], tf.string)])
    wrong, known = [], 0
    for start in range(0, len(scalars), BATCH):
        texts = [CONTEXTS[context].format(chr(code)) for code in scalars[start : start + BATCH]]
        out = graph(tf.constant([text.encode() for text in texts]))
        ids, mask, starts, limits, counts = (value.numpy() for value in out[:5])
        for row, encoding in enumerate(reference.encode_batch(texts)):
            count = mask[row].sum()
            byte_at = [0]
            for char in texts[row]:
                byte_at.append(byte_at[-1] + len(char.encode()))
            spans = [(byte_at[begin], byte_at[end]) for begin, end in encoding.offsets[1:-1]]
            got = list(zip(starts[row, 1 : count - 1].tolist(), limits[row, 1 : count - 1].tolist(), strict=True))
            if ids[row, :count].tolist() != encoding.ids or got != spans or counts[row] != count:
                wrong.append(f"{texts[row]!a}: {ids[row, :count]} at {got}, not {encoding.ids} at {spans}")
            known += UNK not in encoding.ids
    assert not wrong, f"{len(wrong)} differ, so {wrong[:5]}"
    assert known > 40_000  # or [UNK] would hide what characters become


def test_every_scalar_value_of_the_used_planes_is_tokenized_as_by_the_reference(checkpoint, tokenizer_of):
    check(checkpoint, tokenizer_of, SETTINGS["uncased"], "within", USED_SCALARS)


@pytest.mark.slow
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_every_scalar_value_in_every_context_is_tokenized_as_by_the_reference(
    checkpoint, tokenizer_of, settings: str, context: str
):
    check(checkpoint, tokenizer_of, SETTINGS[settings], context, SCALARS)
