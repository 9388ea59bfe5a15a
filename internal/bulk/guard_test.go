package bulk

import (
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

var strangerAddr = netip.MustParseAddrPort("203.0.113.66:6666")

// recorder keeps copies of what a client sends and counts what goes where.
type recorder struct {
	sent []Datagram // from the client
	to   map[netip.AddrPort]int
}

func listenIn(n *network) *recorder {
	r := &recorder{to: map[netip.AddrPort]int{}}
	n.change(func() {
		n.tap = func(from, to netip.AddrPort, p []byte) {
			r.to[to] += len(p) + wireOverhead
			if from == clientAddr {
				r.sent = append(r.sent, Datagram{Data: append([]byte(nil), p...), Path: Path{Remote: from}})
			}
		}
	})
	return r
}

func TestReplayedFirstPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20, ServerConfig{})
		link50(w.net)
		w.job.grant(strangerAddr.Addr(), true) // a client's, whose address somebody forges
		rec := listenIn(w.net)
		w.fetch(time.Minute)
		time.Sleep(time.Minute)
		synctest.Wait()
		conns, bytes := w.job.opens, rec.to[relayAddr]
		for _, d := range rec.sent {
			w.net.arrive(relayAddr, d)
			d.Path.Remote = strangerAddr
			w.net.arrive(relayAddr, d)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.job.opens != conns || rec.to[strangerAddr] > 0 || rec.to[relayAddr] != bytes {
			t.Errorf("replayed packets made %d connections and drew %d bytes", w.job.opens-conns, rec.to[strangerAddr])
		}
		w.stop()

		// A relay that has started anew can't know them; what they draw is bounded.
		w.server = NewServer(w.server.cfg)
		w.serve()
		defer w.stop()
		for _, d := range rec.sent {
			d.Path.Remote = strangerAddr
			w.net.arrive(relayAddr, d)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := rec.to[strangerAddr]; n > 600e3 {
			t.Errorf("after a restart replayed packets drew %d bytes to a granted address", n)
		}
	})
}

func TestReplayFromStrangersAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20, ServerConfig{})
		link50(w.net)
		rec := listenIn(w.net)
		w.fetch(time.Minute)
		w.stop()
		w.server = NewServer(w.server.cfg)
		w.serve()
		defer w.stop()
		came := 0
		for range 10 {
			for _, d := range rec.sent {
				d.Path.Remote = strangerAddr
				came += len(d.Data) + wireOverhead
				w.net.arrive(relayAddr, d)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := rec.to[strangerAddr]; n > budgetFactor*came || n > 2000 {
			t.Errorf("%d bytes went to an address that is not granted, for %d that came from it", n, came)
		}
	})
}

func TestForeignKeys(t *testing.T) {
	for name, change := range map[string]func(k *Key){
		"an unknown key id":           func(k *Key) { k.ID[3] ^= 1 },
		"a known id with another key": func(k *Key) { k.psk[3] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1<<20, ServerConfig{})
				defer w.stop()
				link50(w.net)
				rec := listenIn(w.net)
				cfg := w.config(span.Span{End: 1 << 20})
				change(&cfg.Key)
				_, err := w.dial(cfg)
				var silent *SilentError
				if !errors.As(err, &silent) || silent.Answered || rec.to[clientAddr] > 0 {
					t.Errorf("%v, after %d bytes of answer", err, rec.to[clientAddr])
				}
			})
		})
	}
}

// A relay that somebody else plays can't end a connection that is being made or
// put bytes into it.
func TestForgedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		rng := rand.New(rand.NewPCG(3, 3))
		w.net.change(func() {
			w.net.tap = func(from, _ netip.AddrPort, p []byte) {
				if from != clientAddr {
					return
				}
				for _, typ := range []byte{typeAnswer, typeData, typeCookie, 0, 99} {
					for _, size := range []int{30, cookieSize, answerHead + 40, 1200} {
						forged := make([]byte, size)
						for i := range forged {
							forged[i] = byte(rng.Uint32())
						}
						if size > 1000 {
							clear(forged) // a public key of low order
						}
						forged[0] = typ
						if p[0] == typeHello {
							copy(forged[1:5], p[20:24])
						}
						d := Datagram{Data: forged, Path: Path{Remote: relayAddr}}
						time.AfterFunc(time.Microsecond, func() { w.net.arrive(clientAddr, d) })
					}
				}
			}
		})
		w.fetch(time.Minute)
	})
}

func TestGarbageFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		rec := listenIn(w.net)
		rng := rand.New(rand.NewPCG(3, 3))
		var stop atomic.Bool
		var flood func()
		flood = func() { // 20,000 a second
			for range 20 {
				p := make([]byte, 20+rng.IntN(1400))
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				switch rng.IntN(4) {
				case 0:
					p[0] = byte(rng.IntN(6))
				case 1:
					p = append(helloStart(suiteAES, w.job.key.ID, 7), p...)
				case 2: // a good first packet with a bit turned
					w.net.change(func() {
						if len(rec.sent) > 0 {
							p = append([]byte(nil), rec.sent[0].Data...)
							p[rng.IntN(len(p)-2*macLen)] ^= 1
							if end := len(p) - 2*macLen; rng.IntN(2) == 0 { // and a first MAC that fits
								copy(p[end:], shortMAC(w.job.key.hello[:], p[:end]))
							}
						}
					})
				}
				w.net.arrive(relayAddr, Datagram{Data: p, Path: Path{Remote: strangerAddr}})
			}
			if !stop.Load() {
				time.AfterFunc(time.Millisecond, flood)
			}
		}
		flood()
		took, _ := w.fetch(time.Minute)
		stop.Store(true)
		synctest.Wait()
		if took > time.Second {
			t.Errorf("under a flood it took %v", took)
		}
		if rec.to[strangerAddr] > 0 {
			t.Errorf("%d bytes of answer to garbage", rec.to[strangerAddr])
		}
	})
}

func TestCookieUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 100e3, ServerConfig{CookieAfter: 3})
		defer w.stop()
		link50(w.net)
		cookies := 0
		w.net.tap = func(_, to netip.AddrPort, p []byte) {
			if p[0] == typeCookie {
				cookies++
			}
			if to == strangerAddr && p[0] != typeCookie {
				t.Errorf("an address that bears no cookie got a packet of type %d", p[0])
			}
		}
		var conns []*Conn
		for i := range 6 {
			before := cookies
			start := time.Now()
			c, err := Dial(t.Context(), w.net.listen(netip.AddrPortFrom(clientAddr.Addr(), uint16(41000+i))), relayAddr,
				Config{Key: w.job.key, Sink: newSink(), First: []span.Span{{End: 100e3}}})
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			took, asked := time.Since(start), cookies > before
			if asked != (i >= 3) {
				t.Errorf("connection %d: a cookie was asked for: %v", i, asked)
			}
			if asked && (took < 80*time.Millisecond || took > 100*time.Millisecond) {
				t.Errorf("with a cookie it took %v", took)
			}
			if asked { // the same packet with its cookie, from elsewhere
				hello := append([]byte(nil), c.link.hello...)
				w.net.arrive(relayAddr, Datagram{Data: hello, Path: Path{Remote: strangerAddr}})
			}
		}
		for _, c := range conns {
			c.Close()
		}
	})
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cfg := range []ServerConfig{{MaxConns: 2}, {MaxPerKey: 2}, {MaxMemory: 2 * peerMemory}} {
			w := newWorld(t, 1000, cfg)
			link50(w.net)
			var conns []*Conn
			for i := range 3 {
				c, err := Dial(t.Context(), w.net.listen(netip.AddrPortFrom(clientAddr.Addr(), uint16(41000+i))), relayAddr,
					Config{Key: w.job.key, Sink: newSink(), First: []span.Span{{End: 1000}}})
				if i < 2 && err != nil {
					t.Fatal(err)
				}
				if err == nil {
					conns = append(conns, c)
				}
				if i == 2 {
					if err == nil {
						<-c.Done()
						err = c.Err()
					}
					refusedWith(t, err, CodeBusy)
				}
			}
			for _, c := range conns {
				c.Close()
			}
			w.stop()
		}
	})
}

// The first packets of one key are remembered up to a bound, and then no more
// are taken: who has the key can't fill the relay's memory.
func TestUsedFirstPacketsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1000, ServerConfig{CookieAfter: 1 << 30, MaxPerKey: 1 << 20})
		defer w.stop()
		w.net.down.dead = true
		pc := w.net.listen(clientAddr)
		defer pc.Close()
		key := w.job.key
		for i := range usedPerKey + 100 {
			w.net.arrive(relayAddr, Datagram{Data: helloOf(t, key), Path: Path{Remote: clientAddr}})
			if i%100 == 0 {
				time.Sleep(10 * time.Second)
			}
		}
		time.Sleep(10 * time.Second)
		w.server.mu.Lock()
		n := len(w.server.used[key.ID].seen)
		w.server.mu.Unlock()
		if n > usedPerKey || n < usedPerKey-300 {
			t.Errorf("%d first packets are remembered", n)
		}
		time.Sleep(13 * time.Hour)
		w.net.arrive(relayAddr, Datagram{Data: []byte("wake up"), Path: Path{Remote: clientAddr}})
		time.Sleep(time.Second)
		w.server.mu.Lock()
		defer w.server.mu.Unlock()
		if len(w.server.used) > 0 {
			t.Error("first packets of an expired key are still remembered")
		}
	})
}

func TestManyClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 50
		w := newWorld(t, 200e3, ServerConfig{CookieAfter: 1000})
		defer w.stop()
		link50(w.net)
		w.net.down.rate, w.net.down.loss = 200e6/8, 0.02
		var sinks []*testSink
		var conns []*Conn
		for i := range clients {
			job := newJob(string(rune('a'+i)), newBody(200e3))
			w.jobs.mu.Lock()
			w.jobs.jobs[job.key.ID] = job
			w.jobs.mu.Unlock()
			sink := newSink()
			c, err := Dial(t.Context(), w.net.listen(netip.AddrPortFrom(clientAddr.Addr(), uint16(41000+i))), relayAddr,
				Config{Key: job.key, Sink: sink, First: []span.Span{{End: 200e3}}, Last: true})
			if err != nil {
				t.Fatal(err)
			}
			sinks, conns = append(sinks, sink), append(conns, c)
		}
		w.until("all have all", time.Minute, func() bool {
			for _, s := range sinks {
				if _, ok := s.finished(1); !ok {
					return false
				}
			}
			return true
		})
		l := w.server.Load()
		if l.Conns != clients || l.Memory > clients*(peerMemory+1<<20) {
			t.Errorf("the relay holds %+v", l)
		}
		for i, c := range conns {
			c.Close()
			if sinks[i].wrong != nil || sinks[i].bytes != 200e3 {
				t.Errorf("client %d: %d bytes, %v", i, sinks[i].bytes, sinks[i].wrong)
			}
		}
	})
}

func TestKeysDiffer(t *testing.T) {
	a, b := NewKey(sha256.Sum256([]byte("a"))), NewKey(sha256.Sum256([]byte("b")))
	if a.ID == b.ID || a.psk == b.psk || a.cookie == b.cookie || a.psk == a.cookie || string(a.ID[:]) == string(a.psk[:16]) {
		t.Error("keys of different tokens, or for different uses, are the same")
	}
	x := NewSessionKey(sha256.Sum256([]byte("a")))
	if x.ID == a.ID || x.psk == a.psk || x.hello == a.hello || x.cookie == a.cookie {
		t.Error("a session's key is a token's")
	}
	// Another implementation has to come to the same.
	if got := hexOf(x.ID[:]); got != sessionKeyIDOfA {
		t.Errorf("the key id of a session with the hash of \"a\" is %s", got)
	}
	if got := hexOf(a.ID[:]); got != keyIDOfA {
		t.Errorf("the key id of token \"a\" is %s", got)
	}
}

// Who copies a client's first packet and is faster with it, from an address that
// is not granted, must not keep the client from its answer.
func TestFasterCopyOfTheFirstPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		rec := listenIn(w.net)
		tap := w.net.tap
		w.net.tap = func(from, to netip.AddrPort, p []byte) {
			tap(from, to, p)
			if from == clientAddr {
				d := Datagram{Data: append([]byte(nil), p...), Path: Path{Remote: strangerAddr}}
				time.AfterFunc(time.Millisecond, func() { w.net.arrive(relayAddr, d) })
			}
		}
		w.fetch(time.Minute)
		synctest.Wait()
		if n := rec.to[strangerAddr]; n > 3000 {
			t.Errorf("the stranger got %d bytes", n)
		}
	})
}
