package relayd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/gofrs/flock"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/bulkd"
	"github.com/jumpget/jumpget/internal/gather"
	"github.com/jumpget/jumpget/internal/httpd"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/sshend"
	"github.com/jumpget/jumpget/internal/store"
	"github.com/jumpget/jumpget/internal/transport"
)

// What stands in the data directory, beside the certificate and the host key.
const (
	lockFile     = "lock"
	databaseFile = "jumpget.db"
	bodiesDir    = "bodies"
	socketFile   = "api.sock"
	hostKeyFile  = "ssh_host_ed25519_key"
	keysFile     = "authorized_keys"
)

// Run runs a relay until ctx ends and then shuts it down: streams are told,
// requests under way get a few seconds, fetches are left to be resumed by the
// next start. It returns nil after a clean shutdown.
func Run(ctx context.Context, opts Options) (err error) {
	o, err := opts.withDefaults()
	if err != nil {
		return err
	}
	d := &daemon{opts: o, log: o.Log}
	defer func() { err = errors.Join(err, d.close()) }()
	for _, step := range []func(context.Context) error{d.lock, d.identify, d.listen, d.start} {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return nil // stopped before it was up, and nothing is lost
			}
			return err
		}
	}
	return d.serve(ctx)
}

func (o Options) withDefaults() (Options, error) {
	if o.DataDir == "" {
		return o, job.Errorf(job.CodeBadRequest, "no data directory is known").WithHint("name one with --data-dir")
	}
	o.LocalAddr = cmp.Or(o.LocalAddr, "127.0.0.1:4100")
	o.LocalSocket = cmp.Or(o.LocalSocket, filepath.Join(o.DataDir, socketFile))
	if runtime.GOOS == "windows" {
		o.LocalSocket = Off
	}
	o.PublicAddr = cmp.Or(o.PublicAddr, ":3100")
	o.AuthorizedKeys = cmp.Or(o.AuthorizedKeys, filepath.Join(o.DataDir, keysFile))
	o.Version = cmp.Or(o.Version, "unknown")
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ready == nil {
		o.Ready = func(Addresses) {}
	}
	return o, nil
}

// daemon is a relay under construction, or running.
type daemon struct {
	opts    Options
	log     *slog.Logger
	closers []func() error // in the order in which things were opened

	cert      tls.Certificate
	pin       string
	endpoints []job.Endpoint
	bbr       bool
	doors     doors

	relay  *relay.Relay
	udp    *bulkd.Door // nil: the port could not be opened
	local  *httpd.Local
	public *httpd.Public
	ssh    *sshend.Server // nil: off
}

func (d *daemon) later(f func() error) { d.closers = append(d.closers, f) }

// close undoes what has been opened, last first.
func (d *daemon) close() error {
	var errs []error
	for len(d.closers) > 0 {
		last := len(d.closers) - 1
		errs = append(errs, d.closers[last]())
		d.closers = d.closers[:last]
	}
	return errors.Join(errs...)
}

// lock makes the data directory and takes it for this process alone: a second
// relay would remove the first one's bodies as unknown.
func (d *daemon) lock(context.Context) error {
	dir := d.opts.DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unusable(err)
	}
	l := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	held, err := l.TryLock()
	switch {
	case err != nil:
		return unusable(err)
	case !held:
		return job.Errorf(job.CodeUnavailable, "another relay already uses %s", dir).
			WithHint("stop it first, or give this one another --data-dir")
	}
	d.later(l.Unlock)
	return nil
}

func unusable(err error) error {
	hint := "name another with --data-dir"
	if errors.Is(err, fs.ErrPermission) {
		hint = "make it belong to the user that runs the relay, or name another with --data-dir"
	}
	return job.Errorf(job.CodeDisk, "the data directory can't be used: %w", err).WithHint("%s", hint)
}

// identify loads what clients know the relay by.
func (d *daemon) identify(context.Context) (err error) {
	d.cert, d.pin, err = transport.LoadOrCreateCert(d.opts.DataDir)
	return err
}

// start opens the store, recovers what an earlier process left and makes the
// servers for the open doors.
func (d *daemon) start(ctx context.Context) error {
	o := d.opts
	if err := d.startRelay(ctx); err != nil {
		return err
	}
	if err := d.startUDP(ctx); err != nil {
		return err
	}
	proxies := access.NewProxies(o.TrustedProxies)
	d.local = httpd.NewLocal(httpd.LocalConfig{
		Jobs: d.relay, Secret: o.LocalSecret, Version: o.Version, BBR: d.bbr, Clock: o.Clock, Log: d.log,
	})
	d.public = httpd.NewPublic(httpd.PublicConfig{
		Bodies: d.relay, TLS: transport.ServerTLS(d.cert), Proxies: proxies, API: d.local,
		Plain: d.endpoints[0].Scheme == "http", Log: d.log,
	})
	return d.startSSH()
}

func (d *daemon) startRelay(ctx context.Context) error {
	o := d.opts
	db, err := store.Open(ctx, filepath.Join(o.DataDir, databaseFile), o.Clock)
	if err != nil {
		return err
	}
	d.later(db.Close)
	bodies, err := blob.NewDisk(filepath.Join(o.DataDir, bodiesDir))
	if err != nil {
		return unusable(err)
	}
	d.later(bodies.Close)
	fetcher := origin.New(origin.Config{
		Guard:   origin.Guard{Allow: o.AllowPrivateOrigins},
		MaxSize: o.MaxFile, UserAgent: "jumpget/" + o.Version,
	})
	d.later(func() error { fetcher.Close(); return nil })
	d.relay, err = relay.New(ctx, relay.Config{
		Store: db, Blobs: bodies, Fetcher: fetcher, Bundles: gather.New(gather.Config{Origin: fetcher, Log: d.log}),
		Retain: o.Retain, MaxFile: o.MaxFile, Quota: o.Quota, Fetches: o.Fetches,
		Endpoints: func() []job.Endpoint { return d.endpoints }, Issued: d.issued,
		Sessions: o.Sessions, SessionIssued: d.sessionIssued, SessionEnded: d.sessionEnded, UserExists: d.userExists,
		Clock: o.Clock, Log: d.log,
	})
	if err != nil {
		return err
	}
	d.later(func() error { d.relay.Close(); return nil })
	return nil
}

// issued passes a token on to the UDP door, once there is one.
func (d *daemon) issued(t relay.Token) {
	if d.udp != nil {
		d.udp.Issued(t)
	}
}

func (d *daemon) startUDP(ctx context.Context) error {
	if d.doors.udp == nil {
		return nil
	}
	d.udp = bulkd.New(bulkd.Config{Jobs: d.relay, Serve: d.serveStream, Log: d.log, Clock: d.opts.Clock, Trace: d.opts.Trace})
	for _, s := range d.relay.LiveSessions() {
		d.udp.SessionIssued(s)
	}
	tokens, err := d.relay.Tokens(ctx)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		d.udp.Issued(t)
	}
	return nil
}

func (d *daemon) startSSH() (err error) {
	if d.doors.ssh == nil {
		return nil
	}
	socket := d.opts.LocalSocket
	if socket == Off {
		socket = ""
	}
	d.ssh, err = sshend.New(sshend.Config{
		HostKey:        filepath.Join(d.opts.DataDir, hostKeyFile),
		AuthorizedKeys: d.opts.AuthorizedKeys,
		Serve:          d.serveChannel,
		LocalPort:      int(portOf(d.doors.local)),
		LocalSocket:    socket,
		Logger:         d.log,
	})
	if errors.Is(err, fs.ErrNotExist) {
		return job.Errorf(job.CodeBadRequest, "the ssh endpoint lets nobody in: %w", err).
			WithHint("put the public keys of those who may come into %s, one a line", d.opts.AuthorizedKeys)
	}
	if err != nil {
		return fmt.Errorf("start the ssh endpoint: %w", err)
	}
	return nil
}

// addresses tells where the open doors are.
func (d *daemon) addresses() Addresses {
	a := Addresses{Public: addrOf(d.doors.public), Pin: d.pin}
	if d.doors.local != nil {
		a.Local = addrOf(d.doors.local)
	}
	if d.doors.socket != nil {
		a.Socket = d.opts.LocalSocket
	}
	if d.ssh != nil {
		a.SSH, a.SSHHostKey = addrOf(d.doors.ssh), d.ssh.HostKey()
	}
	return a
}

// udpEndpoint is where the bulk protocol is spoken. A proxy passes no UDP on, so
// behind one it is the machine that ssh reaches.
func udpEndpoint(public job.Endpoint, port uint16, proxies []netip.Prefix) job.Endpoint {
	e := job.Endpoint{Scheme: job.SchemeUDP, Host: public.Host, Port: int(port)}
	if public.Host != "" && len(proxies) == 0 {
		e.Port = public.Port // the same mapping leads there, if any does
	} else {
		e.Host = ""
	}
	return e
}

// publicEndpoints says how clients reach the public door, most wanted first.
func publicEndpoints(publicURL, pin string, port uint16, proxies []netip.Prefix) ([]job.Endpoint, error) {
	if publicURL == "" {
		return []job.Endpoint{{Scheme: "https", Port: int(port), Pin: pin}}, nil
	}
	e, err := parseEndpoint(publicURL)
	if err != nil {
		return nil, job.Errorf(job.CodeBadRequest, "the public URL %q can't be used: %w", publicURL, err).
			WithHint("write it as https://host:port, or http://host:port for plaintext")
	}
	// Behind a proxy the certificate is the proxy's, and the system's trust
	// store decides; without one it is ours, whatever name leads to it.
	if e.Scheme == "https" && len(proxies) == 0 {
		e.Pin = pin
	}
	return []job.Endpoint{e}, nil
}
