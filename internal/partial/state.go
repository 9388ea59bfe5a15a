package partial

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// stateFormat grows when an older program would misread the state.
const stateFormat = 1

// maxState bounds what is read of a state file that somebody else may have made.
const maxState = 64 << 20

// state is what one run tells the next. On disk it is one line of JSON and one
// line with the hex SHA-256 of the first, so that any damage shows.
type state struct {
	Format  int        `json:"format"`
	URL     string     `json:"url"`      // for people; holds no secret
	URLHash string     `json:"url_hash"` // hex SHA-256 of the URL
	Object  job.ID     `json:"object,omitempty"`
	Size    int64      `json:"size"`
	Stored  [][2]int64 `json:"stored"` // bytes [start, end) that were synced
	// Clean is set by Close: what is stored is all there is, to the byte.
	Clean bool   `json:"clean,omitempty"`
	Final *final `json:"final,omitempty"` // set just before the last rename
}

// final is the name and hash under which the file was about to appear.
type final struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

func (s *state) stored() span.Set {
	var set span.Set
	for _, p := range s.Stored {
		if p[0] >= 0 {
			set.Add(span.Span{Start: p[0], End: p[1]})
		}
	}
	return set
}

func pairs(set span.Set) [][2]int64 {
	out := [][2]int64{}
	for _, s := range set.Spans() {
		out = append(out, [2]int64{s.Start, s.End})
	}
	return out
}

func (s *state) encode() ([]byte, error) {
	line, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(line)
	line = append(line, '\n')
	line = hex.AppendEncode(line, sum[:])
	return append(line, '\n'), nil
}

// errGarbage stands for a state that can't be used: damaged, truncated, or of
// a format not known yet.
var errGarbage = errors.New("damaged state file")

func decodeState(b []byte) (*state, error) {
	line, check, _ := bytes.Cut(b, []byte("\n"))
	sum := sha256.Sum256(line)
	if string(check) != hex.EncodeToString(sum[:])+"\n" {
		return nil, errGarbage
	}
	var s state
	if json.Unmarshal(line, &s) != nil || s.Format != stateFormat {
		return nil, errGarbage
	}
	return &s, nil
}

// loadState reads the state at path. The error is errGarbage, fs.ErrNotExist,
// or one of the disk.
func loadState(fsys FS, path string) (*state, error) {
	h, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(h, 0, maxState))
	if err := errors.Join(err, h.Close()); err != nil {
		return nil, err
	}
	return decodeState(b)
}

// saveState replaces the state at path in one step. When it returns, the new one
// is durable if sync is set; in any case the old or the new one stands there.
func saveState(fsys FS, dir, path string, s *state, sync bool) error {
	b, err := s.encode()
	if err != nil {
		return err
	}
	temp := path + ".tmp"
	if err := fsys.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ioError("removing", temp, err)
	}
	if err := writeFile(fsys, temp, b, sync); err != nil {
		_ = fsys.Remove(temp) // the error above is the one that matters
		return ioError("writing", temp, err)
	}
	if err := fsys.Rename(temp, path); err != nil {
		_ = fsys.Remove(temp)
		return ioError("replacing", path, err)
	}
	if !sync {
		return nil
	}
	if err := fsys.SyncDir(dir); err != nil {
		return ioError("syncing", dir, err)
	}
	return nil
}

func writeFile(fsys FS, path string, b []byte, sync bool) error {
	h, err := fsys.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = h.WriteAt(b, 0)
	if err == nil && sync {
		err = h.Sync()
	}
	return errors.Join(err, h.Close())
}

// hashURL identifies a URL without keeping it.
func hashURL(u string) string {
	sum := sha256.Sum256([]byte(u))
	return hex.EncodeToString(sum[:])
}

// displayURL leaves out everything of a URL that may be a secret.
func displayURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URL)"
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.RawQuery != "" {
		return shown.String() + "?..."
	}
	return shown.String()
}
