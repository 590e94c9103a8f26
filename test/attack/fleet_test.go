package attack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// fleetConfig says how many good nodes there are, and where they connect to.
type fleetConfig struct {
	Identity      identity
	Address       string
	Size          int
	AliveInterval time.Duration
}

// fleetReport counts every heartbeat. A heartbeat is missed when it is not answered within the alive timeout, or when
// its session ended.
type fleetReport struct {
	InSession, Sent, Answered int
	Slowest                   time.Duration // from a heartbeat to its answer
	Ended                     []string      // why sessions ended, the first few
}

type goodFleet struct {
	aliveInterval time.Duration

	mu     sync.Mutex
	report fleetReport
	stop   chan struct{}
}

const aliveMessage = "conn:alive;;<EOF>"

// runFleet joins all nodes, answers, and keeps them alive until its orders end. "report" answers what happened since;
// "stop" has every node wait for the answer it is owed, and leave.
func runFleet(config fleetConfig, orders <-chan string, answer func(any)) error {
	f := &goodFleet{aliveInterval: config.AliveInterval, stop: make(chan struct{})}
	var joining, living sync.WaitGroup
	failures := make(chan error, config.Size)
	turns := make(chan struct{}, 48)
	for i := range config.Size {
		joining.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			// 25 nodes to an address: fewer than a source may have at a time before they are authenticated.
			n := node{config.Address, net.IPv4(127, 0, 2, byte(1+i/25)), config.Identity.client(), config.Identity.Certificate}
			conn, _, err := n.join(context.Background(), fmt.Sprint("good/", i))
			if err != nil {
				failures <- err
				return
			}
			f.mu.Lock()
			f.report.InSession++
			f.mu.Unlock()
			living.Go(func() { f.live(conn) })
		})
	}
	joining.Wait()
	select {
	case err := <-failures:
		return fmt.Errorf("a good node did not get in before the attack: %w", err)
	default:
	}
	answer(f.current())
	for order := range orders {
		if order == "stop" {
			close(f.stop)
			living.Wait()
		}
		answer(f.current())
	}
	return nil
}

func (f *goodFleet) current() fleetReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.report
}

// live sends a heartbeat each interval and waits for the answer, until stopped.
func (f *goodFleet) live(conn *tls.Conn) {
	defer conn.Close()
	next := time.Now().Add(rand.N(f.aliveInterval))
	for {
		select {
		case <-f.stop:
			return
		case <-time.After(time.Until(next)):
		}
		next = next.Add(f.aliveInterval)
		if err := f.beat(conn); err != nil {
			f.mu.Lock()
			f.report.InSession--
			if len(f.report.Ended) < 10 {
				f.report.Ended = append(f.report.Ended, err.Error())
			}
			f.mu.Unlock()
			return
		}
	}
}

func (f *goodFleet) beat(conn *tls.Conn) error {
	begin := time.Now()
	_ = conn.SetDeadline(begin.Add(missedBeats * f.aliveInterval))
	f.mu.Lock()
	f.report.Sent++
	f.mu.Unlock()
	if _, err := conn.Write([]byte(aliveMessage)); err != nil {
		return err
	}
	b := make([]byte, len(aliveMessage))
	if _, err := io.ReadFull(conn, b); err != nil {
		return err
	}
	if string(b) != aliveMessage {
		return errors.New("the answer is " + string(b))
	}
	took := time.Since(begin)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Answered++
	f.report.Slowest = max(f.report.Slowest, took)
	return nil
}
