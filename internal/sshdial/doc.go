// Package sshdial reaches a relay's local API through the system's ssh, so that
// whatever the user's own "ssh relay" can do (jump hosts, agents, hardware keys,
// passwords, known_hosts) works here too.
//
// # The way of one tunnel
//
// [Dial] starts "ssh -W TARGET -- HOST" and returns at once. Nothing tells when
// such a forward stands: ssh says something only if it fails. So the caller's own
// first bytes are the probe, and no round trip is spent on another one. Until the
// far side has answered its first byte the tunnel keeps what was written, up to
// 256 KiB. If ssh ends before that because the forward was refused or nothing
// listens behind it, the tunnel starts "ssh HOST jumpget bridge" and writes the
// same bytes there: none of them can have reached a relay. The first byte from
// the far side settles it; from then on bytes are only passed on. [Tunnel.Confirm]
// waits for that moment. An HTTP/2 client fits well, because it speaks first
// (preface, SETTINGS, request) and its server answers at once.
//
// If every way fails, Read, Write and Confirm return one and the same [*Error].
//
// # Shared connections
//
// With a Config's ControlDir the first ssh leaves a master behind, which serves
// later ones without another handshake. The control socket's name is a digest of
// all that "ssh -G" says of the destination: a changed config never meets an old
// connection. Where the user's ssh config already shares connections it is left
// to do so. A master that is dead but does not know it (a laptop that woke up
// elsewhere) gets a fresh one beside it after Config.StaleAfter; what was written goes over
// both, so it has to be something that does no harm twice.
//
// ssh asks for passwords and host keys on the terminal itself; its standard error
// is read here, for the causes of failure. A hint to touch a hardware key is the
// one thing of ssh's that stays unseen.
package sshdial
