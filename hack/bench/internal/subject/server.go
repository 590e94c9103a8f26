package subject

import (
	"errors"
	"os"
	"runtime/pprof"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
)

// Server is the receiver of the server process.
type Server struct {
	process.Usage
	process.Counter
	profile *os.File
}

// Start says which server to start. Address is where; empty is any free port.
type Start struct {
	Subject string
	Setting Setting
	Address string
}

// Start starts a server and replies with its address.
func (*Server) Start(s Start, address *string) (err error) {
	*address, err = Serve(s.Subject, s.Setting, s.Address)
	return err
}

// Profile begins a CPU profile, which it writes to the path with .cpu behind it when it is called again. Then it also writes a profile of
// the heap, to the path with .heap behind it.
func (s *Server) Profile(path string, _ *struct{}) (err error) {
	if s.profile == nil {
		if s.profile, err = os.Create(path + ".cpu"); err != nil {
			return err
		}
		return pprof.StartCPUProfile(s.profile)
	}
	pprof.StopCPUProfile()
	heap, err := os.Create(path + ".heap")
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("heap").WriteTo(heap, 0), heap.Close(), s.profile.Close())
}
