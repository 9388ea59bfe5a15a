package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"

	"github.com/jumpget/jumpget/internal/job"
)

const selectSessions = "SELECT id, owner, source, name, hash, created, used, expires, until, addr FROM sessions "

// maxKnown is how many addresses are remembered of one session: those that it
// was used from last.
const maxKnown = 16

func scanSession(rows *sql.Rows) (s Session, err error) {
	var hash []byte
	var created, used, expires, until int64
	var addr string
	if err := rows.Scan(&s.ID, &s.Owner, &s.Source, &s.Name, &hash, &created, &used, &expires, &until, &addr); err != nil {
		return s, err
	}
	if len(hash) != len(s.Hash) {
		return s, fmt.Errorf("%w: a session's hash of %d bytes", ErrCorrupt, len(hash))
	}
	s.Hash = [32]byte(hash)
	s.Created, s.Used, s.Expires, s.Until = fromMicro(created), fromMicro(used), fromMicro(expires), fromMicro(until)
	if addr != "" {
		s.Addr, err = scannedAddr(addr)
	}
	return s, err
}

func scannedAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		err = fmt.Errorf("%w: an address of a session: %w", ErrCorrupt, err)
	}
	return a, err
}

// AddSession implements Store.
func (s *SQLite) AddSession(ctx context.Context, n Session) error {
	return s.change(ctx, "store a session", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO sessions (id, owner, source, name, hash, created, used, expires, until, addr)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, n.ID, n.Owner, n.Source, n.Name, n.Hash[:],
			n.Created.UnixMicro(), n.Used.UnixMicro(), n.Expires.UnixMicro(), n.Until.UnixMicro(), addrText(n.Addr)); err != nil {
			return err
		}
		for _, a := range n.Known {
			if err := putKnown(ctx, tx, n.ID, a, n.Used.UnixMicro()); err != nil {
				return err
			}
		}
		return nil
	})
}

// addrText is an address as it is stored: "" for none.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().WithZone("").String()
}

func putKnown(ctx context.Context, tx *sql.Tx, id job.ID, a netip.Addr, used int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO session_addrs (session, addr, used) VALUES (?, ?, ?)
		ON CONFLICT (session, addr) DO UPDATE SET used = max(used, excluded.used)`, id, addrText(a), used)
	return err
}

// Sessions implements Store.
func (s *SQLite) Sessions(ctx context.Context) ([]Session, error) {
	all, err := collect(ctx, s.reader, scanSession, selectSessions+"ORDER BY created, id")
	for i := range all {
		if err != nil {
			break
		}
		all[i].Known, err = collect(ctx, s.reader, func(rows *sql.Rows) (netip.Addr, error) {
			var text string
			if err := rows.Scan(&text); err != nil {
				return netip.Addr{}, err
			}
			return scannedAddr(text)
		}, "SELECT addr FROM session_addrs WHERE session = ? ORDER BY used DESC, addr", all[i].ID)
	}
	return all, s.explain("list sessions", err)
}

// UseSession implements Store.
func (s *SQLite) UseSession(ctx context.Context, u job.Session) error {
	return s.change(ctx, "note the use of a session", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE sessions SET used = ?, expires = ?, addr = ? WHERE id = ?",
			u.Used.UnixMicro(), u.Expires.UnixMicro(), addrText(u.Addr), u.ID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return ErrNotFound
		}
		if !u.Addr.IsValid() {
			return nil
		}
		if err := putKnown(ctx, tx, u.ID, u.Addr, u.Used.UnixMicro()); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM session_addrs WHERE session = ?1 AND addr NOT IN
			(SELECT addr FROM session_addrs WHERE session = ?1 ORDER BY used DESC, addr LIMIT ?2)`, u.ID, maxKnown)
		return err
	})
}

// DeleteSession implements Store. What is deleted may be as good as a secret
// still, to somebody who has a copy of the log, so the log is wiped.
func (s *SQLite) DeleteSession(ctx context.Context, id job.ID) error {
	err := s.execOne(ctx, "delete a session", "DELETE FROM sessions WHERE id = ?", id)
	if err == nil {
		s.unwiped.Store(true)
	}
	return s.afterwards(ctx, err)
}

// Submission implements Store.
func (s *SQLite) Submission(ctx context.Context, owner string, id job.ID) (job.ID, error) {
	made, err := first(collect(ctx, s.reader, func(rows *sql.Rows) (made job.ID, err error) {
		err = rows.Scan(&made)
		return made, err
	}, "SELECT job FROM submissions WHERE owner = ? AND id = ? AND expires > ?", owner, id, s.now()))
	return made, s.explain("look up a submission", err)
}
