"""The routes of the service."""

# Annotations are values here, not text: FastAPI reads those of the routes, whose types are imported inside functions.
import asyncio
import contextlib
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vitrail import __version__
from vitrail.errors import DatasetError, PredictionError, ServiceError
from vitrail.serve.answers import OUTPUTS, Answer, build_answer
from vitrail.serve.batching import Batcher
from vitrail.serve.guard import Guard
from vitrail.serve.limits import Budget, BusyError, ServiceLimits
from vitrail.serve.metrics import Metrics
from vitrail.serve.models import ServedModel
from vitrail.serve.pictures import TooManyPixelsError, decode_picture, picture_pixels
from vitrail.serve.requests import RefusedError, SegmentRequest, parse_request, read_body

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

PAGE = Path(__file__).parent / "page"
PAGE_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
Result = TypeVar("Result")


class RequestHandler:
    """Takes requests to segment a picture through all of their steps; its methods run in the event loop.

    Parameters
    ----------
    models : sequence of ServedModel
        The first one answers requests that name none.
    limits : ServiceLimits
        What is taken from clients.
    """

    def __init__(self, models: Sequence[ServedModel], limits: ServiceLimits) -> None:
        self.models = {model.name: model for model in models}
        self.limits = limits
        self.metrics = Metrics()
        self.images = Budget(limits.max_images, "pictures", self.metrics.in_work)
        self.pixels = Budget(limits.max_total_pixels, "pixels")
        self.bytes = Budget(limits.max_total_bytes, "bytes")
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="vitrail pictures")
        self._seconds_per_image = 0.1
        self.batchers = {name: self._batcher(model) for name, model in self.models.items()}

    def _batcher(self, model: ServedModel) -> Batcher:
        def note(images: int, seconds: float) -> None:
            self.metrics.batch(model.name, images, seconds)
            self._seconds_per_image += 0.1 * (seconds / images - self._seconds_per_image)

        def note_waiting(images: int) -> None:
            self.metrics.waiting(model.name, images)

        return Batcher(model.name, model.plain.settings.batch_size, note, note_waiting)

    @property
    def alive(self) -> bool:
        """Whether all models take pictures."""
        return all(batcher.alive for batcher in self.batchers.values())

    @property
    def retry_after(self) -> int:
        """Seconds after which a client that was refused should try again."""
        return max(1, math.ceil(self._seconds_per_image * self.images.used))

    def close(self) -> None:
        """Finish what was accepted."""
        for batcher in self.batchers.values():
            batcher.close()
        self._threads.shutdown()

    async def answer(self, request: "Request") -> tuple[str, Answer]:
        """Return the name of the model and the answer to a request.

        Raises
        ------
        RefusedError
            With the status of every answer but 200.
        """
        try:
            body = await asyncio.wait_for(read_body(request, self.limits, self.bytes), self.limits.body_seconds)
        except asyncio.TimeoutError:
            raise RefusedError(408, f"the request did not arrive within {self.limits.body_seconds:g} seconds") from None
        try:
            wanted = await parse_request(request, body, self.limits)
            model = self._model(wanted)
            answer = asyncio.wait_for(self._segment(wanted, model), self.limits.answer_seconds)
            return model.name, await answer
        except asyncio.TimeoutError:
            raise RefusedError(503, f"no answer within {self.limits.answer_seconds:g} seconds") from None
        finally:
            self.bytes.give_back(len(body))

    def _model(self, wanted: SegmentRequest) -> ServedModel:
        if not wanted.model:
            return next(iter(self.models.values()))
        if wanted.model not in self.models:
            raise RefusedError(404, f"no model {wanted.model[:100]!r}. There are: {', '.join(self.models)}.")
        return self.models[wanted.model]

    async def _segment(self, wanted: SegmentRequest, model: ServedModel) -> Answer:
        predictor = model.scoring if "probabilities" in wanted.outputs else model.plain
        if predictor is None:
            raise RefusedError(422, f"the model {model.name} gives no probabilities: ask for other outputs")
        with self.images.taken(1):
            pixels = await self._in_thread(picture_pixels, wanted.image, self.limits.max_pixels)
            with self.pixels.taken(pixels):
                image = await self._in_thread(decode_picture, wanted.image, predictor.pixel_format)
                prediction = await asyncio.wrap_future(self.batchers[model.name].submit(image, predictor))
                return await self._in_thread(build_answer, prediction, wanted.outputs, model.name)

    async def _in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def create_app(
    models: Sequence[ServedModel],
    limits: ServiceLimits,
    *,
    hosts: Sequence[str] | None = None,
    api_key: str | None = None,
) -> Guard:
    """Return the ASGI application of the service.

    Parameters
    ----------
    models : sequence of ServedModel
        The first one answers requests that name none.
    limits : ServiceLimits
        What is taken from clients.
    hosts : sequence of str, optional
        Host names under which the service answers; None for all.
    api_key : str, optional
        Required for everything but the page and /healthz.
    """
    from fastapi import FastAPI

    handler = RequestHandler(models, limits)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        handler.close()

    # FastAPI's own pages for the API load scripts from elsewhere.
    app = FastAPI(title="vitrail", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    _add_api(app, handler)
    page = _add_page(app)
    return Guard(app, hosts=hosts, api_key=api_key, open_paths=(*page, "/healthz"))


def _add_api(app: "FastAPI", handler: RequestHandler) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    @app.post("/v1/segment", summary="Segment one picture", openapi_extra=REQUEST_BODY, responses=RESPONSES)
    async def segment(request: Request) -> Response:
        start, model, status = time.perf_counter(), "", 500
        try:
            model, answer = await handler.answer(request)
            response = Response(answer.content, media_type=answer.media_type)
            status = 200
        except (ServiceError, DatasetError, PredictionError) as error:
            status = _status(error)
            # A part of the body may not have been read.
            headers = {"connection": "close", **({"retry-after": str(handler.retry_after)} if status == 429 else {})}
            response = JSONResponse({"detail": str(error)}, status, headers)
        finally:
            handler.metrics.request(model, status, time.perf_counter() - start)
        return response

    @app.get("/v1/models", summary="The models, their classes and colours")
    async def models() -> list[dict[str, Any]]:
        return [model.to_dict() for model in handler.models.values()]

    @app.get("/healthz", summary="Whether the service takes pictures")
    async def health() -> JSONResponse:
        return JSONResponse(
            {"status": "ok"} if handler.alive else {"status": "stopping"}, 200 if handler.alive else 503
        )

    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def metrics() -> Response:
        content, media_type = handler.metrics.text()
        return Response(content, media_type=media_type)


def _status(error: Exception) -> int:
    """Return the HTTP status that stands for an error."""
    if isinstance(error, RefusedError):
        return error.status
    if isinstance(error, BusyError):
        return 429
    if isinstance(error, TooManyPixelsError):
        return 413
    return 503 if isinstance(error, ServiceError) else 422


def _add_page(app: "FastAPI") -> list[str]:
    """Serve the files of the page, which are read now, and return their paths."""
    from fastapi.responses import Response

    def add(path: str, content: bytes, media_type: str) -> None:
        async def read() -> Response:
            return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

        app.add_api_route(path, read, include_in_schema=False, methods=["GET", "HEAD"])

    paths = []
    for file in sorted(PAGE.iterdir()):
        paths.append("/" if file.name == "index.html" else f"/page/{file.name}")
        add(paths[-1], file.read_bytes(), f"{PAGE_TYPES[file.suffix]}; charset=utf-8")
    return paths


_FIELDS: Mapping[str, Any] = {
    "model": {"type": "string", "description": "A name from /v1/models; the first one by default."},
    "outputs": {
        "type": "array",
        "items": {"type": "string", "enum": list(OUTPUTS)},
        "default": ["mask"],
        "description": (
            "mask: PNG of class indices; probabilities: 16-bit grey PNG, 65535 for 1; overlay: PNG; rle: COCO run "
            "lengths; polygons: outlines in pixels. A single PNG is answered as it is, all else as JSON with PNGs in "
            "base64."
        ),
    },
}


def _body(image: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"schema": {"type": "object", "required": ["image"], "properties": {"image": image, **_FIELDS}}}


REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _body({"type": "string", "format": "binary"}),
            "application/json": _body({"type": "string", "format": "byte", "description": "The file in base64."}),
        },
    }
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The outputs.", "content": {"image/png": {}, "application/json": {}}},
    400: {"description": "The body cannot be parsed."},
    401: {"description": "The API key is missing or wrong."},
    404: {"description": "There is no such model."},
    408: {"description": "The request did not arrive in time."},
    413: {"description": "Too many bytes or pixels."},
    415: {"description": "Neither multipart/form-data nor application/json."},
    422: {"description": "The picture cannot be read, or a field is wrong."},
    429: {"description": "The service is busy; the header Retry-After says when to try again."},
    503: {"description": "No answer in time, or the service is stopping."},
}
