package reach

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/transport"
	"github.com/jumpget/jumpget/internal/wire"
)

// silence is how long the relay may owe an answer over UDP.
const silence = 10 * time.Second

// maxHead is how much of an answer's head is read.
const maxHead = 16 << 10

// Resolve looks an endpoint's host up, anew each time. network is "tcp", "tcp4"
// or "tcp6", or empty.
func Resolve(ctx context.Context, network string, at job.Endpoint) (netip.AddrPort, error) {
	network = "ip" + strings.TrimPrefix(network, "tcp")
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, at.Host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(at.Port)), nil
}

// openUDP opens a stream of the bulk protocol. gone is called when the relay says
// that the session is no more.
func openUDP(ctx context.Context, network string, at job.Endpoint, key bulk.Key, gone func()) (net.Conn, error) {
	remote, err := Resolve(ctx, network, at)
	if err != nil {
		return nil, err
	}
	pc, err := transport.DialUDP(ctx, remote)
	if err != nil {
		return nil, err
	}
	return &datagrams{Stream: bulk.DialStream(ctx, pc, remote, bulk.StreamConfig{Key: key, Silence: silence}), gone: gone}, nil
}

// datagrams is a stream over UDP.
type datagrams struct {
	*bulk.Stream
	gone func()
}

// byeTime bounds the wait for a stream's goodbye to leave.
const byeTime = 200 * time.Millisecond

// Close says goodbye before the program can end: a relay that hears nothing keeps
// the stream's place for most of a minute.
func (d *datagrams) Close() error {
	err := d.Stream.Close()
	timer := time.NewTimer(byeTime)
	defer timer.Stop()
	select {
	case <-d.Done():
	case <-timer.C:
	}
	return err
}

func (d *datagrams) Read(p []byte) (int, error) {
	n, err := d.Stream.Read(p)
	if refused, ok := err.(*bulk.RefusedError); ok && refused.Code == bulk.CodeGone { //nolint:errorlint // Read wraps nothing
		d.gone()
		return n, &RefusedError{Status: "it is over"}
	}
	return n, err
}

// openTLS connects to the public door, checks who it is, and asks it for a stream.
func openTLS(ctx context.Context, network string, at job.Endpoint, bearer string) (net.Conn, error) {
	dialer := transport.Dialer{Network: network}
	conn, err := dialer.Dial(ctx, at)
	if err != nil {
		return nil, err
	}
	u := &upgraded{Conn: conn, head: upgrade(at, bearer)}
	if at.Pin != "" {
		return u, nil // what is written follows the request at once
	}
	// A proxy may stand in between, and take what follows for another request.
	if err := u.settle(ctx); err != nil {
		_ = conn.Close() // the error before counts
		return nil, err
	}
	return u, nil
}

// upgrade is the request that turns a connection to the public door into a stream.
func upgrade(at job.Endpoint, bearer string) []byte {
	_, path, _ := strings.Cut(wire.RouteStream, " ")
	return fmt.Appendf(nil, "GET %s%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
		at.Path, path, net.JoinHostPort(at.Host, strconv.Itoa(at.Port)), bearer, wire.UpgradeProtocol)
}

// upgraded is a connection to the public door that becomes a stream: its request
// goes ahead of the first bytes, and its answer is taken off before the first.
type upgraded struct {
	net.Conn
	head   []byte // of the request; nil: sent
	answer *bufio.Reader
}

func (u *upgraded) Write(p []byte) (int, error) {
	if u.head == nil {
		return u.Conn.Write(p)
	}
	head := len(u.head)
	n, err := u.Conn.Write(append(u.head, p...))
	u.head = nil
	return max(0, n-head), err
}

func (u *upgraded) Read(p []byte) (int, error) {
	if u.answer == nil {
		if err := u.begin(); err != nil {
			return 0, err
		}
	}
	return u.answer.Read(p)
}

// settle sends the request and waits for its answer.
func (u *upgraded) settle(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = u.Close() })
	defer stop()
	if _, err := u.Write(nil); err != nil {
		return err
	}
	return u.begin()
}

// begin reads the answer to the request.
func (u *upgraded) begin() error {
	limited := &io.LimitedReader{R: u.Conn, N: maxHead}
	u.answer = bufio.NewReaderSize(limited, maxHead)
	resp, err := http.ReadResponse(u.answer, nil)
	if err != nil {
		if err == io.ErrUnexpectedEOF { //nolint:errorlint // ReadResponse wraps nothing
			err = io.EOF
		}
		return fmt.Errorf("the public door's answer: %w", err)
	}
	_ = resp.Body.Close() // of a 101 there is none
	limited.N = 1<<63 - 1
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return &RefusedError{Status: resp.Status}
	case resp.StatusCode != http.StatusSwitchingProtocols, resp.Header.Get("Upgrade") != wire.UpgradeProtocol:
		return fmt.Errorf("the public door answered %s to the request for a stream", resp.Status)
	}
	return nil
}
