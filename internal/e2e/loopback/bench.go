//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jumpget/jumpget/internal/sshdtest"
)

// bench is an nginx, a relay behind an sshd, and a client's settings.
type bench struct {
	dir          string
	program      string
	sshd         *sshdtest.Server
	ssh          string
	nginx, relay *exec.Cmd

	plain, tls, local, public int // ports
}

func newBench(ctx context.Context, parent string) (*bench, error) {
	dir, err := os.MkdirTemp(parent, "jumpget-loopback-")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, program: filepath.Join(dir, "jumpget")}
	for _, port := range []*int{&b.plain, &b.tls, &b.local, &b.public} {
		if *port, err = freePort(ctx); err != nil {
			return b, b.failed(err)
		}
	}
	for _, step := range []func(context.Context) error{b.build, b.startSSHD, b.startNginx, b.startRelay} {
		if err := step(ctx); err != nil {
			return b, b.failed(err)
		}
	}
	return b, nil
}

func (b *bench) failed(err error) error {
	b.close()
	return err
}

func (b *bench) close() {
	for _, c := range []*exec.Cmd{b.nginx, b.relay} {
		if c != nil {
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait() // it was asked to end
		}
	}
	if b.sshd != nil {
		b.sshd.Close()
	}
	_ = os.RemoveAll(b.dir)
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.program, "./cmd/jumpget")
	cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	return cmd.Run()
}

func (b *bench) startSSHD(context.Context) error {
	public, err := sshdtest.MakeKey(b.path("key"))
	if err != nil {
		return err
	}
	keys := b.path("authorized_keys")
	if err := os.WriteFile(keys, []byte(public+"\n"), 0o600); err != nil {
		return err
	}
	if b.sshd, err = sshdtest.Start(b.dir, keys); err != nil {
		return err
	}
	b.ssh, err = sshdtest.Command(b.path("known_hosts"), b.sshd.Port, b.sshd.HostKey)
	return err
}

func (b *bench) startNginx(ctx context.Context) error {
	if err := b.certificate(); err != nil {
		return err
	}
	if err := os.Mkdir(b.path("www"), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // nginx's worker is another user
		return err
	}
	conf := fmt.Sprintf(`daemon off; pid %[1]s/nginx.pid; error_log %[1]s/nginx.log;
events {}
http {
	access_log off; sendfile on; root %[1]s/www;
	server {
		listen 127.0.0.1:%[2]d;
		listen 127.0.0.1:%[3]d ssl;
		ssl_certificate %[1]s/tls.pem; ssl_certificate_key %[1]s/tls.pem; ssl_protocols TLSv1.3;
	}
}
`, b.dir, b.plain, b.tls)
	if err := os.WriteFile(b.path("nginx.conf"), []byte(conf), 0o600); err != nil {
		return err
	}
	b.nginx = exec.CommandContext(ctx, "nginx", "-c", b.path("nginx.conf"))
	if err := b.nginx.Start(); err != nil {
		return err
	}
	return answers(ctx, b.plain)
}

// certificate makes one of the kind that the relay has.
func (b *bench) certificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "loopback"}, NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	err = errors.Join(
		pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	)
	return errors.Join(err, os.WriteFile(b.path("tls.pem"), out.Bytes(), 0o600))
}

func (b *bench) startRelay(ctx context.Context) error {
	b.relay = exec.CommandContext(ctx, b.program, "serve", "--data-dir", b.path("relay"), "--local-port", strconv.Itoa(b.local),
		"--local-socket", "off", "--public-addr", "127.0.0.1", "--public-port", strconv.Itoa(b.public),
		"--allow-private-origins", "127.0.0.0/8", "--log-level", "error")
	b.relay.Env, b.relay.Stderr = b.environ(), os.Stderr
	if err := b.relay.Start(); err != nil {
		return err
	}
	return answers(ctx, b.public)
}

// restartRelay starts a relay that remembers nothing.
func (b *bench) restartRelay(ctx context.Context) error {
	_ = b.relay.Process.Signal(syscall.SIGTERM)
	if err := b.relay.Wait(); err != nil {
		return fmt.Errorf("the relay ended with %w", err)
	}
	if err := os.RemoveAll(b.path("relay")); err != nil {
		return err
	}
	return b.startRelay(ctx)
}

// environ keeps the settings of the user who runs this out.
func (b *bench) environ() []string {
	env := []string{"HOME=" + b.dir, "XDG_STATE_HOME=" + b.path("state"), "XDG_CONFIG_HOME=" + b.path("config")}
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); !strings.HasPrefix(name, "JUMPGET_") && !strings.HasPrefix(name, "XDG_") && name != "HOME" {
			env = append(env, e)
		}
	}
	return env
}

// addFile puts a file under nginx: random bytes, or a hole, which takes no disk
// and compresses nothing on the way either.
func (b *bench) addFile(name string, size int64, sparse bool) error {
	f, err := os.Create(b.path("www/" + name))
	if err != nil {
		return err
	}
	if sparse {
		return errors.Join(f.Truncate(size), f.Close())
	}
	_, err = io.CopyN(f, mrand.NewChaCha8([32]byte{}), size)
	return errors.Join(err, f.Sync(), f.Close())
}

func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// answers waits until somebody listens.
func answers(ctx context.Context, port int) error {
	d := net.Dialer{Timeout: time.Second}
	deadline := time.Now().Add(20 * time.Second)
	for {
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond) // another process comes up
	}
}
