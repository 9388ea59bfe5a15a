package reach

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// Nobody waits for a writer that never comes.
func TestStoreDoesNotWaitAtAFIFO(t *testing.T) {
	s := NewStore(t.TempDir(), "me@relay")
	must(t, s.Save(testSession()))
	must(t, os.Remove(s.path))
	must(t, syscall.Mkfifo(s.path, 0o600))
	_, err := s.Load()
	if bad, ok := errors.AsType[*UnusableError](err); !ok || !strings.Contains(bad.Why, "no file") {
		t.Fatal(err)
	}
	must(t, s.Save(testSession()))
	if _, err := s.Load(); err != nil {
		t.Error(err)
	}
}
