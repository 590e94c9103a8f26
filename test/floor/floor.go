// Package floor measures what a revocation takes at the least, on the machine and the API server of the same run: one
// write, one watch that delivers it, and one socket that is closed for it. How soon the product ends a session is compared
// with that, so that a test says the same on every machine.
package floor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// MaxTimes is how many times as long as the floor a revocation may take. It has two writes and two watches, checks of
// certificates, and whatever else operator and master are doing. Measured were 2 to 4 times, at the median and at the 99th
// percentile, on a machine with twenty times as much to do as it has processors. The rest is room for one with nothing else
// to do, where the floor is a few milliseconds and a pause of either side's shows.
const MaxTimes = 50

// patience is after how long a measurement gives up.
const patience = time.Minute

// Slowest is the longest of so many measurements, one after the other.
func Slowest(ctx context.Context, api client.WithWatch, namespace string, measurements int) (time.Duration, error) {
	var all []time.Duration
	for range measurements {
		took, err := Measure(ctx, api, namespace)
		if err != nil {
			return 0, err
		}
		all = append(all, took)
	}
	return slices.Max(all), nil
}

// Measure returns how long it takes from a write to an object in a namespace until the other end of a connection on
// loopback reads that it was closed, by who watches that object and does nothing else.
func Measure(ctx context.Context, api client.WithWatch, namespace string) (time.Duration, error) {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "floor-", Namespace: namespace}}
	if err := api.Create(ctx, object); err != nil {
		return 0, err
	}
	defer func() { _ = api.Delete(ctx, object) }()
	watcher, err := api.Watch(ctx, &corev1.ConfigMapList{}, &client.ListOptions{Namespace: namespace,
		Raw: &metav1.ListOptions{FieldSelector: "metadata.name=" + object.Name, ResourceVersion: object.ResourceVersion}})
	if err != nil {
		return 0, err
	}
	defer watcher.Stop()
	near, far, err := connection(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = near.Close() }()
	go func() {
		defer func() { _ = far.Close() }()
		for e := range watcher.ResultChan() {
			if e.Type == watch.Modified {
				return
			}
		}
	}()
	_ = near.SetReadDeadline(time.Now().Add(patience))
	began := time.Now()
	object.Data = map[string]string{"trusted": "no"}
	if err := api.Update(ctx, object); err != nil {
		return 0, err
	}
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("the connection ended by %w", err)
	}
	return time.Since(began), nil
}

// connection is both ends of one on loopback.
func connection(ctx context.Context) (near, far net.Conn, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = listener.Close() }()
	if near, err = new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String()); err != nil {
		return nil, nil, err
	}
	if far, err = listener.Accept(); err != nil {
		_ = near.Close()
	}
	return near, far, err
}
