package master

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// ingest is a Service with a port 80, which its pods know as 8080.
func ingest(edit func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "ingest"}}
	s.Spec.Ports = []corev1.ServicePort{{Name: "data", Protocol: corev1.ProtocolTCP, Port: 80}, {Name: "control", Protocol: corev1.ProtocolTCP, Port: 81},
		{Name: "voice", Protocol: corev1.ProtocolUDP, Port: 82}}
	edit(s)
	return s
}

// behind is an EndpointSlice of a Service with one endpoint.
func behind(name, service string, ready *bool) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}}, AddressType: discoveryv1.AddressTypeIPv4,
		Ports:     []discoveryv1.EndpointPort{{Name: ptr.To("data"), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To[int32](8080)}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: ready}}},
	}
}

func TestAServiceIsOfUseWhileAnEndpointForItsPortIsReady(t *testing.T) {
	plain := ingest(func(*corev1.Service) {})
	headless := ingest(func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone })
	withoutPorts := behind("a", "ingest", ptr.To(true))
	withoutPorts.Ports = nil
	const none = "NoReadyEndpoint: Service ingest has no ready endpoint for port "
	for name, test := range map[string]struct {
		services []any
		slices   []any
		port     int32
		want     string
	}{
		"ready":                           {[]any{plain}, []any{behind("a", "ingest", ptr.To(true))}, 80, ""},
		"does not say whether it is":      {[]any{plain}, []any{behind("a", "ingest", nil)}, 80, ""},
		"not ready":                       {[]any{plain}, []any{behind("a", "ingest", ptr.To(false))}, 80, none + "80"},
		"one of two slices":               {[]any{plain}, []any{behind("a", "ingest", ptr.To(false)), behind("b", "ingest", ptr.To(true))}, 80, ""},
		"that of another Service":         {[]any{plain}, []any{behind("a", "other", ptr.To(true))}, 80, none + "80"},
		"no slice":                        {[]any{plain}, nil, 80, none + "80"},
		"for another port":                {[]any{plain}, []any{behind("a", "ingest", ptr.To(true))}, 81, none + "81"},
		"no such port":                    {[]any{plain}, []any{behind("a", "ingest", ptr.To(true))}, 8080, "ServiceNotFound: Service ingest has no TCP port 8080"},
		"a port of UDP":                   {[]any{plain}, []any{behind("a", "ingest", ptr.To(true))}, 82, "ServiceNotFound: Service ingest has no TCP port 82"},
		"no Service":                      {nil, []any{behind("a", "ingest", ptr.To(true))}, 80, "ServiceNotFound: Service ingest does not exist"},
		"headless, the port of the pods":  {[]any{headless}, []any{behind("a", "ingest", ptr.To(true))}, 8080, ""},
		"headless, that of the Service":   {[]any{headless}, []any{behind("a", "ingest", ptr.To(true))}, 80, none + "80"},
		"headless, without ports":         {[]any{headless}, []any{withoutPorts}, 9, ""},
		"another name of a host, no pods": {[]any{ingest(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName })}, nil, 9, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &services{changed: func() {}}
			at := v1alpha1.UpstreamService{Name: "ingest", Port: test.port}
			must(t, servicesOf(s).Replace(test.services, ""))
			if _, _, known := s.Missing(at); known {
				t.Error("known before EndpointSlices have been listed")
			}
			must(t, slicesOf(s).Replace(test.slices, ""))
			reason, message, known := s.Missing(at)
			if reason != "" {
				reason += ": "
			}
			if diff := cmp.Diff(test.want, reason+message); diff != "" || !known {
				t.Errorf("known %v (-want +got):\n%s", known, diff)
			}
		})
	}
}

func servicesOf(s *services) digestStore[service] {
	return digestStore[service]{s, &s.byName, digestService}
}

func slicesOf(s *services) digestStore[endpointSlice] {
	return digestStore[endpointSlice]{s, &s.slices, digestSlice}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEndpointsThatComeAndGoTellNobodyWhileOneIsReady(t *testing.T) {
	told := 0
	s := &services{changed: func() { told++ }}
	store := slicesOf(s)
	one, two := behind("a", "ingest", ptr.To(true)), behind("a", "ingest", ptr.To(true))
	two.Endpoints = append(two.Endpoints, one.Endpoints[0])
	for i, change := range []struct {
		what  string
		apply func() error
		tells bool
	}{
		{"listed", func() error { return store.Replace([]any{one}, "") }, true},
		{"one more endpoint", func() error { return store.Update(two) }, false},
		{"listed again", func() error { return store.Replace([]any{one}, "") }, false},
		{"none is ready", func() error { return store.Update(behind("a", "ingest", ptr.To(false))) }, true},
		{"added", func() error { return store.Add(behind("b", "ingest", ptr.To(true))) }, true},
		{"deleted", func() error { return store.Delete(one) }, true},
	} {
		before := told
		must(t, change.apply())
		if (told > before) != change.tells {
			t.Errorf("%d: %s: told %v, want %v", i, change.what, told > before, change.tells)
		}
	}
	if _, ok := s.slices["a"]; ok || len(s.slices) != 1 {
		t.Errorf("left: %v", s.slices)
	}
}
