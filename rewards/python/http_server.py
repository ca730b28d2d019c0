"""A reward as a service in OpenRLHF's form; any web framework will do.

    python3 rewards/python/http_server.py 5000        # 0 takes a free port, which is printed
    reward_funcs: [{url: "http://127.0.0.1:5000/get_reward"}]
"""
import http.server
import json
import sys


def score(query, prompt, label):
    """1 where the answer behind the prompt holds the reference."""
    return float(str(label) in query[len(prompt):])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        rewards = [score(*one) for one in zip(request["query"], request["prompts"], request["labels"])]
        body = json.dumps({"rewards": rewards, "extra_logs": {"share": sum(rewards) / len(rewards)}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 5000), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
