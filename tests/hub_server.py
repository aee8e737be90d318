"""A model hub on this machine, for `HF_ENDPOINT`: it speaks to huggingface_hub as huggingface.co does, and counts.

Files of git are answered by the hub after one redirect on its own host; files of git-lfs by a second server, of another
origin as a content network is, which takes no token. There are no xet headers: everything comes over plain HTTP.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

import hub_answers as answers
from hub_contents import Files, Kind, Repository
from hub_faults import Answer, Fault, error

Form = dict[str, list[str]]
KINDS: dict[str, Kind] = {"models": "model", "datasets": "dataset"}
API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z-]+))?(?:/([^/]+))?(?:/(.+))?")
FILE = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
CONTENT = re.compile(r"(?:/api/resolve-cache)?/(models|datasets)/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)")


@dataclass
class Request:
    """One request as it came, and what became of it."""

    place: Literal["hub", "cdn"]
    method: str
    path: str
    """Without the query."""
    token: str | None
    span: str | None
    """The header Range."""
    repository: str = ""
    """The hub id; "" where none is asked about."""
    file: str = ""
    """The file whose content or headers are asked for; "" for every other request."""
    status: int = 0
    sent: int = 0
    """Bytes of the file that were sent."""


@dataclass
class Hub:
    """A running hub: what it holds, and what it was asked."""

    url: str
    cdn: str
    """Where files of git-lfs come from."""
    repositories: dict[tuple[Kind, str], Repository] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    """Tokens of visitors who may read what is public; those of each repository's readers are known too."""
    faults: list[Fault] = field(default_factory=list)
    """Of all requests, before those of a repository."""
    page: int = 1000
    """How many entries of a tree are listed at once."""
    requests: list[Request] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, content: Path | Files | None = None, kind: Kind = "model", **settings: Any) -> Repository:
        """Open a repository, with a folder's files or these as its first commit."""
        repository = self.repositories[kind, name] = Repository(name, kind, **settings)
        if content is not None:
            repository.commit(content)
        return repository

    def asked(self, repository: str = "*", file: str = "*", method: str = "*") -> list[Request]:
        """Return the requests so far, with wildcards: `*` for any file or none, `?*` for any, "" for none."""
        wanted = (repository, file, method)
        return [one for one in self.requests if all(map(fnmatchcase, (one.repository, one.file, one.method), wanted))]

    def sent(self, repository: str = "*", file: str = "*") -> int:
        """Return how many bytes of files were sent so far."""
        return sum(one.sent for one in self.asked(repository, file))

    def answer(self, request: Request, query: Form, form: Form) -> Answer:
        """Return the right answer to a request."""
        if request.path == "/api/whoami-v2" and request.token in self._known():
            return answers.as_json({"type": "user", "name": "reader", "orgs": [], "auth": {"type": "access_token"}})
        if found := CONTENT.fullmatch(request.path):
            kind, name, commit, path = found.groups()
            if request.place == "cdn" and request.token is not None:  # a token went to somebody who is not the hub
                return error(400, "Only one auth mechanism allowed")
            repository, refused = self._open(request, KINDS[kind], name, unquote(path))
            if request.place == "cdn":  # its addresses are signed
                refused = None
            return refused or answers.stored(repository, commit, request.file, request.span)
        if found := FILE.fullmatch(request.path):
            kind, name, revision, path = found.groups()
            repository, refused = self._open(request, KINDS[kind or "models"], name, unquote(path))
            commit = None if refused else repository.find(unquote(revision))
            missing = answers.no_revision(unquote(revision))
            return refused or (answers.resolved(repository, commit, request.file, self.cdn) if commit else missing)
        if found := API.fullmatch(request.path):
            kind, name, verb, revision, path = found.groups()
            repository, refused = self._open(request, KINDS[kind], name, "", for_content=verb == "auth-check")
            asked = (verb or "revision", unquote(revision or "main"), unquote(path or ""))
            return refused or self._about(repository, asked, f"{self.url}{request.path}", query, form)
        return answers.no_page()

    def _about(self, repository: Repository, asked: Sequence[str], address: str, query: Form, form: Form) -> Answer:
        verb, revision, path = asked
        if verb == "auth-check":
            return answers.as_json({})
        if verb == "refs":
            return answers.references(repository)
        if verb not in ("revision", "tree", "paths-info"):
            return answers.no_page()
        commit = repository.find(revision)
        if commit is None:
            return answers.no_revision(revision)
        files = repository.commits[commit]
        if verb == "tree":
            return answers.tree(files, commit, path, query, self.page, address)
        if verb == "paths-info":
            return answers.paths(files, form.get("paths", []))
        return answers.describe(repository, commit, query)

    def _open(
        self, request: Request, kind: Kind, name: str, file: str, *, for_content: bool = True
    ) -> tuple[Repository, Answer | None]:
        """Note what a request is for; return the repository, and why the visitor may not have it."""
        repository = self.repositories.get((kind, name))
        request.repository, request.file = name, file
        refused = answers.refusal(repository, request.token, self._known(), for_content=for_content)
        return repository or Repository(name), refused

    def _known(self) -> set[str]:
        return self.tokens.union(*(repository.readers for repository in self.repositories.values()))

    def fault(self, request: Request, *, sends_content: bool) -> Fault:
        """Return what happens to a request; nothing does by a fault without settings."""
        own = [one.faults for (_, name), one in self.repositories.items() if name == request.repository]
        for fault in [*self.faults, *(fault for faults in own for fault in faults)]:
            if fault.strikes(request.method, request.file, sends_content=sends_content):
                return fault
        return Fault()


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve an empty hub on two free ports for as long as the context is open."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and body are two writes

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            length = int(self.headers.get("Content-Length", 0))
            form = parse_qs(self.rfile.read(length).decode())
            token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
            place: Any = "hub" if self.server is servers[0] else "cdn"
            request = Request(place, self.command, path, token, self.headers.get("Range"))
            answer = hub.answer(request, parse_qs(query, keep_blank_values=True), form)
            is_content = answer.status in (200, 206) and bool(request.file)
            fault = hub.fault(request, sends_content=is_content and self.command == "GET")
            is_content = is_content and fault.answer is None
            answer = fault.answer or answer
            request.status = answer.status
            hub.requests.append(request)
            with suppress(OSError):  # the client may have gone
                self._send(answer, request if is_content else None, fault)

        do_HEAD = do_POST = do_GET

        def _send(self, answer: Answer, request: Request | None, fault: Fault) -> None:
            """Send an answer; the bytes of a file are written down in its request."""
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            end = len(answer.body) if fault.cut is None else min(fault.cut, len(answer.body))
            step = max(int(fault.rate / 20), 1) if fault.rate else end or 1
            for start in range(0, end, step):
                piece = answer.body[start : min(start + step, end)]
                if request is not None:
                    request.sent += len(piece)  # before the client can tell that it has them
                self.wfile.write(piece)
                if fault.rate and hub.closing.wait(len(piece) / fault.rate):
                    break
            self.close_connection = self.close_connection or end < len(answer.body) or hub.closing.is_set()

        def log_message(self, *args: object) -> None:
            """Nothing on stderr: tests look at what is printed."""

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    url, cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    hub = Hub(url, cdn)
    with ExitStack() as stack:
        for server in servers:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            for closing in (thread.join, server.server_close, server.shutdown, hub.closing.set):  # the last comes first
                stack.callback(closing)
        yield hub
