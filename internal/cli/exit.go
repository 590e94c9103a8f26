package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// StartError is an error that kept a program from starting.
type StartError struct{ Err error }

func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e *StartError) Unwrap() error { return e.Err }

// ExitCode returns the exit code of a program that ended with err: 0 for nil, 2 for a StartError and 1 for any other. It writes
// an error to stderr, after the program's name and in one line.
func ExitCode(program string, err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintf(stderr, "%s: %s\n", program, strings.ReplaceAll(err.Error(), "\n", " "))
	if _, ok := errors.AsType[*StartError](err); ok {
		return 2
	}
	return 1
}
