#!/usr/bin/env python3
"""A refinery of the Cluster Protocol (protocol/spec.md) in some hundred lines, with nothing but the standard library.

It prints each upstream that it is granted. The master's transport decides about the flags:
  Plaintext  refinery.py --address HOST:PORT --id press/1 --auth-cert FILE
  ServerTLS  the same and --ca FILE
  MutualTLS  refinery.py --address HOST:PORT --id press/1 --ca FILE --cert FILE --key FILE
"""
import argparse, json, random, socket, ssl, sys, time

CODES = [c.encode() for c in ("conn:establish", "conn:startAuth", "auth:start", "auth:ack", "auth:dec", "conn:close", "conn:alive")]
LONGEST, PACKET = 64 << 10, 16 << 10
SPACE = " \t\r\n"


class Violation(ValueError):
    """The master broke a rule: the connection is closed at once, without a word (R-7.1)."""


def members(pairs):
    if len(dict(pairs)) < len(pairs) or len(pairs) > 32:
        raise Violation("R-3.3")
    return dict(pairs)


def decode(payload):
    text = payload.decode().strip(SPACE)
    if text.startswith('"{'):  # The literal form.
        text = text[2:] if text[2:3] in ('"', "}", *SPACE) else '"' + text[2:]
        text = "{" + (text[:-1] if text.endswith('}"') else text)
    values = json.loads(text, object_pairs_hook=members) if payload else {}
    if not isinstance(values, dict):
        raise Violation("R-3.1")
    for v in values.values():
        inner = v if isinstance(v, list) else v.values() if isinstance(v, dict) else [v]
        if not all(isinstance(s, str) for s in inner):
            raise Violation("R-3.1")
    json.dumps(values, ensure_ascii=False).encode()  # Fails for half a surrogate pair.
    return values


class Session:
    def __init__(self, sock, args):
        self.sock, self.args, self.buffer = sock, args, b""

    def send(self, code, **values):
        payload = json.dumps(values, ensure_ascii=False) if values else ""
        body = f"{code};;".encode() + payload.replace("<", "\\u003c").replace(";", "\\u003b").encode()
        self.sock.settimeout(5)
        while len(body) + len("<EOF>") > PACKET:
            self.sock.sendall(body[: PACKET // 2])
            body = body[PACKET // 2 :]
        self.sock.sendall(body + b"<EOF>")

    def read(self, deadline, *expected):
        """Returns code and values of the next message, in whatever pieces it comes (R-2.4)."""
        while True:
            end = self.buffer.find(b"<EOF>")
            if not any(self.buffer.startswith(c + b";;") for c in CODES) and (end >= 0 or len(self.buffer) >= 16):
                raise Violation("R-2.2")
            if end + len("<EOF>") > LONGEST or (end < 0 and len(self.buffer) >= LONGEST):
                raise Violation("R-2.5")
            if end >= 0:
                code, payload = self.buffer[:end].split(b";;", 1)
                self.buffer = self.buffer[end + len("<EOF>") :]
                values = decode(payload)
                if code == b"conn:close":
                    raise ConnectionError("the master closed")
                if code.decode() not in expected:
                    raise Violation("R-4.1")
                return code.decode(), values
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self.sock.recv(LONGEST)
            if not data:
                raise ConnectionError("the master hung up")
            self.buffer += data

    def turn(self):
        """Sees that the master waited for its turn (R-4.2)."""
        self.sock.setblocking(False)
        try:
            self.buffer += self.sock.recv(LONGEST)
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        if self.buffer:
            raise Violation("R-4.2")

    def granted(self, values):
        upstream = values.get("upstream")
        if not isinstance(upstream, str):
            raise Violation("R-3.7")
        if len(upstream.encode()) > 1024 or not upstream.isprintable():
            raise Violation("R-3.9")
        print(upstream, flush=True)

    def open(self):
        deadline = time.monotonic() + self.args.handshake_timeout
        self.send("conn:establish", id=self.args.id, version=self.args.version, type=self.args.type)
        self.read(deadline, "conn:startAuth")
        self.turn()
        self.send("auth:start", cert=self.args.certificate)
        code, values = self.read(deadline, "auth:ack", "auth:dec")
        if code == "auth:dec":
            self.send("conn:close")
            self.sock.settimeout(1)  # The master closes, or a second passes.
            while self.sock.recv(LONGEST):
                pass
            raise ConnectionError("the master denied the certificate")
        self.granted(values)
        self.turn()
        self.send("auth:ack")

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
            elif unanswered:
                unanswered -= 1
            else:
                self.send("conn:alive")


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("address", None), ("id", None), ("version", "0.1.0"), ("type", "refinery"), ("auth-cert", ""),
                          ("ca", ""), ("cert", ""), ("key", ""), ("server-name", "")):
        flags.add_argument("--" + name, default=default, required=default is None)
    for name, seconds in (("handshake-timeout", 10), ("alive-interval", 10), ("alive-timeout", 35), ("longest-pause", 30)):
        flags.add_argument("--" + name, type=float, default=seconds, metavar="SECONDS")
    args = flags.parse_args()
    host, _, port = args.address.rpartition(":")
    context = ssl.create_default_context(cafile=args.ca) if args.ca else None
    if args.cert:
        context.load_cert_chain(args.cert, args.key)
    with open(args.auth_cert or args.cert) as f:
        text, mark = f.read().strip(), "-----END CERTIFICATE-----"
        args.certificate = text if args.auth_cert else text[: text.index(mark)] + mark + "\n"
    failures = 0
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), args.handshake_timeout) as sock:
                if context:
                    sock = context.wrap_socket(sock, server_hostname=args.server_name or host)
                with sock:
                    session = Session(sock, args)
                    session.open()
                    failures = 0
                    session.stay()
        except (OSError, ValueError, RecursionError) as e:
            print("refinery.py:", type(e).__name__, "in the session or before it", file=sys.stderr)
        failures += 1
        time.sleep(random.uniform(0, min(args.longest_pause, 0.1 * 2 ** min(failures, 20))))


if __name__ == "__main__":
    main()
