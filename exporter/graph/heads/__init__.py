"""Heads: from tokens and the encoder's outputs to the outputs of a signature, and the table of heads.

A head answers one signature of :mod:`rawbert.serving.contract`. A head with computations has a twin in numpy in
:mod:`...proof.heads`, which shares no code with it. A new signature needs a declaration in the contract, a head in a
file here, a twin there, and a line in each table.
"""

from collections.abc import Callable, Mapping

from ....serving.contract import CLASSIFY, EMBED, POOLED, SCORE, SEQUENCE, TAG, TOKENIZE
from ...sources.checkpoint import Checkpoint
from . import classify, embedding, plain, score, tag
from .plain import Head

#: Name of the signature -> function that builds the head of a checkpoint.
HEADS: Mapping[str, Callable[[Checkpoint], Head]] = {
    CLASSIFY.name: classify.of,
    TAG.name: tag.of,
    SCORE.name: score.of,
    EMBED.name: embedding.of,
    POOLED.name: lambda checkpoint: plain.pooled,
    SEQUENCE.name: lambda checkpoint: plain.sequence,
    TOKENIZE.name: lambda checkpoint: plain.tokenize,
}
