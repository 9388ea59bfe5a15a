// Package job is the domain of JumpGet: what is asked for, what stands on the
// relay, and who may have it. It holds types and rules and does no I/O; every
// other package speaks in these words.
//
// A [Request] becomes a [Job]. A job points at an [Object], the bytes of one
// version of a URL; several jobs may share one object. Whoever submitted the
// job gets a [Ticket], which together with a [Grant] for its network address
// opens the relay's public door.
package job

import (
	"crypto/rand"
	"encoding/base32"
	"net/netip"
	"strings"
	"time"
)

// ChunkSize is the unit of hashing in bytes. Each chunk of an object has its
// own SHA-256; only the last chunk may be shorter.
const ChunkSize = 1 << 20

// UnknownSize stands for the size of an object whose origin has not told it.
const UnknownSize int64 = -1

// Chunks returns how many chunks an object of size bytes has; 0 for an
// unknown size.
func Chunks(size int64) int {
	if size <= 0 {
		return 0
	}
	return int((size-1)/ChunkSize + 1)
}

// ID names a job or an object: 26 lower-case base32 characters, 128 random
// bits. It is safe in a file name and in a URL path.
type ID string

var idEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewID returns a fresh random ID.
func NewID() ID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return ID(strings.ToLower(idEncoding.EncodeToString(b[:])))
}

// Valid reports whether the ID has the form that NewID gives. Only a valid ID
// may become part of a path on disk.
func (id ID) Valid() bool {
	if len(id) != 26 {
		return false
	}
	for _, c := range id {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// State is where a job stands in its life.
type State string

// The states of a job. Queued and fetching jobs may be read while they grow;
// failed and expired are final.
const (
	Queued   State = "queued"
	Fetching State = "fetching"
	Ready    State = "ready"
	Failed   State = "failed"
	Expired  State = "expired"
)

// Final reports whether the job will not change by itself any more.
func (s State) Final() bool { return s == Ready || s == Failed || s == Expired }

// Job is one URL being brought for one owner.
type Job struct {
	ID      ID
	Owner   string // the user of the relay who submitted it
	URL     string // as submitted, without user and password
	Key     string // see Request.Key; equal keys may share an object
	Object  ID     // empty until the origin has answered
	State   State
	Error   *Error // set when State is Failed
	Created time.Time
	Expires time.Time // when the retention time is over
}

// Object is the bytes of one version of a URL.
type Object struct {
	ID             ID
	URL            string // as submitted, without user and password
	Key            string
	Name           string // a safe file name, see SafeName
	Size           int64  // bytes, or UnknownSize
	ETag           string // as the origin sent it, quotes and W/ included
	LastModified   string // as the origin sent it
	ModTime        time.Time
	ContentType    string
	SHA256         string // hex of the whole; empty until complete
	Complete       bool
	LengthVerified bool // false: the origin gave no length, so an early end can't be told
	Created        time.Time
	Used           time.Time // last time somebody read or asked for it
}

// StrongValidator returns the ETag if it is strong, else "". Only a strong
// one may go into If-Range (RFC 9110, section 13.1.5).
func (o *Object) StrongValidator() string {
	if len(o.ETag) > 2 && strings.HasPrefix(o.ETag, `"`) && strings.HasSuffix(o.ETag, `"`) {
		return o.ETag
	}
	return ""
}

// Status is a job with its object and progress, as a person sees it.
type Status struct {
	Job      Job
	Object   *Object // nil until the origin has answered
	Received int64   // bytes the relay has
	Rate     float64 // origin to relay, bytes a second, lately
}

// Grant allows an address to use the tokens of a job until a time. An empty
// Job allows the address for every job of the owner.
type Grant struct {
	Owner   string
	Job     ID
	Addr    netip.Addr // unmapped
	Expires time.Time
}

// Allows reports whether the grant lets addr read the given job at the time now.
func (g Grant) Allows(owner string, id ID, addr netip.Addr, now time.Time) bool {
	return g.Owner == owner && (g.Job == "" || g.Job == id) &&
		g.Addr == addr.Unmap() && now.Before(g.Expires)
}

// Endpoint is one way to the relay's public door.
type Endpoint struct {
	Scheme string // "https", "http", or SchemeUDP
	Host   string // empty: the host that ssh reached
	Port   int
	Path   string // a prefix put there by a proxy, or empty
	Pin    string // hex SHA-256 of the certificate; empty: the system's trust store decides
}

// SchemeUDP is the scheme of an endpoint that speaks the bulk protocol.
const SchemeUDP = "udp"

// HTTPEndpoints returns those that speak HTTP, in their order.
func HTTPEndpoints(all []Endpoint) []Endpoint {
	var out []Endpoint
	for _, e := range all {
		if e.Scheme != SchemeUDP {
			out = append(out, e)
		}
	}
	return out
}

// Ticket is what a client gets for its job. It travels over ssh only.
type Ticket struct {
	Job       ID
	Token     string // 256 bits, base64url; the relay keeps only its hash
	Expires   time.Time
	Endpoints []Endpoint // in order of preference
	Observed  netip.Addr // the client's address as ssh tells it; may be invalid
}

// Event is something that happened to a job. The first event of a stream is
// always a Status; a Status with another Object.ID than before means that the
// origin's file changed and everything starts again.
type Event struct {
	Status *Status // set on changes of state, object or progress
	Sums   *Sums   // set when chunks have been hashed
}

// Sums are the SHA-256 of consecutive chunks of one object.
type Sums struct {
	Object ID
	First  int // index of the first chunk
	SHA256 [][32]byte
}
