// Package kubectl is kubectl refinery, the person's view of masters and refineries.
package kubectl

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

const usage = `Usage: kubectl refinery preview CLUSTERMASTER [flags]

Tells which live nodes a change of a ClusterMaster would refuse, before it is made. Nothing is written. A node is judged
by what it announced and presented last, by the code of the master itself. WHEN is AtOnce (its session ends), OnReturn (it
goes on until the node connects anew) or Unknown (nobody can tell; MESSAGE says why).

  kubectl refinery preview alpha -f alpha.yaml                      what would this manifest do?
  kubectl refinery preview alpha -f plant-ca.yaml                   and this Secret of the certificate authority?
  kubectl refinery preview alpha -f alpha-tls.yaml                  and this trust bundle, which comes without that key?
  kubectl refinery preview alpha --accepted-versions='>=0.2.0'      only this version constraint
  kubectl refinery preview alpha --accepted-types=refinery,smelter  only these types
  kubectl refinery preview alpha --without-authority=3f9ac1d2       without the authority of this fingerprint, by force?

The exit code is 0 when nobody would be refused, 1 when somebody would be, or may be, and 2 when it cannot be told.

Flags:
`

// options are those of preview.
type options struct {
	master                         string
	files                          []string
	versions, types                *string
	without                        []string
	namespace, kubeconfig, context string
	output                         string
}

// parseOptions reads the command line behind the program's name. flag.ErrHelp after --help, which it has then printed.
func parseOptions(args []string, help io.Writer) (*options, error) {
	if len(args) > 0 && (args[0] == "help" || strings.HasPrefix(args[0], "-h") || args[0] == "--help") {
		args = []string{"preview", "--help"}
	}
	if len(args) == 0 || args[0] != "preview" {
		return nil, errors.New("say what to do: kubectl refinery preview CLUSTERMASTER; see --help")
	}
	o := &options{}
	args = args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		o.master, args = args[0], args[1:]
	}
	fs := o.flags()
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = io.WriteString(help, usage)
			fs.SetOutput(help)
			fs.PrintDefaults()
		}
		return nil, err
	}
	if o.master == "" && fs.NArg() == 1 {
		o.master = fs.Arg(0)
	} else if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q; see --help", fs.Arg(0))
	}
	switch {
	case o.master == "":
		return nil, errors.New("name the ClusterMaster: kubectl refinery preview CLUSTERMASTER; see --help")
	case len(o.files)+len(o.without) == 0 && o.versions == nil && o.types == nil:
		return nil, errors.New("name the change: -f FILE, --accepted-versions, --accepted-types or --without-authority; see --help")
	case o.output != "table" && o.output != "json":
		return nil, fmt.Errorf("--output is %q; use table or json", o.output)
	}
	return o, nil
}

func (o *options) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("kubectl refinery preview", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.Func("f", "`file` with the ClusterMaster, or a Secret that it uses, as it would be; - is standard input; may be repeated",
		func(s string) error { o.files = append(o.files, s); return nil })
	fs.Func("accepted-versions", "spec.protocol.acceptedVersions as it would be: a semver `constraint`", func(s string) error { o.versions = &s; return nil })
	fs.Func("accepted-types", "spec.protocol.acceptedTypes as it would be: `types` separated by commas", func(s string) error { o.types = &s; return nil })
	fs.Func("without-authority", "SHA-256 `fingerprint` of an authority of the trust bundle that would be gone, or its first digits; may be repeated",
		func(s string) error {
			if len(s) < 6 {
				return errors.New("give at least six digits")
			}
			o.without = append(o.without, strings.ToLower(strings.ReplaceAll(s, ":", "")))
			return nil
		})
	for _, name := range []string{"n", "namespace"} {
		fs.StringVar(&o.namespace, name, "", "`namespace` of the ClusterMaster; default: the context's")
	}
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "`file`; default: $KUBECONFIG or ~/.kube/config")
	fs.StringVar(&o.context, "context", "", "`name` of a context in the kubeconfig; default: the current one")
	for _, name := range []string{"o", "output"} {
		fs.StringVar(&o.output, name, "table", "`format`: table or json")
	}
	return fs
}
