package conformance

import "crypto/tls"

func takesTLS12(c *tls.Config) { c.MinVersion = tls.VersionTLS12 }

var mastersWithBrokenTLS = []mutantTest{
	{"takes TLS 1.2", mutation{tls: takesTLS12}, names("R-1.2 TLS 1.2, no session")},
	{"asks for no client certificate", mutation{tls: func(c *tls.Config) { c.ClientAuth = tls.VerifyClientCertIfGiven }}, names(
		"R-1.2 no client certificate, no session")},
	{"trusts every client certificate", mutation{trusting: true, tls: func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }}, names(
		"R-8.1 a certificate that no authority has issued gets no session", "R-8.1 cert that is not the one TLS has proven")},
	{"speaks without TLS too", mutation{alsoPlain: true}, names("R-1.2 the protocol without TLS gets no answer")},
	{"does not compare cert", mutation{trusting: true}, names("R-8.1 cert that is not the one TLS has proven")},
	{"counts the handshake timeout from TLS on", mutation{slowTLS: true}, names("R-6.2 nothing is sent, not even TLS")},
	{"takes TLS flights of any length", mutation{unbounded: true}, names(
		"R-6.8 a hello of more than TLSFlightBytes", "R-6.8 certificates of more than TLSFlightBytes")},
	{"looks ahead within a record alone", mutation{oneRecord: true}, names(
		"R-4.2 one byte behind conn:establish, in a record of its own", "R-4.2 one byte behind auth:start, in a record of its own")},
	{"takes TLS flights of 4 KiB at most", mutation{narrow: true}, names("R-6.8 a hello of three quarters of TLSFlightBytes")},
	{"closes at once after conn:close", mutation{abrupt: true}, names("R-5.8 what comes behind conn:close is discarded")},
}

var refineriesWithBrokenTLS = []mutantTest{
	{"verifies nothing", mutation{tls: func(c *tls.Config) { c.InsecureSkipVerify = true }}, names(
		"R-1.2 a master whose certificate nobody trusts hears nothing")},
	{"takes TLS 1.2", mutation{tls: takesTLS12}, names("R-1.2 a master with TLS 1.2 alone hears nothing")},
	{"counts the handshake timeout from TLS on", mutation{slowTLS: true}, names("R-6.2 a master that stalls within TLS is given up")},
	{"looks ahead within a record alone", mutation{oneRecord: true}, names(
		"R-4.2 auth:ack in one write with conn:startAuth, in a record of its own", "R-4.2 one byte behind auth:ack, in a record of its own")},
	{"proves another certificate", mutation{text: map[string]string{authStart: compose(authStart, `{"cert":"a"}`)}}, receiving(authStart)},
	{"closes at once after conn:close", mutation{abrupt: true}, names("R-5.8 what comes behind conn:close is discarded")},
}
