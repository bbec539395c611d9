"""sentence-transformers' cross-encoders: classifiers of pairs, and what its releases write beside transformers' files.

Up to release 3 the activation is ``sbert_ce_default_activation_function`` of config.json, in releases 4 and 5 it is in
``sentence_transformers`` there, and since then modules.json and config_sentence_transformers.json say it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel

#: torch's classes -> what the graph calls them.
_ACTIVATIONS = {"Identity": "identity", "Sigmoid": "sigmoid", "Softmax": "softmax"}


@dataclass(frozen=True)
class CrossEncoder:
    """What a cross-encoder adds to its classifier.

    Attributes:
        activation: ``identity``, ``sigmoid`` or ``softmax``; ``None``: sigmoid for one label, identity for several.
        notes: what a user should know.
    """

    activation: str | None
    notes: tuple[str, ...] = ()


def read(
    config: Mapping[str, Any], path: Path, model: Mapping[str, Any] | None, model_path: Path
) -> CrossEncoder | None:
    """The cross-encoder of a folder; ``None`` where nothing says that it is one.

    Args:
        config: config.json, at ``path``.
        model: config_sentence_transformers.json, at ``model_path``, where modules.json makes it count and it says that
            this is a cross-encoder.

    Raises:
        CorruptSource, UnsupportedModel: the activation is not the name of one that can be exported.
    """
    added = config.get("sentence_transformers")
    if added is not None and not isinstance(added, dict):
        raise CorruptSource(f"{path}: sentence_transformers is {added!r:.200}, not an object")
    old = "sbert_ce_default_activation_function"
    stated = [
        (model_path, "activation_fn", (model or {}).get("activation_fn")),
        (path, "sentence_transformers.activation_fn", (added or {}).get("activation_fn")),
        (path, old, config.get(old) if "activation_fn" not in (added or {}) else None),
    ]
    if model is None and added is None and old not in config:
        return None
    notes = []
    for file, key, value in stated:
        if value is None:
            continue
        if not isinstance(value, str):
            raise CorruptSource(f"{file}: {key} is {value!r:.200}, not the name of a class")
        if not value.startswith("torch."):  # which sentence-transformers does not run, and leaves out
            notes.append(f"{file.name}: {key} is {value}, a class of its own, which is not run: the default is taken")
            continue
        name = value.rpartition(".")[2]
        if name not in _ACTIVATIONS:
            raise UnsupportedModel(
                f"{file}: {key} is {value}; torch's {', '.join(_ACTIVATIONS)} can be exported (Identity: logits)"
            )
        return CrossEncoder(_ACTIVATIONS[name], tuple(notes))
    return CrossEncoder(None, tuple(notes))
