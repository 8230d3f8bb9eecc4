"""A Hub on this machine: the endpoints that huggingface_hub uses to publish and load a model.

Creating a repository, the upload of large files (LFS batch, PUT, verify), commits, the
description of a revision, its tree, and files by redirect, with the headers and error codes of
the real one. Repositories live in memory; writing asks for a token, any will do.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors",)  # the Hub keeps these as large files


@dataclass
class Repository:
    """Commits by id, each a whole tree of paths to contents, and where the branch stands."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)

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
                if verb == "POST" and "authorization" not in self.headers:
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
        made = name not in self.server.repositories
        self.server.repositories.setdefault(name, Repository())
        address = {"url": f"{self.server.endpoint}/{name}", "name": name}
        self.send_json(address, 200 if made else 409)

    def validate_yaml(self) -> None:
        content = json.loads(self.body)["content"]
        errors = [] if content.startswith("---\n") else [{"message": "there is no front matter"}]
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
            self.send_json({"id": name, "sha": found[0], "siblings": siblings, "private": False})

    def tree(self, name: str, revision: str) -> None:
        if found := self.find(name, revision):
            self.send_json([_tree_entry(path, content) for path, content in found[1].items()])

    def resolve(self, name: str, revision: str, path: str) -> None:
        found = self.find(name, revision)
        if found is None:
            return None
        commit, files = found
        if path not in files:
            return self.fail(404, "EntryNotFound", f"{path} does not exist")
        entry = _tree_entry(path, files[path])
        if "lfs" not in entry:
            return self.send(200, files[path], X_Repo_Commit=commit, ETag=f'"{entry["oid"]}"')
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
        self.send(200, self.server.large_files[oid], ETag=f'"{oid}"')


def _tree_entry(path: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if path.endswith(LARGE):
        oid = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
    return entry


NAME = r"([^/]+/[^/]+?)"
ROUTES = [
    ("POST", r"/api/repos/create", Handler.create_repository),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("POST", rf"/api/models/{NAME}/preupload/(.+)", Handler.preupload),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/large/(\w+)", Handler.receive),
    ("POST", r"/large/(\w+)/verify", Handler.verify),
    ("POST", rf"/api/models/{NAME}/commit/(.+)", Handler.commit),
    ("GET", rf"/api/models/{NAME}", Handler.describe),
    ("GET", rf"/api/models/{NAME}/revision/(.+)", Handler.describe),
    ("GET", rf"/api/models/{NAME}/tree/([^/]+)", Handler.tree),
    ("GET HEAD", rf"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
    ("GET HEAD", r"/large/(\w+)", Handler.fetch),
]
