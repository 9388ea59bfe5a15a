package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/jumpget/jumpget/internal/job"
)

const selectJobs = "SELECT id, owner, url, key, object, state, error, created, expires FROM jobs "

// failure is how a job's error is stored; its cause is for logs only.
type failure struct {
	Code    job.Code `json:"code"`
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"`
	Status  int      `json:"status,omitempty"`
}

func encodeError(e *job.Error) (sql.NullString, error) {
	if e == nil {
		return sql.NullString{}, nil
	}
	raw, err := json.Marshal(failure{e.Code, e.Message, e.Hint, e.Status})
	return sql.NullString{String: string(raw), Valid: true}, err
}

func decodeError(s sql.NullString) (*job.Error, error) {
	if !s.Valid {
		return nil, nil
	}
	var f failure
	if err := json.Unmarshal([]byte(s.String), &f); err != nil {
		return nil, fmt.Errorf("%w: the error of a job: %w", ErrCorrupt, err)
	}
	return &job.Error{Code: f.Code, Message: f.Message, Hint: f.Hint, Status: f.Status}, nil
}

func scanJob(rows *sql.Rows) (j job.Job, err error) {
	var created, expires int64
	var failed sql.NullString
	if err := rows.Scan(&j.ID, &j.Owner, &j.URL, &j.Key, &j.Object, &j.State, &failed, &created, &expires); err != nil {
		return j, err
	}
	j.Created, j.Expires = fromMicro(created), fromMicro(expires)
	j.Error, err = decodeError(failed)
	return j, err
}

func jobArgs(j job.Job) ([]any, error) {
	failed, err := encodeError(j.Error)
	return []any{j.ID, j.Owner, j.URL, j.Key, j.Object, j.State, failed, j.Created.UnixMicro(), j.Expires.UnixMicro()}, err
}

// AddJob implements Store.
func (s *SQLite) AddJob(ctx context.Context, n New) error {
	j := n.Job
	args, err := jobArgs(j)
	if err != nil {
		return err
	}
	return s.change(ctx, "store a job", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO jobs (id, owner, url, key, object, state, error, created, expires)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, args...); err != nil {
			return err
		}
		if err := s.addAccess(ctx, tx, n); err != nil || j.State.Final() {
			return err
		}
		return putRequest(ctx, tx, j.ID, n.Request)
	})
}

// addAccess stores what lets a new job's client read it.
func (s *SQLite) addAccess(ctx context.Context, tx *sql.Tx, n New) error {
	if n.Submission != "" {
		if _, err := tx.ExecContext(ctx, "DELETE FROM submissions WHERE owner = ? AND id = ? AND expires <= ?",
			n.Job.Owner, n.Submission, s.now()); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO submissions (owner, id, job, expires) VALUES (?, ?, ?, ?)",
			n.Job.Owner, n.Submission, n.Job.ID, n.Remember.UnixMicro()); err != nil {
			return err
		}
	}
	for _, t := range n.Tokens {
		t.Job = n.Job.ID
		if err := addToken(ctx, tx, t); err != nil {
			return err
		}
	}
	for _, g := range n.Grants {
		g.Job, g.Owner = n.Job.ID, n.Job.Owner
		if err := putGrant(ctx, tx, g); err != nil {
			return err
		}
	}
	return nil
}

// PutJob implements Store.
func (s *SQLite) PutJob(ctx context.Context, j job.Job) error {
	args, err := jobArgs(j)
	if err != nil {
		return err
	}
	err = s.change(ctx, "store a job", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO jobs (id, owner, url, key, object, state, error, created, expires)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, url = excluded.url, key = excluded.key,
				object = excluded.object, state = excluded.state, error = excluded.error,
				created = excluded.created, expires = excluded.expires`, args...); err != nil {
			return err
		}
		if !j.State.Final() {
			return nil
		}
		return s.dropRequest(ctx, tx, j.ID)
	})
	return s.afterwards(ctx, err)
}

// dropRequest deletes a request and remembers that the log still holds it.
func (s *SQLite) dropRequest(ctx context.Context, tx *sql.Tx, id job.ID) error {
	res, err := tx.ExecContext(ctx, "DELETE FROM requests WHERE job = ?", id)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if n > 0 {
		s.unwiped.Store(true)
	}
	return err
}

// afterwards wipes what a successful change has left in the log. The change
// is done by then, so the caller's context no longer matters.
func (s *SQLite) afterwards(ctx context.Context, err error) error {
	if err != nil || !s.unwiped.Load() {
		return err
	}
	return s.explain("wipe a request", s.wipe(context.WithoutCancel(ctx)))
}

// Job implements Store.
func (s *SQLite) Job(ctx context.Context, id job.ID) (job.Job, error) {
	j, err := first(collect(ctx, s.reader, scanJob, selectJobs+"WHERE id = ?", id))
	return j, s.explain("look up a job", err)
}

func (s *SQLite) jobs(ctx context.Context, rest string, args ...any) ([]job.Job, error) {
	all, err := collect(ctx, s.reader, scanJob, selectJobs+rest+" ORDER BY created, id", args...)
	return all, s.explain("list jobs", err)
}

// JobsByOwner implements Store.
func (s *SQLite) JobsByOwner(ctx context.Context, owner string) ([]job.Job, error) {
	return s.jobs(ctx, "WHERE owner = ?", owner)
}

// JobsByObject implements Store.
func (s *SQLite) JobsByObject(ctx context.Context, object job.ID) ([]job.Job, error) {
	return s.jobs(ctx, "WHERE object = ?", object)
}

// AllJobs implements Store.
func (s *SQLite) AllJobs(ctx context.Context) ([]job.Job, error) { return s.jobs(ctx, "") }

// DeleteJob implements Store.
func (s *SQLite) DeleteJob(ctx context.Context, id job.ID) error {
	err := s.change(ctx, "delete a job", func(tx *sql.Tx) error {
		if err := s.dropRequest(ctx, tx, id); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "DELETE FROM jobs WHERE id = ?", id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return cmp.Or(err, ErrNotFound)
		}
		return nil
	})
	return s.afterwards(ctx, err)
}

// Request implements Store.
func (s *SQLite) Request(ctx context.Context, id job.ID) (job.Request, error) {
	r, err := first(collect(ctx, s.reader, func(rows *sql.Rows) (r job.Request, err error) {
		var raw []byte
		if err := rows.Scan(&raw); err != nil {
			return r, err
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			return r, fmt.Errorf("%w: a request: %w", ErrCorrupt, err)
		}
		return r, nil
	}, "SELECT request FROM requests WHERE job = ?", id))
	return r, s.explain("look up a request", err)
}

// PutRequest implements Store.
func (s *SQLite) PutRequest(ctx context.Context, id job.ID, r job.Request) error {
	return s.change(ctx, "store a request", func(tx *sql.Tx) error {
		j, err := first(collect(ctx, tx, scanJob, selectJobs+"WHERE id = ?", id))
		if err == nil && j.State.Final() {
			err = fmt.Errorf("a job that is not %s: %w", j.State, ErrNotFound)
		}
		if err != nil {
			return err
		}
		return putRequest(ctx, tx, id, r)
	})
}

func putRequest(ctx context.Context, tx *sql.Tx, id job.ID, r job.Request) error {
	raw, err := json.Marshal(r) //nolint:gosec // its password is kept on purpose, and wiped when the job ends
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO requests (job, request) VALUES (?, ?)
		ON CONFLICT (job) DO UPDATE SET request = excluded.request`, id, string(raw))
	return err
}
