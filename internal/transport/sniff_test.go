package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
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
	addr, got := door(t, SniffOptions{FirstByte: time.Minute})
	dial(t, addr) // says nothing, and must hold nobody up
	c := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	go func() { _, _ = c.Write([]byte("hello")) }()
	server := <-got
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
		addr, got := door(t, SniffOptions{AllowPlain: func(peer netip.Addr) bool { return peer.IsLoopback() }})
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
	addr, _ := door(t, SniffOptions{FirstByte: 150 * time.Millisecond, Pending: 1})
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

func TestSniffKeepsAHandshakeThatWaitsForItsPin(t *testing.T) {
	addr, got := door(t, SniffOptions{FirstByte: 50 * time.Millisecond})
	known := make(chan struct{})
	c := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error {
		<-known
		return nil
	}})
	done := make(chan error, 1)
	go func() { done <- c.Handshake() }()
	select {
	case err := <-done:
		t.Fatalf("the handshake ended before the pin was known: %v", err)
	case <-time.After(200 * time.Millisecond): // several times the deadline of the first byte
	}
	close(known)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	<-got
}

func TestSniffLargeWritesArriveWhole(t *testing.T) {
	addr, got := door(t, SniffOptions{})
	c := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true})
	go func() { _ = c.Handshake() }()
	server := <-got
	want := make([]byte, 3<<20+17)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	go func() {
		if _, err := server.Write(want); err != nil {
			t.Errorf("write: %v", err)
		}
		if _, err := server.Write([]byte("end")); err != nil {
			t.Errorf("write: %v", err)
		}
	}()
	b := make([]byte, len(want)+3)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b[:len(want)], want) || string(b[len(want):]) != "end" {
		t.Error("other bytes arrived than were written")
	}
}

func TestSniffDropsAReaderThatTakesNothing(t *testing.T) {
	addr, got := door(t, SniffOptions{Stall: 100 * time.Millisecond})
	c := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true})
	go func() { _ = c.Handshake() }()
	server := <-got
	var err error
	for p := make([]byte, 1<<20); err == nil; {
		_, err = server.Write(p)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the write ended with %v, want a deadline", err)
	}
	start := time.Now()
	_ = server.Close()
	if time.Since(start) > 6*time.Second {
		t.Error("closing a stuck connection took too long")
	}
}
