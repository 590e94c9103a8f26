// Command conformance tests implementations of the Cluster Protocol over the network. See docs/conformance.md.
package main

import (
	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/conformance"
)

func main() { cli.Run(conformance.Main) }
