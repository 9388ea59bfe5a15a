package httpd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/jumpget/jumpget/internal/growfile"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/wire"
)

// Each byte leaves as soon as it is there, and no request waits for more than
// it asks for.
func TestAGrowingFileIsCutThrough(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	f, ticket := w.file("ann", 10)
	c := d.dial()
	sendRequest(t, c, "GET", ticket) // before the origin has answered at all
	f.begin()
	f.write("012")
	r := bufio.NewReader(c)
	resp := head(t, r, "GET")
	if resp.StatusCode != http.StatusOK || resp.ContentLength != 10 {
		t.Fatalf("%s, %d bytes", resp.Status, resp.ContentLength)
	}
	if got := read(t, resp.Body, 3); got != "012" {
		t.Errorf("first %q", got)
	}
	if a := d.get(ticket, "Range", "bytes=1-2"); a.StatusCode != 206 || a.body != "12" || a.Header.Get("Content-Range") != "bytes 1-2/10" {
		t.Errorf("what is there already: %s %q", a.Status, a.body)
	}
	ahead := d.dial()
	sendRequest(t, ahead, "GET", ticket, "Range", "bytes=4-5")
	f.write("3")
	if got := read(t, resp.Body, 1); got != "3" {
		t.Errorf("then %q", got)
	}
	f.write("456")
	if a := receive(t, bufio.NewReader(ahead), "GET"); a.StatusCode != 206 || a.body != "45" {
		t.Errorf("what was asked for ahead of its time: %s %q", a.Status, a.body)
	}
	f.write("789")
	f.end()
	if got := read(t, resp.Body, 6); got != "456789" {
		t.Errorf("at last %q", got)
	}
	if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the end: %d, %v", n, err)
	}
}

func TestAGrowingFileOfUnknownLength(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	f, ticket := w.file("ann", job.UnknownSize)
	f.begin()
	c := d.dial()
	sendRequest(t, c, "GET", ticket)
	resp := head(t, bufio.NewReader(c), "GET") // comes at once, though no byte is there
	if resp.StatusCode != http.StatusOK || resp.ContentLength != -1 {
		t.Fatalf("%s, %d bytes", resp.Status, resp.ContentLength)
	}
	if a := d.ask(http.MethodHead, ticket); a.StatusCode != http.StatusOK || a.ContentLength != -1 {
		t.Errorf("HEAD: %s, %d bytes", a.Status, a.ContentLength)
	}
	waiting := map[string]*bufio.Reader{}
	for _, rng := range []string{"bytes=2-3", "bytes=-2", "bytes=4-", "bytes=5-99", "bytes=6-"} {
		c := d.dial()
		sendRequest(t, c, "GET", ticket, "Range", rng)
		waiting[rng] = bufio.NewReader(c)
	}
	old := d.dial()
	_, err := io.WriteString(old, "GET "+wire.PublicPath(ticket.Job, "f")+"?token="+ticket.Token+" HTTP/1.0\r\n\r\n")
	check(t, err)
	f.write("0123")
	if got := read(t, resp.Body, 4); got != "0123" {
		t.Errorf("first %q", got)
	}
	if a := receive(t, waiting["bytes=2-3"], "GET"); a.StatusCode != 206 || a.body != "23" || a.Header.Get("Content-Range") != "bytes 2-3/*" {
		t.Errorf("a range, before the length is known: %s %q %v", a.Status, a.body, a.Header)
	}
	f.write("45")
	f.end()
	if b, err := io.ReadAll(resp.Body); string(b) != "45" || err != nil {
		t.Errorf("the rest: %q, %v", b, err)
	}
	for rng, want := range map[string]struct {
		status             int
		contentRange, body string
	}{
		"bytes=-2":   {206, "bytes 4-5/6", "45"},
		"bytes=4-":   {206, "bytes 4-5/6", "45"},
		"bytes=5-99": {206, "bytes 5-5/6", "5"},
		"bytes=6-":   {416, "bytes */6", ""},
	} {
		if a := receive(t, waiting[rng], "GET"); a.StatusCode != want.status || a.body != want.body || a.Header.Get("Content-Range") != want.contentRange {
			t.Errorf("%s: %s %q %v", rng, a.Status, a.body, a.Header)
		}
	}
	if a := receive(t, bufio.NewReader(old), "GET"); a.ContentLength != 6 || a.body != "012345" {
		t.Errorf("HTTP/1.0, which can't do without the length: %d, %q", a.ContentLength, a.body)
	}
	if a := d.get(ticket); a.ContentLength != 6 || a.body != "012345" {
		t.Errorf("afterwards: %d bytes, %q", a.ContentLength, a.body)
	}
}

// A body that breaks off never looks whole, however it was asked for.
func TestABodyThatBreaksOffIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		size     int64
		version  string
		header   string
		headless bool // nothing comes at all
	}{
		"known length":              {size: 10, version: "1.1"},
		"a range of it":             {size: 10, version: "1.1", header: "Range: bytes=1-7\r\n"},
		"known length, HTTP/1.0":    {size: 10, version: "1.0"},
		"unknown length":            {size: -1, version: "1.1"},
		"a range of it still":       {size: -1, version: "1.1", header: "Range: bytes=1-7\r\n", headless: true},
		"its end":                   {size: -1, version: "1.1", header: "Range: bytes=-1\r\n", headless: true},
		"unknown length, HTTP/1.0":  {size: -1, version: "1.0", headless: true},
		"an end that is never told": {size: -1, version: "1.1", header: "Range: bytes=2-\r\n", headless: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				_, p := quietDoor(t, w)
				f, ticket := w.file("ann", c.size)
				f.begin()
				f.write("0123")
				conn := p.dial(t)
				_, err := io.WriteString(conn, "GET "+wire.PublicPath(ticket.Job, "f")+"?token="+ticket.Token+" HTTP/"+c.version+"\r\nHost: x\r\n"+c.header+"\r\n")
				check(t, err)
				synctest.Wait()
				if c.headless {
					f.fail(errOrigin)
					if b, _ := io.ReadAll(conn); len(b) > 0 {
						t.Errorf("got %q", b)
					}
					return
				}
				resp := head(t, bufio.NewReader(conn), "GET")
				read(t, resp.Body, 1)
				f.fail(errOrigin)
				if b, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%q, and then %v", b, err)
				}
			})
		})
	}
}

// When the origin's file changes in mid-file, what is under way ends, and no
// range of the new version passes for one of the old.
func TestANewVersionIsNeverSpliced(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	f, ticket := w.file("ann", 10)
	f.begin()
	f.write("01234")
	old := wire.ETag(f.object())
	c := d.dial()
	sendRequest(t, c, "GET", ticket)
	resp := head(t, bufio.NewReader(c), "GET")
	if got := read(t, resp.Body, 5); got != "01234" || resp.Header.Get("ETag") != old {
		t.Fatalf("%q, %v", got, resp.Header)
	}
	f.meta.ETag = `"2"`
	f.begin()
	if b, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the old one goes on with %q, %v", b, err)
	}
	f.write("abcdefghij")
	f.end()
	if a := d.get(ticket, "Range", "bytes=5-", "If-Match", old); a.StatusCode != http.StatusPreconditionFailed || a.body != "" || a.Header.Get("ETag") == old {
		t.Errorf("If-Match of the old one: %s %q", a.Status, a.body)
	}
	if a := d.get(ticket, "Range", "bytes=5-", "If-Range", old); a.StatusCode != http.StatusOK || a.body != "abcdefghij" {
		t.Errorf("If-Range of the old one: %s %q", a.Status, a.body)
	}
}

// Many readers of many places of one growing file, some of whom leave.
func TestManyReadersOfOneGrowingFile(t *testing.T) {
	const size, readers = 3 << 20, 24
	w := newWorld(t)
	d := newDoor(t, w)
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i>>8 ^ i*31)
	}
	f, ticket := w.file("ann", size)
	f.begin()
	conns := make([]io.ReadWriter, readers)
	for i := range conns {
		conns[i] = d.dial()
	}
	var wg sync.WaitGroup
	for i := range readers {
		from := i * size / readers
		wg.Go(func() {
			c := conns[i]
			sendRequest(t, c, "GET", ticket, "Range", format(byteRange{int64(from), -1}))
			resp := head(t, bufio.NewReader(c), "GET")
			if i%4 == 3 { // has enough after a little
				_, _ = io.ReadFull(resp.Body, make([]byte, 1000))
				_ = c.(io.Closer).Close()
				return
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil || string(b) != string(data[from:]) {
				t.Errorf("reader %d got %d other bytes, %v", i, len(b), err)
			}
		})
	}
	for at := 0; at < size; at += 100_000 {
		f.write(string(data[at:min(size, at+100_000)]))
	}
	f.end()
	wg.Wait()
	eventually(t, "those who left are gone", func() bool { return d.conns() <= readers-readers/4 })
	if a := d.get(ticket, "Range", "bytes=-5"); a.body != string(data[size-5:]) {
		t.Errorf("the tail is %q", a.body)
	}
}

// What the relay reads wrongly from its own disk is cut off, too.
func TestAnErrorInMidBodyCutsTheAnswerOff(t *testing.T) {
	out := outlet{cut: context.Background()}
	b := &brokenBody{size: 10, good: "0123"}
	w := &recorder{header: http.Header{}}
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("the answer ends in peace")
			}
		}()
		r, _ := http.NewRequest(http.MethodGet, "/", nil)
		out.serve(w, r, b)
	}()
	if w.status != 200 || string(w.body) != "0123" || w.header.Get("Content-Length") != "10" {
		t.Errorf("%d, %q", w.status, w.body)
	}
}

// A shutdown ends bodies even where the connection would not tell: behind a
// second request, net/http does not notice that the client has gone.
func TestTheCutEndsABodyThatWaits(t *testing.T) {
	for _, size := range []int64{10, -1} {
		cut, now := context.WithCancel(context.Background())
		ended := make(chan any)
		go func() {
			defer func() { ended <- recover() }()
			r, _ := http.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Range", "bytes=1-2")
			outlet{cut: cut}.serve(&recorder{header: http.Header{}}, r, growingBody{growfile.New(nil, size, span.Set{})})
		}()
		now()
		if got := <-ended; got != http.ErrAbortHandler {
			t.Errorf("of %d bytes: it ends with %v", size, got)
		}
	}
}

// growingBody never grows.
type growingBody struct{ *growfile.File }

func (growingBody) Object() job.Object { return job.Object{ID: job.NewID(), Name: "x"} }

// brokenBody gives some bytes together with an error, as a disk does.
type brokenBody struct {
	size int64
	good string
}

func (b *brokenBody) Object() job.Object                    { return job.Object{ID: job.NewID(), Name: "x"} }
func (b *brokenBody) Size() (int64, bool)                   { return b.size, true }
func (b *brokenBody) Wait(context.Context, span.Span) error { return nil }

func (b *brokenBody) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	n := copy(p, b.good[min(off, int64(len(b.good))):])
	return n, errors.New("an input/output error")
}

type recorder struct {
	header http.Header
	status int
	body   []byte
}

func (r *recorder) Flush()                      {}
func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { r.body = append(r.body, p...); return len(p), nil }
