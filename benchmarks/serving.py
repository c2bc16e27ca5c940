"""The service under load beside the bare Predictor, in one run, as a ratio.

    python -m benchmarks.serving                                  # fastscnn_camvid, 480 × 360, 8 clients
    python -m benchmarks.serving cgnet_camvid_short --seconds 30 --clients 16
    python -m benchmarks.serving --soak 5000                      # that many requests, and the growth of memory
    python -m benchmarks.serving --slow 2000                      # beside clients that send nothing

The service runs in a process of its own, the clients in this one; each keeps its connection. The bare Predictor does
what the service does for a request, one picture after the other: it decodes the JPEG, predicts, and encodes the mask as
PNG. Ratios above 1 mean that the service answers more pictures in a second. Both keep freed memory, as the `vitrail`
command does. Needs the [serve] extra.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from vitrail.runtime.host_memory import keep_freed_memory

WARM_UP = 20


def pictures(height: int, width: int, count: int = 8) -> list[bytes]:
    """Return street scenes as JPEG."""
    from vitrail.datasets.scenes.scene import render

    files = []
    for index in range(count):
        file = io.BytesIO()
        Image.fromarray(np.asarray(render(f"load_{index}", height, width)[0])).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def bare_rate(model: str, files: list[bytes], seconds: float) -> float:
    """Return the pictures per second of a Predictor that decodes, predicts and encodes one after the other."""
    from vitrail import Predictor
    from vitrail.datasets.pixel_format import RGB
    from vitrail.serve.answers import build_answer
    from vitrail.serve.pictures import decode_picture

    predictor = Predictor(model, device="cpu")

    def one(index: int) -> None:
        prediction = predictor.predict(decode_picture(files[index % len(files)], RGB))
        build_answer(prediction, ("mask",), model)

    for index in range(WARM_UP):
        one(index)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        one(count)
        count += 1
    return count / (time.perf_counter() - start)


@contextlib.contextmanager
def service(model: str, *options: str) -> Iterator[tuple[str, int, int]]:
    """Start the service; gives its host, port and process."""
    command = [sys.executable, "-m", "vitrail", "serve", model, "--port", "0", "--device", "cpu", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = urlsplit(re.search(r"http://\S+/", process.stdout.readline())[0])
        try:
            yield address.hostname, address.port, process.pid
        finally:
            process.terminate()


class Load:
    """Clients that send pictures one after the other, each on its connection."""

    def __init__(self, host: str, port: int, files: list[bytes]) -> None:
        self.host, self.port = host, port
        self.bodies = [form(data) for data in files]
        self.times: list[float] = []
        self.failures: list[int] = []
        self._left = 0
        self._lock = threading.Lock()

    def run(self, clients: int, *, seconds: float | None = None, requests: int | None = None) -> float:
        """Send for a time or a number of requests; returns the answers per second."""
        self.times, self.failures = [], []
        self._left = requests or 1 << 60
        end = time.perf_counter() + (seconds or 1e9)
        threads = [threading.Thread(target=self._client, args=(number, end)) for number in range(clients)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(self.times) / (time.perf_counter() - start)

    def _client(self, number: int, end: float) -> None:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        headers = {"Content-Type": "multipart/form-data; boundary=edge"}
        while time.perf_counter() < end and self._take():
            start = time.perf_counter()
            connection.request("POST", "/v1/segment", self.bodies[number % len(self.bodies)], headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                self.times.append(time.perf_counter() - start)
            else:
                self.failures.append(answer.status)
            number += 1
        connection.close()

    def _take(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0


def form(data: bytes) -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    return head + data + b"\r\n--edge--\r\n"


def resident_mb(process: int) -> float:
    """Return the resident memory of a process in MB, from /proc."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def report(what: str, rate: float, load: Load) -> None:
    times = sorted(load.times)
    p99 = times[int(0.99 * (len(times) - 1))]
    print(
        f"{what}: {rate:.1f} pictures/s, p50 {1000 * statistics.median(times):.0f} ms, p99 {1000 * p99:.0f} ms, "
        f"{len(times)} answers, {len(load.failures)} refused"
    )


def compare(arguments: argparse.Namespace, files: list[bytes]) -> None:
    """The two take turns, so that other work on the machine counts for both."""
    ratios = []
    with service(arguments.model) as (host, port, _):
        load = Load(host, port, files)
        load.run(arguments.clients, requests=WARM_UP)
        for _ in range(arguments.turns):
            bare = bare_rate(arguments.model, files, arguments.seconds)
            rate = load.run(arguments.clients, seconds=arguments.seconds)
            ratios.append(rate / bare)
            print(f"bare Predictor: {bare:.1f} pictures/s")
            report(f"service, {arguments.clients} clients", rate, load)
    print(f"service / bare: {statistics.median(ratios):.2f} (median of {len(ratios)})")


def soak(arguments: argparse.Namespace, files: list[bytes]) -> None:
    with service(arguments.model) as (host, port, process):
        load = Load(host, port, files)
        for part in range(5):
            rate = load.run(arguments.clients, requests=arguments.soak // 5)
            report(f"part {part + 1}", rate, load)
            print(f"  resident: {resident_mb(process):.0f} MB")


def slow(arguments: argparse.Namespace, files: list[bytes]) -> None:
    """Measure beside connections that are opened again as soon as the service closes them."""
    with service(arguments.model) as (host, port, process):
        load = Load(host, port, files)
        load.run(arguments.clients, requests=WARM_UP)
        report("alone", load.run(arguments.clients, seconds=arguments.seconds), load)
        connections: list[socket.socket] = []
        for _ in range(arguments.slow):
            with contextlib.suppress(OSError):
                connections.append(socket.create_connection((host, port), timeout=5))
                connections[-1].sendall(b"POST /v1/segment HTTP/1.1\r\n")
        report(
            f"beside {len(connections)} silent connections",
            load.run(arguments.clients, seconds=arguments.seconds),
            load,
        )
        print(f"  resident: {resident_mb(process):.0f} MB")
        for connection in connections:
            connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="fastscnn_camvid")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480), metavar=("H", "W"))
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--soak", type=int, help="requests")
    parser.add_argument("--slow", type=int, help="silent connections")
    arguments = parser.parse_args()
    keep_freed_memory()
    files = pictures(*arguments.size)
    if arguments.soak:
        soak(arguments, files)
    elif arguments.slow:
        slow(arguments, files)
    else:
        compare(arguments, files)


if __name__ == "__main__":
    main()
