package unpack

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
)

// Open finds what an earlier run has left, and sees to it that nobody else brings
// the same into the same folder. Errors are *job.Error or *partial.Error. The
// Unpacker is to be closed.
func Open(o Options) (*Unpacker, error) {
	unlock, err := lock(o.Base)
	if err != nil {
		return nil, err
	}
	u, err := resume(o)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	u.unlock = unlock
	return u, nil
}

func lock(base string) (unlock func() error, err error) {
	path := base + journalSuffix + partial.LockSuffix
	unlock, err = partial.OS{}.Lock(path)
	switch {
	case err != nil:
		return nil, noJournal(path, err)
	case unlock == nil:
		return nil, &partial.Error{
			Kind: partial.KindInUse, Message: "another jumpget is fetching the same files into " + filepath.Dir(base),
			Hint: "wait for it to end, or choose another folder with --dir",
		}
	}
	return unlock, nil
}

func resume(o Options) (*Unpacker, error) {
	j, err := loadJournal(o.Base+journalSuffix, len(o.URLs))
	if err != nil {
		return nil, job.Errorf(job.CodeInternal, "what an earlier run has left can't be read: %w", err).WithHint("remove %s", o.Base+journalSuffix)
	}
	_, err = os.Lstat(o.Base + partial.StateSuffix)
	u := &Unpacker{o: o, journal: j, goesOn: err == nil, settled: map[int]bool{}, alone: map[int]string{}}
	if !u.goesOn && o.Anew {
		j.done = map[int]string{}
	}
	if !u.goesOn {
		j.ask(nil)
		if err := j.begin(); err != nil {
			return nil, errors.Join(noJournal(j.path, err), j.close())
		}
	}
	for i := range max(len(o.URLs), len(j.done)) {
		if !j.without[i] {
			u.index = append(u.index, i)
		}
	}
	return u, nil
}

func noJournal(path string, err error) error {
	return &partial.Error{
		Kind: partial.KindDir, Err: err, Message: "can't write " + path + ": " + err.Error(),
		Hint: "choose another folder with --dir",
	}
}

// TellEarlier tells of the files that stand from an earlier run.
func (u *Unpacker) TellEarlier() {
	for i, path := range u.journal.done {
		info, err := os.Lstat(path)
		if err != nil {
			continue // it was there a moment ago
		}
		url := job.StripUser(u.url(i, ""))
		u.tellDone(File{Place: i, URL: url, Path: path, Size: info.Size(), Earlier: true, LengthVerified: true})
	}
}

// Placed takes note of a file that was brought alone, so that the next run does not
// ask for it. Its SHA-256 is in hex.
func (u *Unpacker) Placed(place int, path, sha256 string) error {
	if u.o.Pulled {
		return nil // nobody asks for it again
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.journal.done[place] = path
	return u.journal.intend(map[int]string{place: path}, map[int]string{place: sha256})
}

// Close removes what only served to go on. If some files did not come, the same
// request will ask for those alone.
func (u *Unpacker) Close() error { return errors.Join(u.end(), u.unlock()) }

func (u *Unpacker) end() error {
	if _, err := os.Lstat(u.o.Base + partial.StateSuffix); err == nil {
		return u.journal.close() // it goes on
	}
	u.sweep()
	if n := len(u.journal.done); u.o.Pulled || n == 0 || n == len(u.o.URLs) {
		return u.journal.remove()
	}
	return u.journal.close()
}

// sweep removes files that a killed run has left half-way to their names.
func (u *Unpacker) sweep() {
	dir, prefix := filepath.Split(u.o.Base + ".")
	entries, err := os.ReadDir(dirOr(dir))
	if err != nil {
		return // they are hidden, and harm nobody
	}
	for _, e := range entries {
		number, ours := strings.CutPrefix(e.Name(), prefix)
		if _, err := strconv.Atoi(number); ours && err == nil {
			_ = os.Remove(filepath.Join(dir, e.Name())) // as above
		}
	}
}
