"""The recipe of an export from the user's configuration and the checkpoint, with notes about surprises."""

from collections.abc import Sequence
from dataclasses import replace

from ..serving.contract import CLASSIFY, EMBED, POOLED, SCORE, SIGNATURE_NAMES, TAG
from ..serving.plurals import counted
from .errors import ConfigError, UnsupportedModel
from .recipe import SHORTEST_SEQUENCE, TOLERANCES, ExportConfig, Recipe, in_words
from .sources import keras_head
from .sources.checkpoint import Checkpoint, Head, PoolingRecipe
from .sources.keras_head import Stack
from .tokenizers.sentencepiece.spec import SentencePieceSpec

#: Signatures that need a head.
HEADS = (CLASSIFY.name, TAG.name, SCORE.name)


def resolve(config: ExportConfig, checkpoint: Checkpoint) -> tuple[Recipe, Checkpoint]:
    """The recipe, and the checkpoint with the pooling and the notes of the export.

    Raises:
        ConfigError: the checkpoint does not support the configuration.
    """
    checkpoint = replace(checkpoint, head=_head(config, checkpoint))
    length, pooling = _max_seq_length(config, checkpoint), _pooling(config, checkpoint)
    names = _signatures(config.signatures, checkpoint, pooling)
    pooling = pooling if EMBED.name in names else None
    head = checkpoint.head if checkpoint.head and checkpoint.head.signature in names else None
    if config.logits and head is None:
        raise ConfigError(
            f"--logits is for {', '.join(HEADS)}, but none of them is exported from {checkpoint.location}: leave it out"
        )
    pair = config.pair if config.pair is not None else head is not None and head.pair
    if pair:
        _require_types(checkpoint)
    side = config.truncation_side or checkpoint.tokenizer.truncation_side
    tolerance, min_cosine = config.allowed
    can_be_chosen = ("max_seq_length", "tokenizer", "truncation_side", "pooling", "normalize")
    recipe = Recipe(
        signatures=names,
        max_seq_length=length,
        tokenization=replace(
            config.tokenization_of(pair), tokenizer=config.tokenizer or checkpoint.own_tokenizer, truncation_side=side
        ),
        encoder=config.encoder_impl,
        precision=config.precision,
        pooling=pooling.modes if pooling else (),
        steps=pooling.described if pooling else (),
        chosen=tuple(name for name in can_be_chosen if getattr(config, name) is not None),
        tolerance=tolerance,
        min_cosine=min_cosine,
        target_serving=config.target_serving,
        logits=config.logits,
        labels=config.labels or (),
        activation=config.activation,
    )
    notes = (*checkpoint.notes, *_surprises(config, checkpoint, recipe))
    if head is not None:
        notes += head.notes if config.logits else (*head.notes, *head.activation_notes)
        head = replace(head, activation="identity") if config.logits else head
    return recipe, replace(checkpoint, pooling=pooling, head=head, notes=notes)


def _head(config: ExportConfig, checkpoint: Checkpoint) -> Head | None:
    """The checkpoint's head, with the user's labels and activation."""
    head = checkpoint.head
    if head is None:
        if config.labels or config.activation:
            raise ConfigError(
                f"labels and activation need a fine-tuned head, and {checkpoint.location} has none: leave them out"
            )
        return None
    if config.activation is not None:
        if checkpoint.kind != "keras" or head.activation != "identity" or head.problem is not None:
            raise ConfigError(
                f"activation is {config.activation}, but {checkpoint.location} states the activation itself; "
                "leave --activation out, or export its logits with --logits"
            )
        try:
            head = keras_head.head_of(Stack(head.takes, head.layers, None), config.activation, checkpoint.location)
        except UnsupportedModel as error:
            raise ConfigError(f"activation is {config.activation}, but {error}") from None
    if config.labels is None:
        return head
    if head.signature == SCORE.name or len(config.labels) != len(head.labels):
        count = "a score, and no label" if head.signature == SCORE.name else counted(len(head.labels), "label")
        raise ConfigError(
            f"give a name for each label: --labels has {counted(len(config.labels), 'name')}, and the head of "
            f"{checkpoint.location} has {count}"
        )
    return replace(head, labels=config.labels, notes=())


def _require_types(checkpoint: Checkpoint) -> None:
    """Refuse pairs if the model has no vectors for their token types."""
    types = checkpoint.encoder.type_vocab_size if checkpoint.encoder else 0
    most = max(piece.type for piece in checkpoint.tokenizer.template.pair)
    if types and most >= types:
        raise ConfigError(
            f"signatures cannot take pairs: the tokenizer of {checkpoint.location} gives the second text the token "
            f"type {most}, but type_vocab_size of its config.json is {types}; if the model was trained without types, "
            "set "
            'model_input_names to ["input_ids", "attention_mask"] in its tokenizer_config.json'
        )


def _max_seq_length(config: ExportConfig, checkpoint: Checkpoint) -> int:
    length, limit = config.max_seq_length, checkpoint.max_positions
    if length is None:
        if checkpoint.max_seq_length < SHORTEST_SEQUENCE:
            raise ConfigError(
                f"{checkpoint.location} limits texts to {checkpoint.max_seq_length} tokens, but at least "
                f"{SHORTEST_SEQUENCE} are needed; choose another limit with --max-seq-length"
            )
        return checkpoint.max_seq_length
    if limit is not None and length > limit:
        raise ConfigError(f"max_seq_length is {length}: give at most {limit}, the positions of {checkpoint.location}")
    return length


def _pooling(config: ExportConfig, checkpoint: Checkpoint) -> PoolingRecipe | None:
    """The recipe of ``embed``: the checkpoint's own, or the one of the configuration."""
    recipe = checkpoint.pooling if config.pooling is None else PoolingRecipe((config.pooling,))
    if config.normalize is None:
        return recipe
    if recipe is None:
        raise ConfigError("normalize needs a pooling recipe; choose one with --pooling")
    if any(step != "normalize" for step in recipe.steps):
        raise ConfigError("normalize cannot be changed in a recipe with dense layers; choose a --pooling of your own")
    return replace(recipe, steps=("normalize",) if config.normalize else ())


def _signatures(wanted: Sequence[str] | None, checkpoint: Checkpoint, pooling: PoolingRecipe | None) -> tuple[str, ...]:
    """Signatures to export, in the order of the contract."""
    absent = {name: _no_head(name, checkpoint) for name in HEADS}
    if checkpoint.head is not None:
        del absent[checkpoint.head.signature]
    if pooling is None:
        absent[EMBED.name] = "it has no pooling recipe; choose one with --pooling"
    if not checkpoint.has_pooler:
        absent[POOLED.name] = "it has no pooler weights"
    for name in wanted or ():
        if name in absent:
            raise ConfigError(f"the signature {name} cannot be exported from {checkpoint.location}: {absent[name]}")
    names = tuple(name for name in SIGNATURE_NAMES if name not in absent and (wanted is None or name in wanted))
    if checkpoint.unknown_head is not None and wanted is None:
        raise UnsupportedModel(
            f"{checkpoint.location}: a {checkpoint.unknown_head}, and heads of that task cannot be exported; "
            f"export only its encoder: --signatures {','.join(names)}"
        )
    return names


def _no_head(name: str, checkpoint: Checkpoint) -> str:
    """The reason why a checkpoint lacks the signature of a head."""
    if checkpoint.unknown_head is not None:
        return f"it is a {checkpoint.unknown_head}"
    head = checkpoint.head
    if head is None:
        return "it is not a fine-tuned ForSequenceClassification, ForTokenClassification or cross-encoder"
    if head.signature == SCORE.name:
        of = f"{'a regression' if head.problem == 'regression' else 'a head'} of one output"
    else:
        of = f"{'a tagger' if head.signature == TAG.name else 'a classifier'} of {len(head.labels)} labels"
    return f"its head is {of}: choose {head.signature}"


def _surprises(config: ExportConfig, checkpoint: Checkpoint, recipe: Recipe) -> list[str]:
    """Notes about results that the user may not expect of this checkpoint."""
    notes = []
    if recipe.pair and config.pair is None:
        notes.append("signatures take pairs, because the model is a cross-encoder; for single texts use --no-pair")
    if recipe.logits:
        notes.append("scores are logits, as requested")
    own = checkpoint.pooling
    if recipe.pooling and own is not None and (own.modes, own.described) != (recipe.pooling, recipe.steps):
        notes.append(
            f"embed uses {in_words(recipe.pooling, recipe.steps)}, as requested; the checkpoint's own recipe is "
            f"{in_words(own.modes, own.described)}: the vectors differ from those of sentence-transformers"
        )
    if recipe.max_seq_length > checkpoint.max_seq_length:
        notes.append(
            f"texts may have up to {recipe.max_seq_length} tokens, as requested; the checkpoint's own limit is "
            f"{checkpoint.max_seq_length}"
        )
    side = checkpoint.tokenizer.truncation_side
    if recipe.tokenization.truncation_side != side:
        notes.append(
            f"long texts are cut on the {recipe.tokenization.truncation_side}; the checkpoint cuts on the {side}"
        )
    if isinstance(checkpoint.tokenizer, SentencePieceSpec):
        notes.append(
            "tokens are those of the Hub's preprocessing model for ALBERT (tensorflow-text); transformers' "
            "AlbertTokenizer gives others for some characters"
        )
    elif recipe.tokenization.tokenizer != checkpoint.own_tokenizer:
        whose = {"tf-text": "those of tensorflow-text", "reference": "those of BERT's own tokenizer"}
        notes.append(
            f"tokens are {whose[recipe.tokenization.tokenizer]}, which differ from the checkpoint's own for some "
            "characters"
        )
    elif recipe.tokenization.tokenizer == "tf-text" and config.tokenizer is None:
        notes.append(
            "tokens are those of tensorflow-text (--tokenizer tf-text), because the model was trained with a Hub "
            "preprocessing layer; for those of BERT's own tokenizer use --tokenizer reference"
        )
    tolerance, min_cosine = TOLERANCES[config.precision]
    if recipe.tolerance > tolerance or recipe.min_cosine < min_cosine:
        notes.append(
            f"verified within {recipe.tolerance:g} and a cosine of {recipe.min_cosine:g}, as requested; the defaults "
            f"are {tolerance:g} and {min_cosine:g}"
        )
    return notes
