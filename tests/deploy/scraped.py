"""The compose stack's Prometheus without a container: the machine's program, with short intervals and own targets."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def queries(panel: dict[str, Any], window: str = "15s") -> list[str]:
    """The query of a dashboard panel, with variables filled in like in Grafana."""
    return [
        target["expr"].replace("$__rate_interval", window).replace("$model", ".*")
        for target in panel.get("targets", ())
    ]


class Prometheus:
    """A context manager.

    Args:
        folder: for its configuration and data.
        targets: name of a job in prometheus.yml -> port of this machine to scrape.
    """

    def __init__(self, folder: Path, targets: Mapping[str, int]) -> None:
        import yaml

        config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(ROOT / "deploy" / "prometheus" / "rules.yml")]
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        for name, port in targets.items():
            assert jobs[name].pop("dns_sd_configs")
            jobs[name]["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        config["scrape_configs"] = [jobs[name] for name in targets]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self._folder, self._address = folder, f"127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        command = [
            "prometheus", f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address={self._address}",
            "--log.level=error",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=5):
                    return self
            except (urllib.error.URLError, ConnectionError):
                if self._process.poll() is not None or time.monotonic() > end:
                    self._process.kill()
                    raise AssertionError(self._process.communicate()[1]) from None
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def _get(self, path: str, **parameters: Any) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        assert found["status"] == "success"
        return found["data"]

    def query(self, expression: str) -> list[Any]:
        """The series of an expression now, each with ``metric`` and ``value``."""
        return list(self._get("query", query=expression)["result"])

    def query_range(self, expression: str, seconds: float, step: float = 1.0) -> list[Any]:
        """The series of an expression over the last seconds, each with ``metric`` and ``values``."""
        now = time.time()
        return list(self._get("query_range", query=expression, start=now - seconds, end=now, step=step)["result"])

    def targets(self) -> list[Any]:
        """The targets of Prometheus and their state."""
        return list(self._get("targets")["activeTargets"])
