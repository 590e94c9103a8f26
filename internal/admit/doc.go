// Package admit decides which nodes a master lets in and where it places them. Everything in it is pure: it reads what a
// Directory and a Trust hold, and changes nothing. The master asks it about living nodes, and kubectl refinery preview about
// a change that nobody has made yet.
//
// A node passes, in this order: the version and type that it announces (Policy), the chain and the identity of its TLS
// certificate (Proof), and then the certificate that it sends, the Refinery that it names and its id (Authenticator).
// Its upstream comes from Placement.
package admit
