"""Write a Hugging Face BERT folder in every other format, each with the format's own official tool.

    python make_formats.py torch     CHECKPOINT OUTPUT    PyTorch, transformers
    python make_formats.py keras     CHECKPOINT OUTPUT    transformers 4.57 with TensorFlow and tf-keras
    python make_formats.py google    CHECKPOINT OUTPUT    the same, and PyTorch
    python make_formats.py tf-models CHECKPOINT OUTPUT    tf-models-official; after google, which it reads
    python make_formats.py hub-v1    CHECKPOINT OUTPUT    the same; after tf-models, which it reads

CHECKPOINT is a folder with config.json, model.safetensors and vocab.txt; OUTPUT gets one folder per format:

* torch: ``bin/`` (pytorch_model.bin by torch.save), ``bin-legacy/`` (its format before PyTorch 1.6), ``bin-shards/``
  and ``safetensors-shards/`` (transformers' save_pretrained with a small max_shard_size, the names prefixed by the
  ``bert.`` of a BertForMaskedLM), ``bf16/`` and ``fp16/`` (safetensors of half the size);
* keras: ``h5/`` (tf_model.h5 by TFAutoModel.save_pretrained);
* google: ``google/`` (bert_model.ckpt by the TF1 Saver, under the names of google-research/bert's modeling.py;
  transformers' own load_tf_weights_in_bert must read the same tensors from it, or the script fails);
* tf-models: ``tf-models/`` (tf2_bert_encoder_checkpoint_converter over ``google/``), with the activation of
  CHECKPOINT; bert_config.json says ``gelu_python`` for the exact GELU, because the tool's own "gelu" is the tanh
  approximation;
* hub-v1: ``hub-v1/`` (the deprecated official.legacy.bert.export_tfhub over ``tf-models/``, which wrote versions 1
  and 2 on TF Hub: list in, pair out).

``tiny_formats.tar.gz`` contains the output of these commands for ``tiny_bert/``.
"""

import argparse
import json
import os
import shutil
from collections import OrderedDict
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def beside(checkpoint: Path, folder: Path, *names: str) -> Path:
    """Make a folder with the named files of the checkpoint that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
    return folder


REST = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json")


def make_torch(checkpoint: Path, output: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertForMaskedLM, BertModel

    state = load_file(checkpoint / "model.safetensors")
    torch.save(state, beside(checkpoint, output / "bin", *REST) / "pytorch_model.bin")
    # Like checkpoints of that time: old names of the LayerNorms, an OrderedDict, a parameter, a view of shared storage.
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
           for name, value in state.items()}  # fmt: skip
    legacy = beside(checkpoint, output / "bin-legacy", *REST) / "pytorch_model.bin"
    name = "encoder.layer.0.intermediate.dense.weight"
    old[name] = old[name].T.contiguous().T
    torch.save(OrderedDict(old), legacy, _use_new_zipfile_serialization=False)
    config = BertConfig.from_pretrained(checkpoint)
    masked = BertForMaskedLM(config)
    masked.bert.load_state_dict(state, strict=False)
    limit = sum(value.nbytes for value in state.values()) // 2
    masked.save_pretrained(beside(checkpoint, output / "safetensors-shards", *REST), max_shard_size=limit)
    save_shards(torch, {f"bert.{name}": value for name, value in state.items()},
                beside(checkpoint, output / "bin-shards", *REST))  # fmt: skip
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        folder = beside(checkpoint, output / name, *REST)
        model = BertModel.from_pretrained(checkpoint).to(dtype)
        model.save_pretrained(folder)


def save_shards(torch, state, folder: Path) -> None:
    """The .bin shards of transformers 4, which transformers 5 no longer writes."""
    names = sorted(state)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for file, chosen in parts.items():
        torch.save({name: state[name] for name in chosen}, folder / file)
    weight_map = {name: file for file, chosen in parts.items() for name in chosen}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def make_keras(checkpoint: Path, output: Path) -> None:
    from transformers import TFAutoModel

    model = TFAutoModel.from_pretrained(checkpoint, from_pt=True)
    model.save_pretrained(beside(checkpoint, output / "h5", *REST))
    shutil.copyfile(checkpoint / "config.json", output / "h5" / "config.json")


def google_name(name: str) -> tuple[str, bool]:
    """The name in modeling.py of a Hugging Face tensor, and whether it is transposed there."""
    google = name.replace("layer.", "layer_").replace(".", "/").replace("LayerNorm/weight", "LayerNorm/gamma")
    google = google.replace("LayerNorm/bias", "LayerNorm/beta")
    if "embeddings/weight" in google:
        return f"bert/{google.removesuffix('/weight')}", False
    return f"bert/{google.replace('/weight', '/kernel')}", google.endswith("/weight")


def make_google(checkpoint: Path, output: Path) -> None:
    import tensorflow as tf
    import torch
    from safetensors.numpy import load_file
    from transformers import BertConfig, BertForPreTraining, load_tf_weights_in_bert

    tensors = load_file(checkpoint / "model.safetensors")
    folder = beside(checkpoint, output / "google", "vocab.txt")
    config = json.loads((checkpoint / "config.json").read_text())
    keys = ("attention_probs_dropout_prob", "hidden_act", "hidden_dropout_prob", "hidden_size", "initializer_range",
            "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers",
            "type_vocab_size", "vocab_size")  # fmt: skip
    (folder / "bert_config.json").write_text(json.dumps({key: config[key] for key in keys}, indent=2) + "\n")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in tensors.items():
            if value.dtype.kind == "f":
                google, transposed = google_name(name)
                tf.compat.v1.get_variable(google, initializer=value.T if transposed else value)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(
            session, str(folder / "bert_model.ckpt"), write_meta_graph=False, write_state=False
        )
    model = load_tf_weights_in_bert(
        BertForPreTraining(BertConfig.from_pretrained(checkpoint)), None, str(folder / "bert_model.ckpt")
    )
    state = model.bert.state_dict()
    for name, value in tensors.items():
        if value.dtype.kind == "f":
            assert torch.equal(state[name], torch.tensor(value)), name


def tf_models_config(folder: Path):
    """The tool's configuration: its own gelu is the tanh approximation, so the exact one is given as a function."""
    import tf_keras
    from official.legacy.bert import configs

    config = json.loads((folder / "bert_config.json").read_text())
    bert_config = configs.BertConfig.from_dict(config)
    bert_config.embedding_size = None
    if config["hidden_act"] in ("gelu", "gelu_python"):
        bert_config.hidden_act = lambda x: tf_keras.activations.gelu(x, approximate=False)
        config["hidden_act"] = "gelu_python"
    return bert_config, config


def make_tf_models(checkpoint: Path, output: Path) -> None:
    from official.nlp.tools import tf2_bert_encoder_checkpoint_converter

    folder = beside(checkpoint, output / "tf-models", "vocab.txt")
    bert_config, config = tf_models_config(output / "google")
    tf2_bert_encoder_checkpoint_converter.convert_checkpoint(
        bert_config,
        str(folder / "bert_model.ckpt"),
        str(output / "google" / "bert_model.ckpt"),
        checkpoint_model_name="encoder",
    )
    (folder / "bert_config.json").write_text(json.dumps(config, indent=2) + "\n")


def make_hub_v1(checkpoint: Path, output: Path) -> None:
    import tensorflow as tf
    from official.legacy.bert import export_tfhub

    source = output / "tf-models"
    bert_config, _ = tf_models_config(source)
    (index,) = source.glob("*.index")
    _, encoder = export_tfhub.create_bert_model(bert_config)
    tf.train.Checkpoint(encoder=encoder).read(str(index.with_suffix(""))).assert_existing_objects_matched()
    # The tool needs the encoder under both names, as tf-models' training saves it.
    both = tf.train.Checkpoint(model=encoder, encoder=encoder).save(str(output / "both" / "ckpt"))
    tokenizer = json.loads((checkpoint / "tokenizer_config.json").read_text())
    export_tfhub.export_bert_tfhub(
        bert_config, both, str(output / "hub-v1"), str(source / "vocab.txt"), tokenizer.get("do_lower_case", True)
    )
    shutil.rmtree(output / "both")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made = {"torch": make_torch, "keras": make_keras, "google": make_google,
            "tf-models": make_tf_models, "hub-v1": make_hub_v1}  # fmt: skip
    parser.add_argument("tool", choices=made)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    made[args.tool](args.checkpoint, args.output)


if __name__ == "__main__":
    main()
