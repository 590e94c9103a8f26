package conformance

const usage = `conformance tests an implementation of the Cluster Protocol over the network. Each case checks one rule of
protocol/spec.md.

  conformance master --address=HOST:PORT [flags]      plays refineries against a master
  conformance refinery --listen=HOST:PORT [flags]     plays a master against a refinery

conformance master --help and conformance refinery --help list the flags.
`

const exits = `
Exit code:
  0   what was tested passed
  1   a case failed, or the run stopped before its end
  2   wrong flags
  3   nothing was tested: the peer is unreachable, silent, does not speak the protocol or refuses what the
      flags announce; or every selected case needs a flag that was not given
`

var introductions = map[side]string{
	master: `conformance master plays refineries against the master at --address, and checks the rules of
protocol/spec.md, version ` + Specification + `, each case over a connection of its own. It takes some seconds; with --slow,
some minutes.

  conformance master --address=HOST:PORT --cert=tls.crt --key=tls.key --ca=ca.crt [flags]
  conformance master --address=HOST:PORT --transport=ServerTLS --ca=ca.crt --auth-cert=shared.txt [flags]
  conformance master --address=HOST:PORT --transport=Plaintext --auth-cert=shared.txt [flags]

The master must let in the --id, --version, --type and certificate of the kit, many times in a row.
`,
	refinery: `conformance refinery plays a master against the refinery that connects to --listen, and checks the rules of
protocol/spec.md, version ` + Specification + `, each case over a connection of its own. How long it takes depends on how soon
the refinery connects again.

  conformance refinery --listen=HOST:PORT --cert=tls.crt --key=tls.key --ca=ca.crt [flags]
  conformance refinery --listen=HOST:PORT --transport=ServerTLS --cert=tls.crt --key=tls.key [flags]
  conformance refinery --listen=HOST:PORT --transport=Plaintext [flags]

Start the kit, then the refinery. The refinery must connect again, and soon, whenever a connection ends.
`,
}

// usageOf is the help of one peer.
func usageOf(peer side) string {
	return introductions[peer] + newFlags(&Options{peer: peer}).Help() + exits
}
