package bulk

import (
	"net/netip"
	"time"
)

// Sessions is where a server finds whose streams it may take.
type Sessions interface {
	// LookupSession returns the session whose key has this id, or false. It is
	// called for each first packet, a stranger's too, and must not block.
	LookupSession(id KeyID) (Session, bool)
}

// Session is what a server needs of one. All methods may be called at the same
// time.
type Session interface {
	// Key is the key whose id was looked up, and the time until which it counts.
	Key() (Key, time.Time)

	// Known tells whether the session's holder has proved before that he receives
	// what is sent to an address. To others little is sent until they have.
	Known(addr netip.Addr) bool

	// Serve gets each new stream, on a goroutine of its own. When it returns, the
	// stream is closed; it has to return soon after the stream has ended.
	Serve(s *Stream)
}
