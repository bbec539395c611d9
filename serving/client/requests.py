"""Arguments to rows, and outputs to results: everything about texts except the sending.

:mod:`rawbert.serving.contract` declares the outputs of each signature; nothing here repeats it. An answer that
differs from the contract raises a DecodeError.
"""

from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from .. import contract
from ..contract import TensorSpec
from ..errors import DecodeError, SignatureNotFound
from ..plurals import counted
from ..wire import codec
from ..wire.codec import Array
from ..wire.messages import ModelMetadata, Row
from .results import Tokens

T = TypeVar("T", bound=Tokens)
#: Marks the end of a stream of texts or pairs.
ENDED: Final = object()


def check_texts(texts: Any, name: str = "texts") -> None:
    """Check that ``texts`` is a collection of texts, before it is read.

    Raises:
        TypeError: a single text, or a table or dict, whose iteration would yield the column names.
    """
    kind = type(texts).__name__
    if isinstance(texts, (str, bytes, bytearray)):
        raise TypeError(f"{name} is a single {kind}; give a list of texts, such as [{texts[:20]!r}]")
    if isinstance(texts, Mapping):
        raise TypeError(f"{name} is a {kind}: its keys would be sent; give list({name}.values()) or list(...)")
    if hasattr(texts, "columns") and hasattr(texts, "shape"):
        raise TypeError(f"{name} is a {kind}: its column names would be sent; give one column of it")
    if not isinstance(texts, (Iterable, AsyncIterable)) and not hasattr(texts, "__getitem__"):
        raise TypeError(f"{name} is {'None' if texts is None else f'a {kind}'}; give a list of texts")


def encoded(text: Any, name: str, at: int) -> bytes:
    """One text as UTF-8; errors contain its index."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise TypeError(f"{name}[{at}] is a {type(text).__name__}; give a str or bytes")
    try:
        return codec.utf8(text)
    except ValueError as error:
        raise ValueError(f"{name}[{at}]: {error}") from error


def as_rows(texts: Iterable[str | bytes], text_pair: Iterable[str | bytes] | None = None) -> list[Row]:
    """Texts, or pairs of texts, as rows of a request.

    Raises:
        TypeError: ``texts`` is not a collection of texts, or one of them is neither str nor bytes.
        ValueError: a str contains a lone surrogate, which UTF-8 cannot encode; unequal numbers of texts and pairs.
    """
    check_texts(texts)
    if text_pair is None:
        return [(encoded(text, "texts", at),) for at, text in enumerate(texts)]
    check_texts(text_pair, "text_pair")
    return list(streamed(texts, text_pair))


def streamed(texts: Iterable[str | bytes], text_pair: Iterable[str | bytes] | None = None) -> Iterator[Row]:
    """:func:`as_rows` of a stream, read on demand."""
    columns = (texts,) if text_pair is None else (texts, text_pair)
    for at, row in enumerate(zip_longest(*columns, fillvalue=ENDED)):
        yield as_row(at, row)


def as_row(at: int, row: Sequence[Any]) -> Row:
    """The text, or the text and its pair, at an index of a stream; raises as :func:`as_rows` does."""
    for text, longer, shorter in zip(row, ("text_pair", "texts"), ("texts", "text_pair"), strict=False):
        if text is ENDED:
            raise ValueError(
                f"{longer} continues after the end of {shorter} ({counted(at, 'text')}): give one pair for each text"
            )
    return tuple(encoded(text, name, at) for text, name in zip(row, ("texts", "text_pair"), strict=False))


def vector_output(signature: str) -> str:
    """Name of the output with one vector per text."""
    vector = contract.signature(signature).vector
    assert vector is not None, signature
    return vector.name


def output(outputs: Mapping[str, Array], name: str, rows: int, rank: int, own: bool = False) -> Array:
    """The output ``name``, checked to have ``rows`` rows and ``rank`` dimensions; ``own``: make it writable."""
    if name not in outputs:
        found = ", ".join(sorted(outputs)) or "none"
        raise DecodeError(f"the answer has no output {name!r} (found: {found}); was the model exported by rawbert?")
    array = outputs[name]
    if array.ndim != rank or len(array) != rows:
        raise DecodeError(
            f"the output {name!r} has the shape {list(array.shape)} for {rows} texts; expected {rank} dimensions with "
            f"a row for each text"
        )
    return writable(array) if own else array


def python_numbers(inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """Inputs of Python numbers, whose dtype is still open, as arrays; without those that numpy cannot read."""
    found = {}
    for name, value in inputs.items():
        if not (hasattr(value, "dtype") or hasattr(value, "__array__")):
            try:
                array = np.asarray(value)
            except ValueError:
                continue
            if array.dtype.kind in "if":
                found[name] = array
    return found


def fitted(array: Array, spec: TensorSpec | None) -> Array:
    """Python numbers in the signature's dtype, if it can represent them.

    Otherwise float32 and int32, as with ``tf.make_tensor_proto``; int64 if int32 is too small.
    """
    wanted = [] if spec is None or spec.dtype not in _NUMERIC else [_NUMERIC[spec.dtype]]
    for dtype in [*wanted, "<f4" if array.dtype.kind == "f" else "<i4"]:
        with np.errstate(all="ignore"):
            made = array.astype(dtype)
        # float32 may round, but not to infinity; other dtypes must represent the numbers exactly.
        if np.array_equal(made, array) or (
            made.dtype.kind == array.dtype.kind == "f" and np.array_equal(np.isfinite(made), np.isfinite(array))
        ):
            return made
    return array


#: numpy's own number dtypes, by name.
_NUMERIC = {each.name: each.numpy for each in contract.DTYPES if each.numpy[0] == "<" and each.name != "bfloat16"}


def misfits(inputs: Mapping[str, npt.ArrayLike], specs: Mapping[str, TensorSpec]) -> list[str]:
    """The faults of the inputs of a refused call, by input name."""
    found = []
    for name, spec in specs.items():
        if name not in inputs:
            continue
        array = np.asarray(inputs[name])
        dtype = "string" if array.dtype.kind in "OSUT" else array.dtype.name
        shape = spec.shape
        fits = shape is None or (
            len(shape) == array.ndim
            and all(asked in (-1, size) for asked, size in zip(shape, array.shape, strict=True))
        )
        if dtype != spec.dtype or not fits:
            takes = "any rank" if shape is None else list(shape)
            found.append(f"{name!r} is {dtype} {list(array.shape)}; the signature takes {spec.dtype} {takes}")
    return found


def writable(array: Array) -> Array:
    """The array, or a copy if it shares memory with the answer."""
    return array if array.flags.writeable else array.copy()


def per_text(kind: type[T], signature: str, outputs: Mapping[str, Array], rows: int, version: int | None) -> list[T]:
    """One result per text: its part of each output of a signature, without padding.

    The fields of ``kind`` are the outputs of the signature; ``outputs`` contains those of all texts, by ``version``.
    """
    every = contract.signature(signature).outputs
    declared = [each for each in every if not each.pairs_only or each.name in outputs]
    arrays = {each.name: output(outputs, each.name, rows, len(each.shape)) for each in declared}
    tokens = {each.name: arrays[each.name] for each in declared if each.shape[1:2] == ("tokens",)}
    if len({array.shape[:2] for array in tokens.values()}) > 1:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in tokens.items())
        raise DecodeError(f"the token outputs have different shapes: {shapes}")
    (mask,) = (each for each in declared if each.kind is contract.Kind.TOKEN_MASK)
    lengths = arrays[mask.name].sum(axis=1)
    made = []
    for row, length in enumerate(lengths):
        values: dict[str, Any] = {
            each.attribute or each.name: arrays[each.name][row, :length].copy()
            if each.name in tokens
            else arrays[each.name][row].tolist()
            for each in declared
            if each is not mask
        }
        made.append(kind(**values, model_version=version))
    return made


def join_vectors(parts: Sequence[Array], name: str) -> Array:
    """Parts of an output, in order, as one new array; raises a DecodeError if two versions answered."""
    if len({part.shape[1:] for part in parts}) > 1:
        widths = sorted({part.shape[1] for part in parts})
        raise DecodeError(
            f"the output {name!r} came with {' and '.join(map(str, widths))} dimensions: the server changed to another "
            f"version of the model in between; ask again, or name a version"
        )
    return np.concatenate(parts)


def static_width(metadata: ModelMetadata, signature_name: str, name: str) -> int | None:
    """Size of the last dimension of a vector output; ``None`` if the signature leaves it open."""
    signature = metadata.signatures.get(signature_name)
    if signature is None:
        found = ", ".join(metadata.signatures) or "none"
        raise SignatureNotFound(f"the model {metadata.name!r} has no signature {signature_name!r}; choose from {found}")
    if name not in signature.outputs:
        found = ", ".join(signature.outputs) or "none"
        raise DecodeError(f"the signature {signature_name!r} has no output {name!r}; choose from {found}")
    shape = signature.outputs[name].shape
    return shape[-1] if shape is not None and len(shape) == 2 and shape[-1] >= 0 else None
