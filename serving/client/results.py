"""Result types of the client, for answers that are more than an array."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc

from ..wire.codec import Array


@dataclass(frozen=True)
class CallRecord:
    """One call to a server, for the ``on_call`` hook.

    Attributes:
        method: Predict, GetModelMetadata, GetModelStatus or HandleReloadConfigRequest.
        address: the server.
        model: the model.
        code: gRPC status code of the result.
        seconds: duration.
        rows: number of texts; 0 for a call without texts.
        attempt: 1 for the first attempt, then 2 and so on.
        request_bytes: size of the request.
        answer_bytes: size of the answer; 0 without an answer.
    """

    method: str
    address: str
    model: str
    code: grpc.StatusCode
    seconds: float
    rows: int
    attempt: int
    request_bytes: int
    answer_bytes: int


class Prediction(dict[str, Array]):
    """Outputs by name.

    Attributes:
        model_version: the model version that answered; ``None`` if the server does not report it.
    """

    def __init__(self, outputs: Mapping[str, Array], model_version: int | None = None) -> None:
        super().__init__(outputs)
        self.model_version = model_version


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one text, without padding.

    Attributes:
        ids: vocabulary ids, int32 ``[tokens]``, with ``[CLS]`` and ``[SEP]``.
        start_offsets: first byte of each token in the UTF-8 text, int32 ``[tokens]``; -1 at ``[CLS]``, ``[SEP]``.
        limit_offsets: byte after the last byte of each token, int32 ``[tokens]``; -1 likewise.
        token_count: number of tokens of the whole text; more than ``len(ids)`` if the text was cut.
        type_ids: int32 ``[tokens]``, 0 for the text and 1 for its pair; ``None`` for a model of single texts.
        model_version: the model version that answered; ``None`` if the server does not report it.
    """

    ids: Array
    start_offsets: Array
    limit_offsets: Array
    token_count: int
    type_ids: Array | None = None
    model_version: int | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def truncated(self) -> bool:
        """Whether the text was cut to the model's maximum length."""
        return self.token_count > len(self.ids)


@dataclass(frozen=True, eq=False)
class TokenSequence(Tokens):
    """The tokens of one text with their vectors.

    Attributes:
        vectors: float32 ``[tokens, hidden]``.
    """

    vectors: Array = field(kw_only=True)


@dataclass(frozen=True)
class Classification:
    """The labels of one text or pair, see :meth:`Client.classify`. ``dataclasses.asdict`` makes JSON of it.

    Attributes:
        label: the label with the highest score; the first of equal ones, in the order of the model's labels.
        score: its score.
        scores: scores by label, highest first: all labels, or those that ``top_k`` and ``threshold`` leave.
            Labels with the same name get the highest of their scores.
        model_version: the model version that answered; ``None`` if the server does not report it.
    """

    label: str
    score: float
    scores: dict[str, float]
    model_version: int | None = None


@dataclass(frozen=True)
class Entity:
    """A part of a text, with its label.

    Attributes:
        label: the tag without its ``B-`` or ``I-``; the whole tag with ``aggregation="none"``.
        text: its words, as they are in the text.
        start, end: ``given[start:end]`` is the entity in the given text: characters of a str, bytes of bytes.
        score: mean score of its tokens or words.
    """

    label: str
    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class TaggedText:
    """The entities of one text, see :meth:`Client.tag`. ``dataclasses.asdict`` makes JSON of it.

    Attributes:
        entities: entities in the order of the text.
        truncated: whether the model saw only the beginning of the text; give ``stride`` to cover all of it.
        model_version: the model version that answered; ``None`` if the server does not report it.
    """

    entities: tuple[Entity, ...]
    truncated: bool = False
    model_version: int | None = None


@dataclass(frozen=True)
class Ranked:
    """A document with its score, see :meth:`Client.rerank`. ``dataclasses.asdict`` makes JSON of it.

    Attributes:
        index: its index in the given documents.
        score: relevance to the query; higher is better.
        document: the document, as given.
        model_version: the model version that answered; ``None`` if the server does not report it.
    """

    index: int
    score: float
    document: str | bytes
    model_version: int | None = None
