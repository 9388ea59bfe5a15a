package reach

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/renameio/v2/maybe"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/session"
	"github.com/jumpget/jumpget/internal/wire"
)

const (
	maxFile = 1 << 20 // of a session's file, bytes

	// declinedFor is how long a relay that gives no sessions is not asked again.
	declinedFor = 24 * time.Hour

	// quietFor is how long a session that nobody answered gets no head start.
	quietFor = time.Hour
)

// Session is what a client keeps of a session.
type Session struct {
	ID        job.ID
	Secret    session.Secret
	Expires   time.Time      // by the relay's clock, unless it is used before
	Until     time.Time      // the same, however much it is used
	ClockOff  time.Duration  // the relay's clock less ours, when the session was issued
	Endpoints []job.Endpoint // of the public door, each with its host
	RTT       time.Duration  // to the relay, as it was last; 0: not known
	Quiet     time.Time      // when nothing answered in it last; zero: it has answered since
}

// Live tells whether the session counts at a time of our clock. A clock that is
// wrong by as much as it was when the session was issued does no harm.
func (s Session) Live(now time.Time) bool {
	now = now.Add(s.ClockOff)
	return s.Secret != session.Secret{} && now.Before(s.Expires) && now.Before(s.Until)
}

// Endpoint returns the first endpoint with the scheme.
func (s Session) Endpoint(scheme string) (job.Endpoint, bool) {
	for _, e := range s.Endpoints {
		if e.Scheme == scheme {
			return e, true
		}
	}
	return job.Endpoint{}, false
}

// Host is the relay's host name or address; empty if no endpoint has one.
func (s Session) Host() string {
	for _, e := range s.Endpoints {
		if e.Host != "" {
			return e.Host
		}
	}
	return ""
}

// NewSession makes what is kept of the relay's answer, whose endpoints have been
// completed with the host.
func NewSession(w wire.Session, now time.Time) (Session, error) {
	secret, err := session.Parse(w.Secret)
	if err != nil {
		return Session{}, err
	}
	s := Session{
		ID: w.ID, Secret: secret, Expires: w.Expires, Until: w.Until,
		ClockOff: w.Created.Sub(now).Round(time.Second), Endpoints: wire.ToEndpoints(w.Endpoints),
	}
	return s, s.check()
}

func (s Session) check() error {
	switch {
	case !s.ID.Valid():
		return errors.New("it has no ID")
	case s.Host() == "":
		return errors.New("it names no relay")
	case s.Expires.IsZero() || s.Until.IsZero():
		return errors.New("it does not say how long it lives")
	}
	return nil
}

// record is a session's file.
type record struct {
	ID        job.ID          `json:"id,omitempty"`
	Secret    string          `json:"secret,omitempty"`
	Expires   time.Time       `json:"expires,omitzero"`
	Until     time.Time       `json:"until,omitzero"`
	ClockOff  int64           `json:"clock_off,omitempty"` // seconds
	Endpoints []wire.Endpoint `json:"endpoints,omitempty"`
	RTT       int64           `json:"rtt_us,omitempty"`
	Quiet     time.Time       `json:"quiet,omitzero"`
	Declined  time.Time       `json:"declined,omitzero"` // when the relay said that it gives no session
}

// Store keeps one session in a file. Several programs may use the same file.
type Store struct {
	path string
	now  func() time.Time
}

// NewStore returns the store of one way to log in at one relay, under a state
// directory. login is any text that tells it from all others.
func NewStore(stateDir, login string) *Store {
	sum := sha256.Sum256([]byte(login))
	return &Store{path: filepath.Join(stateDir, "sessions", hex.EncodeToString(sum[:16])+".json"), now: time.Now}
}

// ErrNone says that no session is kept.
var ErrNone = errors.New("no session is kept")

// UnusableError says that a session is kept but is not to be used.
type UnusableError struct {
	Path string
	Why  string
	ID   job.ID // of the session, where it could be read: others may know its secret
}

func (e *UnusableError) Error() string {
	return fmt.Sprintf("the session's file %s is not used: %s", e.Path, e.Why)
}

// Load returns the session that is kept, live or not. It fails with ErrNone or an
// *UnusableError.
func (s *Store) Load() (Session, error) {
	r, err := s.read()
	if err != nil {
		return Session{}, err
	}
	if r.Secret == "" {
		return Session{}, ErrNone
	}
	secret, err := session.Parse(r.Secret)
	kept := Session{
		ID: r.ID, Secret: secret, Expires: r.Expires, Until: r.Until, ClockOff: time.Duration(r.ClockOff) * time.Second,
		Endpoints: wire.ToEndpoints(r.Endpoints), RTT: time.Duration(r.RTT) * time.Microsecond, Quiet: r.Quiet,
	}
	if err = errors.Join(err, kept.check()); err != nil {
		return Session{}, s.unusable("it is damaged", "")
	}
	return kept, nil
}

// Declined tells whether the relay has said lately that it gives no session.
func (s *Store) Declined() bool {
	r, err := s.read()
	age := s.now().Sub(r.Declined)
	return err == nil && age >= 0 && age < declinedFor
}

// read returns the file's record; ErrNone if there is no file.
func (s *Store) read() (r record, err error) {
	if info, err := os.Stat(s.path); err == nil && !info.Mode().IsRegular() { // to open a FIFO would wait for a writer
		return r, s.unusable("it is no file", "")
	}
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, ErrNone
	}
	if err != nil {
		return r, s.unusable("it can't be read: "+cause(err), "")
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	b, rerr := io.ReadAll(io.LimitReader(f, maxFile))
	if err = errors.Join(err, rerr); err != nil {
		return r, s.unusable("it can't be read: "+cause(err), "")
	}
	damaged := json.Unmarshal(b, &r) != nil
	switch {
	case loose(info):
		id := r.ID
		if damaged || !id.Valid() {
			id = ""
		}
		return record{}, s.unusable(fmt.Sprintf("others can read it (mode %04o)", info.Mode().Perm()), id)
	case damaged:
		return record{}, s.unusable("it is damaged", "")
	}
	return r, nil
}

// loose tells whether a file can be read or written by others. Windows has other
// means, and its state directory is the user's own.
func loose(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0
}

func (s *Store) unusable(why string, id job.ID) error {
	return &UnusableError{Path: s.path, Why: why, ID: id}
}

// cause is what the system said, without the path.
func cause(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err.Error()
}

// Save keeps a session in place of any other.
func (s *Store) Save(kept Session) error {
	return s.write(record{
		ID: kept.ID, Secret: kept.Secret.Reveal(), Expires: kept.Expires, Until: kept.Until,
		ClockOff: int64(kept.ClockOff / time.Second), Endpoints: wire.FromEndpoints(kept.Endpoints),
		RTT: kept.RTT.Microseconds(), Quiet: kept.Quiet,
	})
}

// Decline notes that the relay gives no session.
func (s *Store) Decline() error { return s.write(record{Declined: s.now().UTC()}) }

// Forget removes the session, unless another program has put a fresh one there.
func (s *Store) Forget(id job.ID) error {
	if kept, err := s.Load(); err == nil && kept.ID != id {
		return nil
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Update changes what is kept of a session, unless another program has put a
// fresh one there.
func (s *Store) Update(id job.ID, change func(*Session)) error {
	kept, err := s.Load()
	if err != nil || kept.ID != id {
		return err
	}
	change(&kept)
	return s.Save(kept)
}

func (s *Store) write(r record) error {
	b, err := json.Marshal(r) //nolint:gosec // the file is what keeps the secret
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	if info, err := os.Lstat(s.path); err == nil && (!info.Mode().IsRegular() || loose(info)) {
		if err := os.Remove(s.path); err != nil { // or what replaces it would get its mode
			return err
		}
	}
	return maybe.WriteFile(s.path, b, 0o600)
}
