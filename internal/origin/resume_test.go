package origin

import (
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/span"
)

func TestResume(t *testing.T) {
	all := span.Span{End: mib}
	tests := []struct {
		name     string
		file     origintest.File
		have     []span.Span
		resumed  bool
		received int64 // at most
	}{
		{"from a front", origintest.File{ETag: `"v1"`}, []span.Span{{Start: 0, End: 700_000}}, true, mib - 700_000},
		{"gaps", origintest.File{ETag: `"v1"`}, []span.Span{{Start: 0, End: 10}, {Start: 500_000, End: 1_000_000}}, true, mib - 10},
		{"front missing", origintest.File{ETag: `"v1"`}, []span.Span{{Start: 500_000, End: 1_000_000}}, true, mib},
		{"complete", origintest.File{ETag: `"v1"`}, []span.Span{all}, true, 1},
		{"nothing there", origintest.File{ETag: `"v1"`}, nil, true, mib},
		{"weak", origintest.File{ETag: `W/"v1"`}, []span.Span{{Start: 0, End: 700_000}}, false, mib},
		{"by date alone", origintest.File{LastModified: time.Unix(1e9, 0)}, []span.Span{{Start: 0, End: 700_000}}, false, mib},
		{"origin has no ranges", origintest.File{ETag: `"v1"`, NoRanges: true}, []span.Span{{Start: 0, End: 700_000}}, true, mib},
		{"416 to every range", origintest.File{ETag: `"v1"`, Faults: faults(origintest.Unsatisfiable())}, []span.Span{all}, true, mib},
		{"416 and incomplete", origintest.File{ETag: `"v1"`, Faults: faults(origintest.Unsatisfiable())}, []span.Span{{Start: 0, End: 700_000}}, true, mib},
		{"lying ranges", origintest.File{ETag: `"v1"`, Faults: faults(origintest.ContentRange(""))}, []span.Span{{Start: 0, End: 700_000}}, true, mib},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tc.file.Size, tc.file.Seed = mib, 4
			s := origintest.New(t, tc.file)
			m := sink(t)
			var prior *Prior
			prior, m.prior = partial(tc.file, tc.have...)
			res, err := fetcher(t).Fetch(t.Context(), &job.Request{URL: s.URL("")}, prior, m)
			check(t, res, err, m, tc.file)
			if len(m.metas) != 1 || m.metas[0].Resumed != tc.resumed || res.Received > tc.received {
				t.Errorf("versions %+v, received %d", m.metas, res.Received)
			}
		})
	}
}

func TestResumeOfUnknownLength(t *testing.T) {
	file := origintest.File{Size: mib, ETag: `"v1"`}
	for _, n := range []int64{0, 1, 700_000, mib} {
		s := origintest.New(t, file)
		m := sink(t)
		var prior *Prior
		prior, m.prior = partial(file, span.Span{End: n})
		prior.Size = job.UnknownSize
		res, err := fetcher(t).Fetch(t.Context(), &job.Request{URL: s.URL("")}, prior, m)
		check(t, res, err, m, file)
		if !m.metas[0].Resumed || !res.LengthVerified || res.Received > mib-n+1 {
			t.Errorf("%d: %+v", n, res)
		}
	}
}

func TestResumeOfAChangedFile(t *testing.T) {
	old := origintest.File{Size: mib, Seed: 1, ETag: `"v1"`}
	for name, file := range map[string]origintest.File{
		"another ETag":      {Size: mib, Seed: 2, ETag: `"v2"`},
		"shorter":           {Size: 1000, Seed: 2, ETag: `"v2"`},
		"no ETag":           {Size: mib, Seed: 2},
		"now weak":          {Size: mib, Seed: 2, ETag: `W/"v1"`},
		"same, but shorter": {Size: 1000, Seed: 2, ETag: `"v1"`},
		"ignores If-Range": {Size: mib, Seed: 2, ETag: `"v2"`, Faults: faults(func(r *origintest.Reply) {
			if r.Request.Header.Get("Range") != "" {
				r.Status = 206
				r.Span.Start = 700_000
				r.Header.Set("Content-Range", "bytes 700000-1048575/1048576")
			}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			s := origintest.New(t, file)
			m := sink(t)
			var prior *Prior
			prior, m.prior = partial(old, span.Span{End: 700_000})
			res, err := fetcher(t).Fetch(t.Context(), &job.Request{URL: s.URL("")}, prior, m)
			check(t, res, err, m, file)
			if len(m.metas) != 1 || m.metas[0].Resumed {
				t.Errorf("versions %+v", m.metas)
			}
		})
	}
}

func TestRevalidate(t *testing.T) {
	when := time.Unix(1e9, 0)
	date := "Sun, 09 Sep 2001 01:46:40 GMT"
	ignore := faults(func(r *origintest.Reply) {
		if r.Status == 304 {
			r.Status = 200
			r.Content = origintest.Random(mib, 0)
			r.Span.End = mib
		}
	})
	tests := []struct {
		name string
		file origintest.File
		obj  job.Object
		want bool
	}{
		{"ETag", origintest.File{ETag: `"v1"`}, job.Object{ETag: `"v1"`}, true},
		{"other ETag", origintest.File{ETag: `"v2"`}, job.Object{ETag: `"v1"`}, false},
		{"weak ETag", origintest.File{ETag: `W/"v1"`}, job.Object{ETag: `W/"v1"`}, true},
		{"date", origintest.File{LastModified: when}, job.Object{LastModified: date}, true},
		{"later date", origintest.File{LastModified: when.Add(time.Hour)}, job.Object{LastModified: date}, false},
		{"other ETag, same date", origintest.File{ETag: `"v2"`, LastModified: when}, job.Object{ETag: `"v1"`, LastModified: date}, false},
		{"nothing to compare", origintest.File{}, job.Object{}, false},
		{"conditions ignored", origintest.File{ETag: `"v1"`, Faults: ignore}, job.Object{ETag: `"v1"`}, true},
		{"conditions ignored, date", origintest.File{LastModified: when, Faults: ignore}, job.Object{LastModified: date}, true},
		{"conditions ignored, length", origintest.File{ETag: `"v1"`, Faults: append(ignore, origintest.Length(mib-1))}, job.Object{ETag: `"v1"`}, false},
		{"after a 503", origintest.File{ETag: `"v1"`, Faults: faults(origintest.First(1, origintest.Status(503)))}, job.Object{ETag: `"v1"`}, true},
	}
	for _, tc := range tests {
		tc.file.Size, tc.obj.Size = mib, mib
		s := origintest.New(t, tc.file)
		got, err := fetcher(t).Revalidate(t.Context(), &job.Request{URL: s.URL("")}, &tc.obj)
		if err != nil || got != tc.want {
			t.Errorf("%s: got %v, %v", tc.name, got, err)
		}
	}
	s := origintest.New(t)
	_, err := fetcher(t).Revalidate(t.Context(), &job.Request{URL: s.URL("")}, &job.Object{ETag: `"v1"`})
	wantCode(t, err, job.CodeOriginStatus)
}
