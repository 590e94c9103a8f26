package cluster

import (
	"context"
	"os/exec"
	"strings"
	"time"
)

// kubectl runs the cluster's own kubectl as administrator.
type kubectl struct{ path, kubeconfig string }

func (k kubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, k.path, append([]string{"--kubeconfig=" + k.kubeconfig}, args...)...)
}

func (k kubectl) run(ctx context.Context, args ...string) error {
	err := describe(k.command(ctx, args...))
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (k kubectl) apply(ctx context.Context, manifest []byte) error {
	cmd := k.command(ctx, "apply", "--server-side", "--filename=-")
	cmd.Stdin = strings.NewReader(string(manifest))
	return describe(cmd)
}

func (k kubectl) ready(ctx context.Context) bool {
	return k.command(ctx, "get", "--raw=/readyz").Run() == nil
}

func (k kubectl) awaitReady(ctx context.Context) error {
	return poll(ctx, 200*time.Millisecond, apiServer, func() (bool, error) { return k.ready(ctx), nil })
}
