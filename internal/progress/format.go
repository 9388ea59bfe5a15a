package progress

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size formats bytes for a person, in powers of 1024: "512 B", "1.0 GiB". A
// negative size is "?".
func Size(n int64) string {
	if n < 0 {
		return "?"
	}
	return scale(float64(n), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"})
}

// Rate formats bytes a second for a person, in powers of 1000 as networks are
// sold: "25.3 MB/s".
func Rate(bytesPerSecond float64) string {
	if math.IsNaN(bytesPerSecond) || bytesPerSecond < 0 {
		return "?"
	}
	return scale(bytesPerSecond, 1000, []string{"B/s", "kB/s", "MB/s", "GB/s", "TB/s"})
}

// scale gives one decimal below 100, none above and none for the smallest unit.
func scale(v, base float64, units []string) string {
	i := 0
	// What would be rounded up to the next unit is written in it: never "1024 KiB".
	for i < len(units)-1 && math.Round(v) >= base {
		v /= base
		i++
	}
	digits := 1
	if i == 0 || v >= 99.95 {
		digits = 0
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + units[i]
}

// Duration formats a time for a person: "0.4 s", "41 s", "3 min 05 s",
// "2 h 10 min", "3 d 4 h". A negative one is "?".
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "?"
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute-time.Second/2:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour-time.Second/2:
		s := int(d.Round(time.Second) / time.Second)
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	case d < 24*time.Hour-time.Minute/2:
		m := int(d.Round(time.Minute) / time.Minute)
		return fmt.Sprintf("%d h %02d min", m/60, m%60)
	}
	h := int(d.Round(time.Hour) / time.Hour)
	return fmt.Sprintf("%d d %d h", h/24, h%24)
}

// left formats a time left. It has whole seconds only: tenths of a guess would
// just flicker.
func left(d time.Duration) string {
	if d < 0 {
		return "-- left"
	}
	if d < time.Minute-time.Second/2 {
		return fmt.Sprintf("%.0f s left", d.Seconds())
	}
	return Duration(d) + " left"
}

// percent formats part of whole as "42 %", rounded down so that 100 % means all
// of it. An unknown or empty whole gives "".
func percent(part, whole int64) string {
	if whole <= 0 {
		return ""
	}
	return strconv.Itoa(int(share(part, whole)*100)) + " %"
}

// share returns part of whole, from 0 to 1.
func share(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(1, max(0, float64(part)/float64(whole)))
}

// Summary returns the line that tells how a finished download went:
// "f.iso  1.0 GiB in 41 s, 25.3 MB/s over 8 TLS connections, verified sha256 ab12…".
func Summary(d Done) string {
	var b strings.Builder
	name := Printable(d.File)
	if name == "-" {
		name = "standard output"
	}
	b.WriteString(name + "  " + Size(d.Size))
	carried := int64(0)
	for _, p := range d.Paths {
		carried += p.Bytes
	}
	if carried > 0 {
		fmt.Fprintf(&b, " in %s, %s", Duration(d.Duration), Rate(d.Rate))
		b.WriteString(" over " + routes(d.Paths, carried))
	} else if !d.Bundled || d.Resumed > 0 {
		b.WriteString(", already here")
	}
	if d.Resumed > 0 && carried > 0 {
		fmt.Fprintf(&b, ", %s of it from before", Size(d.Resumed))
	}
	if d.SHA256 != "" {
		b.WriteString(", verified sha256 " + shorten(Printable(d.SHA256), 12))
	}
	if !d.LengthVerified {
		b.WriteString(", length unverified (the origin gave none)")
	}
	return b.String()
}

// routes tells by what paths a file came, with shares if there were several.
func routes(paths []PathUse, total int64) string {
	var used []string
	several := 0
	for _, p := range paths {
		if p.Bytes > 0 {
			several++
		}
	}
	for _, p := range paths {
		if p.Bytes <= 0 {
			continue
		}
		s := route(p.Name, p.Conns)
		if several > 1 {
			s += " (" + portion(p.Bytes, total) + ")"
		}
		used = append(used, s)
	}
	return join(used)
}

// portion is a rounded percent that never says that all or nothing came one way.
func portion(part, whole int64) string {
	switch n := math.Round(share(part, whole) * 100); {
	case n < 1:
		return "under 1 %"
	case n > 99:
		return "over 99 %"
	default:
		return strconv.Itoa(int(n)) + " %"
	}
}

func route(name string, conns int) string {
	switch name {
	case PathTCP:
		return plural(conns, "TLS connection")
	case PathHTTP:
		return plural(conns, "plain HTTP connection")
	case PathSSH:
		return "the ssh tunnel"
	case PathUDP:
		return "UDP"
	case PathDirect:
		return plural(conns, "connection") + " straight to the origin"
	}
	return Printable(name)
}

// plural says "8 things", or "one thing".
func plural(n int, thing string) string {
	if n <= 1 {
		return "one " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// join says "a", "a and b", "a, b and c".
func join(s []string) string {
	if len(s) < 2 {
		return strings.Join(s, "")
	}
	return strings.Join(s[:len(s)-1], ", ") + " and " + s[len(s)-1]
}

// shorten cuts ASCII text to n characters and shows that it did.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// Error returns the lines that tell a failure: what happened, and what to do if
// there is a hint. Each ends with a newline. subject names what failed, such as
// a file or URL; it may be empty.
func Error(subject, message, hint string) string {
	s := "jumpget: "
	if subject != "" {
		s += Printable(subject) + ": "
	}
	s += Printable(message) + "\n"
	if hint != "" {
		s += "         " + Printable(hint) + "\n"
	}
	return s
}
