package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// versionLine is how internal/version says the version.
var versionLine = regexp.MustCompile(`(?m)^var Version = "([0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?)"$`)

// export puts the files of the commit into source, each with the time of the commit, and reads the version from them.
func (r *release) export(ctx context.Context) error {
	said, err := r.git(ctx, "show", "--no-patch", "--format=%H %ct", r.options.commit+"^{commit}")
	if err != nil {
		return err
	}
	hash, at, _ := strings.Cut(strings.TrimSpace(string(said)), " ")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return err
	}
	r.commit, r.date = hash, time.Unix(seconds, 0).UTC()
	archive, err := r.git(ctx, "archive", "--format=tar", hash)
	if err != nil {
		return err
	}
	if _, err := command(ctx, r.source, bytes.NewReader(archive), "tar", "--extract", "--file=-"); err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(r.source, "internal", "version", "version.go"))
	if err != nil {
		return err
	}
	match := versionLine.FindSubmatch(content)
	if match == nil {
		return fmt.Errorf("internal/version/version.go has no line `var Version = \"1.2.3\"`")
	}
	r.version = string(match[1])
	if r.downloadURL == "" {
		r.downloadURL = "https://" + home + "/releases/download/v" + r.version
	}
	return nil
}

func (r *release) git(ctx context.Context, args ...string) ([]byte, error) {
	return command(ctx, r.repository, nil, "git", args...)
}

// command returns what a command prints. Its error carries what the command said.
func command(ctx context.Context, dir string, stdin *bytes.Reader, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if stdin != nil {
		cmd.Stdin = stdin
	}
	return output(cmd)
}

func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
