package topo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

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

	ClientAddr = "10.77.0.2"
	// RoamedAddr is the client's address after it has changed networks.
	RoamedAddr = "10.77.0.3"
	OriginAddr = "10.77.1.2"
	RelayAddr  = "10.77.2.2"
)

// Topology is the four hosts and the link, in operation.
type Topology struct {
	profile profile.Profile
	emu     *exec.Cmd
	ask     *json.Encoder
	answers *json.Decoder
	stdin   io.Closer
	started []*exec.Cmd
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

// PrepareSandbox makes the mounts that every topology of this sandbox shares.
func PrepareSandbox() error { return privateMounts() }

func (t *Topology) build(ctx context.Context, seed uint64) error {
	for _, h := range []Host{Client, Router, Origin, Relay} {
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

// wire joins origin and relay to the router without impairment. The relay's
// route names BBR and the origin's CUBIC, so the choice concerns these hosts alone.
func (t *Topology) wire(ctx context.Context) error {
	for _, leg := range []struct {
		host Host
		net  string
		cc   string
	}{{Origin, "10.77.1", "cubic"}, {Relay, "10.77.2", "bbr"}} {
		h := string(leg.host)
		if err := ip(ctx,
			fmt.Sprintf("link add to-%s netns router type veth peer name eth0 netns %s", h, h),
			fmt.Sprintf("-n router addr add %s.1/24 dev to-%s", leg.net, h),
			fmt.Sprintf("-n router link set to-%s up", h),
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
		"-n client route add default via 10.77.0.1 congctl cubic",
		"-n router addr add 10.77.0.1/24 dev "+dev,
		// The model has the queue; the device must never be the one that drops.
		"-n router link set "+dev+" up mtu 1500 txqueuelen 20000",
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
	for _, h := range []Host{Client, Origin, Relay} {
		if err := t.sysctl(h, settings); err != nil {
			return err
		}
	}
	return t.sysctl(Router, map[string]string{"net/ipv4/ip_forward": "1"})
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
	self, err := os.Executable()
	if err != nil {
		return err
	}
	options, err := json.Marshal(emu.Options{
		ClientNS: NamespacePath(Client), RouterNS: NamespacePath(Router), Down: t.profile.Down, Up: t.profile.Up, Seed: seed,
	})
	if err != nil {
		return err
	}
	t.emu = exec.Command(self, EmulatorCommand, string(options))
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

// Ask sends a command to the emulator and returns the statistics since the last reset.
func (t *Topology) Ask(c emu.Command) (emu.Answer, error) {
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

// Start starts a server on a host; Down ends it.
func (t *Topology) Start(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	t.started = append(t.started, cmd)
	return nil
}

// Roam gives the client another address, as a change of networks would.
func (t *Topology) Roam(ctx context.Context) error {
	return ip(ctx,
		"-n client addr add "+RoamedAddr+"/24 dev "+emu.Device,
		"-n client addr del "+ClientAddr+"/24 dev "+emu.Device,
		"-n client addr add "+RoamedAddr+"/24 dev "+emu.Device,
		"-n client route replace default via 10.77.0.1 src "+RoamedAddr,
	)
}

// Down ends every server and takes the topology away. It may be called twice.
func (t *Topology) Down() error {
	for _, cmd := range t.started {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // it may have ended by itself
		_ = cmd.Wait()
	}
	t.started = nil
	if t.emu != nil {
		_ = t.stdin.Close()
		_ = t.emu.Wait()
		t.emu = nil
	}
	var errs []error
	for _, h := range []Host{Client, Router, Origin, Relay} {
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

// runPinned runs cmd from one thread that lives as long as it does: a death
// signal is tied to the thread that started the process, not to the program.
func runPinned(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		result <- cmd.Run()
	}()
	return <-result
}
