package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/transport"
	"github.com/jumpget/jumpget/internal/wire"
)

// fakeRelay is a relay by the contract of package wire, over real sockets and
// real TLS, with the faults that a test switches on. Its body may grow, change
// and lie.
type fakeRelay struct {
	t    testing.TB
	pin  string
	cert tls.Certificate

	apiAddr, doorAddr string
	udpPort           int           // 0: no UDP
	clockOff          time.Duration // of the relay's clock
	stop              func()        // of the servers that run

	mu       sync.Mutex
	cond     *sync.Cond
	body     []byte
	received int   // bytes that the relay has
	lowest   int64 // offset that the body was read at over UDP
	sizeTold bool
	object   job.ID
	known    *bodySums // of object; nil: not made yet
	id       job.ID
	token    string
	failed   *wire.Error
	granted  map[netip.Addr]bool
	closed   bool // the servers are being stopped
	conns    map[net.Conn]struct{}

	submits, tickets, grants, tunnels, dataReads, doorReads, opened atomic.Int64

	vouched atomic.Int64 // lists that were asked for with the local API's secret

	// Faults; zero values mean none. They are read with mu held.
	needGrant  bool
	extraPin   string                      // told instead of pin
	noDoor     bool                        // the ticket tells a port that nobody listens on
	resetEvery int64                       // bytes after which a door connection is reset
	stallAfter int64                       // bytes after which a door connection goes silent
	stalls     int                         // how many connections do
	lieRange   int                         // answers with a wrong Content-Range
	flip       func(off int64, p []byte)   // changes bytes on their way out of the door
	flipSSH    func(off int64, p []byte)   // the same over ssh
	holdSums   bool                        // no sums are told
	onRead     func(r *fakeRelay, n int64) // hears of each door read
	dial       func() (net.Conn, error)    // nil: the API's port
	onSubmit   func(s wire.Submit) error   // hears of each submission before it is answered, and may refuse it
}

func newFakeRelay(t testing.TB, size int) *fakeRelay {
	t.Helper()
	cert, pin, err := transport.LoadOrCreateCert(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &fakeRelay{
		t: t, pin: pin, cert: cert, body: randomBytes(uint64(size), size), received: size, sizeTold: true,
		object: job.NewID(), id: job.NewID(), token: "token-1", granted: map[netip.Addr]bool{},
		conns: map[net.Conn]struct{}{},
	}
	r.cond = sync.NewCond(&r.mu)
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

func randomBytes(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2], key[3] = byte(seed), byte(seed>>8), byte(seed>>16), byte(seed>>24)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// set changes something under the lock and wakes whoever waits for it.
func (r *fakeRelay) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	r.cond.Broadcast()
}

// start opens both doors, at the same ports as before if it is a restart.
func (r *fakeRelay) start() {
	listen := func(addr string) net.Listener {
		if addr == "" {
			addr = "127.0.0.1:0"
		}
		l, err := transport.Listen(context.Background(), addr, transport.Options{})
		if err != nil {
			r.t.Fatal(err)
		}
		return l
	}
	api, raw := listen(r.apiAddr), listen(r.doorAddr)
	r.apiAddr, r.doorAddr = api.Addr().String(), raw.Addr().String()
	pub := transport.Sniff(&faulty{raw, r}, transport.SniffOptions{TLS: transport.ServerTLS(r.cert), AllowPlain: func(netip.Addr) bool { return true }})

	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	apiServer := &http.Server{Handler: r.api(), Protocols: protocols}
	doorServer := &http.Server{Handler: http.HandlerFunc(r.serveDoor)}
	var wg sync.WaitGroup
	wg.Go(func() { _ = apiServer.Serve(&counted{api, r}) })
	wg.Go(func() { _ = doorServer.Serve(pub) })
	r.set(func() { r.closed = false })
	r.stop = sync.OnceFunc(func() {
		r.set(func() { r.closed = true })
		r.cutAll() // also those that stall, or their end would wait for them
		_ = apiServer.Close()
		_ = doorServer.Close()
		r.cutAll()
		wg.Wait()
	})
}

// cutAll breaks every connection, as a crash would.
func (r *fakeRelay) cutAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.Close()
	}
	clear(r.conns)
}

// cutTunnels breaks the connections to the API only.
func (r *fakeRelay) cutTunnels() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if _, ok := c.(*faultyConn); !ok {
			_ = c.Close()
			delete(r.conns, c)
		}
	}
}

type counted struct {
	net.Listener
	r *fakeRelay
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.r.tunnels.Add(1)
		l.r.set(func() { l.r.conns[c] = struct{}{} })
	}
	return c, err
}

// faulty breaks and stalls the door's connections.
type faulty struct {
	net.Listener
	r *fakeRelay
}

func (l *faulty) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.r.opened.Add(1)
	f := &faultyConn{Conn: c, r: l.r, done: make(chan struct{})}
	l.r.set(func() {
		f.reset = l.r.resetEvery
		if l.r.stalls > 0 {
			l.r.stalls--
			f.stall = l.r.stallAfter
		}
		l.r.conns[f] = struct{}{}
	})
	return f, nil
}

type faultyConn struct {
	net.Conn
	r            *fakeRelay
	reset, stall int64
	wrote        int64
	once         sync.Once
	done         chan struct{}
}

func (c *faultyConn) Write(p []byte) (int, error) {
	c.wrote += int64(len(p))
	if c.stall > 0 && c.wrote > c.stall {
		<-c.done
		return 0, net.ErrClosed
	}
	if c.reset > 0 && c.wrote > c.reset {
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

func (c *faultyConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

func (r *fakeRelay) tunnel(context.Context) (net.Conn, error) {
	r.mu.Lock()
	dial := r.dial
	r.mu.Unlock()
	if dial != nil {
		return dial()
	}
	return net.Dial("tcp", r.apiAddr)
}

func (r *fakeRelay) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(wire.RouteSubmit, r.submit)
	mux.HandleFunc(wire.RouteEvents, r.events)
	mux.HandleFunc(wire.RouteTicket, func(w http.ResponseWriter, q *http.Request) {
		r.tickets.Add(1)
		reply(w, r.ticket())
	})
	mux.HandleFunc(wire.RouteJob, func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if job.ID(q.PathValue("job")) != r.id {
			refuse(w, job.Errorf(job.CodeNotFound, "no such job"))
			return
		}
		reply(w, r.job())
	})
	mux.HandleFunc(wire.RouteList, func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Authorization") != "" {
			r.vouched.Add(1)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		reply(w, wire.Jobs{Jobs: []wire.Job{*r.job()}})
	})
	mux.HandleFunc(wire.RouteGrant, func(w http.ResponseWriter, q *http.Request) {
		var g wire.Grant
		if err := json.NewDecoder(q.Body).Decode(&g); err != nil {
			r.t.Error(err)
		}
		r.grants.Add(1)
		r.set(func() { r.granted[g.Addr] = true })
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc(wire.RouteData, r.data)
	mux.HandleFunc(wire.RouteRemove, func(w http.ResponseWriter, q *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc(wire.RouteExtend, func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		reply(w, r.job())
	})
	mux.HandleFunc(wire.RouteStatus, func(w http.ResponseWriter, q *http.Request) {
		reply(w, wire.Status{Version: "fake", Contract: wire.Version, Endpoints: r.ticket().Endpoints})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get(wire.HeaderVersion) != strconv.Itoa(wire.Version) || q.ProtoMajor != 2 {
			r.t.Errorf("a request with version %q over %s", q.Header.Get(wire.HeaderVersion), q.Proto)
		}
		mux.ServeHTTP(w, q)
	})
}

func reply(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func refuse(w http.ResponseWriter, err error) {
	e := wire.FromError(err)
	w.WriteHeader(wire.HTTPStatus(e.Code))
	reply(w, e)
}

func (r *fakeRelay) ticket() *wire.Ticket {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, port, _ := net.SplitHostPort(r.doorAddr)
	n, _ := strconv.Atoi(port)
	e := wire.Endpoint{Scheme: "https", Port: n, Pin: r.pin}
	if r.extraPin != "" {
		e.Pin = r.extraPin
	}
	if r.noDoor {
		e.Port = 1
	}
	all := []wire.Endpoint{e}
	if r.udpPort != 0 {
		all = append(all, wire.Endpoint{Scheme: job.SchemeUDP, Port: r.udpPort})
	}
	return &wire.Ticket{Job: r.id, Token: r.token, Expires: time.Now().Add(time.Hour + r.clockOff), Endpoints: all}
}

// job is the status; the lock is held.
func (r *fakeRelay) job() *wire.Job {
	j := &wire.Job{ID: r.id, URL: "http://origin.test/f.bin", State: job.Fetching, Received: int64(r.received)}
	o := &wire.Object{ID: r.object, Name: "f.bin", Size: int64(len(r.body)), LengthVerified: true, ModTime: time.Unix(1_700_000_000, 0)}
	if !r.sizeTold && r.received < len(r.body) {
		o.Size = -1
	}
	if r.received == len(r.body) {
		o.SHA256, o.Complete, j.State = r.sums().whole, true, job.Ready
	}
	j.Object = o
	if r.failed != nil {
		j.State, j.Error = job.Failed, r.failed
	}
	return j
}

// bodySums are kept, so that a benchmark does not measure the fake.
type bodySums struct {
	object job.ID
	whole  string
	chunks [][32]byte
}

// sums returns the sums of the body; the lock is held.
func (r *fakeRelay) sums() *bodySums {
	if r.known == nil || r.known.object != r.object {
		whole := sha256.Sum256(r.body)
		r.known = &bodySums{object: r.object, whole: hex.EncodeToString(whole[:])}
		for at := 0; at < len(r.body); at += job.ChunkSize {
			r.known.chunks = append(r.known.chunks, sha256.Sum256(r.body[at:min(at+job.ChunkSize, len(r.body))]))
		}
	}
	return r.known
}

func (r *fakeRelay) submit(w http.ResponseWriter, q *http.Request) {
	var s wire.Submit
	if err := json.NewDecoder(q.Body).Decode(&s); err != nil {
		refuse(w, job.Errorf(job.CodeBadRequest, "%v", err))
		return
	}
	r.submits.Add(1)
	r.mu.Lock()
	hear := r.onSubmit
	r.mu.Unlock()
	if hear != nil {
		if err := hear(s); err != nil {
			refuse(w, err)
			return
		}
	}
	r.set(func() {
		for _, a := range s.Allow {
			r.granted[a] = true
		}
	})
	reply(w, wire.Message{Ticket: r.ticket()})
	r.stream(w, q, s.Chunk)
}

func (r *fakeRelay) events(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	known := job.ID(q.PathValue("job")) == r.id
	r.mu.Unlock()
	if !known {
		refuse(w, job.Errorf(job.CodeNotFound, "no such job"))
		return
	}
	from, err := strconv.Atoi(q.URL.Query().Get("chunk"))
	if err != nil {
		r.t.Error(err)
	}
	r.stream(w, q, from)
}

// stream tells status and sums as they change, until the job is final.
func (r *fakeRelay) stream(w http.ResponseWriter, q *http.Request, next int) {
	stop := context.AfterFunc(q.Context(), func() { r.set(func() {}) })
	defer stop()
	enc := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	r.mu.Lock()
	defer r.mu.Unlock()
	object := job.ID("")
	told := -1
	for q.Context().Err() == nil && !r.closed {
		if object != r.object {
			if object != "" {
				next = 0
			}
			object, told = r.object, -1
		}
		full := r.received / job.ChunkSize
		if r.received == len(r.body) {
			full = job.Chunks(int64(len(r.body)))
		}
		news := told != r.received || r.failed != nil
		var out []wire.Message
		if news {
			told = r.received
			out = append(out, wire.Message{Job: r.job()})
		}
		if next < full && !r.holdSums {
			s := &wire.Sums{Object: r.object, First: next}
			for ; next < full; next++ {
				s.SHA256 = append(s.SHA256, r.sums().chunks[next][:]...)
			}
			out = append(out, wire.Message{Sums: s})
		}
		final := r.failed != nil || r.received == len(r.body) && next >= full && !r.holdSums
		if len(out) == 0 {
			if final {
				return
			}
			r.cond.Wait()
			continue
		}
		r.mu.Unlock()
		for _, m := range out {
			_ = enc.Encode(m)
		}
		_ = flush.Flush()
		r.mu.Lock()
	}
}

func (r *fakeRelay) data(w http.ResponseWriter, q *http.Request) {
	r.dataReads.Add(1)
	r.mu.Lock()
	flip := r.flipSSH
	r.mu.Unlock()
	r.serveBody(w, q, flip)
}

func (r *fakeRelay) serveDoor(w http.ResponseWriter, q *http.Request) {
	host, _, _ := net.SplitHostPort(q.RemoteAddr)
	addr := netip.MustParseAddr(host)
	r.mu.Lock()
	token, id := r.token, r.id
	allowed := !r.needGrant || r.granted[addr]
	lie := r.lieRange > 0
	if lie {
		r.lieRange--
	}
	flip, onRead := r.flip, r.onRead
	r.mu.Unlock()
	n := r.doorReads.Add(1)
	if onRead != nil {
		onRead(r, n)
	}
	if q.Header.Get("Authorization") != "Bearer "+token || !strings.HasPrefix(q.URL.Path, "/d/"+string(id)+"/") {
		http.NotFound(w, q)
		return
	}
	if !allowed {
		w.Header().Set(wire.HeaderAddress, addr.String())
		http.NotFound(w, q)
		return
	}
	if lie {
		w.Header().Set("Content-Range", "bytes 1-10/100")
		w.Header().Set("Content-Length", "10")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, "0123456789")
		return
	}
	r.serveBody(w, q, flip)
}

// serveBody answers a single range of a body that may still grow.
func (r *fakeRelay) serveBody(w http.ResponseWriter, q *http.Request, flip func(int64, []byte)) {
	var a, b int64
	if _, err := fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-%d", &a, &b); err != nil {
		http.Error(w, "one range only", http.StatusBadRequest)
		return
	}
	stop := context.AfterFunc(q.Context(), func() { r.set(func() {}) })
	defer stop()
	r.mu.Lock()
	object := r.object
	etag := wire.ETag(object)
	size := int64(len(r.body))
	switch {
	case q.Header.Get("If-Match") != etag:
		r.mu.Unlock()
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	case a >= size:
		r.mu.Unlock()
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	b = min(b+1, size)
	total := strconv.FormatInt(size, 10)
	if !r.sizeTold && r.received < len(r.body) {
		total = "*"
		for int64(r.received) < b && q.Context().Err() == nil && !r.closed {
			r.cond.Wait()
		}
	}
	r.mu.Unlock()
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%s", a, b-1, total))
	w.Header().Set("Content-Length", strconv.FormatInt(b-a, 10))
	w.WriteHeader(http.StatusPartialContent)
	for a < b {
		r.mu.Lock()
		for int64(r.received) <= a && r.object == object && q.Context().Err() == nil && !r.closed {
			r.cond.Wait()
		}
		if r.object != object || q.Context().Err() != nil || r.closed {
			r.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		p := r.body[a:min(int64(r.received), b, a+256<<10)]
		r.mu.Unlock()
		if flip != nil {
			p = bytes.Clone(p)
			flip(a, p)
		}
		if _, err := w.Write(p); err != nil {
			return
		}
		if len(p) < 256<<10 {
			_ = http.NewResponseController(w).Flush()
		}
		a += int64(len(p))
	}
}
