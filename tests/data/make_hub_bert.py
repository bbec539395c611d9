"""Convert a Hugging Face BERT checkpoint to a TF Hub BERT, with the tool that wrote the encoders on TF Hub.

Environment: tf-models-official and safetensors.

    python make_hub_bert.py tests/data/tiny_bert tests/data/hub_bert --activation gelu_new
    python make_hub_bert.py MINILM_FOLDER hub_minilm --template tests/data/hub_minilm.tar.gz

The first command writes ``hub_bert/``. The second writes the full-size folder of all-MiniLM-L6-v2, and with
``--template`` also all of it except its weights, which ``hub_minilm.py`` fills in.

The result has the interface of the BERT encoders on TF Hub from version 3 on: it takes a dict of int32
``[batch, seq]`` tensors ``input_word_ids``, ``input_mask`` and ``input_type_ids``, and returns
``pooled_output`` and ``default`` ``[batch, hidden]``, ``sequence_output`` ``[batch, seq, hidden]`` and
``encoder_outputs``, a list of one ``[batch, seq, hidden]`` per layer.

The tool's own "gelu" is the tanh approximation, which Hugging Face calls "gelu_new"; its "gelu" is exact. The
default is the activation of ``config.json``. The epsilon of every LayerNorm is fixed at 1e-12 in the tool.
"""

import argparse
import io
import json
import re
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from official.legacy.bert import configs
from official.nlp.tools import export_tfhub_lib
from safetensors.numpy import load_file
from tensorflow.core.protobuf import trackable_object_graph_pb2

ACTIVATIONS = {
    "gelu": tf_keras.activations.gelu,
    "gelu_new": "gelu",
    "relu": "relu",
}

# TF Hub variable -> Hugging Face tensor. Dense kernels are transposed, then split into heads by a reshape.
EMBEDDINGS = {
    "word_embeddings/embeddings": "embeddings.word_embeddings.weight",
    "position_embedding/embeddings": "embeddings.position_embeddings.weight",
    "type_embeddings/embeddings": "embeddings.token_type_embeddings.weight",
    "embeddings/layer_norm": "embeddings.LayerNorm",
    "pooler_transform": "pooler.dense",
}
LAYER = {
    "self_attention/query": "attention.self.query",
    "self_attention/key": "attention.self.key",
    "self_attention/value": "attention.self.value",
    "self_attention/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}
PARAMETERS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def tensor_name(variable: str) -> str:
    """The Hugging Face tensor for a variable of the Hub encoder."""
    if variable in EMBEDDINGS:
        return EMBEDDINGS[variable]
    module, parameter = variable.rsplit("/", 1)
    if match := re.fullmatch(r"transformer/layer_(\d+)/(.+)", module):
        module = f"encoder.layer.{match[1]}.{LAYER[match[2]]}"
    else:
        module = EMBEDDINGS[module]
    return f"{module}.{PARAMETERS[parameter]}"


def export(checkpoint: Path, output: Path, activation: str | None) -> None:
    """Write the Hub folder of a Hugging Face checkpoint."""
    config = json.loads((checkpoint / "config.json").read_text())
    tokenizer = json.loads((checkpoint / "tokenizer_config.json").read_text())
    if config["layer_norm_eps"] != 1e-12:
        raise ValueError(f"the tool fixes layer_norm_eps at 1e-12, not {config['layer_norm_eps']}")
    bert_config = configs.BertConfig(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        intermediate_size=config["intermediate_size"],
        hidden_act=ACTIVATIONS[activation or config["hidden_act"]],
        max_position_embeddings=config["max_position_embeddings"],
        type_vocab_size=config["type_vocab_size"],
        embedding_size=None,
    )
    encoder = export_tfhub_lib.get_bert_encoder(bert_config)
    tensors = load_file(checkpoint / "model.safetensors")
    for variable in encoder.weights:
        name = variable.name.removesuffix(":0")
        tensor = tensors[tensor_name(name)]
        variable.assign((tensor.T if name.endswith("kernel") else tensor).reshape(variable.shape))
    with tempfile.TemporaryDirectory() as temporary:
        path = tf.train.Checkpoint(model=encoder, encoder=encoder).save(str(Path(temporary, "bert")))
        export_tfhub_lib.export_model(
            str(output),
            bert_config=bert_config,
            model_checkpoint_path=path,
            with_mlm=False,
            vocab_file=str(checkpoint / "vocab.txt"),
            do_lower_case=tokenizer.get("do_lower_case", True),
        )


def weight_recipe(folder: Path) -> tuple[list[dict], bytes]:
    """The contents of a Hub folder's checkpoint by key, in its order, and its object graph."""
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    graph_bytes = reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(graph_bytes)
    variables = {item.checkpoint_key: item.full_name for node in graph.nodes for item in node.attributes}
    recipe = []
    for key in variables:
        array = np.asarray(reader.get_tensor(key))
        entry = {"key": key, "variable": variables[key], "shape": array.shape, "dtype": array.dtype.name}
        if array.dtype == bool:  # do_lower_case
            entry["value"] = array.item()
        else:
            entry["tensor"] = tensor_name(variables[key])
            entry["transpose"] = variables[key].endswith("kernel")
        recipe.append(entry)
    return recipe, graph_bytes


def save_template(folder: Path, template: Path) -> None:
    """Pack a Hub folder without weights and vocabulary, which are in its Hugging Face checkpoint."""
    recipe, graph = weight_recipe(folder)
    lines = ",\n".join(json.dumps(entry) for entry in recipe)
    files = {name: (folder / name).read_bytes() for name in ("saved_model.pb", "keras_metadata.pb")}
    files |= {"checkpoint.json": f"[\n{lines}\n]\n".encode(), "object_graph.pb": graph}
    with tarfile.open(template, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="Hugging Face BERT folder with vocab.txt")
    parser.add_argument("output", type=Path, help="Hub folder to write")
    parser.add_argument("--activation", choices=ACTIVATIONS, help="default: that of config.json")
    parser.add_argument("--template", type=Path, help="also write this .tar.gz for hub_minilm.py")
    args = parser.parse_args()
    export(args.checkpoint, args.output, args.activation)
    if args.template:
        save_template(args.output, args.template)


if __name__ == "__main__":
    main()
