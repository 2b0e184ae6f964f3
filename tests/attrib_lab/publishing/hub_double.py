"""A double of the Hub on the loopback interface: what the real client says to one, answered from memory.

Repositories of models, their commits, branches, tags and pull requests; files small (in the commit) and large (LFS).
What goes wrong is up to a test: see `HubDouble.faults`.
"""

import base64
import contextlib
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


LARGE = (".safetensors", ".png")  # what the Hub keeps in LFS, whatever the size
ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
Tree = dict[str, str]  # path -> SHA-256 of the content


class RefusedError(Exception):
    """An answer that is none of success: status, the Hub's error code, message."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class HungUpError(Exception):
    """The connection dies without an answer."""


@dataclass
class Repository:
    """One repository: its commits, newest last, and what points at them."""

    private: bool
    commits: dict[str, Tree] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pull_requests: dict[str, str] = field(default_factory=dict)

    def add_commit(self, tree: Tree, parent: str | None) -> str:
        content = json.dumps([tree, parent, len(self.commits)], sort_keys=True)
        oid = hashlib.sha1(content.encode()).hexdigest()
        self.commits[oid] = tree
        return oid

    def find(self, revision: str) -> str:
        """The commit that a branch, tag, pull request (`refs/pr/1`) or hash means."""
        for names in (self.branches, self.tags, self.pull_requests):
            if revision in names:
                return names[revision]
        if revision in self.commits:
            return revision
        raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


@dataclass
class HubDouble:
    """What the Hub knows.

    Attributes:
        users: token -> name of who may use it.
        objects: SHA-256 -> content of a file.
        requests: every request so far, "METHOD /path", in order.
        faults: asked with "METHOD /path" before each answer; may raise `HungUpError` or `RefusedError`. Of an upload,
            half is read by then.
        answers_lost: asked likewise; whether the connection dies after the work is done.
        xet_store: folder in which Xet's client keeps large files, where it does not upload them by LFS. They can be
            committed and listed; what is in them is that client's own affair.
        sizes: SHA-256 -> size of each of these.
        served: path -> content that is handed out for a file in place of its own.
        told: path -> hash that is named for a file in place of its own.
    """

    users: dict[str, str]
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    faults: Callable[[str], None] = lambda request: None
    answers_lost: Callable[[str], bool] = lambda request: False
    xet_store: Path | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    served: dict[str, bytes] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    address: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.objects[digest] = content
        return digest

    def create(self, repo_id: str, private: bool, **files: bytes) -> Repository:
        """A repository with one commit, as the Hub makes it."""
        repository = self.repositories[repo_id] = Repository(private)
        tree = {".gitattributes": self.keep(ATTRIBUTES)} | {name: self.keep(content) for name, content in files.items()}
        repository.branches["main"] = repository.add_commit(tree, None)
        return repository

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a repository at a revision, without the one that the Hub itself puts there."""
        repository = self.repositories[repo_id]
        tree = repository.commits[repository.find(revision)]
        return {path: self.objects[digest] for path, digest in tree.items() if path != ".gitattributes"}


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Request:
    """One request, answered: `(status, headers, body)`."""

    def __init__(self, hub: HubDouble, method: str, path: str, headers: Any, body: bytes) -> None:
        url = urlsplit(path)
        self.hub, self.method, self.body = hub, method, body
        self.parts = url.path.strip("/").split("/")  # before unquoting: a branch's name may hold a slash
        self.query = parse_qs(url.query)
        self.user = hub.users.get(headers.get("Authorization", "").removeprefix("Bearer "))

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        parts = self.parts
        if parts == ["api", "whoami-v2"]:
            return self._json({"type": "user", "name": self._login(), "orgs": []})
        if parts == ["api", "validate-yaml"]:
            return self._json({"errors": [], "warnings": []})
        if parts == ["api", "repos", "create"]:
            return self._create()
        if parts[0] == "lfs":
            return self._large_file(parts[1])
        if parts[:2] == ["api", "models"]:
            return self._api(self._repository("/".join(parts[2:4])), "/".join(parts[2:4]), parts[4:])
        if parts[2:] == ["info", "lfs", "objects", "batch"]:
            self._repository("/".join(parts[:2]).removesuffix(".git"))
            self._login()  # who may only propose uploads too, before there is a pull request
            return self._batch()
        if parts[2] == "resolve":
            return self._resolve(self._repository("/".join(parts[:2])), unquote(parts[3]), unquote("/".join(parts[4:])))
        raise RefusedError(404, f"the double has no {'/'.join(parts)}")

    # Who asks -------------------------------------------------------------------------------------------------------

    def _login(self) -> str:
        if self.user is None:
            raise RefusedError(401, "Invalid username or password.")
        return self.user

    def _repository(self, repo_id: str) -> Repository:
        found = self.hub.repositories.get(repo_id)
        if found is None or (found.private and self.user != repo_id.partition("/")[0]):
            raise RefusedError(404 if self.user else 401, "Repository not found", "RepoNotFound")
        return found

    def _writable(self, repo_id: str) -> Repository:
        repository = self._repository(repo_id)
        if self._login() != repo_id.partition("/")[0] and "create_pr" not in self.query:
            raise RefusedError(403, f"Forbidden: you have no write access to {repo_id}")
        return repository

    # Answers --------------------------------------------------------------------------------------------------------

    def _json(self, content: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
        return status, {"Content-Type": "application/json"}, json.dumps(content).encode()

    def _create(self) -> tuple[int, dict[str, str], bytes]:
        asked = json.loads(self.body)
        owner = asked.get("organization") or self._login()
        repo_id, url = f"{owner}/{asked['name']}", f"{self.hub.address}/{owner}/{asked['name']}"
        if owner != self._login():
            raise RefusedError(403, f"You don't have the rights to create a model under the namespace {owner}")
        if repo_id in self.hub.repositories:
            return self._json({"error": "You already created this model repo", "url": url}, 409)
        self.hub.create(repo_id, asked.get("visibility") == "private")
        return self._json({"url": url, "name": repo_id})

    def _batch(self) -> tuple[int, dict[str, str], bytes]:
        answers = []
        for asked in json.loads(self.body)["objects"]:
            upload = {"href": f"{self.hub.address}/lfs/{asked['oid']}"}
            verify = {"href": f"{self.hub.address}/lfs/verify"}
            known = asked["oid"] in self.hub.objects
            answers.append(asked | ({} if known else {"actions": {"upload": upload, "verify": verify}}))
        return self._json({"transfer": "basic", "objects": answers})

    def _large_file(self, name: str) -> tuple[int, dict[str, str], bytes]:
        if name == "verify":
            asked = json.loads(self.body)
            if len(self.hub.objects.get(asked["oid"], b"")) != asked["size"]:
                raise RefusedError(404, "the object was not uploaded")
            return self._json({})
        if hashlib.sha256(self.body).hexdigest() != name:
            raise RefusedError(400, "the content does not have this SHA-256")
        self.hub.keep(self.body)
        return 200, {}, b""

    def _api(self, repository: Repository, repo_id: str, rest: list[str]) -> tuple[int, dict[str, str], bytes]:
        what, revision = rest[0] if rest else "revision", unquote(rest[1]) if len(rest) > 1 else "main"
        if what == "xet-write-token":
            self._login()
            token = {"casUrl": f"local://{self.hub.xet_store}", "accessToken": "xet", "exp": int(time.time()) + 3600}
            return self._json(token)
        if what in ("preupload", "commit", "branch", "tag"):
            self._writable(repo_id)
        if what == "revision":
            oid = repository.find(revision)
            siblings = [{"rfilename": path} for path in repository.commits[oid]]
            return self._json({"id": repo_id, "sha": oid, "private": repository.private, "siblings": siblings})
        if what == "tree":
            return self._json([self._entry(*file) for file in repository.commits[repository.find(revision)].items()])
        if what == "refs":
            named = {"branches": repository.branches, "tags": repository.tags, "pullRequests": repository.pull_requests}
            refs = {
                kind: [{"name": name, "ref": name, "targetCommit": oid} for name, oid in names.items()]
                for kind, names in named.items()
            }
            return self._json(refs | {"converts": []})
        if what == "preupload":
            files = [self._mode(repository, revision, file["path"]) for file in json.loads(self.body)["files"]]
            return self._json({"files": files})
        if what == "commit":
            return self._commit(repository, repo_id, revision)
        return self._name(repository, what, revision)

    def _entry(self, path: str, digest: str) -> dict[str, Any]:
        if path.endswith(LARGE):
            told = self.hub.told.get(path, digest)
            size = self.hub.sizes.get(digest) or len(self.hub.objects[digest])
            lfs = {"oid": told, "size": size, "pointerSize": 134}
            return {"type": "file", "path": path, "size": size, "oid": told[:40], "lfs": lfs}
        content = self.hub.objects[digest]
        entry = {"type": "file", "path": path, "size": len(content), "oid": self.hub.told.get(path, _blob_id(content))}
        return entry

    def _mode(self, repository: Repository, revision: str, path: str) -> dict[str, Any]:
        digest = repository.commits[repository.find(revision)].get(path)
        large = path.endswith(LARGE)
        known = digest if large or digest is None else _blob_id(self.hub.objects[digest])
        return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": known}

    def _commit(self, repository: Repository, repo_id: str, revision: str) -> tuple[int, dict[str, str], bytes]:
        parent = repository.find(revision)
        tree = dict(repository.commits[parent])
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit", parent) != parent:
                raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
            if line["key"] == "file":
                tree[value["path"]] = self.hub.keep(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects and self.hub.xet_store is None:
                    raise RefusedError(400, "this LFS object was never uploaded")
                self.hub.sizes[value["oid"]] = value["size"]
                tree[value["path"]] = value["oid"]
            elif line["key"] == "deletedFile":
                del tree[value["path"]]
        oid = repository.add_commit(tree, parent)
        answer = {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.address}/{repo_id}/commit/{oid}"}
        if "create_pr" in self.query:
            number = len(repository.pull_requests) + 1
            repository.pull_requests[f"refs/pr/{number}"] = oid
            answer["pullRequestUrl"] = f"{self.hub.address}/{repo_id}/discussions/{number}"
        else:
            repository.branches[revision] = oid
        return self._json(answer)

    def _name(self, repository: Repository, what: str, name: str) -> tuple[int, dict[str, str], bytes]:
        """A new branch, or a tag of the revision `name`."""
        asked = json.loads(self.body or b"{}")
        revision, names = asked.get("startingPoint", "main"), repository.branches
        if what == "tag":
            revision, name, names = name, asked["tag"], repository.tags
        if name in names:
            raise RefusedError(409, f"{what} already exists")
        names[name] = repository.find(revision)
        return self._json({}, 201)

    def _resolve(self, repository: Repository, revision: str, path: str) -> tuple[int, dict[str, str], bytes]:
        oid = repository.find(revision)
        digest = repository.commits[oid].get(path)
        if digest is None:
            raise RefusedError(404, "Entry not found", "EntryNotFound")
        content = self.hub.served.get(path, self.hub.objects[digest])
        headers = {"X-Repo-Commit": oid, "ETag": f'"{self._entry(path, digest)["oid"]}"'}
        if path.endswith(LARGE):
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        return 200, headers, content


def _handler(hub: HubDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            named = f"{self.command} {self.path}"
            try:
                status, headers, content = self.outcome(named)
                if hub.answers_lost(named):
                    raise HungUpError
            except HungUpError:
                # Reset, as a connection does that dies: an orderly end would wait for what is left unread.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def outcome(self, named: str) -> tuple[int, dict[str, str], bytes]:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length // 2)
            with hub.lock:
                hub.requests.append(named)
                try:
                    hub.faults(named)
                    body += self.rfile.read(length - len(body))
                    return Request(hub, self.command, self.path, self.headers, body).answer()
                except RefusedError as refused:
                    self.rfile.read(length - len(body))  # the connection is used again
                    headers = {"X-Error-Message": refused.message}
                    headers |= {"X-Error-Code": refused.code} if refused.code else {}
                    return refused.status, headers, json.dumps({"error": refused.message}).encode()

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 (the names that http.server calls)

        def log_message(self, *_: Any) -> None:
            pass

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):  # a connection that hung up is closed already
                super().finish()

    return Handler


@contextlib.contextmanager
def running_hub(**users: str) -> Iterator[HubDouble]:
    """A Hub without repositories, at `address`, for these users: name -> token."""
    hub = HubDouble({token: name for name, token in users.items()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
