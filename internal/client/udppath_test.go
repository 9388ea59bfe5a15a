package client

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

func udpOnly(cfg *Config) { cfg.Paths = []Path{PathUDP} }

// far makes a client on loopback work as if the relay were far away.
func far(c *Client) *Client {
	c.near = 0
	return c
}

func TestUDPBringsTheFile(t *testing.T) {
	for name, size := range map[string]int{"small": 1, "one packet less a byte": 1441, "chunks and a bit": 5<<20 + 17} {
		t.Run(name, func(t *testing.T) {
			r := newFakeRelay(t, size)
			serveUDP(t, r, nil)
			res := mustGet(t, newTestClient(t, r, udpOnly), r, request(t.TempDir()))
			if res.Paths[PathUDP] != int64(size) {
				t.Errorf("%v", res.Paths)
			}
		})
	}
}

// UDP and TCP are there: UDP carries what TCP was not let show.
func TestUDPIsPreferred(t *testing.T) {
	const size = 48 << 20
	r := newFakeRelay(t, size)
	serveUDP(t, r, nil)
	res := mustGet(t, far(newTestClient(t, r, nil)), r, request(t.TempDir()))
	if res.Paths[PathUDP] < size/2 {
		t.Errorf("%v", res.Paths)
	}
}

// Nothing answers at the UDP port.
func TestBlockedUDPLeavesItToTCP(t *testing.T) {
	const size = 4 << 20
	r := newFakeRelay(t, size)
	serveUDP(t, r, func(u *fakeUDP) { u.holed.Store(true) })
	res := mustGet(t, newTestClient(t, r, nil), r, request(t.TempDir()))
	if res.Paths[PathTCP] < size || res.Paths[PathUDP] != 0 {
		t.Errorf("%v", res.Paths)
	}
}

// Only UDP is allowed, and it leads nowhere: that is said, with what helps.
func TestOnlyUDPAndThereIsNone(t *testing.T) {
	tests := []struct {
		name  string
		serve bool // into a hole
		text  string
	}{
		{"the relay speaks none", false, "offers no UDP"},
		{"nobody answers", true, "no answer from 127.0.0.1, UDP port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newFakeRelay(t, 4<<20)
			if tt.serve {
				serveUDP(t, r, func(u *fakeUDP) { u.holed.Store(true) })
			}
			c := newTestClient(t, r, udpOnly)
			c.udpLimit = time.Second
			_, err := c.Get(t.Context(), request(t.TempDir()))
			var e *job.Error
			if !errors.As(err, &e) || !strings.Contains(e.Error(), tt.text) || !strings.Contains(e.Hint, "--path udp") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// UDP dies in mid-file: TCP goes on from there.
func TestUDPThatDies(t *testing.T) {
	const size = 24 << 20
	r := newFakeRelay(t, size)
	u := serveUDP(t, r, func(u *fakeUDP) { u.after = size / 4 })
	res := mustGet(t, far(newTestClient(t, r, nil)), r, request(t.TempDir()))
	if !u.holed.Load() || res.Paths[PathUDP] == 0 || res.Paths[PathTCP] == 0 {
		t.Errorf("%v", res.Paths)
	}
	if twice := res.Fetched - size; twice > size/8 {
		t.Errorf("%d bytes came twice", twice)
	}
}

// The relay does not know the address that UDP comes from until ssh says so.
func TestUDPFromAnAddressWithoutGrant(t *testing.T) {
	r := newFakeRelay(t, 3<<20)
	serveUDP(t, r, func(u *fakeUDP) {
		u.known = func(addr netip.Addr) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.granted[addr]
		}
	})
	mustGet(t, newTestClient(t, r, udpOnly), r, request(t.TempDir()))
	if r.grants.Load() == 0 {
		t.Error("nobody had the address allowed")
	}
}

// The origin's file changes while UDP carries it.
func TestObjectChangesUnderUDP(t *testing.T) {
	r := newFakeRelay(t, 8<<20)
	r.received = 2 << 20
	serveUDP(t, r, nil)
	time.AfterFunc(300*time.Millisecond, func() {
		r.set(func() {
			r.body, r.object = randomBytes(7, 5<<20), job.NewID()
			r.received = len(r.body)
		})
	})
	mustGet(t, far(newTestClient(t, r, nil)), r, request(t.TempDir()))
}

// Within a machine or a room TCP is as good, and costs less of the processor.
func TestNearbyTCPCarriesAll(t *testing.T) {
	const size = 48 << 20
	r := newFakeRelay(t, size)
	serveUDP(t, r, nil)
	c := newTestClient(t, r, nil)
	c.near = time.Second // whatever the machine is busy with
	if res := mustGet(t, c, r, request(t.TempDir())); res.Paths[PathTCP] < size/2 {
		t.Errorf("%v", res.Paths)
	}
}

// A slow origin: what is asked for over UDP waits at the relay, and comes.
func TestUDPWaitsForTheOrigin(t *testing.T) {
	const size = 3 << 20
	r := newFakeRelay(t, size)
	r.received = 0
	serveUDP(t, r, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 256 << 10; n <= size; n += 256 << 10 {
			time.Sleep(50 * time.Millisecond) // the origin's pace
			r.set(func() { r.received = n })
		}
	}()
	res := mustGet(t, newTestClient(t, r, udpOnly), r, request(t.TempDir()))
	<-done
	if res.Paths[PathUDP] != size {
		t.Errorf("%v", res.Paths)
	}
}

// The relay's clock is a day off: what it says of times decides nothing here.
func TestRelaysClockIsOff(t *testing.T) {
	for _, off := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		r := newFakeRelay(t, 3<<20)
		r.clockOff = off
		serveUDP(t, r, nil)
		for _, p := range []Path{PathUDP, PathTCP, PathSSH} {
			mustGet(t, newTestClient(t, r, func(cfg *Config) { cfg.Paths = []Path{p} }), r, request(t.TempDir()))
		}
	}
}
