"""The Kubernetes manifests: kubectl builds them, and they are consistent with each other."""

from __future__ import annotations

import importlib.util
import json
import lzma
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
FLAGS = ROOT / "serving" / "data" / "tensorflow_model_server_2.21.0_flags.json"
OVERLAYS = ["overlays/cpu", "overlays/gpu"]
BUILT = [*OVERLAYS, "export"]

yaml = pytest.importorskip("yaml")


def built(folder: str) -> str:
    """The objects that kubectl would apply."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(KUBERNETES / folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The objects of an overlay by their kind."""
    found = [each for each in yaml.safe_load_all(built(request.param)) if each]
    by_kind = {each["kind"]: each for each in found}
    assert len(found) == len(by_kind) == 7
    return by_kind


def container(objects: dict[str, Any]) -> Any:
    (only,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return only


def flags(arguments: list[str]) -> dict[str, str]:
    """Flags by name, after a check that the release has them and that their values have the right types."""
    known = {flag["name"]: flag["type"] for flag in json.loads(FLAGS.read_text(encoding="utf-8"))["flags"]}
    types = {"bool": "true|false", "int32": r"-?\d+", "int64": r"-?\d+", "string": r".+", "float": r"[\d.]+"}
    found = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    assert len(found) == len(arguments)
    for name, value in found.items():
        assert re.fullmatch(types[known[name]], value), name
    return found


def test_flags_are_those_of_the_compose_stack(objects: dict[str, Any]) -> None:
    serving = container(objects)
    assert serving["image"].startswith("tensorflow/serving:2.21.0")
    command = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["cpu"]["command"]
    stack = flags([re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", flag) for flag in command])
    here = flags(serving["args"])
    arguments = here.pop("grpc_channel_arguments")
    assert arguments.startswith(stack.pop("grpc_channel_arguments") + ",")
    assert here.items() <= stack.items()
    assert stack.keys() - here.keys() <= {
        "tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism", "per_process_gpu_memory_fraction",
    }  # fmt: skip


def test_calls_are_over_before_the_server_gets_sigterm(objects: dict[str, Any]) -> None:
    pod, serving = objects["Deployment"]["spec"]["template"]["spec"], container(objects)
    *_, shell = serving["lifecycle"]["preStop"]["exec"]["command"]
    pause = int(re.fullmatch(r"touch /tmp/draining; sleep (\d+)", shell)[1])  # type: ignore[index]
    arguments = dict(each.split("=") for each in flags(serving["args"])["grpc_channel_arguments"].split(","))
    age = int(arguments["grpc.max_connection_age_ms"]) / 1000
    # gRPC makes it a tenth longer at most; a client that finds the old address once more is gone after the second time.
    assert 2 * 1.1 * age < pause
    assert pause + 20 <= pod["terminationGracePeriodSeconds"]
    assert pod["shareProcessNamespace"] is True
    assert objects["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in objects["Deployment"]["spec"]
    assert objects["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2


def test_names_lead_to_what_they_name(objects: dict[str, Any]) -> None:
    template, serving = objects["Deployment"]["spec"]["template"], container(objects)
    labels = template["metadata"]["labels"].items()
    for selector in (
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector
        assert selector.items() <= labels
    ports = {port["name"]: port["containerPort"] for port in serving["ports"]}
    given = flags(serving["args"])
    assert ports == {"grpc": int(given["port"]), "rest": int(given["rest_api_port"])}
    service = objects["Service"]["spec"]
    assert service["clusterIP"] == "None"
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == ports
    for rule in objects["NetworkPolicy"]["spec"]["ingress"]:
        assert {port["port"] for port in rule["ports"]} <= ports.keys()
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == given["rest_api_port"]
    mounted = {mount["name"]: mount["mountPath"] for mount in serving["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    assert mounted.keys() == volumes.keys()
    assert volumes["serving"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    files = {f"{mounted['serving']}/{name}": text for name, text in objects["ConfigMap"]["data"].items()}
    assert f'path: "{annotations["prometheus.io/path"]}"' in files[given["monitoring_config_file"]]
    for probe in ("startupProbe", "readinessProbe"):
        shell, file = serving[probe]["exec"]["command"]
        assert shell == "bash"
        assert files[file] == (ROOT / "deploy" / "serving" / "healthy.sh").read_text(encoding="utf-8")
    claim = volumes["models"]["persistentVolumeClaim"]["claimName"]
    assert claim == objects["PersistentVolumeClaim"]["metadata"]["name"]
    assert given["model_config_file"] == f"{mounted['models']}/models.config"
    scaled = objects["HorizontalPodAutoscaler"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == objects["Deployment"]["metadata"]["name"]
    adapter = yaml.safe_load((KUBERNETES / "metrics" / "prometheus-adapter.yaml").read_text(encoding="utf-8"))
    (rule,) = adapter["rules"]["custom"]
    assert [metric["pods"]["metric"]["name"] for metric in scaled["metrics"]] == [rule["name"]["as"]]
    recorded = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    assert rule["seriesQuery"].partition("{")[0] in recorded


def test_pods_are_contained(objects: dict[str, Any]) -> None:
    (job,) = [each for each in yaml.safe_load_all(built("export")) if each]
    for template in (objects["Deployment"]["spec"]["template"], job["spec"]["template"]):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        (only,) = pod["containers"]
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True,
        }  # fmt: skip
        assert {"requests", "limits"} <= only["resources"].keys()
    assert objects["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_the_gpu_overlay_asks_for_a_gpu() -> None:
    deployment = next(each for each in yaml.safe_load_all(built("overlays/gpu")) if each["kind"] == "Deployment")
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    assert only["image"] == "tensorflow/serving:2.21.0-gpu"
    assert only["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert deployment["spec"]["template"]["spec"]["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "--per_process_gpu_memory_fraction=0" in only["args"]


def test_the_export_job_s_arguments_are_those_of_the_command() -> None:
    from rawbert.exporter.cli.export import export

    (job,) = [each for each in yaml.safe_load_all(built("export")) if each]
    (only,) = job["spec"]["template"]["spec"]["containers"]
    command, *arguments = only["args"]
    assert command == "export"
    # click keeps the names of the option on the command.
    context = export.make_context("export", list(arguments), help_option_names=["-h", "--help"])
    assert str(context.params["output"]) == "/models/minilm"


def test_kserve_takes_its_example() -> None:
    """Check with the schema of KServe's own custom resource, and refuse unknown fields."""
    jsonschema = pytest.importorskip("jsonschema")
    with lzma.open(ROOT / "tests" / "data" / "kserve_inferenceservice.json.xz") as stream:
        schema = json.load(stream)
    _close(schema["properties"]["spec"])
    # Not jsonschema.validate(), which would first look through all of the schema.
    validator = jsonschema.Draft202012Validator(schema)
    text = (KUBERNETES / "kserve" / "inferenceservice.yaml").read_text(encoding="utf-8")
    example = yaml.safe_load(text)
    validator.validate(example)
    flags(example["spec"]["predictor"]["model"]["args"])
    with pytest.raises(jsonschema.ValidationError, match="storageURI"):
        validator.validate(yaml.safe_load(text.replace("storageUri", "storageURI")))


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for each in schema:
            _close(each)
    elif isinstance(schema, dict):
        if schema.get("x-kubernetes-int-or-string"):
            schema.pop("type", None)
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for each in schema.values():
            _close(each)


@pytest.mark.slow
def test_manifests_pass_the_schemas_of_kubernetes(tmp_path: Path) -> None:
    """The schemas are in the package kubernetes-validate; if it is missing, a separate environment gets it."""
    python = sys.executable
    if importlib.util.find_spec("kubernetes_validate") is None:
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
        python = str(tmp_path / "venv" / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "kubernetes-validate==1.37.0"]
        if subprocess.run(pip, check=False).returncode:
            pytest.skip("kubernetes-validate cannot be installed")

    def validate(text: str, version: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "manifests.yaml"
        file.write_text(text, encoding="utf-8")
        command = [python, "-m", "kubernetes_validate", "--kubernetes-version", version, "--strict", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for folder in BUILT:
        text = built(folder)
        for version in ("1.30", "1.37"):
            done = validate(text, version)
            assert done.returncode == 0, done.stdout + done.stderr
            assert (done.stdout + done.stderr).count(" passed ") == text.count("\nkind: ")
        assert validate(text.replace("securityContext", "securitycontext"), "1.37").returncode != 0
