package origin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
)

const mib = 1 << 20

func TestPlainFetchIsOneRequest(t *testing.T) {
	when := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	file := origintest.File{
		Path: "/dir/a%20b.iso", Size: 3*mib + 17, Seed: 1, ETag: `"v1"`, LastModified: when,
		ContentType: "application/x-iso", Gzip: true,
	}
	file.Path = "/dir/a b.iso"
	s := origintest.New(t, file)
	res, m := mustGet(t, fetcher(t), s.URL("/dir/a%20b.iso?x=y"), file)
	want := Meta{
		FinalURL: s.URL("/dir/a%20b.iso?x=y"), Name: "a b.iso", Size: file.Size, ETag: `"v1"`,
		LastModified: "Tue, 03 Feb 2026 04:05:06 GMT", ModTime: when, ContentType: "application/x-iso", Ranges: true,
	}
	if len(m.metas) != 1 || m.metas[0] != want || res.Meta != want {
		t.Errorf("meta: got %+v", m.metas)
	}
	if !res.LengthVerified || res.Received != file.Size || res.Conns != 1 || m.size != -1 {
		t.Errorf("result: %+v, SetSize %d", res, m.size)
	}
	log := s.Requests()
	if len(log) != 1 || log[0].Header.Get("Range") != "" || log[0].Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("requests: %+v", log)
	}
}

func TestEmptyFile(t *testing.T) {
	file := origintest.File{Data: []byte{}, ETag: `"v1"`}
	res, _ := mustGet(t, fetcher(t), origintest.New(t, file).URL(""), file)
	if !res.LengthVerified {
		t.Error("an announced length of 0 is verified")
	}
}

// faults.md: TCP reset every 1 MB.
func TestResetEveryMegabyte(t *testing.T) {
	file := origintest.File{Size: 5 * mib, Seed: 2, ETag: `"v1"`, Faults: faults(origintest.Reset(mib))}
	s := origintest.New(t, file)
	_, m := mustGet(t, fetcher(t), s.URL(""), file)
	if len(m.metas) != 1 {
		t.Errorf("%d versions begun", len(m.metas))
	}
	for _, r := range s.Requests()[1:] {
		if r.Header.Get("If-Range") != `"v1"` || r.Header.Get("Range") == "" {
			t.Errorf("resumed with %q, If-Range %q", r.Header.Get("Range"), r.Header.Get("If-Range"))
		}
	}
}

// faults.md: peer stalls with the socket open.
func TestStall(t *testing.T) {
	file := origintest.File{Size: mib, ETag: `"v1"`, Faults: faults(origintest.First(2, origintest.Stall(300_000)))}
	s := origintest.New(t, file)
	f := fetcher(t, func(c *Config) { c.StallTimeout = 40 * time.Millisecond })
	_, m := mustGet(t, f, s.URL(""), file)
	if s.Count() != 3 || len(m.metas) != 1 {
		t.Errorf("%d requests, %d versions", s.Count(), len(m.metas))
	}
}

func TestStalledForGood(t *testing.T) {
	s := origintest.New(t, origintest.File{Size: mib, ETag: `"v1"`, Faults: faults(origintest.Stall(0))})
	f := fetcher(t, func(c *Config) { c.StallTimeout, c.Tries = 10*time.Millisecond, 3 })
	_, err := get(t, f, sink(t), s.URL(""))
	e := wantCode(t, err, job.CodeOriginNet)
	if !strings.Contains(e.Message, errStall.Error()) || s.Count() > 5 {
		t.Errorf("%d requests, %q", s.Count(), e.Message)
	}
}

// faults.md: minimum speed, against an origin that trickles for ever.
func TestTrickleEnds(t *testing.T) {
	s := origintest.New(t, origintest.File{Size: mib, ETag: `"v1"`, Faults: faults(origintest.Slow(2000))})
	f := fetcher(t, func(c *Config) { c.MinSpeed, c.SpeedWindow, c.Tries = 1<<20, 50*time.Millisecond, 2 })
	_, err := get(t, f, sink(t), s.URL(""))
	if e := wantCode(t, err, job.CodeOriginNet); !strings.Contains(e.Message, errSlow.Error()) {
		t.Error(e.Message)
	}
}

// faults.md: origin closes before Content-Length is reached.
func TestClosesBeforeLength(t *testing.T) {
	early := origintest.First(1, origintest.Close(300_000))
	tests := []struct {
		name   string
		file   origintest.File
		begins int
	}{
		{"ranges", origintest.File{ETag: `"v1"`, Faults: faults(early)}, 1},
		{"by date and length", origintest.File{LastModified: time.Unix(1e9, 0), Faults: faults(early)}, 1},
		{"no ranges, same version", origintest.File{ETag: `"v1"`, NoRanges: true, Faults: faults(early)}, 1},
		{"nothing to compare", origintest.File{Faults: faults(early)}, 2},
		{"announces too much", origintest.File{ETag: `"v1"`, Faults: faults(origintest.First(1, origintest.Length(2*mib)))}, 2},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tc.file.Size = mib
			s := origintest.New(t, tc.file)
			res, m := mustGet(t, fetcher(t), s.URL(""), tc.file)
			if len(m.metas) != tc.begins || !res.LengthVerified {
				t.Errorf("%d versions begun, want %d; %+v", len(m.metas), tc.begins, res)
			}
		})
	}
}

func TestClosesBeforeLengthForGood(t *testing.T) {
	for _, file := range []origintest.File{
		{NoRanges: true},
		{NoRanges: true, ETag: `"v1"`},
	} {
		file.Size, file.Faults = mib, faults(origintest.Close(300_000))
		s := origintest.New(t, file)
		_, err := get(t, fetcher(t), sink(t), s.URL(""))
		e := wantCode(t, err, job.CodeOriginNet)
		if !strings.Contains(e.Message, errShort.Error()) || s.Count() > 8 {
			t.Errorf("%d requests, %q", s.Count(), e.Message)
		}
	}
}

// faults.md: origin without a length closes early.
func TestNoLength(t *testing.T) {
	tests := []struct {
		name     string
		file     origintest.File
		got      int64
		verified bool
	}{
		{"chunked", origintest.File{Faults: faults(origintest.NoLength())}, mib, true},
		{"HTTP/1.0", origintest.File{Faults: faults(origintest.HTTP10())}, mib, false},
		{"HTTP/1.0 closes early", origintest.File{Faults: faults(origintest.HTTP10(), origintest.Close(1000))}, 1000, false},
		{"chunked, cut once", origintest.File{ETag: `"v1"`, Faults: faults(origintest.First(1, origintest.NoLength(), origintest.Close(300_000)))}, mib, true},
		{"chunked, cut, no proof", origintest.File{Faults: faults(origintest.NoLength(), origintest.First(1, origintest.Close(1000)))}, mib, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tc.file.Size = mib
			m := sink(t)
			res, err := get(t, fetcher(t), m, origintest.New(t, tc.file).URL(""))
			if err != nil || res.LengthVerified != tc.verified || m.size != tc.got || res.Size != tc.got {
				t.Fatalf("%+v, SetSize %d, %v", res, m.size, err)
			}
			if m.metas[0].Size != job.UnknownSize || int64(len(m.data)) != tc.got {
				t.Fatalf("size %d, %d bytes", m.metas[0].Size, len(m.data))
			}
		})
	}
}

// faults.md: ETag or length changes in mid-file.
func TestVersionChange(t *testing.T) {
	tests := []struct{ name, old, new string }{
		{"strong", `"v1"`, `"v2"`},
		{"to none", `"v1"`, ""},
		{"weak", `W/"v1"`, `W/"v2"`},
		{"same ETag, other length", `"v1"`, `"v1"`},
		{"by date", "", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			next := origintest.File{Size: mib + 5, Seed: 2, ETag: tc.new, LastModified: time.Unix(2e9, 0)}
			s := origintest.New(t, origintest.File{
				Size: mib, Seed: 1, ETag: tc.old, LastModified: time.Unix(1e9, 0), Then: &next, ThenAtByte: 400_000,
			})
			_, m := mustGet(t, fetcher(t), s.URL(""), next)
			if len(m.metas) != 2 || m.metas[1].Size != next.Size || m.metas[1].ETag != tc.new {
				t.Errorf("versions: %+v", m.metas)
			}
			if tc.old == `"v1"` && tc.new == `"v2"` && s.Count() != 2 {
				t.Errorf("%d requests: the answer that showed the change is to be used", s.Count())
			}
		})
	}
}

func TestFileThatKeepsChanging(t *testing.T) {
	n := 0
	s := origintest.New(t, origintest.File{Size: mib, ETag: `"v"`, Faults: faults(origintest.Close(1000), func(r *origintest.Reply) {
		n++
		r.Header.Set("ETag", `"`+strings.Repeat("v", n)+`"`)
		r.Status = 200
	})})
	_, err := get(t, fetcher(t), sink(t), s.URL(""))
	wantCode(t, err, job.CodeOriginProto)
}

// faults.md: only a weak ETag.
func TestWeakETagStartsAgain(t *testing.T) {
	file := origintest.File{
		Size: mib, ETag: `W/"v1"`, LastModified: time.Unix(1e9, 0),
		Faults: faults(origintest.First(2, origintest.Close(300_000))),
	}
	s := origintest.New(t, file)
	_, m := mustGet(t, fetcher(t), s.URL(""), file)
	if len(m.metas) != 3 {
		t.Errorf("%d versions begun, want 3", len(m.metas))
	}
	for _, r := range s.Requests() {
		if r.Header.Get("Range")+r.Header.Get("If-Range") != "" {
			t.Errorf("asked for a range: %v", r.Header)
		}
	}
}

// A Last-Modified within the second of the answer's Date proves nothing.
func TestFreshDateIsNoValidator(t *testing.T) {
	file := origintest.File{Size: mib, LastModified: time.Now().Add(time.Minute), Faults: faults(origintest.First(1, origintest.Close(300_000)))}
	s := origintest.New(t, file)
	if _, m := mustGet(t, fetcher(t), s.URL(""), file); len(m.metas) != 2 {
		t.Errorf("%d versions begun, want 2", len(m.metas))
	}
}

// faults.md: 206 with a wrong Content-Range; 200 to a Range request; 416.
func TestLyingRanges(t *testing.T) {
	for name, fault := range map[string]origintest.Fault{
		"other bytes, and says so":  origintest.Shift(10),
		"other bytes, says nothing": origintest.ContentRange(""),
		"garbage":                   origintest.ContentRange("bytes 300000-99/nonsense"),
		"another total":             origintest.ContentRange("bytes 300000-1048575/1048577"),
		"another unit":              origintest.ContentRange("lines 300000-1048575/1048576"),
		"no validator": func(r *origintest.Reply) {
			if r.Status == 206 {
				r.Header.Del("ETag")
			}
		},
		"another validator": func(r *origintest.Reply) {
			if r.Status == 206 {
				r.Header.Set("ETag", `"v0"`)
			}
		},
		"whole file": origintest.Whole(),
		"416":        origintest.Unsatisfiable(),
	} {
		t.Run(name, func(t *testing.T) {
			file := origintest.File{Size: mib, ETag: `"v1"`, Faults: faults(fault, origintest.First(1, origintest.Close(300_000)))}
			s := origintest.New(t, file)
			mustGet(t, fetcher(t), s.URL(""), file)
			if s.Count() > 3 {
				t.Errorf("%d requests", s.Count())
			}
		})
	}
}

func TestPartWithoutBeingAsked(t *testing.T) {
	s := origintest.New(t, origintest.File{Size: 10, Faults: faults(func(r *origintest.Reply) {
		r.Status = 206
		r.Header.Set("Content-Range", "bytes 0-9/10")
	})})
	_, err := get(t, fetcher(t), sink(t), s.URL(""))
	wantCode(t, err, job.CodeOriginProto)
}

// faults.md: endless body, and lying lengths.
func TestCap(t *testing.T) {
	for name, file := range map[string]origintest.File{
		"endless":          {Faults: faults(origintest.Endless())},
		"endless HTTP/1.0": {Faults: faults(origintest.Endless(), origintest.HTTP10())},
		"announced":        {Size: 2*mib + 1},
		"lying":            {Size: 10, Faults: faults(origintest.Length(1 << 60))},
	} {
		t.Run(name, func(t *testing.T) {
			m := sink(t)
			_, err := get(t, fetcher(t, func(c *Config) { c.MaxSize = 2 * mib }), m, origintest.New(t, file).URL(""))
			wantCode(t, err, job.CodeTooLarge)
			if len(m.data) > 2*mib {
				t.Errorf("%d bytes written", len(m.data))
			}
		})
	}
}

func TestFileOfExactlyTheCap(t *testing.T) {
	file := origintest.File{Size: 2 * mib, Faults: faults(origintest.NoLength())}
	mustGet(t, fetcher(t, func(c *Config) { c.MaxSize = 2 * mib }), origintest.New(t, file).URL(""), file)
}

func TestCancel(t *testing.T) {
	s := origintest.New(t, origintest.File{Size: mib, Faults: faults(origintest.Stall(1000))})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("removed by its owner")
	m := sink(t)
	time.AfterFunc(30*time.Millisecond, func() { cancel(why) })
	_, err := fetcher(t).Fetch(ctx, &job.Request{URL: s.URL(""), Mirrors: []string{s.URL("")}}, nil, m)
	if !errors.Is(err, why) || s.Count() != 1 {
		t.Fatalf("%v after %d requests", err, s.Count())
	}
}

func TestSinkErrorsComeBackUnchanged(t *testing.T) {
	full := job.Errorf(job.CodeDisk, "the disk is full")
	for _, m := range []*memory{{t: t, beginErr: full}, {t: t, writeErr: full}} {
		s := origintest.New(t, origintest.File{Size: 3 * mib, ETag: `"v1"`})
		_, err := fetcher(t).Fetch(t.Context(), &job.Request{URL: s.URL(""), Mirrors: []string{s.URL("")}}, nil, m)
		if err != error(full) || s.Count() != 1 {
			t.Errorf("got %v after %d requests", err, s.Count())
		}
	}
}

// Whatever an origin does, a fetch ends in one of its versions or in an error.
func TestNeverASplice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		etags := rapid.SampledFrom([]string{"", `"a"`, `W/"a"`})
		size := rapid.Int64Range(0, 400_000)
		at := rapid.Int64Range(0, 300_000)
		fault := rapid.Custom(func(rt *rapid.T) origintest.Fault {
			n := at.Draw(rt, "at")
			f := rapid.SampledFrom([]origintest.Fault{
				origintest.Reset(n), origintest.Close(n), origintest.NoLength(), origintest.Whole(),
				origintest.Shift(n), origintest.Unsatisfiable(), origintest.Status(503), origintest.ContentRange(""),
			}).Draw(rt, "fault")
			return origintest.First(rapid.IntRange(1, 4).Draw(rt, "first"), f)
		})
		old := origintest.File{
			Seed: 1, Size: size.Draw(rt, "old"), ETag: etags.Draw(rt, "etag"), NoRanges: rapid.Bool().Draw(rt, "noranges"),
			Faults: rapid.SliceOfN(fault, 0, 3).Draw(rt, "faults"),
		}
		next := origintest.File{Seed: 2, Size: size.Draw(rt, "new"), ETag: `"b"`}
		old.Then, old.ThenAt = &next, rapid.IntRange(0, 4).Draw(rt, "then")
		s := origintest.Start(old)
		defer s.Close()
		f := fetcher(t)
		defer f.Close()
		m := sink(t)
		if _, err := get(t, f, m, s.URL("")); err != nil {
			if _, ok := errors.AsType[*job.Error](err); !ok {
				rt.Fatalf("the error has no code: %v", err)
			}
			return
		}
		if sum := m.sum(); sum != old.SHA256() && sum != next.SHA256() {
			rt.Fatalf("%d bytes of neither version", len(m.data))
		}
	})
}
