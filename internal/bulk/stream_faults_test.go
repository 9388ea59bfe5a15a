package bulk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What is sent after the way was interrupted arrives soon after it is whole
// again, in either direction.
func TestStreamInterruption(t *testing.T) {
	for _, lasts := range []time.Duration{300 * time.Millisecond, 3 * time.Second, 9 * time.Second} {
		for name, dead := range map[string]func(n *network, dead bool){
			"both ways": func(n *network, dead bool) { n.up.dead, n.down.dead = dead, dead },
			"downwards": func(n *network, dead bool) { n.down.dead = dead },
			"upwards":   func(n *network, dead bool) { n.up.dead = dead },
		} {
			synctest.Test(t, func(t *testing.T) {
				w, x := newStreamWorld(t, echo, ServerConfig{})
				defer w.stop()
				s := w.stream(x)
				defer hangUp(s)
				ask(t, s, 100)
				w.net.change(func() { dead(w.net, true) })
				time.AfterFunc(lasts, func() { w.net.change(func() { dead(w.net, false) }) })
				if took := ask(t, s, 500); took > lasts+2*time.Second {
					t.Errorf("an interruption %s for %v made it take %v", name, lasts, took)
				}
			})
		}
	}
}

func TestStreamOfARelayThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, x := newStreamWorld(t, echo, ServerConfig{})
		s := w.stream(x)
		ask(t, s, 100)
		w.net.change(func() { w.net.down.dead = true }) // its last words are not heard
		w.stop()
		start := time.Now()
		_, _ = s.Write([]byte("still there?"))
		_, err := s.Read(make([]byte, 1))
		var silent *SilentError
		if took := time.Since(start); !errors.As(err, &silent) || !silent.Answered || took > 11*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		<-s.Done()
		if _, err := s.Write([]byte("x")); !errors.As(err, &silent) {
			t.Errorf("Write gives %v", err)
		}
		w.net.change(func() { w.net.down.dead = false })
		w.server = NewServer(w.server.cfg)
		w.serve()
		defer w.stop()
		s = w.stream(x)
		defer hangUp(s)
		ask(t, s, 100)
	})
}

func TestStreamShutdownIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, x := newStreamWorld(t, echo, ServerConfig{})
		s := w.stream(x)
		ask(t, s, 100)
		w.stop()
		_, err := s.Read(make([]byte, 1))
		refusedWith(t, err, CodeShutdown)
	})
}

// A client that dies, silently or with a word, ends its stream at the relay.
func TestStreamOfAClientThatEnds(t *testing.T) {
	for _, silent := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			end := make(chan error, 1)
			w, x := newStreamWorld(t, func(s *Stream) {
				_, err := io.Copy(io.Discard, s)
				_, writeErr := s.Write([]byte("x"))
				if writeErr == nil {
					t.Error("one can write to a client that is gone")
				}
				end <- err
			}, ServerConfig{})
			defer w.stop()
			s := w.stream(x)
			_, _ = s.Write([]byte("hello"))
			<-s.Answered()
			time.Sleep(time.Second)
			w.net.change(func() { w.net.up.dead = silent })
			start := time.Now()
			hangUp(s)
			err, took := <-end, time.Since(start)
			var quiet *SilentError
			switch {
			case silent && (!errors.As(err, &quiet) || took > 50*time.Second):
				t.Errorf("after %v a dead client gives %v", took, err)
			case !silent && (err != nil || took > 100*time.Millisecond):
				t.Errorf("after %v a client that went gives %v", took, err)
			}
		})
	}
}

// What was written before Close comes, and then the end.
func TestStreamCloseAtTheRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 300e3
		w, x := newStreamWorld(t, func(s *Stream) { _, _ = s.Write(bytesOf(n)) }, ServerConfig{})
		defer w.stop()
		w.net.down.loss, w.net.up.loss = 0.3, 0.3
		for range 5 {
			s := w.stream(x)
			_, _ = s.Write([]byte("hello"))
			got, err := io.ReadAll(s)
			if err != nil || !bytes.Equal(got, bytesOf(n)) {
				t.Errorf("%d bytes came, %v", len(got), err)
			}
			hangUp(s)
		}
	})
}

func TestStreamCloseAtTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100e3
		read := make(chan []byte, 1)
		w, x := newStreamWorld(t, func(s *Stream) {
			got, err := io.ReadAll(s)
			if err != nil {
				t.Error(err)
			}
			read <- got
		}, ServerConfig{})
		defer w.stop()
		w.net.down.loss, w.net.up.loss = 0.1, 0.1
		s := w.stream(x)
		_, _ = s.Write([]byte("x"))
		<-s.Answered()
		_, _ = s.Write(bytesOf(n))
		hangUp(s)
		if got := <-read; !bytes.Equal(got[1:], bytesOf(n)) {
			t.Errorf("%d other bytes came", len(got))
		}
	})
}

// Nobody reads: little is kept, and nothing is lost once somebody does.
func TestStreamFlowControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 4 << 20
		read := make(chan bool)
		var wrote int
		var mu sync.Mutex
		w, x := newStreamWorld(t, func(s *Stream) {
			go func() {
				for i := 0; i < n; i += 64 << 10 {
					k, _ := s.Write(bytesOf(n)[i:min(n, i+64<<10)])
					mu.Lock()
					wrote += k
					mu.Unlock()
				}
			}()
			<-read
			got := make([]byte, n)
			if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, bytesOf(n)) {
				t.Errorf("the relay read other bytes, %v", err)
			}
			<-s.Done()
		}, ServerConfig{})
		defer w.stop()
		w.net.down.loss, w.net.up.loss = 0.1, 0.1
		s := w.stream(x)
		defer hangUp(s)
		sent := make(chan bool)
		go func() {
			_, _ = s.Write(bytesOf(n))
			close(sent)
		}()
		time.Sleep(40 * time.Second)
		mu.Lock()
		if wrote > clientWindow+backlogMost+64<<10 {
			t.Errorf("%d bytes were taken that the client does not read", wrote)
		}
		mu.Unlock()
		if l := w.server.Load(); l.Memory > peerMemory+backlogMost+windowMost+1<<20 {
			t.Errorf("the relay holds %+v", l)
		}
		up, down := w.net.lanes()
		time.Sleep(40 * time.Second)
		upNow, downNow := w.net.lanes()
		if up, down := upNow.bytes-up.bytes, downNow.bytes-down.bytes; up > 50e3 || down > 50e3 {
			t.Errorf("while nobody reads %d and %d bytes go to and fro", up, down)
		}
		close(read)
		got := make([]byte, n)
		start := time.Now()
		if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, bytesOf(n)) {
			t.Errorf("the client read other bytes, %v", err)
		}
		<-sent
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("then it took %v", took)
		}
	})
}

func TestManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams = 100
		w, x := newStreamWorld(t, echo, ServerConfig{CookieAfter: 20, MaxPerKey: streams})
		defer w.stop()
		w.net.down.loss, w.net.up.loss = 0.05, 0.05
		var wg sync.WaitGroup
		for i := range streams {
			addr := netip.AddrPortFrom(clientAddr.Addr(), uint16(41000+i))
			s := DialStream(t.Context(), w.net.listen(addr), relayAddr, StreamConfig{Key: x.key})
			wg.Go(func() {
				defer hangUp(s)
				for range 5 {
					ask(t, s, 2000+100*i)
				}
				if got := s.RemoteAddr().String(); got != relayAddr.String() {
					t.Errorf("the relay is at %s", got)
				}
			})
		}
		wg.Wait()
		for _, s := range x.served {
			<-s.Done()
		}
	})
}

func TestStreamRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  ServerConfig
		do   func(w *world, x *testSession)
		code Code
		in   time.Duration
	}{
		"expired":      {ServerConfig{}, func(_ *world, x *testSession) { x.expire(time.Now()) }, CodeGone, recheckEvery + time.Second},
		"revoked":      {ServerConfig{}, func(w *world, x *testSession) { x.expire(time.Now()); w.server.Recheck(x.key.ID) }, CodeGone, 100 * time.Millisecond},
		"one too many": {ServerConfig{MaxPerKey: 1}, nil, CodeBusy, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan error, 1)
				w, x := newStreamWorld(t, func(s *Stream) {
					_, err := io.Copy(io.Discard, s)
					ended <- err
				}, tt.cfg)
				defer w.stop()
				s := w.stream(x)
				_, _ = s.Write([]byte("hello"))
				<-s.Answered()
				start := time.Now()
				if tt.do != nil {
					tt.do(w, x)
				} else {
					defer hangUp(s)
					s = DialStream(t.Context(), w.net.listen(strangerAddr), relayAddr, StreamConfig{Key: x.key})
				}
				_, err := s.Read(make([]byte, 1))
				refusedWith(t, err, tt.code)
				if took := time.Since(start); took > tt.in {
					t.Errorf("it took %v", took)
				}
				if tt.do != nil {
					if err := <-ended; !errors.Is(err, ErrGone) {
						t.Errorf("at the relay it ends with %v", err)
					}
					return
				}
				select {
				case <-s.Answered():
					t.Error("a refusal counts as an answer")
				default:
				}
			})
		})
	}
}

// A stream may be silent for long: what is said after that goes through, and
// when the way is gone that is noticed without a word.
func TestStreamIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, x := newStreamWorld(t, echo, ServerConfig{})
		defer w.stop()
		w.net.down.loss, w.net.up.loss = 0.1, 0.1
		s := w.stream(x)
		defer hangUp(s)
		ask(t, s, 100)
		time.Sleep(time.Second)
		before, _ := w.net.lanes()
		time.Sleep(10 * time.Minute)
		after, _ := w.net.lanes()
		if n := after.bytes - before.bytes; n > 20e3 {
			t.Errorf("in 10 idle minutes %d bytes came", n)
		}
		if took := ask(t, s, 100); took > 500*time.Millisecond {
			t.Errorf("then an answer took %v", took)
		}
		w.net.change(func() { w.net.up.dead, w.net.down.dead = true, true })
		start := time.Now()
		_, err := s.Read(make([]byte, 1))
		var silent *SilentError
		if took := time.Since(start); !errors.As(err, &silent) || took > keepAlive+defaultSilence+time.Second {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// What is written in short order goes in the first packet, the rest when the
// relay has answered. A relay may also speak first.
func TestStreamFirstPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := make(chan int, 1)
		w, x := newStreamWorld(t, func(s *Stream) {
			n, _ := s.Read(make([]byte, 5000))
			first <- n
			<-s.Done()
		}, ServerConfig{})
		defer w.stop()
		rec := listenIn(w.net)
		for _, tt := range []struct {
			writes []int
			want   int
		}{{[]int{24, 100, 300}, 424}, {[]int{3000}, streamHello}, {[]int{900, 900}, streamHello}} {
			rec.sent = nil
			s := w.stream(x)
			for _, n := range tt.writes {
				_, _ = s.Write(make([]byte, n))
				time.Sleep(time.Millisecond)
			}
			if n := <-first; n != tt.want {
				t.Errorf("%v: the first packet had %d bytes", tt.writes, n)
			}
			if n := len(rec.sent[0].Data); n != basePacket {
				t.Errorf("the first packet has %d bytes on the wire", n)
			}
			hangUp(s)
		}
		x.serve = func(s *Stream) { _, _ = s.Write([]byte("welcome")) }
		start := time.Now()
		s := w.stream(x)
		got, err := io.ReadAll(s)
		if took := time.Since(start); string(got) != "welcome" || err != nil || took > gatherMost+100*time.Millisecond {
			t.Errorf("after %v the relay said %q, %v", took, got, err)
		}
	})
}

func TestStreamContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, x := newStreamWorld(t, echo, ServerConfig{})
		defer w.stop()
		ctx, cancel := context.WithCancelCause(t.Context())
		s := DialStream(ctx, w.net.listen(clientAddr), relayAddr, StreamConfig{Key: x.key})
		ask(t, s, 100)
		cancel(errTest)
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, errTest) {
			t.Errorf("Read gives %v", err)
		}
		<-s.Done()
	})
}
