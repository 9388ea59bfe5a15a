package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/transport"
	"github.com/jumpget/jumpget/internal/wire"
)

// Bodies is what the public door needs of package relay.
type Bodies interface {
	Authorize(ctx context.Context, id job.ID, token string, addr netip.Addr) relay.Verdict
	Open(ctx context.Context, id job.ID) (*relay.Body, error)
	Tied(token string) (ended <-chan struct{})
	SessionByBearer(bearer string) (*relay.Session, bool)
}

// PublicConfig is all a Public needs. Bodies and TLS are required.
type PublicConfig struct {
	Bodies  Bodies
	TLS     *tls.Config
	Proxies access.Proxies // they may speak plaintext, and their X-Forwarded-For is believed
	Plain   bool           // everybody may speak plaintext: the public URL is http://
	API     *Local         // what a session's holder gets; nil: what everybody gets

	HeaderTimeout   time.Duration // for a request's header; 0: 30 s, since a client may connect before ssh is up
	Stall           time.Duration // how long a reader may take nothing of what is sent to it; 0: 60 s
	MaxConns        int           // connections at once; 0: 4096
	MaxConnsPerPeer int           // of one address that has shown no good token yet; 0: 64
	Log             *slog.Logger  // nil: silent
}

// Public is the relay's public door. Make one with NewPublic.
type Public struct {
	cfg   PublicConfig
	srv   *http.Server
	conns *limiter
	out   outlet             // its connections roll their write deadlines, see transport.Sniff
	cut   context.CancelFunc // when Shutdown has waited long enough
}

// NewPublic returns a door that waits for Serve.
func NewPublic(cfg PublicConfig) *Public {
	if cfg.HeaderTimeout <= 0 {
		cfg.HeaderTimeout = 30 * time.Second
	}
	if cfg.Stall <= 0 {
		cfg.Stall = stallTimeout
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 4096
	}
	if cfg.MaxConnsPerPeer <= 0 {
		cfg.MaxConnsPerPeer = 64
	}
	if cfg.Log == nil {
		cfg.Log = silent()
	}
	p := &Public{cfg: cfg, conns: newLimiter(cfg.MaxConns, cfg.MaxConnsPerPeer, cfg.Proxies.Trusts)}
	p.out.cut, p.cut = context.WithCancel(context.Background())
	p.srv = &http.Server{
		Handler:                      p,
		ReadHeaderTimeout:            cfg.HeaderTimeout,
		IdleTimeout:                  3 * time.Minute,
		MaxHeaderBytes:               16 << 10,
		DisableGeneralOptionsHandler: true, // OPTIONS * is refused like everything else
		ErrorLog:                     slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		Protocols:                    http1(),
	}
	return p
}

func http1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// Serve answers requests on l until Shutdown; then it returns nil.
func (p *Public) Serve(l net.Listener) error {
	plain := p.cfg.Proxies.Trusts
	if p.cfg.Plain {
		plain = func(netip.Addr) bool { return true }
	}
	err := p.srv.Serve(transport.Sniff(p.conns.wrap(l), transport.SniffOptions{
		TLS: p.cfg.TLS, AllowPlain: plain, Stall: p.cfg.Stall,
	}))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown lets requests under way finish until ctx ends, then cuts the rest.
func (p *Public) Shutdown(ctx context.Context) error {
	defer p.cut()
	err := p.srv.Shutdown(ctx)
	if err == nil {
		return nil
	}
	return errors.Join(err, p.srv.Close())
}

// ServeHTTP judges every request in the same way, whatever it asks for, and
// only then looks at what that was.
func (p *Public) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hurry(w, r)
	id, wellFormed := publicJob(r)
	addr := p.cfg.Proxies.ClientAddr(r.RemoteAddr, r.Header)
	verdict := p.cfg.Bodies.Authorize(r.Context(), id, token(r), addr)
	session, held := p.cfg.Bodies.SessionByBearer(bearer(r))
	switch {
	case held && p.opensStream(r):
		p.stream(w, r, session, addr)
	case !wellFormed || verdict == relay.Refused:
		refuse(w)
	case verdict == relay.UnknownAddress:
		// Whoever holds the token may ask over ssh to be allowed, and then
		// again on this connection.
		w.Header().Set(wire.HeaderAddress, addr.String())
		w.Header().Set("Connection", "keep-alive")
		refuse(w)
	default:
		p.conns.trust(r.RemoteAddr)
		p.serve(w, r, id)
	}
}

func (p *Public) serve(w http.ResponseWriter, r *http.Request, id job.ID) {
	b, err := p.cfg.Bodies.Open(r.Context(), id)
	if err != nil {
		// The client learns over ssh what is wrong with its job.
		p.cfg.Log.DebugContext(r.Context(), "a body can't be opened", "job", id, "err", err)
		refuse(w)
		return
	}
	defer b.Close()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if ended := p.cfg.Bodies.Tied(token(r)); ended != nil {
		go func() {
			select {
			case <-ended:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	p.out.serve(w, r.WithContext(ctx), b)
}

// publicJob returns the job that a request is for, if it has the form of the
// door's only route. The name is there for people and their tools; it is not
// compared.
func publicJob(r *http.Request) (job.ID, bool) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/d/")
	id, name, named := strings.Cut(rest, "/")
	ok = ok && named && name != "" && job.ID(id).Valid() && r.ContentLength == 0 &&
		(r.Method == http.MethodGet || r.Method == http.MethodHead)
	return job.ID(id), ok
}

// token returns the token that a request carries, as a header or in the link.
func token(r *http.Request) string {
	if t := bearer(r); t != "" {
		return t
	}
	return r.URL.Query().Get(wire.TokenParam)
}

const refusal = "404 page not found\n"

// refuse is the one answer to everybody who may not have something.
func refuse(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(refusal)))
	if h.Get("Connection") == "" {
		h.Set("Connection", "close")
	} else {
		h.Del("Connection")
	}
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte(refusal)) // who does not read it has left
}
