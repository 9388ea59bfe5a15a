package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/span"
)

func TestSubmitBringsTheFile(t *testing.T) {
	t.Parallel()
	modified := time.Date(2025, 5, 6, 7, 8, 9, 0, time.UTC)
	f := origintest.File{
		Path: "/dir/big.iso", Size: 3*mib + 17, Seed: 1, ETag: `"v1"`, LastModified: modified, ContentType: "application/x-iso9660-image",
	}
	o := origintest.New(t, f)
	w := newWorld(t, with(func(c *Config) {
		c.Endpoints = func() []job.Endpoint { return []job.Endpoint{{Scheme: "https", Port: 3100, Pin: "ab"}} }
	}))
	ticket := w.submit(alice, get(o.URL(f.Path)))
	if want := w.clock.Now().Add(12 * time.Hour); !ticket.Expires.Equal(want) || len(ticket.Endpoints) != 1 || len(ticket.Token) < 43 {
		t.Errorf("the ticket is %+v", ticket)
	}
	s := w.watch(alice, ticket.Job, 0)
	if s.err != nil {
		t.Fatal(s.err)
	}
	st := s.last()
	if st.Job.State != job.Ready || st.Received != f.Size || st.Job.Owner != alice || st.Job.URL != o.URL(f.Path) {
		t.Errorf("the status is %+v", st)
	}
	want := job.Object{
		ID: st.Object.ID, URL: st.Job.URL, Key: st.Job.Key, Name: "big.iso", Size: f.Size, ETag: `"v1"`, LastModified: modified.Format(http.TimeFormat),
		ModTime: modified, ContentType: f.ContentType, SHA256: f.SHA256(), Complete: true, LengthVerified: true,
		Created: w.clock.Now(), Used: w.clock.Now(),
	}
	if *st.Object != want {
		t.Errorf("the object is %+v\nwant %+v", *st.Object, want)
	}
	wantSums(t, s.sums[st.Object.ID], f, 0)
	w.wantFile(alice, ticket.Job, f)

	again, err := w.Status(w.ctx(), alice, ticket.Job)
	if err != nil || again.Job.State != job.Ready || *again.Object != want {
		t.Errorf("asked again it is %+v, %v", again, err)
	}
}

func TestEmptyFile(t *testing.T) {
	t.Parallel()
	f := origintest.File{Data: []byte{}}
	o := origintest.New(t, f)
	w := newWorld(t)
	st := w.bring(alice, get(o.URL("")))
	if st.Object.Size != 0 || !st.Object.Complete || st.Object.SHA256 != f.SHA256() {
		t.Errorf("the object is %+v", st.Object)
	}
	w.wantFile(alice, st.Job.ID, f)
}

func TestUnknownLength(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault    origintest.Fault
		verified bool
	}{
		"chunked":  {origintest.NoLength(), true},
		"HTTP/1.0": {origintest.HTTP10(), false},
	} {
		t.Run(name, func(t *testing.T) {
			f := origintest.File{Size: 2*mib + 5, Seed: 2, Faults: []origintest.Fault{tt.fault}}
			o := origintest.New(t, f)
			h := hold(realFetcher(t), mib+100)
			w := newWorld(t, with(func(c *Config) { c.Fetcher, c.Quota = h, 64*mib }))
			id := w.submit(alice, get(o.URL(""))).Job
			wait(t, "the first chunk", h.reached)
			b := w.body(alice, id)
			if n, known := b.Size(); known {
				t.Errorf("the size is %d before the end", n)
			}
			if err := b.Wait(w.ctx(), span.Span{End: mib}); err != nil {
				t.Error(err)
			}
			h.free()
			st := w.finish(alice, id, job.Ready)
			if st.Object.Size != f.Size || st.Object.LengthVerified != tt.verified || st.Object.SHA256 != f.SHA256() {
				t.Errorf("the object is %+v", st.Object)
			}
			if got, err := readAll(w.ctx(), b); err != nil || got != f.SHA256() {
				t.Errorf("read %s, %v", got, err)
			}
			if err := b.Wait(w.ctx(), span.Span{End: f.Size + 1}); !errors.Is(err, io.EOF) {
				t.Errorf("a wait beyond the end gives %v", err)
			}
		})
	}
}

// TestCutThrough holds the origin in the middle of the third chunk: what has
// come is read and its sums are told long before the rest.
func TestCutThrough(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 4 * mib, Seed: 3, ETag: `"v1"`}
	o := origintest.New(t, f)
	h := hold(realFetcher(t), 2*mib+mib/2)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	id := w.submit(alice, get(o.URL(""))).Job
	b := w.body(alice, id) // waits for the origin's answer
	buf := make([]byte, 2*mib+mib/2)
	for at := 0; at < len(buf); {
		n, err := b.ReadAt(w.ctx(), buf[at:], int64(at))
		if err != nil {
			t.Fatal(err)
		}
		at += n
	}
	if n, err := b.ReadNow(buf[:10], 3*mib); n != 0 || err != nil {
		t.Errorf("where nothing is yet %d bytes are read, %v", n, err)
	}
	if n, err := b.ReadNow(buf[:10], mib); n != 10 || err != nil {
		t.Errorf("where all is %d bytes are read, %v", n, err)
	}
	ctx, cancel := context.WithCancel(w.ctx())
	defer cancel()
	var s seen
	for e, err := range w.Watch(ctx, alice, id, 1) {
		if err != nil {
			s.err = err
			break
		}
		if s.add(e); s.early == 1 {
			h.free()
		}
	}
	if s.err != nil || s.early < 1 {
		t.Fatalf("%d sums before the end, %v", s.early, s.err)
	}
	wantSums(t, s.sums[b.Object().ID], f, 1)
	if got, err := readAll(w.ctx(), b); err != nil || got != f.SHA256() {
		t.Errorf("read %s, %v", got, err)
	}
}

func TestOriginFailure(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		file   origintest.File
		code   job.Code
		status int
	}{
		"404":   {origintest.File{Path: "/other"}, job.CodeOriginStatus, 404},
		"403":   {origintest.File{Cookie: "a=b"}, job.CodeOriginLogin, 403},
		"500":   {origintest.File{Faults: []origintest.Fault{origintest.Status(500)}}, job.CodeOriginStatus, 500},
		"reset": {origintest.File{Size: 100, Faults: []origintest.Fault{origintest.Reset(0)}}, job.CodeOriginNet, 0},
		"loop":  {origintest.File{Redirect: origintest.DefaultPath}, job.CodeOriginProto, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := origintest.New(t, tt.file)
			w := newWorld(t)
			id := w.submit(alice, get(o.URL(""))).Job
			st := w.finish(alice, id, job.Failed)
			if e := wantCode(t, st.Job.Error, tt.code); e.Status != tt.status {
				t.Errorf("the origin's status is told as %d", e.Status)
			}
			_, err := w.OpenOwned(w.ctx(), alice, id)
			if e := wantCode(t, err, tt.code); e.Status != tt.status {
				t.Errorf("the reader hears of status %d", e.Status)
			}
			w.restart()
			st, err = w.Status(w.ctx(), alice, id)
			if err != nil || wantCode(t, st.Job.Error, tt.code).Status != tt.status {
				t.Errorf("after a restart: %+v, %v", st.Job, err)
			}
		})
	}
}

// TestReadersHearOfFailure has a reader and a watcher wait for bytes that never come.
func TestReadersHearOfFailure(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 3 * mib, Seed: 4, ETag: `"v1"`}
	f.Faults = []origintest.Fault{origintest.Close(mib + 10), origintest.From(2, origintest.Status(410))}
	o := origintest.New(t, f)
	h := hold(realFetcher(t), mib)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	id := w.submit(alice, get(o.URL(""))).Job
	b := w.body(alice, id)
	read := make(chan error, 1)
	go func() {
		_, err := readAll(w.ctx(), b)
		read <- err
	}()
	h.free()
	w.finish(alice, id, job.Failed)
	if e := wantCode(t, <-read, job.CodeOriginStatus); e.Status != 410 {
		t.Errorf("the reader hears of status %d", e.Status)
	}
}

func TestRefusedSubmissions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		req   job.Request
		allow []netip.Addr
		code  job.Code
	}{
		"scheme":     {req: get("file:///etc/passwd"), code: job.CodeBadURL},
		"no host":    {req: get("http://"), code: job.CodeBadURL},
		"mirror":     {req: job.Request{URL: "http://a/b", Mirrors: []string{"ftp://c/d"}}, code: job.CodeBadURL},
		"header":     {req: job.Request{URL: "http://a/b", Header: []job.Field{{Name: "A", Value: "b\r\nC: d"}}}, code: job.CodeBadRequest},
		"retention":  {req: job.Request{URL: "http://a/b", Retain: -1}, code: job.CodeBadRequest},
		"no address": {req: get("http://a/b"), allow: []netip.Addr{{}}, code: job.CodeBadRequest},
		"everybody":  {req: get("http://a/b"), allow: []netip.Addr{netip.MustParseAddr("::ffff:0.0.0.0")}, code: job.CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.Submit(w.ctx(), Submission{Owner: alice, Allow: tt.allow}, tt.req)
			wantCode(t, err, tt.code)
		})
	}
	if all, err := w.List(w.ctx(), alice); err != nil || len(all) != 0 {
		t.Errorf("%d jobs were left behind, %v", len(all), err)
	}
}

func TestRetentionWishes(t *testing.T) {
	t.Parallel()
	o := origintest.New(t, origintest.File{Size: 10})
	w := newWorld(t, with(func(c *Config) { c.Retain = time.Hour }))
	for seconds, want := range map[int64]time.Duration{0: time.Hour, 60: time.Minute, 1 << 60: maxRetain} {
		got := w.submit(alice, job.Request{URL: o.URL(""), Retain: seconds}).Expires.Sub(w.clock.Now())
		if got != want {
			t.Errorf("%d seconds became %v", seconds, got)
		}
	}
}

func TestListAndInfo(t *testing.T) {
	t.Parallel()
	o := origintest.New(t, origintest.File{Path: "/a", Size: mib}, origintest.File{Path: "/b", Size: mib, Seed: 1, ETag: `"b"`})
	w := newWorld(t, with(func(c *Config) { c.Quota = 100 * mib }))
	first := w.bring(alice, get(o.URL("/a"))).Job.ID
	w.clock.advance(time.Second)
	second := w.bring(alice, get(o.URL("/b"))).Job.ID
	w.bring(bob, get(o.URL("/b")))

	all, err := w.List(w.ctx(), alice)
	if err != nil || len(all) != 2 || all[0].Job.ID != first || all[1].Job.ID != second {
		t.Fatalf("the list is %+v, %v", all, err)
	}
	for _, st := range all {
		if st.Received != mib || st.Object == nil || !st.Object.Complete {
			t.Errorf("listed as %+v", st)
		}
	}
	info, err := w.Info(w.ctx(), alice)
	if err != nil || info.Jobs != 2 || info.Used < 2*mib || info.Used > 3*mib || info.Quota != 100*mib || info.DiskFree <= 0 {
		t.Errorf("the info is %+v, %v", info, err)
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	o := origintest.New(t, origintest.File{Path: "/a", Size: mib}, origintest.File{Path: "/b", Size: mib})
	h := hold(realFetcher(t), 10)
	w := newWorld(t, with(func(c *Config) { c.Fetcher, c.Fetches = h, 1 }))
	first := w.submit(alice, get(o.URL("/a"))).Job
	wait(t, "the first fetch", h.reached)
	second := w.submit(alice, get(o.URL("/b"))).Job
	st, err := w.Status(w.ctx(), alice, second)
	if err != nil || st.Job.State != job.Queued || st.Object != nil {
		t.Errorf("the second job is %+v, %v", st, err)
	}
	if err := w.Remove(w.ctx(), alice, second); err != nil {
		t.Error(err)
	}
	third := w.submit(bob, get(o.URL("/b"))).Job
	h.free()
	w.finish(alice, first, job.Ready)
	w.finish(bob, third, job.Ready)
	if n := o.Count(); n != 2 {
		t.Errorf("%d requests", n)
	}
}
