package conformance

const (
	nextSession = "R-1.1 the next session has a connection of its own, from the start"
	laterMaster = "R-9.1 a master of a later version, with keys of its own in every message"
)

var brokenRefineries = []mutantTest{
	{"announces no id", mutation{text: map[string]string{establish: compose(establish, `{"version":"0.1.0","type":"refinery"}`)}}, receiving(establish)},
	{"writes a mark into id", mutation{text: map[string]string{establish: compose(establish, `{"id":"<","version":"0.1.0","type":"refinery"}`)}}, names(
		"R-3.8 no mark stands in the refinery's messages")},
	{"sends nothing first", mutation{text: map[string]string{establish: ""}}, receiving(establish)},
	{"sends auth:start at once", mutation{text: map[string]string{establish: compose(establish, `{"id":"a","version":"0.1.0","type":"refinery"}`) +
		compose(authStart, `{"cert":"certificate"}`)}}, allBut("R-4.1 the refinery sends conn:establish first",
		"R-4.1 the refinery sends auth:start after conn:startAuth", "R-3.6 an unknown key in conn:startAuth")},
	{"sends no cert", mutation{text: map[string]string{authStart: compose(authStart, "")}}, receiving(authStart)},
	{"sends another cert", mutation{text: map[string]string{authStart: compose(authStart, `{"cert":"b"}`)}}, receiving(authStart)},
	{"does not acknowledge", mutation{text: map[string]string{authAck: ""}}, receiving(authAck)},
	{"does not say conn:close after auth:dec", mutation{hasty: true}, names("R-4.1 conn:close after auth:dec, and nothing more",
		"R-5.8 behind conn:close its direction of the stream is closed",
		"R-5.8 behind conn:close nothing more is sent, and the stream ends without a reset",
		"R-5.8 what comes behind conn:close is discarded", "R-5.8 who keeps sending behind conn:close is cut off after a second",
		"R-7.2 conn:close after auth:dec gives no reason")},
	{"goes on after its conn:close", mutation{murmurs: true}, names("R-4.1 conn:close after auth:dec, and nothing more",
		"R-5.8 behind conn:close its direction of the stream is closed",
		"R-5.8 behind conn:close nothing more is sent, and the stream ends without a reset",
		"R-5.8 what comes behind conn:close is discarded")},
	{"skips conn:close in a session", mutation{tolerates: "Authenticated conn:close"}, names("R-5.7 conn:close in a session", nextSession)},
	{"skips conn:close instead of conn:startAuth", mutation{tolerates: "Establishing conn:close"}, names("R-4.4 conn:close instead of conn:startAuth")},
	{"answers conn:close with conn:close", mutation{answersBy: map[string]string{closing: compose(closing, "")}}, names(
		"R-4.4 conn:close instead of conn:startAuth", "R-5.7 conn:close instead of auth:ack", "R-5.7 conn:close in a session", nextSession)},
	{"skips auth:dec in a session", mutation{tolerates: "Authenticated auth:dec"}, names("R-4.1 auth:dec in state Authenticated")},
	{"skips conn:alive before the session", mutation{tolerates: "Verifying conn:alive"}, names("R-4.1 conn:alive in state Verifying")},
	{"skips auth:ack before conn:startAuth", mutation{tolerates: "Establishing auth:ack"}, names("R-4.1 auth:ack in state Establishing")},
	{"does not look for bytes ahead of their turn", mutation{ignoresTurn: true}, names(
		"R-4.2 conn:startAuth twice in one write", "R-4.2 auth:ack in one write with conn:startAuth",
		"R-4.2 one byte behind conn:startAuth", "R-4.2 conn:alive in one write with auth:ack")},
	{"drops what a read holds beyond a message", mutation{forgetful: true}, names("R-2.4 three messages in one write")},
	{"takes each read for a message", mutation{wholeReads: true}, names(
		"R-2.4 the whole opening byte by byte", "R-2.4 packets that cut every mark")},
	{"takes codes in any letters", mutation{anyCase: true}, names("R-2.2 a code in other letters")},
	{"judges a code only with <EOF>", mutation{lateCode: true}, names(
		"R-2.2 another protocol, noticed before <EOF>", "R-2.2 16 bytes that hold no code")},
	{"takes duplicate keys", mutation{ignores: faults(`twice`)}, names(
		"R-3.3 a known key twice", "R-3.3 an unknown key twice, once escaped", "R-3.3 a key twice in an inner object")},
	{"takes bytes behind the object", mutation{ignores: faults(`R-3.5`)}, names(
		"R-3.5 bytes behind the object", "R-3.5 a second object", "R-3.5 a closing quote without an opening one", "R-3.5 two closing quotes")},
	{"does not know the literal form", mutation{noLiteral: true}, names(
		"R-3.4 the literal form, a quote before the brace", "R-3.4 the literal form with a closing quote",
		"R-3.4 the literal form, the first key's quote before the brace", "R-3.4 the same with a closing quote")},
	{"refuses unknown keys", mutation{strictKeys: true}, names(
		"R-3.6 unknown keys of every type", "R-3.6 an unknown key in conn:startAuth", "R-3.6 conn:alive with an unknown key",
		"R-3.1 white space between tokens", "R-3.2 every escape", "R-3.3 32 keys", "R-2.5 auth:ack of 65536 bytes",
		"R-2.1 a further ;; is part of the payload", laterMaster)},
	{"does without upstream", mutation{ignores: faults(`upstream is missing`)}, names(
		"R-3.7 upstream missing", "R-3.7 no payload of auth:ack", "R-3.7 a new auth:ack without upstream")},
	{"takes an upstream that is not printable", mutation{ignores: faults(`printable`)}, names(
		"R-3.9 a line break in upstream", "R-3.9 a mark of direction in upstream")},
	{"takes an upstream of any length", mutation{ignores: faults(`upstream has`)}, names("R-3.9 upstream of 1025 bytes")},
	{"bounds messages a byte too late", mutation{longer: map[string]int{authAck: 1}}, names(
		"R-2.5 auth:ack of 65537 bytes", "R-2.5 65536 bytes without <EOF>")},
	{"bounds messages a byte too early", mutation{longer: map[string]int{authAck: -1}}, names("R-2.5 auth:ack of 65536 bytes")},
	{"sends no conn:alive", mutation{pace: -1}, names(
		"R-5.2 conn:alive each interval, 10 % earlier or later", "R-5.5 an answer is never answered")},
	{"sends conn:alive too late", mutation{pace: 1.3}, names(
		"R-5.2 conn:alive each interval, 10 % earlier or later", "R-5.5 an answer is never answered")},
	{"sends conn:alive too early", mutation{pace: 0.7}, names("R-5.2 conn:alive each interval, 10 % earlier or later")},
	{"does not answer the master's conn:alive", mutation{deaf: true}, names(
		"R-5.5 the master's own conn:alive is answered", "R-3.6 conn:alive with an unknown key", "R-2.4 three messages in one write",
		laterMaster)},
	{"answers answers", mutation{chatty: true}, names("R-5.5 an answer is never answered",
		"R-5.2 conn:alive each interval, 10 % earlier or later")},
	{"does not acknowledge a new upstream", mutation{stubborn: true}, names("R-5.6 a new upstream is acknowledged")},
	{"has no alive timeout", mutation{noTimer: "alive"}, names("R-5.4 a silent master is given up, without conn:close")},
	{"says conn:close at the alive timeout", mutation{lastWord: true}, names("R-5.4 a silent master is given up, without conn:close")},
	{"has no handshake timeout", mutation{noTimer: "handshake"}, names(
		"R-6.2 a master that does not answer conn:establish is given up", "R-6.2 a master that does not answer auth:start is given up")},
	{"does not notice the end of the stream", mutation{ignoresEnd: true}, names(
		"R-2.6 the end of the stream instead of conn:startAuth", "R-2.6 the end of the stream in a session")},
	{"does not connect again", mutation{vanishes: true}, names("R-4.2 the refinery waits for conn:startAuth")},
	{"does not wait for conn:startAuth", mutation{impatient: "Establishing"}, names("R-4.2 the refinery waits for conn:startAuth",
		"R-6.2 a master that does not answer conn:establish is given up")},
	{"does not wait for auth:ack", mutation{impatient: "Verifying"}, names("R-4.2 the refinery waits for auth:ack",
		"R-6.2 a master that does not answer auth:start is given up")},
	{"gives a reason with conn:close", mutation{text: map[string]string{closing: compose(closing, `{"reason":"cert"}`)}}, names(
		"R-7.2 conn:close after auth:dec gives no reason")},
	{"closes at once after conn:close", mutation{abrupt: true}, names("R-5.8 what comes behind conn:close is discarded")},
	{"discards without end", mutation{endless: true}, names("R-5.8 who keeps sending behind conn:close is cut off after a second")},
	{"does not close its direction", mutation{keepsOpen: true}, names("R-5.8 behind conn:close its direction of the stream is closed")},
	{"splits at every ;;", mutation{splits: true}, names("R-2.1 a further ;; is part of the payload")},
	{"looks for <EOF> outside of strings", mutation{nested: true}, names("R-2.1 the first <EOF> ends the message, within a string too")},
	{"goes on where its last session was", mutation{again: true}, names(nextSession)},
	{"takes what comes with a violation", mutation{lingers: true}, names("R-7.1 what comes with a violation is not taken")},
	{"takes an upstream that it cannot use", mutation{content: true}, names(
		"R-4.6 an upstream that the refinery cannot use gets conn:close instead of auth:ack",
		"R-4.6 a new upstream that it cannot use gets the same")},
	{"counts the alive timeout from the beginning", mutation{fromStart: true}, names(
		"R-6.7 conn:alive just before the alive timeout is in time, twice")},
	{"takes an array for upstream", mutation{ignores: faults(`upstream is not a string`)}, names("R-3.7 an array for upstream")},
}
