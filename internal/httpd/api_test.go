package httpd

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"iter"
	"net"
	"net/http"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/wire"
)

// api is a local API and ways to reach it.
type api struct {
	t   testing.TB
	srv *Local
}

func newAPI(t testing.TB, jobs Jobs, change ...func(*LocalConfig)) *api {
	t.Helper()
	cfg := LocalConfig{Jobs: jobs, Version: "1.2.3"}
	for _, c := range change {
		c(&cfg)
	}
	a := &api{t: t, srv: NewLocal(cfg)}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what is still under way at the end of a test is to be cut
		_ = a.srv.Shutdown(ctx)
	})
	return a
}

// serve answers on a listener until the test ends.
func (a *api) serve(l net.Listener) {
	a.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- a.srv.Serve(l) }()
	a.t.Cleanup(func() {
		_ = l.Close()
		check(a.t, <-ended)
	})
}

// unix opens a Unix socket and returns its path.
func (a *api) unix() string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	check(a.t, err)
	a.serve(l)
	return path
}

// tcp opens a port on loopback and returns its address.
func (a *api) tcp() string {
	a.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(a.t, err)
	a.serve(l)
	return l.Addr().String()
}

// channel makes a connection whose user is known, as the ssh endpoint does.
func (a *api) channel(id Identity) net.Conn {
	mine, theirs := net.Pipe()
	a.t.Cleanup(func() { _ = mine.Close() })
	go func() { _ = a.srv.ServeConn(theirs, id) }() // ends with the connection
	return mine
}

// client speaks to a local API.
type client struct {
	t    testing.TB
	http *http.Client
	host string
}

// over returns a client whose connections come from dial, for HTTP/1.1 or HTTP/2.
func over(t testing.TB, version int, dial func() (net.Conn, error)) *client {
	p := new(http.Protocols)
	p.SetHTTP1(version == 1)
	p.SetUnencryptedHTTP2(version == 2)
	tr := &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return dial() },
		Protocols:   p, DisableCompression: true,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{t: t, http: &http.Client{Transport: tr}, host: "127.0.0.1"}
}

// as returns a client that is the given user.
func (a *api) as(user string, version int) *client {
	return over(a.t, version, func() (net.Conn, error) { return a.channel(Identity{User: user, Addr: loopback}), nil })
}

// start sends a request; header is of names and values. A body of type string is sent
// as it is, any other as JSON.
func (c *client) start(ctx context.Context, method, path string, body any, header ...string) (*http.Response, error) {
	c.t.Helper()
	var r io.Reader
	if s, ok := body.(string); ok {
		r = strings.NewReader(s)
	} else if body != nil {
		b, err := json.Marshal(body)
		check(c.t, err)
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://relay"+path, r)
	check(c.t, err)
	req.Host = c.host
	if method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	return c.http.Do(req)
}

// do sends a request and reads the answer, which has to carry the version.
func (c *client) do(method, path string, body any, header ...string) answer {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resp, err := c.start(ctx, method, path, body, header...)
	check(c.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Errorf("%s %s: %q, and then %v", method, path, clip(string(b)), err)
	}
	if got := resp.Header.Get(wire.HeaderVersion); got != strconv.Itoa(wire.Version) {
		c.t.Errorf("%s %s: the answer has version %q", method, path, got)
	}
	return answer{resp, string(b), nil}
}

// into does a request that has to work, and decodes its answer.
func (c *client) into(out any, method, path string, body any) {
	c.t.Helper()
	a := c.do(method, path, body)
	if a.StatusCode/100 != 2 {
		c.t.Fatalf("%s %s: %s %s", method, path, a.Status, a.body)
	}
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		c.t.Errorf("%s %s: the answer is %q", method, path, got)
	}
	check(c.t, json.Unmarshal([]byte(a.body), out))
}

// code is the wire.Error of an answer.
func (a answer) code(t testing.TB) wire.Error {
	t.Helper()
	var e wire.Error
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || e.Code == "" || e.Message == "" {
		t.Errorf("%s %q is no error", a.Status, a.body)
	}
	if want := wire.HTTPStatus(e.Code); a.StatusCode != want {
		t.Errorf("%s for %q, want %d", a.Status, e.Code, want)
	}
	return e
}

// messages splits a stream; empty lines are heartbeats.
func messages(t testing.TB, body string) (out []wire.Message) {
	t.Helper()
	for line := range strings.Lines(body) {
		if line == "\n" {
			continue
		}
		var m wire.Message
		check(t, json.Unmarshal([]byte(line), &m))
		out = append(out, m)
	}
	return out
}

func me(t testing.TB) string {
	t.Helper()
	u, err := user.Current()
	check(t, err)
	return u.Username
}

// fake is a relay of which every method fails in the same way, unless a test
// says otherwise.
type fake struct {
	Jobs  // what no test of it calls
	err   error
	watch func(ctx context.Context, yield func(job.Event, error) bool)
}

func (f *fake) Submit(context.Context, relay.Submission, job.Request) (job.Ticket, error) {
	return job.Ticket{Job: "j"}, f.err
}

func (f *fake) Status(context.Context, string, job.ID) (job.Status, error) {
	return job.Status{}, f.err
}

func (f *fake) List(context.Context, string) ([]job.Status, error) { return nil, f.err }

func (f *fake) Watch(ctx context.Context, _ string, _ job.ID, _ int) iter.Seq2[job.Event, error] {
	return func(yield func(job.Event, error) bool) {
		if f.watch == nil {
			yield(job.Event{}, f.err)
			return
		}
		f.watch(ctx, yield)
	}
}

func (f *fake) OpenOwned(context.Context, string, job.ID) (*relay.Body, error) { return nil, f.err }
func (f *fake) Renew(context.Context, string, job.ID) (job.Ticket, error) {
	return job.Ticket{}, f.err
}

func (f *fake) Extend(context.Context, string, job.ID, int64) (job.Status, error) {
	return job.Status{}, f.err
}
func (f *fake) Remove(context.Context, string, job.ID) error     { return f.err }
func (f *fake) Allow(context.Context, job.Grant) error           { return f.err }
func (f *fake) Info(context.Context, string) (relay.Info, error) { return relay.Info{}, f.err }
