"""The recipe that a sentence-transformers folder adds to its transformer: modules.json and what it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptSource, UnsupportedModel
from ..recipe import POOLING_MODES
from . import files
from .checkpoint import Dense, PoolingRecipe
from .jsonfile import read_json, read_object
from .stored import require_finite

__all__ = ["Recipe", "read_recipe"]

#: The boolean settings of releases before 5.x, in the order in which their results are joined.
_LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

#: ``activation_function`` of a Dense module is the name of a torch class.
_ACTIVATIONS = {
    "Identity": "identity",
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "Sigmoid": "sigmoid",
    "SiLU": "silu",
}


class Recipe:
    """What sentence-transformers adds: where the transformer lies, its own settings, and the pooling.

    Attributes:
        transformer: folder of the transformer's files.
        pooling: the steps from token vectors to one embedding.
        max_seq_length: from sentence_bert_config.json, if it is set there.
        lowercase: whether texts are lower-cased before the tokenizer sees them.
        files: the recipe's own files.
        notes: what a user should know.
    """

    def __init__(self, transformer: Path, pooling: PoolingRecipe) -> None:
        self.transformer = transformer
        self.pooling = pooling
        self.max_seq_length: int | None = None
        self.lowercase = False
        self.files: list[Path] = []
        self.notes: list[str] = []


def read_recipe(folder: Path) -> Recipe | None:
    """Read modules.json and the modules that it names; ``None`` where there is no modules.json.

    Raises:
        UnsupportedModel: a module of a kind that cannot be exported.
        CorruptSource: a module's files are damaged or contradict each other.
    """
    listing = folder / "modules.json"
    if not listing.is_file():
        return None
    modules = read_json(listing)
    if not isinstance(modules, list) or not all(_is_module(module) for module in modules):
        raise CorruptSource(f"{listing}: not a list of modules")
    for module in modules:
        path = Path(module.get("path", ""))
        if path.is_absolute() or ".." in path.parts:
            raise CorruptSource(f"{listing}: the module path {module['path']!r} lies outside the folder")
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"]:
        raise UnsupportedModel(
            f"{listing}: the modules are {', '.join(kinds) or 'none'}; Transformer, Pooling and then any of "
            "Dense and Normalize can be exported"
        )
    paths = [folder / module.get("path", "") for module in modules]
    modes = _pooling_modes(paths[1] / "config.json")
    steps: list[Dense | str] = []
    recipe_files = [listing, paths[1] / "config.json"]
    for kind, path in zip(kinds[2:], paths[2:], strict=True):
        if kind == "Normalize":
            if (path / "config.json").is_file():
                _sentence_embedding_only(read_object(path / "config.json"), path / "config.json")
            steps.append("normalize")
        elif kind == "Dense":
            dense, dense_files = _dense(path)
            steps.append(dense)
            recipe_files += dense_files
        elif kind != "Dropout":  # which does nothing at inference
            raise UnsupportedModel(
                f"{listing}: a {kind} module cannot be exported; Transformer, Pooling, Dense and Normalize can"
            )
    recipe = Recipe(paths[0], PoolingRecipe(modes, tuple(steps)))
    recipe.files = recipe_files
    _transformer_settings(recipe)
    _prompts(recipe, folder / "config_sentence_transformers.json")
    return recipe


def _is_module(state: Any) -> bool:
    return isinstance(state, dict) and isinstance(state.get("type"), str) and isinstance(state.get("path", ""), str)


def _pooling_modes(path: Path) -> tuple[str, ...]:
    config = read_object(path)
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in _LEGACY_MODES.items() if config.get(key)] or ["mean"]
    modes = tuple(modes) if isinstance(modes, list) else (modes,)
    if not modes:
        raise CorruptSource(f"{path}: pooling_mode is empty")
    for mode in modes:
        if mode not in POOLING_MODES:
            raise UnsupportedModel(f"{path}: pooling mode {mode!r} is unknown; known are {', '.join(POOLING_MODES)}")
    return modes


def _sentence_embedding_only(config: dict[str, Any], path: Path) -> None:
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise UnsupportedModel(f"{path}: {key} is {config[key]!r}; only sentence_embedding can be exported")


def _dense(path: Path) -> tuple[Dense, list[Path]]:
    config_path = path / "config.json"
    config = read_object(config_path)
    _sentence_embedding_only(config, config_path)
    if config.get("use_residual"):
        raise UnsupportedModel(f"{config_path}: a Dense module with use_residual cannot be exported")
    path_of_class = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    name = path_of_class.rpartition(".")[2]
    # sentence-transformers itself runs no class from outside torch unless remote code is trusted.
    if name not in _ACTIVATIONS or not path_of_class.startswith("torch."):
        raise UnsupportedModel(
            f"{config_path}: activation {path_of_class!r} cannot be exported; torch's {', '.join(_ACTIVATIONS)} can"
        )
    stored = files.read_folder(path)
    shapes: dict[str, tuple[Any, ...]] = {"linear.weight": (config.get("out_features"), config.get("in_features"))}
    if config.get("bias", True):
        shapes["linear.bias"] = (config.get("out_features"),)
    values: dict[str, np.ndarray] = {}
    for key, shape in shapes.items():
        tensor = stored.tensors.get(key)
        if tensor is None or tensor.shape != shape:
            found = "no such tensor" if tensor is None else str(list(tensor.shape))
            raise CorruptSource(
                f"{stored.where}: its weights do not fit its config.json, which calls for {key} with shape "
                f"{list(shape)}; found {found}"
            )
        require_finite(tensor)
        values[key] = np.asarray(tensor.read(), np.float32)
    if "linear.bias" in set(stored.tensors) - set(shapes):
        raise CorruptSource(f"{stored.where}: linear.bias is there, but config.json calls for no bias")
    dense = Dense(values["linear.weight"].T, values.get("linear.bias"), _ACTIVATIONS[name])
    return dense, [config_path, *stored.files]


def _transformer_settings(recipe: Recipe) -> None:
    path = recipe.transformer / "sentence_bert_config.json"
    if not path.is_file():
        return
    config = read_object(path)
    recipe.files.append(path)
    length = config.get("max_seq_length")
    if length is not None and not isinstance(length, int):
        raise CorruptSource(f"{path}: max_seq_length is {length!r}, not a whole number")
    recipe.max_seq_length = length or None
    recipe.lowercase = bool(config.get("do_lower_case"))


def _prompts(recipe: Recipe, path: Path) -> None:
    if not path.is_file():
        return
    recipe.files.append(path)
    config = read_object(path)
    prompts = config.get("prompts")
    prompt = prompts.get(config.get("default_prompt_name")) if isinstance(prompts, dict) else None
    if prompt:
        recipe.notes.append(
            f"sentence-transformers puts the prompt {prompt!r} before every text of this model; "
            "the exported model does not: send it as part of the text"
        )
