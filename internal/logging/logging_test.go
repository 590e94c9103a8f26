package logging

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/internal/cli"
)

var timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT[^" ]+`)

// The agent logs with slog, the operator and the masters with logr: one handler writes both.
func TestEveryLoggerWritesTheSameKeys(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, `{"time":"T","level":"info","msg":"slog","n":1}
{"time":"T","level":"warn","msg":"slog"}
{"time":"T","level":"info","msg":"logr","logger":"a/b","level":7}
{"time":"T","level":"error","msg":"logr","err":"broken"}
`},
		{[]string{"--log-level=debug", "--log-format=console"}, `time=T level=debug msg=slog
time=T level=info msg=slog n=1
time=T level=warn msg=slog
time=T level=debug msg=logr
time=T level=info msg=logr logger=a/b level=7
time=T level=error msg=logr err=broken
`},
		{[]string{"--log-level=error"}, `{"time":"T","level":"error","msg":"logr","err":"broken"}
`},
	} {
		var o Options
		f := cli.New("operator")
		o.Bind(f)
		if err := f.Parse(test.args); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		handler := o.Handler(&b)
		log, logger := slog.New(handler), logr.FromSlogHandler(handler)
		log.Debug("slog")
		log.Info("slog", "n", 1)
		log.Warn("slog")
		logger.V(1).Info("logr")
		logger.WithName("a").WithName("b").Info("logr", "level", 7)
		logger.Error(errors.New("broken"), "logr")
		if diff := cmp.Diff(test.want, timestamp.ReplaceAllString(b.String(), "T")); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.args, diff)
		}
	}
}

type object struct{ Data string }

func (*object) GetNamespace() string { return "plant" }
func (*object) GetName() string      { return "alpha-tls" }

func TestObjectsAreLoggedAsTheirNames(t *testing.T) {
	var b bytes.Buffer
	log := logr.FromSlogHandler(Options{Level: Info, Format: JSON}.Handler(&b)).WithValues("with", &object{"sesame"})
	log.Info("applied", "object", &object{"sesame"})
	const want = `{"time":"T","level":"info","msg":"applied","with":{"namespace":"plant","name":"alpha-tls"},"object":{"namespace":"plant","name":"alpha-tls"}}` + "\n"
	if diff := cmp.Diff(want, timestamp.ReplaceAllString(b.String(), "T")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongValuesAreNamed(t *testing.T) {
	for arg, want := range map[string]string{
		"--log-level=loud": "--log-level=loud: write debug, info, warn or error",
		"--log-format=xml": "--log-format=xml: write json or console",
	} {
		f := cli.New("operator")
		new(Options).Bind(f)
		if err := f.Parse([]string{arg}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
