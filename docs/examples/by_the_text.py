#!/usr/bin/env python3
"""A node that knows nothing but the author's text of the Cluster Protocol: its codes, its packets, its payloads with the
quote before the brace. It says what the text says, one message after another, over plain TCP.

  by_the_text.py HOST PORT CERTIFICATE-FILE [TYPE]

The file holds the master's certificate as a base64 string. The id is a new UUID at each start. Each upstream that the master
tells is printed. The ClusterMaster needs security {transport: Plaintext, authentication: SharedCertificate}, an
acceptedVersions that takes 0.0.1, and a Refinery that selects the node, for example by nodes: {rest: true}.
"""
import re, socket, sys, time, uuid

ALIVE = 10  # Seconds between two signs of life.

def packet(code, *pairs):
    payload = '"{' + ",".join(f'{"" if i == 0 else chr(34)}{k}":"{v}"' for i, (k, v) in enumerate(pairs)) + "}" if pairs else ""
    return f"{code};;{payload}<EOF>".encode()

class Node:
    def __init__(self, host, port):
        self.sock, self.buffer, self.beat = socket.create_connection((host, port), 10), b"", None

    def send(self, code, *pairs):
        self.sock.sendall(packet(code, *pairs))

    def read(self):
        """Returns code and payload of the next message. While it waits as a member, it says that it is alive."""
        while b"<EOF>" not in self.buffer:
            if self.beat is not None:
                self.sock.settimeout(max(0.01, self.beat - time.monotonic()))
            try:
                data = self.sock.recv(4096)
            except socket.timeout:
                if self.beat is None:
                    raise
                self.send("conn:alive")
                self.beat = time.monotonic() + ALIVE
                continue
            if not data or len(self.buffer) > 65536:
                sys.exit("the master is gone")
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"<EOF>")
        code, _, payload = message.decode().partition(";;")
        return code, payload

    def take(self, payload):
        upstream = re.search(r'upstream":"([^"]*)"', payload)
        print(upstream[1] if upstream else "", flush=True)
        self.send("auth:ack")

def main():
    host, port, file = sys.argv[1:4]
    with open(file) as f:
        certificate = f.read().strip()
    node = Node(host, int(port))
    node.send("conn:establish", ("id", uuid.uuid4()), ("version", "0.0.1"), ("type", sys.argv[4] if len(sys.argv) > 4 else "refinery"))
    code, _ = node.read()
    if code != "conn:startAuth":
        sys.exit("the master does not take this version, type or id")
    node.send("auth:start", ("cert", certificate))
    code, payload = node.read()
    if code == "auth:dec":
        node.send("conn:close")
        sys.exit("the master declined the certificate")
    node.take(payload)
    node.beat = time.monotonic() + ALIVE
    while code != "conn:close":
        code, payload = node.read()
        if code == "auth:ack":
            node.take(payload)
    print("closed", flush=True)

if __name__ == "__main__":
    main()
