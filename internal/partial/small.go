package partial

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Small is a file that is whole in memory and verified.
type Small struct {
	Target   string            // the path that it is to have
	Temp     string            // where it stands until then, in the same folder; what is there is removed
	OnExists OnExists          // as in Options
	Sums     map[string]string // as Options.Checksums
	Data     []byte
	ModTime  time.Time // zero: leave it
}

// Placed tells what became of a Small.
type Placed struct {
	Path string // where it stands; with Rename it may be Target.1 and so on
	Err  error
}

// syncers is how many files are made durable at a time. A disk that commits takes
// what others have written along, so it costs little more than one.
const syncers = 16

// Place makes small files durable, all at a time, and then gives them their names
// by the policy of each. Before any name appears, intend is told of it, by the
// file's place in the list, and has to keep it safe; its error is that of them
// all. It is called again for a name that somebody has taken meanwhile. A nil fsys
// is OS.
func Place(fsys FS, files []Small, intend func(paths map[int]string) error) []Placed {
	if fsys == nil {
		fsys = OS{}
	}
	p := &placing{fs: fsys, files: files, out: make([]Placed, len(files)), intend: intend, numbers: make([]int, len(files)), taken: map[string]bool{}}
	p.each(p.store)
	paths := map[int]string{}
	for i := range files {
		if p.choose(i) {
			paths[i] = p.out[i].Path
		}
	}
	if err := intend(paths); err != nil {
		p.each(func(i int) error {
			p.out[i].Path = ""
			return errors.Join(err, p.forget(i))
		})
		return p.out
	}
	for i := range files {
		p.out[i].Err = errors.Join(p.out[i].Err, p.name(i))
	}
	p.syncDirs()
	return p.out
}

// placing is one call of Place.
type placing struct {
	fs      FS
	files   []Small
	out     []Placed
	intend  func(map[int]string) error
	numbers []int
	taken   map[string]bool // names chosen in this call
}

// each runs f on all files that have not failed, several at a time.
func (p *placing) each(f func(i int) error) {
	var group sync.WaitGroup
	slots := make(chan struct{}, syncers)
	for i := range p.files {
		if p.out[i].Err != nil {
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			p.out[i].Err = f(i)
		})
	}
	group.Wait()
}

// store writes one file under its temporary name and makes it durable.
func (p *placing) store(i int) error {
	s := p.files[i]
	if err := CheckSums(s.Sums, s.Data); err != nil {
		return err
	}
	if err := p.fs.Remove(s.Temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return dirError(filepath.Dir(s.Temp), err)
	}
	h, err := p.fs.OpenFile(s.Temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return dirError(filepath.Dir(s.Temp), err)
	}
	_, err = h.WriteAt(s.Data, 0)
	if err == nil && !s.ModTime.IsZero() {
		_ = p.fs.Chtimes(s.Temp, s.ModTime) // the bytes are no worse for it
	}
	if err == nil {
		err = h.Sync()
	}
	if err := errors.Join(err, h.Close()); err != nil {
		_ = p.fs.Remove(s.Temp) // the error above is the one that matters
		return ioError("writing", s.Temp, err)
	}
	return nil
}

// forget removes a file that gets no name.
func (p *placing) forget(i int) error {
	if err := p.fs.Remove(p.files[i].Temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ioError("removing", p.files[i].Temp, err)
	}
	return nil
}

// choose finds the name that a file is going to have. It reports whether there is
// one.
func (p *placing) choose(i int) bool {
	s, out := p.files[i], &p.out[i]
	for out.Err == nil && p.numbers[i] < maxNumber {
		out.Path = numbered(s.Target, p.numbers[i])
		info, err := p.fs.Lstat(out.Path)
		free := errors.Is(err, fs.ErrNotExist) && !p.taken[out.Path]
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			out.Err = ioError("looking at", out.Path, err)
		case free, s.OnExists == Overwrite && (err != nil || !info.IsDir()):
			p.taken[out.Path] = true
			return true
		case s.OnExists != Rename:
			out.Err = existsError(out.Path)
		default:
			p.numbers[i]++
		}
	}
	if out.Err == nil {
		out.Err = existsError(s.Target)
	}
	out.Path = ""
	out.Err = errors.Join(out.Err, p.forget(i))
	return false
}

// name gives a file the name that was chosen for it.
func (p *placing) name(i int) error {
	s, out := p.files[i], &p.out[i]
	for out.Err == nil {
		err := p.rename(s, out.Path)
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			path := out.Path
			out.Path = ""
			return errors.Join(placeError(path, err), p.forget(i))
		}
		p.numbers[i]++
		if s.OnExists != Rename || !p.choose(i) {
			continue
		}
		if err := p.intend(map[int]string{i: out.Path}); err != nil {
			return errors.Join(err, p.forget(i))
		}
	}
	return nil
}

func (p *placing) rename(s Small, path string) error {
	if s.OnExists == Overwrite {
		return p.fs.Rename(s.Temp, path)
	}
	return p.fs.RenameNew(s.Temp, path)
}

func placeError(path string, err error) error {
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		err = le.Err
	}
	return &Error{Kind: KindRename, Err: err, Message: fmt.Sprintf("the file could not be named %s: %v", path, cause(err))}
}

// syncDirs makes the new names durable.
func (p *placing) syncDirs() {
	failed := map[string]error{}
	var dirs []string
	for i := range p.files {
		if dir := filepath.Dir(p.files[i].Target); p.out[i].Err == nil && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
			if err := p.fs.SyncDir(dir); err != nil {
				failed[dir] = ioError("syncing", dir, err)
			}
		}
	}
	for i := range p.files {
		if err := failed[filepath.Dir(p.files[i].Target)]; err != nil && p.out[i].Err == nil {
			p.out[i].Err = err
		}
	}
}

// CheckSums compares data with what a person says that it has to be: hex by
// algorithm, as in Options.Checksums.
func CheckSums(given map[string]string, data []byte) error {
	wanted, err := parseChecksums(given)
	if err != nil {
		return err
	}
	for _, c := range wanted {
		h := newHash[c.algorithm]()
		_, _ = h.Write(data) // a hash never fails
		if got := h.Sum(nil); !slices.Equal(got, c.want) {
			return &Error{
				Kind: KindChecksum, Message: fmt.Sprintf("the %s of the file is %x, not %x as given", c.algorithm, got, c.want),
				Hint: "check where you have the checksum from",
			}
		}
	}
	return nil
}
