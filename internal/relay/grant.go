package relay

import (
	"context"
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

// Allow stores a grant. A grant without an end lasts as long as its job is
// kept, one for all jobs as long as a new job would be.
func (r *Relay) Allow(ctx context.Context, g job.Grant) error {
	addr, err := grantable(g.Addr)
	if err != nil {
		return err
	}
	g.Addr = addr
	if g.Job != "" {
		j, err := r.owned(ctx, g.Owner, g.Job)
		if err != nil {
			return err
		}
		if j.State == job.Expired {
			return errExpired()
		}
		if g.Expires.IsZero() {
			g.Expires = j.Expires
		}
	}
	if g.Expires.IsZero() {
		g.Expires = r.now().Add(r.cfg.Retain)
	}
	if err := r.cfg.Store.PutGrant(ctx, g); err != nil {
		return r.internal("store a grant", err)
	}
	r.logGrant(ctx, g.Job, g.Owner, g)
	return nil
}

func (r *Relay) logGrant(ctx context.Context, id job.ID, owner string, g job.Grant) {
	r.log.InfoContext(ctx, "allow", "job", id, "owner", owner, "addr", g.Addr, "expires", g.Expires)
}

// grantable returns an address in the form in which addresses are compared.
func grantable(addr netip.Addr) (netip.Addr, error) {
	plain := canonical(addr)
	if !plain.IsValid() || plain.IsUnspecified() || plain.IsMulticast() {
		return plain, job.Errorf(job.CodeBadRequest, "this is not an address that can be allowed: %q", addr).
			WithHint("give the address that your requests come from")
	}
	return plain, nil
}

// prolong makes the grants that were to last as long as a job last as long as
// it does now.
func (r *Relay) prolong(ctx context.Context, j job.Job, before time.Time) error {
	if !j.Expires.After(before) {
		return nil
	}
	grants, err := r.cfg.Store.Grants(ctx, j.Owner, j.ID)
	if err != nil {
		return r.internal("list grants", err)
	}
	for _, g := range grants {
		if g.Job != j.ID || g.Expires.Before(before) {
			continue
		}
		g.Expires = j.Expires
		if err := r.cfg.Store.PutGrant(ctx, g); err != nil {
			return r.internal("store a grant", err)
		}
	}
	return nil
}
