#!/usr/bin/env python3
"""A refinery of the Cluster Protocol (protocol/spec.md) in some 135 lines of code, with nothing but the standard library.

It prints each upstream that it is granted. The master's transport decides about the flags:
  Plaintext  refinery.py --address HOST:PORT --id press/1 --auth-cert FILE
  ServerTLS  the same and --ca FILE
  MutualTLS  refinery.py --address HOST:PORT --id press/1 --ca FILE --cert FILE --key FILE
"""
import argparse, contextlib, json, random, re, socket, ssl, sys
from time import monotonic as now, sleep

CODE = re.compile(rb"(conn:establish|conn:startAuth|auth:start|auth:ack|auth:dec|conn:close|conn:alive);;")
EOF, LONGEST, PACKET, SPACE = b"<EOF>", 64 << 10, (16 << 10) - 5, " \t\r\n"  # A packet leaves room for <EOF>.

def check(holds, rule):
    if not holds:
        raise ValueError("the master broke " + rule)  # The connection is closed, without a word.

def members(pairs):
    check(len(dict(pairs)) == len(pairs) <= 32, "R-3.3")
    return dict(pairs)

def decode(payload):
    text = payload.decode().strip(SPACE)
    if text.startswith('"{'):  # The literal form.
        text = ("{" if text[2:3] in ('"', "}", *SPACE) else '{"') + text[2:].removesuffix('"' if text.endswith('}"') else "")
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
        rest = (code + ";;" + payload.replace("<", "\\u003c").replace(";", "\\u003b")).encode()
        self.sock.settimeout(max(0.001, self.deadline - now()) if self.deadline else 5)
        while rest:
            packet, rest = rest[:PACKET], rest[PACKET:]
            self.sock.sendall(packet if rest else packet + EOF)

    def receive(self, deadline):
        left = deadline - now()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)
        data = self.sock.recv(LONGEST)
        check(data, "off")
        return data

    def read(self, deadline, *expected):
        """Returns code and values of the next message, in whatever pieces it comes (R-2.4)."""
        while EOF not in self.buffer:
            check(CODE.match(self.buffer) or len(self.buffer) < 16, "R-2.2")
            check(len(self.buffer) < LONGEST, "R-2.5")
            self.buffer += self.receive(deadline)
        message, _, self.buffer = self.buffer.partition(EOF)
        code = CODE.match(message)
        check(code and len(message) + len(EOF) <= LONGEST, "R-2.2 or R-2.5")
        check(code[1].decode() in expected, "R-4.1, or closed")
        return code[1].decode(), decode(message[code.end() :])

    def turn(self):
        """Sees that the master waited for its turn (R-4.2)."""
        check(not self.buffer, "R-4.2")
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            self.sock.recv(1)
            check(False, "R-4.2, or hung up")

    def granted(self, values):
        upstream = values.get("upstream")
        check(isinstance(upstream, str) and len(upstream.encode()) <= 1024 and upstream.isprintable(), "R-3.7 or R-3.9")
        if upstream and not re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[^:\[\]]+):[0-9]+", upstream):  # Nothing that a workload could connect to.
            self.leave("the upstream is not HOST:PORT")
        print(upstream, flush=True)
        self.send("auth:ack")

    def leave(self, why):
        print("refinery.py:", why, file=sys.stderr)
        self.send("conn:close")
        self.sock.shutdown(socket.SHUT_WR)
        deadline = now() + 1
        while True:  # Until the master closes, or a second has passed.
            self.receive(deadline)

    def open(self):
        self.send("conn:establish", id=self.args.id, version=self.args.version, type=self.args.type)
        self.read(self.deadline, "conn:startAuth")
        self.turn()
        self.send("auth:start", cert=self.args.certificate)
        code, values = self.read(self.deadline, "auth:ack", "auth:dec")
        if code == "auth:dec":
            self.leave("the master denied the certificate")
        self.turn()
        self.granted(values)
        self.deadline = None

    def stay(self):
        pause = lambda: self.args.alive_interval * random.uniform(0.9, 1.1)
        seen, beat, unanswered = now(), now() + pause(), 0
        while True:
            try:
                code, values = self.read(min(beat, seen + self.args.alive_timeout), "conn:alive", "auth:ack")
            except TimeoutError:
                if now() >= seen + self.args.alive_timeout:
                    raise  # The master is silent.
                self.send("conn:alive")
                beat, unanswered = now() + pause(), unanswered + 1
                continue
            seen = now()
            if code == "auth:ack":
                self.granted(values)
            elif unanswered:  # An answer is never answered.
                unanswered -= 1
            else:
                self.send("conn:alive")

def parse():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in dict(address=None, id=None, version="0.1.0", type="refinery", auth_cert="", ca="", cert="", key="", server_name="",
                              handshake_timeout=10.0, alive_interval=10.0, alive_timeout=35.0, max_backoff=30.0).items():
        flags.add_argument("--" + name.replace("_", "-"), default=default, type=type(default or ""), required=default is None)
    args = flags.parse_args()
    args.host, _, args.port = args.address.rpartition(":")
    if not args.host or not args.port.isdecimal():
        flags.error("--address is not HOST:PORT")
    if not (args.auth_cert or args.cert) or (args.cert and not (args.key and args.ca)):
        flags.error("give --auth-cert, the shared certificate; or, with MutualTLS, --ca, --cert and --key")
    try:
        args.tls = ssl.create_default_context(cafile=args.ca) if args.ca else None
        if args.cert:
            args.tls.minimum_version = ssl.TLSVersion.TLSv1_3  # Of mutual TLS.
            args.tls.load_cert_chain(args.cert, args.key)
        with open(args.auth_cert or args.cert) as f:  # The shared certificate, or the leaf of one's own.
            args.certificate = f.read().strip() if args.auth_cert else re.search("-----BEGIN C.*?-----END C.*?-----", f.read(), re.S)[0]
    except (OSError, ValueError) as e:
        flags.error(f"a file cannot be used: {e}")
    return args

def main():
    args, failures = parse(), 0
    while True:
        try:
            with socket.create_connection((args.host.strip("[]"), int(args.port)), args.handshake_timeout) as sock:
                deadline = now() + args.handshake_timeout  # Of TLS and the opening together.
                with args.tls.wrap_socket(sock, server_hostname=args.server_name or args.host) if args.tls else sock as stream:
                    session = Session(stream, args, deadline)
                    session.open()
                    failures = 0
                    session.stay()
        except (OSError, ValueError, RecursionError) as e:  # Words of other errors may be the master's, and it hostile.
            print("refinery.py: the connection ended:", e if type(e) is ValueError else type(e).__name__, file=sys.stderr)
        failures += 1
        sleep(random.uniform(0, min(args.max_backoff, 0.1 * 2 ** min(failures, 20))))

if __name__ == "__main__":
    main()
