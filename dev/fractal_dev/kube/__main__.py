"""Runs the stand-in as a process: `python -m fractal_dev.kube --port 0 --kubeconfig PATH`."""

from __future__ import annotations

import argparse
import asyncio
import signal

from fractal_dev.kube.server import KubeApi


async def _serve(port: int, kubeconfig: str | None) -> None:
    api = KubeApi()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    url = await api.start(port=port)
    if kubeconfig:
        api.write_kubeconfig(kubeconfig)
    print(url, flush=True)
    await stopping.wait()
    await api.stop()


def main() -> None:
    """Prints the URL, one line, when ready; SIGTERM and SIGINT stop it within a second."""
    parser = argparse.ArgumentParser(prog="python -m fractal_dev.kube", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--kubeconfig", help="where to write a kubeconfig for this server")
    given = parser.parse_args()
    asyncio.run(_serve(given.port, given.kubeconfig))


if __name__ == "__main__":
    main()
