"""The tokenizer of a folder, for :mod:`.reference`, from the same loaders that users call.

``tokenizers.Tokenizer.from_file`` reads a tokenizer.json, the tokenizer of the model's training; transformers builds
one from a vocab.txt and its settings. (transformers 5 also rebuilds BERT's tokenizer from a tokenizer.json, and drops
its normaliser, prefix and so on.)
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from .settings import Settings, read_json

_VOCABULARIES = ("vocab.txt", "sentencepiece.bpe.model", "spiece.model", "spm.model", "vocab.json", "merges.txt")
_FILES = ("config.json", *_VOCABULARIES, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def of_folder(settings: Settings) -> Any:
    """A fast transformers tokenizer.

    Raises:
        ValueError: the file has parts that its library does not know.
    """
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Lowercase, Sequence
    from transformers import PreTrainedTokenizerFast

    root = settings.root
    stated = read_json(root / "tokenizer_config.json")
    if (root / "tokenizer.json").is_file():
        text = (root / "tokenizer.json").read_bytes().decode("utf-8-sig")
        backend = Tokenizer.from_str(text)
        _require_known(json.loads(text), json.loads(backend.to_str()), root / "tokenizer.json")
        sides = [(part or {}).get("direction") for part in (backend.truncation, backend.padding)]
        if (stated.get("padding_side") or sides[1]) == "left":
            raise ValueError(f"{root / 'tokenizer.json'}: padding is on the left")
        side = stated.get("truncation_side") or sides[0] or "right"
    else:
        contents = {name: (root / name).read_bytes() for name in _FILES if (root / name).is_file()}
        original = "config.json" not in contents
        if original and "vocab.txt" in contents and "do_lower_case" not in stated:
            stated["do_lower_case"] = not _has_capitals(root / "vocab.txt")
        if "model_type" not in read_json(root / "config.json") and "vocab.txt" in contents:
            stated.setdefault("tokenizer_class", "BertTokenizer")
        tokenizer = _build(contents, stated)
        backend, side = tokenizer.backend_tokenizer, tokenizer.truncation_side
    normalizer = json.loads(backend.to_str())["normalizer"]
    if settings.lowercase and not lowercases(normalizer):
        backend.normalizer = Sequence([Lowercase(), *([backend.normalizer] if normalizer else [])])
    wrapped: Any = PreTrainedTokenizerFast(tokenizer_object=backend, truncation_side=side)  # type: ignore[no-untyped-call]
    wrapped.model_input_names = stated.get("model_input_names") or ["input_ids", "token_type_ids", "attention_mask"]
    return wrapped


def of_vocabulary(path: Path, lowercase: bool | None) -> Any:
    """BERT's tokenizer with a vocabulary; ``lowercase`` ``None``: the vocabulary decides about lower-casing."""
    lowercase = not _has_capitals(path) if lowercase is None else lowercase
    stated = {"do_lower_case": lowercase, "tokenizer_class": "BertTokenizer"}
    return _build({"vocab.txt": path.read_bytes()}, stated)


def lowercases(normalizer: Any) -> bool:
    """Whether a normaliser's state has a lower-casing step."""
    text = json.dumps(normalizer)
    return '"type": "Lowercase"' in text or '"lowercase": true' in text


def _build(contents: dict[str, bytes], stated: dict[str, Any]) -> Any:
    """The tokenizer that transformers builds from files, after removing byte-order marks."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        for name, content in {**contents, "tokenizer_config.json": json.dumps(stated).encode()}.items():
            (Path(folder) / name).write_bytes(content.removeprefix(b"\xef\xbb\xbf"))
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _has_capitals(path: Path) -> bool:
    """Whether a vocabulary is cased: at least one in twenty of the words with letters has capitals."""
    words = path.read_bytes().decode("utf-8-sig").split("\n")
    cased = [word for word in words if word.lower() != word.upper() and word.strip()[:1] not in ("[", "<")]
    return sum(word != word.lower() for word in cased) * 20 > len(cased)


def _require_known(written: Any, known: Any, path: Path) -> None:
    """Refuse keys of the file that its library dropped."""
    if isinstance(written, dict) and isinstance(known, dict):
        for key, value in written.items():
            if key not in known:
                raise ValueError(f"{path}: {key} is unknown")
            if key not in ("vocab", "special_tokens"):
                _require_known(value, known[key], path)
    elif isinstance(written, list) and isinstance(known, list) and len(written) == len(known):
        for one, other in zip(written, known, strict=True):
            _require_known(one, other, path)
