package bulk

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// usedKey remembers the first packets that made connections.
type usedKey struct {
	until time.Time
	seen  map[[macLen]byte]*peer // by the start of the ephemeral key; nil: ended
}

// hello takes a first packet (section 6). What costs more than one AEAD happens
// on the new connection's goroutine.
func (s *Server) hello(d *Datagram, h *hello) {
	holder, ok := s.holder(h.keyID)
	if !ok {
		return
	}
	key, until := holder.key()
	if !h.authentic(&key) {
		return
	}
	var mark [macLen]byte
	copy(mark[:], h.ephemeral())
	if known, old := s.known(h.keyID, mark); known {
		if old != nil {
			old.copyOf(d)
		}
		return
	}
	hs, err := newHandshake(&key, h.suite, h.head, false)
	if err != nil {
		return
	}
	payload, err := hs.hear(h.msg1)
	if err != nil {
		return
	}
	var f fromClient
	if f.parse(payload) != nil || !holder.asks(&f) {
		return
	}
	s.admit(d, h, &admission{holder: holder, key: key, until: until, mark: mark, hs: hs, first: f})
}

// admission is a first packet that opened.
type admission struct {
	holder
	key   Key
	until time.Time
	mark  [macLen]byte
	hs    *handshake
	first fromClient
}

// known tells whether a first packet has made a connection before, and which.
func (s *Server) known(id KeyID, mark [macLen]byte) (bool, *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.used[id]
	if u == nil {
		return false, nil
	}
	p, ok := u.seen[mark]
	return ok, p
}

// admit makes a connection, if there is room and the load allows.
func (s *Server) admit(d *Datagram, h *hello, a *admission) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.used[h.keyID]
	switch {
	case s.closing, u != nil && len(u.seen) >= usedPerKey, !now.Before(a.until):
		return
	case s.loaded(now) && !s.cookies.signed(h, d.Path.Remote, now):
		s.sendCookie(d, h, a, now)
		return
	}
	if len(s.conns) >= 2*s.cfg.MaxConns {
		return // not even an answer that there is no room
	}
	room := len(s.conns) < s.cfg.MaxConns && s.perKey[h.keyID] < s.cfg.MaxPerKey && s.take(peerMemory)
	if u == nil {
		u = &usedKey{seen: map[[macLen]byte]*peer{}}
		s.used[h.keyID] = u
	}
	u.until = a.until
	p := newPeer(s, s.freshID(), h.client, a, d)
	if p.refuse = !room; room {
		p.memory = peerMemory
	}
	u.seen[a.mark] = p
	s.conns[p.id] = p
	s.perKey[h.keyID]++
	s.waiting++
	s.rate.add(now)
	s.wg.Go(p.run)
}

// loaded tells whether first packets come so fast that their senders have to
// prove where they are; the lock is held.
func (s *Server) loaded(now time.Time) bool {
	return s.rate.at(now) >= s.cfg.CookieAfter || s.waiting > s.cfg.MaxConns/2
}

func (s *Server) freshID() uint64 {
	for {
		var b [relayIDLen]byte
		_, _ = rand.Read(b[:]) // never fails
		id := binary.BigEndian.Uint64(b[:])
		if _, taken := s.conns[id]; !taken {
			return id
		}
	}
}

// answered notes that a client has shown that it hears us.
func (s *Server) answered() {
	s.mu.Lock()
	s.waiting--
	s.mu.Unlock()
}

// forget removes a connection that has ended. Its first packet stays known.
func (s *Server) forget(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, p.id)
	if u := s.used[p.key.ID]; u != nil {
		u.seen[p.mark] = nil
	}
	if s.perKey[p.key.ID]--; s.perKey[p.key.ID] <= 0 {
		delete(s.perKey, p.key.ID)
	}
	if !p.heard {
		s.waiting--
	}
}

// sweep forgets the first packets of keys that are no more. A session's key
// lives longer the more it is used, and so does the memory of its packets.
func (s *Server) sweep(now time.Time) {
	for _, id := range s.expired(now) {
		var until time.Time
		if h, ok := s.holder(id); ok {
			_, until = h.key()
		}
		s.mu.Lock()
		if now.Before(until) {
			s.used[id].until = until
		} else if s.perKey[id] == 0 {
			delete(s.used, id)
		}
		s.mu.Unlock()
	}
}

// expired returns the keys that should be no more, every now and then.
func (s *Server) expired(now time.Time) (ids []KeyID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept) < sweepEvery {
		return nil
	}
	s.swept = now
	for id, u := range s.used {
		if now.After(u.until) && s.perKey[id] == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}
