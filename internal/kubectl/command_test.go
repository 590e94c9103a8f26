package kubectl

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAWrongCommandLineIsToldInOneLine(t *testing.T) {
	nowhere := "--kubeconfig=" + filepath.Join(t.TempDir(), "none")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"nothing":              {nil, "kubectl refinery: say what to do: kubectl refinery preview CLUSTERMASTER; see --help\n"},
		"another command":      {[]string{"promote"}, "kubectl refinery: say what to do: kubectl refinery preview CLUSTERMASTER; see --help\n"},
		"no ClusterMaster":     {[]string{"preview"}, "kubectl refinery: name the ClusterMaster: kubectl refinery preview CLUSTERMASTER; see --help\n"},
		"no change":            {[]string{"preview", "alpha"}, "kubectl refinery: name the change: -f FILE, --accepted-versions, --accepted-types or --without-authority; see --help\n"},
		"two ClusterMasters":   {[]string{"preview", "alpha", "-f", "x", "beta"}, "kubectl refinery: unexpected argument \"beta\"; see --help\n"},
		"another format":       {[]string{"preview", "alpha", "-f", "x", "-o", "xml"}, "kubectl refinery: --output is \"xml\"; use table or json\n"},
		"a short fingerprint":  {[]string{"preview", "alpha", "--without-authority", "ab"}, "kubectl refinery: invalid argument \"ab\" for \"--without-authority\" flag: write at least six digits; see --help\n"},
		"a flag that is none":  {[]string{"preview", "alpha", "--force"}, "kubectl refinery: unknown flag: --force; see --help\n"},
		"no cluster":           {[]string{"preview", "alpha", "--accepted-types=x", nowhere}, "kubectl refinery: no cluster: stat " + strings.TrimPrefix(nowhere, "--kubeconfig=") + ": no such file or directory\n"},
		"the name behind them": {[]string{"preview", "--accepted-types=x", nowhere, "alpha"}, "kubectl refinery: no cluster: stat " + strings.TrimPrefix(nowhere, "--kubeconfig=") + ": no such file or directory\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := Main(t.Context(), test.args, nil, &stdout, &stderr); code != 2 || stdout.Len() > 0 {
				t.Errorf("exit code %d, stdout %q", code, stdout.String())
			}
			if diff := cmp.Diff(test.want, stderr.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHelpSaysHowToAsk(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"preview", "-h"}} {
		var stdout, stderr bytes.Buffer
		if code := Main(t.Context(), args, nil, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("%v: exit code %d, stderr %q", args, code, stderr.String())
		}
		for _, word := range []string{"kubectl refinery preview alpha -f alpha.yaml", "-without-authority", "The exit code is"} {
			if !strings.Contains(stdout.String(), word) {
				t.Errorf("%v: help lacks %q", args, word)
			}
		}
	}
}

// apiServer answers for two ClusterMasters of namespace plant to whoever is jane with the token.
func apiServer(t *testing.T) *httptest.Server {
	t.Helper()
	const group = "/apis/cluster.refinery.dev/v1alpha1"
	answers := map[string]string{
		group + "/namespaces/plant/clustermasters": `{"kind":"ClusterMasterList","apiVersion":"cluster.refinery.dev/v1alpha1","items":[
			{"metadata":{"name":"alpha"}},{"metadata":{"name":"alps"}},{"metadata":{"name":"beta"}}]}`,
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer, ok := answers[r.URL.Path]
		switch {
		case r.Header.Get("Authorization") != "Bearer sesame", r.Header.Get("Impersonate-User") != "jane":
			w.WriteHeader(http.StatusUnauthorized)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestKubectlsOwnFlagsSayWhereTheClusterIsAndWhoAsks(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	server := apiServer(t)
	flags := []string{"--server=" + server.URL, "--insecure-skip-tls-verify", "--token=sesame", "--as=jane", "-n", "plant"}
	t.Run("preview", func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		code := Main(t.Context(), append(flags, "preview", "gamma", "--accepted-types=x"), nil, &stdout, &stderr)
		if want := "kubectl refinery: read ClusterMaster gamma in namespace plant: the server could not find the requested resource"; code != 2 || !strings.HasPrefix(stderr.String(), want) {
			t.Errorf("exit code %d, stderr %q, want %q", code, &stderr, want)
		}
	})
	t.Run("completion", func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		Main(t.Context(), append(append([]string{"__complete"}, flags...), "preview", "al"), nil, &stdout, &stderr)
		if diff := cmp.Diff("alpha\nalps\n:4\n", stdout.String()); diff != "" {
			t.Errorf("(-want +got):\n%s\n%s", diff, &stderr)
		}
	})
}

func TestManifestsAreReadStrictly(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"both kinds":       {"apiVersion: cluster.refinery.dev/v1alpha1\nkind: ClusterMaster\nmetadata: {name: alpha}\nspec: {replicas: 1}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: plant-ca}\nstringData: {tls.crt: x}\n", ""},
		"another kind":     {"apiVersion: v1\nkind: Pod\n", "-: holds a Pod (v1); a preview takes a ClusterMaster and its Secrets"},
		"a misspelt field": {"apiVersion: cluster.refinery.dev/v1alpha1\nkind: ClusterMaster\nspec: {protocol: {acceptedVersion: x}}\n", `-: strict decoding error: unknown field "spec.protocol.acceptedVersion"`},
		"no YAML":          {"{", "-: no manifest: "},
		"nothing":          {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := readManifests([]string{"-"}, strings.NewReader(test.text))
			if got := ""; err != nil {
				if got = err.Error(); test.want == "" || !strings.HasPrefix(got, test.want) {
					t.Errorf("got %q, want %q", got, test.want)
				}
				return
			}
			if test.want != "" {
				t.Errorf("no error, want %q", test.want)
			}
			if name == "both kinds" && (m.master == nil || string(m.secrets["plant-ca"].Data["tls.crt"]) != "x") {
				t.Errorf("read %+v", m)
			}
		})
	}
	if _, err := readManifests([]string{"/nowhere"}, nil); err == nil || err.Error() != "/nowhere: no such file or directory" {
		t.Errorf("got %v", err)
	}
}
