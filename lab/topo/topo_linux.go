package topo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/netns"
	"github.com/jumpget/jumpget/lab/profile"
)

// Host is one of the lab's machines.
type Host string

// The hosts and their addresses.
const (
	Client Host = "client"
	Router Host = "router"
	Origin Host = "origin"
	Relay  Host = "relay"
	// Neighbour shares the client's access link: it is another machine in the
	// same house.
	Neighbour Host = "neighbour"

	routerAddr = "10.77.0.1"
	ClientAddr = "10.77.0.2"
	// RoamedAddr is the client's address after it has changed networks.
	RoamedAddr    = "10.77.0.3"
	OriginAddr    = "10.77.1.2"
	RelayAddr     = "10.77.2.2"
	NeighbourAddr = "10.77.3.2"
)

var hosts = []Host{Client, Neighbour, Router, Origin, Relay}

// Topology is the four hosts and the link, in operation.
type Topology struct {
	profile profile.Profile
	emu     *exec.Cmd
	asking  sync.Mutex // one command to the emulator at a time
	ask     *json.Encoder
	answers *json.Decoder
	stdin   io.Closer
	started []*Process
}

// Up builds the topology. It must run inside a sandbox (see Enter), once at a time.
func Up(ctx context.Context, p profile.Profile, seed uint64) (*Topology, error) {
	if !Inside() {
		return nil, errors.New("topo: not inside a sandbox")
	}
	t := &Topology{profile: p}
	if err := t.build(ctx, seed); err != nil {
		return nil, errors.Join(err, t.Down())
	}
	return t, nil
}

func (t *Topology) build(ctx context.Context, seed uint64) error {
	for _, h := range hosts {
		if err := ip(ctx, "netns add "+string(h), "-n "+string(h)+" link set lo up"); err != nil {
			return err
		}
	}
	if err := t.wire(ctx); err != nil {
		return err
	}
	if err := t.startEmulator(seed); err != nil {
		return err
	}
	if err := t.address(ctx); err != nil {
		return err
	}
	return t.tune()
}

// wire joins origin and relay to the router, and the neighbour to the client,
// without impairment. The relay's route names BBR and the others' CUBIC: the
// default of a namespace could only be set to what the host allows all users.
func (t *Topology) wire(ctx context.Context) error {
	for _, leg := range []struct {
		host, via Host
		net       string
		cc        string
	}{
		{Origin, Router, "10.77.1", "cubic"},
		{Relay, Router, "10.77.2", "bbr"},
		{Neighbour, Client, "10.77.3", "cubic"},
	} {
		h, via := string(leg.host), string(leg.via)
		if err := ip(ctx,
			fmt.Sprintf("link add to-%s netns %s type veth peer name eth0 netns %s", h, via, h),
			fmt.Sprintf("-n %s addr add %s.1/24 dev to-%s", via, leg.net, h),
			fmt.Sprintf("-n %s link set to-%s up", via, h),
			fmt.Sprintf("-n %s addr add %s.2/24 dev eth0", h, leg.net),
			fmt.Sprintf("-n %s link set eth0 up", h),
			fmt.Sprintf("-n %s route add default via %s.1 congctl %s", h, leg.net, leg.cc),
		); err != nil {
			return err
		}
	}
	return nil
}

func (t *Topology) address(ctx context.Context) error {
	dev := emu.Device
	return ip(ctx,
		"-n client addr add "+ClientAddr+"/24 dev "+dev,
		"-n client link set "+dev+" up mtu 1500 txqueuelen 2000",
		"-n client route add default via "+routerAddr+" congctl cubic",
		"-n router addr add "+routerAddr+"/24 dev "+dev,
		// The model has the queue; the device must never be the one that drops.
		"-n router link set "+dev+" up mtu 1500 txqueuelen 20000",
		"-n router route add 10.77.3.0/24 dev "+dev,
	)
}

// tune sets what the measurements need in each namespace: forwarding, no
// memory of earlier connections, and buffers that a fast long link can fill.
func (t *Topology) tune() error {
	settings := map[string]string{
		"net/ipv4/tcp_no_metrics_save": "1",
		"net/ipv4/tcp_rmem":            "4096 131072 67108864",
		"net/ipv4/tcp_wmem":            "4096 65536 67108864",
	}
	for _, h := range hosts {
		if err := t.sysctl(h, settings); err != nil {
			return err
		}
	}
	forward := map[string]string{"net/ipv4/ip_forward": "1"}
	return errors.Join(t.sysctl(Router, forward), t.sysctl(Client, forward))
}

func (t *Topology) sysctl(h Host, settings map[string]string) error {
	return netns.Do(NamespacePath(h), func() error {
		for key, value := range settings {
			if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0o644); err != nil {
				return fmt.Errorf("%s: %w", h, err)
			}
		}
		return nil
	})
}

func (t *Topology) startEmulator(seed uint64) error {
	options, err := json.Marshal(emu.Options{
		ClientNS: NamespacePath(Client), RouterNS: NamespacePath(Router), Down: t.profile.Down, Up: t.profile.Up, Seed: seed,
		Guest: netip.MustParseAddr(NeighbourAddr),
	})
	if err != nil {
		return err
	}
	t.emu = exec.Command("/proc/self/exe", EmulatorCommand, string(options))
	t.emu.Stderr = os.Stderr
	in, err := t.emu.StdinPipe()
	if err != nil {
		return err
	}
	out, err := t.emu.StdoutPipe()
	if err != nil {
		return err
	}
	if err := t.emu.Start(); err != nil {
		return fmt.Errorf("can't start the emulator: %w", err)
	}
	t.stdin, t.ask, t.answers = in, json.NewEncoder(in), json.NewDecoder(out)
	_, err = t.answer()
	return err
}

// EmulatorCommand is the argument with which the lab's program becomes the
// emulator; emu.Options as JSON follow it.
const EmulatorCommand = "emulate"

func (t *Topology) answer() (emu.Answer, error) {
	var a emu.Answer
	if err := t.answers.Decode(&a); err != nil {
		return a, fmt.Errorf("the emulator died: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// Ask sends a command to the emulator and returns the statistics since the last
// reset. It is safe for concurrent use.
func (t *Topology) Ask(c emu.Command) (emu.Answer, error) {
	t.asking.Lock()
	defer t.asking.Unlock()
	if err := t.ask.Encode(c); err != nil {
		return emu.Answer{}, fmt.Errorf("the emulator died: %w", err)
	}
	return t.answer()
}

// Command returns a command that runs on the host and ends with the lab.
func (t *Topology) Command(ctx context.Context, h Host, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", string(h), name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	return cmd
}

// Process is something that was started on a host.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// Start starts a command of Command's in the background; Down ends it.
func (t *Topology) Start(cmd *exec.Cmd) (*Process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait() // whether it has ended is asked for, how is in its log
		close(p.ended)
	}()
	t.started = append(t.started, p)
	return p, nil
}

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Signal sends a signal to the process, if it is still there, and waits a
// second for its end.
func (p *Process) Signal(sig syscall.Signal) {
	if p.Ended() {
		return
	}
	_ = unix.Kill(p.cmd.Process.Pid, sig) // it may end at this moment
	select {
	case <-p.ended:
	case <-time.After(time.Second):
	}
}

// End kills the process and its group, and returns when it is gone.
func (p *Process) End() {
	if !p.Ended() {
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) // it may end at this moment
	}
	<-p.ended
}

// Move gives the client another address, as a change of networks would.
func (t *Topology) Move(ctx context.Context, addr string) error {
	return ip(ctx,
		"-n client addr flush dev "+emu.Device,
		"-n client addr add "+addr+"/24 dev "+emu.Device,
		"-n client route replace default via "+routerAddr+" congctl cubic",
	)
}

// Down ends every process and takes the topology away. It may be called twice.
func (t *Topology) Down() error {
	for _, p := range t.started {
		p.End()
	}
	t.started = nil
	if t.emu != nil {
		_ = t.stdin.Close()
		_ = t.emu.Wait()
		t.emu = nil
	}
	var errs []error
	for _, h := range hosts {
		if _, err := os.Stat(NamespacePath(h)); err == nil {
			errs = append(errs, ip(context.Background(), "netns del "+string(h)))
		}
	}
	return errors.Join(errs...)
}

// NamespacePath is where the host's network namespace stands.
func NamespacePath(h Host) string { return "/run/netns/" + string(h) }

// ip runs the ip command once for each line.
func ip(ctx context.Context, lines ...string) error {
	for _, line := range lines {
		out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}
