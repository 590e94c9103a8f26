package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
)

// nodesOf polls from which addresses the NetworkPolicy of a name lets nodes connect.
func nodesOf(f fixture, name string) func() []string {
	return func() (cidrs []string) {
		policy := &networkingv1.NetworkPolicy{}
		if f.get(policy, name) != nil || len(policy.Spec.Ingress) == 0 {
			return nil
		}
		for _, peer := range policy.Spec.Ingress[0].From {
			cidrs = append(cidrs, peer.IPBlock.CIDR)
		}
		return cidrs
	}
}

func foreignPolicy(f fixture, name string) client.Object {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}
}

var _ = Describe("A NetworkPolicy over the pods of a ClusterMaster", func() {
	It("is made when it is asked for, follows the spec, is put back, and goes when it is not wanted any more", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{networkPolicy: {nodes: [{ipBlock: {cidr: 192.0.2.0/24}}]}}`)
		f.create(m)
		Eventually(nodesOf(f, "alpha")).Should(Equal([]string{"192.0.2.0/24"}))

		change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.NetworkPolicy.Nodes[0].IPBlock.CIDR = "198.51.100.0/24" })
		Eventually(nodesOf(f, "alpha")).Should(Equal([]string{"198.51.100.0/24"}))

		policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "alpha"}}
		change(f, policy, func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress[0].From[0].IPBlock.CIDR = "0.0.0.0/0" })
		Eventually(nodesOf(f, "alpha")).Should(Equal([]string{"198.51.100.0/24"}))

		change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.NetworkPolicy = nil })
		Eventually(gone(f, &networkingv1.NetworkPolicy{}, "alpha")).Should(BeTrue())
	})

	It("is not made unless it is asked for, and one of someone else is left alone then", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{}`)
		theirs := labelled(foreignPolicy(f, "alpha"))
		f.create(theirs, m)
		f.becomeActive(m)
		Eventually(condition(f, m, v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
		Expect(f.get(theirs, "alpha")).To(Succeed())
		Expect(apply.Owns(m, theirs)).To(BeFalse())
	})
})
