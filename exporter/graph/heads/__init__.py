"""Heads: what a signature makes of tokens and of the encoder's outputs, and the table of them.

A head answers one signature of :mod:`rawbert.serving.contract`. Where it computes, it has a twin in numpy in
:mod:`...proof.heads`, which shares nothing with it. A new signature is a declaration in the contract, a head in a file
here, a twin there, and a line in each table.
"""

from collections.abc import Callable, Mapping

from ....serving.contract import CLASSIFY, EMBED, POOLED, SCORE, SEQUENCE, TAG, TOKENIZE
from ...sources.checkpoint import Checkpoint
from . import classify, embedding, plain, score, tag
from .plain import Head

#: By name of the signature: makes the head that a checkpoint calls for.
HEADS: Mapping[str, Callable[[Checkpoint], Head]] = {
    CLASSIFY.name: classify.of,
    TAG.name: tag.of,
    SCORE.name: score.of,
    EMBED.name: embedding.of,
    POOLED.name: lambda checkpoint: plain.pooled,
    SEQUENCE.name: lambda checkpoint: plain.sequence,
    TOKENIZE.name: lambda checkpoint: plain.tokenize,
}
