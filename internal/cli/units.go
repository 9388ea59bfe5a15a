package cli

import (
	"strconv"
	"strings"
	"time"
)

// parseAge reads how long something is to be kept: Go's durations, days as 2d,
// and a bare number as hours, which is what the original's settings mean.
func parseAge(s string) (time.Duration, error) {
	unit, number := time.Hour, s
	if days, ok := strings.CutSuffix(s, "d"); ok {
		unit, number = 24*time.Hour, days
	}
	var d time.Duration
	n, err := strconv.ParseFloat(number, 64)
	if err == nil && n < 1e6 {
		d = time.Duration(n * float64(unit))
	} else {
		d, err = time.ParseDuration(s)
	}
	if err != nil || d < time.Second {
		return 0, usagef("%q is not a length of time", s).withHint("write it as 90m, 12h or 2d; a bare number is hours")
	}
	return d, nil
}
