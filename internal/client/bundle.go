package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/unpack"
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

	b *bundling
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
	b := &bundling{c: c, r: r}
	u, err := unpack.Open(b.options())
	if err != nil {
		return nil, err
	}
	b.u, b.started = u, time.Now()
	b.tellEarlier()
	if r.Job == "" && !u.GoesOn() && len(u.Wanted()) < MinBundle {
		return b.result(), nil
	}
	if u.Complete() {
		return b.result(), b.discard(ctx)
	}
	res, err := c.Get(ctx, b.request())
	if err != nil {
		return b.result(), err
	}
	b.report(res)
	return b.result(), nil
}

// Placed takes note of a file that was brought alone.
func (b *BundleResult) Placed(file int, r *Result) error {
	if r.Path == "" {
		return nil
	}
	return b.b.u.Placed(file, r.Path, r.SHA256)
}

// Close removes what only served to go on. If some files did not come, the same
// request will ask for those alone.
func (b *BundleResult) Close() error { return b.b.u.Close() }

// bundling is one run of Client.Bundle.
type bundling struct {
	c       *Client
	r       BundleRequest
	u       *unpack.Unpacker
	started time.Time
}

func (b *bundling) options() unpack.Options {
	o := unpack.Options{Base: bundleBase(b.r), Pulled: b.r.Job != "", Anew: b.r.overwrites(), Output: b.output, Tell: b.tell}
	for _, f := range b.r.Files {
		o.URLs = append(o.URLs, f.URL)
	}
	return o
}

// output is where a file of the request goes.
func (b *bundling) output(i int) unpack.Output {
	out := b.r.Output
	if i < len(b.r.Outputs) {
		out = b.r.Outputs[i]
	}
	return unpack.Output{File: out.File, Dir: out.Dir, OnExists: out.OnExists, NoTime: out.NoTime, Checksums: out.Checksums}
}

// tell tells of a file. How one that failed is shown is the caller's.
func (b *bundling) tell(f unpack.File) {
	told := BundleFile{File: f.Place, URL: f.URL, Err: f.Err}
	if f.Err == nil {
		told.Result = b.placed(f)
	}
	if b.r.Each != nil {
		b.r.Each(told)
	}
}

// placed shows a file that stands.
func (b *bundling) placed(f unpack.File) *Result {
	res := &Result{Path: f.Path, Size: f.Size, SHA256: f.SHA256, Skipped: f.Earlier, LengthVerified: f.LengthVerified}
	resumed := f.Size
	if !f.Earlier {
		resumed, res.Fetched, res.Elapsed = 0, f.Size, time.Since(b.started)
	}
	b.c.cfg.Reporter.Report(progress.Done{
		Download: b.r.Number(f.Place), Bundled: true, Bundle: b.r.Download, URL: f.URL, File: res.Path,
		Size: res.Size, SHA256: res.SHA256, Duration: res.Elapsed, Resumed: resumed, LengthVerified: res.LengthVerified,
	})
	return res
}

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

func (r BundleRequest) overwrites() bool {
	for _, o := range r.Outputs {
		if o.OnExists != partial.Overwrite {
			return false
		}
	}
	return len(r.Outputs) > 0 || r.Output.OnExists == partial.Overwrite
}

// request is what the relay is asked for.
func (b *bundling) request() Request {
	req := Request{
		Request: b.r.Request, Job: b.r.Job, Download: b.r.Download,
		Output: Output{File: bundleBase(b.r)}, unpack: b.u,
	}
	if b.r.Job != "" {
		return req
	}
	req.Files = nil
	for _, i := range b.u.Wanted() {
		req.Files = append(req.Files, b.r.Files[i])
	}
	req.Fresh = !b.u.GoesOn()
	req.Request = req.Titled()
	return req
}

// tellEarlier tells of the files that stand from an earlier run.
func (b *bundling) tellEarlier() {
	if n := b.u.Counts().Done; n > 0 {
		b.note(fmt.Sprintf("%d of the files are here from an earlier run (--force fetches them again)", n))
	}
	b.u.TellEarlier()
}

func (b *bundling) note(text string) {
	b.c.cfg.Reporter.Report(progress.Note{Download: b.r.Download, Text: text})
}

// report tells of the bundle as one.
func (b *bundling) report(res *Result) {
	n := b.u.Counts()
	b.c.cfg.Reporter.Report(progress.Bundle{
		Download: b.r.Download, Files: n.Done, Failed: n.Failed, Alone: n.Alone,
		Size: n.Bytes, Rate: float64(res.Fetched) / max(res.Elapsed.Seconds(), 1e-3), Duration: res.Elapsed, Paths: res.uses,
	})
}

// result lists what is left to do.
func (b *bundling) result() *BundleResult { return &BundleResult{Alone: b.u.Alone(), b: b} }

// discard removes what a run has left that died after it had placed the last file.
func (b *bundling) discard(ctx context.Context) error {
	if !b.u.GoesOn() {
		return nil
	}
	req := b.request()
	f, err := partial.Open(ctx, partial.Options{Target: req.Output.File, URL: bundleURL(req.Request)})
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
