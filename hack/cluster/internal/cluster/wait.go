package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/assets"
	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/progress"
)

// poll asks until the condition holds, an error ends it, or ctx does.
func poll(ctx context.Context, interval time.Duration, what string, condition func() (bool, error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		done, err := condition()
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w", what, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

func requireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("the local cluster needs root: it creates namespaces, mounts and a network bridge (try sudo)")
	}
	return nil
}

// lock keeps a second `up` or `down` waiting. The file lies in the cache, since Root goes away.
func lock(ctx context.Context, w *progress.Writer) (func(), error) {
	cache, err := assets.CacheDir()
	if err != nil {
		return nil, err
	}
	return assets.Lock(ctx, filepath.Join(cache, "cluster.lock"), w, "another `up` or `down`")
}
