package unpack

import (
	"context"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/semaphore"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
)

func (u *Unpacker) small(i int, f *bundle.File) partial.Small {
	out := u.o.Output(i)
	target := out.File
	if target == "" {
		target = filepath.Join(dirOr(out.Dir), job.SafeName(f.Name)) // made safe again: the relay is another machine
	}
	s := partial.Small{
		Target: target, Temp: filepath.Join(filepath.Dir(target), filepath.Base(u.o.Base)+"."+strconv.Itoa(i)),
		OnExists: out.OnExists, Sums: out.Checksums, Data: f.Data,
	}
	if !out.NoTime {
		s.ModTime = f.ModTime
	}
	return s
}

func dirOr(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// placeAll places what comes, until the queue is closed. After a failure of the
// disk it only empties the queue.
func (u *Unpacker) placeAll(queue <-chan unplaced, room *semaphore.Weighted, fail context.CancelCauseFunc) {
	var broken error
	for first := range queue {
		batch := []unplaced{first}
		for more := true; more; {
			select {
			case next, ok := <-queue:
				if more = ok; ok {
					batch = append(batch, next)
				}
			default:
				more = false
			}
		}
		if broken == nil {
			if broken = u.placeBatch(batch); broken != nil {
				fail(broken)
			}
		}
		for _, b := range batch {
			room.Release(int64(len(b.from.Data)))
		}
	}
}

// placeBatch places files and tells of each. Its error is one of the disk, after
// which there is no use in going on.
func (u *Unpacker) placeBatch(batch []unplaced) error {
	smalls := make([]partial.Small, len(batch))
	for k, b := range batch {
		smalls[k] = b.small
	}
	placed := partial.Place(nil, smalls, func(paths map[int]string) error {
		names, sums := map[int]string{}, map[int]string{}
		for k, path := range paths {
			names[batch[k].file], sums[batch[k].file] = path, batch[k].from.SHA256
		}
		if err := u.journal.intend(names, sums); err != nil {
			return noJournal(u.journal.path, err)
		}
		return nil
	})
	var broken error
	for k, p := range placed {
		b := batch[k]
		url := b.from.URL
		if b.file < len(u.o.URLs) {
			url = job.StripUser(u.o.URLs[b.file])
		}
		switch kind := partial.KindOf(p.Err); {
		case p.Err == nil:
			u.journal.done[b.file] = p.Path
			u.tellDone(File{
				Place: b.file, URL: url, Path: p.Path,
				Size: b.from.Size, SHA256: b.from.SHA256, LengthVerified: b.from.Verified,
			})
		case kind == partial.KindDiskFull || kind == partial.KindIO:
			broken = p.Err
		default:
			u.tellFailed(b.file, url, p.Err)
		}
	}
	return broken
}
