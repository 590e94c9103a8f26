package master

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
)

// ear is a listener that remembers whose nodes may have moved.
type ear struct {
	bearing   []string
	upstreams int // how often it was told of these
}

func (*ear) MasterChanged()                     {}
func (*ear) RefineryChanged(string)             {}
func (e *ear) UpstreamsChanged()                { e.upstreams++ }
func (e *ear) MembershipChanged(bearing string) { e.bearing = append(e.bearing, bearing) }

func TestAChangeOfARefineryTellsWhoseNodesMayBeOfAnother(t *testing.T) {
	plain := func(name string) *v1alpha1.Refinery { return admittest.Refinery(name, func(*v1alpha1.Refinery) {}) }
	taking := func(name string) *v1alpha1.Refinery {
		return admittest.Refinery(name, func(r *v1alpha1.Refinery) { r.Spec.Nodes = &v1alpha1.NodeSelection{Rest: true} })
	}
	for name, test := range map[string]struct {
		before  []*v1alpha1.Refinery
		change  func(d *directory)
		bearing []string
		of      string // Refinery of node mill/1 afterwards
	}{
		"another status":                     {[]*v1alpha1.Refinery{taking("press")}, func(d *directory) { d.SetRefinery(taking("press")) }, nil, "press"},
		"created, bears a name":              {nil, func(d *directory) { d.SetRefinery(plain("mill")) }, []string{"mill"}, "mill"},
		"created, selects":                   {nil, func(d *directory) { d.SetRefinery(taking("press")) }, []string{""}, "press"},
		"created, where another one selects": {[]*v1alpha1.Refinery{taking("press")}, func(d *directory) { d.SetRefinery(plain("mill")) }, []string{""}, "mill"},
		"selects from now on":                {[]*v1alpha1.Refinery{plain("press")}, func(d *directory) { d.SetRefinery(taking("press")) }, []string{""}, "press"},
		"selects no longer":                  {[]*v1alpha1.Refinery{taking("press")}, func(d *directory) { d.SetRefinery(plain("press")) }, []string{""}, ""},
		"deleted, selected":                  {[]*v1alpha1.Refinery{taking("press")}, func(d *directory) { d.DeleteRefinery("press") }, []string{""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, e := newDirectory(clocktesting.NewFakeClock(late.Time)), &ear{}
			for _, r := range test.before {
				d.SetRefinery(r)
			}
			d.Membership()
			d.Listen(e)
			test.change(d)
			if diff := gocmp.Diff(test.bearing, e.bearing); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			if got := d.Membership().Of("mill/1", "refinery"); got != test.of {
				t.Errorf("mill/1 is of %q, want %q", got, test.of)
			}
		})
	}
}

func TestOnlyRefineriesWithASessionThatBearsANameAreReviewedForIt(t *testing.T) {
	l := newLedger(t, 3)
	l.SetWanted("mill", 1)
	l.enter("press/a")
	if got := l.Bearing("mill"); got != nil {
		t.Errorf("%v bear the name", got)
	}
	l.enter("mill/1")
	if got := l.Bearing("mill"); len(got) != 1 || got[0] != "press" {
		t.Errorf("%v bear the name", got)
	}
}

func TestConditionSaysWhatAnIDDoesNotProve(t *testing.T) {
	const leak = "; whoever holds the shared certificate can still come in under an id of another Refinery: change the shared certificate to end that"
	rest := func(r *v1alpha1.Refinery) { r.Spec.Nodes = &v1alpha1.NodeSelection{Rest: true} }
	suspended := func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }
	for name, test := range map[string]struct {
		transport      v1alpha1.Transport
		authentication v1alpha1.Authentication
		edit           func(r *v1alpha1.Refinery)
		want           string
	}{
		"nothing":   {v1alpha1.TransportPlaintext, v1alpha1.AuthenticationSharedCertificate, func(*v1alpha1.Refinery) {}, ""},
		"suspended": {v1alpha1.TransportPlaintext, v1alpha1.AuthenticationSharedCertificate, suspended, leak},
		"banned": {v1alpha1.TransportPlaintext, v1alpha1.AuthenticationSharedCertificate, func(r *v1alpha1.Refinery) {
			r.Spec.Banned = []v1alpha1.NodeBan{{ID: "press/a", Reason: "stolen"}}
		}, "; spec.banned does not bind whoever holds the shared certificate, since it can announce another id: change the shared certificate to end that"},
		"suspended, with certificates": {v1alpha1.TransportMutualTLS, v1alpha1.AuthenticationSharedCertificate, suspended, ""},
		"suspended, and proven":        {v1alpha1.TransportMutualTLS, v1alpha1.AuthenticationIssuedCertificate, suspended, ""},
		"in vain":                      {v1alpha1.TransportPlaintext, v1alpha1.AuthenticationSharedCertificate, rest, "; rest of spec.nodes selects nothing: Refinery a has that"},
		"in vain, and proven":          {v1alpha1.TransportMutualTLS, v1alpha1.AuthenticationIssuedCertificate, rest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := admittest.Refinery("press", test.edit)
			m := admit.NewMembership([]*v1alpha1.Refinery{admittest.Refinery("a", rest), r})
			if got := sharedNote(policyOf(test.transport, test.authentication), m, r); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
