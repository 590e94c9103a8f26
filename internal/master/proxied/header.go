package proxied

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"

	"github.com/pires/go-proxyproto"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// Bounds of a header: of version 1 as its specification has it, of version 2 with room for what load balancers add to the addresses.
const (
	maxVersion1 = 107
	maxVersion2 = 2048
)

// What tells both versions, and the part of a header that has its length. The shortest header of version 1 has 15 bytes.
const (
	signatureBytes = 12
	prefixBytes    = 16
)

var errNoHeader = errors.New("it does not begin with a header of the PROXY protocol")

// readHeader reads a header and not a byte more. It returns the address that the header gives; one that is not valid if it gives none, as
// for a connection by which a load balancer itself looks whether the port is open.
func readHeader(r io.Reader) (source netip.AddrPort, err error) {
	raw := make([]byte, signatureBytes, prefixBytes)
	switch n, err := io.ReadFull(r, raw); {
	case errors.Is(err, io.EOF), n == 0 && errors.Is(err, syscall.ECONNRESET):
		return source, protocol.ErrPeerClosed // who looks whether the port is open
	case err != nil:
		return source, fmt.Errorf("%w: %w", errNoHeader, err)
	}
	switch {
	case bytes.Equal(raw, proxyproto.SIGV2):
		raw, err = readVersion2(r, raw)
	case bytes.HasPrefix(raw, append(proxyproto.SIGV1, ' ')):
		raw, err = readVersion1(r, raw)
	default:
		err = errNoHeader
	}
	if err != nil {
		return source, err
	}
	return parse(raw)
}

// readVersion1 reads the rest of a line.
func readVersion1(r io.Reader, raw []byte) ([]byte, error) {
	next := make([]byte, 1)
	for raw[len(raw)-1] != '\n' {
		if len(raw) == maxVersion1 {
			return nil, fmt.Errorf("a header of version 1 has more than %d bytes", maxVersion1)
		}
		if _, err := io.ReadFull(r, next); err != nil {
			return nil, err
		}
		raw = append(raw, next...)
	}
	return raw, nil
}

// readVersion2 reads as much as the header says that it has.
func readVersion2(r io.Reader, raw []byte) ([]byte, error) {
	raw = raw[:prefixBytes]
	if _, err := io.ReadFull(r, raw[signatureBytes:]); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(raw[prefixBytes-2:]))
	if prefixBytes+length > maxVersion2 {
		return nil, fmt.Errorf("a header of version 2 has more than %d bytes", maxVersion2)
	}
	raw = append(raw, make([]byte, length)...)
	_, err := io.ReadFull(r, raw[prefixBytes:])
	return raw, err
}

// parse returns the source that a whole header gives.
func parse(raw []byte) (source netip.AddrPort, err error) {
	header, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(raw), maxVersion2))
	if err != nil {
		return source, err
	}
	if header.Command.IsLocal() || header.TransportProtocol.IsUnspec() {
		return source, nil
	}
	tcp, ok := header.SourceAddr.(*net.TCPAddr)
	if !ok {
		return source, errors.New("the header is of a connection that is not TCP")
	}
	source = netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), tcp.AddrPort().Port())
	if a := source.Addr(); !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
		return netip.AddrPort{}, errors.New("the header gives an address that nobody connects from")
	}
	return source, nil
}
