package certificates

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

const (
	// markKey is the key of the Secret that holds what marks are made with, markKeyBytes its length.
	markKey      = "key"
	markKeyBytes = 32
	// markKeyAge is how long what was read of that Secret is gone by.
	markKeyAge = 10 * time.Minute
)

// Marks recognize the Secrets that the operator wrote, after whoever owned them is gone: labels can be put on anything. A mark is
// an HMAC over whose Secret it is and what it holds, by a key that the operator keeps in a Secret of its own namespace. Nil Marks
// make none, and recognize nothing.
type Marks struct {
	client client.Client
	live   client.Reader
	clock  clock.PassiveClock
	secret client.ObjectKey
	labels map[string]string

	mu   sync.Mutex
	key  []byte
	read time.Time
}

// NewMarks are made with the key in a Secret, which is created, with these labels too, when it is first needed.
func NewMarks(c client.Client, live client.Reader, clk clock.PassiveClock, secret client.ObjectKey, labels map[string]string) *Marks {
	return &Marks{client: c, live: live, clock: clk, secret: secret, labels: labels}
}

// Of is the mark of a Secret for owner with such files and annotations; "" without Marks.
func (m *Marks) Of(ctx context.Context, owner client.Object, name string, files map[string][]byte, annotations map[string]string) (string, error) {
	if m == nil {
		return "", nil
	}
	key, err := m.get(ctx)
	if err != nil {
		return "", err
	}
	kind, err := m.client.GroupVersionKindFor(owner)
	if err != nil {
		return "", err
	}
	parts := []string{"v1", owner.GetNamespace(), "Secret", name, kind.Kind, owner.GetName()}
	for _, file := range resource.SecretFiles {
		sum := sha256.Sum256(files[file])
		parts = append(parts, file, hex.EncodeToString(sum[:]))
	}
	for _, annotation := range resource.SecretAnnotations {
		parts = append(parts, annotation, annotations[annotation])
	}
	raw, err := json.Marshal(parts)
	if err != nil {
		return "", fmt.Errorf("encode the mark of Secret %s: %w", name, err)
	}
	sum := hmac.New(sha256.New, key)
	_, _ = sum.Write(raw) // a hash never fails
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Valid reports whether the operator wrote for owner what a Secret holds.
func (m *Marks) Valid(ctx context.Context, owner client.Object, secret *corev1.Secret) (bool, error) {
	mark := secret.Annotations[v1alpha1.MarkAnnotation]
	if m == nil || mark == "" {
		return false, nil
	}
	want, err := m.Of(ctx, owner, secret.Name, secret.Data, secret.Annotations)
	return err == nil && hmac.Equal([]byte(mark), []byte(want)), err
}

// get returns the key: the one that was read last, where it cannot be read again. Deleted by accident, the Secret is made again
// with it.
func (m *Marks) get(ctx context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.key != nil && m.clock.Since(m.read) < markKeyAge {
		return m.key, nil
	}
	key, err := m.load(ctx)
	if err != nil && m.key == nil {
		return nil, err
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "Going on with the key of the marks that was read before")
		key = m.key
	}
	m.key, m.read = key, m.clock.Now()
	return key, nil
}

// load needs m.mu held.
func (m *Marks) load(ctx context.Context) ([]byte, error) {
	secret := &corev1.Secret{}
	err := m.live.Get(ctx, m.secret, secret)
	if apierrors.IsNotFound(err) {
		if err = m.create(ctx); err == nil || apierrors.IsAlreadyExists(err) { // by another operator of the release
			err = m.live.Get(ctx, m.secret, secret)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the key of the operator's marks: Secret %s: %w", m.secret, err)
	}
	key := secret.Data[markKey]
	if len(key) != markKeyBytes {
		return nil, fmt.Errorf("the key of the operator's marks: Secret %s: key %s has %d bytes instead of %d; restore it, or delete the Secret to have another",
			m.secret, markKey, len(key), markKeyBytes)
	}
	return key, nil
}

// create needs m.mu held.
func (m *Marks) create(ctx context.Context) error {
	key := m.key
	if key == nil {
		key = make([]byte, markKeyBytes)
		_, _ = rand.Read(key) // it never fails
	}
	labels := maps.Clone(m.labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[resource.LabelPartOf] = resource.ManagedBy
	return m.client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.secret.Namespace, Name: m.secret.Name, Labels: labels},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{markKey: key},
	})
}
