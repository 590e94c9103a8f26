package cluster

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// createNetwork makes the bridge, the route to the Services and the nft table that keeps other networks out.
func createNetwork(ctx context.Context) error {
	if !fileExists("/proc/sys/net/bridge/bridge-nf-call-iptables") {
		// Without it, answers to a Service's address would bypass kube-proxy's rules on the bridge.
		if err := runQuietly(ctx, "modprobe", "br_netfilter"); err != nil {
			return fmt.Errorf("the kernel module br_netfilter is needed: %w", err)
		}
	}
	if err := setSysctls(); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"link", "add", bridge, "address", bridgeAddress, "type", "bridge"},
		{"address", "add", nodePrefix, "dev", bridge},
		{"link", "set", bridge, "up"},
		// So that this machine reaches Services from the node's address, and also when it has no other network.
		{"route", "add", serviceRange, "dev", bridge, "src", nodeIP},
	} {
		if err := runQuietly(ctx, "ip", args...); err != nil {
			return err
		}
	}
	rules, err := render("guard.nft", map[string]string{"NFTTable": nftTable, "Bridge": bridge, "APIServerPort": apiServerPort})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "nft", "--file", "-")
	cmd.Stdin = strings.NewReader(string(rules))
	return describe(cmd)
}

// nftTables are those the cluster has: its own, and kube-proxy's.
var nftTables = []string{"inet " + nftTable, "ip kube-proxy", "ip6 kube-proxy"}

// presentTables picks from the output of `nft list tables` the tables of the cluster.
func presentTables(listing string) []string {
	var found []string
	for line := range strings.Lines(listing) {
		table := strings.TrimPrefix(strings.TrimSpace(line), "table ")
		for _, ours := range nftTables {
			if table == ours {
				found = append(found, table)
			}
		}
	}
	return found
}

// forgetConnections deletes the cluster's entries from the kernel's connection tracking. Otherwise an old address
// translation could apply to an address that the next cluster uses again.
func forgetConnections(ctx context.Context) error {
	if !fileExists("/usr/sbin/conntrack") {
		return nil
	}
	err := runQuietly(ctx, "conntrack", "--delete", "--orig-src", clusterRange)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 { // there were none
		return nil
	}
	return err
}
