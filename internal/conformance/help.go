package conformance

import (
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

const usage = `conformance tests an implementation of the Cluster Protocol over the network, a case a rule of protocol/spec.md.

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
      flags announce; or every case that was selected needs a flag that was not given
`

var introductions = map[side]string{
	master: `conformance master plays refineries against the master at --address, and checks the rules of
protocol/spec.md, version ` + Specification + `, a connection a case. It takes some seconds, and some minutes with --slow.

  conformance master --address=HOST:PORT --cert=tls.crt --key=tls.key --ca=ca.crt [flags]
  conformance master --address=HOST:PORT --transport=ServerTLS --ca=ca.crt --auth-cert=shared.txt [flags]
  conformance master --address=HOST:PORT --transport=Plaintext --auth-cert=shared.txt [flags]

The master must let in what --id, --version, --type and the certificate announce, many times in a row.
`,
	refinery: `conformance refinery plays a master against the refinery that connects to --listen, and checks the rules of
protocol/spec.md, version ` + Specification + `, a connection a case. It takes as long as the refinery takes to come back.

  conformance refinery --listen=HOST:PORT --cert=tls.crt --key=tls.key --ca=ca.crt [flags]
  conformance refinery --listen=HOST:PORT --transport=ServerTLS --cert=tls.crt --key=tls.key [flags]
  conformance refinery --listen=HOST:PORT --transport=Plaintext [flags]

Start it, then the refinery, which must connect again whenever a connection ends, and soon.
`,
}

// flagGroup is what --help prints together.
type flagGroup struct {
	title string
	names []string
}

var (
	tlsFlags  = flagGroup{"TLS", []string{"cert", "key", "ca"}}
	theRun    = flagGroup{"The run", []string{"run", "list", "format", "patience"}}
	waitedFor = "; the cases that wait for one run if its flag is given"
)

// flagGroups hold every flag once.
var flagGroups = map[side][]flagGroup{
	master: {
		{"The master", []string{"address", "transport", "server-name"}},
		tlsFlags,
		{"What the kit announces", []string{"id", "version", "type", "auth-cert"}},
		{"What the master refuses, for the cases that need it", []string{"refused-version", "denied-cert", "denied-key"}},
		{"The master's timeouts" + waitedFor, []string{"alive-timeout", "handshake-timeout", "write-timeout", "slow"}},
		{"The master's bounds, if they are not the defaults",
			[]string{"establish-bytes", "auth-start-bytes", "session-bytes", "tls-flight-bytes", "max-handshakes-per-source"}},
		theRun,
	},
	refinery: {
		{"The refinery", []string{"listen", "transport", "connect-timeout"}},
		tlsFlags,
		{"What the refinery must announce; anything, unless given", []string{"id", "version", "type", "auth-cert"}},
		{"What the refinery refuses, for the cases that need it", []string{"unusable-upstream"}},
		{"The refinery's timeouts" + waitedFor, []string{"alive-timeout", "handshake-timeout", "slow"}},
		{"The refinery's interval and bound, if they are not the defaults", []string{"alive-interval", "max-message-bytes"}},
		theRun,
	},
}

func printUsage(w io.Writer, peer side) {
	fs := flagSet(&Options{peer: peer})
	var b strings.Builder
	b.WriteString(introductions[peer])
	for _, g := range flagGroups[peer] {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		for _, name := range g.names {
			b.WriteString(flagHelp(fs.Lookup(name)))
		}
	}
	b.WriteString(exits)
	_, _ = io.WriteString(w, b.String())
}

// The columns of --help.
const (
	textColumn = 34
	lastColumn = 108
)

// valueName is what a usage begins with, in back quotes.
var valueName = regexp.MustCompile("^`([^`]*)` ")

// flagHelp is a flag with its value's name, and beside it what it means, in as many lines as that takes.
func flagHelp(f *flag.Flag) string {
	line, words := "  --"+f.Name, f.Usage
	if m := valueName.FindStringSubmatch(f.Usage); m != nil {
		line, words = line+"="+m[1], f.Usage[len(m[0]):]
	}
	text := strings.Fields(words)
	if !slices.Contains([]string{"", "false"}, f.DefValue) {
		text = append(text, "(default "+f.DefValue+")")
	}
	var b strings.Builder
	line = fmt.Sprintf("%-*s", textColumn-1, line)
	for _, word := range text {
		if len(line)+1+len(word) > lastColumn {
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", textColumn-1)
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
	return b.String()
}

var (
	undefinedFlag = regexp.MustCompile(`^flag provided but not defined: -+(.*)$`)
	noValue       = regexp.MustCompile(`^flag needs an argument: -(.*)$`)
	invalidValue  = regexp.MustCompile(`^invalid (?:boolean )?value "(.*)" for (?:flag )?-([^:]*): (.*)$`)
)

// flagLine makes one line of what package flag says, with the flag written as everywhere else.
func flagLine(fs *flag.FlagSet, err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	if m := undefinedFlag.FindStringSubmatch(text); m != nil {
		return "--" + m[1] + " is not a flag"
	}
	if m := noValue.FindStringSubmatch(text); m != nil {
		value, _ := flag.UnquoteUsage(fs.Lookup(m[1]))
		return fmt.Sprintf("--%s has no value: write --%s=%s", m[1], m[1], value)
	}
	m := invalidValue.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	value, name, why := m[1], m[2], m[3]
	switch kind, _ := flag.UnquoteUsage(fs.Lookup(name)); kind {
	case "DURATION":
		why = "write a duration, such as 2s or 500ms"
	case "BYTES", "N":
		why = "write a whole number"
	case "":
		why = "write true or false, or nothing"
	}
	return fmt.Sprintf("--%s=%s: %s", name, value, why)
}
