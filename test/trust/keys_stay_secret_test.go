package trust

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
	"github.com/refinery-operator/refinery-operator/test/loopback"
	"github.com/refinery-operator/refinery-operator/test/programs"
)

// keeper remembers every secret value that any Secret of a namespace ever held.
type keeper struct {
	mu     sync.Mutex
	values map[string]string // value → where it was first seen
}

// keep follows the Secrets of a namespace until the test ends.
func keep(p *plant) *keeper {
	p.Helper()
	k := &keeper{values: map[string]string{}}
	ctx, cancel := context.WithCancel(p.Context())
	w, err := api.Watch(ctx, &corev1.SecretList{}, client.InNamespace(p.namespace))
	p.must(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range w.ResultChan() {
			if secret, ok := event.Object.(*corev1.Secret); ok {
				k.take(secret)
			}
		}
	}()
	p.Cleanup(func() { cancel(); w.Stop(); <-done })
	return k
}

func (k *keeper) take(secret *corev1.Secret) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, value := range secret.Data {
		if (strings.HasSuffix(name, ".key") || name == v1alpha1.SharedCertificateKey || bytes.Contains(value, []byte("PRIVATE KEY"))) && len(value) > 0 {
			if _, known := k.values[string(value)]; !known {
				k.values[string(value)] = secret.Name + "/" + name
			}
		}
	}
}

// needles are all forms in which a secret value may be written, and where it comes from.
func (k *keeper) needles() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	needles := map[string]string{}
	for value, where := range k.values {
		for form := range forms([]byte(value)) {
			needles[form] = where
		}
	}
	return needles
}

// forms are a value as text, as JSON and base64 hide it, and, of a key, its number in the usual writings.
func forms(value []byte) map[string]bool {
	found := map[string]bool{}
	add := func(form string) {
		if len(form) >= 16 {
			found[form] = true
		}
	}
	for line := range strings.Lines(string(value)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") {
			add(line)
		}
	}
	encoded := func(raw []byte) {
		for shift := range min(3, len(raw)) { // base64 of something around it begins at any of three places
			cut := raw[shift : len(raw)-(len(raw)-shift)%3]
			add(base64.StdEncoding.EncodeToString(cut))
			add(base64.URLEncoding.EncodeToString(cut))
		}
		add(hex.EncodeToString(raw))
		add(strings.ToUpper(hex.EncodeToString(raw)))
		add(fmt.Sprintf("%d", raw)) // as a careless %v prints bytes
	}
	encoded(bytes.TrimSpace(value))
	block, _ := pem.Decode(value)
	if block == nil {
		return found
	}
	encoded(block.Bytes)
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if key, ok := key.(*ecdsa.PrivateKey); ok {
			raw, err := key.Bytes()
			if err == nil {
				encoded(raw)
				add(string(raw))
				add(fmt.Sprint(key.D)) //nolint:staticcheck // the number itself, as a careless %v would print it
			}
		}
	}
	return found
}

// search returns which needles a text holds, by where they come from.
func search(needles map[string]string, text []byte) []string {
	found := map[string]bool{}
	for form, where := range needles {
		if bytes.Contains(text, []byte(form)) {
			found[where] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// scenario lets keys be made, provided, spoiled, replaced, used and refused.
func (p *plant) scenario(k *keeper) {
	p.Helper()
	p.createMaster("alpha", v1alpha1.ClusterMasterSpec{Certificates: &v1alpha1.CertificatesSpec{Overlap: "0s"}})
	p.createMaster("open", v1alpha1.ClusterMasterSpec{Security: v1alpha1.SecuritySpec{
		Transport: v1alpha1.TransportServerTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}})
	authority := p.authority("alpha")
	p.must(api.Create(p.Context(), p.refinery("press", "alpha")))
	p.must(api.Create(p.Context(), p.refinery("bare", "open")))

	// What a person provides: good, with the key of another, a key where the certificate should be, garbage, a key too long.
	good, err := authority.IssueClient("mill", v1alpha1.RefineryIdentity("alpha", p.namespace, "mill"), time.Now())
	p.must(err)
	other, err := authority.IssueClient("mill", v1alpha1.RefineryIdentity("alpha", p.namespace, "mill"), time.Now())
	p.must(err)
	const garbage = "no-pem-and-yet-as-secret-as-any-key-can-be"
	for name, pair := range map[string]pki.PEMPair{
		"mill":       good,
		"mismatched": {Certificate: good.Certificate, Key: other.Key},
		"swapped":    {Certificate: other.Key, Key: other.Certificate},
		"garbage":    {Certificate: good.Certificate, Key: []byte(garbage)},
		"long":       {Certificate: good.Certificate, Key: append(bytes.Repeat([]byte("\n"), secretfiles.MaxBytes), other.Key...)},
	} {
		p.must(api.Create(p.Context(), p.tlsSecret(name+"-own", pair)))
		r := p.refinery(name, "alpha")
		r.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: name + "-own"}
		p.must(api.Create(p.Context(), r))
	}
	provided, err := pki.NewAuthority("provided", v1alpha1.DefaultCADuration, time.Now())
	p.must(err)
	p.must(api.Create(p.Context(), p.tlsSecret("plant-ca", provided)))
	p.createMaster("beta", v1alpha1.ClusterMasterSpec{Certificates: &v1alpha1.CertificatesSpec{
		Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}})
	p.must(api.Create(p.Context(), p.refinery("lathe", "beta")))

	shared := "--shared-certificate-file=" + filepath.Join(p.mount("open-shared"), v1alpha1.SharedCertificateKey)
	alpha, open, beta := p.master("alpha"), p.master("open", shared), p.master("beta")
	p.node("press", alpha)
	p.node("lathe", beta)
	p.node("mill", alpha, p.mountAs("mill", "mill-own", "press-tls"))
	p.node("mismatched", alpha, p.mountAs("mismatched", "mill-own", "press-tls")) // another's certificate
	p.node("bare", open, p.mountAs("bare", "open-tls", "open-tls"), "--transport=ServerTLS", shared)
	for _, name := range []string{"press", "mill", "lathe", "bare"} {
		p.conditionIs(name, v1alpha1.ConditionAuthenticated, metav1.ConditionTrue)
	}
	for _, name := range []string{"mismatched", "swapped", "garbage", "long"} {
		p.conditionIs(name, v1alpha1.ConditionCertificateReady, metav1.ConditionFalse)
	}
	p.must(api.Update(p.Context(), p.tlsSecret("mill-own", other))) // revoked: the node is refused from now on
	p.listed("mill", other)
	p.conditionIs("mill", v1alpha1.ConditionAuthenticated, metav1.ConditionFalse)
	p.must(api.Delete(p.Context(), p.secret("press-tls"))) // issued anew
	was := len(k.needles())
	p.until("press-tls issued anew", func() bool { return len(k.needles()) > was })
	p.rotate("alpha")
}

// rotate asks for a new authority, and waits for its key.
func (p *plant) rotate(master string) {
	p.Helper()
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: master}}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"now"}}}`, v1alpha1.RotateCAAnnotation)
	before := len(p.secret(master + "-ca").Data)
	p.must(api.Patch(p.Context(), m, client.RawPatch("application/merge-patch+json", []byte(patch))))
	p.until("a second authority of "+master, func() bool { return len(p.secret(master+"-ca").Data) > before })
}

// mountAs makes the files of a node from a Secret, and the trust bundle from another.
func (p *plant) mountAs(node, secret, trust string) string {
	p.Helper()
	directory := filepath.Join(p.directory, "node-"+node)
	p.must(os.MkdirAll(directory, 0o700))
	for name, content := range p.secret(secret).Data {
		p.must(os.WriteFile(filepath.Join(directory, name), content, 0o600))
	}
	p.must(os.WriteFile(filepath.Join(directory, v1alpha1.AuthorityKey), p.secret(trust).Data[v1alpha1.AuthorityKey], 0o600))
	return "--certificate-dir=" + directory
}

// node runs the agent of a Refinery; its files are those of its own Secret unless more says otherwise.
func (p *plant) node(refinery, address string, more ...string) {
	p.Helper()
	if len(more) == 0 {
		more = []string{p.mountAs(refinery, refinery+"-tls", refinery+"-tls")}
	}
	health := loopback.Reserve(p.T)
	p.start(programs.Node, "node-"+refinery, health, append([]string{"--address=" + address, "--server-name=" + p.serverName(p.masterOf(refinery)), "--id=" + refinery + "/a",
		"--upstream-file=" + filepath.Join(p.directory, refinery+".json"), "--http-address=" + loopback.Reserve(p.T), "--health-address=" + health}, more...)...)
}

// written is everything that the run wrote, by where.
func (p *plant) written() map[string][]byte {
	p.Helper()
	all := map[string][]byte{}
	read := func(name, path string) {
		content, err := os.ReadFile(path) //nolint:gosec // of this test's own processes
		p.must(err)
		all[name] = content
	}
	for _, r := range p.processes {
		read(r.Name+": log", r.Log)
		read(r.Name+": argv", fmt.Sprintf("/proc/%d/cmdline", r.PID))
		read(r.Name+": environment", fmt.Sprintf("/proc/%d/environ", r.PID))
		all[r.Name+": metrics"] = p.scrape(r)
	}
	read("audit log", auditLog)
	upstreams, err := filepath.Glob(filepath.Join(p.directory, "*.json"))
	p.must(err)
	for _, path := range upstreams {
		read(filepath.Base(path), path)
	}
	for _, list := range []client.ObjectList{
		&v1alpha1.ClusterMasterList{}, &v1alpha1.RefineryList{}, &eventsv1.EventList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{},
		&corev1.ServiceAccountList{}, &appsv1.DeploymentList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{}, &coordinationv1.LeaseList{}, &policyv1.PodDisruptionBudgetList{},
	} {
		p.must(api.List(p.Context(), list, client.InNamespace(p.namespace)))
		content, err := json.Marshal(list)
		p.must(err)
		all[fmt.Sprintf("%T", list)] = content
	}
	return all
}

// scrape reads the metrics of a process: the operator's over HTTPS, as an account that may.
func (p *plant) scrape(r *running) []byte {
	p.Helper()
	url, token := "http://"+r.metrics+"/metrics", ""
	if r.Name == "operator" {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "scraper"}}
		p.must(api.Create(p.Context(), account))
		p.must(api.Create(p.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "scraper-" + p.namespace},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: p.namespace, Name: "scraper"}}}))
		request := &authenticationv1.TokenRequest{}
		p.must(api.SubResource("token").Create(p.Context(), account, request))
		url, token = "https://"+r.metrics+"/metrics", request.Status.Token
	}
	insecure := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // it serves a certificate of its own making
	var content []byte
	p.until("metrics of "+r.Name, func() bool {
		request, err := http.NewRequestWithContext(p.Context(), http.MethodGet, url, nil)
		p.must(err)
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := insecure.Do(request)
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		content, err = io.ReadAll(response.Body)
		return err == nil && response.StatusCode == http.StatusOK
	})
	return content
}

func TestNoKeyIsWrittenAnywhereButInItsSecret(t *testing.T) {
	p := newPlant(t)
	k := keep(p)
	p.scenario(k)
	needles := k.needles()

	// The search finds what is there: every key in its Secret, as YAML and JSON show it, and in the file it is mounted as.
	var secrets corev1.SecretList
	p.must(api.List(t.Context(), &secrets, client.InNamespace(p.namespace)))
	for i := range secrets.Items {
		content, err := json.Marshal(&secrets.Items[i])
		p.must(err)
		for _, where := range []string{"/tls.key", "/" + v1alpha1.SharedCertificateKey} {
			if key := strings.TrimPrefix(where, "/"); len(secrets.Items[i].Data[key]) > 0 && len(search(needles, content)) == 0 {
				t.Errorf("the search does not find %s%s in its own Secret", secrets.Items[i].Name, where)
			}
		}
	}
	if len(k.values) < 15 {
		t.Errorf("only %d keys were seen: %v", len(k.values), k.values)
	}

	all := p.written()
	for _, where := range slices.Sorted(maps.Keys(all)) {
		if len(all[where]) == 0 {
			t.Errorf("%s is empty: the test shows nothing", where)
		}
		for _, key := range search(needles, all[where]) {
			t.Errorf("%s holds %s", where, key)
		}
		if bytes.Contains(all[where], []byte("PRIVATE KEY")) && !strings.HasSuffix(where, "metrics") && !saysHowAKeyBegins(all[where]) {
			t.Errorf("%s holds a private key", where)
		}
		t.Logf("%-40s %8d bytes", where, len(all[where]))
	}
	for _, want := range []string{`"requestObject":{"apiVersion":"cluster.refinery.dev/v1alpha1"`, `"resource":"secrets"`} {
		if !bytes.Contains(all["audit log"], []byte(want)) {
			t.Errorf("the audit log does not hold %s: the test shows nothing", want)
		}
	}
	t.Logf("%d keys in %d forms", len(k.values), len(needles))
}

// saysHowAKeyBegins reports whether the words stand only where a condition says what a key has to look like.
func saysHowAKeyBegins(text []byte) bool {
	const words = "with a block that begins -----BEGIN PRIVATE KEY-----"
	return bytes.Count(text, []byte("PRIVATE KEY")) == bytes.Count(text, []byte(words))
}
