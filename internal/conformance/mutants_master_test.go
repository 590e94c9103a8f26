package conformance

const laterNode = "R-9.1 a node of a later version, with keys of its own in every message"

var brokenMasters = []mutantTest{
	{"skips conn:alive before the session", mutation{tolerates: "Acknowledging conn:alive"}, names("R-4.1 conn:alive in state Acknowledging")},
	{"skips conn:establish in a session", mutation{tolerates: "Authenticated conn:establish"}, names("R-4.1 conn:establish in state Authenticated")},
	{"skips auth:ack before auth:start", mutation{tolerates: "Authenticating auth:ack"}, names("R-4.1 auth:ack in state Authenticating")},
	{"skips auth:dec first", mutation{tolerates: "New auth:dec"}, names("R-4.1 auth:dec in state New")},
	{"skips auth:ack that acknowledges nothing", mutation{tolerates: "Authenticated auth:ack"}, names("R-5.6 auth:ack that acknowledges nothing")},
	{"does not look for bytes ahead of their turn", mutation{ignoresTurn: true}, names(
		"R-4.2 auth:start in one write with conn:establish", "R-4.2 one byte behind conn:establish",
		"R-4.2 auth:ack in one write with auth:start", "R-4.2 one byte behind auth:start", "R-4.2 the whole opening in one write")},
	{"drops what a read holds beyond a message", mutation{forgetful: true}, names(
		"R-2.4 three messages in one write", "R-2.4 a message and half of the next in one write")},
	{"takes each read for a message", mutation{wholeReads: true}, names(
		"R-2.4 the whole opening byte by byte", "R-2.4 packets that cut every mark",
		"R-5.4 half a message does not keep a session alive", "R-6.2 a byte now and then does not move the deadline")},
	{"takes codes in any letters", mutation{anyCase: true}, names("R-2.2 a code in other letters")},
	{"trims codes", mutation{trims: true}, names("R-2.2 white space ahead of the code", "R-2.2 white space behind the code")},
	{"judges a code only with <EOF>", mutation{lateCode: true}, names(
		"R-1.2 TLS gets no answer", "R-2.2 another protocol, noticed before <EOF>", "R-2.2 16 bytes that hold no code")},
	{"takes numbers, null and true", mutation{ignores: faults(`a value is not`)}, names(
		"R-3.1 a number", "R-3.1 null", "R-3.1 true", "R-3.1 a number in conn:alive")},
	{"takes deeper nesting", mutation{ignores: faults(`array or inner object`)}, names(
		"R-3.1 a number in an array", "R-3.1 an array in an array", "R-3.1 an object in an array",
		"R-3.1 an array in an inner object", "R-3.1 an object in an inner object")},
	{"takes invalid UTF-8", mutation{ignores: faults(`UTF-8`)}, names(
		"R-3.2 invalid UTF-8 in a value", "R-3.2 invalid UTF-8 in a key", "R-3.2 overlong UTF-8")},
	{"takes half a surrogate pair", mutation{ignores: faults(`surrogate`)}, names(
		"R-3.2 half a surrogate pair", "R-3.2 a surrogate pair the wrong way round")},
	{"takes duplicate keys", mutation{ignores: faults(`twice`)}, names(
		"R-3.3 a known key twice", "R-3.3 an unknown key twice, once escaped", "R-3.3 a key twice in an inner object")},
	{"takes any number of keys", mutation{ignores: faults(`more than`)}, names("R-3.3 33 keys", "R-3.3 33 keys in an inner object")},
	{"takes 31 keys at most", mutation{fewKeys: true}, names("R-3.3 32 keys")},
	{"takes bytes behind the object", mutation{ignores: faults(`R-3.5`)}, names(
		"R-3.5 bytes behind the object", "R-3.5 a second object", "R-3.5 a closing quote without an opening one", "R-3.5 two closing quotes")},
	{"does not know the literal form", mutation{noLiteral: true}, names(
		"R-3.4 the literal form, a quote before the brace", "R-3.4 the literal form with a closing quote",
		"R-3.4 the literal form, the first key's quote before the brace", "R-3.4 the same with a closing quote",
		"R-3.4 the literal form of auth:start")},
	{"does not know the literal form with a bare key", mutation{noBare: true}, names(
		"R-3.4 the literal form, the first key's quote before the brace", "R-3.4 the same with a closing quote",
		"R-3.4 the literal form of auth:start")},
	{"refuses unknown keys", mutation{strictKeys: true}, names(
		"R-3.6 unknown keys of every type", "R-3.6 an unknown key in auth:start", "R-3.6 a payload of auth:ack",
		"R-3.6 conn:alive with an unknown key", "R-3.1 white space between tokens", "R-3.2 every escape", "R-3.3 32 keys",
		"R-2.5 conn:establish of 4096 bytes", "R-2.5 auth:start of 65536 bytes", "R-2.5 conn:alive of 4096 bytes",
		"R-2.1 a further ;; is part of the payload", laterNode)},
	{"does without type", mutation{ignores: faults(`type is missing`)}, names("R-3.7 type missing")},
	{"takes any value for id", mutation{ignores: faults(`id is not a string`)}, names("R-3.7 an array for id")},
	{"does without cert", mutation{ignores: faults(`cert is missing`)}, names("R-3.7 cert missing")},
	{"takes an id of any length", mutation{ignores: faults(`id has 254`)}, names("R-3.9 id of 254 bytes")},
	{"takes an empty version", mutation{ignores: faults(`version has 0`)}, names("R-3.9 an empty version")},
	{"takes what is not printable", mutation{ignores: faults(`printable`)}, names(
		"R-3.9 a control character in id", "R-3.9 a mark of direction in id", "R-3.9 a line break in version")},
	{"bounds conn:establish a byte too late", mutation{longer: map[string]int{establish: 1}}, names(
		"R-2.5 conn:establish of 4097 bytes", "R-2.5 4096 bytes of conn:establish without <EOF>")},
	{"bounds auth:start a byte too early", mutation{longer: map[string]int{authStart: -1}}, names("R-2.5 auth:start of 65536 bytes")},
	{"bounds no message of a session", mutation{longer: map[string]int{alive: 1 << 20}}, names(
		"R-2.5 conn:alive of 4097 bytes", "R-2.5 4096 bytes of conn:alive without <EOF>")},
	{"answers what is too long with conn:close", mutation{says: compose(closing, "")}, names(
		"R-2.5 conn:establish of 4097 bytes", "R-2.5 4096 bytes of conn:establish without <EOF>",
		"R-2.5 auth:start of 65537 bytes", "R-2.5 65536 bytes of auth:start without <EOF>",
		"R-2.5 conn:alive of 4097 bytes", "R-2.5 4096 bytes of conn:alive without <EOF>")},
	{"does not answer conn:alive", mutation{text: map[string]string{alive: ""}}, receiving(alive)},
	{"answers conn:alive twice", mutation{text: map[string]string{alive: compose(alive, "") + compose(alive, "")}}, names(
		"R-5.1 each conn:alive is answered with one", "R-4.1 the whole opening, then conn:close",
		"R-1.1 no second session on a connection", "R-7.1 what comes with a violation is not answered", laterNode,
		"R-2.2 an unknown code in a session", "R-2.5 4096 bytes of conn:alive without <EOF>", "R-2.5 conn:alive of 4097 bytes",
		"R-2.6 the end of the stream in state Authenticated", "R-3.1 a number in conn:alive", "R-3.7 an array for status",
		"R-4.1 auth:dec in state Authenticated", "R-4.1 auth:start in state Authenticated",
		"R-4.1 conn:establish in state Authenticated", "R-4.1 conn:startAuth in state Authenticated",
		"R-5.6 auth:ack that acknowledges nothing", "R-5.7 conn:close in state Authenticated")},
	{"does not answer conn:alive with a payload", mutation{plain: true}, names(
		"R-2.5 conn:alive of 4096 bytes", "R-3.6 conn:alive with an unknown key",
		"R-3.10 load beyond 1 is ignored", "R-3.10 load that is not a number is ignored",
		"R-3.10 status of 257 bytes is ignored", "R-3.10 status that is not printable is ignored",
		"R-5.3 conn:alive that takes its load back", "R-5.3 conn:alive with status alone", "R-5.3 conn:alive with status and load", laterNode)},
	{"closes for a load that is none", mutation{picky: true}, names("R-3.10 load that is not a number is ignored", "R-3.10 load beyond 1 is ignored")},
	{"grants no upstream", mutation{text: map[string]string{authAck: compose(authAck, "")}}, receiving(authAck)},
	{"writes a mark into upstream", mutation{text: map[string]string{authAck: compose(authAck, `{"upstream":"a<b"}`)}}, names(
		"R-3.8 no mark stands in the master's messages")},
	{"writes the literal form", mutation{text: map[string]string{authAck: compose(authAck, `"{upstream":"a"}`)}}, receiving(authAck)},
	{"gives a reason with conn:close", mutation{text: map[string]string{closing: compose(closing, `{"reason":"version"}`)}}, names("R-7.2 a refused version gets no reason")},
	{"gives a reason with auth:dec", mutation{text: map[string]string{authDec: compose(authDec, `{"reason":"cert"}`)}}, names("R-7.2 a refused certificate gets no reason")},
	{"answers auth:dec with auth:ack instead", mutation{text: map[string]string{authDec: grant}}, receiving(authDec)},
	{"closes for a refused version without conn:close", mutation{mute: true}, receiving(closing)},
	{"closes at once after auth:dec", mutation{hasty: true}, names("R-4.5 after auth:dec the master waits for conn:close")},
	{"lets a refinery try again", mutation{retries: true}, names("R-4.5 no second try after auth:dec")},
	{"answers conn:close with conn:close", mutation{answersBy: map[string]string{closing: compose(closing, "")}}, names(
		"R-1.1 no second session on a connection", "R-4.1 the whole opening, then conn:close",
		"R-4.5 a refused certificate gets auth:dec, and conn:close ends it", "R-6.5 one connection more is refused, until there is a place", laterNode,
		"R-5.7 conn:close in state New", "R-5.7 conn:close in state Authenticating",
		"R-5.7 conn:close in state Acknowledging", "R-5.7 conn:close in state Authenticated")},
	{"has no alive timeout", mutation{noTimer: "alive"}, names(
		"R-5.4 a silent session is closed, without conn:close", "R-5.4 half a message does not keep a session alive")},
	{"says conn:close at the alive timeout", mutation{lastWord: true}, names(
		"R-5.4 a silent session is closed, without conn:close", "R-5.4 half a message does not keep a session alive")},
	{"takes bytes for a sign of life", mutation{byteAlive: true}, names("R-5.4 half a message does not keep a session alive")},
	{"has no handshake timeout", mutation{noTimer: "handshake"}, names(
		"R-6.2 nothing is sent", "R-6.2 nothing is sent after conn:startAuth", "R-6.2 nothing is sent after auth:ack",
		"R-6.2 a byte now and then does not move the deadline")},
	{"counts the handshake timeout from each read", mutation{perRead: true}, names("R-6.2 a byte now and then does not move the deadline")},
	{"does not notice the end of the stream", mutation{ignoresEnd: true}, names(
		"R-2.6 the end of the stream in state New", "R-2.6 the end of the stream in state Authenticating",
		"R-2.6 the end of the stream in state Acknowledging", "R-2.6 the end of the stream in state Authenticated",
		"R-2.6 the end of the stream within a message", "R-4.5 the end of the stream after auth:dec")},
	{"does not wait for conn:establish", mutation{impatient: "New"}, names("R-4.2 the master waits for conn:establish",
		"R-6.2 nothing is sent", "R-6.2 a byte now and then does not move the deadline",
		"R-6.5 one connection more is refused, until there is a place")},
	{"does not wait for auth:start", mutation{impatient: "Authenticating"}, names("R-4.2 the master waits for auth:start",
		"R-6.2 nothing is sent after conn:startAuth")},
	{"does not wait for auth:ack", mutation{impatient: "Acknowledging"}, names("R-4.2 the master waits for auth:ack",
		"R-6.2 nothing is sent after auth:ack")},
	{"closes at once after conn:close", mutation{abrupt: true}, names("R-5.8 what comes behind conn:close is discarded")},
	{"discards without end", mutation{endless: true}, names("R-5.8 who keeps sending behind conn:close is cut off after a second")},
	{"does not close its direction", mutation{keepsOpen: true}, names("R-5.8 behind conn:close its direction of the stream is closed")},
	{"goes on after its conn:close", mutation{murmurs: true}, names(
		"R-5.8 behind conn:close nothing more is sent, and the stream ends without a reset",
		"R-5.8 behind conn:close its direction of the stream is closed", "R-5.8 what comes behind conn:close is discarded")},
	{"splits at every ;;", mutation{splits: true}, names("R-2.1 a further ;; is part of the payload")},
	{"looks for <EOF> outside of strings", mutation{nested: true}, names("R-2.1 the first <EOF> ends the message, within a string too")},
	{"takes an array for cert", mutation{ignores: faults(`cert is not a string`)}, names("R-3.7 an array for cert")},
	{"takes a second session on a connection", mutation{again: true}, names("R-1.1 no second session on a connection")},
	{"answers what comes with a violation", mutation{lingers: true}, names("R-7.1 what comes with a violation is not answered")},
	{"counts the alive timeout from the beginning", mutation{fromStart: true}, names(
		"R-6.7 conn:alive just before the alive timeout is in time, twice")},
	{"has no write timeout", mutation{staysOpen: true}, names("R-6.3 a session whose answers are not read is closed")},
	{"has fewer places", mutation{places: -1}, names("R-4.3 what a connection says that there is no place for is not answered",
		"R-6.5 6 connections that are not authenticated are served", "R-6.5 one connection more is refused, until there is a place")},
	{"has one place too many", mutation{places: 1}, names(
		"R-4.3 what a connection says that there is no place for is not answered", "R-6.5 one connection more is refused, until there is a place")},
	{"refuses only what says something", mutation{late: true}, names("R-6.5 one connection more is refused, until there is a place")},
	{"answers what there is no place for", mutation{curious: true}, names(
		"R-4.3 what a connection says that there is no place for is not answered")},
	{"opens one session after the other", mutation{oneByOne: true}, names(
		"R-4.3 what a connection says that there is no place for is not answered", "R-8.4 peers that say nothing keep nobody out",
		"R-6.5 6 connections that are not authenticated are served", "R-6.5 one connection more is refused, until there is a place")},
	{"answers TLS with an alert", mutation{alerts: true}, names("R-1.2 TLS gets no answer")},
}
