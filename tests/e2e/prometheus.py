"""A real Prometheus (Debian's package) that scrapes one operator every second."""

import json
import math
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.e2e.stack import until

VARIABLES = {"$job": ".+", "$namespace": ".*", "$__rate_interval": "15m"}
"""What Grafana would put in their places: all installations, and a time longer than a test."""


def available() -> bool:
    """Whether it is installed here."""
    return all(map(shutil.which, ("prometheus", "promtool")))


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def ask(self, path: str, **query: str) -> Any:
        """The ``data`` of an answer of its API; AssertionError with what it says against it."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{query}: {error.read().decode()}") from None

    def values(self, expr: str) -> list[float]:
        """The values of an instant vector that a dashboard would draw: NaN is none."""
        for variable, value in VARIABLES.items():
            expr = expr.replace(variable, value)
        result = self.ask("query", query=expr)["result"]
        found = (float(each["value"][1]) for each in result)
        return [value for value in found if math.isfinite(value)]


@contextmanager
def scraping(port: int, rules: Path, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with these rules, scraping 127.0.0.1:``port`` as the job fractal-operator."""
    target = {"targets": [f"127.0.0.1:{port}"]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "fractal-operator", "static_configs": [target]}],
    }
    file, log = folder / "prometheus.yaml", folder / "prometheus.log"
    file.write_text(yaml.safe_dump(config))
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
        "--log.format=json",
    ]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):

        def url() -> str | None:
            assert process.poll() is None, log.read_text()
            told = re.search(r'"address":"([^"]+)".*"msg":"Listening on"', log.read_text())
            return f"http://{told[1]}" if told else None

        try:
            server = Prometheus(until(url, "Prometheus listens"))
            until(lambda: "Server is ready" in log.read_text() or None, "Prometheus is ready")
            until(lambda: server.values("up == 1"), "Prometheus has scraped the operator")
            yield server
        finally:
            process.terminate()
