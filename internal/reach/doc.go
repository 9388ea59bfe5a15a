// Package reach opens byte streams to a relay's local API: where there is a
// session over UDP or inside TLS, both at once, and otherwise over ssh.
//
// # The race
//
// A [Stream] is a net.Conn whose writer speaks first and whose far side answers
// at once, as with HTTP/2. What is written before the first answer is kept and
// goes over every way that has been started; the way whose far side answers first
// carries the stream from then on, and the others are closed. So what is written
// before the first answer may reach the relay more than once: it has to be
// something that does no harm twice. docs/wire.md tells which requests are.
//
// ssh costs many round trips and a login, so it starts only when the session's
// ways have failed, when the relay refused the session, or when nothing has
// answered for some time.
//
// # The session's file
//
// [Store] keeps one session for each relay and login in a file that only its
// owner can read. It is as good as a key for as long as the session lives; see
// docs/security.md.
package reach
