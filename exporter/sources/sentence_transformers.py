"""The additions of a sentence-transformers folder to its transformer: modules.json and the modules that it names.

An embedding model has a recipe of pooling and layers; a cross-encoder is a classifier with additional settings.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptSource, UnsupportedModel
from ..recipe import POOLING_MODES
from . import files, keys
from .checkpoint import Dense, PoolingRecipe
from .jsonfile import read_json, read_object
from .stored import require_finite

#: The boolean settings of releases before 5.x, in the order in which their results are joined.
_LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

#: Packages of the modules of sentence-transformers 2 to 6: classes of the same name elsewhere are different.
_PACKAGES = (
    "sentence_transformers.models",
    "sentence_transformers.sentence_transformer.modules",
    "sentence_transformers.base.modules",
)
#: Settings of the whole model, read if modules.json exists.
MODEL_SETTINGS = "config_sentence_transformers.json"
#: Possible names of the transformer's settings; the first file that exists counts.
SETTINGS = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)

#: ``activation_function`` of a Dense module is the name of a torch class.
_ACTIVATIONS = {
    "Identity": "identity",
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "Sigmoid": "sigmoid",
    "SiLU": "silu",
}


@dataclass(frozen=True)
class Recipe:
    """The additions of sentence-transformers: the transformer's folder, its settings, and the pooling.

    Attributes:
        transformer: folder of the transformer's files.
        pooling: the steps from token vectors to one embedding; ``None`` for a cross-encoder.
        model: config_sentence_transformers.json.
        max_seq_length: from the transformer's settings, if it is set there.
        lowercase: whether texts are lower-cased before tokenization.
        files: the recipe's own files.
        notes: notes for the user.
    """

    transformer: Path
    pooling: PoolingRecipe | None
    model: dict[str, Any]
    max_seq_length: int | None
    lowercase: bool
    files: list[Path]
    notes: list[str]


def read_recipe(folder: Path) -> Recipe | None:
    """Read modules.json and the modules that it names; ``None`` without a modules.json.

    Raises:
        UnsupportedModel: a module of a kind that cannot be exported, or a setting of one.
        CorruptSource: a module's files are damaged or contradict each other.
    """
    listing = folder / "modules.json"
    if not listing.is_file():
        return None
    modules = read_json(listing)
    if not isinstance(modules, list) or not all(
        isinstance(each, dict) and isinstance(each.get("type"), str) and isinstance(each.get("path", ""), str)
        for each in modules
    ):
        raise CorruptSource(f"{listing}: not a list of modules")
    for module in modules:
        keys.hold("module", module, listing)
        path = Path(module.get("path", ""))
        if path.is_absolute() or ".." in path.parts:
            raise CorruptSource(f"{listing}: the module path {module['path']!r} is outside the folder")
    names = [str(module["name"]) for module in modules if "name" in module]
    if len(set(names)) < len(names):
        raise CorruptSource(f"{listing}: the names are {', '.join(names)}; expected different names")
    kinds = [_kind(module["type"]) for module in modules]
    paths = [folder / module.get("path", "") for module in modules]
    model_path = folder / MODEL_SETTINGS
    model = read_object(model_path) if model_path.is_file() else {}
    if model.get("model_type") == "CrossEncoder":
        if kinds != ["Transformer"]:
            raise UnsupportedModel(
                f"{listing}: the modules of the cross-encoder are {', '.join(kinds) or 'none'}; only a Transformer "
                "with its own head can be exported"
            )
        pooling, used = None, list[Path]()
        keys.hold("cross-encoder", model, model_path)
    else:
        pooling, used = _steps(listing, kinds, paths)
        keys.hold("model", model, model_path)
    prompts = model.get("prompts")
    prompts = {name: text for name, text in prompts.items() if text} if isinstance(prompts, dict) else {}
    if prompts and pooling and not read_object(paths[1] / "config.json").get("include_prompt", True):
        raise UnsupportedModel(
            f"{paths[1] / 'config.json'}: include_prompt is false, so prompt tokens are not pooled, and "
            f"{model_path.name} has the prompts {', '.join(map(str, prompts))}; remove them to export the model for "
            "texts without a prompt"
        )
    states = {path: read_object(path) for name in SETTINGS if (path := paths[0] / name).is_file()}
    path, settings = next(((path, state) for path, state in states.items() if state), (paths[0], {}))
    keys.hold("transformer" if pooling else "cross-encoder transformer", settings, path)
    length = settings.get("max_seq_length")
    if length is not None and not isinstance(length, int):
        raise CorruptSource(f"{path}: max_seq_length is {length!r}, not a whole number")
    return Recipe(
        transformer=paths[0],
        pooling=pooling,
        model=model,
        max_seq_length=length or None,
        lowercase=bool(settings.get("do_lower_case")),
        files=[listing, *used, *states, model_path],
        notes=_prompts(prompts, model.get("default_prompt_name")),
    )


def _steps(listing: Path, kinds: list[str], paths: list[Path]) -> tuple[PoolingRecipe, list[Path]]:
    """The steps from token vectors to one embedding (the modules after the Transformer), and their files."""
    if kinds[:2] != ["Transformer", "Pooling"]:
        raise UnsupportedModel(
            f"{listing}: the modules are {', '.join(kinds) or 'none'}; only Transformer, Pooling and "
            "then any of Dense and Normalize can be exported"
        )
    for kind in kinds[2:]:
        if kind not in ("Dense", "Normalize", "Dropout"):
            raise UnsupportedModel(
                f"{listing}: a {kind} module cannot be exported; Transformer, Pooling, Dense and Normalize can"
            )
    pooling = paths[1] / "config.json"
    modes, used = _pooling(pooling), [pooling]
    steps: list[Dense | str] = []
    for kind, path in zip(kinds[2:], paths[2:], strict=True):
        if kind == "Dense":
            dense, dense_files = _dense(path)
            steps.append(dense)
            used += dense_files
            continue
        if (path / "config.json").is_file():
            keys.hold(kind.lower(), read_object(path / "config.json"), path / "config.json")
        steps += ["normalize"] if kind == "Normalize" else []  # Dropout has no effect at inference
    return PoolingRecipe(modes, tuple(steps)), used


def _kind(path: str) -> str:
    """The class name of sentence-transformers' own modules; for other classes, the whole dotted path."""
    package, _, name = path.rpartition(".")
    homes = {f"{each}{end}" for each in _PACKAGES for end in ("", f".{name}", f".{name.lower()}")}
    return name if package in homes else path


def _pooling(path: Path) -> tuple[str, ...]:
    """Pooling modes."""
    config = read_object(path)
    keys.hold("pooling", config, path)
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in _LEGACY_MODES.items() if config.get(key)] or ["mean"]
    modes = tuple(modes) if isinstance(modes, list) else (modes,)
    if not modes:
        raise CorruptSource(f"{path}: pooling_mode is empty")
    for mode in modes:
        if mode not in POOLING_MODES:
            raise UnsupportedModel(f"{path}: pooling mode {mode!r} is unknown; choose from {', '.join(POOLING_MODES)}")
    return modes


def _dense(path: Path) -> tuple[Dense, list[Path]]:
    config_path = path / "config.json"
    config = read_object(config_path)
    keys.hold("dense", config, config_path)
    path_of_class = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    name = path_of_class.rpartition(".")[2]
    # sentence-transformers itself runs no class outside torch, unless remote code is trusted.
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
                f"{stored.where}: the weights do not fit config.json, which requires {key} with shape "
                f"{list(shape)}; found {found}"
            )
        require_finite(tensor)
        values[key] = np.asarray(tensor.read(), np.float32)
    if "linear.bias" in set(stored.tensors) - set(shapes):
        raise CorruptSource(f"{stored.where}: the weights have linear.bias, but config.json has no bias")
    dense = Dense(values["linear.weight"].T, values.get("linear.bias"), _ACTIVATIONS[name])
    return dense, [config_path, *stored.files]


def _prompts(prompts: dict[str, str], by_default: Any) -> list[str]:
    """Notes about prompts, which sentence-transformers puts before texts but the exported model does not."""
    if default := prompts.get(by_default):
        return [
            f"sentence-transformers puts the prompt {default!r} before every text of this model; "
            "the exported model does not: send it as part of the text"
        ]
    if not prompts:
        return []
    shown = ", ".join(f"{name} ({text!r})" for name, text in prompts.items())
    return [f"the model has prompts, none of them by default: {shown}. To use a prompt, send it as part of the text"]
