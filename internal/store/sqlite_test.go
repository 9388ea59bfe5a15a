package store_test

import (
	"bytes"
	"database/sql"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
	"github.com/jumpget/jumpget/internal/store/storetest"
)

func open(t *testing.T, path string, clock func() time.Time) *store.SQLite {
	t.Helper()
	s, err := store.Open(t.Context(), path, clock)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSQLiteConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Env {
		path := filepath.Join(t.TempDir(), "jumpget.db")
		return storetest.Env{Open: func(clock func() time.Time) store.Store { return open(t, path, clock) }}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "jumpget.db")
	must(t, os.WriteFile(path, nil, 0o644))
	s := open(t, path, nil)
	defer s.Close()
	must(t, s.PutSetting(t.Context(), "k", "v"))
	files, err := os.ReadDir(dir)
	must(t, err)
	if len(files) != 3 {
		t.Errorf("files are %v, want the database, its log and its index", files)
	}
	for _, f := range files {
		info, err := f.Info()
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
}

func TestAnyPath(t *testing.T) {
	name := "a b%20#'é&mode=ro?x=y"
	if runtime.GOOS == "windows" {
		name = strings.ReplaceAll(name, "?", "")
	}
	dir := filepath.Join(t.TempDir(), name)
	must(t, os.Mkdir(dir, 0o700))
	s := open(t, filepath.Join(dir, name), nil)
	must(t, s.PutSetting(t.Context(), "k", "v"))
	must(t, s.Close())
	files, err := os.ReadDir(dir)
	must(t, err)
	if len(files) != 1 || files[0].Name() != name {
		t.Errorf("files are %v", files)
	}
}

// holdsSecret reports in which of the database's files the secret stands.
func holdsSecret(t *testing.T, path string) (found []string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		raw, err := os.ReadFile(path + suffix)
		must(t, err)
		if bytes.Contains(raw, []byte(storetest.Secret)) {
			found = append(found, "db"+suffix)
		}
	}
	return found
}

func TestSecretsLeaveNoTrace(t *testing.T) {
	for name, end := range map[string]func(*store.SQLite, job.Job) error{
		"ready": func(s *store.SQLite, j job.Job) error { j.State = job.Ready; return s.PutJob(t.Context(), j) },
		"failed": func(s *store.SQLite, j job.Job) error {
			j.State = job.Failed
			return s.PutJob(t.Context(), j)
		},
		"deleted": func(s *store.SQLite, j job.Job) error { return s.DeleteJob(t.Context(), j.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "jumpget.db")
			s := open(t, path, nil)
			j, r := storetest.Job(), storetest.Request()
			r.Password += strings.Repeat(storetest.Secret, 1000) // more than a page
			must(t, s.AddJob(t.Context(), store.New{Job: j, Request: r}))
			must(t, s.Close())
			s = open(t, path, nil) // now it is in the file too
			defer s.Close()
			must(t, s.PutRequest(t.Context(), j.ID, r))
			if len(holdsSecret(t, path)) == 0 {
				t.Fatal("the test looks in the wrong place")
			}
			must(t, end(s, j))
			if found := holdsSecret(t, path); found != nil {
				t.Errorf("the secret still stands in %v", found)
			}
		})
	}
}

// A session's hash is as good as its secret while it lives, so whoever gets a copy
// of the files afterwards must not find it.
func TestSessionsLeaveNoTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jumpget.db")
	s := open(t, path, nil)
	one := storetest.Session()
	copy(one.Hash[:], storetest.Secret)
	must(t, s.AddSession(t.Context(), one))
	must(t, s.Close())
	s = open(t, path, nil)
	defer s.Close()
	one.Addr = netip.MustParseAddr("192.0.2.1")
	must(t, s.UseSession(t.Context(), one.Session))
	if len(holdsSecret(t, path)) == 0 {
		t.Fatal("the test looks in the wrong place")
	}
	must(t, s.DeleteSession(t.Context(), one.ID))
	if found := holdsSecret(t, path); found != nil {
		t.Errorf("the hash still stands in %v", found)
	}
}

func TestDamagedFile(t *testing.T) {
	full := func(t *testing.T) []byte {
		path := filepath.Join(t.TempDir(), "jumpget.db")
		s := open(t, path, nil)
		for range 200 {
			must(t, s.PutJob(t.Context(), storetest.Job()))
		}
		must(t, s.Close())
		raw, err := os.ReadFile(path)
		must(t, err)
		return raw
	}(t)
	scrambled := bytes.Clone(full)
	for i := 8192; i < len(scrambled); i += 3 {
		scrambled[i] ^= 0x5a
	}
	for name, content := range map[string][]byte{
		"text":          []byte(strings.Repeat("this is no database\n", 1000)),
		"short":         []byte("x"),
		"cut in half":   full[:len(full)/2],
		"header only":   full[:100],
		"pages changed": scrambled,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "jumpget.db")
			must(t, os.WriteFile(path, content, 0o600))
			_, err := store.Open(t.Context(), path, nil)
			if !errors.Is(err, store.ErrCorrupt) {
				t.Fatalf("error is %v", err)
			}
			var told *job.Error
			if !errors.As(err, &told) || !strings.Contains(told.Message, path) || !strings.Contains(told.Hint, "mv "+path) {
				t.Errorf("a person is told %q, %q", told.Message, told.Hint)
			}
			if raw, _ := os.ReadFile(path); !bytes.Equal(raw, content) {
				t.Error("the damaged file was changed")
			}
		})
	}
}

func TestNewerFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jumpget.db")
	must(t, open(t, path, nil).Close())
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	must(t, err)
	must(t, db.Close())
	_, err = store.Open(t.Context(), path, nil)
	if !errors.Is(err, &job.Error{Code: job.CodeVersion}) || !strings.Contains(err.Error(), "9999") {
		t.Errorf("error is %v", err)
	}
}

func TestPathThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "missing", "jumpget.db")} {
		if _, err := store.Open(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("error is %v", err)
		}
	}
}

// A relay that was killed leaves its log behind; the next one goes on from it.
func TestAfterKill(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "jumpget.db")
	s := open(t, path, nil)
	defer s.Close()
	j := storetest.Job()
	must(t, s.AddJob(t.Context(), store.New{Job: j, Request: storetest.Request()}))
	killed := filepath.Join(t.TempDir(), "jumpget.db")
	for _, suffix := range []string{"", "-wal"} { // what a SIGKILL leaves on disk
		raw, err := os.ReadFile(path + suffix)
		must(t, err)
		must(t, os.WriteFile(killed+suffix, raw, 0o600))
	}
	next := open(t, killed, nil)
	defer next.Close()
	if _, err := next.Request(t.Context(), j.ID); err != nil {
		t.Error(err)
	}
}

func BenchmarkAddJob(b *testing.B) {
	s, err := store.Open(b.Context(), filepath.Join(b.TempDir(), "jumpget.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for b.Loop() {
		if err := s.AddJob(b.Context(), store.New{Job: storetest.Job(), Request: storetest.Request()}); err != nil {
			b.Fatal(err)
		}
	}
}
