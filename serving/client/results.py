"""What the client answers with, where an array is not enough."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc

from ..wire.codec import Array


@dataclass(frozen=True)
class CallRecord:
    """One call to a server, as the ``on_call`` hook gets it.

    Attributes:
        method: Predict, GetModelMetadata, GetModelStatus or HandleReloadConfigRequest.
        address: the server.
        model: the model.
        code: how it ended.
        seconds: how long it took.
        rows: texts in it; 0 where it carries none.
        attempt: 1, or more where it was sent again.
        request_bytes: size of the request.
        answer_bytes: size of the answer; 0 where there was none.
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
        model_version: the version of the model that answered; ``None`` where the server does not say.
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
        limit_offsets: byte after its last, likewise.
        token_count: tokens that the whole text has; more than ``len(ids)`` where it was cut.
        type_ids: int32 ``[tokens]``, 0 for the text and 1 for its pair; ``None`` where the model takes no pairs.
        model_version: the version of the model that answered; ``None`` where the server does not say.
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
        scores: scores by label, highest first: of all labels, or of those that ``top_k`` and ``threshold`` leave.
            Labels of one name have the highest of their scores.
        model_version: the version of the model that answered; ``None`` where the server does not say.
    """

    label: str
    score: float
    scores: dict[str, float]
    model_version: int | None = None


@dataclass(frozen=True)
class Entity:
    """A part of a text, with its label.

    Attributes:
        label: what it is: the tag without its ``B-`` or ``I-``; the whole tag where nothing was aggregated.
        text: its words, as they are in the text.
        start, end: ``given[start:end]`` is the entity in the text as it was given: characters of a str, bytes of bytes.
        score: the mean score of its tokens, or words.
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
        entities: in the order of the text.
        truncated: whether the model saw only the beginning of the text; ``stride`` lets it see all.
        model_version: the version of the model that answered; ``None`` where the server does not say.
    """

    entities: tuple[Entity, ...]
    truncated: bool = False
    model_version: int | None = None


@dataclass(frozen=True)
class Ranked:
    """A document with its score, see :meth:`Client.rerank`. ``dataclasses.asdict`` makes JSON of it.

    Attributes:
        index: its place in the documents that were given.
        score: how well it answers the query; higher is better.
        document: the document, as it was given.
        model_version: the version of the model that answered; ``None`` where the server does not say.
    """

    index: int
    score: float
    document: str | bytes
    model_version: int | None = None
