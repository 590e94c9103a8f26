package loopback

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestAReservedAddressCanBeListenedOnAgainAndAgain(t *testing.T) {
	address := Reserve(t)
	for range 3 {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		_ = c.Close()
	}
}

func TestAReservedAddressIsGivenToNobodyElse(t *testing.T) {
	address := Reserve(t)
	for range 70_000 { // More than there are ports: each bind to port 0 tries another one.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if l.Addr().String() == address {
			t.Fatalf("%s was given away", address)
		}
		_ = l.Close()
	}
}

func TestNothingListensOnAReservedAddress(t *testing.T) {
	if c, err := net.Dial("tcp", Reserve(t)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, %v", c, err)
	}
}
