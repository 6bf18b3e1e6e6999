"""As much of W&B's server as a run needs, on this machine: it keeps what it is told, and can fail as a server may."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answers(BaseHTTPRequestHandler):
    """Keeps the lines of the history where it is told to put them, and the views."""

    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if server.stalling:
            server.open.wait()
        if server.refusing:
            return self.say({"errors": [{"message": "user is not logged in"}]}, 401)
        answer = {}
        if self.path.endswith("/file_stream"):
            for name, file in json.loads(body).get("files", {}).items():
                if name == "wandb-history.jsonl":
                    server.lines[file["offset"] :] = [json.loads(line) for line in file["content"]]
        elif self.path == "/graphql":
            answer = {"data": self.data(json.loads(body))}
        return self.say(answer)

    def data(self, asked):
        lines, variables = self.server.lines, asked.get("variables") or {}
        if "upsertView" in asked["query"]:
            self.server.views.append(variables)
            view = {"id": variables.get("id") or "view-id", "name": variables["name"]}
            return {"upsertView": {"view": view, "inserted": "id" not in variables}}
        project = {"id": "p", "name": "denoiselab", "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "b", "name": "0123456789", "displayName": "n", "config": "{}", "project": project}
        # The last value of each name.
        last = {name: value for line in lines for name, value in line.items()}
        before = {
            **bucket, "summaryMetrics": json.dumps(last), "historyLineCount": len(lines), "logLineCount": 0,
            "eventsLineCount": 0, "historyTail": json.dumps([json.dumps(lines[-1])] if lines else []),
            "eventsTail": "[]", "tags": [], "wandbConfig": '{"t": 1}',
        }  # fmt: skip
        return {
            "model": {**project, "bucket": before if lines else None},
            "upsertBucket": {"bucket": bucket, "inserted": not lines},
            "viewer": {"id": "u", "username": "me", "entity": "me", "flags": "{}", "teams": {"edges": []}},
            "createRunFiles": {"runID": "b", "uploadHeaders": [], "files": []},
        }

    def say(self, answer, code=200):
        text = json.dumps(answer).encode()
        with suppress(OSError):  # who asked has left
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    def log_message(self, *words):
        pass


@contextmanager
def serving(stalling: bool = False, refusing: bool = False) -> Iterator[ThreadingHTTPServer]:
    """The server, while the block runs: `stalling`, it answers nothing; `refusing`, 401. Both can change meanwhile.
    `variables` lead wandb there."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        server.lines, server.views, server.stalling, server.refusing = [], [], stalling, refusing
        server.open = threading.Event()
        server.variables = {"WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}", "WANDB_API_KEY": "k" * 40,
                            "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}  # fmt: skip
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.open.set()
            server.shutdown()
            thread.join()
