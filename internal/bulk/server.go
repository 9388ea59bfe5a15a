package bulk

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jumpget/jumpget/internal/congestion"
)

// Jobs is where a server finds what keys stand for.
type Jobs interface {
	// Lookup returns the job whose token made the key id, or false. It is
	// called for each first packet, a stranger's too, and must not block.
	Lookup(id KeyID) (Job, bool)
}

// Job is what a server needs of one. All methods may be called at the same time.
type Job interface {
	// Key is the key whose id was looked up, and the time until which it counts.
	Key() (Key, time.Time)

	// Allowed tells whether an address is granted. It must not block for long: it
	// is asked at each new address, and every few seconds.
	Allowed(addr netip.Addr) bool

	// Open returns the job's bytes; it may wait until there is an object. An
	// object that is not empty must be the job's, or the error is ErrChanged.
	// ErrGone says that the job is no more; others are logged.
	Open(ctx context.Context, object string) (Body, error)
}

// Body is the bytes of one object, which may still be growing.
type Body interface {
	// Object is the object's id, of 1 to 64 bytes.
	Object() string

	// Size returns the size in bytes and whether it is known.
	Size() (int64, bool)

	// ReadAt reads what there is at off without waiting for more: n may be
	// short with a nil error, and 0. At or beyond the end it gives io.EOF.
	ReadAt(p []byte, off int64) (n int, err error)

	// Wait waits until ReadAt has something to say at off: a byte, the end, or
	// an error.
	Wait(ctx context.Context, off int64) error

	Close() error
}

// ServerConfig is what a Server needs. Jobs is required; a zero elsewhere
// means the default.
type ServerConfig struct {
	Jobs        Jobs
	Sessions    Sessions // nil: there are none
	MaxConns    int      // connections at once; 0: 256
	MaxPerKey   int      // of them with one key; 0: 16
	MaxMemory   int64    // bytes for all connections together; 0: 64 MiB
	CookieAfter int      // new connections a second from which on cookies are asked for; 0: 100
	Log         *slog.Logger

	// Trace, if set, gives for each controller of a connection what gets its
	// rounds, At from the connection's start, and is closed with it; nil for no trace.
	Trace func(remote netip.AddrPort) Tracer
}

// Tracer records what a controller does. It must not block.
type Tracer interface {
	Round(congestion.Round)
	Close() error
}

// Limits that no setting changes (sections 4 and 6).
const (
	usedPerKey    = 4096
	answerTimeout = 5 * time.Second
	idleTimeout   = 45 * time.Second
	closingTime   = 3 * time.Second
	recheckEvery  = 5 * time.Second
	sweepEvery    = 30 * time.Second
	readBatch     = 64 // datagrams
)

// Server is a relay's end: it serves any number of clients over one socket.
// Make one with NewServer.
type Server struct {
	cfg    ServerConfig
	log    *slog.Logger
	start  time.Time
	ctx    context.Context
	cancel context.CancelFunc
	memory atomic.Int64 // bytes that are left
	wg     sync.WaitGroup
	bufs   sync.Pool // *[]byte of sendBuffer bytes
	paths  pathMemory

	mu      sync.Mutex
	pc      PacketConn
	conns   map[uint64]*peer // by the relay's connection id
	used    map[KeyID]*usedKey
	perKey  map[KeyID]int
	waiting int // connections whose client has not answered yet
	rate    meter
	cookies cookieJar
	swept   time.Time
	closing bool
}

// NewServer returns a server that waits for Serve.
func NewServer(cfg ServerConfig) *Server {
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 256
	}
	if cfg.MaxPerKey <= 0 {
		cfg.MaxPerKey = 16
	}
	if cfg.MaxMemory <= 0 {
		cfg.MaxMemory = 64 << 20
	}
	if cfg.CookieAfter <= 0 {
		cfg.CookieAfter = 100
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, start: time.Now(),
		conns: map[uint64]*peer{}, used: map[KeyID]*usedKey{}, perKey: map[KeyID]int{},
	}
	s.bufs.New = func() any { b := make([]byte, sendBuffer); return &b }
	s.memory.Store(cfg.MaxMemory)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Serve answers packets on pc until Close or a lasting error of pc, and closes
// it. It is called once; after Close it returns nil.
func (s *Server) Serve(pc PacketConn) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return pc.Close()
	}
	s.pc = pc
	s.mu.Unlock()
	batch := make([]Datagram, readBatch)
	for {
		n, err := pc.ReadBatch(batch)
		for i := range batch[:n] {
			s.receive(&batch[i])
		}
		switch {
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		case s.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			s.Close()
			return nil
		default:
			s.Close()
			return err
		}
		s.sweep(time.Now())
	}
}

// Close tells every client that the relay goes down, ends all connections and
// closes the socket.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		s.wg.Wait()
		return
	}
	s.closing = true
	pc := s.pc
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	if pc != nil {
		_ = pc.Close() // there is nothing left to lose
	}
}

// receive takes one datagram. It is the only place that strangers reach.
func (s *Server) receive(d *Datagram) {
	if id, _, ok := parseClient(d.Data); ok {
		s.mu.Lock()
		p := s.conns[id]
		s.mu.Unlock()
		if p != nil {
			p.deliver(d)
		}
		return
	}
	if h, ok := parseHello(d.Data); ok {
		s.hello(d, &h)
	}
}

// Recheck has the connections of a key look at once whether it still counts.
// They do so every few seconds by themselves.
func (s *Server) Recheck(id KeyID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.conns {
		if p.key.ID == id {
			p.mu.Lock()
			p.doubt = true
			p.mu.Unlock()
			p.poke()
		}
	}
}

// take takes n bytes from the memory of all connections.
func (s *Server) take(n int64) bool {
	if s.memory.Add(-n) < 0 {
		s.memory.Add(n)
		return false
	}
	return true
}

// Load is how busy a server is.
type Load struct {
	Conns  int   // connections
	Memory int64 // bytes that they take, of MaxMemory
}

// Load returns how busy the server is.
func (s *Server) Load() Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Load{Conns: len(s.conns), Memory: s.cfg.MaxMemory - s.memory.Load()}
}
