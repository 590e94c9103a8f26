package certificates

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// stamp is the operator's namespace, and a Secret that carries a mark.
type stamp struct {
	client client.Client
	clock  *clocktesting.FakePassiveClock
	marks  *Marks
	owner  client.Object
	secret *corev1.Secret
}

var keySecret = client.ObjectKey{Namespace: "refinery-system", Name: "refinery-operator.mark-key"}

func newStamp(t *testing.T) *stamp {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	s := &stamp{client: fake.NewClientBuilder().WithScheme(scheme).Build(), clock: clocktesting.NewFakePassiveClock(time.Now()),
		owner: &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "press"}}}
	s.start()
	s.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "press-tls", Annotations: map[string]string{}},
		Data: map[string][]byte{corev1.TLSCertKey: []byte("certificate"), corev1.TLSPrivateKeyKey: []byte("key"), v1alpha1.AuthorityKey: []byte("authority")}}
	mark, err := s.marks.Of(t.Context(), s.owner, s.secret.Name, s.secret.Data, s.secret.Annotations)
	if err != nil || mark == "" {
		t.Fatalf("mark %q, %v", mark, err)
	}
	s.secret.Annotations[v1alpha1.MarkAnnotation] = mark
	return s
}

// start is an operator that has just started.
func (s *stamp) start() {
	s.marks = NewMarks(s.client, s.client, s.clock, keySecret, map[string]string{"team": "red"})
}

func (s *stamp) valid(t *testing.T) bool {
	t.Helper()
	valid, err := s.marks.Valid(t.Context(), s.owner, s.secret)
	if err != nil {
		t.Fatal(err)
	}
	return valid
}

func (s *stamp) deleteKey(t *testing.T) {
	t.Helper()
	if err := s.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: keySecret.Namespace, Name: keySecret.Name}}); err != nil {
		t.Fatal(err)
	}
}

func TestAMarkIsOfOneSecretAndItsContent(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*stamp)
		valid  bool
	}{
		"as it was written":                      {func(*stamp) {}, true},
		"by an operator that was started since":  {func(s *stamp) { s.start() }, true},
		"with a file that is not the operator's": {func(s *stamp) { s.secret.Data["truststore.jks"] = []byte("x") }, true},
		"with another certificate":               {func(s *stamp) { s.secret.Data[corev1.TLSCertKey] = []byte("other") }, false},
		"with another key":                       {func(s *stamp) { s.secret.Data[corev1.TLSPrivateKeyKey] = []byte("other") }, false},
		"with another trust bundle":              {func(s *stamp) { s.secret.Data[v1alpha1.AuthorityKey] = []byte("other") }, false},
		"with a next authority":                  {func(s *stamp) { s.secret.Data["next.crt"] = []byte("other") }, false},
		"with a phase of a rotation":             {func(s *stamp) { s.secret.Annotations["cluster.refinery.dev/authority"] = "x" }, false},
		"under another name":                     {func(s *stamp) { s.secret.Name = "mill-tls" }, false},
		"of an owner of another name":            {func(s *stamp) { s.owner.SetName("mill") }, false},
		"of an owner in another namespace":       {func(s *stamp) { s.owner.SetNamespace("yard") }, false},
		"of an owner of another kind": {func(s *stamp) {
			s.owner = &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "press"}}
		}, false},
		"with a mark that is not hexadecimal":     {func(s *stamp) { s.secret.Annotations[v1alpha1.MarkAnnotation] = "x" }, false},
		"without a mark":                          {func(s *stamp) { delete(s.secret.Annotations, v1alpha1.MarkAnnotation) }, false},
		"and an operator that has no key for any": {func(s *stamp) { s.marks = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStamp(t)
			if test.change(s); s.valid(t) != test.valid {
				t.Errorf("valid: %t", !test.valid)
			}
		})
	}
}

func TestTheKeyOfMarksThatIsDeletedIsMadeAgainWhileTheOperatorRuns(t *testing.T) {
	s := newStamp(t)
	s.deleteKey(t)
	s.clock.SetTime(s.clock.Now().Add(markKeyAge))
	if !s.valid(t) {
		t.Error("not valid by the operator that has the key")
	}
	s.start()
	if !s.valid(t) {
		t.Error("not valid by the next one")
	}
	s.deleteKey(t)
	s.start()
	if s.valid(t) {
		t.Error("valid by one that has another key")
	}
}

func TestAKeyOfMarksThatIsNotWholeIsRefused(t *testing.T) {
	s := newStamp(t)
	secret := &corev1.Secret{}
	if err := s.client.Get(t.Context(), keySecret, secret); err != nil {
		t.Fatal(err)
	}
	secret.Data[markKey] = secret.Data[markKey][:16]
	if err := s.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	s.start()
	if _, err := s.marks.Valid(t.Context(), s.owner, s.secret); err == nil {
		t.Error("no error")
	}
}

func TestTheSecretOfTheKeyHasTheLabelsThatTheOperatorIsGiven(t *testing.T) {
	s := newStamp(t)
	secret := &corev1.Secret{}
	if err := s.client.Get(t.Context(), keySecret, secret); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"team": "red", resource.LabelPartOf: resource.ManagedBy}
	if diff := cmp.Diff(want, secret.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}
