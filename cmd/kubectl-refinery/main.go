// Command kubectl-refinery is kubectl refinery; see --help.
package main

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/kubectl"
)

func main() {
	cli.Run(func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
		if filepath.Base(os.Args[0]) == kubectl.CompletionName {
			args = append([]string{cobra.ShellCompRequestCmd}, args...)
		}
		return kubectl.Main(ctx, args, os.Stdin, stdout, stderr)
	})
}
