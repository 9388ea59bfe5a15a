package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/jumpget/jumpget/lab/netns"
	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/profile"
	"github.com/jumpget/jumpget/lab/topo"
)

// servers starts what the peers need and remembers how to reach it.
type servers struct {
	topo    *topo.Topology
	dir     string // for keys, configurations and logs
	www     string // what nginx serves
	jumpget string // the program
	relay   *exec.Cmd
}

func (s *servers) path(name string) string { return filepath.Join(s.dir, name) }

// start starts the servers that any of the peers needs, and nginx on both hosts.
func (s *servers) start(ctx context.Context, link profile.Profile, peers []peer.Peer) error {
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
http { access_log off; sendfile on; server { listen %[2]s:80; root %[3]s; } }
`, conf, addr, s.www)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return err
	}
	if err := s.run(ctx, h, "nginx-"+string(h), nil, "nginx", "-c", conf); err != nil {
		return err
	}
	return await(ctx, h, addr+":80")
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
`, topo.RelayAddr, s.path("host"), s.path("id.pub")),
		// The programs that take one word as their ssh get this script.
		"sshw": "#!/bin/sh\nexec " + s.ssh() + " \"$@\"\n",
	}
	for name, text := range files {
		if err := os.WriteFile(s.path(name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	if err := s.run(ctx, topo.Relay, "sshd", nil, "/usr/sbin/sshd", "-D", "-e", "-f", s.path("sshd_config")); err != nil {
		return err
	}
	return await(ctx, topo.Relay, topo.RelayAddr+":22")
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
	server := fmt.Sprintf("listen: %s:4443\ntls: {cert: %s, key: %s}\nauth: {type: password, password: lab}\n", topo.RelayAddr, s.path("hy.crt"), s.path("hy.key"))
	if err := s.hysteria(ctx, topo.Relay, "server", "hy-server", server); err != nil {
		return err
	}
	client := "server: " + topo.RelayAddr + ":4443\nauth: lab\ntls: {sni: relay, insecure: true}\nlazy: true\nhttp: {listen: 127.0.0.1:%d}\n"
	if err := s.hysteria(ctx, topo.Client, "client", "hy-bbr", fmt.Sprintf(client, 8081)); err != nil {
		return err
	}
	mbps := int(link.Down.Rate / 1e6)
	brutal := fmt.Sprintf(client, 8082) + fmt.Sprintf("bandwidth: {up: %d mbps, down: %d mbps}\n", mbps, mbps)
	if err := s.hysteria(ctx, topo.Client, "client", "hy-brutal", brutal); err != nil {
		return err
	}
	for _, port := range []string{"8081", "8082"} {
		if err := await(ctx, topo.Client, "127.0.0.1:"+port); err != nil {
			return err
		}
	}
	return nil
}

func (s *servers) hysteria(ctx context.Context, h topo.Host, role, name, conf string) error {
	file := s.path(name + ".yaml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return err
	}
	return s.run(ctx, h, name, nil, "hysteria", role, "-c", file, "--disable-update-check")
}

func (s *servers) startJumpGet(ctx context.Context, _ profile.Profile) error {
	env := append(os.Environ(), "JUMPGET_DATA_DIR="+s.path("relay"), "JUMPGET_ALLOW_PRIVATE_ORIGINS=all")
	if err := s.run(ctx, topo.Relay, "relay", env, s.jumpget, "serve"); err != nil {
		return err
	}
	return await(ctx, topo.Relay, "127.0.0.1:4100")
}

// run starts a server on a host, its output in a log of that name.
func (s *servers) run(ctx context.Context, h topo.Host, name string, env []string, command string, args ...string) error {
	log, err := os.Create(s.path(name + ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.topo.Command(ctx, h, command, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, env
	if name == "relay" {
		s.relay = cmd
	}
	return s.topo.Start(cmd)
}

// log returns the end of a server's log, for an error.
func (s *servers) log(name string) string {
	f, err := os.Open(s.path(name + ".log"))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 2000 {
		_, _ = f.Seek(-2000, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	return string(b)
}

// await waits until something listens at addr on the host.
func await(ctx context.Context, h topo.Host, addr string) error {
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
