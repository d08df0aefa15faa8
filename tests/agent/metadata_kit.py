"""A metadata service on loopback, as EC2 and Google Compute Engine have one, with a notice that a test gives."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class Metadata:
    """`notice` set: the machine is about to be taken away. `asked` are the paths that were asked for."""

    def __init__(self) -> None:
        self.notice = False
        self.broken = ""  # an instance-action that is no JSON
        self.tokens = {"t1"}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                outer.asked.append(self.path)
                if self.path != "/latest/api/token" or not self.headers["X-aws-ec2-metadata-token-ttl-seconds"]:
                    self._answer(400, "")
                    return
                token = f"t{len(outer.asked)}"
                outer.tokens = {token}
                self._answer(200, token)

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                if self.path == "/latest/meta-data/spot/instance-action":
                    if self.headers["X-aws-ec2-metadata-token"] not in outer.tokens:
                        self._answer(401, "")
                    elif outer.notice:
                        action = {"action": "terminate", "time": "2026-01-01T00:00:00Z"}
                        self._answer(200, outer.broken or json.dumps(action))
                    else:
                        self._answer(404, "")
                elif self.path == "/computeMetadata/v1/instance/preempted":
                    told = self.headers["Metadata-Flavor"] == "Google"
                    self._answer(200 if told else 403, "TRUE" if outer.notice else "FALSE")
                else:
                    self._answer(404, "")

            def _answer(self, status: int, body: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Metadata:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
