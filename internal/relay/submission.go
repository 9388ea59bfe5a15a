package relay

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

// Submission is who submits, and how.
type Submission struct {
	Owner string
	Allow []netip.Addr // addresses to grant

	// ID is of the owner's choice; "": none. The same one again leads to the same
	// job, whatever else is asked for.
	ID job.ID

	// Session in which it is submitted; nil: over ssh. The token ends with it. With
	// an ID it decides the token, so that the client need not wait for it.
	Session *Session
}

// token returns the token for a job of this submission, and its Token but for
// the Job. What is given out in a session ends with it.
func (s *Submission) token(expires time.Time) (string, Token) {
	if s.Session == nil {
		token := access.NewToken()
		return token, Token{Hash: access.Hash(token), Expires: expires}
	}
	token := access.NewToken()
	if s.ID != "" {
		token = s.Session.hash.Ticket(string(s.ID))
	}
	if s.Session.until.Before(expires) {
		expires = s.Session.until
	}
	return token, Token{Hash: access.Hash(token), Session: s.Session.id, Expires: expires}
}

func (s *Submission) check() error {
	switch {
	case s.ID != "" && !s.ID.Valid():
		return job.Errorf(job.CodeBadRequest, "a submission's id has the form of a job's").WithHint("26 characters of a-z and 2-7")
	case s.Session != nil && !s.Session.Counts():
		return goneSession()
	}
	for _, addr := range s.Allow {
		if _, err := grantable(addr); err != nil {
			return err
		}
	}
	return nil
}

// enter stores a new job and puts it on a flight, in one step as seen by flights.
// It gives store.ErrExists if the submission was made before.
func (r *Relay) enter(ctx context.Context, j *job.Job, s *Submission, req job.Request) (job.Ticket, error) {
	token, t := s.token(j.Expires)
	t.Job = j.ID
	stored, first := r.announce(t)
	if !first {
		r.Await(ctx, t.Hash)
		return job.Ticket{}, store.ErrExists
	}
	defer stored()
	n := store.New{Job: *j, Request: req, Submission: s.ID, Remember: r.now().Add(MaxSession), Tokens: []store.Token{t.stored()}}
	for _, addr := range s.Allow {
		n.Grants = append(n.Grants, job.Grant{Addr: canonical(addr), Expires: j.Expires})
	}
	r.db.Lock()
	defer r.db.Unlock()
	if r.ctx.Err() != nil {
		return job.Ticket{}, errShutdown
	}
	f := r.seat(j)
	n.Job = *j
	switch err := r.cfg.Store.AddJob(ctx, n); {
	case errors.Is(err, store.ErrExists):
		return job.Ticket{}, err
	case err != nil:
		return job.Ticket{}, r.failed(s, "store a job", err)
	}
	r.enlist(f, *j, req)
	r.log.InfoContext(ctx, "submit", "job", j.ID, "owner", j.Owner, "url", job.LogURL(j.URL), "expires", j.Expires)
	for i, f := range req.Files {
		r.log.InfoContext(ctx, "submit", "job", j.ID, "owner", j.Owner, "file", i, "url", job.LogURL(f.URL))
	}
	for _, g := range n.Grants {
		r.logGrant(ctx, j.ID, j.Owner, g)
	}
	if t.Session == "" {
		r.cfg.Issued(t)
	}
	return r.ticketOf(*j, token), nil
}

// ticket makes a token for a job: a fresh one, or the one that its submission
// decides.
func (r *Relay) ticket(ctx context.Context, j job.Job, s *Submission) (job.Ticket, error) {
	token, t := s.token(j.Expires)
	t.Job = j.ID
	if err := r.cfg.Store.AddToken(ctx, t.stored()); err != nil {
		return job.Ticket{}, r.failed(s, "store a token", err)
	}
	r.cfg.Issued(t)
	return r.ticketOf(j, token), nil
}

func (r *Relay) ticketOf(j job.Job, token string) job.Ticket {
	return job.Ticket{Job: j.ID, Token: token, Expires: j.Expires, Endpoints: r.cfg.Endpoints()}
}

// again gives a ticket for the job that an owner's submission has made before.
// made is false if there was none.
func (r *Relay) again(ctx context.Context, s *Submission) (t job.Ticket, made bool, err error) {
	if s.ID == "" {
		return t, false, nil
	}
	id, err := r.cfg.Store.Submission(ctx, s.Owner, s.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return t, false, nil
	case err != nil:
		return t, false, r.internal("look up a submission", err)
	}
	j, err := r.owned(ctx, s.Owner, id)
	switch {
	case errors.Is(err, &job.Error{Code: job.CodeNotFound}):
		return t, true, errRemoved()
	case err != nil:
		return t, true, err
	case j.State == job.Expired:
		return t, true, errExpired()
	}
	for _, addr := range s.Allow {
		if err := r.Allow(ctx, job.Grant{Owner: s.Owner, Job: j.ID, Addr: addr}); err != nil {
			return t, true, err
		}
	}
	t, err = r.ticket(ctx, j, s)
	return t, true, err
}

// announce makes a derived token known while its job is being stored, so that
// those who ask with it wait for that instead of being refused: a client that
// knows its token beforehand asks in the moment in which it submits. It is false
// if the same is under way on another stream.
func (r *Relay) announce(t Token) (stored func(), first bool) {
	if t.Session == "" {
		return func() {}, true // nobody can know it yet
	}
	done := make(chan struct{})
	r.sess.mu.Lock()
	if r.sess.coming[t.Hash] != nil {
		r.sess.mu.Unlock()
		return nil, false
	}
	r.sess.coming[t.Hash] = done
	r.sess.mu.Unlock()
	r.cfg.Issued(t)
	return func() {
		r.sess.mu.Lock()
		delete(r.sess.coming, t.Hash)
		r.sess.mu.Unlock()
		close(done)
	}, true
}

// Await waits while the token with this hash is being stored, which it may be
// after Issued was called.
func (r *Relay) Await(ctx context.Context, hash [32]byte) {
	r.sess.mu.Lock()
	done := r.sess.coming[hash]
	r.sess.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	case <-r.ctx.Done():
	}
}

// failed returns what to tell of a store that did not take something of a
// submission.
func (r *Relay) failed(s *Submission, what string, err error) error {
	if s.Session != nil && !s.Session.Counts() {
		return goneSession() // with which its tokens are gone
	}
	return r.internal(what, err)
}

// bind ties a token to the session in which it was derived. It is false if that
// session is over.
func (r *Relay) bind(t store.Token) bool {
	if t.Session == "" {
		return true
	}
	now := r.now()
	r.sess.mu.Lock()
	defer r.sess.mu.Unlock()
	s := r.sess.byID[t.Session]
	if s == nil || !s.counts(now) {
		return false
	}
	r.sess.tokens[t.Hash] = derived{session: s, expires: t.Expires}
	return true
}

// Tied returns what is closed when the session ends in which a token was
// derived; nil if that does not happen to it. The token was judged before.
func (r *Relay) Tied(token string) <-chan struct{} {
	r.sess.mu.Lock()
	defer r.sess.mu.Unlock()
	t, ok := r.sess.tokens[access.Hash(token)]
	if !ok {
		return nil
	}
	return t.session.ended
}
