"""What lies outside of the machine, in a network namespace of its own: a web server on every address, and who answers for names."""

import http.server
import socket
import struct
import sys
import threading

# What a name is there; the third tells a private address, as a hostile owner may.
NAMES = {
    "data.example.org": "11.0.0.2",
    "other.example.net": "11.0.0.2",
    "rebind.example.org": "10.9.9.9",
    "metadata.example.org": "169.254.169.254",
}


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{self.headers['Host']} at {self.server.server_address[1]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def answer(question: bytes) -> bytes:
    at, labels = 12, []
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode())
        at += 1 + question[at]
    end = at + 5
    kind = struct.unpack(">H", question[at + 1 : at + 3])[0]
    address = NAMES.get(".".join(labels).lower())
    flags = 0x8180 if address else 0x8183
    records = [address] if address and kind == 1 else []
    header = question[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(r) for r in records)
    return header + question[12:end] + body


def names():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("11.0.0.2", 53))
    while True:
        question, who = server.recvfrom(512)
        server.sendto(answer(question), who)


for port in (80, 8080, 8081):
    page = http.server.ThreadingHTTPServer(("", port), Page)
    threading.Thread(target=page.serve_forever, daemon=True).start()
threading.Thread(target=names, daemon=True).start()
print("outside is there", flush=True)
# Until whoever started it is gone.
sys.stdin.read()
