package relay

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/job"
)

// Verdict is what Authorize says of a public request.
type Verdict int

// The verdicts. The zero value refuses.
const (
	Refused        Verdict = iota // wrong token, no such job, expired
	UnknownAddress                // good token, address without a grant
	Granted                       // both are good
)

// Authorize judges a public request for a job. It does the same look-ups
// whatever it finds, so its time tells a stranger nothing.
func (r *Relay) Authorize(ctx context.Context, id job.ID, token string, addr netip.Addr) Verdict {
	return r.judge(ctx, authAsk{hash: access.Hash(token), job: id, addr: addr}, func(hash [32]byte) bool {
		return access.Match(hash, token) // the zero hash matches no token
	})
}

// Admit is Authorize for somebody who has proved to know the token with this
// hash, in another way than by showing it.
func (r *Relay) Admit(ctx context.Context, id job.ID, hash [32]byte, addr netip.Addr) Verdict {
	return r.judge(ctx, authAsk{hash: hash, job: id, addr: addr}, func(stored [32]byte) bool { return stored == hash })
}

func (r *Relay) judge(ctx context.Context, ask authAsk, matches func(stored [32]byte) bool) Verdict {
	r.Await(ctx, ask.hash)
	now, id := r.now(), ask.job
	ask.addr = canonical(ask.addr)
	if r.auth.knows(ask, now) {
		return Granted
	}
	tok, tokErr := r.cfg.Store.TokenJob(ctx, ask.hash)
	j, jobErr := r.cfg.Store.Job(ctx, id)
	grants, grantErr := r.cfg.Store.Grants(ctx, j.Owner, id)

	j = r.latest(j)
	match, bound := matches(tok.Hash), r.bind(tok)
	if !bound || tokErr != nil || jobErr != nil || !match || tok.Job != id || j.State == job.Expired || !now.Before(tok.Expires) {
		return Refused
	}
	if grantErr != nil || !access.Allowed(grants, j.Owner, id, ask.addr, now) {
		return UnknownAddress
	}
	if r.auth.remember(ask, believe(now, tok.Expires, grants)) {
		r.log.InfoContext(ctx, "serve", "job", id, "url", job.LogURL(j.URL), "addr", ask.addr)
	}
	if !r.bind(tok) { // its session has ended meanwhile
		r.auth.clear()
		return Refused
	}
	return Granted
}

// believe returns until when a verdict may be given without a look-up: not
// beyond the token, nor beyond any grant that it may rest on.
func believe(now, token time.Time, grants []job.Grant) time.Time {
	until := now.Add(authTTL)
	if token.Before(until) {
		until = token
	}
	for _, g := range grants {
		if g.Expires.Before(until) {
			until = g.Expires
		}
	}
	return until
}

// authTTL is how long a grant is believed without a look-up. A busy client asks
// hundreds of times a second; a removal clears the cache at once.
const authTTL = 5 * time.Second

type authAsk struct {
	hash [32]byte
	job  job.ID
	addr netip.Addr
}

// authCache remembers requests that were granted. Refusals are not
// remembered: strangers must not fill it.
type authCache struct {
	mu    sync.Mutex
	until map[authAsk]time.Time
}

// maxAuth bounds the cache; beyond, it starts again empty.
const maxAuth = 4096

func (c *authCache) knows(a authAsk, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.until[a]
	// A clock that was set back must not make the entry last.
	return ok && now.Before(until) && until.Sub(now) <= authTTL
}

// remember reports whether the request was not in the cache before.
func (c *authCache) remember(a authAsk, until time.Time) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until == nil || len(c.until) >= maxAuth {
		c.until = make(map[authAsk]time.Time)
	}
	_, known := c.until[a]
	c.until[a] = until
	return !known
}

func (c *authCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = nil
}
