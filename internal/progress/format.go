package progress

import "time"

// Size formats bytes for a person, in powers of 1024: "512 B", "1.0 GiB". A
// negative size is "?".
func Size(n int64) string { return "?" }

// Rate formats bytes a second for a person, in powers of 1000 as networks are
// sold: "25.3 MB/s".
func Rate(bytesPerSecond float64) string { return "?" }

// Duration formats a time for a person: "41 s", "3 min 05 s", "2 h 10 min". A negative
// one is "?".
func Duration(d time.Duration) string { return "?" }

// Summary returns the line that tells how a finished download went:
// "f.iso  1.0 GiB in 41 s, 25.3 MB/s over 8 TLS connections, verified sha256 ab12...".
func Summary(d Done) string { return "" }

// Error returns the lines that tell a failure: what happened, and what to do if
// there is a hint. Each ends with a newline. subject names what failed; it may be empty.
func Error(subject, message, hint string) string { return "" }

// Printable returns s in a form that can do nothing to a terminal: one line of
// valid UTF-8 in which C0 and C1 controls, DEL, line separators, bidirectional
// and all other format characters and invalid bytes are written as escapes such
// as \x1b or \u202e.
func Printable(s string) string { return s }
