// Package sshend is the relay's own SSH endpoint.
package sshend

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Config is all a Server needs. HostKey, AuthorizedKeys and Serve are required.
type Config struct {
	HostKey        string // file of the ed25519 host key; made with mode 0600 if absent
	AuthorizedKeys string // file of the public keys that may enter; read again when it changes

	// Serve gets each accepted channel as a connection to the local API, with the
	// key's user name and the client's address. It runs in a goroutine of its own;
	// the channel is closed when it returns.
	Serve func(conn net.Conn, user string, from netip.Addr)

	LocalPort   int    // the local API's port: forwards to it on a loopback name are accepted; 0: 4100
	LocalSocket string // the local API's Unix socket; "": forwards to sockets are refused

	Logger *slog.Logger // nil: silent

	MaxConns         int           // connections at once; 0: 256
	MaxPending       int           // of one address, before authentication; 0: 10
	HandshakeTimeout time.Duration // until authentication is done; 0: 60 s
}

// Server is an SSH endpoint that leads to the local API and nowhere else.
type Server struct{}

// New loads or makes the host key and reads the authorized keys once.
func New(cfg Config) (*Server, error) { return nil, errors.New("not written yet") }

// Serve accepts connections until Shutdown or Close, then returns nil.
func (s *Server) Serve(l net.Listener) error { return nil }

// Shutdown stops accepting and waits for the open channels to end; when ctx
// ends first it closes them and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error { return nil }

// Close ends everything at once.
func (s *Server) Close() error { return nil }

// Fingerprint is the host key's, as ssh shows it: "SHA256:...".
func (s *Server) Fingerprint() string { return "" }

// KnownHosts is the host key as a known_hosts line for an address "host:port".
func (s *Server) KnownHosts(addr string) string { return "" }
