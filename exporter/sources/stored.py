"""Tensors that stay in their files until they are read, so that a checkpoint is never in memory twice.

A reader of :mod:`.files` lists the contents of a file as :class:`StoredTensor`; :func:`bind` finds every canonical
weight among them, checks it against the configuration, and returns :class:`Weights`, which reads one at a time.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...serving.plurals import counted
from ..errors import CorruptSource, UnsupportedModel, first_line
from ..families.config import EncoderConfig, canonical_shapes
from ..families.names import Naming

#: Number of values checked at a time, so that the check does not copy a large table.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        file: the file.
        key: its name in the file.
        shape: its shape in the file.
        dtype: the file's name of its dtype.
        floating: whether it is a floating-point dtype.
        read: reads it, or maps it into memory; float16, float32 or float64, read-only.
    """

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str
    floating: bool
    read: Callable[[], np.ndarray]

    def __str__(self) -> str:
        return f"{self.file}: the tensor {self.key}"


class Weights(Mapping[str, np.ndarray]):
    """Weights by canonical name; each access reads one tensor, as float32 in its canonical shape."""

    def __init__(self, bound: Mapping[str, tuple[StoredTensor, tuple[int, ...], bool]]) -> None:
        self._bound = bound

    def __getitem__(self, name: str) -> np.ndarray:
        tensor, shape, transposed = self._bound[name]
        value = tensor.read()
        return np.asarray(value.T if transposed else value.reshape(shape), np.float32)

    @property
    def keys_in_files(self) -> set[str]:
        """The keys of the weights in their files."""
        return {tensor.key for tensor, _, _ in self._bound.values()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._bound)

    def __len__(self) -> int:
        return len(self._bound)


def unreadable(path: Path, what: str, expected: str, error: Exception) -> CorruptSource:
    """The error for a file that the library of its format cannot read."""
    found = f"{path.stat().st_size} bytes" if path.is_file() else "no file"
    return CorruptSource(f"{path}: {what} (cut short?): expected {expected}, found {found}: {first_line(error)}")


def has(tensors: Mapping[str, StoredTensor], naming: Naming, name: str, where: Path) -> bool:
    """Whether the canonical weight ``name`` of the encoder is among ``tensors``; raises as :func:`bind`."""
    prefix = _prefix(tensors, naming, where)
    return any(prefix + spelling in tensors for spelling in naming.spellings(name))


def bind(
    tensors: Mapping[str, StoredTensor], config: EncoderConfig, naming: Naming, where: Path, config_file: Path
) -> Weights:
    """Find every weight that ``config`` requires.

    Args:
        tensors: tensors by key.
        config: configuration of the encoder, from ``config_file``.
        naming: naming style of the keys.
        where: the file or folder of the tensors, for errors.
        config_file: the file of the configuration, for errors.

    Raises:
        CorruptSource: a weight is missing or surplus, has another shape or dtype, or is not finite.
        UnsupportedModel: more than one encoder.
    """
    prefix = _prefix(tensors, naming, where)
    bound: dict[str, tuple[StoredTensor, tuple[int, ...], bool]] = {}
    for name, shape in canonical_shapes(config).items():
        transposed = naming.style.transposed and name.endswith("/kernel")
        stored = shape[::-1] if transposed else shape
        spellings = [prefix + spelling for spelling in naming.spellings(name)]
        found = [key for key in spellings if key in tensors]
        if not found:
            raise CorruptSource(
                f"{where}: the tensor {' or '.join(spellings)} is missing; {config_file.name} requires it "
                f"with shape {list(stored)}; found {_listed(tensors)}"
            )
        tensor = tensors[found[0]]
        if not tensor.floating:
            raise UnsupportedModel(f"{tensor} is {tensor.dtype}; floating-point weights can be exported")
        fits = np.prod(tensor.shape) == np.prod(shape) if naming.style.split_heads else False
        if not (tensor.shape == stored or fits):
            raise CorruptSource(
                f"{tensor} has shape {list(tensor.shape)}, but {config_file.name} requires {list(stored)}"
            )
        bound[name] = tensor, shape, transposed
    # Weights without a place in the configuration show that it belongs to another model.
    layers = counted(config.stored_layers, "layer")
    if config.layer_groups is not None:
        layers = f"{counted(config.stored_layers, 'group')} of layers"
    surplus = {f"layer_{config.stored_layers}/attention/output/kernel": f"only {layers}"}
    if config.normalises_first:
        surplus["layer_0/attention/layer_norm/gamma"] = "no normalisation before the first layer"
    if not config.projects:
        surplus["embeddings/project/kernel"] = "embeddings as wide as the layers"
    if not config.type_vocab_size:
        surplus["embeddings/type"] = "no token types"
    for name in bound:
        for leaf, other in (("/kernel", "/bias"), ("/gamma", "/beta")):
            if name.endswith(leaf) and name.removesuffix(leaf) + other not in bound:
                surplus[name.removesuffix(leaf) + other] = "layers that add no vector"
    used = {prefix + spelling for name in bound for spelling in naming.spellings(name)}
    for name, says in surplus.items():
        for spelling in naming.spellings(name):
            if prefix + spelling in tensors.keys() - used:
                raise CorruptSource(f"{tensors[prefix + spelling]} exists, but {config_file.name} requires {says}")
    for tensor, _, _ in bound.values():
        require_finite(tensor)
    return Weights(bound)


def require_finite(tensor: StoredTensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        CorruptSource: the tensor contains such a value.
    """
    value = np.atleast_1d(tensor.read())
    rows = max(1, _BLOCK * len(value) // max(1, value.size))
    for start in range(0, len(value), rows):
        finite = np.isfinite(value[start : start + rows])
        if not finite.all():
            at = np.argwhere(~finite)[0].tolist()
            at[0] += start
            raise CorruptSource(
                f"{tensor} contains values that are not finite: expected numbers, found {value[tuple(at)]} at {at}"
            )


def _prefix(tensors: Mapping[str, StoredTensor], naming: Naming, where: Path) -> str:
    """The prefix of the names of the encoder's tensors: empty, ``bert.``, ``model.bert.`` ..."""
    spellings = naming.spellings("embeddings/word")
    ended = {key[: -len(spelling)] for spelling in spellings for key in tensors if key.endswith(spelling)}
    prefixes = {prefix for prefix in ended if prefix[-1:] in ("", ".", "/")}  # of whole parts
    if not prefixes:
        raise CorruptSource(
            f"{where}: no tensor is named {' or '.join(spellings)}, with any prefix; found {_listed(tensors)}"
        )
    # Optimizers keep copies under the same names: Adam/m/bert/... in addition to bert/...
    prefixes = {
        prefix for prefix in prefixes if not any(prefix != other and prefix.endswith(other) for other in prefixes)
    }
    # In tf_model.h5, a head of pretraining lists the embeddings, which it shares, among its own tensors.
    layer = naming.spellings("layer_0/output/bias")
    prefixes = {prefix for prefix in prefixes if any(prefix + each in tensors for each in layer)} or prefixes
    if len(prefixes) > 1:
        raise UnsupportedModel(
            f"{where}: expected one encoder, found tensors of several, with the prefixes {', '.join(sorted(prefixes))}"
        )
    return prefixes.pop()


def _listed(tensors: Mapping[str, StoredTensor]) -> str:
    names = sorted(tensors)
    return f"{len(names)} tensors" + (f": {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else "")
