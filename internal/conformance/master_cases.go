package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// masterCases plays refineries against a master.
type masterCases struct {
	o       *Options
	members map[string]string // of a valid payload, by code
	all     []*testCase
}

func newMasterCases(o *Options) []*testCase {
	m := &masterCases{o: o, members: membersOf(o)}
	m.paths()
	m.marks()
	m.order()
	m.ahead()
	m.division()
	m.codes()
	m.payloads()
	m.bounds()
	m.session()
	m.denial()
	m.timers()
	m.places()
	m.transport()
	return m.all
}

func membersOf(o *Options) map[string]string {
	return map[string]string{
		establish: fmt.Sprintf(`"id":%s,"version":%s,"type":%s`, quote(o.ID), quote(o.Version), quote(o.Type)),
		authStart: `"cert":` + quote(o.authCertificate),
	}
}

func (m *masterCases) add(rule, words string, steps ...any) *testCase {
	c := &testCase{rule: rule, words: words, steps: then(steps...)}
	m.all = append(m.all, c)
	return c
}

// message is a valid message of a code, as a refinery would send it.
func (m *masterCases) message(code string) string {
	if members, ok := m.members[code]; ok {
		return compose(code, object(members))
	}
	return compose(code, "")
}

// Steps that lead to a state of table 4.1.

func (m *masterCases) authenticating() []step {
	return then(send(m.message(establish)), expect(startAuth))
}

func (m *masterCases) acknowledging() []step {
	return then(m.authenticating(), send(m.message(authStart)), expect(authAck))
}

// authenticated is sure of it: the master has answered.
func (m *masterCases) authenticated() []step {
	return then(m.acknowledging(), send(m.message(authAck)), m.heartbeat())
}

// heartbeat sends conn:alive and expects its answer.
func (m *masterCases) heartbeat() []step { return then(send(m.message(alive)), m.answered(1)) }

// answered expects n conn:alive. A new upstream that comes meanwhile is acknowledged.
func (m *masterCases) answered(n int) step {
	return func(x *exchange) error {
		for n := n; n > 0; {
			reply, err := x.message(alive, authAck)
			if err != nil {
				x.expecting("%s, %d more of them within %v", alive, n, x.patience)
				return err
			}
			if reply.code == authAck {
				x.write(m.message(authAck))
				continue
			}
			n--
		}
		return nil
	}
}

func (m *masterCases) paths() {
	m.add("R-4.1", "the whole opening, then conn:close", m.authenticated(), send(m.message(closing)), ended())
	m.add("R-4.2", "the master waits for conn:establish", quiet)
	m.add("R-4.2", "the master waits for auth:start", m.authenticating(), quiet)
	m.add("R-4.2", "the master waits for auth:ack", m.acknowledging(), quiet)
	for _, at := range m.states() {
		m.add("R-5.7", "conn:close in state "+at.name, at.steps, send(m.message(closing)), ended())
		m.add("R-2.6", "the end of the stream in state "+at.name, at.steps, hangUp, ended())
	}
	m.add("R-2.6", "the end of the stream within a message", m.authenticating(), send(authStart+separator+`{"cert":"`), hangUp, ended())
	m.add("R-1.1", "no second session on a connection", m.authenticated(), send(m.message(closing)+m.message(establish)), ended())
	m.add("R-3.8", "no mark stands in the master's messages", m.authenticated())
	m.add("R-7.1", "what comes with a violation is not answered", m.authenticated(),
		send(compose("conn:hello", "")+m.message(alive)), ended())
	m.later()
}

// later is a node of a later version, whose messages have keys that this version does not know.
func (m *masterCases) later() {
	more := func(code string) string {
		members := m.members[code]
		if members != "" {
			members += ","
		}
		return compose(code, object(members+`"later":"1","more":["2"],"most":{"k":"3"}`))
	}
	m.add("R-9.1", "a node of a later version, with keys of its own in every message",
		send(more(establish)), expect(startAuth), send(more(authStart)), expect(authAck),
		send(more(authAck)), send(more(alive)), m.answered(1), send(more(closing)), ended())
}

// marks are the cases whose payloads hold <EOF> and ;; themselves.
func (m *masterCases) marks() {
	m.add("R-2.1", "a further ;; is part of the payload",
		send(compose(establish, object(m.members[establish]+`,"x":"a;;b;;"`))), expect(startAuth))
	m.add("R-2.1", "the first <EOF> ends the message, within a string too",
		send(compose(establish, object(`"x":"a<EOF>",`+m.members[establish]))), ended())
}

type masterState struct {
	name    string
	steps   []step
	expects []string
}

func (m *masterCases) states() []masterState {
	return []masterState{
		{name: "New", expects: []string{establish}},
		{name: "Authenticating", steps: m.authenticating(), expects: []string{authStart}},
		{name: "Acknowledging", steps: m.acknowledging(), expects: []string{authAck}},
		{name: "Authenticated", steps: m.authenticated(), expects: []string{alive, authAck}},
	}
}

// order sends every message that a state does not expect.
func (m *masterCases) order() {
	for _, at := range m.states() {
		for _, code := range codes {
			if code == closing || slices.Contains(at.expects, code) {
				continue
			}
			m.add("R-4.1", code+" in state "+at.name, at.steps, send(m.message(code)), ended())
		}
	}
	m.add("R-5.6", "auth:ack that acknowledges nothing", m.authenticated(), send(m.message(authAck)), ended())
}

// ahead sends what would be right in its turn, before its turn.
func (m *masterCases) ahead() {
	first, second, third := m.message(establish), m.message(authStart), m.message(authAck)
	m.add("R-4.2", "auth:start in one write with conn:establish", send(first+second), ended())
	m.add("R-4.2", "one byte behind conn:establish", send(first+"a"), ended())
	m.add("R-4.2", "auth:ack in one write with auth:start", m.authenticating(), send(second+third), ended())
	m.add("R-4.2", "one byte behind auth:start", m.authenticating(), send(second+"a"), ended())
	m.add("R-4.2", "the whole opening in one write", send(first+second+third), ended())
	m.add("R-4.2", "conn:close behind conn:establish is never ahead of its turn", send(first+m.message(closing)), ended(startAuth))
	if m.o.Transport != Plaintext {
		m.add("R-4.2", "one byte behind conn:establish, in a record of its own", sendRecords(first, "a"), ended())
		m.add("R-4.2", "one byte behind auth:start, in a record of its own", m.authenticating(), sendRecords(second, "a"), ended())
	}
}

func (m *masterCases) division() {
	m.add("R-2.4", "the whole opening byte by byte",
		sendBytewise(m.message(establish)), expect(startAuth), sendBytewise(m.message(authStart)), expect(authAck),
		sendBytewise(m.message(authAck)), sendBytewise(m.message(alive)), m.answered(1))
	m.add("R-2.4", "packets that cut every mark",
		sendPieces("conn:", "estab", "lish;", ";{"+m.members[establish]+"}<E", "OF", ">"), expect(startAuth))
	m.add("R-2.4", "three messages in one write", m.authenticated(), send(strings.Repeat(m.message(alive), 3)), m.answered(3))
	m.add("R-2.4", "auth:ack and the first conn:alive in one write", m.acknowledging(),
		send(m.message(authAck)+m.message(alive)), m.answered(1))
	m.add("R-2.4", "a message and half of the next in one write", m.authenticated(),
		send(m.message(alive)+"conn:al"), m.answered(1), send("ive;;<EOF>"), m.answered(1))
}

func (m *masterCases) codes() {
	valid := object(m.members[establish])
	for _, c := range [...]struct{ words, text string }{
		{"an unknown code", compose("conn:hello", valid)},
		{"a code in other letters", compose("CONN:establish", valid)},
		{"no separator", establish + valid + eof},
		{"one semicolon", establish + ";" + valid + eof},
		{"no code", compose("", valid)},
		{"white space ahead of the code", " " + m.message(establish)},
		{"white space behind the code", compose(establish+" ", valid)},
		{"<EOF> alone", eof},
		{"another protocol, noticed before <EOF>", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"16 bytes that hold no code", "conn:establishes"},
	} {
		m.add("R-2.2", c.words, send(c.text), ended())
	}
	m.add("R-2.2", "an unknown code in a session", m.authenticated(), send(compose("conn:hello", "")), ended())
}

func (m *masterCases) payloads() {
	for _, v := range variants(3) {
		then := ended()
		if v.accepted {
			then = expect(startAuth)
		}
		m.add(v.rule, v.words, send(compose(establish, v.payload(m.members[establish]))), then)
	}
	id, version, typ := `"id":`+quote(m.o.ID), `"version":`+quote(m.o.Version), `"type":`+quote(m.o.Type)
	for _, c := range [...]struct{ rule, words, payload string }{
		{"R-3.7", "id missing", object(version + "," + typ)},
		{"R-3.7", "version missing", object(id + "," + typ)},
		{"R-3.7", "type missing", object(id + "," + version)},
		{"R-3.7", "no payload of conn:establish", ""},
		{"R-3.7", "an array for id", object(`"id":["a"],` + version + "," + typ)},
		{"R-3.7", "an object for version", object(id + `,"version":{},` + typ)},
		{"R-3.7", "an array for type", object(id + "," + version + `,"type":[]`)},
		{"R-3.9", "an empty id", object(`"id":"",` + version + "," + typ)},
		{"R-3.9", "an empty version", object(id + `,"version":"",` + typ)},
		{"R-3.9", "an empty type", object(id + "," + version + `,"type":""`)},
		{"R-3.9", "a control character in id", object(`"id":"a\u0000",` + version + "," + typ)},
		{"R-3.9", "a mark of direction in id", object(`"id":"a\u202e",` + version + "," + typ)},
		{"R-3.9", "a line break in version", object(id + `,"version":"1\n",` + typ)},
		{"R-3.9", "id of 254 bytes", object(`"id":"` + strings.Repeat("a", 254) + `",` + version + "," + typ)},
		{"R-3.9", "version of 65 bytes", object(id + `,"version":"` + strings.Repeat("1", 65) + `",` + typ)},
		{"R-3.9", "type of 65 bytes", object(id + "," + version + `,"type":"` + strings.Repeat("t", 65) + `"`)},
	} {
		m.add(c.rule, c.words, send(compose(establish, c.payload)), ended())
	}
	// These are within the bounds; whether the master wants them is its decision.
	for _, c := range [...]struct{ words, payload string }{
		{"id of 253 bytes", object(`"id":"` + strings.Repeat("a", 253) + `",` + version + "," + typ)},
		{"version of 64 bytes", object(id + `,"version":"` + strings.Repeat("1", 64) + `",` + typ)},
		{"type of 64 bytes", object(id + "," + version + `,"type":"` + strings.Repeat("t", 64) + `"`)},
	} {
		m.add("R-3.9", c.words, send(compose(establish, c.payload)), expect(startAuth, closing))
	}
	m.add("R-3.7", "cert missing", m.authenticating(), send(compose(authStart, "{}")), ended())
	m.add("R-3.7", "an array for cert", m.authenticating(), send(compose(authStart, `{"cert":["a"]}`)), ended())
	m.add("R-3.4", "the literal form of auth:start", m.authenticating(),
		send(compose(authStart, `"{`+strings.TrimPrefix(m.members[authStart], `"`)+"}")), expect(authAck))
	m.add("R-3.6", "an unknown key in auth:start", m.authenticating(),
		send(compose(authStart, object(m.members[authStart]+`,"x":["1"]`))), expect(authAck))
	m.add("R-3.6", "a payload of auth:ack", m.acknowledging(), send(compose(authAck, `{"x":"1"}`)), m.heartbeat())
}

func (m *masterCases) session() {
	m.add("R-5.1", "each conn:alive is answered with one", m.authenticated(), m.heartbeat(), m.heartbeat(), quiet)
	for _, c := range [...]struct{ rule, words, payload string }{
		{"R-5.3", "conn:alive with status and load", `{"status":"grinding","load":"0.25"}`},
		{"R-5.3", "conn:alive that takes its load back", `{"load":""}`},
		{"R-5.3", "conn:alive with status alone", `{"status":"grinding"}`},
		{"R-3.6", "conn:alive with an unknown key", `{"x":{"y":"z"}}`},
		{"R-3.10", "load that is not a number is ignored", `{"load":"37%"}`},
		{"R-3.10", "load beyond 1 is ignored", `{"load":"1.5"}`},
		{"R-3.10", "status that is not printable is ignored", `{"status":"a\u0007b"}`},
		{"R-3.10", "status of 257 bytes is ignored", `{"status":"` + strings.Repeat("a", 257) + `"}`},
	} {
		m.add(c.rule, c.words, m.authenticated(), send(compose(alive, c.payload)), m.answered(1))
	}
	m.add("R-3.1", "a number in conn:alive", m.authenticated(), send(compose(alive, `{"x":1}`)), ended())
	m.add("R-3.7", "an array for status", m.authenticated(), send(compose(alive, `{"status":["a"]}`)), ended())
}

func (m *masterCases) denial() {
	refused := compose(establish, object(fmt.Sprintf(`"id":%s,"version":%s,"type":%s`, quote(m.o.ID), quote(m.o.RefusedVersion), quote(m.o.Type))))
	closes := then(send(refused), expect(closing))
	for _, c := range append(farewells(m.add, m.o.Transport, closes, m.message(authStart)),
		m.add("R-4.4", "a refused version gets conn:close", closes),
		m.add("R-7.2", "a refused version gets no reason", closes),
	) {
		if m.o.RefusedVersion == "" {
			c.skip = "needs --refused-version"
		}
	}
	denied := then(send(m.message(establish)), expect(startAuth), send(compose(authStart, `{"cert":`+quote(m.o.deniedCertificate)+`}`)), expect(authDec))
	for _, c := range []struct {
		rule, words string
		steps       []step
	}{
		{"R-4.5", "a refused certificate gets auth:dec, and conn:close ends it", then(send(m.message(closing)), ended())},
		{"R-7.2", "a refused certificate gets no reason", nil},
		{"R-4.5", "after auth:dec the master waits for conn:close", then(quiet)},
		{"R-4.5", "the end of the stream after auth:dec", then(hangUp, ended())},
		{"R-4.5", "no second try after auth:dec", then(send(m.message(authStart)), ended())},
		{"R-4.5", "auth:ack after auth:dec", then(send(m.message(authAck)), ended())},
		{"R-4.5", "conn:alive after auth:dec", then(send(m.message(alive)), ended())},
		{"R-4.5", "conn:establish after auth:dec", then(send(m.message(establish)), ended())},
	} {
		tc := m.add(c.rule, c.words, denied, c.steps)
		tc.via = withDeniedCertificate
		if m.o.deniedCertificate == "" {
			tc.skip = "needs --denied-cert"
		}
	}
}
