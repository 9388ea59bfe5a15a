package relay

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

// Relay runs jobs. Make one with New, then Run it.
type Relay struct{}

// Verdict is what Authorize says of a public request.
type Verdict int

// The verdicts. The zero value refuses.
const (
	Refused        Verdict = iota // wrong token, no such job, expired
	UnknownAddress                // good token, address without a grant
	Granted                       // both are good
)

// Info is what a relay says of itself.
type Info struct {
	DiskFree int64
	Used     int64 // bytes of all bodies
	Quota    int64 // 0: none
	Retain   time.Duration
	Jobs     int // of the asking owner
}

// Submit takes a request and grants the given addresses.
func (r *Relay) Submit(ctx context.Context, owner string, req job.Request, allow []netip.Addr) (job.Ticket, error) {
	return job.Ticket{}, nil
}

// Watch yields a job's events: a status first, then changes, and the sums of
// all chunks from fromChunk on. It ends after a final status, with an error,
// or when ctx ends.
func (r *Relay) Watch(ctx context.Context, owner string, id job.ID, fromChunk int) iter.Seq2[job.Event, error] {
	return func(func(job.Event, error) bool) {}
}
