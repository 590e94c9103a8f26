package secretfiles

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Bounds of a shared certificate, without the blanks around it.
const (
	// MinSharedBytes keeps out what can be guessed: 16 random bytes have at least 64 bits, however they are written.
	MinSharedBytes = 16
	// MaxSharedBytes lets it fit into auth:start as a JSON string.
	MaxSharedBytes = 32 << 10
)

// Kinds of what is wrong with a shared certificate, which the error of Shared wraps.
var (
	ErrSharedEmpty = errors.New("is empty")
	ErrSharedLong  = fmt.Errorf("has more than the %d bytes that a node may send", MaxSharedBytes)
	ErrSharedShort = fmt.Errorf("has fewer than %d bytes, so it can be guessed; put in a longer one, such as openssl rand -hex 32 writes", MinSharedBytes)
	ErrSharedText  = errors.New("is not UTF-8 text")
)

// Shared returns the shared certificate that a file or a value holds, without the blanks around it. Operator, master and
// nodes read it with this, so that each accepts what the others do. Errors show nothing of it.
func Shared(text []byte) ([]byte, error) {
	shared := bytes.TrimSpace(text)
	switch {
	case len(shared) == 0:
		return nil, ErrSharedEmpty
	case len(shared) > MaxSharedBytes || len(text) > MaxBytes:
		return nil, ErrSharedLong
	case len(shared) < MinSharedBytes:
		return nil, ErrSharedShort
	case !utf8.Valid(shared):
		return nil, ErrSharedText
	}
	return shared, nil
}
