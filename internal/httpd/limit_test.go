package httpd

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/jumpget/jumpget/internal/access"
)

// kept reports whether a new connection stays open: its handshake works.
func (d *door) kept(from string) bool {
	c := d.dialFrom(from)
	_, err := io.WriteString(c, "GET / ") // which is no whole request yet
	return err == nil
}

func TestAStrangerGetsSoManyConnections(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w, func(c *PublicConfig) { c.MaxConnsPerPeer, c.MaxConns = 3, 7 })
	_, ticket := w.ready("ann", "data")
	first := d.dial()
	check(t, first.(interface{ Handshake() error }).Handshake())
	for range 2 {
		if !d.kept("127.0.0.1") {
			t.Fatal("a connection within the limit is closed")
		}
	}
	if d.kept("127.0.0.1") {
		t.Error("a fourth connection is kept")
	}
	if !d.kept("127.0.0.2") {
		t.Error("one peer's connections are held against another")
	}
	// A wrong token opens nothing; a good one, from an allowed address, does.
	wrong := ticket
	wrong.Token = access.NewToken()
	sendRequest(t, first, "GET", wrong)
	receive(t, bufio.NewReader(first), "GET")
	eventually(t, "the refused one has left", func() bool { return d.conns() == 3 })
	first = d.dial()
	sendRequest(t, first, "GET", ticket)
	if a := receive(t, bufio.NewReader(first), "GET"); a.body != "data" {
		t.Fatalf("%s %q", a.Status, a.body)
	}
	for range 3 {
		if !d.kept("127.0.0.1") {
			t.Fatal("who has shown a good token is still limited")
		}
	}
	if d.conns() != 7 {
		t.Fatalf("%d connections", d.conns())
	}
	if d.kept("127.0.0.1") || d.kept("127.0.0.3") {
		t.Error("there are more connections than may be in all")
	}
	_ = first.Close()
	eventually(t, "there is room again", func() bool { return d.conns() == 6 })
	if !d.kept("127.0.0.3") {
		t.Error("a connection that ended still counts")
	}
}

// The trust of an address ends with its last connection.
func TestTrustEndsWithTheConnections(t *testing.T) {
	l := newLimiter(100, 1, access.Proxies{}.Trusts)
	at := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1"))
	key, ok := l.enter(at)
	if _, second := l.enter(at); !ok || second {
		t.Fatalf("first %v, second %v", ok, second)
	}
	l.trust("192.0.2.1:99")
	if _, ok := l.enter(at); !ok {
		t.Error("a trusted address is limited")
	}
	l.leave(key)
	l.leave(key)
	l.trust("192.0.2.1:99") // of a peer that is not there any more
	l.trust("nonsense")
	_, ok = l.enter(at)
	if _, second := l.enter(at); !ok || second {
		t.Errorf("later: first %v, second %v", ok, second)
	}
	l.leave(key)
	if l.total != 0 || len(l.peers) != 0 {
		t.Errorf("left behind: %d, %v", l.total, l.peers)
	}
}

func TestWhatCountsAsOnePeer(t *testing.T) {
	same := func(a, b string) bool {
		_, x := network(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a)))
		_, y := network(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(b)))
		return x == y
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"[2001:db8::1]:1", "[2001:db8::ffff:1]:1", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", true},
	} {
		if got := same(c.a, c.b); got != c.want {
			t.Errorf("%s and %s are one: %v", c.a, c.b, got)
		}
	}
	l := newLimiter(100, 1, proxies("192.0.2.0/24").Trusts)
	for range 5 {
		if _, ok := l.enter(net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1"))); !ok {
			t.Fatal("a proxy's connections are limited, and with them all its clients'")
		}
	}
	pipe := &net.UnixAddr{Name: "@"}
	_, first := l.enter(pipe)
	if _, second := l.enter(pipe); !first || second {
		t.Errorf("without an address: %v, %v", first, second)
	}
}
