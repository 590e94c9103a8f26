// Package logging is the log of the operator, the masters and the agents: the same flags, keys and formats.
//
// A line has the keys time, level and msg. Level is debug, info, warn or error. Where a component has a name, it is in the
// key logger.
package logging

import (
	"io"
	"log/slog"

	"github.com/refinery-operator/refinery-operator/internal/cli"
)

// Options are what the flags say.
type Options struct {
	Level  Level
	Format Format
}

// Level is the lowest level that is written.
type Level string

// The levels.
const (
	Debug Level = "debug"
	Info  Level = "info"
	Warn  Level = "warn"
	Error Level = "error"
)

// Format is how a line is written.
type Format string

// The formats.
const (
	// JSON is an object a line.
	JSON Format = "json"
	// Console is key=value, for people.
	Console Format = "console"
)

// Bind defines --log-level and --log-format.
func (o *Options) Bind(f *cli.Flags) {
	cli.Choice(f, &o.Level, "log-level", Info, "`LEVEL` lowest level in the log: debug, info, warn or error", Debug, Info, Warn, Error)
	cli.Choice(f, &o.Format, "log-format", JSON, "`FORMAT` json, or console for people; the log goes to standard error", JSON, Console)
}

// Handler writes the log to w.
func (o Options) Handler(w io.Writer) slog.Handler {
	var level slog.Level
	_ = level.UnmarshalText([]byte(o.Level)) // each Level is one of slog's
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: replace}
	if o.Format == Console {
		return slog.NewTextHandler(w, options)
	}
	return slog.NewJSONHandler(w, options)
}

// replace names the levels between slog's own, which logr's verbosity makes (V(1) would be DEBUG+3), and writes objects of
// Kubernetes as their names: what is in a Secret does not belong in a log.
func replace(groups []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case slog.Level:
		if a.Key == slog.LevelKey && len(groups) == 0 {
			return slog.String(slog.LevelKey, string(nameOf(v)))
		}
	case interface {
		GetNamespace() string
		GetName() string
	}:
		return slog.Group(a.Key, "namespace", v.GetNamespace(), "name", v.GetName())
	}
	return a
}

func nameOf(level slog.Level) Level {
	switch {
	case level < slog.LevelInfo:
		return Debug
	case level < slog.LevelWarn:
		return Info
	case level < slog.LevelError:
		return Warn
	}
	return Error
}
