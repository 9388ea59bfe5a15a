package httpd

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// maxRequest is the largest body of an API request.
const maxRequest = 1 << 20

// guard refuses what a web page could make a browser send, strangers on the
// TCP port, and clients that speak another contract.
func (s *Local) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(wire.HeaderVersion, strconv.Itoa(wire.Version))
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		err := s.admits(r)
		if err == nil {
			err = s.takeBody(w, r)
		}
		if err == nil {
			err = inSession(w, r)
		}
		if err != nil {
			hurry(w, r)
			s.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// takeBody reads the whole body of a request, so that its time has a bound and
// that of the answer has none.
func (s *Local) takeBody(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Now().Add(s.cfg.Stall)); err != nil {
		return err
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return job.Errorf(job.CodeBadRequest, "the request is larger than %d bytes", large.Limit)
	case err != nil:
		return job.Errorf(job.CodeBadRequest, "the request did not arrive whole: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return rc.SetReadDeadline(time.Time{})
}

// linger is how long the end of a body is looked for that nobody wants.
const linger = time.Second

// hurry sees to it that a request which is refused is soon over. net/http reads
// what is left of its body, and would wait for that for ever.
func hurry(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(linger)) // a dead connection ends anyway
	}
}

func (s *Local) admits(r *http.Request) error {
	c := connOf(r.Context())
	v := r.Header.Get(wire.HeaderVersion)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case c == nil || c.id.User == "":
		return job.Errorf(job.CodeForbidden, "the relay does not know who is asking")
	case !localHost(r.Host):
		return job.Errorf(job.CodeForbidden, "the host %q is not this relay's", r.Host).
			WithHint("use localhost or an address")
	case r.Header.Get("Origin") != "" || foreign(r.Header.Get("Sec-Fetch-Site")):
		return job.Errorf(job.CodeForbidden, "web pages may not use the local API")
	case c.secret && s.cfg.Secret != "" && !sameSecret(bearer(r), s.cfg.Secret):
		return job.Errorf(job.CodeForbidden, "the local API asks for its secret").
			WithHint("send it as 'Authorization: Bearer SECRET', or use the Unix socket")
	case v != "" && v != strconv.Itoa(wire.Version):
		return job.Errorf(job.CodeVersion, "this relay speaks version %d of the contract, the client speaks %s", wire.Version, v).
			WithHint("bring both to the same version of jumpget")
	case r.Method != http.MethodGet && r.Method != http.MethodHead && kind != "application/json":
		return job.Errorf(job.CodeBadRequest, "the content type must be application/json")
	}
	return nil
}

// localHost reports whether a request names a host that no DNS rebinding can
// bring here: a page's own name would have to stand there.
func localHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	switch strings.ToLower(strings.TrimSuffix(host, ".")) {
	case "", "localhost":
		return true
	}
	_, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil
}

// foreign reads the header by which a browser says where a request comes from.
func foreign(site string) bool { return site != "" && site != "none" && site != "same-origin" }

// bearer returns the token of an Authorization header, or "".
func bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func sameSecret(got, want string) bool {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// fail answers with an error, as a wire.Error under the status of its code.
func (s *Local) fail(w http.ResponseWriter, r *http.Request, err error) {
	var je *job.Error
	if !errors.As(err, &je) && r.Context().Err() == nil {
		s.cfg.Log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	e := wire.FromError(err)
	s.answer(w, r, wire.HTTPStatus(e.Code), e)
}

// answer sends v as JSON.
func (s *Local) answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.cfg.Log.ErrorContext(r.Context(), "an answer can't be encoded", "path", r.URL.Path, "err", err)
		status, b = http.StatusInternalServerError, []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)+1))
	s.out.arm(http.NewResponseController(w))
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // who does not read it has left
}
