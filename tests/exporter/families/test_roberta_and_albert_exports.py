"""Complete exports of RoBERTa, XLM-RoBERTa, CamemBERT and ALBERT in every precision, compared with PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from proofs import built
from rawbert.exporter import ExportConfig, export
from tiny_families import VOCABULARY, config_of, folder_of, tensors_of, write_tokenizer

#: Texts as lists of tokens: letters and literal special tokens.
TEXTS = ["the a b , c", "<pad> the <pad> q", "abc <mask> z </s> .", "", "z " * 40]


def ids_of(text: str, longest: int = 22) -> list[int]:
    """Tokens by hand: words, letters, and letters inside of a word."""
    ids = []
    for word in text.split():
        letters = [word] if word in VOCABULARY else [word[0], *(f"##{letter}" for letter in word[1:])]
        ids += [VOCABULARY.index(each) for each in letters]
    return [0, *ids[: longest - 2], 2]


def forward(name: str, ids: list[int]) -> dict[str, np.ndarray]:
    """The reference's vectors; test_roberta_and_albert.py compares the reference with PyTorch."""
    from rawbert.exporter.proof.families import twin_of

    config = config_of(name)
    tensors = {key.removeprefix("roberta.").removeprefix("albert."): each for key, each in tensors_of(name).items()}
    return twin_of(config).forward(tensors, config, np.array(ids))


def test_an_export_counts_no_position_for_a_literal_pad(tmp_path: Path):
    import tensorflow as tf

    recipe = built(folder_of("xlm-roberta", tmp_path / "source"), tmp_path / "1", pooling="cls")
    assert recipe.max_seq_length == 22  # 24 rows, of which the first two are the padding's
    functions = tf.saved_model.load(str(tmp_path / "1")).signatures
    for rows in ([1], range(len(TEXTS))):
        answers = {name: functions[name](text=tf.constant([TEXTS[row] for row in rows])) for name in functions}
        for at, row in enumerate(rows):
            ids = ids_of(TEXTS[row])
            wanted = forward("xlm-roberta", ids)
            assert answers["tokenize"]["input_word_ids"][at, : len(ids)].numpy().tolist() == ids
            got = answers["sequence"]["sequence_output"][at, : len(ids)]
            np.testing.assert_allclose(got, wanted["sequence_output"], rtol=0, atol=1e-5)
            np.testing.assert_allclose(
                answers["embed"]["embedding"][at], wanted["sequence_output"][0], rtol=0, atol=1e-5
            )
            pooled = answers["pooled"]["pooled_output"][at]
            np.testing.assert_allclose(pooled, wanted["pooled_output"], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_layers_that_share_weights_have_them_once_in_a_bundle(tmp_path: Path):
    built(folder_of("albert.uneven", tmp_path / "source"), tmp_path / "1", signatures=("sequence",))
    # saved_model.pb contains biases and other small weights, and a few kB of names.
    weights = [each for key, each in tensors_of("albert.uneven").items() if each.ndim > 1 and "predictions" not in key]
    stored = sum(path.stat().st_size for path in (tmp_path / "1" / "variables").glob("*.data-*"))
    assert 0 <= stored - sum(each.nbytes for each in weights) < 6000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("roberta.Sequence.1", "bfloat16"),
        ("xlm-roberta.Sequence.3", "float16"),
        ("camembert.Token.5", "bfloat16"),
        ("albert.Sequence.1", "bfloat16"),
        ("albert.uneven", "float16"),
        ("roberta.padding", "float16"),
    ],
)
def test_low_precisions_for_the_oldest_release(tmp_path: Path, name: str, precision: str):
    """Each is proven in float32 first."""
    from rawbert.exporter.targets import opsets

    made = export(
        ExportConfig(
            folder_of(name, tmp_path / "source"),
            tmp_path / "models" / "m",
            precision=precision,
            # In a low precision, random weights lose more than trained ones.
            min_cosine={"bfloat16": 0.998, "float16": 0.9995}[precision],
            pair=".Sequence" in name,
            target_serving=opsets.RELEASES[0],
        )
    )
    assert made.manifest["verification"]["float32"]["calls"] > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("xlm-roberta.Sequence.1", "Unigram"),
        ("camembert.Token.5", "Unigram"),
        ("albert.Sequence.3", "Unigram"),
        ("roberta.Sequence.3", "BPE"),
    ],
)
def test_families_with_the_tokenizers_that_they_usually_have(tmp_path: Path, name: str, kind: str):
    folder = folder_of(name, tmp_path / "source")
    write_tokenizer(folder, name.partition(".")[0], kind)
    made = export(ExportConfig(folder, tmp_path / "models" / "m", pair=".Sequence" in name))
    assert made.manifest["verification"]["calls"] > 20
