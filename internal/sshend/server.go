package sshend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Config is all a Server needs. HostKey, AuthorizedKeys and Serve are required.
type Config struct {
	HostKey        string // file of the host key; an ed25519 key with mode 0600 is made if absent
	AuthorizedKeys string // file of the public keys that may enter; read again at each login

	// Serve gets each accepted channel as a connection to the local API, with the
	// key's user name and the client's address. It runs in a goroutine of its own
	// until the connection is done with: when it returns the channel is closed.
	Serve func(conn net.Conn, user string, from netip.Addr)

	LocalPort   int    // the local API's port: forwards to it on a loopback name are accepted; 0: 4100
	LocalSocket string // the local API's Unix socket; "": forwards to sockets are refused

	Logger *slog.Logger // nil: silent

	MaxConns         int           // connections at once; 0: 256
	MaxPending       int           // of one address (IPv6: one /64), before authentication; 0: 10
	HandshakeTimeout time.Duration // until authentication is done; 0: 60 s
}

// maxAuthTries is how many keys a client may try, as in OpenSSH.
const maxAuthTries = 6

// Server is an SSH endpoint that leads to the local API and nowhere else.
type Server struct {
	cfg  Config
	log  *slog.Logger
	key  ssh.Signer
	keys *keyring

	askEvery, answerWithin time.Duration // is the client still there?

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]*client // nil before authentication
	pending   map[netip.Prefix]int
	running   sync.WaitGroup // of connections
}

// New loads or makes the host key and reads the authorized keys once.
func New(cfg Config) (*Server, error) {
	if cfg.Serve == nil || cfg.HostKey == "" || cfg.AuthorizedKeys == "" {
		return nil, errors.New("sshend: HostKey, AuthorizedKeys and Serve are required")
	}
	cfg.LocalPort = cmp.Or(cfg.LocalPort, 4100)
	cfg.MaxConns = cmp.Or(cfg.MaxConns, 256)
	cfg.MaxPending = cmp.Or(cfg.MaxPending, 10)
	cfg.HandshakeTimeout = cmp.Or(cfg.HandshakeTimeout, time.Minute)
	log := cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	key, err := hostKey(cfg.HostKey)
	if err != nil {
		return nil, err
	}
	keys := &keyring{path: cfg.AuthorizedKeys, log: log}
	if err := keys.refresh(); err != nil {
		return nil, fmt.Errorf("the authorized keys: %w", err)
	}
	return &Server{
		cfg: cfg, log: log, key: key, keys: keys,
		askEvery: time.Minute, answerWithin: 3 * time.Minute,
		listeners: map[net.Listener]struct{}{},
		conns:     map[net.Conn]*client{},
		pending:   map[netip.Prefix]int{},
	}, nil
}

// Fingerprint is the host key's, as ssh shows it: "SHA256:...".
func (s *Server) Fingerprint() string { return ssh.FingerprintSHA256(s.key.PublicKey()) }

// HostKey is the public host key in authorized_keys form, without a newline.
func (s *Server) HostKey() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.key.PublicKey())))
}

// KnownHosts is the host key as a known_hosts line for an address "host:port".
func (s *Server) KnownHosts(addr string) string {
	return knownhosts.Line([]string{knownhosts.Normalize(addr)}, s.key.PublicKey())
}

// HasUser reports whether one of the authorized keys is a user's.
func (s *Server) HasUser(user string) bool { return s.keys.has(user) }

// Serve accepts connections until Shutdown or Close, then returns nil. It closes
// the listener.
func (s *Server) Serve(l net.Listener) error {
	defer func() { _ = l.Close() }()
	if !s.listen(l) {
		return nil
	}
	var delay time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			delay = 0
			s.admit(nc)
		case s.isClosing():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("the ssh endpoint: %w", err)
		default:
			// Out of file descriptors, most likely: others have to go first.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.log.Warn("an ssh connection can't be accepted", "error", err, "again_in", delay)
			time.Sleep(delay)
		}
	}
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.listeners[l] = struct{}{}
	}
	return !s.closing
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// admit serves a connection, unless a limit is reached. What is over a limit is
// closed without a word: whoever floods gets nothing for it.
func (s *Server) admit(nc net.Conn) {
	from := addrOf(nc.RemoteAddr())
	s.mu.Lock()
	defer s.mu.Unlock()
	origin := network(from)
	if s.closing || len(s.conns) >= s.cfg.MaxConns || s.pending[origin] >= s.cfg.MaxPending {
		s.log.Debug("an ssh connection is over the limit", "from", from)
		_ = nc.Close()
		return
	}
	s.conns[nc] = nil
	s.pending[origin]++
	s.running.Go(func() {
		s.serveConn(nc, from)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, nc)
	})
}

// unpend ends a connection's time as one that has not authenticated.
func (s *Server) unpend(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	origin := network(from)
	if s.pending[origin]--; s.pending[origin] == 0 {
		delete(s.pending, origin)
	}
}

// serveConn takes one connection from its first byte to its end.
func (s *Server) serveConn(nc net.Conn, from netip.Addr) {
	defer func() { _ = nc.Close() }()
	conn, channels, requests, err := s.handshake(nc, from)
	s.unpend(from)
	if err != nil {
		s.log.Debug("an ssh login failed", "from", from, "error", err)
		return
	}
	c := &client{srv: s, conn: conn, user: conn.Permissions.Extensions[userExtension], from: from}
	log := s.log.With("user", c.user, "from", from)
	log.Info("an ssh client is here")
	if s.register(nc, c) {
		c.serve(channels, requests)
	} else {
		_ = conn.Close()
		discard(channels, requests)
	}
	log.Info("an ssh client is gone")
}

// discard empties the streams of a connection that is closed.
func discard(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	go ssh.DiscardRequests(requests)
	for ch := range channels {
		_ = ch.Reject(ssh.ConnectionFailed, "closed")
	}
}

func (s *Server) handshake(nc net.Conn, from netip.Addr) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	if err := nc.SetDeadline(time.Now().Add(s.cfg.HandshakeTimeout)); err != nil {
		return nil, nil, nil, err
	}
	cfg := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-JumpGet",
		MaxAuthTries:  maxAuthTries,
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			p, err := s.keys.lookup(key)
			if err != nil {
				s.log.Info("an ssh key was refused", "from", from, "key", ssh.FingerprintSHA256(key), "reason", err)
			}
			return p, err
		},
	}
	cfg.AddHostKey(s.key)
	conn, channels, requests, err := ssh.NewServerConn(nc, cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	return conn, channels, requests, nc.SetDeadline(time.Time{})
}

// register makes a connection known to Shutdown; false means it came too late.
func (s *Server) register(nc net.Conn, c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[nc] = c
	return !s.closing
}

// Shutdown stops accepting and waits for the open channels to end; when ctx
// ends first it closes them and returns ctx's error. Whoever serves the channels
// has to be told to finish, too.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.stopListening()
	s.mu.Lock()
	for nc, c := range s.conns {
		if c == nil {
			_ = nc.Close()
		} else {
			c.drain()
		}
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return err
	case <-ctx.Done():
		s.closeConns()
		<-done
		return errors.Join(err, context.Cause(ctx))
	}
}

// Close ends everything at once, and waits for the Serve functions to return.
func (s *Server) Close() error {
	err := s.stopListening()
	s.closeConns()
	s.running.Wait()
	return err
}

func (s *Server) stopListening() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	var errs []error
	for l := range s.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	clear(s.listeners)
	return errors.Join(errs...)
}

func (s *Server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc := range s.conns {
		_ = nc.Close()
	}
}

func addrOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// network is what counts as one address for MaxPending: whoever has one IPv6
// address has the 2^64 beside it as well.
func network(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}
