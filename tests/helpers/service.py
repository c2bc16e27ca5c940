"""A client of the service, and a model that is small enough for it."""

from __future__ import annotations

import base64
import http.client
import io
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image

from helpers.small_file import SETTINGS, small_card
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import Segmentor, build_model

CLASSES = ("road", "sky", "tree")


@dataclass
class Client:
    """Sends requests to a service."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return the status, the headers and the body of an answer."""
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        try:
            connection.request(method, path, body, {**self.headers, **headers})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return self.request("GET", path, **headers)

    def send(self, content: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Send JSON to /v1/segment."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.request("POST", "/v1/segment", body, **{"Content-Type": "application/json", **headers})

    def segment(self, picture: bytes, **fields: Any) -> tuple[int, dict[str, str], bytes]:
        return self.send({"image": base64.b64encode(picture).decode(), **fields})

    def form(self, parts: list[tuple[str, bytes, bool]]) -> tuple[int, dict[str, str], bytes]:
        """Send a form of (name, content, is a file) to /v1/segment."""
        body = b""
        for name, content, is_file in parts:
            file = '; filename="../../etc/passwd.png"' if is_file else ""
            body += f'--edge\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content
            body += b"\r\n"
        body += b"--edge--\r\n"
        return self.request("POST", "/v1/segment", body, **{"Content-Type": "multipart/form-data; boundary=edge"})


def picture(height: int = 40, width: int = 56, seed: int = 0, format: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def small_model() -> Segmentor:
    """Return a model whose mask differs from pixel to pixel."""
    torch.manual_seed(0)
    model = build_model(model_config_from_dict(SETTINGS), len(CLASSES), card=small_card()).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    with torch.no_grad():  # no class wins everywhere
        logits = model(torch.randn(1, 3, 64, 64))
        model.head.classifier.bias -= logits.mean((0, 2, 3))
    return model
