package client

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/jumpget/jumpget/internal/contest"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/schedule"
)

// Path names a way for bytes to reach the client.
type Path = schedule.Path

// The paths of this version.
const (
	PathUDP = schedule.UDP
	PathTCP = schedule.TCP
	PathSSH = schedule.SSH
)

// Config says how a Client reaches its relay.
type Config struct {
	// Tunnel opens a byte stream to the relay's local API; sshdial's Dial.
	// Required.
	Tunnel func(ctx context.Context) (net.Conn, error)

	// Moved is called when this machine's address has changed, before a new
	// tunnel is opened: what old tunnels share is dead. nil: there is nothing to do.
	Moved func(ctx context.Context) error

	// Host returns the host name or address that ssh connects to, for
	// endpoints that name none. nil: such endpoints are left out.
	Host func(ctx context.Context) (string, error)

	// Reporter hears how downloads go; everything but progress.Failed, which is
	// the caller's. nil: nobody does.
	Reporter progress.Reporter

	// Connections fixes the number of connections to the public door.
	// 0: chosen by measurement.
	Connections int

	// Limit is the most bytes a second over all paths together. 0: no limit.
	Limit int64

	// Secret is what the relay's local API asks for on its TCP port. Empty: nothing.
	Secret string

	// Paths are the paths allowed. Empty: all.
	Paths []Path

	// Version is the program's version, for the relay's log.
	Version string

	// StateDir is where the client keeps its sessions and remembers the public
	// door of each relay, so that the next run needs no ssh, or connects to the door
	// while ssh still starts. Empty: nothing is kept.
	StateDir string

	// Relay names the relay in StateDir; the ssh destination will do.
	Relay string

	// Login is whatever else decides as whom ssh logs in there, such as a key: each
	// has a session of its own.
	Login string

	// NoSession goes over ssh alone, and asks for no session.
	NoSession bool

	// Timeout is how long a peer may send nothing when it has something to
	// send. 0: 30 s.
	Timeout time.Duration

	// Tries is how often a network error is met before giving up. 0: unlimited.
	Tries int

	// Network is "tcp", "tcp4" or "tcp6" for the public door. Empty: "tcp".
	Network string

	// Log gets what is of use to somebody who looks for a fault. nil: nothing.
	Log *slog.Logger
}

// Client brings files through one relay. It is safe for concurrent use; all
// downloads share its tunnel.
type Client struct {
	cfg      Config
	api      *api
	limit    *rate.Limiter // nil: none
	memory   memory
	sessions *sessions
	stop     context.CancelCauseFunc // ends the tunnel

	own      func(context.Context) netip.Addr // ownAddress, but for tests
	near     time.Duration                    // nearby, but for tests
	udpLimit time.Duration                    // udpLimit, but for tests
	relayAt  atomic.Pointer[string]           // the relay's address and a port; nil: not looked up yet
	sshHost  func() (string, error)           // cfg.Host, asked once
}

// errClosed is what a tunnel ends with after Close.
var errClosed = errors.New("the client was closed")

// New returns a client. It connects to nothing yet.
func New(cfg Config) (*Client, error) {
	if cfg.Tunnel == nil {
		return nil, errors.New("client: Config.Tunnel is missing")
	}
	for _, p := range cfg.Paths {
		if p != PathUDP && p != PathTCP && p != PathSSH {
			return nil, job.Errorf(job.CodeBadRequest, "this version knows no path %q", p).
				WithHint("the paths are auto, udp, tcp and ssh")
		}
	}
	setDefaults(&cfg)
	life, stop := context.WithCancelCause(context.Background())
	opener := newOpener(cfg)
	c := &Client{
		cfg:    cfg,
		api:    newAPI(&tunnel{reach: opener, life: life}, cfg),
		limit:  newLimiter(cfg.Limit),
		memory: memory{dir: cfg.StateDir, relay: cfg.Relay},
		stop:   stop,
	}
	c.own, c.near, c.udpLimit = c.ownAddress, contest.Nearby, udpLimit
	c.sessions = &sessions{c: c, opener: opener, life: life}
	c.sshHost = sync.OnceValues(func() (string, error) {
		if cfg.Host == nil {
			return "", nil
		}
		return cfg.Host(life)
	})
	return c, nil
}

func setDefaults(cfg *Config) {
	if cfg.Reporter == nil {
		cfg.Reporter = progress.Discard{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if len(cfg.Paths) == 0 {
		cfg.Paths = []Path{PathUDP, PathTCP, PathSSH}
	}
}

// Close ends the tunnel. Downloads that are under way fail. A session that has
// been asked for gets a moment more to come.
func (c *Client) Close() error {
	c.sessions.settle()
	c.stop(errClosed)
	err := c.api.tunnel.close()
	c.api.close()
	return err
}

func (c *Client) allowed(p Path) bool { return slices.Contains(c.cfg.Paths, p) }
