package transport

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

// defaultDialTimeout is long enough for a handshake of six packets at 30 % loss.
const defaultDialTimeout = 15 * time.Second

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

	// Reached is called with what the kernel knows of the connection once TCP
	// stands, before TLS; it must not block. nil: nobody wants to know.
	Reached func(Socket)

	// Roots decide where the pin is empty. nil: the system's.
	Roots *x509.CertPool
}

// Dial connects to e, whose Host must be set. For https the connection it
// returns is a *tls.Conn whose handshake is done and whose certificate has been
// checked; for http it is the plain connection. The error is a
// *PinMismatchError, *TLSError, *UnreachableError, what Pin returned, or the
// context's.
func (d *Dialer) Dial(ctx context.Context, e job.Endpoint) (net.Conn, error) {
	addr := net.JoinHostPort(e.Host, strconv.Itoa(e.Port))
	nd := net.Dialer{
		Timeout:         d.timeout(),
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 6},
	}
	nd.SetMultipathTCP(false) // its sockets tell no TCP_INFO
	network := d.Network
	if network == "" {
		network = "tcp"
	}
	raw, err := nd.DialContext(ctx, network, addr)
	if err != nil {
		return nil, dialError(ctx, addr, err)
	}
	if d.Reached != nil {
		d.Reached(Inspect(raw))
	}
	if e.Scheme == "http" {
		return raw, nil
	}
	return d.handshake(ctx, raw, e, addr)
}

func (d *Dialer) timeout() time.Duration {
	if d.Timeout > 0 {
		return d.Timeout
	}
	return defaultDialTimeout
}

// handshake does TLS over raw, which it closes if that fails.
func (d *Dialer) handshake(ctx context.Context, raw net.Conn, e job.Endpoint, addr string) (net.Conn, error) {
	hctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The clock stands still while Pin waits for ssh.
	timer := time.AfterFunc(d.timeout(), func() { cancel(os.ErrDeadlineExceeded) })
	defer timer.Stop()
	check := func(cs tls.ConnectionState) error {
		timer.Stop()
		pin, err := d.pin(ctx, e)
		if err != nil {
			return &pinError{err}
		}
		timer.Reset(d.timeout())
		return d.verify(cs, e.Host, addr, pin)
	}
	conn := tls.Client(&bufferedConn{Conn: raw, buf: make([]byte, socketRead)}, d.config(e.Host, check))
	if err := conn.HandshakeContext(hctx); err != nil {
		_ = raw.Close() // the handshake's error is the one that counts
		if cause := context.Cause(hctx); cause != nil {
			err = cause
		}
		return nil, handshakeError(ctx, addr, err)
	}
	return conn, nil
}

func (d *Dialer) pin(ctx context.Context, e job.Endpoint) (string, error) {
	if d.Pin == nil {
		return e.Pin, nil
	}
	return d.Pin(ctx)
}

// config leaves all judgement of the certificate to check, because whether a
// pin or the system's trust decides may not be known yet. check runs in
// VerifyConnection, which unlike VerifyPeerCertificate also runs for a resumed
// session; there are none anyway, as no session cache is set.
func (d *Dialer) config(host string, check func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		ServerName:         host,
		NextProtos:         []string{"http/1.1"},
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // check verifies the pin or the chain
		VerifyConnection:   check,
	}
}

// verify compares the certificate with the pin, or has the trust store judge it.
func (d *Dialer) verify(cs tls.ConnectionState, host, addr, pin string) error {
	if len(cs.PeerCertificates) == 0 || cs.DidResume {
		return &TLSError{Addr: addr, Err: errors.New("no certificate was shown")}
	}
	leaf := cs.PeerCertificates[0]
	if pin == "" {
		return d.verifyChain(cs, host, addr)
	}
	if cs.Version < tls.VersionTLS13 {
		return &TLSError{Addr: addr, Err: errors.New("the relay's own certificate over less than TLS 1.3")}
	}
	got, want := Pin(leaf.Raw), strings.ToLower(pin)
	if subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return &PinMismatchError{Addr: addr, Want: want, Got: got}
	}
	return nil
}

func (d *Dialer) verifyChain(cs tls.ConnectionState, host, addr string) error {
	opts := x509.VerifyOptions{DNSName: host, Roots: d.Roots, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := cs.PeerCertificates[0].Verify(opts); err != nil {
		return &TLSError{Addr: addr, Err: err}
	}
	return nil
}

// pinError carries what Dialer.Pin returned through crypto/tls.
type pinError struct{ err error }

func (e *pinError) Error() string { return e.err.Error() }

func dialError(ctx context.Context, addr string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return &UnreachableError{Addr: addr, Err: plainNetError(err)}
}

// handshakeError sorts what ended a handshake into the errors of this package.
func handshakeError(ctx context.Context, addr string, err error) error {
	var pin *pinError
	var mismatch *PinMismatchError
	var tlsErr *TLSError
	var netErr net.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &pin):
		return pin.err
	case errors.As(err, &mismatch), errors.As(err, &tlsErr):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout(), broken(err):
		return &UnreachableError{Addr: addr, Err: plainNetError(err)}
	}
	return &TLSError{Addr: addr, Err: err}
}

// plainNetError strips addresses that the message around it names already.
func plainNetError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	var sys syscall.Errno
	switch {
	case errors.As(err, &sys):
		return sys
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer in time: %w", os.ErrDeadlineExceeded)
	}
	return err
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
