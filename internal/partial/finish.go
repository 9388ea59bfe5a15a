package partial

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// Finish waits until the whole is verified and hashed, makes it durable and
// gives it its final name. It returns that path and the hex SHA-256. If bytes
// are missing, or come to be because a chunk did not match, it returns
// KindIncomplete and the file can go on; after any other error but that of the
// context the partial is kept for the next run. A Temp file is only checked, and
// stays readable until Close.
func (f *File) Finish(ctx context.Context, o FinishOptions) (path, sha256 string, err error) {
	sum, err := f.awaitHashed(ctx)
	if err != nil {
		return "", "", err
	}
	f.ending.Lock()
	defer f.ending.Unlock()
	if err := f.stillOpen(); err != nil {
		return "", "", err
	}
	if err := f.checkWhole(sum, o); err != nil {
		_ = f.save(false, nil) // it only spares the next run some work
		return "", "", f.fail(err)
	}
	if f.target == "" {
		return "", sum, nil
	}
	f.quiesce()
	if path, err = f.place(sum, o.ModTime); err != nil {
		return "", "", f.fail(err)
	}
	return path, sum, nil
}

func (f *File) stillOpen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.usable()
}

// awaitHashed waits for the verifiers and the whole's hash to catch up.
func (f *File) awaitHashed(ctx context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if err := f.usable(); err != nil {
			return "", err
		}
		if err := f.incompleteLocked(); err != nil {
			return "", err
		}
		if f.hashedLocked() && !f.changing {
			return f.sumLocked(), nil
		}
		changed := f.changedLocked()
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
}

func (f *File) incompleteLocked() error {
	missing := f.size == job.UnknownSize || f.object == ""
	if !missing {
		missing = !f.have.Contains(span.Span{Start: 0, End: f.size})
	}
	if !missing {
		return nil
	}
	return &Error{
		Kind: KindIncomplete, Message: "the file is incomplete",
		Hint: "the same command goes on from here",
	}
}

// checkWhole compares the whole with what the relay and the person say. In
// both cases the partial stays: hashing it anew costs no network.
func (f *File) checkWhole(sum string, o FinishOptions) error {
	if o.SHA256 != "" && !strings.EqualFold(o.SHA256, sum) {
		return &Error{
			Kind:    KindCorrupt,
			Message: fmt.Sprintf("the whole has the SHA-256 %s, but the relay says %s", sum, o.SHA256),
			Hint:    "the same command checks each part again; if it comes to the same, remove " + f.part,
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, got, wrong := f.wrongChecksumLocked()
	if !wrong {
		return nil
	}
	err := &Error{
		Kind:    KindChecksum,
		Message: fmt.Sprintf("the %s of the file is %s, not %s as given", c.algorithm, got, hex.EncodeToString(c.want)),
		Hint:    "check where you have the checksum from",
	}
	if f.target != "" {
		err.Hint += "; the file is kept as " + f.part + " and needs no second download"
	}
	return err
}

// quiesce ends the background work and waits for everybody who uses the handle.
func (f *File) quiesce() {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.stop)
	}
	f.wake.Broadcast()
	f.notifyLocked()
	for f.users > 0 || f.changing {
		f.wake.Wait()
	}
	f.mu.Unlock()
	f.background.Wait()
}

// place makes the whole durable, names it and removes what helped. Only this
// function ever makes something appear under a final name.
func (f *File) place(sum string, mtime time.Time) (string, error) {
	f.mu.Lock()
	f.placing = true
	f.mu.Unlock()
	// A file system without modes refuses this; the bytes are no worse for it.
	_ = f.h.Chmod(f.perm)
	if err := f.save(false, f.finalOf(f.target, sum)); err != nil {
		return "", err
	}
	if err := f.closeHandle(); err != nil {
		// Some file systems tell only now that data was lost; so no claim stands.
		_ = saveState(f.fs, f.dir, f.state, f.stateOf(span.Set{}), true)
		return "", ioError("closing", f.part, err)
	}
	if !mtime.IsZero() {
		_ = f.fs.Chtimes(f.part, mtime) // as above
	}
	path, err := f.name(sum)
	if err != nil {
		return "", err
	}
	if err := f.fs.SyncDir(f.dir); err != nil {
		return "", ioError("syncing", f.dir, err)
	}
	f.mu.Lock()
	f.finished = true
	f.mu.Unlock()
	// The file is whole and durable. A state that stays behind misleads nobody:
	// the next run would take the file back and place it again.
	_ = f.fs.Remove(f.state)
	return path, nil
}

func (f *File) finalOf(path, sum string) *final {
	return &final{Name: filepath.Base(path), SHA256: sum}
}

func (f *File) closeHandle() error {
	f.mu.Lock()
	h := f.h
	f.h = nil
	f.mu.Unlock()
	if h == nil {
		return nil
	}
	return h.Close()
}

// name renames the partial by the policy and returns the path it has now.
func (f *File) name(sum string) (string, error) {
	if f.o.OnExists == Overwrite {
		if err := f.fs.Rename(f.part, f.target); err != nil {
			return "", f.renameError(f.target, err)
		}
		return f.target, nil
	}
	for n := f.number; n < maxNumber; n++ {
		path := numbered(f.o.Target, n)
		if n > f.number { // the state must know the name before it can exist
			if err := f.renameState(path, sum); err != nil {
				return "", err
			}
		}
		err := f.fs.RenameNew(f.part, path)
		if err == nil {
			return path, nil
		}
		if f.o.OnExists != Rename || !errors.Is(err, fs.ErrExist) {
			return "", f.renameError(path, err)
		}
	}
	return "", f.renameError(f.target, fs.ErrExist)
}

func (f *File) renameState(path, sum string) error {
	f.mu.Lock()
	s := f.stateOf(f.saved)
	f.mu.Unlock()
	s.Final = f.finalOf(path, sum)
	return saveState(f.fs, f.dir, f.state, s, true)
}

func (f *File) renameError(path string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return &Error{
			Kind: KindExists, Err: err, Message: path + " appeared while it was being fetched",
			Hint: "move it away or use --force; the same command then finishes without a download",
		}
	}
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		err = le.Err
	}
	return &Error{
		Kind: KindRename, Err: err,
		Message: fmt.Sprintf("the finished file could not be named %s: %v", path, cause(err)),
		Hint:    fmt.Sprintf("it is whole and stands as %s; the same command tries again", f.part),
	}
}

// Close stops, saves what is there for the next run, and releases the lock. It
// leaves nothing on disk if there is nothing to go on from. After Finish it only
// releases the lock. Calling it again returns the first result.
func (f *File) Close() error {
	f.closing.Do(func() {
		f.quiesce()
		f.ending.Lock()
		defer f.ending.Unlock()
		f.closeErr = errors.Join(f.leaveFiles(), f.release())
	})
	return f.closeErr
}

// Discard makes Close leave nothing on disk: what was in the file stands elsewhere
// by now.
func (f *File) Discard() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.useless = true
}

// release gives the lock up. Once the file has its name nothing that goes wrong
// here matters: the lock ends with the process.
func (f *File) release() error {
	err := f.unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil || f.finished {
		return nil
	}
	return ioError("unlocking", f.target+LockSuffix, err)
}

// leaveFiles leaves on disk what the next run needs and nothing else.
func (f *File) leaveFiles() error {
	f.mu.Lock()
	failed, finished := f.err != nil, f.finished
	empty := f.have.Len() == 0 && !f.placing || f.useless
	f.mu.Unlock()
	switch {
	case finished:
		return nil
	case f.target == "":
		return f.removeTemp()
	case empty:
		return errors.Join(f.closeHandle(), f.removeAll())
	case failed:
		_ = f.closeHandle() // the failure was told already
		return nil
	}
	return errors.Join(f.save(true, nil), f.closeHandle())
}

func (f *File) removeTemp() error {
	err := f.closeHandle()
	if removeWhileOpen {
		return err // it lost its name at the start
	}
	return errors.Join(err, f.fs.Remove(f.part))
}

// removeAll removes a partial without bytes and its state. A file that waits to
// be adopted is the person's and stays.
func (f *File) removeAll() error {
	var errs []error
	paths := []string{f.state, f.part}
	if f.adopt {
		paths = paths[:1]
	}
	for _, path := range paths {
		if err := f.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, ioError("removing", path, err))
		}
	}
	return errors.Join(errs...)
}

// hashFile returns the hex SHA-256 of a file.
func hashFile(ctx context.Context, fsys FS, path string) (string, error) {
	h, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return "", ioError("opening", path, err)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, &contextReader{ctx, io.NewSectionReader(h, 0, 1<<63-1)})
	if err := errors.Join(err, h.Close()); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", ioError("reading", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
