// Command master is the master pod of a ClusterMaster; see --help.
package main

import (
	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/master"
)

func main() { cli.Serve(master.Main) }
