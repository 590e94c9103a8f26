package kubectl

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// maxManifestBytes bounds a file: the largest object that an API server takes is smaller.
const maxManifestBytes = 4 << 20

// manifests are what files hold.
type manifests struct {
	master  *v1alpha1.ClusterMaster
	secrets map[string]*corev1.Secret
}

// readManifests reads files of YAML or JSON; - is stdin.
func readManifests(paths []string, stdin io.Reader) (m manifests, err error) {
	m.secrets = map[string]*corev1.Secret{}
	for _, path := range paths {
		if err := m.readFile(path, stdin); err != nil {
			return m, fmt.Errorf("%s: %w", path, err)
		}
	}
	return m, nil
}

func (m *manifests) readFile(path string, stdin io.Reader) error {
	source := stdin
	if path != "-" {
		f, err := os.Open(path) //nolint:gosec // the person who types the command names the file
		if err != nil {
			return errors.Unwrap(err)
		}
		defer func() { _ = f.Close() }()
		source = f
	}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bufio.NewReader(io.LimitReader(source, maxManifestBytes)), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("no manifest: %w", err)
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := m.take(object); err != nil {
			return err
		}
	}
}

// take converts strictly: a field that is misspelt would be no change.
func (m *manifests) take(object *unstructured.Unstructured) error {
	convert := func(into any) error {
		return runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true)
	}
	switch object.GroupVersionKind() {
	case v1alpha1.GroupVersion.WithKind("ClusterMaster"):
		m.master = &v1alpha1.ClusterMaster{}
		return convert(m.master)
	case corev1.SchemeGroupVersion.WithKind("Secret"):
		secret := &corev1.Secret{}
		if err := convert(secret); err != nil {
			return err
		}
		for key, value := range secret.StringData {
			if secret.Data == nil {
				secret.Data = map[string][]byte{}
			}
			secret.Data[key] = []byte(value)
		}
		m.secrets[secret.Name] = secret
		return nil
	default:
		return fmt.Errorf("holds a %s (%s); a preview takes a ClusterMaster and its Secrets", object.GetKind(), object.GetAPIVersion())
	}
}
