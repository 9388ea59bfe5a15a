package client

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

func TestRoamingIsNoticedOnce(t *testing.T) {
	home, away := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	at, asked := home, 0
	r := roaming{own: func(context.Context) netip.Addr { asked++; return at }}
	moves := 0
	for now := 100 * time.Millisecond; now < 20*time.Second; now += 100 * time.Millisecond {
		switch {
		case now > 15*time.Second:
			at = away
		case now > 10*time.Second:
			at = netip.Addr{} // no network for a while
		case now > 5*time.Second:
			at = away
		}
		addr, moved := r.look(t.Context(), now)
		if moved {
			moves++
			if addr != away {
				t.Errorf("moved to %v", addr)
			}
		}
	}
	if moves != 1 || asked > 21 {
		t.Errorf("%d moves, asked %d times", moves, asked)
	}
}

// The machine gets another address in mid-file: connections are made anew and
// the new address is allowed over ssh.
func TestAddressChanges(t *testing.T) {
	r := newFakeRelay(t, 6<<20)
	moved := make(chan struct{}, 1)
	c := newTestClient(t, r, func(cfg *Config) {
		cfg.Limit = 3 << 20 // so that there is time to move
		cfg.Moved = func(context.Context) error { moved <- struct{}{}; return nil }
	})
	own := netip.MustParseAddr("192.0.2.1")
	calls := 0
	c.own = func(context.Context) netip.Addr {
		if calls++; calls > 2 { // after the submission and the first look
			own = netip.MustParseAddr("198.51.100.9")
		}
		return own
	}
	mustGet(t, c, r, request(t.TempDir()))
	select {
	case <-moved:
	default:
		t.Error("nobody was told that we moved")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.granted[netip.MustParseAddr("198.51.100.9")] {
		t.Errorf("the new address was not allowed: %v", r.granted)
	}
}
