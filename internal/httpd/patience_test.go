package httpd

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// These tests run in virtual time, over connections in memory: they hold every
// deadline at its true length.

// quietDoor opens a plaintext door in memory.
func quietDoor(t *testing.T, w *world) (*door, *pipes) {
	p := newPipes("127.0.0.1:4711")
	return serveDoor(t, w, p, func(c *PublicConfig) { c.Plain = true }), p
}

// until reads to the end of a connection and tells how long that took.
func until(c io.Reader) (string, time.Duration) {
	start := time.Now()
	b, _ := io.ReadAll(c) // however it ends
	return string(b), time.Since(start).Round(time.Second)
}

func TestDoorWaitsForNobodyForever(t *testing.T) {
	head := "POST / HTTP/1.1\r\nHost: x\r\n"
	for name, c := range map[string]struct {
		sent  string
		after time.Duration
		gets  string
	}{
		"says nothing":           {"", 10 * time.Second, ""},
		"one byte":               {"G", 30 * time.Second, "400 Bad Request"},
		"half a header":          {"GET / HTTP/1.1\r\nHost:", 30 * time.Second, ""},
		"owes a body":            {head + "Content-Length: 10\r\n\r\nbo", 2 * time.Second, refusal},
		"owes a chunk":           {head + "Transfer-Encoding: chunked\r\n\r\n5\r\nbo", 2 * time.Second, refusal},
		"owes a large body":      {head + "Content-Length: 1000000\r\n\r\n", 2 * time.Second, refusal},
		"waits to be asked":      {head + "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n", 2 * time.Second, refusal},
		"was refused, and stays": {"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", 0, refusal},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, p := quietDoor(t, newWorld(t))
				conn := p.dial(t)
				if c.sent != "" {
					_, err := io.WriteString(conn, c.sent)
					check(t, err)
				}
				got, took := until(conn)
				if took > c.after || c.gets == "" && took != c.after || !strings.HasSuffix(got, c.gets) || c.gets == "" && got != "" {
					t.Errorf("closed after %v with %q; want %v", took, got, c.after)
				}
				synctest.Wait()
				if n := d.conns(); n != 0 {
					t.Errorf("%d connections are still counted", n)
				}
			})
		})
	}
}

// A body that drips is no better than none.
func TestDoorTakesNoDrippingBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := quietDoor(t, newWorld(t))
		conn := p.dial(t)
		_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
		check(t, err)
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for err := error(nil); err == nil; time.Sleep(300 * time.Millisecond) {
				_, err = io.WriteString(conn, "x")
			}
		})
		if got, took := until(conn); took > 3*time.Second || !strings.HasSuffix(got, refusal) {
			t.Errorf("closed after %v with %q", took, got)
		}
	})
}

func TestIdleConnectionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, p := quietDoor(t, w)
		_, ticket := w.ready("ann", "data")
		conn := p.dial(t)
		go sendRequest(t, conn, "GET", ticket)
		r := bufio.NewReader(conn)
		if a := receive(t, r, "GET"); a.body != "data" {
			t.Fatalf("%s %q", a.Status, a.body)
		}
		if got, took := until(r); took != 3*time.Minute || got != "" {
			t.Errorf("closed after %v with %q", took, got)
		}
	})
}

// slowly reads n bytes at a pace of so many a second, and returns what went wrong.
func slowly(r io.Reader, n, pace int) error {
	for buf := make([]byte, pace); n > 0; time.Sleep(time.Second) {
		m, err := io.ReadFull(r, buf[:min(pace, n)])
		if err != nil {
			return err
		}
		n -= m
	}
	return nil
}

// A reader may be as slow as it likes, as long as it takes something; one that
// takes nothing is cut off, and its lease is given back.
func TestSlowReadersAreServedAndStuckOnesAreNot(t *testing.T) {
	const size = 600 << 10
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, p := quietDoor(t, w)
		_, ticket := w.ready("ann", strings.Repeat("x", size))
		slow := p.dial(t)
		go sendRequest(t, slow, "GET", ticket)
		r := bufio.NewReader(slow)
		resp := head(t, r, "GET")
		if err := slowly(resp.Body, size, 2<<10); err != nil {
			t.Errorf("at 2 KB/s: %v", err)
		}
		stuck := p.dial(t)
		go sendRequest(t, stuck, "GET", ticket)
		head(t, bufio.NewReaderSize(stuck, 16), "GET")
		start := time.Now()
		for d.conns() > 1 && time.Since(start) < time.Hour {
			time.Sleep(time.Second)
		}
		if took := time.Since(start).Round(10 * time.Second); took != time.Minute {
			t.Errorf("cut off after %v", took)
		}
	})
}

// However long the origin takes, the answer waits for it.
func TestAnswersWaitForTheOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, p := quietDoor(t, w)
		a := newAPI(t, w.relay)
		f, ticket := w.file("ann", 10)
		f.begin()
		f.write("01234")
		bodies := map[string]io.Reader{}
		conn := p.dial(t)
		go sendRequest(t, conn, "GET", ticket)
		bodies["the door"] = head(t, bufio.NewReader(conn), "GET").Body
		for version, name := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2"} {
			resp, err := a.as("ann", version).start(t.Context(), "GET", wire.JobPath(ticket.Job, "/data"), nil)
			check(t, err)
			bodies[name] = resp.Body
		}
		for name, b := range bodies {
			if got := read(t, b, 5); got != "01234" {
				t.Errorf("%s: %q", name, got)
			}
		}
		time.Sleep(time.Hour)
		f.write("56789")
		for name, b := range bodies {
			if got, err := io.ReadAll(b); string(got) != "56789" || err != nil {
				t.Errorf("%s: after an hour %q, %v", name, got, err)
			}
		}
		f.end()
	})
}

func TestSlowAndStuckReadersOfTheLocalAPI(t *testing.T) {
	const size = 6 << 20 // more than an HTTP/2 client takes unasked
	for version, name := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				a := newAPI(t, w.relay)
				_, ticket := w.ready("ann", strings.Repeat("x", size))
				path := wire.JobPath(ticket.Job, "/data")
				resp, err := a.as("ann", version).start(t.Context(), "GET", path, nil)
				check(t, err)
				if err := slowly(resp.Body, size, 2<<10); err != nil {
					t.Errorf("at 2 KB/s: %v", err)
				}
				resp, err = a.as("ann", version).start(t.Context(), "GET", path, nil)
				check(t, err)
				time.Sleep(5 * time.Minute)
				if n, err := io.Copy(io.Discard, resp.Body); err == nil {
					t.Errorf("after minutes of silence all %d bytes came", n)
				}
			})
		})
	}
}

// watchUntilGone is a fake's Watch that tells one status, and then waits.
func watchUntilGone(gone chan<- error) func(context.Context, func(job.Event, error) bool) {
	return func(ctx context.Context, yield func(job.Event, error) bool) {
		if yield(job.Event{Status: &job.Status{}}, nil) {
			<-ctx.Done()
			yield(job.Event{}, context.Cause(ctx))
		}
		gone <- context.Cause(ctx)
	}
}

func TestSilentStreamsBeat(t *testing.T) {
	for version, name := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gone := make(chan error, 1)
				a := newAPI(t, &fake{watch: watchUntilGone(gone)})
				ctx, cancel := context.WithCancel(t.Context())
				resp, err := a.as("ann", version).start(ctx, "GET", wire.JobPath(job.NewID(), "/events"), nil)
				check(t, err)
				r := bufio.NewReader(resp.Body)
				start := time.Now()
				for i := range 40 {
					line, err := r.ReadString('\n')
					check(t, err)
					at := time.Duration(i) * 15 * time.Second
					if (i == 0) != strings.HasPrefix(line, `{"job":`) || i > 0 && line != "\n" || time.Since(start) != at {
						t.Fatalf("line %d after %v is %q", i, time.Since(start), line)
					}
				}
				cancel()
				if err := <-gone; err == nil {
					t.Error("the watch ended by itself")
				}
			})
		})
	}
}

// Who leaves without a word is found out by the heart beats.
func TestAStreamThatNobodyTakesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan error, 1)
		a := newAPI(t, &fake{watch: watchUntilGone(gone)})
		conn := a.channel(Identity{User: "ann"})
		_, err := io.WriteString(conn, "GET /v1/jobs/x/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
		check(t, err)
		if resp := head(t, bufio.NewReader(conn), "GET"); resp.Header.Get("Content-Type") != streamType {
			t.Errorf("%v", resp.Header)
		}
		start := time.Now()
		<-gone
		if took := time.Since(start); took < time.Minute || took > 2*time.Minute {
			t.Errorf("found out after %v", took)
		}
	})
}

// Whoever owes the rest of a request, or does not take a plain answer, is let go.
func TestLocalAPIWaitsForNobodyForever(t *testing.T) {
	for name, c := range map[string]struct {
		sent  string
		after time.Duration
		gets  string
	}{
		"half a header":     {"GET /v1/status HT", 30 * time.Second, ""},
		"owes its JSON":     {"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{", time.Minute, "bad_request"},
		"refused, and owes": {"POST /v1/jobs HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 10\r\n\r\n{", 0, "forbidden"},
		"owes what nobody reads": {
			"POST /v1/jobs/x/ticket HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{", time.Minute, "bad_request",
		},
		"sends too much": {
			"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n" +
				strings.Repeat(" ", maxRequest+1000), 0, "larger than",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAPI(t, &fake{err: job.Errorf(job.CodeNotFound, "no such job")})
				conn := a.channel(Identity{User: "ann"})
				var wg sync.WaitGroup
				defer wg.Wait()
				wg.Go(func() { _, _ = io.WriteString(conn, c.sent) }) // not all of it may be taken
				got, took := until(conn)
				if took.Round(5*time.Second) != c.after || !strings.Contains(got, c.gets) {
					t.Errorf("closed after %v with %q", took, got)
				}
			})
		})
	}
	t.Run("takes no answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newAPI(t, &fake{})
			mine, theirs := net.Pipe()
			defer mine.Close()
			ended := make(chan error)
			go func() { ended <- a.srv.ServeConn(theirs, Identity{User: "ann"}) }()
			_, err := io.WriteString(mine, "GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
			check(t, err)
			start := time.Now()
			check(t, <-ended)
			if took := time.Since(start); took != time.Minute {
				t.Errorf("closed after %v", took)
			}
		})
	})
}

// A request that took its time to arrive may take its time to be answered.
func TestTheTimeForARequestDoesNotBindItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan error, 1)
		a := newAPI(t, &fake{watch: watchUntilGone(gone)})
		conn := a.channel(Identity{User: "ann"})
		go func() {
			_, _ = io.WriteString(conn, "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n")
			time.Sleep(50 * time.Second)
			_, _ = io.WriteString(conn, "{}")
		}()
		r := bufio.NewReader(head(t, bufio.NewReader(conn), "POST").Body)
		for range 60 {
			_, err := r.ReadString('\n')
			check(t, err)
		}
		_ = conn.Close()
		<-gone
	})
}

func TestTheGreetingOnAUnixSocketHasItsTime(t *testing.T) {
	greet := func(stop context.Context, send string) (netip.Addr, time.Duration, error) {
		mine, theirs := net.Pipe()
		defer mine.Close()
		defer theirs.Close()
		c := newAPIConn(theirs, Identity{})
		c.r = bufio.NewReader(theirs)
		go func() { _, _ = io.WriteString(mine, send) }()
		start := time.Now()
		err := c.greet(stop)
		return c.id.Addr, time.Since(start), err
	}
	synctest.Test(t, func(t *testing.T) {
		for _, silent := range []string{"", wire.BridgePreface, wire.BridgePreface + "192.0.2.7"} {
			if _, took, err := greet(context.Background(), silent); !os.IsTimeout(err) || took != prefaceTimeout {
				t.Errorf("%q: %v after %v", silent, err, took)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		if _, took, err := greet(ctx, ""); err == nil || took != time.Second {
			t.Errorf("a shutdown is noticed with %v after %v", err, took)
		}
		if addr, _, err := greet(context.Background(), wire.BridgePreface+"192.0.2.7\n"); err != nil || addr != netip.MustParseAddr("192.0.2.7") {
			t.Errorf("%v, %v", addr, err)
		}
	})
}
