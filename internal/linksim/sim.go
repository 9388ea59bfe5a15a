package linksim

import (
	"container/heap"
	"time"
)

// Sim is a clock that jumps from event to event. It is not safe for concurrent use.
type Sim struct {
	now    time.Duration
	seq    uint64
	timers timers
	pipes  []*Pipe
}

// New returns a simulation at time 0.
func New() *Sim { return &Sim{} }

// Now returns the virtual time since the start.
func (s *Sim) Now() time.Duration { return s.now }

// Timer calls a function at a virtual time. A timer that waits may be set again.
type Timer struct {
	sim   *Sim
	at    time.Duration
	seq   uint64 // equal times run in the order in which they were set
	index int    // in the heap; -1: not waiting
	run   func()
}

// NewTimer returns a timer that does not wait for anything yet.
func (s *Sim) NewTimer(run func()) *Timer { return &Timer{sim: s, index: -1, run: run} }

// At calls run at the time at, or at once if that has passed.
func (s *Sim) At(at time.Duration, run func()) *Timer {
	t := s.NewTimer(run)
	t.Set(at)
	return t
}

// Set makes the timer run at the time at, or at once if that has passed.
func (t *Timer) Set(at time.Duration) {
	t.at = max(at, t.sim.now)
	t.sim.seq++
	t.seq = t.sim.seq
	if t.index >= 0 {
		heap.Fix(&t.sim.timers, t.index)
		return
	}
	heap.Push(&t.sim.timers, t)
}

// Stop forgets the timer until it is set again.
func (t *Timer) Stop() {
	if t.index >= 0 {
		heap.Remove(&t.sim.timers, t.index)
	}
}

// Waiting returns when the timer will run and whether it waits at all.
func (t *Timer) Waiting() (time.Duration, bool) { return t.at, t.index >= 0 }

// Run lets the virtual time go on to until, or to when nothing is left to happen.
func (s *Sim) Run(until time.Duration) {
	for s.Step(until) {
	}
	s.now = max(s.now, until)
}

// Step lets the next thing happen, if there is one up to the time until.
func (s *Sim) Step(until time.Duration) bool {
	var next *Pipe
	at := until
	found := false
	for _, p := range s.pipes {
		if p.n > 0 && p.first().at <= at && (!found || p.first().at < at) {
			next, at, found = p, p.first().at, true
		}
	}
	if len(s.timers) > 0 && s.timers[0].at <= at && (!found || s.timers[0].at < at) {
		t := s.timers[0]
		s.now = t.at
		heap.Pop(&s.timers)
		t.run()
		return true
	}
	if !found {
		return false
	}
	s.now = at
	next.deliver()
	return true
}

type timers []*Timer

func (h timers) Len() int { return len(h) }

func (h timers) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].seq < h[j].seq
}

func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timers) Push(x any) {
	t := x.(*Timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timers) Pop() any {
	t := (*h)[len(*h)-1]
	t.index = -1
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return t
}
