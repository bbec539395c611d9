"""``rawbert tokenize``: the tokens of a text by the tokenizer of an export, for people.

Exit codes: 0 shown, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

from typing import Any

import click

from ...serving.cli.output import print_json, print_table
from ...serving.interrupts import held
from ..recipe import SHORTEST_SEQUENCE, ExportConfig
from .common import failing, json_option, tokenizer_options


@click.command(short_help="Show the tokens, ids and offsets that an export gives a text.")
@click.argument("text")
@click.argument("text_pair", required=False)
@click.option("--encoder", required=True, metavar="ENCODER", help="Folder or handle, as for rawbert export.")
@click.option("--revision", help="Branch, tag, commit or version of a hub's model.")
@click.option("--max-seq-length", type=click.IntRange(min=SHORTEST_SEQUENCE), metavar="N",
              help="Maximum tokens, special tokens included.  [default: the checkpoint's own]")  # fmt: skip
@tokenizer_options
@json_option
def tokenize(text: str, text_pair: str | None, encoder: str, as_json: bool, **settings: Any) -> None:
    """Show the tokens of TEXT, or of TEXT and TEXT_PAIR, as an export of ENCODER gives them.

    The table comes from the TensorFlow graph of an export. Offsets are bytes of the text: the first byte of a token,
    and the byte after its last.

    \b
    Examples:
      rawbert tokenize --encoder ./all-MiniLM-L6-v2 "naïve café, 50 ½"
      rawbert tokenize --encoder ./all-MiniLM-L6-v2 "a question" "its answer" --max-seq-length 6
    """
    with failing():
        config = ExportConfig(encoder, "models/model", pair=text_pair is not None, **settings)
        # Command line arguments that are not UTF-8 contain surrogates, which encode to the original bytes.
        texts = [each.encode(errors="surrogateescape") for each in (text, text_pair) if each is not None]
        result = _run(config, texts)
    if as_json:
        print_json(result)
    else:
        _show(result)


def _run(config: ExportConfig, texts: list[bytes]) -> dict[str, Any]:
    from .. import sources
    from ..resolve import resolve

    with sources.fetched(config.encoder, config.revision) as location:
        recipe, checkpoint = resolve(config, sources.load(location))

    with held():
        import tensorflow as tf

        from ..tokenizers.tokenizer import Tokenizer

    rules = checkpoint.tokenizer
    tokenizer = Tokenizer(rules, recipe.max_seq_length, recipe.tokenization)
    encoding = tokenizer(*(tf.constant([each]) for each in texts))
    columns = (encoding.input_word_ids, encoding.start_offsets, encoding.limit_offsets)
    ids, starts, limits = (column[0].numpy().tolist() for column in columns)
    types = encoding.input_type_ids[0].numpy().tolist() if encoding.input_type_ids is not None else [0] * len(ids)
    texts_of = rules.template.texts(starts) if recipe.pair else [0] * len(ids)
    names = {token.id: token.content for token in rules.added_tokens}
    names.update({at: token for at, token in enumerate(rules.vocab) if token is not None})
    tokens = []
    for token, kind, of, start, stop in zip(ids, types, texts_of, starts, limits, strict=True):
        text = texts[of][start:stop].decode(errors="replace") if start >= 0 else None
        row = {"id": token, "token": names.get(token, ""), "type": kind, "start": start, "limit": stop, "text": text}
        tokens.append(row)
    return {"tokens": tokens, "token_count": int(encoding.token_count[0]), "max_seq_length": recipe.max_seq_length}


def _show(result: dict[str, Any]) -> None:
    rows = []
    for at, token in enumerate(result["tokens"]):
        text, place = token["text"], ("", "", "")
        if text is not None:
            # Control characters and marks are escaped.
            place = str(token["start"]), str(token["limit"]), text if text.isprintable() else ascii(text)[1:-1]
        rows.append((str(at), str(token["id"]), token["token"], str(token["type"]), *place))
    shown, count = len(result["tokens"]), result["token_count"]
    cut = "" if shown == count else f", cut from {count}"
    title = f"{shown} tokens{cut}; the maximum is {result['max_seq_length']}"
    print_table(title, ("at", "id", "token", "type", "start", "limit", "text"), rows, ("token", "text"))
