package conformance

import (
	"cmp"
	"fmt"
	"slices"
)

const (
	bindsMaster   = "binds the master"
	bindsRefinery = "binds the refinery"
	packets       = "a stream does not show the writer's packets"
	addresses     = "takes connections from more addresses than one"
	options       = "names the options; the cases of the rules in its table try them"
	provesNothing = "TLS proves no certificate of the refinery's that cert could be compared with"
	decision      = "which versions are accepted is decided, not prescribed; R-4.4 shows a refusal"
)

// unseen are the rules that no case shows on a peer, whatever its transport, and why.
var unseen = map[side]map[string]string{
	master: {
		"R-2.3":  packets,
		"R-4.6":  bindsRefinery,
		"R-5.2":  bindsRefinery,
		"R-5.5":  bindsRefinery,
		"R-5.9":  "the kit cannot end the master's program",
		"R-5.10": "the kit cannot change the master's alive timeout",
		"R-6.1":  options,
		"R-6.4":  "takes MaxSessions connections, 20,000 unless told otherwise",
		"R-6.6":  addresses,
		"R-6.9":  addresses,
		"R-6.10": addresses,
		"R-7.3":  bindsRefinery,
		"R-8.2":  "how a program compares a secret, and which one it takes, is its own",
		"R-8.3":  "recommends, and demands nothing",
		"R-8.5":  "what a program prints is not seen",
		"R-9.2":  decision,
	},
	refinery: {
		"R-2.3":  packets,
		"R-3.10": "binds the master, which is the one to read status and load",
		"R-4.3":  bindsMaster,
		"R-4.5":  bindsMaster,
		"R-5.1":  bindsMaster,
		"R-5.3":  "lets a refinery report, and demands nothing",
		"R-5.9":  bindsMaster,
		"R-5.10": bindsMaster,
		"R-6.1":  options,
		"R-6.3":  "a refinery writes so little that the system holds it, whether or not it is read",
		"R-6.4":  bindsMaster,
		"R-6.5":  bindsMaster,
		"R-6.6":  bindsMaster,
		"R-6.8":  bindsMaster,
		"R-6.9":  bindsMaster,
		"R-6.10": bindsMaster,
		"R-7.3":  "what a refinery tells its program is not seen, and the kit asks it to come back soon",
		"R-8.1":  bindsMaster,
		"R-8.2":  bindsMaster,
		"R-8.3":  bindsMaster,
		"R-8.4":  bindsMaster,
		"R-8.5":  "what a program prints is not seen",
		"R-9.2":  decision,
	},
}

// unseenOver are the rules that no case shows on a peer over one transport, and why.
var unseenOver = map[side]map[Transport]map[string]string{
	master: {
		ServerTLS: {"R-8.1": provesNothing},
		Plaintext: {
			"R-6.8": "there is no TLS handshake",
			"R-8.1": provesNothing,
		},
	},
	refinery: {
		Plaintext: {"R-1.2": "the refinery begins, and every case sees that it begins without TLS"},
	},
}

// withoutCase are the rules of protocol/spec.md that no case shows on a peer over a transport, in the order of the
// specification. Every other rule has a case.
func withoutCase(peer side, transport Transport) (all []RuleWithoutCase) {
	for _, reasons := range [...]map[string]string{unseen[peer], unseenOver[peer][transport]} {
		for rule, reason := range reasons {
			all = append(all, RuleWithoutCase{rule, reason})
		}
	}
	slices.SortFunc(all, func(a, b RuleWithoutCase) int { return compareRules(a.Rule, b.Rule) })
	return all
}

// compareRules orders rules by section and number.
func compareRules(a, b string) int {
	var s, t [2]int
	_, _ = fmt.Sscanf(a, "R-%d.%d", &s[0], &s[1]) // Rules are written so.
	_, _ = fmt.Sscanf(b, "R-%d.%d", &t[0], &t[1])
	return cmp.Or(cmp.Compare(s[0], t[0]), cmp.Compare(s[1], t[1]))
}
