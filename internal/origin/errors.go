package origin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

// Reasons to leave an answer that the network has not given.
var (
	errStall = errors.New("the origin has sent nothing for too long")
	errSlow  = errors.New("the origin sends too slowly")
	errShort = errors.New("the origin closed the connection before the end of the file")
)

// Reasons to give a version up. The run then asks for the whole file again.
var (
	errChanged = errors.New("the file changed while it was fetched")
	errLying   = errors.New("the origin answered with other bytes than those asked for")
	errNoJoin  = errors.New("the origin does not tell whether the file is still the same")
)

// errGone ends a worker whose fetch is over for another reason.
var errGone = errors.New("the fetch is over")

// failure is an error of the origin, with what a retry has to know.
type failure struct {
	told      *job.Error
	transient bool
	after     time.Duration // what Retry-After asks for; 0: nothing
}

func (f *failure) Error() string { return f.told.Error() }
func (f *failure) Unwrap() error { return f.told }

// sinkError keeps an error of the sink apart from those of the network.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// final makes the error that leaves the package.
func final(ctx context.Context, err error) error {
	var s *sinkError
	switch {
	case errors.As(err, &s):
		return s.err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	var f *failure
	if errors.As(err, &f) {
		return f.told
	}
	return err
}

// statusFailure tells of an answer of 300 and above, or of a success that
// brings no file.
func statusFailure(resp *http.Response, now time.Time) *failure {
	code := resp.StatusCode
	e := job.Errorf(job.CodeOriginStatus, "the origin answered %d %s", code, http.StatusText(code))
	switch {
	case code == 401 || code == 403 || code == 407:
		e.Code = job.CodeOriginLogin
		e = e.WithHint("give what it asks for, a login (--http-user, --netrc) or a --header, or check the URL")
	case code == 404 || code == 410:
		e = e.WithHint("check the URL")
	case code == 429 || code >= 500:
		e = e.WithHint("the trouble is at the origin; run the same command again later")
	case code < 300:
		e = e.WithHint("it sends no file for this URL; check the URL")
	default:
		e = e.WithHint("check the URL and the headers that are sent")
	}
	e.Status = code
	return &failure{told: e, transient: transientStatus(code), after: retryAfter(resp.Header.Get("Retry-After"), now)}
}

func transientStatus(code int) bool {
	switch code {
	case 408, 425, 429, 500, 502, 503, 504:
		return true
	}
	return false
}

// retryAfter reads seconds or an HTTP date; 0 if there is neither.
func retryAfter(s string, now time.Time) time.Duration {
	if n, ok := digits(s); ok {
		return time.Duration(min(n, int64(24*time.Hour/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

func protoFailure(format string, args ...any) *failure {
	return &failure{told: job.Errorf(job.CodeOriginProto, format, args...).
		WithHint("the origin misbehaves; try another mirror, or run the same command again later")}
}

func (r *run) tooLarge() *failure {
	return &failure{told: job.Errorf(job.CodeTooLarge, "the file is larger than the %d bytes that the relay takes", r.f.cfg.MaxSize).
		WithHint("the relay's owner can raise the limit: serve --max-file")}
}

// failureOf turns any error of a request or a body into a failure.
func (r *run) failureOf(err error) *failure {
	var f *failure
	var e *job.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &e): // the guard and the redirect rules speak for themselves
		return &failure{told: e}
	case errors.Is(err, http.ErrSchemeMismatch), isA[tls.RecordHeaderError](err):
		return r.describe(job.CodeOriginTLS, err, "no TLS is spoken there; is it an http:// URL?")
	case isTLS(err):
		return r.describe(job.CodeOriginTLS, err, "its certificate is not trusted by the relay; check the URL and the relay's clock and CA certificates")
	}
	f = r.describe(job.CodeOriginNet, err, "run the same command again later; what is there is kept")
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return &failure{told: f.told.WithHint("the relay finds no such host: check the URL")}
	}
	f.transient = true
	return f
}

func (r *run) describe(code job.Code, err error, hint string) *failure {
	host := r.target.url.Host
	e := job.Errorf(code, "fetching from %s failed: %s", host, reason(err)).WithHint("%s", hint)
	e.Err = err
	return &failure{told: e}
}

// reason says in words what went wrong. The URL stays out of it, since its
// query may hold a signature.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var netErr net.Error
	var op *net.OpError
	switch {
	case errors.As(err, &netErr) && netErr.Timeout():
		return "no answer in time"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errShort.Error()
	case errors.As(err, &op) && op.Op != "dial" && op.Op != "proxyconnect":
		return op.Err.Error() // read and write errors name two addresses and a port that help nobody
	}
	return fmt.Sprint(err)
}

func isTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &verify) || errors.As(err, &alert) ||
		errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid)
}

func isA[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
