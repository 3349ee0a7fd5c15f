"""What the operator says when it cannot start."""

import os
import socket
import subprocess
import sys
from pathlib import Path

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: c, user: {token: t}}]
contexts: [{name: c, context: {cluster: c, user: c}}]
"""


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(KUBECONFIG)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = {
            "KUBECONFIG": str(tmp_path / "config"),
            "FRACTAL_INSTALL_ID": "lab",
            "FRACTAL_NAMESPACES": "blue,green",
            "FRACTAL_LABEL_SELECTOR": "team=a",
            "FRACTAL_METRICS_HOST": "127.0.0.1",
            "FRACTAL_METRICS_PORT": str(port),
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FRACTAL_", "AWS_"))}
        done = subprocess.run(
            [sys.executable, "-m", "fractal_operator", "run"],
            capture_output=True,
            text=True,
            check=False,
            env=kept | given,
            timeout=60,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert "installation lab starts: namespaces blue, green, labels team=a" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"cannot serve /metrics and /healthz on 127.0.0.1:{port}: ")
    assert "FRACTAL_METRICS_PORT" in last
