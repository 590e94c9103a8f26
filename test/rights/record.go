// Package rights compares the rights that roles grant to the operator and to masters with those that are used, as the audit logs of
// the API servers of suites show them.
package rights

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Used names the environment variable with the folder into which each suite writes what it saw used. Without it nothing is recorded.
const Used = "RIGHTS_USED"

// By these user agents the audit log shows who asked. The programs have them; a suite that runs a part of one in its own process
// has to set them.
const (
	OperatorAgent = "refinery-operator/"
	MasterAgent   = "refinery-master/"
)

// Program is one whose rights are looked at.
type Program string

// The programs that have rights.
const (
	Operator Program = "operator"
	Master   Program = "master"
)

// Request is one that an API server allowed to a program. Resource is "deployments" or "refineries/status".
type Request struct {
	Program                     Program
	Group, Resource, Verb, Name string
}

// auditPolicy has an API server write down who did what, and nothing of what is in it.
const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}`

// Recorder keeps the audit logs of the API servers of a suite.
type Recorder struct {
	Suite string
	// Apart is what -test.run selects in one process and -test.skip in another, where a suite is run in two side by side. They record
	// as suites of their own: "<suite>-apart" and "<suite>-rest".
	Apart string

	mu       sync.Mutex
	folder   string // of the logs, while something is recorded
	recorded string // the suite as which this process records; "" where it runs a part of one
	servers  int
}

// Watch has an API server that is about to start keep an audit log, if somebody wants to know. What an earlier run of the suite
// wrote is removed, so that a run that fails leaves nothing that looks like its own.
func (r *Recorder) Watch(server *envtest.Environment) error {
	into := os.Getenv(Used)
	if into == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.folder == "" {
		if !flag.Parsed() {
			flag.Parse() // TestMain comes before
		}
		r.recorded = r.part(flag.CommandLine)
		if err := os.RemoveAll(file(into, r.recorded)); err != nil {
			return err
		}
		if err := os.MkdirAll(into, 0o750); err != nil {
			return err
		}
		folder, err := os.MkdirTemp(into, "audit-")
		if err != nil {
			return err
		}
		r.folder = folder
	}
	policy := filepath.Join(r.folder, "policy.yaml")
	r.servers++
	server.ControlPlane.GetAPIServer().Configure().
		Set("audit-policy-file", policy).
		Set("audit-log-path", filepath.Join(r.folder, strconv.Itoa(r.servers)+".log")).
		Set("audit-log-mode", "blocking")
	return os.WriteFile(policy, []byte(auditPolicy), 0o600)
}

// End writes what was used, after the API servers have ended. It takes the exit code of the suite and returns that to exit with: of a
// suite that failed, or ran in part, nothing is written.
func (r *Recorder) End(code int) int {
	if r.folder == "" {
		return code
	}
	defer func() { _ = os.RemoveAll(r.folder) }() // what a run that was killed leaves is removed with the records
	if code != 0 || r.recorded == "" {
		return code
	}
	if err := r.save(os.Getenv(Used)); err != nil {
		fmt.Fprintln(os.Stderr, "rights that were used:", err)
		return 1
	}
	return 0
}

// leavesOut matches the flags of test binaries, Ginkgo's among them, that leave tests out.
var leavesOut = regexp.MustCompile(`^test\.(run|skip|short)$|^ginkgo\..*(focus|skip|filter)`)

// part is the suite that a process with these flags records; "" where they leave tests out.
func (r *Recorder) part(flags *flag.FlagSet) string {
	var set []string
	flags.Visit(func(f *flag.Flag) {
		if value := f.Value.String(); leavesOut.MatchString(f.Name) && value != "" {
			set = append(set, f.Name+"="+value)
		}
	})
	switch {
	case len(set) == 0:
		return r.Suite
	case r.Apart != "" && slices.Equal(set, []string{"test.run=" + r.Apart}):
		return r.Suite + "-apart"
	case r.Apart != "" && slices.Equal(set, []string{"test.skip=" + r.Apart}):
		return r.Suite + "-rest"
	}
	return ""
}

func (r *Recorder) save(into string) error {
	logs, err := filepath.Glob(filepath.Join(r.folder, "*.log")) // a server begins another file when one is full
	if err != nil {
		return err
	}
	used := map[Request]bool{}
	for _, name := range logs {
		if err := readFile(name, used); err != nil {
			return err
		}
	}
	raw, err := json.MarshalIndent(sorted(used), "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	return os.WriteFile(file(into, r.recorded), raw, 0o600)
}

func file(folder, suite string) string { return filepath.Join(folder, suite+".json") }

func readFile(name string, used map[Request]bool) error {
	log, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // only read
	if err := read(log, used); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return nil
}

// event is what is of interest in a line of an audit log.
type event struct {
	Verb           string
	UserAgent      string
	ObjectRef      *struct{ APIGroup, Resource, Subresource, Name string }
	ResponseStatus *struct{ Code int }
	Annotations    map[string]string
}

// read adds what the programs were allowed to do.
func read(log io.Reader, used map[Request]bool) error {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return err
		}
		program := programOf(e.UserAgent)
		if program == "" || e.ObjectRef == nil || e.Annotations["authorization.k8s.io/decision"] != "allow" {
			continue
		}
		resource := strings.TrimSuffix(e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/")
		request := Request{Program: program, Group: e.ObjectRef.APIGroup, Resource: resource, Verb: e.Verb, Name: e.ObjectRef.Name}
		used[request] = true
		if e.Verb == "patch" && e.ResponseStatus != nil && e.ResponseStatus.Code == 201 {
			request.Verb = "create" // which an apply needs too, if there is no such object
			used[request] = true
		}
	}
	return lines.Err()
}

func programOf(agent string) Program {
	switch {
	case strings.HasPrefix(agent, OperatorAgent):
		return Operator
	case strings.HasPrefix(agent, MasterAgent):
		return Master
	}
	return ""
}

func sorted(used map[Request]bool) []Request {
	requests := make([]Request, 0, len(used))
	for request := range used {
		requests = append(requests, request)
	}
	slices.SortFunc(requests, func(a, b Request) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return requests
}
