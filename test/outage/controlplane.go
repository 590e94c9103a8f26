package outage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/test/floor"
)

// apiServerAway stops the API server for longer than the Lease and every deadline in it, has a node connect meanwhile, and
// revokes a certificate as the first thing when it is back.
func apiServerAway(during time.Duration) func(s *Stage) {
	return func(s *Stage) { s.apiServerAway(during) }
}

func (s *Stage) apiServerAway(during time.Duration) {
	s.Helper()
	began, end := s.measure()
	s.StopAPIServer()
	stopped := time.Now()
	wait(during - 3*time.Second)
	connects := time.Now()
	newcomer := s.fleet.run(late+"/n0", s.flags(late)...)
	wait(3 * time.Second)

	started := make(chan error, 1)
	go func() { started <- s.StartAPIServer() }()
	until(s, "the API server back, and a certificate revoked", func() bool { return s.revoke(doomed) == nil })
	back := time.Now()
	s.must(<-started)
	until(s, "the session of the revoked certificate ended", func() bool { return !s.doomed.hasSession() })
	end(back, time.Time{})

	s.note("away for %s", short(back.Sub(stopped)))
	s.nobodyNotices(began)
	took := newcomer.inSessionAfter(connects)
	s.note("a new node in after %s", short(took))
	s.expect(took != never && took < back.Sub(connects), "a node that connected while the API server was away was let in after %s; it came back after %s",
		short(took), short(back.Sub(connects)))
	s.expectRevoked(began, back)
}

// revokedUnseen cuts both masters from the API server, and revokes a certificate that they hear of only when they reach it again.
func revokedUnseen(s *Stage) {
	began, end := s.measure()
	for _, m := range s.masters {
		m.API.cut()
	}
	wait(leaseIsOver)
	s.must(s.revoke(doomed))
	wait(3 * time.Second)
	back := time.Now()
	for _, m := range s.masters {
		m.API.mend()
	}
	until(s, "the session of the revoked certificate ended", func() bool { return !s.doomed.hasSession() })
	end(back, time.Time{})

	s.nobodyNotices(began)
	s.expectRevoked(began, back)
}

// leaseIsOver is after how long without the API server no Lease of a master holds any more.
const leaseIsOver = 18 * time.Second

// revocation is within what time the session of a certificate that is revoked ends, by the documentation.
const revocation = 2 * time.Second

// revoke takes the certificates of a Refinery off its list.
func (s *Stage) revoke(refinery string) error {
	ctx, cancel := context.WithTimeout(s.Context(), 2*time.Second)
	defer cancel()
	r := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: refinery}}
	return s.API.Status().Patch(ctx, r, client.RawPatch(types.MergePatchType, []byte(`{"status":{"certificates":null}}`)))
}

// expectRevoked expects that the session of the doomed node went on from one time until its certificate was revoked, and for
// little longer.
func (s *Stage) expectRevoked(since, revoked time.Time) {
	s.Helper()
	least, err := floor.Slowest(s.Context(), s.API, s.namespace, 5)
	s.must(err)
	limit := revocation + floor.MaxTimes*least
	took := s.doomed.sessionEndedAfter(since) - revoked.Sub(since)
	s.note("a revocation took %s", short(took))
	s.expect(took >= 0, "the session whose certificate was to be revoked had ended %s before that", short(-took))
	s.expect(took <= limit, "the session of a revoked certificate went on for %s; right are %s, and %d times the %s of a write and its watch",
		short(took), short(revocation), floor.MaxTimes, short(least))
}

// apiServerRestarts has it away five times, for as long as it takes to start, with a few seconds between.
func apiServerRestarts(s *Stage) {
	began, end := s.measure()
	for range 5 {
		s.StopAPIServer()
		s.must(s.StartAPIServer())
		wait(4 * time.Second)
	}
	over := time.Now()
	end(over, time.Time{})
	s.note("in %s", short(over.Sub(began)))
	s.nobodyNotices(began)
}

// etcdStopped leaves an API server that answers and cannot read or write.
func etcdStopped(s *Stage) {
	began, end := s.measure()
	s.must(s.StopEtcd())
	wait(20 * time.Second)
	s.must(s.StartEtcd())
	end(time.Now(), time.Time{})
	s.nobodyNotices(began)
}

// etcdRestored takes a snapshot of etcd, lets a node connect, writes much else, and restores the snapshot: resource versions go
// back, and what was written since is lost.
func etcdRestored(s *Stage) {
	began, end := s.measure()
	snapshot := filepath.Join(s.directory, "snapshot")
	s.interrupt(func() error { return os.CopyFS(snapshot, os.DirFS(s.etcdData)) })
	s.fleet.join(late+"/n0", s.flags(late)...)
	other := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "other"}}
	s.must(s.API.Create(s.Context(), other))
	for i := range 2000 { // resource versions must not catch up by what a start writes
		other.Data = map[string]string{"i": strconv.Itoa(i)}
		s.must(s.API.Update(s.Context(), other))
	}
	s.interrupt(func() error { return errors.Join(os.RemoveAll(s.etcdData), os.CopyFS(s.etcdData, os.DirFS(snapshot))) })
	restored := time.Now()
	s.expect(apierrors.IsNotFound(s.API.Get(s.Context(), client.ObjectKeyFromObject(other), other)), "what was written after the snapshot is there")
	end(restored, time.Time{})
	s.nobodyNotices(began)
}

// interrupt stops the control plane, does something, and starts it again.
func (s *Stage) interrupt(meanwhile func() error) {
	s.Helper()
	s.StopAPIServer()
	s.must(s.StopEtcd())
	s.must(meanwhile())
	s.must(s.StartEtcd())
	s.must(s.StartAPIServer())
}
