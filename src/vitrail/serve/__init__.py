"""The HTTP service: models behind `POST /v1/segment`, and the web page that uses them."""

from vitrail.serve.limits import ServiceLimits
from vitrail.serve.models import ServedModel, load_models
from vitrail.serve.server import Service
from vitrail.serve.workers import serve

__all__ = ["ServedModel", "Service", "ServiceLimits", "load_models", "serve"]
