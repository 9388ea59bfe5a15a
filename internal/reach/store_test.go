package reach

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/session"
	"github.com/jumpget/jumpget/internal/wire"
)

func testSession() Session {
	now := time.Now().UTC().Truncate(time.Second)
	return Session{
		ID: job.NewID(), Secret: session.New(), Expires: now.Add(12 * time.Hour), Until: now.Add(7 * 24 * time.Hour),
		Endpoints: []job.Endpoint{
			{Scheme: "https", Host: "relay.test", Port: 3100, Pin: "ab"},
			{Scheme: job.SchemeUDP, Host: "relay.test", Port: 3100},
		},
		RTT: 200 * time.Millisecond,
	}
}

var sameSecret = cmp.Comparer(func(a, b session.Secret) bool { return a == b })

func TestStoreKeepsASession(t *testing.T) {
	s := NewStore(t.TempDir(), "me@relay")
	if _, err := s.Load(); !errors.Is(err, ErrNone) {
		t.Fatalf("an empty store gives %v", err)
	}
	want := testSession()
	want.ClockOff, want.Quiet = -time.Minute, want.Expires.Add(-time.Hour)
	if err := s.Save(want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load()
	if d := cmp.Diff(want, got, sameSecret); d != "" || err != nil {
		t.Error(err, d)
	}
	info, err := os.Stat(s.path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := NewStore(filepath.Dir(filepath.Dir(s.path)), "you@relay").Load(); !errors.Is(err, ErrNone) {
		t.Errorf("another login's session was found: %v", err)
	}
}

// A file that others could read may be known to them.
func TestStoreRefusesLooseAndDamagedFiles(t *testing.T) {
	kept := testSession()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string)
		why   string
		id    job.ID
	}{
		"others can read it": {func(t *testing.T, path string) { must(t, os.Chmod(path, 0o644)) }, "mode 0644", kept.ID},
		"group can write it": {func(t *testing.T, path string) { must(t, os.Chmod(path, 0o620)) }, "mode 0620", kept.ID},
		"no JSON":            {func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("{"), 0o600)) }, "damaged", ""},
		"loose and no JSON": {func(t *testing.T, path string) {
			must(t, os.Chmod(path, 0o644))
			must(t, os.WriteFile(path, []byte("\x00\x01"), 0o600))
		}, "mode 0644", ""},
		"a short secret": {func(t *testing.T, path string) { edit(t, path, kept.Secret.Reveal(), "AAAA") }, "damaged", ""},
		"no relay":       {func(t *testing.T, path string) { edit(t, path, "relay.test", "") }, "damaged", ""},
		"no ID":          {func(t *testing.T, path string) { edit(t, path, string(kept.ID), "x") }, "damaged", ""},
		"a folder": {func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, os.Mkdir(path, 0o700))
		}, "no file", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && strings.Contains(c.why, "mode") {
				t.Skip("there are no such modes")
			}
			s := NewStore(t.TempDir(), "me@relay")
			must(t, s.Save(kept))
			c.spoil(t, s.path)
			_, err := s.Load()
			bad, ok := errors.AsType[*UnusableError](err)
			if !ok || !strings.Contains(bad.Why, c.why) || bad.ID != c.id {
				t.Fatalf("%v, want %q", err, c.why)
			}
			// What replaces it is private again.
			must(t, s.Save(kept))
			if got, err := s.Load(); err != nil || got.ID != kept.ID {
				t.Error(err)
			}
		})
	}
}

func edit(t *testing.T, path, old, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(b), old, text)), 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Both clocks count from when the session was issued, so a clock that is off by a
// day does no harm; neither does one that is set right later do much.
func TestLiveWithClocksThatAreOff(t *testing.T) {
	ours := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, off := range []time.Duration{0, -24 * time.Hour, 24 * time.Hour} {
		theirs := ours.Add(off)
		w := wire.Session{
			ID: job.NewID(), Secret: session.New().Reveal(), Created: theirs, Expires: theirs.Add(12 * time.Hour),
			Until: theirs.Add(7 * 24 * time.Hour), Endpoints: []wire.Endpoint{{Scheme: "https", Host: "relay.test", Port: 1}},
		}
		s, err := NewSession(w, ours)
		must(t, err)
		if !s.Live(ours.Add(11*time.Hour)) || s.Live(ours.Add(13*time.Hour)) {
			t.Errorf("the relay's clock is off by %v, and the session does not live for its 12 hours", off)
		}
		s.Expires = s.Until.Add(time.Hour)
		if s.Live(ours.Add(7*24*time.Hour + time.Minute)) {
			t.Errorf("off by %v: it outlives its end", off)
		}
	}
	if (Session{Expires: ours.Add(time.Hour), Until: ours.Add(time.Hour)}).Live(ours) {
		t.Error("no session lives")
	}
}

func TestDeclinedForADay(t *testing.T) {
	s := NewStore(t.TempDir(), "me@relay")
	if s.Declined() {
		t.Error("declined before anybody asked")
	}
	must(t, s.Decline())
	at := time.Now()
	for after, want := range map[time.Duration]bool{time.Minute: true, 23 * time.Hour: true, 25 * time.Hour: false, -time.Hour: false} {
		s.now = func() time.Time { return at.Add(after) }
		if s.Declined() != want {
			t.Errorf("after %v: declined is %v", after, !want)
		}
	}
	if _, err := s.Load(); !errors.Is(err, ErrNone) {
		t.Errorf("no session, but %v", err)
	}
	must(t, s.Save(testSession()))
	s.now = time.Now
	if s.Declined() {
		t.Error("a session stands, and yet it counts as declined")
	}
}

// Two programs use one file: neither removes or changes what the other has put
// there.
func TestForgetAndUpdateOnlyTheirOwn(t *testing.T) {
	s := NewStore(t.TempDir(), "me@relay")
	old, fresh := testSession(), testSession()
	must(t, s.Save(fresh))
	must(t, s.Forget(old.ID))
	must(t, s.Update(old.ID, func(k *Session) { k.RTT = 1 }))
	if got, err := s.Load(); err != nil || got.ID != fresh.ID || got.RTT != fresh.RTT {
		t.Errorf("%v, %v", got.ID, err)
	}
	must(t, s.Update(fresh.ID, func(k *Session) { k.RTT = time.Second }))
	if got, _ := s.Load(); got.RTT != time.Second {
		t.Errorf("RTT %v", got.RTT)
	}
	must(t, s.Forget(fresh.ID))
	if _, err := os.Stat(s.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	must(t, s.Forget(fresh.ID))
}
