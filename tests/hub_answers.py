"""What a hub answers about a repository: its description, its files, their content, or why they may not be had."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha1
from typing import Any
from urllib.parse import quote

from hub_contents import File, Repository
from hub_faults import Answer, error

DATE = "2024-05-01T12:00:00.000Z"
RANGE = re.compile(r"bytes=(?=-?\d)(\d*)-(\d*)")


def as_json(content: object, **headers: str) -> Answer:
    """A right answer of the API."""
    found = {"Content-Type": "application/json; charset=utf-8", **headers}
    return Answer(200, found, json.dumps(content).encode())


def no_page() -> Answer:
    """There is nothing at this address."""
    return error(404, "Sorry, we can't find the page you are looking for.")


def no_revision(revision: str) -> Answer:
    """The repository has no such branch, tag or commit."""
    return error(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def no_entry(commit: str) -> Answer:
    """The commit has no such file or folder; clients remember it by the commit."""
    return error(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit)


def refusal(
    repository: Repository | None, token: str | None, known: Collection[str], *, for_content: bool
) -> Answer | None:
    """Return why a visitor may not have what was asked for; None: it may.

    Args:
        repository: None: there is none of the name that was asked for.
        known: the tokens that are somebody's.
        for_content: whether a file itself is asked for, which of a gated repository only readers get.
    """
    if token is not None and token not in known:
        return error(401, "Invalid credentials in Authorization header")
    is_reader = repository is not None and token in repository.readers
    if repository is None or (repository.private and not is_reader):
        # huggingface.co sends no code with the 401, and clients know by its https address what is meant
        if token is None:
            return error(401, "Invalid username or password.", "RepoNotFound")
        return error(404, "Repository not found", "RepoNotFound")
    if repository.gated and for_content and not is_reader:
        start = f"Access to {repository.kind} {repository.name} is restricted"
        if token is None:
            why = f"{start}. You must have access to it and be authenticated to access it. Please log in."
            return error(401, why, "GatedRepo")
        return error(403, f"{start} and you are not in the authorized list.", "GatedRepo")
    return None


def describe(repository: Repository, commit: str, query: Mapping[str, Sequence[str]]) -> Answer:
    """What `model_info` and `dataset_info` ask for."""
    files = repository.commits[commit]
    sized = "blobs" in query
    found: dict[str, Any] = {
        "_id": sha1(repository.name.encode()).hexdigest()[:24],
        "id": repository.name,
        "author": repository.name.partition("/")[0],
        "sha": commit,
        "private": repository.private,
        "gated": "auto" if repository.gated else False,
        "disabled": False,
        "createdAt": DATE,
        "lastModified": DATE,
        "downloads": 1000,
        "likes": 10,
        "tags": [],
        "siblings": [{"rfilename": path, **(_sizes(file) if sized else {})} for path, file in files.items()],
    }
    if repository.kind == "model":
        config = json.loads(files["config.json"].content) if "config.json" in files else {}
        told = {key: config[key] for key in ("architectures", "model_type", "auto_map") if key in config}
        found |= {"modelId": repository.name, "config": told}
    if "expand" in query:
        found = {key: value for key, value in found.items() if key in {"_id", "id", *query["expand"]}}
    return as_json(found)


def tree(
    files: Mapping[str, File], commit: str, folder: str, query: Mapping[str, Sequence[str]], page: int, address: str
) -> Answer:
    """What `list_repo_tree` asks for: files and folders below a folder, a page at a time.

    Args:
        folder: "" is the repository itself.
        address: of this listing, to which the link to the next page is.
    """
    inside = f"{folder}/" if folder else ""
    held = {path: file for path, file in files.items() if path.startswith(inside)}
    if not held:
        return no_entry(commit)
    parents = {path[:end] for path in held for end in range(len(inside), len(path)) if path[end] == "/"}
    found = {path: _entry(path, file) for path, file in held.items()}
    found |= {path: _entry(path, None) for path in parents}
    if query.get("recursive", ["false"])[0].lower() != "true":
        found = {path: one for path, one in found.items() if "/" not in path.removeprefix(inside)}
    start = int(query.get("cursor", ["0"])[0])
    entries = [one for _, one in sorted(found.items())][start : start + page]
    kept = "&".join(f"{key}={query[key][0]}" for key in ("recursive", "expand") if key in query)
    link = {"Link": f'<{address}?{kept}&cursor={start + page}>; rel="next"'} if start + page < len(found) else {}
    return as_json(entries, **link)


def paths(files: Mapping[str, File], asked: Sequence[str]) -> Answer:
    """What `get_paths_info` asks for; paths that are not there are left out."""
    folders = [path for path in asked if any(file.startswith(f"{path}/") for file in files)]
    return as_json([_entry(path, files.get(path)) for path in asked if path in files or path in folders])


def references(repository: Repository) -> Answer:
    """What `list_repo_refs` asks for."""

    def named(kind: str, of: Mapping[str, str]) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit} for name, commit in of.items()]

    found = {"branches": named("heads", repository.branches), "converts": [], "tags": named("tags", repository.tags)}
    return as_json(found)


def resolved(repository: Repository, commit: str, path: str, cdn: str) -> Answer:
    """Where the content of a file is: on the hub for files of git, elsewhere for those of git-lfs."""
    file = repository.commits[commit].get(path)
    if file is None:
        return no_entry(commit)
    place = f"/{repository.kind}s/{repository.name}/{commit}/{quote(path)}"
    headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
    if not file.is_lfs:
        headers |= {"Location": f"/api/resolve-cache{place}?etag={quote(_quoted(file.etag))}"}
        return Answer(307, headers, b"Temporary Redirect.")
    headers |= {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": _quoted(file.etag)}
    headers |= {"Location": f"{cdn}{place}?Expires=1900000000&Signature=none", "ETag": _quoted(file.oid)}
    return Answer(302, headers, b"Found.")


def stored(repository: Repository, commit: str, path: str, span: str | None) -> Answer:
    """The content of a file, or a range of it.

    Args:
        span: the header Range.
    """
    file = repository.commits.get(commit, {}).get(path)
    if file is None:
        return no_entry(commit)
    size, name = len(file.content), path.rpartition("/")[2]
    headers = {"ETag": _quoted(file.etag), "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    headers |= {"Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}; filename=\"{name}\";"}
    if not file.is_lfs:
        headers |= {"X-Repo-Commit": commit}
    wanted = RANGE.fullmatch(span or "")
    if wanted is None:  # no range, or one that servers may leave aside
        return Answer(200, headers, file.content)
    first, last = wanted.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1 if first and last else size, size)
    if start >= end:
        return error(416, "Range Not Satisfiable", Content_Range=f"bytes */{size}")
    headers |= {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
    return Answer(206, headers, file.content[start:end])


def _sizes(file: File) -> dict[str, Any]:
    sizes: dict[str, Any] = {"size": len(file.content), "blobId": file.oid}
    if file.is_lfs:
        sizes["lfs"] = {"sha256": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
    return sizes


def _entry(path: str, file: File | None) -> dict[str, Any]:
    """A line of a tree; None: of a folder."""
    if file is None:
        return {"type": "directory", "oid": sha1(path.encode()).hexdigest(), "size": 0, "path": path}
    entry: dict[str, Any] = {"type": "file", "oid": file.oid, "size": len(file.content), "path": path}
    if file.is_lfs:
        entry["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
    return entry


def _quoted(tag: str) -> str:
    return f'"{tag}"'
