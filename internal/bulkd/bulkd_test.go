package bulkd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/relay"
)

// jobs grants one address, and has lost every body.
type jobs struct {
	granted netip.Addr
	lost    error
}

func (j jobs) Admit(_ context.Context, _ job.ID, _ [32]byte, addr netip.Addr) relay.Verdict {
	if addr == j.granted {
		return relay.Granted
	}
	return relay.UnknownAddress
}

func (j jobs) Await(context.Context, [32]byte) {}

func (j jobs) Open(context.Context, job.ID) (*relay.Body, error) { return nil, j.lost }

func token(n int, expires time.Time) relay.Token {
	var hash [32]byte
	copy(hash[:], fmt.Sprint(n))
	return relay.Token{Job: job.NewID(), Hash: hash, Expires: expires}
}

func TestKeysLeadToJobs(t *testing.T) {
	here, elsewhere := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	d := New(Config{Jobs: jobs{granted: here, lost: job.Errorf(job.CodeExpired, "gone")}})
	tok := token(1, time.Now().Add(time.Hour))
	key := bulk.NewKey(tok.Hash)
	if _, known := d.Lookup(key.ID); known {
		t.Error("a key is known before its token was given out")
	}
	d.Issued(tok)
	k, known := d.Lookup(key.ID)
	if !known {
		t.Fatal("a token's key is not known")
	}
	if got, until := k.Key(); got != key || !until.Equal(tok.Expires) {
		t.Errorf("another key, or until %v", until)
	}
	if !k.Allowed(here) || k.Allowed(elsewhere) {
		t.Error("who may read is not what the relay says")
	}
	if _, err := k.Open(t.Context(), ""); !errors.Is(err, bulk.ErrGone) {
		t.Errorf("an expired job gives %v", err)
	}
}

// A failure of the relay's own is no reason for a new ticket.
func TestOtherErrorsPass(t *testing.T) {
	cause := errors.New("the disk is on fire")
	d := New(Config{Jobs: jobs{lost: cause}})
	tok := token(1, time.Now().Add(time.Hour))
	d.Issued(tok)
	k, _ := d.Lookup(bulk.NewKey(tok.Hash).ID)
	if _, err := k.Open(t.Context(), ""); !errors.Is(err, cause) || errors.Is(err, bulk.ErrGone) {
		t.Errorf("got %v", err)
	}
}

func TestExpiredKeysAreForgotten(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	d := New(Config{Jobs: jobs{}, Clock: func() time.Time { return now }})
	for n := range sweepAt {
		d.Issued(token(n, now.Add(time.Hour)))
	}
	now = now.Add(2 * time.Hour)
	last := token(sweepAt, now.Add(time.Hour))
	d.Issued(last)
	if len(d.keys) != 1 {
		t.Errorf("%d keys are kept", len(d.keys))
	}
	if _, known := d.Lookup(bulk.NewKey(last.Hash).ID); !known {
		t.Error("the one that counts is not")
	}
}
