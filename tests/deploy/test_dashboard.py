"""Grafana's dashboard: its form, and that each panel has data when Prometheus scrapes the embedded server.

Grafana itself does not run, because no package registry of the tests has it.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rawbert.serving import Client, ServingError
from scraped import ROOT, Prometheus, free_port, queries

GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "rawbert.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


def row_of(panel: dict[str, Any]) -> str:
    """The heading above a panel."""
    above = [
        each for each in DASHBOARD["panels"] if each["type"] == "row" and each["gridPos"]["y"] < panel["gridPos"]["y"]
    ]
    title: str = max(above, key=lambda each: each["gridPos"]["y"])["title"]
    return title


def test_panels_are_complete_and_do_not_overlap() -> None:
    yaml = pytest.importorskip("yaml")
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    source = {key: provisioned["datasources"][0][key] for key in ("type", "uid")}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = set()
    for panel in PANELS:
        assert panel["datasource"] == source, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"], panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == source
            assert target["expr"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & places, panel["title"]
        places |= cells
    (variable,) = DASHBOARD["templating"]["list"]
    assert variable["name"] == "model"
    assert variable["datasource"] == source


def test_the_dashboard_is_found_where_compose_mounts_it() -> None:
    yaml = pytest.importorskip("yaml")
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["grafana"]
    mounted = dict(volume.split(":")[:2][::-1] for volume in grafana["volumes"])
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/rawbert.yml").read_text(encoding="utf-8"))
    folder = provider["providers"][0]["options"]["path"]
    assert (ROOT / mounted[folder] / "rawbert.json").is_file()
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/rawbert.json"


def compose_flags(models: Path, grpc: int, rest: int) -> list[str]:
    """The flags of docker-compose.yml, with files and ports of this machine."""
    import yaml

    command = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["cpu"]["command"]
    flags = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", flag) for flag in command]
    places = {"=/models/": f"={models}/", "=/rawbert/": f"={ROOT}/deploy/serving/"}
    for old, new in places.items():
        flags = [flag.replace(old, new) for flag in flags]
    return [f"--port={grpc}" if flag == "--port=8500" else f"--rest_api_port={rest}" if flag == "--rest_api_port=8501"
            else flag for flag in flags]  # fmt: skip


@pytest.fixture(scope="module")
def prometheus(tiny_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus that scrapes `rawbert serve` and `rawbert gateway` while they are called."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    grpc, rest, http = free_port(), free_port(), free_port()
    model = "tiny"
    (folder / "models.config").write_text(
        f'model_config_list {{ config {{ name: "{model}" base_path: "{tiny_bundle.base_path}" '
        'model_platform: "tensorflow" } }'
    )
    commands = [
        [*RAWBERT, "serve", *compose_flags(folder, grpc, rest)],
        [*RAWBERT, "gateway", "--address", f"127.0.0.1:{grpc}", "--model", model, "--port", str(http)],
    ]
    stop = threading.Event()

    def call() -> None:
        with Client(f"127.0.0.1:{grpc}", model=model, timeout=60) as client:
            while not stop.is_set():
                client.embed(["a text", "and another"])
                with pytest.raises(ServingError):
                    client.predict({"text": ["a"]}, signature_name="absent")

    def post() -> None:
        bodies = {
            f"{rest}/v1/models/{model}:predict": {"signature_name": "embed", "inputs": {"text": ["over REST"]}},
            f"{http}/v1/embeddings": {"model": model, "input": ["over OpenAI's API"]},
        }
        while not stop.is_set():
            for path, body in bodies.items():
                request = urllib.request.Request(
                    f"http://127.0.0.1:{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
                )
                with urllib.request.urlopen(request, timeout=60) as answer:
                    assert answer.status == 200
            time.sleep(0.05)

    with ExitStack() as stack:
        for command, path in zip(commands, (f"{rest}/v1/models/{model}", f"{http}/health"), strict=True):
            process = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            until_it_answers(f"http://127.0.0.1:{path}", process)
        stack.callback(stop.set)
        scraper = stack.enter_context(Prometheus(folder, {"serving": rest, "gateway": http}))
        threads = [threading.Thread(target=work) for work in (call, call, call, post)]
        for thread in threads:
            thread.start()
        stack.callback(lambda: [thread.join() for thread in threads])
        stack.callback(stop.set)
        time.sleep(12)
        yield scraper


def until_it_answers(url: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 180
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise AssertionError(process.communicate()[1]) from None
            time.sleep(0.2)


@pytest.mark.slow
def test_prometheus_reads_every_target(prometheus: Prometheus) -> None:
    found = {target["labels"]["job"]: (target["health"], target["lastError"]) for target in prometheus.targets()}
    assert found == {"serving": ("up", ""), "gateway": ("up", "")}


@pytest.mark.slow
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_panel_has_data(prometheus: Prometheus, panel: dict[str, Any]) -> None:
    for query in queries(panel):
        series = prometheus.query(query)
        if row_of(panel).startswith("GPU"):
            assert re.fullmatch(r"DCGM_FI_DEV_\w+", query)  # NVIDIA's names; there is no GPU here
            continue
        assert series, query
        for each in series:
            assert math.isfinite(float(each["value"][1])), query


@pytest.mark.slow
def test_what_the_panels_show_is_what_was_done(prometheus: Prometheus) -> None:
    by_title = {panel["title"]: queries(panel) for panel in PANELS}
    statuses = {each["metric"]["status"]: float(each["value"][1]) for each in prometheus.query(by_title["Errors"][0])}
    assert statuses.keys() == {"FAILED_PRECONDITION"}
    assert statuses["FAILED_PRECONDITION"] > 0
    protocols = {each["metric"]["entrypoint"] for each in prometheus.query(by_title["Calls by protocol"][0])}
    assert protocols == {"GRPC", "REST"}
    (texts,) = prometheus.query(by_title["Texts per batch"][0])
    assert 1 <= float(texts["value"][1]) <= 8
    half, most, nearly_all = (float(prometheus.query(query)[0]["value"][1]) for query in by_title["Latency"])
    assert 0 < half <= most <= nearly_all < 60
    (version,) = prometheus.query(by_title["Texts per second by version"][0])
    assert version["metric"]["version"] == "1"
    for rule in ("instance:serving_calls_in_flight:rate1m", "model:serving_failed:ratio_rate5m"):
        assert prometheus.query(rule), rule
