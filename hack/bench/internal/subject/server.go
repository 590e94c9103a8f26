package subject

import "github.com/refinery-operator/refinery-operator/hack/bench/internal/process"

// Server is the receiver of the server process.
type Server struct{}

// Start says which server to start. Address is where; empty is any free port.
type Start struct {
	Subject Name
	Setting Setting
	Address string
}

// Start starts a server and replies with its address.
func (Server) Start(s Start, address *string) (err error) {
	*address, err = Serve(s.Subject, s.Setting, s.Address)
	return err
}

// Usage replies with what the server process uses.
func (Server) Usage(settled bool, u *process.Usage) (err error) {
	*u, err = process.Own(settled)
	return err
}
