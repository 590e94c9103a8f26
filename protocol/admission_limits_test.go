package protocol

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimitsRefuseWhatIsOverThem(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*ServerOptions)
		first  []string // addresses of the connections that fit
		speak  bool     // something comes from each of them
		over   string   // the one that does not
		other  string   // one that fits all the same, from elsewhere
		want   error
		stats  Stats
	}{
		{
			"R-6.4 sessions", func(o *ServerOptions) { o.MaxSessions = 2 },
			[]string{"10.0.0.1", "10.0.0.2"}, false, "10.0.0.3", "", ErrTooManySessions,
			Stats{Handshaking: 2, Accepted: 3, Refused: 1},
		},
		{
			"R-6.5 per source", func(o *ServerOptions) { o.MaxHandshakesPerSource = 2 },
			[]string{"10.0.0.1", "::ffff:10.0.0.1"}, true, "10.0.0.1", "10.0.0.2", ErrTooManyFromSource,
			Stats{Handshaking: 3, Accepted: 4, Refused: 1},
		},
		{
			"R-6.5 per source in an IPv6 network", func(o *ServerOptions) { o.MaxHandshakesPerSource = 2 },
			[]string{"2001:db8::1", "2001:db8::1", "2001:db8::2"}, true, "2001:db8::1", "2001:db8::2", ErrTooManyFromSource,
			Stats{Handshaking: 4, Accepted: 5, Refused: 1},
		},
		{
			"R-6.5 per source, by whichever interface", func(o *ServerOptions) { o.MaxHandshakesPerSource = 2 },
			[]string{"fe80::1%a", "fe80::1%b"}, true, "fe80::1%a", "fe80::2%a", ErrTooManyFromSource,
			Stats{Handshaking: 3, Accepted: 4, Refused: 1},
		},
		{
			"R-6.6 waiting for a turn", func(o *ServerOptions) { o.MaxHandshakes, o.MaxWaiting = 2, 1 },
			[]string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, false, "10.0.0.4", "", ErrTooManyHandshakes,
			Stats{Handshaking: 2, Waiting: 1, Accepted: 4, Refused: 1},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := DefaultServerOptions()
				tc.change(&o)
				l, srv, refused := serveRefusing(t, o)
				for _, ip := range tc.first {
					c := l.dialFrom(ip)
					defer c.Close()
					if tc.speak {
						say(t, c, "conn")
						synctest.Wait()
					}
				}
				synctest.Wait()
				if s := srv.Stats(); s.Refused != 0 || s.Handshaking+s.Waiting != len(tc.first) {
					t.Errorf("within the limit: stats %+v", s)
				}
				over := l.dialFrom(tc.over)
				if tc.other != "" {
					defer l.dialFrom(tc.other).Close()
				}
				refused.expect(t, tc.want)
				expectGone(t, []net.Conn{over}, 0)
				synctest.Wait()
				expectStats(t, srv, tc.stats)
			})
		})
	}
}

func TestWaitingConnectionsGetTheirTurnInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.MaxHandshakes = 1
		h := newRecorder()
		l := newPipeListener()
		srv := serve(t, l, h, o)
		var conns []net.Conn
		for range 20 {
			conns = append(conns, l.dial())
		}
		synctest.Wait()
		expectStats(t, srv, Stats{Handshaking: 1, Waiting: 19, Accepted: 20})
		for _, c := range conns {
			enter(t, c)
		}
		synctest.Wait()
		expectStats(t, srv, Stats{Sessions: 20, Accepted: 20, Authenticated: 20})
		for _, c := range conns {
			_ = c.Close()
		}
		synctest.Wait()
		expectStats(t, srv, Stats{Accepted: 20, Authenticated: 20})
	})
}

func TestAPlaceIsGivenBackOnceAuthenticatedOrRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.MaxHandshakesPerSource = 1
		l, srv, refused := serveRefusing(t, o)
		for range 3 {
			c := l.dialFrom("10.0.0.1")
			defer c.Close()
			enter(t, c)
			synctest.Wait()
			bad := l.dialFrom("10.0.0.1")
			say(t, bad, "GET / HTTP/1.1\r\n")
			refused.expect(t, ErrProtocol)
		}
		synctest.Wait()
		want := Stats{Sessions: 3, Accepted: 6, Authenticated: 3, Refused: 3}
		expectStats(t, srv, want)
	})
}

func TestConnectionsThatNeverSpeakDoNotKeepTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := make(refusals, 100)
		o := DefaultServerOptions()
		o.MaxHandshakes, o.OnRefused = 2, refused.hook
		h := newRecorder()
		l := newPipeListener()
		srv := serve(t, l, h, o)
		for range 10 {
			defer l.dial().Close()
		}
		time.Sleep(DefaultHandshakeTimeout)
		for range 10 {
			refused.expect(t, ErrHandshakeTimeout)
		}
		c := l.dial()
		defer c.Close()
		enter(t, c)
		synctest.Wait()
		expectStats(t, srv, Stats{Sessions: 1, Accepted: 11, Authenticated: 1, Refused: 10})
	})
}

// over real sockets, silent connections keep out nobody behind their address, and those of another address stay.
func TestSilentConnectionsMakeRoomForANodeBehindTheirAddress(t *testing.T) {
	l := listen(t)
	refused := make(refusals, 100)
	o := DefaultServerOptions()
	o.OnRefused = refused.hook
	srv := serve(t, l, newRecorder(), o)
	from := func(ip string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Skipf("no connection from %s: %v", ip, err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var elsewhere []net.Conn
	for range DefaultMaxHandshakesPerSource {
		elsewhere = append(elsewhere, from("127.0.0.2"))
	}
	for range 40 {
		from("127.0.0.1")
	}
	for range 40 - DefaultMaxHandshakesPerSource {
		refused.expect(t, ErrTooManyFromSource)
	}
	enter(t, from("127.0.0.1"))
	refused.expect(t, ErrTooManyFromSource)
	for _, c := range elsewhere {
		enter(t, c)
	}
	if s := srv.Stats(); s.Refused != 40-DefaultMaxHandshakesPerSource+1 {
		t.Errorf("stats %+v", s)
	}
}
