package rotation

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// RefineriesByMaster is the index of Refineries by spec.masterRef.name.
const RefineriesByMaster = "spec.masterRef.name"

// count is the progress of a phase while it is being counted.
type count struct {
	Progress
	master    *v1alpha1.ClusterMaster
	phase     pki.RotationPhase
	authority *pki.Authority
	now       time.Time
	// issued are the Secrets that the operator keeps, by name.
	issued map[string]*corev1.Secret
	// provided reads a Secret that a person provides.
	provided func(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// count asks the active master and every Refinery of a ClusterMaster. With transport Plaintext nobody uses an authority.
func (r *Rotator) count(ctx context.Context, reader client.Reader, m *v1alpha1.ClusterMaster, phase pki.RotationPhase,
	authority *pki.Authority, now time.Time,
) (Progress, error) {
	if !m.UsesTLS() {
		return Progress{}, nil
	}
	c := &count{master: m, phase: phase, authority: authority, now: now, issued: map[string]*corev1.Secret{}, provided: r.Secrets.Provided}
	secrets := &corev1.SecretList{}
	if err := reader.List(ctx, secrets, client.InNamespace(m.Namespace), client.MatchingLabels{resource.LabelManagedBy: resource.ManagedBy}); err != nil {
		return Progress{}, fmt.Errorf("list Secrets: %w", err)
	}
	for i := range secrets.Items {
		c.issued[secrets.Items[i].Name] = &secrets.Items[i]
	}
	refineries := &v1alpha1.RefineryList{}
	if err := reader.List(ctx, refineries, client.InNamespace(m.Namespace), client.MatchingFields{RefineriesByMaster: m.Name}); err != nil {
		return Progress{}, fmt.Errorf("list Refineries: %w", err)
	}
	c.ofMaster()
	for i := range refineries.Items {
		if err := c.of(ctx, &refineries.Items[i]); err != nil {
			return Progress{}, err
		}
	}
	return c.Progress, nil
}

// ofMaster checks whether the active master has completed the phase. If none is active there is nothing to wait for: a
// pod mounts the present files when it starts.
func (c *count) ofMaster() {
	active := c.master.Status.Active
	if active == nil || c.master.WantedPods() == 0 {
		return
	}
	if c.phase == pki.RotationPreparing {
		for _, a := range c.authority.Certificates {
			if !slices.Contains(active.Authorities, v1alpha1.Fingerprint(a)) {
				c.causes = append(c.causes, fmt.Sprintf("%s, which has yet to load it", masterToWaitFor(active)))
				return
			}
		}
		return
	}
	served := c.current(c.master.CertificateSecretName())
	if served == "" || active.Certificate != served {
		c.causes = append(c.causes, fmt.Sprintf("%s, which has yet to serve a certificate of it", masterToWaitFor(active)))
	}
}

// masterToWaitFor names the active master, or, while none is, the next. The last one may still run where nobody sees it.
func masterToWaitFor(active *v1alpha1.ActiveMaster) string {
	if active.Pod == "" {
		return "a master to become active"
	}
	return "the active master " + active.Pod
}

// HasLoaded reports whether the active master, if there is one, trusts an authority.
func HasLoaded(m *v1alpha1.ClusterMaster, authority *pki.Authority) bool {
	active := m.Status.Active
	return active == nil || m.WantedPods() == 0 || slices.Contains(active.Authorities, v1alpha1.Fingerprint(authority.Certificates[0]))
}

// IsServed reports whether an authority is in the trust bundle that its master serves. It is not if it cannot issue the
// certificate that the master serves. Before status lists a bundle, IsServed returns true.
func IsServed(m *v1alpha1.ClusterMaster, authority *pki.Authority) bool {
	trusted := m.Status.Authorities
	return len(trusted) == 0 || slices.Contains(trusted, v1alpha1.Fingerprint(authority.Certificates[0]))
}

// of counts the nodes of a Refinery that the next step could cut off: those that are authenticated and, with placement
// External or while no master is there to say which those are, all that are wanted. Other pods read their Secret when they start. If a user provides that Secret, it has
// to be valid by then.
func (c *count) of(ctx context.Context, r *v1alpha1.Refinery) error {
	if !r.DeletionTimestamp.IsZero() {
		return nil
	}
	external := r.Spec.Placement == v1alpha1.PlacementExternal
	live := 0
	if a := r.Status.Authenticated; a != nil {
		live = int(a.Nodes)
	}
	total := live
	if external || isUnseen(r) {
		total = max(live, int(r.WantedNodes()))
	}
	if r.Spec.Access == v1alpha1.AccessSuspended {
		total = 0
	}
	presents, provided := !c.master.UsesServerTLS(), r.IsProvided(r.SecretInUse())
	switch {
	case total == 0 && provided && presents:
		return c.ofAbsent(ctx, r)
	case total == 0:
		return nil
	case !presents:
		c.ofUnobservable(r, external, total)
		return nil
	case provided:
		return c.ofProvided(ctx, r, external, live, total)
	}
	wanted := c.current(r.SecretInUse())
	if wanted == "" && r.Spec.Paused {
		c.causes = append(c.causes, fmt.Sprintf("Refinery %s, which is paused: its certificate is not reissued", r.Name))
	} else if wanted == "" {
		c.causes = append(c.causes, fmt.Sprintf("the certificate of Refinery %s to be reissued", r.Name))
	}
	c.tally(r, wanted, live, total)
	return nil
}

// isUnseen reports whether the nodes of a Refinery were seen by a master that is gone.
func isUnseen(r *v1alpha1.Refinery) bool {
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAuthenticated)
	return r.Status.Reporter != nil && c != nil && c.Reason == v1alpha1.ReasonMasterUnavailable
}

// ofUnobservable handles nodes that present no certificate, so that nothing shows what they trust. For those that are
// pods, the kubelet updates the Secret.
func (c *count) ofUnobservable(r *v1alpha1.Refinery, external bool, total int) {
	c.unobservable = c.unobservable || !external
	if external && c.phase == pki.RotationPreparing {
		c.total += total
		c.causes = append(c.causes, fmt.Sprintf("the nodes of Refinery %s: with transport ServerTLS nothing shows what they trust: give them ca.crt of Secret %s, then set the annotation to continue",
			r.Name, c.master.CertificateSecretName()))
	}
}

// ofProvided handles a certificate that a user provides. In pods, it is mounted with the trust bundle of the master.
func (c *count) ofProvided(ctx context.Context, r *v1alpha1.Refinery, external bool, live, total int) error {
	if c.phase == pki.RotationPreparing && !external {
		c.unobservable = true
		return nil
	}
	secret, err := c.provided(ctx, r.Namespace, r.SecretInUse())
	if p := pki.AsProblem(err); p != nil {
		c.total += total
		c.causes = append(c.causes, fmt.Sprintf("Refinery %s: %s", r.Name, p.Message))
		return nil
	}
	if err != nil {
		return err
	}
	if c.phase == pki.RotationPreparing {
		c.total += total
		if c.authority.IsIn(secret.Data[v1alpha1.AuthorityKey]) {
			c.completed += total
			return nil
		}
		c.causes = append(c.causes, fmt.Sprintf("Refinery %s: put all certificates of ca.crt of Secret %s into ca.crt of Secret %s, and copy that to its nodes",
			r.Name, c.master.CertificateSecretName(), secret.Name))
		return nil
	}
	wanted := ""
	if cert, err := certificates.Parse(secret); err == nil && c.authority.Staying().VerifyClient(cert.Chain, r.Identity(), c.now) == nil {
		wanted = v1alpha1.Fingerprint(cert.Leaf())
	} else {
		c.causes = append(c.causes, signAnew(r, secret))
	}
	c.tally(r, wanted, live, total)
	return nil
}

// ofAbsent handles a certificate that a user provides, while no node presents it. The operator cannot reissue it before
// the nodes connect again. So if it is valid otherwise, the authority that signed it is still needed.
func (c *count) ofAbsent(ctx context.Context, r *v1alpha1.Refinery) error {
	if c.phase != pki.RotationActivating {
		return nil
	}
	secret, err := c.provided(ctx, r.Namespace, r.SecretInUse())
	if pki.AsProblem(err) != nil {
		return nil
	}
	if err != nil {
		return err
	}
	cert, err := certificates.Parse(secret)
	if inUse := v1alpha1.CurrentCertificate(r.Status.Certificates); inUse != nil && c.now.Before(inUse.NotAfter.Time) &&
		(cert.Leaf() == nil || v1alpha1.Fingerprint(cert.Leaf()) != inUse.Fingerprint) {
		c.causes = append(c.causes, fmt.Sprintf("Refinery %s: Secret %s does not hold the certificate that is in use, %.12s…, so that nobody can tell which authority its nodes need: put in a good one",
			r.Name, secret.Name, inUse.Fingerprint))
		return nil
	}
	if err == nil && c.authority.VerifyClient(cert.Chain, r.Identity(), c.now) == nil &&
		c.authority.Staying().VerifyClient(cert.Chain, r.Identity(), c.now) != nil {
		c.causes = append(c.causes, signAnew(r, secret)+": its nodes, of which none is connected, could not connect again")
	}
	return nil
}

func signAnew(r *v1alpha1.Refinery, secret *corev1.Secret) string {
	return fmt.Sprintf("Refinery %s: put a certificate into Secret %s that the new authority signed", r.Name, secret.Name)
}

// current returns the fingerprint of the issued certificate by which a node shows that it has completed the phase, or
// "" while it is not issued yet.
func (c *count) current(name string) string {
	secret := c.issued[name]
	if secret == nil {
		return ""
	}
	cert, err := certificates.Parse(secret)
	if err != nil || !c.authority.IsIn(cert.Bundle) || !c.authority.Signed(cert.Leaf()) {
		return ""
	}
	return v1alpha1.Fingerprint(cert.Leaf())
}

// tally counts the nodes that present the wanted certificate, and names those that do not.
func (c *count) tally(r *v1alpha1.Refinery, wanted string, live, total int) {
	c.total += total
	completed := 0
	if a := r.Status.Authenticated; a != nil && wanted != "" {
		for _, presented := range a.Certificates {
			if presented.Fingerprint == wanted {
				completed = min(int(presented.Nodes), live)
			}
		}
	}
	c.completed += completed
	named := 0
	for i := range r.Status.Nodes {
		if n := &r.Status.Nodes[i]; n.State == v1alpha1.NodeAuthenticated && n.Certificate != wanted && named < live-completed {
			c.behind = append(c.behind, n.ID)
			named++
		}
	}
	c.unlisted += live - completed - named
	if absent := total - live; absent > 0 {
		nodes := fmt.Sprintf("%d nodes of Refinery %s", absent, r.Name)
		if isUnseen(r) {
			c.causes = append(c.causes, nodes+", which connect when a master is active")
			return
		}
		c.causes = append(c.causes, nodes+" with placement External that are not connected: start them, or lower spec.replicas")
	}
}
