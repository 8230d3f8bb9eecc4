"""A Hub on this machine, for the tests of every package: the endpoints that huggingface_hub and
datasets use to publish and load models and datasets.

Creating a repository, the upload of large files (LFS batch, PUT, verify), commits, the
description of a revision, its tree, and files by redirect, whole or in part, with the headers and
error codes of the real one. Repositories live in memory; writing asks for a token, any will do.
Those of datasets are kept, as in the Hub's addresses, under `datasets/` and their name.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".parquet", ".npy", ".npz")  # the Hub keeps these as large files
LICENSES = ("apache-2.0", "cc-by-4.0", "mit", "other", "unknown")  # a few of those that it knows


@dataclass
class Repository:
    """Commits by id, each a whole tree of paths to contents, and where the branch stands."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False

    def commit(self, branch: str, changes: dict[str, bytes], message: str) -> str:
        parent = self.branches.get(branch, "")
        tree = {**self.commits.get(parent, {}), **changes}
        name = hashlib.sha1(f"{parent} {message} {sorted(changes)}".encode()).hexdigest()
        self.commits[name], self.branches[branch] = tree, name
        self.messages.append(message)
        return name

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch or a commit id names."""
        name = self.branches.get(revision, revision)
        return name if name in self.commits else None


class Hub(ThreadingHTTPServer):
    """The server and what it keeps."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.parts = 0  # how often a part of a file was asked for


@contextmanager
def running_hub() -> Iterator[Hub]:
    with Hub() as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


class Handler(BaseHTTPRequestHandler):
    """One request; ``ROUTES`` at the end says which method answers which."""

    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]: the only server it is for
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        for verb, pattern, method in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in verb.split():
                writes = verb == "POST" and method is not Handler.paths_info
                if writes and "authorization" not in self.headers:
                    return self.fail(401, "", "Invalid username or password.")
                return method(self, *match.groups())
        return self.fail(404, "", "Not found")

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - the names that http.server calls

    def send(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, value: Any, status: int = 200) -> None:
        self.send(status, json.dumps(value).encode(), Content_Type="application/json")

    def fail(self, status: int, code: str, message: str) -> None:
        self.send(status, X_Error_Code=code, X_Error_Message=message)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Says nothing: the test run's output is for tests."""

    # --- writing -------------------------------------------------------------------------------

    def create_repository(self) -> None:
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        name = f"datasets/{name}" if wanted.get("type") == "dataset" else name
        made = name not in self.server.repositories
        repository = self.server.repositories.setdefault(name, Repository())
        if made:
            private = wanted.get("private", False)  # before huggingface_hub 2
            repository.private = private or wanted.get("visibility") == "private"
        address = {"url": f"{self.server.endpoint}/{name}", "name": name}
        self.send_json(address, 200 if made else 409)

    def validate_yaml(self) -> None:
        told = json.loads(self.body)
        content, errors = told["content"], []
        if not content.startswith("---\n"):
            errors.append({"message": "there is no front matter"})
        stated = re.search(r"^license: (.*)$", content, flags=re.MULTILINE)
        if told["repoType"] == "model" and stated and stated[1] not in LICENSES:
            errors.append({"message": f'"license" must be one of {", ".join(LICENSES)}'})
        self.send_json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, name: str, revision: str) -> None:
        if name not in self.server.repositories:
            return self.fail(404, "RepoNotFound", "Repository not found")
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        return self.send_json({"files": files})

    def batch(self, name: str) -> None:
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            described: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.server.large_files:
                address = f"{self.server.endpoint}/large/{wanted['oid']}"
                described["actions"] = {
                    "upload": {"href": address},
                    "verify": {"href": f"{address}/verify"},
                }
            objects.append(described)
        self.send_json({"transfer": "basic", "objects": objects})

    def receive(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.fail(400, "", "the content is not what its name says")
        self.server.large_files[oid] = self.body
        return self.send(200)

    def verify(self, oid: str) -> None:
        size = len(self.server.large_files.get(oid, b""))
        self.send(200 if size == json.loads(self.body)["size"] else 422)

    def commit(self, name: str, branch: str) -> None:
        changes, message = {}, ""
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
            elif item["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                changes[value["path"]] = self.server.large_files[value["oid"]]
        oid = self.server.repositories[name].commit(branch, changes, message)
        address = f"{self.server.endpoint}/{name}/commit/{oid}"
        self.send_json({"commitUrl": address, "commitOid": oid, "success": True})

    # --- reading -------------------------------------------------------------------------------

    def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and its tree; answers with the Hub's error where there is none."""
        repository = self.server.repositories.get(name)
        if repository is None:
            self.fail(404, "RepoNotFound", "Repository not found")
            return None
        commit = repository.resolve(revision)
        if commit is None:
            self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return commit, repository.commits[commit]

    def describe(self, name: str, revision: str | None = None) -> None:
        if found := self.find(name, revision or "main"):
            siblings = [{"rfilename": path} for path in found[1]]
            private = self.server.repositories[name].private
            identity = name.removeprefix("datasets/")
            self.send_json(
                {"id": identity, "sha": found[0], "siblings": siblings, "private": private}
            )

    def tree(self, name: str, revision: str, folder: str | None = None) -> None:
        found = self.find(name, revision)
        if found is None:
            return None
        start = f"{folder}/" if folder else ""
        below = {path: content for path, content in found[1].items() if path.startswith(start)}
        if not below:
            return self.fail(404, "EntryNotFound", f"{folder} does not exist")
        entries = [_tree_entry(path, content) for path, content in below.items()]
        folders = {f"{parent}" for path in below for parent in PurePosixPath(path).parents} - {"."}
        entries += [_folder_entry(path) for path in sorted(folders) if path.startswith(start)]
        if "recursive=true" not in urlsplit(self.path).query.lower():
            entries = [entry for entry in entries if "/" not in entry["path"][len(start) :]]
        return self.send_json(entries)

    def paths_info(self, name: str, revision: str) -> None:
        if found := self.find(name, revision):
            wanted = parse_qs(self.body.decode())["paths"]
            entries = [_tree_entry(path, found[1][path]) for path in wanted if path in found[1]]
            for path in set(wanted) - set(found[1]):
                if any(file.startswith(f"{path}/") for file in found[1]):
                    entries.append(_folder_entry(path))
            self.send_json(entries)

    def resolve(self, name: str, revision: str, path: str) -> None:
        found = self.find(name, revision)
        if found is None:
            return None
        commit, files = found
        if path not in files:
            return self.fail(404, "EntryNotFound", f"{path} does not exist")
        entry = _tree_entry(path, files[path])
        if "lfs" not in entry:
            return self.send_part(files[path], X_Repo_Commit=commit, ETag=f'"{entry["oid"]}"')
        oid = entry["lfs"]["oid"]
        return self.send(
            302,
            # Another host, as on the Hub: a client that followed it would lose these headers.
            Location=f"http://localhost:{self.server.server_port}/large/{oid}",
            X_Repo_Commit=commit,
            X_Linked_Etag=f'"{oid}"',
            X_Linked_Size=str(len(files[path])),
        )

    def fetch(self, oid: str) -> None:
        self.send_part(self.server.large_files[oid], ETag=f'"{oid}"')

    def send_part(self, content: bytes, **headers: str) -> None:
        """Those bytes that the request asks for."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match is None:
            return self.send(200, content, Accept_Ranges="bytes", **headers)
        first, last = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
        if first > last:
            return self.send(416, Content_Range=f"bytes */{len(content)}")
        part = content[first : last + 1]
        self.server.parts += 1
        return self.send(206, part, Content_Range=f"bytes {first}-{last}/{len(content)}", **headers)


def _tree_entry(path: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if path.endswith(LARGE):
        oid = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
    return entry


def _folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}


NAME = r"((?:datasets/)?[^/]+/[^/]+?)"
API = rf"/api/(?:models/)?{NAME}"
ROUTES = [
    ("POST", r"/api/repos/create", Handler.create_repository),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("POST", rf"{API}/preupload/(.+)", Handler.preupload),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/large/(\w+)", Handler.receive),
    ("POST", r"/large/(\w+)/verify", Handler.verify),
    ("POST", rf"{API}/commit/(.+)", Handler.commit),
    ("POST", rf"{API}/paths-info/([^/]+)", Handler.paths_info),
    ("GET", API, Handler.describe),
    ("GET", rf"{API}/revision/(.+)", Handler.describe),
    ("GET", rf"{API}/tree/([^/]+)", Handler.tree),
    ("GET", rf"{API}/tree/([^/]+)/(.+)", Handler.tree),
    ("GET HEAD", rf"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
    ("GET HEAD", r"/large/(\w+)", Handler.fetch),
]


def play(client: Path, *arguments: object, hub: Hub, home: Path, **environment: str) -> Any:
    """What a script of a test tells, as JSON, of a scenario that it plays against ``hub``: in a
    process of its own, as the Hub's address is read at import, and with the cache ``home``."""
    settings = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": "hf_of_nobody",
        "HF_HUB_DISABLE_XET": "1",  # the server speaks the Hub's older upload, LFS
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    done = subprocess.run(
        [sys.executable, str(client), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **settings, **environment},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
