"""The service: every output is the Predictor's, and nothing that a client sends harms it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.service import CLASSES, Client, picture, small_model
from PIL import Image

from vitrail.errors import ServiceError
from vitrail.inference.rle import compress, find_runs, run_lengths
from vitrail.serve import ServedModel, Service, ServiceLimits, load_models
from vitrail.serve.limits import Budget, BusyError

Start = Callable[..., Client]


def decoded(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image)


def expected(served: list[ServedModel], data: bytes):
    with Image.open(io.BytesIO(data)) as image:
        return served[0].scoring.predict(image)


def detail(answer: tuple[int, dict[str, str], bytes]) -> str:
    return json.loads(answer[2])["detail"]


def test_a_single_picture_is_the_answer(client: Client, served: list[ServedModel]) -> None:
    data = picture()
    prediction = expected(served, data)
    status, headers, body = client.segment(data)
    assert (status, headers["content-type"]) == (200, "image/png")
    assert np.array_equal(decoded(body), prediction.mask)
    scores = decoded(client.segment(data, outputs=["probabilities"])[2])
    assert scores.dtype in (np.uint16, np.int32)  # older versions of Pillow give 16 bits as 32
    np.testing.assert_allclose(scores / 65535, prediction.scores, atol=1e-5)
    assert np.array_equal(decoded(client.segment(data, outputs="overlay")[2]), np.array(prediction.overlay()))


def test_several_outputs_come_as_json(client: Client, served: list[ServedModel]) -> None:
    data = picture(seed=1, format="JPEG")
    prediction = expected(served, data)
    status, _, body = client.form(
        [("image", data, True), ("outputs", b"rle,mask", False), ("outputs", b"polygons", False)]
    )
    answer = json.loads(body)
    assert (status, answer["model"], answer["height"], answer["width"]) == (200, "first", 40, 56)
    assert answer["areas"] == [area._asdict() for area in prediction.areas()]
    assert np.array_equal(decoded(base64.b64decode(answer["mask"])), prediction.mask)
    runs = find_runs(prediction.mask)
    for annotation in answer["rle"]:
        assert annotation["category"] == CLASSES[annotation["category_id"]]
        assert annotation["segmentation"]["counts"] == compress(run_lengths(runs, annotation["category_id"]))
    outlines = [[list(point) for point in polygon.exterior] for polygon in prediction.to_polygons()]
    assert [polygon["exterior"] for polygon in answer["polygons"]] == outlines


def test_models_are_chosen_by_name(client: Client, served: list[ServedModel]) -> None:
    models = json.loads(client.get("/v1/models")[2])
    assert [model["name"] for model in models] == ["first", "second"]
    assert models[0]["classes"] == list(CLASSES)
    answers = [json.loads(client.segment(picture(), outputs="rle", model=name)[2]) for name in ("", "second")]
    assert [answer["model"] for answer in answers] == ["first", "second"]
    answer = client.segment(picture(), model="third")
    assert answer[0] == 404
    assert detail(answer) == "no model 'third'. There are: first, second."


def test_the_description_of_the_api_names_every_route_and_output(client: Client) -> None:
    schema = json.loads(client.get("/openapi.json")[2])
    assert set(schema["paths"]) == {"/v1/segment", "/v1/models", "/healthz", "/metrics"}
    content = schema["paths"]["/v1/segment"]["post"]["requestBody"]["content"]
    for kind in ("multipart/form-data", "application/json"):
        for output in content[kind]["schema"]["properties"]["outputs"]["items"]["enum"]:
            assert client.segment(picture(), outputs=[output])[0] == 200


def test_metrics_count_requests_and_batches(client: Client) -> None:
    def count() -> float:
        text = client.get("/metrics")[2].decode()
        return float(re.search(r'^vitrail_requests_total{model="second",status="200"} (\S+)', text, re.M)[1])

    client.segment(picture(), model="second")
    before = count()
    client.segment(picture(), model="second")
    assert count() == before + 1
    text = client.get("/metrics")[2].decode()
    assert 'vitrail_batch_images_bucket{le="1.0",model="second"}' in text
    assert "vitrail_images_in_work 0.0" in text
    assert json.loads(client.get("/healthz")[2]) == {"status": "ok"}


def png_bomb() -> bytes:
    """A PNG of 30000 × 30000 pixels in a few hundred bytes, as far as its header says."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (png_bomb(), 413, "30000 × 30000 pixels"),
        (picture()[:200], 422, "truncated or damaged"),
        (b"<svg onload='x'/>", 422, "not an image of a known format"),
        (picture(format="TIFF"), 422, "of the format TIFF"),
        (b"\x93NUMPY" + bytes(100), 422, "not an image of a known format"),
        (b"/etc/passwd", 422, "not an image"),
        (b"http://127.0.0.1/x.png", 422, "not an image"),
        (b"", 422, "there is no picture"),
        (bytes(210_000), 413, "may have 200,000 bytes"),
        (bytes(900_000), 413, "may have 200,000 bytes"),
    ],
)
def test_hostile_pictures_are_refused(client: Client, data: bytes, status: int, message: str) -> None:
    for answer in (client.segment(data), client.form([("image", data, True)])):
        assert answer[0] == status, answer
        assert message in detail(answer)
    assert client.segment(picture())[0] == 200


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"{", 400, "not valid JSON"),
        (b"[" * 100_000, 400, "not valid JSON"),
        (b"9" * 5000, 400, "not valid JSON"),
        ([1], 422, "must be a JSON object"),
        ({"image": 3}, 422, "in base64"),
        ({"image": "http://127.0.0.1/x.png"}, 422, "addresses and paths are not taken"),
        ({"image": "", "path": "/etc/passwd"}, 422, "unknown field 'path'"),
        ({"image": "", "url": "x"}, 422, "unknown field 'url'"),
        ({"image": "AAAA", "outputs": ["pictures"]}, 422, "unknown output 'pictures'"),
        ({"image": "AAAA", "outputs": []}, 422, "outputs must be some of"),
        ({"image": "AAAA", "outputs": [3]}, 422, "outputs must be some of"),
        ({"image": "AAAA", "model": ["a"]}, 422, "model must be a name"),
    ],
)
def test_wrong_requests_are_refused(client: Client, content, status: int, message: str) -> None:
    answer = client.send(content)
    assert answer[0] == status
    assert message in detail(answer)


def test_wrong_forms_are_refused(client: Client) -> None:
    assert client.form([("image", b"text", False)])[0] == 422
    assert client.form([("image", b"x", True), ("image", b"x", True)])[0] == 400
    assert "unknown field 'colour'" in detail(client.form([("colour", b"x", False)]))
    assert client.request("POST", "/v1/segment", b"x", **{"Content-Type": "multipart/form-data"})[0] == 400
    assert client.request("POST", "/v1/segment", b"x", **{"Content-Type": "image/png"})[0] == 415
    assert client.get("/page/../app.py")[0] == 404
    assert client.get("/v1/segment")[0] == 405


def test_other_sites_and_other_hosts_are_refused(client: Client) -> None:
    assert client.get("/v1/models", Host="evil.example")[0] == 403
    assert client.get("/v1/models", Host="[")[0] == 403
    assert client.get("/v1/models", Origin="https://evil.example")[0] == 403
    assert client.get("/v1/models", Origin="http://[")[0] == 403
    assert client.get("/v1/models", Origin=client.url.rstrip("/"))[0] == 200
    headers = client.get("/healthz")[1]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers


def test_the_api_key_is_required(start: Start) -> None:
    client = start(api_key="secret")
    for path, status in (("/healthz", 200), ("/v1/models", 401), ("/metrics", 401), ("/openapi.json", 401)):
        assert client.get(path)[0] == status
    assert client.segment(picture())[0] == 401
    assert client.get("/v1/models", Authorization="Bearer wrong")[0] == 401
    client.headers["Authorization"] = "Bearer secret"
    assert client.segment(picture())[0] == 200


class Held:
    """A model that waits before each batch until it may go on."""

    def __init__(self, served: ServedModel) -> None:
        self.may_go, self.entered, self.batches = threading.Event(), threading.Event(), []
        self.plain = served.plain
        compute = self.plain._labels

        def wait(images):
            self.entered.set()
            self.may_go.wait(20)
            self.batches.append([tuple(image.shape[1:]) for image in images])
            return compute(images)

        self.plain._labels = wait


@pytest.fixture
def held() -> tuple[Held, list[ServedModel]]:
    model = ServedModel("held", small_model(), device="cpu", batch_size=3)
    return Held(model), [model]


def until(condition) -> None:
    for _ in range(400):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it does not happen")


def in_work(client: Client) -> int:
    return int(float(re.search(r"^vitrail_images_in_work (\S+)", client.get("/metrics")[2].decode(), re.M)[1]))


def test_pictures_of_one_size_are_batched_and_a_full_queue_refuses(held, start: Start) -> None:
    model, served = held
    client = start(served, max_images=6)
    sizes = [(40, 56), (40, 56), (32, 48), (40, 56), (40, 56), (40, 56)]
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(client.segment, picture(*sizes[0]))]
        model.entered.wait(20)
        for number, size in enumerate(sizes[1:], 2):  # one after the other, so that their order is known
            answers.append(pool.submit(client.segment, picture(*size, seed=number)))
            until(lambda: waiting(client) == number - 1)  # noqa: B023
        assert in_work(client) == 6
        refused = client.segment(picture())
        assert refused[0] == 429
        assert int(refused[1]["retry-after"]) >= 1
        assert "6 of 6 pictures" in detail(refused)
        model.may_go.set()
        assert [answer.result()[0] for answer in answers] == [200] * 6
    assert model.batches == [[(40, 56)], [(40, 56)] * 3, [(32, 48)], [(40, 56)]]
    assert in_work(client) == 0
    assert client.segment(picture())[0] == 200


def waiting(client: Client) -> int:
    text = client.get("/metrics")[2].decode()
    return int(float(re.search(r'^vitrail_images_waiting{model="held"} (\S+)', text, re.M)[1]))


def test_a_late_answer_is_status_503_and_leaves_the_queue(held, start: Start) -> None:
    model, served = held
    client = start(served, answer_seconds=0.3)
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(client.segment, picture())]
        model.entered.wait(20)
        answers.append(pool.submit(client.segment, picture(seed=1)))
        assert [answer.result()[0] for answer in answers] == [503, 503]
    model.may_go.set()
    until(lambda: len(model.batches) and not waiting(client))
    assert sum(map(len, model.batches)) == 1  # the other one was given up before its turn


def test_stopping_finishes_what_was_accepted(held) -> None:
    model, served = held
    service = Service(served, port=0)
    thread = threading.Thread(target=service.run)
    thread.start()
    client = Client(service.url)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(client.segment, picture(seed=seed)) for seed in range(4)]
        until(lambda: in_work(client) == 4)
        service.stop()
        time.sleep(0.3)
        model.may_go.set()
        assert [answer.result()[0] for answer in answers] == [200] * 4
    thread.join(20)
    assert not thread.is_alive()
    with pytest.raises(OSError):
        client.get("/healthz")


def closed_after(client: Client, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send pieces, then read until the service closes the connection."""
    with socket.create_connection(client.address, timeout=10) as connection:
        answer = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            while part := connection.recv(65536):
                answer += part
        except ConnectionError:
            pass
        return answer


def test_slow_clients_are_closed(start: Start) -> None:
    client = start(header_seconds=0.4, body_seconds=0.4)
    assert closed_after(client) == b""
    assert closed_after(client, *[b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 20], pause=0.1) == b""
    head = (
        b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    )
    assert closed_after(client, head).startswith(b"HTTP/1.1 408")
    assert closed_after(client, b"\0\1\2 nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert client.segment(picture())[0] == 200


def test_many_silent_connections_do_not_keep_others_out(start: Start) -> None:
    client = start(max_connections=20)
    connections = [socket.create_connection(client.address, timeout=10) for _ in range(60)]
    try:
        assert client.segment(picture())[0] == 200
        connections[0].settimeout(5)
        with contextlib.suppress(ConnectionError):
            assert connections[0].recv(1) == b""  # the oldest made room
    finally:
        for connection in connections:
            connection.close()


def test_budgets() -> None:
    budget = Budget(10, "bytes")
    with budget.taken(6), pytest.raises(BusyError, match="6 of 10 bytes"), budget.taken(5):
        pass
    assert budget.used == 0


@pytest.mark.parametrize("wrong", [{"max_images": 0}, {"max_total_pixels": 5}, {"max_total_bytes": 5}])
def test_limits_that_contradict_each_other(wrong: dict[str, int]) -> None:
    with pytest.raises(ServiceError, match=next(iter(wrong))):
        ServiceLimits(**wrong)


def test_models_need_distinct_plain_names(tmp_path: Path) -> None:
    for models, message in (
        ([], "no models"),
        (["fastscnn_camvid", "fastscnn_camvid"], "two models would have the name fastscnn_camvid"),
        (["a/b=fastscnn_camvid"], "cannot be served as 'a/b'"),
    ):
        with pytest.raises(ServiceError, match=message):
            load_models(models)
    assert [model.name for model in load_models(["x=fastscnn_camvid"], device="cpu")] == ["x"]


def test_a_taken_port(served: list[ServedModel]) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ServiceError, match="choose another --host or --port"),
    ):
        Service(served, port=taken.getsockname()[1])


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(ServiceError, match=r"needs uvicorn: pip install 'vitrail\[serve\]'"):
        Service([])


THREADS = """
import os, sys, time
import torch
from vitrail.serve import ServedModel, load_models

torch.set_num_threads(3)
before = len(os.listdir("/proc/self/task"))
if sys.argv[1] == "load":
    models = load_models(["fastscnn_camvid"], device="cpu")
else:
    models = ServedModel("a", "fastscnn_camvid", device="cpu")
end = time.monotonic() + 5  # a thread of the system ends a little after Python's
while len(os.listdir("/proc/self/task")) > before and time.monotonic() < end:
    time.sleep(0.05)
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_loading_leaves_no_threads_of_openmp() -> None:
    def left(how: str) -> int:
        command = [sys.executable, "-W", "ignore", "-c", THREADS, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert left("construct") >= 2
    assert left("load") == 0


INTERRUPTED = """
import signal, time
from vitrail.serve import load_models, models

def never(*arguments, **options):
    signal.alarm(1)
    time.sleep(600)

def interrupt(*arguments):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
models.ServedModel = never
try:
    load_models(["fastscnn_camvid"])
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="needs SIGALRM")
def test_an_interruption_does_not_wait_for_a_model_that_is_downloaded() -> None:
    command = [sys.executable, "-W", "ignore", "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "interrupted\n"
