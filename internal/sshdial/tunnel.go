// Package sshdial reaches a relay's local API through the system's ssh.
package sshdial

import (
	"context"
	"errors"
	"net"
	"time"
)

// Mode is the way a tunnel reaches the relay.
type Mode string

// The modes.
const (
	ModeForward Mode = "forward" // ssh -W
	ModeBridge  Mode = "bridge"  // the remote command "jumpget bridge"
)

// GreetingSize is how many bytes a Config's Greeting gets at least.
const GreetingSize = 9

// GreetingHTTP2 is a Config's Greeting for an HTTP/2 server: the first frame has
// to be SETTINGS.
func GreetingHTTP2(first []byte) error { return errors.New("not written yet") }

// Tunnel is a net.Conn to the relay's local API over the standard streams of an
// ssh process. Errors of Read and Write are *Error wherever ssh failed.
type Tunnel struct{}

// Dial starts ssh and returns at once; ctx ends the tunnel's whole life, as with
// exec.CommandContext. See the package comment for how failure shows.
func Dial(ctx context.Context, cfg Config) (*Tunnel, error) { return nil, errors.New("not written yet") }

// Confirm waits until the relay's first bytes are here or ssh has failed. The
// caller has to have written something that the relay answers.
func (t *Tunnel) Confirm(ctx context.Context) error { return nil }

// Mode tells which way the tunnel goes; it is settled once Confirm returned.
func (t *Tunnel) Mode() Mode { return "" }

// Reused tells whether an ssh connection that already stood carries the tunnel.
func (t *Tunnel) Reused() bool { return false }

func (t *Tunnel) Read(b []byte) (int, error)         { return 0, nil }
func (t *Tunnel) Write(b []byte) (int, error)        { return 0, nil }
func (t *Tunnel) Close() error                       { return nil }
func (t *Tunnel) LocalAddr() net.Addr                { return nil }
func (t *Tunnel) RemoteAddr() net.Addr               { return nil }
func (t *Tunnel) SetDeadline(d time.Time) error      { return nil }
func (t *Tunnel) SetReadDeadline(d time.Time) error  { return nil }
func (t *Tunnel) SetWriteDeadline(d time.Time) error { return nil }

// Host is what the user's ssh config makes of a destination.
type Host struct {
	Hostname  string // the real host name or address
	User      string
	Port      int
	ProxyJump bool // ssh goes through another host or a proxy command
}

// Resolve asks ssh -G what a destination means. No connection is made.
func Resolve(ctx context.Context, cfg Config) (Host, error) { return Host{}, nil }

// MasterAlive tells whether a shared connection of ours stands.
func MasterAlive(ctx context.Context, cfg Config) (bool, error) { return false, nil }

// StopMaster ends the shared connection of ours, if one stands. A connection
// that the user's own ssh config shares is left alone.
func StopMaster(ctx context.Context, cfg Config) error { return nil }
