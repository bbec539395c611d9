"""Call a server with a third-party client, in that client's own environment: ``foreign.py CLIENT HOST:PORT``.

Standard input: the texts, as JSON. Standard output: the answers, as JSON.
"""

import json
import sys

import numpy as np


def ask_ovmsclient(address, texts):
    import ovmsclient

    client = ovmsclient.make_grpc_client(address)
    # The version is necessary: without one, this client requests version 0, which does not exist.
    status = client.get_model_status("half", 1)[1]
    metadata = client.get_model_metadata("half", 1)
    try:
        client.predict({"x": np.float32([[4]])}, "half", 9)
        refusal = ""
    except ovmsclient.ModelNotFoundError as error:
        refusal = str(error)
    return {
        "half": [client.predict({"x": np.float32([[4]])}, "half", version).tolist() for version in (1, 2)],
        "embeddings": client.predict({"text": texts}, "bundle", 1).tolist(),
        "state": status["state"],
        "metadata": [metadata["model_version"], metadata["inputs"]["x"]["dtype"], metadata["outputs"]["y"]["shape"]],
        "refusal": refusal,
    }


def ask_min_tfs_client(address, texts):
    import grpc
    from min_tfs_client.requests import TensorServingClient
    from min_tfs_client.tensors import tensor_proto_to_ndarray

    host, _, port = address.rpartition(":")
    client = TensorServingClient(host=host, port=int(port))

    def predict(model, inputs, output, version=None):
        answer = client.predict_request(model, inputs, timeout=30, model_version=version)
        return tensor_proto_to_ndarray(answer.outputs[output]).tolist()

    try:
        predict("half", {"x": np.float32([[4]])}, "y", 9)
        refusal = ""
    except grpc.RpcError as error:
        refusal = f"{error.code().name}: {error.details()}"
    return {
        "half": [predict("half", {"x": np.float32([[4]])}, "y", version) for version in (1, 2, None)],
        "embeddings": predict("bundle", {"text": np.array(texts, dtype=np.str_)}, "embedding"),
        "refusal": refusal,
    }


if __name__ == "__main__":
    ask = {"ovmsclient": ask_ovmsclient, "min-tfs-client": ask_min_tfs_client}[sys.argv[1]]
    json.dump(ask(sys.argv[2], json.load(sys.stdin)), sys.stdout)
