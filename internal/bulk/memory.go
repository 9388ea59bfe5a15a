package bulk

import (
	"net/netip"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/congestion"
)

const (
	pathLife  = 10 * time.Minute
	pathsKept = 1024
)

// pathMemory remembers what connections to an address came to, so that the next
// one need not begin from nothing. What the controller makes of it is careful:
// the path may have changed.
type pathMemory struct {
	mu    sync.Mutex
	paths map[netip.Addr]remembered
}

type remembered struct {
	path congestion.Path
	size int // of packets; 0: not known
	at   time.Time
}

func (m *pathMemory) get(addr netip.Addr) remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.paths[addr]
	if time.Since(r.at) > pathLife {
		delete(m.paths, addr)
		return remembered{}
	}
	return r
}

func (m *pathMemory) put(addr netip.Addr, p congestion.Path, size int) {
	if p.Rate <= 0 || p.RTT <= 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.paths == nil {
		m.paths = map[netip.Addr]remembered{}
	}
	if _, known := m.paths[addr]; !known && len(m.paths) >= pathsKept {
		m.forgetOldest()
	}
	m.paths[addr] = remembered{p, size, time.Now()}
}

func (m *pathMemory) forgetOldest() {
	var oldest netip.Addr
	for addr, r := range m.paths {
		if !oldest.IsValid() || r.at.Before(m.paths[oldest].at) {
			oldest = addr
		}
	}
	delete(m.paths, oldest)
}
