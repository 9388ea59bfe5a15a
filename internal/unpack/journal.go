package unpack

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/jumpget/jumpget/internal/partial"
)

// journalSuffix ends the name of a bundle's journal, which stands beside its
// partial file.
const journalSuffix = ".jumpget-list"

// journal is what one run of a bundle tells the next: under which names its files
// were about to appear, and for which of them the relay was asked. It is a line of
// JSON for each, added at the end. A line that can't be read is passed over, and a
// name counts only if what stands there has the hash: so no line has to be true.
type journal struct {
	path string
	file partial.Handle // nil until the first line
	end  int64          // of the file

	done    map[int]string // paths of the files that stand
	without map[int]bool   // files that the relay was not asked for, since they stood already
}

// journalLine is one line, of a file or of a question to the relay.
type journalLine struct {
	File    int    `json:"file,omitempty"`
	Path    string `json:"path,omitempty"` // from the journal's folder on, where it leads there
	SHA256  string `json:"sha256,omitempty"`
	Begin   bool   `json:"begin,omitempty"` // the relay is asked for all files but those
	Without []int  `json:"without,omitempty"`
}

// loadJournal reads the journal at path, for a bundle of n files. One that is not
// there is empty.
func loadJournal(path string, n int) (*journal, error) {
	j := &journal{path: path, done: map[int]string{}, without: map[int]bool{}}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, err
	}
	in := bufio.NewScanner(bytes.NewReader(raw))
	in.Buffer(nil, len(raw)+1)
	for in.Scan() {
		var l journalLine
		if json.Unmarshal(in.Bytes(), &l) != nil {
			continue
		}
		switch {
		case l.Begin:
			j.ask(l.Without)
		case l.File >= 0 && (n == 0 || l.File < n) && l.Path != "":
			if path := j.resolve(l.Path); hashOf(path) == l.SHA256 && l.SHA256 != "" {
				j.done[l.File] = path
			}
		}
	}
	return j, in.Err()
}

func (j *journal) resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(j.path), path)
}

// hashOf returns the hex SHA-256 of the regular file at path, or "".
func hashOf(path string) string {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (j *journal) ask(without []int) {
	j.without = map[int]bool{}
	for _, i := range without {
		j.without[i] = true
	}
}

// begin notes that the relay is asked for what does not stand yet.
func (j *journal) begin() error {
	without := slices.Sorted(maps.Keys(j.done))
	j.ask(without)
	return j.add(journalLine{Begin: true, Without: without})
}

// intend notes the paths at which files are about to appear; see partial.Place.
func (j *journal) intend(paths map[int]string, sha map[int]string) error {
	var lines []journalLine
	for i, path := range paths {
		if rel, err := filepath.Rel(filepath.Dir(j.path), path); err == nil {
			path = rel
		}
		lines = append(lines, journalLine{File: i, Path: path, SHA256: sha[i]})
	}
	return j.add(lines...)
}

// add appends lines and makes them durable.
func (j *journal) add(lines ...journalLine) error {
	var b bytes.Buffer
	for _, l := range lines {
		raw, err := json.Marshal(l)
		if err != nil {
			return err
		}
		b.Write(append(raw, '\n'))
	}
	if j.file == nil {
		if err := j.open(); err != nil {
			return err
		}
	}
	if _, err := j.file.WriteAt(b.Bytes(), j.end); err != nil {
		return err
	}
	j.end += int64(b.Len())
	return j.file.Sync()
}

// open opens the file for adding to it; a line that a killed run began ends here.
func (j *journal) open() error {
	f, err := partial.OS{}.OpenFile(j.path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = partial.OS{}.OpenFile(j.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt([]byte{'\n'}, info.Size())
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.file, j.end = f, info.Size()+1
	return nil
}

// remove removes it: the next run begins anew.
func (j *journal) remove() error {
	err := j.close()
	if e := os.Remove(j.path); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
