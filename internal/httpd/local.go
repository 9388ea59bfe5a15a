package httpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/session"
)

// Jobs is what the local API needs of package relay.
type Jobs interface {
	Submit(ctx context.Context, s relay.Submission, req job.Request) (job.Ticket, error)
	Status(ctx context.Context, owner string, id job.ID) (job.Status, error)
	List(ctx context.Context, owner string) ([]job.Status, error)
	Watch(ctx context.Context, owner string, id job.ID, fromChunk int) iter.Seq2[job.Event, error]
	OpenOwned(ctx context.Context, owner string, id job.ID) (*relay.Body, error)
	Renew(ctx context.Context, owner string, id job.ID) (job.Ticket, error)
	RenewIn(ctx context.Context, s *relay.Session, id job.ID) (job.Ticket, error)
	Extend(ctx context.Context, owner string, id job.ID, seconds int64) (job.Status, error)
	Remove(ctx context.Context, owner string, id job.ID) error
	Allow(ctx context.Context, g job.Grant) error
	Info(ctx context.Context, owner string) (relay.Info, error)

	IssueSession(ctx context.Context, who job.Session) (job.Session, session.Secret, error)
	Sessions(owner string) ([]job.Session, error)
	AllSessions() ([]job.Session, error)
	RevokeSession(ctx context.Context, owner string, id job.ID) error
	RevokeAnySession(ctx context.Context, id job.ID) error
	RevokeSessions(ctx context.Context, owner string) error
	RevokeAllSessions(ctx context.Context) error
}

// LocalConfig is all a Local needs. Jobs is required.
type LocalConfig struct {
	Jobs      Jobs
	Secret    string           // asked for as a bearer on TCP connections; "": none
	Version   string           // of the program, told in the status
	BBR       bool             // told in the status
	Heartbeat time.Duration    // between empty lines on a silent stream, at most half of Stall; 0: 15 s
	Stall     time.Duration    // how long a peer may take nothing, or owe the rest of a request; 0: 60 s
	MaxConns  int              // connections at once of one user; 0: 256. ServeConn's are not counted
	Clock     func() time.Time // nil: time.Now
	Log       *slog.Logger     // nil: silent
}

// Local serves the local API. Make one with NewLocal and end it with Shutdown.
type Local struct {
	cfg   LocalConfig
	srv   *http.Server
	conns *queue
	slots chan struct{} // one for each connection that is being identified

	drain context.Context // ends with Shutdown: streams say so and end
	stop  context.CancelCauseFunc
	out   outlet
	cut   context.CancelFunc // when Shutdown has waited long enough

	mu     sync.Mutex
	closed bool
	from   map[net.Listener]struct{}
	users  map[string]int // connections by user
	wg     sync.WaitGroup // the queue's server and the goroutines that identify
}

// errDraining ends streams when the relay goes down.
var errDraining = job.Errorf(job.CodeUnavailable, "the relay is shutting down").
	WithHint("run the same command again in a moment")

// NewLocal returns a local API that waits for connections.
func NewLocal(cfg LocalConfig) *Local {
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = 15 * time.Second
	}
	if cfg.Stall <= 0 {
		cfg.Stall = stallTimeout
	}
	cfg.Heartbeat = min(cfg.Heartbeat, cfg.Stall/2)
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 256
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = silent()
	}
	s := &Local{
		cfg: cfg, conns: newQueue(), slots: make(chan struct{}, maxIdentifying),
		from: make(map[net.Listener]struct{}), users: make(map[string]int),
	}
	s.drain, s.stop = context.WithCancelCause(context.Background())
	s.out.stall = cfg.Stall
	s.out.cut, s.cut = context.WithCancel(context.Background())
	s.srv = &http.Server{
		Handler:           s.guard(s.routes()),
		ConnContext:       withConn,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       15 * time.Minute, // a tunnel is kept for the next command
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		Protocols:         localProtocols(),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 256, SendPingTimeout: 30 * time.Second, PingTimeout: 30 * time.Second},
	}
	s.wg.Go(func() { _ = s.srv.Serve(s.conns) }) // ends with http.ErrServerClosed, by Shutdown
	return s
}

// localProtocols are HTTP/1.1, for curl, and HTTP/2 without TLS, for our own
// client: all its requests share one ssh channel.
func localProtocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

func silent() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))
}

// Serve answers requests on l, which it closes in the end, until l is closed
// or Shutdown is called; then it returns nil. A Unix listener's peers are named by
// their credentials and may open with the bridge's preface; a TCP listener's
// by the owner of their socket.
func (s *Local) Serve(l net.Listener) error {
	if !s.add(l) {
		return l.Close()
	}
	defer s.remove(l)
	for {
		c, err := l.Accept()
		var ne net.Error
		switch {
		case err == nil:
			s.admit(c)
		case errors.Is(err, net.ErrClosed) || s.drain.Err() != nil:
			return nil
		//nolint:staticcheck // Temporary is what net/http itself asks here
		case errors.As(err, &ne) && ne.Temporary():
			time.Sleep(50 * time.Millisecond) // too many open files, most likely
		default:
			return err
		}
	}
}

func (s *Local) add(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.from[l] = struct{}{}
	return true
}

func (s *Local) remove(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.from, l)
	_ = l.Close() // it may be closed already
}

// admit finds out aside who a new connection is, so that one that says
// nothing holds up nobody.
func (s *Local) admit(c net.Conn) {
	if !s.begin() {
		_ = c.Close() // nothing was said on it yet
		return
	}
	go func() {
		defer s.wg.Done()
		defer func() { <-s.slots }()
		if err := s.introduce(c); err != nil {
			s.cfg.Log.Debug("a connection to the local API is refused", "err", err)
			_ = c.Close() // whoever it was gets no answer
		}
	}()
}

// begin counts a goroutine in, unless there are too many or none may begin any
// more.
func (s *Local) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	select {
	case s.slots <- struct{}{}:
		s.wg.Add(1)
		return true
	default:
		return false
	}
}

// introduce hands a connection to the server once its user is known.
func (s *Local) introduce(c net.Conn) error {
	ac, err := identify(c)
	if err != nil {
		return err
	}
	if !s.enter(ac) {
		return tooMany(ac.id.User, s.cfg.MaxConns)
	}
	if err := ac.greet(s.drain); err != nil {
		return errors.Join(err, ac.Close())
	}
	if !s.conns.put(ac) {
		return errors.Join(errDraining, ac.Close())
	}
	return nil
}

func tooMany(user string, most int) error {
	return fmt.Errorf("user %q has %d connections already", user, most)
}

// enter counts a connection in, unless its user has too many: one user of the
// machine must not use up what all have.
func (s *Local) enter(c *apiConn) bool {
	user := c.id.User
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[user] >= s.cfg.MaxConns {
		return false
	}
	s.users[user]++
	c.leave = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.users[user]--; s.users[user] == 0 {
			delete(s.users, user)
		}
	}
	return true
}

// ServeConn answers requests on one connection whose user is known already,
// such as a channel of the ssh endpoint. It returns when the connection is
// done, and closes it.
func (s *Local) ServeConn(conn net.Conn, id Identity) error {
	ac := newAPIConn(conn, id)
	if !s.conns.put(ac) {
		return errors.Join(errDraining, ac.Close())
	}
	<-ac.closed
	return nil
}

// Shutdown ends event streams, lets requests under way finish until ctx ends,
// then cuts the rest.
func (s *Local) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for l := range s.from {
		_ = l.Close() // Serve reports what is wrong with it
	}
	s.mu.Unlock()
	s.stop(errDraining)
	defer s.cut()
	err := s.srv.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.srv.Close())
	}
	s.wg.Wait()
	return err
}
