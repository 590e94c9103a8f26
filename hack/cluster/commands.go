package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/assets"
	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/cluster"
	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/progress"
	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/project"
)

const help = `A real Kubernetes node on this machine, for development and tests. It needs Linux, root and Debian's packages.

Usage: hack/cluster/run COMMAND

  up                       install what is missing, start the cluster, and wait until it is ready
  down                     stop it and remove every trace, also after a crash
  status                   show the components with their memory, the node and the pods
  kubeconfig               print the path of the administrator's kubeconfig
  load ARCHIVE...          import image archives
  images [--version TAG] [--commit REVISION]
                           build the project's images and load those that changed; a TAG that is a semantic version is
                           written into the binaries too (default: dev)
  assets                   build the Kubernetes binaries, print their folder (for KUBEBUILDER_ASSETS)
`

// usageError is a wrong command line.
type usageError string

func (e usageError) Error() string { return "cluster: " + string(e) + " (see --help)" }

func run(ctx context.Context, args []string) error {
	w := progress.New(os.Stderr)
	if len(args) == 0 {
		return usageError("name a command: up, down, status, kubeconfig, load, images or assets")
	}
	command, args := args[0], args[1:]
	if command != "load" && command != "images" && len(args) > 0 {
		return usageError(fmt.Sprintf("%s takes no arguments", command))
	}
	switch command {
	case "up":
		return cluster.Up(ctx, w)
	case "down":
		return cluster.Down(ctx, w)
	case "status":
		return cluster.Status(ctx, os.Stdout)
	case "kubeconfig":
		return printed(cluster.Kubeconfig())
	case "load":
		if len(args) == 0 {
			return usageError("load takes one or more image archives")
		}
		return cluster.Load(ctx, w, args)
	case "images":
		return images(ctx, w, args)
	case "assets":
		built, err := assets.Ensure(ctx, w)
		return printed(built.Dir, err)
	case "-h", "--help", "help":
		fmt.Print(help)
		return nil
	default:
		return usageError(fmt.Sprintf("unknown command %q", command))
	}
}

// printed prints a path and nothing else, for use in scripts.
func printed(path string, err error) error {
	if err == nil {
		fmt.Println(path)
	}
	return err
}

// tag matches what a container image may have as its tag.
var tag = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// images builds the project's images, and loads those that the cluster does not have.
func images(ctx context.Context, w *progress.Writer, args []string) error {
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error below is the one line
	version := flags.String("version", "dev", "")
	commit := flags.String("commit", "", "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Print(help)
		return nil
	} else if err != nil {
		return usageError("images: " + err.Error())
	}
	if flags.NArg() > 0 || !tag.MatchString(*version) {
		return usageError("images takes --version TAG and --commit REVISION")
	}
	if _, err := cluster.Kubeconfig(); err != nil {
		return err
	}
	checkout, err := assets.Checkout()
	if err != nil {
		return err
	}
	cache, err := assets.CacheDir()
	if err != nil {
		return err
	}
	return w.Step("build and load the images", func() error {
		built, err := project.Build(ctx, checkout, cache, *version, *commit)
		if err != nil {
			return err
		}
		loaded, err := cluster.LoadImages(ctx, built)
		if err != nil {
			return err
		}
		w.Printf("%d images built, %d of them changed and loaded", len(built), len(loaded))
		return nil
	})
}
