package secretfiles

import (
	"errors"
	"strings"
	"testing"
)

func TestSharedIsTextThatCannotBeGuessedAndFitsIntoAuthStart(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"the shortest":              {strings.Repeat("x", MinSharedBytes), nil},
		"the longest":               {strings.Repeat("x", MaxSharedBytes), nil},
		"blanks around it":          {"\n " + strings.Repeat("x", MaxSharedBytes) + "\r\n", nil},
		"nothing":                   {"", ErrSharedEmpty},
		"blanks":                    {" \n", ErrSharedEmpty},
		"one byte":                  {"x", ErrSharedShort},
		"a byte too short":          {strings.Repeat(" ", MinSharedBytes) + strings.Repeat("x", MinSharedBytes-1), ErrSharedShort},
		"a byte too long":           {strings.Repeat("x", MaxSharedBytes+1), ErrSharedLong},
		"more blanks than are read": {strings.Repeat("x", MinSharedBytes) + strings.Repeat(" ", MaxBytes), ErrSharedLong},
		"not text":                  {strings.Repeat("\xff", MinSharedBytes), ErrSharedText},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Shared([]byte(test.text))
			want := ""
			if test.want == nil {
				want = strings.TrimSpace(test.text)
			}
			if !errors.Is(err, test.want) || string(got) != want {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}
