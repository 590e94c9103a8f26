package certificates

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// world is a Refinery, the Secrets around it, and what must be true of its nodes.
type world struct {
	*rapid.T
	now      time.Time
	refinery *v1alpha1.Refinery
	secrets  map[string]*heldSecret
	made     int
	// out are the fingerprints that were revoked and not readmitted.
	out map[string]bool
}

// heldSecret is a Secret with a certificate that is good or not, or with none.
type heldSecret struct {
	uid  types.UID
	leaf *leafCertificate
	good bool
}

// pass is what a pass of the operator does with status.certificates and status.revoked.
func (w *world) pass() {
	uidOf := func(c v1alpha1.ListedCertificate) types.UID {
		if s := w.secrets[w.refinery.ListedFrom(&c)]; s != nil {
			return s.uid
		}
		return ""
	}
	s := Revoke(w.refinery, uidOf, w.now)
	listed := s.Listed
	if s.Unrecorded == 0 && !w.refinery.Spec.Paused {
		listed = List(s.Listed, w.found(s), Overlap{Duration: time.Hour}, w.now)
	}
	w.refinery.Status.Certificates, w.refinery.Status.Revoked = listed, s.Revoked
}

// found is what is found of the Secret that the spec names, or of the one in use while that is not good.
func (w *world) found(s Standing) *Finding {
	found := w.in(s, w.refinery.CertificateSecretName())
	from := s.Kept(w.refinery, found.Wanted, found, w.now)
	if from == "" {
		return found
	}
	kept := w.in(s, from)
	kept.Wanted, kept.Instead = found.Wanted, &found.Condition
	return kept
}

func (w *world) in(s Standing, name string) *Finding {
	f := &Finding{Wanted: name, Secret: name, Condition: NotReady(v1alpha1.ReasonSecretNotFound, "")}
	held := w.secrets[name]
	if held == nil || held.leaf == nil {
		return f
	}
	f.Leaf, f.SecretUID, f.Revoked = held.leaf.Certificate, held.uid, s.Revocation(held.leaf.fingerprint) != nil
	if held.good && !f.Revoked && w.now.Before(held.leaf.NotAfter) {
		f.Condition = Ready(v1alpha1.ReasonProvided, "")
	}
	return f
}

// admitted are the certificates that the master lets in.
func (w *world) admitted() (in []string) {
	for _, c := range w.refinery.Status.Certificates {
		if c.Use != v1alpha1.CertificateNext && w.now.Before(c.NotAfter.Time) && (c.Until == nil || w.now.Before(c.Until.Time)) {
			in = append(in, c.Fingerprint)
		}
	}
	return in
}

// isGood reports whether a certificate that is Current is a good one, or the one that was in use before.
func (w *world) isGood(current, before string) bool {
	for _, held := range w.secrets {
		if held.leaf != nil && held.leaf.fingerprint == current && held.good {
			return true
		}
	}
	return current == before
}

func (w *world) leaf() *leafCertificate {
	w.made++
	c := testLeaf(fmt.Sprint(w.made))
	c.NotAfter = w.now.Add(time.Duration(rapid.IntRange(1, 200).Draw(w.T, "hours")) * time.Hour)
	return &c
}

// change is one thing that a person, a backup or time does.
func (w *world) change() {
	name := rapid.SampledFrom([]string{"a", "b", "press-tls"}).Draw(w.T, "secret")
	held := w.secrets[name]
	change := rapid.SampledFrom([]string{"name", "write", "write", "spoil", "empty", "delete", "restore", "pause", "wait", "readmit"}).Draw(w.T, "change")
	switch change {
	case "name":
		w.refinery.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: name}
	case "write", "spoil":
		if held == nil {
			w.made++
			held = &heldSecret{uid: types.UID(fmt.Sprint("uid", w.made))}
			w.secrets[name] = held
		}
		held.leaf, held.good = w.leaf(), change == "write"
	case "empty":
		if held != nil {
			held.leaf = nil
		}
	case "delete":
		w.delete(name)
	case "restore":
		if held != nil {
			w.delete(name)
			w.made++
			w.secrets[name] = &heldSecret{uid: types.UID(fmt.Sprint("uid", w.made)), leaf: held.leaf, good: held.good}
		}
	case "pause":
		w.refinery.Spec.Paused = !w.refinery.Spec.Paused
	case "wait":
		w.now = w.now.Add(time.Duration(rapid.IntRange(1, 50).Draw(w.T, "wait")) * time.Hour)
	case "readmit":
		w.readmit()
	}
}

// delete revokes what is listed from a Secret.
func (w *world) delete(name string) {
	for _, c := range w.refinery.Status.Certificates {
		if w.refinery.ListedFrom(&c) == name && w.secrets[name] != nil && w.secrets[name].uid == c.SecretUID {
			w.out[c.Fingerprint] = true
		}
	}
	delete(w.secrets, name)
}

// readmit takes one revocation back, once.
func (w *world) readmit() {
	if len(w.refinery.Status.Revoked) == 0 {
		return
	}
	c := rapid.SampledFrom(w.refinery.Status.Revoked).Draw(w.T, "readmitted")
	w.refinery.Annotations = map[string]string{v1alpha1.ReadmitAnnotation: c.Fingerprint}
	w.pass()
	w.refinery.Annotations = nil
	delete(w.out, c.Fingerprint)
}

// TestNobodyIsCutOffBySlipsAndNobodyComesBackFromRevocation tries sequences of changes against what must be true after each:
// who is revoked is out, for good; what was in use, and is neither revoked nor expired, is let in, whether or not another has
// taken its place; and a second pass changes nothing.
func TestNobodyIsCutOffBySlipsAndNobodyComesBackFromRevocation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{T: t, now: statusTime, secrets: map[string]*heldSecret{}, out: map[string]bool{},
			refinery: &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Name: "press"}, Spec: v1alpha1.RefinerySpec{CertificateSecretRef: &v1alpha1.LocalReference{Name: "a"}}}}
		for range 12 {
			before := v1alpha1.CurrentCertificate(w.refinery.Status.Certificates)
			wasIn := before != nil && slices.Contains(w.admitted(), before.Fingerprint)
			w.change()
			w.pass()
			status := w.refinery.Status.DeepCopy()
			if w.pass(); !cmp.Equal(status, &w.refinery.Status) {
				t.Fatalf("a second pass changes the status:\n%s", cmp.Diff(status, &w.refinery.Status))
			}
			in := w.admitted()
			for fingerprint := range w.out {
				if slices.Contains(in, fingerprint) {
					t.Fatalf("%.8s is revoked, and let in", fingerprint)
				}
			}
			if wasIn && !w.out[before.Fingerprint] && w.now.Before(before.NotAfter.Time) && !slices.Contains(in, before.Fingerprint) {
				t.Fatalf("%.8s was in use, and is let in no more", before.Fingerprint)
			}
			if wasIn && slices.Contains(in, before.Fingerprint) && !w.isGood(CurrentFingerprint(status.Certificates), before.Fingerprint) {
				t.Fatalf("%.8s was in use, and what takes its place is not good", before.Fingerprint)
			}
		}
	})
}
