// Command operator reconciles ClusterMasters and Refineries; see --help.
package main

import (
	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/operator"
)

func main() { cli.Serve(operator.Main) }
