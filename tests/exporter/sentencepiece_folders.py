"""Folders with a SentencePiece model and no tokenizer.json, as old checkpoints have them: a program for tests.

    python sentencepiece_folders.py FOLDER

The package sentencepiece trains the models. Each of FAMILIES is compared with the
tokenizer that transformers builds, exported and proven. Standard output is JSON, by family.
"""

from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parent))

WORDS = (
    "the quick brown fox jumps over the lazy dog . how do i reset my password ? 1,000 and 25,000 don't it's ( a ) - £5 "
    "café naïve über straße élève Paris London Съешь ещё этих булок 中文字符和 日本語の 한국어 नमस्ते สวัสดี مرحبا"
)
_ALBERT = {
    "pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
    "user_defined_symbols": ["(", ")", '"', "-", ".", "–", "£", "€"],
}  # fmt: skip
_DEBERTA = {
    "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3,
    "pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]",
}  # fmt: skip
_MASK = {"content": "[MASK]", "lstrip": True, "normalized": False, "rstrip": False, "single_word": False}
#: Name -> model, file, settings of the training, tokenizer_config.json, special_tokens_map.json.
FAMILIES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "albert": ("albert", "spiece.model", _ALBERT, {"do_lower_case": True, "keep_accents": False},
               {"mask_token": _MASK, "pad_token": "<pad>"}),
    "albert, cased": ("albert.groups", "spiece.model", _ALBERT,
                      {"tokenizer_class": "AlbertTokenizer", "do_lower_case": False, "keep_accents": True}, {}),
    "deberta": ("deberta-v2.v3_small", "spm.model", _DEBERTA, {"do_lower_case": False, "vocab_type": "spm"}, {}),
    "deberta, added": ("deberta-v2.v3_small", "spm.model", _DEBERTA,
                       {"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": True}, {}),
    "xlm-roberta": ("xlm-roberta", "sentencepiece.bpe.model", {}, {"tokenizer_class": "XLMRobertaTokenizer"}, {}),
    "camembert": ("camembert", "sentencepiece.bpe.model", {}, {}, {}),
}  # fmt: skip


def trained(**settings: Any) -> bytes:
    """A SentencePiece model with the standard map of characters, nmt_nfkc."""
    import sentencepiece

    rng, model = random.Random(0), io.BytesIO()
    lines = iter([" ".join(rng.choices(WORDS.split(), k=rng.randint(3, 12))) for _ in range(1500)])
    settings = {"vocab_size": 260, "hard_vocab_limit": False, "character_coverage": 1.0, "minloglevel": 2, **settings}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines, model_writer=model, **settings)
    return model.getvalue()


def folder_of(target: Path, name: str, **settings: Any) -> Path:
    """A checkpoint; ``settings`` are further ones of the training."""
    import random_encoders
    import tiny_families
    from folders import edit
    from safetensors.numpy import load_file, save_file

    model, file, own, stated, special = FAMILIES[name]
    if model.startswith("deberta"):
        random_encoders.RandomModel(model).folder(target)
    else:
        tiny_families.folder_of(model, target)
    for each in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        (target / each).unlink(missing_ok=True)
    (target / file).write_bytes(trained(**own, **settings))
    (target / "tokenizer_config.json").write_text(json.dumps(stated))
    if special:
        (target / "special_tokens_map.json").write_text(json.dumps(special))
    if "added" in name:
        (target / "added_tokens.json").write_text(json.dumps({"[MASK]": size_of(target) - 1}))
    size = size_of(target)
    tensors = load_file(target / "model.safetensors")
    for key, value in tensors.items():
        if key.endswith("word_embeddings.weight"):
            tensors[key] = np.resize(value, (size, value.shape[1]))
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    edit(target / "config.json", vocab_size=size)
    return target


def size_of(folder: Path) -> int:
    """Number of tokens of transformers' tokenizer."""
    from transformers import AutoTokenizer

    return len(AutoTokenizer.from_pretrained(folder, local_files_only=True))


def differences(folder: Path, texts: list[str]) -> list[str]:
    """Texts with other ids or places than those of transformers' tokenizer."""
    import tensorflow as tf
    from rawbert.exporter import sources
    from rawbert.exporter.tokenizers.tokenizer import Tokenizer
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    graph = Tokenizer(sources.load(folder).tokenizer, 10**6)
    run = tf.function(lambda text: graph(text)[:4], input_signature=[tf.TensorSpec([None], tf.string)])
    ids, mask, starts, limits = (each.numpy() for each in run(tf.constant(texts)))
    wrong = []
    for at, text in enumerate(texts):
        wanted = reference(text, return_offsets_mapping=True)
        byte = np.cumsum([0, *(len(char.encode()) for char in text)])
        spans = [(int(byte[start]), int(byte[stop])) for start, stop in wanted["offset_mapping"][1:-1]]
        kept = mask[at].sum()
        found = list(zip(starts[at, 1 : kept - 1].tolist(), limits[at, 1 : kept - 1].tolist(), strict=True))
        if ids[at, :kept].tolist() != wanted["input_ids"] or found != spans:
            wrong.append(text)
    return wrong


def main() -> None:
    from exports import exported
    from rawbert.exporter import UnsupportedModel, sources
    from rawbert.exporter.proof import samples
    from strings import random_string

    scratch, rng = Path(sys.argv[1]), random.Random(1)
    texts = [text for text in samples.TEXTS if isinstance(text, str)]
    texts += ["1,000 and 25,000", "x[MASK]y [SEP] <mask> <s>", "a.b (c) - £5", " lead", "trail ", "``q'' 'r'"]
    texts += [random_string(rng, ("[MASK]", "<mask>")) for _ in range(3000)]
    report: dict[str, Any] = {}
    for at, name in enumerate(FAMILIES):
        folder = folder_of(scratch / f"folder{at}", name)
        bundle = exported(folder, scratch / f"export{at}", pair=True)
        report[name] = {
            "differences": differences(folder, texts),
            "tokenizer": bundle.manifest["tokenizer"]["kind"],
            "types": [piece["type"] for piece in bundle.manifest["tokenizer"]["template"]["pair"]],
            "notes": list(bundle.manifest["notes"]),
        }
    folder = folder_of(scratch / "bytes", "xlm-roberta", byte_fallback=True, add_dummy_prefix=False, vocab_size=500)
    report["bytes"] = {"differences": differences(folder, texts), "notes": list(sources.load(folder).notes)}
    for kind in ("bpe", "word", "char"):
        path = scratch / kind / "spm.model"
        path.parent.mkdir()
        path.write_bytes(trained(model_type=kind, **({"character_coverage": 1.0})))
        (path.parent / "config.json").write_text((folder / "config.json").read_text())
        try:
            sources.tokenizer_files.read_folder(path.parent, "deberta-v2")
            report[kind] = "read"
        except UnsupportedModel as error:
            report[kind] = str(error)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "tokenizer_config.json").unlink()
    try:
        sources.tokenizer_files.read_folder(folder, "bert")
        report["of no class"] = "read"
    except UnsupportedModel as error:
        report["of no class"] = str(error)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
