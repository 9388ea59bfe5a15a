package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

// Token is what is kept of a job's token.
type Token struct {
	Job     job.ID
	Hash    [32]byte // SHA-256 of the token
	Session job.ID   // with which it ends; "": none
	Expires time.Time
}

func (t Token) stored() store.Token {
	return store.Token{Hash: t.Hash, Job: t.Job, Session: t.Session, Expires: t.Expires}
}

// Tokens returns the tokens that still count.
func (r *Relay) Tokens(ctx context.Context) ([]Token, error) {
	js, err := r.cfg.Store.AllJobs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	var all []Token
	for _, j := range js {
		ts, err := r.cfg.Store.TokensOf(ctx, j.ID)
		if err != nil {
			return nil, fmt.Errorf("list a job's tokens: %w", err)
		}
		for _, t := range ts {
			all = append(all, Token{Job: t.Job, Hash: t.Hash, Session: t.Session, Expires: t.Expires})
		}
	}
	return all, nil
}
