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
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// DefaultPath is where a File without a path stands.
const DefaultPath = "/file.bin"

// File is one file of the origin. The zero value of each field is an
// ordinary, well-behaved server.
type File struct {
	Path string // "": DefaultPath

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
	link       *link // shared with other answers; may be nil
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
	Host   string
	Header http.Header
	Status int
	Sent   span.Span // the body bytes sent so far, by offset in the file; of a 200 from 0 on
}

// Hops returns n redirects: from leads through from/1, from/2 ... to the URL
// or path to.
func Hops(from string, n int, to string) []File {
	var files []File
	at := from
	for i := 1; i <= n; i++ {
		next := fmt.Sprintf("%s/%d", from, i)
		if i == n {
			next = to
		}
		files = append(files, File{Path: at, Redirect: next})
		at = next
	}
	return files
}

// Content returns what the file holds.
func (f File) Content() Content {
	if f.Data != nil {
		return Bytes(f.Data)
	}
	return Random(f.Size, f.Seed)
}

// SHA256 returns the hex digest of what the file holds.
func (f File) SHA256() string { return f.Content().SHA256() }

// Server is a running origin. It is safe for concurrent use.
type Server struct {
	srv  *httptest.Server
	done chan struct{} // closed when the server ends: lets stalled answers go

	mu       sync.Mutex
	files    map[string]*served
	log      []*Request
	parallel int
	most     int
	sent     int64
	conns    int
	closed   bool
}

// served is a file with the number of requests for its path.
type served struct {
	File
	n int
}

// New starts an HTTP origin that ends with the test.
func New(t testing.TB, files ...File) *Server {
	s := Start(files...)
	t.Cleanup(s.Close)
	return s
}

// NewTLS starts an HTTPS origin that ends with the test; see Roots.
func NewTLS(t testing.TB, files ...File) *Server {
	s := unstarted(files)
	s.srv.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// Start starts an HTTP origin outside of a test; the caller closes it. It
// panics if it can't listen on loopback.
func Start(files ...File) *Server {
	s := unstarted(files)
	s.srv.Start()
	return s
}

func unstarted(files []File) *Server {
	s := &Server{done: make(chan struct{}), files: map[string]*served{}}
	s.srv = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.srv.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	s.srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.conns++
		}
	}
	// A client that refuses the certificate or hangs up is what tests are about.
	s.srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Add(files...)
	return s
}

// Close ends the server and every open connection. It may be called twice.
func (s *Server) Close() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		close(s.done)
		s.srv.CloseClientConnections()
		s.srv.Close()
	}
}

// Add puts files on the server, each in the place of an earlier one with its path.
func (s *Server) Add(files ...File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		if f.Path == "" {
			f.Path = DefaultPath
		}
		s.files[f.Path] = &served{File: f}
	}
}

// URL returns the URL of a path; "" means DefaultPath.
func (s *Server) URL(path string) string {
	if path == "" {
		path = DefaultPath
	}
	return s.srv.URL + path
}

// Addr returns host and port.
func (s *Server) Addr() string { return s.srv.Listener.Addr().String() }

// Roots returns the certificates to trust for an HTTPS origin.
func (s *Server) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	if c := s.srv.Certificate(); c != nil {
		pool.AddCert(c)
	}
	return pool
}

// Requests returns all requests so far, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Request, len(s.log))
	for i, r := range s.log {
		out[i] = *r
	}
	return out
}

// Count returns the number of requests so far.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.log)
}

// Sent returns the number of body bytes sent so far.
func (s *Server) Sent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// MaxParallel returns the most requests that were answered at a time.
func (s *Server) MaxParallel() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// Conns returns the number of connections so far.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}
