package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// Merge replaces what was measured before under the same name, and adds the rest. What another machine measured goes.
func (r Run) Merge(machine Machine, measured []Dated) Run {
	if r.Machine != machine {
		return Run{Machine: machine, Comparisons: measured}
	}
	for _, m := range measured {
		found := false
		for i := range r.Comparisons {
			if r.Comparisons[i].Name == m.Name {
				r.Comparisons[i], found = m, true
			}
		}
		if !found {
			r.Comparisons = append(r.Comparisons, m)
		}
	}
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
	if err := os.WriteFile(d.samples(), append(content, '\n'), 0o644); err != nil {
		return err
	}
	for _, c := range r.Comparisons {
		path := filepath.Join(string(d), "performance", c.Name+".svg")
		if c.Drifted() {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			continue
		}
		if err := os.WriteFile(path, c.plot(), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(string(d), "performance.md"), r.markdown(), 0o644)
}
