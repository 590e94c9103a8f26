#!/usr/bin/env python3
"""A refinery of the Cluster Protocol (protocol/spec.md) in some hundred lines, with nothing but the standard library.

It prints each upstream that it is granted. The master's transport decides about the flags:
  Plaintext  refinery.py --address HOST:PORT --id press/1 --auth-cert FILE
  ServerTLS  the same and --ca FILE
  MutualTLS  refinery.py --address HOST:PORT --id press/1 --ca FILE --cert FILE --key FILE
"""
import argparse, json, random, re, socket, ssl, sys, time

CODE = re.compile(rb"(conn:establish|conn:startAuth|auth:start|auth:ack|auth:dec|conn:close|conn:alive);;")
EOF, LONGEST, PACKET, SPACE = b"<EOF>", 64 << 10, 16 << 10, " \t\r\n"

def check(holds, rule):
    if not holds:
        raise ValueError("the master broke " + rule)  # The connection is closed, without a word.

def members(pairs):
    check(len(dict(pairs)) == len(pairs) <= 32, "R-3.3")
    return dict(pairs)

def decode(payload):
    text = payload.decode().strip(SPACE)
    if text.startswith('"{'):  # The literal form.
        text = ("{" if text[2:3] in ('"', "}", *SPACE) else '{"') + (text[2:-1] if text.endswith('}"') else text[2:])
    values = json.loads(text, object_pairs_hook=members) if payload else {}
    check(isinstance(values, dict), "R-3.1")
    for v in values.values():
        check(all(isinstance(s, str) for s in (v if isinstance(v, list) else v.values() if isinstance(v, dict) else [v])), "R-3.1")
    json.dumps(values, ensure_ascii=False).encode()  # Fails for half a surrogate pair.
    return values

class Session:
    def __init__(self, sock, args, deadline):
        self.sock, self.args, self.deadline, self.buffer = sock, args, deadline, b""  # The deadline of the opening.

    def send(self, code, **values):
        payload = json.dumps(values, ensure_ascii=False) if values else ""
        body = (code + ";;" + payload.replace("<", "\\u003c").replace(";", "\\u003b")).encode()
        self.sock.settimeout(5 if self.deadline is None else self.left(self.deadline))
        while len(body) + len(EOF) > PACKET:
            self.sock.sendall(body[: PACKET // 2])
            body = body[PACKET // 2 :]
        self.sock.sendall(body + EOF)

    @staticmethod
    def left(deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def read(self, deadline, *expected):
        """Returns code and values of the next message, in whatever pieces it comes (R-2.4)."""
        while True:
            end = self.buffer.find(EOF)
            check(CODE.match(self.buffer) or (end < 0 and len(self.buffer) < 16), "R-2.2")
            check(end + len(EOF) <= LONGEST if end >= 0 else len(self.buffer) < LONGEST, "R-2.5")
            if end >= 0:
                code, payload = self.buffer[:end].split(b";;", 1)
                self.buffer = self.buffer[end + len(EOF) :]
                values = decode(payload)
                check(code.decode() in expected, "R-4.1, or closed")
                return code.decode(), values
            self.sock.settimeout(self.left(deadline))
            self.receive()

    def receive(self):
        data = self.sock.recv(LONGEST)
        if not data:
            raise ConnectionError("the master hung up")
        self.buffer += data

    def turn(self):
        """Sees that the master waited for its turn (R-4.2)."""
        self.sock.setblocking(False)
        try:
            self.receive()
        except (BlockingIOError, ssl.SSLWantReadError):
            check(not self.buffer, "R-4.2")
        check(not self.buffer, "R-4.2")

    def granted(self, values):
        upstream = values.get("upstream")
        check(isinstance(upstream, str), "R-3.7")
        check(len(upstream.encode()) <= 1024 and upstream.isprintable(), "R-3.9")
        if upstream and not re.fullmatch(r"[^:]+:[0-9]+", upstream):  # Nothing that a workload could connect to.
            self.leave("the upstream is not HOST:PORT")
        print(upstream, flush=True)

    def leave(self, why):
        print("refinery.py:", why, file=sys.stderr)
        self.send("conn:close")
        self.sock.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + 1
        while True:  # Until the master closes, or a second has passed.
            self.sock.settimeout(self.left(deadline))
            self.receive()
            self.buffer = b""

    def open(self):
        self.send("conn:establish", id=self.args.id, version=self.args.version, type=self.args.type)
        self.read(self.deadline, "conn:startAuth")
        self.turn()
        self.send("auth:start", cert=self.args.certificate)
        code, values = self.read(self.deadline, "auth:ack", "auth:dec")
        if code == "auth:dec":
            self.leave("the master denied the certificate")
        self.granted(values)
        self.turn()
        self.send("auth:ack")
        self.deadline = None

    def stay(self):
        pause = lambda: self.args.alive_interval * random.uniform(0.9, 1.1)
        seen, unanswered = time.monotonic(), 0
        beat = seen + pause()
        while time.monotonic() < seen + self.args.alive_timeout:
            try:
                code, values = self.read(min(beat, seen + self.args.alive_timeout), "conn:alive", "auth:ack")
            except TimeoutError:
                if time.monotonic() >= beat:
                    self.send("conn:alive")
                    beat, unanswered = time.monotonic() + pause(), unanswered + 1
                continue
            seen = time.monotonic()
            if code == "auth:ack":
                self.granted(values)
                self.send("auth:ack")
            elif unanswered:  # An answer is never answered.
                unanswered -= 1
            else:
                self.send("conn:alive")

def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in dict(address=None, id=None, version="0.1.0", type="refinery", auth_cert="", ca="", cert="", key="", server_name="",
                              handshake_timeout=10.0, alive_interval=10.0, alive_timeout=35.0, longest_pause=30.0).items():
        flags.add_argument("--" + name.replace("_", "-"), default=default, type=type(default or ""), required=default is None)
    args, failures = flags.parse_args(), 0
    host, _, port = args.address.rpartition(":")
    context = ssl.create_default_context(cafile=args.ca) if args.ca else None
    if args.cert:
        context.minimum_version = ssl.TLSVersion.TLSv1_3  # Of mutual TLS.
        context.load_cert_chain(args.cert, args.key)
    with open(args.auth_cert or args.cert) as f:  # The shared certificate, or the leaf of one's own.
        args.certificate = f.read().strip() if args.auth_cert else re.match(".*?-----END CERTIFICATE-----\n", f.read(), re.S).group()
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), args.handshake_timeout) as sock:
                deadline = time.monotonic() + args.handshake_timeout  # Of TLS and the opening together.
                with context.wrap_socket(sock, server_hostname=args.server_name or host) if context else sock as stream:
                    session = Session(stream, args, deadline)
                    session.open()
                    failures = 0
                    session.stay()
        except (OSError, ValueError, RecursionError) as e:  # Nothing of what the master sent is said: it may be hostile.
            print("refinery.py: the connection ended:", type(e).__name__, file=sys.stderr)
        failures += 1
        time.sleep(random.uniform(0, min(args.longest_pause, 0.1 * 2 ** min(failures, 20))))

if __name__ == "__main__":
    main()
