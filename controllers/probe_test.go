package controllers_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// probe asks a node again and again whether it is ready. Nodes are asked so often that an http.Client would be a large part of
// what a plant costs: this speaks HTTP itself, over one connection.
func (n *plantNode) probe(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	prober := &prober{}
	defer prober.close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		status, err := prober.get(ctx, n.health)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case n.down.Load():
			n.ready.Store(false)
		case err == nil && status == http.StatusOK:
			n.ready.Store(true)
		case n.ready.Load():
			n.unready.Add(1)
		}
	}
}

// prober keeps the connection to a node.
type prober struct {
	connection net.Conn
	responses  *bufio.Reader
}

func (p *prober) close() {
	if p.connection != nil {
		_ = p.connection.Close()
	}
	p.connection = nil
}

// get returns the status of a node. A connection that was kept may be that to a node which was stopped: then it is asked over another.
func (p *prober) get(ctx context.Context, address string) (status int, err error) {
	if p.connection != nil {
		if status, err = p.ask(address); err == nil {
			return status, nil
		}
	}
	p.close()
	if p.connection, err = (&net.Dialer{}).DialContext(ctx, "tcp", address); err != nil {
		p.connection = nil
		return 0, err
	}
	p.responses = bufio.NewReader(p.connection)
	if status, err = p.ask(address); err != nil {
		p.close()
	}
	return status, err
}

func (p *prober) ask(address string) (int, error) {
	if err := p.connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(p.connection, "GET /readyz HTTP/1.1\r\nHost: %s\r\n\r\n", address); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(p.responses, nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}
