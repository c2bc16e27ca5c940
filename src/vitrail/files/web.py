"""Opening addresses on the web: http and https only, and no redirect from a public server into a private network."""

from __future__ import annotations

import ipaddress
import socket
import urllib.error
import urllib.request
from http.client import HTTPMessage, HTTPResponse
from typing import IO, cast
from urllib.parse import urlsplit

from vitrail.errors import CheckpointError, VitrailError


def open_url(request: urllib.request.Request, *, timeout: float) -> HTTPResponse:
    """Open an http or https address and return the response.

    Proxies of the environment are used. A redirect is followed unless it leads to another scheme, from https to http,
    or from a public server to an address of this machine or of a private network.

    Parameters
    ----------
    request : urllib.request.Request
        The address with its headers.
    timeout : float
        Seconds without any data after which the connection counts as broken.

    Raises
    ------
    CheckpointError
        For a redirect that is not followed.
    urllib.error.URLError
        When the server cannot be reached or answers with an error.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SafeRedirects(),
    ):
        opener.add_handler(handler)
    response = opener.open(request, timeout=timeout)
    if response is None:
        raise urllib.error.URLError(f"unknown scheme {urlsplit(request.full_url).scheme!r}")
    return cast(HTTPResponse, response)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        check_redirect(req.full_url, newurl, CheckpointError)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_redirect(address: str, target: str, error: type[VitrailError]) -> None:
    """Check that a redirect may be followed.

    Parameters
    ----------
    address, target : str
        The address that was asked for, and the one that the server names.
    error : type
        The error to raise.

    Raises
    ------
    VitrailError
        Of the type `error`, for another scheme than http and https, from https to http, and from a public server to an
        address of this machine or of a private network.
    """
    before, after = urlsplit(address), urlsplit(target)
    if after.scheme not in ("http", "https") or (before.scheme == "https" and after.scheme == "http"):
        raise error(f"{address} redirects to {target}, which is not followed: only https or http is")
    if is_private(after.hostname) and not is_private(before.hostname):
        raise error(
            f"{address} redirects to {target}, an address of this machine or of a private network: it is not "
            "followed; give that address itself if you trust it"
        )


def is_private(host: str | None) -> bool:
    """Return whether a host name or IP address means this machine or a private network, by all of its addresses.

    A name that cannot be resolved here (behind a proxy) counts as public.
    """
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return any(not address.is_global for address in addresses)
