package bench

import "testing"

func TestLedgerKnowsWhatIsHopeless(t *testing.T) {
	at := func(peer string, size int64) Key { return Key{Link: "bad", Peer: peer, Size: size} }
	result := func(peer string, size int64, cut bool) Result {
		return Result{Link: "bad", Peer: peer, Size: size, Cut: cut, Share: .01}
	}
	l := newLedger([]Result{
		result("wget", 30, true), result("curl", 30, false), result("jumpget", 30, true), result("axel", 1, true),
		{Link: "bad", Peer: "aria2", Size: 30, Missing: true},
	}, map[string]bool{"jumpget": true})
	for _, c := range []struct {
		peer string
		rep  int
		done bool
	}{
		{"wget", 0, true},
		{"wget", 1, true},
		{"curl", 0, true},
		{"curl", 1, false},
		{"jumpget", 0, true},
		{"jumpget", 1, false},
		{"aria2", 0, false},
		{"rsync", 0, false},
	} {
		if got := l.done(at(c.peer, 30), c.rep); got != c.done {
			t.Errorf("%s, repetition %d: done is %v", c.peer, c.rep, got)
		}
	}
	for _, c := range []struct {
		key      Key
		hopeless bool
	}{
		{at("wget", 200), true},
		{at("wget", 301), false},
		{at("wget", 20), false},
		{at("wget", 30), false},
		{at("curl", 200), false},
		{at("jumpget", 200), false},
		{at("axel", 30), false},
		{Key{Link: "mild", Peer: "wget", Size: 200}, false},
		{Key{Link: "bad", Peer: "wget", Size: 200, Scenario: "ping"}, false},
	} {
		if r, ok := l.smaller(c.key); ok != c.hopeless || ok && (r.Size != 30 || r.Share != .01) {
			t.Errorf("%+v: hopeless is %v, as of %+v", c.key, ok, r)
		}
	}
	l.add(result("curl", 200, true))
	if !l.done(at("curl", 200), 1) {
		t.Error("a run that was cut is to be made again")
	}
}
