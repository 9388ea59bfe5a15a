// Package client brings files through a relay: it submits a URL over the ssh
// tunnel, fetches the bytes over every path at once, verifies each chunk
// against the relay's sums and puts the finished file into place.
//
// # The flow of one download
//
//	submit over ssh → ticket → open the partial file
//	                              ↓
//	   events (sums, growth) → [scheduler] ← workers: UDP, public door × N, ssh
//	                              ↓            ↑ [governor]: who may work
//	                verify by read-back → finish
//
// Who asks for what is decided by package schedule, which paths may work by package
// contest, and how many connections there are by package conns.
//
// Nothing that a path delivers is trusted: a byte counts when its chunk's SHA-256,
// which travels over ssh, matches what is read back from the disk.
package client
