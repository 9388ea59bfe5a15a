package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// door is a sniffing listener on loopback whose accepted connections land in got.
func door(t *testing.T, o SniffOptions) (addr string, got <-chan net.Conn) {
	t.Helper()
	cert, _, err := LoadOrCreateCert(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o.TLS = ServerTLS(cert)
	l, err := Listen(context.Background(), "127.0.0.1:0", Options{BBR: true})
	if err != nil {
		t.Fatal(err)
	}
	s := Sniff(l, o)
	conns := make(chan net.Conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(conns)
		for {
			c, err := s.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("Accept: %v", err)
				}
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			conns <- c
		}
	}()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		<-ended
		goleak.VerifyNone(t)
	})
	return l.Addr().String(), conns
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSniffTLSPassesSilentConnections(t *testing.T) {
	addr, got := door(t, SniffOptions{Timeout: time.Minute})
	dial(t, addr) // says nothing, and must hold nobody up
	c := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	go func() { _, _ = c.Write([]byte("hello")) }()
	server := <-got
	if _, ok := server.(*tls.Conn); !ok {
		t.Fatalf("accepted a %T, want *tls.Conn", server)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(server, b); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestSniffPlaintext(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		addr, _ := door(t, SniffOptions{})
		c := dial(t, addr)
		if _, err := io.WriteString(c, "G"); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("plaintext got %d bytes, %v; want a closed connection", n, err)
		}
	})
	t.Run("allowed", func(t *testing.T) {
		addr, got := door(t, SniffOptions{AllowPlain: true})
		c := dial(t, addr)
		if _, err := io.WriteString(c, "GET /"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(<-got, b); err != nil || string(b) != "GET /" {
			t.Errorf("read %q, %v; the sniffed byte must come back", b, err)
		}
	})
}

func TestSniffShedsAndTimesOut(t *testing.T) {
	addr, _ := door(t, SniffOptions{Timeout: 150 * time.Millisecond, Pending: 1})
	first, second := dial(t, addr), dial(t, addr)
	start := time.Now()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("a connection over the limit was kept")
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("a silent connection was kept")
	}
	if time.Since(start) > 3*time.Second {
		t.Error("the header deadline did not hold")
	}
}

func TestSniffRefusesOldTLS(t *testing.T) {
	addr, _ := door(t, SniffOptions{})
	c := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err := c.Handshake(); err == nil {
		t.Error("TLS 1.2 was accepted")
	}
}
