package sshend

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// channel opens a forward and returns both of its ends.
func channel(t *testing.T) (net.Conn, ssh.Channel, *ssh.Client) {
	t.Helper()
	conns := make(chan net.Conn)
	leave := make(chan struct{})
	e := start(t, func(conn net.Conn, _ string, _ netip.Addr) {
		conns <- conn
		<-leave
	})
	t.Cleanup(func() { close(leave) })
	c := e.mustLogin()
	ch, requests, err := c.OpenChannel("direct-tcpip", forwardTo("127.0.0.1", 4100))
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(requests)
	return <-conns, ch, c
}

// A passed reading deadline loses no byte and can be taken back.
func TestReadDeadline(t *testing.T) {
	t.Parallel()
	conn, ch, _ := channel(t)
	buf := make([]byte, 10)
	for _, d := range []time.Time{time.Unix(1, 0), time.Now().Add(10 * time.Millisecond)} {
		if err := conn.SetReadDeadline(d); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v", err)
		}
	}
	var timeout net.Error
	if _, err := conn.Read(buf); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%v is no timeout", err)
	}
	if _, err := io.WriteString(ch, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if n, err := io.ReadFull(conn, buf[:5]); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("Read: %q, %v", buf[:n], err)
	}
}

// A deadline set while a Read waits ends it.
func TestReadDeadlineWhileReading(t *testing.T) {
	t.Parallel()
	conn, _, _ := channel(t)
	read := make(chan error)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	if err := conn.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write: %v", err)
	}
}

// A client that reads nothing holds a Write until its deadline, no longer.
func TestWriteDeadline(t *testing.T) {
	t.Parallel()
	conn, _, client := channel(t)
	if err := conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	var err error
	for err == nil {
		_, err = conn.Write(block)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write: %v", err)
	}
	_ = client.Wait()
}

func TestClose(t *testing.T) {
	t.Parallel()
	conn, ch, client := channel(t)
	ended := make(chan error, 2)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	go func() {
		block, err := make([]byte, 1<<20), error(nil)
		for err == nil {
			_, err = conn.Write(block)
		}
		ended <- err
	}()
	for range 2 {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	if err := conn.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, ch); err != nil {
		t.Errorf("the client's end: %v", err)
	}
	if _, _, err := client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
		t.Errorf("the connection went, too: %v", err)
	}
}

func TestClientEnds(t *testing.T) {
	t.Parallel()
	conn, ch, _ := channel(t)
	if err := ch.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read: %v", err)
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write: %v", err)
	}
}
