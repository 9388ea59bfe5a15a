package transport

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/span"
)

// shelf is a relay with one job, whose object is numbers.
type shelf struct {
	key  bulk.Key
	size int64
}

func (s *shelf) Lookup(id bulk.KeyID) (bulk.Job, bool) { return s, id == s.key.ID }
func (s *shelf) Key() (bulk.Key, time.Time)            { return s.key, time.Now().Add(time.Hour) }
func (s *shelf) Allowed(a netip.Addr) bool             { return a.IsLoopback() }
func (s *shelf) Object() string                        { return "numbers" }
func (s *shelf) Size() (int64, bool)                   { return s.size, true }
func (s *shelf) Close() error                          { return nil }
func (s *shelf) Wait(context.Context, int64) error     { return nil }

func (s *shelf) Open(context.Context, string) (bulk.Body, error) { return s, nil }

// numbers are repeated over the whole object; its length is prime.
var numbers = func() []byte {
	b := make([]byte, 262147)
	for i := range b {
		b[i] = byte(i * i >> 8)
	}
	return b
}()

func (s *shelf) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.size-off)]
	for n := 0; n < len(p); {
		n += copy(p[n:], numbers[(off+int64(n))%int64(len(numbers)):])
	}
	return len(p), nil
}

// checker is a sink that compares all that comes.
type checker struct {
	mu    sync.Mutex
	bytes int64
	done  chan span.Span
}

func (c *checker) Data(off int64, p []byte) error {
	c.mu.Lock()
	c.bytes += int64(len(p))
	c.mu.Unlock()
	for len(p) > 0 {
		at := off % int64(len(numbers))
		n := min(len(p), len(numbers)-int(at))
		if string(p[:n]) != string(numbers[at:][:n]) {
			return fmt.Errorf("wrong bytes at %d", off)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func (c *checker) Done(_ bulk.RangeID, at span.Span) { c.done <- at }

// fetchUDP brings an object of a size from a relay at a loopback address.
func fetchUDP(t testing.TB, listen, host string, size int64) bulk.Stats {
	t.Helper()
	sock, err := ListenUDP(t.Context(), listen)
	if err != nil {
		t.Skipf("no socket at %s: %v", listen, err)
	}
	s := &shelf{key: bulk.NewKey(sha256.Sum256([]byte("token"))), size: size}
	server := bulk.NewServer(bulk.ServerConfig{Jobs: s})
	served := make(chan error, 1)
	go func() { served <- server.Serve(sock) }()
	defer func() {
		server.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	relay := netip.AddrPortFrom(netip.MustParseAddr(host), sock.Port())
	pc, err := DialUDP(t.Context(), relay)
	if err != nil {
		t.Fatal(err)
	}
	sink := &checker{done: make(chan span.Span, 1)}
	conn, err := bulk.Dial(t.Context(), pc, relay, bulk.Config{
		Key: s.key, Sink: sink, Object: "numbers", First: []span.Span{{End: size}}, Last: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case at := <-sink.done:
		if at.Len() != size {
			t.Errorf("%v came", at)
		}
	case <-conn.Done():
		t.Errorf("it ended with %v", conn.Err())
	case <-time.After(time.Minute):
		t.Error("it did not end in a minute")
	}
	_ = conn.Close() // there is nothing to go wrong any more
	if sink.bytes != size {
		t.Errorf("%d bytes came of %d", sink.bytes, size)
	}
	return conn.Stats()
}

func TestUDPOverLoopback(t *testing.T) {
	for _, tt := range []struct{ name, listen, host string }{
		{"IPv4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "[::1]:0", "::1"},
		{"IPv4 on a socket for both", ":0", "127.0.0.1"},
		{"IPv6 on a socket for both", ":0", "::1"},
		{"an address that is not the first", ":0", "127.0.0.2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fetchUDP(t, tt.listen, tt.host, 8<<20)
			want := 1472
			if netip.MustParseAddr(tt.host).Is6() {
				want = 1452
			}
			if s.Datagram != want {
				t.Errorf("packets of %d bytes, want %d", s.Datagram, want)
			}
			t.Logf("%+v", s)
		})
	}
}

func TestUDPRefusesWhatIsTooBig(t *testing.T) {
	pc, err := ListenUDP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	to := bulk.Path{Remote: pc.LocalAddr()}
	big := make([]byte, 70_000)
	if err := pc.Send(big, len(big), to); !errors.Is(err, bulk.ErrTooBig) {
		t.Errorf("a datagram of %d bytes gives %v", len(big), err)
	}
}

// Datagrams that leave in one burst must arrive as they were cut.
func TestUDPBurst(t *testing.T) {
	relay, err := ListenUDP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	client, err := DialUDP(t.Context(), relay.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), client.LocalAddr().Port())
	const size, count, last = 1300, 40, 77
	if err := relay.Send(numbers[:size*count+last], size, bulk.Path{Remote: to}); err != nil {
		t.Fatal(err)
	}
	if err := client.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := 0
	for got <= count {
		batch := make([]bulk.Datagram, 7)
		n, err := client.ReadBatch(batch)
		if err != nil {
			t.Fatalf("after %d datagrams: %v", got, err)
		}
		for _, d := range batch[:n] {
			want := numbers[got*size : min((got+1)*size, size*count+last)]
			if string(d.Data) != string(want) {
				t.Fatalf("datagram %d has %d bytes, want %d, or others", got, len(d.Data), len(want))
			}
			if d.Path.Remote.Port() != relay.Port() || time.Since(d.At) > time.Minute {
				t.Errorf("datagram %d came from %v at %v", got, d.Path.Remote, d.At)
			}
			got++
		}
	}
}

func BenchmarkUDPLoopback(b *testing.B) {
	const size = 1 << 30
	b.SetBytes(size)
	for b.Loop() {
		b.ReportMetric(fetchUDP(b, "127.0.0.1:0", "127.0.0.1", size).Rate/1e6, "MB/s-at-end")
	}
}
