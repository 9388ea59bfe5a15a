package bulkd

import (
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/relay"
)

// held is a session's right to streams; it is a bulk.Session.
type held struct {
	door *Door
	of   *relay.Session
	key  bulk.Key
}

// SessionIssued makes a session's key known. Call it for each session that is
// issued, and at the start for those that still count.
func (d *Door) SessionIssued(s *relay.Session) {
	h := &held{door: d, of: s, key: bulk.NewSessionKey(s.Hash())}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions[h.key.ID] = h
}

// SessionEnded ends a session's streams, and the connections with the tokens that
// were derived in it.
func (d *Door) SessionEnded(id job.ID) {
	var ended []bulk.KeyID
	d.mu.Lock()
	for key, h := range d.sessions {
		if h.of.ID() == id {
			delete(d.sessions, key)
			ended = append(ended, key)
		}
	}
	for key, k := range d.keys {
		if k.token.Session == id {
			delete(d.keys, key)
			ended = append(ended, key)
		}
	}
	d.mu.Unlock()
	for _, key := range ended {
		d.server.Recheck(key)
	}
}

// LookupSession returns the session that a key stands for; see bulk.Sessions.
func (d *Door) LookupSession(id bulk.KeyID) (bulk.Session, bool) {
	d.mu.Lock()
	h, ok := d.sessions[id]
	d.mu.Unlock()
	return h, ok && h.of.Counts()
}

// Key returns the key and the time until which it may count: how long it does
// depends on its use, and LookupSession tells.
func (h *held) Key() (bulk.Key, time.Time) { return h.key, h.of.Until() }

// Known tells whether the session's holder has proved before to receive there.
func (h *held) Known(addr netip.Addr) bool { return h.of.Known(addr) }

// Serve has a stream served.
func (h *held) Serve(s *bulk.Stream) { h.door.cfg.Serve(s, h.of) }
