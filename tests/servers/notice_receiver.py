"""A receiver of notices as a process: it keeps what is posted, and answers as it is told.

`python -m tests.servers.notice_receiver PORT FOLDER`: each request is a file in FOLDER, named by
its number; the file `status` there, if any, says what is answered."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Lock


def serve(port: int, folder: Path) -> None:
    numbers, lock = count(1), Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            with lock:
                number = next(numbers)
                told = {"path": self.path, "headers": dict(self.headers), "body": body}
                unfinished = folder / f"{number}.part"
                unfinished.write_text(json.dumps(told))
                unfinished.rename(folder / f"{number}.json")
            status = folder / "status"
            self.send_response(int(status.read_text()) if status.exists() else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
