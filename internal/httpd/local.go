package httpd

import (
	"context"
	"net"
	"net/netip"
)

// Identity is who speaks on a connection to the local API.
type Identity struct {
	User string     // the owner of the jobs submitted on it
	Addr netip.Addr // the client's network address as ssh tells it; may be invalid
}

// Local serves the local API. Make one with NewLocal.
type Local struct{}

// Serve answers requests on l until l is closed or Shutdown is called; then it
// returns nil. A Unix listener's peers are named by their credentials and may
// open with the bridge's preface; a TCP listener's by the owner of their socket.
func (s *Local) Serve(l net.Listener) error { return nil }

// ServeConn answers requests on one connection whose user is known already,
// such as a channel of the ssh endpoint. It returns when the connection is
// done, and closes it.
func (s *Local) ServeConn(conn net.Conn, id Identity) error { return nil }

// Shutdown ends event streams, lets requests under way finish until ctx ends,
// then cuts the rest.
func (s *Local) Shutdown(ctx context.Context) error { return nil }
