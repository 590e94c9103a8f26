// Command operator reconciles ClusterMasters and Refineries; see --help.
package main

import (
	_ "time/tzdata" // for the time zones of upgrade windows: the image has no others

	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/operator"
)

func main() { cli.Serve(operator.Main) }
