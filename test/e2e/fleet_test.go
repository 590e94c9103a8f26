package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const (
	// fleetSize is the number of Refineries with one node each.
	fleetSize = 200
	// fleetTimeout is for all of them to be made, started and authenticated.
	fleetTimeout = 4 * time.Minute
	// fleetWrites is the most that the master may write to one of them: that it is awaited, that it is
	// there, and one more for a node that was refused or cut off on the way.
	fleetWrites = 3
)

var _ = Describe("A fleet", func() {
	It("of 200 Refineries at one master pod is all Authenticated, for a few writes each", Serial, func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		_, err := agentBinary()
		Expect(err).NotTo(HaveOccurred())
		waitForRemovals(ctx, ns)
		before := statusWrites(ctx)["refineries"]
		writes := watchMasterWrites(ctx, ns)

		begin := time.Now()
		fleet := map[string]*v1alpha1.Refinery{}
		for i := range fleetSize {
			name := fmt.Sprintf("node-%d", i)
			fleet[name] = newRefinery(ctx, master, name, external)
		}
		created := time.Since(begin)
		address := endpoint(ctx, master)
		for _, r := range fleet {
			startAgent(master, address, r.Name, secret(ctx, ns, r.CertificateSecretName()))
		}
		started := time.Since(begin)
		Eventually(ctx, func(ctx context.Context) (map[columns]int, error) { return columnCounts(ctx, ns) }).
			WithTimeout(fleetTimeout).Should(Equal(map[columns]int{authenticated(1): fleetSize}))
		shownAfter := time.Since(begin)

		Eventually(ctx, func(ctx context.Context) (*v1alpha1.RefineryTotals, error) {
			err := k8s.Get(ctx, client.ObjectKeyFromObject(master), master)
			return master.Status.Refineries, err
		}).Should(HaveField("Summary", fmt.Sprintf("%d/%d", fleetSize, fleetSize)))
		settled := settledWrites(ctx)
		total, most, histogram := 0, 0, map[int]int{}
		for name := range fleet {
			n := writes.of(name)
			total += n
			most = max(most, n)
			histogram[n]++
		}
		report := fmt.Sprintf("%d Refineries created after %s, agents started after %s, all shown Authenticated after %s; "+
			"the master wrote %.2f times to each (at most %d; writes: Refineries %v); all status writes, the operator's included: %.2f each",
			fleetSize, created.Round(time.Millisecond), started.Round(time.Millisecond), shownAfter.Round(time.Millisecond),
			float64(total)/fleetSize, most, histogram, float64(settled-before)/fleetSize)
		AddReportEntry("fleet", report)
		fmt.Fprintln(GinkgoWriter, report)
		Expect(total).To(BeNumerically(">=", fleetSize), "the count of writes must have seen each of them")
		Expect(most).To(BeNumerically("<=", fleetWrites))
	}, SpecTimeout(2*specTimeout))
})

// columnCounts is how many Refineries of a namespace show what.
func columnCounts(ctx context.Context, namespace string) (map[columns]int, error) {
	var list v1alpha1.RefineryList
	if err := k8s.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	counts := map[columns]int{}
	for i := range list.Items {
		counts[shown(&list.Items[i])]++
	}
	return counts, nil
}

// settledWrites is the number of status writes to Refineries once it stands still.
func settledWrites(ctx context.Context) int {
	GinkgoHelper()
	var count int
	Eventually(ctx, func(g Gomega, ctx context.Context) {
		count = statusWrites(ctx)["refineries"]
		g.Consistently(ctx, func() int { return statusWrites(ctx)["refineries"] }).
			WithTimeout(3 * time.Second).WithPolling(time.Second).Should(Equal(count))
	}).WithTimeout(settleTimeout).Should(Succeed())
	return count
}
