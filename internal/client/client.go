package client

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/wire"
)

// Path names a way for bytes to reach the client.
type Path string

// The paths of this version.
const (
	PathTCP Path = "tcp" // ranged HTTP over TLS to the public door
	PathSSH Path = "ssh" // the ssh tunnel itself
)

// Config says how a Client reaches its relay.
type Config struct {
	// Tunnel opens a byte stream to the relay's local API; sshdial's Dial.
	// Required.
	Tunnel func(ctx context.Context) (net.Conn, error)

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

	// Paths are the paths allowed. Empty: all.
	Paths []Path

	// Version is the program's version, for the relay's log.
	Version string

	// StateDir is where the client remembers the public door of each relay, so
	// that the next run connects to it while ssh still starts. Empty: nothing is remembered.
	StateDir string

	// Relay names the relay in StateDir; the ssh destination will do.
	Relay string

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
	cfg Config
}

// New returns a client. It connects to nothing yet.
func New(cfg Config) (*Client, error) {
	if cfg.Tunnel == nil {
		return nil, errors.New("client: Config.Tunnel is missing")
	}
	return &Client{cfg: cfg}, nil
}

// Close ends the tunnel. Downloads that are under way fail.
func (c *Client) Close() error { return nil }

// Request asks for one file.
type Request struct {
	job.Request

	// Job names a job that stands on the relay already; nothing is submitted
	// then, and of the embedded Request nothing is used.
	Job job.ID

	// Download is the number that progress events carry.
	Download int

	// Output says where the file goes. It is not used with Stdout, but for
	// Dir, where the bytes are kept until they are verified, and Checksums.
	Output Output

	// Stdout gets the bytes in order, each verified first. nil: a file is written.
	Stdout io.Writer
}

// Output says where a file goes and what becomes of it. The zero value is the
// name that the relay tells, in the current directory, never over another file.
type Output struct {
	File      string            // path of the file; empty: the relay's name for it, in Dir
	Dir       string            // used if File is empty; empty: the current directory
	OnExists  partial.OnExists  // what to do if the file is there
	Adopt     bool              // take over what another program left there, after checking it
	Newer     bool              // only if the origin's file is newer than the one there, which is then replaced
	NoTime    bool              // do not set the file's time to the origin's Last-Modified
	Checksums map[string]string // algorithm to hex, as partial.Options
}

// Result tells of a finished download.
type Result struct {
	Job            job.ID
	Path           string        // of the file; empty for Stdout
	Size           int64         // bytes
	SHA256         string        // hex of the whole; empty if Skipped
	Fetched        int64         // bytes that came over the network in this run
	Elapsed        time.Duration // of this run
	LengthVerified bool          // false: the origin told no length
	Skipped        bool          // Output.Newer was set and the file here is not older
	Paths          map[Path]int64
}

// Get brings one file: it submits the request, fetches what is missing over
// all paths, verifies every chunk and puts the file into place. Errors are
// *job.Error, or typed errors of sshdial, partial and transport.
func (c *Client) Get(ctx context.Context, r Request) (*Result, error) {
	return nil, errors.New("client: not there yet")
}

// Add submits a request and leaves; the relay goes on.
func (c *Client) Add(ctx context.Context, r job.Request) (*wire.Job, error) {
	return nil, errors.New("client: not there yet")
}

// Jobs lists the user's jobs.
func (c *Client) Jobs(ctx context.Context) ([]wire.Job, error) { return nil, nil }

// Job shows one job.
func (c *Client) Job(ctx context.Context, id job.ID) (*wire.Job, error) { return nil, nil }

// Remove removes a job.
func (c *Client) Remove(ctx context.Context, id job.ID) error { return nil }

// Extend keeps a job for another while.
func (c *Client) Extend(ctx context.Context, id job.ID, d time.Duration) (*wire.Job, error) {
	return nil, nil
}

// Ticket issues a fresh ticket, its endpoints completed with the relay's host.
func (c *Client) Ticket(ctx context.Context, id job.ID) (*job.Ticket, error) { return nil, nil }

// Link returns the public URL of a job, with a token in it.
func (c *Client) Link(ctx context.Context, id job.ID) (string, error) { return "", nil }

// Allow lets an address use the tokens of a job; of all the user's jobs if id
// is empty. d 0: as long as the job is kept.
func (c *Client) Allow(ctx context.Context, id job.ID, addr netip.Addr, d time.Duration) error {
	return nil
}

// Status asks the relay for its own state.
func (c *Client) Status(ctx context.Context) (*wire.Status, error) { return nil, nil }
