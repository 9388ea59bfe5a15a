package bulk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// A client's address changes; no byte is lost, and the relay believes the new
// address only when it is proved.
func TestStreamRebinding(t *testing.T) {
	for _, to := range []string{"198.51.100.7:50001", "203.0.113.9:50001"} {
		for _, loss := range []float64{0, 0.2} {
			t.Run(fmt.Sprintf("%s at %v", to, loss), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, x := newStreamWorld(t, echo, ServerConfig{})
					defer w.stop()
					w.net.down.loss, w.net.up.loss = loss, loss
					s := w.stream(x)
					defer hangUp(s)
					ask(t, s, 500)
					w.rebind(netip.MustParseAddrPort(to))
					if took := ask(t, s, 200e3); took > 5*time.Second {
						t.Errorf("after the change it took %v", took)
					}
					if got := x.served[0].RemoteAddr().String(); got != to {
						t.Errorf("the relay takes the client to be at %s", got)
					}
				})
			})
		}
	}
}

// rebind gives the client another address outside of its NAT; what goes to the
// one before is lost.
func (w *world) rebind(to netip.AddrPort) {
	w.net.change(func() {
		w.net.nat[clientAddr] = to
		w.net.nat[netip.AddrPort{}] = clientAddr
	})
}

// The first packet comes from one address and all others from another: it is that
// one which is confirmed.
func TestStreamMovesBeforeItIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		elsewhere := netip.MustParseAddrPort("203.0.113.9:50001")
		at := make(chan string, 1)
		w, x := newStreamWorld(t, func(s *Stream) {
			_, _ = s.Write([]byte("hello"))
			select {
			case <-s.Confirmed():
				at <- s.RemoteAddr().String()
			case <-s.Done():
				at <- "nowhere"
			}
			<-s.Done()
		}, ServerConfig{})
		defer w.stop()
		nat := w.net.listen(elsewhere)
		defer nat.Close()
		go func() {
			batch := make([]Datagram, 10)
			for n, err := nat.ReadBatch(batch); err == nil; n, err = nat.ReadBatch(batch) {
				for _, d := range batch[:n] {
					w.net.arrive(clientAddr, d)
				}
			}
		}()
		w.net.change(func() {
			w.net.tap = func(from, _ netip.AddrPort, p []byte) {
				if w.net.up.dead = from == clientAddr && p[0] != typeHello; w.net.up.dead {
					d := Datagram{Data: bytes.Clone(p), Path: Path{Remote: elsewhere}}
					time.AfterFunc(20*time.Millisecond, func() { w.net.arrive(relayAddr, d) })
				}
			}
		})
		s := w.stream(x)
		defer hangUp(s)
		if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		if got := <-at; got != elsewhere.String() {
			t.Errorf("it was confirmed at %s", got)
		}
	})
}

func TestStreamReplayedFirstPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		confirmed := 0
		w, x := newStreamWorld(t, func(s *Stream) {
			_, _ = s.Read(make([]byte, 5000))
			_, _ = s.Write(bytesOf(100e3))
			select {
			case <-s.Confirmed():
				confirmed++
			case <-s.Done():
			}
			<-s.Done()
		}, ServerConfig{})
		rec := listenIn(w.net)
		s := w.stream(x)
		_, _ = s.Write([]byte("submit"))
		if _, err := io.ReadFull(s, make([]byte, 100e3)); err != nil {
			t.Fatal(err)
		}
		hangUp(s)
		time.Sleep(time.Minute)
		synctest.Wait()
		bytes, sent := rec.to[relayAddr], rec.sent
		replay := func() (came int) {
			for _, d := range sent {
				w.net.arrive(relayAddr, d)
				d.Path.Remote = strangerAddr
				came += len(d.Data)
				w.net.arrive(relayAddr, d)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			return came
		}
		replay()
		if x.streams() != 1 || rec.to[strangerAddr] > 0 || rec.to[relayAddr] != bytes {
			t.Errorf("replayed packets made %d streams and drew %d bytes", x.streams()-1, rec.to[strangerAddr])
		}
		w.stop()

		// A relay that has started anew can't know the packet.
		w.server = NewServer(w.server.cfg)
		w.serve()
		defer w.stop()
		came := replay()
		if x.streams() != 2 || confirmed != 1 {
			t.Errorf("after a restart there are %d streams, %d confirmed", x.streams(), confirmed)
		}
		if n := rec.to[strangerAddr]; n > budgetFactor*came {
			t.Errorf("%d bytes went to a stranger for %d", n, came)
		}
	})
}

// A session lives longer the more it is used, and as long its first packets are
// remembered.
func TestStreamFirstPacketsAreRememberedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, x := newStreamWorld(t, echo, ServerConfig{})
		defer w.stop()
		rec := listenIn(w.net)
		s := w.stream(x)
		ask(t, s, 100)
		hangUp(s)
		time.Sleep(6 * time.Hour)
		x.expire(time.Now().Add(12 * time.Hour))
		for _, after := range []time.Duration{7 * time.Hour, time.Minute} {
			time.Sleep(after)
			synctest.Wait()
			for _, d := range rec.sent {
				w.net.arrive(relayAddr, Datagram{Data: bytes.Clone(d.Data), Path: d.Path})
			}
		}
		time.Sleep(time.Second)
		if n := x.streams(); n != 1 {
			t.Errorf("a replayed packet made %d streams", n-1)
		}
	})
}

// To an address that may be spoofed goes little, whatever the stream has to say.
func TestStreamBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, x := newStreamWorld(t, func(s *Stream) { _, _ = s.Write(bytesOf(1e6)) }, ServerConfig{})
		defer w.stop()
		c := &streamCaller{}
		c.init(nil, relayAddr, x.key, 0, c)
		c.stream = newStream(clientBacklog, clientWindow, nil)
		_, least := c.firstAt()
		if err := c.makeHello(least); err != nil {
			t.Fatal(err)
		}
		to := 0
		w.net.change(func() {
			w.net.tap = func(_, addr netip.AddrPort, p []byte) {
				if addr == strangerAddr {
					to += len(p)
				}
			}
		})
		for i := range 3 {
			w.net.arrive(relayAddr, Datagram{Data: c.link.hello, Path: Path{Remote: strangerAddr}})
			time.Sleep(time.Second)
			synctest.Wait()
			if most := (i + 1) * budgetFactor * basePacket; to > most || to < most-leastWorth-basePacket {
				t.Errorf("%d copies draw %d bytes", i+1, to)
			}
		}
		time.Sleep(time.Minute)
		if l := w.server.Load(); l.Conns > 0 {
			t.Errorf("the relay holds %+v", l)
		}
	})
}

func TestStreamGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, x := newStreamWorld(t, echo, ServerConfig{})
		defer w.stop()
		rec := listenIn(w.net)
		s := w.stream(x)
		defer hangUp(s)
		ask(t, s, 1000)
		rng := rand.New(rand.NewPCG(3, 3))
		for i := range 100_000 {
			p := make([]byte, 20+rng.IntN(100))
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			switch rng.IntN(3) {
			case 0: // a good packet with a bit turned
				w.net.change(func() { p = append(p[:0], rec.sent[rng.IntN(len(rec.sent))].Data...) })
				p[rng.IntN(len(p))] ^= 1 << rng.IntN(8)
			case 1:
				p[0] = byte(rng.IntN(6))
			}
			d := Datagram{Data: p, Path: Path{Remote: strangerAddr}}
			w.net.arrive(relayAddr, d)
			d.Data = append([]byte(nil), p...)
			w.net.arrive(clientAddr, d)
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
			if i%10_000 == 0 {
				if took := ask(t, s, 1000); took > time.Second {
					t.Errorf("among garbage an answer took %v", took)
				}
			}
		}
		if rec.to[strangerAddr] > 0 || x.streams() != 1 {
			t.Errorf("%d bytes of answer to garbage, %d streams", rec.to[strangerAddr], x.streams())
		}
	})
}

// A key of one kind opens no connection of the other, and a foreign one none.
func TestStreamKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, x := newStreamWorld(t, echo, ServerConfig{})
		defer w.stop()
		rec := listenIn(w.net)
		other := x.key
		other.psk[0] ^= 1
		for _, key := range []Key{other, w.job.key, NewKey([32]byte{1}), NewSessionKey([32]byte{1})} {
			s := DialStream(t.Context(), w.net.listen(clientAddr), relayAddr, StreamConfig{Key: key, Silence: 3 * time.Second})
			_, _ = s.Write([]byte("hello"))
			_, err := s.Read(make([]byte, 1))
			var silent *SilentError
			if !errors.As(err, &silent) || silent.Answered {
				t.Errorf("it ends with %v", err)
			}
			<-s.Done()
		}
		cfg := w.config()
		cfg.Key, cfg.Silence = x.key, 3*time.Second
		if _, err := w.dial(cfg); err == nil {
			t.Error("a session's key opens a connection for data")
		}
		if n := rec.to[clientAddr]; n > 0 || x.streams() > 0 {
			t.Errorf("%d bytes of answer, %d streams", n, x.streams())
		}
	})
}
