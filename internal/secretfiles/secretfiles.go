// Package secretfiles reads the files of a Secret that is mounted into a pod.
package secretfiles

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// MaxBytes bounds each file, and each value of a Secret that the operator parses. A trust bundle is the largest: 256 KiB hold
// 350 ECDSA P-256 authorities, 130 of RSA-4096, or all public ones (Mozilla's list has about 220 KiB). It is a quarter of what
// a Secret holds (1 MiB), so that the bundle, the certificate and its key fit beside each other.
const MaxBytes = 256 << 10

// Files are the contents of files by name.
type Files map[string][]byte

// Sum distinguishes one reading from another without keeping what is in it. It is the SHA-256 of names and contents.
func (f Files) Sum() [sha256.Size]byte {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(f)) {
		_, _ = fmt.Fprintf(h, "%q %d\n%s", name, len(f[name]), f[name]) // a hash never fails
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Read returns the named files of a directory. If a Secret is mounted there, all of them are of one version: the kubelet
// writes each version into a directory of its own and switches to it by renaming the link ..data, so that link is followed
// once and not for each file. An error names the file and never shows what is in it.
func Read(directory string, names ...string) (Files, error) {
	return ReadWith(directory, nil, names...)
}

// ReadWith is Read with files that need not exist.
func ReadWith(directory string, optional []string, names ...string) (Files, error) {
	version := versionOf(directory)
	for {
		files, err := readVersion(version, names, optional)
		if err == nil {
			return files, nil
		}
		latest := versionOf(directory)
		if latest == version {
			return nil, err
		}
		version = latest // the kubelet switched while this was reading, and removed the old version
	}
}

// versionOf returns the directory that the link ..data points to, whether or not that still exists, or the directory
// itself if there is no such link.
func versionOf(directory string) string {
	target, err := os.Readlink(filepath.Join(directory, "..data"))
	switch {
	case err != nil:
		return directory
	case filepath.IsAbs(target):
		return target
	}
	return filepath.Join(directory, target)
}

func readVersion(directory string, names, optional []string) (Files, error) {
	files := make(Files, len(names)+len(optional))
	for _, name := range slices.Concat(names, optional) {
		content, err := readFile(filepath.Join(directory, name))
		if errors.Is(err, ErrMissing) && slices.Contains(optional, name) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s %w", name, err)
		}
		files[name] = content
	}
	return files, nil
}

var (
	// ErrMissing is that of a file that is not there.
	ErrMissing   = errors.New("does not exist")
	errIrregular = errors.New("is not a regular file")
	errTooLarge  = fmt.Errorf("is larger than %d KiB", MaxBytes>>10)
)

// OpenRegular opens a file to read it. Anything but a regular one is an error, and is not waited for.
func OpenRegular(path string) (*os.File, error) {
	// Opened without O_NONBLOCK, a named pipe would block until somebody writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrMissing
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be opened: %w", errors.Unwrap(err))
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close() // only read
		return nil, errIrregular
	}
	return f, nil
}

func readFile(path string) ([]byte, error) {
	f, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	content, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be read: %w", errors.Unwrap(err))
	case len(content) > MaxBytes:
		return nil, errTooLarge
	}
	return content, nil
}
