package store

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/jumpget/jumpget/internal/job"
)

// explain turns the database's error into one of ours, or one for a person.
func (s *SQLite) explain(what string, err error) error {
	var known *job.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, ErrCorrupt) {
		return corrupt(s.path, err)
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", what, err)
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return fmt.Errorf("%s: %w", what, ErrExists)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%s: its job: %w", what, ErrNotFound)
	}
	switch e.Code() & 0xff { // the rest of the code is the kind of kind
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return corrupt(s.path, fmt.Errorf("%w: %w", ErrCorrupt, err))
	case sqlite3.SQLITE_FULL:
		return job.Errorf(job.CodeDisk, "%s: the relay's disk is full: %w", what, err).
			WithHint("free some room on the file system of %s", s.path)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return job.Errorf(job.CodeDisk, "%s: the relay can't write %s: %w", what, s.path, err).
			WithHint("the file and its directory must belong to the user that runs the relay")
	}
	return fmt.Errorf("%s: %w", what, err)
}

func corrupt(path string, cause error) error {
	return job.Errorf(job.CodeInternal, "the relay's database %s is damaged: %w", path, cause).
		WithHint("stop the relay, move the file away (with its -wal and -shm) and start again: "+
			"jobs and tokens are forgotten, clients ask for them anew: mv %s %s.damaged", path, path)
}

func tooNew(path string, have, want int64) error {
	return job.Errorf(job.CodeVersion, "the database %s is of version %d, this jumpget knows %d", path, have, want).
		WithHint("run the newer jumpget that made it, or move the file away to start empty")
}
