// Package store keeps what a relay must remember: jobs, objects, the hashes of
// tokens, grants and settings. It is the only package that knows a database.
//
// [Store] is the interface; [SQLite] implements it in one file of the relay's
// data directory, and package storetest holds the tests that every
// implementation passes. Bodies are not here, see package blob; the relay
// reconciles both at its start.
//
// Three things are secret. Tokens are kept as hashes only. A job's request may
// carry headers and a password for the origin: it is kept while the job is
// queued or fetching, so that a relay that died can go on, and is wiped in the
// same transaction that makes the job's state final. A session's hash is as good
// as its secret while the session lives, and is wiped with it.
package store

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

// Errors of a Store. Use errors.Is; they come wrapped.
var (
	ErrNotFound = errors.New("store: not found")
	ErrExists   = errors.New("store: exists already")
	ErrCorrupt  = errors.New("store: the database is damaged")
)

// Token is what is kept of a token: never the token itself.
type Token struct {
	Hash    [32]byte // SHA-256 of the token
	Job     job.ID
	Session job.ID // in which it was derived, and with which it ends; "": none
	Expires time.Time
}

// New is a job with all that is stored in the same moment.
type New struct {
	Job        job.Job
	Request    job.Request
	Submission job.ID      // of its owner's choice; "": none
	Remember   time.Time   // until when the submission is
	Tokens     []Token     // of this job, whatever they say
	Grants     []job.Grant // of this job and its owner, whatever they say
}

// Session is what is kept of a session: never its secret.
type Session struct {
	job.Session
	Hash  [32]byte     // SHA-256 of the secret
	Known []netip.Addr // where its holder has proved to receive, the latest first
}

// Store keeps a relay's records. Every method is one transaction, is durable
// when it returns, and may be called from many goroutines. What is asked for by
// name and not there gives ErrNotFound; an empty list is no error. Times come
// back in UTC and to the microsecond.
type Store interface {
	// AddJob stores a new job. It fails with ErrExists if there is a job of
	// that id, or the owner has made a submission of that id before.
	AddJob(ctx context.Context, n New) error
	// PutJob stores a job, new or changed. A final state wipes its request.
	PutJob(ctx context.Context, j job.Job) error
	// Job returns a job by its id.
	Job(ctx context.Context, id job.ID) (job.Job, error)
	// JobsByOwner returns the jobs of a user, oldest first.
	JobsByOwner(ctx context.Context, owner string) ([]job.Job, error)
	// JobsByObject returns the jobs that point at an object, oldest first.
	JobsByObject(ctx context.Context, object job.ID) ([]job.Job, error)
	// AllJobs returns every job, oldest first.
	AllJobs(ctx context.Context) ([]job.Job, error)
	// DeleteJob deletes a job with its request, tokens and grants.
	DeleteJob(ctx context.Context, id job.ID) error
	// Request returns the request of a job that is not final yet.
	Request(ctx context.Context, id job.ID) (job.Request, error)
	// PutRequest stores the request of a job that is not final: AddJob
	// without the job, for one that is fetched again.
	PutRequest(ctx context.Context, id job.ID, r job.Request) error

	// PutObject stores an object, new or changed. Its time of last use never
	// goes back, so it may race with Touch.
	PutObject(ctx context.Context, o job.Object) error
	// Object returns an object by its id.
	Object(ctx context.Context, id job.ID) (job.Object, error)
	// Objects returns every object, the one used longest ago first: the order
	// in which they are evicted.
	Objects(ctx context.Context) ([]job.Object, error)
	// DeleteObject deletes an object. Jobs that point at it are left alone.
	DeleteObject(ctx context.Context, id job.ID) error
	// Touch sets an object's time of last use to now.
	Touch(ctx context.Context, id job.ID) error
	// FindReusable returns the newest object with the key and the jobs that
	// point at it, oldest first.
	FindReusable(ctx context.Context, key string) (job.Object, []job.Job, error)

	// Submission returns the job that an owner's submission has made, whether
	// or not there still is such a job.
	Submission(ctx context.Context, owner string, id job.ID) (job.ID, error)

	// AddToken stores the hash of a token of a job. One that is there already
	// lasts as long as the longer of both.
	AddToken(ctx context.Context, t Token) error
	// TokenJob returns the token with the hash, if it has not expired.
	TokenJob(ctx context.Context, hash [32]byte) (Token, error)
	// TokensOf returns the tokens of a job that have not expired.
	TokensOf(ctx context.Context, id job.ID) ([]Token, error)
	// RevokeTokens deletes all tokens of a job.
	RevokeTokens(ctx context.Context, id job.ID) error

	// PutGrant stores a grant. One for the same owner, job and address is
	// replaced if the new one lasts longer.
	PutGrant(ctx context.Context, g job.Grant) error
	// Grants returns the grants that have not expired and are for the owner's
	// job, those for all of the owner's jobs included. An empty id returns all
	// of the owner's grants.
	Grants(ctx context.Context, owner string, id job.ID) ([]job.Grant, error)
	// PurgeExpired deletes tokens, grants and submissions that have expired.
	PurgeExpired(ctx context.Context) error

	// AddSession stores a new session.
	AddSession(ctx context.Context, s Session) error
	// Sessions returns every session, the oldest first, expired ones included.
	Sessions(ctx context.Context) ([]Session, error)
	// UseSession stores a session's Used, Expires and Addr; a valid Addr
	// becomes one of its known ones.
	UseSession(ctx context.Context, s job.Session) error
	// DeleteSession deletes a session and the tokens that were derived in it.
	DeleteSession(ctx context.Context, id job.ID) error

	// Setting returns a value that the relay keeps for itself.
	Setting(ctx context.Context, key string) (string, error)
	// PutSetting stores such a value.
	PutSetting(ctx context.Context, key, value string) error

	// Close closes the store.
	Close() error
}
