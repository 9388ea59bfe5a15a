package origintest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// connKey finds the connection of a request in its context.
type connKey struct{}

// errCut ends an answer before its planned end.
var errCut = errors.New("origintest: the answer is cut off here")

func (s *Server) serve(w http.ResponseWriter, req *http.Request) {
	reply, entry, version := s.begin(req)
	defer s.end()
	var err error
	if reply.HTTP10 {
		err = s.answerHTTP10(w, reply, entry, version)
	} else {
		err = s.answer(w, reply, entry, version)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // closes the connection without more ado
	}
}

// begin counts and logs the request and plans its answer. version is nil for
// an unknown path.
func (s *Server) begin(req *http.Request) (*Reply, *Request, *served) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parallel++
	s.most = max(s.most, s.parallel)
	entry := &Request{Method: req.Method, Path: req.URL.Path, Host: req.Host, Header: req.Header.Clone()}
	s.log = append(s.log, entry)
	f := s.files[req.URL.Path]
	var reply *Reply
	if f == nil {
		reply = (&served{File: File{Faults: []Fault{Status(http.StatusNotFound)}}}).plan(req, 1)
	} else {
		f.n++
		if f.Then != nil && f.ThenAt > 0 && f.n >= f.ThenAt {
			f = s.replace(f)
		}
		reply = f.plan(req, f.n)
	}
	entry.Status = reply.Status
	entry.Sent = span.Span{Start: reply.Span.Start, End: reply.Span.Start}
	return reply, entry, f
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parallel--
}

// replace puts f.Then in the place of f. The caller holds the lock.
func (s *Server) replace(f *served) *served {
	next := &served{File: *f.Then, n: f.n}
	next.Path = f.Path
	if s.files[f.Path] == f {
		s.files[f.Path] = next
	}
	return next
}

func (s *Server) answer(w http.ResponseWriter, r *Reply, entry *Request, f *served) error {
	for name, values := range r.Header {
		w.Header()[name] = values
	}
	bodiless := r.Status == http.StatusNotModified || r.Status == http.StatusNoContent
	if !r.NoLength && !bodiless && w.Header().Get("Content-Length") == "" {
		w.Header().Set("Content-Length", strconv.FormatInt(r.Span.Len(), 10))
	}
	w.WriteHeader(r.Status)
	if r.Request.Method == http.MethodHead || bodiless {
		return nil
	}
	flush := http.NewResponseController(w).Flush
	if err := flush(); err != nil {
		return err
	}
	return s.send(w, flush, r, entry, f)
}

// answerHTTP10 writes the answer by hand, since net/http would never leave the
// end of a body open to doubt.
func (s *Server) answerHTTP10(w http.ResponseWriter, r *Reply, entry *Request, f *served) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "HTTP/1.0 %d %s\r\n", r.Status, http.StatusText(r.Status)); err != nil {
		return errors.Join(err, conn.Close())
	}
	r.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if err := r.Header.Write(conn); err != nil {
		return errors.Join(err, conn.Close())
	}
	_, err = io.WriteString(conn, "\r\n")
	if err == nil && r.Request.Method != http.MethodHead {
		err = s.send(conn, func() error { return nil }, r, entry, f)
	}
	return errors.Join(err, conn.Close())
}

// send writes the body up to its end or to the first of the planned faults.
func (s *Server) send(w io.Writer, flush func() error, r *Reply, entry *Request, f *served) error {
	limit, cut := s.cutAt(r, f)
	buf := make([]byte, r.pace())
	start := time.Now()
	for done := int64(0); done < limit; {
		p := buf[:min(int64(len(buf)), limit-done)]
		if _, err := r.Content.ReadAt(p, r.Span.Start+done); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		n, err := w.Write(p)
		done += int64(n)
		s.note(entry, int64(n))
		if err != nil {
			return err
		}
		if due, limited := r.due(start, done, int64(n)); limited {
			if err := flush(); err != nil {
				return err
			}
			if !s.wait(r, time.Until(due)) {
				return errCut
			}
		}
	}
	if cut == nil {
		return nil
	}
	if err := flush(); err != nil {
		return err
	}
	return cut()
}

// cutAt returns how many body bytes are to be sent and what happens then; nil
// for an ordinary end.
func (s *Server) cutAt(r *Reply, f *served) (limit int64, cut func() error) {
	limit = r.Span.Len()
	consider := func(at int64, then func() error) {
		if at >= 0 && at < limit {
			limit, cut = at, then
		}
	}
	consider(r.CloseAfter, func() error { return errCut })
	consider(r.ResetAfter, func() error { return resetConn(r.Request) })
	consider(r.StallAfter, func() error { s.wait(r, time.Hour); return errCut })
	if f != nil && f.Then != nil && f.ThenAtByte > r.Span.Start {
		consider(f.ThenAtByte-r.Span.Start, func() error {
			s.mu.Lock()
			s.replace(f)
			s.mu.Unlock()
			return resetConn(r.Request)
		})
	}
	return limit, cut
}

// pace returns how many bytes to write at a time: 50 writes a second at the
// limited rate, or 64 KiB where there is no limit.
func (r *Reply) pace() int64 {
	rate := r.Rate
	if r.link != nil {
		rate = r.link.rate
	}
	if rate <= 0 {
		return 64 << 10
	}
	return max(1, min(64<<10, rate/50))
}

// due returns when the next bytes may go, after done bytes of this answer of
// which n have just been sent.
func (r *Reply) due(start time.Time, done, n int64) (time.Time, bool) {
	switch {
	case r.link != nil:
		return r.link.send(n), true
	case r.Rate > 0:
		return start.Add(seconds(done, r.Rate)), true
	}
	return time.Time{}, false
}

func seconds(n, rate int64) time.Duration {
	return time.Duration(float64(n) / float64(rate) * float64(time.Second))
}

// link is a line of limited rate that several answers share.
type link struct {
	rate int64
	mu   sync.Mutex
	free time.Time // when the line is free again
}

// send puts n bytes on the line and returns when they have gone.
func (l *link) send(n int64) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(seconds(n, l.rate))
	return l.free
}

// wait sleeps for d and reports false if client or server went away first.
func (s *Server) wait(r *Reply, d time.Duration) bool {
	t := time.NewTimer(max(0, d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Request.Context().Done():
	case <-s.done:
	}
	return false
}

func (s *Server) note(entry *Request, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry.Sent.End += n
	s.sent += n
}

// resetConn makes the close that follows a reset.
func resetConn(req *http.Request) error {
	c, _ := req.Context().Value(connKey{}).(net.Conn)
	if inner, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = inner.NetConn()
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		if err := tcp.SetLinger(0); err != nil {
			return err
		}
	}
	return errCut
}
