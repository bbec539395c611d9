"""Settings of ModernBERT, DeBERTa and NomicBERT in config.json: read in every release's form, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import edit, retensor, tiny
from random_encoders import RandomModel
from rawbert.exporter import CorruptSource, UnsupportedModel, sources
from rawbert.exporter.families import head_of, read_config
from rawbert.exporter.families.config import Local

#: The config.json of answerdotai/ModernBERT-base, in the form of transformers 4.48.
MODERNBERT_BASE = {
    "attention_bias": False, "attention_dropout": 0.0, "classifier_activation": "gelu", "classifier_bias": False,
    "classifier_pooling": "mean", "embedding_dropout": 0.0, "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0, "hidden_activation": "gelu", "hidden_size": 768, "intermediate_size": 1152,
    "layer_norm_eps": 1e-12, "local_attention": 128, "local_rope_theta": 10000.0, "max_position_embeddings": 8192,
    "mlp_bias": False, "model_type": "modernbert", "norm_bias": False, "norm_eps": 1e-05, "num_attention_heads": 12,
    "num_hidden_layers": 22, "position_embedding_type": "absolute", "vocab_size": 50368,
}  # fmt: skip


def test_the_first_releases_words_say_what_those_of_transformers_5_do():
    kinds = ["sliding_attention" if index % 3 else "full_attention" for index in range(22)]
    old = {"global_attn_every_n_layers", "global_rope_theta", "local_rope_theta", "layer_norm_eps"}
    new = {key: value for key, value in MODERNBERT_BASE.items() if key not in old} | {
        "layer_types": kinds,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 160000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    }
    config = read_config(MODERNBERT_BASE, Path("config.json"))
    assert config == read_config(new, Path("config.json"))
    assert config.local == Local(tuple(index for index in range(22) if index % 3), 64, 10000.0)
    assert (config.rotary_theta, config.layer_norm_eps, config.head_size) == (160000.0, 1e-5, 64)
    layers = head_of("modernbert", "SequenceClassification", MODERNBERT_BASE, Path("config.json"))
    assert (layers.takes, layers.unbiased) == ("mean", ("head/dense", "head/layer_norm"))


def test_deberta_v3_small_is_read():
    config = read_config(
        {
            "model_type": "deberta-v2", "hidden_act": "gelu", "hidden_size": 768, "intermediate_size": 3072,
            "max_position_embeddings": 512, "relative_attention": True, "position_buckets": 256,
            "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": "p2c|c2p", "layer_norm_eps": 1e-7,
            "max_relative_positions": -1, "position_biased_input": False, "num_attention_heads": 12,
            "num_hidden_layers": 6, "type_vocab_size": 0, "vocab_size": 128100,
        },
        Path("config.json"),
    )  # fmt: skip
    assert config.disentangled is not None
    assert (config.disentangled.span, config.disentangled.farthest, config.disentangled.terms) == (256, 512, 3)
    assert (config.has_position_table, config.type_vocab_size, config.convolution) == (False, 0, None)


def test_every_distance_has_a_row_of_its_own_or_of_its_range():
    from rawbert.exporter.families.config import Disentangled
    from rawbert.exporter.graph.positions import rows_of_distances

    rows = rows_of_distances(Disentangled(256, 512, True, True, True, True), 512)
    # By hand: 128 + ceil(127 * ln(d / 128) / ln(511 / 128)), from 129 on.
    by_hand = {0: 256, 1: 257, -1: 255, 128: 384, -128: 128, 129: 385, 130: 386, 256: 448, 511: 511, -511: 1, -256: 64}
    assert {distance: int(rows[511 + distance]) for distance in by_hand} == by_hand
    clipped = rows_of_distances(Disentangled(4, None, True, True, True, True), 8)
    assert clipped.tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7]


REFUSED: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "stretched positions": ("modernbert.base", {"rope_scaling": {"type": "linear", "factor": 2.0}}, UnsupportedModel,
                            "rope_scaling is .*scaled"),
    "other angles": ("modernbert.base", {"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 4.0}}},
                     UnsupportedModel, "rope_type of rope_parameters.full_attention is 'yarn'"),
    "one theta for all": ("modernbert.base", {"rope_parameters": {"rope_theta": 1e4}}, UnsupportedModel,
                          "rope_parameters is .*expected full_attention and sliding_attention"),
    "no theta": ("modernbert.base", {"rope_parameters": {}, "local_rope_theta": None}, CorruptSource,
                 "local_rope_theta is None"),
    "too few kinds": ("modernbert.base", {"layer_types": ["full_attention"]}, CorruptSource, "not 5 times"),
    "another kind": ("modernbert.base", {"layer_types": ["chunked_attention"] * 5}, CorruptSource, "chunked"),
    "a window said twice": ("modernbert.base", {"sliding_window": 4}, UnsupportedModel, "sliding_window is 4"),
    "pooling": ("modernbert.base", {"classifier_pooling": "max"}, UnsupportedModel, "classifier_pooling is 'max'"),
    "activation": ("modernbert.base", {"hidden_activation": "quick_gelu"}, UnsupportedModel, "quick_gelu"),
    "odd heads": ("modernbert.base", {"num_attention_heads": 32}, CorruptSource, "size of an attention head is 1"),
    "a bias as a word": ("modernbert.base", {"mlp_bias": "no"}, CorruptSource, "mlp_bias is 'no', not true or false"),
    "biases that are not there": ("modernbert.base", {"attention_bias": True}, CorruptSource, "Wqkv.bias is missing"),
    "biases that are not called for": ("modernbert.biases", {"mlp_bias": False}, CorruptSource,
                                       r"Wi\.bias exists, but config.json requires layers that add no vector"),
    "fewer layers": ("modernbert.base", {"num_hidden_layers": 4, "layer_types": None}, CorruptSource,
                     "exists, but config.json requires only 4 layers"),
    "no distances": ("deberta-v2.v3_small", {"relative_attention": False}, UnsupportedModel, "relative_attention"),
    "another term": ("deberta-v2.v3_small", {"pos_att_type": "p2c|p2p"}, UnsupportedModel, "pos_att_type is 'p2c|p2p'"),
    "no term": ("deberta-v2.v3_small", {"pos_att_type": []}, UnsupportedModel, "pos_att_type is"),
    "another normalisation": ("deberta-v2.v3_small", {"norm_rel_ebd": "batch"}, UnsupportedModel, "norm_rel_ebd"),
    "too many buckets": ("deberta-v2.v3_small", {"position_buckets": 200}, CorruptSource, "position_buckets is 200"),
    "a position table": ("deberta-v2.v3_small", {"position_biased_input": True}, CorruptSource,
                         "position_embeddings.weight is missing"),
    "narrow embeddings": ("deberta-v2.v3_small", {"embedding_size": 16}, UnsupportedModel, "embedding_size is 16"),
    "wide heads": ("deberta-v2.v3_small", {"attention_head_size": 16}, UnsupportedModel, "attention_head_size is 16"),
    "own projections": ("deberta-v2.v3_small", {"share_att_key": False}, CorruptSource, "pos_key_proj.weight is mis"),
    "an even convolution": ("deberta-v2.v2_xlarge", {"conv_kernel_size": 4}, UnsupportedModel, "conv_kernel_size is 4"),
    "groups": ("deberta-v2.v2_xlarge", {"conv_groups": 2}, UnsupportedModel, "conv_groups 2"),
    "pooler's activation": ("deberta-v2.v3_small", {"pooler_hidden_act": "mish"}, UnsupportedModel, "mish"),
    "narrow rotation": ("nomic_bert.base", {"head_dim": 4}, UnsupportedModel, "head_dim is 4"),
    "a part is turned": ("nomic_bert.base", {"rope_parameters": {"partial_rotary_factor": 0.5}}, UnsupportedModel,
                         "partial_rotary_factor of rope_parameters is 0.5"),
    "its own code": ("nomic_bert.base", {"auto_map": {"AutoModel": "x.Y"}}, UnsupportedModel, "its own code"),
    "code that is known and other": (
        "nomic_bert.base", {"auto_map": {"AutoModel": "nomic-ai/nomic-bert-2048--m.N", "AutoConfig": "me/mine--c.N"}},
        UnsupportedModel, "its own code",
    ),
    "experts": ("nomic_bert.base", {"moe_every_n_layers": 2}, UnsupportedModel, "moe_every_n_layers is 2; only 0 can"),
    "interleaved": ("nomic_bert.base", {"rotary_emb_interleaved": True}, UnsupportedModel, "rotary_emb_interleaved"),
    "two widths": ("nomic_bert.base", {"n_embd": 768}, CorruptSource, "n_embd is 768, but hidden_size is 32"),
    "two bases": ("nomic_bert.base", {"rotary_emb_base": 10000}, CorruptSource, "rotary_emb_base is 10000, but rope"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_by_name(tmp_path: Path, case: str):
    model, changes, error, message = REFUSED[case]
    folder = RandomModel(model).folder(tmp_path / "model", "SequenceClassification", **changes)
    with pytest.raises(error, match=message):
        sources.load(folder)


#: From nomic-ai/nomic-embed-text-v1.5: keys of its own code, in addition to those of transformers.
NOMICS = {
    "auto_map": {
        "AutoConfig": "nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig",
        "AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel",
    },
    "activation_function": "swiglu", "attn_pdrop": 0.0, "causal": False, "dense_seq_output": True, "embd_pdrop": 0.0,
    "fused_bias_fc": True, "fused_dropout_add_ln": True, "layer_norm_epsilon": 1e-12, "max_trained_positions": 2048,
    "mlp_fc1_bias": False, "mlp_fc2_bias": False, "n_embd": 32, "n_head": 4, "n_inner": 40, "n_layer": 3,
    "n_positions": 8192, "pad_vocab_size_multiple": 64, "parallel_block": False, "parallel_block_tied_norm": False,
    "prenorm": False, "qkv_proj_bias": False, "reorder_and_upcast_attn": False, "resid_pdrop": 0.0,
    "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None, "scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True,
    "use_flash_attn": True, "use_rms_norm": False, "use_xentropy": True,
}  # fmt: skip


def test_the_settings_of_nomics_own_code_are_known_and_its_code_is_not_asked(tmp_path: Path):
    from rawbert.exporter.proof.reference import FolderReference

    plain = sources.load(RandomModel("nomic_bert.base").folder(tmp_path / "plain"))
    folder = RandomModel("nomic_bert.base").folder(tmp_path / "nomic", **NOMICS)
    found = sources.load(folder)
    assert found.encoder == plain.encoder
    assert found.notes == plain.notes
    ids = [2, 5, 9, 3]
    wanted = FolderReference(tmp_path / "plain", 64)(ids)["sequence_output"]
    np.testing.assert_array_equal(FolderReference(folder, 64)(ids)["sequence_output"], wanted)
    edit(folder / "config.json", auto_map={"AutoModel": "me/mine--modeling.Model"})
    with pytest.raises(ValueError, match="auto_map"):
        FolderReference(folder, 64)


#: From Alibaba-NLP/gte-multilingual-base and jinaai/jina-embeddings-v2-base-en, which need their own code.
WITH_CODE: dict[str, tuple[dict[str, Any], str]] = {
    "GTE": (
        {"model_type": "new", "auto_map": {"AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel"}},
        "auto_map .*Alibaba-NLP/new-impl.*its own code, which is not run",
    ),
    "GTE without auto_map": ({"model_type": "new"}, "the encoder family is 'new'"),
    "jina v2": (
        {
            "model_type": "bert",
            "auto_map": {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"},
            "position_embedding_type": "alibi", "feed_forward_type": "geglu", "emb_pooler": "mean",
        },
        "auto_map .*jinaai/jina-bert-implementation.*its own code, which is not run|is 'alibi': only 'absolute'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WITH_CODE)
def test_families_with_code_of_their_own_are_refused_by_name(tmp_path: Path, name: str):
    changes, message = WITH_CODE[name]
    folder = tiny(tmp_path / "model")
    edit(folder / "config.json", **changes)
    with pytest.raises(UnsupportedModel, match=message):
        sources.load(folder)


def test_a_first_normalisation_that_nothing_calls_for_is_refused(tmp_path: Path):
    folder = RandomModel("modernbert.base").folder(tmp_path / "model")

    def with_norm(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.0.attn_norm.weight"] = np.ones(32, np.float32)

    retensor(folder, with_norm)
    with pytest.raises(CorruptSource, match=r"layers\.0\.attn_norm\.weight exists"):
        sources.load(folder)


def test_names_of_a_bare_model_are_read(tmp_path: Path):
    for name, prefix in (
        ("modernbert.base", "model."),
        ("deberta-v2.c2p", "deberta."),
        ("nomic_bert.other", "nomic_bert."),
    ):
        folder = RandomModel(name).folder(tmp_path / name, architectures=None)
        with_prefix = sources.load(folder)
        retensor(folder, lambda tensors, prefix=prefix: {key.removeprefix(prefix): tensors[key] for key in tensors})
        edit(folder / "config.json", architectures=["AnyModel"])
        bare = sources.load(folder)
        assert bare.encoder == with_prefix.encoder
        assert all(np.array_equal(bare.weights[key], with_prefix.weights[key]) for key in with_prefix.weights)
