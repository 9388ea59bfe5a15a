package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"

	"github.com/jumpget/jumpget/internal/job"
)

const fromTokens = "SELECT hash, job, ifnull(session, ''), expires FROM tokens " //nolint:gosec // a query, and no credentials

func scanToken(rows *sql.Rows) (t Token, err error) {
	var hash []byte
	var expires int64
	if err := rows.Scan(&hash, &t.Job, &t.Session, &expires); err != nil {
		return t, err
	}
	if len(hash) != len(t.Hash) {
		return t, fmt.Errorf("%w: a token's hash of %d bytes", ErrCorrupt, len(hash))
	}
	t.Hash, t.Expires = [32]byte(hash), fromMicro(expires)
	return t, nil
}

// execer is a *sql.DB or *sql.Tx.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func addToken(ctx context.Context, e execer, t Token) error {
	_, err := e.ExecContext(ctx, `INSERT INTO tokens (hash, job, session, expires) VALUES (?, ?, nullif(?, ''), ?)
		ON CONFLICT (hash) DO UPDATE SET expires = max(expires, excluded.expires)`, t.Hash[:], t.Job, t.Session, t.Expires.UnixMicro())
	return err
}

// AddToken implements Store.
func (s *SQLite) AddToken(ctx context.Context, t Token) error {
	return s.explain("store a token", addToken(ctx, s.writer, t))
}

// TokenJob implements Store. An index finds the row by its hash; that the time
// it takes depends on the hash tells nothing of a token of 256 random bits.
func (s *SQLite) TokenJob(ctx context.Context, hash [32]byte) (Token, error) {
	t, err := first(collect(ctx, s.reader, scanToken, fromTokens+"WHERE hash = ? AND expires > ?", hash[:], s.now()))
	return t, s.explain("look up a token", err)
}

// TokensOf implements Store.
func (s *SQLite) TokensOf(ctx context.Context, id job.ID) ([]Token, error) {
	all, err := collect(ctx, s.reader, scanToken, fromTokens+"WHERE job = ? AND expires > ? ORDER BY expires, hash", id, s.now())
	return all, s.explain("list tokens", err)
}

// RevokeTokens implements Store.
func (s *SQLite) RevokeTokens(ctx context.Context, id job.ID) error {
	return s.exec(ctx, "revoke tokens", "DELETE FROM tokens WHERE job = ?", id)
}

func scanGrant(rows *sql.Rows) (g job.Grant, err error) {
	var id sql.NullString
	var addr string
	var expires int64
	if err := rows.Scan(&g.Owner, &id, &addr, &expires); err != nil {
		return g, err
	}
	g.Job, g.Expires = job.ID(id.String), fromMicro(expires)
	if g.Addr, err = netip.ParseAddr(addr); err != nil {
		return g, fmt.Errorf("%w: the address of a grant: %w", ErrCorrupt, err)
	}
	return g, nil
}

// PutGrant implements Store.
func (s *SQLite) PutGrant(ctx context.Context, g job.Grant) error {
	return s.explain("store a grant", putGrant(ctx, s.writer, g))
}

func putGrant(ctx context.Context, e execer, g job.Grant) error {
	if !g.Addr.IsValid() {
		return job.Errorf(job.CodeBadRequest, "a grant without an address")
	}
	id := sql.NullString{String: string(g.Job), Valid: g.Job != ""}
	_, err := e.ExecContext(ctx, `INSERT INTO grants (owner, job, addr, expires) VALUES (?, ?, ?, ?)
		ON CONFLICT (owner, ifnull(job, ''), addr) DO UPDATE SET expires = max(expires, excluded.expires)`,
		g.Owner, id, g.Addr.Unmap().String(), g.Expires.UnixMicro())
	return err
}

// Grants implements Store.
func (s *SQLite) Grants(ctx context.Context, owner string, id job.ID) ([]job.Grant, error) {
	all, err := collect(ctx, s.reader, scanGrant, `SELECT owner, job, addr, expires FROM grants
		WHERE owner = ?1 AND expires > ?2 AND (?3 = '' OR job IS NULL OR job = ?3)
		ORDER BY expires, addr, job`, owner, s.now(), id)
	return all, s.explain("list grants", err)
}

// PurgeExpired implements Store.
func (s *SQLite) PurgeExpired(ctx context.Context) error {
	now := s.now()
	err := s.change(ctx, "purge what has expired", func(tx *sql.Tx) error {
		for _, purge := range []string{
			"DELETE FROM tokens WHERE expires <= ?", "DELETE FROM grants WHERE expires <= ?", "DELETE FROM submissions WHERE expires <= ?",
		} {
			if _, err := tx.ExecContext(ctx, purge, now); err != nil {
				return err
			}
		}
		return nil
	})
	return s.afterwards(ctx, err)
}

// Setting implements Store.
func (s *SQLite) Setting(ctx context.Context, key string) (string, error) {
	value, err := first(collect(ctx, s.reader, func(rows *sql.Rows) (v string, err error) {
		err = rows.Scan(&v)
		return v, err
	}, "SELECT value FROM settings WHERE key = ?", key))
	return value, s.explain("look up the setting "+key, err)
}

// PutSetting implements Store.
func (s *SQLite) PutSetting(ctx context.Context, key, value string) error {
	return s.exec(ctx, "store the setting "+key, `INSERT INTO settings (key, value) VALUES (?, ?)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, value)
}
