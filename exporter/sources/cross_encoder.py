"""sentence-transformers' cross-encoders: classifiers of pairs, with settings in addition to transformers' files.

The place of the activation depends on the release: ``sbert_ce_default_activation_function`` of config.json up to 3,
``sentence_transformers`` of config.json in 4 and 5, modules.json and config_sentence_transformers.json in later ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel

#: Class of torch -> name in the graph.
_ACTIVATIONS = {"Identity": "identity", "Sigmoid": "sigmoid", "Softmax": "softmax"}


@dataclass(frozen=True)
class CrossEncoder:
    """The additions of a cross-encoder to its classifier.

    Attributes:
        activation: ``identity``, ``sigmoid`` or ``softmax``; ``None``: sigmoid for one label, identity for several.
        notes: notes for the user.
    """

    activation: str | None
    notes: tuple[str, ...] = ()


def read(
    config: Mapping[str, Any], path: Path, model: Mapping[str, Any] | None, model_path: Path
) -> CrossEncoder | None:
    """The cross-encoder of a folder; ``None`` if no setting marks it as one.

    Args:
        config: config.json, at ``path``.
        model: config_sentence_transformers.json, at ``model_path``, if modules.json exists and the file marks a
            cross-encoder.

    Raises:
        CorruptSource, UnsupportedModel: the activation cannot be exported.
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
        if not value.startswith("torch."):  # sentence-transformers ignores such classes.
            notes.append(
                f"{file.name}: {key} is {value}, a custom class, which is not run: the default activation is used"
            )
            continue
        name = value.rpartition(".")[2]
        if name not in _ACTIVATIONS:
            raise UnsupportedModel(
                f"{file}: {key} is {value}; torch's {', '.join(_ACTIVATIONS)} can be exported (Identity: logits)"
            )
        return CrossEncoder(_ACTIVATIONS[name], tuple(notes))
    return CrossEncoder(None, tuple(notes))
