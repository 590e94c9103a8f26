package protocol

import (
	"crypto/tls"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	server := func(change func(*ServerOptions)) error {
		o := DefaultServerOptions()
		change(&o)
		_, err := NewServer(newRecorder(), o)
		return err
	}
	client := func(change func(*ClientOptions)) error {
		o := DefaultClientOptions()
		o.ID, o.Version, o.Type, o.Certificate = "a", "1", "t", "PEM"
		change(&o)
		return o.Validate()
	}
	for _, tc := range []struct {
		name string
		err  error
		want string // "" is no error
	}{
		{"the defaults of a server", server(func(*ServerOptions) {}), ""},
		{"no handshake timeout", server(func(o *ServerOptions) { o.HandshakeTimeout = 0 }), "HandshakeTimeout is 0s"},
		{"a negative write timeout", server(func(o *ServerOptions) { o.WriteTimeout = -1 }), "WriteTimeout is -1ns"},
		{"alive timeout within the interval", server(func(o *ServerOptions) { o.AliveTimeout = 11 * time.Second }), "AliveTimeout is 11s"},
		{"alive timeout just over it", server(func(o *ServerOptions) { o.AliveTimeout = 11*time.Second + 1 }), ""},
		{"a negative drain window", server(func(o *ServerOptions) { o.DrainWindow = -1 }), "DrainWindow is -1ns"},
		{"no handshake turn", server(func(o *ServerOptions) { o.HandshakeTurn = 0 }), "HandshakeTurn is 0s"},
		{"no drain window is fine", server(func(o *ServerOptions) { o.DrainWindow = 0 }), ""},
		{"no handshakes", server(func(o *ServerOptions) { o.MaxHandshakes = 0 }), "MaxHandshakes is 0"},
		{"no waiting", server(func(o *ServerOptions) { o.MaxWaiting = 0 }), "MaxWaiting is 0"},
		{"packets too small", server(func(o *ServerOptions) { o.PacketBytes = 15 }), "PacketBytes is 15"},
		{"messages too small", server(func(o *ServerOptions) { o.SessionBytes = 63 }), "SessionBytes is 63"},
		{"messages too big", server(func(o *ServerOptions) { o.AuthStartBytes = maxMessageBytes + 1 }), "AuthStartBytes is 16777217"},
		{"a TLS handshake that no certificate fits into", server(func(o *ServerOptions) { o.TLSFlightBytes = 1000 }), "TLSFlightBytes is 1000"},
		{"TLS without a certificate", server(func(o *ServerOptions) { o.TLSConfig = &tls.Config{} }), "TLSConfig has no certificate"},
		{"several at once", server(func(o *ServerOptions) { *o = ServerOptions{} }), "MaxSessions is 0"},
		{"a good client", client(func(*ClientOptions) {}), ""},
		{"no id", client(func(o *ClientOptions) { o.ID = "" }), "ID is required"},
		{"an id too long", client(func(o *ClientOptions) { o.ID = strings.Repeat("a", 254) }), "ID has 254 bytes"},
		{"the longest id", client(func(o *ClientOptions) { o.ID = strings.Repeat("a", 253) }), ""},
		{"a version that is not printable", client(func(o *ClientOptions) { o.Version = "1\n" }), `Version "1\n" is not printable`},
		{"a type too long", client(func(o *ClientOptions) { o.Type = strings.Repeat("a", 65) }), "Type has 65 bytes"},
		{"a certificate in DER", client(func(o *ClientOptions) { o.Certificate = "\x30\x82" }), "must be PEM"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			switch {
			case tc.want == "" && tc.err != nil:
				t.Errorf("error %v", tc.err)
			case tc.want != "" && (tc.err == nil || !strings.Contains(tc.err.Error(), tc.want)):
				t.Errorf("error %v, want it to say %q", tc.err, tc.want)
			}
		})
	}
	if _, err := NewServer(nil, DefaultServerOptions()); err == nil {
		t.Error("a server without a Handler was made")
	}
}

func TestTimersHaveBoundsThatAddUp(t *testing.T) {
	for _, value := range []time.Duration{longestTimer, longestTimer + 1, math.MaxInt64} {
		o := DefaultServerOptions()
		o.HandshakeTimeout, o.HandshakeTurn, o.WriteTimeout, o.DrainWindow, o.AliveTimeout = value, value, value, value, value
		err := o.Validate()
		for _, name := range []string{"HandshakeTimeout", "HandshakeTurn", "WriteTimeout", "DrainWindow", "AliveTimeout"} {
			if said := err != nil && strings.Contains(err.Error(), name+" is "); said != (value > longestTimer) {
				t.Errorf("%s %v: %v", name, value, err)
			}
		}
		co := DefaultClientOptions()
		co.ID, co.Version, co.Type = "a", "1", "t"
		co.AliveInterval, co.AliveTimeout = value, value
		if err := co.Validate(); err == nil {
			t.Errorf("an AliveInterval of %v leaves room for an AliveTimeout of %v", value, value)
		}
	}
	synctest.Test(t, func(t *testing.T) { // The longest of them end nothing early.
		o := DefaultServerOptions()
		o.AliveTimeout, o.WriteTimeout = longestTimer, longestTimer
		h, _, _ := session(t, o)
		h.after(t, longestTimer, ErrAliveTimeout)
	})
}
