package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/job"
)

// send puts a value through JSON.
func send[T any](t *testing.T, v T) (out T) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTicketCrossesTheWire(t *testing.T) {
	for _, want := range []job.Ticket{
		{
			Job: id, Token: "secret", Expires: moment, Observed: addr,
			Endpoints: []job.Endpoint{{Scheme: "https", Host: "h", Port: 3100, Path: "/p", Pin: "ab"}, {Scheme: "http", Port: 1}},
		},
		{Job: id, Token: "secret", Expires: moment, Endpoints: []job.Endpoint{}},
	} {
		if got := send(t, FromTicket(want)).Ticket(); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestStatusCrossesTheWire(t *testing.T) {
	failure := &job.Error{Code: job.CodeOriginStatus, Message: "m", Hint: "h", Status: 404, Err: errors.New("the inside")}
	st := job.Status{
		Job: job.Job{ID: id, Owner: "owner-name", URL: "http://x/", Key: "key-hash", Object: object, State: job.Failed, Error: failure, Created: moment, Expires: moment},
		Object: &job.Object{
			ID: object, URL: "http://x/", Key: "key-hash", Name: "n", Size: 5, ETag: `"origin-etag"`, LastModified: "origin-date", ModTime: moment,
			ContentType: "text/plain", SHA256: "cd", Complete: true, LengthVerified: true, Created: moment, Used: moment,
		},
		Received: 5, Rate: 1.5,
	}
	m := send(t, FromEvent(job.Event{Status: &st}))
	want := &Job{
		ID: id, URL: "http://x/", State: job.Failed, Created: moment, Expires: moment, Received: 5, Rate: 1.5,
		Object: &Object{ID: object, Name: "n", Size: 5, SHA256: "cd", ModTime: moment, ContentType: "text/plain", Complete: true, LengthVerified: true},
		Error:  &Error{Code: job.CodeOriginStatus, Message: "m", Hint: "h", Status: 404},
	}
	if m.Ticket != nil || m.Sums != nil || m.Error != nil || !reflect.DeepEqual(m.Job, want) {
		t.Errorf("got  %+v\nwant %+v", m.Job, want)
	}
	b, err := json.Marshal(FromStatus(st))
	if err != nil {
		t.Fatal(err)
	}
	for _, inside := range []string{"owner-name", "key-hash", "the inside", "origin-etag"} {
		if strings.Contains(string(b), inside) {
			t.Errorf("%s crosses the wire: %s", inside, b)
		}
	}
	if j := FromStatus(job.Status{}); j.Object != nil || j.Error != nil {
		t.Errorf("nothing becomes %+v", j)
	}
}

func TestSessionCrossesTheWire(t *testing.T) {
	s := job.Session{
		ID: id, Owner: "ann", Source: job.SourceKeys, Name: "laptop", Created: moment, Used: moment.Add(1), Expires: moment.Add(2), Until: moment.Add(3),
		Addr: addr,
	}
	want := Session{
		ID: id, Name: "laptop", User: "ann", Created: moment, Used: moment.Add(1), Expires: moment.Add(2), Until: moment.Add(3), Address: addr,
	}
	if got := send(t, FromSession(s)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestSumsCrossTheWire(t *testing.T) {
	sums := &job.Sums{Object: object, First: 7, SHA256: [][32]byte{{1}, {2}, {31: 3}}}
	m := send(t, FromEvent(job.Event{Sums: sums}))
	got := &job.Sums{Object: m.Sums.Object, First: m.Sums.First}
	err := m.Sums.Each(func(chunk int, sum [32]byte) {
		if chunk != got.First+len(got.SHA256) {
			t.Errorf("chunk %d follows %d others", chunk, len(got.SHA256))
		}
		got.SHA256 = append(got.SHA256, sum)
	})
	if err != nil || !reflect.DeepEqual(got, sums) {
		t.Errorf("%+v, %v", got, err)
	}
	if m := FromEvent(job.Event{}); m != (Message{}) {
		t.Errorf("nothing becomes %+v", m)
	}
}

func TestMalformedSums(t *testing.T) {
	for name, s := range map[string]Sums{
		"a part of a sum":     {SHA256: make([]byte, 33)},
		"a negative chunk":    {First: -1, SHA256: make([]byte, 32)},
		"beyond the integers": {First: math.MaxInt - 1, SHA256: make([]byte, 96)},
	} {
		if err := s.Each(func(chunk int, _ [32]byte) { t.Errorf("%s: chunk %d", name, chunk) }); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := new(Sums).Each(func(int, [32]byte) { t.Error("a sum of none") }); err != nil {
		t.Errorf("no sums: %v", err)
	}
}

func TestErrorsCrossTheWire(t *testing.T) {
	mine := &job.Error{Code: job.CodeQuota, Message: "what", Hint: "do", Status: 5, Err: errors.New("the inside")}
	for name, err := range map[string]error{"bare": mine, "wrapped": fmt.Errorf("outer: %w", mine), "joined": errors.Join(context.Canceled, mine)} {
		got := send(t, FromError(err)).Err()
		var e *job.Error
		if !errors.As(got, &e) || *e != (job.Error{Code: job.CodeQuota, Message: "what", Hint: "do", Status: 5}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	other := FromError(errors.New("open /var/lib/secret: no"))
	if other.Code != job.CodeInternal || other.Hint == "" || strings.Contains(other.Message, "secret") {
		t.Errorf("any other error: %+v", other)
	}
}

// A nil error stays nil, of whatever type: a typed nil in an interface would
// be an error out of nothing.
func TestNoErrorStaysNone(t *testing.T) {
	var typed *job.Error
	var none *Error
	if FromError(nil) != nil || FromError(typed) != nil {
		t.Error("nil becomes an error")
	}
	if err := none.Err(); err != nil {
		t.Errorf("nil becomes %v", err)
	}
}

// Whatever a relay sends, reading it is safe, and what was understood is
// understood again when it is passed on.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"ticket":{"job":"a","endpoints":null}}`, `{"job":{"object":{"size":-1},"error":{"code":"x"}}}`, `{"error":{}}`,
		`{"sums":{"first":9223372036854775807,"sha256":"` + strings.Repeat("A", 86) + `=="}}`, `{"sums":{"first":-1}}`, `{"ticket":{"observed":"::1%eth0"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		if json.Unmarshal(b, &m) != nil {
			return
		}
		if m.Sums != nil {
			last := -1
			_ = m.Sums.Each(func(chunk int, _ [32]byte) { // malformed ones are refused
				if chunk <= last {
					t.Fatalf("chunk %d follows %d", chunk, last)
				}
				last = chunk
			})
		}
		if m.Ticket != nil {
			if again := FromTicket(m.Ticket.Ticket()); len(again.Endpoints) != len(m.Ticket.Endpoints) || again.Token != m.Ticket.Token {
				t.Errorf("%+v becomes %+v", m.Ticket, again)
			}
		}
		if m.Error != nil && *FromError(m.Error.Err()) != *m.Error {
			t.Errorf("%+v becomes %+v", m.Error, FromError(m.Error.Err()))
		}
		first, err := json.Marshal(m)
		if err != nil {
			return // such as a year beyond 9999
		}
		var back Message
		if err := json.Unmarshal(first, &back); err != nil {
			t.Fatalf("%s can't be read again: %v", first, err)
		}
		if second, err := json.Marshal(back); err != nil || string(second) != string(first) {
			t.Errorf("%s becomes %s, %v", first, second, err)
		}
	})
}
