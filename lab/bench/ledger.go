package bench

// ledger knows which runs have been made and which are not worth making.
type ledger struct {
	made   map[attempt]bool
	cut    map[Key]Result // the run that was cut, for each peer that is not run again
	always map[string]bool
}

type attempt struct {
	key Key
	rep int
}

// newLedger returns a ledger with the results that there are already. The peers
// in always are run again whatever happens: an unlucky run of what is being
// measured must not stand for all of its runs.
func newLedger(have []Result, always map[string]bool) *ledger {
	l := &ledger{made: map[attempt]bool{}, cut: map[Key]Result{}, always: always}
	for _, r := range have {
		l.add(r)
	}
	return l
}

func (l *ledger) add(r Result) {
	if r.Missing {
		return // it may have come since
	}
	l.made[attempt{r.Key(), r.Rep}] = true
	if r.Cut && !l.always[r.Peer] {
		l.cut[r.Key()] = r
	}
}

// done tells whether there is no need for a run: there is a result, or an
// earlier repetition was cut.
func (l *ledger) done(k Key, rep int) bool {
	_, cut := l.cut[k]
	return cut || l.made[attempt{k, rep}]
}

// carryMost is how many times larger a file may be for which a run that was cut
// is believed to say the same: in a very short one the start decides.
const carryMost = 10

// smaller returns the run with the largest smaller file that was cut, which makes
// one with k's size hopeless.
func (l *ledger) smaller(k Key) (r Result, ok bool) {
	for key, cut := range l.cut {
		same := key
		same.Size = k.Size
		if same == k && key.Size < k.Size && key.Size*carryMost >= k.Size && key.Size > r.Size {
			r, ok = cut, true
		}
	}
	return r, ok
}
