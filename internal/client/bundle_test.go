package client

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/unpack"
)

// beginBundle begins on three files in dir, as Client.Bundle does before it asks
// the relay. Who wants to hear of files gets them in told.
func beginBundle(t *testing.T, dir string, told map[int]BundleFile) *bundling {
	t.Helper()
	c, err := New(Config{Tunnel: (&fakeRelay{}).tunnel})
	if err != nil {
		t.Fatal(err)
	}
	r := BundleRequest{
		Dir: dir, Download: 99, Number: func(i int) int { return i },
		Each: func(f BundleFile) { told[f.File] = f },
	}
	for i := range 3 {
		r.Files = append(r.Files, job.File{URL: fmt.Sprintf("https://user:secret@h/%d", i)})
		r.Outputs = append(r.Outputs, Output{Dir: dir})
	}
	r.Request = r.Titled()
	b := &bundling{c: c, r: r, started: time.Now()}
	if b.u, err = unpack.Open(b.options()); err != nil {
		t.Fatal(err)
	}
	return b
}

func asked(r Request) (urls []string) {
	for _, f := range r.Files {
		urls = append(urls, f.URL)
	}
	return urls
}

// The relay is asked for what does not stand, and for the same as before where a
// run was cut off.
func TestBundleAsksForWhatIsMissing(t *testing.T) {
	dir, told := t.TempDir(), map[int]BundleFile{}
	b := beginBundle(t, dir, told)
	all := []string{"https://user:secret@h/0", "https://user:secret@h/1", "https://user:secret@h/2"}
	if req := b.request(); !req.Fresh || !reflect.DeepEqual(asked(req), all) {
		t.Errorf("at first: fresh %v, %v", req.Fresh, asked(req))
	}
	path, sum := filepath.Join(dir, "one"), sha256.Sum256([]byte("1"))
	if err := os.WriteFile(path, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	res := b.result()
	if err := res.Placed(1, &Result{Path: path, SHA256: hex.EncodeToString(sum[:])}); err != nil {
		t.Fatal(err)
	}
	if err := res.Close(); err != nil {
		t.Fatal(err)
	}

	b = beginBundle(t, dir, told)
	b.tellEarlier()
	if f := told[1]; len(told) != 1 || f.URL != "https://h/1" || !f.Result.Skipped || f.Result.Path != path || f.Result.Size != 1 {
		t.Errorf("told %+v", told)
	}
	rest := []string{all[0], all[2]}
	req := b.request()
	if !req.Fresh || !reflect.DeepEqual(asked(req), rest) {
		t.Errorf("the next time: fresh %v, %v", req.Fresh, asked(req))
	}
	if alone := b.result().Alone; !reflect.DeepEqual(alone, map[int]string{0: all[0], 2: all[2]}) {
		t.Errorf("alone: %v", alone)
	}
	if err := os.WriteFile(req.Output.File+partial.StateSuffix, nil, 0o600); err != nil { // as a run leaves it that was killed
		t.Fatal(err)
	}
	if err := b.u.Close(); err != nil {
		t.Fatal(err)
	}

	b = beginBundle(t, dir, told)
	defer func() { _ = b.u.Close() }()
	if req := b.request(); req.Fresh || !reflect.DeepEqual(asked(req), rest) {
		t.Errorf("after a kill: fresh %v, %v", req.Fresh, asked(req))
	}
}

// What was asked for each file is what its unpacking goes by.
func TestBundleOutputs(t *testing.T) {
	each := Output{File: "f", Dir: "d", OnExists: partial.Overwrite, NoTime: true, Checksums: map[string]string{"sha256": "00"}}
	want := unpack.Output{File: "f", Dir: "d", OnExists: partial.Overwrite, NoTime: true, Checksums: map[string]string{"sha256": "00"}}
	b := &bundling{r: BundleRequest{Outputs: []Output{each}, Output: Output{Dir: "all"}}}
	if got := b.output(0); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := b.output(1); got.Dir != "all" { // of a bundle that the relay lists
		t.Errorf("%+v", got)
	}
}
