package cli

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/client"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
)

// unit is what is brought by one job: a single order, or several as a bundle.
type unit struct {
	orders []int // their numbers
	number int   // of the whole, in events
}

// stray is an order that was left out of a bundle.
type stray struct {
	order int
	file  int // its place in the bundle
	from  *client.BundleResult
}

// units parts the orders into those that come alone and those that come as
// bundles. A bundle's files are asked for with the same headers and login.
func (d *downloads) units(orders []order) []unit {
	groups := map[string][]int{}
	var keys []string
	for i, o := range orders {
		key := ""
		if d.bundles(o) {
			same := job.Request{Header: o.req.Header, Username: o.req.Username, Password: o.req.Password}
			key = same.Key("bundled")
		}
		if groups[key] == nil {
			keys = append(keys, key)
		}
		groups[key] = append(groups[key], i)
	}
	var units []unit
	next := len(orders)
	for _, key := range keys {
		if key == "" {
			units = append(units, singles(groups[key])...)
			continue
		}
		for _, part := range split(orders, groups[key]) {
			if len(part) < client.MinBundle {
				units = append(units, singles(part)...)
				continue
			}
			units = append(units, unit{part, next})
			next++
		}
	}
	return units
}

func singles(numbers []int) []unit {
	var units []unit
	for _, n := range numbers {
		units = append(units, unit{[]int{n}, n})
	}
	return units
}

// bundles reports whether an order can come in a bundle. What depends on what
// stands here already is asked for by itself, since a bundle brings all of it.
func (d *downloads) bundles(o order) bool {
	looks := d.out.newer || d.out.adopt || d.out.noClobber
	return !d.out.noBundle && !looks && o.job == "" && o.output != "-" && bundle.ListLen(o.file()) <= bundle.MaxList &&
		(o.output == "" || !isStream(o.target()))
}

// file is the order as an entry of a bundle's list.
func (o order) file() job.File { return job.File{URL: o.req.URL, Mirrors: o.req.Mirrors} }

// folder is where an order's file goes.
func (o order) folder() string {
	if o.output != "" {
		return filepath.Dir(o.target())
	}
	return folder(o.dir)
}

// split cuts a long list into parts that a bundle can take, about equally long.
func split(orders []order, numbers []int) [][]int {
	parts := (len(numbers) + bundle.MaxFiles - 1) / bundle.MaxFiles
	most := (len(numbers) + parts - 1) / parts
	var out [][]int
	var part []int
	size := 0
	for _, n := range numbers {
		more := bundle.ListLen(orders[n].file())
		if len(part) == most || size+more > bundle.MaxList {
			out = append(out, part)
			part, size = nil, 0
		}
		part = append(part, n)
		size += more
	}
	return append(out, part)
}

// several brings a bundle's files and returns those that have to be brought by
// themselves. codes gets an exit code for each of the others. The result is to be
// closed afterwards; it may be nil.
func (d *downloads) several(ctx context.Context, u unit, orders []order, codes []int) (*client.BundleResult, []stray) {
	told := map[int]bool{}
	r := d.bundle(u, orders)
	r.Each = func(f client.BundleFile) {
		n := u.orders[f.File]
		told[f.File] = true
		codes[n] = d.settled(ctx, n, orders[n].target(), f)
	}
	res, err := d.client.Bundle(ctx, r)
	var strays []stray
	for i, n := range u.orders {
		if !told[i] {
			strays = append(strays, stray{n, i, res})
		}
	}
	if err == nil || res != nil && comeAlone(err) {
		return res, strays
	}
	d.failed(ctx, progress.Failed{Download: u.number}, err)
	for _, s := range strays {
		codes[s.order] = d.failed(ctx, progress.Failed{
			Download: s.order, URL: job.StripUser(orders[s.order].req.URL), File: orders[s.order].target(), Bundled: true, Bundle: u.number,
		}, err)
	}
	return res, nil
}

// bundle is what the client is asked for.
func (d *downloads) bundle(u unit, orders []order) client.BundleRequest {
	first := orders[u.orders[0]]
	r := client.BundleRequest{
		Request: job.Request{Header: first.req.Header, Username: first.req.Username, Password: first.req.Password},
		Dir:     first.folder(), Download: u.number, Number: func(i int) int { return u.orders[i] },
	}
	for _, n := range u.orders {
		r.Files = append(r.Files, orders[n].file())
		r.Outputs = append(r.Outputs, d.request(n, orders[n]).Output)
	}
	return r
}

// comeAlone reports whether the files of a bundle that failed may come by
// themselves: the relay takes no bundles, or has no room for so much at once.
func comeAlone(err error) bool {
	for _, code := range []job.Code{job.CodeForbidden, job.CodeBadRequest, job.CodeBadURL, job.CodeQuota, job.CodeTooLarge} {
		if errors.Is(err, &job.Error{Code: code}) {
			return true
		}
	}
	return false
}

// settled shows what became of one file of a bundle, as far as that has not been
// shown, and returns its exit code.
func (d *downloads) settled(ctx context.Context, n int, target string, f client.BundleFile) int {
	err := f.Err
	if err == nil {
		err = d.finished(ctx, n, f.Result)
	}
	if err == nil {
		return exitOK
	}
	return d.failed(ctx, progress.Failed{Download: n, URL: f.URL, File: target}, err)
}

// pulled brings a bundle that stands on the relay, and returns its exit code.
// first is the number of its first file.
func (d *downloads) pulled(ctx context.Context, n, first int, o order) int {
	var codes []int
	r := client.BundleRequest{
		Job: o.job, Output: d.request(n, o).Output, Dir: folder(o.dir), Download: n,
		Number: func(i int) int { return first + i },
		Each:   func(f client.BundleFile) { codes = append(codes, d.settled(ctx, first+f.File, "", f)) },
	}
	res, err := d.client.Bundle(ctx, r)
	if res != nil {
		defer func() { _ = res.Close() }() // it removes what nobody needs
	}
	if err != nil {
		return combine(append(codes, d.failed(ctx, progress.Failed{Download: n, URL: job.StripUser(o.req.URL)}, err)))
	}
	for _, i := range slices.Sorted(maps.Keys(res.Alone)) {
		_, code := d.one(ctx, first+i, order{req: job.Request{URL: res.Alone[i]}, dir: o.dir})
		codes = append(codes, code)
	}
	return combine(codes)
}

// bringStrays brings what was left out of bundles, several at once.
func (d *downloads) bringStrays(ctx context.Context, strays []stray, orders []order, codes []int) {
	d.each(len(strays), func(k int) {
		s := strays[k]
		var res *client.Result
		res, codes[s.order] = d.one(ctx, s.order, orders[s.order])
		if res == nil {
			return
		}
		if err := s.from.Placed(s.file, res); err != nil {
			d.show.Report(progress.Note{Download: s.order, Text: "the next run of the same list will fetch it again: " + err.Error(), Level: progress.Warning})
		}
	})
}

// failures holds back what has failed while many files come, so that it is not
// lost among them but stands at the end.
type failures struct {
	mu   sync.Mutex
	hold bool
	list []progress.Failed
}

// tell shows the failures that were held back, in the order of the list.
func (f *failures) tell(to progress.Reporter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(f.list, func(a, b progress.Failed) int { return cmp.Compare(a.Download, b.Download) })
	for _, e := range f.list {
		to.Report(e)
	}
	f.list = nil
}
