package codec

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/redcon"
)

// BenchmarkAuthStartRedcon reads a command of the Redis protocol that carries a certificate of 1.2 KB. Lengths stand before the strings
// there, so nothing is searched, unescaped or checked. It ends where a handler has the certificate, and begins with a copy, as the
// library's own benchmark does.
func BenchmarkAuthStartRedcon(b *testing.B) {
	certificate := strings.Repeat("c", 1200)
	encoded := fmt.Appendf(nil, "*2\r\n$10\r\nauth:start\r\n$%d\r\n%s\r\n", len(certificate), certificate)
	received := make([]byte, len(encoded))
	var arguments [][]byte
	b.SetBytes(int64(len(encoded)))
	b.ReportAllocs()
	var decoded string
	for b.Loop() {
		copy(received, encoded)
		complete, read, _, _, err := redcon.ReadNextCommand(received, arguments)
		if !complete || err != nil || !bytes.Equal(read[0], []byte("auth:start")) {
			b.Fatal(complete, err)
		}
		arguments = read[:0]
		decoded = string(read[1])
	}
	if decoded != certificate {
		b.Fatalf("decoded %q", decoded)
	}
}
