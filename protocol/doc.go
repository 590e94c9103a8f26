// Package protocol speaks the Cluster Protocol: how a refinery (a node) makes itself known to a master, proves that it
// may take part, is told which upstream to use, and stays in touch. The rules are numbered in spec.md beside this file;
// comments, errors and tests cite them as R-<section>.<number>.
//
// A master is a [Server] with a [Handler] that decides who is let in:
//
//	server, err := protocol.NewServer(handler, protocol.DefaultServerOptions())
//	...
//	err = server.Serve(listener)
//
// A refinery dials, wraps the connection in TLS if it wants to, and calls [Handshake]; [Client.Run] then keeps the
// session alive. Any net.Listener and net.Conn will do, so anything that carries an ordered stream of bytes can carry
// the protocol.
//
// The package imports the standard library only, and logs nothing: what happened is told to the Handler, returned as a
// typed error, or passed to a hook in the options.
package protocol

// DefaultPort is the TCP port of a master.
const DefaultPort = 34308
