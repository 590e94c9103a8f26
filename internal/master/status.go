package master

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

// report is the part of a Refinery's status that a master owns, without who reports.
type report struct {
	Nodes         []v1alpha1.NodeStatus
	Authenticated v1alpha1.AuthenticatedNodes
	// Condition is Authenticated.
	Condition metav1.Condition
}

// Equal reports whether there is nothing to write.
func (r *report) Equal(other *report) bool {
	return apiequality.Semantic.DeepEqual(r, other)
}

// reportIn reads the report in a Refinery's status.
func reportIn(status *v1alpha1.RefineryStatus) *report {
	report := &report{Nodes: status.Nodes}
	if status.Authenticated != nil {
		report.Authenticated = *status.Authenticated
	}
	if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionAuthenticated); c != nil {
		report.Condition = *c
	}
	return report
}

// newReport computes what a Refinery's status should say from what the registry knows. before is what it says now: whatever did
// not change keeps its transition time.
func newReport(r *v1alpha1.Refinery, s snapshot, before *report, now metav1.Time) *report {
	wanted := int(r.WantedNodes())
	nodes := s.Nodes
	slices.SortFunc(nodes, func(a, b v1alpha1.NodeStatus) int {
		return cmp.Or(cmp.Compare(quiet(&a), quiet(&b)), cmp.Compare(a.ID, b.ID))
	})
	report := &report{
		Authenticated: authenticatedNodes(nodes, s.Authenticated(), wanted),
		Condition:     condition(r, nodes, s.Authenticated(), wanted),
	}
	if s.Unlisted > 0 { // what those presented stands in what a former master wrote
		report.Authenticated.Certificates = before.Authenticated.Certificates
	}
	report.Nodes = keepTransitions(listed(nodes, r.Status.Certificates), before.Nodes)
	report.Condition.LastTransitionTime = now.Rfc3339Copy()
	if before.Condition.Status == report.Condition.Status {
		report.Condition.LastTransitionTime = before.Condition.LastTransitionTime
	}
	return report
}

// isAuthenticated reports whether condition Authenticated of a Refinery is True. Where several nodes announce an id, it is not:
// one of them is out.
func isAuthenticated(r *v1alpha1.Refinery, nodes []v1alpha1.NodeStatus, authenticated, wanted int) bool {
	return r.Spec.Access != v1alpha1.AccessSuspended && authenticated >= wanted && !slices.ContainsFunc(nodes, isDuplicate)
}

func isDuplicate(n v1alpha1.NodeStatus) bool { return n.Reason == v1alpha1.ReasonDuplicateID }

// quiet orders nodes by whether somebody has to do something about them: 0 for one that is out, 1 for one that says that it is not
// well, 2 for any other.
func quiet(n *v1alpha1.NodeStatus) int {
	switch {
	case isDuplicate(*n) || healthy(n) == 0:
		return 0
	case n.Status != "":
		return 1
	}
	return 2
}

func healthy(n *v1alpha1.NodeStatus) int {
	if n.State == v1alpha1.NodeAuthenticated {
		return 1
	}
	return 0
}

// listed are the nodes that status has room for, in their order. Those that somebody has to do something about go first, then those
// that present neither the current certificate nor the next, then the others.
func listed(nodes []v1alpha1.NodeStatus, certificates []v1alpha1.ListedCertificate) []v1alpha1.NodeStatus {
	if len(nodes) <= v1alpha1.MaxNodeStatuses {
		return nodes
	}
	newest := map[string]bool{"": true} // without TLS there is none
	for _, c := range certificates {
		newest[c.Fingerprint] = c.Use != v1alpha1.CertificatePrevious
	}
	urgent := func(n *v1alpha1.NodeStatus) bool { return quiet(n) < 2 || !newest[n.Certificate] }
	spare := v1alpha1.MaxNodeStatuses
	for i := range nodes {
		if urgent(&nodes[i]) {
			spare--
		}
	}
	list := make([]v1alpha1.NodeStatus, 0, v1alpha1.MaxNodeStatuses)
	for i := range nodes {
		if len(list) == v1alpha1.MaxNodeStatuses {
			break
		}
		if !urgent(&nodes[i]) {
			if spare <= 0 {
				continue
			}
			spare--
		}
		list = append(list, nodes[i])
	}
	return list
}

func keepTransitions(nodes, before []v1alpha1.NodeStatus) []v1alpha1.NodeStatus {
	if len(nodes) == 0 {
		return nil
	}
	known := make(map[string]*v1alpha1.NodeStatus, len(before))
	for i := range before {
		known[before[i].ID] = &before[i]
	}
	for i := range nodes {
		nodes[i].LastTransitionTime = nodes[i].LastTransitionTime.Rfc3339Copy()
		if b := known[nodes[i].ID]; b != nil && b.State == nodes[i].State {
			nodes[i].LastTransitionTime = b.LastTransitionTime
		}
	}
	return nodes
}

func authenticatedNodes(nodes []v1alpha1.NodeStatus, authenticated, wanted int) v1alpha1.AuthenticatedNodes {
	upstreams, versions, certificates := map[string]bool{}, map[string]bool{}, map[string]int32{}
	for i := range nodes {
		if healthy(&nodes[i]) == 1 {
			upstreams[nodes[i].Upstream] = true
			certificates[nodes[i].Certificate]++
		}
		versions[nodes[i].Version] = true
	}
	return v1alpha1.AuthenticatedNodes{
		Nodes: int32(authenticated), Wanted: int32(wanted), //nolint:gosec // bounded by the API and by maxSessions
		Summary:   fmt.Sprintf("%d/%d", authenticated, wanted),
		Upstreams: joined(upstreams), Versions: joined(versions), Certificates: presented(certificates),
	}
}

// presented are the certificates that most nodes presented, the most frequent first.
func presented(nodes map[string]int32) []v1alpha1.PresentedCertificate {
	delete(nodes, "") // without TLS there is none
	var all []v1alpha1.PresentedCertificate
	for fingerprint, count := range nodes {
		all = append(all, v1alpha1.PresentedCertificate{Fingerprint: fingerprint, Nodes: count})
	}
	slices.SortFunc(all, func(a, b v1alpha1.PresentedCertificate) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return all[:min(len(all), v1alpha1.MaxPresentedCertificates)]
}

// byMode are the counts of nodes in a fixed order.
func byMode(nodes map[v1alpha1.SecurityMode]int32) (all []v1alpha1.NodesOfMode) {
	for mode, count := range nodes {
		all = append(all, v1alpha1.NodesOfMode{SecurityMode: mode, Nodes: count})
	}
	slices.SortFunc(all, func(a, b v1alpha1.NodesOfMode) int { return cmp.Compare(a.String(), b.String()) })
	return all[:min(len(all), v1alpha1.MaxFormerSecurity+1)]
}

// joined sorts the words and joins as many as fit into 256 bytes.
func joined(words map[string]bool) string {
	delete(words, "")
	sorted := make([]string, 0, len(words))
	for word := range words {
		sorted = append(sorted, word)
	}
	slices.Sort(sorted)
	var b strings.Builder
	for i, word := range sorted {
		if i > 0 {
			word = "," + word
		}
		if b.Len()+len(word) > 250 {
			b.WriteString(",…")
			break
		}
		b.WriteString(word)
	}
	return b.String()
}

// condition is condition Authenticated without its transition time. nodes are sorted, unhealthy ones first.
func condition(r *v1alpha1.Refinery, nodes []v1alpha1.NodeStatus, authenticated, wanted int) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionAuthenticated, Status: metav1.ConditionFalse, ObservedGeneration: r.Generation}
	if r.Spec.Access == v1alpha1.AccessSuspended {
		c.Reason = v1alpha1.ReasonSuspended
		c.Message = "spec.access is Suspended: sessions are closed and new ones denied; set it to Allowed to let the nodes in"
		return c
	}
	most, worst := complaints(nodes)
	c.Message = fmt.Sprintf("%d of %d wanted nodes are authenticated", authenticated, wanted)
	switch {
	case most != nil:
		c.Message += most.String()
		if severity(worst.first) > severity(most.first) { // few, and somebody has to do more about them
			c.Message += worst.String()
		}
	case authenticated < wanted:
		c.Message += "; the missing ones have not connected, and no node that proved to be of this Refinery was refused"
	}
	switch {
	case isAuthenticated(r, nodes, authenticated, wanted):
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonAuthenticated
	case worst != nil && isDuplicate(*worst.first):
		c.Reason = v1alpha1.ReasonDuplicateID
	case authenticated > 0:
		c.Reason = v1alpha1.ReasonPartiallyAuthenticated
	case most != nil:
		c.Reason = reasonOf(most.first.State)
	default:
		c.Reason = v1alpha1.ReasonConnecting
	}
	return c
}

// label is a node's state, and its reason where that says more.
func label(n *v1alpha1.NodeStatus) string {
	if n.Reason == "" || n.Reason == string(n.State) {
		return string(n.State)
	}
	return fmt.Sprintf("%s (%s)", n.State, n.Reason)
}

// severity orders nodes by how much somebody has to do about them; 0 is nothing.
func severity(n *v1alpha1.NodeStatus) int {
	if isDuplicate(*n) {
		return 5
	}
	return map[v1alpha1.NodeState]int{
		v1alpha1.NodeDenied: 4, v1alpha1.NodeVersionMismatch: 3, v1alpha1.NodeLost: 2, v1alpha1.NodeClosed: 1,
	}[n.State]
}

// complaint is the first node of a state that somebody has to do something about, and how many nodes are in that state.
type complaint struct {
	first *v1alpha1.NodeStatus
	count int
}

func (t *complaint) String() string {
	return fmt.Sprintf("; %s: %s: %s", subject(t.first.ID, t.count-1), label(t.first), t.first.Message)
}

// plainID matches ids that read as nothing but an id.
var plainID = regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)

// subject names a node, and how many others there are, in a sentence. A node may announce any printable text as its id: one that
// could be taken for the master's own words is quoted and cut.
func subject(id string, others int) string {
	if !plainID.MatchString(id) {
		id = strconv.Quote(admit.Truncate(id, 64))
	}
	if others > 0 {
		return fmt.Sprintf("%s and %d more", id, others)
	}
	return id
}

// complaints are the state of most nodes, of several the severest, and the severest of all. Both are nil if there is none.
func complaints(nodes []v1alpha1.NodeStatus) (most, worst *complaint) {
	bySeverity := map[int]*complaint{}
	for i := range nodes {
		switch s := severity(&nodes[i]); {
		case s == 0:
		case bySeverity[s] == nil:
			bySeverity[s] = &complaint{&nodes[i], 1}
		default:
			bySeverity[s].count++
		}
	}
	for _, s := range slices.Backward(slices.Sorted(maps.Keys(bySeverity))) {
		t := bySeverity[s]
		if worst == nil {
			worst = t
		}
		if most == nil || t.count > most.count {
			most = t
		}
	}
	return most, worst
}

// reasonOf is the condition's reason when no node is authenticated and most are in this state.
func reasonOf(s v1alpha1.NodeState) string {
	switch s {
	case v1alpha1.NodeDenied:
		return v1alpha1.ReasonDenied
	case v1alpha1.NodeVersionMismatch:
		return v1alpha1.ReasonVersionMismatch
	case v1alpha1.NodeLost:
		return v1alpha1.ReasonLost
	default:
		return v1alpha1.ReasonConnecting
	}
}
