package master

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// mounted is a directory with a server certificate of an authority, its key, and the trust bundle.
func mounted(t *testing.T, a *pkitest.Authority) string {
	t.Helper()
	directory := t.TempDir()
	mount(directory, a)
	return directory
}

// mount writes a new server certificate, and a trust bundle with its authority and others.
func mount(directory string, a *pkitest.Authority, others ...*pkitest.Authority) {
	pkitest.WriteFiles(directory, a.Issue(pkitest.Server("localhost", "127.0.0.1")), append(others, a)...)
}

func TestWhatCannotBeLoadedLeavesInForceWhatWas(t *testing.T) {
	a, other := pkitest.NewAuthority("plant"), pkitest.NewAuthority("other")
	tests := []struct {
		name   string
		damage func(dir string) error
	}{
		{"a file is missing", func(dir string) error { return os.Remove(filepath.Join(dir, "ca.crt")) }},
		{"garbage", func(dir string) error { return os.WriteFile(filepath.Join(dir, "tls.crt"), []byte("\x00"), 0o600) }},
		{"a bundle without a certificate", func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("# none\n"), 0o600) }},
		{"a key of another certificate", func(dir string) error {
			stray, err := os.ReadFile(filepath.Join(mounted(t, other), "tls.key"))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "tls.key"), stray, 0o600)
		}},
		{"more than a Secret can hold", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "ca.crt"), []byte(strings.Repeat(admittest.PEM(a.Certificate), 3000)), 0o600)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := mounted(t, a)
			changes := 0
			c := &certificates{directory: dir, log: logr.Discard(), changed: func() { changes++ }}
			c.Load()
			c.Load()
			was := c.Trust()
			if was == nil || changes != 1 {
				t.Fatalf("loaded %v, %d changes", was, changes)
			}
			if err := test.damage(dir); err != nil {
				t.Fatal(err)
			}
			c.Load()
			if c.Trust() != was || changes != 1 {
				t.Errorf("%d changes", changes)
			}
			mount(dir, other, a)
			c.Load()
			if now := c.Trust(); now == was || len(now.Authorities()) != 2 || changes != 2 {
				t.Errorf("the repaired files were not taken: %d changes", changes)
			}
		})
	}
}

func policyOf(transport v1alpha1.Transport, authentication v1alpha1.Authentication) *admit.Policy {
	return admit.NewPolicy(&v1alpha1.ClusterMaster{Spec: v1alpha1.ClusterMasterSpec{
		Security: v1alpha1.SecuritySpec{Transport: transport, Authentication: authentication}}})
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	a := pkitest.NewAuthority("plant")
	shared := filepath.Join(t.TempDir(), "certificate")
	c := &certificates{directory: t.TempDir(), sharedFile: shared, log: logr.Discard()}
	mutual := policyOf(v1alpha1.TransportMutualTLS, v1alpha1.AuthenticationIssuedCertificate)
	bare := policyOf(v1alpha1.TransportPlaintext, v1alpha1.AuthenticationSharedCertificate)
	either := &admit.Policy{Modes: append(mutual.Modes, bare.Modes...)}
	missing := func() [2]bool { c.Load(); return [2]bool{c.Missing(mutual) != "", c.Missing(bare) != ""} }
	if got := missing(); got != [2]bool{true, true} {
		t.Errorf("with nothing: %v", got)
	}
	for _, unusable := range []string{"  \n", "x\n"} {
		if err := os.WriteFile(shared, []byte(unusable), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := missing(); got != [2]bool{true, true} {
			t.Errorf("with the shared certificate %q: %v", unusable, got)
		}
	}
	if err := os.WriteFile(shared, []byte("open sesame, please\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := missing(); got != [2]bool{true, false} {
		t.Errorf("with the shared certificate: %v", got)
	}
	if missing := c.Missing(either); missing != "" {
		t.Errorf("%q is missing where the nodes that have not moved can be served", missing)
	}
	mount(c.directory, a)
	if got := missing(); got != [2]bool{false, false} {
		t.Errorf("with everything: %v", got)
	}
}

// A mounted Secret changes by a symbolic link; the notification of it, not the poll, has the certificates loaded here.
func TestAReplacedLinkIsNoticed(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	first, second := pkitest.NewAuthority("first"), pkitest.NewAuthority("second")
	mount := t.TempDir()
	link := func(target string) {
		t.Helper()
		next := filepath.Join(mount, "..data_tmp")
		if err := os.Symlink(target, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	link(mounted(t, first))
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)); err != nil {
			t.Fatal(err)
		}
	}
	loaded := make(chan string, 4)
	c := &certificates{directory: mount, clock: clocktesting.NewFakeClock(time.Now()), log: logr.Discard()}
	c.changed = func() { loaded <- v1alpha1.Fingerprint(c.inForce().served.Leaf) }
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	was := <-loaded
	link(mounted(t, second))
	if now := <-loaded; now == was {
		t.Error("the same certificate again")
	}
	stop()
	<-ended
}
