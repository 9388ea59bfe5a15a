package httpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// down is a Shutdown under way.
type down struct {
	cancel context.CancelFunc
	err    chan error
}

func shutdown(f func(context.Context) error) *down {
	ctx, cancel := context.WithCancel(context.Background())
	d := &down{cancel: cancel, err: make(chan error, 1)}
	go func() { d.err <- f(ctx) }()
	return d
}

func TestDoorFinishesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, p := quietDoor(t, w)
		f, ticket := w.file("ann", 10)
		f.begin()
		f.write("01234")
		conn, idle := p.dial(t), p.dial(t)
		go sendRequest(t, conn, "GET", ticket)
		resp := head(t, bufio.NewReader(conn), "GET")
		go sendRequest(t, idle, "HEAD", ticket)
		ir := bufio.NewReader(idle)
		receive(t, ir, "HEAD")
		sd := shutdown(d.pub.Shutdown)
		if got, took := until(ir); got != "" || took > time.Second {
			t.Errorf("an idle connection ends after %v with %q", took, got)
		}
		synctest.Wait()
		if p.put(nil) {
			t.Error("the listener is still open")
		}
		time.Sleep(5 * time.Second)
		f.write("56789")
		if b, err := io.ReadAll(resp.Body); string(b) != "0123456789" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		check(t, <-sd.err)
		sd.cancel()
		f.end()
	})
}

func TestDoorCutsWhatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, p := quietDoor(t, w)
		f, ticket := w.file("ann", 10)
		conn, early := p.dial(t), p.dial(t)
		go sendRequest(t, early, "GET", ticket) // waits for the origin's first word
		synctest.Wait()
		f.begin()
		f.write("01234")
		queued, late := w.file("ann", 10)
		go sendRequest(t, conn, "GET", ticket)
		resp := head(t, bufio.NewReader(conn), "GET")
		waiting := p.dial(t)
		go sendRequest(t, waiting, "GET", late)
		synctest.Wait()
		sd := shutdown(d.pub.Shutdown)
		time.Sleep(10 * time.Second)
		sd.cancel()
		if b, err := io.ReadAll(resp.Body); string(b) != "01234" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a body that was not done: %q, %v", b, err)
		}
		if b, _ := io.ReadAll(waiting); len(b) > 0 {
			t.Errorf("an answer that had not begun: %q", b)
		}
		if err := <-sd.err; !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown: %v", err)
		}
		synctest.Wait()
		if d.conns() != 0 {
			t.Errorf("%d connections are still counted", d.conns())
		}
		queued.fail(errOrigin)
	})
}

func TestDoorServesNothingAfterShutdown(t *testing.T) {
	w := newWorld(t)
	p := newPipes("127.0.0.1:1")
	cert, err := certificate()
	check(t, err)
	pub := NewPublic(PublicConfig{Bodies: w.relay, TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}})
	check(t, pub.Shutdown(t.Context()))
	check(t, pub.Serve(p))
	if p.put(nil) {
		t.Error("the listener is still open")
	}
}

// Streams are told and end at once; a body may still be finished.
func TestLocalAPIEndsStreamsAndFinishesBodies(t *testing.T) {
	for version, name := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				a := newAPI(t, w.relay)
				f, ticket := w.file("ann", 10)
				f.begin()
				f.write("01234")
				events, err := a.as("ann", version).start(t.Context(), "GET", wire.JobPath(ticket.Job, "/events"), nil)
				check(t, err)
				data, err := a.as("ann", version).start(t.Context(), "GET", wire.JobPath(ticket.Job, "/data"), nil)
				check(t, err)
				idle := a.as("ann", version)
				idle.do("GET", "/healthz", nil)
				sd := shutdown(a.srv.Shutdown)
				b, err := io.ReadAll(events.Body)
				check(t, err)
				ms := messages(t, string(b))
				if last := ms[len(ms)-1].Error; last == nil || last.Code != job.CodeUnavailable || last.Hint == "" {
					t.Errorf("the stream ends with %q", b)
				}
				time.Sleep(5 * time.Second)
				f.write("56789")
				if b, err := io.ReadAll(data.Body); string(b) != "0123456789" || err != nil {
					t.Errorf("the body: %q, %v", b, err)
				}
				check(t, <-sd.err)
				sd.cancel()
				f.end()
				if _, err := idle.start(t.Context(), "GET", "/healthz", nil); err == nil {
					t.Error("it still answers")
				}
			})
		})
	}
}

func TestLocalAPICutsWhatTakesTooLong(t *testing.T) {
	for version, name := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				a := newAPI(t, w.relay)
				f, ticket := w.file("ann", 10)
				f.begin()
				f.write("01234")
				data, err := a.as("ann", version).start(t.Context(), "GET", wire.JobPath(ticket.Job, "/data"), nil)
				check(t, err)
				sd := shutdown(a.srv.Shutdown)
				time.Sleep(10 * time.Second)
				sd.cancel()
				if err := <-sd.err; !errors.Is(err, context.Canceled) {
					t.Errorf("Shutdown: %v", err)
				}
				if b, err := io.ReadAll(data.Body); string(b) != "01234" || err == nil {
					t.Errorf("%q, %v", b, err)
				}
			})
		})
	}
}

func TestLocalAPIServesNothingAfterShutdown(t *testing.T) {
	a := newAPI(t, &fake{})
	path := a.unix()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "late"))
	check(t, err)
	silent, err := net.Dial("unix", path) // holds nothing up
	check(t, err)
	defer silent.Close()
	check(t, a.srv.Shutdown(t.Context()))
	check(t, silent.SetReadDeadline(time.Now().Add(10*time.Second)))
	if n, err := silent.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a silent connection: %d, %v", n, err)
	}
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("the socket is still open")
	}
	check(t, a.srv.Serve(l))
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener that came too late: %v", err)
	}
	mine, theirs := net.Pipe()
	defer mine.Close()
	if err := a.srv.ServeConn(theirs, Identity{User: "ann"}); !isCode(err, job.CodeUnavailable) {
		t.Errorf("ServeConn: %v", err)
	}
	if _, err := mine.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection that came too late: %v", err)
	}
	if a.srv.begin() || a.srv.out.cut.Err() == nil {
		t.Error("something may still begin or go on")
	}
	check(t, a.srv.Shutdown(t.Context()))
}

// Connections that come while it goes down are closed, whatever their moment.
func TestShutdownAmongArrivingConnections(t *testing.T) {
	for range 20 {
		a := newAPI(t, &fake{})
		path := a.unix()
		stop := make(chan struct{})
		arrivals := make(chan error)
		go func() {
			defer close(arrivals)
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.Dial("unix", path)
				if err != nil {
					return
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = io.WriteString(c, "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
				b, err := io.ReadAll(c)
				_ = c.Close()
				var ne net.Error
				if errors.As(err, &ne) && ne.Timeout() || len(b) > 0 && !strings.HasSuffix(string(b), "ok\n") {
					arrivals <- err
				}
			}
		}()
		time.Sleep(time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		check(t, a.srv.Shutdown(ctx))
		cancel()
		close(stop)
		for err := range arrivals {
			t.Errorf("a connection was neither served nor closed: %v", err)
		}
	}
}

// An error that is none of the relay's own ends a stream as one that tells
// nothing of the relay's inside.
func TestAStreamThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want wire.Error
	}{
		"a job's": {job.Errorf(job.CodeRemoved, "the job was removed").WithHint("again"), wire.Error{Code: job.CodeRemoved, Message: "the job was removed", Hint: "again"}},
		"any":     {errors.New("/var/lib: secret"), *wire.FromError(errors.New("x"))},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, &fake{watch: func(_ context.Context, yield func(job.Event, error) bool) {
				if yield(job.Event{Status: &job.Status{}}, nil) {
					yield(job.Event{}, c.err)
				}
			}})
			got := a.as("ann", 2).do("GET", wire.JobPath(job.NewID(), "/events"), nil)
			lines := strings.SplitAfter(strings.TrimSuffix(got.body, "\n"), "\n")
			var m wire.Message
			check(t, json.Unmarshal([]byte(lines[len(lines)-1]), &m))
			if m.Error == nil || *m.Error != c.want || strings.Contains(got.body, "secret") {
				t.Errorf("%q", got.body)
			}
		})
	}
}
