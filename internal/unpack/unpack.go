// Package unpack takes a bundle apart while it comes, and puts its files into place:
// durable, under their own names, never over another file. A journal beside them
// tells the next run what stands.
package unpack

import (
	"context"
	"errors"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
)

// maxUnplaced bounds the bytes of files that wait to become durable.
const maxUnplaced = 16 << 20

// Options say what is unpacked, and where to.
type Options struct {
	// Base begins the names of all that stands beside the files until they are
	// complete. It is the same whenever the same is asked for, and that of the
	// bundle's own partial file.
	Base string

	// URLs are those of the files that are wanted, by their place.
	URLs []string

	// Pulled is for a bundle that stands on the relay already: an index in it is a
	// file's place, and how many there are it says itself. URLs is empty then.
	Pulled bool

	// Anew has all files come, also those that stand from an earlier run; unless that
	// run was cut off, and is gone on with.
	Anew bool

	// Output says where the file at a place goes.
	Output func(place int) Output

	// Tell is told of each file that stands or will not come, once, by one
	// goroutine at a time.
	Tell func(File)
}

// Output says where a file goes and what becomes of it.
type Output struct {
	File      string            // path of the file; empty: the relay's name for it, in Dir
	Dir       string            // used if File is empty; empty: the current directory
	OnExists  partial.OnExists  // what to do if the file is there
	NoTime    bool              // do not set the file's time to the origin's Last-Modified
	Checksums map[string]string // algorithm to hex, as partial.Options
}

// File is what became of one file.
type File struct {
	Place          int
	URL            string // without a password
	Err            error  // why it will not come; the rest but Place and URL is empty then
	Path           string
	Size           int64  // bytes
	SHA256         string // hex; empty if Earlier
	Earlier        bool   // it stood from an earlier run
	LengthVerified bool   // false: the origin told no length
}

// Counts say how far a bundle is.
type Counts struct {
	Done   int   // files that stand, from earlier runs as well
	Failed int   // files that will not come
	Alone  int   // files that are to come by themselves
	Bytes  int64 // of files that were placed in this run
}

// Unpacker takes one bundle apart. It reads verified bytes, in order, and has the
// files placed by another goroutine, as many together as have come meanwhile,
// because making them durable is what takes its time.
type Unpacker struct {
	o       Options
	journal *journal
	goesOn  bool         // an earlier run has left a part of this bundle
	index   []int        // places, by index in the bundle
	unlock  func() error // lets others have the bundle

	telling sync.Mutex // one at a time

	mu      sync.Mutex
	settled map[int]bool   // files that were told of
	alone   map[int]string // URLs of those that are not in the bundle
	failed  int
	bytes   int64 // of files that were placed in this run
}

// unplaced is a file that waits.
type unplaced struct {
	file  int
	from  *bundle.File
	small partial.Small
}

// GoesOn tells whether an earlier run has left a part of this bundle, so that the
// relay is to be asked for the same one.
func (u *Unpacker) GoesOn() bool { return u.goesOn }

// Wanted returns the places of the files that the relay is asked for: what did not
// stand when it was asked first. What is gone on with need not be fetched anew.
func (u *Unpacker) Wanted() []int { return u.index }

// Complete tells whether all files stood when the unpacker was opened.
func (u *Unpacker) Complete() bool { return !u.o.Pulled && len(u.journal.done) == len(u.o.URLs) }

// Read takes a bundle apart from its start to its end. What stands already is
// passed over. An error of r is returned as it is; others are a *job.Error if the
// bundle is damaged, and of package partial if the disk fails.
func (u *Unpacker) Read(ctx context.Context, r io.Reader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan unplaced, bundle.MaxFiles)
	room := semaphore.NewWeighted(maxUnplaced)
	placed := make(chan struct{})
	go func() {
		defer close(placed)
		u.placeAll(queue, room, cancel)
	}()
	err := u.queueAll(ctx, bundle.NewReader(r), queue, room)
	close(queue)
	<-placed
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (u *Unpacker) queueAll(ctx context.Context, in *bundle.Reader, queue chan<- unplaced, room *semaphore.Weighted) error {
	for {
		f, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, bundle.ErrMalformed), errors.Is(err, io.ErrUnexpectedEOF):
			return job.Errorf(job.CodeInternal, "the relay's bundle is damaged: %w", err).WithHint("--no-bundle does without bundles")
		case err != nil:
			return err
		}
		i, err := u.place(f.Index)
		if err != nil {
			return err
		}
		if u.isSettled(i) {
			continue
		}
		if f.Alone || f.Error != nil {
			u.without(i, f)
			continue
		}
		if err := room.Acquire(ctx, int64(len(f.Data))); err != nil {
			return context.Cause(ctx)
		}
		u.settle(i) // a second one is passed over
		queue <- unplaced{i, f, u.small(i, f)}
	}
}

// place turns an index in the bundle into the file's place.
func (u *Unpacker) place(index int) (int, error) {
	switch {
	case u.o.Pulled:
		return index, nil
	case index < len(u.index):
		return u.index[index], nil
	}
	return 0, job.Errorf(job.CodeInternal, "the relay's bundle has a file %d that nobody asked for", index).WithHint("--no-bundle does without bundles")
}

func (u *Unpacker) isSettled(i int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.settled[i]
}

func (u *Unpacker) settle(i int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.settled[i] = true
	delete(u.alone, i) // an earlier object may have left it out
}

// without takes note of a file that is not in the bundle.
func (u *Unpacker) without(i int, f *bundle.File) {
	url := u.url(i, f.URL)
	if f.Alone {
		u.mu.Lock()
		u.alone[i] = url
		u.mu.Unlock()
		return
	}
	u.tellFailed(i, job.StripUser(url), f.Error.Err())
}

// url is the URL by which a file was asked for; told if it was not by any.
func (u *Unpacker) url(i int, told string) string {
	if i < len(u.o.URLs) {
		return u.o.URLs[i]
	}
	return told
}

// tellDone tells that a file stands.
func (u *Unpacker) tellDone(f File) {
	u.mu.Lock()
	u.settled[f.Place] = true
	if !f.Earlier {
		u.bytes += f.Size
	}
	u.mu.Unlock()
	u.tell(f)
}

// tellFailed tells that a file will not come.
func (u *Unpacker) tellFailed(i int, url string, err error) {
	u.mu.Lock()
	u.settled[i] = true
	u.failed++
	u.mu.Unlock()
	u.tell(File{Place: i, URL: url, Err: err})
}

// tell tells of a file. Those that stand are found by another goroutine than those
// that will not come.
func (u *Unpacker) tell(f File) {
	u.telling.Lock()
	defer u.telling.Unlock()
	u.o.Tell(f)
}

// Progress tells how many files the bundle has, at least all, and how many were
// told of.
func (u *Unpacker) Progress(all int) (total, told int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return max(all, len(u.o.URLs)), len(u.settled)
}

// Counts tells how far the bundle is. It is not for the time of a Read.
func (u *Unpacker) Counts() Counts {
	u.mu.Lock()
	defer u.mu.Unlock()
	return Counts{Done: len(u.journal.done), Failed: u.failed, Alone: len(u.alone), Bytes: u.bytes}
}

// Alone returns the URLs of the files that have to come by themselves, by their
// place: that are not in the bundle, or were never told of. It is not for the time
// of a Read.
func (u *Unpacker) Alone() map[int]string {
	for i, url := range u.o.URLs {
		if !u.settled[i] && u.alone[i] == "" {
			u.alone[i] = url
		}
	}
	return u.alone
}
