"""The models of the cases: tiny ones whose answers can be computed by hand.

``save_half_plus`` writes the model of TensorFlow Serving's own tests (its saved_model_half_plus_two.py) as a graph of
TensorFlow 1. It is quick to write and to load, so cases about versions use it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).parents[1]

#: Below assets.extra of a version folder.
WARMUP = Path("assets.extra", "tf_serving_warmup_requests")


def write(root: Path, bundle: Path | None = None) -> Path:
    """Write base paths and files of flags.

    The models are ``half`` (versions 1 and 2), ``text``, ``arithmetic`` (version 5), ``batchable``, ``echo``, and
    ``bundle``: rawbert's export of tests/data/tiny_bert, which is exported here if it is not given. In
    ``models.config`` the model half has the labels stable and canary.
    """
    sys.path[:0] = [str(_TESTS), str(_TESTS / "serving")]
    import toy_models

    for version in (1, 2):
        save_half_plus(root / "half" / str(version), version)
    toy_models.save_text_model(root / "text" / "1")
    # Nothing reads it, because servers of the text model have no warmup.
    (root / "text" / "1" / WARMUP).parent.mkdir()
    (root / "text" / "1" / WARMUP).write_bytes(b"no TFRecord file at all")
    toy_models.save_arithmetic_model(root / "arithmetic" / "5")
    save_batchable(root / "batchable" / "1")
    save_echo(root / "echo" / "1")
    shutil.copytree(bundle or _exported(root / "scratch"), root / "bundle" / "1")
    labels = 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'
    models = [
        config(root, "half", "all {}", labels),
        *(config(root, name) for name in ("text", "arithmetic", "batchable", "echo")),
    ]
    (root / "batched.config").write_text(f"model_config_list {{ {' '.join(models)} }}")
    models.append(config(root, "bundle"))
    (root / "models.config").write_text(f"model_config_list {{ {' '.join(models)} }}")
    (root / "monitoring").write_text("prometheus_config { enable: true }")
    (root / "batching").write_text("max_batch_size { value: 4 } batch_timeout_micros { value: 50000 }")
    return root


def _exported(scratch: Path) -> Path:
    from exports import exported

    data = _TESTS / "data"
    shutil.copytree(data / "tiny_bert", scratch / "composed")
    shutil.copytree(data / "tiny_pooling" / "mean_dense_normalize", scratch / "composed", dirs_exist_ok=True)
    path: Path = exported(scratch / "composed", scratch).path
    return path


def config(root: Path, name: str, policy: str = "", labels: str = "", base_path: str = "") -> str:
    """An entry of a model_config_list."""
    policy = f"model_version_policy {{ {policy} }} " if policy else ""
    return (
        f'config {{ name: "{name}" base_path: "{base_path or root / name}" model_platform: "tensorflow" '
        f"{policy}{labels} }}"
    )


#: Flags for quick cases: a failed load is not repeated for long, and polls are frequent.
QUICK = ["--max_num_load_retries=0", "--file_system_poll_wait_seconds=1"]


def plain_flags(root: Path) -> list[str]:
    """A server of all models, not batched."""
    return [
        *QUICK,
        f"--model_config_file={root}/models.config",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_grpc_healthcheck_service=true",
        "--enable_model_warmup=false",
        "--enable_per_model_batching_parameters=true",  # has no effect without --enable_batching
        "--grpc_max_threads=8",
        f"--monitoring_config_file={root}/monitoring",
        "--rest_api_timeout_in_ms=2000",
    ]


def batched_flags(root: Path) -> list[str]:
    """A server of all models except the bundle, batched, which writes tensor_content."""
    return [
        *QUICK,
        f"--model_config_file={root}/batched.config",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_model_warmup=false",
        "--enable_batching=true",
        f"--batching_parameters_file={root}/batching",
        "--enable_serialization_as_tensor_content=true",
        "--grpc_max_threads=32",
        f"--monitoring_config_file={root}/monitoring",
        "--rest_api_enable_cors_support=true",
    ]


def publish(source: Path, base: Path, name: str, change: Any = None) -> Path:
    """Put a version into a base path by one rename, as deployments must: a server never sees an incomplete version."""
    base.mkdir(parents=True, exist_ok=True)
    hidden = base / f".new{name}"
    shutil.copytree(source, hidden)
    if change:
        change(hidden)
    return hidden.rename(base / name)


def save_half_plus(folder: Path, plus: float = 2.0) -> None:
    """Write ``y = x / 2 + plus``: signatures serving_default, regress_x_to_y and classify_x_to_y.

    The last two take serialised Examples with a feature ``x``, like Regress and Classify.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        half, add = v1.Variable(0.5, use_resource=False), v1.Variable(float(plus), use_resource=False)
        examples = v1.placeholder(tf.string, [None], "tf_example")
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        x = tf.identity(parsed["x"], name="x")
        y = tf.add(half * x, add, name="y")
        session.run(v1.global_variables_initializer())
        _save(session, folder, {
            "serving_default": ({"x": x}, {"y": y}, "tensorflow/serving/predict"),
            "regress_x_to_y": ({"inputs": examples}, {"outputs": y}, "tensorflow/serving/regress"),
            "classify_x_to_y": ({"inputs": examples}, {"scores": y}, "tensorflow/serving/classify"),
        })  # fmt: skip


def save_batchable(folder: Path) -> None:
    """Write a model whose answers show how calls are batched; each signature takes ``x``, float32 ``[batch]``.

    ``rows``: the size of the batch, in each row. ``total``: a sum, which has no rows. ``first``: only the first row.
    ``inner``: takes and returns ``[batch, any]``. ``slow``: computes ``x[0]`` matrix products and returns ``[1]``.
    ``word``: takes strings, and returns the index of each in assets/vocab.txt, which is read when the model is loaded.
    ``same``: returns strings unchanged.
    """
    import tensorflow as tf

    vocabulary = folder.parent / "vocab.txt"
    vocabulary.parent.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text("zero\none\n")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        inner = v1.placeholder(tf.float32, [None, None], "inner")
        words = v1.placeholder(tf.string, [None], "words")
        count = tf.shape(x)[0]
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            -1,
        )
        start = tf.eye(64) * 0.5
        product = tf.while_loop(
            lambda at, _: at < x[0], lambda at, value: (at + 1, tf.linalg.matmul(value, value) + start), [0.0, start]
        )[1]
        outputs: dict[str, tuple[Any, Any]] = {
            "rows": (x, tf.fill([count], tf.cast(count, tf.float32))),
            "total": (x, tf.reduce_sum(x)),
            "first": (x, x[:1]),
            "inner": (inner, inner * 2),
            "slow": (x, product[:1, 0]),
            "word": (words, table.lookup(words)),
            "same": (words, tf.identity(words)),
        }
        _save(
            session,
            folder,
            {name: ({"x": x}, {"y": y}, "tensorflow/serving/predict") for name, (x, y) in outputs.items()},
            v1.tables_initializer(),
        )
    vocabulary.unlink()


#: Dtypes that JSON can represent.
ECHOED = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "string")
#: Dtypes that it cannot represent.
UNWRITABLE = {"float16": "half", "bfloat16": "bfloat16", "uint16": "uint16"}


def save_echo(folder: Path) -> None:
    """Write a model whose signatures return their input ``x``, which has any shape.

    There is one signature per dtype, with the output ``y``. ``bytes`` returns strings as ``y_bytes`` and ``y``.
    Signatures of dtypes that JSON cannot represent take float32.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    predict = "tensorflow/serving/predict"
    with tf.Graph().as_default(), v1.Session() as session:
        given = {name: v1.placeholder(tf.as_dtype(name), None, name) for name in ECHOED}
        signatures: dict[str, Any] = {
            name: ({"x": value}, {"y": tf.identity(value)}, predict) for name, value in given.items()
        }
        for name in UNWRITABLE:
            signatures[name] = ({"x": given["float32"]}, {"y": tf.cast(given["float32"], tf.as_dtype(name))}, predict)
        strings = given["string"]
        outputs = {"y_bytes": tf.identity(strings), "y": tf.identity(strings)}
        signatures["bytes"] = ({"x": strings}, outputs, predict)
        signatures["bytes_alone"] = ({"x": strings}, {"y_bytes": outputs["y_bytes"]}, predict)
        _save(session, folder, signatures)


def _save(session: Any, folder: Path, signatures: dict[str, Any], init_op: Any = None) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    info = v1.saved_model.build_tensor_info
    builder.add_meta_graph_and_variables(
        session,
        ["serve"],
        {
            name: v1.saved_model.build_signature_def(
                {key: info(value) for key, value in inputs.items()},
                {key: info(value) for key, value in outputs.items()},
                method,
            )
            for name, (inputs, outputs, method) in signatures.items()
        },
        assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
        main_op=init_op,
    )
    builder.save()
