"""What goes wrong between a client and a hub: answers in place of the right one, and bodies that stop or crawl."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Answer:
    """An HTTP answer without its standard headers."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Fault:
    """What happens to some requests of a repository, or of a whole hub."""

    answer: Answer | None = None
    """In place of the right one."""
    cut: int | None = None
    """The connection is closed after so many bytes of a file."""
    rate: float | None = None
    """A file comes at so many bytes a second."""
    files: str = "*"
    """The files meant, with wildcards: `*` is every request, `?*` those for any file, and `` those for none."""
    method: str = "*"
    times: int | None = None
    """How often it happens; None: always."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def strikes(self, method: str, file: str, *, sends_content: bool) -> bool:
        """Whether it happens to this request; one that does counts.

        Args:
            file: "" where the request is for none.
            sends_content: whether a file's bytes are about to be sent, the only ones that are cut or slow.
        """
        if not (sends_content or self.answer) or not fnmatchcase(method, self.method):
            return False
        with self._lock:
            if not fnmatchcase(file, self.files) or self.times == 0:
                return False
            if self.times is not None:
                self.times -= 1
            return True


def error(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    """An error as the hub words it: once in the body and once in the headers, with a code for those that have one."""
    found = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    found |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, found | {"Content-Type": "application/json"}, json.dumps({"error": message}).encode())


def down(status: int = 503) -> Answer:
    """The hub, or a proxy before it, has trouble of its own.

    huggingface_hub gives up at once on a description. On a tree, or a file that it does not have yet, it tries again
    for 23 seconds: let a fault of `?*` happen a few `times`.
    """
    return error(status, {500: "Internal Error", 503: "Service Unavailable"}.get(status, "Bad Gateway"))


def too_many(retry_after: int) -> Answer:
    """More requests than the hub allows a client: it may come again in `retry_after` seconds."""
    return error(429, "We had to rate limit your IP.", Retry_After=str(retry_after))


def login_page(status: int = 200) -> Answer:
    """A web page: what a hotel's network, a company's proxy or another site answers whatever it is asked."""
    page = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
    return Answer(status, {"Content-Type": "text/html; charset=utf-8"}, page)


def other_service(status: int = 200) -> Answer:
    """JSON that is none of the hub's."""
    return Answer(status, {"Content-Type": "application/json"}, b'{"status": "ok", "service": "inventory"}')
