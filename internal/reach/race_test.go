package reach

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// way is a way of a test: what happens on it in virtual time.
type way struct {
	name   Way
	handle time.Duration // until the connection is open
	answer time.Duration // from what was written first to the first answer; 0: never
	dies   error         // opening ends with it, after handle

	mu     sync.Mutex
	opened time.Duration // since the race's start; negative: never
	closed bool
	got    string
}

func (w *way) leg(start time.Time) leg {
	w.opened = -1
	return leg{way: w.name, open: func(ctx context.Context) (net.Conn, error) {
		w.mu.Lock()
		w.opened = time.Since(start)
		w.mu.Unlock()
		select {
		case <-time.After(w.handle):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if w.dies != nil {
			return nil, w.dies
		}
		ours, theirs := net.Pipe()
		go w.serve(theirs)
		return ours, nil
	}}
}

// serve answers what came first with the way's name, and echoes the rest.
func (w *way) serve(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 1024)
	for first := true; ; first = false {
		n, err := c.Read(buf)
		w.mu.Lock()
		w.got += string(buf[:n])
		w.closed = err != nil
		w.mu.Unlock()
		if err != nil {
			return
		}
		if first {
			if w.answer == 0 {
				continue
			}
			time.Sleep(w.answer)
			_, _ = c.Write([]byte(w.name))
			continue
		}
		_, _ = c.Write(buf[:n])
	}
}

const ms = time.Millisecond

var errBlocked = errors.New("blocked")

func TestRace(t *testing.T) {
	for name, c := range map[string]*struct {
		udp, tls, ssh way
		want          Way
		after         time.Duration // of the first answer
		ssh0          time.Duration // when ssh started; negative: never
		failed        []Way
	}{
		"UDP answers first": {
			udp: way{answer: 200 * ms}, tls: way{handle: 400 * ms, answer: 200 * ms}, ssh: way{answer: 3 * time.Second},
			want: UDP, after: 200 * ms, ssh0: -1,
		},
		"UDP is blocked": {
			udp: way{}, tls: way{handle: 400 * ms, answer: 200 * ms}, ssh: way{answer: 3 * time.Second},
			want: TLS, after: 600 * ms, ssh0: -1,
		},
		"both are blocked": {
			udp: way{}, tls: way{handle: time.Hour}, ssh: way{answer: 3 * time.Second},
			want: SSH, after: 4 * time.Second, ssh0: time.Second,
		},
		"both fail at once": {
			udp: way{dies: errBlocked}, tls: way{handle: 10 * ms, dies: errBlocked}, ssh: way{answer: 3 * time.Second},
			want: SSH, after: 3010 * ms, ssh0: 10 * ms, failed: []Way{TLS, UDP},
		},
		"the session is refused": {
			udp: way{}, tls: way{handle: 600 * ms, dies: &RefusedError{}}, ssh: way{answer: 3 * time.Second},
			want: SSH, after: 3600 * ms, ssh0: 600 * ms, failed: []Way{TLS},
		},
		"UDP answers late, and before ssh": {
			udp: way{answer: 1500 * ms}, tls: way{handle: time.Hour}, ssh: way{answer: 3 * time.Second},
			want: UDP, after: 1500 * ms, ssh0: time.Second,
		},
		"ssh fails, UDP answers after all": {
			udp: way{answer: 3 * time.Second}, tls: way{dies: errBlocked}, ssh: way{dies: errBlocked},
			want: UDP, after: 3 * time.Second, ssh0: time.Second, failed: []Way{SSH, TLS},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				c.udp.name, c.tls.name, c.ssh.name = UDP, TLS, SSH
				var got Outcome
				s := race(t.Context(), time.Second, []leg{c.udp.leg(start), c.tls.leg(start)}, c.ssh.leg(start), func(o Outcome) { got = o })
				_, err := s.Write([]byte("hello"))
				must(t, err)
				b := make([]byte, 100)
				n, err := s.Read(b)
				must(t, err)
				if took := time.Since(start); string(b[:n]) != string(c.want) || s.Way() != c.want || took != c.after {
					t.Errorf("%q (%v) answered after %v", b[:n], s.Way(), took)
				}
				// From now on it is a plain connection.
				_, err = s.Write([]byte("more"))
				must(t, err)
				if _, err = io.ReadFull(s, b[:4]); err != nil || string(b[:4]) != "more" {
					t.Errorf("%q, %v", b[:4], err)
				}
				must(t, s.Close())
				time.Sleep(time.Minute) // in virtual time, for the far sides
				synctest.Wait()
				var failed []Way
				for w := range got.Err {
					failed = append(failed, w)
				}
				slices.Sort(failed)
				if got.Way != c.want || got.After != c.after || !slices.Equal(failed, c.failed) {
					t.Errorf("outcome %+v", got)
				}
				if c.ssh.opened != c.ssh0 {
					t.Errorf("ssh started at %v", c.ssh.opened)
				}
				for _, w := range []*way{&c.udp, &c.tls, &c.ssh} {
					if w.got != "" && !w.closed {
						t.Errorf("%s stays open", w.name)
					}
					if want := map[bool]string{true: "hellomore", false: "hello"}[w.name == c.want]; w.got != "" && w.got != want {
						t.Errorf("%s got %q", w.name, w.got)
					}
				}
			})
		})
	}
}

// When everything fails, ssh's error is told: it says most. A way that hears
// nothing is not waited for much longer than ssh.
func TestRaceThatNobodyWins(t *testing.T) {
	for _, c := range []struct{ silent, want time.Duration }{
		{silent: 4 * time.Second, want: 4 * time.Second},
		{silent: 20 * time.Second, want: 3*time.Second + mercy},
	} {
		synctest.Test(t, func(t *testing.T) {
			denied := errors.New("permission denied")
			start := time.Now()
			udp, ssh := way{name: UDP, handle: c.silent, dies: errBlocked}, way{name: SSH, handle: 2 * time.Second, dies: denied}
			var got Outcome
			s := race(t.Context(), time.Second, []leg{udp.leg(start)}, ssh.leg(start), func(o Outcome) { got = o })
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, denied) || time.Since(start) != c.want {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			if _, err := s.Write([]byte("x")); !errors.Is(err, denied) {
				t.Error(err)
			}
			must(t, s.Close())
			if got.Way != "" || got.Err[SSH] == nil {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A connection that broke after it stood says over which way.
func TestRaceWinnerBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		udp := leg{way: UDP, open: func(context.Context) (net.Conn, error) { return ours, nil }}
		ssh := way{name: SSH}
		s := race(t.Context(), time.Second, []leg{udp}, ssh.leg(time.Now()), nil)
		defer s.Close()
		go func() {
			_, _ = theirs.Write([]byte("ab"))
			_ = theirs.Close()
		}()
		b := make([]byte, 1)
		for range 2 {
			if _, err := s.Read(b); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.Read(b)
		if lost, ok := errors.AsType[*LostError](err); !ok || lost.Way != UDP || !errors.Is(err, io.EOF) {
			t.Errorf("%v", err)
		}
		if ssh.opened >= 0 {
			t.Error("ssh was started")
		}
	})
}

// The context ends the stream, whatever waits.
func TestRaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		udp, ssh := way{name: UDP}, way{name: SSH, handle: time.Hour}
		s := race(ctx, time.Second, []leg{udp.leg(time.Now())}, ssh.leg(time.Now()), func(Outcome) { t.Error("there was an outcome") })
		time.AfterFunc(2*time.Second, func() { cancel(errBlocked) })
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, errBlocked) {
			t.Error(err)
		}
		must(t, s.Close())
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, errBlocked) {
			t.Error(err)
		}
	})
}

func TestRaceDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		udp, ssh := way{name: UDP, answer: 5 * time.Second}, way{name: SSH, handle: time.Hour}
		s := race(t.Context(), time.Minute, []leg{udp.leg(start)}, ssh.leg(start), nil)
		defer s.Close()
		must(t, s.SetDeadline(start.Add(time.Second)))
		_, err := s.Write(make([]byte, maxKept))
		must(t, err)
		if _, err := s.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		must(t, s.SetReadDeadline(start.Add(2*time.Second)))
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		must(t, s.SetDeadline(time.Time{}))
		b := make([]byte, 10)
		if n, err := s.Read(b); err != nil || string(b[:n]) != "udp" {
			t.Errorf("%q, %v", b[:n], err)
		}
	})
}
