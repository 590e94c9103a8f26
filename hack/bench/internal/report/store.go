package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"time"
)

// Run is everything that was measured on one machine, by one Go version.
type Run struct {
	Machine     Machine
	Took        time.Duration `json:",omitzero"` // by the last run that measured everything
	Comparisons []Dated
}

// Dated is a comparison with when and of which sources it was measured.
type Dated struct {
	Date, Revision string
	Comparison
}

// Directory is where a report is written: performance.md, and beside it the folder performance with the plots and the samples.
type Directory string

func (d Directory) samples() string { return filepath.Join(string(d), "performance", "results.json") }

// Load returns what is there; nothing if there is none.
func (d Directory) Load() (Run, error) {
	content, err := os.ReadFile(d.samples())
	if errors.Is(err, os.ErrNotExist) {
		return Run{}, nil
	}
	if err != nil {
		return Run{}, err
	}
	var run Run
	if err := json.Unmarshal(content, &run); err != nil {
		return Run{}, fmt.Errorf("%s: %w", d.samples(), err)
	}
	return run, nil
}

// Merge replaces what was measured before under the same name, or adds it. What another machine measured goes.
func (r Run) Merge(machine Machine, measured Dated) Run {
	if !reflect.DeepEqual(r.Machine, machine) {
		return Run{Machine: machine, Comparisons: []Dated{measured}}
	}
	for i := range r.Comparisons {
		if r.Comparisons[i].Name == measured.Name {
			r.Comparisons[i] = measured
			return r
		}
	}
	r.Comparisons = append(r.Comparisons, measured)
	return r
}

// Write writes the samples, the tables and the plots.
func (d Directory) Write(r Run) error {
	if err := os.MkdirAll(filepath.Join(string(d), "performance"), 0o755); err != nil {
		return err
	}
	content, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.samples(), append(joinNumbers(content), '\n'), 0o644); err != nil {
		return err
	}
	for _, c := range r.Comparisons {
		if err := os.WriteFile(filepath.Join(string(d), "performance", c.Name+".svg"), c.plot(), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(string(d), "performance.md"), r.markdown(), 0o644)
}

// numbers is a JSON array of numbers alone, over several lines.
var numbers = regexp.MustCompile(`\[\n[-+.,\deE\s]+\]`)

// joinNumbers writes each array of numbers on one line, so that the samples of a repeat stand beside each other.
func joinNumbers(content []byte) []byte {
	return numbers.ReplaceAllFunc(content, func(array []byte) []byte {
		return bytes.ReplaceAll(bytes.Join(bytes.Fields(array), nil), []byte(","), []byte(", "))
	})
}
