package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/netns"
	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/profile"
	"github.com/jumpget/jumpget/lab/topo"
)

// servers starts what the peers need and remembers how to reach it.
type servers struct {
	topo    *topo.Topology
	dir     string // for keys, configurations, homes and logs
	www     string // what nginx serves
	jumpget string // the program
	running []server
}

type server struct {
	name    string
	process *topo.Process
}

func (s *servers) path(name string) string { return filepath.Join(s.dir, name) }

// start starts the servers that any of the peers needs, and nginx on both hosts.
func (s *servers) start(ctx context.Context, link profile.Profile, peers []peer.Peer) error {
	for _, h := range []topo.Host{topo.Client, topo.Relay, topo.Neighbour} {
		if err := os.MkdirAll(s.path(string(h)), 0o700); err != nil {
			return err
		}
	}
	for _, h := range []struct {
		host topo.Host
		addr string
	}{{topo.Origin, topo.OriginAddr}, {topo.Relay, topo.RelayAddr}} {
		if err := s.startNginx(ctx, h.host, h.addr); err != nil {
			return err
		}
	}
	starts := []struct {
		server peer.Server
		start  func(context.Context, profile.Profile) error
	}{{peer.SSHD, s.startSSHD}, {peer.Hysteria, s.startHysteria}, {peer.JumpGet, s.startJumpGet}}
	for _, st := range starts {
		needed := slices.ContainsFunc(peers, func(p peer.Peer) bool { return slices.Contains(p.Servers, st.server) })
		if !needed {
			continue
		}
		if err := st.start(ctx, link); err != nil {
			return fmt.Errorf("%s: %w", st.server, err)
		}
	}
	return nil
}

func (s *servers) startNginx(ctx context.Context, h topo.Host, addr string) error {
	conf := s.path("nginx-" + string(h) + ".conf")
	text := fmt.Sprintf(`worker_processes 1;
error_log %[1]s.err;
pid %[1]s.pid;
daemon off;
events { worker_connections 512; }
http { access_log off; sendfile on; server {
	listen %[2]s:80;
	root %[3]s;
	# Reading a hole by sendfile would fill it with memory.
	location = /%[4]s { sendfile off; }
	location = /%[5]s { sendfile off; }
} }
`, conf, addr, s.www, endlessName, learnName)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return err
	}
	return s.run(ctx, h, "nginx-"+string(h), addr+":80", "nginx", "-c", conf)
}

// startSSHD starts a server of its own with keys of its own.
func (s *servers) startSSHD(ctx context.Context, _ profile.Profile) error {
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return err
	}
	for _, key := range []string{"host", "id"} {
		if _, err := os.Stat(s.path(key)); err == nil {
			continue
		}
		if out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.path(key)).CombinedOutput(); err != nil {
			return fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	host, err := os.ReadFile(s.path("host.pub"))
	if err != nil {
		return err
	}
	files := map[string]string{
		"known_hosts": topo.RelayAddr + " " + string(host),
		"sshd_config": fmt.Sprintf(`ListenAddress %s
HostKey %s
AuthorizedKeysFile %s
PasswordAuthentication no
StrictModes no
PermitRootLogin yes
UsePAM no
Subsystem sftp internal-sftp
`, topo.RelayAddr, s.path("host"), s.path("id.pub")),
		// The programs that take one word as their ssh get this script.
		"sshw": "#!/bin/sh\nexec " + s.ssh() + " \"$@\"\n",
	}
	for name, text := range files {
		if err := os.WriteFile(s.path(name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	sshd, err := exec.LookPath("sshd") // it insists on its whole path
	if err != nil {
		return err
	}
	return s.run(ctx, topo.Relay, "sshd", topo.RelayAddr+":22", sshd, "-D", "-e", "-f", s.path("sshd_config"))
}

func (s *servers) ssh() string {
	return fmt.Sprintf("ssh -F /dev/null -i %s -o UserKnownHostsFile=%s -o BatchMode=yes", s.path("id"), s.path("known_hosts"))
}

// startHysteria starts the server and two clients: one finds the rate by
// itself, one is told the truth.
func (s *servers) startHysteria(ctx context.Context, link profile.Profile) error {
	out, err := exec.CommandContext(ctx, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
		"-keyout", s.path("hy.key"), "-out", s.path("hy.crt"), "-days", "30", "-subj", "/CN=relay", "-addext", "subjectAltName=DNS:relay").CombinedOutput()
	if err != nil {
		return fmt.Errorf("openssl: %w: %s", err, out)
	}
	server := hysteriaConfig{
		"listen": topo.RelayAddr + ":4443", "tls": hysteriaConfig{"cert": s.path("hy.crt"), "key": s.path("hy.key")},
		"auth": hysteriaConfig{"type": "password", "password": "lab"},
	}
	// It speaks UDP, so there is nothing to await but its clients.
	if err := s.hysteria(ctx, topo.Relay, "server", "hysteria-server", "", server); err != nil {
		return err
	}
	for name, port := range map[string]int{"hysteria-bbr": peer.HysteriaPort, "hysteria-brutal": peer.BrutalPort} {
		local := fmt.Sprintf("127.0.0.1:%d", port)
		client := hysteriaConfig{
			"server": topo.RelayAddr + ":4443", "auth": "lab", "tls": hysteriaConfig{"sni": "relay", "insecure": true}, "lazy": true,
			"tcpForwarding": []hysteriaConfig{{"listen": local, "remote": topo.OriginAddr + ":80"}},
		}
		if port == peer.BrutalPort {
			rate := fmt.Sprintf("%d kbps", int(link.Down.Rate/1e3))
			client["bandwidth"] = hysteriaConfig{"up": rate, "down": rate}
		}
		if err := s.hysteria(ctx, topo.Client, "client", name, local, client); err != nil {
			return err
		}
	}
	return nil
}

// hysteriaConfig is what hysteria reads, as JSON.
type hysteriaConfig map[string]any

func (s *servers) hysteria(ctx context.Context, h topo.Host, role, name, addr string, conf hysteriaConfig) error {
	text, err := json.Marshal(conf)
	if err != nil {
		return err
	}
	file := s.path(name + ".json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	return s.run(ctx, h, name, addr, "hysteria", role, "-c", file, "--disable-update-check")
}

func (s *servers) startJumpGet(ctx context.Context, _ profile.Profile) error {
	return s.run(ctx, topo.Relay, relayName, "127.0.0.1:4100", s.jumpget, "serve")
}

// relayName is what JumpGet's relay is called among the servers.
const relayName = "relay"

// restartJumpGet ends the relay and starts it again on the same data.
func (s *servers) restartJumpGet(ctx context.Context) error {
	s.running = slices.DeleteFunc(s.running, func(one server) bool {
		if one.name == relayName {
			one.process.Signal(unix.SIGTERM)
			one.process.End()
		}
		return one.name == relayName
	})
	return s.startJumpGet(ctx, profile.Profile{})
}

// env is the environment of everything that runs on a host: a home of its own,
// and what JumpGet has to know so that nothing of it stands on a command line.
func (s *servers) env(h topo.Host) []string {
	home := s.path(string(h))
	return append(os.Environ(),
		"HOME="+home,
		"TMPDIR="+topo.WorkDir+"/tmp",
		"XDG_STATE_HOME="+home+"/state",
		"XDG_CONFIG_HOME="+home+"/config",
		"JUMPGET_RELAY=root@"+topo.RelayAddr,
		"JUMPGET_SSH="+s.ssh(),
		"JUMPGET_DATA_DIR="+home+"/data",
		"JUMPGET_ALLOW_PRIVATE_ORIGINS=all",
	)
}

// run starts a server on a host, its output in a log of that name, and waits
// until something listens at addr, unless that is empty.
func (s *servers) run(ctx context.Context, h topo.Host, name, addr, command string, args ...string) error {
	log, err := os.Create(s.path(name + ".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has it
	cmd := s.topo.Command(ctx, h, command, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, s.env(h)
	p, err := s.topo.Start(cmd)
	if err != nil {
		return err
	}
	one := server{name, p}
	s.running = append(s.running, one)
	if addr == "" {
		return nil
	}
	return s.await(ctx, h, addr, one)
}

// check returns an error if one of the servers has ended.
func (s *servers) check() error {
	for _, one := range s.running {
		if one.process.Ended() {
			return s.gone(one)
		}
	}
	return nil
}

func (s *servers) gone(one server) error {
	return fmt.Errorf("%s has ended: %s", one.name, says(s.log(one.name)))
}

// log returns the end of a server's log, for an error.
func (s *servers) log(name string) string {
	f, err := os.Open(s.path(name + ".log"))
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	return end(f)
}

// await waits until something listens at addr on the host.
func (s *servers) await(ctx context.Context, h topo.Host, addr string, one server) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var last error
	for ctx.Err() == nil {
		last = netns.Do(topo.NamespacePath(h), func() error {
			c, err := net.DialTimeout("tcp", addr, time.Second)
			if err == nil {
				err = c.Close()
			}
			return err
		})
		if one.process.Ended() {
			return s.gone(one)
		}
		if last == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return fmt.Errorf("nothing listens at %s on the %s: %w", addr, h, last)
}
