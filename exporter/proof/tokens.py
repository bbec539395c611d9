"""The independent reference for the tokens of an exported model, from transformers or tensorflow-text."""

import codecs
import json
from dataclasses import dataclass, field
from typing import Any

from ..recipe import DEFAULT_TOKENIZATION, TokenizerOptions
from .tokenizer_files import lowercases

#: Strategies that cut only one text of a pair, the first or the second.
_STRATEGIES = ("only_first", "only_second")


@dataclass(frozen=True)
class ReferenceTokens:
    """Tokens of one text or pair: int lists ``[tokens]``, special tokens included, and the count before truncation.

    ``types`` is 1 in the second text of a pair; offsets are bytes in the text of that type, or ``None`` if the
    reference has none. ``lengths`` are ``token_lengths`` of the contract.
    """

    ids: list[int]
    starts: list[int] | None
    limits: list[int] | None
    count: int
    types: list[int] = field(default_factory=list)
    lengths: list[int] | None = None

    @property
    def special(self) -> list[bool]:
        """Whether each token belongs to the template (``[CLS]``, ``[SEP]``); a ``[SEP]`` in a text does not."""
        if self.starts is not None:
            return [start < 0 for start in self.starts]
        # tensorflow-text: [CLS] is the first token, and [SEP] is the last token of each type.
        after = [*self.types[1:], None]
        return [at == 0 or each != other for at, (each, other) in enumerate(zip(self.types, after, strict=True))]


def reference_tokenizer(tokenizer: Any, max_seq_length: int, options: TokenizerOptions) -> Any:
    """The reference for the options, from a fast transformers tokenizer."""
    kind = TfTextReferenceTokenizer if options.tokenizer == "tf-text" else ReferenceTokenizer
    return kind(tokenizer, max_seq_length, options)


class ReferenceTokenizer:
    """The tokenizer of the user's own code; offsets in bytes.

    Args:
        tokenizer: a fast transformers tokenizer.
        max_seq_length: maximum length of texts.
        options: the user's options.
    """

    def __init__(self, tokenizer: Any, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION) -> None:
        self._tokenizer, self._unknown = tokenizer, _unknown(tokenizer)
        if options.truncation_side is not None:
            tokenizer.truncation_side = options.truncation_side
        self._always = {"padding": False, "split_special_tokens": options.plain_text_special_tokens}
        self._max_length = max_seq_length
        self._cut: dict[str, Any] = {"truncation": options.truncation_strategy, "max_length": max_seq_length}

    def __call__(self, *raw: str | bytes) -> ReferenceTokens:
        """Tokenize one text or pair.

        Each invalid UTF-8 sequence counts as one U+FFFD; offsets refer to the original bytes.
        """
        texts, byte_at = zip(*map(_decode, map(_bytes, raw)), strict=True)
        # As batches of one, because a single empty second text would count as no text.
        batch = [[text] for text in texts]
        whole = self._tokenizer(*batch, truncation=False, **self._always).encodings[0]
        try:
            cut = self._tokenizer(*batch, **self._cut, **self._always).encodings[0]
        # Exceptions of tokenizers have no specific class.
        except Exception as error:
            if "too short to respect" not in str(error):
                raise
            # The library refuses a pair whose text to cut is too short. A server cannot refuse one text of a batch, so
            # exports remove that text completely, and then cut the other one.
            which = _STRATEGIES.index(self._cut["truncation"])
            batch[which] = [""]
            cut = self._tokenizer(
                *batch, **{**self._cut, "truncation": _STRATEGIES[1 - which]}, **self._always
            ).encodings[0]
        starts, limits = [], []
        for of, (start, stop) in zip(cut.sequence_ids, cut.offsets, strict=True):
            starts.append(-1 if of is None else byte_at[of][start])
            limits.append(-1 if of is None else byte_at[of][stop])
        ids, types = list(cut.ids), list(cut.type_ids)
        if "token_type_ids" not in self._tokenizer.model_input_names:  # the model gets no types, and uses 0
            types = [0] * len(types)
        return ReferenceTokens(
            ids, starts, limits, len(whole.ids), types, _lengths(self._tokenizer, self._unknown, ids)
        )


class TfTextReferenceTokenizer:
    """tensorflow-text's own BertTokenizer and RoundRobinTrimmer, as in the Hub's preprocessing models.

    Its offsets refer to normalised text: they are used only if that equals the original text.
    """

    def __init__(self, tokenizer: Any, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION) -> None:
        import tensorflow as tf
        import tensorflow_text as tf_text

        self._tokenizer, backend = tokenizer, tokenizer.backend_tokenizer
        vocab, state = backend.get_vocab(), json.loads(backend.to_str())
        self._unknown = unknown = state["model"]["unk_token"]
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(list(vocab), [int(at) for at in vocab.values()], value_dtype=tf.int64),
            vocab[unknown],
        )
        self._lowercase = lowercases(state["normalizer"])
        self._bert = tf_text.BertTokenizer(table, lower_case=self._lowercase, unknown_token=unknown)
        self._cls, *_, self._sep = backend.encode("").ids
        self._max, self._strategy = max_seq_length, options.truncation_strategy
        self._from_left = (options.truncation_side or tokenizer.truncation_side) == "left"

    def __call__(self, *raw: str | bytes) -> ReferenceTokens:
        """Tokenize one text or pair."""
        texts = [_bytes(each) for each in raw]
        tokens = [self._tokens(text) for text in texts]
        kept = self._kept([len(each) for each in tokens])
        ids, spans, types = [self._cls], [(-1, -1)], [0]
        for which, (each, count) in enumerate(zip(tokens, kept, strict=True)):
            cut = each[len(each) - count :] if self._from_left else each[:count]
            ids += [*(token for token, _ in cut), self._sep]
            spans += [*(span for _, span in cut), (-1, -1)]
            types += [which] * (count + 1)
        count = sum(map(len, tokens)) + len(texts) + 1
        if not all(text.isascii() and text.decode().isprintable() for text in texts):
            return ReferenceTokens(ids, None, None, count, types, self._lengths(ids))
        starts, limits = ([span[at] for span in spans] for at in (0, 1))
        return ReferenceTokens(ids, starts, limits, count, types, self._lengths(ids))

    def _lengths(self, ids: list[int]) -> list[int]:
        return _lengths(self._tokenizer, self._unknown, ids)

    def _tokens(self, text: bytes) -> list[tuple[int, tuple[int, int]]]:
        ids, starts, limits = (each.merge_dims(1, 2)[0] for each in self._bert.tokenize_with_offsets([text]))
        spans = zip(starts.numpy().tolist(), limits.numpy().tolist(), strict=True)
        return list(zip(ids.numpy().tolist(), spans, strict=True))

    def _kept(self, lengths: list[int]) -> list[int]:
        import tensorflow as tf
        import tensorflow_text as tf_text

        room = self._max - len(lengths) - 1
        if len(lengths) == 1:
            return [min(lengths[0], room)]
        if self._strategy == "longest_first":
            trimmed = tf_text.RoundRobinTrimmer(room).trim([tf.ragged.constant([[0] * n], tf.int32) for n in lengths])
            return [int(each.row_lengths()[0]) for each in trimmed]
        return _left_of(lengths, room, self._strategy)


def _unknown(tokenizer: Any) -> str | None:
    """The unknown token; a Unigram model states only its id."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model["type"] != "Unigram":
        return model.get("unk_token")
    return None if model["unk_id"] is None else str(model["vocab"][model["unk_id"]][0])


def _lengths(tokenizer: Any, unknown: str | None, ids: list[int]) -> list[int]:
    """Token lengths as in transformers' token-classification pipeline: characters of the vocabulary's spelling.

    0 for the unknown token, whose length the pipeline does not use; -1 for all other tokens if it uses no lengths.
    """
    spelled = tokenizer.convert_ids_to_tokens(ids)
    model = tokenizer.backend_tokenizer.model
    takes = bool(getattr(model, "continuing_subword_prefix", None))
    return [0 if token == unknown else len(token) if takes else -1 for token in spelled]


def _left_of(lengths: list[int], room: int, strategy: str) -> list[int]:
    """Remaining tokens of each text of a pair if one text is cut first, and the other only if necessary."""
    at = _STRATEGIES.index(strategy)
    other = min(lengths[1 - at], room)
    one = min(lengths[at], room - other)
    return [one, other] if at == 0 else [other, one]


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _decode(raw: bytes) -> tuple[str, list[int]]:
    """``raw.decode("utf-8", "replace")``, with the first byte of each character, and the end of the last one."""
    bad = {}

    def replaced(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        bad[error.start] = error.end
        return "\ufffd", error.end

    codecs.register_error("rawbert.replace", replaced)
    text, byte_at = raw.decode("utf-8", "rawbert.replace"), [0]
    for char in text:
        byte_at.append(bad.get(byte_at[-1], byte_at[-1] + len(char.encode())))
    return text, byte_at
