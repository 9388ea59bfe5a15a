package congestion

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/jumpget/jumpget/lab/profile"
)

// TestRandomLinks runs links drawn from all that an access link may be. By
// default they are few; JUMPGET_SIM_LINKS=200 (make sim) runs so many, from
// JUMPGET_SIM_SEED on.
func TestRandomLinks(t *testing.T) {
	links, seed := 32, 1
	if n, err := strconv.Atoi(os.Getenv("JUMPGET_SIM_LINKS")); err == nil {
		links = n
	}
	if n, err := strconv.Atoi(os.Getenv("JUMPGET_SIM_SEED")); err == nil {
		seed = n
	}
	type outcome struct {
		report
		line string
	}
	var all []outcome
	for s := range links {
		p := profile.Random(uint64(seed + s))
		r := measure(p, uint64(seed+s), flowOptions{})
		all = append(all, outcome{r, fmt.Sprintf("%s: %v (%s)", p.Name, r, p.About)})
	}
	slices.SortFunc(all, func(a, b outcome) int {
		if a.steady < b.steady {
			return -1
		}
		return 1
	})
	for _, o := range all[:min(len(all), 10)] {
		t.Log(o.line)
	}
	worst, median := all[0].steady, all[len(all)/2].steady
	t.Logf("%d links: worst %.1f %%, median %.1f %%", links, 100*worst, 100*median)
	if worst < 0.7 {
		t.Errorf("the worst link carries %.1f %% of what it can", 100*worst)
	}
	if median < 0.95 {
		t.Errorf("the median is %.1f %%", 100*median)
	}
}
