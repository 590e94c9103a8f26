package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

// checksumFile is read by `sha256sum --check`.
const checksumFile = "SHA256SUMS"

// checksums lists every file of the release but itself.
func (r *release) checksums(context.Context) error {
	entries, err := os.ReadDir(r.out) // sorted by name
	if err != nil {
		return err
	}
	var list bytes.Buffer
	for _, entry := range entries {
		sum, err := checksum(filepath.Join(r.out, entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%s  %s\n", sum, entry.Name())
	}
	return r.write(checksumFile, list.Bytes())
}

func checksum(path string) (string, error) {
	content, err := os.ReadFile(path)
	return fmt.Sprintf("%x", sha256.Sum256(content)), err
}
