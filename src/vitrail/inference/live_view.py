"""Pictures shown in a browser on this computer while they are made, such as those of a camera."""

from __future__ import annotations

import io
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from PIL import Image

_EDGE = "picture"
_PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>vitrail</title>
<style>body{margin:0;background:#222}img{display:block;max-width:100vw;max-height:100vh;margin:auto}</style>
<img src="pictures" alt="The pictures as they are segmented"></html>"""


class LiveView:
    """A page that shows the latest picture; use it in a `with` block.

    It is served on this computer alone, at an address that cannot be guessed, as a stream of JPEG pictures
    (multipart/x-mixed-replace), which every browser shows. A browser that is slow leaves pictures out.

    Attributes
    ----------
    url : str
        Where the page is.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._picture = b""
        self._number = 0
        self._closed = False
        root = f"/{secrets.token_urlsafe(16)}/"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(root))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}{root}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> LiveView:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def show(self, picture: Image.Image) -> None:
        """Show a picture in place of the one before."""
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=85)
        with self._changed:
            self._picture, self._number = file.getvalue(), self._number + 1
            self._changed.notify_all()

    def _next(self, number: int) -> tuple[bytes, int]:
        """Return a picture later than the one of a number, and its number; nothing when none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._number > number)
            return (b"", number) if self._closed else (self._picture, self._number)

    def _handler(self, root: str) -> type[BaseHTTPRequestHandler]:
        view = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == root:
                    self._begin("text/html")
                    self.wfile.write(_PAGE)
                elif self.path == f"{root}pictures":
                    self._begin(f"multipart/x-mixed-replace; boundary={_EDGE}")
                    self._send_pictures()
                else:
                    self.send_error(404)

            def _begin(self, content_type: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Cache-Control", "no-store")
                self.end_headers()

            def _send_pictures(self) -> None:
                number = 0
                while True:
                    picture, number = view._next(number)
                    if not picture:
                        return
                    head = f"--{_EDGE}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + picture + b"\r\n")
                    except OSError:  # the page was closed
                        return

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
