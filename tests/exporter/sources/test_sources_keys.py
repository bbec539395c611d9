"""The table of keys: it covers the keys that the installed libraries write, and each rule has its effect."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from folders import DATA, edit, tiny
from rawbert.exporter import UnsupportedModel, sources
from rawbert.exporter.proof import settings
from rawbert.exporter.sources import keys

#: Section -> its file in a sentence-transformers folder.
FILES = {
    "config": "config.json",
    "tokenizer_config": "tokenizer_config.json",
    "model": "config_sentence_transformers.json",
    "transformer": "sentence_bert_config.json",
    "pooling": "1_Pooling/config.json",
    "dense": "2_Dense/config.json",
    "normalize": "3_Normalize/config.json",
}


def test_every_rule_says_what_becomes_of_its_key():
    for section, rules in keys.table().items():
        assert rules["*"] in ("note", "refuse", "ignore"), section
        for key, rule in rules.items():
            if isinstance(rule, dict):
                assert set(rule) == {"only", "why"}, (section, key)
                assert rule["only"], (section, key)
            elif key != "*":
                assert rule == "read" or rule.partition(": ")[0] in ("harmless", "unset"), (section, key)


@pytest.mark.parametrize(
    "family",
    ["Bert", "DistilBert", "Electra", "MPNet", "Roberta", "XLMRoberta", "Camembert", "Albert", "ModernBert",
     "DebertaV2", "NomicBert"],
)  # fmt: skip
def test_what_transformers_writes_into_config_json_is_known(tmp_path: Path, family: str):
    import transformers

    config = getattr(transformers, f"{family}Config")(num_labels=3, architectures=[f"{family}Model"], dtype="float32")
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text()) | config.to_dict()
    path = tmp_path / "config.json"
    assert keys.hold("config", written, path) == []
    known = set(keys.table()["config"])
    fields = {name for name in inspect.signature(type(config)).parameters if not name.startswith("_")}
    assert fields <= known | {"kwargs", "self", "args"}, fields - known


def test_what_transformers_writes_beside_a_tokenizer_is_known(tmp_path: Path):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    AutoTokenizer.from_pretrained(DATA / "tiny_bert").save_pretrained(tmp_path / "bert")
    wrapped = PreTrainedTokenizerFast(tokenizer_file=str(DATA / "tiny_bert" / "tokenizer.json"))
    wrapped.save_pretrained(tmp_path / "wrapped")
    for path in sorted(tmp_path.glob("*/*_*.json")):
        assert keys.hold("tokenizer_config", json.loads(path.read_text()), path) == [], path


def test_what_tokenizers_writes_is_known():
    state = json.loads((DATA / "tiny_bert" / "tokenizer.json").read_text())
    path = DATA / "tiny_bert" / "tokenizer.json"
    keys.hold("tokenizer", state, path)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "model"):
        keys.hold(f"tokenizer {part}", state[part], path)
        assert set(state[part]) <= set(keys.table()[f"tokenizer {part}"])
    for token in state["added_tokens"]:
        assert set(token) == set(keys.table()["tokenizer added_token"]) - {"*"}


#: Settings that sentence-transformers 2.2 to 6.2 write (their ``config_keys``, ``get_config_dict`` and ``save``).
WRITTEN: dict[str, list[dict[str, Any]]] = {
    "module": [{"idx": 0, "name": "0", "path": "", "type": "any", "kwargs": ["task"]}],
    "model": [
        {"__version__": {"sentence_transformers": "2.2.2", "transformers": "4.6.1", "pytorch": "1.8.1"}},
        {"__version__": {}, "prompts": {"query": "q: "}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
        {"model_type": "SentenceTransformer", "__version__": {}, "prompts": {"query": "", "document": ""},
         "default_prompt_name": None, "similarity_fn_name": "cosine"},
    ],
    "transformer": [
        {"max_seq_length": 256, "do_lower_case": False},
        {"transformer_task": "feature-extraction", "modality_config": {"text": {"method": "forward",
         "method_output_name": "last_hidden_state"}}, "module_output_name": "token_embeddings"},
    ],
    "pooling": [
        {"word_embedding_dimension": 384, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
         "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False},
        {"word_embedding_dimension": 384, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
         "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False,
         "pooling_mode_weightedmean_tokens": False, "pooling_mode_lasttoken": False, "include_prompt": True},
        {"embedding_dimension": 384, "pooling_mode": "mean", "include_prompt": True},
    ],
    "dense": [
        {"in_features": 4, "out_features": 2, "bias": True,
         "activation_function": "torch.nn.modules.activation.Tanh"},
        {"in_features": 4, "out_features": 2, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh",
         "module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"},
    ],
    "normalize": [{"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}],
    "dropout": [{"dropout": 0.2}],
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_sentence_transformers_writes_is_known(kind: str):
    for state in WRITTEN[kind]:
        assert keys.hold(kind, state, Path(kind)) == []


def conflicting(rule: Any) -> Any:
    """A value that a rule refuses; ``None`` if it refuses none."""
    if isinstance(rule, dict):
        only = rule["only"][0]
        if isinstance(only, bool):
            return not only
        return only + 1 if isinstance(only, int) else "something else" if isinstance(only, str) else {"other": 1}
    return {"some": "value"} if rule.startswith("unset: ") else None


CASES = {
    (kind, key): value
    for kind in FILES
    for key, rule in keys.table()[kind].items()
    if key != "*" and (value := conflicting(rule)) is not None
}


@pytest.mark.parametrize(("kind", "key"), CASES)
def test_a_key_that_changes_the_result_is_refused_by_exporter_and_reference(tmp_path: Path, kind: str, key: str):
    folder = tiny(tmp_path / "model", "mean_dense_normalize")
    path = folder / FILES[kind]
    path.parent.mkdir(exist_ok=True)
    if not path.is_file():
        path.write_text("{}")
    edit(path, **{key: CASES[kind, key]})
    with pytest.raises(UnsupportedModel, match=rf"{path.name}: {key} is "):
        sources.load(folder)
    if key in ("text_config", "vision_config", "word_tokenizer_type", "subword_tokenizer_type", "do_word_tokenize",
               "do_subword_tokenize"):  # fmt: skip
        return  # such a folder cannot be computed as BERT at all, or has no effect with a tokenizer.json
    with pytest.raises(ValueError, match=rf"{path.name}: {key} is "):
        settings.read(folder)


@pytest.mark.parametrize("kind", FILES)
def test_an_unknown_key_is_refused_or_noted(tmp_path: Path, kind: str):
    folder = tiny(tmp_path / "model", "mean_dense_normalize")
    path = folder / FILES[kind]
    if not path.is_file():
        path.write_text("{}")
    edit(path, brand_new=1)
    if keys.table()[kind]["*"] == "note":
        assert [note for note in sources.load(folder).notes if "brand_new" in note]
        settings.read(folder)
        return
    with pytest.raises(UnsupportedModel, match=rf"{path.name}: brand_new is unknown"):
        sources.load(folder)
    with pytest.raises(ValueError, match=rf"{path.name}: brand_new is 1"):
        settings.read(folder)


@pytest.mark.parametrize(
    ("state", "value"), [("config.json", False), ("tokenizer_config.json", None), ("sentence_bert_config.json", {})]
)
def test_what_is_unset_is_no_reason_to_refuse(tmp_path: Path, state: str, value: object):
    folder = tiny(tmp_path / "model", "mean_dense_normalize")
    kind = next(kind for kind, name in FILES.items() if name == state)
    unset = [key for key, rule in keys.table()[kind].items() if isinstance(rule, str) and rule.startswith("unset: ")]
    edit(folder / state, **dict.fromkeys(unset, value))
    sources.load(folder)
    settings.read(folder)
