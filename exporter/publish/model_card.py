"""``assets.extra/README.md``: the model card, with the manifest in words and example calls."""

import shutil
from pathlib import Path
from typing import Any

from ...serving.contract import CLASSIFY, DEFAULT_SIGNATURE, EMBED, SCORE, TAG, Kind, Output, input_names, signature
from ..recipe import Recipe, TokenizerOptions, in_words

FILE = Path("assets.extra", "README.md")

#: Licence files of a checkpoint, which are copied together with its weights.
_LICENSES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "NOTICE", "NOTICE.txt")

#: By the activation of a head.
_SCORES = {
    "softmax": "Scores are probabilities by softmax: they add up to 1",
    "sigmoid": "Scores are probabilities by sigmoid, each between 0 and 1",
    "identity": "Scores are the head's own values (logits, or those of a regression)",
}


def write(folder: Path, manifest: dict[str, Any], source: Path) -> None:
    """Write the card, and the source's licence files, next to the manifest of a version folder."""
    path = folder / FILE
    licenses = [name for name in _LICENSES if (source / name).is_file()]
    for name in licenses:
        shutil.copyfile(source / name, path.with_name(name))
    path.write_text(render(manifest, licenses), encoding="utf-8")


def render(manifest: dict[str, Any], licenses: list[str]) -> str:
    """The card's text, Markdown."""
    name, source, default = manifest["name"], manifest["source"], manifest[DEFAULT_SIGNATURE]
    batching, recipe = manifest["batching"], Recipe.from_json(manifest["recipe"])
    licence = source["license"]["name"] if source["license"] else "not stated by the source"
    if licenses:
        licence += f"; see {' and '.join(licenses)} next to this file"
    takes = " and ".join(f"`{each}`" for each in input_names(recipe.pair))
    outputs = [(each, output) for each in recipe.signatures for output in signature(each).outputs_for(recipe.pair)]
    counted = next((f"; `{output.name}` tells" for _, output in outputs if output.kind is Kind.COUNT), "")
    most, at_once = batching["max_batch_size"], batching["max_execution_batch_size"]
    runs = (
        f", which are run {at_once} at a time" if at_once < most else "; rawbert's client sends a longer list in parts"
    )
    parts = [
        f"# {name}\n",
        "A SavedModel that takes plain strings, made by `rawbert export` for TensorFlow Serving "
        f"{recipe.target_serving}. `rawbert.json` next to this file contains all of this, and more.\n",
        _table(
            ("", ""),
            [
                ("made", manifest["created"]),
                ("source", f"{source['kind']}: `{source['handle'] or source['location']}`"),
                ("licence of the source", licence),
                ("precision", recipe.precision),
                ("encoder", f"{recipe.encoder}, {manifest['encoder']['hidden_size']} hidden"),
                ("tools", ", ".join(f"{tool} {number}" for tool, number in manifest["tools"].items() if number)),
            ],
        ),
        f"## Signatures\n\nEvery signature takes {takes}, string `[batch]`. `{DEFAULT_SIGNATURE}` is `{default}`.\n",
        _table(
            ("signature", "output", "dtype", "shape", ""),
            [
                (f"`{each}`", f"`{output.name}`", output.dtype, f"`{_shape(output, manifest)}`", output.meaning)
                for each, output in outputs
            ],
        ),
        *([_head(manifest["head"])] if manifest["head"] else []),
        *([_run(manifest["run"])] if manifest["run"] else []),
        "## How to call it\n",
        "```python\nfrom rawbert.serving import Client\n\n"
        f'with Client("localhost:8500", model="{name}") as client:\n    {_call(default, recipe.pair)}\n```\n',
        "Over REST, with any client:\n",
        f'```sh\ncurl -d \'{{"signature_name": "{default}", "inputs": {_inputs(recipe.pair)}}}\' '
        f"localhost:8501/v1/models/{name}:predict\n```\n",
        "## Limits\n",
        f"- A text is cut at {recipe.max_seq_length} tokens, special ones included{counted}.\n"
        f"- With the batching parameters of this folder, a call has at most {most} texts{runs}.\n",
        "## Tokenizer\n",
        _tokenizer(manifest["tokenizer"], recipe.tokenization),
    ]
    if recipe.pooling:
        parts.append(f"`{EMBED.name}` pools its token vectors by: {in_words(recipe.pooling, recipe.steps)}.\n")
    parts += ["## Verification\n", verification(manifest["verification"])]
    if manifest["notes"]:
        parts += ["## Notes\n", "".join(f"- {note}\n" for note in manifest["notes"])]
    parts += [
        "## Source files\n",
        _table(("file", "bytes", "sha256"), [(f"`{f['path']}`", f["size"], f["sha256"]) for f in source["files"]]),
    ]
    return "\n".join(parts)


def verification(report: dict[str, Any]) -> str:
    """The comparison of the proof and its differences, for people."""
    head = (
        f"Loaded from disk by a fresh process and compared with {report['reference']}, alone and in batches: "
        f"{report['texts']} texts of {report['tokens']} tokens (at least {report['least_texts']} of "
        f"{report['least_tokens']}) in {report['calls']} calls. Tokens, offsets, counts and labels are equal, vectors "
        f"and the logits of scores within {report['tolerance']:g} · max(1, largest reference value), and vectors of a "
        f"cosine of at least {report['min_cosine']:g}.\n\n"
    )
    if exact := report["float32"]:
        head += (
            f"The same graph in float32 was proven first, within {exact['tolerance']:g} and a cosine of "
            f"{exact['min_cosine']:g}; the table contains the differences of the lower precision.\n\n"
        )
    rows = [
        (
            f"`{output}`",
            f"{each['max_abs']:.2e}",
            f"{each['largest_reference']:.3g}",
            "" if each["min_cosine"] is None else f"{each['min_cosine']:.7f}",
            f"`{each['worst_text']}`".replace("|", "\\|"),
        )
        for output, each in report["outputs"].items()
    ]
    columns = ("output", "largest difference", "largest reference value", "smallest cosine", "worst text")
    return head + (_table(columns, rows) if rows else "The model has no vectors.\n")


def _head(head: dict[str, Any]) -> str:
    """The kind of scores of a fine-tuned head, and its labels."""
    text = f"## {head['signature'].capitalize()}\n\n{_SCORES[head['activation']]}.\n"
    if head["signature"] == SCORE.name:
        return text
    shown = [label.replace("\n", " ").replace("|", "\\|") for label in head["labels"]]
    return f"{text}\n{_table(('', 'tag' if head['signature'] == TAG.name else 'label'), list(enumerate(shown)))}"


def _run(run: dict[str, Any]) -> str:
    """The fine-tuning of the model, and its metrics on the validation rows."""
    chosen = ("task", "seed", "learning_rate", "batch_size", "freeze_encoder", "class_weights", "layer_decay")
    settings = [(name, f"`{run['settings'].get(name)}`") for name in ("encoder", *chosen)]
    epochs = [("best epoch", f"{run['best_epoch']} of {run['epochs']}")]
    held = " (held back from the training file)" if run["data"].get("held_back") else ""
    data = [
        (of, f"`{Path(each['file']).name}`{held if of == 'validation' else ''}", each["rows"], each["sha256"])
        for of, each in run["data"].items()
        if isinstance(each, dict)
    ]
    figures = [(name, f"{value:.4f}") for name, value in run["metrics"].items() if isinstance(value, float)]
    return (
        f"## Fine-tuning\n\nBy `rawbert finetune`; `rawbert.json` has all settings and metrics.\n\n"
        f"{_table(('', ''), settings + epochs)}\n{_table(('rows', 'file', 'number', 'sha256'), data)}\n"
        f"{_table(('on the validation rows', ''), figures)}"
    )


def _shape(output: Output, manifest: dict[str, Any]) -> str:
    found = next(each[output.name] for each in manifest["signatures"].values() if output.name in each)
    named = (of if size < 0 else str(size) for of, size in zip(output.shape, found["shape"], strict=True))
    return f"[{', '.join(named)}]"


def _call(default: str, pair: bool) -> str:
    if default in (CLASSIFY.name, SCORE.name) and pair:
        pairs = '[("one", "other")]' if default == SCORE.name else '["one"], text_pair=["other"]'
        return f"answers = client.{default}({pairs})"
    if pair:
        return f'client.predict({_inputs(pair)}, signature_name="{default}")'
    vector = signature(default).vector
    answer = f"{vector.dtype} [{', '.join(('texts', *vector.shape[1:]))}]" if vector else "one per text"
    return f'answers = client.{default}(["plain strings go in"])  # {answer}'


def _inputs(pair: bool) -> str:
    texts = ("one", "other") if pair else ("plain strings go in",)
    return "{" + ", ".join(f'"{name}": ["{text}"]' for name, text in zip(input_names(pair), texts, strict=True)) + "}"


def _tokenizer(rules: dict[str, Any], chosen: TokenizerOptions) -> str:
    if rules["kind"] == "wordpiece":
        lines = _wordpiece(rules, chosen)
    elif rules["kind"] == "unigram":
        lines = _unigram(rules)
    elif rules["kind"] == "sentencepiece":
        case = "lower case, " if rules["lowercase"] else ""
        lines = [f"- tensorflow-text's SentencepieceTokenizer over {rules['vocab']}; {case}accents stripped."]
    else:
        lines = [f"- {rules['kind']} over {rules['vocab']}."]
    if chosen.plain_text_special_tokens:
        lines.append("- Special tokens in a text are ordinary text.")
    return "".join(f"{line}\n" for line in lines)


def _unigram(rules: dict[str, Any]) -> list[str]:
    steps = ", ".join(step["type"] for part in ("normalizer", "pre_tokenizer") for step in rules[part])
    unknown = "bytes" if rules["byte_fallback"] else "one unknown token in a word"
    return [
        f"- Unigram over {rules['vocab']}; {steps or 'no normalisation'}; characters without a piece become {unknown}."
    ]


def _wordpiece(rules: dict[str, Any], chosen: TokenizerOptions) -> list[str]:
    stripped = rules["lowercase"] if rules["strip_accents"] is None else rules["strip_accents"]
    if chosen.tokenizer == "tf-text":
        case = "lower case and accents stripped" if rules["lowercase"] else "case and accents are kept"
        return [f"- tensorflow-text's BertTokenizer over {rules['vocab']}; {case}."]
    return [
        f"- WordPiece over {rules['vocab']}; {'lower case' if rules['lowercase'] else 'case is kept'}; "
        f"accents {'stripped' if stripped else 'kept'}; "
        f"Chinese characters {'split' if rules['handle_chinese_chars'] else 'not split'}; control characters "
        f"{'dropped' if rules['clean_text'] else 'kept'}.",
        f"- A word of more than {rules['max_input_chars_per_word']} characters, or without pieces, becomes "
        f"`{rules['unk_token']}`.",
    ]


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)
