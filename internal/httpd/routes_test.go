package httpd

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/wire"
)

// transports are all the ways to reach one local API, each as the same user.
func transports(t *testing.T, a *api) map[string]*client {
	socket, port := a.unix(), a.tcp()
	dial := func(network, address string) func() (net.Conn, error) {
		return func() (net.Conn, error) { return net.Dial(network, address) }
	}
	bridge := func() (net.Conn, error) {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_, err = c.Write([]byte(wire.BridgePreface + "192.0.2.7\n"))
		}
		return c, err
	}
	channel := func() (net.Conn, error) { return a.channel(Identity{User: me(t)}), nil }
	ways := map[string]func() (net.Conn, error){"socket": dial("unix", socket), "bridge": bridge, "ssh end": channel}
	if runtime.GOOS == "linux" { // elsewhere the system does not tell whose connection it is
		ways["port"] = dial("tcp", port)
	}
	clients := map[string]*client{}
	for name, way := range ways {
		clients[name+", HTTP/1.1"], clients[name+", HTTP/2"] = over(t, 1, way), over(t, 2, way)
	}
	return clients
}

// TestTheLifeOfAJob goes through every route, over every transport.
func TestTheLifeOfAJob(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay, func(c *LocalConfig) { c.BBR = true })
	for name, c := range transports(t, a) {
		t.Run(name, func(t *testing.T) {
			c.t = t
			if got := c.do("GET", "/healthz", nil); got.StatusCode != 200 || got.body != "ok\n" {
				t.Errorf("health: %s %q", got.Status, got.body)
			}
			id := liveOfAJob(t, w, c)
			checkStatus(t, c, name)
			moreOfAJob(t, c, id)
		})
	}
}

// liveOfAJob submits, watches and reads.
func liveOfAJob(t *testing.T, w *world, c *client) job.ID {
	data := strings.Repeat("x", job.ChunkSize) + "tail"
	url := "http://origin.example/" + string(job.NewID())
	f := w.src.add(t, url, origin.Meta{Name: "x.bin", Size: int64(len(data)), ETag: `"1"`, ContentType: "text/html"})
	resp, err := c.start(t.Context(), "POST", "/v1/jobs", wire.Submit{URL: url, Retain: 3600, Allow: []netip.Addr{loopback}})
	check(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != streamType || resp.Header.Get(wire.HeaderVersion) != "1" {
		t.Fatalf("%s, %v", resp.Status, resp.Header)
	}
	d := json.NewDecoder(resp.Body)
	next := func() (m wire.Message) {
		t.Helper()
		check(t, d.Decode(&m))
		return m
	}
	first := next()
	if first.Ticket == nil || len(first.Ticket.Token) != 43 || len(first.Ticket.Endpoints) != 1 || !first.Ticket.Job.Valid() {
		t.Fatalf("the first message is %+v", first)
	}
	id := first.Ticket.Job
	if m := next(); m.Job == nil || m.Job.ID != id || m.Job.State != job.Queued || m.Job.URL != url {
		t.Fatalf("the second message is %+v", m)
	}
	f.begin()
	f.write(data)
	f.owner, f.job, f.relay = me(t), id, w.relay
	f.end()
	sums := map[int][32]byte{}
	for {
		m := next()
		if m.Sums != nil {
			check(t, m.Sums.Each(func(chunk int, sum [32]byte) { sums[chunk] = sum }))
		}
		if m.Job != nil && m.Job.State == job.Ready {
			whole := sha256.Sum256([]byte(data))
			if o := m.Job.Object; o.SHA256 != hex.EncodeToString(whole[:]) || o.Size != int64(len(data)) || !o.Complete || !o.LengthVerified {
				t.Errorf("%+v", o)
			}
			break
		}
	}
	if d.More() {
		t.Error("the stream goes on after the job is ready")
	}
	if len(sums) != 2 || sums[0] != sha256.Sum256([]byte(data[:job.ChunkSize])) || sums[1] != sha256.Sum256([]byte("tail")) {
		t.Errorf("sums %v", sums)
	}
	return id
}

func checkStatus(t *testing.T, c *client, name string) {
	var st wire.Status
	c.into(&st, "GET", "/v1/status", nil)
	if st.User != me(t) || st.Version != "1.2.3" || st.Contract != wire.Version || !st.BBR || st.Jobs != 1 || st.Retain != 12*3600 ||
		st.Quota != 1<<30 || st.DiskFree <= 0 || st.Used <= 0 || len(st.Endpoints) != 1 || time.Since(st.Time).Abs() > time.Minute {
		t.Errorf("%+v", st)
	}
	if bridged := strings.HasPrefix(name, "bridge"); st.Observed.IsValid() != bridged || bridged && st.Observed != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("observed %v", st.Observed)
	}
}

// moreOfAJob goes through the routes for a job that is ready.
func moreOfAJob(t *testing.T, c *client, id job.ID) {
	var j wire.Job
	c.into(&j, "GET", wire.JobPath(id, ""), nil)
	var all wire.Jobs
	c.into(&all, "GET", "/v1/jobs", nil)
	if j.State != job.Ready || len(all.Jobs) != 1 || all.Jobs[0].ID != id {
		t.Errorf("%+v, %+v", j, all)
	}
	late := messages(t, c.do("GET", wire.JobPath(id, "/events")+"?chunk=1", nil).body)
	if len(late) != 3 || late[0].Job == nil || late[1].Sums == nil || late[1].Sums.First != 1 || late[2].Job.State != job.Ready {
		t.Errorf("events from chunk 1 on: %+v", late)
	}
	a := c.do("GET", wire.JobPath(id, "/data"), nil, "Range", "bytes=-4", "If-Match", wire.ETag(j.Object.ID))
	if a.StatusCode != 206 || a.body != "tail" || a.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("data: %s %q %v", a.Status, a.body, a.Header)
	}
	if a := c.do("HEAD", wire.JobPath(id, "/data"), nil); a.StatusCode != 200 || a.ContentLength != j.Object.Size || a.body != "" {
		t.Errorf("HEAD: %s, %d bytes announced, %q", a.Status, a.ContentLength, a.body)
	}
	var ticket wire.Ticket
	c.into(&ticket, "POST", wire.JobPath(id, "/ticket"), nil)
	if ticket.Job != id || len(ticket.Token) != 43 {
		t.Errorf("%+v", ticket)
	}
	var longer wire.Job
	c.into(&longer, "POST", wire.JobPath(id, "/extend"), wire.Extend{Retain: 7200})
	if longer.Expires.Sub(j.Expires) < 59*time.Minute {
		t.Errorf("from %v to %v", j.Expires, longer.Expires)
	}
	for _, g := range []wire.Grant{{Job: id, Addr: loopback}, {Addr: loopback, Seconds: 60}} {
		if a := c.do("POST", "/v1/grants", g); a.StatusCode != http.StatusNoContent || a.body != "" {
			t.Errorf("grant: %s %q", a.Status, a.body)
		}
	}
	if a := c.do("DELETE", wire.JobPath(id, ""), nil); a.StatusCode != http.StatusNoContent {
		t.Errorf("remove: %s %q", a.Status, a.body)
	}
	if e := c.do("GET", wire.JobPath(id, ""), nil).code(t); e.Code != job.CodeNotFound {
		t.Errorf("afterwards: %+v", e)
	}
}

func TestDetachedSubmissionAnswersTheTicketAndOneStatus(t *testing.T) {
	w := newWorld(t)
	c := newAPI(t, w.relay).as("ann", 2)
	url := "http://origin.example/detached"
	w.src.add(t, url, origin.Meta{Size: 10})
	ms := messages(t, c.do("POST", "/v1/jobs", wire.Submit{URL: url, Detach: true}).body)
	if len(ms) != 2 || ms[0].Ticket == nil || ms[1].Job == nil {
		t.Fatalf("%+v", ms)
	}
	// The address that the connection tells of is told, and allowed.
	if got := ms[0].Ticket.Observed; got != loopback {
		t.Errorf("observed %v", got)
	}
	if v := w.relay.Authorize(t.Context(), ms[0].Ticket.Job, ms[0].Ticket.Token, loopback); v != relay.Granted {
		t.Errorf("the door says %v to the client's own address", v)
	}
}

// Everything that a submission can hold reaches the relay.
func TestSubmissionIsPassedOnWhole(t *testing.T) {
	in := wire.Submit{
		URL: "http://a/", Mirrors: []string{"http://b/"}, Header: [][2]string{{"X-A", "1"}, {"X-A", "2"}},
		Username: "u", Password: "p", Retain: 60, Fresh: true,
	}
	want := job.Request{
		URL: "http://a/", Mirrors: []string{"http://b/"}, Header: []job.Field{{Name: "X-A", Value: "1"}, {Name: "X-A", Value: "2"}},
		Username: "u", Password: "p", Retain: 60, Fresh: true,
	}
	if got, err := request(in); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	list := bundle.EncodeList([]job.File{{URL: "http://a/1", Mirrors: []string{"http://b/1"}}, {URL: "http://a/2"}})
	in.URL, in.Mirrors, in.List = "", nil, list
	want.URL, want.Mirrors = "http://a/1#and-1-more", nil
	want.Files = []job.File{{URL: "http://a/1", Mirrors: []string{"http://b/1"}}, {URL: "http://a/2"}}
	if got, err := request(in); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Each code of an error reaches the client under its HTTP status, from every route.
func TestErrorsOfEveryRoute(t *testing.T) {
	f := &fake{}
	a := newAPI(t, f)
	id := job.NewID()
	codes := []job.Code{
		job.CodeBadRequest, job.CodeBadURL, job.CodeOriginDenied, job.CodeOriginLogin, job.CodeOriginStatus, job.CodeOriginNet,
		job.CodeOriginTLS, job.CodeOriginProto, job.CodeTooLarge, job.CodeQuota, job.CodeDisk, job.CodeNotFound, job.CodeExpired,
		job.CodeRemoved, job.CodeForbidden, job.CodeAddress, job.CodeUnavailable, job.CodeVersion, job.CodeInternal,
	}
	for version := 1; version <= 2; version++ {
		c := a.as("ann", version)
		for _, r := range []struct {
			method, path string
			body         any
		}{
			{"GET", "/v1/status", nil},
			{"POST", "/v1/jobs", wire.Submit{URL: "http://x/"}},
			{"GET", "/v1/jobs", nil},
			{"GET", wire.JobPath(id, ""), nil},
			{"GET", wire.JobPath(id, "/events"), nil},
			{"POST", wire.JobPath(id, "/ticket"), nil},
			{"GET", wire.JobPath(id, "/data"), nil},
			{"POST", wire.JobPath(id, "/extend"), wire.Extend{}},
			{"DELETE", wire.JobPath(id, ""), nil},
			{"POST", "/v1/grants", wire.Grant{Addr: loopback}},
		} {
			for _, code := range codes {
				f.err = (&job.Error{Code: code, Message: "what", Status: 418}).WithHint("do")
				got := c.do(r.method, r.path, r.body)
				if e := got.code(t); e != (wire.Error{Code: code, Message: "what", Hint: "do", Status: 418}) {
					t.Errorf("%s %s: %+v", r.method, r.path, e)
				}
			}
			f.err = context.DeadlineExceeded // any other error tells nothing
			got := c.do(r.method, r.path, r.body)
			if e := got.code(t); e.Code != job.CodeInternal || strings.Contains(got.body, "deadline") {
				t.Errorf("%s %s: %+v", r.method, r.path, e)
			}
		}
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	c := newAPI(t, w.relay).as("ann", 1)
	_, ticket := w.ready("ann", "data")
	many := make([]netip.Addr, maxAllow+1)
	for i := range many {
		many[i] = loopback
	}
	for name, r := range map[string]struct {
		method, path string
		body         any
		code         job.Code
		says         string
	}{
		"no JSON":               {"POST", "/v1/jobs", "url=http://x/", job.CodeBadRequest, "JSON"},
		"nothing":               {"POST", "/v1/jobs", "", job.CodeBadRequest, "JSON"},
		"cut off":               {"POST", "/v1/jobs", `{"url":"http://x/"`, job.CodeBadRequest, "JSON"},
		"two values":            {"POST", "/v1/jobs", `{"url":"http://x/"} {}`, job.CodeBadRequest, "more than one"},
		"another type":          {"POST", "/v1/jobs", `{"url":5}`, job.CodeBadRequest, "JSON"},
		"a list that is none":   {"POST", "/v1/jobs", `{"list":"aGVsbG8="}`, job.CodeBadRequest, "gzip"},
		"a URL and a list":      {"POST", "/v1/jobs", `{"url":"http://x/","list":"aGVsbG8="}`, job.CodeBadRequest, "not both"},
		"very deep":             {"POST", "/v1/jobs", strings.Repeat(`{"a":`, 100_000), job.CodeBadRequest, "JSON"},
		"huge":                  {"POST", "/v1/jobs", `{"url":"http://x/` + strings.Repeat("x", maxRequest) + `"}`, job.CodeBadRequest, "larger than"},
		"no URL":                {"POST", "/v1/jobs", `{}`, job.CodeBadURL, ""},
		"a file":                {"POST", "/v1/jobs", wire.Submit{URL: "file:///etc/passwd"}, job.CodeBadURL, ""},
		"a header with a break": {"POST", "/v1/jobs", wire.Submit{URL: "http://x/", Header: [][2]string{{"A", "b\r\nC: d"}}}, job.CodeBadRequest, "header"},
		"negative retention":    {"POST", "/v1/jobs", wire.Submit{URL: "http://x/", Retain: -1}, job.CodeBadRequest, ""},
		"many addresses":        {"POST", "/v1/jobs", wire.Submit{URL: "http://x/", Allow: many}, job.CodeBadRequest, "64"},
		"no address":            {"POST", "/v1/jobs", `{"url":"http://x/","allow":[""]}`, job.CodeBadRequest, "address"},
		"every address":         {"POST", "/v1/jobs", `{"url":"http://x/","allow":["0.0.0.0"]}`, job.CodeBadRequest, "address"},
		"an address of many":    {"POST", "/v1/jobs", `{"url":"http://x/","allow":["224.0.0.1"]}`, job.CodeBadRequest, "address"},
		"a name for an address": {"POST", "/v1/jobs", `{"url":"http://x/","allow":["home"]}`, job.CodeBadRequest, "JSON"},
		"a chunk by name":       {"GET", wire.JobPath(ticket.Job, "/events") + "?chunk=first", nil, job.CodeBadRequest, "chunk"},
		"a negative chunk":      {"GET", wire.JobPath(ticket.Job, "/events") + "?chunk=-1", nil, job.CodeBadRequest, "chunk"},
		"no address to grant":   {"POST", "/v1/grants", wire.Grant{}, job.CodeBadRequest, "missing"},
		"any address":           {"POST", "/v1/grants", `{"addr":"::"}`, job.CodeBadRequest, "address"},
		"a grant for the past":  {"POST", "/v1/grants", wire.Grant{Addr: loopback, Seconds: -1}, job.CodeBadRequest, "366 days"},
		"a grant for ever":      {"POST", "/v1/grants", wire.Grant{Addr: loopback, Seconds: 1 << 62}, job.CodeBadRequest, "366 days"},
		"a grant for no job":    {"POST", "/v1/grants", wire.Grant{Addr: loopback, Job: job.NewID()}, job.CodeNotFound, ""},
		"to shorten":            {"POST", wire.JobPath(ticket.Job, "/extend"), wire.Extend{Retain: -1}, job.CodeBadRequest, ""},
		"no such job":           {"GET", wire.JobPath(job.NewID(), ""), nil, job.CodeNotFound, ""},
		"no ID":                 {"GET", "/v1/jobs/..%2f..%2fetc%2fpasswd", nil, job.CodeNotFound, ""},
		"events of none":        {"GET", wire.JobPath(job.NewID(), "/events"), nil, job.CodeNotFound, ""},
		"data of none":          {"GET", wire.JobPath(job.NewID(), "/data"), nil, job.CodeNotFound, ""},
		"no such route":         {"GET", "/v2/jobs", nil, job.CodeNotFound, "/v2/jobs"},
		"the root":              {"GET", "/", nil, job.CodeNotFound, "docs/wire.md"},
		"no such method":        {"PUT", "/v1/jobs", "{}", job.CodeNotFound, "PUT"},
		"the door's route":      {"GET", wire.PublicPath(ticket.Job, "f") + "?token=" + ticket.Token, nil, job.CodeNotFound, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			got := c.do(r.method, r.path, r.body)
			if e := got.code(t); e.Code != r.code || !strings.Contains(got.body, r.says) {
				t.Errorf("%s", got.body)
			}
		})
	}
	c.t = t
	var all wire.Jobs
	if c.into(&all, "GET", "/v1/jobs", nil); len(all.Jobs) != 1 {
		t.Errorf("refused submissions left %d jobs behind", len(all.Jobs)-1)
	}
}

// A newer client may send what we do not know.
func TestUnknownFieldsAreIgnored(t *testing.T) {
	w := newWorld(t)
	w.src.add(t, "http://origin.example/x", origin.Meta{Size: 1})
	c := newAPI(t, w.relay).as("ann", 2)
	ms := messages(t, c.do("POST", "/v1/jobs", `{"url":"http://origin.example/x","detach":true,"colour":"red"}`+"\n").body)
	if len(ms) != 2 {
		t.Errorf("%+v", ms)
	}
}

// What is one user's is nothing to another.
func TestUsersDoNotSeeEachOther(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay)
	_, ticket := w.ready("ann", "data")
	bob := a.as("bob", 2)
	for _, r := range [][2]string{
		{"GET", ""}, {"GET", "/events"}, {"GET", "/data"}, {"POST", "/ticket"}, {"DELETE", ""},
	} {
		if e := bob.do(r[0], wire.JobPath(ticket.Job, r[1]), nil).code(t); e.Code != job.CodeNotFound {
			t.Errorf("%s %s: %+v", r[0], r[1], e)
		}
	}
	for path, body := range map[string]any{
		wire.JobPath(ticket.Job, "/extend"): wire.Extend{}, "/v1/grants": wire.Grant{Job: ticket.Job, Addr: netip.MustParseAddr("192.0.2.66")},
	} {
		if e := bob.do("POST", path, body).code(t); e.Code != job.CodeNotFound {
			t.Errorf("%s: %+v", path, e)
		}
	}
	var all wire.Jobs
	if bob.into(&all, "GET", "/v1/jobs", nil); len(all.Jobs) != 0 {
		t.Errorf("%+v", all)
	}
	// Nor does a grant for all of bob's jobs open ann's.
	bob.do("POST", "/v1/grants", wire.Grant{Addr: netip.MustParseAddr("192.0.2.66")})
	if v := w.relay.Authorize(t.Context(), ticket.Job, ticket.Token, netip.MustParseAddr("192.0.2.66")); v != relay.UnknownAddress {
		t.Errorf("the door says %v to an address that bob allowed", v)
	}
	if got := a.as("ann", 2).do("GET", wire.JobPath(ticket.Job, "/data"), nil); got.body != "data" {
		t.Errorf("ann gets %s %q", got.Status, got.body)
	}
}

// The body over the local API follows the origin like the one at the door.
func TestDataIsCutThroughAndCutOff(t *testing.T) {
	for version := 1; version <= 2; version++ {
		w := newWorld(t)
		c := newAPI(t, w.relay).as("ann", version)
		f, ticket := w.file("ann", 10)
		f.begin()
		f.write("01234")
		resp, err := c.start(t.Context(), "GET", wire.JobPath(ticket.Job, "/data"), nil)
		check(t, err)
		r := bufio.NewReader(resp.Body)
		if got := read(t, r, 5); got != "01234" {
			t.Errorf("HTTP/%d: %q", version, got)
		}
		f.write("5")
		if got := read(t, r, 1); got != "5" {
			t.Errorf("HTTP/%d: %q", version, got)
		}
		f.fail(errOrigin)
		if b, err := r.Peek(1); err == nil || len(b) > 0 {
			t.Errorf("HTTP/%d: %q, %v", version, b, err)
		}
		if e := c.do("GET", wire.JobPath(ticket.Job, "/data"), nil).code(t); e.Code != job.CodeOriginNet {
			t.Errorf("HTTP/%d: afterwards %+v", version, e)
		}
	}
}
