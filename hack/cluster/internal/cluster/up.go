package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/assets"
	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/progress"
)

// startTimeout bounds the start of the cluster once everything is installed and built.
const startTimeout = 2 * time.Minute

// Up starts the cluster, unless it runs. Whatever a crashed one left is removed first.
func Up(ctx context.Context, w *progress.Writer) error {
	if err := requireRoot(); err != nil {
		return err
	}
	unlock, err := lock(ctx, w)
	if err != nil {
		return err
	}
	defer unlock()
	if healthy(ctx) {
		w.Printf("the cluster runs already: export KUBECONFIG=%s", KubeconfigPath())
		return nil
	}
	if err := installPackages(ctx, w); err != nil {
		return err
	}
	a, err := assets.Ensure(ctx, w)
	if err != nil {
		return err
	}
	begin := time.Now()
	err = w.Step("remove what an earlier cluster left", func() error {
		removed, err := clean(ctx)
		if len(removed) > 0 {
			w.Printf("removed what an earlier cluster left: %s", strings.Join(removed, ", "))
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := start(ctx, w, a); err != nil {
		return fmt.Errorf("%w\nlogs are in %s; `make cluster-down` cleans up", err, under("logs"))
	}
	w.Printf("Kubernetes %s is ready (%.1f s): export KUBECONFIG=%s", a.Version, time.Since(begin).Seconds(), KubeconfigPath())
	return nil
}

// start brings the cluster up on a clean machine and waits until it is ready for work.
func start(ctx context.Context, w *progress.Writer, a assets.Assets) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("it took longer than %s", startTimeout))
	defer cancel()
	// A component that ends takes the wait for its neighbours with it.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	if err := prepareMachine(ctx, a); err != nil {
		return err
	}
	all := components(a)
	launch := func(names ...string) error {
		for _, name := range names {
			c := all[name]
			ended, err := c.start()
			if err != nil {
				return err
			}
			go func() {
				<-ended
				fail(fmt.Errorf("%s ended; %s", c.name, c.lastWords()))
			}()
		}
		return nil
	}

	if err := launch(containerd, etcd, apiServer); err != nil {
		return err
	}
	images := make(chan error, 1)
	go func() { images <- prepareContainerd(ctx, a) }()
	k := kubectl{path: a.Path("kubectl"), kubeconfig: under("config", "admin.kubeconfig")}
	if err := w.Step("start the API server", func() error { return k.awaitReady(ctx) }); err != nil {
		return err
	}
	if err := w.Step("load the cluster's own images", func() error { return <-images }); err != nil {
		return err
	}
	if err := launch(controllerManager, scheduler, kubelet, kubeProxy); err != nil {
		return err
	}
	if err := w.Step("start the node and its DNS", func() error { return startNode(ctx, k, a) }); err != nil {
		return err
	}
	return writeKubeconfig(KubeconfigPath(), "admin")
}

// prepareMachine writes the configuration, then changes the machine.
func prepareMachine(ctx context.Context, a assets.Assets) error {
	if err := writeConfiguration(a); err != nil {
		return err
	}
	if err := saveSysctls(); err != nil {
		return err
	}
	if err := createCgroups(); err != nil {
		return err
	}
	return createNetwork(ctx)
}

func prepareContainerd(ctx context.Context, a assets.Assets) error {
	err := poll(ctx, 50*time.Millisecond, "containerd", func() (bool, error) { return ctr(ctx, "version").Run() == nil, nil })
	if err != nil {
		return err
	}
	return loadOwnImages(ctx, a)
}

// startNode waits for the node, for DNS, and for what a first pod in the default namespace needs.
func startNode(ctx context.Context, k kubectl, a assets.Assets) error {
	manifest, err := render("coredns.yaml", parameters(a))
	if err != nil {
		return err
	}
	if err := k.apply(ctx, manifest); err != nil {
		return err
	}
	for _, condition := range [][]string{
		{"--for=create", "node/" + NodeName},
		{"--for=condition=Ready", "node/" + NodeName},
		{"--for=condition=Available", "--namespace=kube-system", "deployment/coredns"},
		{"--for=create", "--namespace=default", "serviceaccount/default"},
	} {
		if err := k.run(ctx, append([]string{"wait", "--timeout=" + startTimeout.String()}, condition...)...); err != nil {
			return err
		}
	}
	return nil
}

// healthy says whether every component runs and the API server is ready.
func healthy(ctx context.Context) bool {
	if !fileExists(KubeconfigPath()) || len(absentComponents()) > 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a, err := located()
	if err != nil {
		return false
	}
	k := kubectl{path: a.Path("kubectl"), kubeconfig: KubeconfigPath()}
	return k.ready(ctx)
}

// absentComponents names those of which no process runs.
func absentComponents() []string {
	processes, err := running("/proc", Root)
	if err != nil {
		return componentNames
	}
	return slices.DeleteFunc(slices.Clone(componentNames), func(name string) bool {
		_, ok := findComponent(processes, name)
		return ok
	})
}

// located returns where the binaries of this checkout belong. It does not build them.
func located() (assets.Assets, error) {
	checkout, err := assets.Checkout()
	if err != nil {
		return assets.Assets{}, err
	}
	cache, err := assets.CacheDir()
	if err != nil {
		return assets.Assets{}, err
	}
	return assets.Locate(checkout, cache)
}

// errNoCluster is what every command says that needs a cluster.
var errNoCluster = errors.New("there is no local cluster: start one with `make cluster-up`")

// Kubeconfig is the path of the administrator's kubeconfig. The file alone proves nothing: it outlives a crash and a reboot.
func Kubeconfig() (string, error) {
	if !fileExists(KubeconfigPath()) || slices.Contains(absentComponents(), apiServer) {
		return "", errNoCluster
	}
	return KubeconfigPath(), nil
}
