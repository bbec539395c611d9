"""Tokenizer rules from the tokenizer files of a checkpoint.

A tokenizer.json is the tokenizer of the model's training: its own library reads it, and writes its complete state as
JSON. (transformers 5 rebuilds BERT's tokenizer from the file's vocabulary, and drops its normaliser, prefix and so on.)
From a vocab.txt and its settings, transformers builds a tokenizer. Settings of tokenizer_config.json in addition to a
tokenizer.json (lengths, sides, token types) are applied as in transformers.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .. import scratch
from ..errors import CorruptSource, UnsupportedModel, VocabularyError
from ..tokenizers.spec import TokenizerSpec
from . import bpe, keys, sentencepiece, unigram, vocabulary, wordpiece
from .jsonfile import read_object
from .tokenizer_parts import content, parts

#: GPT-2's vocabulary and merges, which transformers turns into a tokenizer if there is no tokenizer.json.
_GPT2 = ("vocab.json", "merges.txt")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    *sentencepiece.FILES,
    *_GPT2,
    "special_tokens_map.json",
    "added_tokens.json",
)
#: Model of a tokenizer.json -> reader of its rules.
_KINDS: Mapping[str, Any] = {"WordPiece": wordpiece, "Unigram": unigram, "BPE": bpe}
_PROCESSORS = ("TemplateProcessing", "BertProcessing", "RobertaProcessing")
#: Setting of tokenizer_config.json -> its name in a tokenizer.json.
_TWICE = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
    "clean_text": "clean_text",
    "wordpieces_prefix": "continuing_subword_prefix",
    "unk_token": "unk_token",
    "add_prefix_space": "add_prefix_space",
    "trim_offsets": "trim_offsets",
}


def read_folder(folder: Path, family: str | None = "bert") -> tuple[TokenizerSpec, int | None, list[str]]:
    """Rules of a folder with a tokenizer.json or a vocab.txt, its maximum length of texts, and notes.

    Args:
        folder: folder of the tokenizer's files.
        family: family of the encoder in config.json; ``None`` for Google's checkpoints, whose vocabulary decides
            about lower-casing if no setting does.

    Raises:
        CorruptSource: the tokenizer's files are missing or damaged.
        UnsupportedModel: another kind of tokenizer, or a setting that cannot be exported.
        VocabularyError: a required token (``[CLS]``, ``[SEP]``, ``[PAD]``, ``[UNK]``) is not in the vocabulary.
    """
    settings, notes = _settings(folder)
    path = folder / "tokenizer.json"
    if path.is_file():
        state = vocabulary.require_sound(path)
        backend = _from_file(path, state)
        _require_added(folder, settings, backend, path)
        spec = _parse(backend, settings, path)
        stated = {key: settings[key] for key in _TWICE if settings.get(key) is not None}
        if "unk_token" in stated:
            stated["unk_token"] = content(stated["unk_token"])
        own = {key: getattr(spec, _TWICE[key]) for key in stated if hasattr(spec, _TWICE[key])}
        others = [
            f"{key} ({own[key]!r}, not {value!r})" for key, value in stated.items() if value != own.get(key, value)
        ]
        if others:
            notes.append(
                f"tokenizer.json has precedence over tokenizer_config.json, which differs: {', '.join(others)}"
            )
    elif (folder / "vocab.txt").is_file():
        spec, more = _from_vocabulary(folder / "vocab.txt", settings, family)
        notes += more
    else:
        found = [[folder / name] for name in sentencepiece.FILES] + [[folder / name for name in _GPT2]]
        sets = [paths for paths in found if all(path.is_file() for path in paths)]
        if not sets:
            raise CorruptSource(f"{folder}: neither tokenizer.json nor vocab.txt found; expected the tokenizer's files")
        path = sets[0][0]
        model = sentencepiece.read_model(path) if path.name in sentencepiece.FILES else None
        tokenizer = _built({path: path.read_bytes() for path in sets[0]}, family or "bert")
        name, kind = type(tokenizer).__name__, type(tokenizer.backend_tokenizer.model).__name__
        if kind != ("BPE" if model is None else "Unigram"):
            raise UnsupportedModel(
                f"{path}: transformers builds a {kind} tokenizer ({name}) in this folder, which does not read the "
                'file; name its class in tokenizer_config.json, such as {"tokenizer_class": "XLMRobertaTokenizer"}'
            )
        if model is not None:
            notes += sentencepiece.notes(model, path, name)
        spec = _parse(tokenizer.backend_tokenizer, settings, path)
    if spec.lowercases and vocabulary.is_cased([word for word in spec.vocab if word]):
        notes.append("texts are lower-cased, but the vocabulary has words with capitals, which no text can match")
    limit = settings.get("model_max_length", settings.get("max_len"))
    if isinstance(limit, bool) or not isinstance(limit, int | float | None):
        raise CorruptSource(f"{folder / 'tokenizer_config.json'}: model_max_length is {limit!r}, not a number")
    # transformers' value for "no limit" is 1e30.
    return spec, int(limit) if limit is not None and limit < 1_000_000 else None, notes


def _parse(backend: Any, settings: Mapping[str, Any], path: Path) -> TokenizerSpec:
    """The rules of a tokenizer, read according to its model."""
    kind = type(backend.model).__name__
    if kind not in _KINDS:
        raise UnsupportedModel(f"{path}: the tokenizer's model is {kind}, not {' or '.join(_KINDS)}")
    spec: TokenizerSpec = _KINDS[kind].parse(backend, settings, path)
    return spec


def read_vocab_file(path: Path, lowercase: bool | None) -> tuple[TokenizerSpec, list[str]]:
    """Rules of a Hub encoder, and notes, from ``vocab_file`` and ``do_lower_case``; ``None``: by its words."""
    if not path.is_file():
        raise CorruptSource(f"{path}: the vocabulary file is missing")
    return _from_vocabulary(path, {} if lowercase is None else {"do_lower_case": lowercase}, None)


def _settings(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """tokenizer_config.json over special_tokens_map.json, checked against the table of keys, and notes for the user."""
    settings: dict[str, Any] = {}
    notes: list[str] = []
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            state = read_object(folder / name)
            if str(state.get("tokenizer_class", "")).startswith("BertJapanese"):
                raise UnsupportedModel(
                    f"{folder / name}: tokenizer_class is {state['tokenizer_class']!r}: it splits Japanese texts into "
                    "words with a dictionary (such as MeCab), which a graph cannot do; only BERT's own WordPiece can "
                    "be exported"
                )
            notes += keys.hold("tokenizer_config", state, folder / name)
            settings |= {key: value for key, value in state.items() if value is not None or key not in settings}
    for key in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        if not isinstance(settings.get(key), bool | None):
            raise CorruptSource(f"{folder / 'tokenizer_config.json'}: {key} is {settings[key]!r}, not true or false")
    return settings, notes


def _from_file(path: Path, state: dict[str, Any]) -> Any:
    """The ``tokenizers.Tokenizer`` of a tokenizer.json, after a check of every key."""
    from tokenizers import Tokenizer

    keys.hold("tokenizer", state, path)
    known = {name for kind in _KINDS.values() for name in kind.PARTS} | set(_PROCESSORS)
    for part in ("normalizer", "pre_tokenizer", "model", "post_processor"):
        for each in parts(state.get(part)):
            # A part of another kind has other keys; it is refused later because of its kind.
            if each.get("type", "WordPiece") in known:
                keys.hold(f"tokenizer {part}", each, path)
    for token in state.get("added_tokens") or []:
        keys.hold("tokenizer added_token", token, path)
    try:
        return Tokenizer.from_str(json.dumps(state))
    # The library raises nothing more specific, and its panics are not an Exception.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CorruptSource(f"{path}: not readable as a tokenizer: {error}") from error


def _require_added(folder: Path, settings: Mapping[str, Any], backend: Any, path: Path) -> None:
    """Refuse tokens that other files add to a tokenizer.json: transformers gives them new ids."""
    named: list[Any] = list((settings.get("added_tokens_decoder") or {}).values())
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = settings.get(key) or []
        named += more.values() if isinstance(more, dict) else more
    if (folder / "added_tokens.json").is_file():
        named += read_object(folder / "added_tokens.json")
    for token in map(content, named):
        if backend.token_to_id(token) is None:
            raise UnsupportedModel(
                f"{path}: the token {token!r} of the folder's settings is missing in it; save the tokenizer "
                "with transformers again"
            )


def _from_vocabulary(path: Path, settings: dict[str, Any], family: str | None) -> tuple[TokenizerSpec, list[str]]:
    """Rules of a vocab.txt, and notes for the user."""
    keys.hold("vocab_txt", settings, path.parent / "tokenizer_config.json")
    words, notes = vocabulary.read_lines(path)
    if not any(words):
        raise VocabularyError(f"{path}: the vocabulary has no [CLS], which BERT needs: it is empty")
    if family is None and settings.get("do_lower_case") is None:
        cased = vocabulary.is_cased(words)
        settings = {**settings, "do_lower_case": not cased}
        found, done = ("words", "are not") if cased else ("hardly a word", "are")
        notes.append(
            f"{path.name} has {found} with capitals, so texts {done} lower-cased (to change it, set do_lower_case in a "
            "tokenizer_config.json)"
        )
    case = {"do_lower_case": settings["do_lower_case"]} if "do_lower_case" in settings else {}
    tokenizer = _built({path: "".join(f"{word}\n" for word in words).encode()}, family or "bert", case)
    spec = wordpiece.parse(tokenizer.backend_tokenizer, settings, path)
    for role in ("cls_token", "sep_token", "pad_token"):
        if str(getattr(tokenizer, role)) not in words:
            raise VocabularyError(f"{path}: the vocabulary has no {getattr(tokenizer, role)}, which BERT needs")
    return spec, notes


def _built(contents: Mapping[Path, bytes], family: str, changes: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """The tokenizer that transformers builds in a temporary folder.

    Args:
        contents: the vocabulary's files; the settings are in the same folder.
        family: family of the encoder.
        changes: settings that replace those of tokenizer_config.json.
    """
    from transformers import AutoTokenizer

    path = next(iter(contents))

    with scratch.temporary() as folder:
        usual = {"tokenizer_class": "BertTokenizer"} if family == "bert" and path.name == "vocab.txt" else {}
        states = {"config.json": {"model_type": family}}
        # Not merged: transformers has its own rules for the precedence of these files.
        for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
            if (path.parent / name).is_file():
                states[name] = read_object(path.parent / name)
        states["tokenizer_config.json"] = {**usual, **states.get("tokenizer_config.json", {}), **changes}
        for name, state in states.items():
            (folder / name).write_text(json.dumps(state), encoding="utf-8")
        for each, content in contents.items():
            (folder / each.name).write_bytes(content)
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        # Parsers of several libraries read the user's files; all their exceptions mean the same.
        except Exception as error:
            save = "" if path.name == "vocab.txt" else "; save the tokenizer with transformers, with a tokenizer.json"
            raise CorruptSource(f"{path}: transformers cannot load the tokenizer: {error}{save}") from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise UnsupportedModel(
            f"{path}: {type(tokenizer).__name__} is not a fast tokenizer, so its rules cannot be read"
        )
    return tokenizer


#: Maximum number of padding rows of a table, to a multiple of a power of two.
_MOST_UNUSED = 1024


def fit(spec: TokenizerSpec, rows: int, where: Path) -> tuple[TokenizerSpec, list[str]]:
    """Check the vocabulary against the rows of the embedding table; returns the rules, and notes for the user.

    transformers appends special tokens that a vocabulary lacks (such as ``[MASK]``), for which the table has no row:
    they are dropped. Rows without a token are harmless.

    Raises:
        VocabularyError: the sizes differ by more, so that ids would mean other words than in training.
    """
    if spec.size > rows >= len(spec.vocab):
        spec = replace(spec, added_tokens=tuple(token for token in spec.added_tokens if token.id < rows))
    if not rows - _MOST_UNUSED < spec.size <= rows:
        raise VocabularyError(
            f"{where}: the vocabulary has {spec.size} tokens, but the embedding table has {rows} rows; "
            "the tokenizer's files and the weights are not of the same model"
        )
    if spec.size == rows:
        return spec, []
    return spec, [
        f"the embedding table has {rows} rows, but the vocabulary {spec.size} tokens: the other rows are not used"
    ]
