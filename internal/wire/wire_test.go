package wire

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

var (
	id     = job.ID("abcdefghijklmnopqrstuvwxyz")
	object = job.ID("zyxwvutsrqponmlkjihgfedcba")
	moment = time.Date(2026, 11, 25, 16, 0, 0, 500_000_000, time.UTC)
	addr   = netip.MustParseAddr("2001:db8::7")
)

// TestTheContract holds every message to the letter: a name that changes here
// is a client that no longer understands, and needs another Version.
func TestTheContract(t *testing.T) {
	ticket := &Ticket{Job: id, Token: "t", Expires: moment, Observed: addr, Endpoints: []Endpoint{{Scheme: "https", Host: "h", Port: 3100, Path: "/p", Pin: "ab"}}}
	whole := &Job{
		ID: id, URL: "http://x/", State: job.Ready, Created: moment, Expires: moment, Received: 5, Rate: 1.5,
		Object: &Object{ID: object, Name: "n", Size: 5, SHA256: "cd", ModTime: moment, ContentType: "text/plain", Complete: true, LengthVerified: true},
	}
	for _, c := range []struct {
		value any
		json  string
	}{
		{&Submit{URL: "u"}, `{"url":"u"}`},
		{&Submit{List: []byte("abc")}, `{"list":"YWJj"}`},
		{
			&Submit{
				URL: "u", Mirrors: []string{"m"}, Header: [][2]string{{"N", "v"}}, Username: "n", Password: "p", Retain: 60, Fresh: true,
				Allow: []netip.Addr{addr}, Detach: true, Chunk: 7,
			},
			`{"url":"u","mirrors":["m"],"header":[["N","v"]],"username":"n","password":"p","retain":60,"fresh":true,` +
				`"allow":["2001:db8::7"],"detach":true,"chunk":7}`,
		},
		{&Submit{URL: "u", Submission: id}, `{"url":"u","submission":"abcdefghijklmnopqrstuvwxyz"}`},
		{&NewSession{Name: "m"}, `{"name":"m"}`},
		{
			&Session{
				ID: id, Name: "m", User: "ann", Secret: "s", Created: moment, Used: moment, Expires: moment, Until: moment, Address: addr,
				Endpoints: []Endpoint{{Scheme: "udp", Port: 1}},
			},
			`{"id":"abcdefghijklmnopqrstuvwxyz","name":"m","user":"ann","secret":"s","created":"2026-11-25T16:00:00.5Z","used":"2026-11-25T16:00:00.5Z",` +
				`"expires":"2026-11-25T16:00:00.5Z","until":"2026-11-25T16:00:00.5Z","address":"2001:db8::7","endpoints":[{"scheme":"udp","port":1}]}`,
		},
		{
			&Sessions{Sessions: []Session{{ID: id, User: "ann", Created: moment, Used: moment, Expires: moment, Until: moment}}},
			`{"sessions":[{"id":"abcdefghijklmnopqrstuvwxyz","name":"","user":"ann","created":"2026-11-25T16:00:00.5Z","used":"2026-11-25T16:00:00.5Z",` +
				`"expires":"2026-11-25T16:00:00.5Z","until":"2026-11-25T16:00:00.5Z"}]}`,
		},
		{
			&Message{Ticket: ticket},
			`{"ticket":{"job":"abcdefghijklmnopqrstuvwxyz","token":"t","expires":"2026-11-25T16:00:00.5Z",` +
				`"endpoints":[{"scheme":"https","host":"h","port":3100,"path":"/p","pin":"ab"}],"observed":"2001:db8::7"}}`,
		},
		{
			&Ticket{Job: id, Token: "t", Expires: moment, Endpoints: []Endpoint{{Scheme: "http", Port: 1}}},
			`{"job":"abcdefghijklmnopqrstuvwxyz","token":"t","expires":"2026-11-25T16:00:00.5Z","endpoints":[{"scheme":"http","port":1}]}`,
		},
		{
			&Message{Job: whole},
			`{"job":{"id":"abcdefghijklmnopqrstuvwxyz","url":"http://x/","state":"ready","created":"2026-11-25T16:00:00.5Z",` +
				`"expires":"2026-11-25T16:00:00.5Z","received":5,"rate":1.5,"object":{"id":"zyxwvutsrqponmlkjihgfedcba","name":"n","size":5,` +
				`"sha256":"cd","mtime":"2026-11-25T16:00:00.5Z","content_type":"text/plain","complete":true,"length_verified":true}}}`,
		},
		{
			&Message{Job: &Job{ID: id, State: job.Failed, Created: moment, Expires: moment, Object: &Object{ID: object, Size: -1}, Error: &Error{Code: job.CodeOriginStatus, Message: "m", Hint: "h", Status: 404}}},
			`{"job":{"id":"abcdefghijklmnopqrstuvwxyz","url":"","state":"failed","created":"2026-11-25T16:00:00.5Z",` +
				`"expires":"2026-11-25T16:00:00.5Z","received":0,"object":{"id":"zyxwvutsrqponmlkjihgfedcba","name":"","size":-1,` +
				`"length_verified":false},"error":{"code":"origin_status","message":"m","hint":"h","status":404}}}`,
		},
		{
			&Job{ID: id, URL: "u", Files: 7, State: job.Queued, Created: moment, Expires: moment},
			`{"id":"abcdefghijklmnopqrstuvwxyz","url":"u","files":7,"state":"queued","created":"2026-11-25T16:00:00.5Z","expires":"2026-11-25T16:00:00.5Z","received":0}`,
		},
		{&Message{Sums: &Sums{Object: object, First: 3, SHA256: []byte{0, 1, 255}}}, `{"sums":{"object":"zyxwvutsrqponmlkjihgfedcba","first":3,"sha256":"AAH/"}}`},
		{&Message{Error: &Error{Code: job.CodeUnavailable, Message: "m"}}, `{"error":{"code":"unavailable","message":"m"}}`},
		{&Jobs{Jobs: []Job{}}, `{"jobs":[]}`},
		{&Extend{Retain: 60}, `{"retain":60}`},
		{&Grant{Addr: addr}, `{"addr":"2001:db8::7"}`},
		{&Grant{Job: id, Addr: addr, Seconds: 60}, `{"job":"abcdefghijklmnopqrstuvwxyz","addr":"2001:db8::7","seconds":60}`},
		{
			&Status{
				Version: "1.2.3", Contract: 1, Time: moment, User: "ann", Observed: addr, Endpoints: []Endpoint{}, DiskFree: 1, Used: 2, Quota: 3,
				Retain: 4, BBR: true, Jobs: 5,
			},
			`{"version":"1.2.3","contract":1,"time":"2026-11-25T16:00:00.5Z","user":"ann","observed":"2001:db8::7","endpoints":[],"disk_free":1,` +
				`"used":2,"quota":3,"retain":4,"bbr":true,"jobs":5}`,
		},
	} {
		got, err := json.Marshal(c.value)
		if err != nil || string(got) != c.json {
			t.Errorf("%T is\n%s\nwant\n%s (%v)", c.value, got, c.json, err)
		}
		back := reflect.New(reflect.TypeOf(c.value).Elem()).Interface()
		if err := json.Unmarshal([]byte(c.json), back); err != nil || !reflect.DeepEqual(back, c.value) {
			t.Errorf("%s\nis read as %+v, %v", c.json, back, err)
		}
	}
}

// Every code has its HTTP status, and none of them looks like a success.
func TestEveryCodeHasAStatus(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../job/error.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		codes++
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		status, known := httpStatus[job.Code(value)]
		if !known || status < 400 || http.StatusText(status) == "" || HTTPStatus(job.Code(value)) != status {
			t.Errorf("%s has status %d", value, status)
		}
		return true
	})
	if codes == 0 || codes != len(httpStatus) {
		t.Errorf("there are %d codes and %d statuses", codes, len(httpStatus))
	}
	if got := HTTPStatus("new"); got != http.StatusInternalServerError {
		t.Errorf("an unknown code has status %d", got)
	}
}

// All routes stand side by side, and the paths that clients build lead to them.
func TestPathsLeadToTheirRoutes(t *testing.T) {
	mux := http.NewServeMux() // panics if two patterns are in conflict
	for _, r := range []string{
		RouteHealth, RouteStatus, RouteSubmit, RouteList, RouteJob, RouteEvents, RouteTicket, RouteData, RouteExtend, RouteRemove, RouteGrant,
		RouteSessionNew, RouteSessions, RouteSessionRevoke, RouteSessionsRevoke, RouteStream,
		RoutePublic,
	} {
		mux.HandleFunc(r, func(http.ResponseWriter, *http.Request) {})
	}
	for path, want := range map[string]string{
		"GET " + JobPath(id, ""):         RouteJob,
		"DELETE " + JobPath(id, ""):      RouteRemove,
		"GET " + JobPath(id, "/events"):  RouteEvents,
		"GET " + JobPath(id, "/data"):    RouteData,
		"POST " + JobPath(id, "/ticket"): RouteTicket,
		"POST " + JobPath(id, "/extend"): RouteExtend,
		"GET " + PublicPath(id, "f"):     RoutePublic,
		"HEAD " + PublicPath(id, "f"):    RoutePublic,
	} {
		method, target, _ := strings.Cut(path, " ")
		if _, got := mux.Handler(httptest.NewRequest(method, target, nil)); got != want {
			t.Errorf("%s leads to %q, want %q", path, got, want)
		}
	}
}

// Whatever the file is called, its name is one segment of the path and comes
// out as it went in.
func FuzzPublicPath(f *testing.F) {
	for _, s := range []string{"a.bin", "a b", "a/b", "..", "a?b#c", "%2f", "ü", "a;b", "\u202e", "+"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		u, err := url.Parse("https://h" + PublicPath(id, name) + "?" + TokenParam + "=t")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimPrefix(u.Path, "/d/"+string(id)+"/"); got != name || u.Query().Get(TokenParam) != "t" || u.Fragment != "" {
			t.Errorf("%q comes out as %q", name, got)
		}
		if escaped := u.EscapedPath(); strings.Count(escaped, "/") != 3 {
			t.Errorf("%q is several segments: %s", name, escaped)
		}
	})
}

func TestETagIsStrong(t *testing.T) {
	if got := ETag(object); got != `"zyxwvutsrqponmlkjihgfedcba"` {
		t.Errorf("got %s", got)
	}
}

// One byte tells the bridge's preface from HTTP, so no method may begin like it.
func TestBridgePrefaceIsNoHTTP(t *testing.T) {
	for _, m := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect,
		http.MethodOptions, http.MethodTrace, "PRI",
	} {
		if m[0] == BridgePreface[0] {
			t.Errorf("%s begins like the preface", m)
		}
	}
	if strings.ContainsAny(BridgePreface, "\r\n") || !strings.HasSuffix(BridgePreface, " ") {
		t.Errorf("%q is not the beginning of a line", BridgePreface)
	}
}
