package bulk

import (
	"net/netip"
	"time"
)

// freight is what a relay's connection carries: an object's bytes or a stream.
// The rest of a peer is the same for both. All methods are called by the
// connection's goroutine.
type freight interface {
	// valid tells until when the connection's key counts; false: no more.
	valid() (until time.Time, ok bool)

	// allows tells whether anything may be sent to an address, and whether
	// without regard to how much came from there.
	allows(addr netip.Addr) (granted, free bool)

	// open is told when the client's address is granted, perhaps repeatedly.
	open()

	// met is told where the client is, and whether it has proved to be there.
	met(at Path, proven bool)

	// take does what frames of its own say.
	take(f *fromClient)

	// look does what other goroutines and time bring about, and due is when time
	// does; 0: never.
	look(now time.Duration)
	due() time.Duration

	// ready brings the outbox up to date. It returns false if there is nothing
	// to send from yet.
	ready() bool

	// available tells whether a range's next byte is there.
	available(w *wanted) bool

	// fetch reads a segment's data, of which at least one byte is there. Less
	// than the whole comes only where there is no more for now; nothing comes
	// after a failure.
	fetch(s segment, from source, into []byte) int

	// repairs tells whether a client can make use of REPAIRs.
	repairs() bool

	// frame appends what comes before n bytes at off. Its length depends on off
	// alone.
	frame(b []byte, off int64, n int) []byte

	// head appends control frames, and returns which they are: those of which
	// that are its own, and others that no first answer may lack.
	head(b []byte, which control, first bool) ([]byte, control)

	// waiting tells whether nothing can be sent because it is not there.
	waiting() bool

	// failed is told why the connection closes, close when it is over.
	failed(c Code)
	close()
}

// Frames that a client may send.
const (
	anyFrames    = 1<<framePad | 1<<frameAck | 1<<framePing | 1<<frameResponse | 1<<frameBye
	bodyFrames   = set(anyFrames | 1<<frameWant)
	streamFrames = set(anyFrames | 1<<frameStream | 1<<frameStreamAck)
)

// holder is who a key is given to: a job or a session.
type holder struct {
	job     Job
	session Session
}

func (h holder) key() (Key, time.Time) {
	if h.job != nil {
		return h.job.Key()
	}
	return h.session.Key()
}

// holder looks up who has a key.
func (s *Server) holder(id KeyID) (h holder, ok bool) {
	if h.job, ok = s.cfg.Jobs.Lookup(id); ok || s.cfg.Sessions == nil {
		return h, ok
	}
	h.job = nil
	h.session, ok = s.cfg.Sessions.LookupSession(id)
	return h, ok
}

// asks tells whether a first packet has what a holder's has to have.
func (h holder) asks(f *fromClient) bool {
	must, may := set(1<<frameOpen|1<<frameWant), bodyFrames
	if h.session != nil {
		must, may = 1<<frameOpen|1<<frameStreamAck, streamFrames
	}
	return f.has&must == must && f.has&^(may|1<<frameOpen) == 0 && (h.job != nil || len(f.open.object) == 0)
}

// freight returns what a connection of the holder carries.
func (h holder) freight(p *peer) (freight, set) {
	if h.job != nil {
		return &bodyFreight{p: p, job: h.job, object: string(p.first.open.object)}, bodyFrames
	}
	return newStreamFreight(p, h.session), streamFrames
}
