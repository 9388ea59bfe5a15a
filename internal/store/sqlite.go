package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver named "sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// headerLen is the length in bytes of what every SQLite file starts with.
const headerLen = 100

// readers is how many connections read at the same time.
const readers = 4

// SQLite is a Store in one SQLite file, in WAL mode with synchronous=FULL: one
// connection writes, a few read beside it and never wait for it.
type SQLite struct {
	path    string
	clock   func() time.Time
	writer  *sql.DB // one connection
	reader  *sql.DB // query_only
	unwiped atomic.Bool
}

var _ Store = (*SQLite)(nil)

// Open opens the database file at path, makes it if it is missing (mode 0600)
// and brings its tables up to date. The clock gives the time that expiry is
// judged by; nil is time.Now. A damaged file gives an error that says what to
// do and wraps ErrCorrupt.
func Open(ctx context.Context, path string, clock func() time.Time) (*SQLite, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	s := &SQLite{path: path, clock: clock}
	if s.clock == nil {
		s.clock = time.Now
	}
	if err := keepPrivate(path); err != nil {
		return nil, s.explain("open the database", err)
	}
	if err := s.connect(); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{s.check, s.migrate, s.wipe} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(s.explain("open the database", err), s.Close())
		}
	}
	return s, nil
}

// keepPrivate makes the file if it is missing and takes it away from other
// users. SQLite gives its companions (-wal, -shm) the same mode. It would also
// take a file shorter than its header for a new one, so that is refused here.
func keepPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
		if errors.Is(err, errors.ErrUnsupported) {
			err = nil
		}
	}
	if err == nil && info.Size() > 0 && info.Size() < headerLen {
		err = fmt.Errorf("%w: it is %d bytes long", ErrCorrupt, info.Size())
	}
	return errors.Join(err, f.Close())
}

func (s *SQLite) connect() error {
	var err error
	if s.writer, err = sql.Open("sqlite", dsn(s.path, "_journal_mode=WAL&_synchronous=FULL&_txlock=immediate&_pragma=secure_delete(1)")); err != nil {
		return err
	}
	s.writer.SetMaxOpenConns(1)
	if s.reader, err = sql.Open("sqlite", dsn(s.path, "_query_only=1")); err != nil {
		return errors.Join(err, s.writer.Close())
	}
	s.reader.SetMaxOpenConns(readers)
	s.reader.SetMaxIdleConns(readers)
	return nil
}

// dsn names the file as SQLite's URI, so that any character may be in its path.
func dsn(path, params string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/dir
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "_busy_timeout=10000&_foreign_keys=1&" + params}
	return u.String()
}

// check reads through the file once, so that damage shows at the start and not
// when a job needs the page.
func (s *SQLite) check(ctx context.Context) error {
	var verdict string
	if err := s.writer.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", ErrCorrupt, verdict)
	}
	return nil
}

func (s *SQLite) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.writer, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return err
	}
	have, want, err := p.GetVersions(ctx)
	if err == nil && have > want {
		err = tooNew(s.path, have, want)
	}
	return err
}

// Close closes the database and folds its log into the file.
func (s *SQLite) Close() error {
	return errors.Join(s.reader.Close(), s.writer.Close())
}

// now is the time that expiry is judged by, as the database stores times.
func (s *SQLite) now() int64 { return s.clock().UnixMicro() }

// fromMicro is the inverse of time.Time.UnixMicro, which also takes the zero
// time and any date that an origin may claim.
func fromMicro(us int64) time.Time { return time.UnixMicro(us).UTC() }

// change runs f in one writing transaction.
func (s *SQLite) change(ctx context.Context, what string, f func(*sql.Tx) error) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return s.explain(what, err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // the error that matters is f's
		return s.explain(what, err)
	}
	return s.explain(what, tx.Commit())
}

// exec runs one writing statement.
func (s *SQLite) exec(ctx context.Context, what, query string, args ...any) error {
	_, err := s.writer.ExecContext(ctx, query, args...)
	return s.explain(what, err)
}

// execOne runs one writing statement that must meet a row, else it gives
// ErrNotFound.
func (s *SQLite) execOne(ctx context.Context, what, query string, args ...any) error {
	res, err := s.writer.ExecContext(ctx, query, args...)
	if err != nil {
		return s.explain(what, err)
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return s.explain(what, err)
}

// querier is a *sql.DB or *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// collect runs a query and scans each of its rows.
func collect[T any](ctx context.Context, q querier, scan func(*sql.Rows) (T, error), query string, args ...any) (all []T, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// first returns the first of what collect gives, or ErrNotFound.
func first[T any](all []T, err error) (T, error) {
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		var none T
		return none, err
	}
	return all[0], nil
}

// wipe folds the write-ahead log into the file and empties it: requests that
// were deleted (and overwritten in the file, by secure_delete) still stand in
// the log. A reader in its way makes it wait for the next time.
func (s *SQLite) wipe(ctx context.Context) error {
	var busy, log, done int
	err := s.writer.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &done)
	s.unwiped.Store(err != nil || busy != 0)
	return err
}
