// Command release makes all files of a release from one commit of this repository, without a network: see docs/development/release.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/refinery-operator/refinery-operator/hack/image"
)

const help = `Makes all files of a release from one commit, without a network. What is not committed is not in it.

Usage: release [flags]

  --repository=FOLDER     a checkout of this repository (default .)
  --commit=REVISION       what to release (default HEAD)
  --output=FOLDER         where the files go; an older release in it is replaced (default dist)
  --image-prefix=PREFIX   what the images' names begin with (default ` + image.Prefix + `)
  --download-url=URL      where people will find the files (default: the release's page at the project's home)
  --helm=FILE             the helm command (default helm)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, progress io.Writer) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error is the one line
	var o options
	flags.StringVar(&o.repository, "repository", ".", "")
	flags.StringVar(&o.commit, "commit", "HEAD", "")
	flags.StringVar(&o.output, "output", "dist", "")
	flags.StringVar(&o.imagePrefix, "image-prefix", image.Prefix, "")
	flags.StringVar(&o.downloadURL, "download-url", "", "")
	flags.StringVar(&o.helm, "helm", "helm", "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Print(help)
		return nil
	} else if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("it takes no argument, and got %q: see --help", flags.Arg(0))
	}
	return makeRelease(ctx, o, progress)
}
