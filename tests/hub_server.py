"""A small Hugging Face hub on the loopback: repositories, uploads of large files, one commit at a time, downloads.

It speaks what `huggingface_hub` asks of the real one, holds everything in memory, and can be told to fail.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_loopback"


class Hub(ThreadingHTTPServer):
    """`repos` by (kind, name): files, commits, private; `failures`: [(part of a path, status)], each used once.

    Status 0 cuts the connection. `refusals` are the same and last: [(part of a path or of the request, status)].
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.repos, self.blobs, self.asked, self.failures, self.refusals = {}, {}, [], [], []
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def say(self, status, content=b"", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status):
        if status:
            return self.say(status, {"error": "as told"})
        self.close_connection = True  # without an answer
        return None

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub, path = self.server, self.path.partition("?")[0]
        asked = f"{self.command} {path}"
        hub.asked.append(asked)
        for i, (part, status) in enumerate(hub.failures):
            if part in asked:
                hub.failures.pop(i)
                return self.fail(status)
        for part, status in hub.refusals:
            if part in f"{asked} {body.decode(errors='replace')}":
                return self.fail(status)
        if path.startswith("/lfs/"):
            hub.blobs[path.removeprefix("/lfs/")] = body
            return self.say(200)
        if path == "/api/validate-yaml":
            return self.say(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.say(401, {"error": "Invalid username or password."}, X_Error_Message="Invalid credentials")
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if found := re.fullmatch(r"/api/(model|space)s/([^/]+/[^/]+)/(preupload|commit)/main", path):
            return getattr(self, found[3])((found[1], found[2]), body)
        if found := re.fullmatch(r"/(spaces/)?(.+/.+)\.git/info/lfs/objects/batch", path):
            return self.batch(json.loads(body))
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            content = hub.repos[("model", found[1])]["files"].get(found[2])
            if content is None:
                return self.say(404, X_Error_Code="EntryNotFound")
            tag = hashlib.sha256(content).hexdigest()
            return self.say(200, content, ETag=f'"{tag}"', X_Repo_Commit="c" * 40)
        return self.say(404, {"error": f"{path} is not known"})

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

    def create(self, asked):
        kind, name = asked.get("type") or "model", f"{asked.get('organization') or 'me'}/{asked['name']}"
        there = (kind, name) in self.server.repos
        private = asked.get("private", asked.get("visibility") == "private")
        if not there:
            self.server.repos[kind, name] = {"files": {}, "commits": [], "private": private}
        place = "spaces/" if kind == "space" else ""
        self.say(409 if there else 200, {"url": f"{self.server.endpoint}/{place}{name}", "error": "exists"})

    def preupload(self, repo, body):
        large = (".pth", ".safetensors", ".onnx")
        told = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(large) else "regular", "shouldIgnore": False}
            for f in json.loads(body)["files"]
        ]
        self.say(200, {"files": told})

    def batch(self, asked):
        told = []
        for one in asked["objects"]:
            upload = {"upload": {"href": f"{self.server.endpoint}/lfs/{one['oid']}", "header": {}}}
            told.append({**one, **({} if one["oid"] in self.server.blobs else {"actions": upload})})
        self.say(200, {"transfer": "basic", "objects": told})

    def commit(self, repo, body):
        new = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                new[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                new[value["path"]] = self.server.blobs[value["oid"]]  # a commit of what was not uploaded would fail
        found = self.server.repos[repo]
        found["files"] |= new
        found["commits"].append(sorted(new))
        url = f"{self.server.endpoint}/{'spaces/' if repo[0] == 'space' else ''}{repo[1]}/commit/{'c' * 40}"
        self.say(200, {"success": True, "commitUrl": url, "commitOid": "c" * 40, "hookOutput": ""})

    def log_message(self, *_):
        """Nothing on the screen."""
