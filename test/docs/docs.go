// Package docs reads the commands that a page of the documentation tells a reader to type, so that tests can run them.
package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Commands returns the shell blocks (```sh) of a page under docs, in their order and without their indentation. The test
// fails when there are none. It must run in a folder directly under test.
func Commands(t testing.TB, page string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	var block strings.Builder
	inside, indent := false, ""
	for line := range strings.Lines(string(text)) {
		fence := strings.TrimSpace(line)
		switch {
		case !inside && fence == "```sh":
			indent, _, _ = strings.Cut(line, "`")
			inside = true
		case inside && fence == "```":
			blocks = append(blocks, block.String())
			inside = false
			block.Reset()
		case inside:
			block.WriteString(strings.TrimPrefix(line, indent))
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("docs/%s has no shell block", page)
	}
	return blocks
}
