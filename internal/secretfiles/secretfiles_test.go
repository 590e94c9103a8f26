package secretfiles

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadNamesTheFileThatIsWrong(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"missing", func(string) error { return nil }, "tls.crt does not exist"},
		{"its directory is missing", func(path string) error { return os.Remove(filepath.Dir(path)) }, "tls.crt does not exist"},
		{"at the bound", sized(MaxBytes), ""},
		{"over the bound", sized(MaxBytes + 1), "tls.crt is larger than 256 KiB"},
		{"empty", sized(0), ""},
		{"named pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "tls.crt is not a regular file"},
		{"link to a device without an end", func(path string) error { return os.Symlink("/dev/zero", path) }, "tls.crt is not a regular file"},
		{"directory", func(path string) error { return os.Mkdir(path, 0o700) }, "tls.crt is not a regular file"},
		{"link to itself", func(path string) error { return os.Symlink("tls.crt", path) }, "tls.crt cannot be opened: too many levels of symbolic links"},
	} {
		t.Run(test.name, func(t *testing.T) {
			directory := filepath.Join(t.TempDir(), "tls")
			if err := errors.Join(os.Mkdir(directory, 0o700), test.make(filepath.Join(directory, "tls.crt"))); err != nil {
				t.Fatal(err)
			}
			got := ""
			if _, err := Read(directory, "tls.crt"); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("error %q, want %q", got, test.want)
			}
		})
	}
}

func sized(n int) func(string) error {
	return func(path string) error { return os.WriteFile(path, make([]byte, n), 0o600) }
}

// The kubelet replaces all files of a Secret at once and removes the former ones; no reading may mix two versions.
func TestReadNeverMixesVersionsOfAMountedSecret(t *testing.T) {
	directory := t.TempDir()
	former := mount(t, directory, 0)
	replaced := make(chan struct{})
	go func() {
		defer close(replaced)
		for version := 1; version <= 500 && !t.Failed(); version++ {
			next := mount(t, directory, version)
			if err := os.RemoveAll(former); err != nil {
				t.Error(err)
			}
			former = next
		}
	}()
	for done := false; !done; {
		select {
		case <-replaced:
			done = true
		default:
		}
		files, err := Read(directory, "ca.crt", "tls.crt", "tls.key")
		if err != nil {
			t.Error(err)
		}
		if a, b, c := string(files["ca.crt"]), string(files["tls.crt"]), string(files["tls.key"]); a != b || b != c {
			t.Errorf("versions %q, %q and %q in one reading", a, b, c)
		}
		if t.Failed() {
			<-replaced
			return
		}
	}
}

// mount writes a version the way the kubelet does and returns its directory. It does not end the test: another goroutine calls it.
func mount(t *testing.T, directory string, version int) string {
	t.Helper()
	name := fmt.Sprintf("..version-%d", version)
	path, link := filepath.Join(directory, name), filepath.Join(directory, "..data_tmp")
	err := os.Mkdir(path, 0o700)
	for _, file := range []string{"ca.crt", "tls.crt", "tls.key"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(path, file), fmt.Append(nil, version), 0o600))
		if version == 0 {
			err = errors.Join(err, os.Symlink(filepath.Join("..data", file), filepath.Join(directory, file)))
		}
	}
	if err := errors.Join(err, os.Symlink(name, link), os.Rename(link, filepath.Join(directory, "..data"))); err != nil {
		t.Error(err)
	}
	return path
}

func TestReadFollowsAnAbsoluteLink(t *testing.T) {
	directory, version := t.TempDir(), t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(version, "certificate"), []byte("shared"), 0o600), os.Symlink(version, filepath.Join(directory, "..data"))); err != nil {
		t.Fatal(err)
	}
	files, err := Read(directory, "certificate")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Files{"certificate": []byte("shared")}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestSumDiffersWheneverFilesDo(t *testing.T) {
	seen := map[[32]byte]Files{}
	for _, files := range []Files{
		nil, {"a": nil}, {"a": nil, "b": nil}, {"a": []byte("xy")}, {"a": []byte("x"), "b": []byte("y")}, {"a": []byte("y"), "b": []byte("x")},
		{"a": []byte("1\n\"b\" 1\ny")}, {"a": []byte("x\"b\" 1\ny")}, {"a": []byte("x"), "b": nil}, {"b": []byte("x")},
	} {
		if other, ok := seen[files.Sum()]; ok {
			t.Errorf("%q and %q have one sum", files, other)
		}
		seen[files.Sum()] = files
	}
	if one, same := (Files{"a": []byte("x"), "b": []byte("y")}), (Files{"b": []byte("y"), "a": []byte("x")}); one.Sum() != same.Sum() {
		t.Error("the same files have two sums")
	}
}
