package access

import (
	"errors"
	"net"
	"net/netip"
)

// ErrUnknownPeer says that the system does not tell whose connection it is.
var ErrUnknownPeer = errors.New("access: the peer's user is not known")

// UserOfTCP returns the name of the user who owns the far end of a TCP connection
// within this machine. local and remote are the addresses of our end. It is
// ErrUnknownPeer for a connection from elsewhere, and outside Linux.
func UserOfTCP(local, remote netip.AddrPort) (string, error) { return "", ErrUnknownPeer }

// UserOfUnix returns the name of the user at the other end of a Unix socket; a
// user without a name is the decimal uid. It is ErrUnknownPeer on Windows.
func UserOfUnix(c *net.UnixConn) (string, error) { return "", ErrUnknownPeer }
