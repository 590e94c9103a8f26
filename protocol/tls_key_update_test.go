package protocol

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// rekeyer writes TLS 1.3 records of its own behind those that a tls.Conn has written, as crypto/tls never asks its peer for
// new keys (RFC 8446, section 4.6.3) and other implementations do. The tls.Conn can still read, and can write no more.
type rekeyer struct {
	t        *testing.T
	conn     *tls.Conn
	secret   []byte
	sequence uint64
}

// newRekeyer takes over after so many records of application data from the side whose secret the log calls label.
func newRekeyer(t *testing.T, conn *tls.Conn, log *bytes.Buffer, label string, records uint64) *rekeyer {
	t.Helper()
	if suite := conn.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		t.Fatalf("the records of %s cannot be written here: run this on a CPU with instructions for AES", tls.CipherSuiteName(suite))
	}
	line := regexp.MustCompile(label + ` \w+ (\w+)\n`).FindSubmatch(log.Bytes())
	if line == nil {
		t.Fatalf("no %s in the log of keys", label)
	}
	secret, err := hex.DecodeString(string(line[1]))
	if err != nil {
		t.Fatal(err)
	}
	return &rekeyer{t, conn, secret, records}
}

// expand is HKDF-Expand-Label without a context (RFC 8446, section 7.1).
func (r *rekeyer) expand(label string, length int) []byte {
	label = "tls13 " + label
	info := string([]byte{0, byte(length), byte(len(label))}) + label + "\x00"
	b, err := hkdf.Expand(sha256.New, r.secret, info, length)
	if err != nil {
		r.t.Error(err)
	}
	return b
}

// record returns one record with content, which is of the given type (RFC 8446, section 5.2).
func (r *rekeyer) record(content string, contentType byte) []byte {
	block, err := aes.NewCipher(r.expand("key", 16))
	if err != nil {
		r.t.Error(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		r.t.Error(err)
	}
	nonce := r.expand("iv", 12)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^r.sequence)
	r.sequence++
	inner := append([]byte(content), contentType)
	header := []byte{23, 3, 3, 0, byte(len(inner) + aead.Overhead())}
	return aead.Seal(header, nonce, inner, header)
}

// send asks for new keys, uses new ones itself from then on, and sends message, if it is one. It does not wait for the peer to read.
func (r *rekeyer) send(message string) {
	records := r.record("\x18\x00\x00\x01\x01", 22)
	r.secret, r.sequence = r.expand("traffic upd", sha256.Size), 0
	if message != "" {
		records = append(records, r.record(message, 23)...)
	}
	go func() { _, _ = r.conn.NetConn().Write(records) }() // What is not read in time shows on the peer's side.
}

// interrupt asks for new keys while the peer writes its conn:close, takes that and nothing more.
func (r *rekeyer) interrupt() {
	r.t.Helper()
	record := make([]byte, 5+len(wire.Close)+1+16) // header, content, its type, and what authenticates it
	pipe := r.conn.NetConn()
	for _, part := range [][]byte{record[:1], record[1:]} {
		if _, err := io.ReadFull(pipe, part); err != nil {
			r.t.Fatal(err)
		}
		if len(part) == 1 {
			r.send("")
		}
	}
}

// sessionWithRekeyer is enterOverTLS whose refinery can ask for new keys.
func sessionWithRekeyer(t *testing.T) (*recorder, net.Conn, *rekeyer) {
	t.Helper()
	var log bytes.Buffer
	h, _, conn := enterOverTLS(t, &log)
	return h, conn, newRekeyer(t, conn, &log, "CLIENT_TRAFFIC_SECRET_0", 3)
}

// clientWithRekeyer is clientOverTLS whose master can ask for new keys.
func clientWithRekeyer(ctx context.Context, t *testing.T, change func(*ClientOptions)) (net.Conn, *rekeyer, chan error) {
	t.Helper()
	var log bytes.Buffer
	conn, ended := clientOverTLS(ctx, t, func(c *tls.Config, o *ClientOptions) {
		c.KeyLogWriter = &log
		if change != nil {
			change(o)
		}
	})
	return conn, newRekeyer(t, conn, &log, "SERVER_TRAFFIC_SECRET_0", 2), ended
}

//
func TestASessionOutlivesNewKeysOfTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, conn, refinery := sessionWithRekeyer(t)
		for _, after := range []time.Duration{30 * time.Second, time.Millisecond, brisk, 30 * time.Second} {
			time.Sleep(after)
			refinery.send(testAlive)
			hear(t, conn, testAlive)
		}
		refinery.send("conn:close;;<EOF>")
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil { // The keys are taken with the end of what is sent.
			t.Errorf("read %d bytes after conn:close", n)
		}
		if err := h.cause(t); !errors.Is(err, ErrPeerClosed) {
			t.Errorf("closed with %v", err)
		}
	})
}

//
func TestAClientOutlivesNewKeysOfTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, master, ended := clientWithRekeyer(t.Context(), t, nil)
		for range 4 {
			hear(t, conn, testAlive)
			time.Sleep(DefaultWriteTimeout + time.Second) // Past the time by which that had to be written.
			master.send(testAlive)
		}
		hear(t, conn, testAlive)
		master.send("conn:close;;<EOF>")
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("read %d bytes after conn:close", n)
		}
		if err := <-ended; !errors.Is(err, ErrPeerClosed) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// who asks for new keys and does not read them holds the other side's reader in a write of TLS.
func TestARefineryThatDoesNotTakeNewKeysIsAsSilentAsAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, refinery := sessionWithRekeyer(t)
		refinery.send(testAlive)
		h.after(t, DefaultAliveTimeout, ErrAliveTimeout)
	})
}

// The two that follow are not on fake time, which does not pass while a mutex of TLS is waited for.
func TestARefineryThatDoesNotTakeNewKeysIsOneThatDoesNotRead(t *testing.T) {
	h, _, refinery := sessionWithRekeyer(t)
	h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1")
	s := h.last.Load()
	o := *s.o
	o.WriteTimeout = 100 * time.Millisecond
	if err := s.server.Reconfigure(o); err != nil {
		t.Fatal(err)
	}
	refinery.send(testAlive)
	if err := s.SetUpstream("up:2"); err != nil {
		t.Fatal(err)
	}
	if err := h.cause(t); !errors.Is(err, ErrWriteTimeout) {
		t.Errorf("closed with %v", err)
	}
}

//
func TestAMasterThatDoesNotTakeNewKeysIsOneThatDoesNotRead(t *testing.T) {
	_, master, ended := clientWithRekeyer(t.Context(), t, func(o *ClientOptions) {
		o.AliveInterval, o.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	})
	master.send(testAlive)
	select {
	case err := <-ended:
		if err == nil { // Which error depends on who comes first: the writer, or the reader, whose TLS missed the new keys.
			t.Error("Run returned nil")
		}
	case <-time.After(patience):
		t.Fatal("a master that does not read holds the client")
	}
}

// the two that follow say conn:close to a peer that asks for new keys meanwhile, and takes nothing more.
func TestASessionEndsBesideARequestForNewKeys(t *testing.T) {
	h, _, refinery := sessionWithRekeyer(t)
	h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1")
	cause := errors.New("suspended")
	h.last.Load().Close(cause)
	refinery.interrupt()
	endsInTime(t, func() {
		if err := h.cause(t); !errors.Is(err, cause) {
			t.Errorf("closed with %v", err)
		}
	})
}

// endsInTime fails where end waits for a write of TLS, which takes five times closeLinger, or for ever. It compares with
// a wait of closeLinger that begins at the same time, so that a slow machine delays both.
func endsInTime(t *testing.T, end func()) {
	t.Helper()
	begin, lingered := time.Now(), make(chan time.Duration, 1)
	time.AfterFunc(closeLinger, func() { lingered <- time.Since(begin) })
	end()
	took := time.Since(begin)
	if linger := <-lingered; took >= 4*linger {
		t.Errorf("it took %v to end, where a wait of %v took %v", took, closeLinger, linger)
	}
}

func TestAClientEndsBesideARequestForNewKeys(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, master, ended := clientWithRekeyer(ctx, t, nil)
	cancel()
	master.interrupt()
	endsInTime(t, func() {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}
