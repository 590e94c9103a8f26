package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
	validator "github.com/operator-framework/api/pkg/validation/interfaces"
)

// bundleValidators are all that need nothing but the bundle: the one for architectures would pull its images.
var bundleValidators = validator.Validators{
	validation.ClusterServiceVersionValidator, validation.CustomResourceDefinitionValidator, validation.BundleValidator,
	validation.OperatorHubV2Validator, validation.StandardCategoriesValidator, validation.StandardCapabilitiesValidator,
	validation.ObjectValidator, validation.GoodPracticesValidator,
}

func seeBundle(t *testing.T, files map[string][]byte) {
	dir := t.TempDir()
	for name, content := range untar(t, files["olm-bundle_"+version+".tar.gz"]) {
		write(t, dir, name, string(content))
	}
	bundle, err := manifests.GetBundleFromDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	csv, err := os.ReadFile(filepath.Join(dir, "manifests", "refinery-operator.clusterserviceversion.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range bundleValidators.Validate(bundle.ObjectsToValidate()...) {
		for _, said := range result.Errors {
			t.Error(said)
		}
		for _, said := range result.Warnings {
			t.Log(said)
		}
	}
	for _, name := range imageName.FindAll(csv, -1) {
		if want := "example.com/plant/"; string(name[:len(want)]) != want {
			t.Errorf("the bundle names image %s", name)
		}
	}
}
