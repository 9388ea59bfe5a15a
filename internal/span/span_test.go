package span

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestSetAgainstBytes runs random operations on a Set and on a plain array of
// booleans; both must agree after each step.
func TestSetAgainstBytes(t *testing.T) {
	const n = 64
	span := rapid.Custom(func(t *rapid.T) Span {
		a, b := rapid.Int64Range(0, n).Draw(t, "a"), rapid.Int64Range(0, n).Draw(t, "b")
		return Span{min(a, b), max(a, b)}
	})
	rapid.Check(t, func(t *rapid.T) {
		var s Set
		var model [n]bool
		set := func(sp Span, v bool) {
			for i := sp.Start; i < sp.End; i++ {
				model[i] = v
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add":    func(t *rapid.T) { sp := span.Draw(t, "span"); s.Add(sp); set(sp, true) },
			"remove": func(t *rapid.T) { sp := span.Draw(t, "span"); s.Remove(sp); set(sp, false) },
			"":       func(t *rapid.T) { check(t, &s, model[:], span.Draw(t, "window")) },
		})
	})
}

func check(t *rapid.T, s *Set, model []bool, window Span) {
	var want []Span
	var missing []Span
	var total int64
	grow := func(list []Span, i int64) []Span {
		if k := len(list) - 1; k >= 0 && list[k].End == i {
			list[k].End++
			return list
		}
		return append(list, Span{i, i + 1})
	}
	for i, present := range model {
		if present {
			want = grow(want, int64(i))
			total++
		} else if int64(i) >= window.Start && int64(i) < window.End {
			missing = grow(missing, int64(i))
		}
	}
	if got := s.Spans(); !slices.Equal(got, want) {
		t.Fatalf("spans: got %v, want %v", got, want)
	}
	if got := s.Missing(window); !slices.Equal(got, missing) {
		t.Fatalf("missing in %v: got %v, want %v", window, got, missing)
	}
	if got, want := s.Contains(window), len(missing) == 0; got != want {
		t.Fatalf("contains %v: got %v, want %v", window, got, want)
	}
	if s.Len() != total {
		t.Fatalf("len: got %d, want %d", s.Len(), total)
	}
	from := window.Start
	for from < int64(len(model)) && model[from] {
		from++
	}
	if got := s.From(window.Start); got != from {
		t.Fatalf("from %d: got %d, want %d", window.Start, got, from)
	}
}

func TestEmptyAndReversedSpansChangeNothing(t *testing.T) {
	s := Of(Span{2, 4})
	s.Add(Span{9, 9})
	s.Add(Span{9, 3})
	s.Remove(Span{3, 3})
	if got := s.Spans(); !slices.Equal(got, []Span{{2, 4}}) {
		t.Fatalf("got %v", got)
	}
}
