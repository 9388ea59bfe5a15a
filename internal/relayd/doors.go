package relayd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/transport"
)

// doors are a relay's listeners; nil ones are off.
type doors struct {
	local, socket, public, ssh net.Listener
	udp                        *transport.UDP // beside public, on the same port
}

// listen opens every door before any fetch is resumed, so that a port in use is
// all that a second relay finds.
func (d *daemon) listen(ctx context.Context) error {
	d.bbr = transport.BBRAvailable()
	if !d.bbr {
		d.log.Warn("this kernel has no BBR: TCP downloads over lossy links will be slow",
			"hint", "modprobe tcp_bbr; sysctl net.ipv4.tcp_allowed_congestion_control shows what programs may choose",
			"have", strings.Join(transport.CongestionControls(), " "))
	}
	for _, door := range []struct {
		name, addr, flag string
		into             *net.Listener
		open             func(ctx context.Context, addr string) (net.Listener, error)
	}{
		{"public door", d.opts.PublicAddr, "--public-port", &d.doors.public, d.listenPublic},
		{"local API", d.opts.LocalAddr, "--local-port", &d.doors.local, listenTCP},
		{"local API's socket", d.opts.LocalSocket, "--local-socket", &d.doors.socket, listenUnix},
		{"ssh endpoint", d.opts.SSHListen, "--ssh-listen", &d.doors.ssh, listenTCP},
	} {
		if door.addr == Off || door.addr == "" {
			continue
		}
		l, err := door.open(ctx, door.addr)
		if err != nil {
			return closedDoor(door.name, door.addr, door.flag, err)
		}
		*door.into = l
		d.later(func() error { return ignoreClosed(l.Close()) })
	}
	d.listenUDP(ctx)
	var err error
	d.endpoints, err = publicEndpoints(d.opts.PublicURL, d.pin, portOf(d.doors.public), d.opts.TrustedProxies)
	if err == nil && d.doors.udp != nil {
		d.endpoints = append(d.endpoints, udpEndpoint(d.endpoints[0], d.doors.udp.Port(), d.opts.TrustedProxies))
	}
	return err
}

func (d *daemon) listenPublic(ctx context.Context, addr string) (net.Listener, error) {
	return transport.Listen(ctx, addr, transport.Options{BBR: d.bbr})
}

// listenUDP opens the public door's port for UDP too. Without it a relay is slow
// over lossy links, but it is a relay.
func (d *daemon) listenUDP(ctx context.Context) {
	u, err := transport.ListenUDP(ctx, d.doors.public.Addr().String())
	if err != nil {
		d.log.Warn("the public door has no UDP: downloads over lossy links will be slow", "err", err)
		return
	}
	d.doors.udp = u
	d.later(func() error { return ignoreClosed(u.Close()) })
}

func listenTCP(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", addr)
}

// errAlive is what stands in the way of a socket that another process serves.
var errAlive = errors.New("another program answers there")

// maxSocketPath is the shortest limit of the systems we know for a Unix
// socket's path (macOS: 104 bytes with the final zero).
const maxSocketPath = 103

// listenUnix opens the local API's socket. Every user of the machine may
// connect, since the peer's credentials tell whose jobs are whose; the directory
// decides who gets that far. A socket that a dead process left is replaced.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("its path is %d bytes long, and a socket's may have %d", len(path), maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // users must reach the socket; a data directory is there already, with 0700
		return nil, err
	}
	if err := clearSocket(ctx, path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // see above
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// clearSocket removes a socket on which nobody listens any more, and nothing
// but a socket.
func clearSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return errors.New("something else stands there")
	}
	dial := net.Dialer{Timeout: time.Second}
	if c, err := dial.DialContext(ctx, "unix", path); err == nil {
		return errors.Join(errAlive, c.Close())
	}
	return os.Remove(path)
}

func closedDoor(name, addr, flag string, err error) error {
	e := job.Errorf(job.CodeUnavailable, "the %s can't be opened at %s: %w", name, addr, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, errAlive):
		return e.WithHint("is a relay running already? Stop it, or choose another with %s", flag)
	case errors.Is(err, os.ErrPermission):
		return e.WithHint("this user may not open it; choose another with %s", flag)
	}
	return e.WithHint("choose another with %s", flag)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func addrOf(l net.Listener) netip.AddrPort {
	ap, _ := netip.ParseAddrPort(l.Addr().String()) // a TCP listener's always parses
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// portOf is a TCP listener's port, 0 if it is off.
func portOf(l net.Listener) uint16 {
	if l == nil {
		return 0
	}
	return addrOf(l).Port()
}

// parseEndpoint reads a public URL.
func parseEndpoint(s string) (job.Endpoint, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return job.Endpoint{}, err
	case u.Scheme != "http" && u.Scheme != "https":
		return job.Endpoint{}, fmt.Errorf("its scheme is %q", u.Scheme)
	case u.Hostname() == "":
		return job.Endpoint{}, errors.New("it names no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return job.Endpoint{}, errors.New("it may have only a host, a port and a path")
	}
	e := job.Endpoint{Scheme: u.Scheme, Host: u.Hostname(), Path: strings.TrimRight(u.EscapedPath(), "/")}
	switch port := u.Port(); {
	case port != "":
		e.Port, err = strconv.Atoi(port)
	case u.Scheme == "http":
		e.Port = 80
	default:
		e.Port = 443
	}
	return e, err
}
