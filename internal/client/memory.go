package client

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2/maybe"
)

// memory keeps what a run learned of a relay for the next one: where its public
// door is, so that TLS is ready before ssh is, and from which address it was
// allowed, so that it need not be refused first. None of it is trusted: the
// pin comes over ssh each time. The number of connections spares the measuring.
type memory struct {
	dir   string // Config.StateDir; empty: nothing is remembered
	relay string
}

type remembered struct {
	Scheme  string     `json:"scheme"`
	Host    string     `json:"host"`
	Port    int        `json:"port"`
	Address netip.Addr `json:"address,omitzero"` // ours, as the public door saw it

	Connections int   `json:"connections,omitempty"` // that served best
	RTT         int64 `json:"rtt,omitempty"`         // to the door meanwhile, milliseconds
	UDPRate     int64 `json:"udp_rate,omitempty"`    // bytes a second, if UDP carried everything; -n: it did badly n times
}

func (m memory) path() string {
	sum := sha256.Sum256([]byte(m.relay))
	return filepath.Join(m.dir, "doors", hex.EncodeToString(sum[:8])+".json")
}

// load returns what is remembered; nothing if it can't be read.
func (m memory) load() (r remembered, ok bool) {
	if m.dir == "" {
		return r, false
	}
	b, err := os.ReadFile(m.path())
	if err != nil || json.Unmarshal(b, &r) != nil {
		return remembered{}, false
	}
	valid := (r.Scheme == "https" || r.Scheme == "http") && r.Host != "" && r.Port > 0 && r.Port < 1<<16
	return r, valid
}

// save remembers what served. Without an address the one that is remembered stays.
func (m memory) save(r remembered) error {
	if m.dir == "" {
		return nil
	}
	old, _ := m.load()
	if !r.Address.IsValid() {
		r.Address = old.Address
	}
	if r == old {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.path()), 0o700); err != nil {
		return err
	}
	return maybe.WriteFile(m.path(), b, 0o600)
}
