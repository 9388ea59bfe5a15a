package origin

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
)

// faults.md: 404, 403, 500 from the origin.
func TestStatus(t *testing.T) {
	tests := []struct {
		status   int
		code     job.Code
		requests int
	}{
		{204, job.CodeOriginStatus, 1},
		{400, job.CodeOriginStatus, 1},
		{401, job.CodeOriginLogin, 1},
		{403, job.CodeOriginLogin, 1},
		{404, job.CodeOriginStatus, 1},
		{407, job.CodeOriginLogin, 1},
		{410, job.CodeOriginStatus, 1},
		{416, job.CodeOriginStatus, 1},
		{429, job.CodeOriginStatus, 6},
		{500, job.CodeOriginStatus, 6},
		{501, job.CodeOriginStatus, 1},
		{503, job.CodeOriginStatus, 6},
	}
	for _, tc := range tests {
		s := origintest.New(t, origintest.File{Faults: faults(origintest.Status(tc.status))})
		m := sink(t)
		_, err := get(t, fetcher(t), m, s.URL(""))
		e := wantCode(t, err, tc.code)
		if e.Status != tc.status || s.Count() != tc.requests || len(m.metas) != 0 {
			t.Errorf("%d: status %d, %d requests, %d begun", tc.status, e.Status, s.Count(), len(m.metas))
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	tests := []struct {
		header string
		least  time.Duration
		fails  bool
	}{
		{"7", 7 * time.Second, false},
		{now.Add(9 * time.Second).Format(http.TimeFormat), 9 * time.Second, false},
		{now.Add(-time.Hour).Format(http.TimeFormat), 100 * time.Millisecond, false},
		{"soon", 100 * time.Millisecond, false},
		{"86400", 0, true},
		{"99999999999999999999", 100 * time.Millisecond, false},
	}
	for _, tc := range tests {
		file := origintest.File{Size: 10, Faults: faults(origintest.First(1, origintest.Status(503, "Retry-After", tc.header)))}
		s := origintest.New(t, file)
		slept := &sleeps{}
		f := fetcher(t, func(c *Config) { c.Sleep, c.Now = slept.sleep, func() time.Time { return now } })
		m := sink(t)
		_, err := get(t, f, m, s.URL(""))
		if tc.fails {
			wantCode(t, err, job.CodeOriginStatus)
			continue
		}
		if err != nil || len(slept.list) != 1 || slept.list[0] < tc.least || slept.list[0] > tc.least+10*time.Second {
			t.Errorf("%q: waited %v, %v", tc.header, slept.list, err)
		}
	}
}

func TestBackoffGrows(t *testing.T) {
	s := origintest.New(t, origintest.File{Faults: faults(origintest.Status(503))})
	slept := &sleeps{}
	_, err := get(t, fetcher(t, func(c *Config) { c.Sleep, c.Tries = slept.sleep, 12 }), sink(t), s.URL(""))
	wantCode(t, err, job.CodeOriginStatus)
	if n := len(slept.list); n != 11 || slept.list[n-1] < 5*slept.list[0] || slept.list[n-1] > 30*time.Second {
		t.Errorf("waited %v", slept.list)
	}
}

func TestTLS(t *testing.T) {
	file := origintest.File{Size: mib}
	s := origintest.NewTLS(t, file)
	mustGet(t, fetcher(t, func(c *Config) { c.RootCAs = s.Roots() }), s.URL(""), file)
	_, err := get(t, fetcher(t), sink(t), s.URL(""))
	wantCode(t, err, job.CodeOriginTLS)
	plain := origintest.New(t, file)
	_, err = get(t, fetcher(t), sink(t), strings.Replace(plain.URL(""), "http:", "https:", 1))
	if e := wantCode(t, err, job.CodeOriginTLS); !strings.Contains(e.Hint, "http://") {
		t.Errorf("the hint is %q", e.Hint)
	}
}

func TestNetworkErrors(t *testing.T) {
	gone := origintest.New(t)
	gone.Close()
	slept := &sleeps{}
	_, err := get(t, fetcher(t, func(c *Config) { c.Sleep = slept.sleep }), sink(t), gone.URL(""))
	if e := wantCode(t, err, job.CodeOriginNet); !strings.Contains(e.Message, "127.0.0.1") || len(slept.list) != 5 {
		t.Errorf("%q after %d waits", e.Message, len(slept.list))
	}
}

func TestHeaderTimeout(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	s := origintest.New(t, origintest.File{Size: 10, Faults: faults(func(*origintest.Reply) { <-stop })})
	_, err := get(t, fetcher(t, func(c *Config) { c.HeaderTimeout, c.Tries = 20*time.Millisecond, 1 }), sink(t), s.URL(""))
	if e := wantCode(t, err, job.CodeOriginNet); !strings.Contains(e.Message, "no answer in time") {
		t.Error(e.Message)
	}
}

func TestBadURLs(t *testing.T) {
	for _, u := range []string{"", "file:///etc/passwd", "ftp://x/y", "http://", "::"} {
		_, err := get(t, fetcher(t), sink(t), u)
		wantCode(t, err, job.CodeBadURL)
	}
}
