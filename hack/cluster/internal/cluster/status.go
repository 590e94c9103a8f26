package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Status prints what runs: the components with their memory, then the node and the pods as Kubernetes sees them.
func Status(ctx context.Context, out io.Writer) error {
	processes, err := running("/proc", Root)
	if err != nil {
		return err
	}
	if len(processes) == 0 {
		return errNoCluster
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "COMPONENT\tSTATE\tPID\tMEMORY")
	for _, name := range componentNames {
		if p, ok := findComponent(processes, name); ok {
			fmt.Fprintf(table, "%s\trunning\t%d\t%s\n", name, p.pid, mebibytes(residentBytes(p.pid)))
		} else {
			fmt.Fprintf(table, "%s\tnot running\t\t\n", name)
		}
	}
	total := 0
	for _, p := range processes {
		total += residentBytes(p.pid)
	}
	fmt.Fprintf(table, "total\t%d processes\t\t%s\n", len(processes), mebibytes(total))
	if err := table.Flush(); err != nil {
		return err
	}
	if absent := absentComponents(); len(absent) > 0 {
		return fmt.Errorf("%s does not run; `make cluster-up` starts a new cluster", strings.Join(absent, ", "))
	}
	path, err := Kubeconfig()
	if err != nil {
		return err
	}
	a, err := located()
	if err != nil {
		return err
	}
	k := kubectl{path: a.Path("kubectl"), kubeconfig: path}
	for _, args := range [][]string{{"get", "nodes", "--output=wide"}, {"get", "pods", "--all-namespaces"}} {
		fmt.Fprintln(out)
		cmd := k.command(ctx, args...)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
		}
	}
	return nil
}

// residentBytes is the resident memory of a process, 0 once it has ended.
func residentBytes(pid int) int {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(content))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return pages * os.Getpagesize()
}

func mebibytes(bytes int) string { return fmt.Sprintf("%d MiB", bytes>>20) }
