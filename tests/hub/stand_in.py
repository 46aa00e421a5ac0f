"""A stand-in for the Hugging Face hub: the routes that huggingface_hub uses, over real HTTP.

Repositories live in memory. Large files go through Git LFS, as on the hub. The hub's other
transfer, Xet, needs servers of its own and is not spoken here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_token_of_the_tests"

LICENSES = ["apache-2.0", "cc-by-4.0", "other"]

GITATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


class StandInHub:
    """A server on the loopback; `url` is its address, the value of HF_ENDPOINT.

    `repositories` holds the files of each commit: repository -> commit -> file -> bytes; `branches`
    the commit of each branch and tag; `asked` the requests, as "METHOD path".
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.private: set[str] = set()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def commit(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Store the files of a commit and return its name."""
        commits = self.repositories.setdefault(repo, {})
        name = hashlib.sha1(f"{repo} {len(commits)}".encode()).hexdigest()
        commits[name] = files
        self.branches.setdefault(repo, {})[branch] = name
        return name

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes] | None:
        """The files of a commit, branch or tag; None if there is no such one."""
        name = self.branches[repo].get(revision, revision)
        return self.repositories[repo].get(name)


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        for pattern, method in _ROUTES.items():
            found = re.fullmatch(pattern, f"{self.command} {path}")
            if found:
                method(self, body, **found.groupdict())
                return
        self._json({"error": "not spoken here"}, 501)

    def _send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, content: Any, status: int = 200, **headers: str) -> None:
        self._send(json.dumps(content).encode(), status, Content_Type="application/json", **headers)

    @property
    def _is_user(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _found(self, repo: str, revision: str) -> dict[str, bytes] | None:
        """The files of a revision; if there is no such one, that is the answer."""
        hidden = repo in self.hub.private and not self._is_user
        if repo not in self.hub.repositories or hidden:
            # the hub answers 401 to strangers, so that they don't learn which repositories exist
            self._json({"error": "Repository not found"}, 401, X_Error_Code="RepoNotFound")
            return None
        files = self.hub.files(repo, revision)
        if files is None:
            self._json({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
        return files

    def info(self, body: bytes, repo: str, revision: str = "main") -> None:
        files = self._found(repo, revision)
        if files is not None:
            sha = self.hub.branches[repo].get(revision, revision)
            siblings = [{"rfilename": name} for name in files]
            self._json({"id": repo, "modelId": repo, "sha": sha, "siblings": siblings})

    def tree(self, body: bytes, repo: str, revision: str) -> None:
        files = self._found(repo, revision)
        if files is None:
            return
        entries = []
        for name, content in files.items():
            entry = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
            if name.endswith(".safetensors"):
                sha = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 130}
            entries.append(entry)
        self._json(entries)

    def resolve(self, body: bytes, repo: str, revision: str, name: str) -> None:
        files = self._found(repo, revision)
        if files is None:
            return
        commit = self.hub.branches[repo].get(revision, revision)
        if name not in files:
            self._json({"error": "no"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        content = files[name]
        etag = git_hash(content)
        if name.endswith(".safetensors"):
            etag = hashlib.sha256(content).hexdigest()
        self._send(content, ETag=f'"{etag}"', X_Repo_Commit=commit)

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        if not self._is_user:
            self._json({"error": "Invalid credentials"}, 401)
        elif repo in self.hub.repositories:
            error = "You already created this model repo"
            self._json({"error": error, "url": f"{self.hub.url}/{repo}"}, 409)
        else:
            self.hub.commit(repo, {".gitattributes": GITATTRIBUTES})
            if asked.get("visibility") == "private":
                self.hub.private.add(repo)
            self._json({"url": f"{self.hub.url}/{repo}"})

    def validate(self, body: bytes) -> None:
        """Read the front matter with a YAML parser, as the hub does."""
        content = json.loads(body)["content"]
        front = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        fields = yaml.safe_load(front[1]) if front else None
        errors = []
        if not isinstance(fields, dict):
            errors.append({"message": "no metadata"})
        elif fields.get("license", LICENSES[0]) not in LICENSES:
            errors.append({"message": f'"license" must be one of {LICENSES}'})
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        files = []
        for file in json.loads(body)["files"]:
            mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        self._json({"files": files})

    def batch(self, body: bytes, repo: str) -> None:
        objects = []
        for item in json.loads(body)["objects"]:
            upload = {"href": f"{self.hub.url}/lfs/{item['oid']}"}
            objects.append({**item, "actions": {"upload": upload}})
        self._json({"transfer": "basic", "objects": objects})

    def store(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.objects[oid] = body
        self._send(b"")

    def add_commit(self, body: bytes, repo: str, revision: str) -> None:
        files = dict(self.hub.files(repo, revision) or {})
        for line in body.splitlines():
            step = json.loads(line)
            value = step["value"]
            if step["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif step["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif step["key"] == "deletedFile":
                del files[value["path"]]
        name = self.hub.commit(repo, files, revision)
        self._json({"commitUrl": f"{self.hub.url}/{repo}/commit/{name}", "commitOid": name})


_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_REVISION = r"(?P<revision>[^/]+)"
_ROUTES: dict[str, Callable[..., None]] = {
    rf"GET /api/models/{_REPO}": _Handler.info,
    rf"GET /api/models/{_REPO}/revision/{_REVISION}": _Handler.info,
    rf"GET /api/models/{_REPO}/tree/{_REVISION}": _Handler.tree,
    rf"(GET|HEAD) /{_REPO}/resolve/{_REVISION}/(?P<name>.+)": _Handler.resolve,
    r"POST /api/repos/create": _Handler.create,
    r"POST /api/validate-yaml": _Handler.validate,
    rf"POST /api/models/{_REPO}/preupload/{_REVISION}": _Handler.preupload,
    rf"POST /{_REPO}\.git/info/lfs/objects/batch": _Handler.batch,
    r"PUT /lfs/(?P<oid>\w+)": _Handler.store,
    rf"POST /api/models/{_REPO}/commit/{_REVISION}": _Handler.add_commit,
}


def git_hash(content: bytes) -> str:
    """The name that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
