package cli

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/jumpget/jumpget/internal/client"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/relayd"
	"github.com/jumpget/jumpget/internal/sshdial"
)

const tryHelp = `Runs everything on this machine: a relay with its own ssh endpoint on loopback, and
the client with your ssh program, with keys made for this run alone. Without a URL it
also serves a sample file of 64 MiB. Nothing has to be set up, and nothing is left
behind but the file of your URL, if you gave one.`

func (a *app) tryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "try [URL]",
		Short: "the whole thing on this machine, nothing to set up",
		Long:  tryHelp,
		Args:  args(cobra.MaximumNArgs(1)),
	}
	f := &downloadFlags{}
	a.addRelay(cmd)
	f.output.add(cmd.Flags())
	f.origin.add(cmd.Flags())
	for name := range relayFlags { // there is one relay to try
		if flag := cmd.Flags().Lookup(name); flag != nil {
			flag.Hidden = true
		}
	}
	cmd.RunE = func(cmd *cobra.Command, urls []string) error {
		f.output.name = outputName(f.output.name)
		a.stdoutIsData = f.output.name == "-"
		return a.withConfig(func(ctx context.Context, urls []string) error { return a.try(ctx, urls, f) })(cmd, urls)
	}
	return cmd
}

// try makes a folder for everything and removes it at the end.
func (a *app) try(ctx context.Context, urls []string, f *downloadFlags) (err error) {
	if _, err := exec.LookPath("ssh"); err != nil {
		return &sshdial.Error{Kind: sshdial.NoSSH, Message: "there is no ssh on this machine", Hint: "install it: apt install openssh-client", Err: err}
	}
	dir, err := os.MkdirTemp("", "jumpget-try-")
	if err != nil {
		return fmt.Errorf("making a folder to try in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	private := loopback
	if len(urls) > 0 {
		private = everywhere // it is the user's own machine and her own URL
	}
	keys, err := makeTrialKeys(dir)
	if err != nil {
		return err
	}
	relay, err := startTrialRelay(ctx, filepath.Join(dir, "relay"), keys, private, a.proc.Version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, relay.stop()) }()
	return a.tryWith(ctx, urls, f, trial{dir: dir, keys: keys, relay: relay})
}

// trial is what a try runs on.
type trial struct {
	dir   string
	keys  trialKeys
	relay *trialRelay
}

func (a *app) tryWith(ctx context.Context, urls []string, f *downloadFlags, t trial) error {
	a.cfg.Client.Dest.Host, a.cfg.Client.Dest.Port = "127.0.0.1", int(t.relay.at.SSH.Port())
	if len(urls) == 0 {
		sample, err := serveSample()
		if err != nil {
			return err
		}
		defer sample.close()
		urls = []string{sample.url}
		if f.output.name == "" && f.output.dir == "" && a.cfg.Client.Dir == "" {
			f.output.dir = t.dir
		}
	}
	orders, err := a.orders(ctx, urls, f)
	if err != nil {
		return err
	}
	if err := f.output.checkExec(orders); err != nil {
		return err
	}
	a.stdoutIsData = toStdout(orders)
	show := a.renderer()
	c, err := client.New(a.clientConfig(t.ssh(), filepath.Join(t.dir, "state"), show))
	if err != nil {
		return err
	}
	d := &downloads{app: a, client: c, show: show, out: f.output}
	code := combine(d.all(ctx, orders))
	if err := errors.Join(c.Close(), show.Close()); err != nil {
		return err
	}
	if code != exitOK {
		return &shownError{code}
	}
	a.tellTrial(t, orders[0], d.last)
	return nil
}

// tellTrial says in a few lines what has happened.
func (a *app) tellTrial(t trial, o order, res *client.Result) {
	a.say("")
	a.say("What happened: origin -> relay -> you, all on this machine.")
	a.say("  1. Your ssh reached the relay's own ssh endpoint at %s and submitted %s.", t.relay.at.SSH, o.req.URL)
	a.say("  2. The relay fetched it; you got each byte as soon as the relay had it, over %s.", pathsText(res.Paths))
	a.say("  3. Every chunk's SHA-256 came over ssh and was checked against what stands on your disk:")
	a.say("     %s in %s, sha256 %s matches.", progress.Size(res.Size), progress.Duration(res.Elapsed), res.SHA256)
	switch {
	case res.Path == "":
	case strings.HasPrefix(res.Path, t.dir+string(filepath.Separator)):
		a.say("The sample file is removed again. Next: run `jumpget serve` on your server, then `jumpget --relay user@server URL` here.")
	default:
		a.say("The file is %s.", res.Path)
	}
}

func pathsText(paths map[client.Path]int64) string {
	var parts []string
	for _, p := range []client.Path{client.PathUDP, client.PathTCP, client.PathSSH} {
		if n := paths[p]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s (%s)", p, progress.Size(n)))
		}
	}
	if len(parts) == 0 {
		return "no path, since all of it stood here already"
	}
	return strings.Join(parts, " and ")
}

// ssh reaches the trial's relay with the trial's key and known hosts, and with
// nothing of the user's own.
func (t trial) ssh() sshdial.Config {
	at := t.relay.at
	return sshdial.Config{
		Host:     at.SSH.Addr().String(),
		User:     "you",
		Port:     int(at.SSH.Port()),
		Identity: t.keys.private,
		Command: "ssh -F none -o IdentityAgent=none -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes" +
			" -o 'UserKnownHostsFile=" + sshQuote(t.relay.knownHosts) + "' -o GlobalKnownHostsFile=none",
		Target:   net.JoinHostPort("127.0.0.1", strconv.Itoa(int(at.Local.Port()))),
		Greeting: sshdial.GreetingHTTP2,
		Batch:    true,
	}
}

// sshQuote lets a path with white space stand in an option of ssh's.
func sshQuote(path string) string { return `"` + filepath.ToSlash(path) + `"` }

// trialKeys is a client's key made for one run.
type trialKeys struct{ private, authorized string }

func makeTrialKeys(dir string) (trialKeys, error) {
	k := trialKeys{private: filepath.Join(dir, "key"), authorized: filepath.Join(dir, "authorized_keys")}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return k, fmt.Errorf("making a key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "jumpget try")
	if err != nil {
		return k, fmt.Errorf("making a key: %w", err)
	}
	sshPublic, err := ssh.NewPublicKey(public)
	if err != nil {
		return k, fmt.Errorf("making a key: %w", err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshPublic))) + " you\n"
	if err := os.WriteFile(k.private, pem.EncodeToMemory(block), 0o600); err != nil {
		return k, fmt.Errorf("writing the key: %w", err)
	}
	if err := os.WriteFile(k.authorized, []byte(line), 0o600); err != nil {
		return k, fmt.Errorf("writing the key: %w", err)
	}
	return k, nil
}

var (
	loopback   = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
)

// trialRelay is a relay inside this process.
type trialRelay struct {
	at         relayd.Addresses
	knownHosts string
	cancel     context.CancelFunc
	done       chan error
}

func startTrialRelay(ctx context.Context, dir string, keys trialKeys, private []netip.Prefix, version string) (*trialRelay, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it outlives the client, whatever ends the run
	r := &trialRelay{knownHosts: dir + "-known_hosts", cancel: cancel, done: make(chan error, 1)}
	ready := make(chan relayd.Addresses, 1)
	go func() {
		r.done <- relayd.Run(ctx, relayd.Options{
			DataDir:             dir,
			LocalAddr:           "127.0.0.1:0",
			LocalSocket:         relayd.Off,
			PublicAddr:          "127.0.0.1:0",
			SSHListen:           "127.0.0.1:0",
			AuthorizedKeys:      keys.authorized,
			AllowPrivateOrigins: private,
			Version:             programVersion(version),
			Ready:               func(at relayd.Addresses) { ready <- at },
		})
	}()
	select {
	case err := <-r.done:
		cancel()
		return nil, fmt.Errorf("starting a relay: %w", err)
	case r.at = <-ready:
	}
	line := fmt.Sprintf("[%s]:%d %s\n", r.at.SSH.Addr(), r.at.SSH.Port(), strings.TrimSpace(r.at.SSHHostKey))
	if err := os.WriteFile(r.knownHosts, []byte(line), 0o600); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

func (r *trialRelay) stop() error {
	r.cancel()
	return <-r.done
}
