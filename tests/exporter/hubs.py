"""A server on loopback that speaks the protocols of the hubs: plain files, TF Hub, Hugging Face, Kaggle."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import ssl
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_loopback"


def tar_of(folder: Path, mode: str = "w:gz", prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, f"{prefix}{path.relative_to(folder)}", recursive=False)
    return buffer.getvalue()


@dataclass
class Hubs:
    """The contents of the server, and its failures.

    Attributes:
        files: plain downloads, by path.
        elsewhere: redirects, by path.
        modules: TF Hub modules, by path.
        repositories: folders of Hugging Face repositories, by id.
        kaggle: folders of Kaggle models, by handle without version.
        status: pattern of a path -> status to answer instead, and number of times.
        cut: pattern of a path -> number of bytes after which the answer breaks off, and number of times.
        requests: method, path and Range of every request.
        gated, private: ids of repositories that need a token.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    modules: dict[str, bytes] = field(default_factory=dict)
    repositories: dict[str, Path] = field(default_factory=dict)
    kaggle: dict[str, Path] = field(default_factory=dict)
    status: dict[str, list[int]] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    ranges: bool = True
    etag: bool = True
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def asked(self, pattern: str, method: str = "GET") -> list[str | None]:
        """Ranges of the requests for paths that match."""
        return [span for verb, path, span in self.requests if verb == method and re.search(pattern, path)]


@contextlib.contextmanager
def serve(hubs: Hubs, tls: tuple[Path, Path] | None = None) -> Iterator[Hubs]:
    """Run the server; ``tls`` is a certificate and its key."""

    class Handler(_Handler):
        pass

    Handler.hubs = hubs
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hubs.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hubs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hubs: Hubs
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.hubs.requests.append((self.command, self.path, self.headers.get("Range")))
        for pattern, (status, *times) in self.hubs.status.items():
            if re.search(pattern, self.path) and (not times or times[0] > 0):
                if times:
                    self.hubs.status[pattern][1] -= 1
                return self.reply(status, b"refused")
        if path in self.hubs.elsewhere:
            return self.redirect(self.hubs.elsewhere[path])
        if path.startswith("/moved/"):
            return self.redirect("/" + path.removeprefix("/moved/") + ("?" + parts.query if parts.query else ""))
        if path in self.hubs.files:
            return self.content(self.hubs.files[path])
        if path in self.hubs.modules:
            if parse_qs(parts.query).get("tf-hub-format") != ["compressed"]:
                return self.reply(400, b"no format")
            return self.content(self.hubs.modules[path])
        if path.startswith("/api/v1/models.ModelApiService/"):
            return self.kaggle(path.rpartition("/")[2])
        return self.hugging_face(path)

    # Hugging Face: /api/models/<id>[/revision/<rev>], /api/models/<id>/tree/<rev>, /<id>/resolve/<rev>/<file>.

    def hugging_face(self, path: str) -> None:
        found = re.fullmatch(r"/api/models/(.+?)(?:/(revision|tree)/([^/]+))?", path)
        resolve = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path)
        if not found and not resolve:
            return self.reply(404, b"no such page")
        match = found or resolve
        assert match is not None
        repo, revision = match[1], (found[3] if found else match[2]) or "main"
        authorized = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo not in self.hubs.repositories or (repo in self.hubs.private and not authorized):
            # The real hub answers 401 to anonymous users, even if the repository does not exist.
            if not authorized:
                return self.reply(401, b"{}", {"X-Error-Message": "Invalid username or password."})
            return self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        if revision not in ("main", "v1", COMMIT):
            return self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        folder = self.hubs.repositories[repo]
        if found:
            names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
            if found[2] == "tree":
                entries = [
                    {"type": "file", "path": n, "size": (folder / n).stat().st_size, "oid": self.oid(folder / n)}
                    for n in names
                ]
                return self.reply(200, json.dumps(entries).encode(), {"X-Repo-Commit": COMMIT})
            info = {"_id": "1", "id": repo, "modelId": repo, "sha": COMMIT, "private": False, "gated": False,
                    "siblings": [{"rfilename": name} for name in names], "tags": []}  # fmt: skip
            return self.reply(200, json.dumps(info).encode())
        assert resolve is not None
        if repo in self.hubs.gated and not authorized:
            code = 401 if self.headers.get("Authorization") is None else 403
            return self.reply(
                code, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": f"Access to {repo} is restricted"}
            )
        file = folder / resolve[3]
        if not file.is_file():
            return self.reply(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        content = file.read_bytes()
        headers = {"X-Repo-Commit": COMMIT}
        if file.suffix in (".safetensors", ".bin"):  # large files lie elsewhere, under their sha256
            digest = hashlib.sha256(content).hexdigest()
            self.hubs.files[f"/lfs/{digest}"] = content
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            return self.redirect(f"{self.hubs.url.replace('127.0.0.1', 'localhost')}/lfs/{digest}", headers)
        return self.content(content, headers | {"ETag": f'"{self.oid(file)}"'})

    def oid(self, file: Path) -> str:
        return hashlib.sha1(file.read_bytes()).hexdigest()

    # Kaggle: POST /api/v1/models.ModelApiService/<request>, with JSON in it.

    def kaggle(self, request: str) -> None:
        asked = json.loads(self.body)
        framework = str(asked.get("framework")).replace("MODEL_FRAMEWORK_TENSOR_FLOW_2", "tensorFlow2")
        handle = "/".join([asked["ownerSlug"], asked["modelSlug"], framework, asked["instanceSlug"]])
        if handle not in self.hubs.kaggle:
            return self.reply(404, b'{"message": "not found"}')
        if handle in self.hubs.private and self.headers.get("Authorization") is None:
            return self.reply(403, b'{"message": "forbidden"}')
        folder = self.hubs.kaggle[handle]
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        if request == "GetModelInstance":
            return self.reply(200, json.dumps({"versionNumber": 3}).encode())
        if request == "ListModelInstanceVersionFiles":
            files = [{"name": name, "size": (folder / name).stat().st_size} for name in names]
            return self.reply(200, json.dumps({"files": files, "nextPageToken": ""}).encode())
        name = asked["path"]
        self.hubs.files[f"/kaggle/{handle}/{name}"] = (folder / name).read_bytes()
        return self.redirect(f"{self.hubs.url}/kaggle/{handle}/{name}")

    # HTTP.

    def redirect(self, target: str, headers: dict[str, str] | None = None) -> None:
        self.reply(302, b"", {"Location": target, **(headers or {})})

    def content(self, content: bytes, headers: dict[str, str] | None = None) -> None:
        headers = dict(headers or {})
        if self.hubs.etag:
            headers.setdefault("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        status, part = 200, content
        if self.hubs.ranges:
            headers["Accept-Ranges"] = "bytes"
            span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            if span and self.headers.get("If-Range") in (None, headers.get("ETag")):
                status, part = 206, content[int(span[1]) :]
                headers["Content-Range"] = f"bytes {span[1]}-{len(content) - 1}/{len(content)}"
        self.reply(status, part, headers)

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        for pattern, left in self.hubs.cut.items():
            if status < 300 and re.search(pattern, self.path) and left[1] > 0 and len(body) > left[0]:
                left[1] -= 1
                self.wfile.write(body[: left[0]])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
        self.wfile.write(body)
