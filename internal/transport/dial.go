package transport

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

// Dialer opens connections to a relay's public door.
type Dialer struct {
	// Pin returns the hex SHA-256 of the certificate that the endpoint must
	// show. It may block until the pin is known: the connection and its TLS
	// handshake are under way meanwhile, and nothing is sent before the answer.
	// An empty pin leaves the decision to the system's trust store. nil: the
	// endpoint's own Pin.
	Pin func(ctx context.Context) (string, error)

	// Timeout bounds the TCP connect and, apart from waiting for Pin, the TLS
	// handshake. 0: 15 s.
	Timeout time.Duration

	// Network is "tcp", "tcp4" or "tcp6". Empty: "tcp".
	Network string
}

// Dial connects to e, whose Host must be set. For https the connection it
// returns is a *tls.Conn whose handshake is done and whose certificate has been
// checked; for http it is the plain connection. The error is a
// *PinMismatchError, *TLSError, *UnreachableError or the context's.
func (d *Dialer) Dial(ctx context.Context, e job.Endpoint) (net.Conn, error) {
	return nil, errors.New("transport: not there yet")
}

// PinMismatchError says that the certificate shown is not the relay's.
// Somebody stands in between, or the relay got a new certificate after the ticket.
type PinMismatchError struct {
	Addr      string
	Want, Got string // hex SHA-256
}

func (e *PinMismatchError) Error() string {
	return "the certificate shown by " + e.Addr + " is not the relay's"
}

// UnreachableError says that no connection came about.
type UnreachableError struct {
	Addr string
	Err  error
}

func (e *UnreachableError) Error() string { return "can't reach " + e.Addr + ": " + e.Err.Error() }

func (e *UnreachableError) Unwrap() error { return e.Err }

// TLSError says that the TLS handshake failed for another reason than the pin:
// no TLS is spoken there, or the system does not trust the certificate.
type TLSError struct {
	Addr string
	Err  error
}

func (e *TLSError) Error() string { return "TLS with " + e.Addr + " failed: " + e.Err.Error() }

func (e *TLSError) Unwrap() error { return e.Err }
