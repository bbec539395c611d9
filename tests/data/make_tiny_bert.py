"""Write a tiny random BERT with its reference outputs, and small sentence-transformers heads for it.

Environment: sentence-transformers, transformers and PyTorch (CPU).

    python make_tiny_bert.py tests/data

writes

* ``tiny_bert/``: a complete Hugging Face checkpoint (3 layers, hidden size 32, 4 heads, 64 positions) with
  a vocabulary whose ids can be checked by hand;
* ``tiny_bert_golden.npz``: ``input_ids``, ``attention_mask``, ``token_type_ids``, int32 ``[6, 24]``, and
  for each variant of VARIANTS ``<variant>.last_hidden_state``, float64 ``[6, 24, 32]``, and
  ``<variant>.pooler_output``, float64 ``[6, 32]``: the same weights under another configuration;
* ``tiny_pooling/<head>/``: the files that sentence-transformers adds to a checkpoint folder (``modules.json``,
  ``1_Pooling`` and so on). Copied over ``tiny_bert/`` they form a loadable model;
* ``tiny_pooling_golden.json`` and ``.npz``: the texts with their input ids, and for each head its
  float32 embeddings ``[texts, dimension]``, each text encoded alone.

Formats, as written by sentence-transformers 6.2 (``Module.save_config`` and ``config_keys`` in its source):
``modules.json`` is a list of ``{"idx", "name", "path", "type"}``; the path of the Transformer is "".
``1_Pooling/config.json`` contains ``embedding_dimension``, ``pooling_mode`` (a string, or a list whose results
are concatenated in its order) and ``include_prompt``. Older releases wrote ``word_embedding_dimension`` and
one boolean per mode instead (``pooling_mode_cls_token``, ``pooling_mode_max_tokens``, ...), concatenated in
the order cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken.
``2_Dense/config.json`` names its activation by class (``torch.nn.modules.activation.Tanh``), and its weights
are ``linear.weight`` ``[out, in]`` and ``linear.bias`` ``[out]``.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *"0123456789",
    *".,!?'-()…",
    *("the", "cat", "dog", "sat", "on", "mat", "and", "hello", "world", "un", "want", "run"),
    *("##ed", "##ing", "##ning", "##able", "##ß", "##1", "##2"),
    *("中", "国", "σ", "##ς"),
]

POSITIONS = 64
VARIANTS = {
    "gelu": {},
    "gelu_new": {"hidden_act": "gelu_new"},
    "relu": {"hidden_act": "relu"},
    "gelu_eps1e-5": {"layer_norm_eps": 1e-5},
}

TEXTS = [
    "The cat sat on the mat.",
    "hello",
    "",
    "unwanted, unwantable running dogs!",
    "Café 中国 (12) …",
    "[MASK] and ß and 東京",
    "Hello world? The dog's mats - and the cats.",
    "the dog and " * 30,  # longer than POSITIONS
]


def random_model(config: BertConfig) -> BertModel:
    """A BERT in which every weight has an effect: no zero bias, no LayerNorm that is the identity."""
    model = BertModel(config)
    generator = torch.Generator().manual_seed(20)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "LayerNorm.weight" in name:
                weight.copy_(1 + 0.2 * noise)
            elif "embeddings.weight" in name:
                weight.copy_(0.03 * noise)  # as small as in real BERTs, so that layer_norm_eps shows
            elif name.endswith("bias"):
                weight.copy_(0.1 * noise)
            elif "query" in name or "key" in name:
                weight.copy_(2 * noise / weight.shape[1] ** 0.5)  # sharp attention: the context shows in [CLS]
            else:
                weight.copy_(noise / weight.shape[1] ** 0.5)
    return model.eval()


def save_checkpoint(folder: Path) -> None:
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
    )
    random_model(config).save_pretrained(folder)
    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    BertTokenizer(vocab=vocabulary, model_max_length=POSITIONS).save_pretrained(folder)
    # transformers 5 writes tokenizer.json only; older checkpoints, and TF Hub, have this file.
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCABULARY), encoding="utf-8")


def token_batch() -> dict[str, np.ndarray]:
    """Six padded sequences, int32 [6, 24]; the second half of some has type id 1."""
    rng = np.random.default_rng(21)
    special = {token: VOCABULARY.index(token) for token in ("[PAD]", "[CLS]", "[SEP]")}
    lengths = [24, 2, 9, 3, 17, 12]
    input_ids = np.full((len(lengths), max(lengths)), special["[PAD]"], np.int32)
    mask, types = np.zeros_like(input_ids), np.zeros_like(input_ids)
    for row, length in enumerate(lengths):
        body = rng.integers(5, len(VOCABULARY), length - 2)
        input_ids[row, :length] = [special["[CLS]"], *body, special["[SEP]"]]
        mask[row, :length] = 1
        if length > 8 and row % 2 == 0:
            middle = length // 2
            input_ids[row, middle] = special["[SEP]"]
            types[row, middle + 1 : length] = 1
    return {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": types}


def encoder_goldens(folder: Path) -> dict[str, np.ndarray]:
    """The outputs of each variant in float64, padded positions included as PyTorch gives them."""
    batch = token_batch()
    arrays = dict(batch)
    for variant, changes in VARIANTS.items():
        config = BertConfig.from_pretrained(folder, **changes)
        model = BertModel.from_pretrained(folder, config=config, attn_implementation="eager").double().eval()
        with torch.no_grad():
            output = model(**{name: torch.tensor(array).long() for name, array in batch.items()})
        arrays[f"{variant}.last_hidden_state"] = output.last_hidden_state.numpy()  # [6, 24, 32]
        arrays[f"{variant}.pooler_output"] = output.pooler_output.numpy()  # [6, 32]
    return arrays


def heads() -> dict[str, list[torch.nn.Module]]:
    torch.manual_seed(22)  # the weights of Dense
    result = {mode: [Pooling(32, mode)] for mode in Pooling.POOLING_MODES}
    result["cls_mean"] = [Pooling(32, ("cls", "mean"))]
    result["mean_dense_normalize"] = [
        Pooling(32, "mean"),
        Dense(32, 16, bias=True, activation_function=torch.nn.Tanh()),
        Normalize(),
    ]
    return result


def save_head(checkpoint: Path, modules: list[torch.nn.Module], output: Path) -> list[np.ndarray]:
    """Save the files that a head adds to a checkpoint folder; returns its embedding of each text."""
    with tempfile.TemporaryDirectory() as temporary:
        saved, composed = Path(temporary, "saved"), Path(temporary, "composed")
        transformer = Transformer(str(checkpoint))
        model = SentenceTransformer(modules=[transformer, *modules], device="cpu")
        model.save(str(saved), create_model_card=False)
        shutil.rmtree(output, ignore_errors=True)
        own = {path.name for path in checkpoint.iterdir()}
        shutil.copytree(saved, output, ignore=lambda folder, names: own & set(names) if folder == str(saved) else [])

        # The embeddings come from the files, not from the objects that wrote them.
        shutil.copytree(checkpoint, composed)
        shutil.copytree(output, composed, dirs_exist_ok=True)
        model = SentenceTransformer(str(composed), device="cpu")
        return [model.encode(text, batch_size=1, show_progress_bar=False) for text in TEXTS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="folder for tiny_bert, tiny_pooling and the reference outputs")
    args = parser.parse_args()

    torch.set_num_threads(1)
    checkpoint = args.output / "tiny_bert"
    save_checkpoint(checkpoint)
    np.savez_compressed(args.output / "tiny_bert_golden.npz", **encoder_goldens(checkpoint))

    embeddings = {}
    for name, modules in heads().items():
        rows = save_head(checkpoint, modules, args.output / "tiny_pooling" / name)
        embeddings[name] = np.stack(rows)  # [texts, dimension]
    np.savez_compressed(args.output / "tiny_pooling_golden.npz", **embeddings)
    tokenizer = BertTokenizer.from_pretrained(checkpoint)
    cases = [{"text": text, "input_ids": tokenizer(text, truncation=True)["input_ids"]} for text in TEXTS]
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    (args.output / "tiny_pooling_golden.json").write_text(f'{{"cases": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
