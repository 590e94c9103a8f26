package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// agentBinary is the node agent, built once for the suite unless REFINERY_BINARY names one.
var agentBinary = sync.OnceValues(func() (string, error) {
	if given := os.Getenv("REFINERY_BINARY"); given != "" {
		return filepath.Abs(given)
	}
	binary := filepath.Join(suiteFolder, "refinery")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "./cmd/refinery")
	build.Dir = path()
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the agent: %w: %s", err, out)
	}
	return binary, nil
})

// agent is a node agent that runs outside of any pod, as a process of this machine.
type agent struct {
	id     string
	folder string
	host   string
	cmd    *exec.Cmd
	done   chan struct{}
}

// agentHosts hands out loopback addresses, one an agent, so that all of them can use the same ports.
var agentHosts struct {
	sync.Mutex
	next int
}

func nextAgentHost() string {
	agentHosts.Lock()
	defer agentHosts.Unlock()
	agentHosts.next++
	return fmt.Sprintf("127.%d.%d.%d", 80+GinkgoParallelProcess(), agentHosts.next/250, agentHosts.next%250+1)
}

// startAgent runs the agent with the files of the node's Secret. It is stopped when the spec ends, and its
// log is shown if the spec fails.
func startAgent(m *v1alpha1.ClusterMaster, address, id string, certificate *corev1.Secret) *agent {
	GinkgoHelper()
	binary, err := agentBinary()
	Expect(err).NotTo(HaveOccurred())
	return startAgentOf(binary, m, address, id, certificate)
}

// startAgentOf is startAgent with an agent of another build.
func startAgentOf(binary string, m *v1alpha1.ClusterMaster, address, id string, certificate *corev1.Secret) *agent {
	GinkgoHelper()
	a := &agent{id: id, folder: GinkgoT().TempDir(), host: nextAgentHost(), done: make(chan struct{})}
	for name, content := range certificate.Data {
		Expect(os.WriteFile(filepath.Join(a.folder, name), content, 0o600)).To(Succeed())
	}
	log, err := os.Create(a.log())
	Expect(err).NotTo(HaveOccurred())
	a.cmd = exec.Command(binary,
		"--address="+address,
		"--server-name="+serverName(m),
		"--transport=MutualTLS",
		"--id="+id,
		"--type=refinery",
		"--certificate-dir="+a.folder,
		fmt.Sprintf("--alive-interval=%ds", m.Spec.Protocol.AliveIntervalSeconds),
		fmt.Sprintf("--alive-timeout=%ds", m.Spec.Protocol.AliveTimeoutSeconds),
		"--upstream-file="+a.upstreamFile(),
		"--http-address="+a.host+":8081",
		"--health-address="+a.host+":8082",
	)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	Expect(a.cmd.Start()).To(Succeed())
	go func() {
		defer close(a.done)
		_ = a.cmd.Wait()
		_ = log.Close()
	}()
	DeferOnFailure(a.showLog)
	DeferCleanup(a.stop)
	return a
}

func (a *agent) log() string          { return filepath.Join(a.folder, "log") }
func (a *agent) upstreamFile() string { return filepath.Join(a.folder, "upstream.json") }

// stop ends the agent as the kubelet would. A frozen one is let go first.
func (a *agent) stop(ctx context.Context) {
	_ = a.cmd.Process.Signal(syscall.SIGCONT)
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-a.done:
	case <-ctx.Done():
		_ = a.cmd.Process.Kill()
		<-a.done
	}
}

func (a *agent) signal(s syscall.Signal) {
	GinkgoHelper()
	Expect(a.cmd.Process.Signal(s)).To(Succeed())
}

// showLog prints the end of the log: little of it while all is well, for a fleet has many.
func (a *agent) showLog(ctx context.Context) {
	text, err := os.ReadFile(a.log())
	if err != nil {
		return
	}
	most := 4096
	if status, _, err := a.get(ctx, 8082, "/readyz"); err == nil && status == http.StatusOK {
		most = 512
	}
	if len(text) > most {
		text = text[len(text)-most:]
	}
	GinkgoWriter.Printf("\nagent %s:\n%s\n", a.id, text)
}

// published is what upstream.json tells the workload.
type published struct {
	Upstream string `json:"upstream"`
}

// upstream reads upstream.json, for Eventually.
func (a *agent) upstream() (string, error) {
	text, err := os.ReadFile(a.upstreamFile())
	if err != nil {
		return "", err
	}
	var p published
	if err := json.Unmarshal(text, &p); err != nil {
		return "", err
	}
	return p.Upstream, nil
}

// get answers a request to one of the agent's HTTP ports with status and body.
func (a *agent) get(ctx context.Context, port int, resource string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d%s", a.host, port, resource), nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, string(body), err
}

// metricOf is the value of a metric without labels, of the agent whose metrics are at an address.
func metricOf(ctx context.Context, host string, port int, name string) (string, error) {
	_, metrics, err := (&agent{host: host}).get(ctx, port, "/metrics")
	if err != nil {
		return "", err
	}
	_, value, found := strings.Cut(metrics, "\n"+name+" ")
	if !found {
		return "", fmt.Errorf("%s is not among these: %s", name, metrics)
	}
	value, _, _ = strings.Cut(value, "\n")
	return value, nil
}
