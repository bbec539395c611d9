"""The contract between an exported model and everything that talks to one, as data.

A :class:`Signature` declares its name and its outputs; an :class:`Output` its name, dtype, symbolic shape and
:class:`Kind`. Everything else iterates over :data:`SIGNATURES`: the graph's functions, the proof, the record of the
reference's answers, manifest, model card, ``rawbert inspect``, the client's decoding, and the tables in the
documentation. A new signature is a declaration here, a head in the exporter, and a method of the client.

Every signature takes :data:`TEXT`, string ``[batch]`` (UTF-8); a model for pairs takes :data:`TEXT_PAIR` too. Every
output has the batch as its dimension 0. Neither TensorFlow nor the exporter is imported here.
"""

import enum
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

#: Names of the inputs.
TEXT, TEXT_PAIR = "text", "text_pair"
#: Their shape.
INPUT_SHAPE = ("batch",)

#: The alias of the signature that a model is for.
DEFAULT_SIGNATURE = "serving_default"

#: Every SavedModel of TensorFlow 2 lists this entry among its signatures, and nobody can call it.
INIT_OP = "__saved_model_init_op"

#: Files of a version folder that the server reads: a BatchingParameters text proto, and a TFRecord of PredictionLogs.
BATCHING_FILE = "batching_params.pbtxt"
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
#: Records that it replays at most; it does not load a version with more.
MOST_WARMUP_RECORDS = 1000
#: The file by which a version of ours is known: what it was made from, and how it was proven.
MANIFEST_FILE = "assets.extra/rawbert.json"


class Kind(enum.Enum):
    """What an output contains, which decides how it is decoded and how it is proven."""

    #: One vector a text. Proven within a tolerance.
    VECTOR = "vector of a text"
    #: One vector a token, zero in padding. Proven within a tolerance.
    TOKEN_VECTOR = "vector of a token"
    #: Vocabulary ids; those in padding have no meaning. Proven to be equal.
    TOKEN_ID = "id of a token"
    #: 1 at tokens and 0 in padding. Proven to be equal.
    TOKEN_MASK = "mask of tokens"
    #: Which of the two texts a token belongs to; 0 in padding. Proven to be equal.
    TOKEN_TYPE = "text of a token"
    #: First byte of a token in the caller's own text; -1 at special tokens and in padding. Proven to be equal.
    START = "first byte of a token"
    #: The byte after its last; -1 likewise. Proven to be equal.
    LIMIT = "byte after a token"
    #: Characters of a token as the vocabulary spells it, ``##`` included; 0 at the unknown token and in padding; -1 at
    #: the others where the vocabulary has no prefix for parts of words. Proven to be equal.
    TOKEN_LENGTH = "length of a token in the vocabulary"
    #: A whole number a text. Proven to be equal.
    COUNT = "count of a text"
    #: One number a text. Its logit is proven within a tolerance.
    SCORE = "score of a text"
    #: One number a label, in the order of the labels. Their logits are proven within a tolerance.
    LABEL_SCORE = "score of a label"
    #: One number a tag of a token, in the order of the tags; 0 in padding. Proven as ``LABEL_SCORE``.
    TAG_SCORE = "score of a tag of a token"
    #: The names of the labels or tags, the same for every text. Proven to be equal.
    NAME = "name of a label"
    #: The name with the highest of the scores that are answered with it. Proven to be that.
    LABEL = "label of a text"
    #: Likewise of a token; empty at special tokens (where offsets are -1) and in padding.
    TAG = "tag of a token"

    @property
    def exact(self) -> bool:
        """Whether an answer has one right value, and is not merely close to one."""
        return not (self.is_vector or self.is_score)

    @property
    def is_vector(self) -> bool:
        """Whether it has a direction, of which a cosine says something."""
        return self in (Kind.VECTOR, Kind.TOKEN_VECTOR)

    @property
    def is_score(self) -> bool:
        """Whether it is a logit, or a probability made of logits."""
        return self in (Kind.SCORE, Kind.LABEL_SCORE, Kind.TAG_SCORE)

    @property
    def padding(self) -> int | bytes | None:
        """The value in padding; ``None`` where there is no padding, or where its value has no meaning."""
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
        name: its name in the SavedModel and in an answer.
        dtype: one of the names in :data:`DTYPES`.
        shape: symbolic dimensions: ``batch``, ``tokens`` (of the longest text of a batch), ``hidden``, ``dim``,
            ``labels``, ``tags``.
        kind: what it contains.
        meaning: a line for people.
        pairs_only: whether only models for pairs have it.
        attribute: its name in the client's result for one text, where that differs.
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
        """Whether a dimension other than the batch depends on the texts of a call."""
        return "tokens" in self.shape

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(self.shape)}]"


class Signature(NamedTuple):
    """A signature that an exported model may have.

    Attributes:
        name: its name.
        outputs: all of them; a model for single texts lacks those that are ``pairs_only``.
        meaning: a line for people.
    """

    name: str
    outputs: tuple[Output, ...]
    meaning: str

    def outputs_for(self, pair: bool) -> tuple[Output, ...]:
        """The outputs of a model for single texts, or for pairs."""
        return tuple(output for output in self.outputs if pair or not output.pairs_only)

    @property
    def vector(self) -> Output | None:
        """The output that holds one vector a text, if there is one."""
        return next((output for output in self.outputs if output.kind is Kind.VECTOR), None)


_TOKENS = ("batch", "tokens")

#: The outputs of ``tokenize``, which other signatures for tokens have as well.
TOKEN_OUTPUTS = (
    Output(
        "input_word_ids", "int32", _TOKENS, Kind.TOKEN_ID, "vocabulary ids, special tokens included", attribute="ids"
    ),
    Output("input_mask", "int32", _TOKENS, Kind.TOKEN_MASK, "1 at tokens, 0 in padding"),
    Output("start_offsets", "int32", _TOKENS, Kind.START, "first byte of a token in the caller's text"),
    Output("limit_offsets", "int32", _TOKENS, Kind.LIMIT, "byte after its last"),
    Output("token_count", "int32", ("batch",), Kind.COUNT, "tokens before truncation"),
    Output("input_type_ids", "int32", _TOKENS, Kind.TOKEN_TYPE, "1 in the pair, or 0", True, attribute="type_ids"),
)

CLASSIFY = Signature(
    "classify",
    (
        Output("scores", "float32", ("batch", "labels"), Kind.LABEL_SCORE, "a score a label, in the order of labels"),
        Output("label", "string", ("batch",), Kind.LABEL, "the label with the highest score"),
        Output("labels", "string", ("batch", "labels"), Kind.NAME, "the names of the labels, in every row"),
    ),
    "labels of a text or pair, with a score each",
)
TAG = Signature(
    "tag",
    (
        Output(
            "tag_scores",
            "float32",
            (*_TOKENS, "tags"),
            Kind.TAG_SCORE,
            "a score a tag, in the order of tags; 0 in padding",
        ),
        Output("tag", "string", _TOKENS, Kind.TAG, "the tag with the highest score; empty at special tokens"),
        Output("tags", "string", ("batch", "tags"), Kind.NAME, "the names of the tags, in every row"),
        Output("token_lengths", "int32", _TOKENS, Kind.TOKEN_LENGTH, "characters of a token in the vocabulary"),
        *TOKEN_OUTPUTS,
    ),
    "a tag a token, and the tokens",
)
SCORE = Signature(
    "score",
    (Output("score", "float32", ("batch",), Kind.SCORE, "the score"),),
    "one score a text or pair",
)
EMBED = Signature(
    "embed",
    (Output("embedding", "float32", ("batch", "dim"), Kind.VECTOR, "the checkpoint's own pooling recipe"),),
    "one embedding a text, by the checkpoint's own recipe",
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
            "one vector a token, zero in padding",
            attribute="vectors",
        ),
        *TOKEN_OUTPUTS,
    ),
    "one vector a token, and the tokens",
)
TOKENIZE = Signature("tokenize", TOKEN_OUTPUTS, "the tokens, without the encoder")

#: All signatures, in the order in which they are listed to people: what a model was trained for comes first.
#: ``serving_default`` is an alias of the first one that a model has, see :func:`default_of`.
SIGNATURES = (CLASSIFY, TAG, SCORE, EMBED, POOLED, SEQUENCE, TOKENIZE)
SIGNATURE_NAMES = tuple(each.name for each in SIGNATURES)
_BY_NAME = {each.name: each for each in SIGNATURES}


def signature(name: str) -> Signature:
    """The declaration of a signature.

    Raises:
        KeyError: there is none of that name; ``serving_default`` is an alias and has none.
    """
    return _BY_NAME[name]


def default_of(names: Collection[str]) -> str:
    """The signature, of those that a model has, that ``serving_default`` is an alias of: the first one listed."""
    return next(name for name in SIGNATURE_NAMES if name in names)


def declared_outputs(name: str, inputs: Mapping[str, Collection[str]]) -> tuple[Output, ...]:
    """What is declared of the outputs of a model's signature; nothing where its name or its inputs are not ours.

    Args:
        name: the signature; ``serving_default`` is looked up under the name that it is an alias of.
        inputs: the names of the inputs of every signature of the model.
    """
    if name == DEFAULT_SIGNATURE:
        name = next((each for each in SIGNATURE_NAMES if each in inputs), name)
    taken = set(inputs.get(name, ()))
    pair = TEXT_PAIR in taken
    return signature(name).outputs_for(pair) if name in _BY_NAME and taken == set(input_names(pair)) else ()


def input_names(pair: bool) -> tuple[str, ...]:
    """Names of the inputs of a model for single texts, or for pairs."""
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
        field: the field of a TensorProto that holds its values.
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
    """The version that TensorFlow Serving reads from the name of a folder in a base path; ``None`` for no version.

    An optional sign and digits, as ``strings::safe_strto64`` takes them (observed on TensorFlow Serving 2.20.0):
    ``3``, ``001``, ``+4`` and ``-1`` are versions, ``v1`` and ``1.0`` are not.
    """
    if not re.fullmatch(_VERSION, folder_name):
        return None
    number = int(folder_name)
    return number if number in _INT64 else None
