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
	now := r.now()
	ask := authAsk{hash: access.Hash(token), job: id, addr: addr.Unmap().WithZone("")}
	if r.auth.knows(ask, now) {
		return Granted
	}
	tok, tokErr := r.cfg.Store.TokenJob(ctx, ask.hash)
	j, jobErr := r.cfg.Store.Job(ctx, id)
	grants, grantErr := r.cfg.Store.Grants(ctx, j.Owner, id)

	match := access.Match(tok.Hash, token) // the zero hash matches no token
	if tokErr != nil || jobErr != nil || !match || tok.Job != id || j.State == job.Expired || !now.Before(tok.Expires) {
		return Refused
	}
	if grantErr != nil || !access.Allowed(grants, j.Owner, id, ask.addr, now) {
		return UnknownAddress
	}
	if r.auth.remember(ask, now) {
		r.log.InfoContext(ctx, "serve", "job", id, "url", job.LogURL(j.URL), "addr", ask.addr)
	}
	return Granted
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

func (c *authCache) knows(a authAsk, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.until[a]
	return ok && now.Before(until) && until.Sub(now) <= authTTL
}

// remember reports whether the request was not in the cache before.
func (c *authCache) remember(a authAsk, now time.Time) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until == nil || len(c.until) > 4096 {
		c.until = make(map[authAsk]time.Time)
	}
	_, known := c.until[a]
	c.until[a] = now.Add(authTTL)
	return !known
}

func (c *authCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = nil
}
