package conformance

import (
	"fmt"
	"strings"
)

// variant is a payload made from the members of a valid one, and whether a reader must take it.
type variant struct {
	rule, words string
	accepted    bool
	payload     func(members string) string
}

// object is the usual form.
func object(members string) string { return "{" + members + "}" }

// with returns an object that has one more member, as it stands.
func with(member string) func(string) string {
	return func(members string) string { return object(members + "," + member) }
}

// around returns the object between two texts.
func around(before, after string) func(string) string {
	return func(members string) string { return before + object(members) + after }
}

// keys returns n members that no table names.
func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"key%d":""`, i)
	}
	return b.String()
}

// variants are the forms of section 3 for a valid payload of count members, the first of which has a string for its key.
func variants(count int) []variant {
	bare := func(members string) string { return `"{` + strings.TrimPrefix(members, `"`) + "}" }
	return []variant{
		{"R-3.1", "white space between tokens", true, func(m string) string { return " \t\r\n{ " + m + " ,\n\"x\" : [ \"1\" , \"2\" ] } \n" }},
		{"R-3.1", "a number", false, with(`"x":1`)},
		{"R-3.1", "null", false, with(`"x":null`)},
		{"R-3.1", "true", false, with(`"x":true`)},
		{"R-3.1", "a number in an array", false, with(`"x":["1",2]`)},
		{"R-3.1", "an array in an array", false, with(`"x":[["1"]]`)},
		{"R-3.1", "an object in an array", false, with(`"x":[{}]`)},
		{"R-3.1", "an array in an inner object", false, with(`"x":{"y":[]}`)},
		{"R-3.1", "an object in an inner object", false, with(`"x":{"y":{"z":""}}`)},
		{"R-3.1", "an array instead of an object", false, func(string) string { return `["x"]` }},
		{"R-3.1", "a string instead of an object", false, func(string) string { return `"x"` }},
		{"R-3.1", "white space alone", false, func(string) string { return " " }},
		{"R-3.1", "a comma behind the last member", false, func(m string) string { return object(m + ",") }},
		{"R-3.1", "no comma between members", false, func(m string) string { return object(m + ` "x":"1"`) }},
		{"R-3.1", "no colon behind a key", false, with(`"x" "1"`)},
		{"R-3.1", "a key that is not a string", false, with(`1:"x"`)},
		{"R-3.1", "no closing brace", false, func(m string) string { return "{" + m }},
		{"R-3.1", "an array that does not end", false, with(`"x":["1"`)},
		{"R-3.2", "every escape", true, with(`"\u0078\"\\\/\b\f\n\r\t":"\u00e9\ud83d\ude00"`)},
		{"R-3.2", "an unknown escape", false, with(`"x":"\x41"`)},
		{"R-3.2", "an escape cut short", false, with(`"x":"\u004"`)},
		{"R-3.2", "half a surrogate pair", false, with(`"x":"\ud83d"`)},
		{"R-3.2", "a surrogate pair the wrong way round", false, with(`"x":"\ude00\ud83d"`)},
		{"R-3.2", "invalid UTF-8 in a value", false, with("\"x\":\"a\xff\"")},
		{"R-3.2", "invalid UTF-8 in a key", false, with("\"\xc3\":\"a\"")},
		{"R-3.2", "overlong UTF-8", false, with("\"x\":\"\xc0\xaf\"")},
		{"R-3.2", "a control character", false, with("\"x\":\"a\nb\"")},
		{"R-3.3", "a known key twice", false, func(m string) string { return object(m + "," + m) }},
		{"R-3.3", "an unknown key twice, once escaped", false, with(`"x":"1","\u0078":"2"`)},
		{"R-3.3", "a key twice in an inner object", false, with(`"x":{"k":"1","k":"2"}`)},
		{"R-3.3", "32 keys", true, func(m string) string { return object(m + keys(maxKeys-count)) }},
		{"R-3.3", "33 keys", false, func(m string) string { return object(m + keys(maxKeys+1-count)) }},
		{"R-3.3", "33 keys in an inner object", false, with(`"x":{` + strings.TrimPrefix(keys(maxKeys+1), ",") + `}`)},
		{"R-3.4", "the literal form, a quote before the brace", true, around(`"`, "")},
		{"R-3.4", "the literal form with a closing quote", true, around(`"`, `"`)},
		{"R-3.4", "the literal form, the first key's quote before the brace", true, bare},
		{"R-3.4", "the same with a closing quote", true, func(m string) string { return bare(m) + `"` }},
		{"R-3.4", "a bare key without the literal form", false, func(m string) string { return object(strings.TrimPrefix(m, `"`)) }},
		{"R-3.4", "a second bare key", false, func(m string) string { return strings.TrimSuffix(bare(m), "}") + `,x":"1"}` }},
		{"R-3.5", "bytes behind the object", false, around("", "x")},
		{"R-3.5", "a second object", false, around("", "{}")},
		{"R-3.5", "a closing quote without an opening one", false, around("", `"`)},
		{"R-3.5", "two closing quotes", false, around(`"`, `""`)},
		{"R-3.6", "unknown keys of every type", true, with(`"x":"1","y":["1","2"],"z":{"k":"v","l":""},"e":[],"f":{}`)},
	}
}

// padded returns the message with one more member, so that it has size bytes.
func padded(code, members string, size int) string {
	head := code + separator + "{" + members
	if members != "" {
		head += ","
	}
	head += `"padding":"`
	tail := `"}` + eof
	return head + strings.Repeat("a", size-len(head)-len(tail)) + tail
}

// unfinished is size bytes of a message whose <EOF> does not come.
func unfinished(code, members string, size int) string {
	return padded(code, members, size+len(eof))[:size]
}
