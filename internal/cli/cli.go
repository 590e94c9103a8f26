// Package cli reads the command lines of the programs with package flag, and writes what people read of it: errors in one
// line that name the flag, and help in groups.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Run runs a program's main function with the arguments behind the program's name and exits with the code that it returns.
// Its context ends at the first SIGINT or SIGTERM.
func Run(main func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Serve is Run for a program that goes on when its terminal is closed and when nobody reads its log any more: SIGHUP and SIGPIPE would
// end it.
func Serve(main func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	Run(main)
}

// Flags are a program's flags. A usage begins with the value's name in back quotes: "`HOST:PORT` of the master".
type Flags struct {
	*flag.FlagSet
	groups []group
}

type group struct {
	title string
	names []string
}

// New returns no flags yet. The program is named as people start it, such as "conformance master".
func New(program string) *Flags {
	f := &Flags{FlagSet: flag.NewFlagSet(program, flag.ContinueOnError)}
	f.SetOutput(io.Discard) // the caller prints the error, once
	return f
}

// Group begins a group of the help: the flags that are defined from here on, up to the next.
func (f *Flags) Group(title string) {
	f.collect()
	f.groups = append(f.groups, group{title: title})
}

// collect adds the flags that are in no group yet to the last one.
func (f *Flags) collect() {
	f.VisitAll(func(defined *flag.Flag) {
		if len(f.groups) > 0 && !slices.ContainsFunc(f.groups, func(g group) bool { return slices.Contains(g.names, defined.Name) }) {
			last := &f.groups[len(f.groups)-1]
			last.names = append(last.names, defined.Name)
		}
	})
}

// Choice defines a flag that takes one of a few words.
func Choice[T ~string](f *Flags, p *T, name string, value T, usage string, choices ...T) {
	*p = value
	f.Var(choice[T]{p, choices}, name, usage)
}

type choice[T ~string] struct {
	p       *T
	choices []T
}

func (c choice[T]) String() string {
	if c.p == nil { // package flag calls it on a zero value
		return ""
	}
	return string(*c.p)
}

func (c choice[T]) Set(s string) error {
	if !slices.Contains(c.choices, T(s)) {
		return errors.New("write " + c.list())
	}
	*c.p = T(s)
	return nil
}

// list is "a, b or c".
func (c choice[T]) list() string {
	var b strings.Builder
	for i, word := range c.choices {
		switch {
		case i == 0:
		case i == len(c.choices)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(word))
	}
	return b.String()
}

// Parse reads the arguments behind the program's name. flag.ErrHelp: help was asked for. Any other error is one line that
// names what is wrong and says what to write.
func (f *Flags) Parse(args []string) error {
	err := f.FlagSet.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return flag.ErrHelp
	case err != nil:
		return f.explain(err)
	case f.NArg() > 0:
		return fmt.Errorf("%q is not a flag: write every setting as --name=value; %s --help lists them", f.Arg(0), f.Name())
	}
	return nil
}

// explain rewrites what package flag says, whose errors have no types.
func (f *Flags) explain(err error) error {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return fmt.Errorf("--%s is not a flag; %s --help lists them", name, f.Name())
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		value, _ := flag.UnquoteUsage(f.Lookup(name))
		return fmt.Errorf("--%s needs a value: write --%s=%s", name, name, value)
	}
	rest, ok := strings.CutPrefix(strings.Replace(text, "boolean value", "value", 1), "invalid value ")
	quoted, unquotable := strconv.QuotedPrefix(rest)
	if !ok || unquotable != nil {
		return fmt.Errorf("%s; %s --help lists the flags", text, f.Name())
	}
	_, rest, _ = strings.Cut(rest[len(quoted):], " -")
	name, reason, _ := strings.Cut(rest, ": ")
	return fmt.Errorf("--%s=%s: %s", name, quoted[1:len(quoted)-1], f.expects(name, reason))
}

// expects says what to write as the value of a flag; for types of its own the flag says so.
func (f *Flags) expects(name, reason string) string {
	defined := f.Lookup(name)
	getter, ok := defined.Value.(flag.Getter)
	if !ok {
		return reason
	}
	switch getter.Get().(type) {
	case time.Duration:
		return "write a duration, such as " + defined.DefValue
	case int:
		return "write a whole number, such as " + defined.DefValue
	case bool:
		return "write true or false, or nothing"
	}
	return reason
}

// The columns of the help.
const (
	textColumn = 34
	lastColumn = 100
)

// Help lists the flags by group: each with its value's name, and beside it what it means and its default.
func (f *Flags) Help() string {
	f.collect()
	var b strings.Builder
	for _, g := range f.groups {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		for _, name := range g.names {
			b.WriteString(helpOf(f.Lookup(name)))
		}
	}
	return b.String()
}

func helpOf(f *flag.Flag) string {
	value, usage := flag.UnquoteUsage(f)
	line := "  --" + f.Name
	if value != "" {
		line += "=" + value
		usage = strings.TrimPrefix(usage, value+" ")
	}
	words := strings.Fields(usage)
	if f.DefValue != "" && f.DefValue != "false" {
		words = append(words, "(default "+f.DefValue+")")
	}
	var b strings.Builder
	if len(line) >= textColumn {
		b.WriteString(line + "\n")
		line = ""
	}
	line = fmt.Sprintf("%-*s", textColumn-1, line)
	for _, word := range words {
		if len(line)+1+len(word) > lastColumn {
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", textColumn-1)
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
	return b.String()
}

// SplitHostPort splits an address whose port is a number from lowest to 65535. The host may be empty.
func SplitHostPort(address string, lowest int) (host string, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", errors.New("it is not host:port")
	}
	if n, err := strconv.Atoi(port); err != nil || n < lowest || n > 65535 {
		return "", fmt.Errorf("the port must be a number from %d to 65535", lowest)
	}
	return host, nil
}
