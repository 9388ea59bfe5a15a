package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/progress"
)

// BundleRequest asks for many small files as one job. What its Request says
// besides URL and files is for all of them.
type BundleRequest struct {
	job.Request

	// Job names a bundle that stands on the relay already. Then nothing is
	// submitted, and Outputs is empty.
	Job job.ID

	// Outputs say where each file goes, by its place in Files. Newer and Adopt are
	// not used.
	Outputs []Output

	// Output is that of every file, without Outputs.
	Output Output

	// Dir is where what has come waits to be unpacked. Empty: the current directory.
	Dir string

	// Download is the number that progress events of the whole carry. Number
	// gives that of a file.
	Download int
	Number   func(file int) int

	// Each is told of each file that stands or will not come, one at a time. Of
	// others see BundleResult.
	Each func(BundleFile)
}

// BundleFile is what became of one file.
type BundleFile struct {
	File   int // its place in the request
	URL    string
	Result *Result // Skipped if it stood from an earlier run
	Err    error
}

// BundleResult tells of a bundle as far as it came. Close it when the files of
// Alone have been brought, or will not be.
type BundleResult struct {
	// Alone are the URLs of the files that were not in it, by their place: too large,
	// too slow, or too few to be worth a bundle. Each is to be fetched by a job of
	// its own.
	Alone map[int]string

	u *unpacker
}

// MinBundle is how many files are asked for as a bundle; fewer come alone.
const MinBundle = 8

// Bundle brings many small files: it submits them as one job, fetches its object
// like any other, and takes it apart while it comes. Without an error every file
// has been told to Each, or is in BundleResult.Alone. After an error, or a death,
// the same request goes on. The result is nil if not even that could be begun.
func (c *Client) Bundle(ctx context.Context, r BundleRequest) (*BundleResult, error) {
	r.Request = r.Titled()
	if len(r.Files) != len(r.Outputs) && r.Job == "" {
		return nil, errors.New("client: a bundle needs an output for each file")
	}
	u, err := openUnpacker(c, r)
	if err != nil {
		return nil, err
	}
	u.tellEarlier()
	if r.Job == "" && !u.goesOn && len(u.index) < MinBundle {
		return u.result(), nil
	}
	if r.Job == "" && len(u.journal.done) == len(r.Files) {
		return u.result(), u.discard(ctx)
	}
	res, err := c.Get(ctx, u.request())
	if err != nil {
		return u.result(), err
	}
	u.report(res)
	return u.result(), nil
}

// Placed takes note of a file that was brought alone.
func (b *BundleResult) Placed(file int, r *Result) error {
	if b.u.r.Job != "" || r.Path == "" {
		return nil // nobody asks for it again
	}
	b.u.mu.Lock()
	defer b.u.mu.Unlock()
	b.u.journal.done[file] = r.Path
	return b.u.journal.intend(map[int]string{file: r.Path}, map[int]string{file: r.SHA256})
}

// Close removes what only served to go on. If some files did not come, the same
// request will ask for those alone.
func (b *BundleResult) Close() error { return errors.Join(b.u.end(), b.u.unlock()) }

// bundleBase is the beginning of the names of all that stands beside the files
// until they are complete. It is the same whenever the same is asked for.
func bundleBase(r BundleRequest) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s\n%s\n", r.Job, listKey(r.Request)) // a hash never fails
	for _, o := range r.Outputs {
		_, _ = fmt.Fprintf(h, "%q %q\n", o.File, o.Dir)
	}
	return filepath.Join(dirOr(r.Dir), ".jumpget-bundle-"+hex.EncodeToString(h.Sum(nil)[:8]))
}

func dirOr(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// openUnpacker finds what an earlier run has left.
func openUnpacker(c *Client, r BundleRequest) (*unpacker, error) {
	base := bundleBase(r)
	unlock, err := lockBundle(base)
	if err != nil {
		return nil, err
	}
	u, err := resumeBundle(c, r, base)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	u.unlock = unlock
	return u, nil
}

// lockBundle sees to it that nobody else brings the same into the same folder.
func lockBundle(base string) (unlock func() error, err error) {
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

func resumeBundle(c *Client, r BundleRequest, base string) (*unpacker, error) {
	j, err := loadJournal(base+journalSuffix, len(r.Files))
	if err != nil {
		return nil, job.Errorf(job.CodeInternal, "what an earlier run has left can't be read: %w", err).WithHint("remove %s", base+journalSuffix)
	}
	_, err = os.Lstat(base + partial.StateSuffix)
	u := &unpacker{c: c, r: r, base: base, journal: j, goesOn: err == nil, started: time.Now(), settled: map[int]bool{}, alone: map[int]string{}}
	if !u.goesOn && r.overwrites() {
		j.done = map[int]string{} // to have them all anew is what was asked for
	}
	if !u.goesOn {
		j.ask(nil)
		if err := j.begin(); err != nil {
			return nil, errors.Join(noJournal(j.path, err), j.close())
		}
	}
	for i := range max(len(r.Files), len(j.done)) {
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

func (r BundleRequest) overwrites() bool {
	for _, o := range r.Outputs {
		if o.OnExists != partial.Overwrite {
			return false
		}
	}
	return len(r.Outputs) > 0 || r.Output.OnExists == partial.Overwrite
}

// request is what the relay is asked for: what did not stand when it was asked
// first. What is gone on with need not be fetched anew.
func (u *unpacker) request() Request {
	req := Request{
		Request: u.r.Request, Job: u.r.Job, Download: u.r.Download,
		Output: Output{File: u.base}, unpack: u,
	}
	if u.r.Job != "" {
		return req
	}
	req.Files = nil
	for _, i := range u.index {
		req.Files = append(req.Files, u.r.Files[i])
	}
	req.Fresh = !u.goesOn
	req.Request = req.Titled()
	return req
}

// tellEarlier tells of the files that stand from an earlier run.
func (u *unpacker) tellEarlier() {
	if len(u.journal.done) > 0 {
		u.note(fmt.Sprintf("%d of the files are here from an earlier run (--force fetches them again)", len(u.journal.done)))
	}
	for i, path := range u.journal.done {
		info, err := os.Lstat(path)
		if err != nil {
			continue // it was there a moment ago
		}
		url := ""
		if i < len(u.r.Files) {
			url = job.StripUser(u.r.Files[i].URL)
		}
		u.tellDone(i, url, info.Size(), &Result{Path: path, Size: info.Size(), Skipped: true, LengthVerified: true})
	}
}

func (u *unpacker) note(text string) {
	u.c.cfg.Reporter.Report(progress.Note{Download: u.r.Download, Text: text})
}

// result lists what is left to do.
func (u *unpacker) result() *BundleResult {
	for i := range u.r.Files {
		if !u.settled[i] && u.alone[i] == "" {
			u.alone[i] = u.r.Files[i].URL
		}
	}
	return &BundleResult{Alone: u.alone, u: u}
}

// discard removes what a run has left that died after it had placed the last file.
func (u *unpacker) discard(ctx context.Context) error {
	if !u.goesOn {
		return nil
	}
	f, err := partial.Open(ctx, partial.Options{Target: u.base, URL: bundleURL(u.request().Request)})
	if err != nil {
		return err
	}
	f.Discard()
	return f.Close()
}

// bundleURL is what a partial file knows a bundle by. Several may begin with the
// same file, so its title is not enough.
func bundleURL(r job.Request) string { return r.URL + "-" + listKey(r) }

// listKey names a list of files. Headers are left out: a cookie that has been
// renewed is no reason to fetch anew what stands.
func listKey(r job.Request) string {
	plain := job.Request{Files: r.Files}
	return plain.Key("")
}

func (u *unpacker) end() error {
	if _, err := os.Lstat(u.base + partial.StateSuffix); err == nil {
		return u.journal.close() // it goes on
	}
	u.sweep()
	if n := len(u.journal.done); u.r.Job != "" || n == 0 || n == len(u.r.Files) {
		return u.journal.remove()
	}
	return u.journal.close()
}

// sweep removes files that a killed run has left half-way to their names.
func (u *unpacker) sweep() {
	dir, prefix := filepath.Split(u.base + ".")
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
