package certificates

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// maxNamedNodes is the number of nodes that condition CertificateInSync names.
const maxNamedNodes = 10

// InSync is condition CertificateInSync: it compares what the nodes of a Refinery were seen to present with what they are to
// present, which listed says. There is none where they present no certificate: they have none, or transport is ServerTLS.
func InSync(r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster, listed []v1alpha1.ListedCertificate) (condition metav1.Condition, presents bool) {
	current := v1alpha1.CurrentCertificate(listed)
	if current == nil || m.Spec.Security.Transport == v1alpha1.TransportServerTLS {
		return metav1.Condition{}, false
	}
	condition = metav1.Condition{Type: v1alpha1.ConditionCertificateInSync, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInSync,
		Message: "every authenticated node presents the current certificate"}
	older, ids := outdated(&r.Status, listed)
	if older == 0 {
		return condition, true
	}
	advice := "they switch when the kubelet has updated the Secret in their pods, usually within two minutes"
	if r.Spec.Placement == v1alpha1.PlacementExternal {
		advice = "give them the new files of the Secret"
	}
	condition.Status, condition.Reason = metav1.ConditionFalse, v1alpha1.ReasonOutdatedCertificate
	condition.Message = fmt.Sprintf("%d of %d authenticated nodes present another certificate than the current one (%.12s…, Secret %s): %s; %s",
		older, max(older, r.Status.Authenticated.Nodes), current.Fingerprint, r.ListedFrom(current), namedNodes(ids, int(older)), advice)
	return condition, true
}

// outdated counts the authenticated nodes that present neither the current certificate nor the one that is about to take
// its place, and names those whose names are known. The count is exact also where status.nodes is cut.
func outdated(status *v1alpha1.RefineryStatus, listed []v1alpha1.ListedCertificate) (count int32, ids []string) {
	if status.Authenticated == nil {
		return 0, nil
	}
	newest := map[string]bool{"": true} // nothing was presented
	for _, c := range listed {
		newest[c.Fingerprint] = c.Use != v1alpha1.CertificatePrevious
	}
	for _, c := range status.Authenticated.Certificates {
		if !newest[c.Fingerprint] {
			count += c.Nodes
		}
	}
	for _, n := range status.Nodes { // sorted by id
		if n.State == v1alpha1.NodeAuthenticated && !newest[n.Certificate] {
			ids = append(ids, n.ID)
		}
	}
	return count, ids[:min(len(ids), int(count))]
}

// namedNodes names at most ten of count nodes.
func namedNodes(ids []string, count int) string {
	ids = ids[:min(len(ids), maxNamedNodes)]
	switch more := count - len(ids); {
	case len(ids) == 0:
		return "none of them among those that status.nodes lists"
	case more > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(ids, ", "), more)
	default:
		return strings.Join(ids, ", ")
	}
}
