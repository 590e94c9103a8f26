// Package kubectl is kubectl refinery, the person's view of masters and refineries.
package kubectl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

const description = `Say which live nodes a change of a ClusterMaster would refuse, before it is made. Nothing is written.

A node is judged by what it announced and presented last, by the code of the master itself. WHEN is AtOnce (its session
ends), OnReturn (its session goes on, and it is refused when it connects again), Later (it has the time that MESSAGE says to
change) or Unknown (MESSAGE says why nobody can tell).

The exit code is 0 when nobody would be refused, 1 when somebody would be or may be, and 2 when it cannot be told.`

const examples = `  # What would this manifest do?
  kubectl refinery preview alpha -f alpha.yaml

  # And this Secret with the certificate authority?
  kubectl refinery preview alpha -f plant-ca.yaml

  # And this trust bundle, for an authority whose key is kept elsewhere?
  kubectl refinery preview alpha -f alpha-tls.yaml

  # Change only the version constraint, or only the accepted types
  kubectl refinery preview alpha --accepted-versions='>=0.2.0'
  kubectl refinery preview alpha --accepted-types=refinery,smelter

  # Remove the authority of this fingerprint from the trust bundle by force
  kubectl refinery preview alpha --without-authority=3f9ac1d2`

// helpWidth is where the help breaks the descriptions of flags.
const helpWidth = 120

// CompletionName is the name under which kubectl starts a plugin to complete its command line: a link to the plugin itself.
const CompletionName = "kubectl_complete-refinery"

// Main is the command. args are those behind the program's name. It returns the exit code: 0 when nobody would be
// refused, 1 when somebody would be or may be, 2 when it cannot be told; then one line on stderr says why.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o := &options{cluster: genericclioptions.NewConfigFlags(true)}
	root := o.command()
	root.SetArgs(append([]string{}, args...)) // not nil, for which cobra takes the process's own
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		_, _ = fmt.Fprintf(stderr, "kubectl refinery: %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
		return 2
	}
	if o.refused {
		return 1
	}
	return 0
}

// options are those of preview.
type options struct {
	master          string
	files           []string
	versions, types *string
	without         []string
	output          string
	// cluster are kubectl's own flags: where the API server is, and who asks.
	cluster *genericclioptions.ConfigFlags

	refused bool // what preview came to
}

func (o *options) command() *cobra.Command {
	root := &cobra.Command{
		Use: "kubectl-refinery", Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl refinery"},
		Short: "Look at masters and refineries", Long: description, Example: examples, Version: version.Version,
		Args: cobra.ArbitraryArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("say what to do: kubectl refinery preview CLUSTERMASTER; see --help")
		},
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}, // kubectl completes its plugins: CompletionName
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w; see --help", err) })
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "Flags.FlagUsages", fmt.Sprintf("Flags.FlagUsagesWrapped %d", helpWidth)))
	o.cluster.CacheDir = nil // nothing is discovered
	*o.cluster.Timeout = "30s"
	o.cluster.AddFlags(root.PersistentFlags())
	root.AddCommand(o.previewCommand())
	return root
}

func (o *options) previewCommand() *cobra.Command {
	var versions, types string
	preview := &cobra.Command{
		Use: "preview CLUSTERMASTER", Short: "Say which live nodes a change of a ClusterMaster would refuse", Long: description, Example: examples,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("name the ClusterMaster: kubectl refinery preview CLUSTERMASTER; see --help")
			case len(args) > 1:
				return fmt.Errorf("unexpected argument %q; see --help", args[1])
			}
			return nil
		},
		ValidArgsFunction: o.completeMasters,
	}
	flags := preview.Flags()
	flags.StringArrayVarP(&o.files, "filename", "f", nil,
		"manifest `file` of the changed ClusterMaster, or of a Secret that it uses; - is standard input; may be repeated")
	flags.StringVar(&versions, "accepted-versions", "", "the new spec.protocol.acceptedVersions, a semver `constraint`")
	flags.StringVar(&types, "accepted-types", "", "the new spec.protocol.acceptedTypes: `types` separated by commas")
	flags.Func("without-authority", "SHA-256 `fingerprint` of an authority to remove from the trust bundle, or its first digits; may be repeated", o.addWithout)
	flags.StringVarP(&o.output, "output", "o", "table", "`format` of the output, table or json")
	_ = preview.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)) // it is defined
	preview.RunE = func(cmd *cobra.Command, args []string) error {
		o.master = args[0]
		if flags.Changed("accepted-versions") {
			o.versions = &versions
		}
		if flags.Changed("accepted-types") {
			o.types = &types
		}
		if err := o.validate(); err != nil {
			return err
		}
		found, err := o.preview(cmd.Context(), cmd.InOrStdin())
		if err != nil {
			return err
		}
		o.refused = len(found.refusals) > 0
		return o.print(cmd.OutOrStdout(), found)
	}
	return preview
}

func (o *options) addWithout(fingerprint string) error {
	if len(fingerprint) < 6 {
		return errors.New("write at least six digits")
	}
	o.without = append(o.without, strings.ToLower(strings.ReplaceAll(fingerprint, ":", "")))
	return nil
}

func (o *options) validate() error {
	switch {
	case len(o.files)+len(o.without) == 0 && o.versions == nil && o.types == nil:
		return errors.New("name the change: -f FILE, --accepted-versions, --accepted-types or --without-authority; see --help")
	case o.output != "table" && o.output != "json":
		return fmt.Errorf("--output is %q; use table or json", o.output)
	}
	return nil
}

// completeMasters completes the names of ClusterMasters.
func (o *options) completeMasters(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	view, err := o.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var list v1alpha1.ClusterMasterList
	if err := view.masters(view.Get()).Do(cmd.Context()).Into(&list); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for i := range list.Items {
		if name := list.Items[i].Name; strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
