"""A folder's settings, read a second time for :mod:`.reference`: those of sentence-transformers, and general ones.

No code here comes from :mod:`..sources`. For each file there are keys that are read, keys without effect on vectors,
and keys that must have their default; any other key is an error, so that both readers cannot miss the same setting.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import weights

#: Class names of the modules of sentence-transformers 2 to 6.
_CLASS = re.compile(
    r"sentence_transformers\.(?:models|sentence_transformer\.modules|base\.modules)\.(?:\w+\.)?"
    r"(?:Transformer|Pooling|Dense|Normalize|Dropout)"
)
_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ON_SENTENCES = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
_ON_LOGITS = {
    "transformer_task": "sequence-classification",
    "module_output_name": "scores",
    "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
}
_ON_TOKENS = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
}
#: Settings of config.json and tokenizer_config.json that refer to other files, or change the model for the same
#: weights.
_ELSEWHERE = {
    "config.json": (
        "adapters add_cross_attention auto_map compression_config configuration_files is_decoder is_encoder_decoder "
        "per_layer_config pruned_heads quantization_config rope_scaling sliding_window transformers_weights"
    ),
    "tokenizer_config.json": "add_bos_token add_eos_token auto_map fast_tokenizer_files split_special_tokens",
}


@dataclass
class Settings:
    """The settings of a folder besides its transformer's own files.

    Attributes:
        root: folder of the transformer.
        lowercase: whether texts are lower-cased before all other steps.
        recipe: a tuple of pooling modes, then ``"normalize"`` or ``(weight, bias, activation)``; empty without pooling.
        max_length: maximum tokens of texts, from sentence-transformers' settings, or else from the tokenizer's.
        cross_encoder: config_sentence_transformers.json of a cross-encoder.
    """

    root: Path
    lowercase: bool = False
    recipe: list[Any] = field(default_factory=list)
    max_length: int | None = None
    cross_encoder: dict[str, Any] | None = None


def read(folder: Path) -> Settings:
    """The settings of a Hugging Face, sentence-transformers or Google folder.

    Raises:
        ValueError: an unknown setting.
    """
    settings = Settings(folder)
    if (folder / "modules.json").is_file():
        modules = read_json(folder / "modules.json")
        names = {module.get("name", at) for at, module in enumerate(modules)}
        if len(names) < len(modules) or not all(_CLASS.fullmatch(module["type"]) for module in modules):
            raise ValueError(f"{folder / 'modules.json'}: unknown modules, or two with the same name")
        settings.root = folder / modules[0].get("path", "")
        # The transformer's settings, with any of their file names.
        kinds = ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"]
        paths = [settings.root / f"sentence_{kind}_config.json" for kind in kinds]
        path = next((path for path in paths if read_json(path)), paths[0])
        path_of_model = folder / "config_sentence_transformers.json"
        is_classifier = read_json(path_of_model).get("model_type") == "CrossEncoder"
        known = _ON_LOGITS if is_classifier else _ON_TOKENS
        transformer = _only(path, {"max_seq_length", "do_lower_case", "unpad_inputs"}, known)
        settings.lowercase = bool(transformer.get("do_lower_case"))
        settings.max_length = transformer.get("max_seq_length")
        read = {"__version__", "prompts", "default_prompt_name", "similarity_fn_name"}
        if is_classifier:
            read |= {"model_type", "activation_fn", "keep_in_fp32_modules"}
        model = _only(path_of_model, read, {"model_type": "SentenceTransformer"})
        settings.cross_encoder = model if is_classifier else None
        prompts = any((model.get("prompts") or {}).values())
        for module in modules[1:]:
            settings.recipe += _step(module["type"].split(".")[-1], folder / module.get("path", ""), prompts)
    for name, keys in _ELSEWHERE.items():
        stated = read_json(settings.root / name)
        if stated.get("model_type") == "nomic_bert":  # transformers has its own implementation of this model
            mine = re.compile(r"nomic-ai/nomic-bert-2048--\w+\.\w+")
            stated["auto_map"] = [each for each in (stated.get("auto_map") or {}).values() if not mine.fullmatch(each)]
        if found := [key for key in keys.split() if stated.get(key)]:
            raise ValueError(f"{settings.root / name}: {found[0]} is {stated[found[0]]!r}")
        for key, usual in (("padding_side", "right"), ("position_embedding_type", "absolute"), ("inner_group_num", 1)):
            if (stated.get(key) or usual) != usual:
                raise ValueError(f"{settings.root / name}: {key} is {stated[key]!r}")
        settings.max_length = settings.max_length or stated.get("model_max_length")
    if (settings.root / "adapter_config.json").is_file():
        raise ValueError(f"{settings.root}: the weights have an adapter")
    return settings


def read_json(path: Path) -> Any:
    """The contents of a JSON file, with or without a byte-order mark; empty if the file does not exist."""
    return json.loads(path.read_bytes().decode("utf-8-sig")) if path.is_file() else {}


def _step(kind: str, path: Path, prompts: bool) -> list[Any]:
    file = path / "config.json"
    if kind == "Pooling":
        config = _only(file, {*_POOLING, "pooling_mode", "include_prompt", "word_embedding_dimension",
                              "embedding_dimension"})  # fmt: skip
        if prompts and not config.get("include_prompt", True):
            raise ValueError(f"{file}: prompt tokens are not pooled")
        modes = config.get("pooling_mode") or [_POOLING[key] for key in _POOLING if config.get(key)] or "mean"
        return [(modes,) if isinstance(modes, str) else tuple(modes)]
    if kind == "Dense":
        config = _only(file, {"in_features", "out_features", "bias", "activation_function"}, _ON_SENTENCES)
        tensors, name = weights.tensors_of(path), config.get("activation_function", "torch.Tanh")
        if not name.startswith("torch."):
            raise ValueError(f"{file}: unknown activation {name}")
        return [(tensors["linear.weight"], tensors.get("linear.bias", 0.0), name.split(".")[-1].lower())]
    if kind == "Normalize":
        _only(file, set(), _ON_SENTENCES)
        return ["normalize"]
    return []


def _only(path: Path, read: set[str], defaults: Mapping[str, Any] = {}) -> dict[str, Any]:
    """A JSON object, after a check that all keys are read, unset, or have their default."""
    config: dict[str, Any] = read_json(path)
    for key in config.keys() - read:
        value, default = config[key], defaults.get(key, False)
        if value not in (None, {}, [], "") and (value != default or type(value) is not type(default)):
            raise ValueError(f"{path}: {key} is {value!r}")
    return config
