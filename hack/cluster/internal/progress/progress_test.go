package progress

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStepSaysWhatTakesLongerThanTwoSeconds(t *testing.T) {
	failure := errors.New("disk full")
	for _, tc := range []struct {
		name    string
		takes   time.Duration
		result  error
		printed string
		err     string
	}{
		{name: "a short step is silent", takes: time.Second},
		{name: "a long step is announced and ended", takes: 5 * time.Second, printed: "build etcd …\nbuild etcd: done in 5s\n"},
		{
			name: "a very long step shows its elapsed time", takes: 40 * time.Second,
			printed: "build etcd …\nbuild etcd … 17s\nbuild etcd … 32s\nbuild etcd: done in 40s\n",
		},
		{name: "an error names the step", takes: time.Second, result: failure, err: "build etcd: disk full"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				err := New(&out).Step("build etcd", func() error {
					<-time.After(tc.takes)
					return tc.result
				})
				if diff := cmp.Diff(tc.printed, out.String()); diff != "" {
					t.Errorf("printed (-want +got):\n%s", diff)
				}
				got := ""
				if err != nil {
					got = err.Error()
				}
				if got != tc.err {
					t.Errorf("error %q, want %q", got, tc.err)
				}
				if !errors.Is(err, tc.result) {
					t.Errorf("error %v does not wrap %v", err, tc.result)
				}
			})
		})
	}
}
