"""Requests to segment a picture: read and parsed within limits."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitrail.errors import ServiceError, nearest
from vitrail.files.json_text import parse_json
from vitrail.serve.answers import OUTPUTS
from vitrail.serve.limits import Budget, ServiceLimits

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Message

FIELDS = ("image", "model", "outputs")
DEFAULT_OUTPUTS = ("mask",)


class RefusedError(ServiceError):
    """A request that is not answered.

    Attributes
    ----------
    status : int
        The HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class SegmentRequest:
    """A request to segment a picture.

    Attributes
    ----------
    image : bytes
        The content of a picture's file.
    model : str
        Name of the model; "" for the first one.
    outputs : tuple of str
        Names in `vitrail.serve.answers.OUTPUTS`.
    """

    image: bytes
    model: str
    outputs: tuple[str, ...]


async def read_body(request: Request, limits: ServiceLimits, budget: Budget) -> bytes:
    """Return the body of a request; the caller gives its length back to the budget.

    Raises
    ------
    RefusedError
        When it is too large.
    BusyError
        When the budget does not have it.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limits.max_body_bytes:
        await _discard(request, 4 * limits.max_body_bytes)
        raise _too_large(limits)
    body = bytearray()
    try:
        async for chunk in request.stream():
            budget.take(len(chunk))
            body += chunk
            if len(body) > limits.max_body_bytes:
                raise _too_large(limits)
    except BaseException:
        budget.give_back(len(body))
        raise
    return bytes(body)


async def _discard(request: Request, most: int) -> None:
    """Read on for a while: a client that cannot send the rest might not read why it is refused."""
    async for chunk in request.stream():
        most -= len(chunk)
        if most < 0:
            return


def _too_large(limits: ServiceLimits) -> RefusedError:
    return RefusedError(413, f"the request is too large: a picture may have {limits.max_bytes:,} bytes")


async def parse_request(request: Request, body: bytes, limits: ServiceLimits) -> SegmentRequest:
    """Return what a request asks for, from its body.

    Raises
    ------
    RefusedError
        For a body of another type, or one that does not hold what it should.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        given = _from_json(body)
    elif kind == "multipart/form-data":
        given = await _from_form(request, body)
    else:
        raise RefusedError(415, "send multipart/form-data with a file, or application/json with base64, as image")
    image = given.get("image")
    if not isinstance(image, bytes) or not image:
        raise RefusedError(422, "there is no picture: send a file (or base64, in JSON) as image")
    if len(image) > limits.max_bytes:
        raise _too_large(limits)
    model = given.get("model", "")
    if not isinstance(model, str):
        raise RefusedError(422, "model must be a name")
    return SegmentRequest(image, model, _outputs(given.get("outputs", DEFAULT_OUTPUTS)))


def _from_json(body: bytes) -> dict[str, Any]:
    try:
        given = parse_json(body, "the request", ServiceError)
    except ServiceError as error:
        raise RefusedError(400, str(error)) from error
    if not isinstance(given, dict):
        raise RefusedError(422, "the request must be a JSON object")
    _check_fields(given)
    if "image" in given:
        given["image"] = _from_base64(given["image"])
    return given


def _from_base64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise RefusedError(422, "image must be the picture's file in base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(422, f"image is not base64: {error}; addresses and paths are not taken") from error


async def _from_form(request: Request, body: bytes) -> dict[str, Any]:
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.requests import Request

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, receive).form(max_files=1, max_fields=20) as form:
            items = form.multi_items()
            given: dict[str, Any] = {}
            _check_fields(name for name, _ in items)
            for name, value in items:
                if name == "image":
                    given[name] = await value.read() if isinstance(value, UploadFile) else None
                elif name == "outputs":
                    given[name] = [*given.get(name, ()), *str(value).split(",")]
                else:
                    given[name] = value
    except HTTPException as error:
        raise RefusedError(400, f"the form cannot be read: {error.detail}") from error
    return given


def _check_fields(names: Iterable[str]) -> None:
    for name in names:
        if name not in FIELDS:
            raise RefusedError(422, f"unknown field {name[:100]!r}.{nearest(name[:100], FIELDS)}")


def _outputs(given: Any) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise RefusedError(422, f"outputs must be some of {', '.join(OUTPUTS)}")
    outputs = tuple(dict.fromkeys(name.strip() for name in names))
    for name in outputs:
        if name not in OUTPUTS:
            raise RefusedError(422, f"unknown output {name[:100]!r}. There are: {', '.join(OUTPUTS)}.")
    return outputs
