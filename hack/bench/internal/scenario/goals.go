package scenario

import (
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

// ratio is a goal: one metric of two subjects.
func ratio(of, to, metric string, bound float64, atLeast bool) report.Goal {
	return report.Goal{
		Of: report.Value{Subject: of, Metric: metric}, To: report.Value{Subject: to, Metric: metric},
		Bound: bound, AtLeast: atLeast,
	}
}

// count is a goal: a metric by itself.
func count(of, metric string, bound float64) report.Goal {
	return report.Goal{Of: report.Value{Subject: of, Metric: metric}, Bound: bound}
}

// carried says what the transport adds to each connection.
func carried(s subject.Setting) string {
	switch {
	case s.Transport == subject.Plaintext:
		return "nothing but TCP"
	case s.Transport == subject.ServerTLS:
		return "TLS 1.3 with the server's certificate"
	case s.X25519Only:
		return "mutual TLS 1.3 with X25519"
	}
	return "mutual TLS 1.3 with X25519MLKEM768"
}
