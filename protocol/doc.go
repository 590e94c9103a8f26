// Package protocol speaks the Cluster Protocol: how a refinery (a node) makes itself known to a master, proves that it
// may take part, is told which upstream to use, and stays in touch. The rules are numbered in spec.md beside this file;
// comments, errors and tests cite them as R-<section>.<number>.
//
// # A master
//
// A master is a [Server] with a [Handler] that decides who is let in:
//
//	server, err := protocol.NewServer(handler, protocol.DefaultServerOptions())
//	...
//	err = server.Serve(listener)
//
// The Server owns the connections: it admits them, within bounds that hold before anything is spent on them, takes each
// through TLS and the opening, answers heartbeats, and ends sessions that are silent. The Handler decides twice for each
// node (Establish: version, type and id; Authenticate: the certificate) and is notified of the rest. A [Session] stands
// for a node: any goroutine can move it to another upstream, or close it.
//
// # A refinery
//
// A refinery dials, wraps the connection in TLS if it wants to, and calls [Handshake]; [Client.Run] then keeps the session
// alive and follows new upstreams. When to come back after a session has ended is the program's: see the example of
// [Client].
//
// # Transports
//
// Any net.Listener and net.Conn will do, so anything that carries an ordered stream of bytes can carry the protocol. A
// net.Conn must honor its deadlines. Where it has a CloseWrite, conn:close reaches the other side at once.
//
// # What can block
//
// [Handshake], [Client.Run] and [Server.Shutdown] take a context and end with it. [Server.Serve] runs until Shutdown or
// Close. The methods of a Session never wait for the network. [Client.Close] waits until the master has closed, or for
// the write timeout and a second at most. A Handler is given a context that ends with the handshake; what it does after
// that should be short, as it delays the heartbeats of that session, and of no other.
//
// # Observing
//
// The package imports the standard library only, and logs nothing. Callers learn what happened from the Handler, from a typed
// error, or from a hook in the options: OnRefused for connections that never became sessions, OnPanic,
// OnReport for what refineries say about themselves, and OnMessage for every message. [Server.Stats] counts the rest. Only panics for which there is no session left to end are logged: one of
// OnPanic, and one of OnRefused or of Handler.Closed while no OnPanic is set.
//
// # Stability
//
// Within a major version of the module no exported name goes or changes its meaning, no Handler has to have further
// methods, and the default options do not become stricter on what the specification allows. There may be further
// options, whose default is what was before; further errors; and further fields at the end of structs, so that literals
// should name theirs. Options come from [DefaultServerOptions] and [DefaultClientOptions], never from an empty struct.
// Errors are told apart with errors.Is and errors.As; their texts may change. Before version 1 a minor version may break
// these promises, and its release notes say so.
package protocol

// DefaultPort is the TCP port of a master.
const DefaultPort = 34308
