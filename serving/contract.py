"""The contract between an exported model and its callers, as data.

A :class:`Signature` declares its name and its outputs; an :class:`Output` its name, dtype, symbolic shape and
:class:`Kind`. All other code iterates over :data:`SIGNATURES`: the graph's functions, the proof, the record of the
reference's answers, manifest, model card, ``rawbert inspect``, the client's decoding, and the tables in the
documentation. A new signature needs a declaration here, a head in the exporter, and a method of the client.

Every signature takes :data:`TEXT`, string ``[batch]`` (UTF-8); a model of pairs also takes :data:`TEXT_PAIR`.
Dimension 0 of every output is the batch. This module imports neither TensorFlow nor the exporter.
"""

import enum
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

#: Names of the inputs.
TEXT, TEXT_PAIR = "text", "text_pair"
#: Shape of the inputs.
INPUT_SHAPE = ("batch",)

#: The alias of a model's main signature.
DEFAULT_SIGNATURE = "serving_default"

#: An entry among the signatures of every SavedModel of TensorFlow 2 that cannot be called.
INIT_OP = "__saved_model_init_op"

#: Files of a version folder that the server reads: a BatchingParameters text proto, and a TFRecord of PredictionLogs.
BATCHING_FILE = "batching_params.pbtxt"
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
#: Maximum number of warm-up records; the server does not load a version with more.
MOST_WARMUP_RECORDS = 1000
#: The file that marks a version as rawbert's: its recipe and its proof.
MANIFEST_FILE = "assets.extra/rawbert.json"


class Kind(enum.Enum):
    """The kind of an output's contents, which determines its decoding and its proof."""

    #: One vector per text. Proven within a tolerance.
    VECTOR = "vector of a text"
    #: One vector per token, zero in padding. Proven within a tolerance.
    TOKEN_VECTOR = "vector of a token"
    #: Vocabulary ids, arbitrary in padding. Proven to be equal.
    TOKEN_ID = "id of a token"
    #: 1 at tokens and 0 in padding. Proven to be equal.
    TOKEN_MASK = "mask of tokens"
    #: The text of a pair that a token belongs to, 0 or 1; 0 in padding. Proven to be equal.
    TOKEN_TYPE = "text of a token"
    #: First byte of a token in the caller's text; -1 at special tokens and in padding. Proven to be equal.
    START = "first byte of a token"
    #: The byte after the last byte of a token; -1 likewise. Proven to be equal.
    LIMIT = "byte after a token"
    #: Length in characters of a token's spelling in the vocabulary, ``##`` included; 0 at the unknown token and in
    #: padding; -1 at all other tokens if the vocabulary has no prefix for parts of words. Proven to be equal.
    TOKEN_LENGTH = "length of a token in the vocabulary"
    #: One whole number per text. Proven to be equal.
    COUNT = "count of a text"
    #: One number per text. Its logit is proven within a tolerance.
    SCORE = "score of a text"
    #: One number per label, in the order of the labels. The logits are proven within a tolerance.
    LABEL_SCORE = "score of a label"
    #: One number per tag of a token, in the order of the tags; 0 in padding. Proven as ``LABEL_SCORE``.
    TAG_SCORE = "score of a tag of a token"
    #: The names of the labels or tags, the same for every text. Proven to be equal.
    NAME = "name of a label"
    #: The name with the highest score in the same answer. Proven against those scores.
    LABEL = "label of a text"
    #: Likewise for a token; empty at special tokens (whose offsets are -1) and in padding.
    TAG = "tag of a token"

    @property
    def exact(self) -> bool:
        """Whether an answer must be equal to the reference, not only close to it."""
        return not (self.is_vector or self.is_score)

    @property
    def is_vector(self) -> bool:
        """Whether it is a vector, so that cosines are meaningful."""
        return self in (Kind.VECTOR, Kind.TOKEN_VECTOR)

    @property
    def is_score(self) -> bool:
        """Whether it is a logit, or a probability computed from logits."""
        return self in (Kind.SCORE, Kind.LABEL_SCORE, Kind.TAG_SCORE)

    @property
    def padding(self) -> int | bytes | None:
        """The value in padding; ``None`` without padding, or if the value is arbitrary."""
        return _PADDING.get(self)


_PADDING: dict[Kind, int | bytes] = {
    Kind.TOKEN_VECTOR: 0,
    Kind.TOKEN_MASK: 0,
    Kind.TOKEN_TYPE: 0,
    Kind.START: -1,
    Kind.LIMIT: -1,
    Kind.TOKEN_LENGTH: 0,
    Kind.TAG_SCORE: 0,
    Kind.TAG: b"",
}


class Output(NamedTuple):
    """An output of a signature.

    Attributes:
        name: name in the SavedModel and in an answer.
        dtype: one of the names in :data:`DTYPES`.
        shape: symbolic dimensions: ``batch``, ``tokens`` (of the longest text of a batch), ``hidden``, ``dim``,
            ``labels``, ``tags``.
        kind: kind of its contents.
        meaning: one line for people.
        pairs_only: whether only models of pairs have it.
        attribute: attribute of the client's result for one text, if its name differs.
    """

    name: str
    dtype: str
    shape: tuple[str, ...]
    kind: Kind
    meaning: str
    pairs_only: bool = False
    attribute: str = ""

    @property
    def varies(self) -> bool:
        """Whether a dimension besides the batch depends on the texts of a call."""
        return "tokens" in self.shape

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(self.shape)}]"


class Signature(NamedTuple):
    """A signature that an exported model may have.

    Attributes:
        name: name of the signature.
        outputs: all outputs; a model of single texts lacks those that are ``pairs_only``.
        meaning: one line for people.
    """

    name: str
    outputs: tuple[Output, ...]
    meaning: str

    def outputs_for(self, pair: bool) -> tuple[Output, ...]:
        """The outputs of a model of single texts, or of pairs."""
        return tuple(output for output in self.outputs if pair or not output.pairs_only)

    @property
    def vector(self) -> Output | None:
        """The output with one vector per text, if there is one."""
        return next((output for output in self.outputs if output.kind is Kind.VECTOR), None)


_TOKENS = ("batch", "tokens")

#: The outputs of ``tokenize``, shared by other token signatures.
TOKEN_OUTPUTS = (
    Output(
        "input_word_ids", "int32", _TOKENS, Kind.TOKEN_ID, "vocabulary ids, special tokens included", attribute="ids"
    ),
    Output("input_mask", "int32", _TOKENS, Kind.TOKEN_MASK, "1 at tokens, 0 in padding"),
    Output("start_offsets", "int32", _TOKENS, Kind.START, "first byte of a token in the caller's text"),
    Output("limit_offsets", "int32", _TOKENS, Kind.LIMIT, "byte after the last byte of a token"),
    Output("token_count", "int32", ("batch",), Kind.COUNT, "tokens before truncation"),
    Output(
        "input_type_ids", "int32", _TOKENS, Kind.TOKEN_TYPE, "1 in the second text, else 0", True, attribute="type_ids"
    ),
)

CLASSIFY = Signature(
    "classify",
    (
        Output("scores", "float32", ("batch", "labels"), Kind.LABEL_SCORE, "one score per label, in their order"),
        Output("label", "string", ("batch",), Kind.LABEL, "the label with the highest score"),
        Output("labels", "string", ("batch", "labels"), Kind.NAME, "the names of the labels, in every row"),
    ),
    "the labels of a text or pair, with their scores",
)
TAG = Signature(
    "tag",
    (
        Output(
            "tag_scores",
            "float32",
            (*_TOKENS, "tags"),
            Kind.TAG_SCORE,
            "one score per tag, in their order; 0 in padding",
        ),
        Output("tag", "string", _TOKENS, Kind.TAG, "the tag with the highest score; empty at special tokens"),
        Output("tags", "string", ("batch", "tags"), Kind.NAME, "the names of the tags, in every row"),
        Output("token_lengths", "int32", _TOKENS, Kind.TOKEN_LENGTH, "characters of a token in the vocabulary"),
        *TOKEN_OUTPUTS,
    ),
    "one tag per token, and the tokens",
)
SCORE = Signature(
    "score",
    (Output("score", "float32", ("batch",), Kind.SCORE, "the score"),),
    "one score per text or pair",
)
EMBED = Signature(
    "embed",
    (Output("embedding", "float32", ("batch", "dim"), Kind.VECTOR, "the checkpoint's own pooling recipe"),),
    "one embedding per text, by the checkpoint's own recipe",
)
POOLED = Signature(
    "pooled",
    (Output("pooled_output", "float32", ("batch", "hidden"), Kind.VECTOR, "the pooler's output"),),
    "the pooler's output: a dense layer with tanh over the first token",
)
SEQUENCE = Signature(
    "sequence",
    (
        Output(
            "sequence_output",
            "float32",
            (*_TOKENS, "hidden"),
            Kind.TOKEN_VECTOR,
            "one vector per token, zero in padding",
            attribute="vectors",
        ),
        *TOKEN_OUTPUTS,
    ),
    "one vector per token, and the tokens",
)
TOKENIZE = Signature("tokenize", TOKEN_OUTPUTS, "the tokens, without the encoder")

#: All signatures, in the order of listings: the task that a model was trained for comes first.
#: ``serving_default`` is an alias of a model's first signature in this order, see :func:`default_of`.
SIGNATURES = (CLASSIFY, TAG, SCORE, EMBED, POOLED, SEQUENCE, TOKENIZE)
SIGNATURE_NAMES = tuple(each.name for each in SIGNATURES)
_BY_NAME = {each.name: each for each in SIGNATURES}


def signature(name: str) -> Signature:
    """The declaration of a signature.

    Raises:
        KeyError: no signature has that name; the alias ``serving_default`` has no declaration.
    """
    return _BY_NAME[name]


def default_of(names: Collection[str]) -> str:
    """The signature that ``serving_default`` is an alias of: the model's first one in the order of the listing."""
    return next(name for name in SIGNATURE_NAMES if name in names)


def declared_outputs(name: str, inputs: Mapping[str, Collection[str]]) -> tuple[Output, ...]:
    """The declared outputs of a model's signature; empty if its name or its inputs are not in the contract.

    Args:
        name: the signature; ``serving_default`` is resolved to its signature.
        inputs: the names of the inputs of every signature of the model.
    """
    if name == DEFAULT_SIGNATURE:
        name = next((each for each in SIGNATURE_NAMES if each in inputs), name)
    taken = set(inputs.get(name, ()))
    pair = TEXT_PAIR in taken
    return signature(name).outputs_for(pair) if name in _BY_NAME and taken == set(input_names(pair)) else ()


def input_names(pair: bool) -> tuple[str, ...]:
    """Names of the inputs of a model of single texts, or of pairs."""
    return (TEXT, TEXT_PAIR) if pair else (TEXT,)


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature; ``shape`` is ``None`` for an unknown rank, -1 is a dimension of any size."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None


class DType(NamedTuple):
    """An element type of tensors.

    Attributes:
        number: of ``tensorflow.DataType`` (tensorflow/core/framework/types.proto).
        name: TensorFlow's and numpy's name.
        numpy: numpy's type string, little-endian; bfloat16, which numpy lacks, as the bits of a uint16.
        field: the field of a TensorProto for its values.
    """

    number: int
    name: str
    numpy: str
    field: str


DTYPES = (
    DType(1, "float32", "<f4", "float_val"),
    DType(2, "float64", "<f8", "double_val"),
    DType(3, "int32", "<i4", "int_val"),
    DType(4, "uint8", "<u1", "int_val"),
    DType(5, "int16", "<i2", "int_val"),
    DType(6, "int8", "<i1", "int_val"),
    DType(7, "string", "O", "string_val"),
    DType(8, "complex64", "<c8", "scomplex_val"),
    DType(9, "int64", "<i8", "int64_val"),
    DType(10, "bool", "?", "bool_val"),
    DType(14, "bfloat16", "<u2", "half_val"),
    DType(17, "uint16", "<u2", "int_val"),
    DType(18, "complex128", "<c16", "dcomplex_val"),
    DType(19, "float16", "<f2", "half_val"),
    DType(22, "uint32", "<u4", "uint32_val"),
    DType(23, "uint64", "<u8", "uint64_val"),
)
#: Name -> number.
DTYPE_NUMBERS = {each.name: each.number for each in DTYPES}

_VERSION = r"(?a)\s*[+-]?[0-9]+\s*"
_INT64 = range(-(2**63), 2**63)


def version_of(folder_name: str) -> int | None:
    """The version number that TensorFlow Serving reads from a folder's name in a base path; ``None`` if there is none.

    A number is an optional sign and digits, as ``strings::safe_strto64`` accepts them (observed on TensorFlow Serving
    2.20.0): ``3``, ``001``, ``+4`` and ``-1`` are versions, ``v1`` and ``1.0`` are not.
    """
    if not re.fullmatch(_VERSION, folder_name):
        return None
    number = int(folder_name)
    return number if number in _INT64 else None
