"""A reward server in OpenRLHF's form that misbehaves on request: /ok /flaky /down /away /back /picky /drop /half /stall
/bad /echo /refuse /chunks /short /moved.

    server.py [CERTIFICATE KEY]      over TLS with a certificate
"""
import http.server
import json
import ssl
import sys
import threading
import time

tries = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = self.path.strip("/")
        tries[kind] = tries.get(kind, 0) + 1
        rewards = [float(len(query) - len(prompt)) for query, prompt in zip(request["query"], request["prompts"])]
        if kind == "stall":
            time.sleep(600)
        poisoned = kind == "picky" and any("poison" in query for query in request["query"])
        if kind == "drop" or poisoned or (kind == "flaky" and tries[kind] == 1):
            self.close_connection = True
            return
        if kind == "down" or (kind, tries[kind]) in (("flaky", 2), ("back", 6)):
            return self.answer(500, b"out of order")
        if kind in ("away", "back") and tries[kind] < 6:
            return self.answer((503, 502, 504)[tries[kind] % 3], b"restarting")
        if kind == "refuse":
            return self.answer(403, b"not you")
        if kind == "moved":
            self.send_response(301)
            self.send_header("Location", "/ok")
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"elsewhere")
            return
        if kind == "bad":
            return self.answer(200, b"<html>")
        if kind == "short":
            rewards = rewards[1:]
        if kind == "tries":
            return self.answer(200, json.dumps({"rewards": [tries.get("refuse", 0)]}).encode())
        logs = {"seen": len(rewards), "kind": ["short"] * len(rewards), "few": [1] * (len(rewards) - 1)}
        if kind == "echo":
            chat = "<user>How many?<answer>"
            rewards = [float(pair == (chat + "a<eos>", chat)) for pair in zip(request["query"], request["prompts"])]
        body = json.dumps({"rewards": rewards, "scores": rewards, "extra_logs": logs}).encode()
        if kind == "half":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + 10))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True
            return
        if kind == "chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (body[:5], body[5:]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.answer(200, body)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    def finish_request(self, request, address):
        """Shakes hands on the connection's own thread: a client that does not go on holds up nobody."""
        if len(sys.argv) > 2:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(sys.argv[1], sys.argv[2])
            request = context.wrap_socket(request, server_side=True)
        super().finish_request(request, address)

    def handle_error(self, request, address):
        pass  # clients that hang up are what this is for


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
print(server.server_address[1], flush=True)
server.serve_forever()
