// Command policies enforces NetworkPolicies on this machine. It is the evaluation of kube-network-policies behind rules of its own.
// Those of that project are written by nftables' queue expression, which not every kernel has; the target NFQUEUE of iptables it has.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/api"
	"sigs.k8s.io/kube-network-policies/pkg/network"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
	"sigs.k8s.io/kube-network-policies/pkg/podinfo"
)

const (
	// queue is the number of the kernel's queue in which the packets wait for a verdict.
	queue = 100
	// chain holds the rules, of this program alone.
	chain = "NETWORK-POLICIES"
	// headers is how much of a packet is read: what comes after the headers does not matter.
	headers = 128
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "`FILE` kubeconfig of the cluster; required")
	node := flag.String("node", "", "`NAME` of the Kubernetes node that this machine is; required")
	pods := flag.String("pods", "", "`CIDR` addresses of its pods; required")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, *kubeconfig, *node, *pods)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, node, pods string) error {
	policies, err := watch(ctx, kubeconfig, node)
	if err != nil {
		return err
	}
	if err := decide(ctx, policies); err != nil {
		return err
	}
	defer removeRules(pods)
	if err := addRules(ctx, pods); err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}

// watch returns an evaluation that knows the cluster's pods, namespaces and NetworkPolicies, and follows them until ctx is done.
func watch(ctx context.Context, kubeconfig, node string) (*networkpolicy.PolicyEngine, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactory(clients, 0)
	policies, err := engine(factory, node)
	if err != nil {
		return nil, err
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return nil, fmt.Errorf("%v: not read", kind)
		}
	}
	return policies, nil
}

// engine returns an evaluation of what the informers of factory hold.
func engine(factory informers.SharedInformerFactory, node string) (*networkpolicy.PolicyEngine, error) {
	namespaces, pods := factory.Core().V1().Namespaces(), factory.Core().V1().Pods()
	byAddress, err := podinfo.NewInformerResolver(pods.Informer())
	if err != nil {
		return nil, err
	}
	provider := podinfo.NewInformerProvider(pods, namespaces, nil, []podinfo.IPResolver{byAddress})
	evaluator := networkpolicy.NewStandardNetworkPolicy(node, namespaces, pods, factory.Networking().V1().NetworkPolicies())
	return networkpolicy.NewPolicyEngine(provider, []api.PolicyEvaluator{evaluator}), nil
}

// decide gives a verdict on each packet in the queue, until ctx is done. What cannot be read or decided is dropped.
func decide(ctx context.Context, policies *networkpolicy.PolicyEngine) error {
	q, err := nfqueue.Open(&nfqueue.Config{NfQueue: queue, Flags: nfqueue.NfQaCfgFlagGSO, MaxPacketLen: headers, MaxQueueLen: 1024,
		Copymode: nfqueue.NfQnlCopyPacket, WriteTimeout: time.Second})
	if err != nil {
		return fmt.Errorf("open queue %d: %w", queue, err)
	}
	context.AfterFunc(ctx, func() { _ = q.Close() })
	return q.RegisterWithErrorFunc(ctx, func(a nfqueue.Attribute) int {
		verdict := nfqueue.NfDrop
		packet, err := network.ParsePacket(*a.Payload)
		if err == nil {
			if allowed, err := policies.EvaluatePacket(ctx, &packet); err == nil && allowed {
				verdict = nfqueue.NfAccept
			}
		}
		if verdict == nfqueue.NfDrop {
			fmt.Printf("dropped %s %s:%d -> %s:%d\n", packet.Proto, packet.SrcIP, packet.SrcPort, packet.DstIP, packet.DstPort)
		}
		if err := q.SetVerdict(*a.PacketID, verdict); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return 0
	}, func(err error) int {
		if ctx.Err() != nil {
			return 1
		}
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			fmt.Fprintln(os.Stderr, err)
		}
		return 0
	})
}

// rules send the first packet of each connection from or to a pod into the queue. After address translation, so that the pods behind a
// Service are seen. Connections from this machine, such as the kubelet's probes, are none of a NetworkPolicy's business: they are not
// forwarded. If nobody reads the queue, everything passes.
func rules(pods string) [][]string {
	first := []string{"-m", "conntrack", "--ctstate", "NEW", "-j", "NFQUEUE", "--queue-num", fmt.Sprint(queue), "--queue-bypass"}
	return [][]string{
		append([]string{"-A", chain, "-s", pods}, first...),
		append([]string{"-A", chain, "-d", pods}, first...),
	}
}

func addRules(ctx context.Context, pods string) error {
	removeRules(pods)
	all := append([][]string{{"-N", chain}}, rules(pods)...)
	// INPUT: from pods to this machine, where the API server is.
	all = append(all, []string{"-I", "FORWARD", "-j", chain}, []string{"-I", "INPUT", "-s", pods, "-j", chain})
	for _, rule := range all {
		if out, err := iptables(ctx, rule...); err != nil {
			return fmt.Errorf("iptables %s: %w\n%s", strings.Join(rule, " "), err, out)
		}
	}
	return nil
}

func removeRules(pods string) {
	ctx := context.Background()
	for _, rule := range [][]string{{"-D", "FORWARD", "-j", chain}, {"-D", "INPUT", "-s", pods, "-j", chain}, {"-F", chain}, {"-X", chain}} {
		_, _ = iptables(ctx, rule...) // there may be none
	}
	// iptables makes a table of nftables for its chains, and leaves it when they are empty.
	if left, err := iptables(ctx, "-S"); err == nil && isEmpty(string(left)) {
		_ = exec.CommandContext(ctx, "nft", "delete", "table", "ip", "filter").Run() // there may be none
	}
}

// isEmpty reports whether a table has chains of iptables' own only, and lets everything through. It is written as iptables -S does.
func isEmpty(table string) bool {
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "-P ") || !strings.HasSuffix(strings.TrimSpace(line), " ACCEPT") {
			return false
		}
	}
	return true
}

func iptables(ctx context.Context, arguments ...string) ([]byte, error) {
	return exec.CommandContext(ctx, "iptables", append([]string{"-w"}, arguments...)...).CombinedOutput()
}
