package master

import (
	"context"
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

// permitted is a permit for everything, for as long as a test takes.
func permitted(clk clock.PassiveClock) *permit {
	p := newPermit(clk)
	end := clk.Now().Add(1000 * time.Hour)
	p.Answers(end)
	p.Admits(end)
	p.Reports(end)
	return p
}

func TestAPermitEndsByItself(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Now())
	p := newPermit(clk)
	if p.MayAdmit() {
		t.Error("a new permit admits")
	}
	p.Admits(clk.Now().Add(10 * time.Second))
	p.Admits(clk.Now().Add(5 * time.Second)) // which takes nothing back
	clk.Step(9 * time.Second)
	if !p.MayAdmit() {
		t.Error("it does not admit before its end")
	}
	clk.Step(time.Second)
	if p.MayAdmit() {
		t.Error("it admits at its end")
	}
}

func TestAProcessThatWasFrozenWaitsBeforeItAnswers(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Now())
	p := newPermit(clk)
	p.Answers(clk.Now().Add(10 * time.Second))
	p.WaitToAnswer()
	clk.Step(time.Minute) // frozen
	answered := make(chan struct{})
	go func() {
		p.WaitToAnswer()
		close(answered)
	}()
	p.Admits(clk.Now().Add(time.Hour)) // which is no leave to answer
	select {
	case <-answered:
		t.Fatal("it answers before it tried the Lease again")
	default:
	}
	p.Answers(clk.Now().Add(10 * time.Second))
	<-answered
}

func TestNobodyWaitsForAPermitThatIsOver(t *testing.T) {
	p := newPermit(clock.RealClock{})
	waited := make(chan bool)
	go func() { waited <- p.WaitToReport(context.Background()) }()
	p.End()
	if <-waited {
		t.Error("it may report")
	}
	p.WaitToAnswer()
}
