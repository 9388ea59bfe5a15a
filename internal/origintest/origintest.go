// Package origintest is an origin server for tests: real TCP on loopback,
// content of any size that is computed and never held, and every way an origin
// can misbehave.
//
// A test describes files; each [File] may carry [Fault]s, small functions that
// change the plan of one [Reply] before it is sent. Combinators such as
// [First] and [From] say which requests suffer, so that faults compose:
//
//	s := origintest.New(t, origintest.File{
//		Size:   5 << 30,
//		ETag:   `"v1"`,
//		Faults: []origintest.Fault{origintest.First(2, origintest.Status(503, "Retry-After", "1")), origintest.Reset(1 << 20)},
//	})
//	url := s.URL("/file.bin")
//
// The server ends with the test. It counts and logs what it was asked.
package origintest

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// File is one file of the origin. The zero value of each field is an
// ordinary, well-behaved server.
type File struct {
	Path string // "": /file.bin

	// What it holds: Data if that is not nil, else Size bytes made from Seed.
	Data []byte
	Size int64
	Seed uint64

	ETag         string // as sent, quotes and W/ included; "": none
	LastModified time.Time
	ContentType  string
	Disposition  string      // Content-Disposition, any bytes
	Header       http.Header // more headers of each answer

	NoRanges bool // every answer is 200 and whole

	User, Password string // basic auth asked for, 401 without
	Cookie         string // "name=value" asked for, 403 without
	Gzip           bool   // compressed if Accept-Encoding allows it

	Redirect string // Location of a 302; nothing else of File counts then

	Faults []Fault // run in order on each answer's plan

	// Then replaces the file for good, from request number ThenAt on (first is
	// 1), or once byte ThenAtByte has been sent; the answer that gets there is reset.
	Then       *File
	ThenAt     int
	ThenAtByte int64
}

// Reply is the plan of one answer. Faults change it.
type Reply struct {
	Request *http.Request
	N       int // number of this request for this path, the first is 1
	Status  int
	Header  http.Header
	Content Content
	Span    span.Span // the bytes of Content that the answer carries

	NoLength bool // chunked
	HTTP10   bool // an HTTP/1.0 answer without length that ends by closing

	Rate       int64 // bytes a second; 0: no limit
	CloseAfter int64 // body bytes before the socket is closed in order; < 0: never
	ResetAfter int64 // body bytes before the socket is reset; < 0: never
	StallAfter int64 // body bytes before nothing more comes, the socket open; < 0: never
}

// Fault changes the plan of one answer.
type Fault func(*Reply)

// Request is one logged request with what was answered.
type Request struct {
	Method string
	Path   string
	Header http.Header
	Host   string
	Status int
	Sent   span.Span // the body bytes sent, by offset in the file; of a 200 from 0 on
}

// Server is a running origin.
type Server struct {
	srv *httptest.Server
}

// New starts an HTTP origin that ends with the test.
func New(t testing.TB, files ...File) *Server { return &Server{} }

// NewTLS starts an HTTPS origin; see Roots.
func NewTLS(t testing.TB, files ...File) *Server { return &Server{} }
