package relay

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
)

// TestPrivateIsNeverShared has users ask for one URL with and without
// credentials: nobody gets what was fetched with another's.
func TestPrivateIsNeverShared(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 100, Seed: 1, ETag: `"v1"`, User: "u", Password: "p"}
	o := origintest.New(t, f)
	w := newWorld(t)
	basic := job.Request{URL: o.URL(""), Username: "u", Password: "p"}
	inURL := get("http://u:p@" + o.Addr() + origintest.DefaultPath)
	header := job.Request{URL: o.URL(""), Header: []job.Field{{Name: "Authorization", Value: "Basic dTpw"}}}

	objects := map[job.ID]bool{}
	for name, who := range map[string]struct {
		owner string
		req   job.Request
	}{
		"alice": {alice, basic}, "bob": {bob, basic}, "alice, in the URL": {alice, inURL}, "bob, in a header": {bob, header},
	} {
		st := w.bring(who.owner, who.req)
		if objects[st.Object.ID] {
			t.Errorf("%s got somebody else's object", name)
		}
		objects[st.Object.ID] = true
		if st.Job.URL != o.URL("") || st.Object.URL != o.URL("") {
			t.Errorf("%s: the password is kept in %q", name, st.Job.URL)
		}
	}
	st := w.finish(bob, w.submit(bob, get(o.URL(""))).Job, job.Failed)
	if e := wantCode(t, st.Job.Error, job.CodeOriginLogin); e.Status != 401 {
		t.Errorf("without credentials the status is %d", e.Status)
	}
	if again := w.bring(alice, basic); !objects[again.Object.ID] {
		t.Error("alice's own object is not reused for her")
	}
}

// TestCredentialsEndWithTheJob looks for them in the store once a job is final.
func TestCredentialsEndWithTheJob(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 2 * mib, User: "u", Password: "p"}
	o := origintest.New(t, f, origintest.File{Path: "/bad", Faults: []origintest.Fault{origintest.Status(404)}})
	h := hold(realFetcher(t), mib)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	id := w.submit(alice, job.Request{URL: o.URL(""), Username: "u", Password: "p"}).Job
	wait(t, "the first chunk", h.reached)
	if req, err := w.db.Request(w.ctx(), id); err != nil || req.Password != "p" {
		t.Errorf("while it is fetched the request is %+v, %v", req, err)
	}
	h.free()
	w.finish(alice, id, job.Ready)
	bad := w.submit(alice, job.Request{URL: o.URL("/bad"), Username: "u", Password: "p"}).Job
	w.finish(alice, bad, job.Failed)
	for _, id := range []job.ID{id, bad} {
		until(t, "the request is wiped", func() bool { _, err := w.db.Request(w.ctx(), id); return err != nil })
	}
}

// TestNothingSecretIsLogged searches the log of a job's whole life for what
// would let its reader act as somebody else.
func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	f := origintest.File{Path: "/f", Size: 10, ETag: `"v1"`, User: "u", Password: "hunter2"}
	o := origintest.New(t, f)
	var out logged
	w := newWorld(t, with(func(c *Config) {
		c.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}))
	ticket := w.submit(alice, job.Request{
		URL: "http://u:hunter2@" + o.Addr() + "/f?signature=s3cret", Header: []job.Field{{Name: "X-Key", Value: "k3y"}},
	}, home)
	w.finish(alice, ticket.Job, job.Ready)
	w.Authorize(w.ctx(), ticket.Job, ticket.Token, home)
	again, err := w.Renew(w.ctx(), alice, ticket.Job)
	if err != nil {
		t.Fatal(err)
	}
	bad := w.submit(alice, get("http://u:wr0ng@"+o.Addr()+"/f?signature=s3cret"))
	w.finish(alice, bad.Job, job.Failed)
	w.restart()
	if err := w.Remove(w.ctx(), alice, ticket.Job); err != nil {
		t.Fatal(err)
	}
	w.close()
	log := out.String()
	for _, secret := range []string{"hunter2", "wr0ng", "s3cret", "k3y", ticket.Token, again.Token, bad.Token} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log:\n%s", secret, log)
		}
	}
	for _, event := range []string{"submit", "fetched", "serve", "renew", "fetch failed", "remove"} {
		if !strings.Contains(log, `"msg":"`+event+`"`) {
			t.Errorf("the log does not tell of %q:\n%s", event, log)
		}
	}
}
