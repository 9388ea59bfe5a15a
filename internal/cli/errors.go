package cli

import (
	"errors"
	"fmt"
)

// usageError is a command line, a list or a configuration that can't be
// followed.
type usageError struct {
	err  error
	hint string
}

func usagef(format string, args ...any) *usageError {
	return &usageError{err: fmt.Errorf(format, args...)}
}

func (e *usageError) withHint(format string, args ...any) *usageError {
	e.hint = fmt.Sprintf(format, args...)
	return e
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return errors.Unwrap(e.err) }

// shownError carries the exit code of failures that have been shown already.
type shownError struct{ exit int }

func (e *shownError) Error() string { return fmt.Sprintf("exit %d", e.exit) }
