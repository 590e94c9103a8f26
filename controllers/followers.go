package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// followers counts who has followed a phase of a rotation.
type followers struct {
	progress
	master    *v1alpha1.ClusterMaster
	phase     pki.RotationPhase
	authority *pki.Authority
	now       time.Time
	// secrets are those of the operator, by name.
	secrets map[string]*corev1.Secret
	// named reads a Secret that a CR names.
	named func(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// count asks the active master and every Refinery of a ClusterMaster. With transport Plaintext nobody uses an authority.
func (e *Environment) count(ctx context.Context, reader client.Reader, m *v1alpha1.ClusterMaster, phase pki.RotationPhase, authority *pki.Authority) (progress, error) {
	if m.Spec.Security.Transport == v1alpha1.TransportPlaintext {
		return progress{}, nil
	}
	f := &followers{master: m, phase: phase, authority: authority, now: e.Clock.Now(), secrets: map[string]*corev1.Secret{}, named: e.namedSecret}
	secrets := &corev1.SecretList{}
	if err := reader.List(ctx, secrets, client.InNamespace(m.Namespace), client.MatchingLabels{resource.LabelManagedBy: resource.ManagedBy}); err != nil {
		return progress{}, fmt.Errorf("list Secrets: %w", err)
	}
	for i := range secrets.Items {
		f.secrets[secrets.Items[i].Name] = &secrets.Items[i]
	}
	refineries := &v1alpha1.RefineryList{}
	if err := reader.List(ctx, refineries, client.InNamespace(m.Namespace), client.MatchingFields{masterIndex: m.Name}); err != nil {
		return progress{}, fmt.Errorf("list Refineries: %w", err)
	}
	f.askMaster()
	for i := range refineries.Items {
		if err := f.ask(ctx, &refineries.Items[i]); err != nil {
			return progress{}, err
		}
	}
	return f.progress, nil
}

// askMaster waits for the active master, unless there is none: a pod that starts mounts what there is.
func (f *followers) askMaster() {
	active := f.master.Status.Active
	if active == nil || resource.MasterReplicas(f.master) == 0 {
		return
	}
	if f.phase == pki.RotationPreparing {
		for _, c := range f.authority.Certificates {
			if !slices.Contains(active.Authorities, v1alpha1.Fingerprint(c)) {
				f.causes = append(f.causes, fmt.Sprintf("the active master %s, which has yet to load it", active.Pod))
				return
			}
		}
		return
	}
	served := f.issued(f.master.CertificateSecretName())
	if served == "" || active.Certificate != served {
		f.causes = append(f.causes, fmt.Sprintf("the active master %s, which has yet to serve a certificate of it", active.Pod))
	}
}

// hasLoaded reports whether the active master, if there is one, lets in what an authority signs.
func hasLoaded(m *v1alpha1.ClusterMaster, authority *pki.Authority) bool {
	active := m.Status.Active
	return active == nil || resource.MasterReplicas(m) == 0 || slices.Contains(active.Authorities, v1alpha1.Fingerprint(authority.Certificates[0]))
}

// ask waits for the nodes of a Refinery that would be cut off: those that are authenticated, and, with placement
// External, all that are wanted. The pods of the others start with what their Secret holds then, and if that was
// brought it has to be of use then.
func (f *followers) ask(ctx context.Context, r *v1alpha1.Refinery) error {
	if !r.DeletionTimestamp.IsZero() {
		return nil
	}
	external := r.Spec.Placement == v1alpha1.PlacementExternal
	live := 0
	if a := r.Status.Authenticated; a != nil {
		live = int(a.Nodes)
	}
	total := live
	if external {
		total = max(live, int(resource.RefineryReplicas(r)))
	}
	if r.Spec.Access == v1alpha1.AccessSuspended {
		total = 0
	}
	presents, brought := f.master.Spec.Security.Transport != v1alpha1.TransportServerTLS, r.Spec.CertificateSecretRef != nil
	switch {
	case total == 0 && brought && presents:
		return f.askAbsent(ctx, r)
	case total == 0:
		return nil
	case !presents:
		f.askUnseen(r, external, total)
		return nil
	case brought:
		return f.askProvided(ctx, r, external, live, total)
	}
	wanted := f.issued(r.CertificateSecretName())
	if wanted == "" && r.Spec.Paused {
		f.causes = append(f.causes, fmt.Sprintf("Refinery %s, which is paused: its certificate is not issued anew", r.Name))
	} else if wanted == "" {
		f.causes = append(f.causes, fmt.Sprintf("the certificate of Refinery %s to be issued anew", r.Name))
	}
	f.tally(r, wanted, live, total)
	return nil
}

// askUnseen is for nodes that present no certificate. Those that are pods are brought their Secret by a kubelet.
func (f *followers) askUnseen(r *v1alpha1.Refinery, external bool, total int) {
	f.unseen = f.unseen || !external
	if external && f.phase == pki.RotationPreparing {
		f.total += total
		f.causes = append(f.causes, fmt.Sprintf("the nodes of Refinery %s: with transport ServerTLS nothing shows what they trust: give them ca.crt of Secret %s, then let the rotation go on",
			r.Name, f.master.CertificateSecretName()))
	}
}

// askProvided is for a certificate that a user brings. In pods it goes with the trust bundle of the master.
func (f *followers) askProvided(ctx context.Context, r *v1alpha1.Refinery, external bool, live, total int) error {
	if f.phase == pki.RotationPreparing && !external {
		f.unseen = true
		return nil
	}
	secret, err := f.named(ctx, r.Namespace, r.CertificateSecretName())
	if p := pki.AsProblem(err); p != nil {
		f.total += total
		f.causes = append(f.causes, fmt.Sprintf("Refinery %s: %s", r.Name, p.Message))
		return nil
	}
	if err != nil {
		return err
	}
	if f.phase == pki.RotationPreparing {
		f.total += total
		if f.authority.IsIn(secret.Data[v1alpha1.AuthorityKey]) {
			f.moved += total
			return nil
		}
		f.causes = append(f.causes, fmt.Sprintf("Refinery %s: put all certificates of ca.crt of Secret %s into ca.crt of Secret %s, and that onto its nodes",
			r.Name, f.master.CertificateSecretName(), secret.Name))
		return nil
	}
	wanted := ""
	if h, err := parseHeld(secret); err == nil && f.authority.Staying().VerifyClient(h.chain, r.Identity(), f.now) == nil {
		wanted = v1alpha1.Fingerprint(h.leaf())
	} else {
		f.causes = append(f.causes, signAnew(r, secret))
	}
	f.tally(r, wanted, live, total)
	return nil
}

// askAbsent is for a certificate that a user brings, and that nobody presents now. Unlike one of the operator's it is
// not issued anew for those who come back: as long as it is good otherwise, what signed it is needed.
func (f *followers) askAbsent(ctx context.Context, r *v1alpha1.Refinery) error {
	if f.phase != pki.RotationActivating {
		return nil
	}
	secret, err := f.named(ctx, r.Namespace, r.CertificateSecretName())
	if pki.AsProblem(err) != nil {
		return nil
	}
	if err != nil {
		return err
	}
	h, err := parseHeld(secret)
	if err == nil && f.authority.VerifyClient(h.chain, r.Identity(), f.now) == nil &&
		f.authority.Staying().VerifyClient(h.chain, r.Identity(), f.now) != nil {
		f.causes = append(f.causes, signAnew(r, secret)+": its nodes, of which none is connected, could not come back")
	}
	return nil
}

func signAnew(r *v1alpha1.Refinery, secret *corev1.Secret) string {
	return fmt.Sprintf("Refinery %s: put a certificate into Secret %s that the new authority signed", r.Name, secret.Name)
}

// issued is the fingerprint of a certificate of the operator's by which a node shows that it has followed the
// phase, or "" while that is not issued.
func (f *followers) issued(name string) string {
	secret := f.secrets[name]
	if secret == nil {
		return ""
	}
	h, err := parseHeld(secret)
	if err != nil || !f.authority.IsIn(h.bundle) || !f.authority.Signed(h.leaf()) {
		return ""
	}
	return v1alpha1.Fingerprint(h.leaf())
}

// tally counts the nodes that present the wanted certificate, and names those that do not.
func (f *followers) tally(r *v1alpha1.Refinery, wanted string, live, total int) {
	f.total += total
	moved := 0
	if a := r.Status.Authenticated; a != nil && wanted != "" {
		for _, c := range a.Certificates {
			if c.Fingerprint == wanted {
				moved = min(int(c.Nodes), live)
			}
		}
	}
	f.moved += moved
	named := 0
	for i := range r.Status.Nodes {
		if n := &r.Status.Nodes[i]; n.State == v1alpha1.NodeAuthenticated && n.Certificate != wanted && named < live-moved {
			f.behind = append(f.behind, n.ID)
			named++
		}
	}
	f.unlisted += live - moved - named
	if absent := total - live; absent > 0 {
		f.causes = append(f.causes, fmt.Sprintf("%d nodes of Refinery %s with placement External that are not connected: start them, or lower spec.replicas", absent, r.Name))
	}
}
