package protocol

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// clientOverTLS begins an authenticated session of a Client over mutual TLS in memory, where nothing is sent that is not
// read. It returns what Run returns, and the master's side.
func clientOverTLS(ctx context.Context, t *testing.T, change func(*tls.Config, *ClientOptions)) (master *tls.Conn, ended chan error) {
	t.Helper()
	serverConfig, clientConfig := mutual(t)
	here, there := net.Pipe()
	t.Cleanup(func() { _ = there.Close() })
	o := testClientOptions()
	if change != nil {
		change(serverConfig, &o)
	}
	ended = make(chan error, 1)
	go func() {
		c, err := Handshake(t.Context(), tls.Client(here, clientConfig), o)
		if err == nil {
			err = c.Run(ctx)
		}
		ended <- err
	}()
	master = tls.Server(there, serverConfig)
	hear(t, master, testEstablish)
	say(t, master, "conn:startAuth;;<EOF>")
	hear(t, master, testAuthStart)
	say(t, master, testGrant)
	hear(t, master, "auth:ack;;<EOF>")
	return master, ended
}

// TLS has a goodbye of its own, which a master that does not read does not take either.
func TestARefineryOverTLSClosesAMasterThatDoesNotReadAfterTheWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, ended := clientOverTLS(t.Context(), t, nil)
		if err := <-ended; !errors.Is(err, ErrWriteTimeout) {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begin) - DefaultWriteTimeout; took < 9*time.Second || took > 11*time.Second {
			t.Errorf("noticed %v after the first conn:alive was due", took)
		}
	})
}

//
func TestARefineryOverTLSWaitsASecondForTheMasterToClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		master, ended := clientOverTLS(ctx, t, nil)
		synctest.Wait()
		cancel()
		hear(t, master, "conn:close;;<EOF>")
		begin := time.Now()
		if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(begin) != closeLinger {
			t.Errorf("Run returned %v after %v, want %v", err, time.Since(begin), closeLinger)
		}
	})
}
