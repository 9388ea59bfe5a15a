package reach

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/transport"
)

// leg is one way that takes part in a race.
type leg struct {
	way Way

	// open returns a connection that may be written to at once. What it sent may
	// come at the same time as what other legs sent.
	open func(ctx context.Context) (net.Conn, error)
}

// Outcome is what came of a race.
type Outcome struct {
	Way   Way           // which answered first; empty: none did
	After time.Duration // since the start
	Err   map[Way]error // of the ways that had failed by then
}

// runner is a leg that runs.
type runner struct {
	leg
	cancel context.CancelFunc
	conn   net.Conn // nil: not open yet; it stays once the race is over
	once   sync.Once
}

// race opens a stream over the legs, and over the last one only when the others
// have failed, one of them was refused, or patience has passed. over is called
// once, when the race is decided, unless the stream was closed before. ctx ends
// the stream.
func race(ctx context.Context, patience time.Duration, legs []leg, last leg, over func(Outcome)) *Stream {
	s := &Stream{start: time.Now(), patience: patience, over: over, failed: map[Way]error{}, hurry: make(chan struct{})}
	s.changed = sync.NewCond(&s.mu)
	s.unhook = context.AfterFunc(ctx, func() { s.fail(context.Cause(ctx)) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range legs {
		s.run(ctx, l)
	}
	s.wg.Go(func() { s.lastResort(ctx, len(legs), last) })
	return s
}

// lastResort starts the last leg when it is time to, if it still is.
func (s *Stream) lastResort(ctx context.Context, others int, last leg) {
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	if others > 0 {
		select {
		case <-timer.C:
		case <-s.hurry:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.winner == nil && s.err == nil {
		s.run(ctx, last)
	}
}

// run starts a leg; the lock is held.
func (s *Stream) run(ctx context.Context, l leg) {
	ctx, cancel := context.WithCancel(ctx)
	r := &runner{leg: l, cancel: cancel}
	s.runners = append(s.runners, r)
	s.wg.Go(func() {
		if err := s.compete(ctx, r); err != nil {
			s.drop(r, err)
		}
	})
}

// compete opens a leg and waits for its first answer.
func (s *Stream) compete(ctx context.Context, r *runner) error {
	conn, err := r.open(ctx)
	if err != nil {
		return err
	}
	if !s.attach(r, conn) {
		return conn.Close()
	}
	buf := make([]byte, 4<<10)
	n, err := conn.Read(buf)
	if n > 0 {
		s.win(r, buf[:n])
		return nil
	}
	return err
}

// attach lets what is kept go over a leg's connection, unless the race is over.
func (s *Stream) attach(r *runner, conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.winner != nil {
		return false
	}
	r.conn = conn
	s.wg.Go(func() { s.feed(r) })
	return true
}

// feed writes what is kept to a leg, as long as it may win or has won; then the
// caller's Writes go there by themselves.
func (s *Stream) feed(r *runner) {
	for sent := 0; ; {
		chunk := s.nextKept(r, sent)
		if chunk == nil {
			return
		}
		n, err := r.conn.Write(chunk)
		sent += n
		if err != nil {
			s.leaveToWrite(r)
			return
		}
	}
}

// nextKept waits for bytes that a leg has not got yet; nil means that there are
// none for it any more.
func (s *Stream) nextKept(r *runner, sent int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && (s.winner == nil || s.winner == r) {
		if sent < len(s.kept) {
			return s.kept[sent:]
		}
		if s.winner == r {
			s.openDirect()
			return nil
		}
		s.changed.Wait()
	}
	return nil
}

// openDirect hands the winner to Write; the lock is held.
func (s *Stream) openDirect() {
	s.kept, s.direct = nil, true
	_ = s.winner.conn.SetWriteDeadline(s.writeBy) // where it can't, Writes last as long as they last
	s.changed.Broadcast()
}

// leaveToWrite is for a leg that can't be written to. Its reader learns why; if
// it has won by then, the next Write does.
func (s *Stream) leaveToWrite(r *runner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && s.winner == nil && s.failed[r.way] == nil {
		s.changed.Wait()
	}
	if s.err == nil && s.winner == r {
		s.openDirect()
	}
}

// win ends the race for the leg that answered, unless another was first.
func (s *Stream) win(r *runner, first []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.winner != nil {
		return
	}
	s.winner, s.first = r, first
	_ = r.conn.SetReadDeadline(s.readBy) // see openDirect
	s.decided(r.way)
	s.rush() // there will be no last resort
	for _, o := range s.runners {
		if o != r {
			s.wg.Go(o.close)
		}
	}
	s.changed.Broadcast()
}

// close ends a leg that has lost.
func (r *runner) close() {
	r.once.Do(func() {
		r.cancel()
		if r.conn != nil {
			_ = r.conn.Close() // it is of no use, however it closes
		}
	})
}

// drop takes a leg that failed out of the race.
func (s *Stream) drop(r *runner, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wg.Go(r.close) // aside: an ssh that ends takes its time
	if s.err != nil || s.winner != nil {
		return
	}
	s.failed[r.way] = err
	running := 0
	for _, o := range s.runners {
		if s.failed[o.way] == nil {
			running++
		}
	}
	last := s.failed[SSH]
	switch {
	case running == 0 && last != nil:
		s.decided("")
		s.failLocked(last) // it says most
	case running == 0, final(err):
		s.rush()
	case r.way == SSH:
		time.AfterFunc(mercy, func() { s.giveUp(err) })
	}
	s.changed.Broadcast()
}

// mercy is how long the other ways may still take when ssh has failed. Where the
// relay is down, a way that only hears nothing would be waited for much longer.
const mercy = 3 * time.Second

// giveUp ends a race that nobody has won with what ssh said.
func (s *Stream) giveUp(last error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.winner == nil && s.err == nil {
		s.decided("")
		s.failLocked(last)
	}
}

// final tells whether a way's error speaks for the other ways too.
func final(err error) bool {
	return isType[*RefusedError](err) || isType[*transport.PinMismatchError](err)
}

// rush ends the wait for the last resort; the lock is held.
func (s *Stream) rush() {
	select {
	case <-s.hurry:
	default:
		close(s.hurry)
	}
}

// decided tells the outcome; the lock is held.
func (s *Stream) decided(way Way) {
	if s.over == nil || s.done {
		return
	}
	s.done = true
	o := Outcome{Way: way, After: time.Since(s.start), Err: map[Way]error{}}
	for w, err := range s.failed {
		o.Err[w] = err
	}
	s.wg.Go(func() { s.over(o) })
}

// fail ends the stream with an error; the first one stays.
func (s *Stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(err)
}

func (s *Stream) failLocked(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	for _, r := range s.runners {
		s.wg.Go(r.close)
	}
	s.rush()
	s.changed.Broadcast()
}
