// Command refinery is the agent of one refinery node. See docs/agent.md.
package main

import (
	"github.com/refinery-operator/refinery-operator/internal/agent"
	"github.com/refinery-operator/refinery-operator/internal/cli"
)

func main() { cli.Serve(agent.Main) }
