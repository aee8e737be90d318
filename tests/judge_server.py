"""A real chat-completions server on this machine, for the judge that asks one: it answers, stalls, fails or lies."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0.0
    drop: bool = False
    """Close the connection and say nothing."""
    trickle: bool = False
    """Send a byte now and then, and never end."""


def says(answer: object, **more: Any) -> Reply:
    """A chat completion whose message is `answer`."""
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}]}
    return Reply(body=json.dumps(body).encode(), **more)


def refuses(status: int, message: str = "no", **more: Any) -> Reply:
    """An error in the envelope that such servers use."""
    return Reply(status, json.dumps({"error": {"message": message}}).encode(), **more)


@dataclass
class Request:
    """One request as it came: the text asked about, which of that text's requests it is (from 0), and the rest."""

    text: str
    repeat: int
    body: dict[str, Any]
    headers: dict[str, str]


Script = Callable[[Request], Reply]


@dataclass
class Server:
    """A running server and what it was asked."""

    url: str
    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    def note(self, body: dict[str, Any], headers: dict[str, str]) -> Request:
        """Write down a request that begins."""
        with self._lock:
            text = body["messages"][-1]["content"]
            request = Request(text, sum(known.text == text for known in self.requests), body, headers)
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        return request

    def done(self) -> None:
        """Write down that a request is about to be answered."""
        with self._lock:
            self._at_once -= 1

    @property
    def counts(self) -> Counter[str]:
        """How often each text was asked about."""
        return Counter(request.text for request in self.requests)


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    """Serve `POST /v1/chat/completions` on a free port for as long as the context is open."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = server.note(body, dict(self.headers))
            try:
                reply = script(request) if self.path == "/v1/chat/completions" else refuses(404)
                server.closing.wait(reply.after)
            finally:
                server.done()  # before the answer: the client may ask again while this thread is still returning
            with suppress(OSError):  # the client may have gone
                self._send(reply)

        def _send(self, reply: Reply) -> None:
            if reply.drop:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(10_000 if reply.trickle else len(reply.body)))
            self.end_headers()
            while reply.trickle and not server.closing.is_set():
                self.wfile.write(b" ")
                self.wfile.flush()
                sleep(0.02)
            self.wfile.write(reply.body)

        def log_message(self, *args: object) -> None:
            """Nothing on stderr: tests look at what is printed."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = Server(f"http://127.0.0.1:{http.server_address[1]}/v1")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()
