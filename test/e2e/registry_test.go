package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const (
	registryUser     = "team"
	registryPassword = "only for this suite"
	// containerdSocket is that of the local cluster; see hack/cluster/README.md.
	containerdSocket = "/var/lib/refinery-cluster/containerd/containerd.sock"
	manifestType     = "application/vnd.oci.image.manifest.v1+json"
)

// registry serves images that the Kubernetes node has, under names of its own, to those who know the password
// (https://github.com/opencontainers/distribution-spec, of which it has what a pull needs).
type registry struct {
	address string
	// names are those under which containerd has them, by REPOSITORY:TAG.
	names map[string]string

	mu     sync.Mutex
	pulled map[string]bool
}

// startRegistry serves until the spec is over. Then containerd forgets the names of its images.
func startRegistry(names map[string]string) *registry {
	GinkgoHelper()
	// containerd talks to a registry without TLS if it is on the loopback interface.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	r := &registry{address: listener.Addr().String(), names: names, pulled: map[string]bool{}}
	server := &http.Server{Handler: r, ReadHeaderTimeout: moment}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	DeferCleanup(func(ctx context.Context) {
		Expect(server.Close()).To(Succeed())
		Expect(<-ended).To(MatchError(http.ErrServerClosed))
		for _, reference := range strings.Fields(must(ctr(ctx, "images", "list", "--quiet"))) {
			if strings.HasPrefix(reference, r.address+"/") {
				must(ctr(ctx, "images", "remove", reference))
			}
		}
	})
	return r
}

// ServeHTTP answers requests for /v2/REPOSITORY/manifests/TAG, .../manifests/DIGEST and .../blobs/DIGEST.
func (r *registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if user, password, _ := request.BasicAuth(); user != registryUser || password != registryPassword {
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	resource := strings.TrimPrefix(request.URL.Path, "/v2/")
	if repository, tag, ok := strings.Cut(resource, "/manifests/"); ok {
		digest := tag
		if !strings.HasPrefix(tag, "sha256:") {
			digest = r.pull(request.Context(), repository+":"+tag)
		}
		serveContent(w, request, digest)
	} else if _, digest, ok := strings.Cut(resource, "/blobs/"); ok {
		serveContent(w, request, digest)
	}
}

// pull notes that an image is asked for, and returns its digest; "" if there is none.
func (r *registry) pull(ctx context.Context, image string) string {
	r.mu.Lock()
	r.pulled[image] = true
	r.mu.Unlock()
	listing, err := ctr(ctx, "images", "list", "name=="+r.names[image])
	_, row, found := strings.Cut(listing, "\n") // after the names of the columns: reference, type, digest
	if columns := strings.Fields(row); err == nil && found && len(columns) > 2 {
		return columns[2]
	}
	return ""
}

// images are those that were asked for with the password.
func (r *registry) images() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.pulled {
		names = append(names, name)
	}
	return names
}

func serveContent(w http.ResponseWriter, request *http.Request, digest string) {
	content, err := ctr(request.Context(), "content", "get", digest)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	var manifest struct{ MediaType string }
	_ = json.Unmarshal([]byte(content), &manifest) // a layer is not JSON
	w.Header().Set("Content-Type", cmp.Or(manifest.MediaType, manifestType))
	w.Header().Set("Docker-Content-Digest", digest)
	if request.Method != http.MethodHead {
		_, _ = io.WriteString(w, content) // the client is told by the length
	}
}

// ctr runs containerd's command line client in the namespace of Kubernetes.
func ctr(ctx context.Context, args ...string) (string, error) {
	return command(ctx, "ctr", "", append([]string{"--address", containerdSocket, "--namespace", "k8s.io"}, args...)...)
}
